//! `/hms/v1/releases`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use axum::{Extension, Json};
use hmsops_control::evidence::Watch;
use hmsops_control::state::release::{Phase, Release};
use hmsops_control::{Command, Service, Who};
use hmsops_model::{ReleaseId, ServiceName, Weight};
use hmsops_tower::Snapshot;
use hmsops_wire::api;
use serde::Deserialize;

use super::body::{Body, Params, changed, reason};
use super::service::{IN_FORCE_WITHIN, carry_out, in_force};
use super::{Context, Failure, Routes, Scope, replayed, show, wait_until};

/// Releases on a page, unless more or fewer are asked for.
const PAGE: usize = 50;

/// At most.
const PAGE_MAX: usize = 500;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/hms/v1/releases", Scope::STATE_READ, "Releases, newest first", list)
        .get("/hms/v1/releases/{id}", Scope::STATE_READ, "One release", show_one)
        .get("/hms/v1/releases/{id}/why", Scope::STATE_READ, "Why a release is what it is", why)
        .get(
            "/hms/v1/releases/{id}/replay",
            Scope::STATE_READ,
            "Fold its kept evidence again, and say whether that leads to the same verdict",
            replay,
        )
        .post("/hms/v1/releases/{id}/promote", Scope::DEPLOY_PROMOTE, "Go to the next step now", promote)
        .post("/hms/v1/releases/{id}/pause", Scope::DEPLOY_PROMOTE, "Stay at this step until resumed", pause)
        .post("/hms/v1/releases/{id}/resume", Scope::DEPLOY_PROMOTE, "Go on after a pause or a halt", resume)
        .post("/hms/v1/releases/{id}/abort", Scope::DEPLOY_ROLLBACK, "Take the release back", abort)
        .post(
            "/hms/v1/releases/{id}/rollback",
            Scope::DEPLOY_ROLLBACK,
            "Take it back, also after it was promoted",
            rollback,
        )
        .post(
            "/hms/v1/releases/{id}/undeny",
            Scope::DEPLOY_APPROVE,
            "Let a taken-back version be deployed again",
            undeny,
        )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    service: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

