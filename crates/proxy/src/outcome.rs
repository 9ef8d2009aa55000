//! Folds what came of single requests into ticks of about 100 ms, so that the tower sees at most ten events a
//! second of a service at any traffic. Pure, and shared with the simulator.
//!
//! Three things keep the counts honest evidence. A client counts as newly bad once a release, over both arms,
//! because one client that retries in its sticky arm would otherwise look like many. What is counted belongs to
//! the epoch and weight its request was routed under, not to those in force when the answer came. And with
//! fewer than [`hmsops_model::limits::CLIENTS_MIN`] distinct clients there is no fair draw among clients, so requests are split and
//! counted instead, at most one a client a second.

mod bulk;
mod clients;
mod order;
#[cfg(test)]
mod tests;

use hmsops_model::limits::TICK_INTERVAL;
use hmsops_model::route::Route;
use hmsops_model::service::Identity;
use hmsops_model::{ArmTick, BadKind, Latencies, Millis, Now, ReleaseId, ServiceName, Tick, Unit, Weight};

use crate::shield;
use crate::split::Side;
pub use bulk::Bulk;
use clients::{BadClients, ClientSet, RecentClients, SlowClients};
use order::{Held, Order};

/// A route without a canary or traffic still ticks this often, which says that the gateway lives.
pub const EMPTY_TICK_INTERVAL: Millis = Millis(1000);

/// Stable's latency is known over the last one to two of these.
const LATENCY_WINDOW: Millis = Millis::from_secs(30);

/// Of fewer answers of stable's the 99th percentile is a matter of chance.
const SLOW_ANSWERS_MIN: u64 = 200;

/// Answers in less than 20 ms are never slow: nobody notices, and a version may take 3 ms where 1 ms was enough.
const SLOW_FLOOR_US: u64 = 20_000;

/// Slow answers of a fresh canary are excused for so long after its first request, of both arms alike: caches fill and
/// code is compiled as it is used. So are answers too slow to be waited for, once the canary has answered anything.
/// Other bad answers are excused for less, see [`hmsops_model::route::Canary::excused_for`].
const SLOW_EXCUSED: Millis = Millis::from_secs(15);

/// What a request was routed under. Its outcome is counted with this, however long it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Routed {
    /// The route's epoch.
    pub epoch: u64,
    /// The release under watch, if one was.
    pub release: Option<ReleaseId>,
    /// The canary's weight.
    pub weight: Weight,
    /// Whether clients or requests were split.
    pub unit: Unit,
}

impl Routed {
    /// What requests under this route are routed under.
    pub fn by(route: &Route, unit: Unit) -> Self {
        let canary = route.canary.as_ref();
        Self {
            epoch: route.epoch,
            release: canary.map(|canary| canary.release),
            weight: canary.map_or(Weight::NONE, |canary| canary.weight),
            unit,
        }
    }
}

/// What came of one request at the arm it was sent to, before the shield.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// When it was known.
    pub at: Now,
    /// When the request was sent to the arm, on the steady clock.
    pub came: Millis,
    /// What it was routed under.
    pub routed: Routed,
    /// The arm that was asked.
    pub side: Side,
    /// Who asked, see [`crate::split::client_hash`]; `None` when the request doesn't say.
    pub client: Option<u64>,
    /// Microseconds until the answer's head came; `None` when none did.
    pub latency_us: Option<u64>,
    /// Why it was bad, if it was.
    pub bad: Option<BadKind>,
    /// Bad, and replaced by a good answer of stable's.
    pub shielded: bool,
    /// Bad, and a user saw it.
    pub seen: bool,
}

/// Folds one service's outcomes.
#[derive(Debug)]
pub struct Fold {
    service: ServiceName,
    /// Whether clients may be the unit: they are known and stay on their arm.
    by_client: bool,
    current: Routed,
    open: Vec<Open>,
    closed: Vec<Tick>,
    closed_at: Millis,
    told_at: Millis,
    seen: ClientSet,
    bad: BadClients,
    slow: SlowClients,
    /// Answers in later buckets are slow; `None`: not known yet.
    slow_past: Option<u8>,
    recent: RecentClients,
    order: Order,
    stable: [Latencies; 2],
    stable_since: Millis,
    /// What the release that was seen last with a share is excused for.
    excused: Option<Excuse>,
}

