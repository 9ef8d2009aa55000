//! `/api/v1/…`: the HTTP API of Prometheus, for Grafana, promtool and everything else that speaks it.
//!
//! Source: prometheus.io/docs/prometheus/latest/querying/api; the texts of errors are those of its `web/api/v1`.

mod exemplars;
mod fields;
mod rules;
mod status;
mod targets;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use hmsops_model::series::{Budget, SourceError};
use hmsops_promql::{Answer, EvalError, Options, Outcome, STEPS_MAX, Severity};
use hmsops_wire::prometheus::{self, Data, Notes};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};

use super::{Context, Failure, Routes, Scope};
use crate::query::{Metrics, QueryError, Span, WITHIN, When, evaluate};
use fields::{Fields, duration, moment};

/// The version of Prometheus whose API this is: clients choose by it what they ask for.
const SPOKEN: &str = "3.5.0";

/// Metrics of one answer about metadata, unless it is asked for more.
const METADATA_MAX: usize = 10_000;

/// Bytes of JSON that a sample becomes, about.
const JSON_BYTES: u64 = 30;

pub(crate) fn routes(routes: Routes) -> Routes {
    let read = Scope::METRICS_READ;
    routes
        .get("/api/v1/query", read, "A query for one moment", instant)
        .post("/api/v1/query", read, "A query for one moment, by a form", instant)
        .get("/api/v1/query_range", read, "A query for many moments", range)
        .post("/api/v1/query_range", read, "A query for many moments, by a form", range)
        .get("/api/v1/series", read, "Label sets of series", series)
        .post("/api/v1/series", read, "Label sets of series, by a form", series)
        .get("/api/v1/labels", read, "Names of labels", labels)
        .post("/api/v1/labels", read, "Names of labels, by a form", labels)
        .get("/api/v1/label/{name}/values", read, "Values of a label", label_values)
        .get("/api/v1/metadata", read, "Types and help of metrics", metadata)
        .get("/api/v1/format_query", read, "A query as it is best read", format_query)
        .post("/api/v1/format_query", read, "A query as it is best read, by a form", format_query)
        .get("/api/v1/query_exemplars", read, "Examples of what series counted", exemplars::query)
        .post("/api/v1/query_exemplars", read, "Examples of what series counted, by a form", exemplars::query)
        .get("/api/v1/rules", Scope::ALERTS_READ, "Rules by group, with their health", rules::rules)
        .get("/api/v1/alerts", Scope::ALERTS_READ, "Alerts that go on", rules::alerts)
        .get("/api/v1/targets", read, "Who is asked for metrics", targets::targets)
        .get("/api/v1/scrape_pools", read, "Jobs of targets", targets::pools)
        .get("/api/v1/status/tsdb", read, "What the series are many of", status::tsdb)
        .get("/api/v1/status/buildinfo", read, "Whose API this is", build_info)
}

/// Why there is no answer, in Prometheus' form.
pub(crate) struct Refused {
    kind: prometheus::Failure,
    error: String,
}

impl Refused {
    fn new(kind: prometheus::Failure, error: impl Into<String>) -> Self {
        Self { kind, error: error.into() }
    }

    /// A parameter is missing or wrong.
    fn parameter(name: &str, why: impl std::fmt::Display) -> Self {
        Self::new(prometheus::Failure::BadData, format!("invalid parameter \"{name}\": {why}"))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json(prometheus::failure(self.kind, &self.error));
        *response.status_mut() = status;
        response
    }
}

