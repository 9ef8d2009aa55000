//! What people and programs write as text.

use hmsops_config::{
    Checked, check, parse_duration, parse_groups, parse_heal, parse_image, parse_rule_test, parse_targets,
};
use hmsops_wire::exposition::{Format, judge, parse};
use hmsops_wire::gateway::{FromGateway, Reader, ToGateway};

use super::{Target, texts, whole, words};

/// Samples of one page.
const SAMPLES_MAX: usize = 100_000;

pub(super) const EXPOSITION: Target = Target {
    name: "exposition",
    about: "wire",
    files: &["metrics", "txt", "prom"],
    split: whole,
    seeds: || {
        texts(&[
            "# HELP a b\n# TYPE a counter\na_total{x=\"y\\\"\",\"z.z\"=\"\"} 1e3 123\n",
            "# TYPE h histogram\n# UNIT h seconds\nh_bucket{le=\"+Inf\"} 3 # {trace_id=\"x\"} 1 2.5\nh_count 3\nh_sum 1\n# EOF\n",
            "{\"a.b\",c=\"d\"} NaN\n# TYPE i info\ni_info{a=\"b\"} 1\n# EOF\n",
        ])
    },
    words: &[
        b"# TYPE ",
        b"# HELP ",
        b"# UNIT ",
        b"# EOF\n",
        b"_total",
        b"_created",
        b"{le=\"",
        b" # {",
        b"\n",
        b"gaugehistogram",
        b"stateset",
        b"summary",
        b"quantile=\"",
    ],
    world: || {
        Box::new(|input| {
            let text = words(parse(input, Format::Text, SAMPLES_MAX));
            let open = words(parse(input, Format::OpenMetrics, SAMPLES_MAX));
            format!("{text}; {open}; {}", words(judge(input, SAMPLES_MAX)))
        })
    },
};

pub(super) const CONFIG: Target = Target {
    name: "config",
    about: "config",
    files: &["yaml", "yml"],
    split: whole,
    seeds: || {
        texts(&[
            "groups:\n- name: a\n  interval: 1m\n  rules:\n  - alert: A\n    expr: up == 0\n    annotations: {summary: \"{{ $value }}\"}\n",
            "rule_files: [a.yaml]\ntests:\n- interval: 1m\n  input_series: [{series: up, values: 0x5}]\n  alert_rule_test: [{eval_time: 1m, alertname: A}]\n",
            "- targets: [\"10.0.0.4:9100\"]\n  labels: {a: b}\n",
            "scrape_configs:\n- job_name: a\n  static_configs: [{targets: [a:1]}]\n  relabel_configs: [{source_labels: [x], regex: (.*), target_label: y}]\n",
        ])
    },
    words: &[
        b"services:",
        b"groups:",
        b"scrape_configs:",
        b"gateways:",
        b"expect:",
        b"tests:",
        b"&a ",
        b"*a",
        b"<<: ",
        b"!!binary ",
        b"|\n ",
        b">-\n ",
        b"---\n",
        b"...\n",
        b"? ",
        b"\t",
        b"  ",
        b"\n  - ",
        b"{",
        b"[",
        b"env:",
        b"file:",
        b"%YAML 1.2\n",
        b"1m",
        b"relabel_configs:",
    ],
    world: || {
        Box::new(|input| {
            let text = String::from_utf8_lossy(input);
            let report = check("x.yaml", &text);
            let others = [
                said(&parse_groups(&text, "x.yaml")),
                said(&parse_rule_test(&text)),
                said(&parse_targets(&text)),
                words(parse_heal(&text).map_err(|error| error.message)),
                words(parse_image(&text).map_err(|error| error.message)),
                words(parse_duration(&text).map_err(|error| error.message)),
            ];
            let first = report.diagnostics.first().map_or("fine", |found| &found.message);
            format!("{} {first}; {}", report.kind.name(), others.join("; "))
        })
    },
};

fn said<T>(checked: &Checked<T>) -> String {
    checked.diagnostics.first().map_or_else(|| "fine".to_owned(), |found| found.message.clone())
}

pub(super) const API: Target = Target {
    name: "api",
    about: "wire",
    files: &[],
    split: whole,
    seeds: || {
        texts(&[
            r#"{"name":"a","expr":"up == 0","for":"1m","labels":{"a":"b"},"annotations":{"runbook_url":"x"},"on_fire":"restart a"}"#,
            r#"{"rule":"a","for":"1h","reason":"x","keep_heal":true}"#,
            r#"{"action":"restart a","reason":"x"}"#,
            r#"{"name":"ci","scopes":["read"],"ttl":"90d"}"#,
            r#"{"filename":"a","panels":[]}"#,
        ])
    },
    words: &[
        b"\"name\":",
        b"\"reason\":\"",
        b"null",
        b"true",
        b"[[[[",
        b"{\"a\":",
        b"1e400",
        b"\"\\ud800\"",
        b"\"for\":",
        b"\"labels\":{",
    ],
    world: || {
        Box::new(|input| {
            use hmsops_wire::api::{NewHeal, NewRule, NewSilence, NewToken};
            let answers = [
                words(serde_json::from_slice::<NewRule>(input)),
                words(serde_json::from_slice::<NewSilence>(input)),
                words(serde_json::from_slice::<NewHeal>(input)),
                words(serde_json::from_slice::<NewToken>(input)),
                words(serde_json::from_slice::<hmsops_model::service::ServiceSpec>(input)),
                words(serde_json::from_slice::<hmsops_model::RuleSpec>(input)),
            ];
            answers.join("; ")
        })
    },
};

pub(super) const GATEWAY: Target = Target {
    name: "gateway",
    about: "wire",
    files: &["jsonl"],
    split: whole,
    seeds: || {
        texts(&[
            "{\"type\":\"hello\",\"protocol\":1}\n{\"type\":\"tick\"}\n",
            "{\"type\":\"retreat\",\"release\":1}\n\n",
        ])
    },
    words: &[
        b"\n",
        b"{\"type\":\"",
        b"\"tick\"",
        b"\"retreat\"",
        b"\"routes\"",
        b"\"epoch\":",
        b"null",
        b"[",
        b"]",
    ],
    world: || {
        Box::new(|input| {
            // In two pieces, as a socket gives them.
            let (first, second) = input.split_at(input.len() / 2);
            let (mut to, mut from) = (Reader::default(), Reader::default());
            let mut said = String::new();
            for piece in [first, second] {
                to.push(piece);
                from.push(piece);
                while let Some(message) = take(to.next_message::<ToGateway>(), &mut said) {
                    drop(message);
                }
                while let Some(message) = take(from.next_message::<FromGateway>(), &mut said) {
                    drop(message);
                }
            }
            said
        })
    },
};

fn take<M, E: std::fmt::Display>(message: Result<Option<M>, E>, said: &mut String) -> Option<M> {
    message.unwrap_or_else(|error| {
        said.push_str(&error.to_string());
        None
    })
}
