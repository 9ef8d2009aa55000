//! Operands: literals, selectors, calls, aggregations, and what is written after them.

use std::fmt::Write as _;

use hmsops_model::labels::{MatchOp, Matcher};

use super::{MATCHERS_MAX, Parser};
use crate::ast::{
    Aggregate, AggregateOp, At, Call, Duration, Expr, Extension, Kind, RangeSelector, Selector, Span,
    Subquery,
};
use crate::error::ParseError;
use crate::functions;
use crate::lexer::Token;

impl Parser {
    /// An operand with brackets, `@`, `offset`, `anchored` and `smoothed` behind it.
    pub(super) fn postfixed(&mut self) -> Result<Expr, ParseError> {
        let mut expr = self.operand()?;
        let mut applied = 0;
        loop {
            let next = if self.is_sign("[") {
                self.bracketed(expr)?
            } else if self.is_sign("@") {
                self.at_modifier(expr)?
            } else if self.is_word("offset") {
                self.offset_modifier(expr)?
            } else if self.is_word("anchored") || self.is_word("smoothed") {
                self.extension(expr)?
            } else {
                self.depth -= applied;
                return Ok(expr);
            };
            self.enter()?;
            applied += 1;
            expr = next;
        }
    }

    fn operand(&mut self) -> Result<Expr, ParseError> {
        let span = self.span();
        match self.peek().clone() {
            Token::Number(value) => {
                self.advance();
                Ok(Expr { span, kind: Kind::Number { value, is_duration: false } })
            }
            Token::Duration(millis) => {
                self.advance();
                Ok(Expr { span, kind: Kind::Number { value: millis as f64 / 1000.0, is_duration: true } })
            }
            Token::Text(text) => {
                self.advance();
                Ok(Expr { span, kind: Kind::Text(text) })
            }
            Token::Sign("(") => {
                self.advance();
                let inner = self.expr()?;
                let end = self.expect_sign(")", "paren expression")?;
                Ok(Expr { span: span.to(end), kind: Kind::Paren(Box::new(inner)) })
            }
            Token::Sign("{") => self.selector(None),
            Token::Word(word) => self.word_operand(word),
            _ => Err(self.unexpected("", "an expression")),
        }
    }

    fn word_operand(&mut self, word: String) -> Result<Expr, ParseError> {
        let span = self.span();
        let is_value = matches!(word.to_ascii_lowercase().as_str(), "inf" | "nan");
        if is_value {
            self.advance();
            let value = crate::number::parse(&word).unwrap_or(f64::NAN);
            return Ok(Expr { span, kind: Kind::Number { value, is_duration: false } });
        }
        if let Some(op) = AggregateOp::parse(&word) {
            let is_grouped = matches!(self.peek_next(), Token::Word(next)
                if next.eq_ignore_ascii_case("by") || next.eq_ignore_ascii_case("without"));
            let is_list_after =
                matches!(&self.tokens[(self.at + 2).min(self.tokens.len() - 1)].0, Token::Sign("("));
            if matches!(self.peek_next(), Token::Sign("(")) || (is_grouped && is_list_after) {
                return self.aggregate(op);
            }
        }
        if matches!(self.peek_next(), Token::Sign("(")) {
            return self.call(&word);
        }
        if matches!(
            word.to_ascii_lowercase().as_str(),
            "bool" | "on" | "ignoring" | "group_left" | "group_right" | "atan2"
        ) {
            return Err(self.unexpected("", "an expression"));
        }
        self.advance();
        self.selector(Some((word, span)))
    }

    fn arguments(&mut self) -> Result<Vec<Expr>, ParseError> {
        self.expect_sign("(", "function call args")?;
        let mut args = Vec::new();
        while !self.is_sign(")") {
            args.push(self.expr()?);
            if self.is_sign(",") {
                let comma = self.advance().1;
                if self.is_sign(")") {
                    let message = "trailing commas not allowed in function call args";
                    return Err(ParseError::new(comma, message));
                }
            } else if !self.is_sign(")") {
                return Err(self.unexpected("function call args", "\",\" or \")\""));
            }
        }
        self.advance();
        Ok(args)
    }

