//! What users do: how many come when, who they are, and what comes of their requests.
//!
//! Requests come as a Poisson stream. Which of them fail or are slow is a thinning of it, so good and fast ones may be
//! counted in bulk and the others one by one, and nobody could tell the difference from all of them one by one.

use std::collections::BTreeMap;

use hmsops_model::{BadKind, InstanceId, Millis, Unit, Weight};
use hmsops_proxy::outcome::{Bulk, Fold, Outcome, Routed};
use hmsops_proxy::split::{Side, side};

use crate::dice::Dice;
use crate::instance::{Answer, Fault};
use crate::invariant::Invariant;
use crate::latency::{BULK, Shape, TAIL};
use crate::world::{STEP, World};

/// An arm that gets fewer requests than this in a step has each of them simulated by itself.
const BULK_MIN: f64 = 6.0;

/// A fresh process's errors last so long after its first user: what a release is excused for, less the step by which
/// simulated users come later than its share. Longer ones are its own fault.
const WARM_ERRORS: Millis = Millis(hmsops_model::limits::WARM_UP.0 - STEP.0);

/// A fresh process's slowness lasts so long after its first user.
const WARM_SLOW: Millis = Millis(10_000);

/// The canary gets at least so long to begin its answer, see `proxy::shield`.
const PATIENCE_MIN: Millis = Millis(1000);

/// What users do, and what befalls both versions alike.
#[derive(Debug, Clone)]
pub struct Users {
    /// Requests a second, on average.
    pub rate: f64,
    /// How many clients there are.
    pub clients: u64,
    /// Share of requests that any version answers with an error.
    pub base_errors: f64,
    /// Clients that always fail, whatever the version: the first so many.
    pub hopeless: u64,
    /// How often a client that failed tries again at once.
    pub retries: u64,
    /// How long answers take.
    pub shape: Shape,
    /// Traffic swings by this share over so long a time.
    pub cycle: Option<(f64, Millis)>,
    /// Crowds: this many times the traffic, so many seconds apart on average.
    pub crowds: Option<(f64, f64)>,
    /// What both versions depend on fails or is slow for moments.
    pub trouble: Option<Trouble>,
    /// Each process stands still, at most so many milliseconds, so many seconds apart on average.
    pub pauses: Option<(u64, f64)>,
    /// What a fresh process does: share of errors in its first two seconds with users, times the latency at first,
    /// falling over ten seconds.
    pub warm_up: Option<(f64, f64)>,
}

impl Default for Users {
    fn default() -> Self {
        Self {
            rate: 100.0,
            clients: 2000,
            base_errors: 0.0,
            hopeless: 0,
            retries: 0,
            shape: Shape { median_ms: 5.0, sigma: 0.4 },
            cycle: None,
            crowds: None,
            trouble: None,
            pauses: None,
            warm_up: None,
        }
    }
}

/// Moments in which what both versions depend on is not well.
#[derive(Debug, Clone, Copy)]
pub struct Trouble {
    /// Seconds apart, on average.
    pub every: f64,
    /// Share of requests that then fail.
    pub errors: f64,
    /// How many times as long answers then take.
    pub slow: f64,
}

/// What is going on at the moment, and what requests wait for.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    packed_until: Millis,
    trouble_until: Millis,
    /// Salt, weight and number of clients that the cohort was drawn for.
    drawn_for: Option<(u64, Weight, u64)>,
    canary: Vec<u64>,
    is_canary: Vec<bool>,
    late: BTreeMap<Millis, Vec<Outcome>>,
    /// Requests that wait for the canary.
    pub(crate) waiting: u64,
}

/// One arm, as this step's users find it.
#[derive(Debug, Clone, Copy)]
struct ArmView {
    side: Side,
    routed: Routed,
    salt: u64,
    weight: Weight,
    process: InstanceId,
    /// Clients on it; all of them where requests are split.
    clients: u64,
    hopeless: u64,
}

/// What is known of a request's outcome before it is made.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Open,
    Bad,
    /// Good, at this quantile of latency.
    Good(f64),
}

impl World {
    pub(crate) fn serve_users(&mut self) {
        self.answer_late();
        self.turn_moods();
        let now = self.now.steady;
        let mean = self.users.rate * self.swell(now) * STEP.as_secs_f64();
        let Some(arms) = self.arms() else { return };
        let all = self.users.clients.max(1) as f64;
        for arm in arms.into_iter().flatten() {
            let share = match arm.routed.unit {
                Unit::Client => arm.clients as f64 / all,
                Unit::Request if arm.side == Side::Canary => arm.weight.share(),
                Unit::Request => 1.0 - arm.weight.share(),
            };
            self.serve_arm(&arm, mean * share);
        }
    }

