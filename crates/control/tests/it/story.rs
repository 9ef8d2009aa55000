//! The kit of every story: what is declared, how time passes, what the world answers.

use hmsops_control::event::{Asked, Command, Options};
use hmsops_control::state::release::{Phase, Release};
use hmsops_control::state::service::InstancePhase;
use hmsops_control::{
    Effect, Event, Evidence, GatewayReport, InstanceReport, Refusal, Service, State, Transition, Who, decide,
    effects, probe_targets,
};
use hmsops_model::probe::{ProbeResult, ProbeVerdict};
use hmsops_model::release::{HealthCheck, Image, ReleaseSpec, Step, Threshold};
use hmsops_model::service::{BadRule, Driver, Identity, Protocol, RouteSpec, ServiceSpec};
use hmsops_model::{
    ArmTick, BadKind, HealId, InstanceId, Millis, NoticeId, Now, ReleaseId, ServiceName, Tick, Unit,
    UnixMillis, Version, Weight,
};

/// What every version answers.
pub(crate) const HEALTH: &str = "/api/v1/health";

/// What a newer version brings.
pub(crate) const HEALTH_V2: &str = "/api/v2/health";

/// Far more instances than a story starts.
const INSTANCES_MAX: u64 = 1000;

/// Far more rounds of decisions than an event of the largest story takes.
const ROUNDS_MAX: u32 = 500;

/// A tower without a disk, a gateway that does as it is told, and instances whose probes the test sets.
pub(crate) struct Story {
    pub(crate) state: State,
    pub(crate) evidence: Evidence,
    pub(crate) now: Now,
    /// Heals that were asked for.
    pub(crate) heals: Vec<HealId>,
    /// Notices that were sent, with their receivers.
    pub(crate) notices: Vec<(NoticeId, String)>,
    seq: u64,
    /// Instances that fail every probe.
    pub(crate) failing: Vec<InstanceId>,
    /// Paths that a version does not have.
    pub(crate) lacking: Vec<(Version, &'static str)>,
    pub(crate) log: Vec<Transition>,
    /// The ledger and the side log, as one.
    pub(crate) kept: Vec<Record>,
    pub(crate) said: Vec<String>,
}

/// What a ledger or a side log holds.
pub(crate) enum Record {
    Line(Now, Transition),
    Seen(Now, Event),
}

pub(crate) fn name() -> ServiceName {
    ServiceName::new("csac-portal").unwrap()
}

pub(crate) fn version(text: &str) -> Version {
    Version::new(text).unwrap()
}

pub(crate) fn service() -> ServiceSpec {
    ServiceSpec {
        name: name(),
        system: "csac".into(),
        owner: None,
        driver: Driver::Process {
            image_dir: "{tag}".into(),
            run: vec!["./portal".into()],
            ports: [("http".to_owned(), None)].into(),
            env: [].into(),
            secrets: [].into(),
        },
        route: Some(RouteSpec { gateway: "public".into(), host: None, protocol: Protocol::Http1 }),
        identity: Identity::Cookie("session".into()),
        sticky: true,
        bad: BadRule::defaults(),
        stable: Some(version("1.7.3")),
        health: vec![check(HEALTH)],
        freeze: Vec::new(),
        rollback_window: hmsops_model::freeze::RollbackWindow::default(),
        capacity_milli: None,
        allow_private: Vec::new(),
    }
}

pub(crate) fn check(path: &str) -> HealthCheck {
    HealthCheck::of_path(path, Threshold { fails: 3, window: Millis::from_secs(60) })
}

pub(crate) fn release(tag: &str) -> ReleaseSpec {
    let step = |bp, secs| Step { weight: Weight::from_bp(bp).unwrap(), hold: Millis::from_secs(secs) };
    ReleaseSpec {
        service: name(),
        image: Image { name: "csac-portal".into(), tag: version(tag) },
        steps: vec![step(100, 300), step(2500, 300), step(10_000, 300)],
        checks: vec![check(HEALTH)],
        bake: Millis::from_mins(30),
        start_timeout: Millis::from_secs(20),
        shield_after: None,
        irreversible: None,
        after: Vec::new(),
        margin_bp: None,
        inconclusive: hmsops_model::release::Inconclusive::default(),
    }
}

/// A bad answer to a probe.
pub(crate) fn fail() -> ProbeVerdict {
    ProbeVerdict::Fail { reason: "answered 500".into() }
}

/// A good answer to a probe.
pub(crate) fn pass() -> ProbeVerdict {
    ProbeVerdict::Pass { millis: 2 }
}

impl Story {
    /// A connected gateway, and nothing but these services declared.
    pub(crate) fn of(specs: Vec<ServiceSpec>) -> Self {
        let mut story = Self {
            state: State::default(),
            evidence: Evidence::default(),
            now: Now { wall: UnixMillis(1_700_000_000_000), steady: Millis(1_000_000) },
            heals: Vec::new(),
            notices: Vec::new(),
            seq: 0,
            failing: Vec::new(),
            lacking: Vec::new(),
            log: Vec::new(),
            kept: Vec::new(),
            said: Vec::new(),
        };
        story.gateway(GatewayReport::Connected { routes: Vec::new() });
        story.declare(specs);
        story
    }

