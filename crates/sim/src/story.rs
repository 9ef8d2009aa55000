//! One rollout, made from a seed: what is deployed, what goes wrong with it and with us, and what must come of it.

use hmsops_control::state::release::{Phase, Release};
use hmsops_control::{Event, Who};
use hmsops_model::release::{HealthCheck, Image, ReleaseSpec, Step, Threshold};
use hmsops_model::service::{BadRule, Driver, Identity, Protocol, RouteSpec, ServiceSpec};
use hmsops_model::{Millis, ServiceName, UnixMillis, Version, Weight};

use crate::instance::Fault;
use crate::invariant::{Invariant, Violation};
use crate::world::{GATEWAY, STEP, World};

/// What goes wrong on our own side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mishap {
    /// kill -9 of the tower between two events, and back after so many steps.
    KillTower(u64),
    /// kill -9 of the tower at one of its next writes.
    KillAtWrite(u64),
    /// Power loss on the tower's machine.
    PowerLoss,
    /// kill -9 of the gateway.
    KillGateway(u64),
    /// The tower's disk is full for so many steps.
    DiskFull(u64),
    /// Its syncs fail for so many steps.
    SyncsFail(u64),
    /// The wall clock jumps by so many seconds, either way.
    ClockJump(i64),
    /// A process stands still for so many milliseconds.
    Pause(u64),
}

/// What came of a rollout.
#[derive(Debug, Clone)]
pub struct Ending {
    /// The seed.
    pub seed: u64,
    /// What was wrong with the release.
    pub fault: Fault,
    /// Whether nothing went wrong on our side.
    pub calm: bool,
    /// From the moment the fault showed to the verdict, in milliseconds.
    pub detected_ms: Option<u64>,
    /// Where it ended.
    pub phase: Option<Phase>,
    /// From the canary's first bad answer to its last, in milliseconds.
    pub bad_span_ms: Option<u64>,
    /// Requests a second.
    pub rate: f64,
    /// Invariants that did not hold.
    pub violations: Vec<Violation>,
    /// FNV-1a over everything that was decided.
    pub fingerprint: u64,
    /// Simulated seconds.
    pub secs: u64,
}

impl Ending {
    /// A healthy release that a detector took back.
    pub fn false_rollback(&self) -> bool {
        self.fault == Fault::None && self.phase == Some(Phase::RolledBack)
    }
}

/// What a story is to hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Half of the releases are healthy; our side has mishaps.
    Rough,
    /// Healthy releases and no mishaps of ours that would end them: what the false-alarm rate is counted on.
    Healthy,
    /// A fault that begins 20 s after the first user, everything else calm: what detection is timed on.
    Timed(Timed),
}

/// One row of the table of detection times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timed {
    /// What breaks.
    pub fault: Fault,
    /// The canary's share, in basis points.
    pub weight_bp: u16,
    /// Requests a second.
    pub rate: f64,
    /// Share of requests that any version answers with an error.
    pub base_errors: f64,
}

/// How long a timed fault waits after the first user.
const FAULT_DELAY: Millis = Millis::from_secs(20);

/// Runs the story of a seed to its end.
pub fn run(seed: u64, kind: Kind) -> Ending {
    let mut world = World::new(seed);
    let fault = set_up(&mut world, kind);
    let mut mishaps = mishaps(&mut world, kind);
    let calm = mishaps.is_empty();
    declare(&mut world);
    let mut spec = release(&mut world);
    if let Kind::Timed(timed) = kind {
        spec.steps = one_step(timed.weight_bp);
    }
    let horizon = spec.steps.iter().map(|step| step.hold.0).sum::<u64>() + 60_000;
    world.hand_in(&deploy(&mut world.dice.clone(), &spec), None);
    for at in 0..horizon / STEP.0 {
        let due: Vec<Mishap> =
            mishaps.extract_if(.., |(when, _)| *when == at).map(|(_, mishap)| mishap).collect();
        for mishap in due {
            befall(&mut world, &mut mishaps, at, mishap);
        }
        if world.tower.is_some() && newest(&world).is_none() {
            // It was killed before the request was acknowledged: whoever asked asks again.
            world.hand_in(&deploy(&mut world.dice.clone(), &spec), None);
        }
        world.step();
        if over(&world) {
            break;
        }
    }
    settle(&mut world);
    judge(&mut world, fault, calm);
    ending(seed, fault, calm, world)
}

fn one_step(weight_bp: u16) -> Vec<Step> {
    let step =
        |bp, secs| Step { weight: Weight::from_bp(bp).unwrap_or_default(), hold: Millis::from_secs(secs) };
    vec![step(weight_bp, 600), step(10_000, 60)]
}

