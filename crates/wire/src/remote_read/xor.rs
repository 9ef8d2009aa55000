//! A chunk of floats as Prometheus packs it (`tsdb/chunkenc/xor.go`; Pelkonen et al., "Gorilla", VLDB 2015): times as
//! differences of differences, values as what changed in their bits.

use crate::protobuf::put_varint;

/// A chunk that grows; at most 65 535 samples.
#[derive(Debug, Default)]
pub(super) struct XorChunk {
    bytes: Vec<u8>,
    /// Bits of the last byte not written yet, 0 to 7.
    free: u8,
    count: u16,
    time: i64,
    delta: u64,
    bits: u64,
    /// Zeros around what changed last; `None` before anything did.
    zeros: Option<(u8, u8)>,
}

impl XorChunk {
    /// Adds a sample whose time, in Unix milliseconds, is after the last.
    pub(super) fn push(&mut self, time: i64, value: f64) {
        let delta = time.wrapping_sub(self.time) as u64;
        match self.count {
            0 => {
                put_varint(&mut self.bytes, (time << 1 ^ time >> 63) as u64);
                self.bytes.extend(value.to_bits().to_be_bytes());
            }
            1 => {
                put_varint(&mut self.bytes, delta);
                self.put_value(value.to_bits());
            }
            _ => {
                self.put_change(delta.wrapping_sub(self.delta).cast_signed());
                self.put_value(value.to_bits());
            }
        }
        (self.time, self.delta, self.bits) = (time, delta, value.to_bits());
        self.count += 1;
    }

    /// The number of samples, the highest byte first, and the samples.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        [&self.count.to_be_bytes()[..], &self.bytes].concat()
    }

    fn put_change(&mut self, change: i64) {
        let fits = |bits: u32| (-((1 << (bits - 1)) - 1)..=1 << (bits - 1)).contains(&change);
        let change = change.cast_unsigned();
        if change == 0 {
            self.put(0, 1);
        } else if fits(14) {
            self.put(0b10, 2);
            self.put(change, 14);
        } else if fits(17) {
            self.put(0b110, 3);
            self.put(change, 17);
        } else if fits(20) {
            self.put(0b1110, 4);
            self.put(change, 20);
        } else {
            self.put(0b1111, 4);
            self.put(change, 64);
        }
    }

    fn put_value(&mut self, bits: u64) {
        /// What five bits can say.
        const LEADING_MAX: u32 = 31;
        let changed = bits ^ self.bits;
        if changed == 0 {
            return self.put(0, 1);
        }
        self.put(1, 1);
        let leading = changed.leading_zeros().min(LEADING_MAX) as u8;
        let trailing = changed.trailing_zeros() as u8;
        if let Some((before, after)) = self.zeros
            && leading >= before
            && trailing >= after
        {
            self.put(0, 1);
            return self.put(changed >> after, 64 - before - after);
        }
        self.zeros = Some((leading, trailing));
        let kept = 64 - leading - trailing;
        self.put(1, 1);
        self.put(u64::from(leading), 5);
        // 64 is written as 0, which cannot be.
        self.put(u64::from(kept), 6);
        self.put(changed >> trailing, kept);
    }

    /// The lowest `count` bits, at most 64, the highest first.
    fn put(&mut self, value: u64, mut count: u8) {
        while count > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = count.min(self.free);
            let part = value >> (count - taken) & (u64::MAX >> (64 - u32::from(taken)));
            self.free -= taken;
            count -= taken;
            if let Some(last) = self.bytes.last_mut() {
                *last |= (part as u8) << self.free;
            }
        }
    }
}
