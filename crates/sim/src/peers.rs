//! How others judge a canary, modelled on the same traffic: what they need the canary's and stable's requests and bad
//! answers for, second by second. Models of their documented rules, not runs of their programs.

use std::collections::VecDeque;

use hmsops_model::{Millis, Tick};

use crate::latency::normal_tail;

/// Between two judgements of the models that judge often.
const JUDGE_EVERY: u64 = 10;

/// Seconds that a fixed threshold looks back.
const WINDOW_SECS: usize = 60;

/// Share of bad answers above which a fixed threshold counts a failed check.
const BAD_SHARE_MAX: f64 = 0.01;

/// Names of the models, in the order of [`Peers::judged`].
pub const PEERS: [&str; 5] = ["threshold 1", "threshold 5", "threshold 10", "z-test, peeked", "Mann-Whitney"];

/// What each model is, in a sentence.
pub const PEERS_ARE: [&str; 3] = [
    "threshold N: success rate of the last 60 s below 99 %, checked each 10 s, N failed checks (Flagger's rule)",
    "z-test, peeked: pooled two-proportion test of all requests so far, each 10 s, one-sided p < 0.01",
    "Mann-Whitney: one-minute error shares of both versions, from 3 on, each minute, one-sided p < 0.025 (Kayenta's)",
];

/// Requests and bad answers.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    stable: (u64, u64),
    canary: (u64, u64),
}

impl Cell {
    fn add(&mut self, other: &Self) {
        self.stable.0 += other.stable.0;
        self.stable.1 += other.stable.1;
        self.canary.0 += other.canary.0;
        self.canary.1 += other.canary.1;
    }
}

/// All models, side by side.
#[derive(Debug, Default)]
pub struct Peers {
    since: Option<Millis>,
    second: Cell,
    secs: u64,
    window: VecDeque<Cell>,
    total: Cell,
    minute: Cell,
    minutes: Vec<(f64, f64)>,
    failed_checks: u64,
    /// When each model condemned the canary, if it did; from the fault on, if there is one.
    pub judged: [Option<Millis>; 5],
    /// Which of them had condemned it before there was a fault.
    pub early: [bool; 5],
    broken: bool,
}

impl Peers {
    /// Takes in what a gateway counted while the canary has a share. What condemned a canary before its fault is let
    /// go on, as if a person had said so.
    pub fn observe(&mut self, now: Millis, tick: &Tick, broken_at: Option<Millis>) {
        if !self.broken && broken_at.is_some_and(|at| now >= at) {
            (self.broken, self.failed_checks) = (true, 0);
            self.early = self.judged.map(|at| at.is_some());
            self.judged = [None; 5];
        }
        let since = *self.since.get_or_insert(now);
        while now.since(since).0 / 1000 > self.secs {
            self.secs += 1;
            self.end_second(now);
        }
        self.second.add(&Cell {
            stable: (tick.stable.requests, tick.stable.n_bad()),
            canary: (tick.canary.requests, tick.canary.n_bad()),
        });
    }

    fn end_second(&mut self, now: Millis) {
        let second = std::mem::take(&mut self.second);
        self.window.push_back(second);
        if self.window.len() > WINDOW_SECS {
            self.window.pop_front();
        }
        self.total.add(&second);
        self.minute.add(&second);
        if self.secs.is_multiple_of(JUDGE_EVERY) {
            self.check_threshold(now);
            if z_score(&self.total) > Z_001 {
                self.condemn(3, now);
            }
        }
        if self.secs.is_multiple_of(60) {
            let minute = std::mem::take(&mut self.minute);
            if minute.canary.0 > 0 && minute.stable.0 > 0 {
                self.minutes.push((share(minute.canary), share(minute.stable)));
            }
            if self.minutes.len() >= 3 && mann_whitney(&self.minutes) < 0.025 {
                self.condemn(4, now);
            }
        }
    }

    fn check_threshold(&mut self, now: Millis) {
        let mut sum = Cell::default();
        self.window.iter().for_each(|cell| sum.add(cell));
        if sum.canary.0 > 0 && share(sum.canary) > BAD_SHARE_MAX {
            self.failed_checks += 1;
            for (model, threshold) in [1, 5, 10].into_iter().enumerate() {
                if self.failed_checks >= threshold {
                    self.condemn(model, now);
                }
            }
        }
    }

    fn condemn(&mut self, model: usize, now: Millis) {
        if let Some(at) = self.judged.get_mut(model) {
            at.get_or_insert(now);
        }
    }
}

/// The standard normal quantile of 0.99.
const Z_001: f64 = 2.326_348;

fn share((n, bad): (u64, u64)) -> f64 {
    bad as f64 / n.max(1) as f64
}

/// The pooled two-proportion z statistic (Fleiss, *Statistical Methods for Rates and Proportions*, §2.4).
fn z_score(cell: &Cell) -> f64 {
    let (n, m) = (cell.canary.0 as f64, cell.stable.0 as f64);
    let pooled = (cell.canary.1 + cell.stable.1) as f64 / (n + m).max(1.0);
    let error = (pooled * (1.0 - pooled) * (1.0 / n.max(1.0) + 1.0 / m.max(1.0))).sqrt();
    if error > 0.0 { (share(cell.canary) - share(cell.stable)) / error } else { 0.0 }
}

/// One-sided p-value that the first of each pair tends to be larger: normal approximation with ties and continuity
/// correction (Mann and Whitney 1947; Lehmann, *Nonparametrics*, §1.5).
fn mann_whitney(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let mut wins = 0.0;
    for (canary, _) in points {
        for (_, stable) in points {
            wins += if canary > stable { 1.0 } else { f64::from(u8::from(canary >= stable)) * 0.5 };
        }
    }
    let mut all: Vec<f64> = points.iter().flat_map(|(canary, stable)| [*canary, *stable]).collect();
    all.sort_by(f64::total_cmp);
    let ties: f64 = all
        .chunk_by(|a, b| a.total_cmp(b).is_eq())
        .map(|run| (run.len() as f64).powi(3) - run.len() as f64)
        .sum();
    let variance = n * n / 12.0 * ((2.0 * n + 1.0) - ties / (2.0 * n * (2.0 * n - 1.0)));
    if variance <= 0.0 { 1.0 } else { normal_tail((wins - n * n / 2.0 - 0.5) / variance.sqrt()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mann_whitney_gives_the_p_values_of_the_literature() {
        // Ten points each, the canary broken in three and equal in seven: R's wilcox.test gives two-sided 0.077.
        let points: Vec<(f64, f64)> = (0..10).map(|i| (if i < 3 { 1.0 } else { 0.0 }, 0.0)).collect();
        let p = 2.0 * mann_whitney(&points);
        assert!((p - 0.077).abs() < 0.003, "{p}");
        assert!(mann_whitney(&[(0.0, 0.0); 5]) >= 0.99);
    }

    #[test]
    fn the_z_statistic_is_the_textbooks() {
        let cell = Cell { stable: (1000, 10), canary: (100, 5) };
        assert!((z_score(&cell) - 3.289).abs() < 0.01, "{}", z_score(&cell));
    }
}
