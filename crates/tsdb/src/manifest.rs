//! What belongs to the last checkpoint: the one file that says which others count.

use hmsops_disk::frame::{self, FIRST, HEAD_BYTES, HEADER_BYTES, LAST};
use hmsops_disk::{Disk, LogError, Open};

use crate::bytes::{Damaged, Reader, put_int, put_uint};
use crate::error::StoreError;
use crate::segment::SegmentEntry;

/// The first bytes of a manifest.
const MAGIC: [u8; 8] = *b"hmsopstm";

/// The version this program writes and reads.
const VERSION: u32 = 1;

/// Bytes of a manifest: some twenty for each file of chunks.
const BYTES_MAX: usize = 16 << 20;

/// What counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Manifest {
    /// The number of the checkpoint, which is in the names of its files; the first file of the write-ahead log
    /// that it does not cover has it too.
    pub(crate) number: u64,
    /// Frames of the file that holds what was in memory; 0 when there is no such file.
    pub(crate) head_frames: u64,
    /// The number of the list of series; 0 when there is none.
    pub(crate) list: u64,
    /// Files of chunks, ascending.
    pub(crate) segments: Vec<SegmentEntry>,
}

/// The path of the manifest.
pub(crate) fn path(folder: &str) -> String {
    format!("{folder}/manifest")
}

impl Manifest {
    /// `None` when there is none.
    pub(crate) fn read(disk: &dyn Disk, folder: &str) -> Result<Option<Self>, StoreError> {
        let path = path(folder);
        match disk.open(&path, Open::Existing) {
            // What is read may be in the page cache only, left by a process that was killed before its sync. Files
            // that do not count are removed by what it says, so it must not be undone by a power cut.
            Ok(mut file) => file.sync().and_then(|()| disk.sync_dir(folder))?,
            Err(e) if e.is_not_found() => return Ok(None),
            Err(e) => return Err(e.into()),
        }
        let bytes = disk.read(&path, BYTES_MAX)?;
        match frame::header_version(MAGIC, &bytes) {
            Some(VERSION) => {}
            Some(found) => return Err(LogError::Version { path, found, expected: VERSION }.into()),
            None => return Err(StoreError::corrupt(&path, "this is not the header of a manifest")),
        }
        let frame =
            frame::decode(&bytes[HEADER_BYTES..], BYTES_MAX).map_err(|e| StoreError::corrupt(&path, &e))?;
        Self::decode(frame.payload).map(Some).map_err(|e| StoreError::corrupt(&path, &e))
    }

    /// Puts it in the place of the one before, durably.
    pub(crate) fn write(&self, disk: &dyn Disk, folder: &str) -> Result<(), StoreError> {
        let payload = self.encode();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + HEAD_BYTES + payload.len());
        bytes.extend(frame::header(MAGIC, VERSION));
        bytes.extend(frame::head(&payload, FIRST | LAST));
        bytes.extend(payload);
        Ok(disk.replace(&path(folder), &bytes)?)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in [self.number, self.head_frames, self.list, self.segments.len() as u64] {
            put_uint(&mut bytes, number);
        }
        for segment in &self.segments {
            put_uint(&mut bytes, u64::from(segment.number));
            put_uint(&mut bytes, segment.index_offset);
            put_uint(&mut bytes, u64::from(segment.index_len));
            put_int(&mut bytes, segment.max);
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader::new(bytes);
        let (number, head_frames, list) = (reader.uint()?, reader.uint()?, reader.uint()?);
        let segments: Result<Vec<SegmentEntry>, Damaged> = (0..reader.len()?)
            .map(|_| {
                Ok(SegmentEntry {
                    number: reader.small()?,
                    index_offset: reader.uint()?,
                    index_len: reader.small()?,
                    max: reader.int()?,
                })
            })
            .collect();
        Ok(Self { number, head_frames, list, segments: segments? })
    }
}
