//! Releases of several services that go out together, and back.

use hmsops_control::event::{Command, Options};
use hmsops_control::state::release::Phase;
use hmsops_control::transition::{Detector, HoldReason};
use hmsops_control::{Refusal, retreats_due};
use hmsops_model::release::ReleaseSpec;
use hmsops_model::service::{RouteSpec, ServiceSpec};
use hmsops_model::{Millis, ReleaseId, ServiceName, Weight};

use super::story::{Story, fail, release, service};

const PORTAL: u64 = 1;
const PHOTO: u64 = 2;

fn named(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

/// The portal, and the photos that it asks.
fn services() -> Vec<ServiceSpec> {
    let host = |host: &str| {
        Some(RouteSpec {
            gateway: "public".into(),
            host: Some(host.into()),
            protocol: hmsops_model::service::Protocol::Http1,
        })
    };
    let portal = ServiceSpec { route: host("portal"), ..service() };
    vec![portal, ServiceSpec { name: named("dmv-photo"), route: host("photo"), ..service() }]
}

fn specs(tag: &str) -> Vec<ReleaseSpec> {
    let portal = ReleaseSpec { after: vec![named("dmv-photo")], ..release(tag) };
    vec![portal, ReleaseSpec { service: named("dmv-photo"), ..release(tag) }]
}

fn healthy() -> Story {
    let mut story = Story::of(services());
    story.pass(Millis::from_secs(20));
    story
}

fn out() -> Story {
    let mut story = healthy();
    story.release_with(specs("1.8.0"), Options::default()).unwrap();
    story.pass(Millis::from_secs(4));
    assert_eq!(weights(&story), [100, 100]);
    story
}

fn weights(story: &Story) -> [u16; 2] {
    [PORTAL, PHOTO].map(|id| story.release(id).weight.bp())
}

fn phases(story: &Story) -> [Phase; 2] {
    [PORTAL, PHOTO].map(|id| story.release(id).phase)
}

fn refusal(specs: Vec<ReleaseSpec>) -> Refusal {
    healthy().release_with(specs, Options::default()).unwrap_err()
}

#[test]
fn a_group_goes_through_its_steps_together_in_the_order_of_its_services() {
    let mut story = out();
    assert_eq!(story.release(PORTAL).group, Some(ReleaseId(PORTAL)));
    assert_eq!(story.release(PHOTO).group, Some(ReleaseId(PORTAL)));
    story.pass(Millis::from_mins(11));
    assert_eq!(phases(&story), [Phase::Baking; 2]);
    let order: Vec<_> = story
        .log
        .iter()
        .filter(|t| {
            use hmsops_control::Transition as T;
            matches!(t, T::WeightIntended { .. } | T::ReleasePromoted { .. })
        })
        .filter_map(|t| t.release().map(|id| id.0))
        .collect();
    assert_eq!(order, [PHOTO, PORTAL, PHOTO, PORTAL, PHOTO, PORTAL]);
    story.pass(Millis::from_mins(31));
    assert_eq!(phases(&story), [Phase::Done; 2]);
}

#[test]
fn none_goes_on_while_one_is_held_or_not_up() {
    let mut story = healthy();
    // The photos' new version never answers.
    let second = hmsops_model::InstanceId(story.next_instance().0 + 1);
    story.failing.push(second);
    story.release_with(specs("1.8.0"), Options::default()).unwrap();
    story.pass(Millis::from_secs(10));
    assert_eq!(weights(&story), [0, 0]);
    story.failing.clear();
    story.pass(Millis::from_secs(5));
    assert_eq!(weights(&story), [100, 100]);
    story.command(Command::Pause { release: ReleaseId(PORTAL) }).unwrap();
    story.pass(Millis::from_mins(20));
    assert_eq!(weights(&story), [100, 100]);
    story.command(Command::Resume { release: ReleaseId(PORTAL) }).unwrap();
    story.pass(Millis::from_mins(6));
    assert_eq!(weights(&story), [2500, 2500]);
    assert!(story.release(PHOTO).hold.is_none());
}

/// In one decision, so that it is as fast as one alone.
#[test]
fn one_that_is_bad_takes_all_back_at_once() {
    let mut story = out();
    (0..2).for_each(|_| story.tick_of(&named("dmv-photo"), 1, 1, 0));
    assert_eq!(phases(&story), [Phase::Watching; 2]);
    story.tick_of(&named("dmv-photo"), 1, 1, 0);
    assert_eq!(phases(&story), [Phase::RolledBack; 2]);
    let detector = |id| story.release(id).verdict.as_ref().unwrap().detector;
    assert_eq!([detector(PORTAL), detector(PHOTO)], [Detector::Group, Detector::Errors]);
    let first = story.log.iter().position(hmsops_control::Transition::is_retreat).unwrap();
    assert!(story.log[first + 1].is_retreat(), "nothing in between");
    assert_eq!(
        story.state.denied.keys().map(|id| id.0).collect::<Vec<_>>(),
        [PHOTO],
        "the portal is not to blame"
    );
    story.pass(Millis::from_secs(15));
    let live = |name: &str| story.state.services[&named(name)].live().count();
    assert_eq!([live("csac-portal"), live("dmv-photo")], [1, 1]);
    assert!(story.said.iter().any(|line| line.contains("which it goes out with")), "{:?}", story.said);
}

/// A crash between two lines of a joint retreat leaves one member out: it is found again, whatever ended the other.
#[test]
fn a_member_left_behind_goes_back() {
    let story = out();
    let mut state = story.state.clone();
    let fellow = state.releases.get_mut(&ReleaseId(PHOTO)).unwrap();
    fellow.phase = Phase::Aborted;
    let due = retreats_due(&state, &story.evidence, story.now);
    assert!(due.iter().any(|t| t.is_retreat() && t.release() == Some(ReleaseId(PORTAL))), "{due:?}");

    let mut story = out();
    story.command(Command::Abort { release: ReleaseId(PHOTO) }).unwrap();
    assert_eq!(phases(&story), [Phase::RolledBack, Phase::Aborted]);

    let mut story = out();
    story.deploy_spec(ReleaseSpec { service: named("dmv-photo"), ..release("1.9.0") }, false).unwrap();
    assert_eq!(phases(&story), [Phase::RolledBack, Phase::Superseded]);
}

#[test]
fn one_that_is_bad_in_the_bake_takes_all_back() {
    let mut story = out();
    story.pass(Millis::from_mins(11));
    assert_eq!(phases(&story), [Phase::Baking; 2]);
    let (photo, name) = (story.release(PHOTO).instance, named("dmv-photo"));
    story.failing.push(photo);
    story.pass(Millis::from_secs(10));
    assert_eq!(phases(&story), [Phase::RolledBack; 2]);
    assert_eq!(story.stable(), "1.7.3");
    assert_eq!(story.state.services[&name].stable_version().unwrap().as_str(), "1.7.3");
    let _ = fail();
}

#[test]
fn a_persons_word_moves_all_and_a_reason_lets_all_go_where_one_cannot_come_back_from() {
    let mut story = out();
    story.command(Command::Promote { release: ReleaseId(PORTAL), override_freeze: false }).unwrap();
    story.pass(Millis(100));
    assert_eq!(weights(&story), [2500, 2500]);

    let mut story = healthy();
    let mut two = specs("1.8.0");
    two[1].irreversible = Weight::from_bp(2500);
    story.release_with(two, Options::default()).unwrap();
    story.pass(Millis::from_mins(6));
    assert!(matches!(story.release(PHOTO).hold, Some((HoldReason::Irreversible, _))));
    assert_eq!(weights(&story), [100, 100]);
    story.command(Command::Promote { release: ReleaseId(PORTAL), override_freeze: false }).unwrap();
    story.pass(Millis(100));
    assert_eq!((weights(&story), story.release(PHOTO).committed), ([2500, 2500], true));
}

#[test]
fn all_begin_or_none_and_what_cannot_go_together_is_refused() {
    let (mut circle, mut twice, mut alone, mut apart) =
        (specs("1.8.0"), specs("1.8.0"), specs("1.8.0"), specs("1.8.0"));
    circle[1].after = vec![named("csac-portal")];
    assert!(refusal(circle).message.contains("in a circle"));
    twice[1].service = named("csac-portal");
    twice[0].after.clear();
    assert!(refusal(twice).message.contains("asked for twice"));
    alone[0].after = vec![named("forms")];
    assert!(refusal(alone).message.contains("which is not asked for"));
    apart[1].steps.remove(0);
    assert!(refusal(apart).message.contains("other steps"));
    let mut unknown = specs("1.8.0");
    unknown[1].service = named("forms");
    unknown[0].after.clear();
    let mut story = healthy();
    assert!(story.release_with(unknown, Options::default()).is_err());
    assert!(story.state.releases.is_empty(), "none has begun");
}
