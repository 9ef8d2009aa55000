//! `/hms/v1/breakglass`: rights for an emergency, aloud, and the review that stays open until another person closes it.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use hmsops_control::people::{Glass, PeopleChange, PeopleWish};
use hmsops_control::{Transition, told_of_glass};
use hmsops_ledger::moment::rfc3339;
use hmsops_model::person::GLASS_LIFE;
use hmsops_model::{GlassId, Millis, Scope, UnixMillis};
use hmsops_wire::api;
use http::StatusCode;

use super::{session::said, wished};
use crate::door::body::{Body, changed, needed_reason, reason};
use crate::door::caller::Caller;
use crate::door::pages::{Still, draw};
use crate::door::{Context, Failure, Routes};
use crate::page;

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/hms/v1/breakglass", Scope::AUDIT_READ, "Uses of the break-glass, those to review first", list)
        .post(
            "/hms/v1/breakglass",
            Scope::BREAKGLASS_USE,
            "Take an operator's rights for an emergency, aloud",
            take,
        )
        .post("/hms/v1/breakglass/{id}/end", Scope::BREAKGLASS_USE, "Give them back", end)
        .post(
            "/hms/v1/breakglass/{id}/review",
            Scope::TICKETS_APPROVE,
            "Say what another person's use of it was",
            review,
        )
        .get("/breakglass", Scope::AUDIT_READ, "Uses of the break-glass, as a page", as_page)
}

async fn list(State(context): State<Context>) -> Json<api::Glasses> {
    let (snapshot, now) = (context.engine.snapshot(), context.clock.now().wall);
    let mut all: Vec<&Glass> = snapshot.state.people.glasses.values().collect();
    all.sort_by_key(|glass| (glass.reviewed.is_some(), std::cmp::Reverse(glass.id)));
    Json(api::Glasses { items: all.into_iter().map(|glass| shown(glass, now)).collect() })
}

async fn take(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Body { value, is_form }: Body<api::NewGlass>,
) -> Result<Response, Failure> {
    caller.needs_fresh(context.clock.now().wall)?;
    let minutes = value.minutes.map(|minutes| Millis(minutes.saturating_mul(60_000)));
    let span = value.for_ms.map(Millis).or(minutes).unwrap_or(GLASS_LIFE);
    let why = needed_reason(&value.reason)?;
    let handled = wished(&context, PeopleWish::BreakGlass { span }, caller.who.clone(), why.clone()).await?;
    let broken = handled.transitions.iter().find_map(|transition| match transition {
        Transition::People(change) => match &**change {
            PeopleChange::GlassBroken { glass, .. } => Some(*glass),
            _ => None,
        },
        _ => None,
    });
    let broken = broken.ok_or_else(|| Failure::internal("the glass is neither broken nor whole"))?;
    tracing::error!("breakglass {broken}: {} takes an operator's rights: {why}", caller.who.actor);
    let snapshot = context.engine.snapshot();
    let told = told_of_glass(&snapshot.state, &snapshot.evidence);
    if told.is_empty() {
        tracing::error!(
            "breakglass {broken}: nobody is told by a message: `people: {{notify: …}}` names nobody"
        );
    }
    let answer = api::Glass { told: Some(told), ..find(&context, broken)? };
    if is_form {
        return Ok(changed(true, value.next.as_deref(), &answer));
    }
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

async fn end(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Body { value, is_form }: Body<api::Reason>,
) -> Result<Response, Failure> {
    let glass: GlassId = id.parse()?;
    wished(&context, PeopleWish::EndGlass { glass }, caller.who, reason(&value.reason)?).await?;
    Ok(changed(is_form, value.next.as_deref(), &find(&context, glass)?))
}

async fn review(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Body { value, is_form }: Body<api::Reason>,
) -> Result<Response, Failure> {
    let glass: GlassId = id.parse()?;
    wished(&context, PeopleWish::ReviewGlass { glass }, caller.who, needed_reason(&value.reason)?).await?;
    Ok(changed(is_form, value.next.as_deref(), &find(&context, glass)?))
}

async fn as_page(State(context): State<Context>) -> Result<Response, Failure> {
    draw(&context, &Still { still: Some(String::new()) }, |look| Some(page::glasses(look)))
}

fn find(context: &Context, id: GlassId) -> Result<api::Glass, Failure> {
    let snapshot = context.engine.snapshot();
    let known = snapshot.state.people.glasses.get(&id);
    let known = known.ok_or_else(|| Failure::not_found(format!("there is no {id}")))?;
    Ok(shown(known, context.clock.now().wall))
}

fn shown(glass: &Glass, now: UnixMillis) -> api::Glass {
    let state = match glass {
        glass if glass.reviewed.is_some() => "reviewed",
        glass if glass.is_in_force(now) => "in-force",
        _ => "to-review",
    };
    api::Glass {
        id: glass.id.to_string(),
        state: state.into(),
        by: glass.by.actor.clone(),
        reason: glass.reason.clone(),
        broken_at: rfc3339(glass.broken_at.wall),
        until: rfc3339(glass.until),
        ended: glass.ended.as_ref().map(said),
        reviewed: glass.reviewed.as_ref().map(said),
        told: None,
    }
}
