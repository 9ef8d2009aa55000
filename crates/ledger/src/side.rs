//! The side log: evidence of releases, which are not decisions. It is not hashed line by line; a verdict holds the
//! hash of the whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use hmsops_disk::{Disk, Log};
use sha2::{Digest as _, Sha256};

use crate::{Hash, LedgerError};

/// Lines that may wait for the disk; a hung one must not hold up who decides.
const QUEUE_MAX: usize = 4096;

/// The longest line: a tick of one service.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Where the evidence of releases is kept.
pub trait SideLog {
    /// Keeps lines of a release, in order, without waiting for the disk. `false`: not all will be kept, which loses
    /// evidence to a restart, not decisions.
    fn append(&mut self, release: &str, lines: &[Vec<u8>]) -> bool;
    /// All lines of a release that are on disk, oldest first.
    fn read(&mut self, release: &str) -> Vec<Vec<u8>>;
    /// SHA-256 over all lines of a release (each as its length in 8 bytes little-endian, then itself); `None` when
    /// there are none.
    fn sha256(&mut self, release: &str) -> Option<Hash>;
}

/// A side log in a folder of a disk, one framed log a release, written by a thread of its own.
pub struct FileSideLog {
    disk: Arc<dyn Disk>,
    dir: String,
    queue: SyncSender<(String, Vec<Vec<u8>>)>,
    hashes: BTreeMap<String, Sha256>,
}

impl FileSideLog {
    /// Opens or makes the side log in the folder `dir`.
    pub fn open(disk: Arc<dyn Disk>, dir: &str) -> Result<Self, LedgerError> {
        disk.create_dir(dir)?;
        let (queue, waiting) = sync_channel(QUEUE_MAX);
        let (writer_disk, writer_dir) = (disk.clone(), dir.to_owned());
        std::thread::Builder::new()
            .name("side-log".into())
            .spawn(move || write(&writer_disk, &writer_dir, &waiting))
            .map_err(|error| hmsops_disk::DiskError::io("starting the side log's thread", dir, error))?;
        Ok(Self { disk, dir: dir.to_owned(), queue, hashes: BTreeMap::new() })
    }
}

impl SideLog for FileSideLog {
    fn append(&mut self, release: &str, lines: &[Vec<u8>]) -> bool {
        let hash = self.hashes.entry(release.to_owned()).or_default();
        for line in lines {
            feed(hash, line);
        }
        self.queue.try_send((release.to_owned(), lines.to_vec())).is_ok()
    }

    fn read(&mut self, release: &str) -> Vec<Vec<u8>> {
        let path = path(&self.dir, release);
        let opened = Log::open(self.disk.clone(), &path, LINE_BYTES_MAX);
        let lines = opened.map(|opened| opened.payloads).unwrap_or_default();
        let mut hash = Sha256::new();
        lines.iter().for_each(|line| feed(&mut hash, line));
        self.hashes.insert(release.to_owned(), hash);
        lines
    }

    fn sha256(&mut self, release: &str) -> Option<Hash> {
        Some(Hash(self.hashes.get(release)?.clone().finalize().into()))
    }
}

fn feed(hash: &mut Sha256, line: &[u8]) {
    hash.update((line.len() as u64).to_le_bytes());
    hash.update(line);
}

fn path(dir: &str, release: &str) -> String {
    format!("{dir}/{release}.log")
}

/// Writes what is queued: all that waits in one commit a release.
fn write(disk: &Arc<dyn Disk>, dir: &str, waiting: &Receiver<(String, Vec<Vec<u8>>)>) {
    let mut logs: BTreeMap<String, Log> = BTreeMap::new();
    while let Ok(first) = waiting.recv() {
        let mut batch: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for (release, lines) in std::iter::once(first).chain(waiting.try_iter()) {
            batch.entry(release).or_default().extend(lines);
        }
        for (release, lines) in batch {
            if !logs.contains_key(&release)
                && let Ok(opened) = Log::open(disk.clone(), &path(dir, &release), LINE_BYTES_MAX)
            {
                // One release of a service is out at a time: a handful of open files is enough.
                if logs.len() >= 16 {
                    logs.clear();
                }
                logs.insert(release.clone(), opened.log);
            }
            let kept = logs
                .get_mut(&release)
                .is_some_and(|log| lines.iter().all(|line| log.append(line).is_ok()) && log.commit().is_ok());
            if !kept {
                logs.remove(&release); // opened anew with the next lines: a full disk may have room again
            }
        }
    }
}