    /// Outcomes that are due.
    fn answer_late(&mut self) {
        let now = self.now.steady;
        while let Some(entry) = self.crowd.late.first_entry().filter(|entry| *entry.key() <= now) {
            for mut outcome in entry.remove() {
                outcome.at = self.now;
                self.crowd.waiting -= u64::from(outcome.side == Side::Canary);
                self.count(&outcome);
            }
        }
    }

    fn turn_moods(&mut self) {
        let (now, dt) = (self.now.steady, STEP.as_secs_f64());
        let dice = &mut self.traffic;
        let mut begins = |every: f64, until: Millis, secs: u64| {
            let due = every > 0.0 && now >= until && dice.chance(dt / every);
            if due { now + Millis(500 + dice.below(secs * 1000)) } else { until }
        };
        if let Some((_, every)) = self.users.crowds {
            self.crowd.packed_until = begins(every, self.crowd.packed_until, 20);
        }
        if let Some(trouble) = self.users.trouble {
            self.crowd.trouble_until = begins(trouble.every, self.crowd.trouble_until, 3);
        }
        if let Some((longest, every)) = self.users.pauses {
            for process in self.processes.values_mut().filter(|process| !process.ended) {
                if dice.chance(dt / every) {
                    let until = now + Millis(20 + dice.below(longest));
                    process.paused_until = process.paused_until.max(until);
                }
            }
        }
    }

    /// How much more than on average comes now.
    fn swell(&self, now: Millis) -> f64 {
        let swing = self.users.cycle.map_or(1.0, |(depth, period)| {
            1.0 + depth * (std::f64::consts::TAU * now.as_secs_f64() / period.as_secs_f64()).sin()
        });
        let crowd = self.users.crowds.filter(|_| now < self.crowd.packed_until);
        swing * crowd.map_or(1.0, |(factor, _)| factor)
    }

    fn trouble(&self) -> Option<Trouble> {
        self.users.trouble.filter(|_| self.now.steady < self.crowd.trouble_until)
    }

    fn arms(&mut self) -> Option<[Option<ArmView>; 2]> {
        let (route, fold) = (self.gateway.route.as_ref()?, self.gateway.fold.as_ref()?);
        let mut routed = fold.routed();
        routed.weight = self.gateway.weight();
        let canary = route.canary.as_ref().filter(|canary| canary.weight > Weight::NONE);
        let salt = canary.map_or(0, |canary| canary.salt);
        let stable = process_of(&route.stable.upstreams);
        let canary = canary.map(|canary| (canary.weight, process_of(&canary.arm.upstreams)));
        let weight = canary.map_or(Weight::NONE, |(weight, _)| weight);
        if routed.unit == Unit::Client {
            self.crowd.draw(salt, weight, self.users.clients);
        }
        let all = self.users.clients;
        let of = |side: Side, process: InstanceId| {
            let (clients, hopeless) = match routed.unit {
                Unit::Client => self.crowd.on(side, self.users.hopeless),
                Unit::Request => (all, self.users.hopeless),
            };
            ArmView { side, routed, salt, weight, process, clients, hopeless }
        };
        Some([Some(of(Side::Stable, stable)), canary.map(|(_, process)| of(Side::Canary, process))])
    }

    fn serve_arm(&mut self, arm: &ArmView, mean: f64) {
        let now = self.now.steady;
        let Some(process) = self.processes.get(&arm.process) else { return };
        let fresh = process.first_user_at.is_none_or(|at| now.since(at) < WARM_SLOW);
        let singly = mean < BULK_MIN
            || process.refuses(now)
            || process.broken(now)
            // Requests of this step came since the last one.
            || process.pause_left(now.since(STEP)) > Millis::ZERO
            || (fresh && self.users.warm_up.is_some())
            || self.trouble().is_some_and(|trouble| trouble.slow > 1.0);
        if singly {
            for _ in 0..self.traffic.poisson(mean) {
                let client = self.draw_client(arm);
                self.request(arm, client, Fate::Open);
            }
            return;
        }
        let hopeless = arm.hopeless as f64 / arm.clients.max(1) as f64;
        for _ in 0..self.traffic.poisson(mean * hopeless) {
            let client = self.draw_hopeless(arm);
            self.request(arm, client, Fate::Bad);
        }
        let bad = self.common_errors();
        let (bad, good) = (mean * (1.0 - hopeless) * bad, mean * (1.0 - hopeless) * (1.0 - bad));
        for _ in 0..self.traffic.poisson(bad) {
            let client = self.draw_patient(arm);
            self.request(arm, client, Fate::Bad);
        }
        for _ in 0..self.traffic.poisson(good * (1.0 - TAIL)) {
            let client = self.draw_patient(arm);
            let u = TAIL + (1.0 - TAIL) * self.traffic.share();
            self.request(arm, client, Fate::Good(u));
        }
        for u in BULK {
            let n = self.traffic.poisson(good * TAIL / BULK.len() as f64);
            self.bulk(arm, n, self.users.shape.at(u));
        }
    }