    /// 1.7.3 runs and has all traffic.
    pub(crate) fn healthy() -> Self {
        let mut story = Self::of(vec![service()]);
        story.pass(Millis::from_secs(20));
        assert_eq!(story.stable(), "1.7.3");
        story
    }

    /// A release whose canary has its first share.
    pub(crate) fn out(tag: &str) -> Self {
        let mut story = Self::healthy();
        story.deploy(tag).unwrap();
        story.pass(Millis::from_secs(3));
        assert_eq!(story.release(1).phase, Phase::Watching);
        assert!(story.release(1).step_since.is_some());
        story
    }

    /// A release that has all traffic, with 1.7.3 still warm.
    pub(crate) fn baking(tag: &str) -> Self {
        let mut story = Self::out(tag);
        story.promote();
        story.promote();
        assert_eq!((story.release(1).phase, story.stable()), (Phase::Baking, tag));
        story
    }

    /// A release that is done; 1.7.3 is retired.
    pub(crate) fn proven(tag: &str) -> Self {
        let mut story = Self::baking(tag);
        story.pass(Millis::from_mins(31));
        assert_eq!((story.release(1).phase, story.service().live().count()), (Phase::Done, 1));
        story
    }

    pub(crate) fn service(&self) -> &Service {
        &self.state.services[&name()]
    }

    pub(crate) fn stable(&self) -> &str {
        self.service().stable_version().map_or("none", Version::as_str)
    }

    /// The instance that is stable.
    pub(crate) fn stable_id(&self) -> InstanceId {
        self.service().stable.unwrap()
    }

    /// Whether the instance that is stable runs.
    pub(crate) fn is_up(&self) -> bool {
        self.service().stable_instance().is_some_and(|stable| stable.phase == InstancePhase::Running)
    }

    pub(crate) fn release(&self, id: u64) -> &Release {
        &self.state.releases[&ReleaseId(id)]
    }

    /// The instance that starts next.
    pub(crate) fn next_instance(&self) -> InstanceId {
        InstanceId(self.state.last_instance + 1)
    }

    pub(crate) fn declare(&mut self, specs: Vec<ServiceSpec>) {
        self.event(Event::Declared { specs, whole: true, by: Who::tower() }).unwrap();
    }

    pub(crate) fn deploy(&mut self, tag: &str) -> Result<(), Refusal> {
        self.deploy_spec(release(tag), false)
    }

    pub(crate) fn deploy_spec(&mut self, spec: ReleaseSpec, first: bool) -> Result<(), Refusal> {
        let (spec, by) = (Box::new(spec), Who::tower());
        self.event(Event::Deploy { spec, digest: None, salt: 7, first, by })
    }

    /// A release is asked for with all that can be said about it.
    pub(crate) fn release_with(&mut self, specs: Vec<ReleaseSpec>, options: Options) -> Result<(), Refusal> {
        let asked = specs.into_iter().map(|spec| Asked { spec: Box::new(spec), digest: None, salt: 7 });
        self.event(Event::Release { asked: asked.collect(), options, by: Who::tower() })
    }

