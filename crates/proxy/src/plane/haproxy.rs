//! HAProxy as the data plane: the gateway carries no requests, it drives an HAProxy by its runtime socket. Towards
//! the tower it is a gateway like any other: routes with epochs, retreats that outlive everything, ticks, and a retreat
//! of its own when no tower is heard.
//!
//! Nothing is said to be in force before it is read back from HAProxy. Every [`TICK_INTERVAL`] the two servers'
//! counters are read; with them come their addresses, weights and states, so that a restarted HAProxy, or a hand that
//! changed a weight, is set right again within two intervals.
//!
//! While HAProxy can't be reached the tower's pings are not answered: to the tower the gateway is then silent, which
//! holds a release. On its own address the gateway answers HAProxy's check of the canary's server and nothing else: a
//! gateway that is dead lets HAProxy itself take the canary out.

mod answer;
mod counts;
mod driver;
mod setting;
mod socket;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hmsops_model::gateway::{GatewaySettings, HaproxySettings};
use hmsops_model::limits::TICK_INTERVAL;
use hmsops_model::route::Route;
use hmsops_model::{Millis, ReleaseId, ServiceName, Weight};
use hmsops_wire::gateway::{FromGateway, PROTOCOL, RetreatBy, ToGateway};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::clock::Clock;
use super::conductor::{FAREWELL_MAX, Identity};
use super::link::{self, Event, Link};
use super::serve::ACCEPT_PAUSE;
use super::settings::keep_settings;
use super::{Gateway, GatewayError, Keepers, Keeping, PROGRAM, random};
use crate::routes::{Routes, Silence};
use crate::ticks::Ring;
use answer::Reading;
use counts::Counts;
use driver::Driver;
use setting::Setting;

/// HAProxy may be unreachable for so long, as it is while it reloads, before the tower is left without answers.
const BLIND_MAX: Millis = Millis(1000);

/// Readings in a row without a request at a canary that gets none, before it counts as drained.
const QUIET_MIN: u32 = 2;

/// Requests that stable's server had when it was pointed elsewhere are not counted any more; they are given so long.
const MOVED_DRAIN: Millis = Millis::from_secs(10);

/// Checks of HAProxy's at a time, and how long one may stay. One connection every second or so is usual.
const CHECKS_MAX: usize = 64;
const CHECK_MAX: Duration = Duration::from_secs(1);

/// Serves as [`Gateway::serve`] does, with HAProxy as the data plane.
pub(super) async fn serve(
    gateway: Gateway,
    haproxy: HaproxySettings,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), GatewayError> {
    let keeping = Keeping::of(&gateway.options);
    let Gateway { options, listener, listen, towers, routes, in_force, keepers, .. } = gateway;
    let keepers = keepers.map_or_else(|| keeping.start(), Ok)?;
    let identity = Identity { name: options.name, gateway_run: random()?, listen: listen.to_string() };
    let now = options.clock.now().steady;
    let (stopping, mut stopped) = watch::channel(false);
    let (end, ended) = watch::channel(false);
    let router = Router {
        ring: Ring::new(identity.gateway_run),
        identity,
        driver: Driver::new(haproxy),
        settings: in_force.settings,
        routes,
        silence: Silence::new(now, options.retreat_after),
        keepers,
        counts: Counts::new(now),
        clock: options.clock,
        tower: None,
        is_in_force: false,
        owed: Vec::new(),
        draining: BTreeMap::new(),
        moved_at: None,
        reached_at: now,
        trouble: None,
        pid: None,
        stopping,
    };
    let (events, heard) = mpsc::channel(link::EVENTS_MAX);
    // Nobody takes this process's place: what it does, another does as well a moment later.
    let (_handed, never) = watch::channel(None);
    let towers = tokio::spawn(link::accept(towers, events, never));
    let checks = tokio::spawn(answer_checks(listener));
    let router = tokio::spawn(router.run(heard, ended));
    tokio::select! {
        () = stop => {}
        () = told(&mut stopped) => {}
    }
    let _ = end.send(true);
    // A panic of its has been logged by the runtime.
    let _ = router.await;
    towers.abort();
    checks.abort();
    let _ = rustix::fs::unlink(&options.socket);
    Ok(())
}

/// Waits to be told to end. Who would tell and is gone has ended, too.
async fn told(end: &mut watch::Receiver<bool>) {
    let _ = end.wait_for(|end| *end).await;
}

