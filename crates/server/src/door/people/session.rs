//! `/hms/v1/sessions`: who is logged in; anybody ends their own log-ins, admins everybody's.

use axum::extract::{Path, State};
use axum::response::Response;
use axum::{Extension, Json};
use hmsops_control::people::{Ended, PeopleWish, Session};
use hmsops_ledger::moment::rfc3339;
use hmsops_model::{Scope, SessionId, UnixMillis};
use hmsops_tower::Snapshot;
use hmsops_wire::api;

use super::wished;
use crate::door::body::{Body, changed, reason};
use crate::door::caller::Caller;
use crate::door::pages::{Still, draw};
use crate::door::{Context, Failure, Routes};
use crate::page;

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/hms/v1/sessions", Scope::STATE_READ, "Log-ins: your own, or for admins everybody's", list)
        .post(
            "/hms/v1/sessions/{id}/end",
            Scope::STATE_READ,
            "End a log-in: your own, or as an admin any",
            end,
        )
        .get("/sessions", Scope::STATE_READ, "Log-ins, as a page", as_page)
}

/// Log-ins that somebody may see.
fn seen<'s>(snapshot: &'s Snapshot, caller: &Caller) -> Vec<&'s Session> {
    let all = caller.needs(Scope::TOKENS_ADMIN).is_ok();
    let own = caller.session().map(|session| session.person);
    let sessions = snapshot.state.people.sessions.values();
    sessions.filter(|session| all || Some(session.person) == own).collect()
}

async fn list(State(context): State<Context>, Extension(caller): Extension<Caller>) -> Json<api::Sessions> {
    let (snapshot, now) = (context.engine.snapshot(), context.clock.now().wall);
    let mut found = seen(&snapshot, &caller);
    found.sort_by_key(|session| (!session.is_in_force(now), std::cmp::Reverse(session.id)));
    let own = caller.session().map(|session| session.id);
    Json(api::Sessions { items: found.into_iter().map(|one| shown(&snapshot, one, own, now)).collect() })
}

async fn end(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Body { value, is_form }: Body<api::Reason>,
) -> Result<Response, Failure> {
    let session: SessionId = id.parse()?;
    let snapshot = context.engine.snapshot();
    // Whose it is stays unsaid to whoever may not see it.
    if !seen(&snapshot, &caller).iter().any(|known| known.id == session) {
        return Err(Failure::not_found(format!("you have no session {session}"))
            .hint("`hmsops session list` has yours; admins end everybody's"));
    }
    wished(&context, PeopleWish::End { session }, caller.who.clone(), reason(&value.reason)?).await?;
    let snapshot = context.engine.snapshot();
    let ended = snapshot.state.people.sessions.get(&session);
    let ended = ended.ok_or_else(|| Failure::not_found(format!("{session} is forgotten")))?;
    let own = caller.session().map(|session| session.id);
    let answer = shown(&snapshot, ended, own, context.clock.now().wall);
    Ok(changed(is_form, value.next.as_deref(), &answer))
}

async fn as_page(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Failure> {
    let snapshot = context.engine.snapshot();
    let found: Vec<Session> = seen(&snapshot, &caller).into_iter().cloned().collect();
    let own = caller.session().map(|session| session.id);
    let all = caller.needs(Scope::TOKENS_ADMIN).is_ok();
    draw(&context, &Still { still: Some(String::new()) }, |look| {
        Some(page::sessions(look, &page::SessionRows { sessions: &found, own, all }))
    })
}

/// A log-in as programs see it.
pub(super) fn shown(
    snapshot: &Snapshot,
    session: &Session,
    own: Option<SessionId>,
    now: UnixMillis,
) -> api::Session {
    let person = snapshot.state.people.persons.get(&session.person);
    let proof = serde_json::to_value(session.proof).ok();
    api::Session {
        id: session.id.to_string(),
        state: if session.is_in_force(now) { "in-force" } else { "ended" }.into(),
        person: session.person.to_string(),
        name: session.name.clone(),
        issuer: person.map(|person| person.identity.issuer.clone()).unwrap_or_default(),
        subject: person.map(|person| person.identity.subject.clone()).unwrap_or_default(),
        roles: session.roles.iter().map(ToString::to_string).collect(),
        proof: proof.and_then(|proof| proof.as_str().map(str::to_owned)).unwrap_or_default(),
        opened_at: rfc3339(session.opened_at.wall),
        proven_at: rfc3339(session.proven_at),
        until: rfc3339(session.until),
        from: session.from.clone(),
        own: own == Some(session.id),
        ended: session.ended.as_ref().map(said),
    }
}

/// Who did something, as programs see it.
pub(super) fn said(ended: &Ended) -> api::Said {
    api::Said { at: rfc3339(ended.at.wall), by: ended.by.actor.clone(), reason: ended.reason.clone() }
}