/// What a fresh canary is excused for, and stable with it.
#[derive(Debug, Clone, Copy)]
struct Excuse {
    release: ReleaseId,
    /// Bad answers to requests of so long after the canary's first one.
    bad_for: Millis,
    /// When the canary's first request came, once it is answered.
    since: Option<Millis>,
    /// Whether the canary has answered anything: one that hangs is not excused for being slow.
    has_answered: bool,
}

/// A tick that is being counted.
#[derive(Debug)]
struct Open {
    routed: Routed,
    stable: Counts,
    canary: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    tick: ArmTick,
    clients: clients::Set,
}

impl Fold {
    /// Begins with nothing counted.
    pub fn new(now: Now, route: &Route) -> Self {
        let mut fold = Self {
            service: route.service.clone(),
            by_client: by_client(route),
            current: Routed::by(route, Unit::Request),
            open: Vec::new(),
            closed: Vec::new(),
            closed_at: now.steady,
            told_at: now.steady,
            seen: ClientSet::new(now.steady),
            bad: BadClients::default(),
            slow: SlowClients::default(),
            slow_past: None,
            recent: RecentClients::default(),
            order: Order::default(),
            stable: [Latencies::default(), Latencies::default()],
            stable_since: now.steady,
            excused: None,
        };
        fold.excuse(route);
        fold
    }

    /// From now on requests are routed by this. Ends the ticks that are being counted; a new release forgets
    /// which clients were bad.
    pub fn set_route(&mut self, now: Now, route: &Route) {
        self.by_client = by_client(route);
        // What is held is judged with what its own release is excused for.
        self.turn(now, Routed::by(route, self.unit()));
        self.excuse(route);
    }

    /// A release that gets its first share is excused for a while; a later share of the same release is not.
    fn excuse(&mut self, route: &Route) {
        let canary = route.canary.as_ref().filter(|canary| canary.weight > Weight::NONE);
        let canary = canary.filter(|new| self.excused.is_none_or(|known| known.release != new.release));
        if let Some(canary) = canary {
            self.excused = Some(Excuse {
                release: canary.release,
                bad_for: canary.excused_for,
                since: None,
                has_answered: false,
            });
        }
    }

    /// What a request that comes now is routed under, its unit included: in [`Unit::Request`] each request is
    /// drawn for itself.
    pub fn routed(&self) -> Routed {
        self.current
    }

    /// Counts one outcome.
    pub fn count(&mut self, outcome: &Outcome) {
        if let Some(client) = outcome.client {
            self.seen.insert(client, outcome.at.steady);
        }
        if outcome.side == Side::Stable
            && outcome.bad.is_none()
            && let Some(micros) = outcome.latency_us
        {
            self.observe_stable(outcome.at.steady, micros, 1);
        }
        let spent_us = outcome.latency_us.unwrap_or(outcome.at.steady.since(outcome.came).0 * 1000);
        self.order.note(outcome.side, outcome.came, spent_us, 1);
        if outcome.side == Side::Canary {
            self.note_canary(outcome.routed, outcome.came, outcome.bad != Some(BadKind::Timeout));
        }
        let error = outcome.bad.is_some() && self.is_error(outcome);
        let is_slow = self.is_slow(outcome);
        let new_slow = is_slow && self.slow_evidence(outcome);
        if outcome.side == Side::Stable {
            self.slow.note(1, u64::from(is_slow));
        }
        let counts = self.open_for(outcome.routed).side(outcome.side);
        let tick = &mut counts.tick;
        tick.requests += 1;
        tick.clients += u64::from(outcome.client.is_none_or(|client| counts.clients.insert(client)));
        outcome.latency_us.iter().for_each(|micros| tick.latencies.observe(*micros));
        tick.slow += u64::from(is_slow);
        tick.new_slow += u64::from(new_slow);
        if let Some(kind) = outcome.bad {
            *tick.bad.entry(kind).or_default() += 1;
            tick.errors += u64::from(error);
            tick.shielded += u64::from(outcome.shielded);
            tick.seen += u64::from(outcome.seen);
            tick.first_bad_at = Some(tick.first_bad_at.map_or(outcome.at.wall, |at| at.min(outcome.at.wall)));
            tick.last_bad_at = tick.last_bad_at.max(Some(outcome.at.wall));
        }
    }

