//! A release goes out, is watched, and ends in one way or another.

use hmsops_control::effect::reconcile;
use hmsops_control::event::{Command, HeldRoute};
use hmsops_control::state::release::Phase;
use hmsops_control::transition::Detector;
use hmsops_control::{Effect, GatewayReport, State, sentence};
use hmsops_model::release::ReleaseSpec;
use hmsops_model::service::ServiceSpec;
use hmsops_model::{Millis, ReleaseId, ServiceName, Weight};

use super::story::{Story, name, release, service, version};

/// M01: 1 % → 25 % → 100 %, five minutes each, then the old version stays warm and is retired.
#[test]
fn a_healthy_release_goes_through_its_steps_and_retires_the_old_version() {
    let mut story = Story::out("1.8.0");
    assert_eq!(story.release(1).weight, Weight::from_bp(100).unwrap());
    story.pass(Millis::from_secs(290));
    assert_eq!(story.release(1).step, 0, "five minutes are not over");
    story.pass(Millis::from_secs(15));
    assert_eq!(story.release(1).weight, Weight::from_bp(2500).unwrap());
    story.pass(Millis::from_secs(305));
    assert_eq!(story.release(1).phase, Phase::Baking);
    assert_eq!(story.stable(), "1.8.0");
    let service = story.service();
    assert_eq!(service.live().count(), 2, "the old version is warm");
    story.pass(Millis::from_mins(31));
    assert_eq!(story.release(1).phase, Phase::Done);
    assert_eq!(story.service().live().count(), 1, "the old version is retired");
    assert_eq!(story.service().proven.last().unwrap().version, version("1.8.0"));
    let again = reconcile(&story.state, &story.evidence, story.now, true);
    let retreats = again.iter().any(|effect| matches!(effect, Effect::Retreat { .. }));
    assert!(!retreats, "a proven release is none to take back: {again:?}");
}

/// M04: errors of three clients of a 1 % canary are enough, and all that follows follows.
#[test]
fn a_canary_whose_users_fail_is_taken_back_denied_and_closed() {
    let mut story = Story::out("1.8.0");
    story.tick(1, 0);
    story.tick(1, 0);
    assert_eq!(story.release(1).phase, Phase::Watching, "two errors are not enough");
    story.tick(1, 0);
    assert_eq!(story.release(1).phase, Phase::RolledBack);
    assert_eq!(story.release(1).verdict.as_ref().unwrap().detector, Detector::Errors);
    assert!(story.told("rollback csac-portal: Rollback to csac-portal:1.7.3 completed"), "{:?}", story.said);
    story.pass(Millis::from_secs(5));
    assert!(story.release(1).closed);
    let service = story.service();
    assert_eq!((service.live().count(), story.stable()), (1, "1.7.3"), "the canary is stopped");
    let incident = story.state.incidents.values().next().unwrap();
    assert_eq!(incident.heading(), "Service Degradation Resolved");
    let refusal = story.deploy("1.8.0").unwrap_err();
    assert!(refusal.message.contains("is denied"), "{refusal}");
    story.command(Command::Undeny { release: ReleaseId(1) }).unwrap();
    story.deploy("1.8.0").unwrap();
}

/// House: a guard of three errors from two clients, so that one broken user cannot condemn a release.
#[test]
fn one_client_alone_cannot_condemn() {
    let mut story = Story::out("1.8.0");
    story.tick(1, 0);
    for _ in 0..50 {
        story.pass(Millis(1000));
        // The same client fails again: an error more, and no client more.
        story.tick_of(&name(), 0, 1, 0);
    }
    assert!(story.evidence.releases[&ReleaseId(1)].guard_errors > 50);
    assert_eq!(story.release(1).phase, Phase::Watching);
}

/// At a share so small, two bad clients are evidence enough: only the guard asks for a third error.
#[test]
fn evidence_alone_does_not_condemn_before_the_guard_has_its_errors() {
    let mut story = Story::healthy();
    let mut spec = release("1.8.0");
    spec.steps[0].weight = Weight::from_bp(1).unwrap();
    story.deploy_spec(spec, false).unwrap();
    story.pass(Millis::from_secs(5));
    story.tick(1, 0);
    story.tick(1, 0);
    assert!(story.evidence.releases[&ReleaseId(1)].evidence() > 1000.0, "the evidence suffices");
    assert_eq!(story.release(1).phase, Phase::Watching, "two errors do not");
    story.tick_of(&name(), 0, 1, 0);
    assert_eq!(story.release(1).phase, Phase::RolledBack, "the third error is one of the same two clients");
}

#[test]
fn a_canary_process_that_ends_is_taken_back_at_once() {
    let mut story = Story::out("1.8.0");
    story.end(story.release(1).instance);
    assert_eq!(story.release(1).phase, Phase::RolledBack);
    assert_eq!(
        sentence::why(story.release(1)),
        "Rolled back: the process of 1.8.0 ended: exited with status 1."
    );
}

#[test]
fn a_version_that_never_becomes_healthy_fails_without_a_user_seeing_it() {
    let mut story = Story::healthy();
    story.failing.push(story.next_instance());
    story.deploy("1.8.0").unwrap();
    story.pass(Millis::from_secs(25));
    assert_eq!(story.release(1).phase, Phase::Failed);
    assert_eq!(story.release(1).weight_max, Weight::NONE);
    assert!(story.told("Rollback to csac-portal:1.7.3 completed"));
    assert!(story.release(1).closed);
    assert_eq!(story.service().live().count(), 1);
}