impl From<QueryError> for Refused {
    fn from(error: QueryError) -> Self {
        use prometheus::Failure as Kind;
        let kind = match &error {
            QueryError::Eval(EvalError::Source(SourceError::Cancelled)) => Kind::Canceled,
            QueryError::Eval(EvalError::Source(SourceError::Busy)) | QueryError::Busy => Kind::Unavailable,
            QueryError::Eval(_) => Kind::Execution,
            QueryError::Late(_) => Kind::Timeout,
            QueryError::Broken(_) => Kind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::new(prometheus::Failure::BadData, failure.detail())
    }
}

fn json(body: Vec<u8>) -> Response {
    let mut response = body.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// What a query is asked with beside itself and its moments.
struct Asked {
    text: String,
    expr: hmsops_promql::ast::Expr,
    options: Options,
    within: std::time::Duration,
    limit: usize,
}

impl Asked {
    fn read(fields: &Fields) -> Result<Self, Refused> {
        let text = fields.get("query").unwrap_or_default().to_owned();
        let expr = hmsops_promql::parse(&text).map_err(|error| Refused::parameter("query", error))?;
        let mut options = Options::default();
        if let Some(lookback) = fields.get("lookback_delta") {
            options.lookback = duration(lookback).filter(|lookback| *lookback > 0).ok_or_else(|| {
                let why = "cannot parse to a duration above zero";
                Refused::parameter("lookback_delta", format!("{lookback:?} {why}"))
            })?;
        }
        let within = match fields.get("timeout") {
            None => WITHIN,
            Some(text) => {
                let span = duration(text).and_then(|ms| u64::try_from(ms).ok());
                let span = span.map(std::time::Duration::from_millis);
                span.ok_or_else(|| {
                    Refused::parameter("timeout", format!("cannot parse {text:?} to a valid duration"))
                })?
            }
        };
        Ok(Self { text, expr, options, within, limit: fields.limit()? })
    }

    async fn answer(self, context: &Context, when: When) -> Result<Response, Refused> {
        let Self { text, expr, options, within, limit } = self;
        let work = move |source: &dyn Metrics, budget: &Budget| {
            let answer = evaluate(source, &expr, when, options, budget)?;
            let at = match when {
                When::At(at) | When::Range(at, ..) => at,
            };
            write(&text, answer, at, limit, budget)
        };
        Ok(json(context.queries.run(within, work).await?))
    }
}

/// An answer as JSON, its size taken from the budget first.
fn write(text: &str, answer: Answer, at: i64, limit: usize, budget: &Budget) -> Result<Vec<u8>, QueryError> {
    let (mut warnings, mut infos) = (Vec::new(), Vec::new());
    for note in &answer.notes {
        match note.severity {
            Severity::Warning => warnings.push(note.show(text)),
            Severity::Info => infos.push(note.show(text)),
        }
    }
    let mut shorten = |len: usize| {
        if limit > 0 && len > limit {
            warnings.push("results truncated due to limit".into());
        }
        if limit > 0 { limit } else { usize::MAX }
    };
    let (points, series, scalar);
    let data = match answer.outcome {
        Outcome::Scalar(value) => Data::Scalar(at, value),
        Outcome::Text(text) => {
            scalar = text;
            Data::Text(at, &scalar)
        }
        Outcome::Vector(mut found) => {
            found.truncate(shorten(found.len()));
            let point = |point: hmsops_promql::Point| (point.labels, point.time, point.value);
            points = found.into_iter().map(point).collect::<Vec<_>>();
            Data::Vector(&points)
        }
        Outcome::Matrix(mut found) => {
            found.truncate(shorten(found.len()));
            series = found;
            let samples: u64 = series.iter().map(|series| series.samples.len() as u64).sum();
            budget.charge(0, samples * JSON_BYTES)?;
            Data::Matrix(&series)
        }
    };
    Ok(prometheus::query(data, Notes { warnings: &warnings, infos: &infos }))
}

fn now(context: &Context) -> i64 {
    context.clock.now().wall.0
}

async fn instant(State(context): State<Context>, fields: Fields) -> Result<Response, Refused> {
    let at = fields.moment("time")?.unwrap_or_else(|| now(&context));
    Asked::read(&fields)?.answer(&context, When::At(at)).await
}

async fn range(State(context): State<Context>, fields: Fields) -> Result<Response, Refused> {
    let wanted = |name: &str| {
        let text = fields.get(name).unwrap_or_default();
        moment(text)
            .ok_or_else(|| Refused::parameter(name, format!("cannot parse {text:?} to a valid timestamp")))
    };
    let (from, to) = (wanted("start")?, wanted("end")?);
    if to < from {
        return Err(Refused::parameter("end", "end timestamp must not be before start time"));
    }
    let text = fields.get("step").unwrap_or_default();
    let step = duration(text)
        .ok_or_else(|| Refused::parameter("step", format!("cannot parse {text:?} to a valid duration")))?;
    if step <= 0 {
        let why = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(Refused::parameter("step", why));
    }
    if to.saturating_sub(from) / step >= STEPS_MAX {
        return Err(Refused::new(
            prometheus::Failure::BadData,
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution \
             (?step=XX)",
        ));
    }
    Asked::read(&fields)?.answer(&context, When::Range(from, to, step)).await
}

/// Which series a question about labels means.
fn span(fields: &Fields, needs_one: bool) -> Result<Span, Refused> {
    let mut matcher_sets = Vec::new();
    for text in fields.all("match[]") {
        let selector =
            hmsops_promql::parse_selector(text).map_err(|error| Refused::parameter("match[]", error))?;
        matcher_sets.push(selector.conditions());
    }
    if needs_one && matcher_sets.is_empty() {
        return Err(Refused::new(prometheus::Failure::BadData, "no match[] parameter provided"));
    }
    let from = fields.moment("start")?.unwrap_or(i64::MIN);
    let to = fields.moment("end")?.unwrap_or(i64::MAX);
    if to < from {
        return Err(Refused::parameter("end", "end timestamp must not be before start time"));
    }
    Ok(Span { matcher_sets, from, to })
}

/// Asks for one more than wanted, so that it is known whether there is more.
async fn listed<T: serde::Serialize + Send + 'static>(
    context: &Context,
    limit: usize,
    read: impl FnOnce(&dyn Metrics, usize) -> Result<Vec<T>, SourceError> + Send + 'static,
) -> Result<Response, Refused> {
    let work = move |source: &dyn Metrics, _: &Budget| {
        let mut found = read(source, if limit == 0 { 0 } else { limit.saturating_add(1) })?;
        let mut warnings = Vec::new();
        if limit > 0 && found.len() > limit {
            found.truncate(limit);
            warnings.push("results truncated due to limit".to_owned());
        }
        Ok(prometheus::success(&found, Notes { warnings: &warnings, infos: &[] }))
    };
    Ok(json(context.queries.run(WITHIN, work).await?))
}

async fn series(State(context): State<Context>, fields: Fields) -> Result<Response, Refused> {
    let span = span(&fields, true)?;
    listed(&context, fields.limit()?, move |source, limit| source.series(&span, limit)).await
}

async fn labels(State(context): State<Context>, fields: Fields) -> Result<Response, Refused> {
    let span = span(&fields, false)?;
    listed(&context, fields.limit()?, move |source, limit| source.label_names(&span, limit)).await
}

async fn label_values(
    State(context): State<Context>,
    Path(name): Path<String>,
    fields: Fields,
) -> Result<Response, Refused> {
    let name = fields::unescaped(&name);
    let span = span(&fields, false)?;
    listed(&context, fields.limit()?, move |source, limit| source.label_values(&name, &span, limit)).await
}

async fn metadata(State(context): State<Context>, fields: Fields) -> Result<Response, Refused> {
    let most = |limit: usize| if limit == 0 { METADATA_MAX } else { limit };
    let (metrics, each) = (most(fields.limit()?), most(fields.number("limit_per_metric")?));
    let said = context.families.said(fields.get("metric").filter(|name| !name.is_empty()), metrics, each);
    Ok(json(prometheus::success(&said, Notes::default())))
}

async fn format_query(fields: Fields) -> Result<Response, Refused> {
    let text = fields.get("query").unwrap_or_default();
    let expr = hmsops_promql::parse(text).map_err(|error| Refused::parameter("query", error))?;
    Ok(json(prometheus::success(&expr.to_string(), Notes::default())))
}

async fn build_info() -> Response {
    let info = serde_json::json!({
        "version": SPOKEN,
        "revision": concat!("hmsops-", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    });
    json(prometheus::success(&info, Notes::default()))
}