    pub(crate) fn command(&mut self, command: Command) -> Result<(), Refusal> {
        self.event(Event::Command { command, by: Who::tower(), reason: "because".into() })
    }

    pub(crate) fn promote(&mut self) {
        self.command(Command::Promote { release: ReleaseId(1), override_freeze: false }).unwrap();
    }

    pub(crate) fn abort(&mut self) {
        self.command(Command::Abort { release: ReleaseId(1) }).unwrap();
    }

    pub(crate) fn rollback(&mut self, to: Option<&str>) -> Result<(), Refusal> {
        self.command(Command::Rollback { service: name(), to: to.map(version) })
    }

    /// The public gateway reports.
    pub(crate) fn gateway(&mut self, report: GatewayReport) {
        self.event(Event::Gateway { gateway: "public".into(), report }).unwrap();
    }

    pub(crate) fn event(&mut self, event: Event) -> Result<(), Refusal> {
        let mut queue = vec![event];
        while let Some(event) = queue.pop() {
            if self.evidence.observe(&self.state, self.now, &event) {
                self.kept.push(Record::Seen(self.now, event.clone()));
            }
            let mut event = event;
            for round in 0.. {
                assert!(round < ROUNDS_MAX, "decisions do not settle");
                let transitions = decide(&self.state, &self.evidence, self.now, &event)?;
                if transitions.is_empty() {
                    break;
                }
                for transition in transitions {
                    self.state.apply(self.now, &transition);
                    for effect in effects(&self.state, &transition) {
                        queue.extend(self.perform(effect));
                    }
                    self.kept.push(Record::Line(self.now, transition.clone()));
                    self.log.push(transition);
                }
                event = Event::Wake;
            }
        }
        Ok(())
    }

    fn perform(&mut self, effect: Effect) -> Vec<Event> {
        let gateway = |report| Event::Gateway { gateway: "public".into(), report };
        match effect {
            Effect::Route { route, .. } => {
                vec![gateway(GatewayReport::Applied { service: route.service, epoch: route.epoch })]
            }
            Effect::Retreat { service, release, .. } => {
                let (at, by_itself) = (self.now.wall, false);
                let drained = GatewayReport::Drained { service: service.clone(), release };
                let retreated = GatewayReport::Retreated { service, release, by_itself, at };
                vec![gateway(drained), gateway(retreated)]
            }
            Effect::Start { instance, .. } => {
                let upstreams = vec![format!("127.0.0.1:{}", 40_000 + instance.id.0)];
                let report = InstanceReport::Started {
                    pid: Some(100 + instance.id.0 as u32),
                    upstreams,
                    metrics: None,
                };
                vec![Event::Instance { id: instance.id, report }]
            }
            Effect::Stop { instance } => {
                vec![Event::Instance { id: instance.id, report: InstanceReport::Stopped }]
            }
            Effect::Say { text, .. } => {
                self.said.push(text);
                Vec::new()
            }
            Effect::Heal { heal } => {
                self.heals.push(heal.id);
                Vec::new()
            }
            Effect::Notify { notice } => {
                self.notices.push((notice.id, notice.receiver));
                Vec::new()
            }
            Effect::Unroute { .. } => Vec::new(),
        }
    }

    /// Time passes: every second the gateway is heard and each instance that runs is probed.
    pub(crate) fn pass(&mut self, span: Millis) {
        for _ in 0..span.0 / 100 {
            self.now.steady = self.now.steady + Millis(100);
            self.now.wall = UnixMillis(self.now.wall.0 + 100);
            if self.now.steady.0.is_multiple_of(1000) {
                self.gateway(GatewayReport::Alive);
                for target in probe_targets(&self.state) {
                    let verdict = self.answer(target.instance, &target.path);
                    self.probe_at(&target.service, target.instance, &target.path, verdict);
                }
                self.evidence.forget(&self.state);
            }
            self.event(Event::Wake).unwrap();
        }
    }

    fn answer(&self, instance: InstanceId, path: &str) -> ProbeVerdict {
        let known = self.state.instance(instance).map(|(_, known)| &known.instance.version);
        if self.failing.contains(&instance) {
            fail()
        } else if self.lacking.iter().any(|(version, lacks)| Some(version) == known && *lacks == path) {
            ProbeVerdict::Fail { reason: "answered 404".into() }
        } else {
            pass()
        }
    }

