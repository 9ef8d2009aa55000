//! What is not as it should be with an installation: seen by the tower that runs, or from its folder when none does.
//! Nothing is changed by looking.

mod folder;
mod settings;
mod tower;

use std::path::Path;

use hmsops_wire::api::{Examination, Finding, Severity};

use crate::clock::Clock;

pub(crate) use tower::tower;

/// Findings of one look, as they are made.
#[derive(Debug, Default)]
struct Findings {
    checked: Vec<String>,
    found: Vec<Finding>,
}

impl Findings {
    /// Something else is looked at from now on.
    fn look(&mut self, check: &str) {
        self.checked.push(check.to_owned());
    }

    fn problem(&mut self, what: impl Into<String>, why: &str, remedy: impl Into<String>) {
        self.add(Severity::Problem, what.into(), why, remedy.into());
    }

    fn warning(&mut self, what: impl Into<String>, why: &str, remedy: impl Into<String>) {
        self.add(Severity::Warning, what.into(), why, remedy.into());
    }

    fn add(&mut self, severity: Severity, what: String, why: &str, remedy: String) {
        let check = self.checked.last().cloned().unwrap_or_default();
        self.found.push(Finding { severity, check, what, why: why.to_owned(), remedy });
    }

    /// The gravest first, else as they were found.
    fn end(mut self, by: &str) -> Examination {
        self.found.sort_by_key(|finding| finding.severity);
        Examination { by: by.to_owned(), checked: self.checked, findings: self.found }
    }
}

/// Looks at a data folder on which no tower runs, or one that does not answer, and at its settings where they are named.
/// Reads every entry of the ledger.
pub fn folder(data: &Path, file: Option<&Path>) -> Examination {
    let (mut findings, now) = (Findings::default(), Clock::after(None).now().wall);
    folder::look(data, now, &mut findings);
    if let Some(file) = file {
        settings::look(file, now, false, &mut findings);
    }
    findings.end("folder")
}
