//! Moments of a tower, made by hand, that the tests draw.

use std::sync::Arc;

use hmsops_control::event::{GatewayReport, InstanceReport};
use hmsops_control::evidence::Evidence;
use hmsops_control::transition::{Detector, HoldReason, Role, Tally, Transition, Verdict};
use hmsops_control::{Event, State, Who};
use hmsops_ledger::{Entry, Outcome};
use hmsops_model::instance::Instance;
use hmsops_model::probe::{ProbeResult, ProbeVerdict};
use hmsops_model::release::{HealthCheck, Image, ReleaseSpec, Step, Threshold};
use hmsops_model::service::{BadRule, Driver, Identity, Protocol, RouteSpec, ServiceSpec};
use hmsops_model::{
    ArmTick, BadKind, Digest, IncidentId, InstanceId, Millis, Now, ReleaseId, ServiceName, Tick, Unit,
    UnixMillis, Version, Weight,
};
use hmsops_tower::Snapshot;

use super::Look;

/// 2026-11-20 14:00:00 UTC, a Friday.
pub(super) const BEGIN: i64 = 1_795_183_200_000;

/// A tower's story as it is told: what is applied and what is seen.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) state: State,
    pub(super) evidence: Evidence,
    pub(super) now: Now,
    pub(super) entries: Vec<Entry>,
    pub(super) ledger_failed: Option<String>,
    seq: u64,
}

pub(super) fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

fn version(text: &str) -> Version {
    Version::new(text).unwrap()
}

pub(super) fn percent(n: u16) -> Weight {
    Weight::from_bp(n * 100).unwrap()
}

pub(super) fn admin() -> Who {
    Who { actor: "admin".into(), source: "api".into() }
}

fn spec(service: &str) -> ServiceSpec {
    ServiceSpec {
        name: name(service),
        system: service.split('-').next().unwrap().into(),
        owner: Some("oncall@csac.gov".into()),
        driver: Driver::Process {
            image_dir: format!("/srv/{service}/{{tag}}"),
            run: vec!["./portal".into(), "--port".into(), "{port}".into()],
            ports: [("http".to_owned(), None)].into(),
            env: [].into(),
            secrets: [].into(),
        },
        route: Some(RouteSpec { gateway: "public".into(), host: None, protocol: Protocol::Http1 }),
        identity: Identity::Cookie("session".into()),
        sticky: true,
        bad: BadRule::defaults(),
        stable: Some(version("1.7.3")),
        health: vec![HealthCheck::of_path("/api/v1/health", Threshold::default())],
        freeze: Vec::new(),
        rollback_window: hmsops_model::freeze::RollbackWindow::default(),
        capacity_milli: None,
        allow_private: Vec::new(),
    }
}

impl Scene {
    /// Nothing runs.
    pub(super) fn empty() -> Self {
        let now = Now { wall: UnixMillis(BEGIN), steady: Millis::from_secs(100_000) };
        let (state, evidence) = (State::default(), Evidence::default());
        Self { state, evidence, now, entries: Vec::new(), ledger_failed: None, seq: 0 }
    }

    pub(super) fn pass(&mut self, ms: i64) {
        self.now.wall.0 += ms;
        self.now.steady = self.now.steady + Millis(ms as u64);
    }

    #[expect(clippy::needless_pass_by_value, reason = "a story reads better without borrows")]
    pub(super) fn apply(&mut self, actor: &str, kind: &str, controls: &[&str], transition: Transition) {
        self.state.apply(self.now, &transition);
        self.entries.push(Entry {
            seq: self.entries.len() as u64,
            at: self.now.wall,
            steady: self.now.steady,
            node: "tower-1".into(),
            kind: kind.into(),
            actor: actor.into(),
            subject: transition.service().map_or("tower".into(), |service| format!("service/{service}")),
            source: "api".into(),
            outcome: Outcome::Done,
            controls: controls.iter().map(|control| (*control).to_owned()).collect(),
            release: transition.release().map(|id| id.to_string()),
            late: false,
            data: serde_json::to_value(&transition).unwrap(),
        });
    }

    /// A version of a service that runs and is stable.
    pub(super) fn stable(&mut self, service: &str, tag: &str) -> InstanceId {
        self.apply(
            "repo",
            "service.declared",
            &["CM-3"],
            Transition::ServiceDeclared { spec: Box::new(spec(service)), by: admin(), left: None },
        );
        let id = self.start(service, tag, Role::Stable);
        self.apply(
            "tower",
            "service.stable",
            &["CM-3"],
            Transition::StableSet {
                service: name(service),
                id,
                epoch: 1,
                why: "first start".into(),
                warm_until: None,
                by: admin(),
            },
        );
        id
    }

