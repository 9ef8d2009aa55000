//! The bytes of a framed file: a header that names the format, then frames that each carry a checksum.
//!
//! A frame's head says whether it is the first and the last of its commit. Without that, a torn last commit
//! (some of its frames lost, later ones kept) could not be told from damage to what was acknowledged, and a
//! commit of several payloads would not be all or nothing.

use crate::{DiskError, DiskFile, LogError};

/// Bytes of a file's header: 8 magic, u32 LE version, u32 LE CRC-32 of the twelve before.
pub const HEADER_BYTES: usize = 16;

/// Bytes before a payload: u32 LE flags and length, u32 LE CRC-32 of (those four ‖ payload).
pub const HEAD_BYTES: usize = 8;

/// The longest payload the length field can say.
pub const PAYLOAD_BYTES_MAX: usize = (1 << 30) - 1;

/// Set in the head of the first frame of a commit.
pub const FIRST: u32 = 1 << 31;

/// Set in the head of the last frame of a commit.
pub const LAST: u32 = 1 << 30;

/// How much of a file is read at once when it is scanned.
const WINDOW_BYTES: usize = 1 << 20;

/// CRC-32 (IEEE 802.3, as in gzip) of a head's first word and its payload.
fn checksum(word: u32, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&word.to_le_bytes());
    crc.update(payload);
    crc.finalize()
}

/// The head of a frame. `payload` is at most [`PAYLOAD_BYTES_MAX`] long, which callers check.
pub fn head(payload: &[u8], flags: u32) -> [u8; HEAD_BYTES] {
    debug_assert!(payload.len() <= PAYLOAD_BYTES_MAX && flags & !(FIRST | LAST) == 0);
    let word = flags | payload.len() as u32;
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&word.to_le_bytes());
    head[4..].copy_from_slice(&checksum(word, payload).to_le_bytes());
    head
}

/// A file's header.
pub fn header(magic: [u8; 8], version: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&magic);
    header[8..12].copy_from_slice(&version.to_le_bytes());
    let crc = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The version in a header, `None` when these are not the bytes of one.
pub fn header_version(magic: [u8; 8], bytes: &[u8]) -> Option<u32> {
    let bytes: &[u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES)?.try_into().ok()?;
    let version = word(&bytes[8..12]);
    (*bytes == header(magic, version)).then_some(version)
}

fn word(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_le_bytes)
}

/// A frame that was found intact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it carries.
    pub payload: &'a [u8],
    /// Whether it begins a commit.
    pub first: bool,
    /// Whether it ends a commit.
    pub last: bool,
}

impl Frame<'_> {
    /// Bytes in the file, head included.
    pub fn len_bytes(&self) -> u64 {
        (HEAD_BYTES + self.payload.len()) as u64
    }
}

/// Decodes the frame at the start of `bytes`; the text says why there is none.
pub fn decode(bytes: &[u8], max_payload: usize) -> Result<Frame<'_>, &'static str> {
    let word_and_crc = bytes.get(..HEAD_BYTES).ok_or("the file ends inside a frame's head")?;
    let word = word(&word_and_crc[..4]);
    let len = (word & !(FIRST | LAST)) as usize;
    if len > max_payload {
        return Err("the length is above the limit");
    }
    let payload = bytes.get(HEAD_BYTES..HEAD_BYTES + len).ok_or("the file ends inside a frame")?;
    if checksum(word, payload).to_le_bytes() != word_and_crc[4..] {
        return Err("the checksum does not match");
    }
    Ok(Frame { payload, first: word & FIRST != 0, last: word & LAST != 0 })
}

