//! Who is called when a release is held, and how often.

use hmsops_control::event::{Command, Options};
use hmsops_control::signal::notice::Occasion;
use hmsops_control::transition::{Detector, HoldReason, Transition};
use hmsops_control::{Event, Who};
use hmsops_model::release::{ReleaseSpec, Step};
use hmsops_model::service::ServiceSpec;
use hmsops_model::{Millis, ReleaseId, Weight};

use super::story::{Story, release, service};

/// A release under watch for hours, of a service with an owner.
fn out() -> Story {
    let mut story = Story::of(vec![ServiceSpec { owner: Some("oncall@csac.gov".into()), ..service() }]);
    story.pass(Millis::from_secs(20));
    let step = |bp, mins| Step { weight: Weight::from_bp(bp).unwrap(), hold: Millis::from_mins(mins) };
    let spec = ReleaseSpec { steps: vec![step(100, 600), step(10_000, 0)], ..release("1.8.0") };
    story.release_with(vec![spec], Options::default()).unwrap();
    story.pass(Millis::from_secs(10));
    story
}

/// Both versions fail until the release is held for it.
fn both_fail(story: &mut Story) {
    story.failing = [story.stable_id(), story.release(1).instance].into();
    story.pass(Millis::from_secs(40));
    let why = story.release(1).hold.as_ref().map(|(why, _)| why.word());
    assert_eq!(why, Some("both-fail"));
}

/// Both pass again, and the release goes on.
fn both_pass(story: &mut Story) {
    story.failing.clear();
    story.pass(Millis::from_secs(40));
    assert_eq!(story.release(1).hold, None);
}

fn told(story: &Story) -> Vec<Occasion> {
    story.state.signals.notices.values().map(|notice| notice.occasion).collect()
}

/// One call says that it is there and one that it has passed, however often it comes and goes in between.
#[test]
fn a_hold_that_comes_and_goes_calls_once() {
    let mut story = out();
    for _ in 0..10 {
        both_fail(&mut story);
        both_pass(&mut story);
    }
    assert_eq!(told(&story), [Occasion::Held]);
    story.pass(Millis::from_mins(5));
    assert_eq!(told(&story), [Occasion::Held, Occasion::HoldEnded], "it has passed");
    both_fail(&mut story);
    assert_eq!(told(&story), [Occasion::Held, Occasion::HoldEnded, Occasion::Held], "another one");
    both_pass(&mut story);
    story.abort();
    story.pass(Millis::from_secs(1));
    assert_eq!(told(&story).last(), Some(&Occasion::HoldEnded), "what is over has settled");
}

/// Whoever has let it go on is gone: that it is held again is news.
#[test]
fn a_hold_after_a_persons_word_calls_again() {
    let mut story = out();
    both_fail(&mut story);
    let by = Who { actor: "admin".into(), source: "api".into() };
    let command = Command::Resume { release: ReleaseId(1) };
    story.event(Event::Command { command, by, reason: "we know".into() }).unwrap();
    both_fail(&mut story);
    assert_eq!(told(&story), [Occasion::Held, Occasion::HoldEnded, Occasion::Held]);
}

/// That it is bad, too, is not kept from who knows only that both versions fail.
#[test]
fn another_reason_calls_at_once() {
    let mut story = out();
    both_fail(&mut story);
    for n in 0..3 {
        let why = HoldReason::NoReturn { detector: Detector::Errors, why: format!("{n} failures") };
        let (release, service) = (ReleaseId(1), super::story::name());
        let held = Transition::ReleaseHeld { release, service, why, by: Who::tower(), reason: String::new() };
        story.state.apply(story.now, &held);
        story.event(Event::Wake).unwrap();
        assert_eq!(told(&story), [Occasion::Held; 2], "once each");
    }
}
