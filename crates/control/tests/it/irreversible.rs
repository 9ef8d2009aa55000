//! A release that cannot be taken back asks a person first, and stays where it is when it turns out to be bad.

use hmsops_control::event::{Command, Options};
use hmsops_control::signal::notice::Occasion;
use hmsops_control::state::release::Phase;
use hmsops_control::transition::{Detector, HoldReason};
use hmsops_control::{Event, sentence};
use hmsops_model::release::ReleaseSpec;
use hmsops_model::service::ServiceSpec;
use hmsops_model::{Millis, ReleaseId, Weight};

use super::story::{Story, release, service};

fn irreversible(bp: u16) -> ReleaseSpec {
    ReleaseSpec { irreversible: Weight::from_bp(bp), ..release("1.8.0") }
}

fn owned() -> Story {
    let mut story = Story::of(vec![ServiceSpec { owner: Some("oncall@csac.gov".into()), ..service() }]);
    story.pass(Millis::from_secs(20));
    story
}

fn asks(story: &Story) -> bool {
    story.release(1).hold.as_ref().is_some_and(|(why, _)| *why == HoldReason::Irreversible)
}

fn promote(story: &mut Story, reason: &str) -> Result<(), hmsops_control::Refusal> {
    let command = Command::Promote { release: ReleaseId(1), override_freeze: false };
    let (by, reason) = (hmsops_control::Who::tower(), reason.to_owned());
    story.event(Event::Command { command, by, reason })
}

#[test]
fn a_person_is_asked_before_the_first_traffic_and_gives_a_reason() {
    let mut story = owned();
    story.release_with(vec![irreversible(0)], Options::default()).unwrap();
    story.pass(Millis::from_mins(10));
    assert_eq!((story.release(1).phase, asks(&story)), (Phase::Starting, true));
    assert_eq!(story.notices.len(), 1, "and called once: {:?}", story.notices);
    assert!(sentence::headline(story.release(1)).contains("a person lets it go there"));
    assert!(story.command(Command::Resume { release: ReleaseId(1) }).is_err());
    assert!(promote(&mut story, "").unwrap_err().message.contains("a reason is needed"));
    promote(&mut story, "the backup is tested").unwrap();
    story.pass(Millis::from_secs(1));
    assert_eq!(story.release(1).weight, Weight::from_bp(100).unwrap());
    story.pass(Millis::from_mins(11));
    assert_eq!(story.release(1).phase, Phase::Baking, "it is asked once");
}

#[test]
fn below_its_share_it_is_taken_back_like_any_other() {
    let mut story = owned();
    story.release_with(vec![irreversible(2500)], Options::default()).unwrap();
    story.pass(Millis::from_secs(5));
    assert_eq!((story.release(1).phase, asks(&story)), (Phase::Watching, false));
    story.pass(Millis::from_mins(5));
    assert!(asks(&story), "before 25 %");
    (0..3).for_each(|_| story.tick(1, 0));
    assert_eq!(story.release(1).phase, Phase::RolledBack);
}

/// Research §8(9): forward, or by a person.
#[test]
fn past_its_share_it_stays_and_a_person_is_called() {
    let mut story = owned();
    story.release_with(vec![irreversible(100)], Options::default()).unwrap();
    story.pass(Millis::from_secs(5));
    promote(&mut story, "the backup is tested").unwrap();
    story.pass(Millis::from_secs(1));
    let told = story.state.signals.notices.len();
    (0..9).for_each(|_| story.tick(1, 0));
    story.pass(Millis::from_mins(20));
    let (weight, phase) = (story.release(1).weight, story.release(1).phase);
    assert_eq!((phase, weight), (Phase::Watching, Weight::from_bp(100).unwrap()));
    let hold = story.release(1).hold.clone().map(|(why, _)| why);
    assert!(matches!(hold, Some(HoldReason::NoReturn { detector: Detector::Errors, .. })), "{hold:?}");
    assert_eq!(story.heading(), Some("Service Degradation"), "users are told");
    assert_eq!(story.state.signals.notices.len(), told + 1, "{:?}", story.state.signals.notices);
    assert!(story.rollback(None).unwrap_err().message.contains("irreversible"), "no script takes it back");
    assert!(story.deploy("1.8.1").unwrap_err().message.contains("irreversible"));
    assert!(story.command(Command::Resume { release: ReleaseId(1) }).is_err());
    story.abort();
    assert_eq!((story.release(1).phase, story.stable()), (Phase::Aborted, "1.7.3"), "a person can");
}

#[test]
fn with_all_traffic_it_is_not_proven_by_time_and_a_fix_goes_on_from_it() {
    let mut story = owned();
    story.release_with(vec![irreversible(10_000)], Options::default()).unwrap();
    story.pass(Millis::from_mins(11));
    assert!(asks(&story), "before 100 %: {:?}", story.release(1).hold);
    promote(&mut story, "the backup is tested").unwrap();
    story.pass(Millis::from_secs(5));
    story.failing.push(story.release(1).instance);
    story.pass(Millis::from_mins(60));
    assert_eq!((story.release(1).phase, story.stable()), (Phase::Baking, "1.8.0"));
    assert_eq!(
        sentence::headline(story.release(1)),
        "1.8.0 is bad, and stays at 100 %: there is no way back but by a person."
    );
    let why = sentence::why(story.release(1));
    assert!(why.contains("probes of 1.8.0 failed") && why.contains("`hmsops release abort r-1"), "{why}");
    story.deploy("1.8.1").unwrap();
    story.pass(Millis::from_secs(5));
    assert_eq!((story.release(1).phase, story.release(2).phase), (Phase::Done, Phase::Watching));
    assert_eq!(story.release(2).from.as_ref().map(hmsops_model::Version::as_str), Some("1.8.0"));
}

