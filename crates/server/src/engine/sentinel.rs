//! The thread that takes back what is to be taken back while the tower's own thread stands still, see
//! [`hmsops_tower::Sentinel`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::Duration;

use hmsops_control::Event;
use hmsops_model::Millis;
use hmsops_tower::{Hands, Sentinel, Snapshot};
use tokio::sync::watch;

use crate::clock::Clock;

/// The tower stands still when one event takes it longer: a sync of a healthy disk takes some milliseconds.
const STILL_AFTER: Millis = Millis(250);

/// Between two looks at the tower's pulse.
const LOOK_EVERY: Millis = Millis(50);

/// Events that may wait for the sentinel; more are not heard by it, and wait for the tower.
const WAITING_MAX: usize = 8192;

/// Whether the tower's thread is at work on an event, and since when.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// One more than the steady milliseconds at which it began; 0: it is not.
    since: AtomicU64,
}

impl Pulse {
    pub(super) fn begin(&self, steady: Millis) {
        self.since.store(steady.0.saturating_add(1), Ordering::Release);
    }

    pub(super) fn end(&self) {
        self.since.store(0, Ordering::Release);
    }

    fn since(&self) -> Option<Millis> {
        self.since.load(Ordering::Acquire).checked_sub(1).map(Millis)
    }
}

/// By which events reach the sentinel, beside the tower.
#[derive(Clone)]
pub(super) struct Ear(SyncSender<Event>);

impl Ear {
    pub(super) fn hear(&self, event: &Event) {
        if Sentinel::wants(event) {
            let _full = self.0.try_send(event.clone());
        }
    }
}

