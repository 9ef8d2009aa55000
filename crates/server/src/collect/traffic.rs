//! What gateways counted since the tower started, by service, version and arm: ticks added up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hmsops_control::state::State;
use hmsops_model::outcome::{ArmTick, BadKind, Latencies};
use hmsops_model::{ServiceName, Tick, Version};
use hmsops_wire::gateway::GatewayCounts;

/// The arm that most users have.
pub(super) const STABLE: &str = "stable";

/// The arm of a release.
const CANARY: &str = "canary";

/// A service, a version of it, and `stable` or `canary`.
pub(crate) type ArmKey = (ServiceName, Version, &'static str);

/// What was counted of one arm since the tower started, or since the arm was last forgotten.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ArmTotal {
    /// Requests whose outcome is known.
    pub(crate) requests: u64,
    /// Bad answers by kind, before the shield.
    pub(crate) bad: BTreeMap<BadKind, u64>,
    /// How long answers took until their head came.
    pub(crate) latencies: Latencies,
}

impl ArmTotal {
    fn add(&mut self, tick: &ArmTick) {
        self.requests += tick.requests;
        for (kind, n) in &tick.bad {
            *self.bad.entry(*kind).or_default() += n;
        }
        self.latencies.add(&tick.latencies);
    }
}

/// The sums of all gateways' ticks. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct GatewayTraffic(Arc<Mutex<Sums>>);

#[derive(Debug, Default)]
struct Sums {
    arms: BTreeMap<ArmKey, ArmTotal>,
    /// By gateway: what its process has counted so far.
    counts: BTreeMap<String, GatewayCounts>,
    /// By gateway: the version of its process.
    programs: BTreeMap<String, String>,
    /// By gateway and process, of which there are two while one takes the other's place: the last tick that was
    /// added. A tick that is sent again is not added again.
    last: BTreeMap<(String, u64), u64>,
}

/// Processes that are remembered, by far more than run at a time.
const RUNS_MAX: usize = 4096;

impl GatewayTraffic {
    /// Adds a tick. Which version an arm has is what `state` says at this moment.
    pub fn add(&self, gateway: &str, state: &State, tick: &Tick) {
        let mut sums = self.sums();
        let last = sums.last.entry((gateway.to_owned(), tick.gateway_run)).or_insert(0);
        if tick.seq <= *last {
            return;
        }
        *last = tick.seq;
        while sums.last.len() > RUNS_MAX {
            sums.last.pop_first();
        }
        let Some(service) = state.services.get(&tick.service) else { return };
        let stable = service.stable_instance().map(|known| known.instance.version.clone());
        let release = tick.release.and_then(|id| state.releases.get(&id));
        let canary = release.map(|release| release.spec.image.tag.clone());
        for (arm, version, counted) in [(STABLE, stable, &tick.stable), (CANARY, canary, &tick.canary)] {
            let Some(version) = version.filter(|_| counted.requests > 0) else { continue };
            sums.arms.entry((tick.service.clone(), version, arm)).or_default().add(counted);
        }
    }

    /// What a gateway has counted beside its ticks.
    pub fn set_counts(&self, gateway: &str, counts: GatewayCounts) {
        self.sums().counts.insert(gateway.to_owned(), counts);
    }

    /// Of which version a gateway's process is; empty where it is too old to say.
    pub fn set_program(&self, gateway: &str, program: &str) {
        self.sums().programs.insert(gateway.to_owned(), program.to_owned());
    }

    /// Of which version each gateway's process is that was ever heard.
    pub(crate) fn programs(&self) -> BTreeMap<String, String> {
        self.sums().programs.clone()
    }

    /// What each gateway has counted beside its ticks.
    pub(crate) fn counts(&self) -> BTreeMap<String, GatewayCounts> {
        self.sums().counts.clone()
    }

    /// All sums; those of arms that `state` has, from 0, and no others. What is not there any more is forgotten.
    pub(crate) fn totals(&self, state: &State) -> BTreeMap<ArmKey, ArmTotal> {
        let present = present(state);
        let mut sums = self.sums();
        sums.arms.retain(|key, _| present.contains(key));
        for key in present {
            sums.arms.entry(key).or_default();
        }
        sums.arms.clone()
    }

    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The arms that gateways may have requests for.
fn present(state: &State) -> Vec<ArmKey> {
    let mut arms = Vec::new();
    for (name, service) in &state.services {
        if service.retired || service.spec.route.is_none() {
            continue;
        }
        if let Some(stable) = service.stable_instance() {
            arms.push((name.clone(), stable.instance.version.clone(), STABLE));
        }
        let release = service.release.and_then(|id| state.releases.get(&id));
        if let Some(release) = release.filter(|release| !release.closed) {
            arms.push((name.clone(), release.spec.image.tag.clone(), CANARY));
        }
    }
    arms
}
