//! What can go wrong with a file, and with a log in one.

use std::io;
use std::sync::Arc;

/// A file operation that failed. Cloneable, because one failed group commit answers many callers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DiskError {
    /// The operating system refused.
    #[error("cannot {doing} `{path}`")]
    Io {
        /// What was being tried: `open`, `write`, `sync`, …
        doing: &'static str,
        /// The file or folder, relative to the disk's root.
        path: String,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// The path is not one this disk accepts.
    #[error("`{path}` is not a path below the data folder: {why}")]
    Path {
        /// The path as given, cut to 80 characters.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file is larger than the caller accepts.
    #[error("`{path}` has {len} bytes, more than the {limit} that are read")]
    TooLarge {
        /// The file.
        path: String,
        /// Its length in bytes.
        len: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// Another process (or another owner in this one) holds the lock.
    #[error("`{path}` is locked by {}; stop it or use another data folder", holder(*.pid))]
    Locked {
        /// The lock file.
        path: String,
        /// The process that holds it, when the file names one.
        pid: Option<u32>,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl DiskError {
    /// From what the operating system said while `doing` something with `path`.
    pub fn io(doing: &'static str, path: &str, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source: Arc::new(source) }
    }

    /// Whether the file or folder is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the disk (or the quota) is full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    /// The text with its cause, for a place that keeps only text.
    pub fn chain(&self) -> String {
        match self {
            Self::Io { source, .. } => format!("{self}: {source}"),
            _ => self.to_string(),
        }
    }
}

/// What can go wrong with a [`crate::Log`] or a [`crate::Spill`].
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// The file could not be read or written.
    #[error("the log cannot be used")]
    Disk(#[from] DiskError),
    /// Something that was once acknowledged is damaged; nothing was changed.
    #[error("`{path}` is damaged at byte {offset} (frame {frame}): {what}")]
    Corrupt {
        /// The file.
        path: String,
        /// Where, from the start of the file.
        offset: u64,
        /// The index of the damaged frame: how many good ones precede it.
        frame: u64,
        /// What is wrong there.
        what: String,
    },
    /// The file was written by a program that uses another format.
    #[error("`{path}` has format version {found}, this program reads version {expected}")]
    Version {
        /// The file.
        path: String,
        /// What its header says.
        found: u32,
        /// What is understood.
        expected: u32,
    },
    /// The payload, or everything buffered for one commit, is too long.
    #[error("{bytes} bytes for `{path}` are more than the {limit} it takes at once")]
    TooLarge {
        /// The file.
        path: String,
        /// The size that was refused.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// An earlier write or sync failed; nothing is written until the log is reopened.
    #[error("`{path}` takes nothing since an earlier failure: {why}")]
    Latched {
        /// The file.
        path: String,
        /// The failure that latched it.
        why: String,
    },
    /// The preallocated space is used up.
    #[error("`{path}` is full: {free} bytes free, {needed} needed; it empties when its entries are recorded")]
    Full {
        /// The file.
        path: String,
        /// Bytes a put needs.
        needed: usize,
        /// Bytes left.
        free: usize,
    },
    /// The thread that owns the file did not answer.
    #[error("`{path}` did not answer in time; its disk may hang")]
    Late {
        /// The file.
        path: String,
    },
}

impl LogError {
    /// The text with its causes, for a place that keeps only text.
    pub fn chain(&self) -> String {
        match self {
            Self::Disk(disk) => disk.chain(),
            _ => self.to_string(),
        }
    }
}
