//! Kills of ours at every state of every step, one after the other and none left out.
//!
//! Each plot is told once without a kill, and every event that made the tower write something, or decide something, is
//! noted with the number of its writes. Then it is told again for each of them: the tower killed before each of its
//! writes and after the last, with what it had ordered meanwhile carried out or not, as a kill and as a loss of power;
//! and the gateway and each shim killed just then. A story told with a short kill has to end as the one without.

use hmsops_control::event::Command;
use hmsops_control::{Event, Who};
use hmsops_model::release::Step;
use hmsops_model::{Millis, ReleaseId, Weight};

use crate::instance::Fault;
use crate::invariant::{Invariant, Violation};
use crate::mishap::{Mishap, back_after};
use crate::story::{declared, deploy, name, newest, over, release, settle, version};
use crate::world::{Doom, Moment, STEP, World};

/// What happens in a story that is then told with kills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plot {
    /// A healthy release through all of its steps.
    Healthy,
    /// Errors from the first step on.
    BadAtFirst,
    /// The process dies in the second step.
    DeadAtSecond,
    /// It hangs while it bakes.
    HangsBaking,
    /// A person pauses it, and lets it go on.
    Paused,
    /// A person aborts it.
    Aborted,
    /// Another release takes its place.
    Superseded,
    /// Both versions fail their probes for a while.
    BothFail,
    /// A person rolls back while it bakes.
    RolledBack,
}

/// All plots.
pub const PLOTS: [Plot; 9] = [
    Plot::Healthy,
    Plot::BadAtFirst,
    Plot::DeadAtSecond,
    Plot::HangsBaking,
    Plot::Paused,
    Plot::Aborted,
    Plot::Superseded,
    Plot::BothFail,
    Plot::RolledBack,
];

/// A kill in a plot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kill {
    /// The plot.
    pub plot: Plot,
    /// Where the release stood, and what was being decided.
    pub at: String,
    /// What is killed, when.
    pub mishap: Mishap,
    /// The step of the story in which it begins, for what is no [`Mishap::KillInside`].
    pub step: u64,
}

/// What came of a plot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Where releases and the service ended.
    pub end: String,
    /// Invariants that did not hold.
    pub violations: Vec<Violation>,
    /// What each event did, where it was recorded.
    pub course: Vec<Moment>,
}

/// Steps that a killed tower is away, within what a gateway waits for it.
const AWAY: u64 = 12;

/// Steps that it is away for longer than that.
const AWAY_LONG: u64 = 70;

/// The seed of all plots.
const SEED: u64 = 6;

/// All kills of a plot.
pub fn kills(plot: Plot) -> Vec<Kill> {
    let told = tell(plot, None);
    told.course.iter().flat_map(|moment| kills_at(plot, moment)).collect()
}

fn kills_at(plot: Plot, moment: &Moment) -> Vec<Kill> {
    let at = format!("{} → {}", moment.state, moment.decided.join(", "));
    let kill = |mishap| Kill { plot, at: at.clone(), mishap, step: moment.step };
    let mut kills = Vec::new();
    for write in 1..=moment.writes + 1 {
        for (effects, power) in [(false, false), (true, false), (false, true)] {
            let doom = Doom { event: moment.event, write, effects, power };
            kills.push(kill(Mishap::KillInside(doom, AWAY)));
        }
    }
    // What was decided and not only written: the other processes die there, too.
    if !moment.decided.is_empty() {
        let doom = Doom { event: moment.event, write: moment.writes + 1, effects: true, power: false };
        kills.push(kill(Mishap::KillInside(doom, AWAY_LONG)));
        kills.extend([1, 3, 60].map(|steps| kill(Mishap::KillGateway(steps))));
        for newest in [true, false] {
            kills.extend([true, false].map(|service_too| kill(Mishap::KillShim { newest, service_too })));
        }
    }
    kills
}

/// Tells a plot with a kill; what was found, if anything was.
pub fn try_kill(kill: &Kill, without: &Told) -> Vec<Violation> {
    let told = tell(kill.plot, Some(kill));
    let mut violations = told.violations;
    let same = match kill.mishap {
        Mishap::KillInside(_, steps) => steps == AWAY,
        Mishap::KillGateway(_) => true,
        _ => false,
    };
    if same && told.end != without.end {
        let what = format!("ended with {}, without the kill with {}", told.end, without.end);
        violations.push(Violation { invariant: Invariant::EndsAsWithout, at_secs: 0, what });
    }
    violations
}

