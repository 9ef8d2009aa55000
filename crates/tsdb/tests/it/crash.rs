//! Power cuts, torn tails, failing and full disks: nothing acknowledged is lost, nothing is there twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use hmsops_disk::{Disk, Faults, FaultyDisk, MemDisk};
use hmsops_model::labels::Labels;
use hmsops_model::sample::Value;
use hmsops_tsdb::{Batch, Origin, Row, Store, StoreError};

use super::ground::*;

/// Steps of the story; every third is a checkpoint.
const STEPS: u64 = 13;

/// What the story writes: a batch fills half a chunk of floats and adds to the same five tallies.
fn batch(labels: &(Labels, Labels), step: u64) -> Batch<'_> {
    let first = T0 + step as i64 * 100;
    let mut rows: Vec<Row<'_>> = (0..60).map(|n| float(&labels.0, first + n, (step * 60) as f64)).collect();
    rows.extend((0..5).map(|n| tally(&labels.1, T0 + n, 1.0)));
    Batch { origin: Some(Origin { source: "story", sequence: step }), rows }
}

fn labels() -> (Labels, Labels) {
    (up("floats"), up("tallies"))
}

fn is_checkpoint(step: u64) -> bool {
    step % 3 == 2
}

/// One step; answers whether it was acknowledged.
fn step(store: &Store, labels: &(Labels, Labels), step: u64) -> Result<bool, StoreError> {
    if is_checkpoint(step) {
        store.checkpoint(NOW).map(|_| false)
    } else {
        store.append(NOW, &batch(labels, step)).map(|appended| {
            assert_eq!(appended.refused.total(), 0, "{appended:?}");
            true
        })
    }
}

/// Which batches are there; each must be there whole and once.
fn found(store: &Store) -> Vec<u64> {
    let labels = labels();
    let mut by_step: BTreeMap<u64, usize> = BTreeMap::new();
    for (time, value) in floats(store, &labels.0) {
        let step = time as u64 / 100;
        assert_eq!(value, (step * 60) as f64);
        *by_step.entry(step).or_default() += 1;
    }
    assert!(by_step.values().all(|count| *count == 60), "a batch is there whole or not at all: {by_step:?}");
    let tallies = samples(store, &labels.1);
    for index in 0..tallies.len() {
        let Value::Tally(tally) = tallies.value(index) else { panic!("a tally") };
        assert_eq!(tally.count, by_step.len() as u64, "tallies are added once for each batch");
    }
    by_step.into_keys().collect()
}

/// Plays the story until something fails; answers what was acknowledged.
fn play(disk: Arc<dyn Disk>) -> Vec<u64> {
    let labels = labels();
    let mut acknowledged = Vec::new();
    let Ok((store, _)) = open_on(disk, options()) else { return acknowledged };
    for n in 0..STEPS {
        match step(&store, &labels, n) {
            Ok(true) => acknowledged.push(n),
            Ok(false) => {}
            Err(_) => break,
        }
    }
    acknowledged
}

/// After a crash: what was acknowledged is there, the rest is sent again, and all of it is there once.
fn check_after(disk: &MemDisk, acknowledged: &[u64], what: &str) {
    let labels = labels();
    let (store, _) = open(disk, options());
    let there = found(&store);
    assert!(acknowledged.iter().all(|n| there.contains(n)), "{what}: {acknowledged:?} of {there:?}");
    assert!(
        there.len() <= acknowledged.len() + 1,
        "{what}: at most the last was written and not acknowledged"
    );
    for n in (0..STEPS).filter(|n| !is_checkpoint(*n)) {
        let again = store.append(NOW, &batch(&labels, n)).unwrap();
        assert_eq!(again.is_repeat, there.contains(&n), "{what}: step {n}");
    }
    let whole: Vec<u64> = (0..STEPS).filter(|n| !is_checkpoint(*n)).collect();
    assert_eq!(found(&store), whole, "{what}");
    store.checkpoint(NOW).unwrap();
    drop(store);
    let (store, recovered) = open(disk, options());
    assert_eq!((found(&store), recovered.records), (whole, 0), "{what}");
}

