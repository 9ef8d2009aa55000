//! The simulated world around the tower: clock, disk, gateway, processes, probes, users.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use hmsops_control::event::{GatewayReport, InstanceReport};
use hmsops_control::{Effect, Event, effect};
use hmsops_disk::{Disk, Faults, FaultyDisk, MemDisk};
use hmsops_ledger::{FileLedger, Hash, LedgerReader, Order, SideLog};
use hmsops_model::limits::{PROBE_INTERVAL, PROBE_RECHECK};
use hmsops_model::probe::{ProbeResult, ProbeVerdict};
use hmsops_model::{InstanceId, Millis, Now, ReleaseId, UnixMillis, Weight};
use hmsops_proxy::outcome::Outcome;
use hmsops_proxy::split::{Side, side};
use hmsops_tower::{Handled, Hands, Spill, Tower};

use crate::dice::Dice;
use crate::gateway::Gateway;
use crate::instance::{Answer, Fault, Process};
use crate::invariant::{Invariant, Violation};

/// One step of simulated time.
pub const STEP: Millis = Millis(100);

/// The gateway's name.
pub const GATEWAY: &str = "public";

/// The world. One service is enough to break everything that can break.
pub struct World {
    /// Randomness of everything.
    pub dice: Dice,
    /// Both clocks.
    pub now: Now,
    /// The tower, while its process lives.
    pub tower: Option<Tower>,
    /// The gateway.
    pub gateway: Gateway,
    /// All processes ever started.
    pub processes: BTreeMap<InstanceId, Process>,
    /// Steers the tower's disk.
    pub faults: Faults,
    /// What users do.
    pub users: Users,
    /// Share of probes that get lost on the way.
    pub probe_loss: f64,
    /// What the canary's version does wrong.
    pub canary_fault: Fault,
    /// How long after its first user that begins.
    pub fault_delay: Millis,
    /// Invariants that did not hold.
    pub violations: Vec<Violation>,
    /// Everything that was decided, as bytes: what two runs of one seed are compared by.
    pub journal: Vec<u8>,
    /// When the canary gave its first bad answer, and its last.
    pub canary_bad: Option<(Millis, Millis)>,
    disk: Arc<dyn Disk>,
    memory: MemDisk,
    side: SharedSide,
    reader: Option<LedgerReader>,
    orders: VecDeque<Effect>,
    late: Vec<(Millis, Outcome)>,
    probes: BTreeMap<InstanceId, (Millis, Option<Millis>)>,
    started: BTreeSet<InstanceId>,
    stopped: BTreeSet<InstanceId>,
    granted: BTreeMap<ReleaseId, Weight>,
    read_to: u64,
    begun_at: Millis,
    pinged_at: Millis,
}

/// What users do.
#[derive(Debug, Clone)]
pub struct Users {
    /// Requests a second.
    pub rate: f64,
    /// How many clients there are.
    pub clients: u64,
    /// Share of requests that any version answers with an error.
    pub base_errors: f64,
    /// Clients that always fail, whatever the version: the first so many.
    pub hopeless: u64,
    /// How often a client that failed tries again at once.
    pub retries: u64,
}

/// Effects as the tower's process gives them; what it gives after its death is not given.
struct Orders<'w> {
    queue: &'w mut VecDeque<Effect>,
    faults: &'w Faults,
    alive_writes: Option<u64>,
}

impl Hands for Orders<'_> {
    fn perform(&mut self, effect: Effect) {
        // A tower killed in the middle of its work does nothing after its last write.
        if self.alive_writes.is_none_or(|last| self.faults.writes() < last) {
            self.queue.push_back(effect);
        }
    }
}

/// The side log in memory: what was appended before a kill is there after it.
#[derive(Clone, Default)]
struct SharedSide(Arc<std::sync::Mutex<BTreeMap<String, Vec<Vec<u8>>>>>);

impl SideLog for SharedSide {
    fn append(&mut self, release: &str, lines: &[Vec<u8>]) -> bool {
        self.0.lock().is_ok_and(|mut logs| {
            logs.entry(release.to_owned()).or_default().extend(lines.iter().cloned());
            true
        })
    }

