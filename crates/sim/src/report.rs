//! What many stories say together.

use std::collections::BTreeMap;

use hmsops_control::state::release::Phase;
use hmsops_model::Millis;
use hmsops_model::limits::FALSE_ROLLBACK_ALPHA;
use serde::Serialize;

use crate::bounds;
use crate::instance::Fault;
use crate::invariant::Violation;
use crate::kills::{PLOTS, kills, tell, try_kill};
use crate::peers::PEERS;
use crate::story::{Ending, Kind, Timed, run};
use crate::survey::all;

/// How much is to be told.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// Stories with faults and mishaps.
    pub rough: u64,
    /// Stories of healthy releases.
    pub healthy: u64,
    /// Stories of each timed fault.
    pub timed: u64,
    /// Stories of releases that are a little worse.
    pub slight: u64,
    /// Whether all kills are told.
    pub kills: bool,
    /// The first seed.
    pub seed: u64,
    /// Threads.
    pub threads: usize,
}

/// What many stories say together; the last line of `cargo xtask sim --json`.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Stories of healthy releases.
    pub healthy_rollouts: u64,
    /// Healthy releases that were taken back by a detector.
    pub false_rollbacks: u64,
    /// The same by detector.
    pub false_rollbacks_by: BTreeMap<String, u64>,
    /// 99 % upper bound of the rate of false rollbacks (Clopper–Pearson).
    pub false_rollbacks_upper_99: f64,
    /// The rate that is promised: α.
    pub alpha: f64,
    /// The same bound by detector.
    pub false_rollbacks_upper_99_by: BTreeMap<String, f64>,
    /// Whether the bound, of each detector and in all, is at most 1.5 α.
    pub within_alpha: bool,
    /// What the number of rollouts allows to be said of that.
    pub promise: Promise,
    /// Healthy releases that the models of others would have taken back.
    pub peers_false_rollbacks: BTreeMap<String, u64>,
    /// Healthy releases that were still held at the end, by why.
    pub healthy_held: BTreeMap<String, u64>,
    /// Seeds of healthy releases that were taken back.
    pub false_seeds: Vec<u64>,
    /// Stories with mishaps and faults.
    pub rough_rollouts: u64,
    /// Broken releases among them (dead, hanging, every answer an error) and how many were taken back.
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
    /// Whether every row with a goal reaches it.
    pub goals_met: bool,
    /// Promotions of releases that were a little worse, and how many of them claim to have ruled out what was so.
    pub claims: u64,
    /// See `claims`.
    pub claims_wrong: u64,
    /// Kills of ours, one by one.
    pub kills: u64,
    /// Seed of the first story; the others count up from it.
    pub seed: u64,
    /// Invariants that did not hold, over all stories.
    pub invariant_violations: u64,
    /// Seeds of rough and healthy stories in which one did not hold.
    pub failing_seeds: Vec<u64>,
    /// Simulated hours.
    pub simulated_hours: f64,
}

/// What many healthy rollouts say of the promise that false rollbacks are rare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Promise {
    /// The 99 % upper bound is within what is allowed.
    Kept,
    /// It is not, and a rate of half of what is promised would have been shown to be with so many rollouts; or the
    /// lower bound is above it.
    Broken,
    /// There are too few rollouts to say.
    TooFewToTell,
}

impl Promise {
    /// Of `k` false rollbacks, the most of any detector or in all, in `n` rollouts.
    fn of(k: u64, n: u64) -> Self {
        let usual = (n as f64 * FALSE_ROLLBACK_ALPHA / 2.0).ceil() as u64;
        if bounds::upper(k, n, 0.99) <= ALLOWED {
            Self::Kept
        } else if bounds::upper(usual, n, 0.99) <= ALLOWED || bounds::lower(k, n, 0.99) > ALLOWED {
            Self::Broken
        } else {
            Self::TooFewToTell
        }
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Broken => "not kept",
            Self::TooFewToTell => "too few rollouts to tell",
        }
    }
}

