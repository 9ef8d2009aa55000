//! `/hms/v1/dashes`.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use hmsops_control::{Command, Who};
use hmsops_model::labels::{MatchOp, Matcher};
use hmsops_model::{DashName, DashSpec, PanelKind, PanelSpec, ServiceName};
use hmsops_promql::ast::{Expr, Kind, Type};
use hmsops_tower::Snapshot;
use hmsops_wire::api;
use serde::Deserialize;

use super::body::{Body, Params, reason};
use super::service::carry_out;
use super::{Context, Doors, Failure, Routes, Scope};
use crate::panel::PANELS_MAX;
use crate::query::{Span, WITHIN};

/// The dashboard of panels that belong to no system.
const MAIN: &str = "main";

/// What stands for a name that the tower shall choose.
const CHOOSE: &str = "-";

/// Characters of a panel's title: one line above a picture.
const TITLE_CHARS_MAX: usize = 120;

/// Series that are looked at to find out where a metric comes from.
const SERIES_MAX: usize = 1000;

/// A metric comes from where it came from in so many milliseconds before now.
const LATELY: i64 = 24 * 3_600_000;

/// Dashboards on a page of the list, unless more or fewer are asked for.
const PAGE: usize = 50;

/// At most.
const PAGE_MAX: usize = 500;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/hms/v1/dashes", Scope::STATE_READ, "Dashboards, by name", list)
        .get("/hms/v1/dashes/{name}", Scope::STATE_READ, "One dashboard", show_one)
        .put("/hms/v1/dashes/{name}", Scope::DASH_WRITE, "Put all panels in place", put)
        .delete("/hms/v1/dashes/{name}", Scope::DASH_WRITE, "Remove a dashboard", remove)
        .post("/hms/v1/dashes/{name}/panels", Scope::DASH_WRITE, "Add a panel", add_panel)
        .delete("/hms/v1/dashes/{name}/panels/{title}", Scope::DASH_WRITE, "Remove a panel", remove_panel)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    limit: Option<usize>,
    cursor: Option<String>,
}

async fn list(
    State(context): State<Context>,
    Params(params): Params<ListParams>,
) -> Result<Json<api::Dashes>, Failure> {
    let snapshot = context.engine.snapshot();
    let limit = params.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let after = params.cursor.map(DashName::new).transpose()?;
    let dashes = snapshot.state.signals.dashes.values();
    let mut found = dashes.filter(|dash| after.as_ref().is_none_or(|after| dash.spec.name > *after));
    let items: Vec<api::Dash> = found.by_ref().take(limit).map(|dash| shown(&snapshot, &dash.spec)).collect();
    let next = items.last().filter(|_| found.next().is_some()).map(|last| last.name.clone());
    Ok(Json(api::Dashes { items, next }))
}

