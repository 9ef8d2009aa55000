//! How a store is doing, for its own metrics.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::batch::{Appended, Refused};
use crate::manifest::Manifest;

/// How a store is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Series now.
    pub series: usize,
    /// Series at most.
    pub series_max: usize,
    /// Samples stored since the start.
    pub samples_appended: u64,
    /// Samples that were there already, since the start.
    pub duplicates: u64,
    /// Samples that came after a newer one of their series, since the start: while it stands still, what was read of
    /// the past is still true.
    pub late: u64,
    /// Batches that were stored before, since the start.
    pub repeats: u64,
    /// Samples refused since the start, by reason. `first` and `places` are not set.
    pub refused: Refused,
    /// Bytes written to the write-ahead log since the last checkpoint.
    pub wal_bytes: u64,
    /// Bytes of chunks on disk, with their indexes.
    pub chunk_bytes: u64,
    /// Files of chunks.
    pub chunk_files: usize,
    /// Sources whose batches are remembered.
    pub sources: usize,
    /// Checkpoints since the start.
    pub checkpoints: u64,
    /// Why nothing is taken, if so.
    pub latched: Option<String>,
    /// Why the last checkpoint failed, if so. Samples are taken nevertheless, and the log grows.
    pub checkpoint_error: Option<String>,
}

/// What is counted since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) stored: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) late: AtomicU64,
    pub(crate) repeats: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    pub(crate) chunk_bytes: AtomicU64,
    pub(crate) chunk_files: AtomicUsize,
    over_budget: AtomicU64,
    too_old: AtomicU64,
    too_new: AtomicU64,
    conflicting: AtomicU64,
    bad_labels: AtomicU64,
}

impl Counters {
    pub(crate) fn count(&self, appended: &Appended) {
        let refused = &appended.refused;
        for (counter, more) in [
            (&self.stored, appended.stored),
            (&self.duplicates, appended.duplicates),
            (&self.repeats, usize::from(appended.is_repeat)),
            (&self.over_budget, refused.over_budget),
            (&self.too_old, refused.too_old),
            (&self.too_new, refused.too_new),
            (&self.conflicting, refused.conflicting),
            (&self.bad_labels, refused.bad_labels),
        ] {
            if more > 0 {
                counter.fetch_add(more as u64, Ordering::Relaxed);
            }
        }
    }

    /// Kept here, because whoever asks must not wait for a checkpoint.
    pub(crate) fn count_files(&self, manifest: &Manifest) {
        let bytes = manifest.segments.iter().map(crate::segment::SegmentEntry::end).sum();
        self.chunk_bytes.store(bytes, Ordering::Relaxed);
        self.chunk_files.store(manifest.segments.len(), Ordering::Relaxed);
    }

    pub(crate) fn refused(&self) -> Refused {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as usize;
        Refused {
            over_budget: read(&self.over_budget),
            too_old: read(&self.too_old),
            too_new: read(&self.too_new),
            conflicting: read(&self.conflicting),
            bad_labels: read(&self.bad_labels),
            first: None,
            places: Vec::new(),
        }
    }
}
