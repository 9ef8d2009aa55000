//! What kind of file a text is, told by its content, and everything there is to say about it.

use crate::diagnostic::{Checked, Diagnostic, Findings, Severity, Span, shown};
use crate::fields::Shape;
use crate::nearest::nearest;
use crate::yaml::{self, Value};
use crate::{baseline, haproxy, policy, release, rule_file, rule_test, scrape, service, settings};

/// The files we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A release, `canary.yaml`.
    Release,
    /// A team's services, `services.yaml`.
    Services,
    /// A rollback policy, `rollback.yaml`.
    Policy,
    /// The tower's settings, `hmsops.yaml`.
    Tower,
    /// Alert rules, `ops/alerts/*.yaml`.
    Rules,
    /// Whose metrics are fetched, `ops/scrape/*.yaml`.
    Scrape,
    /// What a service's latency is expected to be, `ops/baselines/*.yaml`.
    Baseline,
    /// Unit tests of rules, in promtool's format.
    RuleTests,
    /// None of them.
    Unknown,
}

impl Kind {
    /// `release`, `services`, `policy`, `tower`, `rules`, `scrape`, `baseline`, `rule-tests` or `unknown`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Services => "services",
            Self::Policy => "policy",
            Self::Tower => "tower",
            Self::Rules => "rules",
            Self::Scrape => "scrape",
            Self::Baseline => "baseline",
            Self::RuleTests => "rule-tests",
            Self::Unknown => "unknown",
        }
    }
}

/// What there is to say about one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The file's name as it is shown.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// What is wrong, in the order of the text; warnings only when there is no error.
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// Whether anything is an error: the file is not used, and `hmsops check` exits with 2.
    pub fn failed(&self) -> bool {
        self.diagnostics.iter().any(|found| found.severity == Severity::Error)
    }
}

/// Kinds with their top-level keys and the name of the file that usually holds them. Of equals the first wins.
static KINDS: [(Kind, &Shape, &str); 8] = [
    (Kind::Services, &service::SERVICES, "services.yaml"),
    (Kind::Release, &release::RELEASE, "canary.yaml"),
    // Both have `notify`, which alone makes settings but no policy.
    (Kind::Tower, &settings::TOWER, "hmsops.yaml"),
    (Kind::Policy, &policy::POLICY, "rollback.yaml"),
    (Kind::Rules, &rule_file::RULES, "alerts.yaml"),
    (Kind::Scrape, &scrape::SCRAPE, "scrape.yaml"),
    (Kind::Baseline, &baseline::BASELINE, "baseline.yaml"),
    (Kind::RuleTests, &rule_test::TEST, "alerts_test.yaml"),
];

/// Tells a text's kind by its top-level keys; misspelt keys and text that is no valid YAML count too.
pub fn kind_of(text: &str) -> Kind {
    let keys = top_keys(text);
    let mut best = (0, Kind::Unknown);
    for (kind, shape, _) in &KINDS {
        let score: usize = keys
            .iter()
            .map(|key| {
                let exact = shape.names().any(|name| name == key);
                if exact { 3 } else { usize::from(nearest(key, shape.names()).is_some()) }
            })
            .sum();
        if score > best.0 {
            best = (score, *kind);
        }
    }
    best.1
}

/// Reads a file of any kind and says what is wrong with it. `name` is only shown, and helps when the content
/// tells nothing.
pub fn check(name: &str, text: &str) -> Report {
    let mut kind = kind_of(text);
    if kind == Kind::Unknown {
        let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
        kind = KINDS.iter().find(|(_, _, usual)| *usual == file).map_or(Kind::Unknown, |(kind, _, _)| *kind);
    }
    let diagnostics = match kind {
        Kind::Release => release::parse_release(text).diagnostics,
        Kind::Services => service::parse_services(text).diagnostics,
        Kind::Policy => policy::parse_policy(text).diagnostics,
        Kind::Tower => settings::parse_tower(text).diagnostics,
        Kind::Rules => rule_file::parse_rules(text).diagnostics,
        Kind::Scrape => scrape::parse_scrape(text).diagnostics,
        Kind::Baseline => baseline::parse_baseline(text).diagnostics,
        Kind::RuleTests => rule_test::parse_rule_test(text).diagnostics,
        Kind::Unknown => unknown(text).diagnostics,
    };
    Report { name: name.to_owned(), kind, diagnostics }
}

/// Reads files that belong together, names and texts, and says what is wrong with each, beside the others, too: what a
/// gateway of `hmsops.yaml` that drives HAProxy can't do for a service or a release.
pub fn check_together(files: &[(&str, &str)]) -> Vec<Report> {
    let mut reports: Vec<Report> = files.iter().map(|(name, text)| check(name, text)).collect();
    let texts: Vec<&str> = files.iter().map(|(_, text)| *text).collect();
    haproxy::check(&texts, &mut reports);
    reports
}

fn unknown(text: &str) -> Checked<()> {
    let mut out = Findings::new(text);
    let parsed = yaml::parse(text, false, &mut out);
    if !parsed.broken {
        let at = parsed.root.as_ref().map_or(Span::START, |root| root.at);
        let message = match top_keys(text).first() {
            Some(key) => format!("no file that is read here starts with `{}`", shown(key)),
            None => "this file holds nothing that tells what it is".to_owned(),
        };
        let hint = "a release has `service` and `image`; services stand below `services`; a policy has `detect` \
                    and `action`; alert rules stand below `groups`, scrape jobs below `scrape_configs`; a baseline has `expect`; \
                    tests of rules stand below `tests`; the tower's settings have `gateways`";
        out.error(at, message, hint);
    }
    out.finish(None)
}

/// Top-level keys, from lines that start in the first column; else, for text in one pair of braces, from the tree.
fn top_keys(text: &str) -> Vec<String> {
    let from_lines: Vec<String> = text.split(['\n', '\r']).filter_map(key_of_line).take(64).collect();
    if !from_lines.is_empty() {
        return from_lines;
    }
    match yaml::parse(text, true, &mut Findings::new(text)).root.map(|root| root.value) {
        Some(Value::Map(map)) => map.entries.into_iter().take(64).map(|entry| entry.key).collect(),
        _ => Vec::new(),
    }
}

fn key_of_line(line: &str) -> Option<String> {
    let line = line.strip_prefix('\u{feff}').unwrap_or(line);
    let (key, rest) = line.split_once(':')?;
    let key = key.trim_end().trim_matches(['"', '\'']);
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let separate = rest.is_empty() || rest.starts_with([' ', '\t']);
    (separate && !key.is_empty() && key.len() <= 64 && key.chars().all(word)).then(|| key.to_owned())
}
