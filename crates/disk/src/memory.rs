//! A disk in memory that knows what was synced and what was not, so that a power cut can be played.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{check_path, parent};
use crate::{Disk, DiskError, DiskFile, DiskLock, Open};

/// What a disk writes at once or not at all.
const SECTOR_BYTES: usize = 512;

/// A disk in memory. Clones are the same disk. Nothing in it depends on anything but what was asked of it
/// and the seeds given to [`MemDisk::crash`].
#[derive(Debug, Clone, Default)]
pub struct MemDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Clone, Default)]
struct State {
    files: BTreeMap<u64, Content>,
    next_file: u64,
    /// What programs see.
    live: BTreeMap<String, Node>,
    /// What a crash leaves, before `renaming` is thrown dice for.
    durable: BTreeMap<String, Node>,
    /// Changes of names since their folder was last synced, in order.
    renaming: Vec<NameChange>,
    locks: BTreeSet<String>,
    /// Handles of an earlier era belong to a process that is gone.
    era: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    File(u64),
    Folder,
}

#[derive(Debug, Clone, Default)]
struct Content {
    live: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<Change>,
    handles: usize,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Debug, Clone)]
enum NameChange {
    Add(String, Node),
    Remove(String),
    Rename(String, String),
}

impl NameChange {
    fn folder(&self) -> &str {
        match self {
            Self::Add(path, _) | Self::Remove(path) | Self::Rename(_, path) => parent(path),
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, Node>) {
        match self {
            Self::Add(path, node) => {
                names.insert(path.clone(), *node);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
            Self::Rename(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, written) => put(bytes, *offset, written),
            Self::Truncate(len) => bytes.resize(*len, 0),
        }
    }

    /// What a crash leaves of it: all, nothing, the beginning, some sectors, or only the length.
    fn apply_torn(&self, bytes: &mut Vec<u8>, dice: &mut Dice) {
        let Self::Write(offset, written) = self else {
            if dice.below(2) == 0 {
                self.apply(bytes);
            }
            return;
        };
        match dice.below(5) {
            0 => {}
            1 => put(bytes, *offset, written),
            2 => put(bytes, *offset, &written[..dice.below(written.len() + 1)]),
            3 => bytes.resize(bytes.len().max(offset + written.len()), 0),
            _ => {
                let mut from = 0;
                while from < written.len() {
                    let sector_end = (offset + from) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES - offset;
                    let to = sector_end.min(written.len());
                    if dice.below(2) == 0 {
                        put(bytes, offset + from, &written[from..to]);
                    }
                    from = to;
                }
            }
        }
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, written: &[u8]) {
    let end = offset + written.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(written);
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }
}

impl MemDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy that goes its own way: to crash one state with many seeds.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { state: Arc::new(Mutex::new(self.state().clone())) }
    }

    /// The power fails. What was synced stays; of what was not, `seed` decides: names keep a prefix of their
    /// changes for each folder, writes are kept, dropped or torn one by one, in any combination. Locks are
    /// released, and handles opened before answer errors.
    pub fn crash(&self, seed: u64) {
        let mut dice = Dice(seed);
        let mut state = self.state();
        let State { files, live, durable, renaming, locks, era, .. } = &mut *state;
        let mut left: BTreeMap<String, usize> = BTreeMap::new();
        for change in renaming.iter() {
            *left.entry(change.folder().to_owned()).or_default() += 1;
        }
        for kept in left.values_mut() {
            *kept = dice.below(*kept + 1);
        }
        for change in renaming.drain(..) {
            if let Some(kept) = left.get_mut(change.folder()).filter(|kept| **kept > 0) {
                *kept -= 1;
                change.apply(durable);
            }
        }
        let names = durable.clone();
        durable.retain(|path, _| {
            let mut folder = parent(path);
            while !folder.is_empty() {
                if names.get(folder) != Some(&Node::Folder) {
                    return false;
                }
                folder = parent(folder);
            }
            true
        });
        live.clone_from(durable);
        locks.clear();
        *era += 1;
        for content in files.values_mut() {
            for change in std::mem::take(&mut content.unsynced) {
                change.apply_torn(&mut content.synced, &mut dice);
            }
            content.live.clone_from(&content.synced);
            content.handles = 0;
        }
        state.forget_unreachable();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refuse(doing: &'static str, path: &str, kind: io::ErrorKind) -> DiskError {
    DiskError::io(doing, path, kind.into())
}

impl State {
    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.live);
        self.renaming.push(change);
    }

