//! What a store is opened with, and the bounds that nobody sets.

use hmsops_model::Millis;

/// The settings of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Series at once. Above it new ones are refused and known ones keep flowing.
    pub series_max: usize,
    /// How long samples are kept. Older ones are neither taken nor shown for long.
    pub retention: Millis,
    /// Floats and histograms older than the newest sample of their series by more than this are refused; zero
    /// means strictly in order. Tallies are taken in any order.
    pub late_window: Millis,
    /// A checkpoint is due when the write-ahead log has grown by so many bytes.
    pub checkpoint_bytes: u64,
    /// A checkpoint is due so long after the last when anything was written: the longest replay at start.
    pub checkpoint_interval: Millis,
    /// The key of the hash of label sets and of their wire bytes, so that nobody can choose what collides;
    /// `None` takes one from the operating system.
    pub hash_key: Option<[u8; 16]>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            series_max: 1_000_000,
            retention: Millis::from_mins(15 * 24 * 60),
            late_window: Millis::ZERO,
            checkpoint_bytes: 32 << 20,
            checkpoint_interval: Millis::from_mins(2),
            hash_key: None,
        }
    }
}

/// How far in the future a sample may be: clocks of machines differ by seconds, never by minutes, unless broken.
pub const FUTURE_MAX: Millis = Millis::from_mins(10);

/// Labels of a series: twice what anyone needs; each costs an index entry.
pub const LABELS_MAX: usize = 64;

/// Bytes of a label's name.
pub const LABEL_NAME_BYTES_MAX: usize = 1 << 10;

/// Bytes of a label's value: stack traces and queries do not belong into labels.
pub const LABEL_VALUE_BYTES_MAX: usize = 4 << 10;

/// Bytes of all names and values of a series.
pub const LABELS_BYTES_MAX: usize = 16 << 10;

/// Bytes of one batch in the write-ahead log, above any request that a door lets in.
pub const BATCH_BYTES_MAX: usize = 32 << 20;

/// Sources whose sequences are remembered; above it those silent longest are forgotten.
pub const SOURCES_MAX: usize = 100_000;

/// Runs of sequences without a gap that are remembered of a source; the lowest is forgotten first. More gaps than
/// a source ever has batches under way, so at least its last so many batches are remembered, and mostly all.
pub const RUNS_KEPT: usize = 64;

/// A source that is silent for so long is forgotten: nobody sends again after a day.
pub const SOURCE_KEPT: Millis = Millis::from_mins(24 * 60);

/// Bytes of a source's name.
pub const SOURCE_BYTES_MAX: usize = 256;