    fn start(&mut self, service: &str, tag: &str, role: Role) -> InstanceId {
        let id = InstanceId(self.state.last_instance + 1);
        let digest = Some(Digest::from_sha256([id.0 as u8; 32]));
        let instance = Instance { id, service: name(service), version: version(tag), digest };
        self.apply(
            "tower",
            "instance.start",
            &["CM-3"],
            Transition::InstanceIntended { instance, role, by: admin() },
        );
        self.pass(300);
        let upstreams = vec!["127.0.0.1:41833".to_owned()];
        let service = name(service);
        self.apply(
            "driver",
            "instance.started",
            &["CM-3"],
            Transition::InstanceStarted {
                service: service.clone(),
                id,
                pid: Some(4000 + id.0 as u32),
                upstreams: upstreams.clone(),
                metrics: None,
            },
        );
        let report = InstanceReport::Started { pid: None, upstreams, metrics: None };
        self.see(&Event::Instance { id, report });
        self.pass(700);
        self.apply("prober", "instance.ready", &["SI-4"], Transition::InstanceReady { service, id });
        id
    }

    /// A release begins and gets its first share.
    pub(super) fn release(&mut self, service: &str, tag: &str) -> ReleaseId {
        let release = ReleaseId(self.state.last_release + 1);
        let instance = self.start(service, tag, Role::Canary);
        let step = |weight, mins| Step { weight: percent(weight), hold: Millis::from_mins(mins) };
        let spec = ReleaseSpec {
            service: name(service),
            image: Image { name: service.into(), tag: version(tag) },
            steps: vec![step(1, 5), step(25, 5), step(100, 0)],
            checks: vec![HealthCheck::of_path("/api/v1/health", Threshold::default())],
            bake: Millis::from_mins(30),
            start_timeout: Millis::from_secs(20),
            shield_after: None,
            irreversible: None,
            after: Vec::new(),
            margin_bp: None,
            inconclusive: hmsops_model::release::Inconclusive::default(),
        };
        self.apply(
            "admin",
            "release.requested",
            &["CM-3", "CM-5"],
            Transition::ReleaseRequested {
                release,
                spec: Box::new(spec),
                digest: Some(Digest::from_sha256([7; 32])),
                instance,
                salt: 1,
                by: admin(),
                group: None,
                revert: false,
                freeze_overridden: None,
            },
        );
        release
    }

    pub(super) fn weigh(&mut self, release: ReleaseId, step: usize, share: u16) {
        let (weight, epoch) = (percent(share), 2 + step as u64);
        let service = self.state.releases[&release].spec.service.clone();
        self.apply(
            "tower",
            "release.weight",
            &["CM-3"],
            Transition::WeightIntended {
                release,
                service: service.clone(),
                step,
                weight,
                epoch,
                stable_looks: None,
            },
        );
        self.pass(40);
        let applied = Transition::WeightApplied { release, service, weight, epoch };
        self.apply("gateway", "release.weight", &["CM-3"], applied);
    }

    pub(super) fn see(&mut self, event: &Event) {
        self.evidence.observe(&self.state, self.now, event);
    }

    fn arm(requests: u64, bad: u64, seen: u64, at: UnixMillis) -> ArmTick {
        let mut arm =
            ArmTick { requests, clients: requests, new_bad: bad, errors: bad, ..ArmTick::default() };
        if bad > 0 {
            arm.bad.insert(BadKind::Status, bad);
            (arm.first_bad_at, arm.last_bad_at) = (Some(at), Some(at));
        }
        (arm.seen, arm.shielded) = (seen, bad - seen.min(bad));
        for i in 0..requests {
            arm.latencies.observe(20_000 + i * i % 37_000);
        }
        arm
    }

