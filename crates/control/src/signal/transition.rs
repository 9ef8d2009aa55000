//! Changes of what watches and heals, as they stand in the ledger.

use std::collections::BTreeMap;

use hmsops_model::release::PolicySpec;
use hmsops_model::{
    AlertId, DashName, DashSpec, HealAction, HealId, Labels, Millis, NoticeId, ReleaseId, RuleName, RuleSpec,
    ServiceName, SilenceId, TicketId,
};
use serde::{Deserialize, Serialize};

use super::RuleHealth;
use super::alert::Annotations;
use super::notice::{About, Occasion};
use crate::event::Who;

/// One change. Values of samples are texts, because JSON knows no NaN.
#[expect(
    missing_docs,
    reason = "fields are the nouns of `signal`; each variant says what they mean together"
)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "transition", rename_all = "kebab-case")]
pub enum Signal {
    /// A rule is declared, anew or changed. `readings` are the two ways its expression can be read, if there are.
    RuleDeclared { rule: Box<RuleSpec>, readings: Vec<String>, by: Who },
    /// A rule is no longer declared; its alerts end with it.
    RuleRetired { rule: RuleName, by: Who, reason: String },
    /// A rule's evaluation begins or ceases to say something.
    RuleHealthChanged { rule: RuleName, health: RuleHealth },
    /// A release policy is declared.
    PolicyDeclared { key: String, policy: Box<PolicySpec>, by: Who },
    /// It no longer is.
    PolicyRetired { key: String, by: Who },
    /// An expression holds for the first time.
    AlertPending {
        alert: AlertId,
        rule: RuleName,
        service: Option<ServiceName>,
        labels: Labels,
        release: Option<ReleaseId>,
        value: String,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        annotations: Annotations,
    },
    /// It has held for long enough. Annotations only where they say something else than when it was pending.
    AlertFired {
        alert: AlertId,
        rule: RuleName,
        service: Option<ServiceName>,
        value: String,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        annotations: Annotations,
    },
    /// It no longer holds, before (`fired: false`) or after the alert fired.
    AlertEnded { alert: AlertId, rule: RuleName, service: Option<ServiceName>, fired: bool, why: String },
    /// A person has an alert in hand.
    AlertAcked { alert: AlertId, rule: RuleName, by: Who, reason: String },
    /// A rule's alerts shall tell nobody for a while.
    SilenceBegun {
        silence: SilenceId,
        rule: RuleName,
        span: Millis,
        keep_heal: bool,
        by: Who,
        reason: String,
    },
    /// They may again.
    SilenceEnded { silence: SilenceId, rule: RuleName, by: Who, why: String },
    /// Something shall be healed (intent).
    HealIntended { heal: HealId, rule: RuleName, alert: Option<AlertId>, action: HealAction, by: Who },
    /// Its script has ended (outcome).
    HealRan { heal: HealId, service: ServiceName, success: bool, exit: String, output: String },
    /// Whether it has helped (outcome).
    HealJudged { heal: HealId, service: ServiceName, healed: bool, why: String },
    /// Nothing is healed from now on (the kill switch).
    HealsPaused { by: Who, reason: String },
    /// Healing goes on.
    HealsResumed { by: Who, reason: String },
    /// A person has to take over.
    TicketOpened {
        ticket: TicketId,
        service: ServiceName,
        alert: Option<AlertId>,
        heal: Option<HealId>,
        title: String,
        text: String,
    },
    /// It is done.
    TicketClosed { ticket: TicketId, service: ServiceName, by: Who, reason: String },
    /// Somebody shall be told (intent).
    NoticeIntended {
        notice: NoticeId,
        receiver: String,
        about: About,
        occasion: Occasion,
        subject: String,
        text: String,
        by: Who,
    },
    /// They were (outcome).
    NoticeDelivered { notice: NoticeId, receiver: String, receipt: String },
    /// A try failed; the next one comes (outcome). `due_in` is until then.
    NoticeFailed { notice: NoticeId, receiver: String, why: String, due_in: Millis },
    /// It is given up (outcome).
    NoticeDead { notice: NoticeId, receiver: String, why: String },
    /// A notice that was given up is tried again.
    NoticeRevived { notice: NoticeId, by: Who },
    /// A dashboard is made or changed.
    DashDeclared { dash: Box<DashSpec>, by: Who },
    /// It is removed.
    DashRemoved { dash: DashName, by: Who },
}

