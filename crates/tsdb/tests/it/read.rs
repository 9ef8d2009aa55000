//! What is found, what is read for it, and what that costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hmsops_disk::{Disk, MemDisk};
use hmsops_model::Millis;
use hmsops_model::labels::MatchOp::{self, Eq, Ne, NotRe, Re};
use hmsops_model::labels::{Labels, Matcher};
use hmsops_model::sample::{Histogram, ResetHint, Value, stale_nan};
use hmsops_model::series::{Budget, Hints, Samples, Selection, SeriesSource, SourceError};
use hmsops_tsdb::{Key, Options, Row, Store};

use super::ground::*;

fn names(store: &Store, matchers: &[Matcher]) -> Vec<String> {
    let found = select_in(store, matchers, i64::MIN, i64::MAX);
    found.iter().map(|series| series.labels.get("job").unwrap_or("-").to_owned()).collect()
}

#[test]
fn matchers_pick_series_and_a_missing_label_is_empty() {
    let (store, _) = open(&MemDisk::new(), options());
    let bare = Labels::new([("__name__", "up")]);
    let down = up("a").with("__name__", "down");
    for labels in [&up("a"), &up("b"), &up("bc"), &bare, &down] {
        push(&store, vec![float(labels, T0, 1.0)]);
    }
    let up_and = |op, value: &str| [Matcher::new("__name__", Eq, "up"), Matcher::new("job", op, value)];
    for (op, value, expected) in [
        (Eq, "a", &["a"][..]),
        (Ne, "a", &["-", "b", "bc"]),
        (Eq, "", &["-"]),
        (Re, "b.*", &["b", "bc"]),
        (Re, "b|", &["-", "b"]),
        (NotRe, ".+", &["-"]),
        (NotRe, "b?c?", &["a"]),
    ] {
        assert_eq!(names(&store, &up_and(op, value)), expected, "{}{value}", op.as_str());
    }
    let bad = [Matcher::new("job", Re, "(")];
    let selection = Selection { matchers: &bad, from: 0, to: i64::MAX, hints: Hints::default() };
    let refused = store.select(&selection, &Budget::new(9, 9)).err().unwrap();
    assert!(matches!(refused, SourceError::Failed(why) if why.contains('(')));
}

#[test]
fn names_and_values_of_labels_are_those_of_series_in_the_range() {
    let (store, _) = open(&MemDisk::new(), options());
    push(&store, vec![float(&up("a"), T0, 1.0), float(&up("b").with("env", "x"), T0 + 100, 1.0)]);
    let (all, first) = ((i64::MIN, i64::MAX), (T0, T0 + 50));
    assert_eq!(store.label_names(&[], all.0, all.1, 0).unwrap(), ["__name__", "env", "job"]);
    assert_eq!(store.label_names(&[], first.0, first.1, 0).unwrap(), ["__name__", "job"]);
    assert_eq!(store.label_values("job", &[], all.0, all.1, 0).unwrap(), ["a", "b"]);
    assert_eq!(store.label_values("job", &[], first.0, first.1, 0).unwrap(), ["a"]);
    assert_eq!(store.label_values("job", &[], all.0, all.1, 1).unwrap(), ["a"]);
    assert_eq!(store.label_values("none", &[], all.0, all.1, 1).unwrap(), [""; 0]);
    let with_env = vec![Matcher::new("env", MatchOp::Ne, "")];
    let is_a = vec![Matcher::new("job", MatchOp::Eq, "a")];
    assert_eq!(store.label_values("job", std::slice::from_ref(&with_env), all.0, all.1, 0).unwrap(), ["b"]);
    let both = store.series(&[with_env, is_a], all.0, all.1, 0).unwrap();
    assert_eq!(both, [up("b").with("env", "x"), up("a")]);
    assert_eq!(store.series(&[], first.0, first.1, 0).unwrap(), [up("a")]);
    assert_eq!(store.series(&[], T0 + 101, all.1, 0).unwrap(), []);
}

