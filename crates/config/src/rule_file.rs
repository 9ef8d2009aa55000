//! `ops/alerts/*.yaml`, Prometheus rule files → [`RuleSpec`]s. What we add to a rule stands in annotations, so that
//! promtool accepts the file, or in keys of our own; [`parse_rule`] checks both.

use std::collections::BTreeMap;

use hmsops_model::{Millis, RuleGroup, RuleSpec};

use crate::diagnostic::{Checked, Findings, Span, shown};
use crate::fields::{Fields, Key, Shape};
use crate::rule::{
    HEAL_INTERVAL_DEFAULT, HOLD_MAX, INTERVAL_BOUNDS, INTERVAL_DEFAULT, Mistake, NewRule, label_error,
    parse_rule,
};
use crate::rule_group::{self, limit};
use crate::scalar;
use crate::settings::QUERY_OFFSET_MAX;
use crate::yaml::{self, Entry, Node, Value};

pub(crate) static RULES: Shape = Shape {
    what: "a rule file",
    keys: &[Key::needed(
        "groups",
        "groups: [{name: photo, rules: […]}]",
        "the groups of rules stand below it",
    )],
};

pub(crate) static GROUP: Shape = Shape {
    what: "a group of rules",
    keys: &[
        Key::needed("name", "name: photo", "a group has a name"),
        Key::optional("interval", "interval: 15s"),
        Key::optional("limit", "limit: 0"),
        Key::optional("labels", "labels: {team: dmv}"),
        Key::needed("rules", "rules: [{alert: photo_error_spike, expr: \"…\"}]", "a group holds rules"),
        Key::optional("query_offset", "query_offset: 1m"),
    ],
};

pub(crate) static RULE: Shape = Shape {
    what: "a rule",
    keys: &[
        Key::optional("alert", "alert: photo_error_spike"),
        Key::optional("record", "record: job:uploads:rate5m"),
        Key::needed("expr", "expr: rate(photo.upload.ok[1m]) < 0.7", "a rule says what it watches"),
        Key::optional("for", "for: 60s"),
        Key::optional("keep_firing_for", "keep_firing_for: 5m"),
        Key::optional("labels", "labels: {severity: page}"),
        Key::optional("annotations", "annotations: {summary: \"photo uploads fail\"}"),
        Key::optional("on_fire", "on_fire: rollback dmv-photo --to=prev"),
        Key::optional("on_nodata", "on_nodata: keep"),
        Key::optional("reading", "reading: per-second"),
        Key::optional("notify", "notify: oncall@csac.gov, pager"),
        Key::optional("service", "service: dmv-photo"),
    ],
};

/// Rules of one file.
const RULES_MAX: usize = 5000;

/// Reads the alert rules of a file. What is wrong with its recording rules is said, too; they themselves are read by
/// [`parse_recordings`](crate::parse_recordings).
pub fn parse_rules(text: &str) -> Checked<Vec<RuleSpec>> {
    let mut out = Findings::new(text);
    let root = yaml::parse_filled(text, false, "write `groups:` and each group of rules below it", &mut out);
    let specs = root.and_then(|root| groups(&root, &mut out));
    out.finish(specs)
}

fn groups(root: &Node, out: &mut Findings) -> Option<Vec<RuleSpec>> {
    let fields = Fields::open(root, root.at, &RULES, out)?;
    let entry = fields.get("groups")?;
    let mut specs = Vec::new();
    let mut names = Names::default();
    for node in nodes(entry, "groups: [{name: photo, rules: […]}]", out)? {
        group(node, &mut names, &mut specs, out);
    }
    // What was refused has left an error behind, and with one there is no value.
    Some(specs)
}

/// Names that are taken, and where they stand.
#[derive(Default)]
struct Names<'n> {
    groups: BTreeMap<&'n str, Span>,
    alerts: BTreeMap<String, Span>,
}

/// What a group says of all its rules.
struct Group {
    interval: Option<Millis>,
    labels: BTreeMap<String, String>,
    of: RuleGroup,
}

/// A list that may be empty, as Prometheus has it.
pub(crate) fn nodes<'n>(entry: &'n Entry, example: &str, out: &mut Findings) -> Option<&'n [Node]> {
    match &entry.value.value {
        Value::List(nodes) if nodes.is_empty() => Some(nodes),
        _ => scalar::list(entry, example, out),
    }
}