    /// Share of requests that fail at the moment whatever the version.
    fn common_errors(&self) -> f64 {
        let trouble = self.trouble().map_or(0.0, |trouble| trouble.errors);
        1.0 - (1.0 - self.users.base_errors) * (1.0 - trouble)
    }

    fn bulk(&mut self, arm: &ArmView, requests: u64, latency_us: u64) {
        if requests == 0 {
            return;
        }
        self.touch(arm);
        let some: Vec<u64> = (0..requests.min(3)).map(|_| self.draw_client(arm)).collect();
        // Distinct clients among n draws from c, on average.
        let c = arm.clients.max(1) as f64;
        let clients = c * -(requests as f64 * (-1.0 / c).ln_1p()).exp_m1();
        let clients = if c <= 1.0 { 1 } else { (clients.round() as u64).clamp(1, requests) };
        let (at, routed, side, some) = (self.now, arm.routed, arm.side, some.as_slice());
        if let Some(fold) = &mut self.gateway.fold {
            fold.count_many(&Bulk { at, routed, side, requests, clients, some, latency_us });
        }
    }

    /// Any client of an arm.
    fn draw_client(&mut self, arm: &ArmView) -> u64 {
        self.crowd.draw_client(&mut self.traffic, arm, 0, self.users.clients)
    }

    /// A client of an arm that does not always fail.
    fn draw_patient(&mut self, arm: &ArmView) -> u64 {
        for _ in 0..50 {
            let client = self.draw_client(arm);
            if client >= self.users.hopeless {
                return client;
            }
        }
        self.users.clients
    }

    fn draw_hopeless(&mut self, arm: &ArmView) -> u64 {
        self.crowd.draw_client(&mut self.traffic, arm, 0, self.users.hopeless)
    }

    /// One user's request and its retries.
    fn request(&mut self, arm: &ArmView, client: u64, fate: Fate) {
        self.touch(arm);
        let mut arm = *arm;
        let mut fate = fate;
        for _ in 0..=self.users.retries {
            if !self.ask(&arm, client, fate) {
                return;
            }
            fate = Fate::Open;
            if arm.routed.unit == Unit::Request {
                arm = self.redrawn(arm);
            }
        }
    }

    /// A retry of a request that was split for itself is split anew.
    fn redrawn(&mut self, arm: ArmView) -> ArmView {
        let key = self.traffic.bits();
        let to = side(arm.salt, &key.to_le_bytes(), arm.weight);
        if to == arm.side {
            return arm;
        }
        self.arms().and_then(|arms| arms.into_iter().flatten().find(|arm| arm.side == to)).unwrap_or(arm)
    }

    /// A process has a user: its warm-up and its fault's delay begin.
    fn touch(&mut self, arm: &ArmView) {
        let now = self.now.steady;
        if self.stopped.contains(&arm.process) {
            let what = format!("a request was sent to {}, which was stopped", arm.process);
            self.violate(Invariant::StableUntouched, what);
        }
        if let Some(process) = self.processes.get_mut(&arm.process) {
            process.first_user_at.get_or_insert(now);
            if arm.side == Side::Canary && process.fault != Fault::None {
                process.broken_at.get_or_insert(now + self.fault_delay);
            }
        }
    }

    /// Asks once; returns whether the user would try again.
    fn ask(&mut self, arm: &ArmView, client: u64, fate: Fate) -> bool {
        let came = self.now.steady.since(Millis(self.traffic.below(STEP.0)));
        let answer = self.answer(arm, client, fate, came);
        let (bad, took) = match answer {
            Answer::Good(micros) => (None, Millis(micros / 1000)),
            Answer::Bad(kind, took) => (Some(kind), took),
        };
        let idempotent = !self.traffic.chance(0.1);
        let shielded = bad.is_some() && arm.side == Side::Canary && idempotent;
        let outcome = Outcome {
            at: self.now,
            came,
            routed: arm.routed,
            side: arm.side,
            client: Some(client),
            latency_us: match answer {
                Answer::Good(micros) => Some(micros),
                // An error has a head, too, and came when that did.
                Answer::Bad(BadKind::Status, took) => Some(took.0 * 1000),
                Answer::Bad(..) => None,
            },
            bad,
            shielded,
            seen: bad.is_some() && !shielded,
        };
        let due = came + took;
        if due > self.now.steady {
            self.crowd.late.entry(due).or_default().push(outcome);
            self.crowd.waiting += u64::from(arm.side == Side::Canary);
        } else {
            self.count(&outcome);
        }
        bad.is_some()
    }

