//! Rule files and their unit tests, drawn from a seed: series, rules, questions.
//!
//! Promtool 2.42 is the judge, so that what later versions read otherwise is left out: windows and lookbacks never begin
//! exactly on a sample (since 3.0 such a sample is outside), each test names its interval, and groups have no `labels`.
//! So is what has no one answer: groups without an order, `topk` among equals.
//! Nor is the function `externalURL` drawn: promtool 2.42 fails inside it; `$externalURL` and `.ExternalURL` are.

use std::fmt::Write as _;

use crate::dice::Dice;
use crate::json::quoted;

/// Alerts or elements that a question should be answered with, each as YAML.
pub(super) type Expected = Vec<String>;

/// A question of a test.
#[derive(Debug, Clone)]
pub(super) struct Question {
    /// An alert's name, or an expression.
    pub(super) of: String,
    pub(super) is_alert: bool,
    /// Seconds after the test's start.
    pub(super) at: u64,
    pub(super) expected: Expected,
}

/// A rule file and its test.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) rules: String,
    /// Seconds.
    pub(super) interval: u64,
    pub(super) head: String,
    pub(super) series: Vec<(String, String)>,
    pub(super) questions: Vec<Question>,
}

const JOBS: [&str; 3] = ["photo", "portal", "ledger"];

/// Recording rules; `rate` and the like are rounded, for sums may be taken in another order.
const RECORDED: [&str; 24] = [
    "sum by (job) (round(rate(requests_total[150s]), 0.001))",
    "sum without (instance) (up)",
    "round(histogram_quantile(0.9, sum by (job, le) (rate(latency_bucket[150s]))), 0.001)",
    "max_over_time(temperature[190s])",
    "min by (job) (temperature)",
    "count by (job) (up == 1)",
    "topk by (job, instance) (1, temperature)",
    "quantile(0.5, temperature)",
    "clamp(temperature, 5, 20)",
    "label_replace(up, \"host\", \"$1\", \"instance\", \"(.*):80\")",
    "absent(up{job=\"none\"})",
    "changes(up[190s])",
    "resets(requests_total[190s])",
    "round(increase(requests_total[150s]), 0.01)",
    "time() / 10",
    "temperature offset 80s",
    "count_over_time(temperature[190s])",
    "up unless up == 0",
    "temperature > bool 10",
    "temperature and on (job, instance) up == 1",
    "group by (job) (temperature)",
    "count_values by (job) (\"value\", up)",
    "temperature - on (job, instance) group_left up",
    "last_over_time(up[190s]) or vector(7)",
];

/// Conditions of alerts.
const CONDITIONS: [&str; 14] = [
    "up == 0",
    "absent(up{job=\"photo\"})",
    "absent_over_time(temperature{job=\"ledger\"}[190s])",
    "temperature > 12",
    "temperature < 8 or up == 0",
    "sum by (job) (up) < 2",
    "round(rate(requests_total[150s]), 0.001) > 0.5",
    "changes(up[190s]) > 1",
    "vector(1)",
    "recorded > 1",
    "recorded{job=\"photo\"} == 1",
    "ALERTS{alertstate=\"firing\", alertname=\"A0\"}",
    "round(histogram_quantile(0.5, rate(latency_bucket[150s])), 0.01) > 0.1",
    "scalar(count(up)) > bool 3",
];

