//! The form of tokens: `hms_<kind>_<43 base62 digits of 32 random bytes><6 base62 digits of their CRC-32>`.
//!
//! The checksum tells a mistyped token from an unknown one without asking, and lets scanners for leaked secrets
//! find real ones only.

use hmsops_model::TokenKind;

/// What the admin token begins with.
const ADMIN: &str = "hms_admin_";

/// What a log-in's begins with.
const SESSION: &str = "hms_ses_";

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// 43 digits hold 32 bytes, since 62^43 > 2^256.
const RANDOM_DIGITS: usize = 43;

/// 6 digits hold 4 bytes, since 62^6 > 2^32.
const CRC_DIGITS: usize = 6;

/// The admin token of 32 random bytes.
pub(crate) fn admin(random: [u8; 32]) -> String {
    whole(ADMIN, random)
}

/// What somebody shows who is logged in.
pub(crate) fn session(random: [u8; 32]) -> String {
    whole(SESSION, random)
}

/// Whether a whole token is a log-in's.
pub(crate) fn is_session(text: &str) -> bool {
    text.starts_with(SESSION)
}

/// Any other token of 32 random bytes.
pub(crate) fn of_kind(kind: TokenKind, random: [u8; 32]) -> String {
    whole(&format!("hms_{kind}_"), random)
}

fn whole(prefix: &str, random: [u8; 32]) -> String {
    let body = format!("{prefix}{}", base62(&random, RANDOM_DIGITS));
    let crc = base62(&crc32fast::hash(body.as_bytes()).to_be_bytes(), CRC_DIGITS);
    format!("{body}{crc}")
}

/// Whether a text is a whole token, whoever's it is.
pub(crate) fn is_well_formed(text: &str) -> bool {
    let kinds = TokenKind::ALL.map(|kind| format!("hms_{kind}_"));
    let Some(prefix) =
        kinds.iter().map(String::as_str).chain([ADMIN, SESSION]).find(|start| text.starts_with(start))
    else {
        return false;
    };
    let digits = text.get(prefix.len()..).unwrap_or_default();
    let whole =
        digits.len() == RANDOM_DIGITS + CRC_DIGITS && digits.bytes().all(|b| b.is_ascii_alphanumeric());
    let Some((body, crc)) = text.split_at_checked(prefix.len() + RANDOM_DIGITS).filter(|_| whole) else {
        return false;
    };
    base62(&crc32fast::hash(body.as_bytes()).to_be_bytes(), CRC_DIGITS) == crc
}

/// A big-endian number in base 62, filled up with zeros to `digits`.
pub(crate) fn base62(bytes: &[u8], digits: usize) -> String {
    let mut number = bytes.to_vec();
    let mut text = Vec::with_capacity(digits);
    for _ in 0..digits {
        let mut rest = 0_u32;
        for byte in &mut number {
            let value = rest * 256 + u32::from(*byte);
            // Below 256, because `rest` is below 62.
            *byte = (value / 62) as u8;
            rest = value % 62;
        }
        text.push(char::from(DIGITS.get(rest as usize).copied().unwrap_or(b'0')));
    }
    text.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_carry_their_checksum() {
        let token = admin([7; 32]);
        assert_eq!(token.len(), 10 + 43 + 6);
        assert!(is_well_formed(&token), "{token}");
        let other = token.replacen('A', "B", 1);
        assert!(other == token || !is_well_formed(&other));
        for bad in ["", "hms_admin_", &token[..token.len() - 1], &token.to_lowercase(), &format!("{token}0")]
        {
            assert!(!is_well_formed(bad), "{bad}");
        }
        assert!(!is_well_formed(&"é".repeat(40)));
        for kind in TokenKind::ALL {
            let token = of_kind(kind, [7; 32]);
            assert!(is_well_formed(&token) && token.starts_with(&format!("hms_{kind}_")), "{token}");
            assert!(
                !is_well_formed(&token.replacen(kind.name(), "admin", 1)),
                "the checksum is over the kind, too"
            );
        }
    }

    #[test]
    fn base_62_counts() {
        assert_eq!(base62(&[0], 2), "00");
        assert_eq!(base62(&[61], 2), "0z");
        assert_eq!(base62(&[62], 2), "10");
        assert_eq!(base62(&[0xff; 32], 43).len(), 43);
        assert_ne!(base62(&[0xff; 32], 43).as_bytes()[0], b'0', "43 digits are just enough");
    }
}
