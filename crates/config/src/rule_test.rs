//! Unit tests of rules in promtool's format → trials that can be run.

use std::collections::{BTreeMap, BTreeSet};

use hmsops_promql::rules::{
    AlertCase, ExpectedAlert, ExpectedSample, ExprCase, Failure, Group, InputSeries, Trial, TrialSetting,
    run_trial,
};
use jiff::Timestamp;
use regex::RegexBuilder;

use crate::diagnostic::{Checked, Findings, TextError, shown};
use crate::fields::{Fields, Key, Shape};
use crate::rule_file::{nodes, texts};
use crate::rule_group::{prometheus_span, prune};
use crate::scalar;
use crate::yaml::{self, Entry, Node};

pub(crate) static TEST: Shape = Shape {
    what: "a rule test",
    keys: &[
        Key::optional("rule_files", "rule_files: [alerts.yaml]"),
        Key::optional("evaluation_interval", "evaluation_interval: 1m"),
        Key::optional("group_eval_order", "group_eval_order: [first, second]"),
        Key::optional("fuzzy_compare", "fuzzy_compare: true"),
        Key::optional("tests", "tests: [{input_series: […]}]"),
    ],
};

static TRIAL: Shape = Shape {
    what: "a test",
    keys: &[
        Key::optional("name", "name: photo uploads fail"),
        Key::optional("interval", "interval: 1m"),
        Key::optional("input_series", "input_series: [{series: up, values: 1x5}]"),
        Key::optional("alert_rule_test", "alert_rule_test: [{eval_time: 5m, alertname: Down}]"),
        Key::optional("promql_expr_test", "promql_expr_test: [{eval_time: 5m, expr: up}]"),
        Key::optional("external_labels", "external_labels: {dc: east}"),
        Key::optional("external_url", "external_url: https://ops.example.org"),
        Key::optional("start_timestamp", "start_timestamp: 2026-01-01T00:00:00Z"),
    ],
};

static SERIES: Shape = Shape {
    what: "a series",
    keys: &[
        Key::needed("series", "series: up{job=\"photo\"}", "values belong to a series"),
        Key::needed("values", "values: 1 1 0x5", "a series has values"),
    ],
};

static ALERTS: Shape = Shape {
    what: "a test of alerts",
    keys: &[
        Key::optional("eval_time", "eval_time: 5m"),
        Key::needed("alertname", "alertname: Down", "it says which alert is looked at"),
        Key::optional("exp_alerts", "exp_alerts: [{exp_labels: {severity: page}}]"),
    ],
};

static ALERT: Shape = Shape {
    what: "an expected alert",
    keys: &[
        Key::optional("exp_labels", "exp_labels: {severity: page}"),
        Key::optional("exp_annotations", "exp_annotations: {summary: it is down}"),
    ],
};

static EXPRS: Shape = Shape {
    what: "a test of an expression",
    keys: &[
        Key::needed("expr", "expr: sum(up)", "it says what is asked"),
        Key::optional("eval_time", "eval_time: 5m"),
        Key::optional("exp_samples", "exp_samples: [{labels: up, value: 1}]"),
    ],
};

static SAMPLE: Shape = Shape {
    what: "an expected sample",
    keys: &[
        Key::optional("labels", "labels: up{job=\"photo\"}"),
        Key::optional("value", "value: 1"),
        Key::optional("histogram", "histogram: \"{{schema:0 sum:1 count:1 buckets:[1]}}\""),
    ],
};

/// Tests of one file.
const TRIALS_MAX: usize = 10_000;

/// The largest compiled form of an expression that picks tests, in bytes.
const PATTERN_SIZE_MAX: usize = 4 << 20;

/// Between two evaluations when a file does not say it, in milliseconds.
const INTERVAL_DEFAULT: i64 = 60_000;

/// A file of unit tests for rules.
#[derive(Debug, Clone)]
pub struct RuleTest {
    /// Names and patterns of rule files, relative to the test's own.
    pub rule_files: Vec<String>,
    /// What holds for all its tests.
    pub setting: TrialSetting,
    /// In the order of the file.
    pub trials: Vec<Trial>,
}

impl RuleTest {
    /// The name of a test, for people.
    pub fn name_of(&self, at: usize) -> String {
        let name = self.trials.get(at).map(|trial| trial.name.clone()).unwrap_or_default();
        if name.is_empty() { format!("unnamed#{at}") } else { name }
    }