/// Starts the thread; it ends with the last [`Ear`].
pub(super) fn start(
    clock: Clock,
    mut hands: impl Hands + Send + 'static,
    pulse: Arc<Pulse>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
) -> std::io::Result<Ear> {
    let (ear, events) = mpsc::sync_channel(WAITING_MAX);
    std::thread::Builder::new().name("sentinel".into()).spawn(move || {
        let mut sentinel = Sentinel::default();
        let mut looked_at = Millis::ZERO;
        loop {
            match events.recv_timeout(Duration::from_millis(LOOK_EVERY.0)) {
                Ok(event) => sentinel.hear(clock.now(), event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = clock.now();
            let Some(since) = pulse.since() else {
                sentinel.forget(now.steady.since(STILL_AFTER));
                continue;
            };
            if now.steady.since(since) < STILL_AFTER || now.steady.since(looked_at) < LOOK_EVERY {
                continue;
            }
            looked_at = now.steady;
            let last = snapshot.borrow().clone();
            for order in sentinel.look(now, &last, since) {
                tracing::error!(
                    "tower: it has stood still for {}; a canary is taken back without it",
                    now.steady.since(since)
                );
                hands.perform(order);
            }
        }
    })?;
    Ok(Ear(ear))
}

#[cfg(test)]
mod tests {
    use hmsops_control::event::{Command, GatewayReport};
    use hmsops_control::{Effect, Event, Who};
    use hmsops_disk::{Disk, Faults, FaultyDisk, MemDisk};
    use hmsops_ledger::FileLedger;
    use hmsops_model::probe::{ProbeResult, ProbeVerdict};
    use hmsops_model::release::{HealthCheck, Image, ReleaseSpec, Step};
    use hmsops_model::service::{BadRule, Driver, Identity, Protocol, RouteSpec, ServiceSpec};
    use hmsops_model::{ArmTick, BadKind, InstanceId, ReleaseId, ServiceName, Tick, Unit, Version, Weight};
    use hmsops_tower::{SideLog, Spill, Tower};

    use super::*;
    use crate::Engine;

    #[derive(Clone)]
    struct Orders(SyncSender<Effect>);

    impl Hands for Orders {
        fn perform(&mut self, effect: Effect) {
            let _full = self.0.try_send(effect);
        }
    }

    struct Nothing;

    impl Spill for Nothing {
        fn put(&mut self, _: Vec<u8>) -> bool {
            false
        }
        fn lines(&mut self) -> Vec<Vec<u8>> {
            Vec::new()
        }
        fn clear(&mut self) {}
    }

    impl SideLog for Nothing {
        fn append(&mut self, _: &str, _: &[Vec<u8>]) -> bool {
            true
        }
        fn read(&mut self, _: &str) -> Vec<Vec<u8>> {
            Vec::new()
        }
        fn sha256(&mut self, _: &str) -> Option<hmsops_ledger::Hash> {
            None
        }
    }

    fn name() -> ServiceName {
        ServiceName::new("portal").unwrap()
    }

    fn version(text: &str) -> Version {
        Version::new(text).unwrap()
    }

    fn service() -> ServiceSpec {
        let upstreams = [("1.0", "127.0.0.1:1"), ("1.1", "127.0.0.1:2")];
        let upstreams = upstreams.map(|(tag, address)| (version(tag), vec![address.to_owned()])).into();
        ServiceSpec {
            name: name(),
            system: "portal".into(),
            owner: None,
            driver: Driver::External { upstreams },
            route: Some(RouteSpec { gateway: "public".into(), host: None, protocol: Protocol::Http1 }),
            identity: Identity::Request,
            sticky: false,
            bad: BadRule::defaults(),
            stable: Some(version("1.0")),
            health: vec![HealthCheck::connects()],
            freeze: Vec::new(),
            rollback_window: hmsops_model::freeze::RollbackWindow::default(),
            capacity_milli: None,
            allow_private: Vec::new(),
        }
    }

    fn release() -> ReleaseSpec {
        let step = |bp| Step { weight: Weight::from_bp(bp).unwrap(), hold: Millis::from_mins(5) };
        ReleaseSpec {
            service: name(),
            image: Image { name: "portal".into(), tag: version("1.1") },
            steps: vec![step(100), step(10_000)],
            checks: vec![HealthCheck::connects()],
            bake: Millis::from_mins(1),
            start_timeout: Millis::from_mins(1),
            shield_after: None,
            irreversible: None,
            after: Vec::new(),
            margin_bp: None,
            inconclusive: hmsops_model::release::Inconclusive::default(),
        }
    }

    fn gateway(report: GatewayReport) -> Event {
        Event::Gateway { gateway: "public".into(), report }
    }

    /// Does what the orders say, as a gateway and a prober would, until the canary has users.
    async fn bring_out(engine: &Engine, orders: &mpsc::Receiver<Effect>) {
        engine.tell(gateway(GatewayReport::Connected { routes: Vec::new() })).await.unwrap();
        let declared = Event::Declared { specs: vec![service()], whole: true, by: Who::tower() };
        engine.submit(declared).await.unwrap();
        let mut is_deployed = false;
        for _ in 0..500 {
            for id in [1, 2] {
                let verdict = ProbeVerdict::Pass { millis: 1 };
                let (service, path, instance) = (name(), String::new(), InstanceId(id));
                let probe = ProbeResult { service, instance, path, scheduled: true, verdict };
                engine.submit(Event::Probe(probe)).await.unwrap();
            }
            while let Ok(order) = orders.try_recv() {
                if let Effect::Route { route, .. } = order {
                    let (service, epoch) = (route.service.clone(), route.epoch);
                    engine.submit(gateway(GatewayReport::Applied { service, epoch })).await.unwrap();
                }
            }
            let state = engine.snapshot().state.clone();
            if !is_deployed && state.services.get(&name()).is_some_and(|known| known.stable.is_some()) {
                let spec = Box::new(release());
                let deploy = Event::Deploy { spec, digest: None, salt: 7, first: false, by: Who::tower() };
                is_deployed = engine.submit(deploy).await.unwrap().refused.is_none();
            }
            if state.releases.get(&ReleaseId(1)).is_some_and(|known| known.step_since.is_some()) {
                return;
            }
        }
        panic!("no canary came out: {:?}", engine.snapshot().state.releases);
    }

    fn bad_tick(engine: &Engine, clock: Clock, seq: u64) -> Event {
        let canary = ArmTick {
            requests: 3,
            new_bad: 3,
            errors: 3,
            bad: [(BadKind::Status, 3)].into(),
            ..ArmTick::default()
        };
        Event::Tick(Box::new(Tick {
            service: name(),
            release: Some(ReleaseId(1)),
            epoch: engine.snapshot().state.services[&name()].epoch,
            seq,
            gateway_run: 1,
            at: clock.now().wall,
            span: Millis(100),
            weight: Weight::from_bp(100).unwrap(),
            unit: Unit::Request,
            canary_waiting: 0,
            stable: ArmTick { requests: 20, ..ArmTick::default() },
            canary,
        }))
    }

    /// A retreat waits for nobody, not even for a sync of another line that never comes back.
    #[tokio::test]
    async fn a_sync_that_hangs_holds_up_no_retreat() {
        let faults = Faults::new();
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(Arc::new(MemDisk::new()), faults.clone()));
        let (ledger, recovered) = FileLedger::open(disk, "ledger", "test").unwrap();
        let (spill, side) = (Box::new(Nothing), Box::new(Nothing));
        let tower = Tower::recover(Box::new(ledger), &recovered, spill, side).unwrap();
        let (hands, orders) = mpsc::sync_channel(10_000);
        let (acks, _kept) = tokio::sync::mpsc::channel(64);
        let clock = Clock::after(None);
        let engine = super::super::start(tower, clock, Orders(hands), acks).unwrap();
        bring_out(&engine, &orders).await;

        faults.hang();
        let command = Command::Pause { release: ReleaseId(1) };
        let pause = Event::Command { command, by: Who::tower(), reason: "a test".into() };
        engine.tell(pause).await.unwrap();
        let waiting = faults.clone();
        tokio::task::spawn_blocking(move || waiting.wait_until_hanging()).await.unwrap();
        for seq in [1, 2] {
            engine.tell(bad_tick(&engine, clock, seq)).await.unwrap();
        }
        let order = tokio::task::spawn_blocking(move || {
            let retreat = |order: &Effect| matches!(order, Effect::Retreat { release: ReleaseId(1), .. });
            std::iter::from_fn(|| orders.recv_timeout(Duration::from_secs(10)).ok()).find(retreat)
        });
        assert!(order.await.unwrap().is_some(), "it was not taken back while the tower stood still");
        assert!(engine.snapshot().state.releases[&ReleaseId(1)].phase.is_active(), "the tower still stands");
        faults.heal();
        engine.submit(Event::Wake).await.unwrap();
        assert!(
            engine.snapshot().state.releases[&ReleaseId(1)].phase.is_off(),
            "and says so when it goes on"
        );
    }
}
