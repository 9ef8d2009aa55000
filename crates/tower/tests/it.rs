//! The data path on a disk that fails: what retreats, retreats; what advances, waits; and the record catches up.

#![expect(clippy::unwrap_used, reason = "a story that can't be told fails its test")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use hmsops_control::event::{Asked, Command, GatewayReport, InstanceReport, Options};
use hmsops_control::state::release::Phase;
use hmsops_control::{Effect, Event, Who};
use hmsops_disk::{Disk, Faults, FaultyDisk, MemDisk};
use hmsops_ledger::{FileLedger, Hash, LedgerReader, Order, SideLog};
use hmsops_model::probe::{ProbeResult, ProbeVerdict};
use hmsops_model::release::{HealthCheck, Image, ReleaseSpec, Step};
use hmsops_model::service::{BadRule, Driver, Identity, Protocol, RouteSpec, ServiceSpec};
use hmsops_model::{
    ArmTick, BadKind, Digest, InstanceId, Millis, Now, ReleaseId, ServiceName, Tick, Unit, UnixMillis,
    Version, Weight,
};
use hmsops_tower::{Hands, Sentinel, Spill, Tower};

#[path = "it/controls.rs"]
mod controls;
#[path = "it/heals.rs"]
mod heals;
#[path = "it/policy.rs"]
mod policy;
#[path = "it/restart.rs"]
mod restart;
#[path = "it/tokens.rs"]
mod tokens;

/// A tower on a disk that can fail, and what it ordered.
struct World {
    memory: MemDisk,
    faults: Faults,
    side: Side,
    now: Now,
    seq: u64,
    tower: Option<Tower>,
    reader: Option<LedgerReader>,
    orders: Vec<Effect>,
}

#[derive(Default)]
struct Orders(Vec<Effect>);

impl Hands for Orders {
    fn perform(&mut self, effect: Effect) {
        self.0.push(effect);
    }
}

struct DiskSpill(hmsops_disk::Spill);

impl Spill for DiskSpill {
    fn put(&mut self, line: Vec<u8>) -> bool {
        self.0.put(&line).is_ok()
    }
    fn lines(&mut self) -> Vec<Vec<u8>> {
        self.0.entries().unwrap_or_default()
    }
    fn clear(&mut self) {
        let _kept = self.0.clear();
    }
}

#[derive(Clone, Default)]
struct Side(Arc<Mutex<BTreeMap<String, Vec<Vec<u8>>>>>);

impl SideLog for Side {
    fn append(&mut self, release: &str, lines: &[Vec<u8>]) -> bool {
        self.0.lock().unwrap().entry(release.into()).or_default().extend(lines.iter().cloned());
        true
    }
    fn read(&mut self, release: &str) -> Vec<Vec<u8>> {
        self.0.lock().unwrap().get(release).cloned().unwrap_or_default()
    }
    fn sha256(&mut self, release: &str) -> Option<Hash> {
        let lines = self.read(release);
        Some(Hash::of(&lines.iter().map(Vec::as_slice).collect::<Vec<_>>()))
    }
}

fn name() -> ServiceName {
    ServiceName::new("csac-portal").unwrap()
}

fn check() -> HealthCheck {
    HealthCheck { path: "/health".into(), ..HealthCheck::connects() }
}

fn service() -> ServiceSpec {
    ServiceSpec {
        name: name(),
        system: "csac".into(),
        owner: None,
        driver: Driver::Process {
            image_dir: "{tag}".into(),
            run: vec!["./portal".into()],
            ports: [("http".to_owned(), None)].into(),
            env: [].into(),
        },
        route: Some(RouteSpec { gateway: "public".into(), host: None, protocol: Protocol::Http1 }),
        identity: Identity::Cookie("session".into()),
        sticky: true,
        bad: BadRule::defaults(),
        stable: Some(Version::new("1.7.3").unwrap()),
        health: vec![check()],
        freeze: Vec::new(),
        rollback_window: hmsops_model::freeze::RollbackWindow::default(),
        capacity_milli: None,
        allow_private: Vec::new(),
    }
}