#[test]
fn a_crash_at_every_write_and_sync_loses_and_doubles_nothing() {
    let count = Faults::new();
    assert_eq!(play(Arc::new(FaultyDisk::new(Arc::new(MemDisk::new()), count.clone()))).len(), 9);
    for (kind, total) in [("write", count.writes()), ("sync", count.syncs())] {
        for k in 1..=total {
            let (below, faults) = (MemDisk::new(), Faults::new());
            if kind == "write" {
                faults.freeze_at_write(k);
            } else {
                faults.freeze_at_sync(k);
            }
            let acknowledged = play(Arc::new(FaultyDisk::new(Arc::new(below.clone()), faults)));
            for seed in 0..6 {
                let fork = below.fork();
                fork.crash(seed);
                check_after(&fork, &acknowledged, &format!("{kind} {k} seed {seed}"));
            }
        }
    }
}

/// The program is killed, started again and killed while it opens, and then the power fails: what it read when it
/// opened was durable before it removed anything.
#[test]
fn a_power_cut_after_a_kill_loses_and_doubles_nothing() {
    let count = Faults::new();
    play(Arc::new(FaultyDisk::new(Arc::new(MemDisk::new()), count.clone())));
    for k in (1..=count.syncs()).chain([u64::MAX]) {
        let (killed, faults) = (MemDisk::new(), Faults::new());
        faults.freeze_at_sync(k);
        let acknowledged = play(Arc::new(FaultyDisk::new(Arc::new(killed.clone()), faults)));
        for again in 1..30 {
            let (below, faults) = (killed.fork(), Faults::new());
            faults.freeze_at_write(again);
            let opened = open_on(Arc::new(FaultyDisk::new(Arc::new(below.clone()), faults)), options());
            let is_open = opened.is_ok();
            drop(opened);
            for seed in 0..3 {
                let fork = below.fork();
                fork.crash(seed);
                check_after(&fork, &acknowledged, &format!("sync {k}, write {again}, seed {seed}"));
            }
            if is_open {
                break;
            }
        }
    }
}

/// One sync fails, the program goes on: it opens the log again, makes its next checkpoint, and then the power
/// fails.
#[test]
fn a_failed_sync_anywhere_and_a_crash_later_lose_and_double_nothing() {
    let labels = labels();
    let count = Faults::new();
    play(Arc::new(FaultyDisk::new(Arc::new(MemDisk::new()), count.clone())));
    for k in 1..=count.syncs() {
        for last in [2, STEPS / 2, STEPS] {
            let (below, faults) = (MemDisk::new(), Faults::new());
            faults.fail_sync(k);
            let disk = Arc::new(FaultyDisk::new(Arc::new(below.clone()), faults.clone()));
            let Ok((store, _)) = open_on(disk, options()) else { continue };
            let mut acknowledged = Vec::new();
            for n in 0..last {
                match step(&store, &labels, n) {
                    Ok(true) => acknowledged.push(n),
                    Ok(false) => {}
                    Err(_) if is_checkpoint(n) => assert!(store.stats().latched.is_none()),
                    Err(_) => {
                        assert!(matches!(step(&store, &labels, n), Err(StoreError::Latched { .. })));
                        assert_eq!(found(&store), acknowledged, "what failed is not shown");
                        store.reopen().unwrap();
                        assert!(step(&store, &labels, n).unwrap());
                        acknowledged.push(n);
                    }
                }
            }
            assert_eq!(found(&store), acknowledged);
            for seed in 0..4 {
                let fork = below.fork();
                fork.crash(seed);
                check_after(&fork, &acknowledged, &format!("failed sync {k} of {last} steps seed {seed}"));
            }
            faults.heal();
            store.checkpoint(NOW).unwrap();
            assert_eq!((found(&store), store.stats().checkpoint_error), (acknowledged, None));
        }
    }
}

