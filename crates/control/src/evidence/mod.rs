//! What was seen and is not a decision: probes, ticks, who is connected. Volatile; a restarted tower folds the
//! side log again and learns the rest anew.

pub mod errors;
pub mod health;
pub mod margin;
pub mod mixture;
pub mod probes;
pub mod seen;
pub mod share;
pub mod slow;
pub mod traffic;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use hmsops_model::limits::{FALSE_ROLLBACK_ALPHA, GUARD_CLIENTS, GUARD_ERRORS};
use hmsops_model::probe::ProbeResult;
use hmsops_model::{
    ArmTick, InstanceId, Millis, Now, ReleaseId, ServiceName, Tick, Unit, UnixMillis, Weight,
};

use crate::event::{Event, GatewayReport, InstanceReport};
use crate::state::State;
use crate::state::release::{Phase, Release};
use crate::state::service::Service;
use crate::transition::Tally;
use errors::ErrorEvidence;
use health::Health;
use margin::StepShares;
use probes::{ProbeEvidence, loss_bound};
use seen::Seen;
use slow::SlowEvidence;
use traffic::Traffic;

/// Seconds of a release's course that are remembered for its page.
const POINTS_MAX: usize = 3600;

/// Gateway processes whose last tick is remembered.
const GATEWAY_RUNS_MAX: usize = 64;

/// Releases whose course is kept at hand for their pages; of older ones the ledger and side log tell.
const WATCHES_MAX: usize = 100;

/// Failed looks that wait for a look at stable, which comes at once: more means that none comes.
const PENDING_MAX: usize = 100;

/// A failed look at stable makes looks at the canary so close to it say nothing.
const COMMON_MODE: Millis = Millis(1500);

/// A gateway that has said nothing for so long is silent: nothing is known of what it does.
pub const GATEWAY_SILENT: Millis = Millis(3000);

/// Shares of the false-rollback budget. Errors decide most releases and come one by one. A failed look is worth four to
/// six nats, so a smaller share costs the probes one look more: looks get lost together, of both versions, while a
/// network is out for a second or two, and three of them in a row are too few to tell. A slow canary can be waited for.
const ERRORS_SHARE: f64 = 0.94;
/// See [`ERRORS_SHARE`].
const PROBES_SHARE: f64 = 0.03;
/// See [`ERRORS_SHARE`].
const SLOW_SHARE: f64 = 0.03;

/// What each test adds to a release's evidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parts {
    /// Bad answers.
    pub errors: f64,
    /// Probes.
    pub probes: f64,
    /// Slow answers.
    pub slow: f64,
}

impl Default for Parts {
    /// Nothing observed: an e-value of one each.
    fn default() -> Self {
        Self { errors: ERRORS_SHARE, probes: PROBES_SHARE, slow: SLOW_SHARE }
    }
}

/// Everything that was seen and is not a decision.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Traffic by service.
    pub services: BTreeMap<ServiceName, Traffic>,
    /// Probes by instance.
    pub instances: BTreeMap<InstanceId, Health>,
    /// What each active release has shown.
    pub releases: BTreeMap<ReleaseId, Arc<Watch>>,
    /// What is known of each gateway.
    pub gateways: BTreeMap<String, Link>,
    /// What rules and policies saw last.
    pub seen: Seen,
    /// The last tick taken in, by gateway run, and when.
    ticks: BTreeMap<u64, (u64, Millis)>,
}

/// What is known of a gateway.
#[derive(Debug, Clone, Default)]
pub struct Link {
    /// Whether it is connected.
    pub connected: bool,
    /// When it was last heard, on the steady clock.
    pub heard_at: Millis,
    /// Since when it is heard without a gap; what it did in a gap nobody watched.
    pub live_since: Millis,
    /// The epoch it holds, by service.
    pub epochs: BTreeMap<ServiceName, u64>,
}

