//! Kills of ours at every state of every step, one after the other and none left out.
//!
//! Each plot is told once without a kill, and every event that made the tower write something, or decide something, is
//! noted with the number of its writes. Then it is told again for each of them: the tower killed before each of its
//! writes and after the last, with what it had ordered meanwhile carried out or not, as a kill and as a loss of power;
//! and the gateway and each shim killed just then. A story told with a short kill has to end as the one without.

use std::collections::VecDeque;

use hmsops_control::event::Command;
use hmsops_control::state::release::Phase;
use hmsops_control::{Event, Who};
use hmsops_model::release::{ReleaseSpec, Step};
use hmsops_model::{Millis, ReleaseId, Weight};

use crate::dice::Dice;
use crate::instance::Fault;
use crate::invariant::{Invariant, Violation};
use crate::mishap::{Mishap, back_after};
use crate::story::{declared, deploy, name, newest, over, release, settle, version};
use crate::world::{Doom, Moment, World};

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
    world.canary_fault = match plot {
        Plot::BadAtFirst => Fault::Errors(1.0),
        Plot::DeadAtSecond => Fault::Dead,
        Plot::HangsBaking => Fault::Hang,
        _ => Fault::None,
    };
    // It breaks when its scene comes.
    world.fault_delay = Millis::from_mins(60);
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
    // Longer than anything of ours is away.
    (spec.steps, spec.bake) = ([200, 5000, 10_000].map(step).to_vec(), Millis::from_secs(12));
    let first = deploy(&mut Dice::new(SEED), &spec);
    let (mut scenes, mut played_at) = (VecDeque::from(scenes(plot, &spec)), 0);
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
        play(&mut world, plot, &first, &mut scenes, &mut played_at);
        world.step();
        if scenes.is_empty() && over(&world) {
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

/// What is to happen, and where the release must stand for it: phase, and step from 0.
struct Scene {
    phase: Phase,
    step: usize,
    what: What,
}

enum What {
    /// Somebody asks for something.
    Asked(Event),
    /// The version breaks.
    Breaks,
}

/// What happens in a plot, in order, after its release was asked for.
fn scenes(plot: Plot, spec: &ReleaseSpec) -> Vec<Scene> {
    let release = ReleaseId(1);
    let scene = |phase, step, what| vec![Scene { phase, step, what }];
    let asked = |command| {
        let by = Who { actor: "person".into(), source: "api".into() };
        What::Asked(Event::Command { command, by, reason: "as told".into() })
    };
    match plot {
        Plot::Healthy => Vec::new(),
        Plot::BadAtFirst => scene(Phase::Watching, 0, What::Breaks),
        Plot::DeadAtSecond | Plot::BothFail => scene(Phase::Watching, 1, What::Breaks),
        Plot::HangsBaking => scene(Phase::Baking, 2, What::Breaks),
        Plot::Paused => {
            let mut scenes = scene(Phase::Watching, 0, asked(Command::Pause { release }));
            scenes.extend(scene(Phase::Watching, 0, asked(Command::Resume { release })));
            scenes
        }
        Plot::Aborted => scene(Phase::Watching, 1, asked(Command::Abort { release })),
        Plot::Superseded => {
            let mut next = spec.clone();
            next.image.tag = version("1.9.0");
            scene(Phase::Watching, 1, What::Asked(deploy(&mut Dice::new(SEED), &next)))
        }
        Plot::RolledBack => scene(Phase::Baking, 2, asked(Command::Rollback { service: name(), to: None })),
    }
}

/// Plays the next scene when its time has come: a second after the one before, so that both can be told apart.
fn play(world: &mut World, plot: Plot, first: &Event, scenes: &mut VecDeque<Scene>, played_at: &mut u64) {
    let stable = world.tower.as_ref().and_then(|tower| tower.state().services.get(&name())?.stable);
    if world.tower.is_none() || stable.is_none() || world.gateway.route.is_none() {
        return;
    }
    if newest(world).is_none() {
        // Also when it was killed before the request was written down: whoever asked asks again.
        world.hand_in(first);
        return;
    }
    let Some(scene) = scenes.front() else { return };
    let here = newest(world).is_some_and(|release| {
        let in_force = release.phase != Phase::Watching || release.step_since.is_some();
        release.phase == scene.phase && release.step == scene.step && in_force
    });
    let patient = world.steps() >= *played_at + PAUSE_STEPS;
    let now = world.now.steady;
    let done = match &scene.what {
        What::Asked(event) if here && patient => {
            let event = event.clone();
            // Who gets no answer asks again, and a refusal says that it was done.
            world.hand_in(&event).is_some()
        }
        What::Asked(Event::Deploy { .. })
            if newest(world).is_some_and(|release| release.id > ReleaseId(1)) =>
        {
            true
        }
        What::Breaks if here && plot == Plot::BothFail => {
            let until = now + Millis(BOTH_FAIL_MS);
            world.processes.values_mut().for_each(|process| process.paused_until = until);
            true
        }
        What::Breaks if here => {
            world.processes.values_mut().for_each(|process| process.broken_at = Some(now));
            true
        }
        _ => false,
    };
    if done {
        *played_at = world.steps();
        scenes.pop_front();
    }
}

/// Steps between two scenes.
const PAUSE_STEPS: u64 = 10;

/// How long both versions stand still.
const BOTH_FAIL_MS: u64 = 5000;

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
