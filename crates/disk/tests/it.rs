//! Crashes: for every sync and every write of a workload, the power fails there, and what comes back is held
//! against what was acknowledged.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use hmsops_disk::{Disk, Faults, FaultyDisk, Log, LogError, MemDisk, RealDisk};

/// Commits of one to five payloads of very different lengths; each payload is unlike all others.
fn workload() -> Vec<Vec<Vec<u8>>> {
    let mut n = 0_u32;
    let lengths = [3, 900, 0, 2000, 17, 511, 512, 1300, 1];
    (0..12)
        .map(|commit| {
            (0..=commit % 5)
                .map(|_| {
                    n += 1;
                    let mut payload = n.to_le_bytes().to_vec();
                    payload.resize(4 + lengths[n as usize % lengths.len()], n as u8);
                    payload
                })
                .collect()
        })
        .collect()
}

/// Runs until an error; answers how many commits were acknowledged.
fn run(disk: Arc<dyn Disk>) -> usize {
    if disk.create_dir("data").and_then(|()| disk.sync_dir("")).is_err() {
        return 0;
    }
    let Ok(opened) = Log::open(disk, "data/log", 4096) else { return 0 };
    let mut log = opened.log;
    for (done, commit) in workload().iter().enumerate() {
        for payload in commit {
            log.append(payload).unwrap();
        }
        if log.commit().is_err() {
            assert!(matches!(log.append(b"x"), Err(LogError::Latched { .. })));
            assert!(matches!(log.commit(), Err(LogError::Latched { .. })));
            return done;
        }
    }
    workload().len()
}

/// Every acknowledged payload is there, nothing is invented, in order, and commits are whole.
fn check(below: &MemDisk, acknowledged: usize, what: &str) {
    below.create_dir("data").unwrap();
    below.sync_dir("").unwrap();
    let mut opened =
        Log::open(Arc::new(below.clone()), "data/log", 4096).unwrap_or_else(|e| panic!("{what}: {e}"));
    let commits = workload();
    let allowed: Vec<Vec<Vec<u8>>> = (acknowledged..=(acknowledged + 1).min(commits.len()))
        .map(|whole| commits[..whole].concat())
        .collect();
    assert!(allowed.contains(&opened.payloads), "{what}: {} payloads", opened.payloads.len());
    // It goes on, and what it goes on with stays.
    opened.log.append(b"after the crash").unwrap();
    opened.log.commit().unwrap();
    let shown = opened.payloads.len();
    below.crash(1);
    let again = Log::open(Arc::new(below.clone()), "data/log", 4096).unwrap();
    assert_eq!(again.payloads.len(), shown + 1, "{what}: what was shown once stays");
}

#[test]
fn power_cut_at_every_sync_and_every_write() {
    let counted = Faults::new();
    let all = run(Arc::new(FaultyDisk::new(Arc::new(MemDisk::new()), counted.clone())));
    assert_eq!(all, workload().len());
    let mut torn = 0;
    for seed in 0..24 {
        let points =
            (1..=counted.syncs()).map(|k| (k, true)).chain((1..=counted.writes()).map(|k| (k, false)));
        for (k, sync) in points {
            let (below, faults) = (MemDisk::new(), Faults::new());
            if sync {
                faults.freeze_at_sync(k);
            } else {
                faults.freeze_at_write(k);
            }
            let acknowledged = run(Arc::new(FaultyDisk::new(Arc::new(below.clone()), faults)));
            below.crash(seed * 1000 + k);
            let opened = Log::scan(&below, "data/log", 4096, &mut |_, _| {});
            torn += usize::from(opened.is_ok_and(|scan| scan.torn.is_some()));
            check(&below, acknowledged, &format!("seed {seed}, frozen at {k}, sync {sync}"));
        }
    }
    assert!(torn > 20, "the crashes tear: {torn}");
}

/// A process that is killed leaves unsynced bytes in the page cache; the next one must not show them and then
/// lose them when the power fails.
#[test]
fn killed_before_the_sync_then_power_cut() {
    for seed in 0..50 {
        let (below, faults) = (MemDisk::new(), Faults::new());
        faults.freeze_at_sync(6);
        let acknowledged = run(Arc::new(FaultyDisk::new(Arc::new(below.clone()), faults)));
        let shown = Log::open(Arc::new(below.clone()), "data/log", 4096).unwrap().payloads;
        below.crash(seed);
        assert_eq!(Log::open(Arc::new(below.clone()), "data/log", 4096).unwrap().payloads, shown);
        check(&below, acknowledged, &format!("seed {seed}"));
    }
}

#[test]
fn a_failed_sync_or_a_full_disk_latches_until_reopened() {
    for full in [false, true] {
        let (below, faults) = (MemDisk::new(), Faults::new());
        let disk = Arc::new(FaultyDisk::new(Arc::new(below.clone()), faults.clone()));
        let mut log = Log::open(disk, "log", 4096).unwrap().log;
        log.append(b"kept").unwrap();
        log.commit().unwrap();
        if full {
            faults.fill();
        } else {
            faults.fail_syncs();
        }
        log.append(&[7; 3000]).unwrap();
        assert!(matches!(log.commit(), Err(LogError::Disk(e)) if e.is_full() == full));
        assert!(matches!(log.append(b"x"), Err(LogError::Latched { .. })));
        if full {
            log.reopen().unwrap();
            log.append(&[7; 3000]).unwrap();
            assert!(log.commit().is_err(), "still full");
        } else {
            assert!(log.reopen().is_err(), "still failing");
        }
        assert!(log.latched().is_some());
        faults.heal();
        log.reopen().unwrap();
        let offset = log.append(b"next").unwrap();
        log.commit().unwrap();
        assert_eq!(log.read(offset, 1).unwrap(), b"next");
        below.crash(3);
        let opened = Log::open(Arc::new(below), "log", 4096).unwrap();
        assert_eq!(opened.payloads, [b"kept", b"next"]);
        assert_eq!(opened.torn, None, "reopening leaves nothing of what failed");
    }
}

#[test]
fn a_commit_is_one_write_and_one_sync() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Faults::new();
    let real = Arc::new(RealDisk::new(folder.path()).unwrap());
    let mut log =
        Log::open(Arc::new(FaultyDisk::new(real.clone(), faults.clone())), "log", 4096).unwrap().log;
    let before = (faults.writes(), faults.syncs());
    for n in 0..100_u32 {
        log.append(&n.to_le_bytes()).unwrap();
    }
    log.commit().unwrap();
    assert_eq!((faults.writes(), faults.syncs()), (before.0 + 1, before.1 + 1));
    assert_eq!(Log::open(real, "log", 4096).unwrap().payloads.len(), 100);
}
