//! What is taken, what is refused, and what is said of it.

use std::sync::Arc;
use std::thread;

use hmsops_disk::MemDisk;
use hmsops_model::labels::Labels;
use hmsops_model::sample::{Tally, Value, stale_nan};
use hmsops_model::{Millis, UnixMillis};
use hmsops_tsdb::{Batch, Key, Options, Row, Store};

use super::ground::*;

#[test]
fn what_was_appended_is_read_also_after_a_restart_and_a_checkpoint() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk, options());
    let (a, b) = (up("a"), up("b"));
    let expected: Vec<(i64, f64)> = (0..300).map(|n| (n * 100, n as f64 / 4.0)).collect();
    for chunk in expected.chunks(50) {
        let rows = chunk.iter().flat_map(|(t, v)| [float(&a, T0 + t, *v), float(&b, T0 + t, stale_nan())]);
        assert_eq!(push(&store, rows.collect()).stored, 100);
    }
    assert_eq!(floats(&store, &a), expected);
    store.checkpoint(NOW).unwrap();
    assert_eq!(floats(&store, &a), expected, "from disk");
    push(&store, vec![float(&a, T0 + 30_000, -0.0)]);
    drop(store);
    let (store, recovered) = open(&disk, options());
    assert_eq!((recovered.series, recovered.samples, recovered.records), (2, 601, 1));
    assert_eq!(recovered.warnings, [""; 0]);
    let after = floats(&store, &a);
    assert_eq!(after[..300], expected);
    assert_eq!(after[300].1.to_bits(), (-0.0_f64).to_bits());
    assert!(floats(&store, &b).iter().all(|(_, v)| v.to_bits() == stale_nan().to_bits()));
}

#[test]
fn floats_come_in_order_and_once() {
    let (store, _) = open(&MemDisk::new(), options());
    let a = up("a");
    push(&store, vec![float(&a, T0, 1.0), float(&a, T0 + 1, 2.0), float(&a, T0 + 5, 3.0)]);
    let again = push(&store, vec![float(&a, T0 + 1, 2.0), float(&a, T0 + 5, 3.0)]);
    assert_eq!((again.stored, again.duplicates, again.refused.total()), (0, 2, 0));
    let other = push(&store, vec![float(&a, T0 + 5, 4.0), float(&a, T0 + 3, 4.0), float(&a, T0 + 6, 4.0)]);
    assert_eq!((other.stored, other.refused.conflicting, other.refused.too_old), (1, 1, 1));
    assert_eq!(other.refused.first.unwrap(), format!("`up{{job=\"a\"}}` has another value at {}", T0 + 5));
    let twice = push(&store, vec![float(&a, T0 + 7, 5.0), float(&a, T0 + 7, 5.0), float(&a, T0 + 7, 6.0)]);
    assert_eq!((twice.stored, twice.duplicates, twice.refused.conflicting), (1, 1, 1));
    assert_eq!(floats(&store, &a), [(0, 1.0), (1, 2.0), (5, 3.0), (6, 4.0), (7, 5.0)]);
}

#[test]
fn late_floats_within_the_window_are_put_in_their_place() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk, Options { late_window: Millis(1000), ..options() });
    let a = up("a");
    for n in 0..150 {
        push(&store, vec![float(&a, T0 + n * 10, n as f64)]);
    }
    store.checkpoint(NOW).unwrap();
    let late =
        push(&store, vec![float(&a, T0 + 1005, 0.5), float(&a, T0 + 105, 0.5), float(&a, T0 + 1000, 0.5)]);
    assert_eq!((late.stored, late.refused.too_old, late.refused.conflicting), (1, 1, 1));
    let at = |store: &Store| {
        floats(store, &a).into_iter().filter(|(t, _)| (1000..=1010).contains(t)).collect::<Vec<_>>()
    };
    assert_eq!(at(&store), [(1000, 100.0), (1005, 0.5), (1010, 101.0)]);
    drop(store);
    assert_eq!(at(&open(&disk, options()).0), [(1000, 100.0), (1005, 0.5), (1010, 101.0)]);
}

#[test]
fn tallies_merge_and_may_come_late() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk, options());
    let a = up("a");
    for n in 0..400 {
        let time = if n % 2 == 0 { T0 + n } else { T0 + n - 30 };
        push(&store, vec![tally(&a, time, 1.0), tally(&a, time, 3.0)]);
        if n % 90 == 0 {
            store.checkpoint(NOW).unwrap();
        }
    }
    let sum = |store: &Store| {
        let samples = samples(store, &a);
        assert!(samples.times().is_sorted_by(|a, b| a < b));
        let tallies = (0..samples.len()).map(|index| match samples.value(index) {
            Value::Tally(tally) => tally,
            other => panic!("{other:?}"),
        });
        tallies.fold(Tally { count: 0, ..Tally::of(0.0) }, Tally::merge)
    };
    let whole = sum(&store);
    assert_eq!((whole.count, whole.sum, whole.min, whole.max), (800, 1600.0, 1.0, 3.0));
    drop(store);
    assert_eq!(sum(&open(&disk, options()).0), whole);
}

#[test]
fn times_out_of_bounds_are_refused_with_the_reason() {
    let (store, _) = open(&MemDisk::new(), Options { retention: Millis::from_mins(60), ..options() });
    let a = up("a");
    let hour = 3_600_000;
    let rows =
        vec![float(&a, NOW.0 - hour - 1, 1.0), float(&a, NOW.0 + 600_001, 1.0), float(&a, NOW.0 - hour, 1.0)];
    let appended = push(&store, rows);
    assert_eq!((appended.stored, appended.refused.too_old, appended.refused.too_new), (1, 1, 1));
    assert!(appended.refused.first.unwrap().contains("samples are kept for 1 h"));
    for time in [i64::MIN, i64::MAX] {
        assert_eq!(push(&store, vec![float(&a, time, 1.0)]).refused.total(), 1);
        assert_eq!(push(&store, vec![tally(&a, time, 1.0)]).refused.total(), 1);
    }
}

