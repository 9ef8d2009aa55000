//! Files of sealed chunks: bodies, each with a checksum, and after those of each checkpoint an index of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use hmsops_disk::frame::{self, FIRST, HEAD_BYTES, HEADER_BYTES, LAST};
use hmsops_disk::{Disk, DiskFile, Open};

use crate::bytes::{Damaged, Reader, put_int, put_uint};
use crate::chunk::Sealed;
use crate::error::StoreError;
use crate::series::{DiskChunk, Series};

/// The first bytes of a file of chunks.
const MAGIC: [u8; 8] = *b"hmsopstc";

/// The version this program writes and reads.
const VERSION: u32 = 1;

/// Bytes written at once.
const WRITE_BYTES: usize = 1 << 20;

/// A file that has grown so long gets no more blocks; retention removes whole files.
pub(crate) const SEGMENT_BYTES: u64 = 64 << 20;

/// Bytes of bodies in one block: offsets are 32 bits wide.
pub(crate) const BLOCK_BYTES_MAX: usize = 256 << 20;

/// Files by number.
pub(crate) type Segments = BTreeMap<u32, Arc<Segment>>;

/// A file of chunks.
pub(crate) struct Segment {
    path: String,
    file: Mutex<Box<dyn DiskFile>>,
}

/// What a checkpoint says of a file of chunks: where its last index is, and its latest sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentEntry {
    pub(crate) number: u32,
    /// Where the last index begins, and its length with its head. Everything after it means nothing.
    pub(crate) index_offset: u64,
    pub(crate) index_len: u32,
    pub(crate) max: i64,
}

impl SegmentEntry {
    /// Where the next block goes.
    pub(crate) const fn end(&self) -> u64 {
        self.index_offset + self.index_len as u64
    }
}

/// The path of a file of chunks.
pub(crate) fn path(folder: &str, number: u32) -> String {
    format!("{folder}/chunks-{number:08}")
}

impl Segment {
    /// Makes a new one.
    pub(crate) fn create(disk: &dyn Disk, folder: &str, number: u32) -> Result<Self, StoreError> {
        let path = path(folder, number);
        let mut file = disk.open(&path, Open::Create)?;
        file.truncate(0)?;
        file.write_at(0, &frame::header(MAGIC, VERSION))?;
        disk.sync_dir(folder)?;
        Ok(Self { path, file: Mutex::new(file) })
    }

    /// Opens one, and reads where its chunks are: series and place, oldest first.
    pub(crate) fn open(
        disk: &dyn Disk,
        folder: &str,
        entry: &SegmentEntry,
    ) -> Result<(Self, Vec<(u32, DiskChunk)>), StoreError> {
        let path = path(folder, entry.number);
        let mut file = disk.open(&path, Open::Existing)?;
        let mut header = [0; HEADER_BYTES];
        file.read_at(0, &mut header)?;
        if frame::header_version(MAGIC, &header) != Some(VERSION) {
            return Err(StoreError::corrupt(&path, &format!("it is no file of chunks of version {VERSION}")));
        }
        let mut blocks = Vec::new();
        let (mut offset, mut len) = (entry.index_offset, entry.index_len);
        while len > 0 {
            let payload = frame::read_frame(&*file, &path, offset, blocks.len() as u64, len as usize)?;
            let block = index_block(&payload, entry.number).map_err(|e| StoreError::corrupt(&path, &e))?;
            if block.before.0 >= offset {
                return Err(StoreError::corrupt(&path, "an index refers to a later one"));
            }
            (offset, len) = block.before;
            blocks.push(block.chunks);
        }
        if file.len()? > entry.end() {
            file.truncate(entry.end())?;
        }
        let chunks = blocks.into_iter().rev().flatten().collect();
        Ok((Self { path, file: Mutex::new(file) }, chunks))
    }