    /// Ends the tick when it is due and returns what is ready, with `seq` and `gateway_run` still 0 (see
    /// [`crate::ticks::Ring`]). `waiting` are the requests that wait for the canary's head.
    pub fn close(&mut self, now: Now, waiting: u64) -> Vec<Tick> {
        if now.steady.since(self.closed_at) >= TICK_INTERVAL {
            self.seen.turn(now.steady);
            for held in self.order.settle(now.steady, waiting == 0) {
                self.judge(&held);
            }
            self.turn(now, Routed { unit: self.unit(), ..self.current });
            self.recent.forget(now.steady);
            self.learn_slow();
            let watched = self.current.weight > Weight::NONE || waiting > 0;
            let silent = now.steady.since(self.told_at) >= EMPTY_TICK_INTERVAL;
            if self.closed.is_empty() && (watched || silent) {
                let empty = Open::new(self.current).tick(&self.service, now, TICK_INTERVAL);
                self.closed.push(empty);
            }
        }
        if !self.closed.is_empty() {
            self.told_at = now.steady;
        }
        self.closed.iter_mut().for_each(|tick| tick.canary_waiting = waiting);
        std::mem::take(&mut self.closed)
    }

    /// Ends the tick at once, and judges all that is held: nothing more comes that it could be ordered with. For the end
    /// of a release, or of the gateway.
    pub fn finish(&mut self, now: Now, waiting: u64) -> Vec<Tick> {
        for held in self.order.take_all() {
            self.judge(&held);
        }
        if !self.open.is_empty() {
            self.turn(now, self.current);
        }
        if !self.closed.is_empty() {
            self.told_at = now.steady;
        }
        self.closed.iter_mut().for_each(|tick| tick.canary_waiting = waiting);
        std::mem::take(&mut self.closed)
    }

    /// How long a canary may take to begin its answer when nobody declared it, see [`shield::auto_after`].
    pub fn auto_shield_after(&self) -> Millis {
        let mut latencies = self.stable[0].clone();
        latencies.add(&self.stable[1]);
        shield::auto_after(&latencies)
    }

    /// The unit for requests that come now.
    fn unit(&self) -> Unit {
        if self.by_client && self.seen.is_enough() { Unit::Client } else { Unit::Request }
    }

    /// Ends what is being counted and goes on under `next`.
    fn turn(&mut self, now: Now, next: Routed) {
        if next.release != self.current.release {
            // What is still held belongs to the sums of the release that ends.
            for held in self.order.take_all() {
                self.judge(&held);
            }
        }
        let span = now.steady.since(self.closed_at);
        let open = std::mem::take(&mut self.open);
        self.closed.extend(open.into_iter().map(|open| open.tick(&self.service, now, span)));
        self.closed_at = now.steady;
        if next.release != self.current.release {
            self.bad.clear();
            self.slow.clear();
        }
        self.slow.turn();
        self.current = next;
    }

    /// Whether a bad answer is one that the guard counts: one a client a second of an arm. Holds it until it can be
    /// judged.
    fn is_error(&mut self, outcome: &Outcome) -> bool {
        let Outcome { came, routed, side, client, bad, .. } = *outcome;
        let held = Held { came, routed, side, client, is_late: bad == Some(BadKind::Timeout) };
        if Weight::NONE < routed.weight && routed.weight < Weight::ALL {
            if let Some(over) = self.order.hold(held) {
                self.judge(&over);
            }
        } else {
            // Nobody to compare with.
            self.judge(&held);
        }
        !self.is_excused(&held)
            && client.is_none_or(|client| self.recent.count(client, side, outcome.at.steady))
    }

    /// Counts a bad answer as evidence if it is a client's (or request's) first of the release.
    fn judge(&mut self, held: &Held) {
        let &Held { came, routed, side, client, .. } = held;
        if self.is_excused(held) {
            return;
        }
        let is_first = client.is_none_or(|client| match routed.unit {
            Unit::Request => self.recent.count_any(client, came),
            // A late answer of an earlier release says nothing of this one's clients.
            Unit::Client => routed.release == self.current.release && self.bad.insert(client),
        });
        if is_first {
            self.open_for(routed).side(side).tick.new_bad += 1;
        }
    }

