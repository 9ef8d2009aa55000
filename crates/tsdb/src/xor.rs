//! A growing chunk of floats: times as differences of differences, values as XOR with the one before
//! (Pelkonen et al., "Gorilla", VLDB 2015, §4.1), with wider time bins. Bit-exact for every float.

use crate::bits::{BitReader, BitWriter};
use crate::bytes::{Damaged, Reader, put_int, put_slice, put_uint, unzigzag, zigzag};
use crate::columns::Columns;

/// Width in bits of the difference of differences, zigzag, after one to four 1-bits and a 0.
const TIME_BINS: [u8; 4] = [10, 16, 24, 64];

/// Floats in strictly ascending time.
#[derive(Debug, Clone, Default)]
pub(crate) struct XorChunk {
    bits: BitWriter,
    /// Where start timestamps change: index of a sample, and the start from there on. 0 until the first.
    starts: Vec<(u32, i64)>,
    count: u32,
    first: i64,
    last: i64,
    delta: i64,
    value: u64,
    leading: u8,
    width: u8,
}

impl XorChunk {
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    pub(crate) const fn first(&self) -> i64 {
        self.first
    }

    pub(crate) const fn last(&self) -> i64 {
        self.last
    }

    /// The last sample: its time, when its counter began (0 when unknown), its value.
    pub(crate) fn latest(&self) -> Option<(i64, i64, f64)> {
        let start = self.starts.last().map_or(0, |(_, start)| *start);
        (self.count > 0).then(|| (self.last, start, f64::from_bits(self.value)))
    }

    /// Appends a sample whose time is after the last.
    pub(crate) fn push(&mut self, time: i64, start: i64, value: f64) {
        if start != self.starts.last().map_or(0, |(_, start)| *start) {
            self.starts.push((self.count, start));
        }
        let bits = value.to_bits();
        if self.count == 0 {
            self.first = time;
            self.bits.put(time as u64, 64);
            self.bits.put(bits, 64);
        } else {
            let delta = time.wrapping_sub(self.last);
            self.push_time(delta.wrapping_sub(self.delta));
            self.push_value(bits);
            self.delta = delta;
        }
        (self.last, self.value, self.count) = (time, bits, self.count + 1);
    }

    fn push_time(&mut self, change: i64) {
        if change == 0 {
            return self.bits.put(0, 1);
        }
        let change = zigzag(change);
        for (ones, width) in (1_u8..).zip(TIME_BINS) {
            if width == 64 {
                self.bits.put(0b1111, 4);
                self.bits.put(change, 64);
            } else if change < 1 << width {
                self.bits.put((1 << (ones + 1)) - 2, ones + 1);
                return self.bits.put(change, width);
            }
        }
    }

    fn push_value(&mut self, bits: u64) {
        let change = bits ^ self.value;
        if change == 0 {
            return self.bits.put(0, 1);
        }
        let leading = (change.leading_zeros() as u8).min(31);
        let trailing = change.trailing_zeros() as u8;
        let is_within =
            self.width > 0 && leading >= self.leading && trailing >= 64 - self.leading - self.width;
        if is_within {
            self.bits.put(0b10, 2);
        } else {
            (self.leading, self.width) = (leading, 64 - leading - trailing);
            self.bits.put(0b11, 2);
            self.bits.put(u64::from(leading), 5);
            self.bits.put(u64::from(self.width - 1), 6);
        }
        self.bits.put(change >> (64 - self.leading - self.width), self.width);
    }

    /// The bytes that [`decode`] reads.
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        put_uint(bytes, u64::from(self.count));
        put_starts(bytes, &self.starts, self.first);
        put_slice(bytes, self.bits.bytes());
    }

    /// Hands out the samples.
    pub(crate) fn read(&self, columns: &mut Columns) -> Result<(), Damaged> {
        read_bits(self.bits.bytes(), self.count, &self.starts, columns)
    }
}

/// Appends changes of start timestamps, relative to a `time`, because they are mostly near.
pub(crate) fn put_starts(bytes: &mut Vec<u8>, starts: &[(u32, i64)], time: i64) {
    put_uint(bytes, starts.len() as u64);
    for (index, start) in starts {
        put_uint(bytes, u64::from(*index));
        put_int(bytes, start.wrapping_sub(time));
    }
}

/// Reads what [`put_starts`] wrote.
pub(crate) fn starts(reader: &mut Reader<'_>, time: i64) -> Result<Vec<(u32, i64)>, Damaged> {
    (0..reader.len()?).map(|_| Ok((reader.small()?, reader.int()?.wrapping_add(time)))).collect()
}

/// Start timestamps sample by sample.
pub(crate) struct StartCursor<'a> {
    changes: &'a [(u32, i64)],
    start: i64,
}

impl<'a> StartCursor<'a> {
    pub(crate) const fn new(changes: &'a [(u32, i64)]) -> Self {
        Self { changes, start: 0 }
    }

    /// That of the sample at `index`; called with 0, 1, 2, …
    pub(crate) fn at(&mut self, index: u32) -> i64 {
        if let [(change, start), rest @ ..] = self.changes
            && *change <= index
        {
            (self.start, self.changes) = (*start, rest);
        }
        self.start
    }
}

/// Hands out the samples of an encoded chunk.
pub(crate) fn decode(reader: &mut Reader<'_>, columns: &mut Columns) -> Result<(), Damaged> {
    let count = reader.small()?;
    // The starts stand relative to the first time, which stands after them.
    let mut ahead = *reader;
    for _ in 0..ahead.len()? {
        ahead.small()?;
        ahead.int()?;
    }
    let first = BitReader::new(ahead.slice()?).take(64)? as i64;
    let starts = starts(reader, first)?;
    read_bits(reader.slice()?, count, &starts, columns)
}

fn read_bits(bytes: &[u8], count: u32, starts: &[(u32, i64)], columns: &mut Columns) -> Result<(), Damaged> {
    let mut bits = BitReader::new(bytes);
    let (mut time, mut delta, mut value) = (0_i64, 0_i64, 0_u64);
    let (mut leading, mut width) = (0_u8, 0_u8);
    let mut starts = StartCursor::new(starts);
    for index in 0..count {
        if index == 0 {
            (time, value) = (bits.take(64)? as i64, bits.take(64)?);
        } else {
            let mut ones = 0;
            while ones < TIME_BINS.len() && bits.bit()? {
                ones += 1;
            }
            if ones > 0 {
                delta = delta.wrapping_add(unzigzag(bits.take(TIME_BINS[ones - 1])?));
            }
            time = time.wrapping_add(delta);
            if bits.bit()? {
                if bits.bit()? {
                    (leading, width) = (bits.take(5)? as u8, bits.take(6)? as u8 + 1);
                }
                if width == 0 || leading + width > 64 {
                    return Err(Damaged("a value has more than 64 bits"));
                }
                value ^= bits.take(width)? << (64 - leading - width);
            }
        }
        if columns.is_past(time) {
            break;
        }
        columns.push_float(time, starts.at(index), f64::from_bits(value));
    }
    Ok(())
}
