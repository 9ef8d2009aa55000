//! The ledger in a folder: `entries.log`, `checkpoint`, `snapshot-N.json`, `lock`.

use std::sync::Arc;

use hmsops_disk::{Disk, DiskLock, Log, MemDisk, Open, Torn};
use hmsops_model::limits::LEDGER_ENTRY_BYTES_MAX;
use hmsops_model::{Millis, Now};

use crate::checkpoint::Checkpoint;
use crate::entry::OWN_KIND;
use crate::snapshot::{SNAPSHOT_BYTES_MAX, SNAPSHOTS_KEPT, Voucher, file_name, seq_of};
use crate::walk::{CHECKPOINT_NAME, LOG_NAME, Walk};
use crate::{Draft, Entry, Hash, Ledger, LedgerError, LedgerReader, Order, Snapshot, Tree};

/// At most so many entries are recorded without an anchor: an anchor costs two syncs, this makes it a fiftieth.
pub const CHECKPOINT_EVERY: u64 = 64;

/// A ledger in a folder of a disk.
pub struct FileLedger {
    disk: Arc<dyn Disk>,
    dir: String,
    node: String,
    log: Log,
    reader: LedgerReader,
    tree: Tree,
    last_steady: Millis,
    /// The newest snapshots that an entry vouches for, [`SNAPSHOTS_KEPT`] at most, oldest first.
    snapshots: Vec<u64>,
    /// The size in the checkpoint file, `None` when there is none.
    anchored: Option<u64>,
    /// Why the checkpoint could not be written when it was due.
    anchor_trouble: Option<String>,
    _lock: DiskLock,
}

impl std::fmt::Debug for FileLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileLedger")
            .field("dir", &self.dir)
            .field("size", &self.tree.size())
            .finish_non_exhaustive()
    }
}

/// What a ledger held when it was opened.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovered {
    /// The newest snapshot whose bytes are those that were recorded.
    pub snapshot: Option<Snapshot>,
    /// The entries after the snapshot's own entry (all, without a snapshot), oldest first. Those whose kind
    /// begins with `ledger.` are the ledger's own.
    pub entries: Vec<Entry>,
    /// What a person should know: a torn tail that was cut, a snapshot that was not used, …
    pub warnings: Vec<String>,
}

impl FileLedger {
    /// Opens or makes the ledger in the folder `dir`, checking every entry against the checkpoint.
    ///
    /// `node` names who records: 1 to 63 of A-Z, a-z, 0-9, `.`, `_` and `-`. A folder that another process has
    /// open is refused ([`hmsops_disk::DiskError::Locked`]). A ledger that lost or changed anchored entries is
    /// [`LedgerError::Damaged`], and nothing is changed.
    pub fn open(disk: Arc<dyn Disk>, dir: &str, node: &str) -> Result<(Self, Recovered), LedgerError> {
        check_node(node)?;
        disk.create_dir(dir)?;
        disk.sync_dir(hmsops_disk::disk::parent(dir))?;
        let lock = disk.lock(&format!("{dir}/lock"))?;
        let walk = Walk::over(&*disk, dir)?;
        if let Some(finding) = walk.finding {
            return Err(LedgerError::Damaged(finding));
        }
        let path = format!("{dir}/{LOG_NAME}");
        let (log, torn) = Log::open_with(Arc::clone(&disk), &path, LEDGER_ENTRY_BYTES_MAX, &mut |_, _| {})?;
        let (size, mut warnings) = (walk.tree.size(), Vec::new());
        if let Some(Torn { bytes, .. }) = torn {
            let why = "a crash left them before anybody was told that they are recorded";
            warnings.push(format!("cut {bytes} bytes after the {size} entries of `{path}`: {why}"));
        }
        let new = walk.checkpoint.is_none() && size == 0;
        if walk.checkpoint.is_none() && !new {
            warnings.push("the checkpoint is missing: nothing proves that no entry was removed".to_owned());
        }
        let reader = LedgerReader::new(disk.open(&path, Open::Existing)?, path, walk.offsets);
        let snapshot = usable_snapshot(&*disk, dir, &walk.vouchers, &mut warnings);
        let entries = entries_from(&reader, snapshot.as_ref().map_or(0, |snapshot| snapshot.seq + 1))?;
        let mut ledger = Self {
            disk,
            dir: dir.to_owned(),
            node: node.to_owned(),
            log,
            reader,
            tree: walk.tree,
            last_steady: walk.last_steady,
            snapshots: Vec::new(),
            anchored: walk.checkpoint.map(|checkpoint| checkpoint.size),
            anchor_trouble: None,
            _lock: lock,
        };
        for voucher in &walk.vouchers {
            ledger.keep_snapshot(voucher.size);
        }
        // A new ledger is anchored from its first entry on. An old one opens on a full disk too.
        if let Err(e) = ledger.anchor()
            && new
        {
            return Err(e);
        }
        Ok((ledger, Recovered { snapshot, entries, warnings }))
    }

