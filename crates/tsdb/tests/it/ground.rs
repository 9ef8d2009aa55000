//! What the tests stand on.

use std::sync::Arc;

use hmsops_disk::{Disk, MemDisk};
use hmsops_model::UnixMillis;
use hmsops_model::labels::{Labels, MatchOp, Matcher};
use hmsops_model::sample::{Tally, Value};
use hmsops_model::series::{Budget, Hints, Samples, Selection, Series, SeriesSource};
use hmsops_tsdb::{Appended, Batch, Key, Options, Origin, Recovered, Row, Store, StoreError};

/// The moment at which tests begin.
pub(crate) const T0: i64 = 1_700_000_000_000;

pub(crate) const NOW: UnixMillis = UnixMillis(T0 + 60_000);

pub(crate) fn options() -> Options {
    Options { hash_key: Some([7; 16]), ..Options::default() }
}

pub(crate) fn open(disk: &MemDisk, options: Options) -> (Store, Recovered) {
    open_on(Arc::new(disk.clone()), options).unwrap()
}

pub(crate) fn open_on(disk: Arc<dyn Disk>, options: Options) -> Result<(Store, Recovered), StoreError> {
    Store::open(disk, "metrics", options, NOW)
}

pub(crate) fn up(job: &str) -> Labels {
    Labels::new([("__name__", "up"), ("job", job)])
}

pub(crate) fn float(labels: &Labels, time: i64, value: f64) -> Row<'_> {
    Row { key: Key::Labels(labels), time, start: 0, value: Value::Float(value) }
}

pub(crate) fn tally(labels: &Labels, time: i64, value: f64) -> Row<'_> {
    Row { key: Key::Labels(labels), time, start: 0, value: Value::Tally(Tally::of(value)) }
}

pub(crate) fn push(store: &Store, rows: Vec<Row<'_>>) -> Appended {
    store.append(NOW, &Batch { origin: None, rows }).unwrap()
}

pub(crate) fn push_from(store: &Store, source: &str, sequence: u64, rows: Vec<Row<'_>>) -> Appended {
    store.append(NOW, &Batch { origin: Some(Origin { source, sequence }), rows }).unwrap()
}

pub(crate) fn select_in(store: &Store, matchers: &[Matcher], from: i64, to: i64) -> Vec<Series> {
    let budget = Budget::new(u64::MAX / 2, u64::MAX / 2);
    let selection = Selection { matchers, from, to, hints: Hints::default() };
    let mut found: Vec<Series> = store.select(&selection, &budget).unwrap().map(Result::unwrap).collect();
    found.sort_by(|a, b| a.labels.cmp(&b.labels));
    let held: u64 = found.iter().map(|series| series.samples.len() as u64).sum();
    assert_eq!(budget.samples(), held, "the budget holds what was handed out");
    found
}

pub(crate) fn all(store: &Store) -> Vec<Series> {
    select_in(store, &[], i64::MIN, i64::MAX)
}

/// The samples of one series.
pub(crate) fn samples(store: &Store, labels: &Labels) -> Samples {
    let matchers: Vec<Matcher> =
        labels.iter().map(|(name, value)| Matcher::new(name, MatchOp::Eq, value)).collect();
    let mut found = select_in(store, &matchers, i64::MIN, i64::MAX);
    found.retain(|series| series.labels == *labels);
    found.pop().map(|series| series.samples).unwrap_or_default()
}

pub(crate) fn floats(store: &Store, labels: &Labels) -> Vec<(i64, f64)> {
    let samples = samples(store, labels);
    let value = |index| match samples.value(index) {
        Value::Float(value) => value,
        other => panic!("{other:?}"),
    };
    samples.times().iter().enumerate().map(|(index, time)| (*time - T0, value(index))).collect()
}
