//! A source that remembers what it was asked and whether there was anything.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use hmsops_model::sample::is_stale_nan;
use hmsops_model::series::{Found, Selection, Series, SourceError, Values};
use hmsops_model::{Budget, Matcher, SeriesSource, Value};

/// What was found for one set of matchers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sighting {
    /// Some sample that is no mark of an end.
    pub(super) data: bool,
    /// Some sample that is no tally of zeros and ones.
    pub(super) other: bool,
}

/// A source that remembers.
pub(super) struct Witness<'s> {
    source: &'s dyn SeriesSource,
    seen: Mutex<BTreeMap<String, Sighting>>,
}

impl<'s> Witness<'s> {
    pub(super) fn new(source: &'s dyn SeriesSource) -> Self {
        Self { source, seen: Mutex::default() }
    }

    /// Whether any selector found a sample.
    pub(super) fn has_data(&self) -> bool {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).values().any(|seen| seen.data)
    }

    /// Whether everything these matchers found are tallies whose values are all 0 or 1.
    pub(super) fn is_share(&self, matchers: &[Matcher]) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&key(matchers)).is_some_and(|seen| seen.data && !seen.other)
    }

    fn see(&self, key: &str, series: &Series) {
        let sighting = sighting(series);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let known = seen.entry(key.to_owned()).or_default();
        known.data |= sighting.data;
        known.other |= sighting.other;
    }
}

impl SeriesSource for Witness<'_> {
    fn select<'a>(&'a self, selection: &Selection<'_>, budget: &Budget) -> Result<Found<'a>, SourceError> {
        let key = key(selection.matchers);
        let found = self.source.select(selection, budget)?;
        Ok(Box::new(found.inspect(move |series| {
            if let Ok(series) = series {
                self.see(&key, series);
            }
        })))
    }
}

fn key(matchers: &[Matcher]) -> String {
    format!("{matchers:?}")
}

fn sighting(series: &Series) -> Sighting {
    match series.samples.values() {
        Values::Floats(floats) => {
            let data = floats.iter().any(|value| !is_stale_nan(*value));
            Sighting { data, other: data }
        }
        Values::Mixed(values) => {
            let alive = values.iter().filter(|value| !value.is_stale());
            let is_share = |value: &Value| matches!(value, Value::Tally(tally) if tally.is_share());
            let mut sighting = Sighting::default();
            for value in alive {
                sighting.data = true;
                sighting.other |= !is_share(value);
            }
            sighting
        }
    }
}
