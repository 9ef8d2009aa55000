use std::collections::BTreeMap;

use super::*;
use crate::parse;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn recording(name: &str, expr: &str, labels: &[(&str, &str)]) -> Rule {
    let (name, labels) = (name.to_owned(), map(labels));
    Rule { name, expr: parse(expr).unwrap(), text: expr.into(), labels, kind: RuleKind::Recording }
}

fn alerting(name: &str, expr: &str, (hold, keep_firing_for): (i64, i64), summary: &str) -> Rule {
    let annotations = map(&[("summary", summary)]);
    let kind = RuleKind::Alerting { hold, keep_firing_for, annotations };
    Rule { kind, ..recording(name, expr, &[("severity", "page")]) }
}

fn group(limit: usize, rules: Vec<Rule>) -> Group {
    Group { name: "g".into(), file: "f".into(), interval: None, limit, query_offset: None, rules }
}

fn setting() -> TrialSetting {
    TrialSetting { evaluation_interval: 60_000, group_order: Vec::new(), is_fuzzy: false }
}

fn trial(series: &[(&str, &str)]) -> Trial {
    let series = series
        .iter()
        .map(|(series, values)| InputSeries { series: (*series).into(), values: (*values).into() });
    Trial { interval: 60_000, series: series.collect(), ..Trial::default() }
}

fn fires(at: i64, name: &str, job: &str, summary: &str) -> AlertCase {
    let labels = map(&[("job", job), ("severity", "page")]);
    let expected = vec![ExpectedAlert { labels, annotations: map(&[("summary", summary)]) }];
    AlertCase { at: at * 60_000, name: name.into(), expected }
}

fn silent(at: i64, name: &str) -> AlertCase {
    AlertCase { at: at * 60_000, name: name.into(), expected: Vec::new() }
}

fn answers(at: i64, expr: &str, expected: &[(&str, f64)]) -> ExprCase {
    let expected = expected.iter().map(|(labels, value)| ExpectedSample {
        labels: (*labels).into(),
        value: *value,
        histogram: None,
    });
    ExprCase { at: at * 60_000, expr: expr.into(), expected: expected.collect() }
}

#[test]
fn an_alert_waits_fires_is_kept_and_ends() {
    let groups = [group(
        0,
        vec![alerting("Down", "up == 0", (120_000, 180_000), "{{ $labels.job }} is {{ $value }}")],
    )];
    let mut trial = trial(&[("up{job=\"a\"}", "1 0 0 0 0 1x9")]);
    trial.alerts = vec![
        silent(2, "Down"),
        fires(3, "Down", "a", "a is 0"),
        // No longer so from minute 5 on, kept for three minutes.
        fires(7, "Down", "a", "a is 0"),
        silent(8, "Down"),
    ];
    trial.exprs = vec![
        answers(
            2,
            "ALERTS",
            &[("ALERTS{alertname=\"Down\",alertstate=\"pending\",job=\"a\",severity=\"page\"}", 1.0)],
        ),
        answers(
            3,
            "ALERTS",
            &[("ALERTS{alertname=\"Down\",alertstate=\"firing\",job=\"a\",severity=\"page\"}", 1.0)],
        ),
        answers(
            3,
            "ALERTS_FOR_STATE",
            &[("ALERTS_FOR_STATE{alertname=\"Down\",job=\"a\",severity=\"page\"}", 60.0)],
        ),
        answers(8, "ALERTS", &[]),
    ];
    assert_eq!(run_trial(&trial, &groups, &setting()), []);
    trial.alerts = vec![silent(3, "Down")];
    let failures = run_trial(&trial, &groups, &setting());
    assert!(
        matches!(&failures[..], [Failure { at: Some(180_000), kind: FailureKind::Alerts { expected, found, .. } }]
        if expected.is_empty() && found.len() == 1),
        "{failures:?}"
    );
}

#[test]
fn recorded_series_are_seen_by_later_rules_and_end_with_a_marker() {
    let rules = vec![
        recording("job:up:sum", "sum by (job) (up) > 0", &[("by", "rule")]),
        recording("job:up:twice", "job:up:sum * 2", &[]),
    ];
    let mut trial = trial(&[("up{job=\"a\"}", "1 1 1 0 0 1")]);
    trial.exprs = vec![
        answers(0, "job:up:twice", &[("job:up:twice{job=\"a\",by=\"rule\"}", 2.0)]),
        answers(3, "{__name__=~\"job:.*\"}", &[]),
        answers(5, "job:up:sum", &[("job:up:sum{job=\"a\",by=\"rule\"}", 1.0)]),
    ];
    assert_eq!(run_trial(&trial, &[group(0, rules)], &setting()), []);
}

#[test]
fn limits_and_clashes_are_errors_of_the_rule() {
    let series = [("up{job=\"a\",i=\"1\"}", "0x3"), ("up{job=\"a\",i=\"2\"}", "0x3")];
    let why = |limit, rule| {
        let mut trial = trial(&series);
        trial.alerts = vec![silent(0, "x")];
        let failures = run_trial(&trial, &[group(limit, vec![rule])], &setting());
        let Some(Failure { kind: FailureKind::Rule { why, .. }, .. }) = failures.first() else {
            panic!("{failures:?}")
        };
        why.clone()
    };
    assert_eq!(why(1, alerting("Down", "up == 0", (0, 0), "")), "exceeded limit of 1 with 2 alerts");
    assert_eq!(why(1, recording("x", "up", &[])), "exceeded limit of 1 with 2 series");
    let clash = "vector contains metrics with the same labelset after applying";
    assert_eq!(why(0, recording("x", "up", &[("i", "")])), format!("{clash} rule labels"));
    let mut same = alerting("Down", "up == 0", (0, 0), "");
    same.labels = map(&[("i", "x")]);
    assert_eq!(why(0, same), format!("{clash} alert labels"));
}
