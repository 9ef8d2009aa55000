//! The simulated world around the tower: clock, disk, gateway, processes, and what is between them. Users are in
//! [`crate::users`], probes in [`crate::prober`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use hmsops_control::event::{GatewayReport, InstanceReport};
use hmsops_control::{Effect, Event, effect};
use hmsops_disk::{Disk, Faults, FaultyDisk, MemDisk};
use hmsops_ledger::{FileLedger, Hash, LedgerReader, SideLog};
use hmsops_model::{InstanceId, Millis, Now, ReleaseId, Tick, UnixMillis, Weight};
use hmsops_tower::{Handled, Hands, Spill, Tower};

use crate::dice::Dice;
use crate::gateway::Gateway;
use crate::instance::{Fault, Process};
use crate::invariant::{Checks, Invariant, Violation};
use crate::peers::Peers;
use crate::prober::{Loss, Prober};
use crate::users::{Crowd, Users};

/// One step of simulated time.
pub const STEP: Millis = Millis(100);

/// The gateway's name.
pub const GATEWAY: &str = "public";

/// The world. One service is enough to break everything that can break.
pub struct World {
    /// Randomness of everything but users and probes.
    pub dice: Dice,
    /// Randomness of users: a stream of its own, so that two runs that differ in what is done to us have the same
    /// users.
    pub(crate) traffic: Dice,
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
    /// Whether the service knows nothing of its clients, so that requests are split.
    pub by_request: bool,
    /// What goes wrong on a look's way.
    pub loss: Loss,
    /// What the canary's version does wrong.
    pub canary_fault: Fault,
    /// How long after its first user that begins.
    pub fault_delay: Millis,
    /// Whether the tower is shown a healthy canary whatever it is: a twin of a run, for the models of others.
    pub blind: bool,
    /// The line between gateway and tower.
    pub line: Line,
    /// Until when the tower's process stands still.
    pub tower_paused_until: Millis,
    /// When the tower's process is to be killed, if it is.
    pub doom: Option<Doom>,
    /// What every event handed to the tower wrote, while it is being recorded.
    pub course: Option<Vec<Moment>>,
    /// Invariants that did not hold.
    pub violations: Vec<Violation>,
    /// Everything that was decided, as bytes: what two runs of one seed are compared by.
    pub journal: Vec<u8>,
    /// When the canary gave its first bad answer, and its last.
    pub canary_bad: Option<(Millis, Millis)>,
    /// How others would have judged.
    pub peers: Peers,
    pub(crate) crowd: Crowd,
    pub(crate) prober: Prober,
    pub(crate) stopped: BTreeSet<InstanceId>,
    pub(crate) checks: Checks,
    pub(crate) begun_at: Millis,
    disk: Arc<dyn Disk>,
    memory: MemDisk,
    side: SharedSide,
    pub(crate) reader: Option<LedgerReader>,
    orders: VecDeque<Effect>,
    mail: VecDeque<(Millis, Event)>,
    started: BTreeSet<InstanceId>,
    handed: u64,
    pub(crate) read_to: u64,
    pinged_at: Millis,
}

/// The line between gateway and tower.
#[derive(Debug, Clone, Copy, Default)]
pub struct Line {
    /// Until when it is cut.
    pub cut_until: Millis,
    /// How late messages of the gateway are, until when.
    pub late: (Millis, Millis),
    /// Until when each of them comes twice.
    pub twice_until: Millis,
    /// Until when its ticks get lost before they are kept.
    pub lossy_until: Millis,
}

/// A kill of the tower at one of its writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doom {
    /// The event, by its number from the world's begin.
    pub event: u64,
    /// The write of that event which is not done any more, from 1; one more than there are: the event is written down
    /// and its effects are not carried out.
    pub write: u64,
    /// Whether what it had ordered since its last write is still carried out.
    pub effects: bool,
    /// Whether the machine loses power, so that writes without a sync may be lost or torn, too.
    pub power: bool,
}

