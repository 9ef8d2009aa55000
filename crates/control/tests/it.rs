//! Whole stories through `observe → decide → apply`, on time that the test makes.

#![expect(clippy::unwrap_used, reason = "a story that can't be told fails its test")]

use hmsops_control::event::{Command, HeldRoute};
use hmsops_control::state::release::Phase;
use hmsops_control::transition::{Detector, HoldReason};
use hmsops_control::{
    Effect, Event, Evidence, GatewayReport, InstanceReport, Refusal, State, Transition, Who, decide, effects,
    sentence,
};
use hmsops_model::probe::{ProbeResult, ProbeVerdict};
use hmsops_model::release::{HealthCheck, Image, ReleaseSpec, Step, Threshold};
use hmsops_model::service::{BadRule, Driver, Identity, RouteSpec, ServiceSpec};
use hmsops_model::{
    ArmTick, BadKind, InstanceId, Millis, Now, ReleaseId, ServiceName, Tick, UnixMillis, Version, Weight,
};

/// A tower without a disk, a gateway that does as it is told, and instances whose probes the test sets.
struct Story {
    state: State,
    evidence: Evidence,
    now: Now,
    seq: u64,
    /// Whether probes of an instance fail.
    failing: Vec<InstanceId>,
    log: Vec<Transition>,
    said: Vec<String>,
    gateway_obeys: bool,
}

fn name() -> ServiceName {
    ServiceName::new("csac-portal").unwrap()
}

fn version(text: &str) -> Version {
    Version::new(text).unwrap()
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
        route: Some(RouteSpec { gateway: "public".into(), host: None }),
        identity: Identity::Cookie("session".into()),
        sticky: true,
        bad: BadRule::defaults(),
        stable: Some(version("1.7.3")),
        health: vec![check()],
    }
}

fn check() -> HealthCheck {
    HealthCheck {
        path: "/api/v1/health".into(),
        threshold: Threshold { fails: 3, window: Millis::from_secs(60) },
    }
}

fn release(tag: &str) -> ReleaseSpec {
    let step = |bp, secs| Step { weight: Weight::from_bp(bp).unwrap(), hold: Millis::from_secs(secs) };
    ReleaseSpec {
        service: name(),
        image: Image { name: "csac-portal".into(), tag: version(tag) },
        steps: vec![step(100, 300), step(2500, 300), step(10_000, 300)],
        checks: vec![check()],
        bake: Millis::from_mins(30),
        start_timeout: Millis::from_secs(20),
        shield_after: None,
    }
}

impl Story {
    /// 1.7.3 runs and has all traffic.
    fn healthy() -> Self {
        let mut story = Self {
            state: State::default(),
            evidence: Evidence::default(),
            now: Now { wall: UnixMillis(1_700_000_000_000), steady: Millis(1_000_000) },
            seq: 0,
            failing: Vec::new(),
            log: Vec::new(),
            said: Vec::new(),
            gateway_obeys: true,
        };
        let connected = GatewayReport::Connected { routes: Vec::<HeldRoute>::new() };
        story.event(Event::Gateway { gateway: "public".into(), report: connected }).unwrap();
        let declared = Event::Declared { specs: vec![service()], whole: true, by: Who::tower() };
        story.event(declared).unwrap();
        story.pass(Millis::from_secs(20));
        assert_eq!(story.stable(), "1.7.3");
        story
    }

    fn stable(&self) -> &str {
        self.state.services[&name()].stable_version().map_or("none", Version::as_str)
    }

    fn release(&self, id: u64) -> &hmsops_control::state::release::Release {
        &self.state.releases[&ReleaseId(id)]
    }

    fn deploy(&mut self, tag: &str) -> Result<(), Refusal> {
        let event = Event::Deploy {
            spec: Box::new(release(tag)),
            digest: None,
            salt: 7,
            first: false,
            by: Who::tower(),
        };
        self.event(event)
    }

    /// Deploys and waits until the canary has its first share.
    fn out(tag: &str) -> Self {
        let mut story = Self::healthy();
        story.deploy(tag).unwrap();
        story.pass(Millis::from_secs(3));
        assert_eq!(story.release(1).phase, Phase::Watching);
        assert!(story.release(1).step_since.is_some());
        story
    }

    fn command(&mut self, command: Command) -> Result<(), Refusal> {
        self.event(Event::Command { command, by: Who::tower(), reason: "because".into() })
    }

    fn event(&mut self, event: Event) -> Result<(), Refusal> {
        let mut queue = vec![event];
        while let Some(event) = queue.pop() {
            self.evidence.observe(&self.state, self.now, &event);
            let mut event = event;
            for round in 0.. {
                assert!(round < 50, "decisions do not settle");
                let transitions = decide(&self.state, &self.evidence, self.now, &event)?;
                if transitions.is_empty() {
                    break;
                }
                for transition in transitions {
                    self.state.apply(self.now, &transition);
                    for effect in effects(&self.state, &transition) {
                        queue.extend(self.perform(effect));
                    }
                    self.log.push(transition);
                }
                event = Event::Wake;
            }
        }
        Ok(())
    }

