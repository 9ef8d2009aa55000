//! What is appended, and what became of it.

use hmsops_model::labels::Labels;
use hmsops_model::sample::Value;

/// Samples that are stored together: after a crash all of them are there or none.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    /// Who sends it, if repeats are to be recognised.
    pub origin: Option<Origin<'a>>,
    /// The samples.
    pub rows: Vec<Row<'a>>,
}

/// What makes a batch recognisable when it is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Who numbers it: one run of one program. A program that begins to count anew must take another name, or
    /// its batches are taken for repeats. At most [`SOURCE_BYTES_MAX`](crate::options::SOURCE_BYTES_MAX) bytes.
    pub source: &'a str,
    /// Its number there.
    pub sequence: u64,
}

/// One sample.
#[derive(Debug)]
pub struct Row<'a> {
    /// Of which series.
    pub key: Key<'a>,
    /// When, in Unix milliseconds.
    pub time: i64,
    /// When its counter began, in Unix milliseconds; 0 when unknown.
    pub start: i64,
    /// What.
    pub value: Value,
}

/// How a row names its series.
#[derive(Clone, Copy)]
pub enum Key<'a> {
    /// By its labels.
    Labels(&'a Labels),
    /// By bytes that stand for them, as they came over the wire.
    Wire {
        /// The bytes. Equal bytes always mean the same series.
        bytes: &'a [u8],
        /// Makes labels of them; called only when the bytes are new.
        parse: &'a dyn Fn(&[u8]) -> Result<Labels, String>,
    },
}

impl std::fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Labels(labels) => write!(f, "{labels}"),
            Self::Wire { bytes, .. } => write!(f, "{} wire bytes", bytes.len()),
        }
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Appended {
    /// Samples stored.
    pub stored: usize,
    /// Samples that were there already, to the bit.
    pub duplicates: usize,
    /// Of both, those that are histograms.
    pub histograms: usize,
    /// The batch was stored before; nothing was done.
    pub is_repeat: bool,
    /// Samples refused.
    pub refused: Refused,
}

/// Refused samples of which it is said what is wrong with them: the rest has the same few reasons.
pub const REFUSALS_SHOWN_MAX: usize = 100;

/// Samples that were refused, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refused {
    /// Of new series, while there are as many as there may be.
    pub over_budget: usize,
    /// Older than the retention, or than the newest of their series.
    pub too_old: usize,
    /// Too far in the future.
    pub too_new: usize,
    /// The series has another value at that moment.
    pub conflicting: usize,
    /// Their labels are not acceptable.
    pub bad_labels: usize,
    /// What is wrong with the first of them, for the answer.
    pub first: Option<String>,
    /// Places in the batch, from 0, with what is wrong there; at most [`REFUSALS_SHOWN_MAX`].
    pub places: Vec<(usize, String)>,
}

impl Refused {
    /// All together.
    pub const fn total(&self) -> usize {
        self.over_budget + self.too_old + self.too_new + self.conflicting + self.bad_labels
    }

    pub(crate) fn add(&mut self, place: usize, refusal: Refusal) {
        let (counter, text) = match refusal {
            Refusal::OverBudget(text) => (&mut self.over_budget, text),
            Refusal::TooOld(text) => (&mut self.too_old, text),
            Refusal::TooNew(text) => (&mut self.too_new, text),
            Refusal::Conflicting(text) => (&mut self.conflicting, text),
            Refusal::BadLabels(text) => (&mut self.bad_labels, text),
        };
        *counter += 1;
        self.first.get_or_insert_with(|| text.clone());
        if self.places.len() < REFUSALS_SHOWN_MAX {
            self.places.push((place, text));
        }
    }
}

/// Why one sample is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    OverBudget(String),
    TooOld(String),
    TooNew(String),
    Conflicting(String),
    BadLabels(String),
}
