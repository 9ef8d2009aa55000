//! Why a chore ended badly.

use std::fmt;

/// A failure as a person reads it: what was being tried, and what may help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Lowercase, without a full stop.
    what: String,
    /// A likely remedy.
    hint: Option<String>,
    /// The exit code: 1 failed, 2 usage.
    pub(crate) code: u8,
}

impl Failure {
    /// The chore ran and failed.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None, code: 1 }
    }

    /// The chore was called wrongly.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None, code: 2 }
    }

    /// Adds a likely remedy.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds where it happened or what else to know.
    pub(crate) fn and_note(mut self, note: &str) -> Self {
        self.what = format!("{} ({note})", self.what);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        self.hint.iter().try_for_each(|hint| write!(f, "\nhint: {hint}"))
    }
}

/// Says what was being tried when the system refused.
pub(crate) trait Trying<T> {
    /// `cannot WHAT: the system's reason`.
    fn trying(self, what: impl fmt::Display) -> Result<T, Failure>;
}

impl<T> Trying<T> for std::io::Result<T> {
    fn trying(self, what: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(format!("cannot {what}: {error}")))
    }
}
