//! Who is asked for metrics, as Prometheus tells it: `/api/v1/targets` and `/api/v1/scrape_pools`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use hmsops_model::UnixMillis;
use hmsops_promql::duration;
use hmsops_wire::prometheus::{self, Notes};
use jiff::Timestamp;
use serde::Serialize;

use super::{Fields, Refused, json};
use crate::collect::{Pool, TargetHealth};
use crate::door::Context;

/// What has never been: Go's zero time, which clients of Prometheus know.
pub(super) const NEVER: &str = "0001-01-01T00:00:00Z";

#[derive(Debug, Serialize)]
struct Targets {
    #[serde(rename = "activeTargets")]
    active: Vec<Active>,
    #[serde(rename = "droppedTargets")]
    dropped: Vec<Dropped>,
    #[serde(rename = "droppedTargetCounts")]
    dropped_counts: BTreeMap<String, usize>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Active {
    discovered_labels: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    scrape_pool: String,
    scrape_url: String,
    global_url: String,
    last_error: String,
    last_scrape: String,
    last_scrape_duration: f64,
    health: &'static str,
    scrape_interval: String,
    scrape_timeout: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Dropped {
    discovered_labels: BTreeMap<String, String>,
    scrape_pool: String,
}

impl From<TargetHealth> for Active {
    fn from(target: TargetHealth) -> Self {
        let span = |span: hmsops_model::Millis| duration::format(i64::try_from(span.0).unwrap_or(i64::MAX));
        Self {
            health: match target.up {
                Some(true) => "up",
                Some(false) => "down",
                None => "unknown",
            },
            last_scrape: target.asked_at.map_or(NEVER.to_owned(), moment),
            last_scrape_duration: target.took.as_secs_f64(),
            last_error: target.error.unwrap_or_default(),
            scrape_interval: span(target.interval),
            scrape_timeout: span(target.timeout),
            discovered_labels: target.discovered,
            labels: target.labels,
            scrape_pool: target.job,
            global_url: target.url.clone(),
            scrape_url: target.url,
        }
    }
}

pub(super) fn moment(at: UnixMillis) -> String {
    Timestamp::from_millisecond(at.0).unwrap_or_default().to_string()
}

/// The targets; `state` is `active`, `dropped` or `any`, and `scrapePool` names one job.
pub(super) async fn targets(State(context): State<Context>, fields: Fields) -> Result<Response, Refused> {
    let state = fields.get("state").map(str::to_ascii_lowercase).unwrap_or_default();
    let (wants_active, wants_dropped) = match state.as_str() {
        "" | "any" => (true, true),
        "active" => (true, false),
        "dropped" => (false, true),
        _ => return Err(Refused::parameter("state", "expected `active`, `dropped` or `any`")),
    };
    let wanted = fields.get("scrapePool").filter(|pool| !pool.is_empty());
    let is_wanted = |pool: &str| wanted.is_none_or(|wanted| wanted == pool);
    let active =
        context.scraper.targets().into_iter().filter(|target| wants_active && is_wanted(&target.job));
    let pools: Vec<Pool> = context.scraper.pools().into_iter().filter(|pool| is_wanted(&pool.job)).collect();
    let counts = pools.iter().map(|pool| (pool.job.clone(), pool.dropped_count)).collect();
    let dropped = pools.into_iter().filter(|_| wants_dropped).flat_map(|pool| {
        let job = pool.job;
        pool.dropped
            .into_iter()
            .map(move |labels| Dropped { discovered_labels: labels, scrape_pool: job.clone() })
    });
    let found = Targets {
        active: active.map(Active::from).collect(),
        dropped: dropped.collect(),
        dropped_counts: counts,
    };
    Ok(json(prometheus::success(&found, Notes::default())))
}

/// The names of all jobs, sorted.
pub(super) async fn pools(State(context): State<Context>) -> Response {
    let mut names: Vec<String> = context.scraper.targets().into_iter().map(|target| target.job).collect();
    names.extend(context.scraper.pools().into_iter().map(|pool| pool.job));
    names.sort();
    names.dedup();
    json(prometheus::success(&serde_json::json!({ "scrapePools": names }), Notes::default()))
}
