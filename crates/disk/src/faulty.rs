//! A disk that fails on demand: full, failing syncs, frozen, hanging.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::{Disk, DiskError, DiskFile, DiskLock, Open};

/// When a [`FaultyDisk`] fails. Clones steer the same disk. Writes (every change of content or names) and
/// syncs (of files and folders) are counted from 1.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    shared: Arc<(Mutex<Plan>, Condvar)>,
}

#[derive(Debug, Default)]
struct Plan {
    writes: u64,
    syncs: u64,
    full_from: Option<u64>,
    bad_sync: Option<u64>,
    bad_syncs_from: Option<u64>,
    freeze_sync: Option<u64>,
    freeze_write: Option<u64>,
    frozen: bool,
    hang: bool,
    hanging: usize,
}

impl Faults {
    /// No faults yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes seen so far, failed ones too.
    pub fn writes(&self) -> u64 {
        self.plan().writes
    }

    /// Syncs seen so far, failed ones too.
    pub fn syncs(&self) -> u64 {
        self.plan().syncs
    }

    /// From the `n`-th write on, what needs space (growing or making a file, making a folder) answers ENOSPC,
    /// after half of it was written. Writing in place goes on.
    pub fn fill_from(&self, n: u64) {
        self.plan().full_from = Some(n);
    }

    /// The disk is full from the next write on.
    pub fn fill(&self) {
        let mut plan = self.plan();
        plan.full_from = Some(plan.writes + 1);
    }

    /// The `n`-th sync answers EIO, and only that one.
    pub fn fail_sync(&self, n: u64) {
        self.plan().bad_sync = Some(n);
    }

    /// Every sync from the next one on answers EIO.
    pub fn fail_syncs(&self) {
        let mut plan = self.plan();
        plan.bad_syncs_from = Some(plan.syncs + 1);
    }

    /// From the `k`-th sync on, that one included, nothing reaches the disk and everything answers an error:
    /// what is below is what a crash at this point finds.
    pub fn freeze_at_sync(&self, k: u64) {
        self.plan().freeze_sync = Some(k);
    }

    /// As [`Faults::freeze_at_sync`], from the `k`-th write on.
    pub fn freeze_at_write(&self, k: u64) {
        self.plan().freeze_write = Some(k);
    }

    /// Syncs hang from now on, until healed. Only for disks that threads of their own use.
    pub fn hang(&self) {
        self.plan().hang = true;
    }

    /// Waits until a sync hangs.
    pub fn wait_until_hanging(&self) {
        let mut plan = self.plan();
        while plan.hanging == 0 {
            plan = self.shared.1.wait(plan).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The disk works again. Counters go on.
    pub fn heal(&self) {
        let mut plan = self.plan();
        *plan = Plan { writes: plan.writes, syncs: plan.syncs, hanging: plan.hanging, ..Plan::default() };
        self.shared.1.notify_all();
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, doing: &'static str, path: &str) -> Result<(), DiskError> {
        if self.plan().frozen { Err(frozen(doing, path)) } else { Ok(()) }
    }

    /// Counts a write; `Ok(true)` when it is to fail for want of space, if it needs any.
    fn write(&self, doing: &'static str, path: &str) -> Result<bool, DiskError> {
        let mut plan = self.plan();
        plan.writes += 1;
        plan.frozen |= plan.freeze_write.is_some_and(|k| plan.writes >= k);
        if plan.frozen {
            return Err(frozen(doing, path));
        }
        Ok(plan.full_from.is_some_and(|n| plan.writes >= n))
    }

    fn sync(&self, doing: &'static str, path: &str) -> Result<(), DiskError> {
        let mut plan = self.plan();
        plan.syncs += 1;
        let n = plan.syncs;
        plan.frozen |= plan.freeze_sync.is_some_and(|k| n >= k);
        if plan.frozen {
            return Err(frozen(doing, path));
        }
        if plan.hang {
            plan.hanging += 1;
            self.shared.1.notify_all();
            while plan.hang {
                plan = self.shared.1.wait(plan).unwrap_or_else(PoisonError::into_inner);
            }
            plan.hanging -= 1;
        }
        if plan.bad_sync == Some(n) || plan.bad_syncs_from.is_some_and(|from| n >= from) {
            return Err(DiskError::io(doing, path, io::Error::other("input/output error (injected)")));
        }
        Ok(())
    }
}

fn frozen(doing: &'static str, path: &str) -> DiskError {
    DiskError::io(doing, path, io::Error::other("the disk is frozen (injected)"))
}

fn full(doing: &'static str, path: &str) -> DiskError {
    DiskError::io(doing, path, io::ErrorKind::StorageFull.into())
}

/// Any disk, failing as its [`Faults`] say.
#[derive(Clone)]
pub struct FaultyDisk {
    inner: Arc<dyn Disk>,
    faults: Faults,
}

impl FaultyDisk {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Disk>, faults: Faults) -> Self {
        Self { inner, faults }
    }

    /// What steers it.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    fn make(&self, doing: &'static str, path: &str) -> Result<(), DiskError> {
        if !self.inner.exists(path)? && self.faults.write(doing, path)? {
            return Err(full(doing, path));
        }
        Ok(())
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &str, open: Open) -> Result<Box<dyn DiskFile>, DiskError> {
        self.faults.read("open", path)?;
        if open == Open::Create {
            self.make("open", path)?;
        }
        let file = self.inner.open(path, open)?;
        Ok(Box::new(FaultyFile { file, faults: self.faults.clone(), path: path.to_owned() }))
    }