    /// A scheduled look at an instance fails.
    pub(crate) fn failed_probe(&mut self, instance: InstanceId) {
        self.probe_at(&name(), instance, HEALTH, fail());
    }

    fn probe_at(&mut self, service: &ServiceName, instance: InstanceId, path: &str, verdict: ProbeVerdict) {
        let failed = matches!(verdict, ProbeVerdict::Fail { .. });
        self.look_at(service, instance, path, true, verdict);
        // As the prober does: what one has failed may be common to all.
        let stable = self.state.services[service].stable.filter(|stable| failed && *stable != instance);
        if let Some(stable) = stable {
            let verdict = self.answer(stable, path);
            self.look_at(service, stable, path, false, verdict);
        }
    }

    /// One look at an instance, and no other that follows from it.
    pub(crate) fn look(&mut self, instance: InstanceId, scheduled: bool, verdict: ProbeVerdict) {
        self.look_at(&name(), instance, HEALTH, scheduled, verdict);
    }

    fn look_at(
        &mut self,
        service: &ServiceName,
        instance: InstanceId,
        path: &str,
        scheduled: bool,
        verdict: ProbeVerdict,
    ) {
        let (service, path) = (service.clone(), path.to_owned());
        self.event(Event::Probe(ProbeResult { service, instance, path, scheduled, verdict })).unwrap();
    }

    /// An instance ends without being asked to.
    pub(crate) fn end(&mut self, id: InstanceId) {
        let report = InstanceReport::Exited { reason: "exited with status 1".into() };
        self.event(Event::Instance { id, report }).unwrap();
    }

    /// Whatever starts from now on fails every probe.
    pub(crate) fn fail_all_to_come(&mut self) {
        self.failing = (self.next_instance().0..INSTANCES_MAX).map(InstanceId).collect();
    }

    /// Time passes, and whatever runs ends within 100 ms.
    pub(crate) fn crash(&mut self, span: Millis) {
        for _ in 0..span.0 / 100 {
            let running = self.service().live().filter(|known| known.phase == InstancePhase::Running);
            let running: Vec<InstanceId> = running.map(|known| known.instance.id).collect();
            for id in running {
                self.end(id);
            }
            self.pass(Millis(100));
        }
    }

    /// A tick in which so many new clients of each arm got a bad answer.
    pub(crate) fn tick(&mut self, canary_bad: u64, stable_bad: u64) {
        self.tick_of(&name(), canary_bad, canary_bad, stable_bad);
    }

    /// A tick of a service in which the canary gave bad answers, some of them to new clients.
    pub(crate) fn tick_of(
        &mut self,
        service: &ServiceName,
        canary_new: u64,
        canary_bad: u64,
        stable_bad: u64,
    ) {
        self.seq += 1;
        let arm = |requests: u64, bad: u64, new_bad: u64| ArmTick {
            requests,
            clients: requests,
            new_bad,
            errors: bad,
            bad: if bad > 0 { [(BadKind::Status, bad)].into() } else { [].into() },
            seen: bad,
            first_bad_at: (bad > 0).then_some(self.now.wall),
            last_bad_at: (bad > 0).then_some(self.now.wall),
            ..ArmTick::default()
        };
        let active = self.state.active_release(service);
        let tick = Tick {
            service: service.clone(),
            release: active.map(|release| release.id),
            epoch: self.state.services[service].epoch,
            seq: self.seq,
            gateway_run: 1,
            at: self.now.wall,
            span: Millis(100),
            weight: active.map_or(Weight::NONE, |release| release.weight),
            unit: Unit::Client,
            canary_waiting: 0,
            stable: arm(20, stable_bad, stable_bad),
            canary: arm(canary_bad.max(1), canary_bad, canary_new),
        };
        self.event(Event::Tick(Box::new(tick))).unwrap();
    }

    pub(crate) fn told(&self, what: &str) -> bool {
        self.said.iter().any(|line| line.contains(what))
    }

    /// What was shown to users last.
    pub(crate) fn heading(&self) -> Option<&'static str> {
        self.state.incidents.values().next_back().map(hmsops_control::incident::Incident::heading)
    }
}