/// A thousand samples in chunks on disk, the first chunk of them damaged.
fn damaged() -> (MemDisk, Store) {
    let disk = MemDisk::new();
    let (store, _) = open(&disk, options());
    push(&store, (0..1000).map(|n| float(&A, T0 + n, n as f64)).collect());
    store.checkpoint(NOW).unwrap();
    let name =
        Disk::list(&disk, "metrics").unwrap().into_iter().find(|name| name.starts_with("chunks")).unwrap();
    let mut file = disk.open(&format!("metrics/{name}"), hmsops_disk::Open::Existing).unwrap();
    file.write_at(20, &[0xff]).unwrap();
    (disk, store)
}

static A: std::sync::LazyLock<Labels> = std::sync::LazyLock::new(|| up("a"));

#[test]
fn chunks_outside_the_window_are_not_read_and_damage_inside_is_said() {
    let (_disk, store) = damaged();
    let found = select_in(&store, &[], T0 + 500, T0 + 599);
    assert_eq!(found[0].samples.times(), (T0 + 500..T0 + 600).collect::<Vec<_>>());
    let selection = Selection { matchers: &[], from: T0, to: T0, hints: Hints::default() };
    let refused = store.select(&selection, &Budget::new(1000, 1 << 20)).err().unwrap();
    assert!(matches!(&refused, SourceError::Failed(why) if why.contains("chunks-")), "{refused:?}");
}

#[test]
fn only_labels_are_found_without_reading() {
    let (_disk, store) = damaged();
    let hints = Hints { is_labels_only: true, ..Hints::default() };
    let selection = Selection { matchers: &[], from: T0, to: T0, hints };
    let budget = Budget::new(0, 0);
    let found: Vec<_> = store.select(&selection, &budget).unwrap().map(Result::unwrap).collect();
    assert_eq!((found.len(), found[0].samples.len(), &found[0].labels), (1, 0, &*A));
}

#[test]
fn budgets_are_charged_before_reading_and_what_was_called_off_stops() {
    let (_disk, store) = damaged();
    let selection = Selection { matchers: &[], from: T0, to: T0 + 999, hints: Hints::default() };
    let refused = store.select(&selection, &Budget::new(999, 1 << 30)).err();
    assert_eq!(refused, Some(SourceError::OverBudget { what: "samples", limit: 999 }), "before the damage");
    let refused = store.select(&selection, &Budget::new(1000, 1000)).err();
    assert_eq!(refused, Some(SourceError::OverBudget { what: "bytes", limit: 1000 }));
    let budget = Budget::new(1000, 1 << 30);
    budget.cancel();
    assert_eq!(store.select(&selection, &budget).err(), Some(SourceError::Cancelled));
}

fn histogram(count: f64, bucket: f64, sum: f64) -> Value {
    let positive = vec![(0, count - bucket), (3, bucket)];
    Value::Histogram(Arc::new(Histogram { count, sum, positive, ..Histogram::default() }))
}

/// The hint is that of the sample before, also where that is outside of what was asked for or in another chunk.
#[test]
fn histograms_say_whether_their_counts_started_again() {
    use ResetHint::{NotReset, Reset, Unknown};
    let disk = MemDisk::new();
    let (store, _) = open(&disk, options());
    let values = [
        (histogram(3.0, 1.0, 1.0), Unknown),
        (histogram(5.0, 2.0, 2.0), NotReset),
        (histogram(4.0, 2.0, 2.0), Reset),
        (histogram(6.0, 1.0, 2.0), Reset),
        (histogram(0.0, 0.0, stale_nan()), Unknown),
        (histogram(7.0, 2.0, 2.0), Unknown),
        (histogram(8.0, 2.0, 2.0), NotReset),
    ];
    for (n, (value, _)) in (0..).zip(values.iter().cycle().take(200)) {
        push(&store, vec![Row { key: Key::Labels(&A), time: T0 + n, start: T0 - 5, value: value.clone() }]);
    }
    let hints = |store: &Store, from| {
        let found = select_in(store, &[], T0 + from, T0 + from + 8);
        let samples = &found[0].samples;
        let hint = |index| match samples.value(index) {
            Value::Histogram(histogram) => histogram.reset,
            other => panic!("{other:?}"),
        };
        assert!((0..samples.len()).all(|index| samples.start(index) == T0 - 5));
        (0..samples.len()).map(hint).collect::<Vec<_>>()
    };
    let check = |store: &Store| {
        for from in 0..190 {
            let expected = (from..from + 9).map(|n| match (n, n % 7) {
                (0, _) => Unknown,
                // The seventh has a count of 8, the first again one of 3.
                (_, 0) => Reset,
                (_, at) => values[at as usize].1,
            });
            assert_eq!(hints(store, from), expected.collect::<Vec<_>>(), "from {from}");
        }
    };
    check(&store);
    store.checkpoint(NOW).unwrap();
    check(&store);
    drop(store);
    check(&open(&disk, options()).0);
}

