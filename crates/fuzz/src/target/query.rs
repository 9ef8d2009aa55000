//! The query language, templates, expressions of matchers, and the notation of tests.

use std::collections::BTreeMap;

use hmsops_model::{Budget, Labels, Value};
use hmsops_promql::script::{Memory, describe, run};
use hmsops_promql::template::{Context, Template};
use hmsops_promql::{Options, Outcome, Pattern, instant, parse, range};

use super::{Target, World, texts, whole};

/// Of one query, small enough that none takes long.
fn budget() -> Budget {
    Budget::new(100_000, 16 << 20)
}

pub(super) const PROMQL: Target = Target {
    name: "promql",
    about: "promql",
    files: &["test"],
    split: queries,
    seeds: || {
        texts(&[
            "sum by (job) (rate(up{job=~\"a|b\"}[5m] offset 1m @ 100)) / on (job) group_left () up",
            "histogram_quantile(0.9, rate(latency[5m]))",
            "max_over_time(up[5m:1m]) > bool 1 or vector(1) and absent(nope) unless {\"a.b\"=\"c\"}",
            "label_replace(up, \"x\", \"$1\", \"job\", \"(.*)\")",
            "topk(2, up) + -up ^ 2 ^ 0.5 % 3 atan2 pi()",
            "rate(photo.upload.ok[1m]) < 0.7",
        ])
    },
    words: &[
        b"sum",
        b" by ",
        b"without",
        b"rate(",
        b"[5m]",
        b"[5m:]",
        b" offset ",
        b" @ ",
        b"start()",
        b"end()",
        b"on(",
        b"ignoring(",
        b"group_left",
        b"bool",
        b" and ",
        b" or ",
        b"unless",
        b"histogram_quantile(",
        b"quantile(",
        b"count_values(\"x\",",
        b"up",
        b"latency",
        b"=~",
        b"!~",
        b"anchored",
        b"smoothed",
        b"fill",
        b"predict_linear(",
        b"holt_winters(",
        b"label_join(",
        b"sort_by_label(",
        b"limitk(",
        b"info(",
        b"step()",
        b"absent_over_time(",
        b"deriv(",
        b"round(",
        b"time()",
    ],
    world: promql,
};

/// What stands behind the moment of an `eval`.
fn queries(file: &[u8], seeds: &mut Vec<Vec<u8>>) {
    for line in String::from_utf8_lossy(file).lines() {
        let Some(rest) = line.trim().strip_prefix("eval") else { continue };
        let words =
            rest.split_whitespace().skip_while(|word| !word.starts_with(|c: char| c.is_ascii_digit()));
        let query = words.skip_while(|word| {
            word.starts_with(|c: char| c.is_ascii_digit()) || matches!(*word, "to" | "step")
        });
        let query: Vec<&str> = query.collect();
        if !query.is_empty() {
            seeds.push(query.join(" ").into_bytes());
        }
    }
}

fn store() -> Memory {
    let mut memory = Memory::default();
    for (job, factor) in [("a", 1.0), ("b", -0.5), ("c", f64::NAN), ("d", f64::INFINITY)] {
        for n in 0..60 {
            let up = Labels::new([("__name__", "up"), ("job", job)]);
            let _taken = memory.push(&up, (n * 10_000, 0, Value::Float(n as f64 * factor)));
            for le in ["0.1", "1", "+Inf"] {
                let latency = Labels::new([("__name__", "latency"), ("job", job), ("le", le)]);
                let _taken = memory.push(&latency, (n * 10_000, 0, Value::Float(n as f64)));
            }
        }
    }
    memory
}

fn promql() -> World {
    let memory = store();
    Box::new(move |input| {
        let text = String::from_utf8_lossy(input);
        let expr = match parse(&text) {
            Ok(expr) => expr,
            Err(error) => return error.to_string(),
        };
        let printed = expr.to_string();
        assert!(
            printed.len() > hmsops_promql::LENGTH_MAX
                || parse(&printed).is_ok_and(|again| again.to_string() == printed),
            "what is printed is not read the same again: {printed}"
        );
        let mut said = match instant(&memory, &expr, 300_000, Options::default(), &budget()) {
            Ok(answer) => match answer.outcome {
                Outcome::Vector(points) => format!("vector {}", points.len().min(4)),
                Outcome::Scalar(_) => "scalar".into(),
                _ => "other".into(),
            },
            Err(error) => error.to_string(),
        };
        let steps = (-60_000, 700_000, 60_000);
        match range(&memory, &expr, steps, Options::default(), &budget()) {
            Ok(_) => said.push_str(", ranged"),
            Err(error) => said.push_str(&error.to_string()),
        }
        said
    })
}

