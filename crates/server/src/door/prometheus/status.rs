//! `/api/v1/status/tsdb`: what the series are many of.

use axum::extract::State;
use axum::response::Response;
use hmsops_tsdb::cardinality::Counted;
use hmsops_wire::prometheus::{self, Notes};
use serde_json::{Value, json};

use super::fields::Fields;
use super::{Refused, json as answer};
use crate::door::Context;
use crate::query::WITHIN;

/// Entries of each kind unless it is asked for more, as in Prometheus.
const LIMIT: usize = 10;

/// And at most.
const LIMIT_MAX: usize = 10_000;

fn counted(all: &[Counted]) -> Vec<Value> {
    all.iter().map(|(name, count)| json!({ "name": name, "value": count })).collect()
}

/// What the series are many of; `limit` is how many entries of each kind are told.
pub(super) async fn tsdb(State(context): State<Context>, fields: Fields) -> Result<Response, Refused> {
    let limit = match fields.limit()? {
        0 => LIMIT,
        limit if limit <= LIMIT_MAX => limit,
        limit => return Err(Refused::parameter("limit", format!("{limit} is more than {LIMIT_MAX}"))),
    };
    let store = context.metrics.store().clone();
    let found = context.queries.run(WITHIN, move |_, _| Ok(store.cardinality(limit))).await?;
    let data = json!({
        "headStats": {
            "numSeries": found.series,
            "numSeriesMax": found.series_max,
            "numLabelPairs": found.pairs,
        },
        "seriesCountByMetricName": counted(&found.metrics),
        "labelValueCountByLabelName": counted(&found.values),
        "memoryInBytesByLabelName": counted(&found.bytes),
        "seriesCountByLabelValuePair": counted(&found.by_pair),
    });
    Ok(answer(prometheus::success(&data, Notes::default())))
}
