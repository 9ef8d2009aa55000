//! What changes of rules, alerts, heals and notices are called, for people.

use hmsops_model::{Millis, RuleName};

use super::alert::Alert;
use super::sentence::drift_words;
use super::{RuleHealth, Signal};
use crate::effect::Effect;
use crate::headline::clock;
use crate::state::State;

/// A ledger line in words.
pub(crate) fn line(change: &Signal) -> String {
    match change {
        Signal::RuleDeclared { rule, .. } => format!("rule {} was declared: {}", rule.name, rule.expr),
        Signal::RuleRetired { rule, reason, .. } => format!("rule {rule} was removed: {reason}"),
        Signal::RuleHealthChanged { rule, health } => match health {
            RuleHealth::New => format!("rule {rule} was not evaluated yet"),
            RuleHealth::Known => format!("rule {rule} has data"),
            RuleHealth::NoData => format!("rule {rule} has no data"),
            RuleHealth::Error { why } => format!("rule {rule}: its query fails: {why}"),
        },
        Signal::PolicyDeclared { key, .. } => format!("policy {key} was declared"),
        Signal::PolicyRetired { key, .. } => format!("policy {key} was removed"),
        Signal::AlertPending { rule, value, .. } => format!("{rule} holds at {value}"),
        Signal::AlertFired { rule, value, .. } => format!("{rule} fired at {value}"),
        Signal::AlertEnded { rule, why, .. } => format!("{rule} is over: {why}"),
        Signal::AlertAcked { rule, by, reason, .. } => format!("{} has {rule} in hand: {reason}", by.actor),
        Signal::SilenceBegun { rule, span, keep_heal, by, reason, .. } => {
            let heal = if *keep_heal { ", its heal runs all the same" } else { ", its heal is held too" };
            format!("{} silenced {rule} for {span}{heal}: {reason}", by.actor)
        }
        Signal::SilenceEnded { rule, why, .. } => format!("{rule} is no longer silenced: {why}"),
        Signal::HealIntended { heal, rule, action, .. } => format!("{heal} for {rule} shall run {action}"),
        Signal::HealRan { heal, exit, .. } => format!("{heal} {exit}"),
        Signal::HealJudged { heal, healed: true, why, .. } => format!("{heal} helped: {why}"),
        Signal::HealJudged { heal, why, .. } => format!("{heal} did not help: {why}"),
        Signal::HealsPaused { by, reason } => format!("{} paused all healing: {reason}", by.actor),
        Signal::HealsResumed { by, reason } => format!("{} let healing go on: {reason}", by.actor),
        Signal::TicketOpened { ticket, title, .. } => format!("{ticket}: {title}"),
        Signal::TicketClosed { ticket, by, reason, .. } => format!("{} closed {ticket}: {reason}", by.actor),
        Signal::NoticeIntended { notice, receiver, subject, .. } => {
            format!("{notice} to {receiver}: {subject}")
        }
        Signal::NoticeDelivered { notice, receiver, .. } => format!("{notice} reached {receiver}"),
        Signal::NoticeFailed { notice, receiver, why, due_in } => {
            format!("{notice} did not reach {receiver}: {why}; next try in {due_in}")
        }
        Signal::NoticeDead { notice, receiver, why } => format!("{notice} to {receiver} was given up: {why}"),
        Signal::NoticeRevived { notice, by } => format!("{} has {notice} tried again", by.actor),
        Signal::DashDeclared { dash, .. } => {
            format!("dashboard {} has {} panels", dash.name, dash.panels.len())
        }
        Signal::DashRemoved { dash, by } => format!("{} removed the dashboard {dash}", by.actor),
    }
}