/// What an event handed to the tower did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// The event's number.
    pub event: u64,
    /// When, in steps since the world's begin.
    pub step: u64,
    /// Writes it caused.
    pub writes: u64,
    /// What was decided, by name.
    pub decided: Vec<String>,
    /// Where the release stood before.
    pub state: String,
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
        let dice = Dice::new(seed);
        let mut world = Self {
            traffic: dice.branch(1),
            prober: Prober::new(dice.branch(2)),
            dice,
            now,
            tower: None,
            gateway: Gateway::default(),
            processes: BTreeMap::new(),
            faults,
            users: Users::default(),
            by_request: false,
            loss: Loss::default(),
            canary_fault: Fault::None,
            fault_delay: Millis::ZERO,
            blind: false,
            line: Line::default(),
            tower_paused_until: Millis::ZERO,
            doom: None,
            course: None,
            violations: Vec::new(),
            journal: Vec::new(),
            canary_bad: None,
            peers: Peers::default(),
            crowd: Crowd::default(),
            stopped: BTreeSet::new(),
            checks: Checks::default(),
            begun_at: now.steady,
            disk,
            memory,
            side: SharedSide::default(),
            reader: None,
            orders: VecDeque::new(),
            mail: VecDeque::new(),
            started: BTreeSet::new(),
            handed: 0,
            read_to: 0,
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
        if self.handed > 0 {
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

    pub(crate) fn recover(&mut self) -> Result<Tower, String> {
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
        self.mail.clear();
        self.tower_paused_until = Millis::ZERO;
        self.gateway.connected = false;
    }

    /// kill -9 of the gateway: who waited for an answer gets none.
    pub fn kill_gateway(&mut self) {
        self.gateway.kill();
        self.mail.clear();
        self.crowd.hang_up();
        self.hand_in(&Event::Gateway { gateway: GATEWAY.into(), report: GatewayReport::Lost });
    }

    /// The line between gateway and tower is cut.
    pub fn cut_line(&mut self, until: Millis) {
        self.line.cut_until = until;
        self.gateway.connected = false;
        self.mail.clear();
        self.hand_in(&Event::Gateway { gateway: GATEWAY.into(), report: GatewayReport::Lost });
    }

    /// Whether the tower's process stands still.
    pub(crate) fn tower_stands_still(&self) -> bool {
        self.now.steady < self.tower_paused_until
    }

    /// The tower is killed in the next event, as a [`Doom`] says.
    pub fn doom_next(&mut self, doom: Doom) {
        self.doom = Some(Doom { event: self.handed, ..doom });
    }

    /// Steps since the world's begin.
    pub fn steps(&self) -> u64 {
        self.now.steady.since(self.begun_at).0 / STEP.0
    }

    /// The machine of the tower loses power: what was not synced is gone or torn.
    pub fn crash_disk(&mut self) {
        self.kill_tower();
        self.faults.heal();
        let seed = self.dice.bits();
        self.memory.crash(seed);
        // What was granted is read again, from what was really kept.
        self.reader = None;
        self.read_to = 0;
        self.checks.forget_grants();
    }

    /// Hands an event to the tower; nothing comes back when it is dead, stands still, or dies of it.
    pub fn hand_in(&mut self, event: &Event) -> Option<Handled> {
        self.tower.as_ref()?;
        if self.tower_stands_still() {
            self.mail.push_back((self.tower_paused_until, event.clone()));
            return None;
        }
        let number = self.handed;
        self.handed += 1;
        let doom = self.doom.filter(|doom| doom.event == number);
        let before = self.faults.writes();
        let freeze = doom.map(|doom| before + doom.write.max(1));
        if let Some(freeze) = freeze {
            self.faults.freeze_at_write(freeze);
        }
        let last = doom.zip(freeze).map(|(doom, freeze)| freeze - u64::from(!doom.effects));
        let state = self.course.is_some().then(|| self.standing());
        let tower = self.tower.as_mut()?;
        let mut orders = Orders { queue: &mut self.orders, faults: &self.faults, alive_writes: last };
        let handled = tower.handle(self.now, event, &mut orders);
        let writes = self.faults.writes() - before;
        if let Some(doom) = doom {
            self.faults.heal();
            self.doom = None;
            self.tower = None;
            self.carry_out();
            if doom.power {
                self.crash_disk();
            } else {
                self.kill_tower();
            }
            return None;
        }
        let step = self.steps();
        if let (Some(course), Some(state)) = (&mut self.course, state)
            && (writes > 0 || !handled.transitions.is_empty())
        {
            let decided = handled.transitions.iter().map(crate::invariant::name_of).collect();
            course.push(Moment { event: number, step, writes, decided, state });
        }
        for transition in &handled.transitions {
            self.journal.extend(serde_json::to_vec(transition).unwrap_or_default());
            self.journal.push(b'\n');
        }
        Some(handled)
    }

    /// Where the newest release stands: phase, step, hold.
    pub fn standing(&self) -> String {
        let release = self.tower.as_ref().and_then(|tower| tower.state().releases.values().next_back());
        release.map_or_else(String::new, |release| {
            let hold = if release.hold.is_some() { ", held" } else { "" };
            let closed = if release.closed { ", closed" } else { "" };
            format!("{} at step {}{hold}{closed}", release.phase.words(), release.step + 1)
        })
    }

    /// One step: time, users, probes, ticks, effects, checks.
    pub fn step(&mut self) {
        self.now.steady = self.now.steady + STEP;
        self.now.wall = UnixMillis(self.now.wall.0 + STEP.0 as i64);
        self.serve_users();
        self.end_processes();
        self.probe();
        self.deliver();
        self.talk();
        self.hand_in_unless_still(&Event::Wake);
        self.carry_out();
        self.check();
    }

    /// A process that stands still does not wake, and nothing is queued for it.
    fn hand_in_unless_still(&mut self, event: &Event) {
        if !self.tower_stands_still() {
            self.hand_in(event);
        }
    }

    /// Messages that are due.
    fn deliver(&mut self) {
        while let Some((_, event)) = self.mail.pop_front_if(|(due, _)| *due <= self.now.steady) {
            self.hand_in(&event);
        }
    }

    /// A message of the gateway: in order, late or twice as the line is.
    fn send(&mut self, event: &Event) {
        let now = self.now.steady;
        let twice = now < self.line.twice_until;
        let (delay, until) = self.line.late;
        let delay = if now < until { delay } else { Millis::ZERO };
        // Nothing overtakes on a line.
        let due = self.mail.back().map_or(now, |(due, _)| *due).max(now + delay);
        for _ in 0..=u64::from(twice) {
            if due > now {
                self.mail.push_back((due, event.clone()));
            } else {
                self.hand_in(event);
            }
        }
    }

    fn talk(&mut self) {
        if !self.gateway.alive {
            return;
        }
        self.gateway.watch_tower(self.now);
        if self.tower.is_some() && !self.tower_stands_still() && self.now.steady >= self.line.cut_until {
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
        let waiting = self.crowd.waiting;
        let lossy = self.now.steady < self.line.lossy_until;
        for tick in self.gateway.ticks(self.now, waiting, lossy) {
            if tick.weight > Weight::NONE {
                let broken_at = self.processes.values().find_map(|process| process.broken_at);
                self.peers.observe(self.now.steady, &tick, broken_at);
            }
            let tick = if self.blind { healthy(tick) } else { tick };
            self.send(&Event::Tick(Box::new(tick)));
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
        self.send(&Event::Gateway { gateway: GATEWAY.into(), report });
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
                    self.hand_in(&Event::Instance { id, report });
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
            self.hand_in(&Event::Instance { id, report });
            return;
        }
        if !self.started.insert(id) {
            self.violate(Invariant::NoEffectTwice, format!("{id} was started twice"));
        }
        let is_good = instance.version.as_str() == "1.7.3";
        let fault = if is_good { Fault::None } else { self.canary_fault };
        let up_at = self.now.steady + Millis(self.dice.below(1500));
        let mut process = Process::new(instance, fault, up_at);
        if is_good {
            // Stable has been up for long before the story.
            process.first_user_at = Some(Millis::ZERO);
        }
        self.processes.insert(id, process);
        self.hand_in(&Event::Instance { id, report: started(id) });
    }

    fn end_processes(&mut self) {
        let (now, blind) = (self.now.steady, self.blind);
        let dying =
            self.processes.values_mut().filter(|p| !p.ended && p.fault == Fault::Dead && p.broken(now));
        let dead: Vec<InstanceId> = dying
            .filter_map(|process| {
                process.ended = true;
                (!process.alone && !blind).then_some(process.instance.id)
            })
            .collect();
        for id in dead {
            let report = InstanceReport::Exited { reason: "exited with code 1".into() };
            self.hand_in(&Event::Instance { id, report });
        }
    }
}

fn started(id: InstanceId) -> InstanceReport {
    let upstreams = vec![format!("127.0.0.1:{}", id.0)];
    InstanceReport::Started { pid: Some(1000 + id.0 as u32), upstreams, metrics: None }
}

/// A tick as it would be of a healthy canary.
fn healthy(mut tick: Tick) -> Tick {
    for arm in [&mut tick.stable, &mut tick.canary] {
        arm.bad.clear();
        (arm.new_bad, arm.errors, arm.shielded, arm.seen) = (0, 0, 0, 0);
        (arm.slow, arm.new_slow) = (0, 0);
        (arm.first_bad_at, arm.last_bad_at) = (None, None);
    }
    tick
}
