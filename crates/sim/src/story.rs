//! One rollout, made from a seed: what is deployed, what goes wrong with it and with us, and what must come of it.

use hmsops_control::state::release::{Phase, Release};
use hmsops_control::transition::Detector;
use hmsops_control::{Event, Who};
use hmsops_model::release::{HealthCheck, Image, ReleaseSpec, Step, Threshold};
use hmsops_model::service::{BadRule, Driver, Identity, Protocol, RouteSpec, ServiceSpec};
use hmsops_model::{Millis, ServiceName, Version, Weight};

use crate::dice::Dice;
use crate::instance::Fault;
use crate::invariant::{Invariant, Violation};
use crate::latency::Shape;
use crate::mishap::Mishap;
use crate::prober::Loss;
use crate::users::{Trouble, Users};
use crate::world::{GATEWAY, STEP, World};

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
    /// What took it back, if anything did.
    pub detector: Option<Detector>,
    /// From the fault to the moment each of the models of others condemned it, in milliseconds; from the first user
    /// where there is no fault.
    pub peers_ms: [Option<u64>; 5],
    /// Which of them had condemned it before there was a fault.
    pub peers_early: [bool; 5],
    /// What the promotion says it has ruled out, in basis points of more errors.
    pub claimed_bp: Option<u32>,
    /// Why it is held at the end, in the words of the ledger.
    pub held: Option<String>,
    /// From the canary's first bad answer to its last, in milliseconds.
    pub bad_span_ms: Option<u64>,
    /// Requests a second.
    pub rate: f64,
    /// Invariants that did not hold.
    pub violations: Vec<Violation>,
    /// What the world was like: users, lost looks, steps.
    pub cast: String,
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
    /// A fault that begins some time after the first user, everything else calm: what detection is timed on.
    Timed(Timed),
    /// A canary with so many more errors, in basis points: what the claims of promotions are counted on.
    Slight(u16),
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
    /// How long after the canary's first user it begins.
    pub delay: Millis,
    /// Whether the tower is kept from seeing it, so that the models of others have it to the end.
    pub blind: bool,
}

/// How long a timed fault may go on before the story ends.
const TIMED_SECS: u64 = 600;

/// Runs the story of a seed to its end.
pub fn run(seed: u64, kind: Kind) -> Ending {
    let mut world = World::new(seed);
    set_up(&mut world, kind);
    let mut mishaps = mishaps(&mut world, kind);
    let calm = mishaps.is_empty();
    declare(&mut world);
    // Between a tower just started and one that has looked at stable for a minute.
    let known_for = world.dice.below(600);
    (0..known_for).for_each(|_| world.step());
    let mut spec = release(&mut world.dice);
    match kind {
        Kind::Timed(timed) => spec.steps = one_step(timed.weight_bp, TIMED_SECS + timed.delay.0 / 1000 + 120),
        Kind::Slight(_) => spec.steps = one_step(2500, 120),
        Kind::Rough | Kind::Healthy => {}
    }
    let horizon = spec.steps.iter().map(|step| step.hold.0).sum::<u64>() * 2 + 60_000;
    let event = deploy(&mut world.dice.clone(), &spec);
    world.hand_in(&event);
    for at in 0..horizon / STEP.0 {
        for (_, mishap) in mishaps.extract_if(.., |(when, _)| *when == at).collect::<Vec<_>>() {
            mishap.befall(&mut world);
        }
        if world.tower.is_some() && newest(&world).is_none() {
            // It was killed before the request was acknowledged: whoever asked asks again.
            world.hand_in(&event);
        }
        world.step();
        if over(&world) || (matches!(kind, Kind::Timed(_)) && is_timed_out(&world)) {
            break;
        }
    }
    if !matches!(kind, Kind::Timed(_)) {
        settle(&mut world);
        judge(&mut world, calm);
    }
    ending(seed, calm, world)
}

fn one_step(weight_bp: u16, secs: u64) -> Vec<Step> {
    let step =
        |bp, secs| Step { weight: Weight::from_bp(bp).unwrap_or_default(), hold: Millis::from_secs(secs) };
    vec![step(weight_bp, secs), step(10_000, 60)]
}

/// Whether a timed fault had its time.
fn is_timed_out(world: &World) -> bool {
    let broken_at = world.processes.values().find_map(|process| process.broken_at);
    let all_judged = world.blind && world.peers.judged.iter().all(Option::is_some);
    broken_at.is_some_and(|at| all_judged || world.now.steady.since(at) >= Millis::from_secs(TIMED_SECS))
}

