//! Rule files as Prometheus reads them → groups that can be evaluated: recording rules too, several alerts of one name,
//! and whatever else promtool lets pass. What the tower itself takes is narrower: [`parse_rules`](crate::parse_rules).

use std::collections::BTreeMap;

use hmsops_promql::rules::{Group, Rule, RuleKind};
use hmsops_promql::template::Template;

use crate::diagnostic::{Checked, Findings, Span, shown};
use crate::fields::Fields;
use crate::rule::parse_expr;
use crate::rule_file::{GROUP, RULE, RULES, nodes, texts};
use crate::scalar;
use crate::yaml::{self, Entry, Node, Value};

/// Rules of one file.
const RULES_MAX: usize = 5000;

/// Reads a rule file as Prometheus does. `file` is only shown.
pub fn parse_groups(text: &str, file: &str) -> Checked<Vec<Group>> {
    read(text, file, true)
}

/// Reads the recording rules of a file; groups without one are left out. `file` is only shown.
pub fn parse_recordings(text: &str, file: &str) -> Checked<Vec<Group>> {
    read(text, file, false)
}

fn read(text: &str, file: &str, with_alerts: bool) -> Checked<Vec<Group>> {
    let mut out = Findings::new(text);
    let root = yaml::parse_filled(text, false, "write `groups:` and each group of rules below it", &mut out);
    let groups = root.and_then(|mut root| {
        prune(&mut root);
        let fields = Fields::open(&root, root.at, &RULES, &mut out)?;
        let mut names: BTreeMap<String, Span> = BTreeMap::new();
        let mut groups = Vec::new();
        let mut count = 0;
        for node in nodes(fields.get("groups")?, "groups: [{name: photo, rules: […]}]", &mut out)? {
            let Some(group) = group(node, file, with_alerts, &mut names, &mut out) else { continue };
            if !with_alerts && group.rules.is_empty() {
                continue;
            }
            count += group.rules.len();
            if count > RULES_MAX {
                out.error(node.at, format!("this file holds more than {RULES_MAX} rules"), "split it");
                return None;
            }
            groups.push(group);
        }
        Some(groups)
    });
    out.finish(groups)
}

/// Takes out keys without a value: Prometheus reads them as if they were not there.
pub(crate) fn prune(node: &mut Node) {
    match &mut node.value {
        Value::Map(map) => {
            map.entries.retain(|entry| !entry.value.is_null());
            map.entries.iter_mut().for_each(|entry| prune(&mut entry.value));
        }
        Value::List(nodes) => nodes.iter_mut().for_each(prune),
        Value::Scalar { .. } | Value::Refused => {}
    }
}

/// A span as Prometheus writes it, in milliseconds.
pub(crate) fn prometheus_span(entry: &Entry, out: &mut Findings) -> Option<i64> {
    let written =
        scalar::text(&entry.value, &format!("`{}`", entry.key), &format!("{}: 5m", entry.key), out)?;
    let span = hmsops_promql::duration::parse(written);
    if span.is_none() {
        let message = format!("`{}` is not a span of time", shown(written));
        out.error(entry.value.at, message, "write it as Prometheus does: `30s`, `5m`, `1h30m`");
    }
    span
}

fn group(
    node: &Node,
    file: &str,
    with_alerts: bool,
    names: &mut BTreeMap<String, Span>,
    out: &mut Findings,
) -> Option<Group> {
    let fields = Fields::open(node, node.at, &GROUP, out)?;
    let entry = fields.get("name")?;
    let name = scalar::text(&entry.value, "a group's name", "name: photo", out)?;
    if let Some(first) = names.insert(name.to_owned(), entry.value.at) {
        let message = format!("the group `{}` is given twice", shown(name));
        out.error(entry.value.at, message, format!("the first stands in line {}", first.line));
    }
    let interval = fields.get("interval").and_then(|entry| prometheus_span(entry, out));
    let query_offset = fields.get("query_offset").and_then(|entry| prometheus_span(entry, out));
    let limit = fields.get("limit").and_then(|entry| limit(entry, out)).unwrap_or(0) as usize;
    let labels = fields.get("labels").and_then(|entry| labels(entry, true, out)).unwrap_or_default();
    let listed =
        fields.get("rules").and_then(|entry| nodes(entry, "rules: [{alert: A, expr: up == 0}]", out));
    let is_read = |node: &&Node| with_alerts || !is_alert(node);
    let listed = listed.unwrap_or_default().iter().filter(is_read);
    let rules = listed.filter_map(|node| rule(node, &labels, out)).collect();
    let interval = interval.filter(|interval| *interval > 0);
    Some(Group { name: name.to_owned(), file: file.to_owned(), interval, limit, query_offset, rules })
}