fn release() -> ReleaseSpec {
    let step = |bp| Step { weight: Weight::from_bp(bp).unwrap(), hold: Millis::from_secs(10) };
    ReleaseSpec {
        service: name(),
        image: Image { name: "csac-portal".into(), tag: Version::new("1.8.0").unwrap() },
        steps: vec![step(100), step(2500), step(10_000)],
        checks: vec![check()],
        bake: Millis::from_mins(30),
        start_timeout: Millis::from_secs(20),
        shield_after: None,
        irreversible: None,
        after: Vec::new(),
        margin_bp: None,
        inconclusive: hmsops_model::release::Inconclusive::default(),
    }
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            memory: MemDisk::new(),
            faults: Faults::new(),
            side: Side::default(),
            now: Now { wall: UnixMillis(1_780_000_000_000), steady: Millis(1_000_000) },
            seq: 0,
            tower: None,
            reader: None,
            orders: Vec::new(),
        };
        world.start();
        world
    }

    /// 1.8.0 has 1 % of traffic.
    fn with_canary_out() -> Self {
        let mut world = Self::new();
        world.gateway(GatewayReport::Connected { routes: Vec::new() });
        world.event(&Event::Declared { specs: vec![service()], whole: true, by: Who::tower() });
        world.pass(Millis::from_secs(3));
        let spec = Box::new(release());
        world.event(&Event::Deploy { spec, digest: None, salt: 7, first: false, by: Who::tower() });
        world.pass(Millis::from_secs(3));
        assert_eq!((world.phase(), world.weight()), (Phase::Watching, 100));
        world
    }

    fn start(&mut self) {
        let disk: Arc<dyn Disk> =
            Arc::new(FaultyDisk::new(Arc::new(self.memory.clone()), self.faults.clone()));
        let (ledger, recovered) = FileLedger::open(disk.clone(), "ledger", "test").unwrap();
        self.reader = Some(ledger.reader());
        let spill = hmsops_disk::Spill::open(&disk, "spill", 1 << 16).unwrap();
        let (spill, side) = (Box::new(DiskSpill(spill)), Box::new(self.side.clone()));
        self.tower = Some(Tower::recover(Box::new(ledger), &recovered, spill, side).unwrap());
    }

    fn kill(&mut self) {
        self.tower = None;
        self.reader = None;
    }

    fn tower(&self) -> &Tower {
        self.tower.as_ref().unwrap()
    }

    fn phase(&self) -> Phase {
        self.tower().state().releases[&ReleaseId(1)].phase
    }

    fn weight(&self) -> u16 {
        self.tower().state().releases[&ReleaseId(1)].weight.bp()
    }

    fn event(&mut self, event: &Event) -> hmsops_tower::Handled {
        let mut orders = Orders::default();
        let handled = self.tower.as_mut().unwrap().handle(self.now, event, &mut orders);
        for order in orders.0 {
            self.obey(&order);
            self.orders.push(order);
        }
        handled
    }

    fn gateway(&mut self, report: GatewayReport) {
        self.event(&Event::Gateway { gateway: "public".into(), report });
    }

    fn obey(&mut self, order: &Effect) {
        match order {
            Effect::Start { instance, .. } => {
                let upstreams = vec![format!("127.0.0.1:{}", 4000 + instance.id.0)];
                let report = InstanceReport::Started { pid: Some(1), upstreams, metrics: None };
                self.event(&Event::Instance { id: instance.id, report });
            }
            Effect::Route { route, .. } => {
                self.gateway(GatewayReport::Applied { service: route.service.clone(), epoch: route.epoch });
            }
            _ => {}
        }
    }

    fn pass(&mut self, span: Millis) {
        for _ in 0..span.0 / 100 {
            self.now.steady = self.now.steady + Millis(100);
            self.now.wall = UnixMillis(self.now.wall.0 + 100);
            if self.now.steady.0.is_multiple_of(1000) {
                self.gateway(GatewayReport::Alive);
                for target in hmsops_control::probe_targets(self.tower().state()) {
                    self.probe(target.instance);
                }
            }
            self.event(&Event::Wake);
        }
    }

    fn probe(&mut self, instance: InstanceId) {
        let verdict = ProbeVerdict::Pass { millis: 1 };
        let (service, path) = (name(), "/health".to_owned());
        self.event(&Event::Probe(ProbeResult { service, instance, path, scheduled: true, verdict }));
    }

    fn bad_tick(&mut self, bad: u64) -> Event {
        self.seq += 1;
        let canary = ArmTick {
            requests: bad,
            new_bad: bad,
            errors: bad,
            bad: [(BadKind::Status, bad)].into(),
            seen: bad,
            first_bad_at: Some(self.now.wall),
            last_bad_at: Some(self.now.wall),
            ..ArmTick::default()
        };
        Event::Tick(Box::new(Tick {
            service: name(),
            release: Some(ReleaseId(1)),
            epoch: self.tower().state().services[&name()].epoch,
            seq: self.seq,
            gateway_run: 1,
            at: self.now.wall,
            span: Millis(100),
            weight: Weight::from_bp(100).unwrap(),
            unit: Unit::Client,
            canary_waiting: 0,
            stable: ArmTick { requests: 20, ..ArmTick::default() },
            canary,
        }))
    }

    /// Two looks in a row find bad answers: one alone condemns nobody.
    fn turns_bad(&mut self) {
        for bad in [3, 2] {
            let bad = self.bad_tick(bad);
            self.event(&bad);
        }
    }

    fn retreats(&self) -> usize {
        self.orders.iter().filter(|order| matches!(order, Effect::Retreat { .. })).count()
    }

    fn entries(&self, kind: &str) -> Vec<hmsops_ledger::Entry> {
        let reader = self.reader.as_ref().unwrap();
        let all = reader.read(0..reader.size(), Order::OldestFirst, 10_000).unwrap();
        all.into_iter().filter(|entry| entry.kind == kind).collect()
    }

    /// The bad canary goes back although the ledger fails, nothing goes further, and the record catches up.
    fn takes_back_and_catches_up(mut self) {
        self.orders.clear();
        self.turns_bad();
        assert_eq!(self.phase(), Phase::RolledBack);
        assert_eq!(
            self.orders.iter().position(|o| matches!(o, Effect::Retreat { .. })),
            Some(0),
            "first of all"
        );
        assert!(self.entries("release.taken-back").is_empty(), "the ledger took nothing");
        let spec = Box::new(ReleaseSpec {
            image: Image { name: "csac-portal".into(), tag: Version::new("1.8.1").unwrap() },
            ..release()
        });
        let handled =
            self.event(&Event::Deploy { spec, digest: None, salt: 8, first: false, by: Who::tower() });
        assert!(
            handled.ledger_failed.is_some() && handled.transitions.is_empty(),
            "nothing advances: {handled:?}"
        );
        self.pass(Millis::from_secs(5));
        assert!(self.entries("release.taken-back").is_empty());
        self.faults.heal();
        self.pass(Millis::from_secs(3));
        let taken_back = self.entries("release.taken-back");
        assert_eq!(taken_back.len(), 1);
        assert!(taken_back[0].late, "recorded after the fact, and says so");
        assert_eq!(self.tower().backlog_len(), 0);
        let live = serde_json::to_value(self.tower().state()).unwrap();
        self.kill();
        self.start();
        assert_eq!(serde_json::to_value(self.tower().state()).unwrap(), live, "the record is the state");
    }
}