    fn call(&mut self, word: &str) -> Result<Expr, ParseError> {
        let span = self.span();
        // Words that the grammar knows by themselves are read in any case.
        let lower = word.to_ascii_lowercase();
        let is_keyword = matches!(lower.as_str(), "start" | "end" | "step" | "range" | "max_of" | "min_of");
        let name = if is_keyword { &lower } else { word };
        let Some(function) = functions::find(name) else {
            let mut message = format!("unknown function with name {word:?}");
            if let Some(near) = functions::nearest(word) {
                let _ = write!(message, "; did you mean {near:?}?");
            }
            return Err(ParseError::new(span, message));
        };
        self.advance();
        let args = self.arguments()?;
        Ok(Expr { span: span.to(self.last_span()), kind: Kind::Call(Call { function, args }) })
    }

    fn aggregate(&mut self, op: AggregateOp) -> Result<Expr, ParseError> {
        let start = self.advance().1;
        let mut grouping = self.grouping()?;
        let args_span = self.span();
        let mut args = self.arguments()?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let span = start.to(self.last_span());
        let wanted = 1 + usize::from(op.param().is_some());
        if args.len() != wanted {
            let message = format!(
                "wrong number of arguments for aggregate expression provided, expected {wanted}, got {}",
                args.len()
            );
            return Err(ParseError::new(args_span.to(span), message));
        }
        let (is_without, grouping) = grouping.unwrap_or_default();
        let (Some(expr), param) = (args.pop(), args.pop()) else {
            return Err(ParseError::new(args_span, "no arguments for aggregate expression provided"));
        };
        Ok(Expr {
            span,
            kind: Kind::Aggregate(Box::new(Aggregate { op, param, expr, grouping, is_without })),
        })
    }

    /// `by (…)` or `without (…)`; whether it is `without`, and which labels.
    fn grouping(&mut self) -> Result<Option<(bool, Vec<String>)>, ParseError> {
        let is_without = self.is_word("without");
        if !is_without && !self.is_word("by") {
            return Ok(None);
        }
        self.advance();
        Ok(Some((is_without, self.label_list()?)))
    }

    fn selector(&mut self, name: Option<(String, Span)>) -> Result<Expr, ParseError> {
        let start = name.as_ref().map_or(self.span(), |(_, span)| *span);
        let mut end = start;
        let mut matchers = Vec::new();
        if self.is_sign("{") {
            self.advance();
            while !self.is_sign("}") {
                if matchers.len() == MATCHERS_MAX {
                    let message = format!("more than {MATCHERS_MAX} conditions in one selector");
                    return Err(ParseError::new(self.span(), message));
                }
                matchers.push(self.matcher()?);
                if !self.take_sign(",") && !self.is_sign("}") {
                    return Err(self.unexpected("label matching", "\",\" or \"}\""));
                }
            }
            end = self.advance().1;
        }
        let name = name.map(|(name, _)| name);
        let selector = Selector { name, matchers, ..Selector::default() };
        Ok(Expr { span: start.to(end), kind: Kind::Selector(selector) })
    }

    fn matcher(&mut self) -> Result<Matcher, ParseError> {
        let (token, span) = self.advance();
        let (name, is_quoted) = match token {
            Token::Word(word) if !word.contains(':') => (word, false),
            Token::Text(text) => (text, true),
            _ => {
                self.at -= 1;
                return Err(self.unexpected("label matching", "identifier or \"}\""));
            }
        };
        let op = match self.peek() {
            Token::Sign("=") => MatchOp::Eq,
            Token::Sign("!=") => MatchOp::Ne,
            Token::Sign("=~") => MatchOp::Re,
            Token::Sign("!~") => MatchOp::NotRe,
            Token::Sign("," | "}") if is_quoted => return Ok(Matcher::new("__name__", MatchOp::Eq, name)),
            _ => return Err(self.unexpected("label matching", "label matching operator")),
        };
        if name.is_empty() {
            return Err(ParseError::new(span, "a label's name must not be empty"));
        }
        self.advance();
        let (token, value_span) = self.advance();
        let Token::Text(value) = token else {
            self.at -= 1;
            return Err(self.unexpected("label matching", "string"));
        };
        if matches!(op, MatchOp::Re | MatchOp::NotRe) {
            crate::pattern::Pattern::new(&value)
                .map_err(|error| ParseError::new(span.to(value_span), error.to_string()))?;
        }
        Ok(Matcher::new(name, op, value))
    }

