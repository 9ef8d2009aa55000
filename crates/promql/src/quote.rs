//! Quoted text as Go quotes it.

use std::fmt::Write as _;

/// How many bytes the quoted text at the start takes, its quotes included; `None` when it does not end.
pub(crate) fn length(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut is_escaped = false;
    for (index, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if quote != '`' => is_escaped = true,
            '\n' if quote != '`' => return None,
            c if c == quote => return Some(index + 1),
            _ => {}
        }
    }
    None
}

/// Without its quotes and escapes; says what is wrong with them.
pub fn unquote(text: &str) -> Result<String, String> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')).ok_or("it is not quoted")?;
    if length(text) != Some(text.len()) {
        return Err("it does not end where its quote does".into());
    }
    let body = &text[1..text.len() - 1];
    if quote == '`' {
        return Ok(body.replace('\r', ""));
    }
    let mut bytes = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = escape(&rest[at + 1..], quote, &mut bytes)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| with_raw(error.as_bytes())))
}

/// The first of the characters (of a private area, which have no other meaning) that stand for bytes that are no UTF-8.
/// Prometheus' texts may hold such bytes, and only its errors ever show them.
const RAW: u32 = 0x10_fe00;

fn with_raw(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 4);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().filter_map(|byte| char::from_u32(RAW + u32::from(*byte))));
    }
    text
}

/// Which byte a character stands for that is no UTF-8.
fn raw(c: char) -> Option<u8> {
    (c as u32).checked_sub(RAW).and_then(|byte| u8::try_from(byte).ok())
}

/// Whether a text is valid UTF-8 in a query that escaped bytes into it.
pub(crate) fn is_utf8(text: &str) -> bool {
    text.chars().all(|c| raw(c).is_none())
}

/// One escape after its backslash; what follows it.
fn escape<'a>(text: &'a str, quote: char, bytes: &mut Vec<u8>) -> Result<&'a str, String> {
    let first = text.chars().next().ok_or("it ends with a backslash")?;
    let bad = || format!("unknown escape `\\{first}`");
    let plain = match first {
        'a' => Some(7),
        'b' => Some(8),
        'f' => Some(12),
        'n' => Some(b'\n'),
        'r' => Some(b'\r'),
        't' => Some(b'\t'),
        'v' => Some(11),
        '\\' => Some(b'\\'),
        c if c == quote => Some(quote as u8),
        _ => None,
    };
    if let Some(byte) = plain {
        bytes.push(byte);
        return Ok(&text[1..]);
    }
    let (start, digits, radix) = match first {
        'x' => (1, 2, 16),
        'u' => (1, 4, 16),
        'U' => (1, 8, 16),
        '0'..='7' => (0, 3, 8),
        _ => return Err(bad()),
    };
    let end = start + digits;
    let number =
        text.get(start..end).and_then(|digits| u32::from_str_radix(digits, radix).ok()).ok_or_else(bad)?;
    if matches!(first, 'u' | 'U') {
        let c = char::from_u32(number).ok_or_else(bad)?;
        bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        bytes.push(u8::try_from(number).map_err(|_| bad())?);
    }
    Ok(&text[end..])
}

/// In double quotes, as Go's `strconv.Quote` writes it.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            c if let Some(byte) = raw(c) => {
                let _ = write!(quoted, "\\x{byte:02x}");
            }
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                let _ = write!(quoted, "\\x{:02x}", c as u32);
            }
            c if c.is_control() || c == '\u{feff}' => {
                let _ = write!(quoted, "\\u{:04x}", c as u32);
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_reads_back() {
        for text in ["", "a\"b\\c", "tab\tnew\nline", "\u{1}\u{7f}\u{85}", "grüße"] {
            assert_eq!(unquote(&quote(text)).as_deref(), Ok(text));
        }
        assert_eq!(unquote(r"'a\x41\101\u00e4'").as_deref(), Ok("aAAä"));
        assert_eq!(unquote(r"`a\n`").as_deref(), Ok(r"a\n"));
        let bytes = unquote(r#""a\xffz""#).unwrap();
        assert_eq!((quote(&bytes).as_str(), is_utf8(&bytes)), (r#""a\xffz""#, false));
        for text in [r#""\q""#, r#""a"b"#, "\"a", r#""\u12""#, r#""\777""#] {
            assert!(unquote(text).is_err(), "{text}");
        }
    }
}
