//! `/hms/v1/probes`: what is asked of instances, what was seen, and a look right now.

use axum::Json;
use axum::extract::{Path, State};
use hmsops_act::probe::look;
use hmsops_control::effect::{ProbeTarget, probe_targets};
use hmsops_control::evidence::health::LastLook;
use hmsops_control::sentence;
use hmsops_control::state::service::Service;
use hmsops_control::transition::Role;
use hmsops_ledger::moment::rfc3339;
use hmsops_model::ServiceName;
use hmsops_model::probe::{Ask, Probe, ProbeVerdict};
use hmsops_tower::Snapshot;
use hmsops_wire::api;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::body::Body;
use super::{Context, Failure, Routes, Scope};
use crate::hands::prober;

/// Looks that people asked for and that are under way at a time; who asks for more waits.
static RUNS: Semaphore = Semaphore::const_new(16);

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/hms/v1/probes", Scope::STATE_READ, "All probes with their last verdicts", list)
        .get("/hms/v1/probes/{name}", Scope::STATE_READ, "The probes of one service", show_one)
        .post(
            "/hms/v1/probes/{name}/run",
            Scope::PROBES_WRITE,
            "Look at each running instance of a service now",
            run,
        )
}

async fn list(State(context): State<Context>) -> Json<api::Probes> {
    let snapshot = context.engine.snapshot();
    Json(api::Probes { probes: of(&snapshot, None) })
}

