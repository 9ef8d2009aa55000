//! A small file whose space is reserved beforehand, so that a line can be made durable on a full disk.

use std::sync::Arc;

use crate::disk::parent;
use crate::frame::{self, FIRST, HEAD_BYTES, HEADER_BYTES, LAST};
use crate::{Disk, DiskFile, LogError, Open};

/// The first bytes of a spill file.
pub const SPILL_MAGIC: [u8; 8] = *b"hmsopssp";

/// The version this program writes and reads.
pub const SPILL_VERSION: u32 = 1;

/// The size of a spill unless another is wanted: a hundred retreats and more.
pub const SPILL_BYTES: usize = 64 << 10;

/// The largest spill: it is read whole.
const BYTES_MAX: usize = 16 << 20;

/// A preallocated file of entries. Whoever empties it must take entries twice without harm: a crash while
/// it is emptied can leave some of them.
pub struct Spill {
    file: Box<dyn DiskFile>,
    path: String,
    size: usize,
    /// Where the next frame goes.
    end: usize,
}

impl Spill {
    /// Opens or makes the spill at `path`, `size` bytes long (not less than 1 KiB), every byte of it written
    /// and synced. A put that a crash tore is dropped; entries after a damaged one are kept.
    pub fn open(disk: &Arc<dyn Disk>, path: &str, size: usize) -> Result<Self, LogError> {
        let mut file = disk.open(path, Open::Create)?;
        let old_len = file.len()?;
        let size = size.max(1024).max(usize::try_from(old_len).unwrap_or(usize::MAX));
        if size > BYTES_MAX {
            return Err(LogError::TooLarge { path: path.to_owned(), bytes: size, limit: BYTES_MAX });
        }
        let mut bytes = vec![0; size];
        file.read_at(0, &mut bytes)?;
        if let Some(found) = frame::header_version(SPILL_MAGIC, &bytes).filter(|v| *v != SPILL_VERSION) {
            return Err(LogError::Version { path: path.to_owned(), found, expected: SPILL_VERSION });
        }
        let (_, end) = frames(&bytes);
        // Written whole once more: bytes never written (a file that was only grown) have no space reserved.
        bytes[..HEADER_BYTES].copy_from_slice(&frame::header(SPILL_MAGIC, SPILL_VERSION));
        bytes[end..].fill(0);
        file.write_at(0, &bytes)?;
        file.sync()?;
        disk.sync_dir(parent(path))?;
        Ok(Self { file, path: path.to_owned(), size, end })
    }

