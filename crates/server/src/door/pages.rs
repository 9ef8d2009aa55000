//! The pages' routes.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use hmsops_control::{Command, Event, Who};
use hmsops_ledger::{Entry, Order};
use hmsops_model::{DashName, ReleaseId, ServiceName};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;

use super::body::{Body, Params, reason};
use super::people::login::OverTls;
use super::service::accepted;
use super::{Access, Context, Failure, Routes, Scope};
use crate::page::{self, Look, Verb};
use crate::panel;

/// Entries of the ledger that a release's page looks through for its own.
const ENTRIES_MAX: usize = 5000;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/", Scope::STATE_READ, "The tower: every service, what needs a person first", home)
        .get("/releases", Scope::STATE_READ, "Releases, as a page", releases)
        .get("/releases/{id}", Scope::STATE_READ, "One release, as a page", release)
        .post("/releases/{id}/promote", Scope::DEPLOY_PROMOTE, "Go to the next step now, by a form", promote)
        .post("/releases/{id}/pause", Scope::DEPLOY_PROMOTE, "Stay at this step, by a form", pause)
        .post("/releases/{id}/resume", Scope::DEPLOY_PROMOTE, "Go on, by a form", resume)
        .post("/releases/{id}/abort", Scope::DEPLOY_ROLLBACK, "Take the release back, by a form", abort)
        .post("/releases/{id}/undeny", Scope::DEPLOY_APPROVE, "Lift the denial, by a form", undeny)
        .get("/releases/{id}/promote", Scope::STATE_READ, "The form for it", form_promote)
        .get("/releases/{id}/pause", Scope::STATE_READ, "The form for it", form_pause)
        .get("/releases/{id}/resume", Scope::STATE_READ, "The form for it", form_resume)
        .get("/releases/{id}/abort", Scope::STATE_READ, "The form for it", form_abort)
        .get("/releases/{id}/undeny", Scope::STATE_READ, "The form for it", form_undeny)
        .get("/dash", Scope::STATE_READ, "Dashboards, as a page", dashes)
        .get("/dash/{name}", Scope::STATE_READ, "A dashboard, a service or a system, as a page", dash)
        .get("/assets/{file}", Access::Open, "Style sheets", asset)
        .get("/status", Access::Open, "The public status page", status)
        .get("/status/status.json", Access::Open, "The public status as JSON", status_json)
        .get("/status/feed.atom", Access::Open, "The public status as an Atom feed", status_atom)
        .get("/status/badge/{file}", Access::Open, "A service's state as an SVG badge", badge)
}

/// Whether a page shall not renew itself.
#[derive(Deserialize)]
pub(crate) struct Still {
    pub(crate) still: Option<String>,
}