/// Issue 2, must show 3.
#[test]
fn a_full_disk_holds_up_no_retreat() {
    let world = World::with_canary_out();
    world.faults.fill();
    world.takes_back_and_catches_up();
}

/// Issue 2, must show 3.
#[test]
fn a_failing_sync_holds_up_no_retreat() {
    let world = World::with_canary_out();
    world.faults.fail_syncs();
    world.takes_back_and_catches_up();
}

#[test]
fn while_the_ledger_fails_a_healthy_release_stays_where_it_is() {
    let mut world = World::with_canary_out();
    world.faults.fill();
    world.pass(Millis::from_secs(60));
    assert_eq!(world.weight(), 100, "the step's time is long over");
    world.faults.heal();
    world.pass(Millis::from_secs(3));
    assert_eq!(world.weight(), 2500);
}

/// While the tower itself stands still, its sentinel takes back once what the tower will find to be bad, and nothing
/// else; the two agree afterwards, whichever word comes first.
#[test]
fn a_sentinel_takes_back_what_the_tower_would() {
    for tower_hears_first in [true, false] {
        let mut world = World::with_canary_out();
        let last = world.tower().publish(world.now, None);
        let since = world.now.steady;
        let mut sentinel = Sentinel::default();
        let few = world.bad_tick(2);
        sentinel.hear(world.now, few.clone());
        assert!(sentinel.look(world.now, &last, since).is_empty(), "two bad answers are no evidence");
        let more = world.bad_tick(3);
        sentinel.hear(world.now, more.clone());
        let orders = sentinel.look(world.now, &last, since);
        assert!(matches!(orders.as_slice(), [Effect::Retreat { release: ReleaseId(1), .. }]), "{orders:?}");
        assert!(sentinel.look(world.now, &last, since).is_empty(), "once is enough");

        let told = GatewayReport::Retreated {
            service: name(),
            release: ReleaseId(1),
            by_itself: false,
            at: world.now.wall,
        };
        if tower_hears_first {
            world.event(&few);
            world.event(&more);
            world.gateway(told);
        } else {
            world.gateway(told);
            world.event(&few);
            world.event(&more);
        }
        assert_eq!(world.phase(), Phase::RolledBack);
        assert_eq!(world.entries("release.taken-back").len(), 1);
        let hash = world.tower().state().releases[&ReleaseId(1)].verdict.clone().unwrap().evidence_sha256;
        assert!(hash.is_some(), "what it was read from is named, whoever was first");
        assert_eq!(world.entries("release.rolled-back").len(), 1);
        sentinel.forget(world.now.steady + Millis(1));
        assert!(sentinel.look(world.now, &last, Millis::ZERO).is_empty(), "it has forgotten");
    }
}