    /// Writes chunks and their index after the end that `before` says, and syncs. Answers where they are.
    pub(crate) fn append(
        &self,
        number: u32,
        before: Option<SegmentEntry>,
        chunks: &[(Arc<Series>, Sealed)],
    ) -> Result<(SegmentEntry, Vec<DiskChunk>), StoreError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = before.map_or(HEADER_BYTES as u64, |before| before.end());
        let (mut buffer, mut flushed) = (Vec::with_capacity(WRITE_BYTES), begin);
        let mut places = Vec::with_capacity(chunks.len());
        for (series, sealed) in chunks {
            let offset = u32::try_from(flushed + buffer.len() as u64);
            places.push(DiskChunk {
                min: sealed.min,
                max: sealed.max,
                segment: number,
                offset: offset.map_err(|_| StoreError::corrupt(&self.path, "it is too long"))?,
                len: sealed.body.len() as u32 + 4,
                count: sealed.count as u16,
            });
            buffer.extend(checksum(series.id, &sealed.body).to_le_bytes());
            buffer.extend(&*sealed.body);
            if buffer.len() >= WRITE_BYTES {
                file.write_at(flushed, &buffer)?;
                flushed += buffer.len() as u64;
                buffer.clear();
            }
        }
        let index_offset = flushed + buffer.len() as u64;
        let payload = put_index(before, chunks, &places);
        buffer.extend(frame::head(&payload, FIRST | LAST));
        buffer.extend(&payload);
        file.write_at(flushed, &buffer)?;
        file.sync()?;
        let index_len = (HEAD_BYTES + payload.len()) as u32;
        let newest = places.iter().map(|place| place.max).chain(before.map(|before| before.max)).max();
        let max = newest.unwrap_or(i64::MIN);
        Ok((SegmentEntry { number, index_offset, index_len, max }, places))
    }

    /// A chunk's body, checked.
    pub(crate) fn read(&self, id: u32, place: &DiskChunk) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; place.len as usize];
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let read = file.read_at(u64::from(place.offset), &mut bytes).map_err(|e| e.chain())?;
        drop(file);
        let damaged = || {
            format!("`{}` is damaged: the chunk at byte {} is not what was written", self.path, place.offset)
        };
        if read < bytes.len() || bytes.len() < 4 {
            return Err(damaged());
        }
        let body = bytes.split_off(4);
        if checksum(id, &body).to_le_bytes() != bytes[..] {
            return Err(damaged());
        }
        Ok(body)
    }
}

/// With the series' number, so that a chunk is never read as another series'.
fn checksum(id: u32, body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&id.to_le_bytes());
    crc.update(body);
    crc.finalize()
}

fn put_index(
    before: Option<SegmentEntry>,
    chunks: &[(Arc<Series>, Sealed)],
    places: &[DiskChunk],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_uint(&mut bytes, before.map_or(0, |before| before.index_offset));
    put_uint(&mut bytes, before.map_or(0, |before| u64::from(before.index_len)));
    put_uint(&mut bytes, places.len() as u64);
    let (mut id, mut min, mut offset) = (0_i64, 0_i64, 0_u32);
    for ((series, _), place) in chunks.iter().zip(places) {
        put_int(&mut bytes, i64::from(series.id) - id);
        put_int(&mut bytes, place.min.wrapping_sub(min));
        put_int(&mut bytes, place.max.wrapping_sub(place.min));
        put_uint(&mut bytes, u64::from(place.offset - offset));
        put_uint(&mut bytes, u64::from(place.len));
        put_uint(&mut bytes, u64::from(place.count));
        (id, min, offset) = (i64::from(series.id), place.min, place.offset);
    }
    bytes
}

/// One index: where the one before it is (offset and length), and its chunks.
struct Block {
    before: (u64, u32),
    chunks: Vec<(u32, DiskChunk)>,
}

fn index_block(bytes: &[u8], segment: u32) -> Result<Block, Damaged> {
    let mut reader = Reader::new(bytes);
    let before = (reader.uint()?, reader.small()?);
    let count = reader.len()?;
    let (mut id, mut min, mut offset) = (0_i64, 0_i64, 0_u32);
    let mut chunks = Vec::with_capacity(count);
    for _ in 0..count {
        id = id.wrapping_add(reader.int()?);
        min = min.wrapping_add(reader.int()?);
        let max = min.wrapping_add(reader.int()?);
        offset = offset.checked_add(reader.small()?).ok_or(Damaged("an offset is too large"))?;
        let (len, count) = (reader.small()?, reader.small()?);
        let count = u16::try_from(count).map_err(|_| Damaged("a chunk has too many samples"))?;
        let id = u32::try_from(id).map_err(|_| Damaged("a series' number is too large"))?;
        chunks.push((id, DiskChunk { min, max, segment, offset, len, count }));
    }
    Ok(Block { before, chunks })
}
