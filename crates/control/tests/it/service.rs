//! A service keeps its stable version running, or says that it does not.

use hmsops_control::state::release::Phase;
use hmsops_model::service::ServiceSpec;
use hmsops_model::{Millis, Weight};

use super::story::{Story, service};

#[test]
fn a_stable_that_dies_is_started_again_and_users_are_told() {
    let mut story = Story::healthy();
    let id = story.stable_id();
    story.end(id);
    story.pass(Millis::from_secs(5));
    assert_eq!(story.stable(), "1.7.3");
    assert_ne!(story.service().stable, Some(id));
    assert_eq!(story.heading(), Some("Service Degradation Resolved"));
}

#[test]
fn a_crash_loop_starts_the_stable_version_again_and_users_are_told_until_it_is_over() {
    let mut story = Story::proven("1.8.0");
    story.fail_all_to_come();
    story.crash(Millis::from_mins(5));
    let newest = story.service().instances.values().next_back().unwrap();
    assert_eq!(newest.instance.version.as_str(), "1.8.0", "another version than stable is started");
    assert_eq!((story.stable(), story.is_up()), ("1.8.0", false));
    assert_eq!(story.heading(), Some("Service Degradation"));
    story.failing.clear();
    story.pass(Millis::from_mins(2));
    assert_eq!((story.stable(), story.is_up()), ("1.8.0", true));
    assert_eq!(story.heading(), Some("Service Degradation Resolved"));
}

#[test]
fn a_crash_loop_of_a_version_that_is_not_declared_stable_is_still_started_again() {
    let mut story = Story::healthy();
    story.declare(vec![ServiceSpec { stable: None, ..service() }]);
    story.fail_all_to_come();
    story.crash(Millis::from_mins(10));
    assert!(!story.is_up());
    story.failing.clear();
    story.pass(Millis::from_mins(2));
    assert_eq!((story.stable(), story.is_up()), ("1.7.3", true));
}

/// Each copy passes its probes before it ends, so none of them fails to start.
#[test]
fn a_stable_that_keeps_ending_is_started_at_growing_intervals() {
    let mut story = Story::healthy();
    let before = story.state.last_instance;
    for _ in 0..600 {
        if story.is_up() {
            story.end(story.stable_id());
        }
        story.pass(Millis(100));
    }
    let starts = story.state.last_instance - before;
    assert!((4..12).contains(&starts), "{starts} starts in a minute");
}

/// Whoever is no longer declared is no longer judged, so its canary does not stay out.
#[test]
fn a_service_that_retires_has_its_canary_taken_back() {
    let mut story = Story::out("1.8.0");
    story.declare(Vec::new());
    assert_eq!((story.release(1).phase, story.release(1).weight), (Phase::Aborted, Weight::NONE));
    assert!(story.release(1).rolled_back_at.is_some(), "its gateway has confirmed it");
    story.pass(Millis::from_secs(15));
    assert!(story.release(1).closed);
}