    fn list(&self, path: &str) -> Result<Vec<String>, DiskError> {
        self.faults.read("list", path)?;
        self.inner.list(path)
    }

    fn create_dir(&self, path: &str) -> Result<(), DiskError> {
        self.faults.read("make folder", path)?;
        self.make("make folder", path)?;
        self.inner.create_dir(path)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.faults.write("rename", from)?;
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.faults.write("remove", path)?;
        self.inner.remove(path)
    }

    fn sync_dir(&self, path: &str) -> Result<(), DiskError> {
        self.faults.sync("sync folder", path)?;
        self.inner.sync_dir(path)
    }

    fn exists(&self, path: &str) -> Result<bool, DiskError> {
        self.faults.read("look for", path)?;
        self.inner.exists(path)
    }

    fn lock(&self, path: &str) -> Result<DiskLock, DiskError> {
        self.faults.read("lock", path)?;
        self.inner.lock(path)
    }
}

struct FaultyFile {
    file: Box<dyn DiskFile>,
    faults: Faults,
    path: String,
}

impl DiskFile for FaultyFile {
    fn len(&self) -> Result<u64, DiskError> {
        self.faults.read("look at", &self.path)?;
        self.file.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, DiskError> {
        self.faults.read("read", &self.path)?;
        self.file.read_at(offset, buf)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let is_full = self.faults.write("write", &self.path)?;
        if is_full && offset + bytes.len() as u64 > self.file.len()? {
            self.file.write_at(offset, &bytes[..bytes.len() / 2])?;
            return Err(full("write", &self.path));
        }
        self.file.write_at(offset, bytes)
    }

    fn truncate(&mut self, len: u64) -> Result<(), DiskError> {
        self.faults.write("truncate", &self.path)?;
        self.file.truncate(len)
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        self.faults.sync("sync", &self.path)?;
        self.file.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemDisk;

    #[test]
    fn a_full_disk_takes_what_needs_no_space() {
        let disk = FaultyDisk::new(Arc::new(MemDisk::new()), Faults::new());
        let mut file = disk.open("a", Open::Create).unwrap();
        file.write_at(0, &[0; 100]).unwrap();
        disk.faults().fill();
        file.write_at(50, &[1; 50]).unwrap();
        assert!(file.write_at(50, &[2; 60]).unwrap_err().is_full());
        assert!(disk.open("b", Open::Create).err().unwrap().is_full());
        assert!(disk.create_dir("folder").unwrap_err().is_full());
        disk.faults().heal();
        file.write_at(50, &[2; 60]).unwrap();
    }

    #[test]
    fn a_frozen_disk_changes_no_more() {
        let below = MemDisk::new();
        let disk = FaultyDisk::new(Arc::new(below.clone()), Faults::new());
        disk.faults().freeze_at_sync(2);
        let mut file = disk.open("a", Open::Create).unwrap();
        file.write_at(0, b"one").unwrap();
        file.sync().unwrap();
        assert!(file.sync().is_err());
        assert!(file.write_at(0, b"two").is_err() && disk.exists("a").is_err());
        assert_eq!(below.read("a", 9).unwrap(), b"one");
        assert_eq!(disk.faults().syncs(), 2);
    }
}