    fn perform(&mut self, effect: Effect) -> Vec<Event> {
        let gateway = |report| vec![Event::Gateway { gateway: "public".into(), report }];
        match effect {
            Effect::Route { route, .. } if self.gateway_obeys => {
                gateway(GatewayReport::Applied { service: name(), epoch: route.epoch })
            }
            Effect::Retreat { release, .. } if self.gateway_obeys => {
                let at = self.now.wall;
                let mut events = gateway(GatewayReport::Drained { service: name(), release });
                events.extend(gateway(GatewayReport::Retreated {
                    service: name(),
                    release,
                    by_itself: false,
                    at,
                }));
                events
            }
            Effect::Start { instance, .. } => {
                let upstreams = vec![format!("127.0.0.1:{}", 40_000 + instance.id.0)];
                let report = InstanceReport::Started { pid: Some(100 + instance.id.0 as u32), upstreams };
                vec![Event::Instance { id: instance.id, report }]
            }
            Effect::Stop { instance } => {
                vec![Event::Instance { id: instance.id, report: InstanceReport::Stopped }]
            }
            Effect::Say { text, .. } => {
                self.said.push(text);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// Time passes: every second each instance that runs is probed.
    fn pass(&mut self, span: Millis) {
        for _ in 0..span.0 / 100 {
            self.now.steady = self.now.steady + Millis(100);
            self.now.wall = UnixMillis(self.now.wall.0 + 100);
            if self.now.steady.0.is_multiple_of(1000) {
                let gateway = "public".to_owned();
                self.event(Event::Gateway { gateway, report: GatewayReport::Alive }).unwrap();
                for target in hmsops_control::probe_targets(&self.state) {
                    let failing = self.failing.contains(&target.instance);
                    self.probe(target.instance, failing);
                }
            }
            self.event(Event::Wake).unwrap();
        }
    }

    fn probe(&mut self, instance: InstanceId, fails: bool) {
        let verdict = if fails {
            ProbeVerdict::Fail { reason: "answered 500".into() }
        } else {
            ProbeVerdict::Pass { millis: 2 }
        };
        let (service, path) = (name(), "/api/v1/health".into());
        self.event(Event::Probe(ProbeResult { service, instance, path, scheduled: true, verdict })).unwrap();
    }

    /// A tick in which so many new clients of each arm got a bad answer.
    fn tick(&mut self, canary_bad: u64, stable_bad: u64) {
        self.tick_with(canary_bad, canary_bad, stable_bad);
    }

    fn tick_with(&mut self, canary_new: u64, canary_bad: u64, stable_bad: u64) {
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
        let service = &self.state.services[&name()];
        let active = self.state.active_release(&name());
        let tick = Tick {
            service: name(),
            release: active.map(|release| release.id),
            epoch: service.epoch,
            seq: self.seq,
            gateway_run: 1,
            at: self.now.wall,
            span: Millis(100),
            weight: active.map_or(Weight::NONE, |release| release.weight),
            unit: hmsops_model::Unit::Client,
            canary_waiting: 0,
            stable: arm(20, stable_bad, stable_bad),
            canary: arm(canary_bad.max(1), canary_bad, canary_new),
        };
        self.event(Event::Tick(Box::new(tick))).unwrap();
    }

    fn told(&self, what: &str) -> bool {
        self.said.iter().any(|line| line.contains(what))
    }
}

/// M01: 1 % → 25 % → 100 %, five minutes each, then the old version stays warm and is retired.
#[test]
fn a_healthy_release_goes_through_its_steps_and_retires_the_old_version() {
    let mut story = Story::out("1.8.0");
    assert_eq!(story.release(1).weight, Weight::from_bp(100).unwrap());
    story.pass(Millis::from_secs(290));
    assert_eq!(story.release(1).step, 0, "five minutes are not over");
    story.pass(Millis::from_secs(15));
    assert_eq!(story.release(1).weight, Weight::from_bp(2500).unwrap());
    story.pass(Millis::from_secs(305));
    assert_eq!(story.release(1).phase, Phase::Baking);
    assert_eq!(story.stable(), "1.8.0");
    let service = &story.state.services[&name()];
    assert_eq!(service.live().count(), 2, "the old version is warm");
    story.pass(Millis::from_mins(31));
    assert_eq!(story.release(1).phase, Phase::Done);
    assert_eq!(story.state.services[&name()].live().count(), 1, "the old version is retired");
    assert_eq!(story.state.services[&name()].proven.last().unwrap().version, version("1.8.0"));
    let again = hmsops_control::effect::reconcile(&story.state, &story.evidence, true);
    let retreats = again.iter().any(|effect| matches!(effect, Effect::Retreat { .. }));
    assert!(!retreats, "a proven release is none to take back: {again:?}");
}

/// M04: errors of three clients of a 1 % canary are enough, and all that follows follows.
#[test]
fn a_canary_whose_users_fail_is_taken_back_denied_and_closed() {
    let mut story = Story::out("1.8.0");
    story.tick(1, 0);
    story.tick(1, 0);
    assert_eq!(story.release(1).phase, Phase::Watching, "two errors are not enough");
    story.tick(1, 0);
    assert_eq!(story.release(1).phase, Phase::RolledBack);
    assert_eq!(story.release(1).verdict.as_ref().unwrap().detector, Detector::Errors);
    assert!(story.told("rollback csac-portal: Rollback to csac-portal:1.7.3 completed"), "{:?}", story.said);
    story.pass(Millis::from_secs(5));
    assert!(story.release(1).closed);
    let service = &story.state.services[&name()];
    assert_eq!((service.live().count(), story.stable()), (1, "1.7.3"), "the canary is stopped");
    let incident = story.state.incidents.values().next().unwrap();
    assert_eq!(incident.heading(), "Service Degradation Resolved");
    let refusal = story.deploy("1.8.0").unwrap_err();
    assert!(refusal.message.contains("is denied"), "{refusal}");
    story.command(Command::Undeny { release: ReleaseId(1) }).unwrap();
    story.deploy("1.8.0").unwrap();
}

/// House: a guard of three errors from two clients, so that one broken user cannot condemn a release.
#[test]
fn one_client_alone_cannot_condemn() {
    let mut story = Story::out("1.8.0");
    story.tick(1, 0);
    for _ in 0..50 {
        story.pass(Millis(1000));
        // The same client fails again: an error more, and no client more.
        story.tick_with(0, 1, 0);
    }
    assert!(story.evidence.releases[&ReleaseId(1)].guard_errors > 50);
    assert_eq!(story.release(1).phase, Phase::Watching);
}

/// M02: three failed probes inside 60 s halt the upgrade, two do not; a dead canary goes on to be taken back.
#[test]
fn two_failed_probes_do_nothing_and_three_halt() {
    let mut story = Story::out("1.8.0");
    let canary = story.release(1).instance;
    // Spread out, so that the sequential test does not condemn before the threshold is reached.
    for _ in 0..2 {
        story.probe(canary, true);
        story.pass(Millis::from_secs(20));
    }
    assert!(story.release(1).hold.is_none(), "two fails in 60 s do not halt");
    story.probe(canary, true);
    let hold = story.release(1).hold.as_ref().map(|(why, _)| why.clone());
    assert_eq!(hold, Some(HoldReason::Halted { path: "/api/v1/health".into(), fails: 3 }));
    assert_eq!(story.release(1).phase, Phase::Watching, "halted is not condemned");
    story.pass(Millis::from_mins(10));
    assert_eq!(story.release(1).step, 0, "a halted release does not advance");
    story.command(Command::Resume { release: ReleaseId(1) }).unwrap();
    story.pass(Millis::from_secs(301));
    assert_eq!(story.release(1).step, 1);
}

#[test]
fn a_canary_whose_probes_keep_failing_is_taken_back_within_three_looks() {
    let mut story = Story::out("1.8.0");
    story.pass(Millis::from_secs(120));
    story.failing.push(story.release(1).instance);
    let before = story.now.steady;
    while story.release(1).phase == Phase::Watching {
        story.pass(Millis(100));
    }
    assert!(story.now.steady.since(before) <= Millis(3500), "{}", story.now.steady.since(before));
    assert_eq!(story.release(1).verdict.as_ref().unwrap().detector, Detector::Probes);
}

#[test]
fn when_both_versions_fail_the_release_is_held_and_goes_on_when_both_recover() {
    let mut story = Story::out("1.8.0");
    story.failing = vec![story.state.services[&name()].stable.unwrap(), story.release(1).instance];
    story.pass(Millis::from_secs(10));
    assert_eq!(sentence::headline(story.release(1)), "1.8.0 is held: both versions fail /api/v1/health.");
    assert_eq!(story.release(1).phase, Phase::Watching);
    story.failing.clear();
    story.pass(Millis::from_secs(5));
    assert!(story.release(1).hold.is_none());
}

#[test]
fn a_canary_process_that_ends_is_taken_back_at_once() {
    let mut story = Story::out("1.8.0");
    let id = story.release(1).instance;
    let report = InstanceReport::Exited { reason: "exited with status 1".into() };
    story.event(Event::Instance { id, report }).unwrap();
    assert_eq!(story.release(1).phase, Phase::RolledBack);
    assert_eq!(
        sentence::why(story.release(1)),
        "Rolled back: the process of 1.8.0 ended: exited with status 1."
    );
}

#[test]
fn a_version_that_never_becomes_healthy_fails_without_a_user_seeing_it() {
    let mut story = Story::healthy();
    story.failing.push(InstanceId(story.state.last_instance + 1));
    story.deploy("1.8.0").unwrap();
    story.pass(Millis::from_secs(25));
    assert_eq!(story.release(1).phase, Phase::Failed);
    assert_eq!(story.release(1).weight_max, Weight::NONE);
    assert!(story.told("Rollback to csac-portal:1.7.3 completed"));
    assert!(story.release(1).closed);
    assert_eq!(story.state.services[&name()].live().count(), 1);
}

#[test]
fn a_release_taken_back_while_it_bakes_swaps_with_the_warm_old_version() {
    let mut story = Story::out("1.8.0");
    story.command(Command::Promote { release: ReleaseId(1) }).unwrap();
    story.command(Command::Promote { release: ReleaseId(1) }).unwrap();
    assert_eq!(story.stable(), "1.8.0");
    story.command(Command::Rollback { service: name(), to: None }).unwrap();
    assert_eq!(story.stable(), "1.7.3");
    story.pass(Millis::from_secs(30));
    assert_eq!(story.stable(), "1.7.3", "and stays there");
    assert_eq!(story.state.services[&name()].live().count(), 1);
    assert_eq!(story.release(1).phase, Phase::Aborted);
}

/// House: revert never re-canaries.
#[test]
fn a_rollback_after_the_bake_starts_the_last_proven_version_and_swaps() {
    let mut story = Story::out("1.8.0");
    story.command(Command::Promote { release: ReleaseId(1) }).unwrap();
    story.command(Command::Promote { release: ReleaseId(1) }).unwrap();
    story.pass(Millis::from_mins(31));
    story.command(Command::Rollback { service: name(), to: None }).unwrap();
    story.pass(Millis::from_secs(5));
    assert_eq!(story.stable(), "1.7.3");
    story.pass(Millis::from_mins(40));
    assert_eq!(story.stable(), "1.7.3");
    assert_eq!(story.state.services[&name()].live().count(), 1);
}

#[test]
fn a_newer_release_supersedes() {
    let mut story = Story::out("1.8.0");
    story.deploy("1.8.1").unwrap();
    assert_eq!(story.release(1).phase, Phase::Superseded);
    story.pass(Millis::from_secs(30));
    assert_eq!(story.release(2).phase, Phase::Watching);
    assert!(story.release(1).closed);
}

/// Invariant 7: nothing advances on a gateway that is not heard.
#[test]
fn a_release_does_not_advance_while_its_gateway_is_silent() {
    let mut story = Story::out("1.8.0");
    story.event(Event::Gateway { gateway: "public".into(), report: GatewayReport::Lost }).unwrap();
    story.pass(Millis::from_mins(10));
    assert_eq!(story.release(1).step, 0);
}

#[test]
fn a_gateway_that_went_back_by_itself_ends_the_release() {
    let mut story = Story::out("1.8.0");
    let at = story.now.wall;
    let report = GatewayReport::Retreated { service: name(), release: ReleaseId(1), by_itself: true, at };
    story.event(Event::Gateway { gateway: "public".into(), report }).unwrap();
    assert_eq!(story.release(1).phase, Phase::RolledBack);
    assert!(story.state.denied.is_empty(), "it was not the version's fault");
}

#[test]
fn a_stable_that_dies_is_started_again_and_users_are_told() {
    let mut story = Story::healthy();
    let id = story.state.services[&name()].stable.unwrap();
    let report = InstanceReport::Exited { reason: "killed by signal 9".into() };
    story.event(Event::Instance { id, report }).unwrap();
    story.pass(Millis::from_secs(5));
    assert_eq!(story.stable(), "1.7.3");
    assert_ne!(story.state.services[&name()].stable, Some(id));
    assert_eq!(story.state.incidents.values().next().unwrap().heading(), "Service Degradation Resolved");
}

/// Invariant 2: state is a fold over transitions; written down and read back it is the same.
#[test]
fn replaying_the_transitions_gives_the_same_state() {
    let mut story = Story::out("1.8.0");
    story.tick(3, 0);
    story.pass(Millis::from_secs(5));
    let (mut state, mut now) = (State::default(), story.now);
    for transition in &story.log {
        now.steady = now.steady + Millis(1);
        state.apply(now, transition);
    }
    let services = |state: &State| state.services.values().map(|s| (s.stable, s.epoch)).collect::<Vec<_>>();
    assert_eq!(services(&state), services(&story.state));
    assert_eq!(state.releases[&ReleaseId(1)].phase, story.release(1).phase);
    assert_eq!(state.denied, story.state.denied);
}
