//! What a service prints, kept in bounded files: the first of it (`out.head.log`), because that is where
//! start-up errors are, and the last (`out.old.log`, `out.log`).
//!
//! This is not our data: it is not synced, and when the disk refuses it, it is dropped and counted, because
//! a service must never wait for its own log.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The file that is being written.
const CURRENT: &str = "out.log";
/// The one before it.
const OLD: &str = "out.old.log";
/// The very first one.
const HEAD: &str = "out.head.log";

/// Where a service's output goes.
#[derive(Debug)]
pub(crate) struct Output {
    folder: PathBuf,
    bytes_max: u64,
    /// `None` while it cannot be opened.
    current: Option<File>,
    current_bytes: u64,
    /// Not kept, and not yet said so in the file.
    dropped_bytes: u64,
}

impl Output {
    /// Into this folder, at most `bytes_max` in each of three files.
    pub(crate) fn open(folder: &Path, bytes_max: u64) -> Self {
        let mut output =
            Self { folder: folder.to_owned(), bytes_max, current: None, current_bytes: 0, dropped_bytes: 0 };
        output.reopen();
        output
    }

    /// Keeps the bytes, or counts them.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.current_bytes >= self.bytes_max {
                self.turn();
            }
            if self.current.is_none() {
                self.reopen();
            }
            if self.dropped_bytes > 0 && !self.say_dropped() {
                self.dropped_bytes += bytes.len() as u64;
                return;
            }
            let room =
                usize::try_from(self.bytes_max.saturating_sub(self.current_bytes)).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(room.max(1)));
            let kept = self.write(now);
            if kept < now.len() {
                self.dropped_bytes += (bytes.len() - kept) as u64;
                return;
            }
            bytes = later;
        }
    }

    /// How many bytes of it the file took.
    fn write(&mut self, bytes: &[u8]) -> usize {
        let Some(file) = &mut self.current else { return 0 };
        let mut kept = 0;
        while kept < bytes.len() {
            match file.write(&bytes[kept..]) {
                Ok(0) => break,
                Ok(n) => kept += n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.current_bytes += kept as u64;
        kept
    }

    fn say_dropped(&mut self) -> bool {
        let line =
            format!("\n[{} bytes of output were dropped: the disk refused them]\n", self.dropped_bytes);
        let said = self.write(line.as_bytes()) == line.len();
        if said {
            self.dropped_bytes = 0;
        }
        said
    }

    /// Starts a new file. The bound holds whatever the file system says: what cannot be moved is emptied.
    fn turn(&mut self) {
        let current = self.folder.join(CURRENT);
        let head = self.folder.join(HEAD);
        let kept_as = if head.exists() { self.folder.join(OLD) } else { head };
        #[expect(clippy::disallowed_methods, reason = "a log that may be lost: no durability is wanted")]
        let moved = std::fs::rename(&current, &kept_as);
        match (moved, &mut self.current) {
            (Ok(()), file) => *file = None,
            (Err(_), Some(file)) => {
                let emptied = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0)));
                if emptied.is_err() {
                    self.current = None;
                    return;
                }
                self.current_bytes = 0;
            }
            (Err(_), None) => {}
        }
    }

    fn reopen(&mut self) {
        self.current = OpenOptions::new().create(true).append(true).open(self.folder.join(CURRENT)).ok();
        let len = self.current.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |meta| meta.len());
        self.current_bytes = len;
    }
}

/// The last `bytes` of what was kept, from a whole line on when there is one.
pub(crate) fn tail(folder: &Path, bytes: usize) -> std::io::Result<Vec<u8>> {
    let mut kept: Vec<u8> = Vec::new();
    for name in [CURRENT, OLD, HEAD] {
        let missing = bytes.saturating_sub(kept.len());
        if missing == 0 {
            break;
        }
        let mut part = match end_of(&folder.join(name), missing) {
            Ok(part) => part,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        part.append(&mut kept);
        kept = part;
        // Between the head and the old file something may have been left out.
        if name == OLD {
            break;
        }
    }
    if kept.len() == bytes
        && let Some(newline) = kept.iter().position(|byte| *byte == b'\n')
        && newline + 1 < kept.len()
    {
        kept.drain(..=newline);
    }
    Ok(kept)
}

/// What is kept of an output, in two parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ends {
    /// From the first byte on.
    pub(crate) head: Vec<u8>,
    /// Up to the last byte.
    pub(crate) tail: Vec<u8>,
    /// Whether anything may be missing between them.
    pub(crate) cut: bool,
}