    /// The tests whose names one of some expressions finds, as `promtool --run` picks them; all when there is none.
    pub fn pick(&self, patterns: &[String]) -> Result<Vec<usize>, TextError> {
        let all = 0..self.trials.len();
        if patterns.is_empty() {
            return Ok(all.collect());
        }
        let joined = patterns.join("|");
        let built = RegexBuilder::new(&joined).size_limit(PATTERN_SIZE_MAX).nest_limit(200).build();
        let pattern = built.map_err(|_| TextError {
            message: format!("`{}` is not a regular expression", shown(&joined)),
            hint: "write the beginning of the test's name, with `\\` before `(`, `[`, `*` and the like"
                .into(),
            offset: 0,
            width: joined.chars().count().max(1),
        })?;
        Ok(all.filter(|at| pattern.is_match(&self.trials[*at].name)).collect())
    }

    /// Runs one of its tests over the rules of its files; what failed.
    pub fn run(&self, at: usize, groups: &[Group]) -> Vec<Failure> {
        self.trials.get(at).map_or_else(Vec::new, |trial| run_trial(trial, groups, &self.setting))
    }
}

/// Reads a file of rule tests.
pub fn parse_rule_test(text: &str) -> Checked<RuleTest> {
    let mut out = Findings::new(text);
    let root = yaml::parse_filled(text, false, "write `rule_files:` and `tests:`", &mut out);
    let test = root.and_then(|mut root| {
        prune(&mut root);
        read(&root, &mut out)
    });
    out.finish(test)
}

fn read(root: &Node, out: &mut Findings) -> Option<RuleTest> {
    let fields = Fields::open(root, root.at, &TEST, out)?;
    let rule_files = names(fields.get("rule_files"), "alerts.yaml", out);
    let group_order = names(fields.get("group_eval_order"), "first", out);
    let mut seen = BTreeSet::new();
    if let Some(again) = group_order.iter().find(|name| !seen.insert(*name)) {
        let at = fields.get("group_eval_order").map_or(root.at, |entry| entry.at);
        out.error(at, format!("the group `{}` is named twice", shown(again)), "keep one");
    }
    let every = fields.get("evaluation_interval").and_then(|entry| prometheus_span(entry, out));
    let every = every.filter(|every| *every > 0).unwrap_or(INTERVAL_DEFAULT);
    let is_fuzzy = fields.get("fuzzy_compare").and_then(|entry| scalar::flag(entry, out)).unwrap_or(false);
    let trials = listed(fields.get("tests"), "tests: [{input_series: […]}]", out, |node, out| {
        trial(node, every, out)
    });
    if trials.len() > TRIALS_MAX {
        out.error(root.at, format!("this file holds more than {TRIALS_MAX} tests"), "split it");
    }
    let setting = TrialSetting { evaluation_interval: every, group_order, is_fuzzy };
    Some(RuleTest { rule_files, setting, trials })
}

fn listed<T>(
    entry: Option<&Entry>,
    example: &str,
    out: &mut Findings,
    mut read: impl FnMut(&Node, &mut Findings) -> Option<T>,
) -> Vec<T> {
    let listed = entry.and_then(|entry| nodes(entry, example, out)).unwrap_or_default();
    // All are read before any is missed: what was refused has left an error behind.
    listed.iter().filter_map(|node| read(node, out)).collect()
}

fn names(entry: Option<&Entry>, example: &str, out: &mut Findings) -> Vec<String> {
    let whole = format!("[{example}]");
    listed(entry, &whole, out, |node, out| scalar::text(node, "a name", example, out).map(str::to_owned))
}

fn text(fields: &Fields<'_>, name: &str, out: &mut Findings) -> Option<String> {
    let entry = fields.get(name)?;
    match &entry.value.value {
        yaml::Value::Scalar { text, .. } => Some(text.clone()),
        _ => scalar::text(&entry.value, &format!("`{name}`"), name, out).map(str::to_owned),
    }
}

fn map(fields: &Fields<'_>, name: &str, out: &mut Findings) -> BTreeMap<String, String> {
    let entry = fields.get(name);
    let pairs = entry.and_then(|entry| texts(entry, &format!("{name}: {{severity: page}}"), out));
    pairs.unwrap_or_default().into_iter().map(|(name, text, _)| (name.to_owned(), text.to_owned())).collect()
}

fn span(fields: &Fields<'_>, name: &str, out: &mut Findings) -> i64 {
    fields.get(name).and_then(|entry| prometheus_span(entry, out)).unwrap_or(0)
}

