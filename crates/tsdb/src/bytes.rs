//! Numbers as bytes of varying length (LEB128, as in Protocol Buffers), and their reader.

/// Bytes that are not what they should be: what was expected where they ended or went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are damaged: {0}")]
pub(crate) struct Damaged(pub(crate) &'static str);

/// Appends `value`, seven bits to a byte, the lowest first.
pub(crate) fn put_uint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Appends a signed number, its sign in the lowest bit, so that small ones of either sign are short.
pub(crate) fn put_int(bytes: &mut Vec<u8>, value: i64) {
    put_uint(bytes, zigzag(value));
}

/// Appends length and bytes.
pub(crate) fn put_slice(bytes: &mut Vec<u8>, slice: &[u8]) {
    put_uint(bytes, slice.len() as u64);
    bytes.extend_from_slice(slice);
}

/// Appends the eight bytes of a float.
pub(crate) fn put_float(bytes: &mut Vec<u8>, value: f64) {
    bytes.extend_from_slice(&value.to_bits().to_le_bytes());
}

/// Appends a float that is often a small whole number: that number twice, or 1 and eight bytes.
pub(crate) fn put_count(bytes: &mut Vec<u8>, value: f64) {
    let whole = value as u64;
    if whole < 1 << 53 && (whole as f64).to_bits() == value.to_bits() {
        put_uint(bytes, whole << 1);
    } else {
        bytes.push(1);
        put_float(bytes, value);
    }
}

/// The sign moved to the lowest bit.
pub(crate) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The sign moved back.
pub(crate) const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Reads what the functions above wrote; every answer is checked against the end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What was not read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Damaged> {
        let (first, rest) = self.rest.split_first().ok_or(Damaged("they end too early"))?;
        self.rest = rest;
        Ok(*first)
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Damaged("they end too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn uint(&mut self) -> Result<u64, Damaged> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return Err(Damaged("a number is too large"));
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Damaged("a number has no end"))
    }

    pub(crate) fn int(&mut self) -> Result<i64, Damaged> {
        self.uint().map(unzigzag)
    }

    /// A number below 2³².
    pub(crate) fn small(&mut self) -> Result<u32, Damaged> {
        u32::try_from(self.uint()?).map_err(|_| Damaged("a number is too large"))
    }

    /// How many things follow, each of at least one byte: never more than there are bytes.
    pub(crate) fn len(&mut self) -> Result<usize, Damaged> {
        let len = self.uint()?;
        usize::try_from(len)
            .ok()
            .filter(|len| *len <= self.rest.len())
            .ok_or(Damaged("a length is too large"))
    }

    pub(crate) fn slice(&mut self) -> Result<&'a [u8], Damaged> {
        let len = self.len()?;
        self.take(len)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Damaged> {
        std::str::from_utf8(self.slice()?).map_err(|_| Damaged("a text is not UTF-8"))
    }

    pub(crate) fn float(&mut self) -> Result<f64, Damaged> {
        let bytes = self.take(8)?;
        bytes
            .try_into()
            .map(|bytes| f64::from_bits(u64::from_le_bytes(bytes)))
            .map_err(|_| Damaged("a float"))
    }

    pub(crate) fn count(&mut self) -> Result<f64, Damaged> {
        match self.uint()? {
            1 => self.float(),
            whole if whole & 1 == 0 => Ok((whole >> 1) as f64),
            _ => Err(Damaged("a count is neither whole nor a float")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_round_trip(uint: u64, int: i64, bits: u64, whole in 0_u64..1 << 54) {
            let mut bytes = Vec::new();
            put_uint(&mut bytes, uint);
            put_int(&mut bytes, int);
            put_count(&mut bytes, f64::from_bits(bits));
            put_count(&mut bytes, whole as f64);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.uint(), Ok(uint));
            prop_assert_eq!(reader.int(), Ok(int));
            prop_assert_eq!(reader.count().map(f64::to_bits), Ok(bits));
            prop_assert_eq!(reader.count(), Ok(whole as f64));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut reader = Reader::new(&bytes);
            while reader.count().is_ok() {}
            let mut reader = Reader::new(&bytes);
            while reader.text().is_ok() {}
        }
    }
}