    fn need_folder(&self, doing: &'static str, path: &str) -> Result<(), DiskError> {
        match self.live.get(path) {
            Some(Node::Folder) => Ok(()),
            Some(Node::File(_)) => Err(refuse(doing, path, io::ErrorKind::NotADirectory)),
            None if path.is_empty() => Ok(()),
            None => Err(refuse(doing, path, io::ErrorKind::NotFound)),
        }
    }

    fn need_file(&self, doing: &'static str, path: &str) -> Result<u64, DiskError> {
        match self.live.get(path) {
            Some(Node::File(id)) => Ok(*id),
            Some(Node::Folder) => Err(refuse(doing, path, io::ErrorKind::IsADirectory)),
            None => Err(refuse(doing, path, io::ErrorKind::NotFound)),
        }
    }

    fn forget_unreachable(&mut self) {
        let named = self.live.values().chain(self.durable.values());
        let added = self.renaming.iter().filter_map(|change| match change {
            NameChange::Add(_, node) => Some(node),
            _ => None,
        });
        let reachable: BTreeSet<u64> = named
            .chain(added)
            .filter_map(|node| match node {
                Node::File(id) => Some(*id),
                Node::Folder => None,
            })
            .collect();
        self.files.retain(|id, content| content.handles > 0 || reachable.contains(id));
    }
}

impl Disk for MemDisk {
    fn open(&self, path: &str, open: Open) -> Result<Box<dyn DiskFile>, DiskError> {
        check_path(path)?;
        let mut state = self.state();
        state.need_folder("open", parent(path))?;
        let id = match state.need_file("open", path) {
            Ok(id) => id,
            Err(e) if open == Open::Create && e.is_not_found() && !path.is_empty() => {
                let id = state.next_file;
                state.next_file += 1;
                state.files.insert(id, Content::default());
                state.change_name(NameChange::Add(path.to_owned(), Node::File(id)));
                id
            }
            Err(e) => return Err(e),
        };
        if let Some(content) = state.files.get_mut(&id) {
            content.handles += 1;
        }
        Ok(Box::new(MemFile { disk: self.clone(), id, era: state.era, path: path.to_owned() }))
    }

    fn list(&self, path: &str) -> Result<Vec<String>, DiskError> {
        check_path(path)?;
        let state = self.state();
        state.need_folder("list", path)?;
        let inside = state.live.keys().filter(|name| parent(name) == path);
        Ok(inside.map(|name| name.rsplit('/').next().unwrap_or(name).to_owned()).collect())
    }

    fn create_dir(&self, path: &str) -> Result<(), DiskError> {
        check_path(path)?;
        let mut state = self.state();
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for folder in ends.map(|end| &path[..end]).filter(|folder| !folder.is_empty()) {
            match state.live.get(folder) {
                Some(Node::Folder) => {}
                Some(Node::File(_)) => return Err(refuse("make folder", path, io::ErrorKind::AlreadyExists)),
                None => state.change_name(NameChange::Add(folder.to_owned(), Node::Folder)),
            }
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        check_path(from)?;
        check_path(to)?;
        let mut state = self.state();
        state.need_file("rename", from)?;
        state.need_folder("rename", parent(to))?;
        if state.live.get(to) == Some(&Node::Folder) {
            return Err(refuse("rename", from, io::ErrorKind::IsADirectory));
        }
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        check_path(path)?;
        let mut state = self.state();
        state.need_file("remove", path)?;
        state.change_name(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, path: &str) -> Result<(), DiskError> {
        check_path(path)?;
        let mut state = self.state();
        state.need_folder("sync folder", path)?;
        let (synced, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.renaming).into_iter().partition(|change| change.folder() == path);
        state.renaming = rest;
        for change in synced {
            change.apply(&mut state.durable);
        }
        state.forget_unreachable();
        Ok(())
    }

    fn exists(&self, path: &str) -> Result<bool, DiskError> {
        check_path(path)?;
        Ok(path.is_empty() || self.state().live.contains_key(path))
    }

    fn lock(&self, path: &str) -> Result<DiskLock, DiskError> {
        drop(self.open(path, Open::Create)?);
        let mut state = self.state();
        if !state.locks.insert(path.to_owned()) {
            return Err(DiskError::Locked { path: path.to_owned(), pid: Some(std::process::id()) });
        }
        Ok(DiskLock::new(MemLock { disk: self.clone(), era: state.era, path: path.to_owned() }))
    }
}

struct MemLock {
    disk: MemDisk,
    era: u64,
    path: String,
}

impl Drop for MemLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.era == self.era {
            state.locks.remove(&self.path);
        }
    }
}