#[test]
fn start_timestamps_come_back() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk, options());
    let start = |n: i64| if n < 50 { 0 } else { T0 + n / 70 };
    let row = |n: i64| Row { key: Key::Labels(&A), time: T0 + n, start: start(n), value: Value::Float(1.5) };
    push(&store, (0..200).map(row).collect());
    let check = |store: &Store| {
        let samples = samples(store, &A);
        assert_eq!(samples.len(), 200);
        assert!((0..200).all(|n| samples.start(n as usize) == start(n)));
    };
    check(&store);
    store.checkpoint(NOW).unwrap();
    check(&store);
    drop(store);
    check(&open(&disk, options()).0);
}

/// A series that turns from floats to histograms and back is read in the order of time.
#[test]
fn kinds_may_change() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk, options());
    for n in 0..300 {
        let value = if n / 50 % 2 == 0 { Value::Float(n as f64) } else { histogram(n as f64, 1.0, 1.0) };
        push(&store, vec![Row { key: Key::Labels(&A), time: T0 + n, start: 0, value }]);
    }
    store.checkpoint(NOW).unwrap();
    let samples = samples(&store, &A);
    assert_eq!(samples.times(), (T0..T0 + 300).collect::<Vec<_>>());
    assert!((0..300).all(|n| matches!(samples.value(n), Value::Float(_)) == (n / 50 % 2 == 0)));
}

/// While threads append and checkpoints move chunks to disk, a reader sees every sample that was acknowledged.
#[test]
fn readers_miss_nothing_while_chunks_move() {
    let (store, _) = open(&MemDisk::new(), options());
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..2000 {
                push(&store, vec![float(&A, T0 + n, n as f64)]);
            }
            is_done.store(true, Ordering::Release);
        });
        scope.spawn(|| {
            while !is_done.load(Ordering::Acquire) {
                store.checkpoint(NOW).unwrap();
            }
        });
        let mut before = 0;
        while !is_done.load(Ordering::Acquire) {
            let found = floats(&store, &A);
            assert!(found.iter().zip(0..).all(|((time, value), n)| *time == n && *value == n as f64));
            assert!(found.len() >= before);
            before = found.len();
        }
    });
    assert_eq!(floats(&store, &A).len(), 2000);
}

/// Whoever needs the latest sample alone gets the one that a whole reading ends with.
#[test]
fn the_latest_sample_is_the_last_of_all_that_are_read() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk, Options { late_window: Millis::from_mins(1), ..options() });
    let counter = up("b");
    for n in 0..150 {
        let start = if n < 100 { 0 } else { T0 + 99 };
        let counted = Row { start, ..float(&counter, T0 + n * 2, n as f64) };
        push(&store, vec![float(&A, T0 + n * 3, n as f64), counted]);
    }
    push(&store, vec![float(&A, T0 + 301, 7.0), tally(&up("c"), T0, 1.0), tally(&up("c"), T0 + 9, 2.0)]);
    let hints = Hints { is_latest_only: true, ..Hints::default() };
    for is_on_disk in [false, true] {
        for to in (0..460).map(|millis| T0 + millis) {
            let (from, budget) = (to - 50, Budget::new(10_000, 1 << 20));
            let selection = Selection { matchers: &[], from, to, hints };
            let mut latest: Vec<_> = store.select(&selection, &budget).unwrap().map(Result::unwrap).collect();
            latest.sort_by(|a, b| a.labels.cmp(&b.labels));
            let whole = select_in(&store, &[], from, to);
            assert_eq!(latest.len(), whole.len());
            for (latest, whole) in latest.iter().zip(&whole) {
                let last = |samples: &Samples| samples.part(samples.len() - 1..samples.len());
                assert_eq!((&latest.labels, last(&latest.samples)), (&whole.labels, last(&whole.samples)));
            }
        }
        if !is_on_disk {
            store.checkpoint(NOW).unwrap();
        }
    }
}
