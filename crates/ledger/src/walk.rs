//! One pass over a log that checks all that entries, tree, snapshots' entries and checkpoint say of each other.

use hmsops_disk::{Disk, Log, LogError, Torn};
use hmsops_model::limits::LEDGER_ENTRY_BYTES_MAX;
use hmsops_model::{Millis, UnixMillis};

use crate::checkpoint::{CHECKPOINT_BYTES_MAX, Checkpoint};
use crate::snapshot::Voucher;
use crate::{Entry, Finding, LedgerError, Position, Tree};

/// The log of entries.
pub(crate) const LOG_NAME: &str = "entries.log";

/// The anchor.
pub(crate) const CHECKPOINT_NAME: &str = "checkpoint";

/// What the pass learned, up to the first thing that is wrong.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    pub(crate) offsets: Vec<u64>,
    pub(crate) tree: Tree,
    pub(crate) last_steady: Millis,
    pub(crate) last_at: Option<UnixMillis>,
    pub(crate) vouchers: Vec<Voucher>,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) torn: Option<Torn>,
    pub(crate) finding: Option<Finding>,
}

impl Walk {
    /// Reads the ledger in `dir`, changing nothing. The error is for what prevents reading; what was read and
    /// is wrong is the [`Walk::finding`].
    pub(crate) fn over(disk: &dyn Disk, dir: &str) -> Result<Self, LedgerError> {
        let mut walk = Self::default();
        // Before the log: somebody may be appending, and a checkpoint never runs ahead of the log.
        let name = format!("{dir}/{CHECKPOINT_NAME}");
        if disk.exists(&name)? {
            match Checkpoint::parse(&disk.read(&name, CHECKPOINT_BYTES_MAX)?) {
                Ok(checkpoint) => walk.checkpoint = Some(checkpoint),
                Err(why) => walk.find(Position::File(CHECKPOINT_NAME.to_owned()), why),
            }
        }
        walk.compare_with_checkpoint();
        let log = format!("{dir}/{LOG_NAME}");
        if disk.exists(&log)? {
            let scan = Log::scan(disk, &log, LEDGER_ENTRY_BYTES_MAX, &mut |offset, bytes| {
                walk.visit(offset, &bytes);
            });
            match scan {
                Ok(scan) => walk.torn = scan.torn,
                // An earlier finding is the first.
                Err(LogError::Corrupt { offset, frame, what, .. }) => {
                    walk.find(Position::Entry(frame), format!("{what} (byte {offset})"));
                }
                Err(e) => return Err(e.into()),
            }
        }
        walk.find_missing(disk, dir)?;
        Ok(walk)
    }

    fn find(&mut self, at: Position, what: impl Into<String>) {
        self.finding.get_or_insert_with(|| Finding::new(at, what));
    }

    fn visit(&mut self, offset: u64, bytes: &[u8]) {
        if self.finding.is_some() {
            return;
        }
        let seq = self.tree.size();
        let entry = match Entry::decode(bytes) {
            Ok(entry) => entry,
            Err(why) => return self.find(Position::Entry(seq), format!("it cannot be read: {why}")),
        };
        if entry.seq != seq {
            return self
                .find(Position::Entry(seq), format!("in its place stands the entry numbered {}", entry.seq));
        }
        if entry.steady < self.last_steady {
            return self.find(Position::Entry(seq), "its steady clock is behind the entry before it");
        }
        match Voucher::of(&entry) {
            Ok(None) => {}
            Ok(Some(voucher)) if voucher.root == self.tree.root().to_string() => self.vouchers.push(voucher),
            Ok(Some(_)) => {
                return self.find(Position::Before(seq), format!("entry {seq} recorded another tree root"));
            }
            Err(why) => {
                return self.find(Position::Entry(seq), format!("its snapshot cannot be read: {why}"));
            }
        }
        self.tree.append(bytes);
        self.offsets.push(offset);
        self.last_steady = entry.steady;
        self.last_at = Some(entry.at);
        self.compare_with_checkpoint();
    }

    fn compare_with_checkpoint(&mut self) {
        let differs = self.checkpoint.as_ref().is_some_and(|checkpoint| {
            checkpoint.size == self.tree.size() && checkpoint.root != self.tree.root()
        });
        if differs {
            let what = "the tree root is not the checkpoint's: entries were changed after they were anchored";
            self.find(Position::Before(self.tree.size()), what);
        }
    }

    /// What should be there and isn't.
    fn find_missing(&mut self, disk: &dyn Disk, dir: &str) -> Result<(), LedgerError> {
        let size = self.tree.size();
        let anchored = self.checkpoint.as_ref().map(|checkpoint| checkpoint.size);
        if let Some(anchored) = anchored.filter(|anchored| *anchored > size) {
            let what = format!("it is missing: the checkpoint says {anchored} entries, the log has {size}");
            self.find(Position::Entry(size), what);
        }
        if !disk.exists(&format!("{dir}/{LOG_NAME}"))? {
            let names = if disk.exists(dir)? { disk.list(dir)? } else { Vec::new() };
            if anchored.is_some() || names.iter().any(|name| crate::snapshot::seq_of(name).is_some()) {
                self.find(Position::File(LOG_NAME.to_owned()), "it is missing, what belongs to it is there");
            }
        }
        Ok(())
    }
}