    fn read(&mut self, release: &str) -> Vec<Vec<u8>> {
        self.0.lock().map(|logs| logs.get(release).cloned().unwrap_or_default()).unwrap_or_default()
    }

    fn sha256(&mut self, release: &str) -> Option<Hash> {
        let lines = self.read(release);
        let parts: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        Some(Hash::of(&parts))
    }
}

/// The spill on the simulated disk, without a thread.
struct PlainSpill(hmsops_disk::Spill);

impl Spill for PlainSpill {
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

impl World {
    /// An empty world, its tower just started.
    pub fn new(seed: u64) -> Self {
        let memory = MemDisk::new();
        let faults = Faults::new();
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(Arc::new(memory.clone()), faults.clone()));
        let now = Now { wall: UnixMillis(1_780_000_000_000), steady: Millis(1_000_000) };
        let mut world = Self {
            dice: Dice::new(seed),
            now,
            tower: None,
            gateway: Gateway::default(),
            processes: BTreeMap::new(),
            faults,
            users: Users { rate: 100.0, clients: 2000, base_errors: 0.0, hopeless: 0, retries: 0 },
            probe_loss: 0.0,
            canary_fault: Fault::None,
            fault_delay: Millis::ZERO,
            violations: Vec::new(),
            journal: Vec::new(),
            canary_bad: None,
            disk,
            memory,
            side: SharedSide::default(),
            reader: None,
            orders: VecDeque::new(),
            late: Vec::new(),
            probes: BTreeMap::new(),
            started: BTreeSet::new(),
            stopped: BTreeSet::new(),
            granted: BTreeMap::new(),
            read_to: 0,
            begun_at: now.steady,
            pinged_at: Millis::ZERO,
        };
        world.start_tower();
        world
    }

    /// Notes an invariant that did not hold.
    pub fn violate(&mut self, invariant: Invariant, what: String) {
        let at_secs = self.now.steady.since(self.begun_at).0 / 1000;
        if self.violations.len() < 20 {
            self.violations.push(Violation { invariant, at_secs, what });
        }
    }

    /// Starts the tower's process on whatever is on its disk.
    pub fn start_tower(&mut self) {
        if self.reader.is_some() {
            match hmsops_ledger::verify(self.disk.as_ref(), "ledger") {
                Ok(report) => {
                    if let Some(bad) = report.first_bad {
                        self.violate(Invariant::LedgerVerifies, bad.to_string());
                    }
                }
                Err(error) => self.violate(Invariant::LedgerVerifies, error.chain()),
            }
        }
        match self.recover() {
            Ok(tower) => {
                self.tower = Some(tower);
                let effects = self.reconcile_all();
                self.orders.extend(effects);
            }
            Err(why) => self.violate(Invariant::LedgerVerifies, why),
        }
    }

    fn reconcile_all(&self) -> Vec<Effect> {
        let Some(tower) = &self.tower else { return Vec::new() };
        effect::reconcile(tower.state(), tower.evidence(), self.now, true)
    }

    fn recover(&mut self) -> Result<Tower, String> {
        let (ledger, recovered) =
            FileLedger::open(self.disk.clone(), "ledger", "sim").map_err(|error| error.chain())?;
        self.reader = Some(ledger.reader());
        let spill = hmsops_disk::Spill::open(&self.disk, "spill", 1 << 16).map_err(|error| error.chain())?;
        let (spill, side) = (Box::new(PlainSpill(spill)), Box::new(self.side.clone()));
        Tower::recover(Box::new(ledger), &recovered, spill, side).map_err(|error| error.to_string())
    }

    /// kill -9 between two events.
    pub fn kill_tower(&mut self) {
        self.tower = None;
        self.orders.clear();
        self.gateway.connected = false;
    }

    /// The machine of the tower loses power: what was not synced is gone or torn.
    pub fn crash_disk(&mut self) {
        self.kill_tower();
        self.faults.heal();
        let seed = self.dice.bits();
        self.memory.crash(seed);
    }

