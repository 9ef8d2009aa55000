//! Stories of two services that go out together, with a freeze on their way: what is bad in one takes both back, and
//! nothing goes further while nothing may.

use hmsops_control::event::{Asked, Options};
use hmsops_control::state::release::{Phase, Release};
use hmsops_control::{Event, Who};
use hmsops_model::freeze::{Freeze, FreezeSpan};
use hmsops_model::release::{Image, ReleaseSpec, Step};
use hmsops_model::service::ServiceSpec;
use hmsops_model::{Millis, ReleaseId, ServiceName, UnixMillis, Weight};

use crate::instance::Fault;
use crate::invariant::{Invariant, Violation};
use crate::mishap::Mishap;
use crate::story::{declared, name, release, version};
use crate::world::World;

/// What is wrong with the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plot {
    /// Nothing.
    Healthy,
    /// The first, which has no gateway, fails its probes ten seconds after the second has users.
    FirstFails,
    /// The second answers its users with errors.
    SecondErrs,
}

/// All of them.
pub const PLOTS: [Plot; 3] = [Plot::Healthy, Plot::FirstFails, Plot::SecondErrs];

/// What came of a pair.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// Where both ended, the first first.
    pub phases: Vec<Phase>,
    /// Versions that may not be deployed.
    pub denied: usize,
    /// Steps in which a freeze was in force and a release waited for its end.
    pub frozen_steps: u64,
    /// Invariants that did not hold.
    pub violations: Vec<Violation>,
    /// Everything that was decided.
    pub journal: Vec<u8>,
}

/// Steps of a story at most: twenty minutes.
const STEPS_MAX: u64 = 12_000;

/// How long the freeze lasts.
const FREEZE_MS: i64 = 60_000;

/// Of one step: when it was, on the wall clock, and the shares of both.
type Seen = (UnixMillis, Vec<(ReleaseId, Weight)>);

/// Tells a pair's story to its end; with `mishaps`, some befall us on the way.
pub fn run(seed: u64, plot: Plot, mishaps: bool) -> Ending {
    let mut world = World::new(seed);
    world.users.rate = 50.0;
    world.users.clients = 2000;
    if plot == Plot::SecondErrs {
        world.canary_fault = Fault::Errors(1.0);
        world.fault_delay = Millis::from_secs(10);
    }
    come_up(&mut world);
    let begin = world.now.wall.0 + 10_000 + world.dice.below(40_000) as i64;
    let freeze = (UnixMillis(begin), UnixMillis(begin + FREEZE_MS));
    let frozen = frozen(freeze);
    world.hand_in(&frozen);
    let asked = asked(&mut world);
    world.hand_in(&asked);
    let n = if mishaps { 1 + world.dice.below(4) } else { 0 };
    let mut due: Vec<(u64, Mishap)> =
        (0..n).map(|_| (world.dice.below(1200), Mishap::draw(&mut world.dice))).collect();
    let (mut before, mut frozen_steps): (Option<Seen>, u64) = (None, 0);
    for at in 0..STEPS_MAX {
        for (_, mishap) in due.extract_if(.., |(when, _)| *when == at).collect::<Vec<_>>() {
            mishap.befall(&mut world);
            // What a tower that starts is told first.
            world.hand_in(&frozen);
            if releases(&world).is_empty() {
                world.hand_in(&asked);
            }
        }
        if plot == Plot::FirstFails {
            break_first(&mut world);
        }
        world.step();
        frozen_steps += u64::from(check(&mut world, freeze, &mut before));
        if at > 0 && is_over(&world) {
            break;
        }
    }
    let found = releases(&world);
    let phases: Vec<Phase> = found.iter().map(|release| release.phase).collect();
    let denied = world.tower.as_ref().map_or(0, |tower| tower.state().denied.len());
    if !is_over(&world) && n == 0 {
        world.violate(Invariant::StoryEnds, format!("they are still {phases:?}"));
    }
    world.check_fold();
    Ending { phases, denied, frozen_steps, violations: world.violations, journal: world.journal }
}

fn first() -> ServiceName {
    ServiceName::new("dmv-photo").expect("a service's name")
}

