//! Which routes are in force and which releases have retreated: what a gateway does with its tower's words,
//! without sockets, so that the simulator's gateway is the same.
//!
//! A retreat outlives everything: its release is refused in any later route, over restarts. What is loaded
//! from disk serves stable only, until the tower sets it again.

use std::collections::BTreeMap;

use hmsops_model::route::Route;
use hmsops_model::{Millis, ReleaseId, ServiceName, UnixMillis, Weight};
use hmsops_wire::gateway::{FromGateway, RetreatBy, RouteState};
use serde::{Deserialize, Serialize};

/// Services that one gateway carries at most.
pub const ROUTES_MAX: usize = 10_000;

/// Retreats that are remembered. The oldest releases are forgotten first; by then their services have long
/// moved on to others.
pub const RETREATS_MAX: usize = 10_000;

/// The version of [`Kept`].
const KEPT_VERSION: u32 = 1;

/// A release that has lost its weight for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retreat {
    /// The service.
    pub service: ServiceName,
    /// Who decided it.
    pub by: RetreatBy,
    /// When.
    pub at: UnixMillis,
    /// The weight it lost.
    pub weight_was: Weight,
}

/// What is in force, and what has retreated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Routes {
    by_service: BTreeMap<ServiceName, Route>,
    retreats: BTreeMap<ReleaseId, Retreat>,
    /// Epochs at which services were removed, so that a late `set` does not bring them back.
    removed: BTreeMap<ServiceName, u64>,
}

/// What a gateway keeps on disk.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    version: u32,
    routes: Vec<Route>,
    retreats: BTreeMap<ReleaseId, Retreat>,
    removed: BTreeMap<ServiceName, u64>,
}

/// Why a state file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// It is no state of ours.
    #[error("the gateway's state file can't be read")]
    Unreadable(#[from] serde_json::Error),
    /// It was written by a later version.
    #[error("the gateway's state file has version {0}; this program knows {KEPT_VERSION}")]
    Version(u32),
}

