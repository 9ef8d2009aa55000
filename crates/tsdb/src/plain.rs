//! A chunk of tallies and histograms: times as differences of differences, values as they are.

use hmsops_model::sample::Value;

use crate::bytes::{Damaged, Reader, put_int, put_slice, put_uint};
use crate::columns::Columns;
use crate::value;

/// Samples in strictly ascending time.
#[derive(Debug, Clone, Default)]
pub(crate) struct PlainChunk {
    bytes: Vec<u8>,
    count: u32,
    first: i64,
    last: i64,
    delta: i64,
}

impl PlainChunk {
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    pub(crate) const fn first(&self) -> i64 {
        self.first
    }

    pub(crate) const fn last(&self) -> i64 {
        self.last
    }

    pub(crate) const fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a sample whose time is after the last.
    pub(crate) fn push(&mut self, time: i64, start: i64, value: &Value) {
        if self.count == 0 {
            self.first = time;
        }
        let delta = time.wrapping_sub(self.last);
        put_int(&mut self.bytes, delta.wrapping_sub(self.delta));
        // Relative to the time, with 0 kept for an unknown start.
        put_int(&mut self.bytes, if start == 0 { 0 } else { nonzero(start.wrapping_sub(time)) });
        value::encode(&mut self.bytes, value);
        (self.last, self.delta, self.count) = (time, delta, self.count + 1);
    }

    /// The bytes that [`decode`] reads.
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        put_uint(bytes, u64::from(self.count));
        put_slice(bytes, &self.bytes);
    }

    /// Hands out the samples.
    pub(crate) fn read(&self, columns: &mut Columns) -> Result<(), Damaged> {
        read(&self.bytes, self.count, columns)
    }
}

/// Zero and above make room for 0.
const fn nonzero(offset: i64) -> i64 {
    if offset >= 0 { offset.wrapping_add(1) } else { offset }
}

const fn unnonzero(offset: i64) -> i64 {
    if offset > 0 { offset.wrapping_sub(1) } else { offset }
}

/// Hands out the samples of an encoded chunk.
pub(crate) fn decode(reader: &mut Reader<'_>, columns: &mut Columns) -> Result<(), Damaged> {
    let count = reader.small()?;
    read(reader.slice()?, count, columns)
}

fn read(bytes: &[u8], count: u32, columns: &mut Columns) -> Result<(), Damaged> {
    let mut reader = Reader::new(bytes);
    let (mut time, mut delta) = (0_i64, 0_i64);
    for _ in 0..count {
        delta = delta.wrapping_add(reader.int()?);
        time = time.wrapping_add(delta);
        if columns.is_past(time) {
            break;
        }
        let start = match reader.int()? {
            0 => 0,
            offset => time.wrapping_add(unnonzero(offset)),
        };
        columns.push(time, start, value::decode(&mut reader)?);
    }
    Ok(())
}
