//! What can go wrong with a store.

use hmsops_disk::{DiskError, LogError};

/// Why a store cannot be opened, or took nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// A file could not be read or written.
    #[error("the metric store cannot use its disk")]
    Disk(#[from] DiskError),
    /// A log of the store could not be read or written.
    #[error("the metric store cannot use its log")]
    Log(#[from] LogError),
    /// A file is not what was written.
    #[error("`{path}` is damaged: {what}")]
    Corrupt {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// An earlier write or sync failed; nothing is taken, what is there can be read.
    #[error("the metric store takes nothing since an earlier failure: {why}")]
    Latched {
        /// The failure.
        why: String,
    },
    /// The batch is larger than what is taken at once.
    #[error("a batch of {bytes} bytes is more than the {limit} that are taken at once; send less at a time")]
    TooLarge {
        /// Its size in the log.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The name of a source is empty or too long.
    #[error("the name of a batch's source has {bytes} bytes, expected 1 to {limit}")]
    Source {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The operating system gave no random key.
    #[error("the metric store got no random key from the operating system: {why}")]
    Random {
        /// Why.
        why: String,
    },
}

impl StoreError {
    /// The text with its causes, for a place that keeps only text.
    pub fn chain(&self) -> String {
        match self {
            Self::Disk(disk) => disk.chain(),
            Self::Log(log) => log.chain(),
            _ => self.to_string(),
        }
    }

    pub(crate) fn corrupt(path: &str, what: &(impl ToString + ?Sized)) -> Self {
        Self::Corrupt { path: path.to_owned(), what: what.to_string() }
    }
}