async fn list(
    State(context): State<Context>,
    Params(params): Params<ListParams>,
) -> Result<Json<api::Releases>, Failure> {
    let snapshot = context.engine.snapshot();
    let service = params.service.map(ServiceName::new).transpose()?;
    let below = params.cursor.map(|cursor| cursor.parse::<ReleaseId>()).transpose()?;
    let limit = params.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let mut found = snapshot.state.releases.values().rev().filter(|release| {
        below.is_none_or(|below| release.id < below)
            && service.as_ref().is_none_or(|service| release.spec.service == *service)
    });
    let releases: Vec<api::Release> =
        found.by_ref().take(limit).map(|release| show::release(&snapshot, release)).collect();
    let more = found.next().is_some();
    let next = releases.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(Json(api::Releases { releases, next }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowParams {
    evidence: Option<String>,
}

async fn show_one(
    State(context): State<Context>,
    Path(id): Path<String>,
    Params(params): Params<ShowParams>,
) -> Result<Json<api::Release>, Failure> {
    let snapshot = context.engine.snapshot();
    let release = find(&snapshot, id.parse()?)?;
    let with_points = matches!(params.evidence.as_deref(), Some("1" | "true"));
    let points = match course(&context, &snapshot, release).await {
        Some(watch) if with_points => Some(show::points(&watch)),
        _ => with_points.then(Vec::new),
    };
    Ok(Json(api::Release { points, ..show::release(&snapshot, release) }))
}

async fn why(State(context): State<Context>, Path(id): Path<String>) -> Result<Json<api::Why>, Failure> {
    let snapshot = context.engine.snapshot();
    let release = show::release(&snapshot, find(&snapshot, id.parse()?)?);
    let named = [
        ("asked for", Some(release.requested_at)),
        ("first traffic", release.traffic_since),
        ("first bad", release.first_bad_at),
        ("verdict", release.verdict_at),
        ("last bad", release.last_bad_at),
        ("taken back", release.rolled_back_at),
    ];
    let mut moments: Vec<(String, String)> =
        named.into_iter().filter_map(|(what, at)| Some((what.to_owned(), at?))).collect();
    moments.sort_by(|a, b| a.1.cmp(&b.1));
    Ok(Json(api::Why {
        id: release.id,
        why: release.why,
        moments,
        seen: release.seen,
        shielded: release.shielded,
        measured: release.measured.map(|measured| measured.words),
    }))
}

async fn replay(
    State(context): State<Context>,
    Path(id): Path<String>,
) -> Result<Json<api::Replay>, Failure> {
    let snapshot = context.engine.snapshot();
    let release = find(&snapshot, id.parse()?)?;
    let id = release.id;
    let records = context.recall.records(id, &release.spec.service).await;
    let records =
        records.map_err(|why| Failure::unavailable(format!("cannot replay release {id}: {why}")))?;
    let folded = tokio::task::spawn_blocking(move || records.replay(id).map(|replayed| (records, replayed)));
    let folded = folded.await.map_err(|_| Failure::internal("folding the evidence broke off"))?;
    let (records, replayed) =
        folded.ok_or_else(|| Failure::unavailable(format!("the ledger does not tell of release {id}")))?;
    Ok(Json(replayed::shown(id, &records, &replayed)))
}

/// What a release has shown: as it is in memory, else as its kept evidence says. `None`: nothing was kept.
pub(crate) async fn course(context: &Context, snapshot: &Snapshot, release: &Release) -> Option<Arc<Watch>> {
    let known = snapshot.evidence.releases.get(&release.id).filter(|watch| !watch.points.is_empty());
    if known.is_some() || release.phase.is_active() || !release.closed {
        return known.cloned();
    }
    context.recall.course(release.id, &release.spec.service).await
}

/// What a person can do to a release.
#[derive(Clone, Copy)]
enum Verb {
    Promote,
    Pause,
    Resume,
    Abort,
    Rollback,
    Undeny,
}

macro_rules! verbs {
    ($($name:ident = $verb:ident),+ $(,)?) => {
        $(async fn $name(
            State(context): State<Context>,
            Extension(by): Extension<Who>,
            Path(id): Path<String>,
            body: Body<api::Reason>,
        ) -> Result<Response, Failure> {
            steer(context, by, id, body, Verb::$verb).await
        })+
    };
}

verbs! { promote = Promote, pause = Pause, resume = Resume, abort = Abort, rollback = Rollback, undeny = Undeny }

async fn steer(
    context: Context,
    by: Who,
    id: String,
    Body { value, is_form }: Body<api::Reason>,
    verb: Verb,
) -> Result<Response, Failure> {
    let release: ReleaseId = id.parse()?;
    let reason = reason(&value.reason)?;
    let command = match verb {
        Verb::Promote => Command::Promote { release, override_freeze: value.override_freeze },
        Verb::Pause => Command::Pause { release },
        Verb::Resume => Command::Resume { release },
        Verb::Undeny => Command::Undeny { release },
        Verb::Abort => Command::Abort { release },
        Verb::Rollback => take_back(&context.engine.snapshot(), release)?,
    };
    carry_out(&context, command, by, reason).await?;
    let snapshot = context.engine.snapshot();
    let service = find(&snapshot, release)?.spec.service.clone();
    match verb {
        Verb::Abort | Verb::Rollback => {
            let off = |snapshot: &Arc<Snapshot>| {
                snapshot.state.releases.get(&release).is_none_or(|release| {
                    release.rolled_back_at.is_some()
                        || release.weight_max == Weight::NONE
                        || release.phase == Phase::Done
                })
            };
            wait_until(&context.engine, IN_FORCE_WITHIN, off).await;
        }
        Verb::Promote => {
            in_force(&context, std::slice::from_ref(&service)).await;
        }
        Verb::Pause | Verb::Resume | Verb::Undeny => {}
    }
    let snapshot = context.engine.snapshot();
    Ok(changed(is_form, value.next.as_deref(), &show::release(&snapshot, find(&snapshot, release)?)))
}

/// A release that is out is aborted; one whose version is stable by now gives way to the version before it.
fn take_back(snapshot: &Snapshot, id: ReleaseId) -> Result<Command, Failure> {
    let release = find(snapshot, id)?;
    let service = snapshot.state.services.get(&release.spec.service);
    let is_stable = service.and_then(Service::stable_version) == Some(&release.spec.image.tag);
    if release.phase == Phase::Done && is_stable {
        return Ok(Command::Rollback { service: release.spec.service.clone(), to: release.from.clone() });
    }
    Ok(Command::Abort { release: id })
}

/// A release that is remembered.
pub(crate) fn find(snapshot: &Snapshot, id: ReleaseId) -> Result<&Release, Failure> {
    snapshot.state.releases.get(&id).ok_or_else(|| {
        let newest = snapshot.state.releases.keys().next_back();
        let hint = newest.map_or_else(|| "there is none yet".into(), |id| format!("the newest is {id}"));
        Failure::not_found(format!("there is no release {id}")).hint(hint)
    })
}
