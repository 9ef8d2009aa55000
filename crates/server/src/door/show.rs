//! State and evidence as the API shows them. Every sentence is `control::sentence`'s.

use hmsops_control::evidence::{GATEWAY_SILENT, Point, Watch};
use hmsops_control::state::release as control;
use hmsops_control::state::service::{InstancePhase, InstanceState};
use hmsops_control::transition::{Detector, HoldReason, Tally};
use hmsops_control::{Service, Who, sentence};
use hmsops_ledger::moment::rfc3339;
use hmsops_model::service::Driver;
use hmsops_model::{ArmTick, Millis, ServiceName};
use hmsops_tower::Snapshot;
use hmsops_wire::api;

/// Rates are taken over so much of the past.
const RATE_SPAN: Millis = Millis::from_secs(10);

/// The word for why a release is held.
const fn hold(reason: &HoldReason) -> &'static str {
    match reason {
        HoldReason::Paused => "paused",
        HoldReason::Halted { .. } => "halted",
        HoldReason::BothFail { .. } => "both-fail",
        HoldReason::Policy { .. } => "policy",
        HoldReason::Freeze { .. } => "freeze",
        HoldReason::Irreversible => "irreversible",
        HoldReason::NoReturn { .. } => "no-return",
        HoldReason::Capacity { .. } => "capacity",
        HoldReason::Inconclusive { .. } => "inconclusive",
        HoldReason::Flapping { .. } => "flapping",
    }
}

/// One release. Its numbers are those of this moment while they still grow.
pub fn release(snapshot: &Snapshot, release: &control::Release) -> api::Release {
    let release = &current(snapshot, release);
    let tally = &release.tally;
    let watch = snapshot.evidence.releases.get(&release.id);
    let evidence = match &release.verdict {
        Some(verdict) => Some(verdict.evidence),
        None => watch.map(|watch| watch.evidence().clamp(0.0, 1e15) as u64),
    };
    let known = snapshot.state.instance(release.instance).map(|(_, known)| known);
    let hold = release.hold.as_ref().map(|(reason, _)| hold(reason));
    api::Release {
        id: release.id,
        service: release.spec.service.clone(),
        version: release.spec.image.tag.clone(),
        from: release.from.clone(),
        phase: phase(release.phase),
        instance: known.map(started),
        step: release.step,
        steps: release
            .spec
            .steps
            .iter()
            .map(|s| api::Step { weight_bp: s.weight.bp(), hold_ms: s.hold.0 })
            .collect(),
        weight_bp: release.weight.bp(),
        hold: hold.map(str::to_owned),
        headline: sentence::headline(release),
        why: sentence::why(release),
        requested_at: rfc3339(release.requested_at.wall),
        traffic_since: release.traffic_since.map(|at| rfc3339(at.wall)),
        verdict_at: release.verdict.as_ref().map(|verdict| rfc3339(verdict.at.wall)),
        detector: release.verdict.as_ref().map(|verdict| detector(verdict.detector).to_owned()),
        ended_at: release.ended_at.map(|at| rfc3339(at.wall)),
        rolled_back_at: release.rolled_back_at.map(rfc3339),
        closed: release.closed,
        first_bad_at: tally.first_bad_at.map(rfc3339),
        last_bad_at: tally.last_bad_at.map(rfc3339),
        bad_span_ms: sentence::bad_span(release).map(|span| span.0),
        evidence,
        needed: release.verdict.as_ref().map_or(Watch::needed() as u64, |verdict| verdict.needed),
        canary: api::Arm {
            requests: tally.canary_requests,
            bad: tally.canary_bad,
            bad_clients: tally.canary_bad_clients,
        },
        stable: api::Arm {
            requests: tally.stable_requests,
            bad: tally.stable_bad,
            bad_clients: tally.stable_bad_clients,
        },
        shielded: tally.shielded,
        seen: tally.seen,
        measured: measured(snapshot, release),
        probes: tally.probes,
        probes_failed: tally.probes_failed,
        by: by(&release.by),
        digest: release.digest.clone(),
        denied: snapshot.state.denied.contains_key(&release.id),
        group: release.group,
        revert: release.revert,
        irreversible_bp: release.spec.irreversible.map(hmsops_model::Weight::bp),
        points: None,
    }
}

