//! Samples being read: columns of floats as long as nothing else comes.

use std::sync::Arc;

use hmsops_model::sample::{Histogram, ResetHint, Value};
use hmsops_model::series::Samples;

use crate::reset;

/// Collects the samples of one series within a range of time, from several runs that may overlap.
#[derive(Debug)]
pub(crate) struct Columns {
    from: i64,
    to: i64,
    times: Vec<i64>,
    starts: Vec<i64>,
    values: Column,
    is_sorted: bool,
}

#[derive(Debug)]
enum Column {
    Floats(Vec<f64>),
    Mixed(Vec<Value>),
}

impl Columns {
    /// For samples from `from` to `to`, both inclusive.
    pub(crate) const fn new(from: i64, to: i64) -> Self {
        Self {
            from,
            to,
            times: Vec::new(),
            starts: Vec::new(),
            values: Column::Floats(Vec::new()),
            is_sorted: true,
        }
    }

    /// Whether samples at and after `time` are of no interest any more.
    pub(crate) const fn is_past(&self, time: i64) -> bool {
        time > self.to
    }

    /// Takes a float when it is within the range.
    pub(crate) fn push_float(&mut self, time: i64, start: i64, value: f64) {
        if !self.take(time, start) {
            return;
        }
        match &mut self.values {
            Column::Floats(floats) => floats.push(value),
            Column::Mixed(values) => values.push(Value::Float(value)),
        }
    }

    /// Takes any value when it is within the range.
    pub(crate) fn push(&mut self, time: i64, start: i64, value: Value) {
        if let Value::Float(value) = value {
            return self.push_float(time, start, value);
        }
        if !self.take(time, start) {
            return;
        }
        match &mut self.values {
            Column::Mixed(values) => values.push(value),
            Column::Floats(floats) => {
                let mut values: Vec<Value> = floats.drain(..).map(Value::Float).collect();
                values.push(value);
                self.values = Column::Mixed(values);
            }
        }
    }

    fn take(&mut self, time: i64, start: i64) -> bool {
        if time < self.from || time > self.to {
            return false;
        }
        self.is_sorted &= self.times.last().is_none_or(|last| *last < time);
        if start != 0 || !self.starts.is_empty() {
            self.starts.resize(self.times.len(), 0);
            self.starts.push(start);
        }
        self.times.push(time);
        true
    }

    /// The samples in the order of time. Of several at one moment tallies are merged in the order they came,
    /// of others the first counts; where runs overlapped, what is said of resets is worked out anew.
    pub(crate) fn finish(self) -> Samples {
        if self.is_sorted
            && self.starts.is_empty()
            && let Column::Floats(floats) = self.values
        {
            return Samples::from_floats(self.times, floats);
        }
        let mut rows = self.rows();
        if !rows.is_sorted_by(|a, b| a.0 < b.0) {
            rows.sort_by_key(|row| row.0);
            rows = merged(rows);
            hint_anew(&mut rows);
        }
        let mut samples = Samples::default();
        for (time, start, value) in rows {
            samples.push(time, start, value);
        }
        samples
    }

    fn rows(mut self) -> Vec<Row> {
        if !self.starts.is_empty() {
            self.starts.resize(self.times.len(), 0);
        }
        let starts = self.starts.into_iter().chain(std::iter::repeat(0));
        let values: Vec<Value> = match self.values {
            Column::Floats(floats) => floats.into_iter().map(Value::Float).collect(),
            Column::Mixed(values) => values,
        };
        self.times
            .into_iter()
            .zip(starts)
            .zip(values)
            .map(|((time, start), value)| (time, start, value))
            .collect()
    }
}

/// Time, start timestamp, value.
type Row = (i64, i64, Value);

fn merged(rows: Vec<Row>) -> Vec<Row> {
    let mut merged: Vec<Row> = Vec::with_capacity(rows.len());
    for (time, start, value) in rows {
        match (merged.last_mut(), value) {
            (Some((last, first_start, Value::Tally(before))), Value::Tally(later)) if *last == time => {
                *before = before.merge(later);
                *first_start = earliest(*first_start, start);
            }
            (Some((last, ..)), _) if *last == time => {}
            (_, value) => merged.push((time, start, value)),
        }
    }
    merged
}

/// Of two start timestamps the earlier; 0 says nothing.
pub(crate) fn earliest(a: i64, b: i64) -> i64 {
    match (a, b) {
        (0, known) | (known, 0) => known,
        (a, b) => a.min(b),
    }
}

fn hint_anew(rows: &mut [Row]) {
    let mut before: Option<Value> = None;
    for (_, _, value) in rows {
        if let Value::Histogram(histogram) = value
            && histogram.reset != ResetHint::Gauge
        {
            let plain = Histogram { reset: ResetHint::Unknown, ..(**histogram).clone() };
            *value = reset::hinted(before.as_ref(), Value::Histogram(Arc::new(plain)));
        }
        before = Some(value.clone());
    }
}

#[cfg(test)]
mod tests {
    use hmsops_model::sample::Tally;

    use super::*;

    #[test]
    fn runs_that_overlap_are_merged_by_kind() {
        let mut columns = Columns::new(1, 5);
        for (time, value) in [(0, 9.0), (1, 1.0), (3, 3.0), (6, 9.0), (2, 2.0), (3, 4.0)] {
            columns.push_float(time, 0, value);
        }
        let samples = columns.finish();
        assert_eq!(samples.times(), [1, 2, 3]);
        assert_eq!(samples.value(2), Value::Float(3.0), "the first of one moment counts");
        let mut columns = Columns::new(1, 5);
        for (time, value) in [(1, 1.0), (2, 2.0), (1, 5.0)] {
            columns.push(time, 0, Value::Tally(Tally::of(value)));
        }
        let samples = columns.finish();
        assert_eq!(samples.value(0), Value::Tally(Tally::of(1.0).merge(Tally::of(5.0))));
    }
}
