//! A walk over the fields of a protobuf message in place, without copying.
//!
//! Source: the encoding guide at protobuf.dev/programming-guides/encoding.

use std::ops::Range;

use crate::WireError;

/// The fields of one message, one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    /// What is being read, for errors.
    what: &'static str,
    bytes: &'a [u8],
    at: usize,
    /// Where `bytes` begins in the whole body, for errors.
    base: usize,
}

/// A field and where it stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    pub(crate) payload: Payload<'a>,
    /// Where its tag begins in the message.
    pub(crate) start: usize,
    /// Where its payload begins in the whole body.
    pub(crate) at: usize,
    what: &'static str,
}

/// What a field holds, by wire type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Payload<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Fields<'a> {
    /// Of a whole body.
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, bytes, at: 0, base: 0 }
    }

    /// Where the next field begins in the message.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Passes over the fields that come next with this one-byte tag of a bytes field and less than 128 bytes, and
    /// answers where they stand in the message. What is anything else is left to [`read`](Self::read).
    pub(crate) fn skip_short(&mut self, tag: u8) -> Range<usize> {
        let start = self.at;
        while let Some([found, length]) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk()) {
            let end = self.at + 2 + usize::from(*length);
            if *found != tag || *length >= 0x80 || end > self.bytes.len() {
                break;
            }
            self.at = end;
        }
        start..self.at
    }

    /// The next field; `None` at the end of the message.
    #[inline]
    pub(crate) fn read(&mut self) -> Result<Option<Field<'a>>, WireError> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let start = self.at;
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| (1..1 << 29).contains(number));
        let Some(number) = number else {
            return Err(self.wrong(start, format!("{} is no field number", tag >> 3)));
        };
        let mut at = self.at;
        let payload = match tag & 7 {
            0 => Payload::Varint(self.varint()?),
            1 => Payload::Fixed64(u64::from_le_bytes(self.array()?)),
            5 => Payload::Fixed32(u32::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                at = self.at;
                Payload::Bytes(self.take(length)?)
            }
            other => return Err(self.wrong(start, format!("field {number} has the wire type {other}"))),
        };
        Ok(Some(Field { number, payload, start, at: self.base + at, what: self.what }))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, WireError> {
        match self.bytes.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let mut value = 0_u64;
        for (index, &byte) in rest.iter().take(10).enumerate() {
            if index == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.at += index + 1;
                return Ok(value);
            }
        }
        let why =
            if rest.len() < 10 { "the message ends in a number" } else { "a number is longer than 64 bits" };
        Err(self.wrong(self.at, why.to_owned()))
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let taken = self.take(N as u64)?;
        Ok(taken.try_into().expect("as many bytes as were asked for"))
    }

    #[inline]
    fn take(&mut self, length: u64) -> Result<&'a [u8], WireError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match usize::try_from(length).ok().and_then(|length| rest.get(..length)) {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => {
                Err(self.wrong(self.at, format!("{length} bytes are announced and {} are left", rest.len())))
            }
        }
    }

    #[cold]
    fn wrong(&self, at: usize, why: String) -> WireError {
        WireError::Malformed { what: self.what, at: self.base + at, why }
    }
}

impl<'a> Field<'a> {
    /// The bytes of a message, text or packed list.
    pub(crate) fn bytes(&self, name: &str) -> Result<&'a [u8], WireError> {
        match self.payload {
            Payload::Bytes(bytes) => Ok(bytes),
            _ => Err(self.unlike(name, "bytes")),
        }
    }

    /// The fields of a message inside.
    pub(crate) fn message(&self, name: &str) -> Result<Fields<'a>, WireError> {
        Ok(Fields { what: self.what, bytes: self.bytes(name)?, at: 0, base: self.at })
    }

    pub(crate) fn text(&self, name: &str) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes(name)?).map_err(|error| {
            let at = self.at + error.valid_up_to();
            WireError::Malformed { what: self.what, at, why: format!("{name} is no valid UTF-8") }
        })
    }

    pub(crate) fn varint(&self, name: &str) -> Result<u64, WireError> {
        match self.payload {
            Payload::Varint(value) => Ok(value),
            _ => Err(self.unlike(name, "a varint")),
        }
    }

    /// Zigzag-encoded.
    pub(crate) fn signed(&self, name: &str) -> Result<i64, WireError> {
        self.varint(name).map(unzigzag)
    }

    /// Bit-exact.
    pub(crate) fn double(&self, name: &str) -> Result<f64, WireError> {
        match self.payload {
            Payload::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(self.unlike(name, "a double")),
        }
    }

    /// One value or a packed list of numbers, handed to `each`.
    pub(crate) fn each_varint(&self, name: &str, mut each: impl FnMut(u64)) -> Result<(), WireError> {
        let Payload::Bytes(bytes) = self.payload else {
            each(self.varint(name)?);
            return Ok(());
        };
        let mut list = Fields { what: self.what, bytes, at: 0, base: self.at };
        while list.at < bytes.len() {
            each(list.varint()?);
        }
        Ok(())
    }

    /// One value or a packed list of zigzag-encoded numbers, handed to `each`.
    pub(crate) fn each_signed(&self, name: &str, mut each: impl FnMut(i64)) -> Result<(), WireError> {
        let Payload::Bytes(bytes) = self.payload else {
            each(self.signed(name)?);
            return Ok(());
        };
        let mut list = Fields { what: self.what, bytes, at: 0, base: self.at };
        while list.at < bytes.len() {
            each(unzigzag(list.varint()?));
        }
        Ok(())
    }

    /// One value or a packed list of doubles, handed to `each`.
    pub(crate) fn each_double(&self, name: &str, mut each: impl FnMut(f64)) -> Result<(), WireError> {
        let Payload::Bytes(bytes) = self.payload else {
            each(self.double(name)?);
            return Ok(());
        };
        let mut list = Fields { what: self.what, bytes, at: 0, base: self.at };
        while list.at < bytes.len() {
            each(f64::from_bits(u64::from_le_bytes(list.array()?)));
        }
        Ok(())
    }

    /// That a value is out of place here.
    pub(crate) fn wrong(&self, why: String) -> WireError {
        WireError::Malformed { what: self.what, at: self.at, why }
    }

    fn unlike(&self, name: &str, expected: &str) -> WireError {
        let found = match self.payload {
            Payload::Varint(_) => "a varint",
            Payload::Fixed64(_) => "8 fixed bytes",
            Payload::Bytes(_) => "bytes with a length",
            Payload::Fixed32(_) => "4 fixed bytes",
        };
        self.wrong(format!("{name} is {found}, expected {expected}"))
    }
}