async fn show_one(
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<Json<api::Dash>, Failure> {
    let snapshot = context.engine.snapshot();
    find(&snapshot, &DashName::new(name)?).map(|spec| Json(shown(&snapshot, spec)))
}

async fn put(
    State(doors): State<Doors>,
    Extension(by): Extension<Who>,
    Path(name): Path<String>,
    body: Body<api::Panels>,
) -> Result<Json<api::Dash>, Failure> {
    let name = DashName::new(name)?;
    let panels = body.value.panels.iter().map(checked).collect::<Result<Vec<_>, _>>()?;
    let mut titles = BTreeSet::new();
    if let Some(twice) = panels.iter().find(|panel| !titles.insert(&panel.title)) {
        return Err(Failure::argument(format!("two panels are called `{}`", twice.title)));
    }
    let _turn = doors.dashes.lock().await;
    declare(&doors.context, DashSpec { name: name.clone(), panels }, by).await?;
    let snapshot = doors.context.engine.snapshot();
    find(&snapshot, &name).map(|spec| Json(shown(&snapshot, spec)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveParams {
    #[serde(default)]
    reason: String,
}

async fn remove(
    State(doors): State<Doors>,
    Extension(by): Extension<Who>,
    Path(name): Path<String>,
    Params(params): Params<RemoveParams>,
) -> Result<Json<serde_json::Value>, Failure> {
    let dash = DashName::new(name)?;
    let _turn = doors.dashes.lock().await;
    carry_out(&doors.context, Command::RemoveDash { dash: dash.clone() }, by, reason(&params.reason)?)
        .await?;
    Ok(Json(serde_json::json!({"dash": dash, "changed": true})))
}

async fn add_panel(
    State(doors): State<Doors>,
    Extension(by): Extension<Who>,
    Path(name): Path<String>,
    body: Body<api::Panel>,
) -> Result<Json<api::PanelAdded>, Failure> {
    let context = &doors.context;
    let panel = checked(&body.value)?;
    let name = if name == CHOOSE { home(context, &panel.query).await? } else { DashName::new(name)? };
    let _turn = doors.dashes.lock().await;
    let snapshot = context.engine.snapshot();
    let known = snapshot.state.signals.dashes.get(&name).map(|dash| dash.spec.clone());
    let created = known.is_none();
    let mut spec = known.unwrap_or_else(|| DashSpec { name: name.clone(), panels: Vec::new() });
    let changed = !spec.panels.contains(&panel);
    if changed {
        match spec.panels.iter_mut().find(|known| known.title == panel.title) {
            Some(known) => *known = panel,
            None => spec.panels.push(panel),
        }
        declare(context, spec, by).await?;
    }
    Ok(Json(api::PanelAdded { dash: name.to_string(), url: url(&name), changed, created }))
}

async fn remove_panel(
    State(doors): State<Doors>,
    Extension(by): Extension<Who>,
    Path((name, title)): Path<(String, String)>,
    Params(params): Params<RemoveParams>,
) -> Result<Json<api::Dash>, Failure> {
    let name = DashName::new(name)?;
    reason(&params.reason)?;
    let _turn = doors.dashes.lock().await;
    let mut spec = find(&doors.context.engine.snapshot(), &name)?.clone();
    let before = spec.panels.len();
    spec.panels.retain(|panel| panel.title != title);
    if spec.panels.len() == before {
        let known: Vec<String> = spec.panels.iter().map(|panel| format!("`{}`", panel.title)).collect();
        let known =
            if known.is_empty() { "it has none".into() } else { format!("it has {}", known.join(", ")) };
        return Err(Failure::not_found(format!("dashboard `{name}` has no panel `{title:.200}`")).hint(known));
    }
    declare(&doors.context, spec, by).await?;
    let snapshot = doors.context.engine.snapshot();
    find(&snapshot, &name).map(|spec| Json(shown(&snapshot, spec)))
}

async fn declare(context: &Context, dash: DashSpec, by: Who) -> Result<(), Failure> {
    let n = dash.panels.len();
    if n > PANELS_MAX {
        let why = format!("dashboard `{}` would have {n} panels, at most {PANELS_MAX} are drawn", dash.name);
        return Err(Failure::argument(why).hint("`--dash NAME` puts a panel on another dashboard"));
    }
    carry_out(context, Command::DeclareDash { dash }, by, reason("")?).await.map(|_| ())
}

/// A panel that can be drawn.
fn checked(panel: &api::Panel) -> Result<PanelSpec, Failure> {
    let kind = PanelKind::ALL.into_iter().find(|kind| kind.as_str() == panel.panel).ok_or_else(|| {
        let kinds = PanelKind::ALL.map(PanelKind::as_str).join(", ");
        Failure::argument(format!("`{:.80}` is no kind of panel", panel.panel))
            .hint(format!("one of {kinds}"))
    })?;
    let title = panel.title.trim();
    let n = title.chars().count();
    if n == 0 || n > TITLE_CHARS_MAX || title.chars().any(char::is_control) {
        return Err(Failure::argument("the title is empty, too long, or holds a control character")
            .hint(format!("1 to {TITLE_CHARS_MAX} characters in one line")));
    }
    let expr = parsed(&panel.query)?;
    match expr.value_type() {
        Type::Scalar | Type::Vector => {
            Ok(PanelSpec { title: title.to_owned(), query: panel.query.trim().to_owned(), kind })
        }
        other => Err(Failure::argument(format!("cannot draw the query: it is a {}", other.name()))
            .hint("a panel needs one value a moment: `rate(x[5m])`, not `x[5m]`")),
    }
}

fn parsed(query: &str) -> Result<Expr, Failure> {
    hmsops_promql::parse(query).map_err(|error| Failure::argument(format!("cannot read the query: {error}")))
}

/// The dashboard where a query belongs: that of the system its metrics come from, if it is one.
async fn home(context: &Context, query: &str) -> Result<DashName, Failure> {
    let mut matcher_sets = Vec::new();
    selectors(&parsed(query)?, &mut matcher_sets);
    let mut services: BTreeSet<String> = named(&matcher_sets).collect();
    if services.is_empty() && !matcher_sets.is_empty() {
        let now = context.clock.now().wall.0;
        let span = Span { matcher_sets, from: now - LATELY, to: i64::MAX };
        let read = context.queries.run(WITHIN, move |source, _| Ok(source.series(&span, SERIES_MAX)?));
        let series = read.await.map_err(|error| Failure::unavailable(error.to_string()))?;
        services = series.iter().filter_map(|labels| labels.get("service")).map(str::to_owned).collect();
    }
    let snapshot = context.engine.snapshot();
    let systems: BTreeSet<String> = services.iter().map(|service| system(&snapshot, service)).collect();
    let only = systems.first().filter(|_| systems.len() == 1);
    Ok(only.and_then(|system| DashName::new(system.clone()).ok()).map_or_else(|| DashName::new(MAIN), Ok)?)
}

/// The services that conditions name.
fn named(matcher_sets: &[Vec<Matcher>]) -> impl Iterator<Item = String> {
    let matchers = matcher_sets.iter().flatten();
    matchers
        .filter(|matcher| matcher.name == "service" && matcher.op == MatchOp::Eq && !matcher.value.is_empty())
        .map(|matcher| matcher.value.clone())
}

/// The system of a service, declared or not.
fn system(snapshot: &Snapshot, service: &str) -> String {
    let known = ServiceName::new(service).ok().and_then(|name| snapshot.state.services.get(&name));
    match known {
        Some(service) => service.spec.system.clone(),
        None => service.split('-').next().unwrap_or(service).to_owned(),
    }
}

/// The conditions of all selectors of a query.
fn selectors(expr: &Expr, found: &mut Vec<Vec<Matcher>>) {
    match &expr.kind {
        Kind::Selector(selector) => found.push(selector.conditions()),
        Kind::Range(range) => found.push(range.selector.conditions()),
        Kind::Subquery(subquery) => selectors(&subquery.expr, found),
        Kind::Call(call) => call.args.iter().for_each(|arg| selectors(arg, found)),
        Kind::Aggregate(aggregate) => {
            aggregate.param.iter().chain([&aggregate.expr]).for_each(|expr| selectors(expr, found));
        }
        Kind::Binary(binary) => {
            selectors(&binary.left, found);
            selectors(&binary.right, found);
        }
        Kind::Unary { expr, .. } | Kind::Paren(expr) => selectors(expr, found),
        Kind::Number { .. } | Kind::Text(_) => {}
    }
}

fn find<'s>(snapshot: &'s Snapshot, name: &DashName) -> Result<&'s DashSpec, Failure> {
    let dashes = &snapshot.state.signals.dashes;
    dashes.get(name).map(|dash| &dash.spec).ok_or_else(|| {
        let known: Vec<&str> = dashes.keys().take(20).map(DashName::as_str).collect();
        let hint = match known.as_slice() {
            [] => "`hmsops dash add --query … --title …` makes one".into(),
            known => format!("known: {}", known.join(", ")),
        };
        Failure::not_found(format!("there is no dashboard `{name}`")).hint(hint)
    })
}

fn url(name: &DashName) -> String {
    format!("/dash/{name}")
}

fn shown(snapshot: &Snapshot, spec: &DashSpec) -> api::Dash {
    let of_system =
        snapshot.state.services.values().filter(|service| service.spec.system == spec.name.as_str());
    let panel = |panel: &PanelSpec| api::Panel {
        title: panel.title.clone(),
        query: panel.query.clone(),
        panel: panel.kind.as_str().to_owned(),
    };
    api::Dash {
        name: spec.name.to_string(),
        url: url(&spec.name),
        panels: spec.panels.iter().map(panel).collect(),
        services: of_system.map(|service| service.spec.name.to_string()).collect(),
    }
}
