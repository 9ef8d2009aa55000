//! What is said of alerts, tickets, notices and paused heals: one line each, and what of it needs a person.

use std::collections::BTreeMap;

use hmsops_model::{Millis, Now, RuleName, RuleSpec};

use super::alert::{Alert, Handling};
use super::heal::HealPhase;
use super::notice::NoticeEnd;
use super::{Rule, RuleHealth};
use crate::decide::value_text;
use crate::headline::{Need, Piece, Sign, clock};
use crate::{Evidence, State};

/// A notice that was given up is a person's business for so long; then it is history.
const DEAD_NEWS: Millis = Millis::from_mins(60 * 24);

/// The part of a ticket's text that stands in a list, in characters.
const TRIED_CHARS_MAX: usize = 200;

/// The latest value of an alert as a number, when it is one.
pub fn value(state: &State, evidence: &Evidence, alert: &Alert) -> Option<f64> {
    let seen = || match alert.release {
        Some(release) => {
            let of = |key: &String| state.signals.policies.get(key).map(|known| &known.spec.metric);
            let mut policies = evidence.seen.policies.iter();
            let found = policies.find(|((key, judged), _)| {
                *judged == release && of(key).is_some_and(|metric| metric == alert.rule.as_str())
            });
            found.and_then(|(_, seen)| seen.canary)
        }
        None => evidence.seen.rules.get(&alert.rule)?.values.get(&alert.labels).copied(),
    };
    let value = if alert.is_open() { seen() } else { None };
    value.or_else(|| alert.value.parse().ok()).filter(|value| value.is_finite())
}

/// The same in words; a value that is no number as it was seen.
pub fn value_words(state: &State, evidence: &Evidence, alert: &Alert) -> String {
    let Some(value) = value(state, evidence, alert) else { return alert.value.clone() };
    let rule = state.signals.rules.get(&alert.rule).filter(|_| alert.release.is_none());
    rule.and_then(|rule| drift_words(&rule.spec, value)).unwrap_or_else(|| value_text(value))
}

/// The value of a rule that watches a latency for drift: `p99 312 ms, expected 250 ms (+25 %) for 10 min`.
pub fn drift_words(spec: &RuleSpec, value: f64) -> Option<String> {
    let expected = spec.expected.as_ref()?;
    let more = (value / expected.span.0 as f64 - 1.0) * 100.0;
    let measured = Millis(value.round().clamp(0.0, 1e12) as u64);
    Some(format!(
        "p{} {measured}, expected {} ({more:+.0} %) for {}",
        expected.quantile, expected.span, spec.hold
    ))
}

/// An alert as one would say it: `photo_error_spike fired 12 s ago: 0.42; rollback dmv-photo --to=prev runs`.
pub fn alert(state: &State, evidence: &Evidence, now: Now, alert: &Alert) -> String {
    let rule = &alert.rule;
    if let Some(ended) = &alert.ended {
        let span = |since: Now| whole_secs(ended.at.steady.since(since.steady));
        return match alert.fired_at {
            Some(fired) => format!("{rule} is over after {}: {}", span(fired), ended.why),
            None => format!("{rule} did not fire: after {}, {}", span(alert.since), ended.why),
        };
    }
    let known = state.signals.rules.get(rule);
    let value = value_words(state, evidence, alert);
    let first = if let Some(at) = alert.fired_at {
        format!("{rule} fired {}: {value}", ago(now, at))
    } else {
        let of = known.map_or_else(String::new, |known| format!(" of {}", known.spec.hold));
        format!("{rule} holds for {}{of}: {value}", whole_secs(now.steady.since(alert.since.steady)))
    };
    let mut parts = vec![first];
    parts.extend(known.and_then(|known| blind(evidence, known)));
    parts.extend(handling(state, alert, known));
    if let Some(acked) = &alert.acked {
        parts.push(format!("{} has it in hand: {}", acked.by.actor, acked.reason));
    }
    parts.extend(state.signals.silences_of(rule).map(super::silence::Silence::sentence));
    parts.join("; ")
}

