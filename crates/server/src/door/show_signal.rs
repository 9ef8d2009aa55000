//! Rules, alerts, silences, heals, tickets and notices as the API shows them. Every sentence is control's.

use std::collections::BTreeMap;

use hmsops_control::headline::Sign;
use hmsops_control::signal::alert::{Alert, Handling, rule_words};
use hmsops_control::signal::heal::Heal;
use hmsops_control::signal::notice::{Notice, NoticeEnd};
use hmsops_control::signal::silence::Silence;
use hmsops_control::signal::ticket::Ticket;
use hmsops_control::signal::{Paused, Rule, RuleHealth, sentence};
use hmsops_ledger::moment::rfc3339;
use hmsops_model::{HealAction, Labels, Millis, Now, OnNoData, UnixMillis};
use hmsops_tower::Snapshot;
use hmsops_wire::api;

use super::cursor::Place;
use super::show::by;

/// The reading of a rule that has two and was not evaluated yet.
pub(crate) const UNDECIDED: &str = "undecided";

/// What stands for a value that is not known.
const NO_VALUE: &str = "unknown";

/// An alert, or a rule that cannot see and has none.
#[derive(Clone, Copy)]
pub(crate) enum Shown<'s> {
    /// An alert.
    Alert(&'s Alert),
    /// A rule whose health is its state.
    Rule(&'s Rule),
}

impl Shown<'_> {
    /// Whose it is.
    pub(crate) fn service(&self) -> Option<String> {
        match self {
            Self::Alert(alert) => alert.service.as_ref().map(ToString::to_string),
            Self::Rule(rule) => service_of(rule),
        }
    }
}

/// The alerts that go on, and rules that cannot see, each with its place by need.
pub(crate) fn active(snapshot: &Snapshot) -> Vec<(Place, Shown<'_>)> {
    let signals = &snapshot.state.signals;
    let alerts = signals.alerts.values().filter(|alert| alert.is_open());
    let alerts = alerts.map(|alert| (place(snapshot, alert), Shown::Alert(alert)));
    let rules = signals.rules.values().filter(|rule| rule_words(rule).is_some());
    let alone = rules.filter(|rule| signals.open_alerts(&rule.spec.name).next().is_none());
    let rules = alone.map(|rule| {
        let rank = if matches!(rule.health, RuleHealth::Error { .. }) { 5 } else { 6 };
        (Place::named(rank, rule.spec.name.as_str()), Shown::Rule(rule))
    });
    alerts.chain(rules).collect()
}

/// All alerts that go on, by need: what streams and pages show.
pub(crate) fn active_alerts(snapshot: &Snapshot) -> Vec<api::Alert> {
    let mut found = active(snapshot);
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found.into_iter().map(|(_, item)| shown(snapshot, item)).collect()
}

/// Where an alert stands: what waits for a person first, what has ended last.
pub(crate) fn place(snapshot: &Snapshot, alert: &Alert) -> Place {
    let state = &snapshot.state;
    let rank = match (sentence::urgency(state, alert), alert.handling) {
        (Some(Sign::Failing), Handling::TakeOver { .. }) => 0,
        (Some(Sign::Failing), Handling::HealFailed { .. }) => 1,
        (Some(Sign::Failing), _) => 2,
        (Some(_), Handling::HealRunning { .. }) => 3,
        (Some(_), _) => 4,
        (None, _) if alert.is_firing() => 8,
        (None, _) if alert.is_open() => 7,
        (None, _) => 9,
    };
    Place::numbered(rank, alert.id.0)
}

/// One of [`active`].
pub(crate) fn shown(snapshot: &Snapshot, item: Shown<'_>) -> api::Alert {
    match item {
        Shown::Alert(known) => alert(snapshot, known),
        Shown::Rule(known) => blind_rule(snapshot, known),
    }
}