    /// The entries of the spill at `path`, oldest first, changing nothing: for those who look while its owner runs, or
    /// before it runs again. None where there is no file.
    pub fn peek(disk: &dyn Disk, path: &str) -> Result<Vec<Vec<u8>>, LogError> {
        match disk.read(path, BYTES_MAX) {
            Ok(bytes) => Ok(frames(&bytes).0),
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes `payload` after the entries that are there, in place, and syncs. After an error the entry may or
    /// may not be there; the next put goes to the same place.
    pub fn put(&mut self, payload: &[u8]) -> Result<(), LogError> {
        let needed = HEAD_BYTES.saturating_add(payload.len());
        let free = self.size - self.end;
        if needed > free {
            return Err(LogError::Full { path: self.path.clone(), needed, free });
        }
        let mut bytes = frame::head(payload, FIRST | LAST).to_vec();
        bytes.extend(payload);
        // Zeros after it end the list even when a longer put failed here before.
        bytes.extend(std::iter::repeat_n(0, HEAD_BYTES.min(free - needed)));
        self.file.write_at(self.end as u64, &bytes)?;
        self.file.sync()?;
        self.end += needed;
        Ok(())
    }

    /// The entries, oldest first, read from the file.
    pub fn entries(&self) -> Result<Vec<Vec<u8>>, LogError> {
        let mut bytes = vec![0; self.end];
        let read = self.file.read_at(0, &mut bytes)?;
        bytes.truncate(read);
        Ok(frames(&bytes).0)
    }

    /// Removes all entries. After an error they may be there still, or some of them.
    pub fn clear(&mut self) -> Result<(), LogError> {
        self.file.write_at(HEADER_BYTES as u64, &vec![0; self.size - HEADER_BYTES])?;
        self.file.sync()?;
        self.end = HEADER_BYTES;
        Ok(())
    }

    /// Bytes left for frames; a payload takes eight more than its length.
    pub fn free_bytes(&self) -> usize {
        self.size - self.end
    }

    /// The file.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// All intact frames, at whatever byte they stand, and where the last of them ends. One that is damaged does
/// not hide those after it: each is a line somebody needs.
fn frames(bytes: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let (mut found, mut at, mut end) = (Vec::new(), HEADER_BYTES, HEADER_BYTES);
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= HEAD_BYTES) {
        match frame::decode(rest, bytes.len()) {
            Ok(frame) if frame.first && frame.last => {
                found.push(frame.payload.to_vec());
                at += HEAD_BYTES + frame.payload.len();
                end = at;
            }
            _ => at += 1,
        }
    }
    (found, end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Faults, FaultyDisk, MemDisk};

    #[test]
    fn a_look_from_outside_sees_what_is_there_and_changes_nothing() {
        let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
        assert_eq!(Spill::peek(disk.as_ref(), "spill").unwrap(), Vec::<Vec<u8>>::new());
        let mut spill = Spill::open(&disk, "spill", SPILL_BYTES).unwrap();
        spill.put(b"one").unwrap();
        let before = disk.read("spill", BYTES_MAX).unwrap();
        assert_eq!(Spill::peek(disk.as_ref(), "spill").unwrap(), [b"one".to_vec()]);
        assert_eq!(disk.read("spill", BYTES_MAX).unwrap(), before);
        spill.clear().unwrap();
        assert!(Spill::peek(disk.as_ref(), "spill").unwrap().is_empty());
    }

    #[test]
    fn a_full_disk_takes_a_put() {
        let faults = Faults::new();
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(Arc::new(MemDisk::new()), faults.clone()));
        let mut spill = Spill::open(&disk, "spill", 1024).unwrap();
        faults.fill();
        spill.put(b"one").unwrap();
        spill.put(b"two").unwrap();
        assert_eq!(spill.entries().unwrap(), [b"one", b"two"]);
        spill.clear().unwrap();
        assert!(spill.entries().unwrap().is_empty());
        while spill.put(&[7; 100]).is_ok() {}
        assert!(matches!(spill.put(&[7; 100]), Err(LogError::Full { needed: 108, .. })));
        assert_eq!(spill.entries().unwrap().len(), 9);
    }

    #[test]
    fn acknowledged_puts_outlive_a_crash_in_the_next_one() {
        for seed in 0..300 {
            let below = MemDisk::new();
            let faults = Faults::new();
            let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(Arc::new(below.clone()), faults.clone()));
            let mut spill = Spill::open(&disk, "spill", 2048).unwrap();
            spill.put(&[1; 400]).unwrap();
            spill.put(&[2; 700]).unwrap();
            faults.freeze_at_sync(faults.syncs() + 1);
            assert!(spill.put(&[3; 500]).is_err());
            below.crash(seed);
            let mut spill = Spill::open(&(Arc::new(below.clone()) as Arc<dyn Disk>), "spill", 2048).unwrap();
            let found = spill.entries().unwrap();
            assert_eq!(found[..2], [vec![1; 400], vec![2; 700]]);
            assert!(found.len() == 2 || found[2..] == [vec![3; 500]]);
            spill.put(&[4; 300]).unwrap();
            assert_eq!(spill.entries().unwrap().last(), Some(&vec![4; 300]));
        }
    }

    #[test]
    fn a_crash_while_emptying_invents_nothing() {
        for seed in 0..300 {
            let below = MemDisk::new();
            let disk: Arc<dyn Disk> = Arc::new(below.clone());
            let mut spill = Spill::open(&disk, "spill", 2048).unwrap();
            let all: Vec<Vec<u8>> = (1..4).map(|n| vec![n; 400]).collect();
            for payload in &all {
                spill.put(payload).unwrap();
            }
            let mut file = below.open("spill", Open::Existing).unwrap();
            file.write_at(16, &[0; 2032]).unwrap();
            below.crash(seed);
            let mut spill = Spill::open(&disk, "spill", 2048).unwrap();
            let left = spill.entries().unwrap();
            assert!(left.iter().all(|payload| all.contains(payload)));
            spill.put(&[9; 400]).unwrap();
            assert_eq!(spill.entries().unwrap().len(), left.len() + 1);
        }
    }

    #[test]
    fn a_damaged_entry_hides_no_other() {
        let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
        let mut spill = Spill::open(&disk, "spill", 1024).unwrap();
        for payload in [b"one", b"two", b"six"] {
            spill.put(payload).unwrap();
        }
        let mut file = disk.open("spill", Open::Existing).unwrap();
        file.write_at(25, b"X").unwrap();
        let spill = Spill::open(&disk, "spill", 1024).unwrap();
        assert_eq!(spill.entries().unwrap(), [b"two", b"six"]);
    }
}
