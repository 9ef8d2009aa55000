//! A simulated gateway: the real split and the real fold, and the rules of the real one for weights, retreats and
//! restarts.

use std::collections::BTreeSet;

use hmsops_control::event::{GatewayReport, HeldRoute};
use hmsops_model::limits::GATEWAY_RETREAT_AFTER;
use hmsops_model::route::Route;
use hmsops_model::{Millis, Now, ReleaseId, Tick, Weight};
use hmsops_proxy::outcome::Fold;
use hmsops_proxy::ticks::Ring;

/// One gateway with one route.
pub struct Gateway {
    /// Whether its process lives.
    pub alive: bool,
    /// Whether a tower is connected.
    pub connected: bool,
    /// The route in force.
    pub route: Option<Route>,
    /// Counts of the route.
    pub fold: Option<Fold>,
    /// Ticks not yet acknowledged.
    pub ring: Ring,
    /// When a tower was last heard.
    pub heard_at: Millis,
    /// Releases whose canary gets nothing any more; on disk.
    pub retreated: BTreeSet<ReleaseId>,
    /// What a restart finds.
    kept: Option<Route>,
    /// Retreats made alone, to be told.
    untold: Vec<GatewayReport>,
    runs: u64,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            alive: true,
            connected: false,
            route: None,
            fold: None,
            ring: Ring::new(1),
            heard_at: Millis::ZERO,
            retreated: BTreeSet::new(),
            kept: None,
            untold: Vec::new(),
            runs: 1,
        }
    }
}

impl Gateway {
    /// The canary's share in force.
    pub fn weight(&self) -> Weight {
        let canary = self.route.as_ref().and_then(|route| route.canary.as_ref());
        canary.map_or(Weight::NONE, |canary| canary.weight)
    }

    /// A tower connects; what it is told first.
    pub fn connect(&mut self, now: Millis) -> Vec<GatewayReport> {
        self.connected = true;
        self.heard_at = now;
        self.ring.resend();
        let held = self.route.iter().map(|route| HeldRoute {
            service: route.service.clone(),
            epoch: route.epoch,
            release: route.canary.as_ref().map(|canary| canary.release),
            retreated: route.canary.as_ref().is_some_and(|canary| self.retreated.contains(&canary.release)),
        });
        let mut reports = vec![GatewayReport::Connected { routes: held.collect() }];
        reports.append(&mut self.untold);
        reports
    }

    /// Puts a route in force, as the real one does.
    pub fn set(&mut self, now: Now, route: Route) -> GatewayReport {
        let (service, epoch) = (route.service.clone(), route.epoch);
        let held = self.route.as_ref().map_or(0, |held| held.epoch);
        let refused = route
            .canary
            .as_ref()
            .is_some_and(|canary| canary.weight > Weight::NONE && self.retreated.contains(&canary.release));
        if refused {
            return GatewayReport::Refused { service, epoch, why: "it was retreated".into() };
        }
        if epoch > held {
            match &mut self.fold {
                Some(fold) => fold.set_route(now, &route),
                None => self.fold = Some(Fold::new(now, &route)),
            }
            self.kept = Some(route.clone());
            self.route = Some(route);
        }
        let epoch = self.route.as_ref().map_or(0, |held| held.epoch);
        GatewayReport::Applied { service, epoch }
    }

    /// Takes a canary's traffic away.
    pub fn retreat(&mut self, now: Now, release: ReleaseId, by_itself: bool) -> Option<GatewayReport> {
        self.retreated.insert(release);
        let route = self.route.as_mut()?;
        if let Some(canary) = route.canary.as_mut().filter(|canary| canary.release == release) {
            canary.weight = Weight::NONE;
        }
        let route = route.clone();
        if let Some(fold) = &mut self.fold {
            fold.set_route(now, &route);
        }
        self.kept = Some(route.clone());
        Some(GatewayReport::Retreated { service: route.service, release, by_itself, at: now.wall })
    }

    /// Retreats by itself when its tower has been silent too long.
    pub fn watch_tower(&mut self, now: Now) {
        let silent = now.steady.since(self.heard_at) >= GATEWAY_RETREAT_AFTER;
        let canary = self.route.as_ref().and_then(|route| route.canary.as_ref());
        if let Some(canary) = canary.filter(|canary| silent && canary.weight > Weight::NONE) {
            let release = canary.release;
            let report = self.retreat(now, release, true);
            self.untold.extend(report);
        }
    }

    /// Closes due ticks and returns those to send. `lossy`: what is due is lost before it is kept.
    pub fn ticks(&mut self, now: Now, waiting: u64, lossy: bool) -> Vec<Tick> {
        if let Some(fold) = &mut self.fold {
            for tick in fold.close(now, waiting) {
                if !lossy {
                    self.ring.push(tick);
                }
            }
        }
        let mut ticks = Vec::new();
        while self.connected
            && let Some(tick) = self.ring.next_unsent()
        {
            ticks.push(tick.clone());
            let seq = tick.seq;
            self.ring.sent(seq);
        }
        ticks
    }

    /// The process is killed.
    pub fn kill(&mut self) {
        self.alive = false;
        self.connected = false;
        self.fold = None;
        self.route = None;
    }

    /// It is started again: with what is on its disk, the canary's share at none.
    pub fn restart(&mut self, now: Now) {
        self.alive = true;
        self.runs += 1;
        self.ring = Ring::new(self.runs);
        self.heard_at = now.steady;
        self.untold.clear();
        self.route = self.kept.clone().map(|mut route| {
            // Served at once, and replaced by the tower's word for the same epoch.
            route.epoch = route.epoch.saturating_sub(1);
            if let Some(canary) = &mut route.canary {
                canary.weight = Weight::NONE;
            }
            route
        });
        self.fold = self.route.as_ref().map(|route| Fold::new(now, route));
    }
}