fn set_up(world: &mut World, kind: Kind) -> Fault {
    if let Kind::Timed(timed) = kind {
        world.canary_fault = timed.fault;
        world.fault_delay = FAULT_DELAY;
        world.users.rate = timed.rate;
        world.users.clients = 20_000;
        world.users.base_errors = timed.base_errors;
        return timed.fault;
    }
    let dice = &mut world.dice;
    let fault = match (kind, dice.below(8)) {
        (Kind::Healthy, _) | (_, 0..4) => Fault::None,
        (_, 4) => Fault::Dead,
        (_, 5) => Fault::Hang,
        (_, 6) => Fault::Probe,
        _ => Fault::Errors(dice.pick(&[1.0, 0.5, 0.1]).unwrap_or(1.0)),
    };
    world.canary_fault = fault;
    world.users.rate = dice.pick(&[10.0, 50.0, 100.0, 200.0]).unwrap_or(100.0);
    world.users.clients = dice.pick(&[5, 200, 2000, 20_000]).unwrap_or(2000);
    world.users.base_errors = dice.pick(&[0.0, 0.001, 0.005]).unwrap_or(0.0);
    world.users.hopeless = if dice.chance(0.3) { world.users.clients / 200 } else { 0 };
    world.users.retries = dice.pick(&[0, 0, 2, 4]).unwrap_or(0);
    world.probe_loss = dice.pick(&[0.0, 0.0, 0.001, 0.01, 0.03]).unwrap_or(0.0);
    fault
}

fn mishaps(world: &mut World, kind: Kind) -> Vec<(u64, Mishap)> {
    let dice = &mut world.dice;
    if kind != Kind::Rough || dice.chance(0.3) {
        return Vec::new();
    }
    let n = 1 + dice.below(5);
    let mut mishaps: Vec<(u64, Mishap)> = (0..n)
        .map(|_| {
            let mishap = match dice.below(9) {
                0 | 1 => Mishap::KillTower(1 + dice.below(20)),
                2 => Mishap::KillAtWrite(1 + dice.below(6)),
                3 => Mishap::PowerLoss,
                4 => Mishap::KillGateway(1 + dice.below(5)),
                5 => Mishap::DiskFull(10 + dice.below(300)),
                6 => Mishap::SyncsFail(10 + dice.below(300)),
                7 => Mishap::ClockJump(dice.below(7200) as i64 - 3600),
                _ => Mishap::Pause(dice.below(1200)),
            };
            (dice.below(600), mishap)
        })
        .collect();
    mishaps.sort_by_key(|(at, _)| *at);
    mishaps
}

fn befall(world: &mut World, _mishaps: &mut [(u64, Mishap)], _at: u64, mishap: Mishap) {
    match mishap {
        Mishap::KillTower(steps) => {
            world.kill_tower();
            (0..steps).for_each(|_| world.step());
            world.start_tower();
        }
        Mishap::KillAtWrite(writes) => {
            for _ in 0..100 {
                if world.tower.is_none() {
                    break;
                }
                world.hand_in(&Event::Wake, Some(writes));
                if world.tower.is_some() {
                    world.step();
                }
            }
            world.kill_tower();
            world.step();
            world.start_tower();
        }
        Mishap::PowerLoss => {
            world.crash_disk();
            (0..10).for_each(|_| world.step());
            world.start_tower();
        }
        Mishap::KillGateway(steps) => {
            world.gateway.kill();
            (0..steps).for_each(|_| world.step());
            let now = world.now;
            world.gateway.restart(now);
        }
        Mishap::DiskFull(steps) => {
            world.faults.fill();
            fail_closed(world, steps);
        }
        Mishap::SyncsFail(steps) => {
            world.faults.fail_syncs();
            fail_closed(world, steps);
        }
        Mishap::ClockJump(secs) => world.now.wall = UnixMillis(world.now.wall.0 + secs * 1000),
        Mishap::Pause(ms) => {
            let until = world.now.steady + Millis(ms);
            if let Some(process) = world.processes.values_mut().find(|process| !process.ended) {
                process.paused_until = until;
            }
        }
    }
}

/// While the ledger fails nothing may go further.
fn fail_closed(world: &mut World, steps: u64) {
    // A gateway that comes back meanwhile gets what was granted before: that goes no further.
    let before = world.granted_max();
    for _ in 0..steps {
        world.step();
        let now = world.gateway.weight();
        if now > before {
            world.violate(Invariant::FailsClosed, format!("the share rose from {before} to {now}"));
        }
    }
    world.faults.heal();
}

fn name() -> ServiceName {
    ServiceName::new("csac-portal").expect("a service's name")
}

fn version(text: &str) -> Version {
    Version::new(text).expect("a version")
}

fn check() -> HealthCheck {
    HealthCheck { path: "/api/v1/health".into(), threshold: Threshold::default() }
}

fn declare(world: &mut World) {
    let spec = ServiceSpec {
        name: name(),
        system: "csac".into(),
        owner: None,
        driver: Driver::Process {
            image_dir: "{tag}".into(),
            run: vec!["./portal".into()],
            ports: [("http".to_owned(), None)].into(),
            env: [].into(),
        },
        route: Some(RouteSpec { gateway: GATEWAY.into(), host: None, protocol: Protocol::Http1 }),
        identity: Identity::Cookie("session".into()),
        sticky: true,
        bad: BadRule::defaults(),
        stable: Some(version("1.7.3")),
        health: vec![check()],
    };
    let declared = Event::Declared { specs: vec![spec], whole: true, by: Who::tower() };
    world.hand_in(&declared, None);
    for _ in 0..300 {
        world.step();
        let stable = world.tower.as_ref().and_then(|tower| tower.state().services.get(&name())?.stable);
        if stable.is_some() && world.gateway.route.is_some() {
            return;
        }
    }
    world.violate(Invariant::StoryEnds, "stable did not come up within 30 s".into());
}

