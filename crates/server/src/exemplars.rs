//! Examples of what series counted, with the traces they are of: the latest hundred thousand, in memory, as Prometheus
//! keeps them. They are gone with the tower; samples are not.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use hmsops_model::Labels;

/// Exemplars that are kept, as in Prometheus' settings (`storage.exemplars.max_exemplars`).
pub(crate) const EXEMPLARS_MAX: usize = 100_000;

/// Bytes of names and values of one; OpenMetrics allows 128 characters.
const LABELS_BYTES_MAX: usize = 512;

/// An example of what a series counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// Where it is from, as `trace_id`; may be empty.
    pub labels: Labels,
    /// When, in Unix milliseconds.
    pub time: i64,
    /// What was counted.
    pub value: f64,
}

/// The latest exemplars.
#[derive(Debug, Default)]
pub struct Exemplars(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// By series, in the order of time.
    each: HashMap<Labels, VecDeque<Exemplar>>,
    /// Of which series the ones are that are kept, in the order they came.
    order: VecDeque<Labels>,
}

impl Exemplars {
    /// Keeps one; answers whether it is there. One that is older than the latest of its series, or too long, is not kept.
    pub fn add(&self, series: &Labels, exemplar: Exemplar) -> bool {
        let bytes: usize = exemplar.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > LABELS_BYTES_MAX {
            return false;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { each, order } = &mut *kept;
        let of = each.entry(series.clone()).or_default();
        match of.back() {
            Some(last) if *last == exemplar => return true,
            Some(last) if last.time > exemplar.time => return of.contains(&exemplar),
            _ => {}
        }
        of.push_back(exemplar);
        order.push_back(series.clone());
        if order.len() > EXEMPLARS_MAX
            && let Some(oldest) = order.pop_front()
            && let Some(of) = each.get_mut(&oldest)
        {
            of.pop_front();
            if of.is_empty() {
                each.remove(&oldest);
            }
        }
        true
    }

    /// Those of a series from one moment to another, in Unix milliseconds, both inclusive.
    pub fn of(&self, series: &Labels, (from, to): (i64, i64)) -> Vec<Exemplar> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = kept.each.get(series).into_iter().flatten();
        of.filter(|exemplar| (from..=to).contains(&exemplar.time)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_stay_and_repeats_are_one() {
        let exemplars = Exemplars::default();
        let series = |n: usize| Labels::new([("__name__", "x".to_owned()), ("n", n.to_string())]);
        let of = |time: i64| Exemplar { labels: Labels::new([("trace_id", "t")]), time, value: 1.0 };
        assert!(
            exemplars.add(&series(0), of(5))
                && exemplars.add(&series(0), of(7))
                && exemplars.add(&series(0), of(5))
        );
        assert!(!exemplars.add(&series(0), of(6)), "older than the latest");
        assert_eq!(exemplars.of(&series(0), (0, 6)), [of(5)]);
        let long = Exemplar { labels: Labels::new([("a", "x".repeat(600))]), ..of(9) };
        assert!(!exemplars.add(&series(0), long));
        for n in 1..=EXEMPLARS_MAX {
            assert!(exemplars.add(&series(n), of(1)));
        }
        assert!(exemplars.of(&series(0), (0, 10)).is_empty(), "the oldest made way");
        assert_eq!(exemplars.of(&series(EXEMPLARS_MAX), (0, 10)).len(), 1);
    }
}
