//! A place in a page, and errors that say where it is.

use super::ExpositionError;

/// A place in a page.
#[derive(Debug, Clone, Default)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// In bytes, from the start of the page.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes over `byte`, which is ASCII, if it is next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Passes over the next byte, which is ASCII.
    pub(super) fn bump(&mut self) {
        self.at += 1;
    }

    /// Passes over `text` if it is next.
    pub(super) fn eat_text(&mut self, text: &str) -> bool {
        let is_next = self.text.as_bytes()[self.at..].starts_with(text.as_bytes());
        self.at += if is_next { text.len() } else { 0 };
        is_next
    }

    /// Passes over spaces and tabs; whether there were any.
    pub(super) fn skip_blanks(&mut self) -> bool {
        let from = self.at;
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
        self.at > from
    }

    /// All bytes from here that `is_part` accepts, which must not accept a part of a character.
    pub(super) fn take_while(&mut self, is_part: impl Fn(u8) -> bool) -> &'a str {
        let rest = &self.text.as_bytes()[self.at..];
        let length = rest.iter().position(|byte| !is_part(*byte)).unwrap_or(rest.len());
        self.at += length;
        &self.text[self.at - length..self.at]
    }

    /// What comes before the next blank or end of line.
    pub(super) fn word(&mut self) -> &'a str {
        self.take_while(|byte| !matches!(byte, b' ' | b'\t' | b'\n'))
    }

    /// What is left of the line, without its end, which is passed over.
    pub(super) fn line(&mut self) -> &'a str {
        let line = self.take_while(|byte| byte != b'\n');
        self.eat(b'\n');
        line
    }

    /// Passes over the end of a line; the end of the page is one, too.
    pub(super) fn end_line(&mut self) -> bool {
        self.eat(b'\n') || self.is_end()
    }

    pub(super) fn is_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// That something else was expected here.
    pub(super) fn expected(&self, what: &str) -> ExpositionError {
        let rest = &self.text[self.at..];
        let found = match rest.chars().next() {
            None => "the end of the page".to_owned(),
            Some('\n') => "the end of the line".to_owned(),
            Some(c @ ('"' | '\'' | '\\')) => format!("`{c}`"),
            Some(c) if c.is_whitespace() || c.is_control() => format!("{c:?}"),
            Some(c) => {
                let is_part = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '.' | '+' | '-' | ':');
                let word: String = rest.chars().take_while(is_part).take(40).collect();
                if word.is_empty() { format!("`{c}`") } else { format!("`{word}`") }
            }
        };
        self.wrong_at(self.at, format!("expected {what}, found {found}"))
    }

    /// That something is wrong at a place passed before.
    pub(super) fn wrong_at(&self, at: usize, why: String) -> ExpositionError {
        let before = &self.text[..at];
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        ExpositionError {
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            why,
        }
    }
}
