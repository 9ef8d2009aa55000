//! Whole files in, diagnostics out.

mod broken;
mod files;
mod haproxy;
mod mutation;
mod notify;
mod pages;
mod probe;
mod rule;
mod rule_file;
mod rule_test;
mod scrape;
mod yaml;

use crate::{Report, Severity, check, render};

pub(crate) const CANARY: &str = include_str!("../testdata/canary.yaml");
pub(crate) const ROLLBACK: &str = include_str!("../testdata/rollback.yaml");
pub(crate) const SERVICES: &str = include_str!("../testdata/services.yaml");
pub(crate) const ALERTS: &str = include_str!("../testdata/alerts.yaml");
pub(crate) const SCRAPE: &str = include_str!("../testdata/scrape.yaml");
pub(crate) const HMSOPS: &str = include_str!("../testdata/hmsops.yaml");

/// The places and messages of all errors, or of all warnings.
fn said(report: &Report, severity: Severity) -> Vec<String> {
    let found = report.diagnostics.iter().filter(|found| found.severity == severity);
    found.map(|found| format!("{}:{} {}", found.line, found.column, found.message)).collect()
}

fn errors(name: &str, text: &str) -> Vec<String> {
    said(&check(name, text), Severity::Error)
}

fn warnings(name: &str, text: &str) -> Vec<String> {
    said(&check(name, text), Severity::Warning)
}

/// Each text has one error, this one; and a hint.
fn each_has_one_error(name: &str, cases: impl IntoIterator<Item = (String, &'static str)>) {
    let wrong: Vec<String> = cases
        .into_iter()
        .filter(|(text, expected)| {
            errors(name, text) != [*expected] || !rendered(name, text).contains("\nhint: ")
        })
        .map(|(text, expected)| {
            format!("{text}\n    expected {expected}\n    got {:#?}", errors(name, &text))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A text with one line replaced (`Some`) or taken out (`None`). Lines count from 1.
fn edited(text: &str, line: usize, new: Option<&str>) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    match new {
        Some(new) => lines[line - 1] = new,
        None => drop(lines.remove(line - 1)),
    }
    lines.join("\n") + "\n"
}

fn rendered(name: &str, text: &str) -> String {
    render::text(&[check(name, text)], false)
}
