//! An append-only log of payloads in one file. What [`Log::commit`] answered `Ok` to is there after any crash.

use std::sync::Arc;

use crate::disk::parent;
use crate::frame::{self, FIRST, HEAD_BYTES, HEADER_BYTES, LAST, Window};
use crate::{Disk, DiskFile, LogError, Open};

/// The first bytes of a log file.
pub const LOG_MAGIC: [u8; 8] = *b"hmsopslg";

/// The version this program writes and reads.
pub const LOG_VERSION: u32 = 1;

/// The most that is buffered for one commit: far above what any tick produces, well below memory.
pub const COMMIT_BYTES_MAX: usize = 64 << 20;

/// What was cut off at opening: the end of the file, which no commit had acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Torn {
    /// Where the good part ends.
    pub offset: u64,
    /// How many bytes followed it.
    pub bytes: u64,
}

/// What a scan found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// Where the next commit goes.
    pub end: u64,
    /// Frames before it.
    pub frames: u64,
    /// What follows `end`, if anything does.
    pub torn: Option<Torn>,
}

/// An opened log with what was in it.
#[derive(Debug)]
pub struct Opened {
    /// The log.
    pub log: Log,
    /// Its payloads, oldest first.
    pub payloads: Vec<Vec<u8>>,
    /// What was cut off.
    pub torn: Option<Torn>,
}

/// An append-only log. One writer.
pub struct Log {
    disk: Arc<dyn Disk>,
    file: Box<dyn DiskFile>,
    path: String,
    max_payload: usize,
    /// The end of the last commit that succeeded.
    good: u64,
    /// Heads (still empty) and payloads of the next commit.
    buffer: Vec<u8>,
    /// Where in `buffer` each frame begins.
    starts: Vec<usize>,
    latched: Option<String>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("path", &self.path).field("good", &self.good).finish_non_exhaustive()
    }
}

impl Log {
    /// Whether these can be the bytes of a log whose header was being written when its machine stopped: as much of it as
    /// had come, and nothing or zeros after that. Anything else was changed.
    pub fn is_beginning(bytes: &[u8]) -> bool {
        let header = frame::header(LOG_MAGIC, LOG_VERSION);
        let same = header.iter().zip(bytes).take_while(|(whole, found)| whole == found).count();
        bytes.len() <= header.len() && bytes.iter().skip(same).all(|byte| *byte == 0)
    }

    /// Opens or makes the log at `path` and reads all payloads, each at most `max_payload` bytes.
    ///
    /// A torn tail (an incomplete or damaged last commit) is cut and reported. Damage with a later commit
    /// after it is [`LogError::Corrupt`], and nothing is changed.
    pub fn open(disk: Arc<dyn Disk>, path: &str, max_payload: usize) -> Result<Opened, LogError> {
        let mut payloads = Vec::new();
        let (log, torn) = Self::open_with(disk, path, max_payload, &mut |_, payload| payloads.push(payload))?;
        Ok(Opened { log, payloads, torn })
    }

    /// As [`Log::open`], handing each payload and its offset to `visit` instead of keeping them all.
    pub fn open_with(
        disk: Arc<dyn Disk>,
        path: &str,
        max_payload: usize,
        visit: &mut dyn FnMut(u64, Vec<u8>),
    ) -> Result<(Self, Option<Torn>), LogError> {
        let max_payload = max_payload.min(frame::PAYLOAD_BYTES_MAX);
        let mut file = disk.open(path, Open::Create)?;
        let scan = scan_file(&*file, path, max_payload, visit)?;
        if scan.end < HEADER_BYTES as u64 {
            file.truncate(0)?;
            file.write_at(0, &frame::header(LOG_MAGIC, LOG_VERSION))?;
        } else if scan.torn.is_some() {
            file.truncate(scan.end)?;
        }
        // What was read may be in the page cache only, left by a process that was killed before its sync; and
        // it may have been killed before it synced the folder. Nothing is shown that a power cut could undo.
        file.sync()?;
        disk.sync_dir(parent(path))?;
        let good = scan.end.max(HEADER_BYTES as u64);
        let (buffer, starts) = (Vec::new(), Vec::new());
        let log =
            Self { disk, file, path: path.to_owned(), max_payload, good, buffer, starts, latched: None };
        Ok((log, scan.torn))
    }