/// Templates of labels and annotations.
const TEMPLATES: [&str; 22] = [
    "plain",
    "{{ $labels.job }} on {{ $labels.instance }}",
    "value {{ $value }}",
    "{{ $value | humanize }} {{ $value | humanize1024 }}",
    "{{ $value | humanizePercentage }} of {{ $value | humanizeDuration }}",
    "{{ printf \"%.2f|%5.1f|%-6s|%q|%e\" $value $value $labels.job $labels.job $value }}",
    "{{ if gt $value 10.0 }}high{{ else if eq $value 0.0 }}zero{{ else }}low{{ end }}",
    "{{ with query \"up == 0\" }}{{ len . }} down{{ else }}all up{{ end }}",
    "{{ range query \"sort_desc(sum by (job) (up))\" | sortByLabel \"job\" }}{{ .Labels.job }}={{ .Value }};{{ end }}",
    "{{ range $k, $v := $labels }}{{ $k }}:{{ $v }} {{- end }}",
    "{{ $labels.none }}",
    "{{ .Labels.job | toUpper }} {{ title \"some words\" }}",
    "{{ $labels.instance | reReplaceAll \":.*\" \"\" }}",
    "{{ if match \"^p\" $labels.job }}p{{ end }}-{{/* nothing */}}-",
    "{{ $externalLabels.dc }} {{ $externalURL }} {{ .ExternalURL }}",
    "{{ $x := 1 }}{{ if $labels.job }}{{ $x = 2 }}{{ end }}{{ $x }} {{ print $x \"a\" true }}",
    "{{ define \"t\" }}<{{ . }}>{{ end }}{{ template \"t\" $labels.job }}",
    "{{ 0 | humanizeTimestamp }} {{ 1.5e9 | humanizeTimestamp }}",
    "{{ and $labels.job \"b\" }} {{ or \"\" \"c\" }} {{ not true }} {{ len $labels.job }} {{ index $labels \"job\" }}",
    "{{ parseDuration \"1h30m\" }} {{ stripPort \"a.b:80\" }}",
    "{{ with query \"max(temperature)\" }}{{ . | first | value | printf \"%.1f\" }}{{ end }}",
    "{{ $labels }}",
];

impl Draft {
    /// Draws one whose questions have no expected answers yet.
    pub(super) fn draw(dice: &mut Dice) -> Self {
        let interval = [40, 45, 70][dice.below(3) as usize];
        let series = series(dice);
        let mut rules = String::from("groups:\n");
        let (mut alerts, mut exprs) = (Vec::new(), vec!["up".to_owned(), "ALERTS".to_owned()]);
        exprs.extend([
            "ALERTS_FOR_STATE".to_owned(),
            "recorded".to_owned(),
            "{__name__=~\"rec.*\"}".to_owned(),
        ]);
        for group in 0..=dice.below(2) {
            let _ = writeln!(rules, "  - name: group{group}\n    rules:");
            if group == 0 || dice.one_in(2) {
                let name = if group == 0 { "recorded".to_owned() } else { format!("rec{group}") };
                recording(dice, &name, &mut rules);
            }
            for _ in 0..=dice.below(2) {
                let name = format!("A{}", alerts.len());
                alerting(dice, &name, interval, &mut rules);
                alerts.push(name);
            }
            if dice.one_in(2) {
                let name = format!("recalerts{group}");
                let expr = "count by (alertname, alertstate) (ALERTS)";
                let _ = writeln!(rules, "      - record: {name}\n        expr: {}", quoted(expr));
            }
        }
        let mut questions = Vec::new();
        for _ in 0..3 + dice.below(4) {
            let at = interval * dice.below(14);
            let is_alert = dice.one_in(2);
            let names = if is_alert { &alerts } else { &exprs };
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            // Between two evaluations alerts are those of the one before.
            let later = if is_alert { dice.below(3) * 7 } else { 0 };
            let of = dice.pick(&names).to_owned();
            questions.push(Question { of, is_alert, at: at + later, expected: Vec::new() });
        }
        let head = "    external_labels: {dc: east}\n    external_url: https://ops.example.org/prom\n";
        Self { rules, interval, head: head.to_owned(), series, questions }
    }