/// What is done about an alert that goes on.
fn handling(state: &State, alert: &Alert, rule: Option<&Rule>) -> Option<String> {
    let heal = |id| state.signals.heals.get(&id);
    match alert.handling {
        Handling::HealRunning { heal: id } => heal(id).map(|heal| match heal.phase {
            HealPhase::Running => format!("{} runs", heal.action),
            _ => format!("{} has run; whether it helps is not known yet", heal.action),
        }),
        Handling::Healed { heal: id } => heal(id).map(|heal| format!("{} helped", heal.action)),
        Handling::HealFailed { heal: id } => heal(id).map(|heal| format!("{} did not help", heal.action)),
        Handling::TakeOver { ticket } => Some(format!("a person has to take over: {ticket}")),
        Handling::Open => {
            let action = rule.and_then(|rule| rule.spec.heal.as_ref())?;
            let paused = alert.is_firing() && state.signals.heals_paused.is_some();
            paused.then(|| format!("{action} waits: healing is paused"))
        }
    }
}

/// What a rule says of itself while it cannot see: since when, or why. `None` while it can.
pub fn blind(evidence: &Evidence, rule: &Rule) -> Option<String> {
    match &rule.health {
        RuleHealth::Error { why } => Some(format!("query failed: {why}")),
        RuleHealth::NoData => {
            let seen = evidence.seen.rules.get(&rule.spec.name).and_then(|seen| seen.data_at);
            let since = seen.or(rule.health_since.map(|at| at.wall));
            Some(since.map_or_else(|| "no data".into(), |at| format!("no data since {} UTC", clock(at))))
        }
        RuleHealth::New | RuleHealth::Known => None,
    }
}

/// How urgent an alert is that fires, and that no silence keeps quiet; `None`: it is not a person's business.
pub fn urgency(state: &State, alert: &Alert) -> Option<Sign> {
    if !alert.is_firing() || state.signals.is_silenced(alert) {
        return None;
    }
    Some(match (alert.handling, alert.acked.is_some()) {
        (Handling::HealRunning { .. } | Handling::Healed { .. }, _) | (_, true) => Sign::UnderWatch,
        _ => Sign::Failing,
    })
}

/// What of rules, alerts, heals and notices needs a person, most urgent first.
pub fn needs(state: &State, evidence: &Evidence, now: Now) -> Vec<Need> {
    let mut needs = tickets(state);
    needs.extend(firing(state, evidence, now));
    if let Some(paused) = &state.signals.heals_paused {
        let text = format!(
            "Nothing is healed since {} UTC; {} paused it: {}.",
            clock(paused.at.wall),
            paused.by.actor,
            paused.reason
        );
        needs.push(Need { sign: Some(Sign::UnderWatch), text: vec![Piece::Text(text)] });
    }
    needs.extend(dead(state, now));
    let broken = state.signals.rules.values().filter(|rule| matches!(rule.health, RuleHealth::Error { .. }));
    needs.extend(broken.filter_map(|rule| {
        let text = format!("{}: {}.", rule.spec.name, blind(evidence, rule)?);
        Some(Need { sign: Some(Sign::Unknown), text: vec![Piece::Text(text)] })
    }));
    // Within one sign the order stays: first what a person was called for.
    needs.sort_by_key(|need| need.sign != Some(Sign::Failing));
    needs
}

fn tickets(state: &State) -> Vec<Need> {
    let open = state.signals.tickets.values().rev().filter(|ticket| ticket.closed.is_none());
    open.map(|ticket| {
        let first = ticket.text.lines().next().unwrap_or_default();
        let tried: String = first.chars().take(TRIED_CHARS_MAX).collect();
        let tried = tried.trim_end_matches("; it printed:").trim_end_matches('.');
        let name = Piece::Ticket(ticket.id, format!("{} ({})", ticket.title, ticket.id));
        Need { sign: Some(Sign::Failing), text: vec![name, Piece::Text(format!(". {tried}."))] }
    })
    .collect()
}

