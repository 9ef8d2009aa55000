//! The one task that changes routes: it obeys the tower, watches for its silence, closes ticks, and says when a
//! canary is drained. Requests never wait for it; they read the table it stores.

mod drain;
mod kin;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hmsops_model::gateway::GatewaySettings;
use hmsops_model::limits::TICK_INTERVAL;
use hmsops_model::{ReleaseId, ServiceName, Tick, Weight};
use hmsops_wire::gateway::{EjectedUpstream, FromGateway, GatewayCounts, PROTOCOL, RetreatBy, ToGateway};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::conduct;
use super::handover::Word;
use super::inherited::Inherited;
use super::link::{Event, Link};
use super::serve::Stop;
use super::settings::Settled;
use super::table::{Served, Service, Table};
use super::upstream::Upstreams;
use super::{Keepers, Keeping, PROGRAM, Plane};
use crate::routes::{Routes, Silence};
use crate::ticks::Ring;
use drain::Draining;
use kin::{Predecessor, Successor};

/// Intervals in a row without a request at a canary of weight 0 before it counts as drained: a request that
/// read the table before it changed has announced itself by then.
const QUIET_MIN: u32 = 2;

/// Intervals between two looks at idle connections.
const REAP_EVERY: u64 = 10;

/// Intervals between two looks at how upstreams of one arm answered beside each other: ten seconds.
const COMPARE_EVERY: u64 = 100;

/// Intervals between two words on what the gateway counted, when it has changed.
const METER_EVERY: u64 = 10;

/// What the tower says is still to be written after the end may take so long.
pub(super) const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// How the process is known to its tower.
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) gateway_run: u64,
    pub(super) listen: String,
}

/// Changes routes and keeps count.
pub(super) struct Conductor {
    plane: Arc<Plane>,
    identity: Identity,
    routes: Routes,
    served: BTreeMap<ServiceName, Arc<Served>>,
    upstreams: Upstreams,
    ring: Ring,
    silence: Silence,
    /// `None` while another process writes to disk.
    keepers: Option<Keepers>,
    keeping: Keeping,
    /// Whether there are keepers.
    owns: Arc<watch::Sender<bool>>,
    predecessor: Option<Predecessor>,
    successor: Option<Successor>,
    inherited: Inherited,
    tower: Option<Link>,
    /// Canaries whose drain is to be told, with the quiet intervals seen.
    draining: BTreeMap<ReleaseId, Draining>,
    intervals: u64,
    /// As the tower was last told.
    counts: Option<GatewayCounts>,
    stop: Arc<watch::Sender<Option<Stop>>>,
    /// To the task that reads settings.
    settings: mpsc::Sender<GatewaySettings>,
}

impl Conductor {
    pub(super) fn new(
        plane: Arc<Plane>,
        identity: Identity,
        routes: Routes,
        silence: Silence,
        keepers: (Option<Keepers>, Keeping, Arc<watch::Sender<bool>>),
        stop: Arc<watch::Sender<Option<Stop>>>,
        settings: mpsc::Sender<GatewaySettings>,
    ) -> Self {
        let (keepers, keeping, owns) = keepers;
        let mut conductor = Self {
            plane,
            ring: Ring::new(identity.gateway_run),
            identity,
            routes: Routes::default(),
            served: BTreeMap::new(),
            upstreams: Upstreams::default(),
            silence,
            keepers,
            keeping,
            owns,
            predecessor: None,
            successor: None,
            inherited: Inherited::default(),
            tower: None,
            draining: BTreeMap::new(),
            intervals: 0,
            counts: None,
            stop,
            settings,
        };
        let services: Vec<_> = routes.iter().map(|route| route.service.clone()).collect();
        conductor.routes = routes;
        for service in &services {
            conductor.serve(service);
        }
        conductor.publish();
        conductor
    }