impl Routes {
    /// The routes, by service.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.by_service.values()
    }

    /// One service's route.
    pub fn get(&self, service: &ServiceName) -> Option<&Route> {
        self.by_service.get(service)
    }

    /// Takes a route over. The answer is `Applied` (also when this epoch is in force already) or `Refused`; the
    /// flag says whether anything changed.
    pub fn set(&mut self, route: Route) -> (FromGateway, bool) {
        let (service, epoch) = (route.service.clone(), route.epoch);
        match self.objection(&route) {
            Some(why) => (FromGateway::Refused { service, epoch, why }, false),
            None if self.by_service.get(&service).is_some_and(|old| old.epoch == epoch) => {
                (FromGateway::Applied { service, epoch }, false)
            }
            None => {
                self.removed.remove(&service);
                self.by_service.insert(service.clone(), route);
                (FromGateway::Applied { service, epoch }, true)
            }
        }
    }

    fn objection(&self, route: &Route) -> Option<String> {
        if let Some(canary) = &route.canary
            && canary.weight > Weight::NONE
            && self.retreats.contains_key(&canary.release)
        {
            return Some(format!("release `{}` has retreated and gets no weight again", canary.release));
        }
        if let Some(old) = self.by_service.get(&route.service) {
            return (route.epoch < old.epoch)
                .then(|| format!("epoch {} is older than {}, which is in force", route.epoch, old.epoch));
        }
        if let Some(removed) = self.removed.get(&route.service).filter(|removed| route.epoch <= **removed) {
            return Some(format!("`{}` was removed at epoch {removed}", route.service));
        }
        (self.by_service.len() >= ROUTES_MAX)
            .then(|| format!("a gateway carries at most {ROUTES_MAX} services"))
    }

    /// Stops serving a service. Answered like [`Routes::set`].
    pub fn remove(&mut self, service: ServiceName, epoch: u64) -> (FromGateway, bool) {
        if let Some(old) = self.by_service.get(&service).filter(|old| epoch <= old.epoch) {
            let why = format!("epoch {epoch} is not higher than {}, which is in force", old.epoch);
            return (FromGateway::Refused { service, epoch, why }, false);
        }
        let changed = self.by_service.remove(&service).is_some();
        if changed {
            self.removed.insert(service.clone(), epoch);
            while self.removed.len() > ROUTES_MAX {
                self.removed.pop_first();
            }
        }
        (FromGateway::Applied { service, epoch }, changed)
    }

    /// Takes a release's weight away for good. Doing it again gives the same answer; the flag says whether
    /// anything changed.
    pub fn retreat(
        &mut self,
        service: &ServiceName,
        release: ReleaseId,
        by: RetreatBy,
        at: UnixMillis,
    ) -> (FromGateway, bool) {
        let canary = self.by_service.get_mut(service).and_then(|route| route.canary.as_mut());
        let canary = canary.filter(|canary| canary.release == release);
        let weight_was = canary.map_or(Weight::NONE, |canary| std::mem::take(&mut canary.weight));
        let changed = weight_was > Weight::NONE || !self.retreats.contains_key(&release);
        let retreat = Retreat { service: service.clone(), by, at, weight_was };
        let retreat = self.retreats.entry(release).or_insert(retreat).clone();
        while self.retreats.len() > RETREATS_MAX {
            self.retreats.pop_first();
        }
        (retreat.told(release), changed)
    }

    /// Takes every canary's weight away, because the tower has been silent; of one that there is no way back from
    /// it does not. Returns what to tell the tower later.
    pub fn retreat_all(&mut self, at: UnixMillis) -> Vec<FromGateway> {
        let out: Vec<_> = self
            .by_service
            .values()
            .filter_map(|route| route.canary.as_ref().map(|canary| (route.service.clone(), canary)))
            .filter(|(_, canary)| canary.weight > Weight::NONE && !canary.irreversible)
            .map(|(service, canary)| (service, canary.release))
            .collect();
        let by = RetreatBy::Gateway;
        out.into_iter().map(|(service, release)| self.retreat(&service, release, by, at).0).collect()
    }

    /// Whether some canary has weight that a silent tower takes away.
    pub fn is_watching(&self) -> bool {
        let canaries = self.by_service.values().filter_map(|route| route.canary.as_ref());
        canaries.into_iter().any(|canary| canary.weight > Weight::NONE && !canary.irreversible)
    }

    /// What a `hello` says of each route.
    pub fn states(&self) -> Vec<RouteState> {
        let state = |route: &Route| {
            let canary = route.canary.as_ref();
            RouteState {
                service: route.service.clone(),
                epoch: route.epoch,
                release: canary.map(|canary| canary.release),
                weight: canary.map_or(Weight::NONE, |canary| canary.weight),
                retreated: canary.is_some_and(|canary| self.retreats.contains_key(&canary.release)),
            }
        };
        self.by_service.values().map(state).collect()
    }

    /// The gateway's own retreats that a tower may not have heard of yet: those of releases it still routes.
    pub fn own_retreats(&self) -> Vec<FromGateway> {
        let releases = self.by_service.values().filter_map(|route| Some(route.canary.as_ref()?.release));
        releases
            .filter_map(|release| Some((release, self.retreats.get(&release)?)))
            .filter(|(_, retreat)| retreat.by == RetreatBy::Gateway)
            .map(|(release, retreat)| retreat.told(release))
            .collect()
    }

    /// As bytes for the state file.
    pub fn keep(&self) -> Result<Vec<u8>, KeptError> {
        let kept = Kept {
            version: KEPT_VERSION,
            routes: self.by_service.values().cloned().collect(),
            retreats: self.retreats.clone(),
            removed: self.removed.clone(),
        };
        Ok(serde_json::to_vec(&kept)?)
    }

    /// For the process that takes this one's place: all that is in force.
    pub fn heritage(&self) -> Result<serde_json::Value, KeptError> {
        Ok(serde_json::from_slice(&self.keep()?)?)
    }

    /// What the process before had in force, weights and all: it has a tower that spoke a moment ago.
    pub fn inherit(heritage: serde_json::Value) -> Result<Self, KeptError> {
        let kept: Kept = serde_json::from_value(heritage)?;
        if kept.version != KEPT_VERSION {
            return Err(KeptError::Version(kept.version));
        }
        let routes = kept.routes.into_iter().map(|route| (route.service.clone(), route));
        Ok(Self { by_service: routes.collect(), retreats: kept.retreats, removed: kept.removed })
    }

    /// From the bytes of a state file, on stable only: canaries have no weight, and each epoch counts as one
    /// less, so that the tower may set the same route again.
    pub fn load(bytes: &[u8]) -> Result<Self, KeptError> {
        let kept: Kept = serde_json::from_slice(bytes)?;
        if kept.version != KEPT_VERSION {
            return Err(KeptError::Version(kept.version));
        }
        let routes = kept.routes.into_iter().map(|mut route| {
            route.epoch = route.epoch.saturating_sub(1);
            route.canary.iter_mut().for_each(|canary| canary.weight = Weight::NONE);
            (route.service.clone(), route)
        });
        Ok(Self { by_service: routes.collect(), retreats: kept.retreats, removed: kept.removed })
    }
}

