//! Diagnostics as people and programs read them: text, JSON, SARIF 2.1.0.

use std::fmt::Write as _;

use serde::Serialize;

use crate::check::Report;
use crate::diagnostic::{Diagnostic, Severity};

/// As text, errors and warnings with their line, separated by empty lines; empty when there are none.
///
/// ```text
/// error: weight 101 is more than 100 %
///   --> dev/cd/canary.yaml:6:15
/// 6 |     - weight: 101
///   |               ^^^
/// hint: weights are per cent of users, 0.01 to 100
/// ```
pub fn text(reports: &[Report], coloured: bool) -> String {
    let found = reports
        .iter()
        .flat_map(|report| report.diagnostics.iter().map(|found| (report.name.as_str(), found)));
    let parts: Vec<String> = found.map(|(name, found)| one(name, found, coloured)).collect();
    parts.join("\n")
}

/// One diagnostic as text; ends with a line break.
pub fn one(name: &str, found: &Diagnostic, coloured: bool) -> String {
    let paint = |code: &str, text: &str| {
        if coloured { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    };
    let severity = match found.severity {
        Severity::Error => paint("1;31", "error"),
        Severity::Warning => paint("1;33", "warning"),
    };
    let number = found.line.to_string();
    let gutter = " ".repeat(number.len());
    let indent = " ".repeat((found.column.saturating_sub(1).saturating_sub(found.excerpt_from)) as usize);
    // A cut excerpt may end before what is meant does.
    let room = found.excerpt.chars().count().saturating_sub(indent.len()).max(1);
    let carets = paint("1;31", &"^".repeat((found.width as usize).min(room)));
    let name: String = name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let mut text = format!("{severity}: {}\n", paint("1", &found.message));
    let (arrow, bar) = (paint("34", "-->"), paint("34", "|"));
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{gutter} {arrow} {name}:{}:{}", found.line, found.column);
    let _ = writeln!(text, "{} {bar} {}", paint("34", &number), found.excerpt);
    let _ = writeln!(text, "{gutter} {bar} {indent}{carets}");
    if let Some(hint) = &found.hint {
        let _ = writeln!(text, "{}: {hint}", paint("36", "hint"));
    }
    text
}

#[derive(Serialize)]
struct JsonDiagnostic<'r> {
    file: &'r str,
    severity: &'static str,
    line: u32,
    column: u32,
    message: &'r str,
    hint: Option<&'r str>,
}

/// As a JSON array of `{file, severity, line, column, message, hint}`; ends with a line break.
pub fn json(reports: &[Report]) -> String {
    let lines: Vec<JsonDiagnostic<'_>> = reports
        .iter()
        .flat_map(|report| {
            report.diagnostics.iter().map(|found| JsonDiagnostic {
                file: &report.name,
                severity: found.severity.name(),
                line: found.line,
                column: found.column,
                message: &found.message,
                hint: found.hint.as_deref(),
            })
        })
        .collect();
    written(&lines)
}

/// As a SARIF 2.1.0 log (OASIS Standard, 27 March 2020), columns in characters; ends with a line break.
/// `version` is that of the program.
pub fn sarif(reports: &[Report], version: &str) -> String {
    let results: Vec<serde_json::Value> = reports
        .iter()
        .flat_map(|report| report.diagnostics.iter().map(|found| sarif_result(report, found)))
        .collect();
    written(&serde_json::json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "hmsops check", "version": version, "rules": [
                {"id": "release"}, {"id": "services"}, {"id": "policy"}, {"id": "tower"}, {"id": "unknown"},
            ]}},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    }))
}

fn sarif_result(report: &Report, found: &Diagnostic) -> serde_json::Value {
    let message = match &found.hint {
        Some(hint) => format!("{}; {hint}", found.message),
        None => found.message.clone(),
    };
    serde_json::json!({
        "ruleId": report.kind.name(),
        "level": found.severity.name(),
        "message": {"text": message},
        "locations": [{"physicalLocation": {
            "artifactLocation": {"uri": uri(&report.name)},
            "region": {
                "startLine": found.line,
                "startColumn": found.column,
                "endColumn": found.column + found.width,
            },
        }}],
    })
}

/// A path as a URI reference (RFC 3986): what is not allowed in one is written as `%XX`.
fn uri(path: &str) -> String {
    path.bytes().fold(String::new(), |mut uri, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
        uri
    })
}

fn written(value: &impl Serialize) -> String {
    let mut text =
        serde_json::to_string_pretty(value).expect("texts and numbers can always be written as JSON");
    text.push('\n');
    text
}