/// What only the spill has is still true after a kill, and is then written.
#[test]
fn a_retreat_that_reached_only_the_spill_survives_a_kill() {
    let mut world = World::with_canary_out();
    world.faults.fill();
    world.turns_bad();
    world.kill();
    world.faults.heal();
    world.start();
    assert_eq!(world.phase(), Phase::RolledBack);
    world.pass(Millis::from_secs(2));
    assert_eq!(world.entries("release.taken-back").len(), 1);
    world.kill();
    world.start();
    assert_eq!(world.phase(), Phase::RolledBack);
    world.pass(Millis::from_secs(2));
    assert_eq!(world.entries("release.taken-back").len(), 1, "once");
}

/// A gateway sends again what was not acknowledged; a restarted tower must not count it twice.
#[test]
fn ticks_sent_again_after_a_restart_count_once() {
    let mut world = World::with_canary_out();
    let bad = world.bad_tick(1);
    world.event(&bad);
    let before = world.tower().evidence().releases[&ReleaseId(1)].tally.clone();
    assert_eq!(before.canary_bad, 1);
    world.kill();
    world.start();
    world.event(&bad);
    let after = world.tower().evidence().releases[&ReleaseId(1)].tally.clone();
    assert_eq!((after.canary_bad, after.canary_bad_clients), (1, 1));
    assert_eq!(after.probes, before.probes, "probes are folded again, too");
}

/// Invariant 5: what was sent and not confirmed is sent again, and nothing else.
#[test]
fn an_unconfirmed_retreat_is_sent_again_until_it_is_confirmed() {
    let mut world = World::with_canary_out();
    world.gateway(GatewayReport::Lost);
    world.turns_bad();
    world.gateway(GatewayReport::Connected { routes: Vec::new() });
    world.orders.clear();
    world.pass(Millis::from_secs(3));
    assert!(world.tower().state().releases[&ReleaseId(1)].rolled_back_at.is_some());
    let sent = world.retreats();
    world.pass(Millis::from_secs(5));
    assert_eq!(world.retreats(), sent, "confirmed is confirmed");
}

fn other(n: &str, routed: bool) -> ServiceSpec {
    ServiceSpec {
        name: ServiceName::new(n).unwrap(),
        route: routed.then(|| RouteSpec {
            gateway: "public".into(),
            host: Some(n.into()),
            protocol: Protocol::Http1,
        }),
        ..service()
    }
}

#[test]
fn another_services_pending_advance_holds_up_no_retreat_on_a_full_disk() {
    let mut world = World::with_canary_out();
    world.event(&Event::Declared {
        specs: vec![service(), other("aaa", false)],
        whole: true,
        by: Who::tower(),
    });
    world.pass(Millis::from_secs(3));
    let aaa = world.tower().state().services[&ServiceName::new("aaa").unwrap()].stable.unwrap();
    world.faults.fill();
    world.pass(Millis::from_secs(1));
    world.event(&Event::Instance { id: aaa, report: InstanceReport::Exited { reason: "x".into() } });
    world.orders.clear();
    for _ in 0..10 {
        world.turns_bad();
        world.pass(Millis::from_secs(1));
    }
    assert_eq!(world.phase(), Phase::RolledBack, "retreats {}", world.retreats());
}