    /// Reads a log that somebody else may be writing, changing nothing.
    pub fn scan(
        disk: &dyn Disk,
        path: &str,
        max_payload: usize,
        visit: &mut dyn FnMut(u64, Vec<u8>),
    ) -> Result<Scan, LogError> {
        let file = disk.open(path, Open::Existing)?;
        scan_file(&*file, path, max_payload.min(frame::PAYLOAD_BYTES_MAX), visit)
    }

    /// Buffers a payload for the next commit and answers the offset it will have.
    pub fn append(&mut self, payload: &[u8]) -> Result<u64, LogError> {
        self.check_latch()?;
        let too_large = |bytes, limit| LogError::TooLarge { path: self.path.clone(), bytes, limit };
        if payload.len() > self.max_payload {
            return Err(too_large(payload.len(), self.max_payload));
        }
        let start = self.buffer.len();
        let end = start + HEAD_BYTES + payload.len();
        if end > COMMIT_BYTES_MAX {
            return Err(too_large(end, COMMIT_BYTES_MAX));
        }
        self.starts.push(start);
        self.buffer.extend([0; HEAD_BYTES]);
        self.buffer.extend(payload);
        Ok(self.good + start as u64)
    }

    /// Drops what is buffered.
    pub fn discard(&mut self) {
        self.buffer.clear();
        self.starts.clear();
    }

    /// Writes everything buffered with one write and one sync, all or nothing: after a crash either all of it
    /// is there or none. On an error nothing was acknowledged, the buffer is dropped and the log latches.
    pub fn commit(&mut self) -> Result<(), LogError> {
        self.check_latch()?;
        if self.starts.is_empty() {
            return Ok(());
        }
        let mut end = self.buffer.len();
        for (index, &start) in self.starts.iter().enumerate().rev() {
            let first = if index == 0 { FIRST } else { 0 };
            let last = if end == self.buffer.len() { LAST } else { 0 };
            let head = frame::head(&self.buffer[start + HEAD_BYTES..end], first | last);
            self.buffer[start..start + HEAD_BYTES].copy_from_slice(&head);
            end = start;
        }
        let written = self.file.write_at(self.good, &self.buffer).and_then(|()| self.file.sync());
        let bytes = self.buffer.len() as u64;
        self.discard();
        match written {
            Ok(()) => {
                self.good += bytes;
                Ok(())
            }
            Err(e) => {
                self.latched = Some(e.chain());
                Err(e.into())
            }
        }
    }

    /// After a failure: opens the file again, cuts it to the end of the last commit that succeeded, syncs and
    /// takes payloads again. What was buffered is dropped. On an error the log stays latched.
    pub fn reopen(&mut self) -> Result<(), LogError> {
        self.discard();
        let latch = |e: LogError, latched: &mut Option<String>| {
            latched.get_or_insert_with(|| e.chain());
            e
        };
        match self.try_reopen() {
            Ok(()) => {
                self.latched = None;
                Ok(())
            }
            Err(e) => Err(latch(e, &mut self.latched)),
        }
    }

    fn try_reopen(&mut self) -> Result<(), LogError> {
        let mut file = self.disk.open(&self.path, Open::Existing)?;
        let len = file.len()?;
        if len < self.good {
            let what = format!("the file ends at byte {len}, {} were committed", self.good);
            return Err(LogError::Corrupt { path: self.path.clone(), offset: len, frame: 0, what });
        }
        file.truncate(self.good)?;
        file.sync()?;
        self.file = file;
        Ok(())
    }

