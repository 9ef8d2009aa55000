//! Tokens into an expression: precedence climbing, with limits on length and depth.

mod binary;
mod check;
mod duration;
mod primary;

use crate::ast::{Expr, Kind, Span};
use crate::error::ParseError;
use crate::lexer::{Token, tokens};

/// The longest query, in bytes.
pub const LENGTH_MAX: usize = 256 * 1024;

/// The deepest nesting, operators in a row included: what evaluates an expression goes down as many levels.
pub const DEPTH_MAX: usize = 200;

/// The deepest nesting of parentheses, calls and signs, which the parser itself goes down.
pub const NESTING_MAX: usize = 64;

/// The most conditions in one selector.
pub const MATCHERS_MAX: usize = 1000;

/// Parses and checks a query.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    if text.len() > LENGTH_MAX {
        let message = format!("the query is longer than {LENGTH_MAX} bytes");
        return Err(ParseError::new(Span::default(), message).locate(text));
    }
    parse_unlocated(text).map_err(|error| error.locate(text))
}

fn parse_unlocated(text: &str) -> Result<Expr, ParseError> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0, nesting: 0 };
    if parser.peek() == &Token::End {
        return Err(ParseError::new(parser.span(), "no expression found in input"));
    }
    let expr = parser.expr()?;
    if parser.peek() != &Token::End {
        return Err(parser.unexpected("", "an operator or the end of the query"));
    }
    check::check(&expr)?;
    Ok(expr)
}

/// Parses what picks series in an API call: `name{label="value"}` without modifiers.
pub fn parse_selector(text: &str) -> Result<crate::ast::Selector, ParseError> {
    let expr = parse(text)?;
    match expr.kind {
        Kind::Selector(selector)
            if selector.at.is_none() && selector.offset.is_none() && selector.extension.is_none() =>
        {
            Ok(selector)
        }
        _ => Err(ParseError::new(expr.span, "expected a plain series selector").locate(text)),
    }
}

struct Parser {
    tokens: Vec<(Token, Span)>,
    at: usize,
    /// Levels of the tree above.
    depth: usize,
    /// Of these, those that the parser recurses through.
    nesting: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    fn peek_next(&self) -> &Token {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].0
    }

    fn span(&self) -> Span {
        self.tokens[self.at].1
    }

    /// Where the last token taken stands.
    fn last_span(&self) -> Span {
        self.tokens[self.at.saturating_sub(1)].1
    }

    fn advance(&mut self) -> (Token, Span) {
        let token = self.tokens[self.at].clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(found) if *found == sign)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Word(found) if found.eq_ignore_ascii_case(word))
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let is_there = self.is_sign(sign);
        if is_there {
            self.advance();
        }
        is_there
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is_there = self.is_word(word);
        if is_there {
            self.advance();
        }
        is_there
    }

    fn expect_sign(&mut self, sign: &str, context: &str) -> Result<Span, ParseError> {
        if self.is_sign(sign) {
            Ok(self.advance().1)
        } else {
            Err(self.unexpected(context, &format!("{sign:?}")))
        }
    }

    /// What stands here is not what was expected.
    fn unexpected(&self, context: &str, expected: &str) -> ParseError {
        let found = match self.peek() {
            Token::End => "end of input".to_owned(),
            Token::Word(word) => format!("identifier {word:?}"),
            Token::Number(_) => "number".to_owned(),
            Token::Duration(_) => "duration".to_owned(),
            Token::Text(_) => "string".to_owned(),
            Token::Sign(sign) => format!("{sign:?}"),
        };
        let context = if context.is_empty() { String::new() } else { format!(" in {context}") };
        ParseError::new(self.span(), format!("unexpected {found}{context}, expected {expected}"))
    }

    /// Goes one level down; what went down comes up with [`Parser::leave`].
    fn enter(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(ParseError::new(self.span(), format!("nested deeper than {DEPTH_MAX} levels")));
        }
        Ok(())
    }

    /// As [`Parser::enter`], where the parser recurses.
    fn nest(&mut self) -> Result<(), ParseError> {
        self.enter()?;
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            return Err(ParseError::new(self.span(), format!("nested deeper than {NESTING_MAX} levels")));
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.nesting -= 1;
    }
}

#[cfg(test)]
mod tests;
