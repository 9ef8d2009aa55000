//! `/hms/v1/heals`, `/hms/v1/tickets` and `/hms/v1/notices`: what is done, by the machine and by people.

use serde::{Deserialize, Serialize};

use super::By;

/// A heal that a person asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewHeal {
    /// The rule whose heal it is.
    pub rule: String,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// Why.
    pub reason: String,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealStarted {
    /// `h-3`; `null` on a dry run.
    pub id: Option<String>,
    /// What is, or would be, done.
    pub action: String,
}

/// One run of what heals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heal {
    /// `h-3`.
    pub id: String,
    /// The rule.
    pub rule: String,
    /// The alert that asked for it.
    pub alert: Option<String>,
    /// What it acts on.
    pub service: String,
    /// `rollback dmv-photo --to=prev`.
    pub action: String,
    /// `running`, `checking`, `healed` or `failed`.
    pub phase: String,
    /// Who asked for it.
    pub by: By,
    /// When.
    pub started_at: String,
    /// When its verdict was reached.
    pub ended_at: Option<String>,
    /// How its script ended.
    pub exit: Option<String>,
    /// The last it printed.
    pub output: String,
    /// The verdict in words.
    pub why: Option<String>,
    /// The ticket that its failure opened.
    pub ticket: Option<String>,
}

/// A page of heals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heals {
    /// Newest first.
    pub items: Vec<Heal>,
    /// Where the next page begins.
    pub next: Option<String>,
    /// Set while nothing is healed.
    pub paused: Option<HealsPaused>,
}

/// Since when nothing is healed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealsPaused {
    /// Since when.
    pub since: String,
    /// Who said so.
    pub by: By,
    /// Why.
    pub reason: String,
}

/// What a person has to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// `t-1`.
    pub id: String,
    /// `Take-Over Required: dmv-photo`.
    pub title: String,
    /// The service.
    pub service: String,
    /// The alert.
    pub alert: Option<String>,
    /// The heal that failed.
    pub heal: Option<String>,
    /// Since when.
    pub opened_at: String,
    /// What was tried and what it printed.
    pub text: String,
    /// When it was closed.
    pub closed_at: Option<String>,
    /// By whom.
    pub closed_by: Option<By>,
    /// What was done.
    pub close_reason: Option<String>,
}

/// A page of tickets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tickets {
    /// Open ones first, newest first.
    pub items: Vec<Ticket>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// A message to one receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// `n-9`.
    pub id: String,
    /// A mail address or a webhook's name.
    pub receiver: String,
    /// `a-12`, `r-4`, `t-1` or `test`.
    pub about: String,
    /// One line.
    pub subject: String,
    /// The message.
    pub text: String,
    /// `waiting`, `delivered` or `dead`.
    pub phase: String,
    /// Tries that failed.
    pub attempts: u32,
    /// Why the last one failed.
    pub last_error: Option<String>,
    /// When it is tried again.
    pub next_at: Option<String>,
    /// When it was intended.
    pub created_at: String,
    /// When it was delivered.
    pub delivered_at: Option<String>,
    /// What the receiver answered.
    pub receipt: Option<String>,
}

/// A page of notices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notices {
    /// Newest first.
    pub items: Vec<Notice>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// A receiver that is to be tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receiver {
    /// A mail address or a webhook's name.
    pub receiver: String,
}