    /// One second of traffic and probes: requests and bad answers of both arms.
    pub(super) fn second(&mut self, service: &str, stable: (u64, u64), canary: (u64, u64)) {
        self.seq += 1;
        let known = &self.state.services[&name(service)];
        let out = self.state.active_release(&name(service)).map(|release| (release.id, release.weight));
        let tick = Tick {
            service: name(service),
            release: out.map(|(id, _)| id).or(known.release),
            epoch: known.epoch,
            seq: self.seq,
            gateway_run: 1,
            at: self.now.wall,
            span: Millis(1000),
            weight: out.map_or(Weight::NONE, |(_, weight)| weight),
            unit: Unit::Client,
            canary_waiting: 0,
            stable: Self::arm(stable.0, stable.1, stable.1, self.now.wall),
            canary: Self::arm(canary.0, canary.1, canary.1 / 2, self.now.wall),
        };
        let running: Vec<InstanceId> = known.live().map(|known| known.instance.id).collect();
        self.see(&Event::Tick(Box::new(tick)));
        for instance in running {
            let verdict = ProbeVerdict::Pass { millis: 3 };
            let (service, path) = (name(service), "/api/v1/health".into());
            self.see(&Event::Probe(ProbeResult { service, instance, path, scheduled: true, verdict }));
        }
    }

    pub(super) fn gateway(&mut self) {
        let gateway = "public".to_owned();
        self.see(&Event::Gateway {
            gateway: gateway.clone(),
            report: GatewayReport::Connected { routes: Vec::new() },
        });
        self.see(&Event::Gateway { gateway, report: GatewayReport::Alive });
    }

    /// A minute of good traffic for some services at once; the canary, where one is out, has its share.
    pub(super) fn good(&mut self, services: &[&str], secs: u64) {
        for i in 0..secs {
            self.pass(1000);
            self.gateway();
            for (n, service) in services.iter().enumerate() {
                let requests = 190 + (i * 7 + n as u64 * 31) % 23;
                let share =
                    self.state.active_release(&name(service)).map_or(0.0, |release| release.weight.share());
                let canary = (requests as f64 * share).round() as u64;
                let bad = u64::from(i % 19 == 7 && n == 0);
                self.second(service, (requests - canary, bad), (canary, 0));
            }
        }
    }

    /// The canary fails, is condemned, and its last bad answer comes 1.9 s after its first.
    pub(super) fn taken_back(&mut self, release: ReleaseId) {
        let service = self.state.releases[&release].spec.service.clone();
        for ms in [0, 900, 1000] {
            self.pass(ms);
            self.gateway();
            self.second(service.as_str(), (198, 0), (2, 2));
        }
        let watch = self.evidence.releases[&release].clone();
        let verdict = Verdict {
            detector: Detector::Errors,
            detail: String::new(),
            at: self.now,
            evidence: watch.evidence() as u64,
            needed: 1000,
            weight: percent(1),
            tally: watch.tally.clone(),
            evidence_sha256: None,
        };
        self.apply(
            "tower",
            "release.taken-back",
            &["IR-4", "CP-10", "SI-4"],
            Transition::ReleaseTakenBack {
                release,
                service: service.clone(),
                epoch: 9,
                verdict: Box::new(verdict),
                by: Who::tower(),
            },
        );
        self.incident(service.as_str(), Some(release), 1900);
    }

    pub(super) fn incident(&mut self, service: &str, release: Option<ReleaseId>, ago: i64) {
        let incident = IncidentId(self.state.last_incident + 1);
        self.apply(
            "tower",
            "incident.opened",
            &["IR-6"],
            Transition::IncidentOpened {
                incident,
                service: name(service),
                release,
                since: UnixMillis(self.now.wall.0 - ago),
                text: "We see failures and are acting.".into(),
            },
        );
    }

    pub(super) fn resolved(&mut self, service: &str) {
        let incident = IncidentId(self.state.last_incident);
        self.apply(
            "tower",
            "incident.resolved",
            &["IR-6"],
            Transition::IncidentResolved {
                incident,
                service: name(service),
                until: self.now.wall,
                text: "Resolved. A new version was taken back.".into(),
            },
        );
    }

    /// The gateway confirms, the numbers are final, the version is denied.
    pub(super) fn closed(&mut self, release: ReleaseId) {
        let service = self.state.releases[&release].spec.service.clone();
        let tally: Tally = self.evidence.releases[&release].tally.clone();
        self.pass(30);
        self.apply(
            "gateway",
            "release.rolled-back",
            &["IR-4(1)", "CP-10"],
            Transition::RollbackCompleted {
                release,
                service: service.clone(),
                at: self.now.wall,
                by_gateway: false,
            },
        );
        let version = self.state.releases[&release].spec.image.tag.clone();
        self.apply(
            "tower",
            "version.denied",
            &["CM-5", "SI-7"],
            Transition::VersionDenied {
                release,
                service: service.clone(),
                version,
                digest: Some(Digest::from_sha256([7; 32])),
            },
        );
        self.pass(900);
        self.apply(
            "tower",
            "release.closed",
            &["CP-10"],
            Transition::ReleaseClosed { release, service, tally },
        );
    }