/// What the 99 % upper bound of the rate of false rollbacks may be at most: 1.5 α.
pub const ALLOWED: f64 = 1.5 * FALSE_ROLLBACK_ALPHA;

/// Detection of one fault.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What breaks, at which share of which traffic.
    pub fault: String,
    /// Seconds after the canary's first user at which it begins.
    pub delay_s: f64,
    /// Rollouts.
    pub rollouts: u64,
    /// Taken back by a detector within ten minutes.
    pub detected: u64,
    /// Median from fault to verdict, seconds; `None`: most were not detected.
    pub p50_s: Option<f64>,
    /// 95th percentile of the same.
    pub p95_s: Option<f64>,
    /// What both may be at most.
    pub goal_s: Option<(f64, f64)>,
    /// Medians of the models of others on the same traffic.
    pub peers_p50_s: BTreeMap<String, Option<f64>>,
    /// 95th percentiles of the same.
    pub peers_p95_s: BTreeMap<String, Option<f64>>,
    /// How many of the rollouts each of them had condemned before there was a fault.
    pub peers_early: BTreeMap<String, u64>,
}

impl Row {
    /// Whether the quantiles of these rollouts are within the goal.
    pub fn reaches_its_goal(&self) -> bool {
        let within = |is: Option<f64>, goal: f64| is.is_some_and(|is| is <= goal);
        self.rollouts == 0
            || self.goal_s.is_none_or(|(p50, p95)| within(self.p50_s, p50) && within(self.p95_s, p95))
    }
}

/// A fault that detection is timed on.
#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    fault: Fault,
    weight_bp: u16,
    /// Requests a second.
    rate: f64,
    /// Seconds after the canary's first user at which it begins.
    delay_s: u64,
    /// Median and 95th percentile, in seconds, that are to be reached.
    goal: Option<(f64, f64)>,
}

/// A version that is bad from the start: its fault begins when its warm-up is no excuse any more.
const START_S: u64 = 1;

/// Seconds after the first user at which other faults begin.
const DELAY_S: u64 = 20;

/// Seconds of the rows that begin late.
const LATE_S: u64 = 600;

const fn case(name: &'static str, fault: Fault, weight_bp: u16, rate: f64, delay_s: u64) -> Case {
    Case { name, fault, weight_bp, rate, delay_s, goal: None }
}

const fn goal(case: Case, p50: f64, p95: f64) -> Case {
    Case { goal: Some((p50, p95)), ..case }
}

/// The goals are held against a version that is bad from its first users on. A fault that begins later also costs what
/// the prior spends on its moment: the same rows 20 s later are timed without a goal, and some of them may be slower
/// than it.
const CASES: [Case; 24] = [
    goal(case("start: all broken, 1 % of 10 req/s", Fault::Errors(1.0), 100, 10.0, START_S), 30.0, 75.0),
    goal(case("start: all broken, 1 % of 100 req/s", Fault::Errors(1.0), 100, 100.0, START_S), 3.0, 7.5),
    goal(case("start: all broken, 1 % of 1000 req/s", Fault::Errors(1.0), 100, 1000.0, START_S), 0.5, 0.9),
    goal(case(HALF_BROKEN, Fault::Errors(0.5), 100, 100.0, START_S), 6.5, 16.0),
    goal(case("start: 5 % broken, 25 % of 100 req/s", Fault::Errors(0.05), 2500, 100.0, START_S), 8.0, 20.0),
    case("dead, 1 % of 100 req/s", Fault::Dead, 100, 100.0, DELAY_S),
    case("hanging, 1 % of 100 req/s", Fault::Hang, 100, 100.0, DELAY_S),
    case("probe only, 1 % of 100 req/s", Fault::Probe, 100, 100.0, DELAY_S),
    case("all broken, 1 % of 10 req/s", Fault::Errors(1.0), 100, 10.0, DELAY_S),
    case("all broken, 1 % of 100 req/s", Fault::Errors(1.0), 100, 100.0, DELAY_S),
    case("all broken, 1 % of 1000 req/s", Fault::Errors(1.0), 100, 1000.0, DELAY_S),
    case("all broken, 1 % of 10 000 req/s", Fault::Errors(1.0), 100, 10_000.0, DELAY_S),
    case("half broken, 1 % of 100 req/s", Fault::Errors(0.5), 100, 100.0, DELAY_S),
    case("5 % broken, 25 % of 100 req/s", Fault::Errors(0.05), 2500, 100.0, DELAY_S),
    case("1 % broken, 25 % of 1000 req/s", Fault::Errors(0.01), 2500, 1000.0, DELAY_S),
    case("0.5 % broken, 25 % of 1000 req/s", Fault::Errors(0.005), 2500, 1000.0, DELAY_S),
    case("a third of users, 1 % of 100 req/s", Fault::Cohort(0.33), 100, 100.0, DELAY_S),
    case("slow × 2, 25 % of 100 req/s", Fault::Slow(2.0), 2500, 100.0, DELAY_S),
    case("slow × 10, 1 % of 100 req/s", Fault::Slow(10.0), 100, 100.0, DELAY_S),
    case("leak, 25 % of 100 req/s", Fault::Leak, 2500, 100.0, DELAY_S),
    case("flapping, 1 % of 100 req/s", Fault::Flap, 100, 100.0, DELAY_S),
    case("late: all broken, 1 % of 100 req/s", Fault::Errors(1.0), 100, 100.0, LATE_S),
    case("late: half broken, 1 % of 100 req/s", Fault::Errors(0.5), 100, 100.0, LATE_S),
    case("late: dead, 1 % of 100 req/s", Fault::Dead, 100, 100.0, LATE_S),
];

