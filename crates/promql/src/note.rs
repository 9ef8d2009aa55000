//! What an answer should be read with: warnings and infos, each about a place in the query.

use crate::ast::Span;
use crate::error::position;

/// How serious a note is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The answer may not be what was meant.
    Warning,
    /// Worth knowing.
    Info,
}

/// One note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// How serious.
    pub severity: Severity,
    /// In Prometheus' words.
    pub text: String,
    /// About which part of the query.
    pub span: Span,
}

impl Note {
    /// As the API shows it: with severity, and line and column in the query.
    pub fn show(&self, query: &str) -> String {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        let (line, column) = position(query, self.span.start);
        format!("PromQL {severity}: {} ({line}:{column})", self.text)
    }
}

/// The notes of one evaluation, each once.
#[derive(Debug, Default)]
pub(crate) struct Notes(Vec<Note>);

impl Notes {
    pub(crate) fn warn(&mut self, span: Span, text: impl Into<String>) {
        self.add(Note { severity: Severity::Warning, text: text.into(), span });
    }

    pub(crate) fn info(&mut self, span: Span, text: impl Into<String>) {
        self.add(Note { severity: Severity::Info, text: text.into(), span });
    }

    fn add(&mut self, note: Note) {
        // A query over many series says the same about each.
        const NOTES_MAX: usize = 1000;
        if self.0.len() < NOTES_MAX && !self.0.contains(&note) {
            self.0.push(note);
        }
    }

    pub(crate) fn into_vec(self) -> Vec<Note> {
        self.0
    }
}
