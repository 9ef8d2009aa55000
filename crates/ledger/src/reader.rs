//! Reading entries while somebody appends.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use hmsops_disk::DiskFile;
use hmsops_disk::frame::read_frame;
use hmsops_model::limits::LEDGER_ENTRY_BYTES_MAX;

use crate::{Entry, Finding, LedgerError, Position};

/// The most entries one read answers.
pub const READ_ENTRIES_MAX: usize = 10_000;

/// Which entries come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By rising number.
    OldestFirst,
    /// By falling number.
    NewestFirst,
}

/// Reads durable entries from disk, on any thread. Clones share one open file.
#[derive(Clone)]
pub struct LedgerReader {
    file: Arc<Mutex<Box<dyn DiskFile>>>,
    path: String,
    /// Where each durable entry begins; the ledger that writes pushes to it after each commit.
    offsets: Arc<RwLock<Vec<u64>>>,
}

impl LedgerReader {
    pub(crate) fn new(file: Box<dyn DiskFile>, path: String, offsets: Vec<u64>) -> Self {
        Self { file: Arc::new(Mutex::new(file)), path, offsets: Arc::new(RwLock::new(offsets)) }
    }

    pub(crate) fn extend(&self, offsets: &[u64]) {
        self.offsets.write().unwrap_or_else(PoisonError::into_inner).extend(offsets);
    }

    /// How many entries are there.
    pub fn size(&self) -> u64 {
        self.offsets.read().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    /// The bytes of an entry, those that are hashed; `None` when there is none of that number.
    pub fn bytes(&self, seq: u64) -> Result<Option<Vec<u8>>, LedgerError> {
        let offsets = self.offsets.read().unwrap_or_else(PoisonError::into_inner);
        let Some(&offset) = usize::try_from(seq).ok().and_then(|seq| offsets.get(seq)) else {
            return Ok(None);
        };
        drop(offsets);
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Some(read_frame(&**file, &self.path, offset, seq, LEDGER_ENTRY_BYTES_MAX)?))
    }

    /// The entry of that number, if there is one.
    pub fn get(&self, seq: u64) -> Result<Option<Entry>, LedgerError> {
        let Some(bytes) = self.bytes(seq)? else { return Ok(None) };
        let entry = Entry::decode(&bytes).ok().filter(|entry| entry.seq == seq);
        let damaged = || {
            LedgerError::Damaged(Finding::new(Position::Entry(seq), "it is no longer what was read before"))
        };
        entry.ok_or_else(damaged).map(Some)
    }

    /// The entries numbered in `range` that are there, at most `limit` and [`READ_ENTRIES_MAX`].
    pub fn read(&self, range: Range<u64>, order: Order, limit: usize) -> Result<Vec<Entry>, LedgerError> {
        let range = range.start..range.end.min(self.size());
        let limit = limit.min(READ_ENTRIES_MAX);
        let numbers: Vec<u64> = match order {
            Order::OldestFirst => range.take(limit).collect(),
            Order::NewestFirst => range.rev().take(limit).collect(),
        };
        numbers.into_iter().filter_map(|seq| self.get(seq).transpose()).collect()
    }
}

impl std::fmt::Debug for LedgerReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LedgerReader")
            .field("path", &self.path)
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}