/// One alert.
pub(crate) fn alert(snapshot: &Snapshot, alert: &Alert) -> api::Alert {
    let (state, evidence) = (&snapshot.state, &snapshot.evidence);
    let ticket = match alert.handling {
        Handling::TakeOver { ticket } => Some(ticket),
        _ => alert.heal().and_then(|id| state.signals.heals.get(&id)).and_then(|heal| heal.ticket),
    };
    let of_ticket = ticket.and_then(|id| state.signals.tickets.get(&id)).and_then(|ticket| ticket.heal);
    let silences: Vec<&Silence> =
        if alert.is_open() { state.signals.silences_of(&alert.rule).collect() } else { Vec::new() };
    let value = sentence::value(state, evidence, alert);
    api::Alert {
        id: Some(alert.id.to_string()),
        rule: alert.rule.to_string(),
        service: alert.service.as_ref().map(ToString::to_string),
        labels: labels(&alert.labels),
        annotations: state
            .signals
            .rules
            .get(&alert.rule)
            .map(|rule| alert.annotations(&rule.spec))
            .unwrap_or_default(),
        state: alert.words(),
        condition: alert.condition().to_owned(),
        handling: alert.handling_words().to_owned(),
        since: Some(moment(alert.since)),
        fired_at: alert.fired_at.map(moment),
        resolved_at: alert.ended.as_ref().map(|ended| moment(ended.at)),
        value,
        value_text: sentence::value_words(state, evidence, alert),
        silenced_by: silences.iter().map(|silence| silence.id.to_string()).collect(),
        silenced_until: silences.iter().map(|silence| silence.until()).max().map(rfc3339),
        heal: alert.heal().or(of_ticket).map(|id| id.to_string()),
        ticket: ticket.map(|id| id.to_string()),
        acked_by: alert.acked.as_ref().map(|acked| acked.by.actor.clone()),
        sentence: sentence::alert(state, evidence, snapshot.now, alert),
    }
}

/// A rule without an alert that cannot see.
fn blind_rule(snapshot: &Snapshot, rule: &Rule) -> api::Alert {
    let name = &rule.spec.name;
    let state = rule_words(rule).unwrap_or_default();
    let said = sentence::blind(&snapshot.evidence, rule).unwrap_or_default();
    let silences: Vec<&Silence> = snapshot.state.signals.silences_of(name).collect();
    api::Alert {
        id: None,
        rule: name.to_string(),
        service: service_of(rule),
        labels: rule.spec.labels.clone(),
        annotations: rule.spec.annotations.clone(),
        state: state.to_owned(),
        condition: state.replace(' ', "-"),
        handling: "open".to_owned(),
        since: rule.health_since.map(moment),
        fired_at: None,
        resolved_at: None,
        value: None,
        value_text: NO_VALUE.to_owned(),
        silenced_by: silences.iter().map(|silence| silence.id.to_string()).collect(),
        silenced_until: silences.iter().map(|silence| silence.until()).max().map(rfc3339),
        heal: None,
        ticket: None,
        acked_by: None,
        sentence: format!("{name}: {said}"),
    }
}

/// One rule with its alerts that go on.
pub(crate) fn rule(snapshot: &Snapshot, rule: &Rule) -> api::Rule {
    let spec = &rule.spec;
    let seen = snapshot.evidence.seen.rules.get(&spec.name);
    let readings = hmsops_config::readings(&spec.expr);
    let (health, text) = match &rule.health {
        RuleHealth::New => ("not-evaluated", Some("not evaluated yet".to_owned())),
        RuleHealth::Known => ("ok", None),
        RuleHealth::NoData => ("no-data", sentence::blind(&snapshot.evidence, rule)),
        RuleHealth::Error { .. } => ("query-error", sentence::blind(&snapshot.evidence, rule)),
    };
    let alerts = snapshot.state.signals.open_alerts(&spec.name);
    api::Rule {
        name: spec.name.to_string(),
        service: service_of(rule),
        expr: spec.expr.clone(),
        reading: reading(snapshot, rule, &readings),
        readings,
        for_ms: spec.hold.0,
        keep_firing_for_ms: spec.keep_firing_for.0,
        interval_ms: spec.interval.0,
        labels: spec.labels.clone(),
        annotations: spec.annotations.clone(),
        heal: spec.heal.as_ref().map(ToString::to_string),
        on_nodata: match spec.on_nodata {
            OnNoData::Keep => "keep",
            OnNoData::Ok => "ok",
            OnNoData::Alert => "alert",
        }
        .to_owned(),
        notify: spec.notify.clone(),
        declared_by: by(&rule.by),
        health: health.to_owned(),
        health_text: text,
        evaluated_at: seen.map(|seen| moment(seen.at)),
        alerts: alerts.map(|known| alert(snapshot, known)).collect(),
    }
}