/// What a release has shown.
#[derive(Debug, Clone)]
pub struct Watch {
    /// When the watch began, on the steady clock.
    pub since: Millis,
    /// Bad answers.
    pub errors: ErrorEvidence,
    /// Slow answers.
    pub slow: SlowEvidence,
    /// What the present step can rule out.
    pub step: StepShares,
    /// Probes.
    pub probes: ProbeEvidence,
    /// Sums.
    pub tally: Tally,
    /// Bad answers of the canary that may be held against it, at most one a client a second.
    pub guard_errors: u64,
    /// Clients (or requests) whose bad answers of the canary may be held against it.
    pub guard_clients: u64,
    /// Failed looks at the canary since stable was last looked at: evidence only once stable is seen to pass.
    pending: Vec<(String, Millis)>,
    /// Looks at the other version since the canary has users, and how many of them failed.
    looks: (u64, u64),
    /// The copy of the other version that was looked at last.
    other: Option<InstanceId>,
    /// Whether the gateway says that no request waits for the canary any more.
    pub drained: bool,
    /// The course by second, oldest first.
    pub points: VecDeque<Point>,
}

/// One second of a release's course.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The end of the second.
    pub at: UnixMillis,
    /// The canary's share.
    pub weight: Weight,
    /// Requests to stable, and bad answers.
    pub stable: (u64, u64),
    /// Requests to the canary, and bad answers.
    pub canary: (u64, u64),
    /// The evidence then.
    pub evidence: f64,
}

impl Watch {
    fn new(since: Millis) -> Self {
        Self {
            since,
            errors: ErrorEvidence::default(),
            slow: SlowEvidence::default(),
            step: StepShares::default(),
            probes: ProbeEvidence::default(),
            tally: Tally::default(),
            guard_errors: 0,
            guard_clients: 0,
            pending: Vec::new(),
            looks: (0, 0),
            other: None,
            drained: false,
            points: VecDeque::new(),
        }
    }

    /// The evidence of all tests together. A weighted mean of e-values is one, so it may be held against 1/α: that
    /// is how the false-rollback budget is shared (Vovk & Wang, *E-values: Calibration, combination and
    /// applications*, Annals of Statistics 2021, §4; a test alone needs 1/(share × α)).
    pub fn evidence(&self) -> f64 {
        ERRORS_SHARE * self.errors.value()
            + PROBES_SHARE * self.probes.value()
            + SLOW_SHARE * self.slow.value()
    }

    /// Each test's part of the evidence.
    pub fn parts(&self) -> Parts {
        Parts {
            errors: ERRORS_SHARE * self.errors.value(),
            probes: PROBES_SHARE * self.probes.value(),
            slow: SLOW_SHARE * self.slow.value(),
        }
    }

    /// What the evidence has to reach.
    pub fn needed() -> f64 {
        1.0 / FALSE_ROLLBACK_ALPHA
    }

    /// Whether errors may condemn at all: one broken request or one broken client must not.
    pub fn guard_passed(&self) -> bool {
        self.guard_errors >= GUARD_ERRORS && self.guard_clients >= GUARD_CLIENTS
    }

    /// The chance that a look at a healthy canary fails. Learnt from stable's looks before it had users, as the ledger
    /// has them, and from those since, which the side log keeps: whoever reads both finds the same evidence.
    fn loss(&self, release: &Release) -> f64 {
        let (looks, failed) = release.stable_looks;
        loss_bound((u64::from(looks) + self.looks.0) as usize, (u64::from(failed) + self.looks.1) as usize)
    }