fn release(world: &mut World) -> ReleaseSpec {
    let dice = &mut world.dice;
    let hold = Millis::from_secs(dice.pick(&[20, 60, 120]).unwrap_or(60));
    let weights: &[u16] = if dice.chance(0.5) { &[100, 2500, 10_000] } else { &[2500, 10_000] };
    ReleaseSpec {
        service: name(),
        image: Image { name: "csac-portal".into(), tag: version("1.8.0") },
        steps: weights
            .iter()
            .map(|bp| Step { weight: Weight::from_bp(*bp).unwrap_or_default(), hold })
            .collect(),
        checks: vec![check()],
        bake: Millis::from_secs(30),
        start_timeout: Millis::from_secs(20),
        shield_after: None,
    }
}

fn deploy(dice: &mut crate::dice::Dice, spec: &ReleaseSpec) -> Event {
    let salt = dice.bits() >> 11;
    let by = Who { actor: "person".into(), source: "api".into() };
    Event::Deploy { spec: Box::new(spec.clone()), digest: None, salt, first: false, by }
}

fn newest(world: &World) -> Option<&Release> {
    world.tower.as_ref()?.state().releases.values().next_back()
}

/// Whether nothing more will come.
fn over(world: &World) -> bool {
    newest(world).is_some_and(|release| match release.phase {
        Phase::Done => true,
        phase if phase.is_active() => false,
        _ => release.closed,
    })
}

/// Everything works again, and what was begun may end.
fn settle(world: &mut World) {
    world.faults.heal();
    if !world.gateway.alive {
        let now = world.now;
        world.gateway.restart(now);
    }
    if world.tower.is_none() {
        world.start_tower();
    }
    for _ in 0..3000 {
        if over(world) {
            break;
        }
        world.step();
    }
    (0..20).for_each(|_| world.step());
}

fn judge(world: &mut World, fault: Fault, calm: bool) {
    let found = newest(world)
        .map(|release| (release.phase, release.closed, release.weight_max, release.hold.clone()));
    let Some((phase, closed, weight_max, hold)) = found else {
        world.violate(Invariant::StoryEnds, "there is no release".into());
        return;
    };
    // A halted release waits for a person, which is an end, too.
    let ended = !phase.is_active() && closed;
    if !ended && hold.is_none() && calm {
        world.violate(Invariant::StoryEnds, format!("it is still {}", phase.words()));
    }
    let denied = world.tower.as_ref().is_some_and(|tower| !tower.state().denied.is_empty());
    if phase == Phase::RolledBack && weight_max > Weight::NONE && denied {
        let spec = release(&mut world.clone_dice());
        let again = deploy(&mut world.dice.clone(), &spec);
        let handled = world.hand_in(&again, None);
        if handled.is_some_and(|handled| handled.refused.is_none()) {
            world.violate(Invariant::DeniedStaysDenied, "a denied version was deployed".into());
        }
    }
    let hard = match fault {
        Fault::Dead | Fault::Hang => true,
        Fault::Errors(share) => share >= 1.0 && world.users.rate >= 50.0 && world.users.hopeless == 0,
        _ => false,
    };
    let fair = world.users.clients >= 2000 && world.users.retries == 0 && world.users.base_errors < 0.005;
    if let (true, true, true, Some((first, last))) = (hard, fair, calm, world.canary_bad) {
        let span = last.since(first);
        if span > Millis::from_secs(30) {
            world.violate(Invariant::TakenBackInTime, format!("{fault:?} was out for {span}"));
        }
    }
    world.check_fold();
}

impl World {
    /// A throw-away world for building a release file with other dice.
    fn clone_dice(&self) -> Self {
        let mut other = Self::new(0);
        other.dice = self.dice.clone();
        other
    }
}

fn ending(seed: u64, fault: Fault, calm: bool, world: World) -> Ending {
    let phase = newest(&world).map(|release| release.phase);
    let verdict = newest(&world).and_then(|release| Some(release.verdict.as_ref()?.at.steady));
    let broken_at = world.processes.values().find_map(|process| process.broken_at);
    let detected_ms =
        verdict.zip(broken_at).filter(|(at, broken)| at >= broken).map(|(at, broken)| at.since(broken).0);
    let fingerprint = world.journal.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Ending {
        seed,
        fault,
        calm,
        detected_ms,
        phase,
        bad_span_ms: world.canary_bad.map(|(first, last)| last.since(first).0),
        rate: world.users.rate,
        secs: world.now.steady.0 / 1000 - 1000,
        violations: world.violations,
        fingerprint,
    }
}
