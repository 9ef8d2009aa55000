//! Rules, alerts, silences, heals, tickets, notices and dashboards: what is true of them, and how it changes.

pub mod alert;
mod apply;
pub mod heal;
pub mod notice;
pub mod sentence;
pub mod silence;
pub mod ticket;
pub mod transition;
pub(crate) mod words;

use std::collections::BTreeMap;

use hmsops_model::release::PolicySpec;
use hmsops_model::{
    AlertId, DashName, DashSpec, HealId, NoticeId, Now, RuleName, RuleSpec, ServiceName, SilenceId, TicketId,
};
use serde::{Deserialize, Serialize};

use crate::event::Who;
use alert::Alert;
use heal::Heal;
use notice::Notice;
use silence::Silence;
use ticket::Ticket;

pub use transition::Signal;

/// Everything that is true of what watches and heals.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Signals {
    /// Rules by name.
    pub rules: BTreeMap<RuleName, Rule>,
    /// Release policies by key ([`policy_key`]).
    pub policies: BTreeMap<String, Policy>,
    /// Alerts: all that go on, and the last that have ended.
    pub alerts: BTreeMap<AlertId, Alert>,
    /// Silences: all in force, and the last that have ended.
    pub silences: BTreeMap<SilenceId, Silence>,
    /// Heals: all under way, and the last that have ended.
    pub heals: BTreeMap<HealId, Heal>,
    /// Set while nothing is healed (the kill switch).
    pub heals_paused: Option<Paused>,
    /// Tickets: all open, and the last that were closed.
    pub tickets: BTreeMap<TicketId, Ticket>,
    /// Notices: all that wait, and the last that have been delivered or given up.
    pub notices: BTreeMap<NoticeId, Notice>,
    /// Dashboards by name.
    pub dashes: BTreeMap<DashName, Dash>,
    /// The highest numbers given.
    pub last: Last,
}

/// The highest numbers given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Last {
    /// Of alerts.
    pub alert: u64,
    /// Of silences.
    pub silence: u64,
    /// Of heals.
    pub heal: u64,
    /// Of tickets.
    pub ticket: u64,
    /// Of notices.
    pub notice: u64,
}

/// A rule in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// As declared.
    pub spec: RuleSpec,
    /// Who declared it last: a file (source `repo`, the file's name as actor) or a door.
    pub by: Who,
    /// Since when it stands as it does.
    pub declared_at: Now,
    /// Whether its last evaluation says anything.
    #[serde(default)]
    pub health: RuleHealth,
    /// When `health` last changed.
    pub health_since: Option<Now>,
}

/// Whether a rule's last evaluation says anything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "health", rename_all = "kebab-case")]
pub enum RuleHealth {
    /// It was never evaluated.
    #[default]
    New,
    /// It does.
    Known,
    /// None of its series had a sample in its window.
    NoData,
    /// The query failed.
    Error {
        /// One line.
        why: String,
    },
}

/// A release policy in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// As declared.
    pub spec: PolicySpec,
    /// Who declared it.
    pub by: Who,
}

/// Under which name a policy stands: its metric, and its service when it has one.
pub fn policy_key(spec: &PolicySpec) -> String {
    match &spec.service {
        Some(service) => format!("{}/{service}", spec.metric),
        None => spec.metric.clone(),
    }
}

/// The name of a policy's alerts: its metric's, as much of it as a name may have.
pub fn policy_rule(spec: &PolicySpec) -> Option<RuleName> {
    let metric = &spec.metric;
    RuleName::new(metric.get(..RULE_NAME_BYTES_MAX).unwrap_or(metric)).ok()
}

/// The longest name of a rule; that of a metric may be longer.
const RULE_NAME_BYTES_MAX: usize = 128;

/// Since when nothing is healed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Since when.
    pub at: Now,
    /// Who said so.
    pub by: Who,
    /// Why.
    pub reason: String,
}

/// A dashboard in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dash {
    /// As declared.
    pub spec: DashSpec,
    /// Who changed it last.
    pub by: Who,
}

impl Signals {
    /// The alerts of a rule that go on; those of a policy of the same name are not its own.
    pub fn open_alerts<'a>(&'a self, rule: &'a RuleName) -> impl Iterator<Item = &'a Alert> {
        let own = move |alert: &&Alert| alert.is_open() && alert.release.is_none() && alert.rule == *rule;
        self.alerts.values().filter(own)
    }

    /// The silences in force over a rule.
    pub fn silences_of<'a>(&'a self, rule: &'a RuleName) -> impl Iterator<Item = &'a Silence> {
        self.silences.values().filter(move |silence| silence.ended.is_none() && silence.rule == *rule)
    }

    /// The heal under way for a service.
    pub fn heal_of(&self, service: &ServiceName) -> Option<&Heal> {
        self.heals.values().find(|heal| heal.action.service() == service && heal.is_open())
    }

    /// The open ticket about a service: a person has it in hand.
    pub fn ticket_of(&self, service: &ServiceName) -> Option<&Ticket> {
        self.tickets.values().find(|ticket| ticket.service == *service && ticket.closed.is_none())
    }

    /// The notices that wait to be delivered.
    pub fn waiting_notices(&self) -> impl Iterator<Item = &Notice> {
        self.notices.values().filter(|notice| notice.is_waiting())
    }

    /// The policies that hold for a service.
    pub fn policies_of<'a>(
        &'a self,
        service: &'a ServiceName,
    ) -> impl Iterator<Item = (&'a String, &'a Policy)> {
        let holds = move |policy: &Policy| policy.spec.service.as_ref().is_none_or(|of| of == service);
        self.policies.iter().filter(move |(_, policy)| holds(policy))
    }
}