/// Alerts that fire, a line for each rule. Those that a ticket tells of are left to it.
fn firing(state: &State, evidence: &Evidence, now: Now) -> Vec<Need> {
    let mut by_rule: BTreeMap<&RuleName, Vec<(Sign, &Alert)>> = BTreeMap::new();
    for known in state.signals.alerts.values() {
        let told = match known.handling {
            Handling::TakeOver { ticket } => {
                state.signals.tickets.get(&ticket).is_some_and(|ticket| ticket.closed.is_none())
            }
            _ => false,
        };
        if let Some(sign) = urgency(state, known).filter(|_| !told) {
            by_rule.entry(&known.rule).or_default().push((sign, known));
        }
    }
    let line = |alerts: Vec<(Sign, &Alert)>| {
        let (sign, first) = alerts.iter().min_by_key(|(sign, alert)| (*sign, alert.id)).copied()?;
        let said = alert(state, evidence, now, first);
        let rest = said.strip_prefix(first.rule.as_str()).unwrap_or(&said).to_owned();
        let more = match alerts.len() - 1 {
            0 => String::new(),
            n => format!("; {n} more of its series fire"),
        };
        let name = Piece::Alert(first.id, first.rule.to_string());
        Some(Need { sign: Some(sign), text: vec![name, Piece::Text(format!("{rest}{more}."))] })
    };
    by_rule.into_values().filter_map(line).collect()
}

/// Notices that were given up lately: somebody was not told.
fn dead(state: &State, now: Now) -> Option<Need> {
    let lately = state.signals.notices.values().rev().filter_map(|notice| match &notice.ended {
        Some(NoticeEnd::Dead { at, why }) if now.steady.since(at.steady) < DEAD_NEWS => Some((notice, why)),
        _ => None,
    });
    let lately: Vec<_> = lately.collect();
    let (last, why) = lately.first()?;
    let count = match lately.len() {
        1 => format!("{} could not be told", last.receiver),
        n => format!("{n} notices were given up, the last to {}", last.receiver),
    };
    let name = Piece::Notice(last.id, count);
    let text = vec![name, Piece::Text(format!(" ({}): {why}.", last.subject))];
    Some(Need { sign: Some(Sign::UnderWatch), text })
}

/// `12 s ago`.
fn ago(now: Now, at: Now) -> String {
    match whole_secs(now.steady.since(at.steady)) {
        Millis::ZERO => "just now".into(),
        span => format!("{span} ago"),
    }
}

/// Without tenths.
fn whole_secs(span: Millis) -> Millis {
    Millis(span.0 / 1000 * 1000)
}

#[cfg(test)]
mod tests {
    use hmsops_model::{
        AlertId, HealAction, HealId, Labels, NoticeId, ServiceName, SilenceId, TicketId, UnixMillis,
    };

    use super::*;
    use crate::event::Who;
    use crate::headline::plain;
    use crate::signal::Signal;
    use crate::signal::notice::{About, Occasion};

    fn at(secs: u64) -> Now {
        let begin = 1_795_356_120_000;
        Now { wall: UnixMillis(begin + secs as i64 * 1000), steady: Millis::from_secs(1000 + secs) }
    }

    fn tell(state: &mut State, secs: u64, change: &Signal) {
        state.signals.apply(at(secs), change);
    }

    fn rule() -> RuleName {
        RuleName::new("photo_error_spike").unwrap()
    }

    fn service() -> ServiceName {
        ServiceName::new("dmv-photo").unwrap()
    }

    /// An alert that fired at second 60.
    fn fired() -> State {
        let mut state = State::default();
        let (alert, service, value) = (AlertId(1), Some(service()), "0.42".to_owned());
        let pending = Signal::AlertPending {
            alert,
            rule: rule(),
            service: service.clone(),
            labels: Labels::empty(),
            release: None,
            value: value.clone(),
            annotations: [].into(),
        };
        tell(&mut state, 0, &pending);
        tell(
            &mut state,
            60,
            &Signal::AlertFired { alert, rule: rule(), service, value, annotations: [].into() },
        );
        state
    }

