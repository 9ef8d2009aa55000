//! Rules, alerts, heals, tickets and notices, told as stories.

use hmsops_control::effect::reconcile;
use hmsops_control::event::{Command, Evaluation, HealReport, NoticeReport, Outcome};
use hmsops_control::signal::alert::Handling;
use hmsops_control::signal::heal::{HEAL_CHECK_LIMIT, HealPhase};
use hmsops_control::{Event, Who};
use hmsops_model::{HealAction, Labels, Millis, OnNoData, RuleName, RuleSpec};

use crate::story::{Story, name, service};

const RULE: &str = "photo_error_spike";

fn rule() -> RuleSpec {
    RuleSpec {
        name: RuleName::new(RULE).unwrap(),
        service: None,
        expr: "rate(photo.upload.ok[1m]) < 0.7".into(),
        is_literal: false,
        hold: Millis::from_secs(60),
        keep_firing_for: Millis::ZERO,
        interval: Millis::from_secs(5),
        labels: [].into(),
        annotations: [].into(),
        heal: Some(HealAction::Rollback { service: name(), to: None }),
        on_nodata: OnNoData::Keep,
        notify: vec!["oncall@csac.gov".into()],
        expected: None,
        group: hmsops_model::RuleGroup::default(),
    }
}

fn watched(rule: RuleSpec) -> Story {
    let mut story = Story::of(vec![service()]);
    story.pass(Millis::from_secs(10));
    let by = Who { actor: "admin".into(), source: "api".into() };
    let command = Command::DeclareRule { rule: Box::new(rule), readings: Vec::new() };
    story.event(Event::Command { command, by, reason: String::new() }).unwrap();
    story
}

fn evaluate(story: &mut Story, outcome: Outcome) {
    let (rule, expr) = (RuleName::new(RULE).unwrap(), rule().expr);
    story
        .event(Event::Evaluated(Box::new(Evaluation {
            rule,
            expr,
            outcome,
            reading: None,
            texts: [].into(),
        })))
        .unwrap();
}

fn holds() -> Outcome {
    Outcome::Holds(vec![(Labels::new([("__name__", "photo.upload.ok"), ("service", "csac-portal")]), 0.4)])
}

fn words(story: &Story) -> Vec<String> {
    story.state.signals.alerts.values().map(hmsops_control::signal::alert::Alert::words).collect()
}

fn hold_for(story: &mut Story, secs: u64, outcome: &Outcome) {
    for _ in 0..secs / 5 {
        evaluate(story, outcome.clone());
        story.pass(Millis::from_secs(5));
    }
}

fn command(story: &mut Story, command: Command) {
    let by = Who { actor: "admin".into(), source: "api".into() };
    story.event(Event::Command { command, by, reason: "planned upgrade".into() }).unwrap();
}

#[test]
fn an_alert_fires_when_its_time_is_over_and_its_heal_is_run_once() {
    let mut story = watched(rule());
    hold_for(&mut story, 60, &holds());
    assert_eq!(words(&story), ["pending"]);
    evaluate(&mut story, holds());
    assert_eq!(words(&story), ["fired, heal-running"]);
    hold_for(&mut story, 30, &holds());
    assert_eq!(story.heals.len(), 1, "one heal an episode");
    assert_eq!(story.notices.len(), 1, "told once: {:?}", story.notices);
}

#[test]
fn what_no_longer_holds_before_its_time_tells_nobody() {
    let mut story = watched(rule());
    hold_for(&mut story, 55, &holds());
    evaluate(&mut story, Outcome::Holds(Vec::new()));
    hold_for(&mut story, 55, &holds());
    assert_eq!(words(&story), ["resolved", "pending"]);
    assert!(story.heals.is_empty() && story.notices.is_empty());
}

#[test]
fn an_empty_window_goes_on_with_what_was_known() {
    // The chapter's exercise: thirty failures in a moment, then nothing; the alert fires all the same.
    let mut story = watched(rule());
    evaluate(&mut story, holds());
    hold_for(&mut story, 65, &Outcome::NoData);
    assert_eq!(words(&story), ["fired, heal-running"]);
    let mut story = watched(RuleSpec { on_nodata: OnNoData::Ok, ..rule() });
    evaluate(&mut story, holds());
    hold_for(&mut story, 65, &Outcome::NoData);
    assert_eq!(words(&story), ["resolved"]);
    // A query that fails says nothing either way.
    let mut story = watched(rule());
    evaluate(&mut story, holds());
    hold_for(&mut story, 65, &Outcome::Failed("it broke".into()));
    assert_eq!(words(&story), ["pending"]);
}

