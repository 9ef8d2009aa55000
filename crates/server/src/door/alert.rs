//! `/hms/v1/alerts` and `/hms/v1/silences`.

use axum::extract::{Path, State};
use axum::response::Response;
use axum::{Extension, Json};
use hmsops_control::signal::alert::Alert;
use hmsops_control::{Command, Signal, Transition, Who};
use hmsops_model::{AlertId, Millis, RuleName, SilenceId};
use hmsops_tower::{Handled, Snapshot};
use hmsops_wire::api;
use serde::Deserialize;

use super::body::{Body, Params, changed, needed_reason, reason};
use super::cursor::{Place, page};
use super::service::carry_out;
use super::{Context, Failure, Routes, Scope, show_signal};

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/hms/v1/alerts", Scope::ALERTS_READ, "Alerts, by need", list)
        .get("/hms/v1/alerts/{id}", Scope::ALERTS_READ, "One alert", show_one)
        .post("/hms/v1/alerts/{id}/ack", Scope::ALERTS_ACK, "Take an alert in hand", ack)
        .get("/hms/v1/silences", Scope::ALERTS_READ, "Silences, newest first", silences)
        .post("/hms/v1/silences", Scope::ALERTS_SILENCE, "Keep a rule's alerts quiet for a while", silence)
        .delete("/hms/v1/silences/{id}", Scope::ALERTS_SILENCE, "End a silence before its time", unsilence)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    #[serde(default)]
    active: bool,
    service: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

async fn list(
    State(context): State<Context>,
    Params(params): Params<ListParams>,
) -> Result<Json<api::Alerts>, Failure> {
    let snapshot = context.engine.snapshot();
    let mut found = show_signal::active(&snapshot);
    if !params.active {
        let ended = snapshot.state.signals.alerts.values().filter(|alert| !alert.is_open());
        found.extend(
            ended.map(|alert| (show_signal::place(&snapshot, alert), show_signal::Shown::Alert(alert))),
        );
    }
    if let Some(wanted) = &params.service {
        found.retain(|(_, item)| item.service().as_ref() == Some(wanted));
    }
    let (found, next) = page(found, params.cursor.as_deref(), params.limit)?;
    let items = found.into_iter().map(|item| show_signal::shown(&snapshot, item)).collect();
    Ok(Json(api::Alerts { items, next }))
}

async fn show_one(
    State(context): State<Context>,
    Path(id): Path<String>,
) -> Result<Json<api::Alert>, Failure> {
    let snapshot = context.engine.snapshot();
    Ok(Json(show_signal::alert(&snapshot, find(&snapshot, id.parse()?)?)))
}

async fn ack(
    State(context): State<Context>,
    Extension(by): Extension<Who>,
    Path(id): Path<String>,
    Body { value, is_form }: Body<api::Reason>,
) -> Result<Response, Failure> {
    let alert: AlertId = id.parse()?;
    carry_out(&context, Command::Ack { alert }, by, needed_reason(&value.reason)?).await?;
    let snapshot = context.engine.snapshot();
    let answer = show_signal::alert(&snapshot, find(&snapshot, alert)?);
    Ok(changed(is_form, value.next.as_deref(), &answer))
}

/// An alert that is remembered.
fn find(snapshot: &Snapshot, id: AlertId) -> Result<&Alert, Failure> {
    let alerts = &snapshot.state.signals.alerts;
    alerts.get(&id).ok_or_else(|| {
        let newest = alerts.keys().next_back();
        let hint = newest.map_or_else(|| "there is none yet".into(), |id| format!("the newest is {id}"));
        Failure::not_found(format!("there is no alert {id}")).hint(hint)
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SilenceParams {
    #[serde(default)]
    active: bool,
    limit: Option<usize>,
    cursor: Option<String>,
}

async fn silences(
    State(context): State<Context>,
    Params(params): Params<SilenceParams>,
) -> Result<Json<api::Silences>, Failure> {
    let snapshot = context.engine.snapshot();
    let all = snapshot.state.signals.silences.values();
    let wanted = all.filter(|silence| !params.active || silence.ended.is_none());
    let found = wanted.map(|silence| (Place::numbered(0, silence.id.0), silence)).collect();
    let (found, next) = page(found, params.cursor.as_deref(), params.limit)?;
    Ok(Json(api::Silences { items: found.into_iter().map(show_signal::silence).collect(), next }))
}

async fn silence(
    State(context): State<Context>,
    Extension(by): Extension<Who>,
    Body { value, .. }: Body<api::NewSilence>,
) -> Result<Json<api::Silence>, Failure> {
    let command = Command::Silence {
        rule: RuleName::new(value.rule)?,
        span: Millis(value.for_ms),
        keep_heal: value.keep_heal,
    };
    let handled = carry_out(&context, command, by, needed_reason(&value.reason)?).await?;
    let begun = |change: &Transition| match change {
        Transition::Signal(change) => match **change {
            Signal::SilenceBegun { silence, .. } => Some(silence),
            _ => None,
        },
        _ => None,
    };
    shown(&context, &handled, begun)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndParams {
    #[serde(default)]
    reason: String,
}

async fn unsilence(
    State(context): State<Context>,
    Extension(by): Extension<Who>,
    Path(id): Path<String>,
    Params(params): Params<EndParams>,
) -> Result<Json<api::Silence>, Failure> {
    let silence: SilenceId = id.parse()?;
    let handled = carry_out(&context, Command::Unsilence { silence }, by, reason(&params.reason)?).await?;
    shown(&context, &handled, |_| Some(silence))
}

/// The silence that a change is about.
fn shown(
    context: &Context,
    handled: &Handled,
    which: impl Fn(&Transition) -> Option<SilenceId>,
) -> Result<Json<api::Silence>, Failure> {
    let snapshot = context.engine.snapshot();
    let id = handled.transitions.iter().find_map(which);
    let silence = id.and_then(|id| snapshot.state.signals.silences.get(&id));
    silence.map(show_signal::silence).map(Json).ok_or_else(|| Failure::internal("the silence is not there"))
}
