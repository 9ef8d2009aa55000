//! Single bits, the highest of each byte first.

use crate::bytes::Damaged;

/// Bits that grow at the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits of the last byte not written yet, 0 to 7.
    free: u8,
}

impl BitWriter {
    /// The lowest `count` bits of `value`, at most 64.
    pub(crate) fn put(&mut self, value: u64, mut count: u8) {
        while count > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = count.min(self.free);
            let part = (value >> (count - taken)) & (u64::MAX >> (64 - u32::from(taken)));
            self.free -= taken;
            count -= taken;
            if let Some(last) = self.bytes.last_mut() {
                *last |= (part as u8) << self.free;
            }
        }
    }

    /// Whole bytes, zeros after the last bit.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Bits from the start.
#[derive(Debug, Clone)]
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn bit(&mut self) -> Result<bool, Damaged> {
        let byte = self.bytes.get(self.at / 8).ok_or(Damaged("they end too early"))?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Ok(bit == 1)
    }

    /// The next `count` bits, at most 64.
    pub(crate) fn take(&mut self, mut count: u8) -> Result<u64, Damaged> {
        let mut value = 0;
        while count > 0 {
            let byte = *self.bytes.get(self.at / 8).ok_or(Damaged("they end too early"))?;
            let left = 8 - (self.at % 8) as u8;
            let taken = count.min(left);
            let part = (u64::from(byte) >> (left - taken)) & (0xff >> (8 - taken));
            value = value << taken | part;
            self.at += usize::from(taken);
            count -= taken;
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bits_round_trip(parts in prop::collection::vec((any::<u64>(), 1_u8..=64), 0..50)) {
            let mut writer = BitWriter::default();
            for (value, count) in &parts {
                writer.put(*value, *count);
            }
            let mut reader = BitReader::new(writer.bytes());
            for (value, count) in &parts {
                prop_assert_eq!(reader.take(*count).unwrap(), value & (u64::MAX >> (64 - count)));
            }
        }
    }
}