/// Reads the payload of the frame at `offset`, checking it.
pub fn read_frame(
    file: &dyn DiskFile,
    path: &str,
    offset: u64,
    frame: u64,
    max_payload: usize,
) -> Result<Vec<u8>, LogError> {
    let corrupt =
        |what: &str| LogError::Corrupt { path: path.to_owned(), offset, frame, what: what.to_owned() };
    let mut head = [0; HEAD_BYTES];
    let read = file.read_at(offset, &mut head)?;
    let len = (word(&head[..4]) & !(FIRST | LAST)) as usize;
    if read < HEAD_BYTES || len > max_payload {
        return Err(corrupt("there is no frame"));
    }
    let mut bytes = vec![0; HEAD_BYTES + len];
    let read = file.read_at(offset, &mut bytes)?;
    decode(&bytes[..read], max_payload).map_err(corrupt)?;
    bytes.drain(..HEAD_BYTES);
    Ok(bytes)
}

/// A sliding view of a file, as long as it was when the view was made.
pub struct Window<'a> {
    file: &'a dyn DiskFile,
    len: u64,
    base: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    /// A view of `file`.
    pub fn new(file: &'a dyn DiskFile) -> Result<Self, DiskError> {
        Ok(Self { file, len: file.len()?, base: 0, bytes: Vec::new() })
    }

    /// Bytes in the file.
    pub fn len_bytes(&self) -> u64 {
        self.len
    }

    /// At least `wanted` bytes from `offset`, fewer only at the end of the file.
    fn from(&mut self, offset: u64, wanted: usize) -> Result<&[u8], DiskError> {
        let left = self.len.saturating_sub(offset).min(usize::MAX as u64) as usize;
        let wanted = wanted.min(left);
        let have = self.base + self.bytes.len() as u64;
        if offset < self.base || offset + wanted as u64 > have {
            self.bytes.resize(left.min(wanted.max(WINDOW_BYTES)), 0);
            self.base = offset;
            let read = self.file.read_at(offset, &mut self.bytes)?;
            self.bytes.truncate(read);
        }
        let start = ((offset - self.base) as usize).min(self.bytes.len());
        Ok(&self.bytes[start..])
    }

    /// The frame at `offset`; the inner error says why there is none.
    pub fn frame(
        &mut self,
        offset: u64,
        max_payload: usize,
    ) -> Result<Result<Frame<'_>, &'static str>, DiskError> {
        let head = self.from(offset, HEAD_BYTES)?;
        let len = head.get(..4).map_or(0, |bytes| (word(bytes) & !(FIRST | LAST)) as usize);
        // A length above the limit is refused by `decode`, without reading so much.
        let wanted = HEAD_BYTES + if len > max_payload { 0 } else { len };
        Ok(decode(self.from(offset, wanted)?, max_payload))
    }

    /// Where, from `offset` on, an intact frame that begins a commit stands, at any byte.
    pub fn find_commit(&mut self, mut offset: u64, max_payload: usize) -> Result<Option<u64>, DiskError> {
        while offset + HEAD_BYTES as u64 <= self.len {
            match self.frame(offset, max_payload)? {
                Ok(frame) if frame.first => return Ok(Some(offset)),
                Ok(frame) => offset += frame.len_bytes(),
                Err(_) => offset += 1,
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zeros_are_no_frame() {
        assert!(decode(&[0; 64], 64).is_err());
    }

    proptest! {
        #[test]
        fn frames_round_trip(payload in prop::collection::vec(any::<u8>(), 0..300), flags in 0_u32..4) {
            let mut bytes = head(&payload, flags << 30).to_vec();
            bytes.extend(&payload);
            bytes.extend(b"what follows");
            let frame = decode(&bytes, 300).unwrap();
            prop_assert_eq!(frame.payload, &payload[..]);
            prop_assert_eq!((frame.first, frame.last), (flags & 2 != 0, flags & 1 != 0));
        }

        #[test]
        fn no_flipped_bit_passes(payload in prop::collection::vec(any::<u8>(), 0..64), at in any::<prop::sample::Index>()) {
            let mut bytes = head(&payload, FIRST | LAST).to_vec();
            bytes.extend(&payload);
            let bit = at.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&bytes, 64).is_err());
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&bytes, 64);
            let _ = header_version(*b"hmsopslg", &bytes);
        }
    }
}