    /// `[5m]` or `[1h:5m]`
    fn bracketed(&mut self, expr: Expr) -> Result<Expr, ParseError> {
        let open = self.advance().1;
        let range = self.range_duration()?;
        if self.take_sign(":") {
            let step = if self.is_sign("]") { None } else { Some(self.range_duration()?) };
            let end = self.expect_sign("]", "subquery selector")?;
            let span = expr.span.to(end);
            let subquery = Subquery { expr, range, step, at: None, offset: None };
            return Ok(Expr { span, kind: Kind::Subquery(Box::new(subquery)) });
        }
        if !self.is_sign("]") {
            return Err(self.unexpected("subquery or range", "\":\" or \"]\""));
        }
        let close = self.advance().1;
        let refuse = |message: &str| Err(ParseError::new(open.to(close), message));
        match expr.kind {
            Kind::Selector(selector) if selector.offset.is_some() => {
                refuse("no offset modifiers allowed before range")
            }
            Kind::Selector(selector) if selector.at.is_some() => {
                refuse("no @ modifiers allowed before range")
            }
            Kind::Selector(selector) => {
                let range = RangeSelector { selector, selector_span: expr.span, range };
                Ok(Expr { span: expr.span.to(close), kind: Kind::Range(range) })
            }
            _ => refuse("ranges only allowed for vector selectors"),
        }
    }

    fn at_modifier(&mut self, mut expr: Expr) -> Result<Expr, ParseError> {
        self.advance();
        let at = if self.is_word("start") || self.is_word("end") {
            let at = if self.is_word("start") { At::Start } else { At::End };
            self.advance();
            self.expect_sign("(", "@")?;
            self.expect_sign(")", "@")?;
            at
        } else {
            let span = self.span();
            let seconds = self.signed_number("@")?;
            // What fits into 64 bits of milliseconds, as Prometheus demands.
            if !(-9.2e15..=9.2e15).contains(&seconds) {
                let text = crate::number::format_general(seconds);
                return Err(ParseError::new(span, format!("timestamp out of bounds for @ modifier: {text}")));
            }
            At::Time((seconds * 1000.0).round() as i64)
        };
        let slot = match &mut expr.kind {
            Kind::Selector(selector) => &mut selector.at,
            Kind::Range(range) => &mut range.selector.at,
            Kind::Subquery(subquery) => &mut subquery.at,
            _ => {
                let message = "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery";
                return Err(ParseError::new(expr.span, message));
            }
        };
        if slot.is_some() {
            return Err(ParseError::new(expr.span, "@ <timestamp> may not be set multiple times"));
        }
        *slot = Some(at);
        expr.span.end = self.last_span().end;
        Ok(expr)
    }

    fn offset_modifier(&mut self, mut expr: Expr) -> Result<Expr, ParseError> {
        self.advance();
        let offset = self.offset_duration()?;
        let slot = match &mut expr.kind {
            Kind::Selector(selector) => &mut selector.offset,
            Kind::Range(range) => &mut range.selector.offset,
            Kind::Subquery(subquery) => &mut subquery.offset,
            _ => {
                let message = "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery";
                return Err(ParseError::new(expr.span, message));
            }
        };
        if slot.is_some() {
            return Err(ParseError::new(expr.span, "offset may not be set multiple times"));
        }
        // An offset of nothing is none, and is not printed.
        *slot = (offset != Duration::Millis(0)).then_some(offset);
        expr.span.end = self.last_span().end;
        Ok(expr)
    }

    fn extension(&mut self, mut expr: Expr) -> Result<Expr, ParseError> {
        let extension = if self.is_word("anchored") { Extension::Anchored } else { Extension::Smoothed };
        let span = self.advance().1;
        let name = if extension == Extension::Anchored { "anchored" } else { "smoothed" };
        let slot = match &mut expr.kind {
            Kind::Range(range) => &mut range.selector.extension,
            Kind::Selector(selector) if extension == Extension::Smoothed => &mut selector.extension,
            Kind::Subquery(_) => {
                return Err(ParseError::new(
                    span,
                    format!("{name} modifier is not supported with subqueries"),
                ));
            }
            _ => {
                return Err(ParseError::new(span, format!("{name} modifier must be preceded by a selector")));
            }
        };
        if slot.is_some() {
            let message = "anchored and smoothed modifiers may not be set multiple times";
            return Err(ParseError::new(span, message));
        }
        *slot = Some(extension);
        expr.span.end = span.end;
        Ok(expr)
    }
}
