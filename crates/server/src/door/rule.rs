//! `/hms/v1/rules`: alert rules.

use axum::extract::{Path, State};
use axum::{Extension, Json};
use hmsops_control::signal::Rule;
use hmsops_control::{Command, Who};
use hmsops_model::{HealAction, Millis, RuleName, RuleSpec};
use hmsops_tower::Snapshot;
use hmsops_wire::api;
use serde::Deserialize;

use super::body::{Body, Params, reason};
use super::cursor::{Place, page};
use super::service::carry_out;
use super::{Context, Failure, Routes, Scope, show_signal};

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/hms/v1/rules", Scope::ALERTS_READ, "Alert rules, by name", list)
        .post("/hms/v1/rules", Scope::RULES_WRITE, "Declare an alert rule, anew or changed", declare)
        .get("/hms/v1/rules/{name}", Scope::ALERTS_READ, "One alert rule", show_one)
        .delete("/hms/v1/rules/{name}", Scope::RULES_WRITE, "Remove an alert rule", remove)
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
) -> Result<Json<api::Rules>, Failure> {
    let snapshot = context.engine.snapshot();
    let of = |rule: &&Rule| {
        let heals = rule.spec.heal.as_ref().map(HealAction::service);
        let service = rule.spec.service.as_ref().or(heals);
        params.service.as_ref().is_none_or(|wanted| service.is_some_and(|is| is.as_str() == wanted))
    };
    let rules = snapshot.state.signals.rules.values().filter(of);
    let found = rules.map(|rule| (Place::named(0, rule.spec.name.as_str()), rule)).collect();
    let (rules, next) = page(found, params.cursor.as_deref(), params.limit)?;
    let items = rules.into_iter().map(|rule| show_signal::rule(&snapshot, rule)).collect();
    Ok(Json(api::Rules { items, next }))
}

async fn show_one(
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<Json<api::Rule>, Failure> {
    let snapshot = context.engine.snapshot();
    let rule = find(&snapshot, &RuleName::new(name)?)?;
    Ok(Json(show_signal::rule(&snapshot, rule)))
}

async fn declare(
    State(context): State<Context>,
    Extension(by): Extension<Who>,
    Body { value, .. }: Body<api::NewRule>,
) -> Result<Json<api::RuleDeclared>, Failure> {
    let spec = hmsops_config::parse_rule(written(value)?).map_err(|mistakes| Failure::fields(&mistakes))?;
    let readings = hmsops_config::readings(&spec.expr);
    let name = spec.name.clone();
    let warnings = warnings(&context.engine.snapshot(), &spec);
    let now = reading_now(&context, &spec).await;
    let command = Command::DeclareRule { rule: Box::new(spec), readings: readings.clone() };
    let handled = carry_out(&context, command, by, "declared".to_owned()).await?;
    let snapshot = context.engine.snapshot();
    let rule = snapshot.state.signals.rules.get(&name);
    let reading = rule.and_then(|rule| show_signal::reading(&snapshot, rule, &readings));
    let reading =
        reading.map(|known| if known == show_signal::UNDECIDED { now.unwrap_or(known) } else { known });
    let changed = !handled.transitions.is_empty();
    Ok(Json(api::RuleDeclared { name: name.to_string(), changed, reading, readings, warnings }))
}

/// How a rule would be read if it were evaluated now; `None`: that will be seen.
async fn reading_now(context: &Context, spec: &RuleSpec) -> Option<String> {
    let (store, spec) = (context.metrics.store().clone(), spec.clone());
    let at = context.clock.now().wall.0;
    let read = tokio::task::spawn_blocking(move || crate::evaluate::reading(&store, &spec, at));
    read.await.ok().flatten()
}

/// A rule as somebody sent it.
fn written(new: api::NewRule) -> Result<hmsops_config::NewRule, Failure> {
    let span = |field: &str, seconds: u64| {
        let millis = seconds.checked_mul(1000).map(Millis);
        millis.ok_or_else(|| Failure::argument(format!("`{field}` of {seconds} s is too long")))
    };
    Ok(hmsops_config::NewRule {
        name: new.name,
        expr: new.expr,
        hold: span("for_seconds", new.for_seconds)?,
        keep_firing_for: Millis::ZERO,
        interval: new.interval_seconds.map(|seconds| span("interval_seconds", seconds)).transpose()?,
        on_fire: new.on_fire,
        on_nodata: new.on_nodata,
        reading: new.reading,
        notify: new.notify,
        service: new.service,
        runbook: new.runbook,
        labels: new.labels,
        annotations: new.annotations,
    })
}

/// What will not work as written, at the moment.
fn warnings(snapshot: &Snapshot, spec: &RuleSpec) -> Vec<String> {
    let services = &snapshot.state.services;
    let is_known = |name| services.get(name).is_some_and(|known| !known.retired);
    let mut warnings = Vec::new();
    if let Some(heal) = spec.heal.as_ref().filter(|heal| !is_known(heal.service())) {
        let service = heal.service();
        warnings.push(format!(
            "there is no service `{service}` yet: until it is declared, `{heal}` is left to a person"
        ));
    }
    let healed = spec.heal.as_ref().map(HealAction::service);
    if let Some(service) = spec.service.as_ref().filter(|name| Some(*name) != healed && !is_known(name)) {
        warnings.push(format!("there is no service `{service}` yet: its owner cannot be told"));
    }
    warnings
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveParams {
    #[serde(default)]
    reason: String,
}

async fn remove(
    State(context): State<Context>,
    Extension(by): Extension<Who>,
    Path(name): Path<String>,
    Params(params): Params<RemoveParams>,
) -> Result<Json<api::Rule>, Failure> {
    let name = RuleName::new(name)?;
    let shown = {
        let snapshot = context.engine.snapshot();
        show_signal::rule(&snapshot, find(&snapshot, &name)?)
    };
    carry_out(&context, Command::RemoveRule { rule: name }, by, reason(&params.reason)?).await?;
    // Its alerts have ended with it.
    Ok(Json(api::Rule { alerts: Vec::new(), ..shown }))
}

/// A rule in force.
pub(crate) fn find<'s>(snapshot: &'s Snapshot, name: &RuleName) -> Result<&'s Rule, Failure> {
    let rules = &snapshot.state.signals.rules;
    rules.get(name).ok_or_else(|| {
        let known: Vec<&str> = rules.keys().take(20).map(RuleName::as_str).collect();
        let hint = match known.as_slice() {
            [] => "none is declared yet".to_owned(),
            known => format!("known: {}", known.join(", ")),
        };
        Failure::not_found(format!("there is no alert rule `{name}`")).hint(hint)
    })
}