    /// Whether a request came within the time that a fresh canary is excused for. It counts from the canary's own
    /// first request: at little traffic that comes long after its share. Both arms alike: clients that fail
    /// everywhere would else come in a burst of the canary's alone.
    fn is_excused(&self, held: &Held) -> bool {
        let excuse =
            self.excused.filter(|of| of.bad_for > Millis::ZERO && held.routed.release == Some(of.release));
        excuse.is_some_and(|excuse| {
            let only_slow = held.is_late && excuse.has_answered;
            let span = if only_slow { excuse.bad_for.max(SLOW_EXCUSED) } else { excuse.bad_for };
            excuse.since.is_none_or(|since| held.came < since + span)
        })
    }

    /// Notes when the canary's first request came, and whether it answers.
    fn note_canary(&mut self, routed: Routed, came: Millis, answered: bool) {
        if let Some(excuse) = self.excused.as_mut().filter(|of| routed.release == Some(of.release)) {
            excuse.since = Some(excuse.since.map_or(came, |since| since.min(came)));
            excuse.has_answered |= answered;
        }
    }

    /// Whether an answer that is not bad took longer than stable's do.
    fn is_slow(&self, outcome: &Outcome) -> bool {
        outcome.bad.is_none()
            && outcome
                .latency_us
                .zip(self.slow_past)
                .is_some_and(|(micros, past)| micros > SLOW_FLOOR_US && Latencies::bucket(micros) > past)
    }

    /// Whether a slow answer is a client's (or request's) first of the release.
    fn slow_evidence(&mut self, outcome: &Outcome) -> bool {
        let routed = outcome.routed;
        let excused = self.excused.is_some_and(|excuse| {
            let until = excuse.since.map(|since| since + SLOW_EXCUSED);
            routed.release == Some(excuse.release) && until.is_none_or(|until| outcome.came < until)
        });
        if excused || routed.release.is_none() || routed.release != self.current.release {
            return false;
        }
        outcome.client.is_none_or(|client| self.slow.insert(client, outcome.side))
    }

    /// What is slow from now on. Stable is followed as it changes: the bound is drawn before the answers that it
    /// judges, and is the same for both arms, so a service that is slower at noon is not held against the canary.
    fn learn_slow(&mut self) {
        let mut latencies = self.stable[0].clone();
        latencies.add(&self.stable[1]);
        self.slow_past = latencies.quantile_bucket(0.99).filter(|_| latencies.count() >= SLOW_ANSWERS_MIN);
    }

    fn open_for(&mut self, routed: Routed) -> &mut Open {
        let at = self.open.iter().position(|open| open.routed == routed).unwrap_or_else(|| {
            self.open.push(Open::new(routed));
            self.open.len() - 1
        });
        &mut self.open[at]
    }

    fn observe_stable(&mut self, now: Millis, micros: u64, n: u64) {
        if now.since(self.stable_since) >= LATENCY_WINDOW {
            self.stable_since = now;
            self.stable.swap(0, 1);
            self.stable[0] = Latencies::default();
        }
        self.stable[0].observe_many(micros, n);
    }
}

impl Open {
    fn new(routed: Routed) -> Self {
        Self { routed, stable: Counts::default(), canary: Counts::default() }
    }

    fn side(&mut self, side: Side) -> &mut Counts {
        match side {
            Side::Stable => &mut self.stable,
            Side::Canary => &mut self.canary,
        }
    }

    fn tick(self, service: &ServiceName, now: Now, span: Millis) -> Tick {
        Tick {
            service: service.clone(),
            release: self.routed.release,
            epoch: self.routed.epoch,
            seq: 0,
            gateway_run: 0,
            at: now.wall,
            span,
            weight: self.routed.weight,
            unit: self.routed.unit,
            canary_waiting: 0,
            stable: self.stable.tick,
            canary: self.canary.tick,
        }
    }
}

fn by_client(route: &Route) -> bool {
    route.sticky && route.identity != Identity::Request
}