/// A message that grows. As in proto3, a number that is zero to the bit is left out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn varint(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.tag(number, 0);
            put_varint(&mut self.0, value);
        }
    }

    /// Zigzag-encoded.
    pub(crate) fn signed(&mut self, number: u32, value: i64) {
        self.varint(number, (value << 1 ^ value >> 63) as u64);
    }

    /// Bit-exact: −0 is not zero.
    pub(crate) fn double(&mut self, number: u32, value: f64) {
        if value.to_bits() != 0 {
            self.tag(number, 1);
            self.0.extend(value.to_bits().to_le_bytes());
        }
    }

    /// A packed list.
    pub(crate) fn doubles(&mut self, number: u32, values: impl ExactSizeIterator<Item = f64>) {
        if values.len() > 0 {
            self.tag(number, 2);
            put_varint(&mut self.0, 8 * values.len() as u64);
            self.0.extend(values.flat_map(|value| value.to_bits().to_le_bytes()));
        }
    }

    pub(crate) fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.tag(number, 2);
        put_varint(&mut self.0, bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn message(&mut self, number: u32, message: &Self) {
        self.bytes(number, &message.0);
    }

    fn tag(&mut self, number: u32, wire: u32) {
        put_varint(&mut self.0, u64::from(number << 3 | wire));
    }
}

/// Adds a number, seven bits a byte.
pub(crate) fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(bytes: &[u8]) -> Result<Option<Field<'_>>, WireError> {
        Fields::new("a test", bytes).read()
    }

    #[test]
    fn every_wire_type_is_read() {
        for (bytes, number, payload) in [
            (&[0x08, 0x96, 0x01][..], 1, Payload::Varint(150)),
            (&[0x12, 2, 7, 8], 2, Payload::Bytes(&[7, 8])),
            (&[0x19, 1, 0, 0, 0, 0, 0, 0, 0], 3, Payload::Fixed64(1)),
            (&[0x25, 1, 0, 0, 0], 4, Payload::Fixed32(1)),
            (
                &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
                1,
                Payload::Varint(u64::MAX),
            ),
        ] {
            let field = first(bytes).unwrap().unwrap();
            assert_eq!((field.number, field.payload), (number, payload));
        }
        assert_eq!([0, 1, 2, 3].map(unzigzag), [0, -1, 1, -2]);
    }

    #[test]
    fn what_is_broken_says_where() {
        for (bytes, expected) in [
            (&[0x80][..], "at byte 0: the message ends in a number"),
            (&[0x08], "at byte 1: the message ends in a number"),
            (&[0x08, 0x80], "at byte 1: the message ends in a number"),
            (
                &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
                "at byte 1: a number is longer than 64 bits",
            ),
            (&[0x12, 3, 1], "at byte 2: 3 bytes are announced and 1 are left"),
            (
                &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
                "at byte 11: 18446744073709551615 bytes are announced and 0 are left",
            ),
            (&[0x19, 0], "at byte 1: 8 bytes are announced and 1 are left"),
            (&[0x0b], "at byte 0: field 1 has the wire type 3"),
            (&[0x02, 0], "at byte 0: 0 is no field number"),
        ] {
            let error = first(bytes).map(|_| ()).unwrap_err().to_string();
            assert!(error.ends_with(expected), "{bytes:?}: {error}");
        }
    }
}
