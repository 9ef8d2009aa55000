//! Where queries find series: the trait at which the query engine and a store meet.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::labels::{Labels, Matcher};
use crate::sample::Value;

/// What is asked of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection<'a> {
    /// All must hold; a missing label has the empty value.
    pub matchers: &'a [Matcher],
    /// The earliest moment wanted, in Unix milliseconds, inclusive.
    pub from: i64,
    /// The latest moment wanted, in Unix milliseconds, inclusive.
    pub to: i64,
    /// What a source may use to read less.
    pub hints: Hints,
}

/// What the query will do with the samples; a source is free to ignore it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hints {
    /// The distance of evaluation steps in milliseconds; 0 for an instant query.
    pub step: i64,
    /// The window before each step in milliseconds; 0 for an instant selector.
    pub range: i64,
    /// The function around the selector.
    pub function: Option<&'static str>,
    /// Only the label sets matter: samples may be left out.
    pub is_labels_only: bool,
    /// Of each series only the latest sample of the range matters: earlier ones may be left out.
    pub is_latest_only: bool,
}

/// The values of a series, by column, because most are floats and are read in bulk.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Only floats.
    Floats(Vec<f64>),
    /// At least one histogram or tally.
    Mixed(Vec<Value>),
}

/// Samples in strictly ascending time.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    times: Vec<i64>,
    starts: Vec<i64>,
    values: Values,
}

impl Default for Samples {
    fn default() -> Self {
        Self { times: Vec::new(), starts: Vec::new(), values: Values::Floats(Vec::new()) }
    }
}

impl Samples {
    /// From columns of equal length, in strictly ascending time, without start timestamps.
    ///
    /// # Panics
    /// When the columns differ in length.
    pub fn from_floats(times: Vec<i64>, values: Vec<f64>) -> Self {
        assert_eq!(times.len(), values.len(), "columns of equal length");
        Self { times, starts: Vec::new(), values: Values::Floats(values) }
    }