    fn observe_tick(&mut self, now: Now, tick: &Tick) {
        let at = now.steady.since(self.since);
        self.errors.observe(at, tick.weight, tick.canary.new_bad, tick.stable.new_bad);
        self.slow.observe(at, tick.weight, tick.canary.new_slow, tick.stable.new_slow);
        self.step.observe(tick);
        self.guard_errors += tick.canary.errors;
        self.guard_clients += tick.canary.new_bad;
        let tally = &mut self.tally;
        tally.canary_requests += tick.canary.requests;
        tally.stable_requests += tick.stable.requests;
        tally.canary_bad += tick.canary.n_bad();
        tally.stable_bad += tick.stable.n_bad();
        tally.canary_bad_clients += tick.canary.new_bad;
        tally.stable_bad_clients += tick.stable.new_bad;
        tally.canary_slow_clients += tick.canary.new_slow;
        tally.stable_slow_clients += tick.stable.new_slow;
        let counted = |arm: &ArmTick| arm.new_bad + arm.new_slow > 0;
        tally.by_request |= tick.unit == Unit::Request && (counted(&tick.canary) || counted(&tick.stable));
        tally.shielded += tick.canary.shielded;
        tally.seen += tick.canary.seen;
        tally.first_bad_at = [tally.first_bad_at, tick.canary.first_bad_at].into_iter().flatten().min();
        tally.last_bad_at = tally.last_bad_at.max(tick.canary.last_bad_at);
        self.draw(now, tick);
    }

    fn draw(&mut self, now: Now, tick: &Tick) {
        let second = |at: UnixMillis| at.0.div_euclid(1000);
        if self.points.back().is_none_or(|last| second(last.at) != second(now.wall)) {
            let (at, weight) = (now.wall, tick.weight);
            self.points.push_back(Point { at, weight, stable: (0, 0), canary: (0, 0), evidence: 1.0 });
            if self.points.len() > POINTS_MAX {
                self.points.pop_front();
            }
        }
        let evidence = self.evidence();
        if let Some(point) = self.points.back_mut() {
            point.weight = tick.weight;
            point.stable.0 += tick.stable.requests;
            point.stable.1 += tick.stable.n_bad();
            point.canary.0 += tick.canary.requests;
            point.canary.1 += tick.canary.n_bad();
            point.evidence = evidence;
        }
    }
}

impl Evidence {
    /// Takes in what an event shows. Returns whether a restarted tower would need it (then it belongs into the
    /// side log): a tick or probe of a release that is out, seen for the first time.
    pub fn observe(&mut self, state: &State, now: Now, event: &Event) -> bool {
        match event {
            Event::Tick(tick) => self.observe_tick(state, now, tick),
            Event::Probe(probe) => self.observe_probe(state, now, probe),
            Event::Gateway { gateway, report } => {
                self.observe_gateway(now, gateway, report);
                false
            }
            Event::Instance { id, report } => {
                if matches!(report, InstanceReport::Stopped | InstanceReport::Exited { .. }) {
                    self.instances.remove(id);
                }
                false
            }
            Event::Evaluated(_)
            | Event::Judged(_)
            | Event::HealModes(_)
            | Event::Freezes(_)
            | Event::FourEyes(_)
            | Event::Watchers(_) => {
                self.seen.observe(state, now, event);
                false
            }
            _ => false,
        }
    }

    /// What a release has shown; begins the watch when it is new.
    pub fn watch(&mut self, release: &Release) -> &mut Watch {
        let since = release.requested_at.steady;
        Arc::make_mut(self.releases.entry(release.id).or_insert_with(|| Arc::new(Watch::new(since))))
    }

    /// Whether a gateway is connected and was heard lately.
    pub fn gateway_live(&self, now: Now, gateway: &str) -> bool {
        self.gateways
            .get(gateway)
            .is_some_and(|link| link.connected && now.steady.since(link.heard_at) <= GATEWAY_SILENT)
    }

    /// Forgets what belongs to nothing any more.
    pub fn forget(&mut self, state: &State) {
        self.instances.retain(|id, _| state.instance(*id).is_some_and(|(_, instance)| !instance.ended()));
        self.releases.retain(|id, _| state.releases.contains_key(id));
        self.seen.forget(state);
        let closed = |id: &ReleaseId| state.releases.get(id).is_none_or(|release| release.closed);
        while self.releases.len() > WATCHES_MAX
            && let Some(oldest) = self.releases.keys().find(|id| closed(id)).copied()
        {
            self.releases.remove(&oldest);
        }
        while self.ticks.len() > GATEWAY_RUNS_MAX
            && let Some(oldest) = self.ticks.iter().min_by_key(|(_, (_, at))| *at).map(|(run, _)| *run)
        {
            self.ticks.remove(&oldest);
        }
    }