#[test]
fn a_refusal_too_long_for_a_line_keeps_no_others_out() {
    let mut world = World::with_canary_out();
    let upstreams: Vec<String> = (0..20).map(|n| format!("10.0.0.{n}:8080")).collect();
    let command = hmsops_control::Command::Adopt {
        service: name(),
        version: Version::new("1.7.3").unwrap(),
        upstreams,
    };
    let handled = world.event(&Event::Command { command, by: Who::tower(), reason: "x".into() });
    assert!(handled.refused.is_some());
    world.pass(Millis::from_secs(60));
    assert_eq!(world.tower().backlog_len(), 0);
}

#[test]
fn evidence_of_the_second_release_survives_a_restart() {
    let mut world = World::with_canary_out();
    world.event(&Event::Declared {
        specs: vec![service(), other("zeta", true)],
        whole: true,
        by: Who::tower(),
    });
    world.pass(Millis::from_secs(3));
    let spec = Box::new(ReleaseSpec { service: ServiceName::new("zeta").unwrap(), ..release() });
    world.event(&Event::Deploy { spec, digest: None, salt: 7, first: false, by: Who::tower() });
    world.pass(Millis::from_secs(3));
    for n in 0..6 {
        let mut tick = world.bad_tick(1);
        if let Event::Tick(tick) = &mut tick {
            tick.canary.new_bad = 0;
            tick.canary.errors = 0;
            if n % 2 == 0 {
                tick.service = ServiceName::new("zeta").unwrap();
                tick.release = Some(ReleaseId(2));
            }
        }
        world.event(&tick);
    }
    let bad = |world: &World, id| world.tower().evidence().releases[&ReleaseId(id)].tally.canary_bad;
    assert_eq!((bad(&world, 1), bad(&world, 2)), (3, 3));
    world.kill();
    world.start();
    let has = world.tower().evidence().releases.get(&ReleaseId(2)).map(|w| w.tally.canary_bad);
    assert_eq!((bad(&world, 1), has), (3, Some(3)));
}

#[test]
fn what_the_gateway_knows_to_be_retreated_is_not_promoted() {
    let mut world = World::new();
    world.gateway(GatewayReport::Connected { routes: Vec::new() });
    world.event(&Event::Declared { specs: vec![service()], whole: true, by: Who::tower() });
    world.pass(Millis::from_secs(3));
    let mut spec = release();
    spec.steps.remove(1);
    world.event(&Event::Deploy {
        spec: Box::new(spec),
        digest: None,
        salt: 7,
        first: false,
        by: Who::tower(),
    });
    world.pass(Millis::from_secs(3));
    world.faults.fail_syncs();
    world.turns_bad();
    assert_eq!(world.phase(), Phase::RolledBack);
    let epoch = world.tower().state().services[&name()].epoch;
    world.kill();
    world.side = Side::default(); // evidence lost with the disk
    world.memory.crash(6);
    world.faults.heal();
    world.start();
    let held = hmsops_control::event::HeldRoute {
        service: name(),
        epoch,
        release: Some(ReleaseId(1)),
        retreated: true,
    };
    world.gateway(GatewayReport::Connected { routes: vec![held] });
    world.pass(Millis::from_secs(20));
    assert!(
        !matches!(world.phase(), Phase::Baking | Phase::Done),
        "{:?} stable {:?}",
        world.phase(),
        world.tower().state().services[&name()].stable_version()
    );
}

#[test]
fn retiring_a_service_takes_its_canary_back() {
    let mut world = World::with_canary_out();
    world.event(&Event::Declared { specs: vec![], whole: true, by: Who::tower() });
    for _ in 0..10 {
        world.turns_bad();
        world.pass(Millis::from_secs(1));
    }
    assert!(world.retreats() > 0, "{:?} {}", world.phase(), world.weight());
}

#[test]
fn time_without_a_gateway_is_no_watch() {
    let mut world = World::with_canary_out();
    let epoch = world.tower().state().services[&name()].epoch;
    world.gateway(GatewayReport::Lost);
    world.pass(Millis::from_secs(60));
    assert_eq!(world.weight(), 100);
    let held = hmsops_control::event::HeldRoute {
        service: name(),
        epoch: epoch - 1,
        release: Some(ReleaseId(1)),
        retreated: false,
    };
    world.gateway(GatewayReport::Connected { routes: vec![held] });
    world.pass(Millis::from_secs(1));
    assert_eq!(world.weight(), 100, "it was never watched for its time");
}

