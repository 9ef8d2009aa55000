//! Rules and alerts, as Prometheus tells them: `/api/v1/rules` and `/api/v1/alerts`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use hmsops_control::signal::alert::Alert;
use hmsops_control::signal::{Rule, RuleHealth};
use hmsops_model::UnixMillis;
use hmsops_tower::Snapshot;
use hmsops_wire::prometheus::{self, Notes};
use serde::Serialize;

use super::targets::{NEVER, moment};
use super::{Fields, Refused, json};
use crate::door::Context;
use crate::evaluate::record::{GroupOutcome, RuleOutcome};

/// The group of rules that stand in none: they were declared one by one.
const ALONE: &str = "declared";

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownGroup {
    name: String,
    file: String,
    rules: Vec<ShownRule>,
    interval: f64,
    limit: usize,
    evaluation_time: f64,
    last_evaluation: String,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase", rename_all_fields = "camelCase")]
enum ShownRule {
    Alerting {
        state: &'static str,
        name: String,
        query: String,
        duration: f64,
        keep_firing_for: f64,
        labels: BTreeMap<String, String>,
        annotations: BTreeMap<String, String>,
        alerts: Vec<ShownAlert>,
        #[serde(flatten)]
        last: Last,
    },
    Recording {
        name: String,
        query: String,
        labels: BTreeMap<String, String>,
        #[serde(flatten)]
        last: Last,
    },
}

/// How its last evaluation went.
#[derive(Debug, Serialize)]
struct Last {
    health: &'static str,
    #[serde(rename = "lastError", skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(rename = "evaluationTime")]
    took: f64,
    #[serde(rename = "lastEvaluation")]
    at: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownAlert {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    state: &'static str,
    active_at: String,
    value: String,
}

/// What is wanted of the rules.
struct Wanted<'f> {
    fields: &'f Fields,
    kind: Option<&'f str>,
    with_alerts: bool,
}

impl Wanted<'_> {
    /// Whether a parameter that may be given several times names this, or is not given.
    fn names(&self, parameter: &str, name: &str) -> bool {
        let mut given = self.fields.all(parameter).peekable();
        given.peek().is_none() || given.any(|given| given == name)
    }
}

/// All rules by group; `type` is `alert` or `record`, `rule_name[]`, `rule_group[]` and `file[]` narrow them,
/// `exclude_alerts` leaves the alerts out, `group_limit` and `group_next_token` page.
pub(super) async fn rules(State(context): State<Context>, fields: Fields) -> Result<Response, Refused> {
    let kind = fields.get("type").map(str::to_ascii_lowercase).filter(|kind| !kind.is_empty());
    if let Some(kind) = kind.as_ref().filter(|kind| !["alert", "record"].contains(&kind.as_str())) {
        return Err(Refused::parameter("type", format!("not supported value {kind:?}")));
    }
    let with_alerts = match fields.get("exclude_alerts").unwrap_or_default() {
        "" | "0" | "false" => true,
        "1" | "true" => false,
        other => {
            return Err(Refused::parameter("exclude_alerts", format!("{other:?} is neither true nor false")));
        }
    };
    let wanted = Wanted { fields: &fields, kind: kind.as_deref(), with_alerts };
    let mut groups = groups(&context.engine.snapshot(), context.recorder.outcomes(), &wanted);
    let most = fields.number("group_limit")?;
    let after = fields.get("group_next_token").unwrap_or_default();
    if !after.is_empty() {
        if most == 0 {
            return Err(Refused::parameter("group_limit", "needed with `group_next_token`"));
        }
        let at = groups.keys().position(|key| token(key) == after);
        let at = at.ok_or_else(|| Refused::parameter("group_next_token", "there is no such group"))?;
        groups = groups.into_iter().skip(at + 1).collect();
    }
    let has_more = most > 0 && groups.len() > most;
    let page: Vec<_> = groups.into_iter().take(if most == 0 { usize::MAX } else { most }).collect();
    let next = page.last().filter(|_| has_more).map(|(key, _)| token(key));
    let shown: Vec<ShownGroup> = page.into_iter().map(|(_, group)| group).collect();
    let mut data = serde_json::json!({ "groups": shown });
    if let (Some(next), Some(data)) = (next, data.as_object_mut()) {
        data.insert("groupNextToken".into(), next.into());
    }
    Ok(json(prometheus::success(&data, Notes::default())))
}

/// All alerts that go on.
pub(super) async fn alerts(State(context): State<Context>) -> Response {
    let snapshot = context.engine.snapshot();
    let signals = &snapshot.state.signals;
    let rules = signals.rules.iter();
    let alerts =
        rules.flat_map(|(name, rule)| signals.open_alerts(name).map(|alert| shown_alert(rule, alert)));
    let alerts: Vec<ShownAlert> = alerts.collect();
    json(prometheus::success(&serde_json::json!({ "alerts": alerts }), Notes::default()))
}

/// By file and name: what a page ends with.
type Key = (String, String);