/// Declares both and waits until both are stable.
fn come_up(world: &mut World) {
    let Event::Declared { mut specs, whole, by } = declared(world) else { return };
    let more: Vec<ServiceSpec> =
        specs.iter().map(|spec| ServiceSpec { name: first(), route: None, ..spec.clone() }).collect();
    specs.extend(more);
    world.hand_in(&Event::Declared { specs, whole, by });
    for _ in 0..300 {
        world.step();
        let state = world.tower.as_ref().map(hmsops_tower::Tower::state);
        let is_stable = |name: &ServiceName| {
            state.and_then(|state| state.services.get(name)).is_some_and(|known| known.stable.is_some())
        };
        if is_stable(&name()) && is_stable(&first()) && world.gateway.route.is_some() {
            return;
        }
    }
    world.violate(Invariant::StoryEnds, "stable did not come up within 30 s".into());
}

fn frozen((from, to): (UnixMillis, UnixMillis)) -> Event {
    Event::Freezes(vec![Freeze { when: FreezeSpan::Once { from, to }, why: Some("a story".into()) }])
}

fn asked(world: &mut World) -> Event {
    let step = |bp| Step { weight: Weight::from_bp(bp).unwrap_or_default(), hold: Millis::from_secs(20) };
    let spec = ReleaseSpec { steps: [100, 2500, 10_000].map(step).into(), ..release(&mut world.dice) };
    let image = Image { name: "dmv-photo".into(), tag: version("1.8.0") };
    let specs = [ReleaseSpec { service: first(), image, ..spec.clone() }, spec];
    let asked = specs.map(|spec| Asked { spec: Box::new(spec), digest: None, salt: world.dice.bits() >> 11 });
    let by = Who { actor: "person".into(), source: "api".into() };
    Event::Release { asked: asked.into(), options: Options::default(), by }
}

fn releases(world: &World) -> Vec<&Release> {
    world.tower.as_ref().map(|tower| tower.state().releases.values().collect()).unwrap_or_default()
}

/// The first has no users of its own: its fault shows some time after the second's.
fn break_first(world: &mut World) {
    let since = releases(world).last().and_then(|release| release.traffic_since).map(|at| at.steady);
    let id = releases(world).first().map(|release| release.instance);
    let (Some(since), Some(id)) = (since, id) else { return };
    let now = world.now.steady;
    if now.since(since) >= Millis::from_secs(10)
        && let Some(process) = world.processes.get_mut(&id)
    {
        process.fault = Fault::Probe;
        process.broken_at.get_or_insert(now);
    }
}

fn is_over(world: &World) -> bool {
    let found = releases(world);
    found.len() == 2 && found.iter().all(|release| release.closed && !release.phase.is_active())
}

/// What must hold of the two after each step; whether a freeze keeps one of them waiting.
fn check(world: &mut World, (from, to): (UnixMillis, UnixMillis), before: &mut Option<Seen>) -> bool {
    let found: Vec<Release> = releases(world).into_iter().cloned().collect();
    if found.is_empty() {
        return false;
    }
    let off = found.iter().find(|release| release.phase.is_off());
    let stays = found.iter().find(|release| release.phase.is_active());
    if let (Some(off), Some(stays)) = (off, stays) {
        let what = format!("{} is {}, {} is {}", off.id, off.phase.words(), stays.id, stays.phase.words());
        world.violate(Invariant::GroupsTogether, what);
    }
    let watched: Vec<usize> =
        found.iter().filter(|release| release.phase == Phase::Watching).map(|release| release.step).collect();
    if let [a, b] = watched[..]
        && a != b
    {
        world.violate(Invariant::GroupsTogether, format!("one is at step {}, the other at {}", a + 1, b + 1));
    }
    let now = world.now.wall;
    let is_frozen = |at: UnixMillis| from <= at && at < to;
    let weights: Vec<(ReleaseId, Weight)> =
        found.iter().map(|release| (release.id, release.weight)).collect();
    if let Some((_, known)) = before.as_ref().filter(|(at, _)| is_frozen(*at) && is_frozen(now)) {
        for (id, weight) in &weights {
            let was = known.iter().find(|(known, _)| known == id).map(|(_, was)| *was);
            if was.is_some_and(|was| *weight > was) {
                world.violate(Invariant::FrozenStaysPut, format!("{id} got {weight} in a freeze"));
            }
        }
    }
    *before = Some((now, weights));
    is_frozen(now) && found.iter().any(|release| release.hold.is_some())
}
