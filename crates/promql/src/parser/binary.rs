//! Operators between and before expressions.

use super::Parser;
use crate::ast::{Binary, BinaryOp, Expr, Kind, Matching, Side};
use crate::error::ParseError;
use crate::lexer::Token;

/// A sign binds like a multiplication: `-a^2` is `-(a^2)`.
const SIGN_PRECEDENCE: u8 = 5;

impl Parser {
    /// A whole expression.
    pub(super) fn expr(&mut self) -> Result<Expr, ParseError> {
        self.expr_from(1)
    }

    /// An expression of operators that bind at least so tightly.
    fn expr_from(&mut self, precedence: u8) -> Result<Expr, ParseError> {
        self.nest()?;
        let mut left = self.signed()?;
        let mut chained = 0;
        while let Some((op, found)) = self.binary_op().filter(|(_, found)| *found >= precedence) {
            self.advance();
            // Each operator in a row makes the tree one level deeper.
            self.enter()?;
            chained += 1;
            let is_bool = self.take_word("bool");
            let matching = self.matching()?;
            let next = if op == BinaryOp::Pow { found } else { found + 1 };
            let right = self.expr_from(next)?;
            let span = left.span.to(right.span);
            left = Expr { span, kind: Kind::Binary(Box::new(Binary { op, left, right, is_bool, matching })) };
        }
        self.depth -= chained;
        self.leave();
        Ok(left)
    }

    fn binary_op(&self) -> Option<(BinaryOp, u8)> {
        let spelling = match self.peek() {
            Token::Sign(sign) => *sign,
            Token::Word(word) => word,
            _ => return None,
        };
        BinaryOp::ALL
            .iter()
            .find(|(name, _, _)| name.eq_ignore_ascii_case(spelling))
            .map(|(_, op, precedence)| (*op, *precedence))
    }

    /// An operand with the signs before it; a signed number is a number.
    fn signed(&mut self) -> Result<Expr, ParseError> {
        let is_minus = self.is_sign("-");
        if !is_minus && !self.is_sign("+") {
            return self.postfixed();
        }
        let start = self.advance().1;
        let expr = self.expr_from(SIGN_PRECEDENCE + 1)?;
        let span = start.to(expr.span);
        let kind = match expr.kind {
            Kind::Number { value, is_duration } => {
                Kind::Number { value: if is_minus { -value } else { value }, is_duration }
            }
            kind => Kind::Unary { is_minus, expr: Box::new(Expr { span: expr.span, kind }) },
        };
        Ok(Expr { span, kind })
    }

    /// `on`, `ignoring`, `group_left`, `group_right` and the fills after an operator.
    fn matching(&mut self) -> Result<Matching, ParseError> {
        let mut matching = Matching::default();
        let is_list_next = matches!(self.peek_next(), Token::Sign("("));
        if is_list_next && (self.is_word("on") || self.is_word("ignoring")) {
            matching.is_on = self.is_word("on");
            self.advance();
            matching.labels = self.label_list()?;
            if self.is_word("group_left") || self.is_word("group_right") {
                let side = if self.is_word("group_left") { Side::Left } else { Side::Right };
                self.advance();
                let include = if self.is_sign("(") { self.label_list()? } else { Vec::new() };
                matching.group = Some((side, include));
            }
        }
        while matches!(self.peek_next(), Token::Sign("(")) {
            let (is_left, is_right) = if self.is_word("fill") {
                (true, true)
            } else if self.is_word("fill_left") {
                (true, false)
            } else if self.is_word("fill_right") {
                (false, true)
            } else {
                break;
            };
            if (is_left && matching.fill_left.is_some()) || (is_right && matching.fill_right.is_some()) {
                return Err(ParseError::new(self.span(), "a fill value is set twice"));
            }
            self.advance();
            let value = self.fill_value()?;
            if is_left {
                matching.fill_left = Some(value);
            }
            if is_right {
                matching.fill_right = Some(value);
            }
        }
        Ok(matching)
    }

    fn fill_value(&mut self) -> Result<f64, ParseError> {
        self.expect_sign("(", "fill value")?;
        let value = self.signed_number("fill value")?;
        self.expect_sign(")", "fill value")?;
        Ok(value)
    }

    /// A number or duration (in seconds) with at most one sign.
    pub(super) fn signed_number(&mut self, context: &str) -> Result<f64, ParseError> {
        let is_minus = self.is_sign("-");
        if is_minus || self.is_sign("+") {
            self.advance();
        }
        let value = match self.peek() {
            Token::Number(value) => *value,
            Token::Duration(millis) => *millis as f64 / 1000.0,
            Token::Word(word) if word.eq_ignore_ascii_case("inf") => f64::INFINITY,
            Token::Word(word) if word.eq_ignore_ascii_case("nan") => f64::NAN,
            _ => return Err(self.unexpected(context, "a number")),
        };
        self.advance();
        Ok(if is_minus { -value } else { value })
    }

    /// `(a, "b.c", d)`
    pub(super) fn label_list(&mut self) -> Result<Vec<String>, ParseError> {
        self.expect_sign("(", "grouping opts")?;
        let mut labels = Vec::new();
        while !self.is_sign(")") {
            match self.peek() {
                Token::Word(word) if !word.contains(':') => labels.push(word.clone()),
                Token::Text(text) if !text.is_empty() => labels.push(text.clone()),
                _ => return Err(self.unexpected("grouping opts", "a label")),
            }
            self.advance();
            if !self.take_sign(",") && !self.is_sign(")") {
                return Err(self.unexpected("grouping opts", "\",\" or \")\""));
            }
        }
        self.advance();
        Ok(labels)
    }
}