fn set_up(world: &mut World, kind: Kind) {
    match kind {
        Kind::Timed(timed) => {
            world.canary_fault = timed.fault;
            world.fault_delay = timed.delay;
            world.blind = timed.blind;
            world.users.rate = timed.rate;
            world.users.clients = 20_000;
            world.users.base_errors = timed.base_errors;
        }
        Kind::Slight(bp) => {
            world.canary_fault = Fault::Errors(f64::from(bp) / 10_000.0);
            world.users.rate = world.dice.pick(&[10.0, 50.0, 100.0, 300.0]).unwrap_or(100.0);
            world.users.clients = 20_000;
            world.users.base_errors = world.dice.pick(&[0.0, 0.001, 0.005]).unwrap_or(0.0);
        }
        Kind::Healthy => {
            world.users = any_users(&mut world.dice);
            world.loss = any_loss(&mut world.dice);
            world.by_request = world.dice.chance(0.125);
        }
        Kind::Rough => {
            world.canary_fault = any_fault(&mut world.dice);
            world.fault_delay = Millis(if world.dice.chance(0.5) { 0 } else { world.dice.below(60_000) });
            world.users = any_users(&mut world.dice);
            world.users.rate = world.users.rate.min(300.0);
            world.loss = any_loss(&mut world.dice);
        }
    }
}

fn any_fault(dice: &mut Dice) -> Fault {
    match dice.below(16) {
        0..8 => Fault::None,
        8 => Fault::Dead,
        9 => Fault::Hang,
        10 => Fault::Probe,
        11 => Fault::Cohort(dice.pick(&[0.05, 0.3, 1.0]).unwrap_or(0.3)),
        12 => Fault::Slow(dice.pick(&[2.0, 10.0, 300.0]).unwrap_or(10.0)),
        13 => dice.pick(&[Fault::Leak, Fault::Flap]).unwrap_or(Fault::Leak),
        _ => Fault::Errors(dice.pick(&[1.0, 1.0, 0.5, 0.1, 0.05, 0.005]).unwrap_or(1.0)),
    }
}

/// Users as they may be: from ten to ten thousand requests a second, one client or a hundred thousand, with cycles,
/// crowds, troubles of what both versions depend on, pauses and warm-up.
fn any_users(dice: &mut Dice) -> Users {
    let clients = dice.pick(&[1, 5, 15, 200, 2000, 2000, 20_000, 20_000, 100_000]).unwrap_or(2000);
    let hopeless = if dice.chance(0.3) { clients / 200 + u64::from(clients == 5) } else { 0 };
    let chance = |dice: &mut Dice, p: f64| dice.chance(p);
    Users {
        rate: dice
            .pick(&[10.0, 10.0, 30.0, 50.0, 100.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0])
            .unwrap_or(100.0),
        clients,
        base_errors: dice.pick(&[0.0, 0.001, 0.005, 0.005, 0.02]).unwrap_or(0.0),
        hopeless,
        retries: dice.pick(&[0, 0, 1, 2, 4]).unwrap_or(0),
        shape: Shape {
            median_ms: dice.pick(&[2.0, 8.0, 30.0, 100.0]).unwrap_or(8.0),
            sigma: dice.pick(&[0.3, 0.5, 0.8]).unwrap_or(0.5),
        },
        cycle: chance(dice, 0.5)
            .then(|| (dice.pick(&[0.3, 0.8]).unwrap_or(0.3), Millis::from_secs(60 + dice.below(600)))),
        crowds: chance(dice, 0.4).then(|| (dice.pick(&[2.0, 5.0]).unwrap_or(2.0), 60.0)),
        trouble: chance(dice, 0.4).then(|| Trouble {
            every: dice.pick(&[40.0, 120.0]).unwrap_or(40.0),
            errors: dice.pick(&[0.0, 0.05, 0.3, 1.0]).unwrap_or(0.0),
            slow: dice.pick(&[1.0, 3.0, 10.0]).unwrap_or(3.0),
        }),
        pauses: chance(dice, 0.5).then(|| {
            (dice.pick(&[50, 200, 400]).unwrap_or(200), dice.pick(&[10.0, 60.0, 300.0]).unwrap_or(60.0))
        }),
        warm_up: chance(dice, 0.5).then(|| {
            (dice.pick(&[0.0, 0.05, 0.3]).unwrap_or(0.0), dice.pick(&[1.0, 2.0, 5.0]).unwrap_or(2.0))
        }),
    }
}

fn any_loss(dice: &mut Dice) -> Loss {
    Loss {
        alone: dice.pick(&[0.0, 0.0, 0.001, 0.01, 0.03]).unwrap_or(0.0),
        outage_every: if dice.chance(0.2) { 60.0 } else { 0.0 },
        overload_every: if dice.chance(0.1) { 60.0 } else { 0.0 },
    }
}

fn mishaps(world: &mut World, kind: Kind) -> Vec<(u64, Mishap)> {
    let dice = &mut world.dice;
    if kind != Kind::Rough || dice.chance(0.3) {
        return Vec::new();
    }
    let n = 1 + dice.below(5);
    let mut mishaps: Vec<(u64, Mishap)> = (0..n).map(|_| (dice.below(600), Mishap::draw(dice))).collect();
    mishaps.sort_by_key(|(at, _)| *at);
    mishaps
}

pub(crate) fn name() -> ServiceName {
    ServiceName::new("csac-portal").expect("a service's name")
}

pub(crate) fn version(text: &str) -> Version {
    Version::new(text).expect("a version")
}

fn check() -> HealthCheck {
    HealthCheck::of_path("/api/v1/health", Threshold::default())
}