    fn said(state: &State, secs: u64) -> String {
        alert(state, &Evidence::default(), at(secs), &state.signals.alerts[&AlertId(1)])
    }

    fn needed(state: &State, secs: u64) -> Vec<(Option<Sign>, String)> {
        let needs = needs(state, &Evidence::default(), at(secs));
        needs.iter().map(|need| (need.sign, plain(&need.text))).collect()
    }

    fn healing(state: &mut State) {
        let action = HealAction::Rollback { service: service(), to: None };
        let by = Who::tower();
        let change =
            Signal::HealIntended { heal: HealId(1), rule: rule(), alert: Some(AlertId(1)), action, by };
        tell(state, 60, &change);
    }

    #[test]
    fn an_alert_says_since_when_its_value_and_what_is_done() {
        let mut state = fired();
        assert_eq!(said(&state, 60), "photo_error_spike fired just now: 0.42");
        healing(&mut state);
        assert_eq!(
            said(&state, 72),
            "photo_error_spike fired 12 s ago: 0.42; rollback dmv-photo --to=prev runs"
        );
        assert_eq!(needed(&state, 72)[0].0, Some(Sign::UnderWatch), "the machine is at it");
        let silence = Signal::SilenceBegun {
            silence: SilenceId(1),
            rule: rule(),
            span: Millis::from_mins(120),
            keep_heal: false,
            by: Who::tower(),
            reason: "planned upgrade".into(),
        };
        tell(&mut state, 73, &silence);
        assert!(said(&state, 74).ends_with(
            "; silenced until 16:03:13; its heal is held too (--keep-heal); release detectors stay on"
        ));
        assert_eq!(needed(&state, 74), [], "who is silenced calls nobody");
        let why = "its expression no longer holds".to_owned();
        let ended = Signal::AlertEnded { alert: AlertId(1), rule: rule(), service: None, fired: true, why };
        tell(&mut state, 80, &ended);
        assert_eq!(said(&state, 99), "photo_error_spike is over after 20 s: its expression no longer holds");
    }

    #[test]
    fn a_ticket_speaks_for_its_alert_and_comes_first() {
        let mut state = fired();
        assert_eq!(
            needed(&state, 61)[0],
            (Some(Sign::Failing), "photo_error_spike fired 1 s ago: 0.42.".into())
        );
        healing(&mut state);
        let ticket = Signal::TicketOpened {
            ticket: TicketId(1),
            service: service(),
            alert: Some(AlertId(1)),
            heal: Some(HealId(1)),
            title: "Take-Over Required: dmv-photo".into(),
            text: "photo_error_spike: rollback dmv-photo --to=prev exited with status 1; it printed:\nno"
                .into(),
        };
        tell(&mut state, 62, &ticket);
        let paused = Signal::HealsPaused { by: Who::tower(), reason: "works".into() };
        tell(&mut state, 63, &paused);
        let lines: Vec<String> = needed(&state, 64).into_iter().map(|(_, line)| line).collect();
        assert_eq!(
            lines,
            [
                "Take-Over Required: dmv-photo (t-1). photo_error_spike: rollback dmv-photo --to=prev exited with status 1.",
                "Nothing is healed since 14:03:03 UTC; tower paused it: works.",
            ]
        );
    }

    #[test]
    fn a_notice_that_was_given_up_is_news_for_a_day() {
        let mut state = State::default();
        let notice = Signal::NoticeIntended {
            notice: NoticeId(1),
            receiver: "pager".into(),
            about: About::Test(1),
            occasion: Occasion::Test,
            subject: "a test".into(),
            text: "a test".into(),
            by: Who::tower(),
        };
        tell(&mut state, 0, &notice);
        let (receiver, why) = ("pager".to_owned(), "answered 410 Gone".to_owned());
        tell(&mut state, 1, &Signal::NoticeDead { notice: NoticeId(1), receiver, why });
        assert_eq!(needed(&state, 2)[0].1, "pager could not be told (a test): answered 410 Gone.");
        assert_eq!(needed(&state, 2 + 86_400), []);
    }
}
