use hmsops_promql::rules::{FailureKind, RuleKind};

use crate::{parse_groups, parse_rule_test};

const RULES: &str = r#"
groups:
  - name: photo
    interval: 30s
    query_offset: 10s
    limit: 5
    labels: {team: dmv, severity: info}
    rules:
      - record: job:up:sum
        expr: sum by (job) (up)
      - alert: Down
        expr: job:up:sum == 0
        for: 2m
        keep_firing_for: 0s
        labels: {severity: page}
        annotations:
          summary: "{{ $labels.job }} is down"
      # Two alerts of one name, as Prometheus allows.
      - alert: Down
        expr: absent(up)
        annotations:
"#;

const TEST: &str = r#"
rule_files: ["*.yaml"]
evaluation_interval: 1m
group_eval_order: [photo]
tests:
  - name: uploads stop
    input_series:
      - {series: 'up{job="photo"}', values: "1 0x5"}
    alert_rule_test:
      - eval_time: 2m
        alertname: Down
        exp_alerts:
      - eval_time: 3m
        alertname: Down
        exp_alerts:
          - exp_labels: {job: photo, severity: page, team: dmv}
            exp_annotations: {summary: photo is down}
    promql_expr_test:
      - expr: job:up:sum
        eval_time: 30s
        exp_samples: [{labels: 'job:up:sum{job="photo", team="dmv", severity="info"}', value: 1}]
  - promql_expr_test:
      - {expr: "vector(.5)", exp_samples: [{value: 5e-1}]}
      - {expr: "vector(1) / 0", exp_samples: [{labels: "{}", value: +.inf}]}
"#;

#[test]
fn a_test_of_rules_runs_as_it_is_written() {
    let groups = parse_groups(RULES, "photo.yaml");
    assert_eq!(groups.diagnostics, []);
    let groups = groups.value.unwrap();
    let [group] = &groups[..] else { panic!() };
    assert_eq!((group.interval, group.query_offset, group.limit), (Some(30_000), Some(10_000), 5));
    assert_eq!(group.rules[0].labels["severity"], "info");
    assert!(matches!(group.rules[1].kind, RuleKind::Alerting { hold: 120_000, .. }));
    let test = parse_rule_test(TEST);
    assert_eq!(test.diagnostics, []);
    let mut test = test.value.unwrap();
    assert_eq!((test.name_of(0), test.name_of(1)), ("uploads stop".to_owned(), "unnamed#1".to_owned()));
    // The group looks ten seconds back, where the first sample is not yet.
    let failures = test.run(0, &groups);
    assert!(matches!(&failures[..], [failure, ..] if matches!(failure.kind, FailureKind::Alerts { .. })));
    let mut groups = groups;
    groups[0].query_offset = None;
    assert_eq!(test.run(0, &groups), []);
    assert_eq!(test.run(1, &groups), []);
    test.trials[0].exprs[0].expected[0].value = 2.0;
    assert!(
        matches!(&test.run(0, &groups)[..], [failure] if matches!(failure.kind, FailureKind::Expr { .. }))
    );
}

#[test]
fn tests_are_picked_by_name() {
    let test = parse_rule_test(TEST).value.unwrap();
    assert_eq!(test.pick(&[]).unwrap(), [0, 1]);
    assert_eq!(test.pick(&["^up".into(), "x".into()]).unwrap(), [0]);
    assert!(test.pick(&["(".into()]).is_err());
}

#[test]
fn what_promtool_refuses_is_refused_with_its_place() {
    let rule = |rule: &str| format!("groups:\n- name: g\n  rules:\n  - {rule}\n");
    for (text, line, message) in [
        (rule("{record: a, expr: up, for: 1m}"), 4, "a recording rule has no `for`"),
        (rule("{record: \"a{b='c'}\", expr: up}"), 4, "`a{b='c'}` is not the name of a series"),
        (rule("{alert: A, record: b, expr: up}"), 4, "a rule alerts or records, not both"),
        (rule("{alert: A, expr: \"up[\"}"), 4, "the expression does not parse"),
        (rule("{alert: A, expr: up, for: 5 min}"), 4, "`5 min` is not a span of time"),
        (
            rule("{alert: A, expr: up, labels: {__name__: x}}"),
            4,
            "`__name__` is not a label that a rule can set",
        ),
        (
            rule("{alert: A, expr: up, annotations: {a: \"{{ nope }}\"}}"),
            4,
            "the template does not parse: line 1: function \"nope\" not defined",
        ),
        (
            "groups:\n- {name: g, rules: []}\n- {name: g, rules: []}\n".into(),
            3,
            "the group `g` is given twice",
        ),
    ] {
        let found = parse_groups(&text, "f").diagnostics;
        assert!(
            found.iter().any(|one| one.line == line && one.message.starts_with(message)),
            "{text}: {found:?}"
        );
    }
    for (text, message) in [
        ("tests: [{alert_rule_test: [{eval_time: 5 min, alertname: A}]}]", "`5 min` is not a span of time"),
        ("tests: [{promql_expr_test: [{expr: up, exp_samples: [{value: NaN}]}]}]", "`NaN` is not a number"),
        ("tests: [{alert_rule_test: [{eval_time: 5m}]}]", "`alertname` is missing"),
        ("group_eval_order: [a, a]", "the group `a` is named twice"),
        ("testz: []", "unknown key `testz`"),
        ("tests: [{start_timestamp: yesterday}]", "`yesterday` is not a moment"),
    ] {
        let found = parse_rule_test(text).diagnostics;
        assert!(found.iter().any(|one| one.message.starts_with(message)), "{text}: {found:?}");
    }
}

#[test]
fn a_test_can_begin_at_a_moment() {
    for start in ["2026-01-01T00:00:00Z", "1767225600"] {
        let text = format!(
            "tests: [{{start_timestamp: {start}, promql_expr_test: [{{expr: time(), eval_time: 1m, exp_samples: [{{value: 1767225660}}]}}]}}]"
        );
        let test = parse_rule_test(&text).value.unwrap();
        assert_eq!(test.run(0, &[]), [], "{start}");
    }
}

#[test]
fn the_tests_that_promtool_judges_too_pass() {
    let files = [
        (
            include_str!("../testdata/ruletests/photo.yaml"),
            include_str!("../testdata/ruletests/photo_test.yaml"),
        ),
        (
            include_str!("../testdata/ruletests/down.yaml"),
            include_str!("../testdata/ruletests/down_test.yaml"),
        ),
    ];
    for (rules, test) in files {
        let groups = parse_groups(rules, "rules").value.unwrap();
        let test = parse_rule_test(test).value.unwrap();
        assert_eq!(test.run(0, &groups), []);
    }
}