impl Signal {
    /// The service it is about, if one.
    pub fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::AlertPending { service, .. }
            | Self::AlertFired { service, .. }
            | Self::AlertEnded { service, .. } => service.as_ref(),
            Self::HealIntended { action, .. } => Some(action.service()),
            Self::HealRan { service, .. }
            | Self::HealJudged { service, .. }
            | Self::TicketOpened { service, .. }
            | Self::TicketClosed { service, .. } => Some(service),
            _ => None,
        }
    }

    /// What the ledger's line is about: `rule/photo_error_spike`, `service/dmv-photo`, …
    pub fn subject(&self) -> String {
        match self {
            Self::RuleDeclared { rule, .. } => format!("rule/{}", rule.name),
            Self::RuleRetired { rule, .. }
            | Self::RuleHealthChanged { rule, .. }
            | Self::AlertPending { rule, .. }
            | Self::AlertFired { rule, .. }
            | Self::AlertEnded { rule, .. }
            | Self::AlertAcked { rule, .. }
            | Self::SilenceBegun { rule, .. }
            | Self::SilenceEnded { rule, .. } => format!("rule/{rule}"),
            Self::PolicyDeclared { key, .. } | Self::PolicyRetired { key, .. } => format!("policy/{key}"),
            Self::HealIntended { heal, .. } | Self::HealRan { heal, .. } | Self::HealJudged { heal, .. } => {
                format!("heal/{heal}")
            }
            Self::HealsPaused { .. } | Self::HealsResumed { .. } => "heals".into(),
            Self::TicketOpened { ticket, .. } | Self::TicketClosed { ticket, .. } => {
                format!("ticket/{ticket}")
            }
            Self::NoticeIntended { notice, .. }
            | Self::NoticeDelivered { notice, .. }
            | Self::NoticeFailed { notice, .. }
            | Self::NoticeDead { notice, .. }
            | Self::NoticeRevived { notice, .. } => format!("notice/{notice}"),
            Self::DashDeclared { dash, .. } => format!("dash/{}", dash.name),
            Self::DashRemoved { dash, .. } => format!("dash/{dash}"),
        }
    }

    /// Who wanted it; `None`: the tower by its own rules.
    pub const fn by(&self) -> Option<&Who> {
        match self {
            Self::RuleDeclared { by, .. }
            | Self::RuleRetired { by, .. }
            | Self::PolicyDeclared { by, .. }
            | Self::PolicyRetired { by, .. }
            | Self::AlertAcked { by, .. }
            | Self::SilenceBegun { by, .. }
            | Self::SilenceEnded { by, .. }
            | Self::HealIntended { by, .. }
            | Self::HealsPaused { by, .. }
            | Self::HealsResumed { by, .. }
            | Self::TicketClosed { by, .. }
            | Self::NoticeIntended { by, .. }
            | Self::NoticeRevived { by, .. }
            | Self::DashDeclared { by, .. }
            | Self::DashRemoved { by, .. } => Some(by),
            _ => None,
        }
    }

    /// Whether it goes further than what is: then its line comes first, or it does not happen. What has happened,
    /// has happened; and the kill switch works without a ledger.
    pub const fn is_advance(&self) -> bool {
        matches!(
            self,
            Self::RuleDeclared { .. }
                | Self::RuleRetired { .. }
                | Self::PolicyDeclared { .. }
                | Self::PolicyRetired { .. }
                | Self::AlertAcked { .. }
                | Self::SilenceBegun { .. }
                | Self::HealIntended { .. }
                | Self::HealsResumed { .. }
                | Self::TicketClosed { .. }
                | Self::NoticeIntended { .. }
                | Self::NoticeRevived { .. }
                | Self::DashDeclared { .. }
                | Self::DashRemoved { .. }
        )
    }
}