    /// Hands an event to the tower. `dies_in`: it is killed at so many writes from now.
    pub fn hand_in(&mut self, event: &Event, dies_in: Option<u64>) -> Option<Handled> {
        let last = dies_in.map(|n| self.faults.writes() + n.max(1));
        if let Some(last) = last {
            self.faults.freeze_at_write(last);
        }
        let tower = self.tower.as_mut()?;
        let mut orders = Orders { queue: &mut self.orders, faults: &self.faults, alive_writes: last };
        let handled = tower.handle(self.now, event, &mut orders);
        if let Some(last) = last {
            let died = self.faults.writes() >= last;
            self.faults.heal();
            if died {
                self.kill_tower();
                return None;
            }
        }
        for transition in &handled.transitions {
            self.journal.extend(serde_json::to_vec(transition).unwrap_or_default());
            self.journal.push(b'\n');
        }
        Some(handled)
    }

    /// One step: time, users, probes, ticks, effects, checks.
    pub fn step(&mut self) {
        self.now.steady = self.now.steady + STEP;
        self.now.wall = UnixMillis(self.now.wall.0 + STEP.0 as i64);
        self.serve_users();
        self.end_processes();
        self.probe();
        self.talk();
        self.hand_in(&Event::Wake, None);
        self.carry_out();
        self.check();
    }

    fn talk(&mut self) {
        if !self.gateway.alive {
            return;
        }
        self.gateway.watch_tower(self.now);
        if self.tower.is_some() {
            if !self.gateway.connected {
                for report in self.gateway.connect(self.now.steady) {
                    self.gateway_says(report);
                }
            }
            if self.now.steady.since(self.pinged_at).0 >= 500 {
                self.pinged_at = self.now.steady;
                self.gateway.heard_at = self.now.steady;
                self.gateway_says(GatewayReport::Alive);
            }
        }
        let waiting = self.late.len() as u64;
        for tick in self.gateway.ticks(self.now, waiting) {
            self.hand_in(&Event::Tick(Box::new(tick)), None);
        }
        let acks = self.tower.as_mut().map(Tower::take_acks).unwrap_or_default();
        for (run, seq) in acks {
            self.gateway.ring.acknowledge(run, seq);
        }
        if waiting == 0
            && let Some((service, release)) = self.drained()
        {
            self.gateway_says(GatewayReport::Drained { service, release });
        }
    }

    fn drained(&self) -> Option<(hmsops_model::ServiceName, ReleaseId)> {
        let route = self.gateway.route.as_ref()?;
        let canary = route.canary.as_ref().filter(|canary| canary.weight == Weight::NONE)?;
        Some((route.service.clone(), canary.release))
    }

    fn gateway_says(&mut self, report: GatewayReport) {
        self.hand_in(&Event::Gateway { gateway: GATEWAY.into(), report }, None);
    }

    /// Carries out what the tower ordered.
    pub fn carry_out(&mut self) {
        for _ in 0..1000 {
            let Some(order) = self.orders.pop_front() else { return };
            match order {
                Effect::Route { route, .. } if self.gateway.connected => {
                    self.gateway.heard_at = self.now.steady;
                    let report = self.gateway.set(self.now, *route);
                    self.gateway_says(report);
                }
                Effect::Retreat { release, .. } if self.gateway.connected => {
                    self.gateway.heard_at = self.now.steady;
                    if let Some(report) = self.gateway.retreat(self.now, release, false) {
                        self.gateway_says(report);
                    }
                }
                Effect::Start { instance, .. } => self.start(instance),
                Effect::Stop { instance } => {
                    self.stopped.insert(instance.id);
                    if let Some(process) = self.processes.get_mut(&instance.id) {
                        process.ended = true;
                    }
                    let (id, report) = (instance.id, InstanceReport::Stopped);
                    self.hand_in(&Event::Instance { id, report }, None);
                }
                _ => {}
            }
        }
    }

    fn start(&mut self, instance: hmsops_model::instance::Instance) {
        let id = instance.id;
        if let Some(known) = self.processes.get(&id) {
            let report = if known.ended {
                InstanceReport::Exited { reason: "ended while nobody watched it".into() }
            } else {
                started(id)
            };
            self.hand_in(&Event::Instance { id, report }, None);
            return;
        }
        if !self.started.insert(id) {
            self.violate(Invariant::NoEffectTwice, format!("{id} was started twice"));
        }
        let is_good = instance.version.as_str() == "1.7.3";
        let fault = if is_good { Fault::None } else { self.canary_fault };
        let up_at = self.now.steady + Millis(self.dice.below(1500));
        let process =
            Process { instance, fault, broken_at: None, paused_until: Millis::ZERO, up_at, ended: false };
        self.processes.insert(id, process);
        self.hand_in(&Event::Instance { id, report: started(id) }, None);
    }