#[test]
fn once_it_is_proven_prev_does_not_lead_back_over_it() {
    let mut story = owned();
    story.release_with(vec![irreversible(10_000)], Options::default()).unwrap();
    story.pass(Millis::from_mins(11));
    promote(&mut story, "the backup is tested").unwrap();
    story.pass(Millis::from_mins(31));
    assert_eq!(story.release(1).phase, Phase::Done);
    assert!(story.rollback(None).unwrap_err().message.contains("irreversible"));
    story.deploy("1.7.3").unwrap();
    assert!(!story.release(2).revert, "nor a deployment without a canary");
    story.command(Command::Abort { release: ReleaseId(2) }).unwrap();
    story.rollback(Some("1.7.3")).unwrap();
    story.pass(Millis::from_secs(5));
    assert_eq!(story.stable(), "1.7.3");
}

/// Who was called is told that nobody waits any more, once; what ends by a rollback says so itself.
#[test]
fn who_was_called_learns_that_nobody_waits_any_more() {
    let told = |story: &Story| -> Vec<(Occasion, String)> {
        let notices = story.state.signals.notices.values();
        notices.map(|notice| (notice.occasion, notice.subject.clone())).collect()
    };
    let held = (Occasion::Held, "csac-portal: r-1 waits for you".to_owned());
    let over = (Occasion::HoldEnded, "csac-portal: r-1 no longer waits for you".to_owned());
    let mut story = owned();
    story.release_with(vec![irreversible(0)], Options::default()).unwrap();
    story.pass(Millis::from_mins(10));
    promote(&mut story, "the backup is tested").unwrap();
    story.pass(Millis::from_mins(2));
    assert_eq!(told(&story), [held.clone(), over.clone()]);
    assert_eq!(story.release(1).told_hold, Vec::<String>::new());

    let mut story = owned();
    story.release_with(vec![irreversible(0)], Options::default()).unwrap();
    story.pass(Millis::from_mins(10));
    story.abort();
    story.pass(Millis::from_secs(5));
    assert_eq!(told(&story), [held.clone(), over], "by a person, too");

    let mut story = owned();
    story.release_with(vec![irreversible(2500)], Options::default()).unwrap();
    story.pass(Millis::from_mins(6));
    (0..3).for_each(|_| story.tick(1, 0));
    story.pass(Millis::from_secs(5));
    let occasions: Vec<Occasion> = told(&story).into_iter().map(|(occasion, _)| occasion).collect();
    assert_eq!(occasions, [Occasion::Held, Occasion::RolledBack]);
}

/// There is nothing to come back to.
#[test]
fn a_first_deployment_asks_nobody() {
    let mut story = Story::of(vec![ServiceSpec { stable: None, ..service() }]);
    story.deploy_spec(irreversible(0), true).unwrap();
    story.pass(Millis::from_secs(5));
    assert_eq!(story.release(1).phase, Phase::Baking);
}

/// Must hold of four eyes: not by two tokens, not by a program, and not at all where nobody asks for it.
#[test]
fn where_four_eyes_are_asked_for_another_person_lets_it_go() {
    use hmsops_control::Who;
    use hmsops_control::people::{PeopleWish, Proof};
    use hmsops_model::Digest;
    use hmsops_model::person::{FourEyes, Identity, Role};

    let mut story = owned();
    story.event(Event::FourEyes(vec![FourEyes::Irreversible])).unwrap();
    for (n, subject) in [(1, "u-1"), (2, "u-2")] {
        let wish = PeopleWish::Open {
            sha256: Digest::from_sha256([n; 32]),
            identity: Identity { issuer: "https://id".into(), subject: subject.into() },
            name: "Sam".into(),
            roles: vec![Role::Operator],
            groups: Vec::new(),
            proof: Proof::Oidc,
            proven_at: None,
            until: None,
            from: None,
        };
        story.command(Command::People { wish: Box::new(wish) }).unwrap();
    }
    let person = |n: u8| Who { actor: format!("person:p-{n} Sam"), source: "person".into() };
    let spec = irreversible(0);
    let asked = Event::Deploy { spec: Box::new(spec), digest: None, salt: 7, first: false, by: person(1) };
    story.event(asked).unwrap();
    story.pass(Millis::from_mins(1));
    assert!(asks(&story));
    let promote = |story: &mut Story, by: Who| {
        let command = Command::Promote { release: ReleaseId(1), override_freeze: false };
        story.event(Event::Command { command, by, reason: "the backup is tested".into() })
    };
    let own = promote(&mut story, person(1)).unwrap_err().message;
    assert!(own.contains("asked for by yourself"), "{own}");
    assert!(promote(&mut story, Who::tower()).unwrap_err().message.contains("another person's word"));
    assert!(asks(&story));
    promote(&mut story, person(2)).unwrap();
    assert!(!asks(&story), "of the same name, and another person");
}