const HALF_BROKEN: &str = "start: half broken, 1 % of 100 req/s";

/// Of fewer rollouts the 95th percentile is the chance of a few of them, and no goal is held against it.
pub const TIMED_ENOUGH: u64 = 200;

/// Share of requests that every version fails while detection is timed.
pub const BASE_ERRORS: f64 = 0.005;

/// Basis points of more errors that the claims of promotions are tried on.
const SLIGHT_BP: [u16; 5] = [10, 30, 100, 200, 400];

/// Runs each timed fault so often, and as often its twin of which the tower is told nothing.
pub fn time_faults(scope: Scope) -> Vec<Row> {
    CASES.into_iter().map(|case| time_fault(case, scope)).collect()
}

fn time_fault(case: Case, scope: Scope) -> Row {
    let Case { name, fault, weight_bp, rate, delay_s, goal: goal_s } = case;
    let delay = Millis::from_secs(delay_s);
    let timed = |blind| Timed { fault, weight_bp, rate, base_errors: BASE_ERRORS, delay, blind };
    let endings = all(name, scope.timed * 2, scope.threads, |i| {
        run(scope.seed.wrapping_add(i / 2), Kind::Timed(timed(i % 2 == 1)))
    });
    let n = scope.timed;
    let ours: Vec<u64> = endings.iter().step_by(2).filter_map(|ending| ending.detected_ms).collect();
    let peer = |model: usize, q: f64| {
        let times = endings.iter().skip(1).step_by(2);
        quantile_of(times.filter_map(|ending| ending.peers_ms.get(model).copied().flatten()).collect(), n, q)
    };
    let early = |model: usize| {
        let twins = endings.iter().skip(1).step_by(2);
        twins.filter(|ending| ending.peers_early.get(model) == Some(&true)).count() as u64
    };
    let peers = |q: f64| PEERS.iter().enumerate().map(|(i, name)| ((*name).to_owned(), peer(i, q))).collect();
    Row {
        fault: name.into(),
        delay_s: delay.as_secs_f64(),
        rollouts: n,
        detected: ours.len() as u64,
        // Those never detected are later than any that were.
        p50_s: quantile_of(ours.clone(), n, 0.5),
        p95_s: quantile_of(ours, n, 0.95),
        goal_s,
        peers_p50_s: peers(0.5),
        peers_p95_s: peers(0.95),
        peers_early: PEERS.iter().enumerate().map(|(i, name)| ((*name).to_owned(), early(i))).collect(),
    }
}

