//! What probes say of a canary, of stable, and of what both depend on.

use hmsops_control::event::Command;
use hmsops_control::sentence;
use hmsops_control::state::release::Phase;
use hmsops_control::transition::{Detector, HoldReason};
use hmsops_model::release::ReleaseSpec;
use hmsops_model::{Millis, ReleaseId};

use super::story::{HEALTH, HEALTH_V2, Story, check, fail, pass, release, version};

/// M02: three failed probes inside 60 s halt the upgrade, two do not; a dead canary goes on to be taken back.
#[test]
fn two_failed_probes_do_nothing_and_three_halt() {
    let mut story = Story::out("1.8.0");
    let canary = story.release(1).instance;
    // Spread out, so that the sequential test does not condemn before the threshold is reached.
    for _ in 0..2 {
        story.failed_probe(canary);
        story.pass(Millis::from_secs(20));
    }
    assert!(story.release(1).hold.is_none(), "two fails in 60 s do not halt");
    story.failed_probe(canary);
    let hold = story.release(1).hold.as_ref().map(|(why, _)| why.clone());
    assert_eq!(hold, Some(HoldReason::Halted { path: "/api/v1/health".into(), fails: 3 }));
    assert_eq!(story.release(1).phase, Phase::Watching, "halted is not condemned");
    story.pass(Millis::from_mins(10));
    assert_eq!(story.release(1).step, 0, "a halted release does not advance");
    story.command(Command::Resume { release: ReleaseId(1) }).unwrap();
    story.pass(Millis::from_secs(301));
    assert_eq!(story.release(1).step, 1);
}

/// Stable's record is of two minutes here; of a longer one four looks suffice.
#[test]
fn a_canary_whose_probes_keep_failing_is_taken_back_within_five_seconds() {
    let mut story = Story::out("1.8.0");
    story.pass(Millis::from_secs(120));
    story.failing.push(story.release(1).instance);
    let before = story.now.steady;
    while story.release(1).phase == Phase::Watching {
        story.pass(Millis(100));
    }
    assert!(story.now.steady.since(before) <= Millis(4000), "{}", story.now.steady.since(before));
    assert_eq!(story.release(1).verdict.as_ref().unwrap().detector, Detector::Probes);
}

#[test]
fn when_both_versions_fail_the_release_is_held_and_goes_on_when_both_recover() {
    let mut story = Story::out("1.8.0");
    story.failing = vec![story.stable_id(), story.release(1).instance];
    story.pass(Millis::from_secs(10));
    assert_eq!(sentence::headline(story.release(1)), "1.8.0 is held: both versions fail /api/v1/health.");
    assert_eq!(story.release(1).phase, Phase::Watching);
    story.failing.clear();
    story.pass(Millis::from_secs(5));
    assert!(story.release(1).hold.is_none());
}

#[test]
fn three_failed_looks_do_not_condemn_a_fresh_canary() {
    let mut story = Story::out("1.8.0");
    let canary = story.release(1).instance;
    (0..3).for_each(|_| story.failed_probe(canary));
    assert_eq!(story.release(1).phase, Phase::Watching);
    story.failed_probe(canary);
    assert_eq!(story.release(1).phase, Phase::RolledBack, "four do");
}

/// Whose failure it was is known when stable is looked at, however often the canary failed before.
#[test]
fn a_canary_that_fails_first_of_both_is_not_condemned() {
    for (stable_verdict, phase) in [(fail(), Phase::Watching), (pass(), Phase::RolledBack)] {
        let mut story = Story::out("1.8.0");
        story.pass(Millis::from_mins(4));
        let (canary, stable) = (story.release(1).instance, story.stable_id());
        story.look(canary, true, fail());
        for _ in 0..3 {
            story.pass(Millis(200));
            story.look(canary, false, fail());
        }
        assert_eq!(story.release(1).phase, Phase::Watching, "nobody has looked at stable");
        story.pass(Millis(100));
        story.look(stable, true, stable_verdict);
        assert_eq!(story.release(1).phase, phase);
    }
}

/// A release may bring a check that the version before it can't pass.
#[test]
fn a_check_that_only_the_new_version_passes_does_not_make_stable_unhealthy() {
    let mut story = with_a_new_check();
    story.pass(Millis::from_secs(20));
    assert_eq!((story.release(1).phase, story.heading()), (Phase::Watching, None));
    story.abort();
    story.pass(Millis::from_secs(30));
    assert_eq!(story.heading(), None);
    let old = story.stable_id();
    story.end(old);
    story.pass(Millis::from_secs(10));
    assert_ne!(story.stable_id(), old, "a copy of stable does not have to pass it either");
    assert_eq!((story.stable(), story.is_up()), ("1.7.3", true));
}

/// Stable can't have in common with the canary what it never passed.
#[test]
fn a_canary_that_fails_its_own_new_check_is_judged_alone() {
    let mut story = with_a_new_check();
    story.lacking.push((version("1.8.0"), HEALTH_V2));
    story.pass(Millis::from_secs(30));
    let stable = story.service().stable_instance().unwrap();
    assert_eq!((stable.healthy, story.heading()), (Some(true), None));
    // Every other look fails while stable passes what it always passed: that is no longer chance.
    assert_eq!(story.release(1).phase, Phase::RolledBack);
    assert_eq!(story.release(1).verdict.as_ref().unwrap().detector, Detector::Probes);
}

/// 1.8.0 is out with a check of its own, which 1.7.3 answers with 404.
fn with_a_new_check() -> Story {
    let mut story = Story::healthy();
    story.lacking.push((version("1.7.3"), HEALTH_V2));
    let checks = vec![check(HEALTH), check(HEALTH_V2)];
    story.deploy_spec(ReleaseSpec { checks, ..release("1.8.0") }, false).unwrap();
    story.pass(Millis::from_secs(5));
    assert_eq!(story.release(1).phase, Phase::Watching);
    story
}