    /// Takes in again what a side log kept, with the state of that moment. It was told apart from what came twice before
    /// it was kept, and releases are folded one after the other, so here nothing is.
    pub fn observe_kept(&mut self, state: &State, now: Now, event: &Event) {
        match event {
            Event::Tick(tick) => {
                let last = self.ticks.entry(tick.gateway_run).or_insert((0, now.steady));
                *last = (last.0.max(tick.seq), now.steady);
                if let Some(release) = tick.release.and_then(|id| state.releases.get(&id)) {
                    self.watch(release).observe_tick(now, tick);
                }
            }
            Event::Probe(probe) => {
                if let Some(release) = state.active_release(&probe.service) {
                    self.recall(release, probe);
                }
                self.observe_probe(state, now, probe);
            }
            event => {
                self.observe(state, now, event);
            }
        }
    }

    /// Takes in again a look that a release's side log kept, with the state of today: the release may have gone on or
    /// back since, and stable may be another copy. What was no evidence then must not become any now.
    pub fn refold_probe(&mut self, state: &State, now: Now, release: ReleaseId, probe: &ProbeResult) {
        let Some(release) = state.releases.get(&release) else { return };
        self.recall(release, probe);
        let Some(failed) = self.instances.entry(probe.instance).or_default().observe(now, probe) else {
            return;
        };
        if probe.instance == release.instance {
            let other = self.releases.get(&release.id).and_then(|watch| watch.other);
            self.fold_canary(now, release, &probe.path, failed, (other, other.is_some()));
            return;
        }
        // Only copies of the version before were compared with; of one that is forgotten it can be nothing else.
        let known = state.services.get(&probe.service).and_then(|known| known.instances.get(&probe.instance));
        if known.is_none_or(|known| release.from.as_ref() == Some(&known.instance.version)) {
            self.fold_other(now, release, probe, failed);
        }
    }

    /// What was looked at before a canary had users is not kept. That the version before had passed its own checks by
    /// then, the ledger tells: else its first failures would not count as common to both.
    fn recall(&mut self, release: &Release, probe: &ProbeResult) {
        let was_there = probe.instance < release.instance && release.stable_looks.0 > 0;
        if was_there && release.checks_before.iter().any(|check| check.path == probe.path) {
            self.instances.entry(probe.instance).or_default().recall(&probe.path);
        }
    }

    fn observe_tick(&mut self, state: &State, now: Now, tick: &Tick) -> bool {
        let last = self.ticks.entry(tick.gateway_run).or_insert((0, now.steady));
        if tick.seq <= last.0 {
            return false;
        }
        *last = (tick.seq, now.steady);
        self.services.entry(tick.service.clone()).or_default().observe(now, tick);
        let open = tick.release.and_then(|id| state.releases.get(&id)).filter(|release| !release.closed);
        let Some(release) = open else { return false };
        self.watch(release).observe_tick(now, tick);
        true
    }

    fn observe_probe(&mut self, state: &State, now: Now, probe: &ProbeResult) -> bool {
        let failed = self.instances.entry(probe.instance).or_default().observe(now, probe);
        let Some(release) = state.active_release(&probe.service) else { return false };
        if probe.instance != release.instance {
            if let Some(failed) = failed {
                self.observe_other(state, now, release, probe, failed);
            }
            return matches!(release.phase, Phase::Watching | Phase::Baking);
        }
        // Looks at a version that no user sees yet are no evidence, also not when the side log is folded again.
        let watched = matches!(release.phase, Phase::Watching | Phase::Baking);
        if let (Some(failed), true) = (failed, watched) {
            self.observe_canary(state, now, release, &probe.path, failed);
        }
        watched
    }