fn ran(story: &mut Story, success: bool) {
    let id = *story.heals.last().unwrap();
    let exit = format!("exited with status {}", i32::from(!success));
    let report = HealReport { success, exit, output: "no earlier version".into() };
    story.event(Event::Heal { id, report }).unwrap();
}

#[test]
fn a_heal_that_helps_is_judged_when_its_alert_ends() {
    let mut story = watched(rule());
    hold_for(&mut story, 65, &holds());
    ran(&mut story, true);
    assert_eq!(words(&story), ["fired, heal-running"], "until its verdict");
    evaluate(&mut story, Outcome::Holds(Vec::new()));
    let heal = story.state.signals.heals.values().next().unwrap();
    assert_eq!(heal.phase, HealPhase::Healed);
    assert_eq!(story.state.signals.notices.len(), 2, "who got the fire gets the end");
    // …but never before it has arrived.
    let again = |story: &Story| reconcile(&story.state, &story.evidence, story.now, false).len();
    assert_eq!((story.notices.len(), again(&story)), (1, 1));
    let report = NoticeReport::Delivered { receipt: "250 ok".into() };
    let (id, _) = story.notices[0].clone();
    story.event(Event::Notice { id, report }).unwrap();
    assert_eq!(again(&story), 1, "now the end is due");
    assert!(story.state.signals.tickets.is_empty());
}

#[test]
fn a_heal_that_fails_opens_a_ticket_and_nothing_heals_until_a_person_has_closed_it() {
    let mut story = watched(rule());
    hold_for(&mut story, 65, &holds());
    ran(&mut story, false);
    assert_eq!(words(&story), ["fired, take-over"]);
    let ticket = story.state.signals.tickets.values().next().unwrap().clone();
    assert_eq!(ticket.title, "Take-Over Required: csac-portal");
    assert!(
        ticket.text.contains("no earlier version") && ticket.text.contains("rollback csac-portal --to=prev")
    );
    evaluate(&mut story, Outcome::Holds(Vec::new()));
    hold_for(&mut story, 70, &holds());
    assert_eq!(story.heals.len(), 1, "a person outranks the machine");
    command(&mut story, Command::CloseTicket { ticket: ticket.id });
    evaluate(&mut story, holds());
    assert_eq!(story.heals.len(), 2);
}

#[test]
fn a_heal_that_does_not_help_in_time_is_a_persons() {
    let mut story = watched(rule());
    hold_for(&mut story, 65, &holds());
    ran(&mut story, true);
    hold_for(&mut story, HEAL_CHECK_LIMIT.0 / 1000 + 5, &holds());
    assert_eq!(words(&story), ["fired, take-over"]);
    assert!(
        story.state.signals.alerts.values().all(|alert| matches!(alert.handling, Handling::TakeOver { .. }))
    );
}

#[test]
fn a_silence_holds_notice_and_heal_and_ends_by_itself() {
    let mut story = watched(rule());
    let rule = RuleName::new(RULE).unwrap();
    let span = Millis::from_secs(120);
    command(&mut story, Command::Silence { rule: rule.clone(), span, keep_heal: false });
    hold_for(&mut story, 90, &holds());
    assert_eq!(words(&story), ["fired"]);
    assert!(story.heals.is_empty() && story.notices.is_empty());
    hold_for(&mut story, 35, &holds());
    assert_eq!((story.heals.len(), story.notices.len()), (1, 1));
    let kinds: Vec<String> = story
        .log
        .iter()
        .map(|line| serde_json::to_value(line).unwrap()["transition"].as_str().unwrap().to_owned())
        .collect();
    assert!(kinds.contains(&"silence-begun".into()) && kinds.contains(&"silence-ended".into()), "{kinds:?}");
}

#[test]
fn the_kill_switch_holds_every_heal() {
    let mut story = watched(rule());
    command(&mut story, Command::PauseHeals);
    hold_for(&mut story, 90, &holds());
    assert!(story.heals.is_empty());
    command(&mut story, Command::ResumeHeals);
    assert_eq!(story.heals.len(), 1);
}