    /// A new ledger in memory.
    pub fn in_memory() -> Self {
        let opened = Self::open(Arc::new(MemDisk::new()), "ledger", "memory");
        opened.expect("a disk in memory has room and no faults").0
    }

    /// Reads entries, here or on another thread, while this ledger records.
    pub fn reader(&self) -> LedgerReader {
        self.reader.clone()
    }

    /// Why the checkpoint could not be written when it was due. Tried again with each append; what was
    /// appended is recorded all the same.
    pub fn anchor_trouble(&self) -> Option<&str> {
        self.anchor_trouble.as_deref()
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.dir)
    }

    fn check_latch(&self) -> Result<(), LedgerError> {
        match self.log.latched() {
            Some(why) => Err(LedgerError::Latched { why: why.to_owned() }),
            None => Ok(()),
        }
    }

    /// Writes the checkpoint, unless it is there already.
    fn anchor(&mut self) -> Result<(), LedgerError> {
        let size = self.tree.size();
        if self.anchored == Some(size) {
            return Ok(());
        }
        let origin = format!("hmsops/ledger/{}", self.node);
        let checkpoint = Checkpoint { origin, size, root: self.tree.root() };
        let written = self.disk.replace(&self.path(CHECKPOINT_NAME), checkpoint.encode().as_bytes());
        self.anchor_trouble = written.as_ref().err().map(hmsops_disk::DiskError::chain);
        written?;
        self.anchored = Some(size);
        Ok(())
    }

    /// Records drafts that are already known to be allowed.
    fn record(&mut self, now: Now, drafts: Vec<Draft>) -> Result<Vec<Entry>, LedgerError> {
        let now = Now { steady: now.steady.max(self.last_steady), ..now };
        let mut entries = Vec::with_capacity(drafts.len());
        let mut encoded = Vec::with_capacity(drafts.len());
        for (index, draft) in drafts.into_iter().enumerate() {
            let seq = self.tree.size() + index as u64;
            let (entry, bytes) = Entry::record(draft, index, (seq, &self.node, now))?;
            entries.push(entry);
            encoded.push(bytes);
        }
        let mut offsets = Vec::with_capacity(encoded.len());
        for bytes in &encoded {
            match self.log.append(bytes) {
                Ok(offset) => offsets.push(offset),
                Err(e) => {
                    self.log.discard();
                    return Err(e.into());
                }
            }
        }
        self.log.commit()?;
        for bytes in &encoded {
            self.tree.append(bytes);
        }
        self.reader.extend(&offsets);
        self.last_steady = now.steady;
        Ok(entries)
    }

    fn keep_snapshot(&mut self, seq: u64) {
        self.snapshots.push(seq);
        let surplus = self.snapshots.len().saturating_sub(SNAPSHOTS_KEPT);
        self.snapshots.drain(..surplus);
    }

    /// Removes snapshot files that are not kept, and what crashes left of them. Best effort: one too many
    /// harms nothing.
    fn prune(&self) {
        let Ok(names) = self.disk.list(&self.dir) else { return };
        for name in names {
            let unfinished = name.strip_suffix(".tmp");
            let seq = seq_of(unfinished.unwrap_or(&name));
            if seq.is_some_and(|seq| unfinished.is_some() || !self.snapshots.contains(&seq)) {
                let _ = self.disk.remove(&self.path(&name));
            }
        }
    }
}