/// The canary's share of the requests of the step that it is at, or was at last.
pub(super) fn measured(snapshot: &Snapshot, release: &control::Release) -> Option<api::Measured> {
    let weight = if release.weight.bp() > 0 { release.weight } else { release.weight_max };
    let since = release.step_since.or(release.traffic_since)?;
    let measured = snapshot.evidence.releases.get(&release.id)?.measured(weight, since.wall)?;
    Some(api::Measured {
        weight_bp: measured.weight.bp(),
        requests: measured.all,
        canary: measured.canary,
        low: measured.low,
        high: measured.high,
        follows: measured.follows(),
        words: measured.words(),
    })
}

/// The copy of the new version.
fn started(known: &InstanceState) -> api::Started {
    api::Started {
        id: known.instance.id,
        state: match known.phase {
            InstancePhase::Intended => "intended",
            InstancePhase::Running => "running",
            InstancePhase::Stopping => "stopping",
            InstancePhase::Ended { .. } => "ended",
        }
        .to_owned(),
        pid: known.pid,
        upstreams: known.upstreams.clone(),
    }
}

/// A release's course by second.
pub fn points(watch: &Watch) -> Vec<api::Point> {
    let one = |point: &Point| api::Point {
        at: rfc3339(point.at),
        weight_bp: point.weight.bp(),
        stable_requests: point.stable.0,
        stable_bad: point.stable.1,
        canary_requests: point.canary.0,
        canary_bad: point.canary.1,
        evidence: point.evidence,
    };
    watch.points.iter().map(one).collect()
}

/// A release with the numbers of this moment: those in state are the last that were written down.
pub fn current(snapshot: &Snapshot, release: &control::Release) -> control::Release {
    let tally = if release.closed { &release.tally } else { live_tally(snapshot, release) };
    control::Release { tally: tally.clone(), ..release.clone() }
}

fn live_tally<'s>(snapshot: &'s Snapshot, release: &'s control::Release) -> &'s Tally {
    snapshot.evidence.releases.get(&release.id).map_or(&release.tally, |watch| &watch.tally)
}

/// One service.
pub fn service(snapshot: &Snapshot, service: &Service) -> api::Service {
    let route = service.spec.route.as_ref();
    let traffic = traffic(snapshot, &service.spec.name);
    api::Service {
        name: service.spec.name.clone(),
        system: service.spec.system.clone(),
        owner: service.spec.owner.clone(),
        driver: match service.spec.driver {
            Driver::Process { .. } => "process",
            Driver::External { .. } => "external",
        }
        .to_owned(),
        state: health(snapshot, service),
        stable: service.stable_instance().map(|known| api::Stable {
            version: known.instance.version.clone(),
            instance: known.instance.id,
            pid: known.pid.filter(|_| !known.ended()),
            upstreams: known.upstreams.clone(),
            healthy: known.healthy,
        }),
        release: snapshot.state.active_release(&service.spec.name).map(|release| release.id),
        revert: service.revert,
        in_force: in_force(snapshot, service),
        incident: service.incident,
        proven: service.proven.iter().map(|proven| proven.version.clone()).collect(),
        gateway: route.map(|route| route.gateway.clone()),
        gateway_live: route.map(|route| snapshot.evidence.gateway_live(snapshot.now, &route.gateway)),
        requests_per_second: traffic.as_ref().map(|traffic| traffic.requests_per_second),
        error_share: traffic.as_ref().and_then(|traffic| traffic.error_share),
        p99_ms: traffic.as_ref().and_then(|traffic| traffic.p99_ms),
    }
}