pub(super) const TEMPLATE: Target = Target {
    name: "template",
    about: "promql",
    files: &[],
    split: whole,
    seeds: || {
        texts(&[
            "{{ $labels.job }} is at {{ $value | humanizePercentage }}",
            "{{ range $i, $x := query \"up\" }}{{ $i }}{{ .Value | printf \"%08.3f|%q|%x\" }}{{ else }}none{{ end }}",
            "{{ with query \"up\" }}{{ . | first | value | humanize1024 }}{{ end }}",
            "{{ if and (gt $value 1.0) (not false) }}{{- len \"abc\" -}}{{ else if eq 1 2 }}b{{ end }}",
            "{{ define \"x\" }}{{ . }}{{ end }}{{ template \"x\" slice \"abc\" 1 2 }}{{/* c */}}",
            "{{ reReplaceAll \"(a+)+\" \"$1\" \"aaaa\" }}{{ humanizeDuration 1e9 }}{{ humanizeTimestamp 1 }}",
        ])
    },
    words: &[
        b"{{",
        b"}}",
        b"{{-",
        b"-}}",
        b"end",
        b"range",
        b"with",
        b"if",
        b"else",
        b"define",
        b"template",
        b"break",
        b"continue",
        b"$",
        b":=",
        b"=",
        b"|",
        b"printf ",
        b"\"%v\"",
        b"\"%*d\"",
        b"\"%[3]d\"",
        b"\"%999999999d\"",
        b"index ",
        b"slice ",
        b"args ",
        b".Value",
        b"humanize ",
        b"humanizeDuration ",
        b"toTime ",
        b"parseDuration ",
        b"sortByLabel \"job\"",
        b"query \"up\"",
        b"first",
        b"match ",
    ],
    world: template,
};

fn template() -> World {
    let memory = store();
    let labels = Labels::new([("job", "a"), ("instance", "x:1")]);
    Box::new(move |input| {
        let text = String::from_utf8_lossy(input);
        let template = match Template::parse(&text) {
            Ok(template) => template,
            Err(error) => return error.to_string(),
        };
        let external_labels = BTreeMap::from([("dc".to_owned(), "east".to_owned())]);
        let shared = budget();
        let lookup = |query: &str| {
            let expr = parse(query).map_err(|error| error.to_string())?;
            match instant(&memory, &expr, 300_000, Options::default(), &shared)
                .map_err(|error| error.to_string())?
                .outcome
            {
                Outcome::Vector(points) => Ok(points),
                _ => Err("no vector".to_owned()),
            }
        };
        let context = hmsops_promql::template::Context {
            labels: &labels,
            value: &Value::Float(0.25),
            external_labels: &external_labels,
            external_url: "https://ops.example.org/x",
            at: 300_000,
            lookup: &lookup,
        };
        expanded(&template, &context)
    })
}

fn expanded(template: &Template, context: &Context<'_>) -> String {
    match template.expand(context) {
        Ok(text) => {
            assert!(
                text.len() <= hmsops_promql::template::EXPANDED_BYTES_MAX,
                "it gives {} bytes",
                text.len()
            );
            "expanded".into()
        }
        Err(error) => error.to_string(),
    }
}

pub(super) const PATTERN: Target = Target {
    name: "pattern",
    about: "promql",
    files: &[],
    split: whole,
    seeds: || {
        texts(&[
            "a.*|b+?",
            "(a|aa)+$",
            "[[:alpha:]]\\pL\\d{2,30}",
            "(?i:x)(?P<n>y)",
            "((a{1,100}){1,100})",
            "^$",
        ])
    },
    words: &[
        b"(?",
        b"{1000}",
        b"{1,1000}",
        b"\\p{Greek}",
        b"[^",
        b"(?s)",
        b"\\Q",
        b"\\E",
        b"\\C",
        b"\\z",
        b".*",
        b"|",
        b"(?P<x>",
        b"[[:word:]]",
    ],
    world: || {
        Box::new(|input| {
            let text = String::from_utf8_lossy(input);
            let (pattern, rest) = text.split_once('\n').unwrap_or((&text, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"));
            match Pattern::new(pattern) {
                Ok(pattern) => {
                    let expanded = pattern.expand(rest, "$1-${x}-$$").is_some();
                    assert_eq!(expanded, pattern.is_match(rest), "two ways to match differ");
                    format!("compiled, {}", if expanded { "matches" } else { "does not match" })
                }
                Err(error) => error.to_string(),
            }
        })
    },
};

pub(super) const SCRIPT: Target = Target {
    name: "script",
    about: "promql",
    files: &[],
    split: whole,
    seeds: || {
        texts(&[
            "up{job=\"a\"} 1 _ _x3 5x3 0+10x5 50-10x5 stale NaN -Inf",
            "h {{schema:0 sum:5 count:4 z_bucket:1 z_bucket_w:0.1 buckets:[1 2 1] offset:-1 n_buckets:[1] custom_values:[1 2]}}x3",
            "load 10s\n  up 0+1x10\n\neval instant at 1m rate(up[1m])\n  {} 0.1\n",
        ])
    },
    words: &[
        b"x1000",
        b"{{",
        b"}}",
        b"schema:-53",
        b"schema:8",
        b"buckets:[",
        b"counter_reset_hint:gauge",
        b"offset:",
        b"load 1m\n",
        b"eval instant at 1m ",
    ],
    world: || {
        Box::new(|input| {
            let text = String::from_utf8_lossy(input);
            let line = match describe(text.lines().next().unwrap_or_default()) {
                Ok(described) => format!("{} values", described.items.len().min(8)),
                Err(error) => error,
            };
            if input.len() > 4096 { line } else { format!("{line}, {} cases", run(&text).len()) }
        })
    },
};
