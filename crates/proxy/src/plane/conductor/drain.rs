//! What each service's requests came to, as the tower is told: ticks, and that a canary has answered its last request.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hmsops_model::{ReleaseId, ServiceName, Tick};
use hmsops_wire::gateway::FromGateway;

use super::super::table::{Served, Service, Trial};
use super::{Conductor, QUIET_MIN};

/// A canary whose last request is watched for.
pub(super) struct Draining {
    name: ServiceName,
    service: Arc<Service>,
    pub(super) trial: Arc<Trial>,
    quiet: u32,
    pub(super) is_told: bool,
}

impl Conductor {
    pub(super) fn close_ticks(&mut self) {
        let (now, mut all) = (self.plane.clock.now(), Vec::new());
        for served in self.served.values() {
            let mut book = served.service.book();
            let ticks = book.fold.close(now, waiting(served));
            if !ticks.is_empty() {
                served.service.publish(&book.fold);
            }
            all.extend(ticks);
        }
        self.push_ticks(all);
    }

    /// Ends all ticks, for nothing comes after them.
    pub(super) fn finish_ticks(&mut self) {
        let all: Vec<_> =
            self.served.values().map(|served| (Arc::clone(&served.service), waiting(served))).collect();
        for (service, waiting) in all {
            self.finish_fold(&service, waiting);
        }
    }

    /// Ends a service's tick and judges what is held.
    pub(super) fn finish_fold(&mut self, service: &Service, waiting: u64) {
        let ticks = service.book().fold.finish(self.plane.clock.now(), waiting);
        self.push_ticks(ticks);
    }

    fn push_ticks(&mut self, ticks: Vec<Tick>) {
        // Without a tower there is nobody to be told that nothing happened.
        let is_heard = self.tower.is_some() || self.speaker().is_some();
        let kept =
            ticks.into_iter().filter(|tick| is_heard || tick.stable.requests + tick.canary.requests > 0);
        kept.for_each(|tick| self.ring.push(tick));
    }

    /// Begins to watch a route's canary for its last request.
    pub(super) fn drain(&mut self, served: &Served) {
        if let Some(trial) = &served.trial {
            let (name, service) = (served.route.service.clone(), Arc::clone(&served.service));
            let draining = Draining { name, service, trial: Arc::clone(trial), quiet: 0, is_told: false };
            self.draining.entry(draining.trial.release).or_insert(draining);
        }
    }

    /// Says which canaries have answered their last request, after all that they answered.
    pub(super) fn tell_drained(&mut self) {
        let mut drained = Vec::new();
        let is_heard = self.tower.is_some() || self.speaker().is_some();
        let waits = |release: &&ReleaseId| self.waits_elsewhere(**release);
        let elsewhere: Vec<_> = self.draining.keys().filter(waits).copied().collect();
        for (release, draining) in &mut self.draining {
            let is_quiet = draining.trial.open.load(Ordering::SeqCst) == 0;
            draining.quiet = if is_quiet { draining.quiet.saturating_add(1) } else { 0 };
            if draining.quiet >= QUIET_MIN && !draining.is_told && is_heard && !elsewhere.contains(release) {
                draining.is_told = true;
                drained.push((*release, draining.name.clone(), Arc::clone(&draining.service)));
            }
        }
        for (release, service, counted) in drained {
            let release_of_fold = counted.book().fold.routed().release;
            if release_of_fold == Some(release) {
                self.finish_fold(&counted, 0);
                self.send_ticks();
            }
            self.say(FromGateway::Drained { service, release });
        }
        let routed = |draining: &Draining| {
            let trial = self.served.get(&draining.name).and_then(|served| served.trial.as_ref());
            trial.is_some_and(|trial| Arc::ptr_eq(trial, &draining.trial))
        };
        let is_done = |draining: &Draining| draining.is_told && !routed(draining);
        let done: Vec<_> =
            self.draining.iter().filter(|(_, of)| is_done(of)).map(|(release, _)| *release).collect();
        for release in done {
            self.draining.remove(&release);
        }
    }
}

/// Requests that wait for the canary's head.
fn waiting(served: &Served) -> u64 {
    served.trial.as_ref().map_or(0, |trial| trial.waiting.load(Ordering::SeqCst))
}