#[test]
fn a_notice_is_tried_again_later_and_later_and_given_up_in_the_end() {
    let mut story = watched(rule());
    hold_for(&mut story, 65, &holds());
    let (id, _) = story.notices[0].clone();
    for _ in 0..3 {
        let report = NoticeReport::Failed { why: "no route".into(), is_final: false, retry_after: None };
        story.event(Event::Notice { id, report }).unwrap();
    }
    let notice = &story.state.signals.notices[&id];
    assert_eq!((notice.attempts, notice.due_at.since(story.now.steady)), (3, Millis::from_secs(8)));
    let report = NoticeReport::Failed { why: "no such mailbox".into(), is_final: true, retry_after: None };
    story.event(Event::Notice { id, report }).unwrap();
    assert!(!story.state.signals.notices[&id].is_waiting());
    assert!(story.said.iter().any(|line| line.contains("given up: no such mailbox")), "{:?}", story.said);
}

#[test]
fn lines_of_alerts_come_back_as_they_went_in() {
    let mut story = watched(rule());
    hold_for(&mut story, 65, &holds());
    ran(&mut story, false);
    for line in &story.log {
        let text = serde_json::to_string(line).unwrap();
        assert_eq!(&serde_json::from_str::<hmsops_control::Transition>(&text).unwrap(), line, "{text}");
    }
}

#[test]
fn a_heal_that_only_seemed_to_help_ends_with_a_person() {
    let mut story = watched(rule());
    hold_for(&mut story, 65, &holds());
    ran(&mut story, true);
    // Nothing is seen for a while, and its probes pass: it counts as healed. Then the failures are back.
    hold_for(&mut story, 60, &Outcome::NoData);
    assert_eq!(words(&story), ["fired, healed"]);
    hold_for(&mut story, 240, &holds());
    assert_eq!(words(&story), ["fired, healed"], "it gets as long as any other heal");
    hold_for(&mut story, 120, &holds());
    assert_eq!(words(&story), ["fired, take-over"]);
}

fn with_label(label: &str, count: usize) -> Outcome {
    let series = |n: usize| (Labels::new([("__name__", format!("m{n}")), (label, "x".to_owned())]), 0.4);
    Outcome::Holds((0..count).map(series).collect())
}

#[test]
fn series_that_differ_only_in_their_name_are_one_alert() {
    let mut story = watched(rule());
    hold_for(&mut story, 65, &with_label("service", 3));
    assert_eq!(words(&story), ["fired, heal-running"]);
    assert_eq!(story.notices.len(), 1);
}

#[test]
fn a_rule_that_cannot_be_removed_keeps_its_alerts() {
    // While the ledger fails, what stands before the first advance is done without it.
    let mut story = watched(rule());
    hold_for(&mut story, 65, &holds());
    let command = Command::RemoveRule { rule: RuleName::new(RULE).unwrap() };
    let by = Who { actor: "admin".into(), source: "api".into() };
    let event = Event::Command { command, by, reason: "gone".into() };
    let round = hmsops_control::decide(&story.state, &story.evidence, story.now, &event).unwrap();
    let first = serde_json::to_value(&round[0]).unwrap();
    assert_eq!(first["transition"], "rule-retired", "{round:?}");
    story.event(event).unwrap();
    assert_eq!(words(&story), ["resolved, heal-running"].map(|_| "resolved"));
}

#[test]
fn an_error_whose_words_change_writes_a_line_a_minute() {
    let mut story = watched(rule());
    let before = story.log.len();
    for n in 0..60 {
        evaluate(&mut story, Outcome::Failed(format!("it read {n} samples {}", "x".repeat(100_000))));
        story.pass(Millis::from_secs(1));
    }
    let lines: Vec<String> =
        story.log[before..].iter().map(|line| serde_json::to_string(line).unwrap()).collect();
    let health = lines.iter().filter(|line| line.contains("rule-health-changed")).count();
    assert!(health <= 2, "{health} lines");
    assert!(lines.iter().all(|line| line.len() < 10_000));
}