/// HAProxy connects and knows by it that the canary is watched.
async fn answer_checks(listener: TcpListener) {
    let places = Arc::new(Semaphore::new(CHECKS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the places are never closed");
        match listener.accept().await {
            Ok((mut stream, _)) => {
                tokio::spawn(async move {
                    let _place = place;
                    // Whatever is said, there is nothing to answer; it hangs up or is hung up on.
                    let _ = tokio::time::timeout(CHECK_MAX, stream.read(&mut [0_u8; 64])).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take a check of HAProxy's");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Plays a gateway to the tower, and the tower's will to HAProxy.
struct Router {
    identity: Identity,
    driver: Driver,
    settings: GatewaySettings,
    routes: Routes,
    silence: Silence,
    keepers: Keepers,
    counts: Counts,
    ring: Ring,
    clock: Arc<dyn Clock>,
    tower: Option<Link>,
    /// Whether HAProxy was set to the routes as they are, and read back.
    is_in_force: bool,
    /// Answers that are true once the routes are in force.
    owed: Vec<FromGateway>,
    draining: BTreeMap<ReleaseId, Draining>,
    /// When stable's server was last pointed elsewhere.
    moved_at: Option<Millis>,
    /// When HAProxy last answered.
    reached_at: Millis,
    /// What was last said to be wrong, so that it is said once.
    trouble: Option<String>,
    /// The HAProxy process that was read last.
    pid: Option<u64>,
    stopping: watch::Sender<bool>,
}

struct Draining {
    service: ServiceName,
    quiet: u32,
    is_told: bool,
}

impl Router {
    async fn run(mut self, mut events: mpsc::Receiver<Event>, mut ended: watch::Receiver<bool>) {
        let mut interval = tokio::time::interval(Duration::from_millis(TICK_INTERVAL.0));
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = told(&mut ended) => break,
                _ = interval.tick() => self.turn().await,
                Some(event) = events.recv() => self.hear(event).await,
            }
            self.send_ticks();
        }
        // Nobody watches from here on: HAProxy gets stable only. What is kept is unchanged, and a tower may set it again.
        if self.routes.is_watching()
            && let Ok(bytes) = self.routes.keep()
            && let Ok(quiet) = Routes::load(&bytes)
        {
            self.routes = quiet;
            self.settle().await;
        }
        self.send_ticks();
        if let Some(tower) = self.tower.take() {
            let _ = tokio::time::timeout(FAREWELL_MAX, tower.finish()).await;
        }
    }

    async fn hear(&mut self, event: Event) {
        match event {
            Event::Connected(link) => self.greet(link),
            Event::Heard(id, message) if self.tower.as_ref().is_some_and(|tower| tower.id == id) => {
                self.silence.heard(self.clock.now().steady);
                self.obey(message).await;
            }
            Event::Gone(id) if self.tower.as_ref().is_some_and(|tower| tower.id == id) => self.tower = None,
            // The rest is of hand-overs and of settings that are read from files: neither happens here.
            _ => {}
        }
    }

    fn greet(&mut self, link: Link) {
        self.tower = Some(link);
        self.ring.resend();
        self.draining.values_mut().for_each(|draining| draining.is_told = false);
        let mut routes = self.routes.states();
        if !self.is_in_force {
            // What is not known to be in force is to be set again.
            for state in &mut routes {
                state.epoch = state.epoch.saturating_sub(1);
            }
        }
        self.say(FromGateway::Hello {
            protocol: PROTOCOL,
            name: self.identity.name.clone(),
            gateway_run: self.identity.gateway_run,
            pid: std::process::id(),
            listen: self.identity.listen.clone(),
            routes,
            program: PROGRAM.to_owned(),
        });
        let retreats = self.routes.own_retreats();
        self.answer(retreats);
    }

    async fn obey(&mut self, message: ToGateway) {
        match message {
            ToGateway::Set { route } => self.set(route).await,
            ToGateway::Remove { service, epoch } => {
                let (answer, is_changed) = self.routes.remove(service, epoch);
                self.change(is_changed).await;
                self.answer([answer]);
            }
            ToGateway::Retreat { service, release } => {
                let at = self.clock.now().wall;
                let (answer, is_changed) = self.routes.retreat(&service, release, RetreatBy::Tower, at);
                self.change(is_changed).await;
                self.answer([answer]);
            }
            ToGateway::Settings { settings } => self.adopt(settings),
            ToGateway::Ping => {
                if self.clock.now().steady.since(self.reached_at) <= BLIND_MAX {
                    self.say(FromGateway::Pong);
                }
            }
            ToGateway::TickAck { gateway_run, seq } => self.ring.acknowledge(gateway_run, seq),
            ToGateway::Shutdown { .. } => {
                let _ = self.stopping.send(true);
            }
            ToGateway::Hello { tower_run, .. } => tracing::info!(tower_run, "a tower is here"),
            ToGateway::Unknown => {}
        }
    }

    /// A route that HAProxy can't or won't take is refused, and the one before stays.
    async fn set(&mut self, route: Route) {
        let (service, epoch) = (route.service.clone(), route.epoch);
        let refused = |why| FromGateway::Refused { service: service.clone(), epoch, why };
        let other = self.routes.iter().map(|route| route.service.clone()).find(|other| *other != service);
        if let Some(other) = other {
            let backend = &self.driver.settings.backend;
            let why =
                format!("backend `{backend}` carries `{other}`; give each service a gateway of its own");
            return self.say(refused(why));
        }
        if let Err(why) = Setting::of(Some(&route), &self.driver.settings) {
            return self.say(refused(why));
        }
        let before = self.routes.clone();
        let (answer, is_changed) = self.routes.set(route);
        if !matches!(answer, FromGateway::Applied { .. }) {
            return self.say(answer);
        }
        match self.change(is_changed).await {
            Some(why) => {
                self.routes = before;
                self.change(true).await;
                self.say(refused(why));
            }
            None => self.answer([answer]),
        }
    }

    /// Puts the routes into force. Returns why HAProxy refused them; that it can't be reached is no refusal.
    async fn change(&mut self, is_changed: bool) -> Option<String> {
        if is_changed {
            self.is_in_force = false;
            // What is answered to routes that are replaced would not be true any more.
            self.owed.retain(|owed| matches!(owed, FromGateway::Retreated { .. }));
            match self.routes.keep() {
                Ok(bytes) => self.keepers.state.keep(bytes),
                Err(error) => tracing::error!(%error, "cannot write the gateway's routes"),
            }
        }
        if self.is_in_force { None } else { self.settle().await }
    }

    /// Sets HAProxy to the routes as they are. What was counted until then belongs to what was in force.
    async fn settle(&mut self) -> Option<String> {
        let route = self.routes.iter().next().cloned();
        let setting = match Setting::of(route.as_ref(), &self.driver.settings) {
            Ok(setting) => setting,
            Err(why) => return Some(why),
        };
        let before = self.driver.read().await.ok();
        if let (Some(reading), Some(route)) = (&before, &route) {
            self.count(reading, route);
        }
        if before.is_some_and(|before| before.stable.open > 0 && setting.moves_stable(&before)) {
            self.moved_at = Some(self.clock.now().steady);
        }
        match self.driver.set(&setting).await {
            Ok(reading) => {
                self.reached(&reading);
                self.is_in_force = true;
                self.watch_drain();
                let owed = std::mem::take(&mut self.owed);
                for answer in owed {
                    self.say(answer);
                }
                None
            }
            Err(error) => {
                self.complain(&error.to_string());
                error.is_refusal().then(|| error.to_string())
            }
        }
    }

    /// What is due each interval.
    async fn turn(&mut self) {
        let now = self.clock.now();
        if self.silence.is_over(now.steady) && self.routes.is_watching() {
            let told = self.routes.retreat_all(now.wall);
            tracing::warn!("no tower is heard: the canary gets no requests any more");
            self.change(true).await;
            self.answer(told);
        }
        if !self.is_in_force {
            self.settle().await;
        }
        match self.driver.read().await {
            Ok(reading) => {
                let is_new = self.reached(&reading);
                self.look(&reading, is_new).await;
            }
            Err(error) => self.complain(&error.to_string()),
        }
    }

    /// Counts, and sets right what is not as it was set.
    async fn look(&mut self, reading: &Reading, is_new: bool) {
        let Some(route) = self.routes.iter().next().cloned() else {
            self.is_in_force = Setting::of(None, &self.driver.settings)
                .is_ok_and(|setting| setting.missing(reading, &self.driver.settings).is_none());
            return;
        };
        self.count(reading, &route);
        self.tell_drained(reading);
        let setting = Setting::of(Some(&route), &self.driver.settings);
        let missing = setting.ok().and_then(|setting| setting.missing(reading, &self.driver.settings));
        if let Some(missing) = missing
            && self.is_in_force
        {
            let why =
                if is_new { "HAProxy has been restarted" } else { "HAProxy was changed by another hand" };
            tracing::warn!(missing, "{why}; it is set right");
            self.is_in_force = false;
            self.settle().await;
        }
    }

    /// HAProxy has answered. Returns whether it is another process than before.
    fn reached(&mut self, reading: &Reading) -> bool {
        self.reached_at = self.clock.now().steady;
        if self.trouble.take().is_some() {
            tracing::info!("HAProxy answers");
        }
        self.pid.replace(reading.pid).is_some_and(|pid| pid != reading.pid)
    }

    fn complain(&mut self, why: &str) {
        if self.trouble.as_deref() != Some(why) {
            tracing::error!("{why}");
            self.trouble = Some(why.to_owned());
        }
    }

    fn count(&mut self, reading: &Reading, route: &Route) {
        // Without a tower there is nobody to be told that nothing happened.
        let is_heard = self.tower.is_some();
        let tick = self.counts.tick(self.clock.now(), reading, route);
        let kept = tick.filter(|tick| is_heard || tick.stable.requests + tick.canary.requests > 0);
        if let Some(tick) = kept {
            self.ring.push(tick);
        }
    }

    /// Begins to watch for the last request of each canary that gets none any more.
    fn watch_drain(&mut self) {
        let Some(route) = self.routes.iter().next() else { return };
        let Some(canary) = &route.canary else { return };
        if canary.weight > Weight::NONE {
            self.draining.remove(&canary.release);
            return;
        }
        let service = route.service.clone();
        self.draining.entry(canary.release).or_insert(Draining { service, quiet: 0, is_told: false });
    }

    fn tell_drained(&mut self, reading: &Reading) {
        let now = self.clock.now().steady;
        let has_moved = self.moved_at.is_some_and(|at| now.since(at) < MOVED_DRAIN);
        let is_quiet = reading.canary.open == 0 && self.is_in_force && !has_moved;
        let mut drained = Vec::new();
        for (release, draining) in &mut self.draining {
            draining.quiet = if is_quiet { draining.quiet.saturating_add(1) } else { 0 };
            if draining.quiet >= QUIET_MIN && !draining.is_told && self.tower.is_some() {
                draining.is_told = true;
                drained.push(FromGateway::Drained { service: draining.service.clone(), release: *release });
            }
        }
        for message in drained {
            self.say(message);
        }
        let routed = self.routes.iter().next().and_then(|route| Some(route.canary.as_ref()?.release));
        self.draining.retain(|release, draining| !draining.is_told || routed == Some(*release));
    }

    fn adopt(&mut self, settings: GatewaySettings) {
        let Some(haproxy) = settings.haproxy.clone() else {
            let why =
                "the gateway drives HAProxy; stop it, and its tower starts one that carries requests itself";
            return self.say(FromGateway::SettingsRefused { why: why.to_owned() });
        };
        if self.settings != settings {
            self.keepers.settings.keep(keep_settings(&settings));
            self.driver = Driver::new(*haproxy);
            self.settings = settings;
            self.is_in_force = false;
            tracing::info!("new settings are in force");
        }
        self.say(FromGateway::SettingsApplied);
    }

    /// Says what is true once the routes are in force: now, or when they are.
    fn answer(&mut self, answers: impl IntoIterator<Item = FromGateway>) {
        for answer in answers {
            if self.is_in_force {
                self.say(answer);
            } else if !self.owed.contains(&answer) {
                self.owed.push(answer);
            }
        }
    }

    fn say(&mut self, message: FromGateway) {
        if let Some(tower) = &self.tower
            && tower.out.try_send(message).is_err()
        {
            // It does not read. When it calls again, the greeting says all that matters.
            tracing::warn!("the tower does not listen; its connection is closed");
            self.tower = None;
        }
    }

    fn send_ticks(&mut self) {
        let Some(tower) = &self.tower else { return };
        while let Some(tick) = self.ring.next_unsent() {
            // Room is left for what must not wait.
            if tower.out.capacity() <= tower.out.max_capacity() / 2 {
                return;
            }
            let seq = tick.seq;
            if tower.out.try_send(FromGateway::Tick(tick.clone())).is_err() {
                return;
            }
            self.ring.sent(seq);
        }
    }
}