#[test]
fn over_budget_the_new_is_refused_and_the_known_keeps_flowing() {
    let (store, _) = open(&MemDisk::new(), Options { series_max: 2, ..options() });
    let jobs: Vec<Labels> = ["a", "b", "c"].iter().map(|job| up(job)).collect();
    let first = push(&store, jobs.iter().map(|labels| float(labels, T0, 1.0)).collect());
    assert_eq!((first.stored, first.refused.over_budget), (2, 1));
    let second = push(&store, jobs.iter().map(|labels| float(labels, T0 + 1, 1.0)).collect());
    assert_eq!((second.stored, second.refused.over_budget), (2, 1));
    let stats = store.stats();
    assert_eq!((stats.series, stats.series_max, stats.refused.over_budget), (2, 2, 2));
}

#[test]
fn bad_labels_are_refused_and_harm_nobody() {
    let (store, _) = open(&MemDisk::new(), options());
    let (huge, nameless, good) = (up(&"x".repeat(1 << 20)), Labels::new([("a", "b")]), up("a"));
    let mut rows: Vec<Row<'_>> = [&huge, &nameless, &good].map(|labels| float(labels, T0, 1.0)).into();
    let parse = |_: &[u8]| Err("the label block ends too early".to_owned());
    let key = Key::Wire { bytes: b"\xff", parse: &parse };
    rows.push(Row { key, time: T0, start: 0, value: Value::Float(1.0) });
    let appended = push(&store, rows);
    assert_eq!((appended.stored, appended.refused.bad_labels), (1, 3));
    assert!(appended.refused.first.unwrap().len() < 400);
}

#[test]
fn a_batch_that_comes_again_is_acknowledged_and_not_stored() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk, options());
    let a = up("a");
    let send = |store: &Store, sequence| push_from(store, "web/1", sequence, vec![tally(&a, T0, 1.0)]);
    assert_eq!(send(&store, 9).stored, 1);
    assert_eq!(send(&store, 3).stored, 1, "numbers may come in any order");
    assert!(send(&store, 9).is_repeat && send(&store, 3).is_repeat);
    drop(store);
    let (store, _) = open(&disk, options());
    assert!(send(&store, 9).is_repeat, "the log knows");
    store.checkpoint(NOW).unwrap();
    drop(store);
    let (store, recovered) = open(&disk, options());
    assert_eq!(recovered.records, 0);
    assert!(send(&store, 3).is_repeat, "the checkpoint knows");
    assert_eq!(samples(&store, &a).value(0), Value::Tally(Tally::of(1.0).merge(Tally::of(1.0))));
    assert_eq!(store.stats().repeats, 1);
}

/// Threads that send the same batches store each once, while checkpoints are made.
#[test]
fn threads_and_checkpoints_lose_and_double_nothing() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk, options());
    let shared = up("shared");
    thread::scope(|scope| {
        for sender in 0..8_i64 {
            let (store, shared) = (&store, &shared);
            scope.spawn(move || {
                let own = up(&(sender / 2).to_string());
                let source = format!("s{}", sender / 2);
                for n in 0..100 {
                    let rows = vec![tally(&own, T0 + n, 1.0), tally(shared, T0 + n % 7, 1.0)];
                    push_from(store, &source, n as u64, rows);
                }
            });
        }
        for _ in 0..10 {
            store.checkpoint(NOW).unwrap();
        }
    });
    let count = |labels: &Labels, store: &Store| {
        let samples = samples(store, labels);
        let counts = (0..samples.len()).map(|index| match samples.value(index) {
            Value::Tally(tally) => tally.count,
            other => panic!("{other:?}"),
        });
        counts.sum::<u64>()
    };
    let check = |store: &Store| {
        assert_eq!(count(&shared, store), 400);
        assert!((0..4).all(|n| count(&up(&n.to_string()), store) == 100));
    };
    check(&store);
    drop(store);
    check(&open(&disk, options()).0);
}

#[test]
fn what_is_older_than_the_retention_goes_and_so_do_its_series_and_files() {
    let disk = MemDisk::new();
    let small = || Options { retention: Millis::from_mins(60), ..options() };
    let (store, _) = open(&disk, small());
    let (a, b) = (up("a"), up("b"));
    for n in 0..130 {
        push(&store, vec![float(&a, T0 + n, 1.0), float(&b, T0 + n, 1.0)]);
    }
    store.checkpoint(NOW).unwrap();
    assert_eq!(store.stats().chunk_files, 1);
    let later = UnixMillis(NOW.0 + 2 * 3_600_000);
    let batch = Batch { origin: None, rows: vec![float(&a, later.0, 2.0)] };
    store.append(later, &batch).unwrap();
    let done = store.maintain(later).unwrap();
    assert!(done.is_checkpoint && done.forgotten == 1, "{done:?}");
    let stats = store.stats();
    assert_eq!((stats.series, stats.chunk_files), (1, 0));
    assert_eq!(floats(&store, &a), [(later.0 - T0, 2.0)]);
    assert!(
        !hmsops_disk::Disk::list(&disk, "metrics").unwrap().iter().any(|name| name.starts_with("chunks"))
    );
    let back = Batch { origin: None, rows: vec![float(&b, later.0, 3.0)] };
    store.append(later, &back).unwrap();
    drop(store);
    let (store, _) = Store::open(Arc::new(disk), "metrics", small(), later).unwrap();
    assert_eq!(floats(&store, &b), [(later.0 - T0, 3.0)]);
    assert_eq!(all(&store).len(), 2);
}