    pub(super) fn hold(&mut self, release: ReleaseId, why: HoldReason) {
        let service = self.state.releases[&release].spec.service.clone();
        self.apply(
            "tower",
            "release.held",
            &["SI-4"],
            Transition::ReleaseHeld {
                release,
                service,
                why,
                by: Who::tower(),
                reason: "2 > 1 & <b>why</b>".into(),
            },
        );
    }

    pub(super) fn unhealthy(&mut self, service: &str) {
        let id = self.state.services[&name(service)].stable.unwrap();
        self.apply(
            "prober",
            "service.health",
            &["SI-4", "IR-5"],
            Transition::HealthChanged {
                service: name(service),
                id,
                healthy: false,
                reason: "/api/v1/health failed 3 probes: answered 500".into(),
            },
        );
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            now: self.now,
            generation: 1,
            state: Arc::new(self.state.clone()),
            evidence: self.evidence.clone(),
            ledger_failed: self.ledger_failed.clone(),
            backlog: 0,
            ledger_size: self.entries.len() as u64,
        }
    }
}

/// A live look at a snapshot, so long after it was taken.
pub(super) fn look(view: &Snapshot, ms: i64) -> Look<'_> {
    Look { view, now: UnixMillis(view.now.wall.0 + ms), live: true }
}

/// Scenes by name: what the tests draw, and what a person looks at when the look changes.
pub(super) fn scenes() -> Vec<(&'static str, Scene)> {
    let three = ["csac-portal", "dmv-photo", "tax-renewals"];
    let calm = || {
        let mut scene = Scene::empty();
        scene.stable("csac-portal", "1.7.3");
        scene.stable("dmv-photo", "2.11.0");
        scene.stable("tax-renewals", "8.8.0");
        scene.pass(9 * 86_400_000);
        scene.good(&three, 70);
        scene
    };
    let out = || {
        let mut scene = calm();
        let release = scene.release("csac-portal", "1.8.0");
        scene.weigh(release, 0, 1);
        scene.good(&three, 64);
        (scene, release)
    };
    let mut scenes = vec![("empty", Scene::empty()), ("healthy", calm()), ("watched", out().0)];
    let (mut failing, release) = out();
    failing.taken_back(release);
    scenes.push(("failing", failing));
    let (mut back, release) = out();
    back.taken_back(release);
    back.closed(release);
    back.resolved("csac-portal");
    back.good(&three, 40);
    scenes.push(("back", back));
    let (mut held, release) = out();
    held.hold(release, HoldReason::Halted { path: "/api/v1/health".into(), fails: 3 });
    held.good(&three, 3);
    scenes.push(("held", held));
    let mut silent = calm();
    silent.pass(9000);
    scenes.push(("silent", silent));
    scenes.push(("locks", super::scene_locks::locks(&calm())));
    scenes.push(("people", super::scene_people::people(&out().0)));
    let mut many = calm();
    for (i, service) in
        ["permits", "ach-ledger", "stamp-ideas", "benefits", "dmv-login", "land-registry"].iter().enumerate()
    {
        many.stable(service, &format!("{i}.4.1"));
    }
    let all = [
        "csac-portal",
        "dmv-photo",
        "tax-renewals",
        "permits",
        "ach-ledger",
        "stamp-ideas",
        "benefits",
        "dmv-login",
        "land-registry",
    ];
    many.good(&all, 60);
    let release = many.release("permits", "1.0.0");
    many.weigh(release, 0, 1);
    many.good(&all[..8], 30);
    many.unhealthy("ach-ledger");
    many.incident("ach-ledger", None, 4000);
    let zoning = Transition::ServiceDeclared { spec: Box::new(spec("zoning")), by: admin(), left: None };
    many.apply("repo", "service.declared", &[], zoning);
    many.ledger_failed = Some("could not write `ledger`: no space left on device".into());
    scenes.push(("many", many));
    let mut signals = calm();
    super::scene_signals::tell(&mut signals);
    scenes.push(("signals", signals));
    scenes.extend(super::scene_holds::holds(&calm()));
    scenes
}