    /// The payload at an offset that [`Log::append`] or a scan gave, read from disk and checked. `frame` is its
    /// index, for the error.
    pub fn read(&self, offset: u64, frame: u64) -> Result<Vec<u8>, LogError> {
        frame::read_frame(&*self.file, &self.path, offset, frame, self.max_payload)
    }

    /// Why nothing is taken, if so.
    pub fn latched(&self) -> Option<&str> {
        self.latched.as_deref()
    }

    /// Bytes that are committed, header included.
    pub fn len_bytes(&self) -> u64 {
        self.good
    }

    /// The longest payload.
    pub fn max_payload(&self) -> usize {
        self.max_payload
    }

    /// The file.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn check_latch(&self) -> Result<(), LogError> {
        match &self.latched {
            Some(why) => Err(LogError::Latched { path: self.path.clone(), why: why.clone() }),
            None => Ok(()),
        }
    }
}

/// `end` 0 says that there is no header yet.
fn scan_file(
    file: &dyn DiskFile,
    path: &str,
    max_payload: usize,
    visit: &mut dyn FnMut(u64, Vec<u8>),
) -> Result<Scan, LogError> {
    let corrupt =
        |offset, frame, what: String| LogError::Corrupt { path: path.to_owned(), offset, frame, what };
    let mut window = Window::new(file)?;
    let len = window.len_bytes();
    let mut header = [0; HEADER_BYTES];
    file.read_at(0, &mut header)?;
    match frame::header_version(LOG_MAGIC, &header) {
        Some(LOG_VERSION) => {}
        Some(found) => return Err(LogError::Version { path: path.to_owned(), found, expected: LOG_VERSION }),
        // The header is durable before the first commit, so a file this short has acknowledged nothing.
        None if len <= HEADER_BYTES as u64 => {
            let torn = (len > 0).then_some(Torn { offset: 0, bytes: len });
            return Ok(Scan { end: 0, frames: 0, torn });
        }
        None => return Err(corrupt(0, 0, "this is not the header of a log".to_owned())),
    }
    let mut scan = Scan { end: HEADER_BYTES as u64, frames: 0, torn: None };
    let mut at = scan.end;
    let mut commit: Vec<(u64, Vec<u8>)> = Vec::new();
    while at < len {
        let index = scan.frames + commit.len() as u64;
        match window.frame(at, max_payload)? {
            Ok(frame) if frame.first != commit.is_empty() => {
                let what = if frame.first {
                    "a commit begins before the one before it has ended"
                } else {
                    "a frame belongs to a commit whose beginning is missing"
                };
                return Err(corrupt(at, index, what.to_owned()));
            }
            Ok(frame) => {
                commit.push((at, frame.payload.to_vec()));
                at += frame.len_bytes();
                if frame.last {
                    scan.frames += commit.len() as u64;
                    scan.end = at;
                    commit.drain(..).for_each(|(offset, payload)| visit(offset, payload));
                }
            }
            Err(why) => {
                if let Some(later) = window.find_commit(at + 1, max_payload)? {
                    return Err(corrupt(
                        at,
                        index,
                        format!("{why}; an intact commit follows at byte {later}"),
                    ));
                }
                break;
            }
        }
    }
    scan.torn = (scan.end < len).then_some(Torn { offset: scan.end, bytes: len - scan.end });
    Ok(scan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemDisk;

    fn filled(commits: &[&[&str]]) -> MemDisk {
        let disk = MemDisk::new();
        let mut log = Log::open(Arc::new(disk.clone()), "log", 100).unwrap().log;
        for commit in commits {
            for payload in *commit {
                log.append(payload.as_bytes()).unwrap();
            }
            log.commit().unwrap();
        }
        disk
    }

    fn open(disk: &MemDisk) -> Result<Opened, LogError> {
        Log::open(Arc::new(disk.clone()), "log", 100)
    }

    fn edit(disk: &MemDisk, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = disk.read("log", 1 << 20).unwrap();
        edit(&mut bytes);
        disk.replace("log", &bytes).unwrap();
    }

    #[test]
    fn payloads_come_back_in_order() {
        let opened = open(&filled(&[&["a"], &["b", "", "c"], &[]])).unwrap();
        assert_eq!(opened.payloads, [b"a".as_slice(), b"b", b"", b"c"]);
        assert_eq!(opened.torn, None);
    }

    /// These bytes are the format: a change of them is a new version.
    #[test]
    fn the_bytes_of_version_1() {
        let log = filled(&[&["a"], &["b", ""]]).read("log", 1000).unwrap();
        let mut expected = b"hmsopslg\x01\x00\x00\x00\x77\x2f\x27\xcd".to_vec();
        expected.extend(b"\x01\x00\x00\xc0\x2d\x58\x0d\x0a\x61");
        expected.extend(b"\x01\x00\x00\x80\x92\x46\x7d\x63\x62");
        expected.extend(b"\x00\x00\x00\x40\x8c\x9e\x98\x57");
        assert_eq!(log, expected);
    }

    #[test]
    fn a_torn_commit_is_cut_whole_and_reported() {
        let whole = filled(&[&["first"], &["second", "third"]]);
        let len = whole.read("log", 1000).unwrap().len();
        for cut in 16 + 8 + 5 + 1..len {
            let disk = whole.fork();
            edit(&disk, |bytes| bytes.truncate(cut));
            let opened = open(&disk).unwrap();
            assert_eq!(opened.payloads, [b"first"], "cut at {cut}");
            assert_eq!(opened.torn, Some(Torn { offset: 29, bytes: cut as u64 - 29 }));
            assert_eq!(disk.read("log", 1000).unwrap().len(), 29);
        }
    }

    #[test]
    fn damage_before_a_later_commit_is_an_error_that_names_the_byte() {
        let disk = filled(&[&["first"], &["second"]]);
        edit(&disk, |bytes| bytes[26] ^= 1);
        let before = disk.read("log", 1000).unwrap();
        let refused = open(&disk).unwrap_err();
        assert!(matches!(refused, LogError::Corrupt { offset: 16, frame: 0, .. }), "{refused}");
        assert_eq!(disk.read("log", 1000).unwrap(), before, "what is damaged is not touched");
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let whole = filled(&[&["first"], &["second", "third"], &["fourth"]]);
        let bytes = whole.read("log", 1000).unwrap();
        let last_commit = bytes.len() - 8 - 6;
        for bit in 0..bytes.len() * 8 {
            let disk = whole.fork();
            edit(&disk, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            match open(&disk) {
                Ok(opened) => {
                    assert!(bit / 8 >= last_commit, "bit {bit} was acknowledged before the last commit");
                    assert_eq!(opened.payloads.len(), 3);
                    assert!(opened.torn.is_some());
                }
                Err(e) => assert!(matches!(e, LogError::Corrupt { .. }), "{e}"),
            }
        }
    }

    #[test]
    fn a_later_format_is_refused_by_its_number() {
        let disk = MemDisk::new();
        disk.replace("log", &frame::header(LOG_MAGIC, 2)).unwrap();
        assert!(matches!(open(&disk), Err(LogError::Version { found: 2, .. })));
        disk.replace("log", b"a text file that is no log").unwrap();
        assert!(matches!(open(&disk), Err(LogError::Corrupt { offset: 0, .. })));
    }

    #[test]
    fn too_long_payloads_are_refused_and_harm_nothing() {
        let mut log = open(&MemDisk::new()).unwrap().log;
        assert!(matches!(log.append(&[0; 101]), Err(LogError::TooLarge { bytes: 101, limit: 100, .. })));
        log.append(&[0; 100]).unwrap();
        log.commit().unwrap();
    }
}
