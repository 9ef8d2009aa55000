//! A person goes back, or is told why not.

use hmsops_control::state::release::Phase;
use hmsops_model::Millis;
use hmsops_model::service::ServiceSpec;

use super::story::{Story, name, service};

#[test]
fn a_release_taken_back_while_it_bakes_swaps_with_the_warm_old_version() {
    let mut story = Story::baking("1.8.0");
    assert_eq!(story.stable(), "1.8.0");
    story.rollback(None).unwrap();
    assert_eq!(story.stable(), "1.7.3");
    story.pass(Millis::from_secs(30));
    assert_eq!(story.stable(), "1.7.3", "and stays there");
    assert_eq!(story.service().live().count(), 1);
    assert_eq!(story.release(1).phase, Phase::Aborted);
}

/// House: revert never re-canaries.
#[test]
fn a_rollback_after_the_bake_starts_the_last_proven_version_and_swaps() {
    let mut story = Story::proven("1.8.0");
    story.rollback(None).unwrap();
    story.pass(Millis::from_secs(5));
    assert_eq!(story.stable(), "1.7.3");
    story.pass(Millis::from_mins(40));
    assert_eq!(story.stable(), "1.7.3");
    assert_eq!(story.service().live().count(), 1);
}

#[test]
fn a_revert_that_never_becomes_healthy_is_given_up_and_can_be_asked_for_again() {
    let mut story = Story::proven("1.8.0");
    let first = story.next_instance();
    story.failing.push(first);
    story.rollback(None).unwrap();
    story.pass(Millis::from_secs(30));
    assert_eq!((story.service().revert, story.stable()), (Some(first), "1.8.0"));
    story.pass(Millis::from_mins(1));
    assert_ne!(story.service().revert, Some(first), "the revert waits for ever");
    assert_eq!((story.stable(), story.is_up(), story.heading()), ("1.8.0", true, None));
    story.rollback(None).unwrap();
    story.pass(Millis::from_secs(5));
    assert_eq!((story.stable(), story.is_up()), ("1.7.3", true));
}

#[test]
fn a_deployment_during_a_revert_is_refused() {
    let mut story = Story::proven("1.8.0");
    story.failing.push(story.next_instance());
    story.rollback(None).unwrap();
    story.pass(Millis::from_secs(5));
    let refusal = story.deploy("1.9.0").unwrap_err();
    assert!(refusal.message.contains("is on its way to another version"), "{refusal}");
    assert!(story.state.active_release(&name()).is_none());
    story.failing.clear();
    story.pass(Millis::from_secs(5));
    assert_eq!(story.stable(), "1.7.3");
    story.deploy("1.9.0").unwrap();
}

/// With or without a `stable:` in its declaration.
#[test]
fn aborting_a_release_while_it_bakes_goes_back_though_the_warm_version_has_ended() {
    for declared in [service().stable, None] {
        let mut story = Story::baking("1.8.0");
        story.declare(vec![ServiceSpec { stable: declared, ..service() }]);
        story.end(story.service().warm.unwrap().id);
        story.abort();
        assert_eq!(story.heading(), Some("Service Degradation"), "nothing runs");
        story.pass(Millis::from_secs(10));
        assert_eq!((story.stable(), story.is_up()), ("1.7.3", true));
        assert_eq!(story.heading(), Some("Service Degradation Resolved"));
    }
}

#[test]
fn aborting_a_release_while_it_bakes_goes_back_though_it_was_restarted() {
    let mut story = Story::baking("1.8.0");
    story.end(story.service().warm.unwrap().id);
    story.end(story.release(1).instance);
    story.pass(Millis::from_secs(20));
    assert_eq!((story.stable(), story.is_up()), ("1.8.0", true));
    story.abort();
    story.pass(Millis::from_secs(10));
    assert_eq!((story.stable(), story.is_up()), ("1.7.3", true));
    assert_eq!(story.service().live().count(), 1, "the copy of 1.8.0 is stopped");
}

/// A new declaration in the bake renews the route, and proves nothing.
#[test]
fn a_version_aborted_while_it_bakes_is_not_what_a_rollback_goes_back_to() {
    let mut story = Story::baking("1.8.0");
    story.declare(vec![ServiceSpec { owner: Some("a@b.c".into()), ..service() }]);
    story.abort();
    story.pass(Millis::from_secs(30));
    assert_eq!(story.stable(), "1.7.3");
    let refusal = story.rollback(None).unwrap_err();
    assert!(refusal.message.contains("no earlier proven version"), "{refusal}");
    let refusal = story.rollback(Some("1.8.0")).unwrap_err();
    assert!(refusal.message.contains("was never proven here"), "{refusal}");
}

/// Also not when it was proven before.
#[test]
fn a_denied_version_is_not_what_a_rollback_goes_back_to() {
    let mut story = Story::proven("1.8.0");
    story.rollback(None).unwrap();
    story.pass(Millis::from_mins(31));
    assert_eq!(story.stable(), "1.7.3");
    story.deploy("1.8.0").unwrap();
    story.pass(Millis::from_secs(4));
    story.tick(2, 0);
    story.tick(1, 0);
    story.pass(Millis::from_secs(15));
    assert_eq!(story.state.denied.len(), 1);
    let refusal = story.rollback(Some("1.8.0")).unwrap_err();
    assert!(refusal.message.contains("is denied"), "{refusal}");
    story.pass(Millis::from_mins(3));
    let refusal = story.rollback(None).unwrap_err();
    assert!(refusal.message.contains("no earlier proven version"), "{refusal}");
}

/// A detector was faster than the heal that asks for the same: it must not go back twice.
#[test]
fn a_rollback_to_prev_right_after_a_detectors_changes_nothing() {
    let mut story = Story::proven("1.8.0");
    story.pass(Millis::from_mins(40));
    story.deploy("1.9.0").unwrap();
    story.pass(Millis::from_secs(10));
    story.end(story.release(2).instance);
    assert!(story.release(2).phase.is_off());
    story.rollback(None).unwrap();
    story.pass(Millis::from_secs(30));
    assert_eq!(story.stable(), "1.8.0");
    story.pass(Millis::from_mins(5));
    story.rollback(None).unwrap();
    story.pass(Millis::from_secs(30));
    assert_eq!(story.stable(), "1.7.3", "later it means the version before");
}
