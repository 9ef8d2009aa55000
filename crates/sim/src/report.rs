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
    /// Times from fault to verdict, one row a fault.
    pub faults: Vec<Row>,
    /// The 95th percentile of the row "half of the answers broken, 1 % of 100 requests a second", seconds.
    pub half_broken_1pct_100rps_p95_s: Option<f64>,
    /// Seed of the first story; the others count up from it.
    pub seed: u64,
    /// Invariants that did not hold, over all stories.
    pub invariant_violations: u64,
    /// Seeds of stories in which one did not hold.
    pub failing_seeds: Vec<u64>,
    /// Simulated hours.
    pub simulated_hours: f64,
}

/// Detection of one fault.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What breaks, at which share of which traffic.
    pub fault: String,
    /// Rollouts.
    pub rollouts: u64,
    /// Taken back by a detector within the ten minutes.
    pub detected: u64,
    /// Median from fault to verdict, seconds.
    pub p50_s: Option<f64>,
    /// 95th percentile of the same.
    pub p95_s: Option<f64>,
}

/// The faults that detection is timed on: name, fault, share in basis points, requests a second.
const FAULTS: [(&str, Fault, u16, f64); 7] = [
    ("dead, 1 % of 100 req/s", Fault::Dead, 100, 100.0),
    ("hanging, 1 % of 100 req/s", Fault::Hang, 100, 100.0),
    ("all broken, 1 % of 10 req/s", Fault::Errors(1.0), 100, 10.0),
    ("all broken, 1 % of 100 req/s", Fault::Errors(1.0), 100, 100.0),
    ("all broken, 1 % of 1000 req/s", Fault::Errors(1.0), 100, 1000.0),
    (HALF_BROKEN, Fault::Errors(0.5), 100, 100.0),
    ("5 % broken, 25 % of 100 req/s", Fault::Errors(0.05), 2500, 100.0),
];

const HALF_BROKEN: &str = "half broken, 1 % of 100 req/s";

/// Share of requests that every version fails while detection is timed.
const BASE_ERRORS: f64 = 0.005;

/// Runs each timed fault so often.
pub fn time_faults(rollouts: u64, seed: u64) -> Vec<Row> {
    let row = |(name, fault, weight_bp, rate): (&str, Fault, u16, f64)| {
        let timed = crate::story::Timed { fault, weight_bp, rate, base_errors: BASE_ERRORS };
        let mut times: Vec<u64> =
            (0..rollouts).filter_map(|i| run(seed.wrapping_add(i), Kind::Timed(timed)).detected_ms).collect();
        times.sort_unstable();
        // Those never detected are later than any that were.
        let whole = |q: f64| quantile_of(&times, rollouts, q);
        Row {
            fault: name.into(),
            rollouts,
            detected: times.len() as u64,
            p50_s: whole(0.5),
            p95_s: whole(0.95),
        }
    };
    FAULTS.into_iter().map(row).collect()
}

/// Runs so many stories of each kind from a seed. `tell` hears of each that matters.
pub fn survey(rough: u64, healthy: u64, timed: u64, seed: u64, mut tell: impl FnMut(&Ending)) -> Report {
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
    summary(rough, healthy, seed, &endings).with_faults(time_faults(timed, seed))
}

impl Report {
    fn with_faults(mut self, faults: Vec<Row>) -> Self {
        self.half_broken_1pct_100rps_p95_s =
            faults.iter().find(|row| row.fault == HALF_BROKEN).and_then(|row| row.p95_s);
        self.faults = faults;
        self
    }
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
        faults: Vec::new(),
        half_broken_1pct_100rps_p95_s: None,
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
    quantile_of(sorted_ms, sorted_ms.len() as u64, q)
}

/// The quantile of `n` values of which only the smallest are known.
fn quantile_of(sorted_ms: &[u64], n: u64, q: f64) -> Option<f64> {
    let rank = (q * n as f64).ceil().max(1.0) as usize;
    sorted_ms.get(rank - 1).map(|ms| *ms as f64 / 1000.0)
}
