//! Checking a ledger's folder from outside, without opening it for writing.

use hmsops_disk::{Disk, Log, Torn};
use hmsops_model::UnixMillis;

use crate::snapshot::{SNAPSHOT_BYTES_MAX, file_name, seq_of};
use crate::walk::{CHECKPOINT_NAME, LOG_NAME, Walk};
use crate::{Finding, Hash, LedgerError, Position};

/// A log that is torn at its very beginning is no longer than its header.
const HEADER_BYTES_MAX: usize = 64;

/// What a check of a ledger found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Entries that are good, from the first on.
    pub entries: u64,
    /// The tree's root over them.
    pub root: Hash,
    /// How many entries the checkpoint anchors; those after it are only as good as their checksums.
    pub checkpoint_size: Option<u64>,
    /// When the last good entry was written.
    pub last_at: Option<UnixMillis>,
    /// Bytes after the last whole commit: left by a crash, or being written just now. No fault.
    pub torn: Option<Torn>,
    /// The first thing that is wrong.
    pub first_bad: Option<Finding>,
}

/// Checks every entry, the numbering, the tree against the checkpoint and against the roots that snapshots'
/// entries recorded, and the snapshot files that are there. Safe while somebody appends.
///
/// What it cannot see: a folder whose log, checkpoint and snapshots were all replaced to match each other.
/// That takes an anchor outside the folder.
pub fn verify(disk: &dyn Disk, dir: &str) -> Result<Report, LedgerError> {
    let walk = Walk::over(disk, dir)?;
    let entries = walk.tree.size();
    let missing = |name: &str, what: &str| Some(Finding::new(Position::File(name.to_owned()), what));
    let mut first_bad = walk.finding.clone();
    if first_bad.is_none() && !disk.exists(&format!("{dir}/{LOG_NAME}"))? {
        first_bad = missing(LOG_NAME, "there is no ledger here");
    }
    if first_bad.is_none() && walk.torn.as_ref().is_some_and(|torn| torn.offset == 0) {
        let name = format!("{dir}/{LOG_NAME}");
        if !Log::is_beginning(&disk.read(&name, HEADER_BYTES_MAX)?) {
            first_bad = missing(LOG_NAME, "its header was changed; there are no entries behind it");
        }
    }
    if first_bad.is_none() && walk.checkpoint.is_none() && entries > 0 {
        first_bad = missing(CHECKPOINT_NAME, "it is missing, though there are entries");
    }
    if first_bad.is_none() {
        first_bad = bad_snapshot(disk, dir, &walk)?;
    }
    let checkpoint_size = walk.checkpoint.map(|checkpoint| checkpoint.size);
    Ok(Report {
        entries,
        root: walk.tree.root(),
        checkpoint_size,
        last_at: walk.last_at,
        torn: walk.torn,
        first_bad,
    })
}

fn bad_snapshot(disk: &dyn Disk, dir: &str, walk: &Walk) -> Result<Option<Finding>, LedgerError> {
    for seq in disk.list(dir)?.iter().filter_map(|name| seq_of(name)) {
        // One without an entry was left by a crash and is never used.
        let Some(voucher) = walk.vouchers.iter().find(|voucher| voucher.size == seq) else { continue };
        match disk.read(&format!("{dir}/{}", file_name(seq)), SNAPSHOT_BYTES_MAX) {
            Ok(state) if voucher.matches(&state) => {}
            // Removed since it was listed, because newer ones were made.
            Err(e) if e.is_not_found() => {}
            Ok(_) | Err(hmsops_disk::DiskError::TooLarge { .. }) => {
                let what = format!("it is not what entry {seq} recorded");
                return Ok(Some(Finding::new(Position::File(file_name(seq)), what)));
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(None)
}