/// How a rule with two readings is read; `None` when there is one way only.
pub(crate) fn reading(snapshot: &Snapshot, rule: &Rule, readings: &[String]) -> Option<String> {
    if readings.is_empty() {
        return None;
    }
    if rule.spec.is_literal {
        return Some("per-second".to_owned());
    }
    let seen = snapshot.evidence.seen.rules.get(&rule.spec.name);
    // What was seen before the rule was last changed is of another expression.
    let seen = seen.filter(|seen| seen.at.steady >= rule.declared_at.steady);
    Some(seen.and_then(|seen| seen.reading.clone()).unwrap_or_else(|| UNDECIDED.to_owned()))
}

/// Whose alert it is, as far as the rule itself says.
fn service_of(rule: &Rule) -> Option<String> {
    let healed = rule.spec.heal.as_ref().map(HealAction::service);
    rule.spec.service.as_ref().or(healed).map(ToString::to_string)
}

/// One silence.
pub(crate) fn silence(silence: &Silence) -> api::Silence {
    let ended = silence.ended.as_ref();
    api::Silence {
        id: silence.id.to_string(),
        rule: silence.rule.to_string(),
        since: moment(silence.since),
        until: rfc3339(silence.until()),
        reason: silence.reason.clone(),
        by: by(&silence.by),
        keep_heal: silence.keep_heal,
        ended_at: ended.map(|(at, _)| moment(*at)),
        ended_why: ended.map(|(_, why)| why.clone()),
        sentence: silence.sentence(),
    }
}

/// One heal.
pub(crate) fn heal(heal: &Heal) -> api::Heal {
    api::Heal {
        id: heal.id.to_string(),
        rule: heal.rule.to_string(),
        alert: heal.alert.map(|id| id.to_string()),
        service: heal.action.service().to_string(),
        action: heal.action.to_string(),
        phase: heal.phase.words().to_owned(),
        by: by(&heal.by),
        started_at: moment(heal.intended_at),
        ended_at: heal.ended_at.map(moment),
        exit: heal.exit.clone(),
        output: heal.output.clone(),
        why: heal.why.clone(),
        ticket: heal.ticket.map(|id| id.to_string()),
    }
}

/// Since when nothing is healed.
pub(crate) fn paused(paused: &Paused) -> api::HealsPaused {
    api::HealsPaused { since: moment(paused.at), by: by(&paused.by), reason: paused.reason.clone() }
}

/// One ticket.
pub(crate) fn ticket(ticket: &Ticket) -> api::Ticket {
    let closed = ticket.closed.as_ref();
    api::Ticket {
        id: ticket.id.to_string(),
        title: ticket.title.clone(),
        service: ticket.service.to_string(),
        alert: ticket.alert.map(|id| id.to_string()),
        heal: ticket.heal.map(|id| id.to_string()),
        opened_at: moment(ticket.opened_at),
        text: ticket.text.clone(),
        closed_at: closed.map(|closed| moment(closed.at)),
        closed_by: closed.map(|closed| by(&closed.by)),
        close_reason: closed.map(|closed| closed.reason.clone()),
    }
}

/// One notice.
pub(crate) fn notice(now: Now, notice: &Notice) -> api::Notice {
    let (phase, delivered) = match &notice.ended {
        None => ("waiting", None),
        Some(NoticeEnd::Delivered { at, receipt }) => ("delivered", Some((at, receipt))),
        Some(NoticeEnd::Dead { .. }) => ("dead", None),
    };
    api::Notice {
        id: notice.id.to_string(),
        receiver: notice.receiver.clone(),
        about: notice.about.words(),
        subject: notice.subject.clone(),
        text: notice.text.clone(),
        phase: phase.to_owned(),
        attempts: notice.attempts,
        last_error: notice.error.clone(),
        next_at: notice.is_waiting().then(|| rfc3339(wall(now, notice.due_at))),
        created_at: moment(notice.intended_at),
        delivered_at: delivered.map(|(at, _)| moment(*at)),
        receipt: delivered.map(|(_, receipt)| receipt.clone()),
    }
}

/// A moment of the steady clock, for people; what is due is due now.
pub(crate) fn wall(now: Now, at: Millis) -> UnixMillis {
    UnixMillis(now.wall.0.saturating_add_unsigned(at.0.saturating_sub(now.steady.0)))
}

fn moment(at: Now) -> String {
    rfc3339(at.wall)
}

fn labels(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