/// Series or alerts that a rule may give; 0 means as many as it likes.
pub(crate) fn limit(entry: &Entry, out: &mut Findings) -> Option<u32> {
    let written = scalar::text(&entry.value, "`limit`", "limit: 0", out)?;
    let limit = written.parse::<u32>().ok();
    if limit.is_none() {
        let message = format!("`{}` is not a number of alerts or series", shown(written));
        out.error(entry.value.at, message, "write a whole number; 0 means no limit");
    }
    limit
}

fn is_alert(node: &Node) -> bool {
    matches!(&node.value, Value::Map(map) if map.entries.iter().any(|entry| entry.key == "alert"))
}

fn rule(node: &Node, group_labels: &BTreeMap<String, String>, out: &mut Findings) -> Option<Rule> {
    let fields = Fields::open(node, node.at, &RULE, out)?;
    let (named, is_alert) = match (fields.get("alert"), fields.get("record")) {
        (Some(alert), None) => (alert, true),
        (None, Some(record)) => (record, false),
        (Some(_), Some(record)) => {
            out.error(record.at, "a rule alerts or records, not both", "write two rules");
            return None;
        }
        (None, None) => {
            if !fields.disturbed {
                out.error(
                    node.at,
                    "a rule has no name",
                    "add `alert: photo_error_spike` or `record: job:up:sum`",
                );
            }
            return None;
        }
    };
    if !is_alert {
        return recording(named, &fields, group_labels, out);
    }
    let mut span = |name: &str| fields.get(name).and_then(|entry| prometheus_span(entry, out)).unwrap_or(0);
    let (hold, keep_firing_for) = (span("for"), span("keep_firing_for"));
    let annotations = fields.get("annotations").and_then(|entry| annotations(entry, out)).unwrap_or_default();
    let kind = RuleKind::Alerting { hold, keep_firing_for, annotations };
    evaluated(named, &fields, group_labels, kind, out)
}

/// What all rules have.
fn evaluated(
    named: &Entry,
    fields: &Fields<'_>,
    group_labels: &BTreeMap<String, String>,
    kind: RuleKind,
    out: &mut Findings,
) -> Option<Rule> {
    let is_alert = kind != RuleKind::Recording;
    let what = if is_alert { "an alert's name" } else { "a recorded series" };
    let name = scalar::text(&named.value, what, "record: job:up:sum", out)?.to_owned();
    let own = fields.get("labels").and_then(|entry| labels(entry, is_alert, out)).unwrap_or_default();
    let labels = group_labels.iter().map(|(name, text)| (name.clone(), text.clone())).chain(own).collect();
    let entry = fields.get("expr")?;
    let text = scalar::text(&entry.value, "`expr`", "expr: up == 0", out)?.to_owned();
    let expr = parse_expr(&text).map_err(|error| {
        out.error(entry.value.part(error.offset, error.width, out), error.message, error.hint);
    });
    Some(Rule { name, expr: expr.ok()?, text, labels, kind })
}

/// A recording rule, which has a name, an expression and labels, and nothing else.
pub(crate) fn recording(
    named: &Entry,
    fields: &Fields<'_>,
    group_labels: &BTreeMap<String, String>,
    out: &mut Findings,
) -> Option<Rule> {
    for key in ["for", "keep_firing_for", "annotations"] {
        if let Some(entry) = fields.get(key) {
            out.error(entry.at, format!("a recording rule has no `{key}`"), "take it out");
        }
    }
    let rule = evaluated(named, fields, group_labels, RuleKind::Recording, out)?;
    if rule.name.contains(['{', '}']) {
        let message = format!("`{}` is not the name of a series", shown(&rule.name));
        out.error(named.value.at, message, "write the name alone, `job:up:sum`; labels go below `labels:`");
    }
    Some(rule)
}

/// The labels of a rule; those of alerts are templates.
fn labels(entry: &Entry, is_alert: bool, out: &mut Findings) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for (name, text, node) in texts(entry, "labels: {team: dmv}", out)? {
        if name.is_empty() || name == "__name__" {
            let message = format!("`{}` is not a label that a rule can set", shown(name));
            out.error(node.at, message, "choose another name");
        }
        if is_alert {
            template(text, node, out);
        }
        labels.insert(name.to_owned(), text.to_owned());
    }
    Some(labels)
}

fn annotations(entry: &Entry, out: &mut Findings) -> Option<BTreeMap<String, String>> {
    let mut annotations = BTreeMap::new();
    for (name, text, node) in texts(entry, "annotations: {summary: \"photo uploads fail\"}", out)? {
        template(text, node, out);
        annotations.insert(name.to_owned(), text.to_owned());
    }
    Some(annotations)
}

/// Says what is wrong with a template.
pub(crate) fn template(text: &str, node: &Node, out: &mut Findings) {
    if let Err(error) = Template::parse(text) {
        let hint = "see `docs/howto/test-your-rules.md` for what templates can do";
        out.error(node.at, format!("the template does not parse: {error}"), hint);
    }
}