fn group<'n>(
    node: &'n Node,
    names: &mut Names<'n>,
    specs: &mut Vec<RuleSpec>,
    out: &mut Findings,
) -> Option<()> {
    let fields = Fields::open(node, node.at, &GROUP, out)?;
    let mut of = RuleGroup::default();
    if let Some(entry) = fields.get("name")
        && let Some(name) = scalar::text(&entry.value, "a group's name", "name: photo", out)
    {
        name.clone_into(&mut of.name);
        if let Some(first) = names.groups.insert(name, entry.value.at) {
            let message = format!("the group `{}` is given twice", shown(name));
            out.error(entry.value.at, message, format!("the first stands in line {}", first.line));
        }
    }
    of.limit = fields.get("limit").and_then(|entry| limit(entry, out)).unwrap_or(0);
    let offset = fields.get("query_offset");
    of.query_offset = offset.and_then(|entry| scalar::span(entry, Millis::ZERO, QUERY_OFFSET_MAX, out));
    let (least, most) = INTERVAL_BOUNDS;
    // Prometheus takes 0 for the default.
    let interval = fields.get("interval").filter(|entry| !is_zero(&entry.value));
    let interval = interval.and_then(|entry| scalar::span(entry, least, most, out));
    let labels = fields.get("labels").and_then(|entry| group_labels(entry, out)).unwrap_or_default();
    let group = Group { interval, labels, of };
    for node in nodes(fields.get("rules")?, "rules: [{alert: photo_error_spike, expr: \"…\"}]", out)? {
        let Some(spec) = rule(node, &group, names, out) else { continue };
        if specs.len() == RULES_MAX {
            out.error(node.at, format!("this file holds more than {RULES_MAX} alert rules"), "split it");
            return None;
        }
        specs.push(spec);
    }
    Some(())
}

fn is_zero(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar { text, .. } if matches!(text.as_str(), "0" | "0s"))
}

fn group_labels(entry: &Entry, out: &mut Findings) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for (name, text, node) in texts(entry, "labels: {team: dmv}", out)? {
        match label_error(name, text, true) {
            Some((message, hint)) => out.error(node.at, message, hint),
            None => drop(labels.insert(name.to_owned(), text.to_owned())),
        }
    }
    Some(labels)
}

/// A map from names to texts, which may be empty when they are quoted.
pub(crate) fn texts<'n>(
    entry: &'n Entry,
    example: &str,
    out: &mut Findings,
) -> Option<Vec<(&'n str, &'n str, &'n Node)>> {
    let map = match &entry.value.value {
        Value::Map(map) => map,
        Value::Refused => return None,
        _ => {
            let message = format!("`{}` is {}, a map was expected", entry.key, entry.value.form());
            out.error(entry.value.at, message, format!("write `{example}`"));
            return None;
        }
    };
    let read = map.entries.iter().filter_map(|entry| {
        let text = if let Value::Scalar { text, plain: false } = &entry.value.value {
            text
        } else {
            let what = format!("`{}`", shown(&entry.key));
            scalar::text(&entry.value, &what, &format!("{}: \"…\"", shown(&entry.key)), out)?
        };
        Some((entry.key.as_str(), text, &entry.value))
    });
    Some(read.collect())
}

fn rule(node: &Node, group: &Group, names: &mut Names<'_>, out: &mut Findings) -> Option<RuleSpec> {
    let fields = Fields::open(node, node.at, &RULE, out)?;
    let name = match (fields.get("alert"), fields.get("record")) {
        (Some(alert), None) => alert,
        (None, Some(record)) => {
            // Read here for what is wrong with it alone.
            let _read = rule_group::recording(record, &fields, &group.labels, out);
            return None;
        }
        (Some(_), Some(record)) => {
            out.error(record.at, "a rule alerts or records, not both", "write two rules");
            return None;
        }
        (None, None) => {
            if !fields.disturbed && !given(node, "alert") && !given(node, "record") {
                out.error(node.at, "a rule has no name", "add `alert: photo_error_spike`");
            }
            return None;
        }
    };
    let mut reader = Reader { places: BTreeMap::new(), out };
    let new = reader.rule(name, &fields, group);
    let mut spec = match parse_rule(new) {
        Ok(spec) => spec,
        Err(mistakes) => {
            for mistake in &mistakes {
                reader.say(mistake, node);
            }
            return None;
        }
    };
    spec.interval = match &spec.heal {
        Some(_) => group.interval.map_or(HEAL_INTERVAL_DEFAULT, |span| span.min(HEAL_INTERVAL_DEFAULT)),
        None => group.interval.unwrap_or(INTERVAL_DEFAULT),
    };
    spec.group = group.of.clone();
    if let Some(first) = names.alerts.insert(spec.name.to_string(), name.value.at) {
        let message = format!("the alert `{}` is given twice", spec.name);
        let hint = format!("the first stands in line {}; give each a name of its own", first.line);
        out.error(name.value.at, message, hint);
    }
    Some(spec)
}

