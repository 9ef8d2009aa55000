//! Nothing new goes out in a freeze; what goes back always does.

use hmsops_control::Event;
use hmsops_control::event::{Command, Options};
use hmsops_control::state::release::Phase;
use hmsops_control::transition::HoldReason;
use hmsops_model::freeze::{Freeze, FreezeSpan};
use hmsops_model::service::ServiceSpec;
use hmsops_model::{Millis, ReleaseId, UnixMillis, Weight};

use super::story::{Story, release, service};

/// A freeze that begins and ends so many seconds after a story's present.
fn freeze(story: &Story, from_secs: i64, to_secs: i64) -> Freeze {
    let at = |secs: i64| UnixMillis(story.now.wall.0 + secs * 1000);
    let when = FreezeSpan::Once { from: at(from_secs), to: at(to_secs) };
    Freeze { when, why: Some("year end".into()) }
}

fn is_frozen(story: &Story, id: u64) -> bool {
    matches!(story.release(id).hold, Some((HoldReason::Freeze { .. }, _)))
}

#[test]
fn a_deployment_in_a_freeze_is_refused_unless_a_person_says_why() {
    let mut story = Story::healthy();
    story.event(Event::Freezes(vec![freeze(&story, -60, 3600)])).unwrap();
    let refusal = story.deploy("1.8.0").unwrap_err();
    assert!(
        refusal.message.contains("`csac-portal` is frozen until") && refusal.message.contains("(year end)")
    );
    assert!(refusal.hint.unwrap().contains("--override-freeze"));
    let options = Options { override_freeze: Some("a hole in the login".into()), ..Options::default() };
    story.release_with(vec![release("1.8.0")], options).unwrap();
    story.pass(Millis::from_mins(11));
    assert_eq!(story.release(1).phase, Phase::Baking, "and it goes on in the freeze");
    assert_eq!(story.release(1).freeze_overridden.as_deref(), Some("a hole in the login"));
}

#[test]
fn a_release_is_held_by_a_freeze_and_goes_on_by_itself_when_it_is_over() {
    let mut story = Story::out("1.8.0");
    let freeze = freeze(&story, 60, 1200);
    story.declare(vec![ServiceSpec { freeze: vec![freeze], ..service() }]);
    story.pass(Millis::from_secs(59));
    assert!(story.release(1).hold.is_none());
    story.pass(Millis::from_secs(2));
    assert!(is_frozen(&story, 1), "at once, not at the step's end");
    assert!(hmsops_control::sentence::headline(story.release(1)).contains("nothing new goes out until"));
    let refusal = story.command(Command::Resume { release: ReleaseId(1) }).unwrap_err();
    assert!(refusal.hint.unwrap().contains("--override-freeze"));
    let promote = Command::Promote { release: ReleaseId(1), override_freeze: false };
    assert!(story.command(promote).unwrap_err().message.contains("is frozen"));
    story.pass(Millis::from_mins(18));
    assert_eq!((is_frozen(&story, 1), story.release(1).weight), (true, Weight::from_bp(100).unwrap()));
    story.pass(Millis::from_mins(1));
    assert!(story.release(1).hold.is_none(), "it is over");
    assert_eq!(story.release(1).step, 0, "the step is watched anew");
    story.pass(Millis::from_mins(5));
    assert_eq!(story.release(1).step, 1);
}

#[test]
fn a_person_promotes_in_a_freeze_for_a_reason() {
    let mut story = Story::out("1.8.0");
    story.event(Event::Freezes(vec![freeze(&story, 0, 3600)])).unwrap();
    story.pass(Millis::from_secs(1));
    assert!(is_frozen(&story, 1));
    story.command(Command::Promote { release: ReleaseId(1), override_freeze: true }).unwrap();
    story.pass(Millis::from_mins(6));
    assert_eq!(story.release(1).phase, Phase::Baking, "from 25 % on it goes by itself");
}

#[test]
fn a_release_that_starts_into_a_freeze_waits_before_its_first_share() {
    let mut story = Story::healthy();
    story.event(Event::Freezes(vec![freeze(&story, 1, 600)])).unwrap();
    story.deploy("1.8.0").unwrap();
    story.pass(Millis::from_secs(10));
    assert_eq!((story.release(1).phase, is_frozen(&story, 1)), (Phase::Starting, true));
    story.pass(Millis::from_secs(600));
    assert_eq!(story.release(1).phase, Phase::Watching);
}

/// Whatever the calendar says, what is bad goes back, and so does a person who wants to.
#[test]
fn nothing_that_goes_back_is_frozen() {
    let mut story = Story::out("1.8.0");
    story.event(Event::Freezes(vec![freeze(&story, 0, 36_000)])).unwrap();
    story.pass(Millis::from_secs(1));
    (0..3).for_each(|_| story.tick(1, 0));
    assert_eq!(story.release(1).phase, Phase::RolledBack);

    let mut story = Story::proven("1.8.0");
    story.event(Event::Freezes(vec![freeze(&story, 0, 36_000)])).unwrap();
    story.rollback(None).unwrap();
    story.pass(Millis::from_secs(5));
    assert_eq!(story.stable(), "1.7.3");

    let mut story = Story::proven("1.8.0");
    story.event(Event::Freezes(vec![freeze(&story, 0, 36_000)])).unwrap();
    story.deploy("1.7.3").unwrap();
    story.pass(Millis::from_secs(5));
    assert_eq!(story.stable(), "1.7.3", "also when it is deployed");
}

/// The end of a freeze must not forget what was seen in it.
#[test]
fn what_fails_in_a_freeze_is_halted_and_stays_so_when_it_is_over() {
    let mut story = Story::out("1.8.0");
    story.event(Event::Freezes(vec![freeze(&story, 0, 120)])).unwrap();
    story.pass(Millis::from_secs(60));
    assert!(is_frozen(&story, 1));
    let canary = story.release(1).instance;
    for _ in 0..3 {
        story.pass(Millis::from_secs(15));
        story.failed_probe(canary);
    }
    assert!(
        matches!(story.release(1).hold, Some((HoldReason::Halted { .. }, _))),
        "{:?}",
        story.release(1).hold
    );
    story.pass(Millis::from_secs(60));
    assert!(matches!(story.release(1).hold, Some((HoldReason::Halted { .. }, _))), "a person lets it go on");
    story.command(Command::Resume { release: ReleaseId(1) }).unwrap();
    story.pass(Millis::from_secs(1));
    assert!(story.release(1).hold.is_none());
}

#[test]
fn a_person_pauses_what_a_freeze_holds_and_its_end_does_not_let_it_go() {
    let mut story = Story::out("1.8.0");
    story.event(Event::Freezes(vec![freeze(&story, 0, 60)])).unwrap();
    story.pass(Millis::from_secs(1));
    story.command(Command::Pause { release: ReleaseId(1) }).unwrap();
    story.pass(Millis::from_mins(10));
    assert!(matches!(story.release(1).hold, Some((HoldReason::Paused, _))));
    assert_eq!(story.release(1).step, 0);
    assert!(story.command(Command::Pause { release: ReleaseId(1) }).is_err(), "twice is once");
}
