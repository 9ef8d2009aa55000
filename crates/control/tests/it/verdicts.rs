//! Verdicts: replayed from what was kept, and steps that end without one.

use hmsops_control::replay::{Kept, replay};
use hmsops_control::sentence;
use hmsops_control::state::release::Phase;
use hmsops_control::transition::{Detector, HoldReason, Transition};
use hmsops_control::{Command, Event};
use hmsops_model::release::Inconclusive;
use hmsops_model::{ArmTick, Millis, ReleaseId, Tick, Unit, Weight};

use crate::story::{Record, Story, fail, name, release, service};

const R1: ReleaseId = ReleaseId(1);

fn records(story: &Story) -> impl Iterator<Item = Kept<'_>> {
    story.kept.iter().map(|record| match record {
        Record::Line(now, transition) => Kept::Line(*now, transition),
        Record::Seen(now, event) => Kept::Seen(*now, event),
    })
}

/// Replayed from ledger and side log alone: the same detector, evidence and moment.
fn agrees(story: &Story, detector: Detector) {
    let replayed = replay(R1, records(story)).unwrap();
    let verdict = story.release(1).verdict.as_ref().unwrap();
    assert_eq!((verdict.detector, replayed.recorded.as_ref()), (detector, Some(verdict)));
    assert!(replayed.agrees(), "{replayed:?} {verdict:?}");
}

#[test]
fn a_verdict_on_errors_is_found_again_from_what_was_kept() {
    let mut story = Story::out("1.8.0");
    for tick in 0..600 {
        story.pass(Millis(100));
        story.tick(u64::from(tick > 400 && tick % 7 == 0), u64::from(tick % 20 == 3));
    }
    agrees(&story, Detector::Errors);
    // A record that somebody has taken out leads elsewhere.
    let mut gone = false;
    let robbed = records(&story).filter(|record| {
        let is_bad = matches!(record, Kept::Seen(_, Event::Tick(tick)) if tick.canary.new_bad > 0);
        let rob = is_bad && !gone;
        gone |= is_bad;
        !rob
    });
    assert!(!replay(R1, robbed).unwrap().agrees());
}

#[test]
fn a_verdict_on_probes_is_found_again_from_what_was_kept() {
    let mut story = Story::out("1.8.0");
    story.pass(Millis::from_secs(100));
    story.failing.push(story.release(1).instance);
    story.pass(Millis::from_secs(10));
    agrees(&story, Detector::Probes);
}

#[test]
fn a_persons_verdict_agrees_when_the_statistics_had_none() {
    let mut story = Story::out("1.8.0");
    story.tick(1, 1);
    story.abort();
    agrees(&story, Detector::Person);
    assert_eq!(replay(ReleaseId(9), records(&story)), None);
}

/// Past the point of no return what was found is a hold, and replays as one, whatever a person does later.
#[test]
fn what_held_a_release_past_its_return_is_found_again() {
    let mut story = Story::of(vec![service()]);
    story.pass(Millis::from_secs(20));
    let spec = hmsops_model::release::ReleaseSpec { irreversible: Some(Weight::NONE), ..release("1.8.0") };
    story.release_with(vec![spec], hmsops_control::event::Options::default()).unwrap();
    story.pass(Millis::from_secs(5));
    story.promote();
    story.pass(Millis::from_secs(20));
    for _ in 0..9 {
        story.pass(Millis(100));
        story.tick(1, 0);
    }
    assert!(matches!(story.release(1).hold, Some((HoldReason::NoReturn { .. }, _))));
    let replayed = replay(R1, records(&story)).unwrap();
    assert_eq!((replayed.recorded.as_ref(), replayed.held), (None, replayed.condemned));
    assert!(replayed.held.is_some() && replayed.agrees(), "{replayed:?}");
    story.abort();
    assert!(replay(R1, records(&story)).unwrap().agrees());
    let without = records(&story)
        .filter(|record| !matches!(record, Kept::Seen(_, Event::Tick(tick)) if tick.canary.new_bad > 0));
    assert!(!replay(R1, without).unwrap().agrees(), "what it was found by is gone");
}

/// A tick of an arm each, without a bad answer unless said.
fn tick(story: &mut Story, seq: u64, canary: ArmTick, stable: ArmTick) {
    let known = story.release(1);
    let tick = Tick {
        service: name(),
        release: Some(R1),
        epoch: story.service().epoch,
        seq,
        gateway_run: 2,
        at: story.now.wall,
        span: Millis(100),
        weight: known.weight,
        unit: Unit::Client,
        canary_waiting: 0,
        stable,
        canary,
    };
    story.event(Event::Tick(Box::new(tick))).unwrap();
}

fn slow(requests: u64, new_slow: u64) -> ArmTick {
    ArmTick { requests, clients: requests, slow: new_slow, new_slow, ..ArmTick::default() }
}

#[test]
fn a_canary_that_stays_slow_is_taken_back_and_one_pause_is_not() {
    let mut story = Story::out("1.8.0");
    tick(&mut story, 1, slow(20, 20), slow(990, 10));
    story.pass(Millis::from_secs(30));
    assert_eq!(story.release(1).phase, Phase::Watching, "a pause is no verdict");
    for second in 0..40 {
        story.pass(Millis(1000));
        tick(&mut story, 2 + second, slow(10, 9), slow(990, 10));
    }
    assert_eq!(story.release(1).phase, Phase::RolledBack);
    agrees(&story, Detector::Slow);
    let why = sentence::why(story.release(1));
    assert!(why.contains("slow answers came from 1.8.0, which had 1 % of users"), "{why}");
}