#[test]
fn a_version_taken_back_on_a_full_disk_stays_denied_after_a_kill() {
    let mut world = World::with_canary_out();
    world.faults.fill();
    world.turns_bad();
    assert_eq!(world.tower().state().denied.len(), 1);
    world.kill();
    world.faults.heal();
    world.start();
    world.pass(Millis::from_secs(3));
    assert_eq!(world.tower().state().denied.len(), 1);
}

#[test]
fn an_oversized_declaration_does_not_stop_the_others() {
    let mut world = World::with_canary_out();
    let mut big = other("zeta", false);
    if let Driver::Process { run, .. } = &mut big.driver {
        run.extend((0..20).map(|_| "x".repeat(4000)));
    }
    for _ in 0..40 {
        // as the repo watcher does, once a second
        let specs = vec![service(), big.clone()];
        world.event(&Event::Declared { specs, whole: true, by: Who::tower() });
        world.pass(Millis(1000));
    }
    assert!(world.weight() > 100, "the portal's step is long due: {}", world.weight());
}

#[test]
fn a_deploy_that_cannot_be_recorded_takes_nothing_back() {
    let mut world = World::with_canary_out();
    world.faults.fill();
    let mut spec = release();
    spec.image.tag = Version::new("1.8.1").unwrap();
    let spec = Box::new(spec);
    let handled = world.event(&Event::Deploy { spec, digest: None, salt: 8, first: false, by: Who::tower() });
    assert!(handled.ledger_failed.is_some() && handled.release().is_none());
    assert_eq!(world.phase(), Phase::Watching);
}

#[test]
fn an_oversized_declaration_does_not_make_the_ledger_look_broken() {
    let mut world = World::with_canary_out();
    let mut big = other("zeta", false);
    if let Driver::Process { run, .. } = &mut big.driver {
        run.extend((0..20).map(|_| "x".repeat(4000)));
    }
    let specs = vec![service(), big];
    let handled = world.event(&Event::Declared { specs, whole: true, by: Who::tower() });
    assert!(handled.ledger_failed.is_some(), "it is refused");
    world.pass(Millis(500));
    let command = hmsops_control::Command::Pause { release: ReleaseId(1) };
    let handled = world.event(&Event::Command { command, by: Who::tower(), reason: "x".into() });
    assert!(handled.ledger_failed.is_none(), "{handled:?}");
}

#[test]
fn a_baking_release_taken_back_without_a_warm_version_starts_the_proven_one() {
    let mut world = World::with_canary_out();
    world.pass(Millis::from_secs(30));
    assert_eq!(world.phase(), Phase::Baking);
    let warm = world.tower().state().services[&name()].warm.unwrap().id;
    world.event(&Event::Instance { id: warm, report: InstanceReport::Exited { reason: "x".into() } });
    world.pass(Millis::from_secs(3));
    world.orders.clear();
    let command = hmsops_control::Command::Abort { release: ReleaseId(1) };
    world.event(&Event::Command { command, by: Who::tower(), reason: "x".into() });
    world.pass(Millis::from_secs(15));
    let known = &world.tower().state().services[&name()];
    assert_eq!(known.stable_version().map(Version::as_str), Some("1.7.3"));
}

#[test]
fn a_snapshot_and_the_lines_after_it_give_the_state_that_was() {
    let mut world = World::with_canary_out();
    let now = world.now;
    world.tower.as_mut().unwrap().snapshot(now);
    assert_eq!(world.entries("ledger.snapshot").len(), 1);
    world.turns_bad();
    let live = serde_json::to_value(world.tower().state()).unwrap();
    world.kill();
    world.start();
    assert_eq!(serde_json::to_value(world.tower().state()).unwrap(), live);
}

#[test]
fn no_snapshot_is_taken_while_lines_wait() {
    let mut world = World::with_canary_out();
    world.faults.fill();
    world.turns_bad();
    world.faults.heal();
    let now = world.now;
    world.tower.as_mut().unwrap().snapshot(now);
    assert!(world.entries("ledger.snapshot").is_empty());
}