    /// Works until `ended`, then says what is left to say.
    pub(super) async fn run(mut self, mut events: mpsc::Receiver<Event>, mut ended: watch::Receiver<bool>) {
        let mut interval = tokio::time::interval(Duration::from_millis(TICK_INTERVAL.0));
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = ended.wait_for(|ended| *ended) => break,
                _ = interval.tick() => self.turn(),
                Some(event) = events.recv() => self.hear(event),
            }
            self.send_ticks();
        }
        // What another process waits for goes out before the last ticks do.
        tokio::time::sleep(Duration::from_millis(TICK_INTERVAL.0)).await;
        self.finish_ticks();
        self.send_ticks();
        if let Some(tower) = self.tower.take() {
            let _ = tokio::time::timeout(FAREWELL_MAX, tower.finish()).await;
        }
        let _ = tokio::time::timeout(FAREWELL_MAX, self.finish_kin()).await;
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Connected(link) => self.greet(link),
            Event::Heard(id, message) if self.tower.as_ref().is_some_and(|tower| tower.id == id) => {
                self.silence.heard(self.plane.clock.now().steady);
                self.obey(message);
            }
            Event::Gone(id) if self.tower.as_ref().is_some_and(|tower| tower.id == id) => self.tower = None,
            Event::Settled(settled) => self.settled(settled),
            Event::Heard(..) | Event::Gone(_) => {}
            kin => self.hear_kin(kin),
        }
    }

    fn greet(&mut self, link: Link) {
        self.tower = Some(link);
        self.ring.resend();
        self.counts = None;
        self.inherited.resend();
        self.draining.values_mut().for_each(|draining| draining.is_told = false);
        self.say(FromGateway::Hello {
            protocol: PROTOCOL,
            name: self.identity.name.clone(),
            gateway_run: self.identity.gateway_run,
            pid: std::process::id(),
            listen: self.identity.listen.clone(),
            routes: self.routes.states(),
            program: PROGRAM.to_owned(),
        });
        self.routes.own_retreats().into_iter().for_each(|retreat| self.say(retreat));
    }

    fn obey(&mut self, message: ToGateway) {
        self.relay(&message);
        match message {
            ToGateway::Set { route } => {
                let service = route.service.clone();
                let (answer, is_changed) = self.routes.set(route);
                self.change(&service, is_changed);
                self.say(answer);
            }
            ToGateway::Remove { service, epoch } => {
                let (answer, is_changed) = self.routes.remove(service.clone(), epoch);
                self.change(&service, is_changed);
                self.say(answer);
            }
            ToGateway::Retreat { service, release } => {
                let at = self.plane.clock.now().wall;
                let (answer, is_changed) = self.routes.retreat(&service, release, RetreatBy::Tower, at);
                self.change(&service, is_changed);
                self.wake(release);
                self.say(answer);
            }
            ToGateway::Settings { settings } => {
                if self.settings.try_send(settings).is_err() {
                    let why = "settings before these are still being read".to_owned();
                    self.say(FromGateway::SettingsRefused { why });
                }
            }
            ToGateway::Ping => self.say(FromGateway::Pong),
            ToGateway::TickAck { gateway_run, seq } => {
                self.ring.acknowledge(gateway_run, seq);
                self.inherited.acknowledge(gateway_run, seq);
            }
            ToGateway::Shutdown { drain_ms } => {
                Stop::hurry(&self.stop, Duration::from_millis(drain_ms));
            }
            ToGateway::Hello { tower_run, .. } => tracing::info!(tower_run, "a tower is here"),
            ToGateway::Unknown => {}
        }
    }

    /// Says what came of settings. Requests in flight end under those they began with.
    fn settled(&mut self, settled: Settled) {
        match settled {
            Settled::Applied(kept) => {
                if let (Some(kept), Some(keepers)) = (kept, &self.keepers) {
                    keepers.settings.keep(kept);
                }
                self.say(FromGateway::SettingsApplied);
            }
            Settled::Refused(why) => self.say(FromGateway::SettingsRefused { why }),
        }
    }

    /// Puts one service's route into force: first for requests, then on disk.
    fn change(&mut self, service: &ServiceName, is_changed: bool) {
        if is_changed {
            self.serve(service);
            self.publish();
            self.keep();
        }
    }

    fn serve(&mut self, service: &ServiceName) {
        let now = self.plane.clock.now();
        let before = self.served.get(service).cloned();
        let Some(route) = self.routes.get(service).cloned() else {
            self.served.remove(service);
            if let Some(before) = before {
                self.drain(&before);
                self.finish_fold(&before.service, 0);
            }
            return;
        };
        let known = before.as_ref().map(|before| Arc::clone(&before.service));
        let known = known.unwrap_or_else(|| Arc::new(Service::new(now, &route)));
        {
            let mut book = known.book();
            book.fold.set_route(now, &route);
            known.publish(&book.fold);
        }
        let weight = route.canary.as_ref().map_or(Weight::NONE, |canary| canary.weight);
        let served = Arc::new(Served::new(route, before.as_deref(), known, &mut self.upstreams));
        self.served.insert(service.clone(), Arc::clone(&served));
        if let Some(before) = before {
            self.drain(&before);
        }
        self.drain(&served);
        if weight > Weight::NONE
            && let Some(trial) = &served.trial
        {
            self.draining.remove(&trial.release);
        }
    }

    /// One pointer store: from here on requests go by the new routes.
    fn publish(&self) {
        self.plane.table.store(Arc::new(Table::new(&self.served)));
    }

    fn keep(&self) {
        let Some(keepers) = &self.keepers else { return };
        match self.routes.keep() {
            Ok(bytes) => keepers.state.keep(bytes),
            Err(error) => tracing::error!(%error, "cannot write the gateway's routes"),
        }
    }

    /// Sends the requests that wait for a retreated canary to stable.
    fn wake(&self, release: ReleaseId) {
        let serving = self.served.values().filter_map(|served| served.trial.as_ref());
        let leaving = self.draining.values().map(|draining| &draining.trial);
        serving.chain(leaving).filter(|trial| trial.release == release).for_each(|trial| trial.retreat());
    }

    /// What is due each interval.
    fn turn(&mut self) {
        self.intervals += 1;
        let now = self.plane.clock.now();
        if self.silence.is_over(now.steady) && self.routes.is_watching() {
            self.retreat_all();
        }
        self.close_ticks();
        self.tell_drained();
        if self.intervals.is_multiple_of(REAP_EVERY) {
            self.upstreams.reap();
        }
        if self.intervals.is_multiple_of(COMPARE_EVERY) {
            self.compare();
        }
        if self.intervals.is_multiple_of(METER_EVERY) {
            self.say_counts();
        }
    }

    /// Leaves those of stable's upstreams alone that fail more than the others.
    fn compare(&self) {
        let now = self.plane.clock.now().steady;
        for served in self.served.values() {
            for ejection in conduct::compare(&served.stable, now) {
                self.plane.ejected(&served.route.service, &ejection);
            }
        }
    }

    /// Tells what was refused and who is left alone, when that has changed.
    fn say_counts(&mut self) {
        let now = self.plane.clock.now().steady;
        let mut ejected = Vec::new();
        for served in self.served.values() {
            let out = served.stable.iter().filter(|upstream| upstream.conduct.is_ejected(now));
            ejected.extend(out.map(|upstream| EjectedUpstream {
                service: served.route.service.clone(),
                upstream: upstream.address.clone(),
            }));
        }
        let meter = &self.plane.meter;
        let in_force = self.plane.in_force.load();
        let unlogged = in_force.journal.as_ref().map_or(0, |journal| journal.dropped());
        let counts = GatewayCounts {
            refused: meter.refused(),
            ejections: meter.ejections.load(Ordering::Relaxed),
            over_budget: meter.over_budget.load(Ordering::Relaxed),
            unlogged,
            ejected,
        };
        drop(in_force);
        if self.tower.is_some() && self.counts.as_ref() != Some(&counts) {
            self.counts = Some(counts.clone());
            self.say(FromGateway::Counts { gateway_run: self.identity.gateway_run, counts });
        }
    }

    fn retreat_all(&mut self) {
        let told = self.routes.retreat_all(self.plane.clock.now().wall);
        for message in &told {
            if let FromGateway::Retreated { service, .. } = message {
                self.serve(service);
            }
        }
        self.publish();
        for message in told {
            if let FromGateway::Retreated { service, release, .. } = &message {
                tracing::warn!(%service, %release, "no tower is heard: the canary has no traffic any more");
                self.wake(*release);
                self.relay(&ToGateway::Retreat { service: service.clone(), release: *release });
            }
            self.say(message);
        }
        self.keep();
    }

    fn say(&mut self, message: FromGateway) {
        if let Some(speaker) = self.speaker() {
            // What it does not take, the tower learns from its own state.
            let _ = speaker.say(Word::Report(Box::new(message)));
            return;
        }
        if let Some(tower) = &self.tower
            && tower.out.try_send(message).is_err()
        {
            // It does not read. When it calls again, the greeting says all that matters.
            tracing::warn!("the tower does not listen; its connection is closed");
            self.tower = None;
        }
    }

    /// Sends what counts of a process before this one, then our own, as long as there is room; some is left for what
    /// must not wait.
    fn send_ticks(&mut self) {
        while let Some(tick) = self.inherited.next_unsent().cloned() {
            if !self.send_tick(tick) {
                return;
            }
            self.inherited.went();
        }
        while let Some(tick) = self.ring.next_unsent() {
            let (seq, tick) = (tick.seq, tick.clone());
            if !self.send_tick(tick) {
                return;
            }
            self.ring.sent(seq);
        }
    }

    fn send_tick(&self, tick: Tick) -> bool {
        match (self.speaker(), &self.tower) {
            (Some(other), _) => {
                other.has_room() && other.say(Word::Report(Box::new(FromGateway::Tick(tick))))
            }
            (None, Some(tower)) => {
                tower.out.capacity() > tower.out.max_capacity() / 2
                    && tower.out.try_send(FromGateway::Tick(tick)).is_ok()
            }
            (None, None) => false,
        }
    }
}