/// A checkpoint fails at any of its syncs, so that nobody knows whether its manifest counts, and the power fails at
/// any write or sync of the next one: whichever manifest is found, its files are whole.
#[test]
fn a_crash_in_the_checkpoint_after_a_failed_one_loses_and_doubles_nothing() {
    let labels = labels();
    let tell = |below: &MemDisk, failing: u64, freezing: Option<u64>| {
        let faults = Faults::new();
        let disk = Arc::new(FaultyDisk::new(Arc::new(below.clone()), faults.clone()));
        let (store, _) = open_on(disk, options()).unwrap();
        let append = |steps: &[u64]| steps.iter().all(|n| step(&store, &labels, *n).unwrap());
        assert!(append(&[0, 1, 3, 4]));
        store.checkpoint(NOW).unwrap();
        assert!(append(&[6, 7, 9]));
        faults.fail_sync(faults.syncs() + failing);
        let has_failed = store.checkpoint(NOW).is_err();
        faults.heal();
        assert!(append(&[10, 12]));
        let before = (faults.writes(), faults.syncs());
        if let Some(freezing) = freezing {
            faults.freeze_at_write(before.0 + freezing / 2);
            faults.freeze_at_sync(before.1 + freezing / 2 + freezing % 2);
        }
        let is_done = store.checkpoint(NOW).is_ok();
        (has_failed, is_done)
    };
    for failing in 1.. {
        let (has_failed, _) = tell(&MemDisk::new(), failing, None);
        for freezing in 2.. {
            let below = MemDisk::new();
            let (_, is_done) = tell(&below, failing, Some(freezing));
            for seed in 0..3 {
                let fork = below.fork();
                fork.crash(seed);
                check_after(&fork, &[0, 1, 3, 4, 6, 7, 9, 10, 12], &format!("{failing} {freezing} {seed}"));
            }
            if is_done {
                break;
            }
        }
        if !has_failed {
            break;
        }
    }
}

/// A checkpoint that fails at any sync while it lists new series is made up for by the next one.
#[test]
fn new_series_are_listed_by_the_checkpoint_after_a_failed_one() {
    for failing in 1.. {
        let (below, faults) = (MemDisk::new(), Faults::new());
        let disk = Arc::new(FaultyDisk::new(Arc::new(below.clone()), faults.clone()));
        let (store, _) = open_on(disk, options()).unwrap();
        let jobs = [up("a"), up("b")];
        push(&store, vec![float(&jobs[0], T0, 1.0)]);
        store.checkpoint(NOW).unwrap();
        push(&store, vec![float(&jobs[1], T0, 1.0)]);
        faults.fail_sync(faults.syncs() + failing);
        let has_failed = store.checkpoint(NOW).is_err();
        faults.heal();
        store.checkpoint(NOW).unwrap();
        drop(store);
        let (store, recovered) = open(&below, options());
        assert_eq!((all(&store).len(), recovered.records), (2, 0), "failed sync {failing}");
        if !has_failed {
            break;
        }
    }
}

#[test]
fn a_full_disk_latches_and_when_there_is_room_again_nothing_is_missing() {
    let labels = labels();
    let (below, faults) = (MemDisk::new(), Faults::new());
    let disk = Arc::new(FaultyDisk::new(Arc::new(below.clone()), faults.clone()));
    let (store, _) = open_on(disk, options()).unwrap();
    for n in 0..2 {
        step(&store, &labels, n).unwrap();
    }
    faults.fill();
    assert!(store.checkpoint(NOW).is_err());
    assert!(store.stats().checkpoint_error.is_some());
    assert!(step(&store, &labels, 3).is_err());
    assert_eq!(found(&store), [0, 1]);
    assert!(store.stats().latched.is_some());
    faults.heal();
    store.reopen().unwrap();
    let again = store.append(NOW, &batch(&labels, 3)).unwrap();
    assert_eq!((again.stored, again.duplicates, again.is_repeat), (65, 0, false), "what failed left nothing");
    store.checkpoint(NOW).unwrap();
    assert_eq!(store.stats().checkpoint_error, None);
    drop(store);
    check_after(&below, &[0, 1, 3], "full");
}