    fn observe_canary(&mut self, state: &State, now: Now, release: &Release, check: &str, failed: bool) {
        let Some(service) = state.services.get(&release.spec.service) else { return };
        let other = compared(service, release);
        let is_up = other.is_some_and(|id| service.instances.get(&id).is_some_and(|known| !known.ended()));
        self.fold_canary(now, release, check, failed, (other, is_up));
    }

    /// Takes in a look at the canary; `other` is the copy that it is compared with, and whether that runs.
    fn fold_canary(
        &mut self,
        now: Now,
        release: &Release,
        check: &str,
        failed: bool,
        (other, is_up): (Option<InstanceId>, bool),
    ) {
        let stable = other.and_then(|id| self.instances.get(&id));
        let common = stable.is_some_and(|health| health.failing(now, COMMON_MODE));
        let watch = self.watch(release);
        watch.tally.probes += 1;
        watch.tally.probes_failed += u64::from(failed);
        let at = now.steady.since(watch.since);
        if failed && !common && is_up {
            // Whether it is the canary's alone is known when stable is looked at next, which is at once.
            watch.pending.push((check.to_owned(), at));
            if watch.pending.len() > PENDING_MAX {
                watch.pending.remove(0);
            }
        } else if !common {
            watch.probes.observe(at, failed, watch.loss(release));
        }
    }

    fn observe_other(
        &mut self,
        state: &State,
        now: Now,
        release: &Release,
        probe: &ProbeResult,
        failed: bool,
    ) {
        let Some(service) = state.services.get(&release.spec.service) else { return };
        let watched = matches!(release.phase, Phase::Watching | Phase::Baking);
        if watched && compared(service, release) == Some(probe.instance) {
            self.fold_other(now, release, probe, failed);
        }
    }

    /// A look at stable settles what the canary's failed looks before it at the same check are worth.
    fn fold_other(&mut self, now: Now, release: &Release, probe: &ProbeResult, failed: bool) {
        let health = self.instances.get(&probe.instance);
        let own = health.is_some_and(|health| health.knows(&probe.path));
        let common = failed && health.is_some_and(|health| health.failing(now, COMMON_MODE));
        let watch = self.watch(release);
        watch.other = Some(probe.instance);
        watch.looks.0 += u64::from(own);
        watch.looks.1 += u64::from(own && failed);
        let pending = watch.pending.extract_if(.., |(check, _)| *check == probe.path);
        for at in pending.map(|(_, at)| at).collect::<Vec<_>>() {
            if !common {
                watch.probes.observe(at, true, watch.loss(release));
            }
        }
    }

    fn observe_gateway(&mut self, now: Now, gateway: &str, report: &GatewayReport) {
        let link = self.gateways.entry(gateway.to_owned()).or_default();
        // The first word after a start of ours is no gap: a gateway alone for long goes back by itself.
        let is_back = matches!(report, GatewayReport::Connected { .. })
            || now.steady.since(link.heard_at) > GATEWAY_SILENT;
        if link.heard_at > Millis::ZERO && is_back {
            link.live_since = now.steady;
        }
        link.heard_at = now.steady;
        match report {
            GatewayReport::Connected { routes } => {
                link.connected = true;
                link.epochs = routes.iter().map(|held| (held.service.clone(), held.epoch)).collect();
            }
            GatewayReport::Lost => link.connected = false,
            GatewayReport::Applied { service, epoch } => {
                link.epochs.insert(service.clone(), *epoch);
            }
            GatewayReport::Drained { release, .. } => {
                if let Some(watch) = self.releases.get_mut(release) {
                    Arc::make_mut(watch).drained = true;
                }
            }
            GatewayReport::Refused { .. } | GatewayReport::Retreated { .. } | GatewayReport::Alive => {}
        }
    }
}

/// The copy that a canary is compared with: while its release bakes, the warm one.
fn compared(service: &Service, release: &Release) -> Option<InstanceId> {
    if release.phase == Phase::Baking { service.warm.map(|warm| warm.id) } else { service.stable }
}