#[test]
fn a_newer_release_supersedes() {
    let mut story = Story::out("1.8.0");
    story.deploy("1.8.1").unwrap();
    assert_eq!(story.release(1).phase, Phase::Superseded);
    story.pass(Millis::from_secs(30));
    assert_eq!(story.release(2).phase, Phase::Watching);
    assert!(story.release(1).closed);
}

/// Invariant 7: nothing advances on a gateway that is not heard.
#[test]
fn a_release_does_not_advance_while_its_gateway_is_silent() {
    let mut story = Story::out("1.8.0");
    story.gateway(GatewayReport::Lost);
    story.pass(Millis::from_mins(10));
    assert_eq!(story.release(1).step, 0);
}

#[test]
fn a_gateway_that_went_back_by_itself_ends_the_release() {
    let mut story = Story::out("1.8.0");
    let at = story.now.wall;
    let report = GatewayReport::Retreated { service: name(), release: ReleaseId(1), by_itself: true, at };
    story.gateway(report);
    assert_eq!(story.release(1).phase, Phase::RolledBack);
    assert!(story.state.denied.is_empty(), "it was not the version's fault");
}

/// Invariant 2: state is a fold over transitions; written down and read back it is the same.
#[test]
fn replaying_the_transitions_gives_the_same_state() {
    let mut story = Story::out("1.8.0");
    story.tick(3, 0);
    story.pass(Millis::from_secs(5));
    let (mut state, mut now) = (State::default(), story.now);
    for transition in &story.log {
        now.steady = now.steady + Millis(1);
        state.apply(now, transition);
    }
    let services = |state: &State| state.services.values().map(|s| (s.stable, s.epoch)).collect::<Vec<_>>();
    assert_eq!(services(&state), services(&story.state));
    assert_eq!(state.releases[&ReleaseId(1)].phase, story.release(1).phase);
    assert_eq!(state.denied, story.state.denied);
}

/// Invariant 7: time in which nobody watched is no time.
#[test]
fn a_step_begins_anew_when_its_gateway_is_heard_again() {
    let mut story = Story::out("1.8.0");
    story.gateway(GatewayReport::Lost);
    story.pass(Millis::from_mins(10));
    let (service, epoch) = (name(), story.service().epoch);
    let held = HeldRoute { service, epoch, release: Some(ReleaseId(1)), retreated: false };
    story.gateway(GatewayReport::Connected { routes: vec![held] });
    story.pass(Millis::from_secs(299));
    assert_eq!(story.release(1).step, 0, "five watched minutes are not over");
    story.pass(Millis::from_secs(2));
    assert_eq!(story.release(1).step, 1);
}

/// What users are on stays, though it was never proven: there is nothing else.
#[test]
fn a_first_version_stays_up_when_the_next_one_never_becomes_healthy() {
    let mut story = first();
    let first = story.release(1).instance;
    story.failing.push(story.next_instance());
    story.deploy("1.0.1").unwrap();
    story.pass(Millis::from_mins(1));
    assert_eq!((story.release(1).phase, story.release(2).phase), (Phase::Done, Phase::Failed));
    assert_eq!((story.service().stable, story.is_up()), (Some(first), true));
    assert_eq!(story.heading(), None);
}

#[test]
fn a_second_version_goes_out_behind_a_canary_though_the_first_still_bakes() {
    let mut story = first();
    story.deploy("1.0.1").unwrap();
    story.pass(Millis::from_secs(10));
    assert_eq!((story.release(2).phase, story.stable()), (Phase::Watching, "1.0.0"));
    assert_eq!(story.release(2).weight, Weight::from_bp(100).unwrap());
}

/// The very first release of a service has all traffic.
fn first() -> Story {
    let mut story = Story::of(vec![ServiceSpec { stable: None, ..service() }]);
    story.deploy_spec(release("1.0.0"), true).unwrap();
    story.pass(Millis::from_secs(10));
    assert_eq!((story.release(1).phase, story.stable()), (Phase::Baking, "1.0.0"));
    story
}

#[test]
fn a_release_that_is_restarted_often_while_it_bakes_is_done_in_time() {
    let mut story = Story::baking("1.8.0");
    let last = story.state.last_instance + 16;
    while story.state.last_instance < last {
        story.crash(Millis(100));
    }
    assert_eq!((story.release(1).phase, story.stable()), (Phase::Baking, "1.8.0"));
    story.pass(Millis::from_mins(30));
    assert_eq!((story.release(1).phase, story.stable(), story.is_up()), (Phase::Done, "1.8.0", true));
}

/// The watches of closed releases are forgotten beyond a hundred; one that is out never is.
#[test]
fn each_of_more_than_a_hundred_releases_keeps_its_evidence() {
    let names: Vec<ServiceName> = (0..103).map(|n| ServiceName::new(format!("s{n:03}")).unwrap()).collect();
    let specs = names.iter().map(|name| ServiceSpec { name: name.clone(), ..service() });
    let mut story = Story::of(specs.collect());
    story.pass(Millis::from_secs(2));
    for name in &names {
        let spec = ReleaseSpec { service: name.clone(), ..release("1.8.0") };
        story.deploy_spec(spec, false).unwrap();
    }
    story.pass(Millis::from_secs(3));
    story.tick_of(&names[0], 1, 1, 0);
    story.pass(Millis::from_secs(1));
    story.tick_of(&names[0], 1, 1, 0);
    assert_eq!(story.release(1).phase, Phase::Watching);
    story.tick_of(&names[0], 1, 1, 0);
    assert_eq!(story.release(1).phase, Phase::RolledBack);
}
