//! Numbers as text, both ways, as Go reads and writes them.

/// How many bytes of a text that begins with a digit or a dot belong to a number.
pub(crate) fn length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let run = |from: usize, is_part: fn(&u8) -> bool| {
        from + bytes[from..].iter().take_while(|byte| is_part(byte) || **byte == b'_').count()
    };
    if bytes.len() > 1 && bytes[0] == b'0' && bytes[1].eq_ignore_ascii_case(&b'x') {
        return run(2, u8::is_ascii_hexdigit);
    }
    let mut end = run(0, u8::is_ascii_digit);
    if bytes.get(end) == Some(&b'.') {
        end = run(end + 1, u8::is_ascii_digit);
    }
    if bytes.get(end).is_some_and(|byte| byte.eq_ignore_ascii_case(&b'e')) {
        let sign = usize::from(bytes.get(end + 1).is_some_and(|byte| matches!(byte, b'+' | b'-')));
        if bytes.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
            end = run(end + 1 + sign, u8::is_ascii_digit);
        }
    }
    end
}

/// A number without spaces, as queries write it: decimal, hexadecimal, with exponent, `Inf`, `NaN`, signed.
pub fn parse(text: &str) -> Option<f64> {
    let (is_minus, body) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let value = if body.eq_ignore_ascii_case("inf") || body.eq_ignore_ascii_case("infinity") {
        f64::INFINITY
    } else if body.eq_ignore_ascii_case("nan") {
        f64::NAN
    } else if let Some(hex) = body.strip_prefix("0x").or_else(|| body.strip_prefix("0X")) {
        u64::from_str_radix(&hex.replace('_', ""), 16).ok()? as f64
    } else if body.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        body.replace('_', "").parse().ok()?
    } else {
        return None;
    };
    Some(if is_minus { -value } else { value })
}

/// As Go's `strconv.FormatFloat(value, 'f', -1, 64)`: shortest digits that read back, no exponent.
pub fn format(value: f64) -> String {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".into() } else { "-Inf".into() }
    } else {
        format!("{value}")
    }
}

/// As Go's `%g` with shortest digits: an exponent below 1e-4 and from 1e21 on.
pub fn format_general(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() || value == 0.0 || (1e-4..1e21).contains(&size) {
        return format(value);
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (value, plain, general) in [
            (1e21, "1000000000000000000000", "1e+21"),
            (0.000_01, "0.00001", "1e-05"),
            (-0.0, "-0", "-0"),
            (f64::INFINITY, "+Inf", "+Inf"),
            (f64::NAN, "NaN", "NaN"),
            (0.1, "0.1", "0.1"),
            (123_456_789.0, "123456789", "123456789"),
        ] {
            assert_eq!((format(value).as_str(), format_general(value).as_str()), (plain, general));
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "-", "x", "0x", "1e", "--1", "1.2.3"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
