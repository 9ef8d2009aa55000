//! The side log: evidence of releases, which are not decisions. It is not hashed line by line; a verdict holds the
//! hash of the whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use hmsops_disk::{Disk, Log};
use sha2::{Digest as _, Sha256};

use crate::{Hash, LedgerError};

/// Lines that may wait for the disk; a hung one must not hold up who decides.
const QUEUE_MAX: usize = 4096;

/// The longest line: a tick of one service.
const LINE_BYTES_MAX: usize = 1 << 20;

/// A disk that takes longer when the tower stops keeps no more.
const SETTLE_MAX: Duration = Duration::from_secs(1);

/// What the thread that writes is asked for.
enum Order {
    /// To keep lines of a release.
    Keep(String, Vec<Vec<u8>>),
    /// To say when all before this is written.
    Answer(SyncSender<()>),
}

/// Where the evidence of releases is kept.
pub trait SideLog {
    /// Keeps lines of a release, in order, without waiting for the disk. `false`: not all will be kept, which loses
    /// evidence to a restart, not decisions.
    fn append(&mut self, release: &str, lines: &[Vec<u8>]) -> bool;
    /// All lines of a release that are on disk, oldest first. To be called before the first `append` of a release
    /// that was there before a restart, so that its hash goes on from what is kept.
    fn read(&mut self, release: &str) -> Vec<Vec<u8>>;
    /// SHA-256 over all lines of a release that were appended, so over what was decided upon, also where the disk
    /// could not keep it (each as its length in 8 bytes little-endian, then itself); `None` when
    /// there are none.
    fn sha256(&mut self, release: &str) -> Option<Hash>;
    /// Waits until what was appended is on disk, or for at most a second: who stops loses nothing then.
    fn settle(&mut self) {}
}

/// A side log in a folder of a disk, one framed log a release, written by a thread of its own.
pub struct FileSideLog {
    disk: Arc<dyn Disk>,
    dir: String,
    queue: SyncSender<Order>,
    hashes: BTreeMap<String, Sha256>,
}

impl FileSideLog {
    /// Opens or makes the side log in the folder `dir`.
    pub fn open(disk: Arc<dyn Disk>, dir: &str) -> Result<Self, LedgerError> {
        disk.create_dir(dir)?;
        disk.sync_dir(hmsops_disk::disk::parent(dir))?;
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
        self.queue.try_send(Order::Keep(release.to_owned(), lines.to_vec())).is_ok()
    }

    fn read(&mut self, release: &str) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        let mut visit = |_offset: u64, line: Vec<u8>| lines.push(line);
        // A log that can't be read to its end gives what it can: evidence, not decisions.
        let _whole = Log::scan(self.disk.as_ref(), &path(&self.dir, release), LINE_BYTES_MAX, &mut visit);
        let mut hash = Sha256::new();
        for line in &lines {
            feed(&mut hash, line);
        }
        self.hashes.insert(release.to_owned(), hash);
        lines
    }

    fn sha256(&mut self, release: &str) -> Option<Hash> {
        Some(Hash(self.hashes.get(release)?.clone().finalize().into()))
    }

    fn settle(&mut self) {
        let (answer, written) = sync_channel(1);
        if self.queue.try_send(Order::Answer(answer)).is_ok() {
            let _written = written.recv_timeout(SETTLE_MAX);
        }
    }
}

fn feed(hash: &mut Sha256, line: &[u8]) {
    hash.update((line.len() as u64).to_le_bytes());
    hash.update(line);
}

/// The hash of a side log, line by line.
#[derive(Debug, Clone, Default)]
pub struct Chain(Sha256);

impl Chain {
    /// Takes in the next line.
    pub fn feed(&mut self, line: &[u8]) {
        feed(&mut self.0, line);
    }

    /// The hash of all lines so far, as a verdict names it.
    pub fn sha256(&self) -> Hash {
        Hash(self.0.clone().finalize().into())
    }
}

/// Reads the lines of a release's side log that are on disk, oldest first, while the tower may write to it. The
/// error says why it ends early; what was visited until then is whole.
pub fn scan_side(
    disk: &dyn Disk,
    dir: &str,
    release: &str,
    visit: &mut dyn FnMut(Vec<u8>),
) -> Result<(), LedgerError> {
    let mut visit = |_offset: u64, line: Vec<u8>| visit(line);
    Log::scan(disk, &path(dir, release), LINE_BYTES_MAX, &mut visit).map(|_| ()).map_err(LedgerError::from)
}

fn path(dir: &str, release: &str) -> String {
    format!("{dir}/{release}.log")
}

/// Writes what is queued: all that waits in one commit a release.
fn write(disk: &Arc<dyn Disk>, dir: &str, waiting: &Receiver<Order>) {
    let mut logs: BTreeMap<String, Log> = BTreeMap::new();
    while let Ok(first) = waiting.recv() {
        let mut batch: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        let mut answers = Vec::new();
        for order in std::iter::once(first).chain(waiting.try_iter()) {
            match order {
                Order::Keep(release, lines) => batch.entry(release).or_default().extend(lines),
                Order::Answer(answer) => answers.push(answer),
            }
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
        for answer in answers {
            let _gone = answer.try_send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use hmsops_disk::MemDisk;

    use super::*;

    fn lines(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    #[test]
    fn who_has_settled_loses_nothing_by_stopping() {
        let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
        let mut side = FileSideLog::open(disk.clone(), "evidence").unwrap();
        for n in 0..200 {
            assert!(side.append("r-1", &lines(&[&n.to_string()])));
        }
        side.settle();
        let mut n = 0;
        scan_side(disk.as_ref(), "evidence", "r-1", &mut |_| n += 1).unwrap();
        assert_eq!(n, 200);
    }

    /// Reads until the writer's thread has written so many lines.
    fn read_all(side: &mut FileSideLog, release: &str, n: usize) -> Vec<Vec<u8>> {
        loop {
            let read = side.read(release);
            if read.len() >= n {
                return read;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_was_appended_is_read_after_a_restart_and_hashes_the_same() {
        let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
        let mut side = FileSideLog::open(disk.clone(), "evidence").unwrap();
        assert_eq!(side.sha256("r-1"), None);
        assert!(side.append("r-1", &lines(&["a", "b"])));
        assert!(side.append("r-2", &lines(&["c"])));
        let hash = side.sha256("r-1");
        read_all(&mut side, "r-1", 2);
        drop(side);
        let mut side = FileSideLog::open(disk, "evidence").unwrap();
        assert_eq!(read_all(&mut side, "r-1", 2), lines(&["a", "b"]));
        assert_eq!(side.sha256("r-1"), hash);
        assert_ne!(side.sha256("r-1"), side.sha256("r-2"));
        assert!(side.append("r-1", &lines(&["d"])));
        assert_ne!(side.sha256("r-1"), hash);
    }
}
