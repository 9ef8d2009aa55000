//! A small JSON reader for what `cargo metadata` and `hmsops … --json` print.

use std::collections::BTreeMap;

/// Values nested deeper are refused: nothing we read is.
const DEPTH_MAX: usize = 64;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// Any number; whole ones are exact up to 2⁵³.
    Number(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// An object; the last of equal keys wins.
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// Reads one value that fills `text`. The error names the byte at which reading stopped.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { bytes: text.as_bytes(), text, at: 0 };
        let value = reader.value(0)?;
        reader.skip_space();
        if reader.at < text.len() { Err(reader.broken("more text after the value")) } else { Ok(value) }
    }

    /// The member at a path of keys like `verdict.first_bad_at`; `None` when any is missing or null.
    pub(crate) fn at(&self, path: &str) -> Option<&Self> {
        let found = path.split('.').try_fold(self, |value, key| match value {
            Self::Object(members) => members.get(key),
            _ => None,
        })?;
        (*found != Self::Null).then_some(found)
    }

    /// Its text, when it is one.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Its number, when it is one.
    pub(crate) fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// Whether it is `true`; `None` when it is neither that nor `false`.
    pub(crate) fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(is_true) => Some(*is_true),
            _ => None,
        }
    }

    /// Its items; none when it is no list.
    pub(crate) fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// The text at a path, empty when there is none.
    pub(crate) fn text_at(&self, path: &str) -> &str {
        self.at(path).and_then(Self::as_text).unwrap_or_default()
    }
}

/// A text as JSON writes it.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            // Written in full: no path of ours has one, and so none needs a short form.
            c if c < ' ' => quoted.extend(format!("\\u{:04x}", c as u32).chars()),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

struct Reader<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn broken(&self, what: &str) -> String {
        format!("no JSON at byte {}: {what}", self.at)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Takes `byte` after any space, if it stands there.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn value(&mut self, depth: usize) -> Result<Json, String> {
        if depth > DEPTH_MAX {
            return Err(self.broken("nested too deep"));
        }
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(Json::Text),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, String> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.broken("a value was expected"))
        }
    }

    fn number(&mut self) -> Result<Json, String> {
        let rest = &self.bytes[self.at..];
        let length = rest
            .iter()
            .take_while(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
            .count();
        let text = &self.text[self.at..self.at + length];
        let number = text.parse().map_err(|_| self.broken("a value was expected"))?;
        self.at += length;
        Ok(Json::Number(number))
    }

    fn list(&mut self, depth: usize) -> Result<Json, String> {
        self.at += 1;
        let mut items = Vec::new();
        if self.take(b']') {
            return Ok(Json::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.take(b']') {
                return Ok(Json::List(items));
            }
            if !self.take(b',') {
                return Err(self.broken("`,` or `]` was expected"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, String> {
        self.at += 1;
        let mut members = BTreeMap::new();
        if self.take(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err(self.broken("a key was expected"));
            }
            let key = self.string()?;
            if !self.take(b':') {
                return Err(self.broken("`:` was expected"));
            }
            members.insert(key, self.value(depth + 1)?);
            if self.take(b'}') {
                return Ok(Json::Object(members));
            }
            if !self.take(b',') {
                return Err(self.broken("`,` or `}` was expected"));
            }
        }
    }

    fn string(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.find(['"', '\\']).ok_or_else(|| self.broken("the string has no end"))?;
            text.push_str(&rest[..plain]);
            self.at += plain + 1;
            if self.bytes[self.at - 1] == b'"' {
                return Ok(text);
            }
            text.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let kind = self.peek().ok_or_else(|| self.broken("the string has no end"))?;
        self.at += 1;
        Ok(match kind {
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'"' | b'\\' | b'/' => char::from(kind),
            b'u' => {
                let high = self.hex()?;
                let is_pair = (0xD800..0xDC00).contains(&high) && self.text[self.at..].starts_with("\\u");
                let code = if is_pair {
                    self.at += 2;
                    0x1_0000 + ((high - 0xD800) << 10) + self.hex()?.wrapping_sub(0xDC00) % 0x400
                } else {
                    high
                };
                char::from_u32(code).unwrap_or('\u{FFFD}')
            }
            _ => return Err(self.broken("an unknown escape")),
        })
    }

    fn hex(&mut self) -> Result<u32, String> {
        let digits = self.text.get(self.at..self.at + 4).unwrap_or_default();
        let code =
            u32::from_str_radix(digits, 16).map_err(|_| self.broken("four hex digits were expected"))?;
        self.at += 4;
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        let json =
            Json::parse(r#" {"a": [1, -2.5e1, "x\n\u00e9\ud83d\ude00"], "b": {"c": null, "d": true}} "#)
                .unwrap();
        assert_eq!(json.at("a").unwrap().items()[1].as_number(), Some(-25.0));
        assert_eq!(json.at("a").unwrap().items()[2].as_text(), Some("x\né😀"));
        assert_eq!(json.at("b.d"), Some(&Json::Bool(true)));
        assert_eq!(json.at("b.c"), None);
        assert_eq!(json.at("b.c.d"), None);
        assert_eq!(Json::parse("[]"), Ok(Json::List(vec![])));
        assert_eq!(Json::parse("{}"), Ok(Json::Object(BTreeMap::new())));
    }

    #[test]
    fn broken_text_is_refused_with_its_place() {
        for (text, byte) in [
            ("", 0),
            ("[1, ]", 4),
            ("[1 2]", 3),
            ("{\"a\" 1}", 5),
            ("{a: 1}", 1),
            ("\"open", 1),
            ("\"\\u12\"", 3),
            ("\"\\", 2),
            ("1 2", 2),
            ("nul", 0),
            ("é", 0),
        ] {
            let error = Json::parse(text).unwrap_err();
            assert!(error.starts_with(&format!("no JSON at byte {byte}:")), "{text}: {error}");
        }
        assert!(Json::parse(&"[".repeat(10_000)).unwrap_err().contains("too deep"));
    }
}