#[test]
fn a_message_fits_a_line_of_the_ledger_whatever_its_rule_says() {
    let summary = "\u{1}".repeat(100_000);
    let mut story = watched(RuleSpec { annotations: [("summary".to_owned(), summary)].into(), ..rule() });
    hold_for(&mut story, 65, &holds());
    let told = story.log.iter().map(|line| serde_json::to_string(line).unwrap());
    let told: Vec<String> = told.filter(|line| line.contains("notice-intended")).collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].len() < 60_000, "{} bytes", told[0].len());
}

#[test]
fn an_alert_that_comes_and_goes_does_not_bury_its_receiver() {
    let mut story = watched(RuleSpec { hold: Millis::ZERO, heal: None, ..rule() });
    for _ in 0..100 {
        evaluate(&mut story, holds());
        evaluate(&mut story, Outcome::Holds(Vec::new()));
        story.pass(Millis::from_secs(1));
    }
    assert_eq!(story.state.signals.notices.len(), 6, "three episodes, each with its end");
    // What goes on is told of when the others have passed.
    hold_for(&mut story, 20 * 60, &holds());
    assert_eq!(story.state.signals.notices.len(), 7);
}

#[test]
fn an_end_is_told_however_many_have_ended_since() {
    let mut story = watched(RuleSpec { hold: Millis::ZERO, heal: None, ..rule() });
    evaluate(&mut story, holds());
    let id = *story.state.signals.alerts.keys().next().unwrap();
    // Nothing advances: only facts become true.
    let fact = |story: &mut Story, change: hmsops_control::Signal| {
        story.state.apply(story.now, &change.into());
    };
    let name = || RuleName::new(RULE).unwrap();
    let end = |alert| hmsops_control::Signal::AlertEnded {
        alert,
        rule: name(),
        service: None,
        fired: true,
        why: "over".into(),
    };
    fact(&mut story, end(id));
    for n in 2..800 {
        let alert = hmsops_model::AlertId(n);
        let (rule, labels, value) = (name(), Labels::empty(), "1".to_owned());
        let pending = hmsops_control::Signal::AlertPending {
            alert,
            rule,
            service: None,
            labels,
            release: None,
            value,
            annotations: [].into(),
        };
        fact(&mut story, pending);
        fact(&mut story, end(alert));
    }
    story.event(Event::Wake).unwrap();
    assert_eq!(story.state.signals.notices.len(), 2, "the fire and its end");
}

#[test]
fn what_goes_on_firing_for_a_while_does_so_over_a_restart() {
    let keep_firing_for = Millis::from_secs(60);
    let mut story = watched(RuleSpec { hold: Millis::ZERO, heal: None, keep_firing_for, ..rule() });
    hold_for(&mut story, 120, &holds());
    let modes = story.evidence.seen.modes;
    story.evidence.seen = hmsops_control::evidence::seen::Seen { modes, ..Default::default() };
    evaluate(&mut story, Outcome::Holds(Vec::new()));
    assert_eq!(words(&story), ["fired"]);
    hold_for(&mut story, 65, &Outcome::Holds(Vec::new()));
    assert_eq!(words(&story), ["resolved"]);
}

#[test]
fn what_a_person_has_in_hand_is_not_healed() {
    let mut story = watched(rule());
    command(&mut story, Command::PauseHeals);
    hold_for(&mut story, 65, &holds());
    let alert = *story.state.signals.alerts.keys().next().unwrap();
    command(&mut story, Command::Ack { alert });
    command(&mut story, Command::ResumeHeals);
    hold_for(&mut story, 10, &holds());
    assert!(story.heals.is_empty());
    assert_eq!(words(&story), ["fired, acked"]);
}

#[test]
fn a_heal_that_has_ended_is_never_sent_again() {
    let mut story = watched(rule());
    hold_for(&mut story, 65, &holds());
    let heal = story.heals[0];
    // Of its two lines only the first is there.
    let (exit, output) = ("exited with status 1".to_owned(), String::new());
    let ran = hmsops_control::Signal::HealRan { heal, service: name(), success: false, exit, output };
    story.state.apply(story.now, &ran.into());
    let again = reconcile(&story.state, &story.evidence, story.now, true);
    assert!(!again.iter().any(|effect| matches!(effect, hmsops_control::Effect::Heal { .. })));
    story.event(Event::Wake).unwrap();
    assert_eq!(words(&story), ["fired, take-over"]);
}

