//! `hmsops alert test`: unit tests of rules, in promtool's format. Needs no tower.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use hmsops_config::{
    Checked, RuleAlert, RuleElement, RuleFailure, RuleFailureKind, RuleGroup, RuleTest, parse_groups,
    parse_rule_test, render,
};
use serde::Serialize;

use super::source;
use crate::failure::{Exit, Failure};
use crate::{glob, paint, print};

/// Run unit tests of rules, in promtool's format; needs no tower. A test that fails exits with 1, a wrong file with 2
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  hmsops alert test ops/alerts/tests/*.yaml\n  hmsops alert test --run photo --diff photo_test.yaml\n  hmsops alert test --junit report.xml photo_test.yaml"
)]
pub(super) struct Args {
    /// Files of tests; the rule files they name are looked for beside them
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only tests whose name this finds; can be given more than once
    #[arg(long, value_name = "REGEX")]
    run: Vec<String>,
    /// Of a failed test show only what differs: - expected, + found
    #[arg(long)]
    diff: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
    /// Also write the outcome as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// What became of one file.
#[derive(Serialize)]
struct FileOutcome {
    file: String,
    passed: bool,
    /// Why its tests could not be run.
    errors: Vec<String>,
    tests: Vec<TestOutcome>,
}

/// What became of one test.
#[derive(Serialize)]
struct TestOutcome {
    name: String,
    passed: bool,
    failures: Vec<Found>,
}

/// Why a test failed.
#[derive(Serialize)]
struct Found {
    /// Milliseconds after the test's start; `null`: it could not begin.
    at_ms: Option<i64>,
    /// `setup`, `rule`, `alerts`, `expr` or `query`.
    kind: &'static str,
    /// The alert, the rule or the expression.
    of: String,
    /// Why, when there is nothing to compare.
    why: Option<String>,
    expected: Vec<Shown>,
    #[serde(rename = "found")]
    instead: Vec<Shown>,
}

/// An alert or an element of an answer, for programs and for people.
#[derive(Clone, PartialEq)]
struct Shown {
    json: serde_json::Value,
    line: String,
}

impl Serialize for Shown {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut outcomes = Vec::new();
    for path in &args.files {
        let outcome = one(path, &args.run)?;
        if !args.json {
            print::data(&shown(&outcome, args.diff, paint::data()))?;
        }
        outcomes.push(outcome);
    }
    if args.json {
        print::json(&outcomes)?;
    }
    if let Some(path) = &args.junit {
        let written = write(path, &junit(&outcomes));
        written.map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot write `{}`: {error}", path.display()))
        })?;
    }
    if outcomes.iter().any(|outcome| !outcome.errors.is_empty()) {
        return Err(Failure::Silent(Exit::Usage));
    }
    if outcomes.iter().all(|outcome| outcome.passed) { Ok(()) } else { Err(Failure::Silent(Exit::Failed)) }
}

/// Writes what somebody asked for, where they want it; it can be made again.
#[expect(clippy::disallowed_methods, reason = "a report for others, no file of the tower's")]
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::write(path, text)
}

/// Runs the tests of one file.
fn one(path: &Path, patterns: &[String]) -> Result<FileOutcome, Failure> {
    let file = source::read(path)?;
    let mut errors = Vec::new();
    let test = checked(parse_rule_test(&file.text), &file.name, &mut errors);
    let mut tests = Vec::new();
    if let Some(test) = test {
        let groups = groups(&test, path, &mut errors);
        let picked = test.pick(patterns).map_err(|error| Failure::usage(error.message).hint(error.hint))?;
        if errors.is_empty() {
            tests = picked.into_iter().map(|at| outcome(&test, at, &groups)).collect();
        }
    }
    let passed = errors.is_empty() && tests.iter().all(|test| test.passed);
    Ok(FileOutcome { file: file.name, passed, errors, tests })
}

fn outcome(test: &RuleTest, at: usize, groups: &[RuleGroup]) -> TestOutcome {
    let failures: Vec<Found> = test.run(at, groups).into_iter().map(found).collect();
    TestOutcome { name: test.name_of(at), passed: failures.is_empty(), failures }
}

/// What a file says; its mistakes are kept.
fn checked<T>(checked: Checked<T>, name: &str, errors: &mut Vec<String>) -> Option<T> {
    for found in &checked.diagnostics {
        let text = render::one(name, found, false);
        if checked.value.is_none() { errors.push(text) } else { print::talk(&text) }
    }
    checked.value
}

/// The groups of all rule files that a test names.
fn groups(test: &RuleTest, path: &Path, errors: &mut Vec<String>) -> Vec<RuleGroup> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut groups = Vec::new();
    for pattern in &test.rule_files {
        let found = match glob::find(folder, pattern) {
            Ok(found) => found,
            Err(error) => {
                errors.push(format!("cannot look for `{}`: {error}", print::plain(pattern)));
                continue;
            }
        };
        if found.is_empty() {
            print::talk(&format!("warning: no file matches `{}`", print::plain(pattern)));
        }
        for path in found {
            match source::read(&path) {
                Ok(file) => {
                    let read = checked(parse_groups(&file.text, &file.name), &file.name, errors);
                    groups.extend(read.unwrap_or_default());
                }
                Err(failure) => errors.push(failure.text().to_owned()),
            }
        }
    }
    groups
}

fn found(failure: RuleFailure) -> Found {
    let plain =
        |kind, of, why| Found { at_ms: failure.at, kind, of, why, expected: Vec::new(), instead: Vec::new() };
    match failure.kind {
        RuleFailureKind::Setup(why) => plain("setup", String::new(), Some(why)),
        RuleFailureKind::Rule { rule, why } => plain("rule", rule, Some(why)),
        RuleFailureKind::Query { expr, why } => plain("query", expr, Some(why)),
        RuleFailureKind::Alerts { name, expected, found } => {
            let shown = |alerts: Vec<RuleAlert>| alerts.iter().map(alert).collect();
            Found { expected: shown(expected), instead: shown(found), ..plain("alerts", name, None) }
        }
        RuleFailureKind::Expr { expr, expected, found } => {
            let shown = |elements: Vec<RuleElement>| elements.iter().map(element).collect();
            Found { expected: shown(expected), instead: shown(found), ..plain("expr", expr, None) }
        }
    }
}

fn alert(alert: &RuleAlert) -> Shown {
    let json = serde_json::json!({"labels": alert.labels, "annotations": alert.annotations});
    Shown { json, line: alert.to_string() }
}

fn element(element: &RuleElement) -> Shown {
    let json = serde_json::json!({"labels": element.labels, "value": element.value});
    Shown { json, line: element.to_string() }
}

/// A file's outcome for people.
fn shown(outcome: &FileOutcome, is_diff: bool, coloured: bool) -> String {
    let mut text = String::new();
    let name = print::plain(&outcome.file);
    let failed = outcome.tests.iter().filter(|test| !test.passed).count();
    let count = outcome.tests.len();
    let tests = if count == 1 { "1 test".to_owned() } else { format!("{count} tests") };
    let _ = match (outcome.passed, outcome.errors.is_empty()) {
        (true, _) => writeln!(text, "{} {name}  {tests} passed", paint::text("32", "●", coloured)),
        (false, true) => {
            writeln!(text, "{} {name}  {failed} of {tests} failed", paint::text("31", "■", coloured))
        }
        (false, false) => writeln!(text, "{} {name}  could not be run", paint::text("31", "■", coloured)),
    };
    for error in &outcome.errors {
        let _ = writeln!(text, "{}", error.trim_end());
    }
    for test in outcome.tests.iter().filter(|test| !test.passed) {
        let _ = writeln!(text, "  {}", print::plain(&test.name));
        for failure in &test.failures {
            let _ = writeln!(text, "    {}", print::plain(&headline(failure)));
            if failure.why.is_none() {
                comparison(failure, is_diff, coloured, &mut text);
            }
        }
    }
    text
}

fn headline(failure: &Found) -> String {
    let at = failure.at_ms.map_or_else(String::new, |at| format!("at {}: ", seconds(at)));
    match (failure.kind, &failure.why) {
        ("setup", Some(why)) => why.clone(),
        ("rule", Some(why)) => format!("{at}the rule `{}` fails: {why}", failure.of),
        (_, Some(why)) => format!("{at}`{}` fails: {why}", failure.of),
        ("alerts", None) => format!("{at}other alerts `{}` fire than expected", failure.of),
        (_, None) => format!("{at}`{}` has another answer than expected", failure.of),
    }
}

fn seconds(millis: i64) -> String {
    u64::try_from(millis)
        .map_or_else(|_| format!("{millis}ms"), |millis| hmsops_model::Millis(millis).to_string())
}

fn comparison(failure: &Found, is_diff: bool, coloured: bool, text: &mut String) {
    let mut line = |code: &str, sign: &str, line: &str| {
        let shown = format!("{sign} {}", print::plain(line));
        let _ = writeln!(text, "      {}", paint::text(code, &shown, coloured));
    };
    if is_diff {
        let (mut missing, mut strange) = (failure.expected.clone(), Vec::new());
        for found in &failure.instead {
            match missing.iter().position(|expected| expected == found) {
                Some(at) => drop(missing.remove(at)),
                None => strange.push(found),
            }
        }
        for expected in &missing {
            line("31", "-", &expected.line);
        }
        for found in &strange {
            line("32", "+", &found.line);
        }
        return;
    }
    for (what, lines) in [("expected", &failure.expected), ("found", &failure.instead)] {
        let _ = writeln!(text, "      {what}:{}", if lines.is_empty() { " nothing" } else { "" });
        for line in lines {
            let _ = writeln!(text, "        {}", print::plain(&line.line));
        }
    }
}

/// The outcome as CI servers read it: a suite a file, a case a test.
fn junit(outcomes: &[FileOutcome]) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for outcome in outcomes {
        let failed = outcome.tests.iter().filter(|test| !test.passed).count();
        let (name, count, errors) = (escaped(&outcome.file), outcome.tests.len(), outcome.errors.len());
        let _ = writeln!(
            text,
            "  <testsuite name=\"{name}\" tests=\"{count}\" failures=\"{failed}\" errors=\"{errors}\">"
        );
        for test in &outcome.tests {
            let _ = write!(text, "    <testcase name=\"{}\">", escaped(&test.name));
            for failure in &test.failures {
                let mut body = String::new();
                if let Some(why) = &failure.why {
                    body.clone_from(why);
                } else {
                    comparison(failure, false, false, &mut body);
                }
                let (headline, body) = (escaped(&headline(failure)), escaped(&body));
                let _ = write!(text, "<failure message=\"{headline}\">{body}</failure>");
            }
            text.push_str("</testcase>\n");
        }
        for error in &outcome.errors {
            let error = escaped(error);
            let _ = writeln!(text, "    <testcase name=\"{name}\"><error>{error}</error></testcase>");
        }
        text.push_str("  </testsuite>\n");
    }
    text + "</testsuites>\n"
}

/// XML's own characters as entities; what XML 1.0 cannot hold is left out (section 2.2).
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push('\n'),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}
