//! `/api/v1/query_exemplars`: examples of what the series of a query counted.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use axum::response::Response;
use hmsops_model::Labels;
use hmsops_model::series::Budget;
use hmsops_wire::prometheus::{self, Notes};
use serde::Serialize;

use super::fields::Fields;
use super::{Refused, json};
use crate::door::Context;
use crate::query::{Metrics, Span, WITHIN};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OfSeries {
    series_labels: BTreeMap<String, String>,
    exemplars: Vec<Shown>,
}

#[derive(Debug, Serialize)]
struct Shown {
    labels: BTreeMap<String, String>,
    value: String,
    timestamp: f64,
}

fn map(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Exemplars of all series that the selectors of `query` pick, from `start` to `end`.
pub(super) async fn query(State(context): State<Context>, fields: Fields) -> Result<Response, Refused> {
    let (from, to) = (fields.moment("start")?.unwrap_or(i64::MIN), fields.moment("end")?.unwrap_or(i64::MAX));
    if to < from {
        return Err(Refused::parameter("end", "end timestamp must not be before start time"));
    }
    let text = fields.get("query").unwrap_or_default();
    let expr = hmsops_promql::parse(text).map_err(|error| Refused::parameter("query", error))?;
    let matcher_sets: Vec<_> = expr.selectors().iter().map(|selector| selector.conditions()).collect();
    if matcher_sets.is_empty() {
        return Ok(json(prometheus::success(&[(); 0], Notes::default())));
    }
    let exemplars = context.metrics.exemplars().clone();
    let work = move |source: &dyn Metrics, budget: &Budget| {
        // A series may have had its last sample before its exemplar is asked for.
        let span = Span { matcher_sets, from: i64::MIN, to: i64::MAX };
        let series: BTreeSet<Labels> = source.series(&span, 0)?.into_iter().collect();
        let mut found = Vec::new();
        for labels in series {
            budget.charge(0, 0)?;
            let of = exemplars.of(&labels, (from, to)).into_iter().map(|exemplar| Shown {
                labels: map(&exemplar.labels),
                value: hmsops_promql::number::format(exemplar.value),
                timestamp: exemplar.time as f64 / 1000.0,
            });
            let exemplars: Vec<Shown> = of.collect();
            if !exemplars.is_empty() {
                found.push(OfSeries { series_labels: map(&labels), exemplars });
            }
        }
        Ok(prometheus::success(&found, Notes::default()))
    };
    Ok(json(context.queries.run(WITHIN, work).await?))
}