    fn end_processes(&mut self) {
        let now = self.now.steady;
        let dying =
            self.processes.values_mut().filter(|p| !p.ended && p.fault == Fault::Dead && p.broken(now));
        let dead: Vec<InstanceId> = dying
            .map(|process| {
                process.ended = true;
                process.instance.id
            })
            .collect();
        for id in dead {
            let report = InstanceReport::Exited { reason: "exited with code 1".into() };
            self.hand_in(&Event::Instance { id, report }, None);
        }
    }

    fn probe(&mut self) {
        let Some(tower) = &self.tower else { return };
        let now = self.now.steady;
        let targets = effect::probe_targets(tower.state());
        self.probes.retain(|id, _| targets.iter().any(|target| target.instance == *id));
        for target in targets {
            let (due, recheck) = self.probes.entry(target.instance).or_insert((now, None));
            let scheduled = now >= *due;
            if !scheduled && recheck.is_none_or(|at| now < at) {
                continue;
            }
            if scheduled {
                *due = now + PROBE_INTERVAL;
            }
            *recheck = None;
            let lost = self.dice.chance(self.probe_loss);
            let found = self.processes.get(&target.instance).and_then(|process| process.probe(now));
            let found = found.or(lost.then_some("no answer in 500 ms"));
            if found.is_some() {
                let took = if found == Some("no answer in 500 ms") { Millis(500) } else { Millis::ZERO };
                for (other, (_, recheck)) in &mut self.probes {
                    if *other != target.instance {
                        recheck.get_or_insert(now + STEP);
                    }
                }
                self.probes
                    .insert(target.instance, (self.due(target.instance), Some(now + took + PROBE_RECHECK)));
            }
            let verdict = found.map_or(ProbeVerdict::Pass { millis: 2 }, |reason| ProbeVerdict::Fail {
                reason: reason.into(),
            });
            let (service, instance, path) = (target.service, target.instance, target.path);
            self.hand_in(&Event::Probe(ProbeResult { service, instance, path, scheduled, verdict }), None);
        }
    }

    fn due(&self, id: InstanceId) -> Millis {
        self.probes.get(&id).map_or(Millis::ZERO, |(due, _)| *due)
    }

    fn serve_users(&mut self) {
        let due: Vec<Outcome> = {
            let now = self.now.steady;
            let (due, later) = self.late.drain(..).partition(|(at, _)| *at <= now);
            self.late = later;
            let due: Vec<(Millis, Outcome)> = due;
            due.into_iter().map(|(_, outcome)| outcome).collect()
        };
        for mut outcome in due {
            outcome.at = self.now;
            self.count(&outcome);
        }
        let n = self.dice.poisson(self.users.rate * STEP.as_secs_f64());
        for _ in 0..n {
            let client = self.dice.below(self.users.clients);
            let mut tries = 1 + self.users.retries;
            while tries > 0 && self.request(client) {
                tries -= 1;
            }
        }
    }

