//! Numbers of exposition formats.

use std::borrow::Cow;

/// A value: decimal with an optional exponent, infinity or NaN, as both formats have them. No hexadecimal, no
/// underscores.
pub(super) fn value(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// A moment in seconds → Unix milliseconds, rounded, and held within what 64 bits can say; `None` when it is not
/// finite.
pub(super) fn to_millis(seconds: f64) -> Option<i64> {
    seconds.is_finite().then(|| (seconds * 1000.0).round() as i64)
}

/// The value of an `le` or `quantile` label as Prometheus 3 stores it: a float with a point or an exponent, as
/// Go's `FormatFloat(value, 'g', -1, 64)` writes it (an exponent below 1e-4 and from 1e6 on), with `.0` after whole numbers. What is no number stays.
pub(super) fn canonical(text: Cow<'_, str>) -> Cow<'_, str> {
    if is_canonical(&text) {
        return text;
    }
    if is_digits(&text) && text.len() <= 6 && (text.len() == 1 || !text.starts_with('0')) {
        return Cow::Owned(text.into_owned() + ".0");
    }
    let Some(value) = value(&text) else { return text };
    let new = written(value);
    if *new == *text { text } else { Cow::Owned(new) }
}

/// Whether a text is certainly written so already, which most are: no zero too many, and few enough digits (15) that
/// no other text of the same length or shorter reads as the same float.
fn is_canonical(text: &str) -> bool {
    let (mantissa, exponent) = text.split_once('e').map_or((text, None), |(left, right)| (left, Some(right)));
    let (whole, part) =
        mantissa.split_once('.').map_or((mantissa, None), |(left, right)| (left, Some(right)));
    if !is_digits(whole) || whole.len() + part.map_or(0, str::len) > 15 || !part.is_none_or(is_digits) {
        return text == "+Inf";
    }
    let has_zeros = part.is_some_and(|part| part.ends_with('0'));
    match (exponent, part) {
        (Some(exponent), _) => {
            let (sign, size) = exponent.split_at_checked(1).unwrap_or_default();
            let is_large = size.len() == 2
                && is_digits(size)
                && match sign {
                    "+" => size >= "06",
                    "-" => size >= "05",
                    _ => false,
                };
            whole.len() == 1 && whole != "0" && !has_zeros && is_large
        }
        (None, Some(part)) => {
            let is_least = whole == "0";
            whole.len() <= 6
                && (is_least || !whole.starts_with('0'))
                && (part == "0" || !has_zeros)
                && !(is_least && part.starts_with("0000"))
        }
        (None, None) => false,
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A float as the value of an `le` or `quantile` label.
pub(super) fn written(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    if value == 0.0 {
        return "0.0".into();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{value}");
    if plain.contains('.') { plain } else { plain + ".0" }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The short cut leads to the same place.
    #[test]
    fn what_counts_as_canonical_is_what_would_be_written() {
        let mut found = 0;
        for text in [
            "0.0",
            "1.0",
            "0.5",
            "0.25",
            "10.0",
            "999999.0",
            "999999.5",
            "1000000.0",
            "0.0001",
            "0.00012",
            "0.00001",
            "0.1000",
            "01.0",
            "00.5",
            "1.",
            ".5",
            "1",
            "-1.0",
            "+Inf",
            "0.123456789012345",
            "0.12345678901234",
            "123456.123456789",
            "123456.1234567891",
            "0.30000000000000004",
            "9.99",
            "0.0000",
            "1.0e3",
            "1e+06",
            "1e+6",
            "1e+05",
            "1e6",
            "2.5e-05",
            "2.5e-04",
            "2.50e-05",
            "10e+06",
            "0e+06",
            "1e+",
            "1e",
            "1e+100",
            "1.5e+20",
        ] {
            if is_canonical(text) {
                assert_eq!(written(value(text).unwrap()), text);
                found += 1;
            }
        }
        assert_eq!(found, 16);
    }
}
