//! The power fails at every sync and every write of a workload with snapshots and checkpoints.

use std::sync::Arc;

use hmsops_disk::{Disk, Faults, FaultyDisk, MemDisk};
use hmsops_ledger::{Entry, FileLedger, Ledger, verify};

use crate::kit::{at, draft, open};

/// Appends batches of one to four and takes a snapshot now and then, past a checkpoint that is due by number.
/// Answers the entries that were acknowledged.
fn run(disk: Arc<dyn Disk>) -> Vec<Entry> {
    let mut acknowledged = Vec::new();
    let Ok((mut ledger, _)) = FileLedger::open(disk, "ledger", "tower-1") else { return acknowledged };
    for batch in 0..36_u64 {
        let drafts = (0..=batch % 4).map(|n| draft(batch * 10 + n)).collect();
        match ledger.append(at(batch), drafts) {
            Ok(entries) => acknowledged.extend(entries),
            Err(_) => return acknowledged,
        }
        if batch % 15 == 11 {
            // The state of the test: how many entries there are.
            match ledger.snapshot(at(batch), ledger.size().to_string().as_bytes()) {
                Ok(entry) => acknowledged.push(entry),
                Err(_) => return acknowledged,
            }
        }
    }
    let _ = ledger.close();
    acknowledged
}

#[test]
fn power_cut_at_every_sync_and_every_write() {
    let counted = Faults::new();
    let all = run(Arc::new(FaultyDisk::new(Arc::new(MemDisk::new()), counted.clone())));
    assert_eq!(all.len(), 92);
    let mut from_snapshot = 0;
    for seed in 0..3 {
        let syncs = (1..=counted.syncs()).map(|k| (k, true));
        for (k, sync) in syncs.chain((1..=counted.writes()).map(|k| (k, false))) {
            let (below, faults) = (MemDisk::new(), Faults::new());
            if sync {
                faults.freeze_at_sync(k);
            } else {
                faults.freeze_at_write(k);
            }
            let acknowledged = run(Arc::new(FaultyDisk::new(Arc::new(below.clone()), faults)));
            below.crash(seed * 1000 + k);
            let (mut ledger, recovered) =
                open(&below).unwrap_or_else(|e| panic!("at {k} (sync {sync}), seed {seed}: {}", e.chain()));
            let size = ledger.size() as usize;
            assert!(size >= acknowledged.len() && size <= all.len(), "at {k} (sync {sync}), seed {seed}");
            let seen = ledger.reader().read(0..u64::MAX, hmsops_ledger::Order::OldestFirst, 1000).unwrap();
            assert_eq!(
                seen,
                all[..size],
                "at {k} (sync {sync}), seed {seed}: nothing invented, nothing reordered"
            );
            let start = recovered.snapshot.as_ref().map_or(0, |snapshot| snapshot.seq + 1);
            assert_eq!(recovered.entries, all[start as usize..size]);
            if let Some(snapshot) = recovered.snapshot {
                assert_eq!(snapshot.state, snapshot.seq.to_string().into_bytes());
                from_snapshot += 1;
            }
            assert!(
                recovered.warnings.iter().all(|warning| warning.starts_with("cut")),
                "{:?}",
                recovered.warnings
            );
            assert_eq!(
                verify(&below, "ledger").unwrap().first_bad,
                None,
                "at {k} (sync {sync}), seed {seed}"
            );
            ledger.append(at(1000), vec![draft(1000)]).unwrap();
        }
    }
    assert!(from_snapshot > 20, "{from_snapshot}");
}