/// Runs stories as a scope says. `tell` hears of each that matters, and why.
pub fn survey(scope: Scope, mut tell_of: impl FnMut(&str, &[Violation])) -> Report {
    let stories = |what: &str, n: u64, kind: Kind| {
        all(what, n, scope.threads, |i| run(scope.seed.wrapping_add(i), kind))
    };
    let rough = stories("rough", scope.rough, Kind::Rough);
    let healthy = stories("healthy", scope.healthy, Kind::Healthy);
    for ending in rough.iter().chain(&healthy) {
        if !ending.violations.is_empty() || ending.false_rollback() {
            let (seed, fault, detector) = (ending.seed, ending.fault, ending.detector);
            let what = format!("seed {seed}: {fault:?} ended {:?} by {detector:?}", ending.phase);
            let cast = if fault == Fault::None { &ending.cast } else { "" };
            tell_of(&format!("{what} {cast}"), &ending.violations);
        }
    }
    let claims = all("claims", scope.slight, scope.threads, |i| {
        let bp = SLIGHT_BP[(i % SLIGHT_BP.len() as u64) as usize];
        (bp, run(scope.seed.wrapping_add(i), Kind::Slight(bp)))
    });
    let (n_kills, killed) = if scope.kills { told_kills(scope.threads) } else { (0, Vec::new()) };
    for (what, violations) in &killed {
        tell_of(what, violations);
    }
    let mut report = summary(scope, &rough, &healthy);
    report.add_claims(&claims);
    report.kills = n_kills;
    report.invariant_violations += killed.iter().map(|(_, found)| found.len() as u64).sum::<u64>();
    report.add_faults(time_faults(scope));
    report
}

/// Tells all kills of all plots: how many, and what was found.
fn told_kills(threads: usize) -> (u64, Vec<(String, Vec<Violation>)>) {
    let (mut n, mut found) = (0, Vec::new());
    for plot in PLOTS {
        let without = tell(plot, None);
        let kills = kills(plot);
        n += kills.len() as u64;
        let told = all(&format!("kills, {plot:?}"), kills.len() as u64, threads, |i| {
            kills.get(i as usize).map(|kill| try_kill(kill, &without)).unwrap_or_default()
        });
        if !without.violations.is_empty() {
            found.push((format!("{plot:?} without a kill"), without.violations));
        }
        for (kill, violations) in kills.iter().zip(told).filter(|(_, violations)| !violations.is_empty()) {
            found.push((
                format!("{:?}: {:?} in step {} at {}", kill.plot, kill.mishap, kill.step, kill.at),
                violations,
            ));
        }
    }
    (n, found)
}

impl Report {
    /// Whether nothing speaks against what is promised: invariants, false rollbacks, and, where enough rollouts of each
    /// fault were timed, the goals of detection.
    pub fn is_good(&self) -> bool {
        let is_timed = self.faults.first().is_some_and(|row| row.rollouts >= TIMED_ENOUGH);
        let is_kept = self.healthy_rollouts == 0 || self.promise != Promise::Broken;
        self.invariant_violations == 0 && is_kept && (self.goals_met || !is_timed)
    }

    fn add_faults(&mut self, faults: Vec<Row>) {
        self.half_broken_1pct_100rps_p95_s =
            faults.iter().find(|row| row.fault == HALF_BROKEN).and_then(|row| row.p95_s);
        self.goals_met = faults.iter().all(Row::reaches_its_goal);
        self.faults = faults;
    }

    fn add_claims(&mut self, claims: &[(u16, Ending)]) {
        let made = || claims.iter().filter_map(|(bp, ending)| Some((*bp, ending.claimed_bp?)));
        self.claims = made().count() as u64;
        // Ruled out is "this much worse, or more".
        self.claims_wrong = made().filter(|(bp, claimed)| u32::from(*bp) >= *claimed).count() as u64;
        if bounds::lower(self.claims_wrong, self.claims, 0.99) > 0.05 {
            self.invariant_violations += 1;
        }
        self.invariant_violations +=
            claims.iter().map(|(_, ending)| ending.violations.len() as u64).sum::<u64>();
    }
}

