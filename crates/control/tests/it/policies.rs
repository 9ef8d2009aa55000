//! Policies of releases, told as stories.

use hmsops_control::event::{Command, Evaluation, Judgement, Outcome};
use hmsops_control::state::release::Phase;
use hmsops_control::transition::{Detector, HoldReason};
use hmsops_control::{Event, Who};
use hmsops_model::release::{Comparison, ComparisonOp, PolicyAction, PolicySpec};
use hmsops_model::{Millis, OnNoData, ReleaseId, RuleName, RuleSpec};

use crate::story::{Story, name};

const METRIC: &str = "auth_fail_rate";

fn policy(bound: f64, action: PolicyAction) -> PolicySpec {
    PolicySpec {
        service: None,
        metric: METRIC.into(),
        of: None,
        above: Comparison { op: ComparisonOp::Gt, bound },
        hold: Millis::from_secs(120),
        action,
        notify: vec!["oncall@csac.gov".into()],
    }
}

fn out(policies: Vec<PolicySpec>) -> Story {
    let mut story = Story::out("1.8.0");
    let by = Who { actor: "rollback.yaml".into(), source: "repo".into() };
    story.event(Event::Policies { policies, by }).unwrap();
    story
}

fn judge(story: &mut Story, policy: &str, canary: Option<f64>) {
    let (policy, release, stable) = (policy.to_owned(), ReleaseId(1), Some(0.0));
    story.event(Event::Judged(Box::new(Judgement { policy, release, canary, stable }))).unwrap();
}

fn judge_for(story: &mut Story, secs: u64, canary: f64) {
    for _ in 0..secs / 2 {
        judge(story, METRIC, Some(canary));
        story.pass(Millis::from_secs(2));
    }
}

fn detector(story: &Story) -> Option<Detector> {
    story.release(1).verdict.as_ref().map(|verdict| verdict.detector)
}

#[test]
fn a_policy_takes_back_when_its_time_is_over_and_its_receivers_are_told_once() {
    let mut story = out(vec![policy(0.05, PolicyAction::Rollback)]);
    judge_for(&mut story, 118, 0.5);
    assert_eq!(story.release(1).phase, Phase::Watching);
    judge_for(&mut story, 8, 0.5);
    assert_eq!(detector(&story), Some(Detector::Policy));
    assert_eq!(story.notices.len(), 1, "{:?}", story.notices);
}

#[test]
fn a_service_s_own_policy_does_not_end_the_alert_of_everyone_s() {
    let own = PolicySpec { service: Some(name()), ..policy(0.9, PolicyAction::Rollback) };
    let mut story = out(vec![policy(0.05, PolicyAction::Rollback), own]);
    for _ in 0..70 {
        judge(&mut story, METRIC, Some(0.5));
        judge(&mut story, "auth_fail_rate/csac-portal", Some(0.5));
        story.pass(Millis::from_secs(2));
    }
    assert_eq!(detector(&story), Some(Detector::Policy));
}

#[test]
fn an_alert_rule_of_a_policy_s_name_does_not_end_its_alert() {
    let mut story = out(vec![policy(0.05, PolicyAction::Rollback)]);
    let rule = RuleSpec {
        name: RuleName::new(METRIC).unwrap(),
        service: None,
        expr: "auth_fail_rate > 0.9".into(),
        is_literal: false,
        hold: Millis::ZERO,
        keep_firing_for: Millis::ZERO,
        interval: Millis::from_secs(5),
        labels: [].into(),
        annotations: [].into(),
        heal: None,
        on_nodata: OnNoData::Keep,
        notify: Vec::new(),
        expected: None,
        group: hmsops_model::RuleGroup::default(),
    };
    let by = Who { actor: "admin".into(), source: "api".into() };
    let command = Command::DeclareRule { rule: Box::new(rule), readings: Vec::new() };
    story.event(Event::Command { command, by, reason: String::new() }).unwrap();
    for _ in 0..70 {
        judge(&mut story, METRIC, Some(0.5));
        let (rule, outcome) = (RuleName::new(METRIC).unwrap(), Outcome::Holds(Vec::new()));
        let expr = "auth_fail_rate > 0.9".into();
        story
            .event(Event::Evaluated(Box::new(Evaluation {
                rule,
                expr,
                outcome,
                reading: None,
                texts: [].into(),
            })))
            .unwrap();
        story.pass(Millis::from_secs(2));
    }
    assert_eq!(detector(&story), Some(Detector::Policy));
}

#[test]
fn a_release_does_not_go_further_while_a_policy_is_about_to_condemn_it() {
    let mut story = out(vec![policy(0.05, PolicyAction::Rollback)]);
    judge_for(&mut story, 250, 0.0);
    judge_for(&mut story, 100, 0.5);
    assert_eq!((story.release(1).step, story.release(1).phase), (0, Phase::Watching));
    judge_for(&mut story, 30, 0.5);
    assert_eq!(detector(&story), Some(Detector::Policy));
}

#[test]
fn what_is_not_known_for_long_is_no_objection() {
    let mut story = out(vec![policy(0.05, PolicyAction::Rollback)]);
    judge_for(&mut story, 4, 0.5);
    for _ in 0..200 {
        judge(&mut story, METRIC, None);
        story.pass(Millis::from_secs(2));
    }
    assert_eq!(story.release(1).step, 1);
}

#[test]
fn a_policy_that_holds_does_so_once_and_tells() {
    let mut story = out(vec![policy(0.05, PolicyAction::Hold)]);
    judge_for(&mut story, 130, 0.5);
    let hold = story.release(1).hold.clone().map(|(why, _)| why);
    assert_eq!(hold, Some(HoldReason::Policy { metric: METRIC.into() }));
    assert_eq!(story.notices.len(), 1, "{:?}", story.notices);
    story.command(Command::Resume { release: ReleaseId(1) }).unwrap();
    judge_for(&mut story, 30, 0.5);
    assert!(story.release(1).hold.is_none(), "a person outranks the machine");
}

#[test]
fn a_policy_that_only_tells_tells() {
    let mut story = out(vec![policy(0.05, PolicyAction::Notify)]);
    judge_for(&mut story, 130, 0.5);
    assert_eq!(story.notices.len(), 1, "{:?}", story.notices);
    assert!(story.release(1).hold.is_none() && detector(&story).is_none());
}

#[test]
fn the_alert_of_a_policy_ends_with_it() {
    let mut story = out(vec![policy(0.05, PolicyAction::Notify)]);
    judge_for(&mut story, 10, 0.5);
    let by = Who { actor: "rollback.yaml".into(), source: "repo".into() };
    story.event(Event::Policies { policies: Vec::new(), by }).unwrap();
    story.event(Event::Wake).unwrap();
    assert!(story.state.signals.alerts.values().all(|alert| !alert.is_open()));
}

#[test]
fn a_release_that_was_closed_before_anybody_could_be_told_is_told_of() {
    let mut story = out(vec![policy(0.05, PolicyAction::Rollback)]);
    judge_for(&mut story, 130, 0.5);
    story.pass(Millis::from_secs(30));
    assert!(story.release(1).closed);
    // As it is when the ledger takes facts of later, and no message, for all that time.
    let release = story.state.releases.get_mut(&ReleaseId(1)).unwrap();
    assert_eq!(std::mem::take(&mut release.told), ["oncall@csac.gov"]);
    let told = story.state.signals.notices.len();
    for _ in 0..2 {
        story.event(Event::Wake).unwrap();
        assert_eq!(story.state.signals.notices.len(), told + 1, "once");
    }
}