impl Retreat {
    fn told(&self, release: ReleaseId) -> FromGateway {
        let Self { service, by, at, weight_was } = self.clone();
        FromGateway::Retreated { service, release, by, at, weight_was }
    }
}

/// When a gateway that hears nothing retreats. Time is an argument.
#[derive(Debug, Clone, Copy)]
pub struct Silence {
    heard_at: Millis,
    limit: Millis,
}

impl Silence {
    /// Begins as if the tower had just spoken.
    pub fn new(now: Millis, limit: Millis) -> Self {
        Self { heard_at: now, limit }
    }

    /// The tower said something.
    pub fn heard(&mut self, now: Millis) {
        self.heard_at = self.heard_at.max(now);
    }

    /// Whether it has been silent for too long.
    pub fn is_over(&self, now: Millis) -> bool {
        now.since(self.heard_at) >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use hmsops_model::Version;
    use hmsops_model::route::{Arm, CanaryArm};
    use hmsops_model::service::{Identity, Protocol};
    use proptest::prelude::*;

    use super::*;

    fn portal() -> ServiceName {
        ServiceName::new("portal").unwrap()
    }

    fn route(epoch: u64, release: u64, bp: u16) -> Route {
        let arm = |version| Arm { version: Version::new(version).unwrap(), upstreams: Vec::new() };
        Route {
            service: portal(),
            host: None,
            epoch,
            stable: arm("1"),
            canary: Some(CanaryArm {
                release: ReleaseId(release),
                arm: arm("2"),
                weight: Weight::from_bp(bp).unwrap(),
                salt: 1,
                shield_after: None,
                excused_for: Millis::ZERO,
                irreversible: false,
            }),
            identity: Identity::Request,
            sticky: false,
            bad: Vec::new(),
            protocol: Protocol::Http1,
        }
    }

    fn weight(routes: &Routes) -> u16 {
        routes.get(&portal()).unwrap().canary.as_ref().unwrap().weight.bp()
    }

    fn is_refused(answer: &(FromGateway, bool)) -> bool {
        matches!(answer, (FromGateway::Refused { .. }, false))
    }

    #[test]
    fn a_higher_epoch_wins_the_same_is_confirmed_an_older_refused() {
        let mut routes = Routes::default();
        assert!(routes.set(route(5, 1, 100)).1);
        assert!(matches!(routes.set(route(5, 1, 900)), (FromGateway::Applied { epoch: 5, .. }, false)));
        assert!(is_refused(&routes.set(route(4, 1, 900))));
        assert_eq!(weight(&routes), 100);
        assert!(is_refused(&routes.remove(portal(), 5)));
        assert!(routes.remove(portal(), 6).1);
        assert!(
            is_refused(&routes.set(route(6, 1, 900))),
            "what was removed does not come back by a late line"
        );
        assert!(routes.set(route(7, 1, 900)).1);
    }

    #[test]
    fn a_retreated_release_never_gets_weight_again() {
        let mut routes = Routes::default();
        routes.set(route(5, 1, 100));
        let (answer, changed) = routes.retreat(&portal(), ReleaseId(1), RetreatBy::Tower, UnixMillis(9));
        assert!(changed && weight(&routes) == 0);
        let again = routes.retreat(&portal(), ReleaseId(1), RetreatBy::Tower, UnixMillis(99));
        assert_eq!(again, (answer, false), "a retreat told twice has happened once");
        assert!(is_refused(&routes.set(route(6, 1, 1))));
        assert!(routes.set(route(6, 1, 0)).1);
        assert!(routes.set(route(7, 2, 100)).1, "another release is free to go");
    }

    #[test]
    fn a_silent_tower_loses_every_canary_and_is_told() {
        let mut routes = Routes::default();
        routes.set(route(5, 1, 2500));
        assert!(routes.is_watching());
        let told = routes.retreat_all(UnixMillis(9));
        assert_eq!(told, routes.own_retreats());
        assert!(matches!(
            told.as_slice(),
            [FromGateway::Retreated { by: RetreatBy::Gateway, weight_was, .. }] if weight_was.bp() == 2500
        ));
        assert!(!routes.is_watching() && routes.retreat_all(UnixMillis(10)).is_empty());
        let mut stays = route(6, 2, 2500);
        stays.canary.as_mut().unwrap().irreversible = true;
        routes.set(stays);
        assert!(routes.retreat_all(UnixMillis(11)).is_empty() && weight(&routes) == 2500, "no way back");
        let mut silence = Silence::new(Millis(0), Millis(5000));
        silence.heard(Millis(100));
        assert!(!silence.is_over(Millis(5099)) && silence.is_over(Millis(5100)));
    }

    #[test]
    fn a_state_of_a_later_version_or_of_nobody_is_an_error() {
        assert!(matches!(Routes::load(b"{}"), Err(KeptError::Unreadable(_))));
        let later = br#"{"version":2,"routes":[],"retreats":{},"removed":{}}"#;
        assert!(matches!(Routes::load(later), Err(KeptError::Version(2))));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Set(u64, u64, u16),
        Retreat(u64),
        Silence,
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..20_u64, 1..4_u64, 0..=10_000_u16)
                .prop_map(|(epoch, release, bp)| Step::Set(epoch, release, bp)),
            (1..4_u64).prop_map(Step::Retreat),
            Just(Step::Silence),
            Just(Step::Restart),
        ]
    }

    proptest! {
        /// No order of words, silences and restarts gives a retreated release weight, and a restart gives none.
        #[test]
        fn retreats_outlive_everything(steps in prop::collection::vec(step(), 0..60)) {
            let (mut routes, mut gone) = (Routes::default(), std::collections::BTreeSet::new());
            for step in steps {
                match step {
                    Step::Set(epoch, release, bp) => drop(routes.set(route(epoch, release, bp))),
                    Step::Retreat(release) => {
                        gone.insert(ReleaseId(release));
                        routes.retreat(&portal(), ReleaseId(release), RetreatBy::Tower, UnixMillis(0));
                    }
                    Step::Silence => {
                        gone.extend(routes.iter().filter_map(|route| route.canary.as_ref())
                            .filter(|canary| canary.weight > Weight::NONE).map(|canary| canary.release));
                        routes.retreat_all(UnixMillis(0));
                    }
                    Step::Restart => {
                        routes = Routes::load(&routes.keep().unwrap()).unwrap();
                        prop_assert!(!routes.is_watching());
                    }
                }
                for route in routes.iter() {
                    let canary = route.canary.as_ref().unwrap();
                    prop_assert!(canary.weight == Weight::NONE || !gone.contains(&canary.release));
                }
            }
        }
    }
}