    /// The test file, beside `rules` of this name.
    pub(super) fn test(&self, rules: &str) -> String {
        let seconds = self.interval;
        let mut text = format!("rule_files: [{rules}]\nevaluation_interval: {seconds}s\n");
        // Without an order promtool evaluates groups in one that changes from run to run.
        text.push_str("group_eval_order: [group0, group1]\ntests:\n");
        let _ = writeln!(text, "  - name: drawn\n    interval: {seconds}s");
        text.push_str(&self.head);
        text.push_str("    input_series:\n");
        for (series, values) in &self.series {
            let _ = writeln!(text, "      - series: {}\n        values: {}", quoted(series), quoted(values));
        }
        for is_alert in [true, false] {
            let mut asked = self.questions.iter().filter(|question| question.is_alert == is_alert).peekable();
            if asked.peek().is_some() {
                text.push_str(if is_alert { "    alert_rule_test:\n" } else { "    promql_expr_test:\n" });
            }
            for question in asked {
                let (key, list) =
                    if is_alert { ("alertname", "exp_alerts") } else { ("expr", "exp_samples") };
                let (of, at) = (quoted(&question.of), question.at);
                let _ = writeln!(text, "      - eval_time: {at}s\n        {key}: {of}\n        {list}:");
                for item in &question.expected {
                    let _ = writeln!(text, "          - {item}");
                }
            }
        }
        text
    }
}

fn series(dice: &mut Dice) -> Vec<(String, String)> {
    let mut series = Vec::new();
    for job in JOBS {
        for instance in ["a:80", "b:80"] {
            if dice.one_in(6) {
                continue;
            }
            let labels = format!("{{job=\"{job}\", instance=\"{instance}\"}}");
            let up = values(dice, &["1", "0", "1x3", "0x2", "1x4", "_", "stale", "_x2"]);
            series.push((format!("up{labels}"), up));
            let warm =
                values(dice, &["10+1x5", "20-2.5x4", "7.25", "_x8", "12 13 stale", "15x3", "-3+0.5x6"]);
            series.push((format!("temperature{labels}"), warm));
            let count = values(dice, &["0+10x8", "0+60x12", "5 9 2 7", "100-0x3 3+4x4", "_ 0+1x9"]);
            series.push((format!("requests_total{labels}"), count));
        }
        for (bound, step) in
            [("0.1", dice.below(5)), ("0.5", 5 + dice.below(5)), ("+Inf", 10 + dice.below(3))]
        {
            series.push((format!("latency_bucket{{job=\"{job}\", le=\"{bound}\"}}"), format!("0+{step}x15")));
        }
    }
    series
}

fn values(dice: &mut Dice, parts: &[&str]) -> String {
    let chosen: Vec<&str> = (0..2 + dice.below(3)).map(|_| dice.pick(parts)).collect();
    chosen.join(" ")
}

fn recording(dice: &mut Dice, name: &str, rules: &mut String) {
    let expr = dice.pick(&RECORDED);
    let _ = writeln!(rules, "      - record: {name}\n        expr: {}", quoted(expr));
    match dice.below(9) {
        0..3 => rules.push_str("        labels: {by: rule, instance: \"\"}\n"),
        3..5 => rules.push_str("        labels: {by: rule}\n"),
        _ => {}
    }
}

fn alerting(dice: &mut Dice, name: &str, interval: u64, rules: &mut String) {
    let condition = dice.pick(&CONDITIONS);
    let _ = writeln!(rules, "      - alert: {name}\n        expr: {}", quoted(condition));
    match dice.below(4) {
        0 => {}
        3 => rules.push_str("        for: 50s\n"),
        steps => {
            let _ = writeln!(rules, "        for: {}s", steps * interval);
        }
    }
    if dice.one_in(3) {
        let _ = writeln!(rules, "        keep_firing_for: {}s", (1 + dice.below(3)) * interval);
    }
    if !dice.one_in(3) {
        let label = quoted(dice.pick(&TEMPLATES));
        let _ = writeln!(rules, "        labels: {{severity: page, tier: {label}}}");
    }
    let (summary, detail) = (quoted(dice.pick(&TEMPLATES)), quoted(dice.pick(&TEMPLATES)));
    let _ = writeln!(rules, "        annotations: {{summary: {summary}, description: {detail}}}");
}