/// A release of a step of 10 s at 1 % whose canary gives so many bad answers in a thousand, of different clients.
fn doubtful(inconclusive: Inconclusive, margin_bp: Option<u32>) -> Story {
    let mut owned = service();
    owned.owner = Some("oncall".into());
    let mut story = Story::of(vec![owned]);
    story.pass(Millis::from_secs(20));
    let mut spec = release("1.8.0");
    spec.steps[0].hold = Millis::from_secs(10);
    spec.steps[1].hold = Millis::from_secs(10);
    (spec.inconclusive, spec.margin_bp) = (inconclusive, margin_bp);
    story.deploy_spec(spec, false).unwrap();
    story.pass(Millis::from_secs(3));
    assert_eq!(story.release(1).phase, Phase::Watching);
    let plain = |requests| ArmTick { requests, clients: requests, ..ArmTick::default() };
    tick(&mut story, 1, plain(300), plain(29_700));
    story
}

fn extensions(story: &Story) -> usize {
    story.log.iter().filter(|line| matches!(line, Transition::StepExtended { .. })).count()
}

#[test]
fn a_step_whose_traffic_rules_out_the_margin_ends_in_time() {
    let mut story = doubtful(Inconclusive::Extend, Some(300));
    story.pass(Millis::from_secs(11));
    assert_eq!((story.release(1).step, extensions(&story)), (1, 0));
    let mut story = doubtful(Inconclusive::Extend, None);
    story.pass(Millis::from_secs(11));
    assert_eq!(
        (story.release(1).step, extensions(&story)),
        (1, 0),
        "auto asks for what its traffic can show"
    );
}

#[test]
fn a_step_in_doubt_lasts_twice_as_long_and_says_what_it_could_not_rule_out() {
    let mut story = doubtful(Inconclusive::Extend, Some(10));
    story.pass(Millis::from_secs(11));
    assert_eq!((story.release(1).step, extensions(&story)), (0, 1));
    let line = story.log.iter().find(|line| matches!(line, Transition::StepExtended { .. })).unwrap();
    let words = sentence::line(line);
    assert!(words.contains("cannot rule out") && words.contains("0.1 points are allowed"), "{words}");
    story.pass(Millis::from_secs(7));
    assert_eq!(story.release(1).step, 0, "not before twice its time");
    story.pass(Millis::from_secs(3));
    assert_eq!((story.release(1).step, extensions(&story)), (1, 1));
    assert!(!story.release(1).extended, "the next step has its own time");
}

#[test]
fn a_step_in_doubt_that_asks_is_held_and_tells_its_people_once() {
    let mut story = doubtful(Inconclusive::Ask, Some(10));
    story.pass(Millis::from_secs(60));
    let hold = story.release(1).hold.clone().map(|(why, _)| why);
    assert!(matches!(hold, Some(HoldReason::Inconclusive { upper_bp: Some(_), margin_bp: 10 })), "{hold:?}");
    assert_eq!(story.notices.iter().filter(|(_, to)| to == "oncall").count(), 1);
    story.command(Command::Resume { release: R1 }).unwrap();
    story.pass(Millis::from_secs(12));
    assert_eq!(story.release(1).step, 1, "a person who lets it go on is not asked again");
}

/// The next step is another question.
#[test]
fn a_person_who_promotes_a_step_in_doubt_has_said_nothing_of_the_next() {
    let mut story = doubtful(Inconclusive::Hold, Some(10));
    story.pass(Millis::from_secs(12));
    assert!(matches!(story.release(1).hold, Some((HoldReason::Inconclusive { .. }, _))));
    story.promote();
    assert_eq!((story.release(1).step, story.release(1).hold.clone()), (1, None));
    let plain = |requests| ArmTick { requests, clients: requests, ..ArmTick::default() };
    tick(&mut story, 2, plain(300), plain(900));
    story.pass(Millis::from_secs(12));
    assert!(matches!(story.release(1).hold, Some((HoldReason::Inconclusive { .. }, _))), "it is asked anew");
    assert!(!story.release(1).doubt_waived);
}

#[test]
fn a_step_in_doubt_that_holds_tells_nobody() {
    let mut story = doubtful(Inconclusive::Hold, Some(10));
    story.pass(Millis::from_secs(60));
    assert!(story.release(1).hold.is_some());
    assert!(story.notices.is_empty());
}

#[test]
fn a_flapping_canary_is_held_and_not_taken_back() {
    let mut story = Story::out("1.8.0");
    let canary = story.release(1).instance;
    for round in 0..25 {
        // One failure in twelve looks, never three within a minute of scheduled ones.
        story.pass(Millis::from_secs(11));
        story.look(canary, false, fail());
        let stable = story.stable_id();
        story.look(stable, false, crate::story::pass());
        if story.release(1).hold.is_some() {
            assert!(round > 3);
            break;
        }
    }
    let hold = story.release(1).hold.clone().map(|(why, _)| why);
    assert!(matches!(hold, Some(HoldReason::Flapping { .. })), "{hold:?}");
    assert_eq!(
        (story.release(1).phase, story.release(1).weight),
        (Phase::Watching, Weight::from_bp(100).unwrap())
    );
}
