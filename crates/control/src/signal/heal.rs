//! Runs of what heals.

use hmsops_model::{AlertId, HealAction, HealId, Millis, Now, RuleName, TicketId};
use serde::{Deserialize, Serialize};

use crate::event::Who;

/// A heal's script may take so long: a rollback through the gateway takes seconds, a slow start a minute.
pub const HEAL_TIME_LIMIT: Millis = Millis::from_mins(2);

/// After its script has succeeded, the alert must end within this, or a person takes over: five times the
/// one-minute window of most rules.
pub const HEAL_CHECK_LIMIT: Millis = Millis::from_mins(5);

/// Heals of one rule within [`HEAL_BUDGET_SPAN`]; then a person takes over, because healing does not help.
pub const HEAL_BUDGET: usize = 3;

/// See [`HEAL_BUDGET`].
pub const HEAL_BUDGET_SPAN: Millis = Millis::from_mins(60);

/// One run of what heals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heal {
    /// Which.
    pub id: HealId,
    /// The rule that it is for.
    pub rule: RuleName,
    /// The alert that asked for it; `None`: a person did.
    pub alert: Option<AlertId>,
    /// What is done.
    pub action: HealAction,
    /// Who asked for it.
    pub by: Who,
    /// When it was decided.
    pub intended_at: Now,
    /// Where it stands.
    pub phase: HealPhase,
    /// How its script ended: `exited with status 0`.
    pub exit: Option<String>,
    /// The last it printed.
    #[serde(default)]
    pub output: String,
    /// When its script ended.
    pub ran_until: Option<Now>,
    /// When its verdict was reached.
    pub ended_at: Option<Now>,
    /// The verdict in words.
    pub why: Option<String>,
    /// The ticket that its failure opened.
    pub ticket: Option<TicketId>,
}

/// Where a heal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealPhase {
    /// Its script runs.
    Running,
    /// Its script has succeeded; whether that helped is being looked for.
    Checking,
    /// It has helped.
    Healed,
    /// It has not.
    Failed,
}

impl HealPhase {
    /// As it is written.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Checking => "checking",
            Self::Healed => "healed",
            Self::Failed => "failed",
        }
    }
}

impl Heal {
    /// Whether its verdict is still open.
    pub const fn is_open(&self) -> bool {
        matches!(self.phase, HealPhase::Running | HealPhase::Checking)
    }
}