fn token((file, name): &Key) -> String {
    use std::fmt::Write as _;
    let digest = ring::digest::digest(&ring::digest::SHA256, format!("{file};{name}").as_bytes());
    digest.as_ref().iter().take(20).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn groups(
    snapshot: &Snapshot,
    recorded: Vec<GroupOutcome>,
    wanted: &Wanted<'_>,
) -> BTreeMap<Key, ShownGroup> {
    let mut groups: BTreeMap<Key, ShownGroup> = BTreeMap::new();
    let is_wanted =
        |file: &str, group: &str| wanted.names("file[]", file) && wanted.names("rule_group[]", group);
    if wanted.kind != Some("alert") {
        for outcome in recorded {
            let (file, name) = (outcome.group.file.clone(), outcome.group.name.clone());
            let rules: Vec<ShownRule> = recordings(&outcome, wanted).collect();
            if rules.is_empty() || !is_wanted(&file, &name) {
                continue;
            }
            let shown = ShownGroup {
                interval: seconds(outcome.interval),
                limit: outcome.group.limit,
                evaluation_time: outcome.took.0 as f64 / 1000.0,
                last_evaluation: at(outcome.at),
                name: name.clone(),
                file: file.clone(),
                rules,
            };
            groups.insert((file, name), shown);
        }
    }
    if wanted.kind != Some("record") {
        for rule in snapshot.state.signals.rules.values() {
            let group = &rule.spec.group;
            let name = if group.name.is_empty() { ALONE.to_owned() } else { group.name.clone() };
            let file = rule.by.actor.clone();
            if !is_wanted(&file, &name) || !wanted.names("rule_name[]", rule.spec.name.as_str()) {
                continue;
            }
            let entry = groups.entry((file.clone(), name.clone())).or_insert_with(|| ShownGroup {
                interval: rule.spec.interval.0 as f64 / 1000.0,
                limit: group.limit as usize,
                evaluation_time: 0.0,
                last_evaluation: NEVER.into(),
                rules: Vec::new(),
                name,
                file,
            });
            entry.rules.push(alerting(snapshot, rule, wanted.with_alerts));
        }
    }
    groups
}

fn recordings<'o>(outcome: &'o GroupOutcome, wanted: &'o Wanted<'_>) -> impl Iterator<Item = ShownRule> + 'o {
    let rules = outcome.group.rules.iter().zip(&outcome.rules);
    rules.filter(|(rule, _)| wanted.names("rule_name[]", &rule.name)).map(|(rule, last)| {
        ShownRule::Recording {
            name: rule.name.clone(),
            query: rule.expr.to_string(),
            labels: rule.labels.clone(),
            last: Last::of(last),
        }
    })
}

impl Last {
    fn of(outcome: &RuleOutcome) -> Self {
        Self {
            health: match (&outcome.error, outcome.at) {
                (Some(_), _) => "err",
                (None, Some(_)) => "ok",
                (None, None) => "unknown",
            },
            error: outcome.error.clone(),
            took: outcome.took.0 as f64 / 1000.0,
            at: at(outcome.at),
        }
    }
}

fn alerting(snapshot: &Snapshot, rule: &Rule, with_alerts: bool) -> ShownRule {
    let spec = &rule.spec;
    let seen = snapshot.evidence.seen.rules.get(&spec.name);
    let (health, error) = match &rule.health {
        RuleHealth::New => ("unknown", None),
        RuleHealth::Known | RuleHealth::NoData => ("ok", None),
        RuleHealth::Error { why } => ("err", Some(why.clone())),
    };
    let open: Vec<&Alert> = snapshot.state.signals.open_alerts(&spec.name).collect();
    let state = open.iter().map(|alert| state(alert)).min().unwrap_or("inactive");
    let alerts = open.into_iter().filter(|_| with_alerts).map(|alert| shown_alert(rule, alert)).collect();
    ShownRule::Alerting {
        state,
        name: spec.name.to_string(),
        query: spec.expr.clone(),
        duration: spec.hold.0 as f64 / 1000.0,
        keep_firing_for: spec.keep_firing_for.0 as f64 / 1000.0,
        labels: spec.labels.clone(),
        annotations: spec.annotations.clone(),
        alerts,
        last: Last { health, error, took: 0.0, at: at(seen.map(|seen| seen.at.wall.0)) },
    }
}

/// `firing` before `pending`, also by the alphabet.
fn state(alert: &Alert) -> &'static str {
    if alert.fired_at.is_some() { "firing" } else { "pending" }
}

fn shown_alert(rule: &Rule, alert: &Alert) -> ShownAlert {
    let own = alert.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let name = [("alertname".to_owned(), rule.spec.name.to_string())];
    ShownAlert {
        labels: own.chain(name).collect(),
        annotations: alert.annotations(&rule.spec),
        state: state(alert),
        active_at: moment(alert.since.wall),
        value: alert.value.clone(),
    }
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

fn at(millis: Option<i64>) -> String {
    millis.map_or(NEVER.to_owned(), |millis| moment(UnixMillis(millis)))
}