/// Tells a plot, with a kill or recording its course.
pub fn tell(plot: Plot, kill: Option<&Kill>) -> Told {
    let mut world = World::new(SEED);
    world.users.rate = 50.0;
    set_up(&mut world, plot);
    if kill.is_none() {
        world.course = Some(Vec::new());
    }
    let mut spare = kill.map(|kill| kill.mishap);
    if let Some(Mishap::KillInside(doom, _)) = spare {
        world.doom = Some(doom);
    }
    let declared = declared(&world);
    world.hand_in(&declared);
    let mut spec = release(&mut world.dice.clone());
    let step = |bp| Step { weight: Weight::from_bp(bp).unwrap_or_default(), hold: Millis::from_secs(4) };
    (spec.steps, spec.bake) = ([200, 5000, 10_000].map(step).to_vec(), Millis::from_secs(4));
    let mut script = script(plot, &spec);
    for _ in 0..HORIZON {
        if world.tower.is_none() {
            let steps = if let Some(Mishap::KillInside(_, steps)) = spare.take() { steps } else { 1 };
            back_after(&mut world, steps);
            // A tower that starts reads what is declared.
            world.hand_in(&declared);
        }
        let due = matches!(spare, Some(Mishap::KillGateway(_) | Mishap::KillShim { .. }))
            && kill.is_some_and(|kill| world.steps() >= kill.step);
        if due && let Some(mishap) = spare.take() {
            mishap.befall(&mut world);
        }
        follow(&mut world, &mut script);
        steer(&mut world, plot);
        world.step();
        if script.is_empty() && over(&world) {
            break;
        }
    }
    // Restarted, so that what is only in memory does not count.
    settle(&mut world);
    world.check_fold();
    let end = end(&world);
    Told { end, violations: world.violations, course: world.course.unwrap_or_default() }
}

/// The longest that a plot may take, in steps.
const HORIZON: u64 = 600;

fn set_up(world: &mut World, plot: Plot) {
    (world.canary_fault, world.fault_delay) = match plot {
        Plot::BadAtFirst => (Fault::Errors(1.0), Millis::ZERO),
        Plot::DeadAtSecond => (Fault::Dead, Millis::from_secs(6)),
        Plot::HangsBaking => (Fault::Hang, Millis::from_secs(9)),
        _ => (Fault::None, Millis::ZERO),
    };
}

/// What people do, and in which step of the story at the earliest.
fn script(plot: Plot, spec: &hmsops_model::release::ReleaseSpec) -> Vec<(u64, Event)> {
    let dice = &mut crate::dice::Dice::new(SEED);
    let first = (0, deploy(dice, spec));
    let release = ReleaseId(1);
    let command = |at, command| {
        let by = Who { actor: "person".into(), source: "api".into() };
        (at, Event::Command { command, by, reason: "as told".into() })
    };
    let more = match plot {
        Plot::Paused => vec![command(60, Command::Pause { release }), command(120, Command::Resume { release })],
        Plot::Aborted => vec![command(80, Command::Abort { release })],
        Plot::Superseded => {
            let mut next = spec.clone();
            next.image.tag = version("1.9.0");
            vec![(80, deploy(dice, &next))]
        }
        Plot::RolledBack => vec![command(140, Command::Rollback { service: name(), to: None })],
        _ => Vec::new(),
    };
    std::iter::once(first).chain(more).rev().collect()
}

/// Lets people do what is due; who gets no answer asks again.
fn follow(world: &mut World, script: &mut Vec<(u64, Event)>) {
    while let Some((_, event)) = script.last().filter(|(at, _)| world.steps() >= *at) {
        let stable = world.tower.as_ref().and_then(|tower| tower.state().services.get(&name())?.stable);
        if stable.is_none() || world.gateway.route.is_none() {
            return;
        }
        if matches!(event, Event::Deploy { spec, .. } if was_taken(world, spec)) {
            script.pop();
            continue;
        }
        let event = event.clone();
        if world.hand_in(&event).is_none() {
            return;
        }
        script.pop();
    }
}

/// Whether a release was begun although nobody was told.
fn was_taken(world: &World, spec: &hmsops_model::release::ReleaseSpec) -> bool {
    newest(world).is_some_and(|release| release.spec.image.tag == spec.image.tag)
}

fn steer(world: &mut World, plot: Plot) {
    if plot == Plot::BothFail {
        let now = world.now.steady;
        let failing = (70..130).contains(&world.steps());
        for process in world.processes.values_mut().filter(|process| failing && !process.ended) {
            process.paused_until = now + Millis(STEP.0 + 600);
        }
    }
}

/// Where everything ended.
fn end(world: &World) -> String {
    let Some(tower) = &world.tower else { return "no tower".into() };
    let state = tower.state();
    let releases: Vec<String> = state
        .releases
        .values()
        .map(|release| {
            let held = if release.hold.is_some() { " held" } else { "" };
            format!("{} {}{held}", release.spec.image.tag, release.phase.words())
        })
        .collect();
    let stable = state.services.get(&name()).and_then(|service| service.stable_instance());
    let stable = stable.map_or_else(|| "none".into(), |stable| stable.instance.version.to_string());
    format!("{}; stable {stable}; {} denied", releases.join(", "), state.denied.len())
}