struct MemFile {
    disk: MemDisk,
    id: u64,
    era: u64,
    path: String,
}

impl MemFile {
    fn with<T>(&self, doing: &'static str, work: impl FnOnce(&mut Content) -> T) -> Result<T, DiskError> {
        let mut state = self.disk.state();
        let current = state.era == self.era;
        match state.files.get_mut(&self.id).filter(|_| current) {
            Some(content) => Ok(work(content)),
            None => Err(DiskError::io(doing, &self.path, io::Error::other("opened before the crash"))),
        }
    }

    fn change(&self, doing: &'static str, change: Change) -> Result<(), DiskError> {
        self.with(doing, |content| {
            change.apply(&mut content.live);
            content.unsynced.push(change);
        })
    }
}

impl DiskFile for MemFile {
    fn len(&self) -> Result<u64, DiskError> {
        self.with("look at", |content| content.live.len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, DiskError> {
        self.with("read", |content| {
            let rest = content.live.get(offset as usize..).unwrap_or_default();
            let n = rest.len().min(buf.len());
            buf[..n].copy_from_slice(&rest[..n]);
            n
        })
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.change("write", Change::Write(offset as usize, bytes.to_vec()))
    }

    fn truncate(&mut self, len: u64) -> Result<(), DiskError> {
        self.change("truncate", Change::Truncate(len as usize))
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        self.with("sync", |content| {
            for change in std::mem::take(&mut content.unsynced) {
                change.apply(&mut content.synced);
            }
        })
    }
}

impl Drop for MemFile {
    fn drop(&mut self) {
        let _ = self.with("close", |content| content.handles -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(disk: &MemDisk, path: &str, bytes: &[u8], sync: bool) {
        let mut file = disk.open(path, Open::Create).unwrap();
        file.write_at(0, bytes).unwrap();
        if sync {
            file.sync().unwrap();
        }
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_may_lose_the_rest() {
        let disk = MemDisk::new();
        write(&disk, "kept", b"synced", true);
        disk.sync_dir("").unwrap();
        write(&disk, "kept", b"SYNCED, and more", false);
        write(&disk, "nameless", b"x", true);
        let (mut contents, mut named) = (BTreeSet::new(), BTreeSet::new());
        for seed in 0..200 {
            let fork = disk.fork();
            fork.crash(seed);
            contents.insert(fork.read("kept", 100).unwrap());
            named.insert(fork.exists("nameless").unwrap());
            let again = disk.fork();
            again.crash(seed);
            assert_eq!(
                fork.read("kept", 100).unwrap(),
                again.read("kept", 100).unwrap(),
                "same seed, same bytes"
            );
        }
        assert!(contents.contains(b"synced".as_slice()) && contents.contains(b"SYNCED, and more".as_slice()));
        assert!(contents.len() > 5, "torn writes are played: {}", contents.len());
        assert_eq!(named.len(), 2, "a name whose folder was not synced comes and goes");
        assert_eq!(disk.read("kept", 100).unwrap(), b"SYNCED, and more");
    }

    #[test]
    fn replace_leaves_the_old_or_the_new_bytes_whole_at_every_crash() {
        let disk = MemDisk::new();
        disk.replace("file", b"old").unwrap();
        for seed in 0..100 {
            let fork = disk.fork();
            let mut file = fork.open("file.tmp", Open::Create).unwrap();
            file.write_at(0, b"new").unwrap();
            file.sync().unwrap();
            fork.rename("file.tmp", "file").unwrap();
            let before_sync = fork.fork();
            before_sync.crash(seed);
            let found = before_sync.read("file", 10).unwrap();
            assert!(found == b"old" || found == b"new");
            fork.sync_dir("").unwrap();
            fork.crash(seed);
            assert_eq!(fork.read("file", 10).unwrap(), b"new");
        }
    }

    #[test]
    fn handles_and_locks_end_with_the_crash() {
        let disk = MemDisk::new();
        let file = disk.open("a", Open::Create).unwrap();
        disk.sync_dir("").unwrap();
        let lock = disk.lock("lock").unwrap();
        assert!(matches!(disk.lock("lock"), Err(DiskError::Locked { .. })));
        disk.crash(1);
        assert!(file.len().is_err());
        let second = disk.lock("lock").unwrap();
        drop(lock);
        assert!(disk.lock("lock").is_err(), "the lock of a dead process releases nothing");
        drop(second);
        assert!(disk.lock("lock").is_ok());
    }
}
