//! A SHA-256, and how it is written.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// 32 bytes of SHA-256 (FIPS 180-4). `Display` is lower-case hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl Hash {
    /// The hash of all parts, one after the other.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut sha = Sha256::new();
        for part in parts {
            sha.update(part);
        }
        Self(sha.finalize().into())
    }

    /// From 64 lower-case hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digit = |b: u8| match b {
            b'0'..=b'9' => Some(b - b'0'),
            b'a'..=b'f' => Some(b - b'a' + 10),
            _ => None,
        };
        let text: &[u8; 64] = text.as_bytes().try_into().ok()?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(bytes))
    }

    /// Standard Base 64 with padding (RFC 4648 §4): 44 characters.
    pub fn to_base64(self) -> String {
        let mut text = String::with_capacity(44);
        for chunk in self.0.chunks(3) {
            let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
            let bits = at(0) << 16 | at(1) << 8 | at(2);
            for i in 0..4 {
                let six = (bits >> (18 - 6 * i) & 63) as usize;
                text.push(if i > chunk.len() { '=' } else { char::from(ALPHABET[six]) });
            }
        }
        text
    }

    /// From standard Base 64; only the one text that [`Hash::to_base64`] gives.
    pub fn from_base64(text: &str) -> Option<Self> {
        if text.len() != 44 {
            return None;
        }
        let mut bytes = Vec::with_capacity(33);
        for group in text.as_bytes().chunks_exact(4) {
            let mut bits = 0_u32;
            for byte in group {
                // Padding reads as zero bits; the comparison below refuses it anywhere but at its place.
                let six = ALPHABET.iter().position(|c| c == byte).or((*byte == b'=').then_some(0))?;
                bits = bits << 6 | six as u32;
            }
            bytes.extend(&bits.to_be_bytes()[1..]);
        }
        let hash = Self(bytes.get(..32)?.try_into().ok()?);
        (hash.to_base64() == text).then_some(hash)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_empty_hash_in_both_writings() {
        let empty = Hash::of(&[]);
        assert_eq!(empty.to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(empty.to_base64(), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        for bad in [
            "",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuF==",
            &"=".repeat(44),
        ] {
            assert_eq!(Hash::from_base64(bad), None, "{bad}");
        }
        assert_eq!(Hash::from_hex("E3"), None);
    }

    proptest! {
        #[test]
        fn writings_round_trip(bytes in any::<[u8; 32]>()) {
            let hash = Hash(bytes);
            prop_assert_eq!(Hash::from_base64(&hash.to_base64()), Some(hash));
            prop_assert_eq!(Hash::from_hex(&hash.to_string()), Some(hash));
        }
    }
}
