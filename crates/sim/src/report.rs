//! What many stories say together.

use serde::Serialize;

use crate::instance::Fault;
use crate::story::{Ending, Kind, run};

/// What many stories say together; the last line of `cargo xtask sim --json`.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Stories with mishaps and faults.
    pub rough_rollouts: u64,
    /// Stories of healthy releases.
    pub healthy_rollouts: u64,
    /// Healthy releases that were taken back by a detector.
    pub false_rollbacks: u64,
    /// Broken releases (dead, hanging, every answer an error) and how many were taken back.
    pub broken: u64,
    /// See `broken`.
    pub broken_taken_back: u64,
    /// 99th percentile of first bad answer to last, of dead and hanging releases, seconds.
    pub dead_p99_s: Option<f64>,
    /// Median and 95th percentile of the same for releases that answer only errors at 100 requests a second or more.
    pub errors_p50_s: Option<f64>,
    /// See `errors_p50_s`.
    pub errors_p95_s: Option<f64>,
    /// Seed of the first story; the others count up from it.
    pub seed: u64,
    /// Invariants that did not hold, over all stories.
    pub invariant_violations: u64,
    /// Seeds of stories in which one did not hold.
    pub failing_seeds: Vec<u64>,
    /// Simulated hours.
    pub simulated_hours: f64,
}

/// Runs so many stories of each kind from a seed. `tell` hears of each that matters.
pub fn survey(rough: u64, healthy: u64, seed: u64, mut tell: impl FnMut(&Ending)) -> Report {
    let mut endings = Vec::new();
    for (n, kind) in [(rough, Kind::Rough), (healthy, Kind::Healthy)] {
        for i in 0..n {
            let ending = run(seed.wrapping_add(i), kind);
            if !ending.violations.is_empty() || ending.false_rollback() {
                tell(&ending);
            }
            endings.push((kind, ending));
        }
    }
    summary(rough, healthy, seed, &endings)
}

fn summary(rough: u64, healthy: u64, seed: u64, endings: &[(Kind, Ending)]) -> Report {
    let all = || endings.iter().map(|(_, ending)| ending);
    let hard = |ending: &&Ending| matches!(ending.fault, Fault::Dead | Fault::Hang) || errors(ending);
    let spans = |keep: &dyn Fn(&Ending) -> bool| {
        let mut spans: Vec<u64> = all()
            .filter(|ending| ending.calm && keep(ending))
            .filter_map(|ending| ending.bad_span_ms)
            .collect();
        spans.sort_unstable();
        spans
    };
    let dead = spans(&|ending| matches!(ending.fault, Fault::Dead | Fault::Hang));
    let failing = spans(&|ending| errors(ending) && ending.rate >= 100.0);
    Report {
        rough_rollouts: rough,
        healthy_rollouts: healthy,
        false_rollbacks: endings
            .iter()
            .filter(|(kind, e)| *kind == Kind::Healthy && e.false_rollback())
            .count() as u64,
        broken: all().filter(hard).count() as u64,
        broken_taken_back: all()
            .filter(hard)
            .filter(|ending| ending.phase == Some(hmsops_control::state::release::Phase::RolledBack))
            .count() as u64,
        dead_p99_s: quantile(&dead, 0.99),
        errors_p50_s: quantile(&failing, 0.5),
        errors_p95_s: quantile(&failing, 0.95),
        seed,
        invariant_violations: all().map(|ending| ending.violations.len() as u64).sum(),
        failing_seeds: all()
            .filter(|ending| !ending.violations.is_empty())
            .map(|ending| ending.seed)
            .collect(),
        simulated_hours: all().map(|ending| ending.secs).sum::<u64>() as f64 / 3600.0,
    }
}

fn errors(ending: &Ending) -> bool {
    ending.fault == Fault::Errors(1.0)
}

fn quantile(sorted_ms: &[u64], q: f64) -> Option<f64> {
    let rank = (q * sorted_ms.len() as f64).ceil().max(1.0) as usize;
    sorted_ms.get(rank - 1).map(|ms| *ms as f64 / 1000.0)
}
