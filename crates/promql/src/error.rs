//! What can be wrong with a query.

use hmsops_model::series::SourceError;

use crate::ast::Span;

/// A query that is no query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// Where.
    pub span: Span,
    /// What, and what was expected instead.
    pub message: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in that line, in characters, from 1.
    pub column: usize,
}

impl ParseError {
    /// At a place not yet turned into line and column.
    pub(crate) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), line: 0, column: 0 }
    }

    /// With line and column within the query.
    pub(crate) fn locate(mut self, text: &str) -> Self {
        (self.line, self.column) = position(text, self.span.start);
        self
    }
}

/// Line and column, both from 1, of a byte of a text.
pub fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: parse error: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for ParseError {}

/// A query that cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The expression cannot be executed over this data: says why in Prometheus' words where it has some.
    #[error("{0}")]
    Failed(String),
    /// The series could not be had.
    #[error("{0}")]
    Source(#[from] SourceError),
}

impl EvalError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }
}