/// The first and the last of what was kept, together at most `bytes_max`; all of it in `head` when it is no more.
pub(crate) fn ends(folder: &Path, bytes_max: usize) -> std::io::Result<Ends> {
    let (mut kept_bytes, mut first) = (0, None);
    for name in [HEAD, OLD, CURRENT] {
        match std::fs::metadata(folder.join(name)) {
            Ok(meta) => {
                kept_bytes += meta.len();
                first = first.or(Some(name));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let Some(first) = first else { return Ok(Ends { head: Vec::new(), tail: Vec::new(), cut: false }) };
    if !folder.join(OLD).exists() && kept_bytes <= bytes_max as u64 {
        return Ok(Ends { head: tail(folder, bytes_max.saturating_add(1))?, tail: Vec::new(), cut: false });
    }
    let mut head = Vec::new();
    File::open(folder.join(first))?.take(bytes_max as u64 / 2).read_to_end(&mut head)?;
    // Whole lines are easier to read; one that is longer than all we keep stays cut.
    if let Some(newline) = head.iter().rposition(|byte| *byte == b'\n') {
        head.truncate(newline + 1);
    }
    Ok(Ends { head, tail: tail(folder, bytes_max / 2)?, cut: true })
}

fn end_of(path: &Path, bytes: usize) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(bytes as u64)))?;
    let mut end = Vec::new();
    file.take(bytes as u64).read_to_end(&mut end)?;
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(folder: &Path) -> u64 {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    }

    #[test]
    fn the_first_and_the_last_output_is_kept_in_bounded_files() {
        let folder = tempfile::tempdir().unwrap();
        let mut output = Output::open(folder.path(), 1000);
        for line in 0..10_000 {
            output.take(format!("line {line:05}\n").as_bytes());
        }
        assert!(size(folder.path()) <= 3000);
        assert!(std::fs::read_to_string(folder.path().join(HEAD)).unwrap().starts_with("line 00000\n"));
        let end = String::from_utf8(tail(folder.path(), 30).unwrap()).unwrap();
        assert_eq!(end, "line 09998\nline 09999\n");
        let end = String::from_utf8(tail(folder.path(), 1100).unwrap()).unwrap();
        assert!(
            end.ends_with("line 09998\nline 09999\n") && end.len() > 1000,
            "it reaches into the older file"
        );
    }

    #[test]
    fn one_piece_longer_than_all_files_is_bounded_too() {
        let folder = tempfile::tempdir().unwrap();
        let mut output = Output::open(folder.path(), 1000);
        output.take(&vec![b'x'; 100_000]);
        assert!(size(folder.path()) <= 3000);
    }

    #[test]
    fn what_the_disk_refuses_is_counted_and_said_later() {
        let folder = tempfile::tempdir().unwrap();
        // A device that is always full stands in for the disk.
        std::os::unix::fs::symlink("/dev/full", folder.path().join(CURRENT)).unwrap();
        let mut output = Output::open(folder.path(), 1000);
        output.take(b"lost");
        output.take(b"lost too");
        assert_eq!(output.dropped_bytes, 12);
        std::fs::remove_file(folder.path().join(CURRENT)).unwrap();
        output.reopen();
        output.take(b"kept\n");
        let text = std::fs::read_to_string(folder.path().join(CURRENT)).unwrap();
        assert_eq!(text, "\n[12 bytes of output were dropped: the disk refused them]\nkept\n");
    }
}