fn trial(node: &Node, every: i64, out: &mut Findings) -> Option<Trial> {
    let fields = Fields::open(node, node.at, &TRIAL, out)?;
    let interval = Some(span(&fields, "interval", out)).filter(|interval| *interval > 0).unwrap_or(every);
    let series = listed(fields.get("input_series"), "input_series: [{series: up, values: 1x5}]", out, series);
    let alerts =
        listed(fields.get("alert_rule_test"), "alert_rule_test: [{alertname: Down}]", out, alert_case);
    let exprs = listed(fields.get("promql_expr_test"), "promql_expr_test: [{expr: up}]", out, expr_case);
    Some(Trial {
        name: text(&fields, "name", out).unwrap_or_default(),
        interval,
        series,
        alerts,
        exprs,
        external_labels: map(&fields, "external_labels", out),
        external_url: text(&fields, "external_url", out).unwrap_or_default(),
        start: fields.get("start_timestamp").and_then(|entry| start(entry, out)).unwrap_or(0),
    })
}

/// A moment: RFC 3339, or seconds since 1970.
fn start(entry: &Entry, out: &mut Findings) -> Option<i64> {
    let written =
        scalar::text(&entry.value, "`start_timestamp`", "start_timestamp: 2026-01-01T00:00:00Z", out)?;
    let seconds = written.parse::<f64>().ok().filter(|seconds| seconds.abs() < 1e12);
    let millis = seconds.map(|seconds| (seconds * 1000.0).round() as i64);
    let millis = millis.or_else(|| written.parse::<Timestamp>().ok().map(Timestamp::as_millisecond));
    if millis.is_none() {
        let message = format!("`{}` is not a moment", shown(written));
        out.error(entry.value.at, message, "write `2026-01-01T00:00:00Z` or seconds since 1970");
    }
    millis
}

fn series(node: &Node, out: &mut Findings) -> Option<InputSeries> {
    let fields = Fields::open(node, node.at, &SERIES, out)?;
    Some(InputSeries { series: text(&fields, "series", out)?, values: text(&fields, "values", out)? })
}

fn alert_case(node: &Node, out: &mut Findings) -> Option<AlertCase> {
    let fields = Fields::open(node, node.at, &ALERTS, out)?;
    let expected =
        listed(fields.get("exp_alerts"), "exp_alerts: [{exp_labels: {severity: page}}]", out, |node, out| {
            let fields = Fields::open(node, node.at, &ALERT, out)?;
            let (labels, annotations) =
                (map(&fields, "exp_labels", out), map(&fields, "exp_annotations", out));
            Some(ExpectedAlert { labels, annotations })
        });
    Some(AlertCase { at: span(&fields, "eval_time", out), name: text(&fields, "alertname", out)?, expected })
}

fn expr_case(node: &Node, out: &mut Findings) -> Option<ExprCase> {
    let fields = Fields::open(node, node.at, &EXPRS, out)?;
    let expected =
        listed(fields.get("exp_samples"), "exp_samples: [{labels: up, value: 1}]", out, |node, out| {
            let fields = Fields::open(node, node.at, &SAMPLE, out)?;
            Some(ExpectedSample {
                labels: text(&fields, "labels", out).unwrap_or_default(),
                value: fields.get("value").and_then(|entry| number(entry, out)).unwrap_or(0.0),
                histogram: text(&fields, "histogram", out).filter(|text| !text.is_empty()),
            })
        });
    Some(ExprCase { expr: text(&fields, "expr", out)?, at: span(&fields, "eval_time", out), expected })
}

/// A number as YAML writes it.
fn number(entry: &Entry, out: &mut Findings) -> Option<f64> {
    let written = scalar::text(&entry.value, "`value`", "value: 1", out)?;
    let body = written.trim_start_matches(['+', '-']);
    let number = if body.starts_with('.') && body.len() == 4 && !body.contains(|c: char| c.is_ascii_digit()) {
        // `.inf` and `.nan`; the words alone are texts.
        hmsops_promql::number::parse(&written.replacen('.', "", 1))
    } else if body.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        hmsops_promql::number::parse(written)
    } else {
        None
    };
    if number.is_none() {
        let message = format!("`{}` is not a number", shown(written));
        out.error(entry.value.at, message, "write it as YAML does: `1.5`, `1e3`, `.inf`, `.nan`");
    }
    number
}
