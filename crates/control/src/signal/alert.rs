//! One episode of an alert: condition and handling, which are two things; what suppresses it is a third, and is
//! computed.

use hmsops_model::labels::METRIC_NAME;
use hmsops_model::{AlertId, HealId, Labels, Now, ReleaseId, RuleName, RuleSpec, ServiceName, TicketId};
use serde::{Deserialize, Serialize};

use super::{Rule, RuleHealth, Signals};
use crate::event::Who;

/// Alerts of one rule at a time; a rule that asks for more is written wrongly.
pub const ALERTS_MAX: usize = 1000;

/// The labels of a rule's alert: those of the series without the metric's name, and over them those of the rule.
pub fn labels_of(rule: &RuleSpec, series: &Labels) -> Labels {
    let own = series.iter().filter(|(name, _)| *name != METRIC_NAME);
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Labels::new(own.chain(rule.labels.clone()))
}

/// One episode, from the moment its expression first held until it no longer does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Which.
    pub id: AlertId,
    /// The rule.
    pub rule: RuleName,
    /// The service it speaks of, if one.
    pub service: Option<ServiceName>,
    /// The labels of its series and of its rule, without the metric's name.
    pub labels: Labels,
    /// For policies: the release that is judged.
    #[serde(default)]
    pub release: Option<ReleaseId>,
    /// Since when its expression holds.
    pub since: Now,
    /// The value then, as text.
    pub value: String,
    /// When it fired.
    pub fired_at: Option<Now>,
    /// When it ended, and why.
    pub ended: Option<Ended>,
    /// What is being done about it.
    pub handling: Handling,
    /// Who has it in hand.
    pub acked: Option<Acked>,
    /// Who was told that it fired.
    pub told: Vec<String>,
    /// Who was told that it ended.
    pub told_end: Vec<String>,
}

/// The end of an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at: Now,
    /// One line.
    pub why: String,
}

/// Who has an alert in hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acked {
    /// When.
    pub at: Now,
    /// Who.
    pub by: Who,
    /// Why.
    pub reason: String,
}

/// What is being done about an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "handling", rename_all = "kebab-case")]
pub enum Handling {
    /// Nothing yet.
    #[default]
    Open,
    /// A heal runs, or has run and its effect is being looked for.
    HealRunning {
        /// Which.
        heal: HealId,
    },
    /// A heal has helped.
    Healed {
        /// Which.
        heal: HealId,
    },
    /// A heal has not helped.
    HealFailed {
        /// Which.
        heal: HealId,
    },
    /// A person has to take over.
    TakeOver {
        /// By this ticket.
        ticket: TicketId,
    },
}

impl Alert {
    /// Whether it goes on: pending or firing.
    pub const fn is_open(&self) -> bool {
        self.ended.is_none()
    }

    /// Whether it fires.
    pub const fn is_firing(&self) -> bool {
        self.fired_at.is_some() && self.is_open()
    }

    /// The condition alone: `pending`, `firing` or `resolved`.
    pub const fn condition(&self) -> &'static str {
        match (self.is_open(), self.is_firing()) {
            (true, true) => "firing",
            (true, false) => "pending",
            (false, _) => "resolved",
        }
    }

    /// The handling alone: `open`, `acked`, `heal-running`, `healed`, `heal-failed` or `take-over`.
    pub const fn handling_words(&self) -> &'static str {
        match (self.handling, self.acked.is_some()) {
            (Handling::HealRunning { .. }, _) => "heal-running",
            (Handling::TakeOver { .. }, _) => "take-over",
            (_, true) => "acked",
            (Handling::Healed { .. }, _) => "healed",
            (Handling::HealFailed { .. }, _) => "heal-failed",
            (Handling::Open, false) => "open",
        }
    }

    /// Condition and handling in the chapter's words: `fired, heal-running`. What the rule cannot see at the
    /// moment does not change what fires.
    pub fn words(&self) -> String {
        match (self.condition(), self.handling_words()) {
            ("firing", "open") => "fired".into(),
            ("firing", handling) => format!("fired, {handling}"),
            (condition, _) => condition.into(),
        }
    }

    /// The heal that was last begun for it.
    pub const fn heal(&self) -> Option<HealId> {
        match self.handling {
            Handling::HealRunning { heal } | Handling::Healed { heal } | Handling::HealFailed { heal } => {
                Some(heal)
            }
            Handling::Open | Handling::TakeOver { .. } => None,
        }
    }
}

/// What a rule says of itself when it has no alert: `no data`, `query error`, `pending`…; `None` while all is known.
pub fn rule_words(rule: &Rule) -> Option<&'static str> {
    match rule.health {
        RuleHealth::NoData => Some("no data"),
        RuleHealth::Error { .. } => Some("query error"),
        RuleHealth::New | RuleHealth::Known => None,
    }
}

impl Signals {
    /// Whether a silence keeps an alert's notices back.
    pub fn is_silenced(&self, alert: &Alert) -> bool {
        self.silences_of(&alert.rule).next().is_some()
    }

    /// Whether a silence keeps an alert's heal back.
    pub fn is_heal_silenced(&self, alert: &Alert) -> bool {
        self.silences_of(&alert.rule).any(|silence| !silence.keep_heal)
    }
}