impl Ledger for FileLedger {
    fn append(&mut self, now: Now, drafts: Vec<Draft>) -> Result<Vec<Entry>, LedgerError> {
        self.check_latch()?;
        if drafts.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(index) = drafts.iter().position(|draft| draft.kind.starts_with(OWN_KIND)) {
            return Err(LedgerError::Draft {
                index,
                why: format!("kinds `{OWN_KIND}…` are the ledger's own"),
            });
        }
        let entries = self.record(now, drafts)?;
        if self.tree.size() - self.anchored.unwrap_or(0) >= CHECKPOINT_EVERY {
            // The entries are recorded; `anchor_trouble` tells of a failure, and the next append tries again.
            let _ = self.anchor();
        }
        Ok(entries)
    }

    fn snapshot(&mut self, now: Now, state: &[u8]) -> Result<Entry, LedgerError> {
        self.check_latch()?;
        if state.len() > SNAPSHOT_BYTES_MAX {
            let (what, bytes) = ("the snapshot".to_owned(), state.len());
            return Err(LedgerError::TooLarge { what, bytes, limit: SNAPSHOT_BYTES_MAX });
        }
        let seq = self.tree.size();
        self.disk.replace(&self.path(&file_name(seq)), state)?;
        let draft = Voucher::new(seq, self.tree.root(), state).draft()?;
        let entry = self.record(now, vec![draft])?.pop().expect("one draft is one entry");
        self.keep_snapshot(seq);
        self.prune();
        let _ = self.anchor();
        Ok(entry)
    }

    fn reopen(&mut self) -> Result<(), LedgerError> {
        if self.log.latched().is_some() {
            self.log.reopen()?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), LedgerError> {
        self.anchor()
    }

    fn size(&self) -> u64 {
        self.tree.size()
    }

    fn root(&self) -> Hash {
        self.tree.root()
    }

    fn latched(&self) -> Option<String> {
        self.log.latched().map(str::to_owned)
    }

    fn last_steady(&self) -> Millis {
        self.last_steady
    }
}

fn check_node(node: &str) -> Result<(), LedgerError> {
    let ok = (1..=63).contains(&node.len())
        && node.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if ok { Ok(()) } else { Err(LedgerError::Node(node.chars().take(80).collect())) }
}

/// The newest snapshot that is what its entry says.
fn usable_snapshot(
    disk: &dyn Disk,
    dir: &str,
    vouchers: &[Voucher],
    warnings: &mut Vec<String>,
) -> Option<Snapshot> {
    // Older ones were removed when newer ones were made.
    for voucher in vouchers.iter().rev().take(SNAPSHOTS_KEPT) {
        let name = file_name(voucher.size);
        match disk.read(&format!("{dir}/{name}"), SNAPSHOT_BYTES_MAX) {
            Ok(state) if voucher.matches(&state) => return Some(Snapshot { seq: voucher.size, state }),
            Ok(_) => {
                warnings
                    .push(format!("`{name}` is not used: it is not what entry {} recorded", voucher.size));
            }
            Err(e) => warnings.push(format!("`{name}` is not used: {}", e.chain())),
        }
    }
    None
}

/// All entries from `seq` on.
fn entries_from(reader: &LedgerReader, mut seq: u64) -> Result<Vec<Entry>, LedgerError> {
    let mut entries = Vec::new();
    while seq < reader.size() {
        entries.extend(reader.read(seq..u64::MAX, Order::OldestFirst, usize::MAX)?);
        seq = entries.last().map_or(u64::MAX, |entry| entry.seq + 1);
    }
    Ok(entries)
}
