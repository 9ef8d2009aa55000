//! Queries of metrics: each on a thread of its own, in bounded memory and time, and only so many at once.

use std::sync::Arc;
use std::time::Duration;

use hmsops_model::labels::{Labels, Matcher};
use hmsops_model::series::{Budget, SeriesSource, SourceError};
use hmsops_promql::ast::Expr;
use hmsops_promql::{Answer, EvalError, Options};
use tokio::sync::Semaphore;

/// Samples that one query may hold, as in Prometheus (`--query.max-samples`).
pub const SAMPLES_MAX: u64 = 50_000_000;

/// Bytes that one query may hold: room for thirty million samples, which no chart needs.
pub const BYTES_MAX: u64 = 512 << 20;

/// Bytes that all queries may hold together, so that many large ones leave the machine to its services.
pub const SHARED_BYTES_MAX: u64 = 1 << 30;

/// Queries that may wait for a thread: a dashboard asks some tens of questions at once.
pub const WAITING_MAX: usize = 64;

/// Queries that run at once for each core: one computes while the other reads.
const RUNNING_PER_CORE: usize = 2;

/// How long a query may take, its wait included.
pub const WITHIN: Duration = Duration::from_secs(30);

/// Where series are, with what is asked of their labels alone.
pub trait Metrics: SeriesSource + Send + Sync {
    /// The label sets of the series that one of the matcher sets picks (all series, if there is none) with
    /// samples from `from` to `to`, in Unix milliseconds, sorted; at most `limit`, if that is not 0.
    fn series(&self, span: &Span, limit: usize) -> Result<Vec<Labels>, SourceError>;

    /// The label names of these series, sorted; at most `limit`, if that is not 0.
    fn label_names(&self, span: &Span, limit: usize) -> Result<Vec<String>, SourceError>;

    /// The values of a label of these series, sorted; at most `limit`, if that is not 0.
    fn label_values(&self, name: &str, span: &Span, limit: usize) -> Result<Vec<String>, SourceError>;
}

/// Which series, and when they had samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// One of these sets must hold; none: all series.
    pub matcher_sets: Vec<Vec<Matcher>>,
    /// The earliest moment, in Unix milliseconds, inclusive.
    pub from: i64,
    /// The latest moment, in Unix milliseconds, inclusive.
    pub to: i64,
}

impl Metrics for hmsops_tsdb::Store {
    fn series(&self, span: &Span, limit: usize) -> Result<Vec<Labels>, SourceError> {
        Self::series(self, &span.matcher_sets, span.from, span.to, limit)
    }

    fn label_names(&self, span: &Span, limit: usize) -> Result<Vec<String>, SourceError> {
        Self::label_names(self, &span.matcher_sets, span.from, span.to, limit)
    }

    fn label_values(&self, name: &str, span: &Span, limit: usize) -> Result<Vec<String>, SourceError> {
        Self::label_values(self, name, &span.matcher_sets, span.from, span.to, limit)
    }
}

/// The moments a query is answered for, in Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// One.
    At(i64),
    /// From the first to the second, so far apart as the third says.
    Range(i64, i64, i64),
}

/// Why a query has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// It cannot be executed, or would hold too much.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// Too many others are under way.
    #[error("{WAITING_MAX} queries wait already, which is all that may")]
    Busy,
    /// It took too long.
    #[error("the query took longer than {} s", .0.as_secs_f64())]
    Late(Duration),
    /// Whatever ran it broke.
    #[error("the query broke off: {0}")]
    Broken(String),
}

impl From<SourceError> for QueryError {
    fn from(error: SourceError) -> Self {
        Self::Eval(error.into())
    }
}

/// Answers queries. Cheap to clone; clones share the limits.
#[derive(Clone)]
pub struct Queries {
    source: Arc<dyn Metrics>,
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    memory: Arc<Budget>,
}

/// Calls a query off when whoever waits for it does so no longer.
struct CallOff(Arc<Budget>);

impl Drop for CallOff {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Queries {
    /// Over this source, at most so many at once as this machine's cores bear.
    pub fn new(source: Arc<dyn Metrics>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::with_room(source, cores * RUNNING_PER_CORE, WAITING_MAX)
    }

    /// Over this source, so many at once, and so many that wait.
    pub fn with_room(source: Arc<dyn Metrics>, running: usize, waiting: usize) -> Self {
        Self {
            source,
            running: Arc::new(Semaphore::new(running)),
            waiting: Arc::new(Semaphore::new(waiting)),
            memory: Arc::new(Budget::new(u64::MAX, SHARED_BYTES_MAX)),
        }
    }

    /// Answers a query within a time.
    pub async fn ask(
        &self,
        expr: Arc<Expr>,
        when: When,
        options: Options,
        within: Duration,
    ) -> Result<Answer, QueryError> {
        self.run(within, move |source, budget| Ok(evaluate(source, &expr, when, options, budget)?)).await
    }

