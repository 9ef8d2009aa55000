//! Lengths of time within brackets and after `offset`.

use super::Parser;
use crate::ast::{Duration, DurationExpr, DurationKind, DurationOp, Span};
use crate::error::ParseError;
use crate::lexer::Token;

/// Binding strength of the operators; a sign binds like a multiplication.
fn precedence(op: DurationOp) -> u8 {
    match op {
        DurationOp::Add | DurationOp::Sub => 1,
        DurationOp::Pow => 3,
        _ => 2,
    }
}

/// The longest length in seconds: 292 years, what Prometheus can hold.
const SECONDS_MAX: f64 = 9_223_372_036.0;

impl Parser {
    /// A length within brackets: any arithmetic; a plain number must be positive.
    pub(super) fn range_duration(&mut self) -> Result<Duration, ParseError> {
        let expr = self.duration_expr(1)?;
        if let DurationKind::Number { value, .. } = expr.kind
            && (value.is_nan() || value <= 0.0)
        {
            return Err(ParseError::new(expr.span, "duration must be greater than 0"));
        }
        literal_or_computed(expr)
    }

    /// A length after `offset`: one operand with at most one sign, so that arithmetic after it is the query's.
    pub(super) fn offset_duration(&mut self) -> Result<Duration, ParseError> {
        let start = self.span();
        let is_minus = self.is_sign("-");
        let is_signed = is_minus || self.is_sign("+");
        if is_signed {
            self.advance();
        }
        let operand = self.duration_operand("offset")?;
        literal_or_computed(if is_signed { signed(is_minus, operand, start) } else { operand })
    }

    fn duration_expr(&mut self, min: u8) -> Result<DurationExpr, ParseError> {
        self.nest()?;
        let start = self.span();
        let is_minus = self.is_sign("-");
        let mut left = if is_minus || self.is_sign("+") {
            self.advance();
            let operand = self.duration_expr(3)?;
            signed(is_minus, operand, start)
        } else {
            self.duration_operand("subquery or range")?
        };
        let mut chained = 0;
        while let Some(op) = self.duration_op().filter(|op| precedence(*op) >= min) {
            let op_span = self.advance().1;
            self.enter()?;
            chained += 1;
            let next = if op == DurationOp::Pow { 3 } else { precedence(op) + 1 };
            let right = self.duration_expr(next)?;
            let is_zero = matches!(right.kind, DurationKind::Number { value: 0.0, .. });
            if is_zero && matches!(op, DurationOp::Div | DurationOp::Mod) {
                let what = if op == DurationOp::Div { "division by zero" } else { "modulo by zero" };
                return Err(ParseError::new(op_span, what));
            }
            let span = left.span.to(right.span);
            let kind = DurationKind::Binary { op, left: Box::new(left), right: Box::new(right) };
            left = DurationExpr { span, kind, is_wrapped: false };
        }
        self.depth -= chained;
        self.leave();
        Ok(left)
    }

    fn duration_op(&self) -> Option<DurationOp> {
        match self.peek() {
            Token::Sign("+") => Some(DurationOp::Add),
            Token::Sign("-") => Some(DurationOp::Sub),
            Token::Sign("*") => Some(DurationOp::Mul),
            Token::Sign("/") => Some(DurationOp::Div),
            Token::Sign("%") => Some(DurationOp::Mod),
            Token::Sign("^") => Some(DurationOp::Pow),
            _ => None,
        }
    }

    fn duration_operand(&mut self, context: &str) -> Result<DurationExpr, ParseError> {
        let start = self.span();
        let kind = match self.peek().clone() {
            Token::Number(value) => DurationKind::Number { value, is_duration: false },
            Token::Duration(millis) => {
                DurationKind::Number { value: millis as f64 / 1000.0, is_duration: true }
            }
            Token::Sign("(") => {
                self.advance();
                let mut inner = self.duration_expr(1)?;
                let end = self.expect_sign(")", context)?;
                inner.is_wrapped = !matches!(inner.kind, DurationKind::Number { .. });
                inner.span = start.to(end);
                return Ok(inner);
            }
            Token::Word(word) if matches!(self.peek_next(), Token::Sign("(")) => {
                return self.duration_call(&word, start);
            }
            _ => return Err(self.unexpected(context, "a number, a duration, step(), or range()")),
        };
        self.advance();
        in_range(&kind, start)?;
        Ok(DurationExpr { span: start, kind, is_wrapped: false })
    }

    fn duration_call(&mut self, word: &str, start: Span) -> Result<DurationExpr, ParseError> {
        let op = match word.to_ascii_lowercase().as_str() {
            "step" | "range" => None,
            "min_of" => Some(DurationOp::Min),
            "max_of" => Some(DurationOp::Max),
            _ => return Err(self.unexpected("duration", "step(), range(), min_of() or max_of()")),
        };
        self.advance();
        self.advance();
        let kind = match op {
            None if word.eq_ignore_ascii_case("step") => DurationKind::Step,
            None => DurationKind::Range,
            Some(op) => {
                let left = Box::new(self.duration_expr(1)?);
                self.expect_sign(",", "duration")?;
                DurationKind::Binary { op, left, right: Box::new(self.duration_expr(1)?) }
            }
        };
        let end = self.expect_sign(")", "duration")?;
        Ok(DurationExpr { span: start.to(end), kind, is_wrapped: false })
    }
}

fn in_range(kind: &DurationKind, span: Span) -> Result<(), ParseError> {
    match kind {
        DurationKind::Number { value, .. } if !(-SECONDS_MAX..=SECONDS_MAX).contains(value) => {
            Err(ParseError::new(span, "duration out of range"))
        }
        _ => Ok(()),
    }
}

fn signed(is_minus: bool, expr: DurationExpr, start: Span) -> DurationExpr {
    let span = start.to(expr.span);
    match expr.kind {
        DurationKind::Number { value, is_duration } => {
            let kind = DurationKind::Number { value: if is_minus { -value } else { value }, is_duration };
            DurationExpr { span, kind, is_wrapped: false }
        }
        // A plus says nothing, and is printed as nothing.
        _ if !is_minus => DurationExpr { span, ..expr },
        _ => {
            let kind = DurationKind::Sign { is_minus, expr: Box::new(expr) };
            DurationExpr { span, kind, is_wrapped: false }
        }
    }
}

fn literal_or_computed(expr: DurationExpr) -> Result<Duration, ParseError> {
    in_range(&expr.kind, expr.span)?;
    Ok(match expr.kind {
        DurationKind::Number { value, .. } => Duration::Millis((value * 1000.0).round() as i64),
        _ => Duration::Computed(Box::new(expr)),
    })
}
