//! A version that was stable lately goes back without a canary, however that is asked for.

use hmsops_control::event::{Command, Options};
use hmsops_control::state::release::Phase;
use hmsops_control::{Event, Who, sentence};
use hmsops_model::freeze::RollbackWindow;
use hmsops_model::service::ServiceSpec;
use hmsops_model::{Digest, Millis, ReleaseId};

use super::story::{Story, release, service};

/// Research §1.3(4): neither analysed nor tried on users once more; the version it came from stays warm.
#[test]
fn a_deployment_of_the_version_before_goes_back_at_once() {
    let mut story = Story::proven("1.8.0");
    story.deploy("1.7.3").unwrap();
    assert!(story.release(2).revert);
    story.pass(Millis::from_secs(5));
    assert_eq!((story.release(2).phase, story.stable()), (Phase::Baking, "1.7.3"));
    assert_eq!(story.service().live().count(), 2, "1.8.0 is warm");
    story.pass(Millis::from_mins(31));
    assert_eq!(story.release(2).phase, Phase::Done);
    let why = sentence::why(story.release(2));
    assert_eq!(why, "Promoted at once, without a canary: 1.7.3 was stable here lately.");
}

#[test]
fn a_revert_that_never_answers_leaves_users_where_they_are() {
    let mut story = Story::proven("1.8.0");
    story.failing.push(story.next_instance());
    story.deploy("1.7.3").unwrap();
    story.pass(Millis::from_secs(25));
    assert_eq!((story.release(2).phase, story.stable(), story.is_up()), (Phase::Failed, "1.8.0", true));
}

#[test]
fn a_canary_can_be_asked_for_and_a_window_ends_by_count_and_by_age() {
    let begun = |story: &mut Story, options: Options| {
        story.release_with(vec![release("1.7.3")], options).unwrap();
        story.release(2).revert
    };
    let mut story = Story::proven("1.8.0");
    assert!(!begun(&mut story, Options { canary: true, ..Options::default() }));
    story.pass(Millis::from_secs(5));
    assert_eq!(story.release(2).phase, Phase::Watching);

    let with = |window: RollbackWindow| {
        let mut story = Story::proven("1.8.0");
        story.declare(vec![ServiceSpec { rollback_window: window, ..service() }]);
        story
    };
    let default = RollbackWindow::default();
    assert!(!begun(&mut with(RollbackWindow { versions: 0, ..default }), Options::default()));
    // It was stable until 31 minutes ago.
    assert!(!begun(&mut with(RollbackWindow { age: Millis::from_mins(30), ..default }), Options::default()));
    assert!(begun(&mut with(RollbackWindow { age: Millis::from_mins(40), ..default }), Options::default()));
}

/// What somebody went back from is not gone back to: not by a deployment, nor by a second `--to=prev`.
#[test]
fn two_rollbacks_in_a_row_are_not_back_at_the_bad_version() {
    let mut story = Story::proven("1.8.0");
    story.rollback(None).unwrap();
    story.pass(Millis::from_mins(40));
    assert_eq!(story.stable(), "1.7.3");
    let refusal = story.rollback(None).unwrap_err();
    assert!(refusal.message.contains("no earlier proven version"), "{refusal}");
    story.deploy("1.8.0").unwrap();
    assert!(!story.release(2).revert, "1.8.0 goes behind a canary again");
    story.pass(Millis::from_mins(50));
    assert_eq!((story.release(2).phase, story.stable()), (Phase::Done, "1.8.0"));
    story.rollback(None).unwrap();
    story.pass(Millis::from_secs(5));
    assert_eq!(story.stable(), "1.7.3");
    story.rollback(Some("1.8.0")).unwrap();
    story.pass(Millis::from_secs(5));
    assert_eq!(story.stable(), "1.8.0", "a person can name it");
}

#[test]
fn a_denied_version_never_goes_back() {
    let mut story = Story::baking("1.8.0");
    story.failing.push(story.release(1).instance);
    story.pass(Millis::from_secs(10));
    assert_eq!((story.release(1).phase, story.stable()), (Phase::RolledBack, "1.7.3"));
    let refusal = story.deploy("1.8.0").unwrap_err();
    assert!(refusal.message.contains("is denied") && refusal.hint.unwrap().contains("undeny"));
    story.command(Command::Undeny { release: ReleaseId(1) }).unwrap();
    story.deploy("1.8.0").unwrap();
    assert!(!story.release(2).revert, "it was never proven");
}

#[test]
fn the_version_that_is_still_warm_is_gone_back_to_by_ending_the_release() {
    let mut story = Story::baking("1.8.0");
    let refusal = story.deploy("1.7.3").unwrap_err();
    assert!(refusal.message.contains("still warm") && refusal.hint.unwrap().contains("release abort r-1"));
}

/// What was proven under one name and taken back under another is not gone back to by its first name either.
#[test]
fn denied_content_is_not_gone_back_to_under_its_older_name() {
    let mut story = Story::healthy();
    let out = |story: &mut Story, tag: &str, content: u8| {
        let (spec, digest) = (Box::new(release(tag)), Some(Digest::from_sha256([content; 32])));
        story.event(Event::Deploy { spec, digest, salt: 7, first: false, by: Who::tower() }).unwrap();
        story.pass(Millis::from_secs(3));
    };
    for (tag, content) in [("1.8.0", 1), ("1.9.0", 2)] {
        out(&mut story, tag, content);
        story.pass(Millis::from_mins(45));
        assert_eq!(story.stable(), tag);
    }
    out(&mut story, "1.8.0-rebuilt", 1);
    (0..3).for_each(|_| story.tick(1, 0));
    assert_eq!(story.release(3).phase, Phase::RolledBack);
    let refusal = story.rollback(Some("1.8.0")).unwrap_err();
    assert!(refusal.message.contains("was taken back in r-3 and is denied"), "{refusal}");
    story.command(Command::Undeny { release: ReleaseId(3) }).unwrap();
    story.rollback(Some("1.8.0")).unwrap();
}
