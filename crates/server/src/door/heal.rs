//! `/hms/v1/heals`: runs of what heals, and the kill switch.

use axum::extract::{Path, State};
use axum::response::Response;
use axum::{Extension, Json};
use hmsops_control::{Command, Event, Signal, Transition, Who};
use hmsops_model::{HealId, RuleName};
use hmsops_tower::Snapshot;
use hmsops_wire::api;
use serde::Deserialize;

use super::body::{Body, Params, changed, needed_reason, reason};
use super::cursor::{Place, page};
use super::service::carry_out;
use super::{Context, Failure, Routes, Scope, show_signal};

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/hms/v1/heals", Scope::STATE_READ, "Heals, newest first, and whether healing is paused", list)
        .get("/hms/v1/heals/{id}", Scope::STATE_READ, "One heal with what it printed", show_one)
        .post("/hms/v1/heals", Scope::HEAL_REQUEST, "Run a rule's heal now, or say what it would do", run)
        .post("/hms/v1/heals/pause", Scope::HEAL_PAUSE, "Heal nothing from now on: the kill switch", pause)
        .post("/hms/v1/heals/resume", Scope::HEAL_PAUSE, "Heal again", resume)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    service: Option<String>,
    rule: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

async fn list(
    State(context): State<Context>,
    Params(params): Params<ListParams>,
) -> Result<Json<api::Heals>, Failure> {
    let snapshot = context.engine.snapshot();
    let wanted = snapshot.state.signals.heals.values().filter(|heal| {
        params.service.as_ref().is_none_or(|service| heal.action.service().as_str() == service)
            && params.rule.as_ref().is_none_or(|rule| heal.rule.as_str() == rule)
    });
    let found = wanted.map(|heal| (Place::numbered(0, heal.id.0), heal)).collect();
    let (found, next) = page(found, params.cursor.as_deref(), params.limit)?;
    let items = found.into_iter().map(show_signal::heal).collect();
    Ok(Json(api::Heals { items, next, paused: paused(&snapshot) }))
}

fn paused(snapshot: &Snapshot) -> Option<api::HealsPaused> {
    snapshot.state.signals.heals_paused.as_ref().map(show_signal::paused)
}

async fn show_one(
    State(context): State<Context>,
    Path(id): Path<String>,
) -> Result<Json<api::Heal>, Failure> {
    let id: HealId = id.parse()?;
    let snapshot = context.engine.snapshot();
    let heals = &snapshot.state.signals.heals;
    heals.get(&id).map(show_signal::heal).map(Json).ok_or_else(|| {
        let newest = heals.keys().next_back();
        let hint = newest.map_or_else(|| "there is none yet".into(), |id| format!("the newest is {id}"));
        Failure::not_found(format!("there is no heal {id}")).hint(hint)
    })
}

async fn run(
    State(context): State<Context>,
    Extension(by): Extension<Who>,
    Body { value, .. }: Body<api::NewHeal>,
) -> Result<Json<api::HealStarted>, Failure> {
    let command = Command::Heal { rule: RuleName::new(value.rule)? };
    if value.dry_run {
        // The very decision, without making it true.
        let snapshot = context.engine.snapshot();
        let event = Event::Command { command, by, reason: reason(&value.reason)? };
        let decided = hmsops_control::decide(&snapshot.state, &snapshot.evidence, snapshot.now, &event)?;
        let (_, action) = intended(&decided)?;
        return Ok(Json(api::HealStarted { id: None, action }));
    }
    let handled = carry_out(&context, command, by, needed_reason(&value.reason)?).await?;
    let (id, action) = intended(&handled.transitions)?;
    Ok(Json(api::HealStarted { id: Some(id.to_string()), action }))
}

/// The heal that was, or would be, begun.
fn intended(transitions: &[Transition]) -> Result<(HealId, String), Failure> {
    let found = transitions.iter().find_map(|change| match change {
        Transition::Signal(change) => match &**change {
            Signal::HealIntended { heal, action, .. } => Some((*heal, action.to_string())),
            _ => None,
        },
        _ => None,
    });
    found.ok_or_else(|| Failure::internal("no heal was begun"))
}

async fn pause(
    State(context): State<Context>,
    Extension(by): Extension<Who>,
    Body { value, is_form }: Body<api::Reason>,
) -> Result<Response, Failure> {
    carry_out(&context, Command::PauseHeals, by, needed_reason(&value.reason)?).await?;
    Ok(answer(&context, is_form, &value))
}

async fn resume(
    State(context): State<Context>,
    Extension(by): Extension<Who>,
    Body { value, is_form }: Body<api::Reason>,
) -> Result<Response, Failure> {
    carry_out(&context, Command::ResumeHeals, by, needed_reason(&value.reason)?).await?;
    Ok(answer(&context, is_form, &value))
}

fn answer(context: &Context, is_form: bool, asked: &api::Reason) -> Response {
    let paused = paused(&context.engine.snapshot());
    changed(is_form, asked.next.as_deref(), &serde_json::json!({"paused": paused}))
}