#[test]
fn a_store_on_a_full_disk_opens_for_reading_and_goes_on_when_there_is_room() {
    let labels = labels();
    let (below, faults) = (MemDisk::new(), Faults::new());
    let disk = Arc::new(FaultyDisk::new(Arc::new(below.clone()), faults.clone()));
    let (store, _) = open_on(disk.clone(), options()).unwrap();
    for n in 0..2 {
        step(&store, &labels, n).unwrap();
    }
    drop(store);
    faults.fill();
    let (store, _) = open_on(disk, options()).unwrap();
    assert_eq!(found(&store), [0, 1]);
    assert!(store.stats().latched.is_some());
    assert!(step(&store, &labels, 3).is_err(), "nothing is acknowledged that is not durable");
    assert!(store.reopen().is_err());
    faults.heal();
    store.reopen().unwrap();
    step(&store, &labels, 3).unwrap();
    drop(store);
    check_after(&below, &[0, 1, 3], "opened full");
}

#[test]
fn the_last_record_cut_at_every_byte_is_there_whole_or_not_at_all() {
    let labels = labels();
    let disk = MemDisk::new();
    let (store, _) = open(&disk, options());
    step(&store, &labels, 0).unwrap();
    let wal = Disk::list(&disk, "metrics").unwrap().into_iter().find(|name| name.starts_with("wal")).unwrap();
    let path = format!("metrics/{wal}");
    let before = disk.read(&path, 1 << 20).unwrap().len();
    step(&store, &labels, 1).unwrap();
    let whole = disk.read(&path, 1 << 20).unwrap();
    drop(store);
    for cut in before..=whole.len() {
        let fork = disk.fork();
        fork.replace(&path, &whole[..cut]).unwrap();
        let (store, recovered) = open(&fork, options());
        let expected: &[u64] = if cut == whole.len() { &[0, 1] } else { &[0] };
        assert_eq!(found(&store), expected, "cut at {cut}");
        let torn = if cut == whole.len() { 0 } else { cut - before };
        assert_eq!((recovered.torn_bytes, recovered.warnings.len()), (torn as u64, usize::from(torn > 0)));
    }
}

/// What a checkpoint says is there is checked when it is read.
#[test]
fn damaged_and_missing_files_are_named() {
    let labels = labels();
    let disk = MemDisk::new();
    let (store, _) = open(&disk, options());
    for n in 0..STEPS {
        step(&store, &labels, n).unwrap();
    }
    drop(store);
    for name in Disk::list(&disk, "metrics").unwrap() {
        if name == "lock" || name.starts_with("wal") {
            continue;
        }
        let fork = disk.fork();
        fork.remove(&format!("metrics/{name}")).unwrap();
        let refused = open_on(Arc::new(fork.clone()), options()).unwrap_err();
        assert!(refused.chain().contains(&name), "{name}: {refused:?}");
        let path = format!("metrics/{name}");
        let whole = disk.read(&path, 1 << 20).unwrap();
        for at in (0..whole.len()).step_by(7) {
            let fork = disk.fork();
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fork.replace(&path, &bytes).unwrap();
            // Refused, or opened: then each chunk is what was written, or an error says that it is not.
            if let Ok((store, _)) = open_on(Arc::new(fork), options()) {
                let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| found(&store)));
                assert!(read.is_err() || read.is_ok_and(|there| there.len() == 9), "{name} {at}");
            }
        }
    }
}

#[test]
fn a_second_owner_is_refused() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk, options());
    assert!(open_on(Arc::new(disk.clone()), options()).is_err());
    drop(store);
    open(&disk, options());
}