fn summary(scope: Scope, rough: &[Ending], healthy: &[Ending]) -> Report {
    let both = || rough.iter().chain(healthy);
    let hard = |ending: &&Ending| matches!(ending.fault, Fault::Dead | Fault::Hang) || errors(ending);
    let spans = |keep: &dyn Fn(&Ending) -> bool| {
        let calm = both().filter(|ending| ending.calm && keep(ending));
        calm.filter_map(|ending| ending.bad_span_ms).collect::<Vec<_>>()
    };
    let dead = spans(&|ending| matches!(ending.fault, Fault::Dead | Fault::Hang));
    let failing = spans(&|ending| errors(ending) && ending.rate >= 100.0);
    let wrong: Vec<&Ending> = healthy.iter().filter(|ending| ending.false_rollback()).collect();
    let by =
        counted(wrong.iter().map(|ending| ending.detector.map_or("none".into(), |it| format!("{it:?}"))));
    let n = healthy.len() as u64;
    let bound = |k: u64| bounds::upper(k, n, 0.99);
    let worst = by.values().copied().chain([wrong.len() as u64]).max().unwrap_or(0);
    let peer = |i: usize| {
        healthy.iter().filter(|ending| ending.peers_ms.get(i).is_some_and(Option::is_some)).count()
    };
    Report {
        healthy_rollouts: n,
        false_rollbacks: wrong.len() as u64,
        false_rollbacks_upper_99: bound(wrong.len() as u64),
        alpha: FALSE_ROLLBACK_ALPHA,
        false_rollbacks_upper_99_by: by.iter().map(|(name, k)| (name.clone(), bound(*k))).collect(),
        within_alpha: bound(worst) <= ALLOWED,
        promise: Promise::of(worst, n),
        false_rollbacks_by: by,
        peers_false_rollbacks: PEERS
            .iter()
            .enumerate()
            .map(|(i, name)| ((*name).to_owned(), peer(i) as u64))
            .collect(),
        healthy_held: counted(healthy.iter().filter_map(|ending| ending.held.clone())),
        false_seeds: wrong.iter().map(|ending| ending.seed).collect(),
        rough_rollouts: rough.len() as u64,
        broken: both().filter(hard).count() as u64,
        broken_taken_back: both()
            .filter(hard)
            .filter(|ending| ending.phase == Some(Phase::RolledBack))
            .count() as u64,
        dead_p99_s: quantile(dead, 0.99),
        errors_p50_s: quantile(failing.clone(), 0.5),
        errors_p95_s: quantile(failing, 0.95),
        faults: Vec::new(),
        half_broken_1pct_100rps_p95_s: None,
        goals_met: true,
        claims: 0,
        claims_wrong: 0,
        kills: 0,
        seed: scope.seed,
        invariant_violations: both().map(|ending| ending.violations.len() as u64).sum(),
        failing_seeds: both()
            .filter(|ending| !ending.violations.is_empty())
            .map(|ending| ending.seed)
            .collect(),
        simulated_hours: both().map(|ending| ending.secs).sum::<u64>() as f64 / 3600.0,
    }
}

/// How often each word comes.
fn counted(words: impl Iterator<Item = String>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    words.for_each(|word| *counts.entry(word).or_default() += 1);
    counts
}

fn errors(ending: &Ending) -> bool {
    ending.fault == Fault::Errors(1.0)
}

fn quantile(ms: Vec<u64>, q: f64) -> Option<f64> {
    let n = ms.len() as u64;
    quantile_of(ms, n, q)
}

/// The quantile of `n` values of which only the smallest are known.
fn quantile_of(mut ms: Vec<u64>, n: u64, q: f64) -> Option<f64> {
    ms.sort_unstable();
    let rank = (q * n as f64).ceil().max(1.0) as usize;
    ms.get(rank - 1).map(|ms| *ms as f64 / 1000.0)
}