/// The line that a change of what watches and heals writes: into the log of the alert's own service.
pub(crate) fn log_line(state: &State, change: &Signal) -> Option<Effect> {
    let service = change.service().cloned();
    let say = |error: bool, text: String| Some(Effect::Say { service: service.clone(), error, text });
    match change {
        Signal::AlertFired { rule, value, alert, .. } => {
            let value = &said(state, rule, value);
            let labels = state.signals.alerts.get(alert).map(|alert| alert.labels.to_string());
            say(true, format!("alert {rule}: fired at {value} {}", labels.unwrap_or_default()))
        }
        Signal::AlertEnded { rule, fired: true, why, .. } => {
            say(false, format!("alert {rule}: resolved, {why}"))
        }
        Signal::RuleHealthChanged { rule, health: RuleHealth::Error { why } } => {
            say(true, format!("alert {rule}: its query fails: {why}"))
        }
        Signal::SilenceBegun { rule, silence, .. } => {
            let silence = state.signals.silences.get(silence)?;
            say(false, format!("alert {rule}: {}", silence.sentence()))
        }
        Signal::SilenceEnded { rule, why, .. } => {
            say(false, format!("alert {rule}: no longer silenced, {why}"))
        }
        Signal::HealIntended { heal, action, rule, .. } => {
            say(false, format!("heal {rule}: {heal} runs {action}"))
        }
        Signal::HealRan { heal, exit, success, .. } => say(!success, format!("heal {heal}: {exit}")),
        Signal::HealJudged { heal, healed, why, .. } => {
            let word = if *healed { "healed" } else { "failed" };
            say(!healed, format!("heal {heal}: {word}: {why}"))
        }
        Signal::HealsPaused { reason, by } => say(true, format!("heal: paused by {}: {reason}", by.actor)),
        Signal::HealsResumed { by, .. } => say(false, format!("heal: resumed by {}", by.actor)),
        Signal::TicketOpened { ticket, title, .. } => say(true, format!("ticket {ticket}: {title}")),
        Signal::NoticeDead { notice, receiver, why } => {
            say(true, format!("notify {receiver}: {notice} was given up: {why}"))
        }
        _ => None,
    }
}

/// A value as it is said: of a drift with what was expected.
fn said(state: &State, rule: &RuleName, value: &str) -> String {
    let rule = state.signals.rules.get(rule);
    let drift = rule.and_then(|rule| drift_words(&rule.spec, value.parse().ok()?));
    drift.unwrap_or_else(|| value.to_owned())
}

/// What an alert's receiver reads: subject and text.
pub(crate) fn alert_notice(state: &State, alert: &Alert) -> (String, String) {
    let rule = state.signals.rules.get(&alert.rule);
    let annotations = rule.map(|rule| alert.annotations(&rule.spec)).unwrap_or_default();
    let annotation = |name: &str| annotations.get(name);
    let service = alert.service.as_ref().map_or_else(String::new, |service| format!("{service}: "));
    let subject = match &alert.ended {
        Some(ended) => format!("{service}{} is over: {}", alert.rule, ended.why),
        None => format!("{service}{} fired at {}", alert.rule, said(state, &alert.rule, &alert.value)),
    };
    let mut lines = vec![format!("{} {}", alert.rule, alert.labels)];
    lines.extend(annotation("summary").into_iter().chain(annotation("description")).cloned());
    if let Some(rule) = rule {
        let hold =
            if rule.spec.hold == Millis::ZERO { String::new() } else { format!(" for {}", rule.spec.hold) };
        lines.push(format!("rule: {}{hold}", rule.spec.expr));
        if let (Some(heal), None) = (&rule.spec.heal, &alert.ended) {
            lines.push(format!("heals by itself: {heal}"));
        }
    }
    lines.extend(annotation("runbook_url").map(|runbook| format!("runbook: {runbook}")));
    let moment =
        alert.ended.as_ref().map_or(alert.fired_at.unwrap_or(alert.since).wall, |ended| ended.at.wall);
    lines.push(format!("{} {} UTC", if alert.is_open() { "since" } else { "over at" }, clock(moment)));
    (subject, lines.join("\n"))
}
