//! Text into tokens.
//!
//! One rule for identifiers, everywhere: a letter, `_` or `:`, then letters, digits, `_`, `:`, and dots that are
//! followed by one of these. Keywords are whole words only, so `sum.total` is a metric.

use crate::ast::Span;
use crate::error::ParseError;
use crate::number;
use crate::quote;

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// Nothing follows.
    End,
    /// An identifier or keyword.
    Word(String),
    /// A number.
    Number(f64),
    /// A duration, in milliseconds.
    Duration(i64),
    /// A quoted text, unquoted.
    Text(String),
    /// Punctuation or an operator.
    Sign(&'static str),
}

/// Longest first, so that `<=` is not read as `<`.
const SIGNS: [&str; 27] = [
    "==", "!=", "=~", "!~", "<=", ">=", "</", ">/", "<", ">", "=", "+", "-", "*", "/", "%", "^", "(", ")",
    "{", "}", "[", "]", ",", "@", ":", ";",
];

/// All tokens with where they stand; the last is [`Token::End`].
pub(crate) fn tokens(text: &str) -> Result<Vec<(Token, Span)>, ParseError> {
    let mut lexer = Lexer { text, at: 0, is_in_brackets: false };
    let mut tokens = Vec::new();
    loop {
        let (token, span) = lexer.next()?;
        let is_end = token == Token::End;
        tokens.push((token, span));
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// Within `[…]` a colon separates and is no part of a name.
    is_in_brackets: bool,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn skip_blank(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r']);
            let skipped = rest.len() - trimmed.len();
            let comment = trimmed.starts_with('#').then(|| trimmed.find('\n').unwrap_or(trimmed.len()));
            self.at += skipped + comment.unwrap_or(0);
            if comment.is_none() {
                return;
            }
        }
    }

    fn next(&mut self) -> Result<(Token, Span), ParseError> {
        self.skip_blank();
        let start = self.at;
        let Some(first) = self.rest().chars().next() else {
            return Ok((Token::End, Span { start, end: start }));
        };
        let second = self.rest()[first.len_utf8()..].chars().next();
        let token = if first.is_ascii_digit() || (first == '.' && second.is_some_and(|c| c.is_ascii_digit()))
        {
            self.number()?
        } else if is_word_start(first) && !(first == ':' && self.is_in_brackets) {
            Token::Word(self.word())
        } else if matches!(first, '"' | '\'' | '`') {
            self.quoted()?
        } else {
            self.sign(first)?
        };
        Ok((token, Span { start, end: self.at }))
    }

    fn word(&mut self) -> String {
        let rest = self.rest();
        let mut end = 0;
        let mut chars = rest.char_indices().peekable();
        while let Some((index, c)) = chars.next() {
            let is_part = match c {
                '.' => chars.peek().is_some_and(|(_, next)| is_word_part(*next) && *next != ':'),
                ':' => !self.is_in_brackets,
                c => is_word_part(c),
            };
            if !is_part {
                break;
            }
            end = index + c.len_utf8();
        }
        let word = rest[..end].to_owned();
        self.at += end;
        word
    }

    /// A number, or a duration when a unit follows the digits.
    fn number(&mut self) -> Result<Token, ParseError> {
        let rest = self.rest();
        let plain = number::length(rest);
        let is_over = !rest[plain..].starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.');
        let start = self.at;
        if is_over && let Some(value) = number::parse(&rest[..plain]) {
            self.at += plain;
            return Ok(Token::Number(value));
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '.').unwrap_or(rest.len());
        let word = rest[..end].to_owned();
        self.at += end;
        let span = Span { start, end: start + end };
        match crate::duration::parse(&word) {
            Some(millis) => Ok(Token::Duration(millis)),
            None => Err(ParseError::new(span, format!("bad number or duration syntax: {word:?}"))),
        }
    }

    fn quoted(&mut self) -> Result<Token, ParseError> {
        let start = self.at;
        let length = quote::length(self.rest());
        let Some(length) = length else {
            let span = Span { start, end: self.text.len() };
            return Err(ParseError::new(span, "unterminated quoted string"));
        };
        self.at += length;
        let span = Span { start, end: self.at };
        let text = quote::unquote(&self.text[start..self.at])
            .map_err(|why| ParseError::new(span, format!("error unquoting string: {why}")))?;
        Ok(Token::Text(text))
    }

    fn sign(&mut self, first: char) -> Result<Token, ParseError> {
        let found = SIGNS.iter().find(|sign| self.rest().starts_with(**sign));
        let Some(sign) = found else {
            let span = Span { start: self.at, end: self.at + first.len_utf8() };
            return Err(ParseError::new(span, format!("unexpected character: {first:?}")));
        };
        self.at += sign.len();
        match *sign {
            "[" => self.is_in_brackets = true,
            "]" => self.is_in_brackets = false,
            _ => {}
        }
        Ok(Token::Sign(sign))
    }
}

fn is_word_start(c: char) -> bool {
    c.is_alphabetic() || c == '_' || c == ':'
}

fn is_word_part(c: char) -> bool {
    is_word_start(c) || c.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<Token> {
        tokens(text).unwrap().into_iter().map(|(token, _)| token).collect()
    }

    #[test]
    fn dots_belong_to_names_only_between_parts() {
        let word = |text: &str| Token::Word(text.into());
        assert_eq!(shown("photo.upload.ok")[0], word("photo.upload.ok"));
        assert_eq!(shown("sum.total(by.x)")[..2], [word("sum.total"), Token::Sign("(")]);
        assert!(tokens("foo.").is_err());
        assert_eq!(shown(".5")[0], Token::Number(0.5));
    }

    #[test]
    fn numbers_and_durations_are_told_apart() {
        for (text, expected) in [
            ("1.5", Token::Number(1.5)),
            ("1e-3", Token::Number(0.001)),
            ("0x1F", Token::Number(31.0)),
            ("1_000", Token::Number(1000.0)),
            ("5m", Token::Duration(300_000)),
            ("1h30m", Token::Duration(5_400_000)),
            ("10ms", Token::Duration(10)),
        ] {
            assert_eq!(shown(text)[0], expected, "{text}");
        }
        for text in ["1.5h", "5q", "1..2", "0x", "30m1h"] {
            assert!(tokens(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_colon_in_brackets_separates() {
        assert_eq!(shown("a:b[1m:step()]").len(), 9);
        assert_eq!(shown("x[5m:]")[3], Token::Sign(":"));
    }
}
