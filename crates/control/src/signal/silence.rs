//! Times in which an alert tells nobody and heals nothing.

use hmsops_model::{Millis, Now, RuleName, SilenceId, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::event::Who;
use crate::headline::clock;

/// The longest silence: what must be quiet for longer is no alert.
pub const SILENCE_MAX: Millis = Millis::from_mins(60 * 24 * 30);

/// A time in which the alerts of a rule tell nobody, and heal nothing unless it says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Which.
    pub id: SilenceId,
    /// The rule.
    pub rule: RuleName,
    /// Whether its heals run all the same.
    pub keep_heal: bool,
    /// Since when.
    pub since: Now,
    /// For how long.
    pub span: Millis,
    /// Who asked for it.
    pub by: Who,
    /// Why.
    pub reason: String,
    /// When it ended, and why.
    pub ended: Option<(Now, String)>,
}

impl Silence {
    /// When it ends, for people.
    pub const fn until(&self) -> UnixMillis {
        UnixMillis(self.since.wall.0.saturating_add(self.span.0 as i64))
    }

    /// Whether its time is over.
    pub fn is_over(&self, now: Now) -> bool {
        now.steady.since(self.since.steady) >= self.span
    }

    /// What it does, in one line.
    pub fn sentence(&self) -> String {
        let heal =
            if self.keep_heal { "its heal runs all the same" } else { "its heal is held too (--keep-heal)" };
        format!("silenced until {}; {heal}; release detectors stay on", clock(self.until()))
    }
}
