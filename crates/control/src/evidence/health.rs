//! What probes say of one instance.

use std::collections::{BTreeMap, VecDeque};

use hmsops_model::probe::{ProbeResult, ProbeVerdict};
use hmsops_model::release::HealthCheck;
use hmsops_model::{Millis, Now};

/// Looks remembered per instance: ten minutes of scheduled ones.
const LOOKS_MAX: usize = 600;

/// Scheduled failures remembered per check.
const FAILS_MAX: usize = 1000;

/// Passes in a row of each check before an instance that was failing counts as healthy.
const PASSES_TO_RECOVER: u32 = 2;

/// What probes say of one instance.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Per path.
    checks: BTreeMap<String, CheckHealth>,
    /// The last looks, oldest first: whether each failed.
    looks: VecDeque<bool>,
    /// The last look of all.
    pub last: Option<(ProbeVerdict, Now)>,
    /// Looks that the prober was too late for.
    pub overloaded: u64,
}

/// The last look at one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastLook {
    /// What came of it.
    pub verdict: ProbeVerdict,
    /// When it came.
    pub at: Now,
    /// Since when each look came to the same: passed, failed, or the prober was too busy.
    pub since: Now,
}

#[derive(Debug, Clone, Default)]
struct CheckHealth {
    last: Option<LastLook>,
    passed_once: bool,
    passes_in_row: u32,
    fails_in_row: u32,
    last_at: Millis,
    scheduled_fails: VecDeque<Millis>,
    reason: String,
}

impl Health {
    /// Takes in one look. Returns whether it failed; `None`: it says nothing about the target.
    pub fn observe(&mut self, now: Now, probe: &ProbeResult) -> Option<bool> {
        let check = self.checks.entry(probe.path.clone()).or_default();
        let same = |last: &&LastLook| {
            std::mem::discriminant(&last.verdict) == std::mem::discriminant(&probe.verdict)
        };
        let since = check.last.as_ref().filter(same).map_or(now, |last| last.since);
        check.last = Some(LastLook { verdict: probe.verdict.clone(), at: now, since });
        self.last = Some((probe.verdict.clone(), now));
        let failed = match &probe.verdict {
            ProbeVerdict::Overloaded => {
                self.overloaded += 1;
                return None;
            }
            ProbeVerdict::Pass { .. } => false,
            ProbeVerdict::Fail { reason } => {
                check.reason.clone_from(reason);
                true
            }
        };
        check.last_at = now.steady;
        if failed {
            check.fails_in_row += 1;
            check.passes_in_row = 0;
            if probe.scheduled {
                check.scheduled_fails.push_back(now.steady);
                if check.scheduled_fails.len() > FAILS_MAX {
                    check.scheduled_fails.pop_front();
                }
            }
        } else {
            check.passed_once = true;
            check.passes_in_row += 1;
            check.fails_in_row = 0;
        }
        // A check that was never passed is another version's, and says nothing of how often looks get lost.
        if check.passed_once {
            self.looks.push_back(failed);
        }
        if self.looks.len() > LOOKS_MAX {
            self.looks.pop_front();
        }
        Some(failed)
    }

    /// The last look at the check of this name; `None`: there was none yet.
    pub fn last_look(&self, check: &str) -> Option<&LastLook> {
        self.checks.get(check)?.last.as_ref()
    }

    /// How many looks are remembered, and how many of them failed.
    pub fn looks(&self) -> (usize, usize) {
        (self.looks.len(), self.looks.iter().filter(|failed| **failed).count())
    }

    /// A check was passed before anything that is remembered.
    pub fn recall(&mut self, path: &str) {
        self.checks.entry(path.to_owned()).or_default().passed_once = true;
    }

    /// Whether a check was ever passed: else it is another version's.
    pub fn knows(&self, path: &str) -> bool {
        self.checks.get(path).is_some_and(|check| check.passed_once)
    }

    /// Whether each check passed at least `passes` times in a row, lately.
    pub fn passes(&self, checks: &[HealthCheck], passes: u32) -> bool {
        checks.iter().all(|check| self.checks.get(&check.path).is_some_and(|h| h.passes_in_row >= passes))
    }

    /// Whether an instance that was failing counts as healthy again.
    pub fn recovered(&self, checks: &[HealthCheck]) -> bool {
        self.passes(checks, PASSES_TO_RECOVER)
    }

    /// Whether the last look at any check that it has ever passed failed, not longer ago than `within`. A check that
    /// it never passed is not its own: a newer version brought it.
    pub fn failing(&self, now: Now, within: Millis) -> bool {
        self.checks.values().any(|check| {
            check.passed_once && check.fails_in_row > 0 && now.steady.since(check.last_at) <= within
        })
    }

    /// The first check whose threshold of scheduled failures was reached since `since`: path, failures counted
    /// and the last reason.
    pub fn threshold_reached(
        &self,
        now: Now,
        checks: &[HealthCheck],
        since: Millis,
    ) -> Option<(String, u32, String)> {
        checks.iter().find_map(|check| {
            let health = self.checks.get(&check.path)?;
            let begin = now.steady.since(check.threshold.window).max(since);
            let fails = health.scheduled_fails.iter().filter(|at| **at >= begin).count() as u32;
            (fails >= check.threshold.fails).then(|| (check.path.clone(), fails, health.reason.clone()))
        })
    }
}
