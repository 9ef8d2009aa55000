//! Durations as text: `1h30m`.

use std::fmt::Write as _;

/// Units from the longest, in milliseconds; each at most once and in this order.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// In milliseconds, when it is a duration at all and not longer than 292 years (what Prometheus can hold).
pub fn parse(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total: i64 = 0;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_lowercase).count();
        let unit = UNITS.iter().position(|(name, _)| *name == &rest[..letters])?;
        if unit < next_unit {
            return None;
        }
        next_unit = unit + 1;
        total = total.checked_add(number.checked_mul(UNITS[unit].1)?)?;
        rest = &rest[letters..];
    }
    (!text.is_empty() && total <= i64::MAX / 1_000_000).then_some(total)
}

/// As Prometheus writes it: years, weeks and days only where they leave no rest.
pub fn format(millis: i64) -> String {
    if millis == 0 {
        return "0s".into();
    }
    let mut rest = millis.unsigned_abs();
    let mut text = String::from(if millis < 0 { "-" } else { "" });
    for (index, (name, size)) in UNITS.iter().enumerate() {
        let size = size.unsigned_abs();
        let is_exact_only = index < 3;
        if is_exact_only && !rest.is_multiple_of(size) {
            continue;
        }
        let count = rest / size;
        if count > 0 {
            let _ = write!(text, "{count}{name}");
            rest -= count * size;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back() {
        for (text, millis) in [
            ("1y", 31_536_000_000),
            ("2w", 1_209_600_000),
            ("25h", 90_000_000),
            ("1h30m", 5_400_000),
            ("90ms", 90),
        ] {
            assert_eq!(parse(text), Some(millis));
            assert_eq!(format(millis), text);
        }
        assert_eq!(format(90_000), "1m30s");
        for text in ["", "m", "1", "1m1h", "1.5h", "1m1m", "99999999999999999999s", "300y"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
