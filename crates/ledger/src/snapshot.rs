//! What all entries up to a moment amount to, kept beside the log so that a start is quick.

use serde::{Deserialize, Serialize};

use crate::{Draft, Entry, Hash, LedgerError, Outcome};

/// The largest snapshot: far above the state of a thousand services, well below memory.
pub const SNAPSHOT_BYTES_MAX: usize = 64 << 20;

/// The kind of the entry that vouches for a snapshot.
pub const SNAPSHOT_KIND: &str = "ledger.snapshot";

/// How many snapshot files are kept: the newest, and one to fall back on.
pub const SNAPSHOTS_KEPT: usize = 2;

/// A snapshot whose bytes are those that were recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// It covers the entries before this number, which is that of its own entry.
    pub seq: u64,
    /// The state as it was given.
    pub state: Vec<u8>,
}

/// The `data` of a snapshot's entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Voucher {
    /// Entries covered; equals the entry's own number.
    pub(crate) size: u64,
    /// The tree's root over them, in hexadecimal.
    pub(crate) root: String,
    /// The state's SHA-256, in hexadecimal.
    pub(crate) sha256: String,
    /// The state's length.
    pub(crate) bytes: u64,
}

impl Voucher {
    pub(crate) fn new(size: u64, root: Hash, state: &[u8]) -> Self {
        let sha256 = Hash::of(&[state]).to_string();
        Self { size, root: root.to_string(), sha256, bytes: state.len() as u64 }
    }

    /// What a snapshot's entry says, `None` for other entries; the error text says why it can't be read.
    pub(crate) fn of(entry: &Entry) -> Result<Option<Self>, String> {
        if entry.kind != SNAPSHOT_KIND {
            return Ok(None);
        }
        let voucher: Self = serde_json::from_value(entry.data.clone()).map_err(|e| e.to_string())?;
        if voucher.size != entry.seq {
            return Err(format!("it covers {} entries and stands after {}", voucher.size, entry.seq));
        }
        Ok(Some(voucher))
    }

    pub(crate) fn draft(&self) -> Result<Draft, LedgerError> {
        let data =
            serde_json::to_value(self).map_err(|e| LedgerError::Draft { index: 0, why: e.to_string() })?;
        Ok(Draft {
            kind: SNAPSHOT_KIND.to_owned(),
            actor: "hmsops".to_owned(),
            subject: "ledger".to_owned(),
            source: "ledger".to_owned(),
            outcome: Outcome::Done,
            controls: vec!["AU-9".to_owned()],
            release: None,
            late: false,
            data,
        })
    }

    /// Whether these are the bytes it vouches for.
    pub(crate) fn matches(&self, state: &[u8]) -> bool {
        self.bytes == state.len() as u64 && self.sha256 == Hash::of(&[state]).to_string()
    }
}

/// The file of the snapshot that covers the entries before `seq`.
pub(crate) fn file_name(seq: u64) -> String {
    format!("snapshot-{seq}.json")
}

/// The number in a snapshot's file name.
pub(crate) fn seq_of(name: &str) -> Option<u64> {
    let seq = name.strip_prefix("snapshot-")?.strip_suffix(".json")?.parse().ok()?;
    (file_name(seq) == name).then_some(seq)
}