    /// Runs what reads series on a thread of its own. When nobody waits for it any more, or its time is over, its
    /// budget is called off, and its place is free when it has noticed.
    pub async fn run<T: Send + 'static>(
        &self,
        within: Duration,
        work: impl FnOnce(&dyn Metrics, &Budget) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let within = within.min(WITHIN);
        let waits = self.waiting.clone().try_acquire_owned().map_err(|_| QueryError::Busy)?;
        let budget = Arc::new(Budget::new(SAMPLES_MAX, BYTES_MAX).within(self.memory.clone()));
        let (source, running) = (self.source.clone(), self.running.clone());
        let _call_off = CallOff(budget.clone());
        let answered = async move {
            let place =
                running.acquire_owned().await.map_err(|error| QueryError::Broken(error.to_string()))?;
            drop(waits);
            let read = tokio::task::spawn_blocking(move || {
                let answer = work(source.as_ref(), &budget);
                drop(place);
                answer
            });
            read.await.map_err(|error| QueryError::Broken(error.to_string()))?
        };
        tokio::time::timeout(within, answered).await.map_err(|_| QueryError::Late(within))?
    }
}

/// Evaluates a query on this thread.
pub fn evaluate(
    source: &dyn SeriesSource,
    expr: &Expr,
    when: When,
    options: Options,
    budget: &Budget,
) -> Result<Answer, EvalError> {
    match when {
        When::At(at) => hmsops_promql::instant(source, expr, at, options, budget),
        When::Range(from, to, step) => hmsops_promql::range(source, expr, (from, to, step), options, budget),
    }
}

/// Nothing at all: where no store is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

impl SeriesSource for Nothing {
    fn select<'a>(
        &'a self,
        _selection: &hmsops_model::series::Selection<'_>,
        _budget: &Budget,
    ) -> Result<hmsops_model::series::Found<'a>, SourceError> {
        Ok(Box::new(std::iter::empty()))
    }
}

impl Metrics for Nothing {
    fn series(&self, _span: &Span, _limit: usize) -> Result<Vec<Labels>, SourceError> {
        Ok(Vec::new())
    }

    fn label_names(&self, _span: &Span, _limit: usize) -> Result<Vec<String>, SourceError> {
        Ok(Vec::new())
    }

    fn label_values(&self, _name: &str, _span: &Span, _limit: usize) -> Result<Vec<String>, SourceError> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;

    use super::*;

    fn number(source: &dyn Metrics, budget: &Budget) -> Result<f64, QueryError> {
        let expr = hmsops_promql::parse("1 + 1").unwrap();
        match evaluate(source, &expr, When::At(0), Options::default(), budget)?.outcome {
            hmsops_promql::Outcome::Scalar(value) => Ok(value),
            other => panic!("{other:?}"),
        }
    }

    /// More than may wait are refused at once, and those that wait get their turn.
    #[tokio::test(flavor = "multi_thread")]
    async fn queries_wait_for_their_turn_and_not_in_any_number() {
        let queries = Queries::with_room(Arc::new(Nothing), 1, 1);
        let (go, gone) = mpsc::channel::<()>();
        let first = tokio::spawn({
            let queries = queries.clone();
            async move { queries.run(WITHIN, move |_, _| Ok(gone.recv().is_ok())).await }
        });
        while queries.running.available_permits() > 0 || queries.waiting.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        let second = tokio::spawn({
            let queries = queries.clone();
            async move { queries.run(WITHIN, number).await }
        });
        while queries.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(queries.run(WITHIN, number).await, Err(QueryError::Busy));
        go.send(()).unwrap();
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (Ok(true), Ok(2.0)));
    }

    /// Whoever goes away, or waits no longer, takes the query with them.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_query_ends_when_nobody_waits_for_it() {
        let queries = Queries::with_room(Arc::new(Nothing), 1, 1);
        let endless = |ended: Arc<AtomicBool>| {
            move |_: &dyn Metrics, budget: &Budget| -> Result<(), QueryError> {
                loop {
                    if let Err(error) = budget.charge(0, 0) {
                        ended.store(true, Ordering::SeqCst);
                        return Err(error.into());
                    }
                    std::thread::yield_now();
                }
            }
        };
        let ended = Arc::new(AtomicBool::new(false));
        let short = Duration::from_millis(20);
        assert_eq!(queries.run(short, endless(ended.clone())).await, Err(QueryError::Late(short)));
        while !ended.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        let ended = Arc::new(AtomicBool::new(false));
        let asked = tokio::spawn({
            let (queries, ended) = (queries.clone(), ended.clone());
            async move { queries.run(WITHIN, endless(ended)).await }
        });
        while queries.running.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        asked.abort();
        while !ended.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        assert_eq!(queries.run(WITHIN, number).await, Ok(2.0));
    }
}