async fn show_one(
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<Json<api::Probes>, Failure> {
    let snapshot = context.engine.snapshot();
    let name = known(&snapshot, name)?;
    Ok(Json(api::Probes { probes: of(&snapshot, Some(&name)) }))
}

async fn run(
    State(context): State<Context>,
    Path(name): Path<String>,
    Body { value, .. }: Body<api::ProbeOrder>,
) -> Result<Json<api::ProbeRuns>, Failure> {
    let snapshot = context.engine.snapshot();
    let name = known(&snapshot, name)?;
    let mut targets = probe_targets(&snapshot.state);
    targets.retain(|target| target.service == name);
    if targets.is_empty() {
        return Err(Failure::conflict(format!("no instance of `{name}` runs"))
            .hint(format!("`hmsops service show {name}` says what became of it")));
    }
    if let Some(check) = &value.check {
        let mut names: Vec<String> =
            targets.iter().map(|target| sentence::check_name(&target.path).to_owned()).collect();
        names.dedup();
        targets.retain(|target| sentence::check_name(&target.path) == check);
        if targets.is_empty() {
            return Err(Failure::not_found(format!("`{name}` has no check `{check:.80}`"))
                .hint(format!("known: {}", names.join(", "))));
        }
    }
    let mut looks = JoinSet::new();
    let each = targets.iter().flat_map(|target| target.addrs.iter().map(move |addr| (target, addr)));
    for (index, (target, addr)) in each.enumerate() {
        let (target, addr) = (target.clone(), addr.clone());
        looks.spawn(async move { (index, run_one(target, &addr).await) });
    }
    let mut runs = looks.join_all().await;
    runs.sort_by_key(|(index, _)| *index);
    let runs: Vec<api::ProbeRun> = runs.into_iter().map(|(_, run)| run).collect();
    let passed = runs.iter().all(|run| run.verdict == api::ProbeWord::Passed);
    Ok(Json(api::ProbeRuns { passed, runs }))
}

async fn run_one(target: ProbeTarget, addr: &str) -> api::ProbeRun {
    let (check, asked) = (sentence::check_name(&target.path).to_owned(), target_text(&target, addr));
    let (instance, version) = (target.instance.to_string(), target.version.clone());
    let found = {
        let _turn = RUNS.acquire().await;
        look(&prober::target(target), addr).await
    };
    let fact = |(name, value): (&str, String)| api::ProbeFact { name: name.to_owned(), value };
    api::ProbeRun {
        check,
        target: asked,
        instance,
        version,
        verdict: word(&found.verdict),
        said: sentence::probe(&found.verdict),
        took_ms: u64::try_from(found.seen.took.as_millis()).unwrap_or(u64::MAX),
        seen: found.seen.facts().into_iter().map(fact).collect(),
    }
}

fn known(snapshot: &Snapshot, name: String) -> Result<ServiceName, Failure> {
    let name = ServiceName::new(name)?;
    if snapshot.state.services.contains_key(&name) {
        return Ok(name);
    }
    let names: Vec<&str> = snapshot.state.services.keys().map(ServiceName::as_str).collect();
    let hint =
        if names.is_empty() { "none is declared yet".into() } else { format!("known: {}", names.join(", ")) };
    Err(Failure::not_found(format!("there is no service `{name}`")).hint(hint))
}

/// The probes of a service, or of all.
pub(crate) fn of(snapshot: &Snapshot, service: Option<&ServiceName>) -> Vec<api::Probe> {
    let targets = probe_targets(&snapshot.state).into_iter();
    targets
        .filter(|target| service.is_none_or(|service| target.service == *service))
        .map(|target| show(snapshot, &target))
        .collect()
}

fn show(snapshot: &Snapshot, target: &ProbeTarget) -> api::Probe {
    let service = snapshot.state.services.get(&target.service);
    let health = snapshot.evidence.instances.get(&target.instance);
    let last = health.and_then(|health| health.last_look(&target.path));
    api::Probe {
        service: target.service.clone(),
        check: sentence::check_name(&target.path).to_owned(),
        kind: target.probe.ask.kind().to_owned(),
        target: match target.addrs.as_slice() {
            [] => String::new(),
            [one] => target_text(target, one),
            [first, rest @ ..] => format!("{} and {} more", target_text(target, first), rest.len()),
        },
        instance: target.instance.to_string(),
        version: target.version.clone(),
        role: service.map_or("former", |service| role(service, target)).to_owned(),
        every_ms: target.probe.every.0,
        timeout_ms: target.probe.timeout.0,
        conditions: target.probe.conditions.clone(),
        threshold: target.threshold.to_string(),
        last: last.map(last_look),
    }
}

fn last_look(last: &LastLook) -> api::ProbeLook {
    api::ProbeLook {
        verdict: word(&last.verdict),
        said: sentence::probe(&last.verdict),
        at: rfc3339(last.at.wall),
        since: rfc3339(last.since.wall),
        latency_ms: match last.verdict {
            ProbeVerdict::Pass { millis } => Some(millis),
            _ => None,
        },
    }
}

const fn word(verdict: &ProbeVerdict) -> api::ProbeWord {
    match verdict {
        ProbeVerdict::Pass { .. } => api::ProbeWord::Passed,
        ProbeVerdict::Fail { .. } => api::ProbeWord::Failed,
        ProbeVerdict::Overloaded => api::ProbeWord::Overloaded,
    }
}

fn role(service: &Service, target: &ProbeTarget) -> &'static str {
    if service.stable == Some(target.instance) {
        return "stable";
    }
    if service.warm.is_some_and(|warm| warm.id == target.instance) {
        return "warm";
    }
    match service.instances.get(&target.instance).map(|known| known.role) {
        Some(Role::Canary) => "canary",
        Some(Role::Stable) => "stable",
        Some(Role::Former) | None => "former",
    }
}

/// What is asked, and where.
fn target_text(target: &ProbeTarget, addr: &str) -> String {
    let Probe { ask, host, port, .. } = &target.probe;
    let (own_host, own_port) = addr.rsplit_once(':').unwrap_or((addr, ""));
    let host = host.as_deref().unwrap_or(own_host);
    let place = port.map_or_else(|| format!("{host}:{own_port}"), |port| format!("{host}:{port}"));
    match ask {
        Ask::Http { method, path, .. } => format!("{method} {place}{path}"),
        Ask::Tcp { .. } | Ask::Tls { .. } => place,
        Ask::Grpc { service, .. } if service.is_empty() => place,
        Ask::Grpc { service, .. } => format!("{service} at {place}"),
        Ask::Dns { name, record, resolver: Some(resolver) } => {
            format!("{name} {} at {resolver}", record.name())
        }
        Ask::Dns { name, record, resolver: None } => format!("{name} {}", record.name()),
        Ask::Exec { argv } => argv.join(" "),
    }
}