/// Whether a key is there, also without a value, which has been said.
fn given(node: &Node, key: &str) -> bool {
    matches!(&node.value, Value::Map(map) if map.entries.iter().any(|entry| entry.key == key))
}

/// Reads one alert rule, and remembers where its fields stand.
struct Reader<'n, 'o, 't> {
    /// By the names that mistakes use; `None`: something has been said of it already.
    places: BTreeMap<String, Option<&'n Node>>,
    out: &'o mut Findings<'t>,
}

impl<'n> Reader<'n, '_, '_> {
    fn rule(&mut self, name: &'n Entry, fields: &Fields<'n>, group: &Group) -> NewRule {
        let mut labels = self.map(fields, "labels", "labels: {severity: page}");
        for (name, text) in &group.labels {
            labels.entry(name.clone()).or_insert_with(|| text.clone());
        }
        NewRule {
            name: self.text("name", Some(name)).unwrap_or_default(),
            expr: self.text("expr", fields.get("expr")).unwrap_or_default(),
            hold: self.span(fields.get("for")),
            keep_firing_for: self.span(fields.get("keep_firing_for")),
            interval: None,
            on_fire: self.given("on_fire", fields),
            on_nodata: self.given("on_nodata", fields),
            reading: self.given("reading", fields),
            notify: self.notify(fields),
            service: self.given("service", fields),
            runbook: None,
            labels,
            annotations: self.map(fields, "annotations", "annotations: {summary: \"photo uploads fail\"}"),
        }
    }

    /// A text that the rule cannot be without: what is not there has been said.
    fn text(&mut self, field: &str, entry: Option<&'n Entry>) -> Option<String> {
        let written = entry.and_then(|entry| {
            let example = RULE.keys.iter().find(|key| key.name == entry.key).map_or("…", |key| key.example);
            scalar::text(&entry.value, &format!("`{}`", entry.key), example, self.out)
        });
        self.places.insert(field.to_owned(), entry.map(|entry| &entry.value).filter(|_| written.is_some()));
        written.map(str::to_owned)
    }

    fn given(&mut self, field: &str, fields: &Fields<'n>) -> Option<String> {
        fields.get(field).and_then(|entry| self.text(field, Some(entry)))
    }

    fn span(&mut self, entry: Option<&Entry>) -> Millis {
        entry.and_then(|entry| scalar::span(entry, Millis::ZERO, HOLD_MAX, self.out)).unwrap_or_default()
    }

    fn map(&mut self, fields: &Fields<'n>, key: &str, example: &str) -> BTreeMap<String, String> {
        let read = fields.get(key).and_then(|entry| texts(entry, example, self.out));
        let mut map = BTreeMap::new();
        for (name, text, node) in read.unwrap_or_default() {
            self.places.insert(format!("{key}.{name}"), Some(node));
            map.insert(name.to_owned(), text.to_owned());
        }
        map
    }

    /// One text, which may hold several receivers, or a list.
    fn notify(&mut self, fields: &Fields<'n>) -> Vec<String> {
        let Some(entry) = fields.get("notify") else { return Vec::new() };
        let nodes = match &entry.value.value {
            Value::List(_) => scalar::list(entry, "notify: [oncall@csac.gov, pager]", self.out),
            _ => Some(std::slice::from_ref(&entry.value)),
        };
        let mut texts = Vec::new();
        for node in nodes.unwrap_or_default() {
            let Some(text) = scalar::text(node, "`notify`", "notify: oncall@csac.gov", self.out) else {
                continue;
            };
            self.places.insert(format!("notify.{}", texts.len()), Some(node));
            texts.push(text.to_owned());
        }
        texts
    }

    /// A mistake at its place in the file.
    fn say(&mut self, mistake: &Mistake, rule: &Node) {
        let Mistake { field, message, hint, offset, width, line, column } = mistake;
        let node = match self.places.get(field) {
            Some(Some(node)) => *node,
            Some(None) => return,
            None => rule,
        };
        match node.spot(*offset, *width, self.out) {
            Some(at) => self.out.error(at, message, hint),
            None if *offset == 0 => self.out.error(node.at, message, hint),
            None => {
                let message = format!("{message} (line {line}, column {column} of this text)");
                self.out.error(node.at, message, hint);
            }
        }
    }
}