pub(crate) fn declared(world: &World) -> Event {
    let by_request = world.by_request;
    let spec = ServiceSpec {
        name: name(),
        system: "csac".into(),
        owner: None,
        driver: Driver::Process {
            image_dir: "{tag}".into(),
            run: vec!["./portal".into()],
            ports: [("http".to_owned(), None)].into(),
            env: [].into(),
            secrets: [].into(),
        },
        route: Some(RouteSpec { gateway: GATEWAY.into(), host: None, protocol: Protocol::Http1 }),
        identity: if by_request { Identity::Request } else { Identity::Cookie("session".into()) },
        sticky: !by_request,
        bad: BadRule::defaults(),
        stable: Some(version("1.7.3")),
        health: vec![check()],
        freeze: Vec::new(),
        rollback_window: hmsops_model::freeze::RollbackWindow::default(),
        capacity_milli: None,
        allow_private: Vec::new(),
    };
    Event::Declared { specs: vec![spec], whole: true, by: Who::tower() }
}

fn declare(world: &mut World) {
    let event = declared(world);
    world.hand_in(&event);
    for _ in 0..300 {
        world.step();
        let stable = world.tower.as_ref().and_then(|tower| tower.state().services.get(&name())?.stable);
        if stable.is_some() && world.gateway.route.is_some() {
            return;
        }
    }
    world.violate(Invariant::StoryEnds, "stable did not come up within 30 s".into());
}

pub(crate) fn release(dice: &mut Dice) -> ReleaseSpec {
    const ALL: u16 = 10_000;
    let hold = Millis::from_secs(dice.pick(&[20, 60, 120]).unwrap_or(60));
    let weights: &[u16] = match dice.below(8) {
        0..3 => &[100, 2500, ALL],
        3 | 4 => &[2500, ALL],
        5 => &[ALL],
        6 => &[500, 2000, 5000, ALL],
        _ => &[100, 5000, 9000, ALL],
    };
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
        irreversible: None,
        after: Vec::new(),
        margin_bp: None,
        inconclusive: hmsops_model::release::Inconclusive::default(),
    }
}

pub(crate) fn deploy(dice: &mut Dice, spec: &ReleaseSpec) -> Event {
    let salt = dice.bits() >> 11;
    let by = Who { actor: "person".into(), source: "api".into() };
    Event::Deploy { spec: Box::new(spec.clone()), digest: None, salt, first: false, by }
}

pub(crate) fn newest(world: &World) -> Option<&Release> {
    world.tower.as_ref()?.state().releases.values().next_back()
}

/// Whether nothing more will come.
pub(crate) fn over(world: &World) -> bool {
    newest(world).is_some_and(|release| match release.phase {
        Phase::Done => true,
        phase if phase.is_active() => false,
        _ => release.closed,
    })
}

/// Everything works again, and what was begun may end.
pub(crate) fn settle(world: &mut World) {
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

fn judge(world: &mut World, calm: bool) {
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
        let spec = release(&mut world.dice.clone());
        let again = deploy(&mut world.dice.clone(), &spec);
        let handled = world.hand_in(&again);
        if handled.is_some_and(|handled| handled.refused.is_none()) {
            world.violate(Invariant::DeniedStaysDenied, "a denied version was deployed".into());
        }
    }
    let fault = world.canary_fault;
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

fn ending(seed: u64, calm: bool, world: World) -> Ending {
    let release = newest(&world);
    let verdict = release.and_then(|release| release.verdict.as_ref());
    let broken_at = world.processes.values().find_map(|process| process.broken_at);
    let detected_ms = verdict
        .map(|verdict| verdict.at.steady)
        .zip(broken_at)
        .filter(|(at, broken)| at >= broken)
        .map(|(at, broken)| at.since(broken).0);
    let from = broken_at.or(release.and_then(|release| Some(release.traffic_since?.steady)));
    let peers_ms = world.peers.judged.map(|at| Some(at?.since(from?).0));
    let fingerprint = world.journal.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let steps: Vec<String> = release
        .iter()
        .flat_map(|release| &release.spec.steps)
        .map(|step| format!("{} {}", step.weight, step.hold))
        .collect();
    let cast = format!(
        "{:?} {:?} by_request: {} steps: {}; verdict at {:?}",
        world.users,
        world.loss,
        world.by_request,
        steps.join(", "),
        release.and_then(|release| {
            let at = release.verdict.as_ref()?.at.steady;
            Some(at.since(release.traffic_since?.steady))
        })
    );
    Ending {
        cast,
        seed,
        fault: world.canary_fault,
        calm,
        detected_ms,
        phase: release.map(|release| release.phase),
        detector: verdict.map(|verdict| verdict.detector),
        peers_ms,
        peers_early: world.peers.early,
        claimed_bp: release.and_then(|release| release.ruled_out_bp),
        held: release.and_then(|release| {
            let value = serde_json::to_value(&release.hold.as_ref()?.0).ok()?;
            Some(value.get("hold")?.as_str()?.to_owned())
        }),
        bad_span_ms: world.canary_bad.map(|(first, last)| last.since(first).0),
        rate: world.users.rate,
        secs: world.now.steady.since(world.begun_at).0 / 1000,
        violations: world.violations,
        fingerprint,
    }
}