    /// What comes of a request that came at `now`, within this step.
    fn answer(&mut self, arm: &ArmView, client: u64, fate: Fate, now: Millis) -> Answer {
        let (trouble, common) = (self.trouble(), self.common_errors());
        let patience = || {
            let fold = self.gateway.fold.as_ref();
            fold.map_or(PATIENCE_MIN, Fold::auto_shield_after)
        };
        let Some(process) = self.processes.get(&arm.process) else {
            return Answer::Bad(BadKind::Refused, Millis::ZERO);
        };
        if process.refuses(now) {
            return Answer::Bad(BadKind::Refused, Millis::ZERO);
        }
        if process.hangs(now) {
            return Answer::Bad(BadKind::Timeout, patience());
        }
        let warm = self.users.warm_up.unwrap_or((0.0, 1.0));
        let age = process.first_user_at.map_or(Millis::ZERO, |at| now.since(at));
        let warm_errors = if age < WARM_ERRORS { warm.0 } else { 0.0 };
        let colder = 1.0 - (age.as_secs_f64() / WARM_SLOW.as_secs_f64()).min(1.0);
        let slow = process.slowness(now)
            * (1.0 + (warm.1 - 1.0) * colder)
            * trouble.map_or(1.0, |trouble| trouble.slow);
        let good = (1.0 - common) * (1.0 - process.error_share(now, client)) * (1.0 - warm_errors);
        let pause_left = process.pause_left(now);
        let (bad, u) = match fate {
            Fate::Bad => (true, 0.5),
            Fate::Good(u) => (false, u),
            Fate::Open => {
                let hopeless = client < self.users.hopeless;
                (hopeless || !self.traffic.chance(good), self.traffic.share())
            }
        };
        let waited = if pause_left == Millis::ZERO { 0 } else { pause_left.0 + self.traffic.below(STEP.0) };
        let micros = (self.users.shape.at(u) as f64 * slow) as u64 + waited * 1000;
        let took = Millis(micros / 1000);
        // Stable's counts at the same moment, see `Carriage::patience` of the real gateway.
        let watched = arm.side == Side::Canary || self.gateway.weight() > hmsops_model::Weight::NONE;
        if watched && took > PATIENCE_MIN {
            let patience = self.gateway.fold.as_ref().map_or(PATIENCE_MIN, Fold::auto_shield_after);
            if took > patience {
                return Answer::Bad(BadKind::Timeout, patience);
            }
        }
        if bad { Answer::Bad(BadKind::Status, took) } else { Answer::Good(micros) }
    }

    pub(crate) fn count(&mut self, outcome: &Outcome) {
        if outcome.bad.is_some() && outcome.side == Side::Canary {
            let now = self.now.steady;
            let first = self.canary_bad.map_or(now, |(first, _)| first);
            self.canary_bad = Some((first, now));
        }
        if let Some(fold) = &mut self.gateway.fold {
            fold.count(outcome);
        }
    }
}

impl Crowd {
    /// Nobody waits for an answer any more.
    pub(crate) fn hang_up(&mut self) {
        self.late.clear();
        self.waiting = 0;
    }

    /// Draws who is on the canary, by the real split.
    fn draw(&mut self, salt: u64, weight: Weight, clients: u64) {
        if self.drawn_for.replace((salt, weight, clients)) == Some((salt, weight, clients)) {
            return;
        }
        let on_canary = |client: u64| side(salt, &client.to_le_bytes(), weight) == Side::Canary;
        self.is_canary = (0..clients).map(on_canary).collect();
        self.canary = (0..).zip(&self.is_canary).filter(|(_, on)| **on).map(|(client, _)| client).collect();
    }

    /// Clients on an arm, and how many of them are among the first so many.
    fn on(&self, side: Side, first: u64) -> (u64, u64) {
        let canary = self.canary.len() as u64;
        let among = self.canary.partition_point(|client| *client < first) as u64;
        match side {
            Side::Canary => (canary, among),
            Side::Stable => (self.is_canary.len() as u64 - canary, first - among),
        }
    }

    /// One of an arm's clients from `from` to below `to`.
    fn draw_client(&self, dice: &mut Dice, arm: &ArmView, from: u64, to: u64) -> u64 {
        if arm.routed.unit == Unit::Request {
            return from + dice.below(to - from);
        }
        if arm.side == Side::Canary {
            let n = self.canary.partition_point(|client| *client < to) as u64;
            return self.canary.get(dice.below(n) as usize).copied().unwrap_or(from);
        }
        loop {
            let client = from + dice.below(to - from);
            if self.is_canary.get(client as usize) != Some(&true) {
                return client;
            }
        }
    }
}

/// Simulated instances listen on ports numbered as they are.
fn process_of(upstreams: &[String]) -> InstanceId {
    let port = upstreams.first().and_then(|addr| addr.rsplit(':').next()).and_then(|port| port.parse().ok());
    InstanceId(port.unwrap_or(0))
}
