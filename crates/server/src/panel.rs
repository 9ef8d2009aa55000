//! What a dashboard's panels show: the points of the last minutes, and what comes after them.

mod course;
mod feed;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hmsops_model::sample::Value;
use hmsops_model::series::Series;
use hmsops_model::{Labels, PanelSpec};
use hmsops_promql::{Answer, Options, Outcome};
use tokio::task::JoinSet;

pub use feed::Feeds;

use crate::query::{Queries, QueryError, When};

/// Series of one panel; a picture of more shows nothing.
pub const SERIES_MAX: usize = 200;

/// Panels of one dashboard; more are no view but a search.
pub const PANELS_MAX: usize = 40;

/// Rows of a panel that is drawn without a script.
const ROWS_MAX: usize = 20;

/// A panel that takes longer says so, and the others go on.
const WITHIN: Duration = Duration::from_secs(10);

/// A page waits so long for the latest values.
const PAGE_WITHIN: Duration = Duration::from_secs(2);

/// A panel's latest values.
#[derive(Debug, Clone, PartialEq)]
pub struct Latest {
    /// The panel.
    pub spec: PanelSpec,
    /// By series: a name for people, and the value; or why there are none.
    pub rows: Result<Vec<(String, f64)>, String>,
}

/// The latest values of panels, in their order.
pub async fn latest(queries: &Queries, panels: &[PanelSpec], now: i64) -> Vec<Latest> {
    let mut found = read(queries, panels, When::At(now), PAGE_WITHIN).await.into_iter();
    let one = |spec: &PanelSpec| {
        let rows = found.next().unwrap_or_else(|| Err(BROKEN.into())).map(|series| {
            let names = names(series.iter().map(|series| &series.labels));
            let value = |series: &Series| {
                let value =
                    series.samples.len().checked_sub(1).and_then(|last| number(&series.samples.value(last)));
                value.unwrap_or(f64::NAN)
            };
            names.into_iter().zip(series.iter().map(value)).take(ROWS_MAX).collect()
        });
        Latest { spec: spec.clone(), rows }
    };
    panels.iter().map(one).collect()
}

/// What is said when a task of ours is lost.
const BROKEN: &str = "query failed: it broke off";

/// Asks all panels at once; the answers come in their order.
async fn read(
    queries: &Queries,
    panels: &[PanelSpec],
    when: When,
    within: Duration,
) -> Vec<Result<Vec<Series>, String>> {
    let mut asked = JoinSet::new();
    for (index, panel) in panels.iter().enumerate() {
        let (queries, query) = (queries.clone(), panel.query.clone());
        asked.spawn(async move { (index, one(&queries, &query, when, within).await) });
    }
    let mut answers = vec![Err(BROKEN.to_owned()); panels.len()];
    while let Some(answered) = asked.join_next().await {
        if let Ok((index, answer)) = answered
            && let Some(slot) = answers.get_mut(index)
        {
            *slot = answer.map_err(|why| format!("query failed: {why}"));
        }
    }
    answers
}

async fn one(queries: &Queries, query: &str, when: When, within: Duration) -> Result<Vec<Series>, String> {
    let expr = hmsops_promql::parse(query).map_err(|error| error.to_string())?;
    // A page of many panels asks more at once than may wait: those that find no place come again.
    let expr = Arc::new(expr);
    let began = tokio::time::Instant::now();
    loop {
        match queries.ask(expr.clone(), when, Options::default(), within).await {
            Err(QueryError::Busy) if began.elapsed() < within => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            answered => return answered.map(series).map_err(|error| error.to_string()),
        }
    }
}

/// An answer as series over time, at most as many as a picture bears.
fn series(answer: Answer) -> Vec<Series> {
    let single = |labels: Labels, time: i64, value: Value| {
        let mut samples = hmsops_model::Samples::default();
        samples.push(time, 0, value);
        Series { labels, samples }
    };
    let mut found: Vec<Series> = match answer.outcome {
        Outcome::Matrix(series) => series,
        Outcome::Vector(points) => {
            points.into_iter().map(|point| single(point.labels, point.time, point.value)).collect()
        }
        Outcome::Scalar(value) => vec![single(Labels::empty(), 0, Value::Float(value))],
        Outcome::Text(_) => Vec::new(),
    };
    found.truncate(SERIES_MAX);
    found
}

/// A value that can be drawn.
fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Float(value) => *value,
        Value::Tally(tally) => tally.last,
        Value::Histogram(histogram) => histogram.count,
    };
    number.is_finite().then_some(number)
}

/// What tells series apart, for people: the values of the labels that differ; the metric's name where none does.
fn names<'a>(all: impl Iterator<Item = &'a Labels>) -> Vec<String> {
    let all: Vec<&Labels> = all.collect();
    let known: BTreeSet<&str> = all.iter().flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
    let differs = |name: &&str| {
        let mut values = all.iter().map(|labels| labels.get(name));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    let telling: Vec<&str> = known.into_iter().filter(differs).collect();
    let name = |labels: &&Labels| {
        let said: Vec<&str> = telling.iter().filter_map(|name| labels.get(name)).collect();
        if said.is_empty() { labels.name().unwrap_or("value").to_owned() } else { said.join(" ") }
    };
    all.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_called_by_what_tells_them_apart() {
        let labels = |job: &str, code: &str| Labels::new([("__name__", "up"), ("job", job), ("code", code)]);
        let all = [labels("a", "200"), labels("a", "500"), labels("a", "")];
        assert_eq!(names(all.iter()), ["200", "500", "up"]);
        assert_eq!(names(all[..1].iter()), ["up"]);
        assert_eq!(names([Labels::empty()].iter()), ["value"]);
    }
}
