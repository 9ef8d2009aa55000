//! What can go wrong with the ledger, and where.

use std::fmt;

use hmsops_disk::{DiskError, LogError};

/// Where something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// In (or instead of) the entry with this number.
    Entry(u64),
    /// In some entry before this number; which one cannot be known.
    Before(u64),
    /// In a file of the ledger's folder.
    File(String),
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(seq) => write!(f, "entry {seq}"),
            Self::Before(seq) => write!(f, "an entry before {seq}"),
            Self::File(name) => write!(f, "file `{name}`"),
        }
    }
}

/// One thing that is wrong with a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub at: Position,
    /// What.
    pub what: String,
}

impl Finding {
    /// A finding.
    pub fn new(at: Position, what: impl Into<String>) -> Self {
        Self { at, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

/// Why the ledger did not do what was asked. Nothing was recorded then.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// A file of the ledger's folder could not be used.
    #[error("cannot use the ledger's folder")]
    Disk(#[from] DiskError),
    /// The log of entries could not be used.
    #[error("cannot use the ledger's log")]
    Log(#[source] LogError),
    /// An earlier write failed; nothing is taken until the ledger is reopened.
    #[error("the ledger takes nothing since an earlier failure: {why}")]
    Latched {
        /// The failure.
        why: String,
    },
    /// A draft cannot become an entry.
    #[error("draft {index} cannot be recorded: {why}")]
    Draft {
        /// Which of the drafts, from 0.
        index: usize,
        /// What is wrong with it.
        why: String,
    },
    /// An entry, a snapshot or a node's name is too long.
    #[error("{what} has {bytes} bytes, the ledger takes {limit}")]
    TooLarge {
        /// What it is.
        what: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The node's name cannot stand in an origin line.
    #[error("`{0}` cannot name a node: expected 1 to 63 of A-Z, a-z, 0-9, `.`, `_` and `-`")]
    Node(String),
    /// The ledger is not what it was when its checkpoint was written, or its bytes are damaged.
    #[error(
        "the ledger is damaged or was tampered with, {0}; restore it from a backup, or move it away to start a new one"
    )]
    Damaged(Finding),
}

impl From<LogError> for LedgerError {
    fn from(e: LogError) -> Self {
        match e {
            LogError::Latched { why, .. } => Self::Latched { why },
            LogError::Corrupt { frame, offset, what, .. } => {
                Self::Damaged(Finding::new(Position::Entry(frame), format!("{what} (byte {offset})")))
            }
            e => Self::Log(e),
        }
    }
}

impl LedgerError {
    /// The text with its causes, for a place that keeps only text.
    pub fn chain(&self) -> String {
        match self {
            Self::Disk(e) => format!("{self}: {}", e.chain()),
            Self::Log(e) => format!("{self}: {}", e.chain()),
            _ => self.to_string(),
        }
    }
}