    /// One request; returns whether the user would try again.
    fn request(&mut self, client: u64) -> bool {
        let (Some(route), Some(fold)) = (&self.gateway.route, &self.gateway.fold) else { return false };
        let mut routed = fold.routed();
        routed.weight = self.gateway.weight();
        let key = if routed.unit == hmsops_model::Unit::Client { client } else { self.dice.bits() };
        let arm = route
            .canary
            .as_ref()
            .map_or(Side::Stable, |canary| side(canary.salt, &key.to_le_bytes(), canary.weight));
        let upstreams = match (arm, &route.canary) {
            (Side::Canary, Some(canary)) => &canary.arm.upstreams,
            _ => &route.stable.upstreams,
        };
        let id =
            upstreams.first().and_then(|addr| addr.rsplit(':').next()).and_then(|port| port.parse().ok());
        let id = InstanceId(id.unwrap_or(0));
        if self.stopped.contains(&id) {
            self.violate(
                Invariant::StableUntouched,
                format!("a request was sent to {id}, which was stopped"),
            );
        }
        let now = self.now.steady;
        let idempotent = !self.dice.chance(0.1);
        let Some(process) = self.processes.get_mut(&id) else { return false };
        if arm == Side::Canary && process.broken_at.is_none() && process.fault != Fault::None {
            process.broken_at = Some(now + self.fault_delay);
        }
        let base = if client < self.users.hopeless { 1.0 } else { self.users.base_errors };
        let answer = process.answer(now, base, &mut self.dice);
        let bad = match answer {
            Answer::Good => None,
            Answer::Bad(kind) => Some(kind),
        };
        let shielded = bad.is_some() && arm == Side::Canary && idempotent;
        let outcome = Outcome {
            at: self.now,
            routed,
            side: arm,
            client: Some(client),
            latency_us: bad.is_none().then_some(5000),
            bad,
            shielded,
            seen: bad.is_some() && !shielded,
        };
        if bad == Some(hmsops_model::BadKind::Timeout) {
            self.late.push((now + Millis(1000), outcome));
        } else {
            self.count(&outcome);
        }
        bad.is_some()
    }

    fn count(&mut self, outcome: &Outcome) {
        if outcome.bad.is_some() && outcome.side == Side::Canary {
            let now = self.now.steady;
            let first = self.canary_bad.map_or(now, |(first, _)| first);
            self.canary_bad = Some((first, now));
        }
        if let Some(fold) = &mut self.gateway.fold {
            fold.count(outcome);
        }
    }

    /// What must hold after every step.
    fn check(&mut self) {
        self.read_grants();
        let canary = self.gateway.route.as_ref().and_then(|route| route.canary.clone());
        let Some(canary) = canary.filter(|canary| canary.weight > Weight::NONE) else { return };
        let granted = self.granted.get(&canary.release).copied().unwrap_or_default();
        if canary.weight > granted {
            let what = format!("{} has {}, the ledger grants {granted}", canary.release, canary.weight);
            self.violate(Invariant::NoLineNoAdvance, what);
        }
        if self.gateway.retreated.contains(&canary.release) {
            let what = format!("{} has {} after its retreat", canary.release, canary.weight);
            self.violate(Invariant::RetreatedStaysRetreated, what);
        }
    }

    /// The highest share that the durable ledger has granted to any release.
    pub fn granted_max(&mut self) -> Weight {
        self.read_grants();
        self.granted.values().copied().max().unwrap_or_default()
    }

    /// Reads which shares the durable ledger has granted.
    fn read_grants(&mut self) {
        let Some(reader) = &self.reader else { return };
        let size = reader.size();
        if size <= self.read_to {
            return;
        }
        let entries = reader.read(self.read_to..size, Order::OldestFirst, usize::MAX).unwrap_or_default();
        for entry in entries {
            let data = &entry.data;
            let release = data.get("release").and_then(|id| id.as_str()).and_then(|id| id.parse().ok());
            let weight =
                data.get("weight").and_then(serde_json::Value::as_u64).and_then(|bp| u16::try_from(bp).ok());
            if let ("release.weight", Some(release), Some(weight)) =
                (entry.kind.as_str(), release, weight.and_then(Weight::from_bp))
            {
                let granted: &mut Weight = self.granted.entry(release).or_default();
                *granted = weight.max(*granted);
            }
        }
        self.read_to = size;
    }

    /// State read back from disk is the state that was.
    pub fn check_fold(&mut self) {
        let Some(tower) = self.tower.take() else { return };
        let (live, backlog) = (serde_json::to_value(tower.state()), tower.backlog_len());
        drop(tower);
        match self.recover() {
            Ok(read) => {
                let read_back = serde_json::to_value(read.state());
                if backlog == 0 && live.ok() != read_back.ok() {
                    self.violate(Invariant::StateIsAFold, "the state read back differs".into());
                }
                self.tower = Some(read);
            }
            Err(why) => self.violate(Invariant::LedgerVerifies, why),
        }
    }
}

fn started(id: InstanceId) -> InstanceReport {
    let upstreams = vec![format!("127.0.0.1:{}", id.0)];
    InstanceReport::Started { pid: Some(1000 + id.0 as u32), upstreams, metrics: None }
}
