//! Text and actions, and the words within actions.

use super::TemplateError;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(String),
    /// An action's words; those that follow another without a blank between are marked.
    Action(Vec<Word>),
}

/// A word within an action.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Word {
    pub(super) kind: WordKind,
    /// Whether no blank stands before it.
    pub(super) is_joined: bool,
}

/// What a word is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum WordKind {
    Name(String),
    /// With its `$`.
    Variable(String),
    /// Without its dot.
    Field(String),
    Dot,
    Text(String),
    Number(String),
    /// `'a'` as its code.
    Char(i64),
    /// `|`, `(`, `)`, `,`, `:=`, `=`.
    Sign(&'static str),
}

/// The pieces of a text, each with its line.
pub(super) fn pieces(text: &str) -> Result<Vec<(usize, Piece)>, TemplateError> {
    let mut pieces: Vec<(usize, Piece)> = Vec::new();
    let (mut rest, mut line, mut is_trimmed) = (text, 1, false);
    while !rest.is_empty() {
        let open = rest.find("{{");
        let plain = &rest[..open.unwrap_or(rest.len())];
        let after = open.map(|open| &rest[open + 2..]);
        let left = after.and_then(trimmed_left);
        let mut shown = if is_trimmed { plain.trim_start_matches(is_blank) } else { plain };
        if left.is_some() {
            shown = shown.trim_end_matches(is_blank);
        }
        if !shown.is_empty() {
            pieces.push((line, Piece::Text(shown.to_owned())));
        }
        line += lines(plain);
        let Some(after) = left.or(after) else { break };
        let error = |message: String| TemplateError { line, message };
        if let Some(comment) = after.strip_prefix("/*") {
            let end = comment.find("*/").ok_or_else(|| error("unclosed comment".into()))?;
            let close = &comment[end + 2..];
            let (next, trim) =
                closed(close).ok_or_else(|| error("comment ends before closing delimiter".into()))?;
            line += lines(&comment[..end]);
            (rest, is_trimmed) = (next, trim);
            continue;
        }
        let mut words = Words { rest: after, found: Vec::new(), depth: 0 };
        is_trimmed = words.read().map_err(error)?;
        let taken = &after[..after.len() - words.rest.len()];
        pieces.push((line, Piece::Action(words.found)));
        line += lines(taken);
        rest = words.rest;
    }
    Ok(pieces)
}

fn lines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

const fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// What follows `{{- `.
fn trimmed_left(after: &str) -> Option<&str> {
    after
        .strip_prefix('-')
        .filter(|rest| rest.starts_with(is_blank))
        .map(|rest| rest.trim_start_matches(is_blank))
}

/// What follows `}}` or ` -}}`, and whether the text after it loses its blanks.
fn closed(text: &str) -> Option<(&str, bool)> {
    if let Some(rest) = text.strip_prefix("}}") {
        return Some((rest, false));
    }
    let rest = text.trim_start_matches(is_blank);
    if rest.len() == text.len() { None } else { rest.strip_prefix("-}}").map(|rest| (rest, true)) }
}

struct Words<'t> {
    rest: &'t str,
    found: Vec<Word>,
    depth: usize,
}

impl Words<'_> {
    /// Reads to the end of an action; whether what follows it loses its blanks.
    fn read(&mut self) -> Result<bool, String> {
        let mut is_joined = false;
        loop {
            if let Some((rest, is_trimmed)) = closed(self.rest) {
                if self.depth > 0 {
                    return Err("unclosed left paren".into());
                }
                self.rest = rest;
                return Ok(is_trimmed);
            }
            let Some(c) = self.rest.chars().next() else { return Err("unclosed action".into()) };
            if is_blank(c) {
                // All at once: what closes is looked for behind them each time.
                self.rest = self.rest.trim_start_matches(is_blank);
                is_joined = false;
                continue;
            }
            let kind = self.word(c)?;
            self.found.push(Word { kind, is_joined });
            is_joined = true;
        }
    }

    fn take(&mut self, bytes: usize) -> &str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }

    fn name_length(text: &str) -> usize {
        text.find(|c: char| !(c == '_' || c.is_alphanumeric())).unwrap_or(text.len())
    }

    fn word(&mut self, c: char) -> Result<WordKind, String> {
        for sign in [":=", "=", "|", "(", ")", ","] {
            if self.rest.starts_with(sign) {
                self.take(sign.len());
                match sign {
                    "(" => self.depth += 1,
                    ")" => {
                        self.depth = self.depth.checked_sub(1).ok_or("unexpected right paren")?;
                    }
                    _ => {}
                }
                return Ok(WordKind::Sign(sign));
            }
        }
        match c {
            '"' | '`' | '\'' => self.quoted(c),
            '$' => {
                let length = 1 + Self::name_length(&self.rest[1..]);
                Ok(WordKind::Variable(self.take(length).to_owned()))
            }
            '.' if !self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                let length = Self::name_length(&self.rest[1..]);
                let field = self.take(1 + length)[1..].to_owned();
                Ok(if field.is_empty() { WordKind::Dot } else { WordKind::Field(field) })
            }
            '+' | '-' | '.' | '0'..='9' => {
                let mut length = 1;
                for next in self.rest[1..].chars() {
                    let is_sign = matches!(next, '+' | '-') && self.rest[..length].ends_with(['e', 'E']);
                    if !(next.is_ascii_alphanumeric() || matches!(next, '.' | '_') || is_sign) {
                        break;
                    }
                    length += 1;
                }
                Ok(WordKind::Number(self.take(length).to_owned()))
            }
            c if c == '_' || c.is_alphabetic() => {
                let length = Self::name_length(self.rest);
                Ok(WordKind::Name(self.take(length).to_owned()))
            }
            other => Err(format!("unexpected {other:?} in an action")),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<WordKind, String> {
        let mut is_escaped = false;
        let mut end = None;
        for (at, c) in self.rest.char_indices().skip(1) {
            match c {
                _ if is_escaped => is_escaped = false,
                '\\' if quote != '`' => is_escaped = true,
                '\n' if quote != '`' => break,
                c if c == quote => {
                    end = Some(at + 1);
                    break;
                }
                _ => {}
            }
        }
        let what =
            if quote == '\'' { "unterminated character constant" } else { "unterminated quoted string" };
        let written = self.take(end.ok_or(what)?);
        let text = crate::quote::unquote(written)?;
        if quote != '\'' {
            return Ok(WordKind::Text(text));
        }
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) => Ok(WordKind::Char(i64::from(u32::from(c)))),
            _ => Err("a character constant holds one character".into()),
        }
    }
}