#[test]
fn what_was_evaluated_before_a_rule_was_changed_says_nothing_of_it() {
    let mut story = watched(RuleSpec { expr: "photo.upload.ok < 0".into(), hold: Millis::ZERO, ..rule() });
    evaluate(&mut story, holds());
    assert!(story.state.signals.alerts.is_empty() && story.heals.is_empty());
}

#[test]
fn an_alert_whose_labels_fit_no_line_is_an_error_of_its_rule() {
    let mut story = watched(RuleSpec { hold: Millis::ZERO, ..rule() });
    let labels = Labels::new((0..20).map(|n| (format!("l{n}"), "x".repeat(4000))));
    evaluate(&mut story, Outcome::Holds(vec![(labels, 1.0)]));
    assert!(story.state.signals.alerts.is_empty());
    let health = &story.state.signals.rules.values().next().unwrap().health;
    assert!(matches!(health, hmsops_control::signal::RuleHealth::Error { .. }), "{health:?}");
}

#[test]
fn a_rollback_that_has_helped_is_not_followed_by_another_while_a_second_alert_is_on_its_way_out() {
    let mut story = watched(RuleSpec { hold: Millis::ZERO, ..rule() });
    let two = |value: f64| {
        let series = |name: &str| (Labels::new([("instance", name)]), value);
        Outcome::Holds(vec![series("a"), series("b")])
    };
    evaluate(&mut story, two(0.4));
    assert_eq!(words(&story), ["fired, heal-running", "fired"]);
    ran(&mut story, true);
    let slower = Outcome::Holds(vec![(Labels::new([("instance", "b")]), 0.6)]);
    hold_for(&mut story, 60, &slower);
    assert_eq!(story.heals.len(), 1, "the second alert ends by the same heal, a little later");
    evaluate(&mut story, Outcome::Holds(Vec::new()));
    assert_eq!(story.state.signals.heals.values().next().unwrap().phase, HealPhase::Healed);
    assert_eq!(story.heals.len(), 1);
}

#[test]
fn a_receiver_that_is_named_twice_is_told_once() {
    let notify = vec!["oncall@csac.gov".to_owned(), "oncall@csac.gov".to_owned()];
    let mut story = watched(RuleSpec { hold: Millis::ZERO, notify, ..rule() });
    evaluate(&mut story, holds());
    assert_eq!(story.state.signals.notices.len(), 1);
}

/// What a template says of a series stands in the ledger with the alert, and people read it; the template itself, never.
#[test]
fn a_series_own_words_reach_people_and_stay_with_the_alert() {
    let mut templated = rule();
    templated.labels = [("share".into(), "{{ $value }}".into()), ("team".into(), "photo".into())].into();
    templated.annotations = [("summary".into(), "{{ $value }} succeed".into())].into();
    let mut story = watched(templated);
    let say = |story: &mut Story, share: &str| {
        let series = Labels::new([("service", "csac-portal"), ("share", "low")]);
        let texts = [(series.clone(), [("summary".to_owned(), format!("{share} succeed"))].into())].into();
        let (rule, expr) = (RuleName::new(RULE).unwrap(), rule().expr);
        let outcome = Outcome::Holds(vec![(series, 0.4)]);
        let evaluation = Evaluation { rule, expr, outcome, reading: None, texts };
        story.event(Event::Evaluated(Box::new(evaluation))).unwrap();
    };
    say(&mut story, "40 %");
    let alert = |story: &Story| story.state.signals.alerts.values().next().unwrap().clone();
    assert_eq!(alert(&story).annotations["summary"], "40 % succeed");
    let labels = Labels::new([("service", "csac-portal"), ("share", "low"), ("team", "photo")]);
    assert_eq!(alert(&story).labels, labels, "the template is no label");
    story.pass(Millis::from_secs(65));
    say(&mut story, &"9".repeat(5000));
    assert_eq!(words(&story), ["fired, heal-running"]);
    let said = alert(&story).annotations["summary"].len() + "summary".len();
    assert_eq!(said, hmsops_control::signal::alert::ANNOTATIONS_BYTES_MAX, "cut to what a ledger line takes");
    let text = &story.state.signals.notices.values().next().unwrap().text;
    assert!(text.contains("\n999") && !text.contains("{{"), "{text}");
}