    /// Appends one, whose time in Unix milliseconds must be after the last; `start` is when its counter began,
    /// 0 when unknown.
    pub fn push(&mut self, time: i64, start: i64, value: Value) {
        if start != 0 || !self.starts.is_empty() {
            self.starts.resize(self.times.len(), 0);
            self.starts.push(start);
        }
        self.times.push(time);
        match (&mut self.values, value) {
            (Values::Floats(floats), Value::Float(value)) => floats.push(value),
            (Values::Mixed(values), value) => values.push(value),
            (Values::Floats(floats), value) => {
                let mut values: Vec<Value> = floats.drain(..).map(Value::Float).collect();
                values.push(value);
                self.values = Values::Mixed(values);
            }
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Their times, in Unix milliseconds, strictly ascending.
    pub fn times(&self) -> &[i64] {
        &self.times
    }

    /// Their values, in step with the times.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The value at an index below [`len`](Self::len).
    pub fn value(&self, index: usize) -> Value {
        match &self.values {
            Values::Floats(floats) => Value::Float(floats[index]),
            Values::Mixed(values) => values[index].clone(),
        }
    }

    /// When the counter behind the sample at an index began, in Unix milliseconds; 0 when unknown.
    pub fn start(&self, index: usize) -> i64 {
        self.starts.get(index).copied().unwrap_or(0)
    }

    /// Whether any start timestamp is known.
    pub fn has_starts(&self) -> bool {
        !self.starts.is_empty()
    }

    /// Those at the indexes of a range within [`len`](Self::len).
    #[must_use]
    pub fn part(&self, range: std::ops::Range<usize>) -> Self {
        let starts = self.starts.get(range.clone()).unwrap_or_default().to_vec();
        let values = match &self.values {
            Values::Floats(floats) => Values::Floats(floats[range.clone()].to_vec()),
            Values::Mixed(values) => Values::Mixed(values[range.clone()].to_vec()),
        };
        Self { times: self.times[range].to_vec(), starts, values }
    }

    /// The columns themselves: times, start timestamps (empty when none is known), values.
    pub fn into_columns(self) -> (Vec<i64>, Vec<i64>, Values) {
        (self.times, self.starts, self.values)
    }

    /// The bytes they occupy in memory, about.
    pub fn size(&self) -> usize {
        let values = match &self.values {
            Values::Floats(floats) => floats.len() * 8,
            Values::Mixed(values) => values
                .iter()
                .map(|value| match value {
                    Value::Histogram(histogram) => size_of::<Value>() + histogram.size(),
                    _ => size_of::<Value>(),
                })
                .sum(),
        };
        (self.times.len() + self.starts.len()) * 8 + values
    }
}

/// One series of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What it is called.
    pub labels: Labels,
    /// Its samples within the selection; may be empty.
    pub samples: Samples,
}

/// What a source hands out: series in any order, each label set once.
pub type Found<'a> = Box<dyn Iterator<Item = Result<Series, SourceError>> + 'a>;

/// Where series come from. Synchronous: what it reads is resident, or fetched before and budgeted.
pub trait SeriesSource {
    /// The series that all matchers pick, with their samples from `from` to `to`. The source charges `budget`
    /// before it reads what it hands out.
    fn select<'a>(&'a self, selection: &Selection<'_>, budget: &Budget) -> Result<Found<'a>, SourceError>;
}

/// Why a source cannot answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceError {
    /// The query would hold more than it may.
    OverBudget {
        /// What there is too much of: `samples` or `bytes`.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// Together with the other queries under way it would hold more than all may.
    Busy,
    /// Who asked is gone, or has called it off.
    Cancelled,
    /// A matcher cannot be run, or reading failed: says what and why.
    Failed(String),
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OverBudget { what, limit } => {
                write!(f, "the query reads more than {limit} {what}; narrow its matchers or its time")
            }
            Self::Busy => f.write_str("the queries under way hold all the memory that queries may"),
            Self::Cancelled => f.write_str("the query was cancelled"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for SourceError {}

/// How much one query may hold, and whether it is still wanted. Shared by reference between the query, its
/// sources, and whoever may cancel it.
#[derive(Debug)]
pub struct Budget {
    samples_max: u64,
    bytes_max: u64,
    samples: AtomicU64,
    bytes: AtomicU64,
    is_cancelled: AtomicBool,
    /// What all queries together may hold; this one's share goes back when it ends.
    shared: Option<Arc<Budget>>,
}

impl Budget {
    /// For so many samples and so many bytes at once.
    pub const fn new(samples_max: u64, bytes_max: u64) -> Self {
        Self {
            samples_max,
            bytes_max,
            samples: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            is_cancelled: AtomicBool::new(false),
            shared: None,
        }
    }

    /// The same out of a budget that several queries share.
    #[must_use]
    pub fn within(mut self, shared: Arc<Self>) -> Self {
        self.shared = Some(shared);
        self
    }

    /// Takes so much, or refuses (and takes nothing) when it is more than is left or the query was called off.
    pub fn charge(&self, samples: u64, bytes: u64) -> Result<(), SourceError> {
        if self.is_cancelled.load(Ordering::Relaxed) {
            return Err(SourceError::Cancelled);
        }
        let add =
            |total: &AtomicU64, more: u64| total.fetch_add(more, Ordering::Relaxed).saturating_add(more);
        let (held_samples, held_bytes) = (add(&self.samples, samples), add(&self.bytes, bytes));
        let taken = if held_samples > self.samples_max {
            Err(SourceError::OverBudget { what: "samples", limit: self.samples_max })
        } else if held_bytes > self.bytes_max {
            Err(SourceError::OverBudget { what: "bytes", limit: self.bytes_max })
        } else {
            let shared = self.shared.as_ref().map_or(Ok(()), |shared| shared.charge(samples, bytes));
            shared.map_err(|_| SourceError::Busy)
        };
        if taken.is_err() {
            self.samples.fetch_sub(samples, Ordering::Relaxed);
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        taken
    }

    /// Gives back what is no longer held.
    pub fn release(&self, samples: u64, bytes: u64) {
        self.samples.fetch_sub(samples, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(shared) = &self.shared {
            shared.release(samples, bytes);
        }
    }

    /// Calls the query off: its next charge is refused.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
    }

    /// Samples held now.
    pub fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    /// Bytes held now.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.release(self.samples(), self.bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Tally;

    #[test]
    fn samples_stay_floats_until_something_else_comes() {
        let mut samples = Samples::default();
        samples.push(1, 0, Value::Float(1.0));
        assert!(matches!(samples.values(), Values::Floats(_)));
        samples.push(2, -5, Value::Tally(Tally::of(2.0)));
        assert_eq!((samples.value(0), samples.start(0), samples.start(1)), (Value::Float(1.0), 0, -5));
        assert_eq!((samples.len(), samples.value(1)), (2, Value::Tally(Tally::of(2.0))));
        let second = samples.part(1..2);
        assert_eq!((second.times(), second.start(0), second.value(0)), (&[2][..], -5, samples.value(1)));
    }

    #[test]
    fn a_budget_refuses_what_is_too_much_and_what_was_called_off() {
        let budget = Budget::new(10, 1000);
        assert_eq!(budget.charge(10, 10), Ok(()));
        assert_eq!(budget.charge(1, 0), Err(SourceError::OverBudget { what: "samples", limit: 10 }));
        budget.release(1, 0);
        assert_eq!(budget.charge(1, 0), Ok(()));
        budget.cancel();
        assert_eq!(budget.charge(0, 0), Err(SourceError::Cancelled));
    }

    #[test]
    fn queries_share_a_budget_and_give_their_part_back() {
        let all = Arc::new(Budget::new(10, 1000));
        let one = Budget::new(8, 1000).within(all.clone());
        let two = Budget::new(8, 1000).within(all.clone());
        assert_eq!((one.charge(6, 1), two.charge(5, 1)), (Ok(()), Err(SourceError::Busy)));
        assert_eq!(one.charge(3, 0), Err(SourceError::OverBudget { what: "samples", limit: 8 }));
        drop((one, two));
        assert_eq!((all.samples(), all.bytes()), (0, 0));
    }
}
