//! Samples out of order: whatever comes when, within the window the store says what a simple model says, from memory,
//! after checkpoints, after it was opened again, and after the power failed.

use std::collections::BTreeMap;
use std::sync::Arc;

use hmsops_disk::MemDisk;
use hmsops_model::Millis;
use hmsops_model::sample::{Histogram, Value};
use hmsops_tsdb::{Key, Options, Row, Store};
use proptest::prelude::*;

use super::ground::*;

const WINDOW: i64 = 5_000;

fn windowed() -> Options {
    Options { late_window: Millis(WINDOW as u64), ..options() }
}

/// What happens to a store.
#[derive(Debug, Clone)]
enum Step {
    /// Samples of one batch: series, milliseconds before the newest that any batch had yet, value.
    Append(Vec<(usize, i64, u8)>),
    /// So many at once, in order, each so many milliseconds after the other.
    Run(usize, u16, u8),
    Checkpoint,
    Reopen,
    PowerCut(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sample = (0..3_usize, prop_oneof![3 => -500..0_i64, 3 => 0..WINDOW + 500, 1 => 0..20_i64], 0..4_u8);
    let step = prop_oneof![
        6 => prop::collection::vec(sample, 1..40).prop_map(Step::Append),
        2 => (0..3_usize, 1..300_u16, 1..60_u8).prop_map(|(series, count, apart)| Step::Run(series, count, apart)),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
        1 => any::<u64>().prop_map(Step::PowerCut),
    ];
    prop::collection::vec(step, 1..25)
}

/// What a store should hold and say: for each series, value by time.
#[derive(Default)]
struct Model {
    series: [BTreeMap<i64, u8>; 3],
    newest: i64,
    stored: usize,
    duplicates: usize,
    conflicting: usize,
    too_old: usize,
}

impl Model {
    fn take(&mut self, (series, time, value): (usize, i64, u8)) {
        let held = &mut self.series[series];
        let newest = held.last_key_value().map(|(time, _)| *time);
        let counter = match held.get(&time) {
            Some(there) if *there == value => &mut self.duplicates,
            Some(_) => &mut self.conflicting,
            None if newest.is_some_and(|newest| newest - time > WINDOW) => &mut self.too_old,
            None => {
                held.insert(time, value);
                &mut self.stored
            }
        };
        *counter += 1;
    }
}

/// The third series is of histograms: two kinds of chunk.
fn value(series: usize, value: u8) -> Value {
    let number = f64::from(value);
    match series {
        2 => Value::Histogram(Arc::new(Histogram {
            count: number,
            sum: number,
            positive: vec![(0, number)],
            ..Histogram::default()
        })),
        _ => Value::Float(number),
    }
}

fn number(value: &Value) -> u8 {
    match value {
        Value::Float(value) => *value as u8,
        Value::Histogram(histogram) => histogram.count as u8,
        Value::Tally(_) => panic!("no tallies here"),
    }
}

fn held(store: &Store) -> [BTreeMap<i64, u8>; 3] {
    [0, 1, 2].map(|series| {
        let samples = samples(store, &up(&series.to_string()));
        assert!(samples.times().is_sorted_by(|a, b| a < b), "in order, each moment once");
        (0..samples.len()).map(|index| (samples.times()[index], number(&samples.value(index)))).collect()
    })
}

fn append(store: &Store, model: &mut Model, samples: &[(usize, i64, u8)]) {
    let labels = [0, 1, 2].map(|series| up(&series.to_string()));
    let rows = samples.iter().map(|(series, time, number)| Row {
        key: Key::Labels(&labels[*series]),
        time: *time,
        start: 0,
        value: value(*series, *number),
    });
    let before = (model.stored, model.duplicates, model.conflicting, model.too_old);
    let appended = push(store, rows.collect());
    for sample in samples {
        model.take(*sample);
    }
    let refused = &appended.refused;
    let said = (appended.stored, appended.duplicates, refused.conflicting, refused.too_old);
    let expected = (
        model.stored - before.0,
        model.duplicates - before.1,
        model.conflicting - before.2,
        model.too_old - before.3,
    );
    assert_eq!(said, expected, "stored, duplicates, conflicting, too old");
}

/// Batches of a sender are there, each in its order.
fn play(steps: &[Step]) {
    let disk = MemDisk::new();
    let (mut store, _) = open(&disk, windowed());
    let mut model = Model { newest: T0 + 10_000, ..Model::default() };
    for step in steps {
        match step {
            Step::Append(samples) => {
                let first = model.newest;
                let samples: Vec<_> =
                    samples.iter().map(|(series, before, value)| (*series, first - before, *value)).collect();
                model.newest = samples.iter().map(|sample| sample.1).fold(first, i64::max).min(NOW.0);
                append(&store, &mut model, &samples);
            }
            Step::Run(series, count, apart) => {
                let first = model.newest;
                let at = |n: u16| (first + i64::from(n) * i64::from(*apart)).min(NOW.0);
                let samples: Vec<_> = (1..=*count).map(|n| (*series, at(n), n as u8 % 4)).collect();
                model.newest = at(*count);
                append(&store, &mut model, &samples);
            }
            Step::Checkpoint => assert!(store.checkpoint(NOW).unwrap().is_checkpoint),
            Step::Reopen => {
                drop(store);
                store = open(&disk, windowed()).0;
            }
            Step::PowerCut(seed) => {
                drop(store);
                disk.crash(*seed);
                store = open(&disk, windowed()).0;
            }
        }
        assert_eq!(held(&store), model.series, "after {step:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_store_says_what_a_simple_model_says(steps in steps()) {
        play(&steps);
    }
}

/// Half a window at a time from its end to its beginning: more late samples than one chunk takes, over chunks that
/// are open, sealed and on disk.
#[test]
fn a_window_filled_backwards_is_in_order() {
    let mut steps = vec![Step::Run(0, 100, 50), Step::Run(2, 100, 50)];
    for n in 0..40 {
        let backwards = |series| (0..60).map(move |k| (series, n * 120 + k * 2 + 1, 1));
        steps.push(Step::Append(backwards(0).chain(backwards(2)).collect()));
        steps.push(match n % 4 {
            0 => Step::Checkpoint,
            1 => Step::PowerCut(n as u64),
            _ => Step::Reopen,
        });
    }
    play(&steps);
}

/// A window that was larger leaves nothing behind that cannot be read.
#[test]
fn without_a_window_what_came_late_before_stays() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk, windowed());
    let a = up("a");
    push(&store, vec![float(&a, T0 + 1000, 2.0), float(&a, T0 + 10, 1.0)]);
    drop(store);
    let (store, _) = open(&disk, options());
    assert_eq!(floats(&store, &a), [(10, 1.0), (1000, 2.0)]);
    let late = push(&store, vec![float(&a, T0 + 10, 1.0), float(&a, T0 + 20, 1.0)]);
    assert_eq!((late.duplicates, late.refused.too_old), (1, 1));
}