/// Whether a service's gateway holds its newest routes; `None`: it has none, or no version runs yet.
pub fn in_force(snapshot: &Snapshot, service: &Service) -> Option<bool> {
    let route = service.spec.route.as_ref().filter(|_| service.stable.is_some())?;
    let link = snapshot.evidence.gateways.get(&route.gateway);
    let held = link.and_then(|link| link.epochs.get(&service.spec.name));
    Some(held.is_some_and(|held| *held >= service.epoch))
}

/// How a service is. What is not known is never fine.
pub fn health(snapshot: &Snapshot, service: &Service) -> api::Health {
    if service.retired {
        return api::Health::Retired;
    }
    let stable = service.stable_instance();
    if service.incident.is_some() || stable.is_some_and(|known| known.ended() || known.healthy == Some(false))
    {
        return api::Health::Failing;
    }
    let silent = |gateway: &str| !snapshot.evidence.gateway_live(snapshot.now, gateway);
    if service.spec.route.as_ref().is_some_and(|route| silent(&route.gateway)) {
        return api::Health::Unknown;
    }
    if snapshot.state.active_release(&service.spec.name).is_some() {
        return api::Health::Watch;
    }
    match stable.and_then(|known| known.healthy) {
        Some(_) => api::Health::Fine,
        None => api::Health::Unknown,
    }
}

/// What a service's users asked and got lately.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lately {
    /// Requests a second.
    pub requests_per_second: f64,
    /// The share of bad answers, 0 to 1; `None`: no requests.
    pub error_share: Option<f64>,
    /// In milliseconds; `None`: no requests.
    pub p99_ms: Option<f64>,
}

/// A service's last ten seconds; `None` when its gateway is silent or never counted anything.
pub fn traffic(snapshot: &Snapshot, name: &ServiceName) -> Option<Lately> {
    let route = snapshot.state.services.get(name)?.spec.route.as_ref()?;
    let now = snapshot.now;
    if !snapshot.evidence.gateway_live(now, &route.gateway) {
        return None;
    }
    let traffic = snapshot.evidence.services.get(name)?;
    // The seconds of the span begin at a whole one, or when counting began.
    let counted_since = traffic.last(now, Millis::from_mins(2)).next()?.second * 1000;
    let begin = (now.steady.since(RATE_SPAN).0 / 1000 * 1000).max(counted_since);
    let span = now.steady.since(Millis(begin)).max(Millis(1000));
    let (mut both, canary): (ArmTick, ArmTick) = traffic.sum(now, RATE_SPAN);
    both.add(&canary);
    Some(Lately {
        requests_per_second: both.requests as f64 / span.as_secs_f64(),
        error_share: (both.requests > 0).then(|| (both.n_bad() as f64 / both.requests as f64).min(1.0)),
        p99_ms: both.latencies.quantile_ms(0.99),
    })
}

/// How long a gateway may say nothing before it counts as silent.
pub const SILENT_AFTER: Millis = GATEWAY_SILENT;

pub(crate) fn phase(phase: control::Phase) -> api::Phase {
    match phase {
        control::Phase::Starting => api::Phase::Starting,
        control::Phase::Watching => api::Phase::Watching,
        control::Phase::Baking => api::Phase::Baking,
        control::Phase::Done => api::Phase::Done,
        control::Phase::RolledBack => api::Phase::RolledBack,
        control::Phase::Aborted => api::Phase::Aborted,
        control::Phase::Failed => api::Phase::Failed,
        control::Phase::Superseded => api::Phase::Superseded,
    }
}

/// As it is written in JSON.
pub(super) const fn detector(detector: Detector) -> &'static str {
    match detector {
        Detector::Errors => "errors",
        Detector::Probes => "probes",
        Detector::Slow => "slow",
        Detector::Process => "process",
        Detector::Start => "start",
        Detector::Person => "person",
        Detector::Superseded => "superseded",
        Detector::Gateway => "gateway",
        Detector::Policy => "policy",
        Detector::Group => "group",
    }
}

pub(crate) fn by(who: &Who) -> api::By {
    api::By { actor: who.actor.clone(), source: who.source.clone() }
}