/// Draws a page from the present state.
pub(crate) fn draw(
    context: &Context,
    still: &Still,
    page: impl FnOnce(&Look<'_>) -> Option<String>,
) -> Result<Response, Failure> {
    let view = context.engine.snapshot();
    let look = Look { view: &view, now: context.clock.now().wall, live: still.still.is_none() };
    page(&look).map(html).ok_or_else(|| Failure::not_found("there is no such page"))
}

/// The policy of pages that name a script: ours runs, and may ask this very tower.
const SCRIPTED: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

fn html(text: String) -> Response {
    // What others wrote is escaped, so that this can only be a page's own.
    let has_script = text.contains("<script");
    let mut response = ([(CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response();
    if has_script {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, SCRIPTED);
    }
    response
}

async fn home(State(context): State<Context>, Params(still): Params<Still>) -> Result<Response, Failure> {
    draw(&context, &still, |look| Some(page::home(look)))
}

async fn releases(State(context): State<Context>, Params(still): Params<Still>) -> Result<Response, Failure> {
    draw(&context, &still, |look| Some(page::releases(look)))
}

async fn dashes(State(context): State<Context>, Params(still): Params<Still>) -> Result<Response, Failure> {
    draw(&context, &still, |look| Some(page::dashes(look)))
}

/// A service keeps its page and gains the panels of the dashboard of its name. A name that is nothing yet gets a page
/// on which panels appear when somebody adds them.
async fn dash(
    State(context): State<Context>,
    Path(name): Path<String>,
    Params(still): Params<Still>,
) -> Result<Response, Failure> {
    let dash = DashName::new(name.clone())?;
    let snapshot = context.engine.snapshot();
    let state = &snapshot.state;
    let known = state.signals.dashes.get(&dash);
    let specs = known.map(|dash| dash.spec.panels.as_slice()).unwrap_or_default();
    let panels = panel::latest(&context.queries, specs, context.clock.now().wall.0).await;
    if let Some(service) =
        ServiceName::new(name.clone()).ok().filter(|name| state.services.contains_key(name))
    {
        return draw(&context, &still, |look| page::service(look, &service, &panels));
    }
    let is_there = known.is_some() || state.services.values().any(|service| service.spec.system == name);
    let mut response = draw(&context, &still, |look| Some(page::dash(look, &name, &panels)))?;
    if !is_there {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    Ok(response)
}

async fn release(
    State(context): State<Context>,
    Path(id): Path<String>,
    Params(still): Params<Still>,
) -> Result<Response, Failure> {
    let id: ReleaseId = id.parse()?;
    let entries = entries_of(&context, id).await?;
    let snapshot = context.engine.snapshot();
    let kept = match snapshot.state.releases.get(&id) {
        Some(release) => super::release::course(&context, &snapshot, release).await,
        None => None,
    };
    draw(&context, &still, |look| page::release(look, id, &entries, kept.as_deref()))
}

/// The ledger's entries of a release, oldest first.
async fn entries_of(context: &Context, id: ReleaseId) -> Result<Vec<Entry>, Failure> {
    let (reader, id) = (context.ledger.clone(), id.to_string());
    let read = tokio::task::spawn_blocking(move || {
        let newest = reader.size();
        let mut found = reader.read(0..newest, Order::NewestFirst, ENTRIES_MAX)?;
        found.retain(|entry| entry.release.as_deref() == Some(&id));
        found.reverse();
        Ok::<_, hmsops_ledger::LedgerError>(found)
    });
    let read = read.await.map_err(|error| Failure::internal(error.to_string()))?;
    read.map_err(|error| Failure::unavailable(format!("cannot read the ledger: {error}")))
}

/// The form that asks for a reason.
fn form(context: &Context, id: &str, verb: Verb) -> Result<Response, Failure> {
    let id: ReleaseId = id.parse()?;
    draw(context, &Still { still: Some(String::new()) }, |look| page::action(look, id, verb, None))
}

#[derive(Deserialize)]
struct Given {
    #[serde(default)]
    reason: String,
    /// `promote` alone: also in a freeze.
    #[serde(default)]
    override_freeze: bool,
    /// `promote` alone: also where there is no way back.
    #[serde(default)]
    no_return: bool,
}

macro_rules! act {
    ($name:ident, $form:ident, $verb:expr, $command:expr) => {
        async fn $form(State(context): State<Context>, Path(id): Path<String>) -> Result<Response, Failure> {
            form(&context, &id, $verb)
        }

        async fn $name(
            State(context): State<Context>,
            Extension(by): Extension<Who>,
            Path(id): Path<String>,
            Body { value: given, .. }: Body<Given>,
        ) -> Result<Response, Failure> {
            let release: ReleaseId = id.parse()?;
            let command: fn(ReleaseId, &Given) -> Command = $command;
            steer(&context, by, ($verb, release), command(release, &given), given).await
        }
    };
}

act!(promote, form_promote, Verb::Promote, |release, given| {
    Command::Promote { release, override_freeze: given.override_freeze }
});
act!(pause, form_pause, Verb::Pause, |release, _| Command::Pause { release });
act!(resume, form_resume, Verb::Resume, |release, _| Command::Resume { release });
act!(abort, form_abort, Verb::Abort, |release, _| Command::Abort { release });
act!(undeny, form_undeny, Verb::Undeny, |release, _| Command::Undeny { release });

/// Why a form is not carried out as it was filled in.
fn incomplete(context: &Context, (verb, id): (Verb, ReleaseId), given: &Given) -> Option<String> {
    if given.reason.trim().is_empty() {
        return Some("a reason is needed: it goes into the ledger".to_owned());
    }
    // What it needs may have changed since the form was drawn.
    let view = context.engine.snapshot();
    let look = Look { view: &view, now: context.clock.now().wall, live: false };
    let parts = verb == Verb::Promote && !given.no_return && page::needs_consent(&look, id);
    parts.then(|| "there is no way back from its next step on: the box for that has to be ticked".to_owned())
}

/// Does what a form asks for, and goes back to the release; a refusal stands on the form again.
async fn steer(
    context: &Context,
    by: Who,
    (verb, id): (Verb, ReleaseId),
    command: Command,
    given: Given,
) -> Result<Response, Failure> {
    let refused = if let Some(why) = incomplete(context, (verb, id), &given) {
        Some(why)
    } else {
        let reason = reason(&given.reason)?;
        let handled = context.engine.submit(Event::Command { command, by, reason }).await;
        let handled = handled.map_err(|error| Failure::unavailable(error.to_string()))?;
        match handled.refused {
            Some(refusal) => Some(refusal.message),
            None => accepted(handled).map(|_| None)?,
        }
    };
    match refused {
        None => Ok(Redirect::to(&format!("/releases/{id}")).into_response()),
        Some(why) => {
            let still = Still { still: Some(String::new()) };
            let mut page = draw(context, &still, |look| page::action(look, id, verb, Some(&why)))?;
            *page.status_mut() = StatusCode::CONFLICT;
            Ok(page)
        }
    }
}

async fn asset(Path(file): Path<String>, headers: HeaderMap) -> Result<Response, Failure> {
    let (kind, bytes) = page::asset(&format!("/assets/{file}"))
        .ok_or_else(|| Failure::not_found("there is no such asset"))?;
    let tag = page::tag(bytes);
    let is_known = headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    // Its address changes with its content.
    let about = [
        (CONTENT_TYPE, kind.to_owned()),
        (CACHE_CONTROL, "public, max-age=31536000, immutable".to_owned()),
        (ETAG, tag),
    ];
    let status = if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let bytes = if is_known { &[] } else { bytes };
    Ok((status, about, bytes).into_response())
}

async fn status(State(context): State<Context>, Params(still): Params<Still>) -> Result<Response, Failure> {
    draw(&context, &still, |look| Some(page::status(look)))
}

async fn status_json(State(context): State<Context>) -> Response {
    let view = context.engine.snapshot();
    let look = Look { view: &view, now: context.clock.now().wall, live: true };
    axum::Json(page::status_json(&look)).into_response()
}

async fn status_atom(
    State(context): State<Context>,
    Extension(tls): Extension<OverTls>,
    headers: HeaderMap,
) -> Response {
    let view = context.engine.snapshot();
    let look = Look { view: &view, now: context.clock.now().wall, live: true };
    let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let scheme = if tls.0 { "https" } else { "http" };
    let feed = page::status_atom(&look, &format!("{scheme}://{host}"));
    ([(CONTENT_TYPE, "application/atom+xml; charset=utf-8")], feed).into_response()
}

async fn badge(State(context): State<Context>, Path(file): Path<String>) -> Result<Response, Failure> {
    let view = context.engine.snapshot();
    let look = Look { view: &view, now: context.clock.now().wall, live: true };
    let name = file.strip_suffix(".svg").and_then(|name| ServiceName::new(name).ok());
    let svg = name.and_then(|name| page::badge_svg(&look, &name));
    let svg = svg.ok_or_else(|| Failure::not_found("there is no such badge"))?;
    // The one thing that is made to stand on pages of others.
    let about = [
        (CONTENT_TYPE, "image/svg+xml"),
        (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
    ];
    Ok((about, svg).into_response())
}
