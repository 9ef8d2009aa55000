//! One episode of an alert: condition and handling, which are two things; what suppresses it is a third, and is
//! computed.

use std::collections::BTreeMap;

use hmsops_model::labels::METRIC_NAME;
use hmsops_model::rule::is_template;
use hmsops_model::{AlertId, HealId, Labels, Now, ReleaseId, RuleName, RuleSpec, ServiceName, TicketId};
use serde::{Deserialize, Serialize};

use super::{Rule, RuleHealth, Signals};
use crate::decide::clip;
use crate::event::Who;

/// Alerts of one rule at a time; a rule that asks for more is written wrongly.
pub const ALERTS_MAX: usize = 1000;

/// Texts of annotations by their names.
pub type Annotations = BTreeMap<String, String>;

/// The expanded annotations of one alert, in bytes, names included: with every character escaped they still fit a
/// ledger line beside the labels.
pub const ANNOTATIONS_BYTES_MAX: usize = 2 << 10;

/// The labels of a rule's alert: those of the series without the metric's name, and over them those of the rule. Labels
/// that are templates are none of the rule's: whoever evaluates it has put what they say onto the series.
pub fn labels_of(rule: &RuleSpec, series: &Labels) -> Labels {
    let own = series.iter().filter(|(name, _)| *name != METRIC_NAME);
    let plain = rule.labels.iter().filter(|(_, value)| !is_template(value));
    Labels::new(own.chain(plain.map(|(name, value)| (name.as_str(), value.as_str()))))
}

/// Expanded annotations as the ledger takes them: those that are too many are cut where they are too long.
pub(crate) fn bounded(texts: Option<&Annotations>) -> Annotations {
    let mut left = ANNOTATIONS_BYTES_MAX;
    let mut kept = Annotations::new();
    for (name, text) in texts.into_iter().flatten() {
        let Some(room) = left.checked_sub(name.len()) else { break };
        let text = clip(text, room);
        left = room.saturating_sub(text.len());
        kept.insert(name.clone(), text);
    }
    kept
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
    /// The annotations of its rule that are templates, expanded when it began or fired.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
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

    /// What its rule says of it to people, templates expanded.
    pub fn annotations(&self, rule: &RuleSpec) -> Annotations {
        // Of a template that the rule no longer has nothing is said.
        let expanded = self.annotations.iter().filter(|(name, _)| rule.annotations.contains_key(*name));
        rule.annotations.iter().chain(expanded).map(|(name, text)| (name.clone(), text.clone())).collect()
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
