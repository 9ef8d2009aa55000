//! Opening again, snapshots, reading, refusals.

use std::sync::Arc;

use hmsops_disk::{Disk, DiskError, Faults, FaultyDisk, MemDisk, RealDisk};
use hmsops_ledger::{FileLedger, Ledger, LedgerError, Order, verify};
use hmsops_model::Millis;

use crate::kit::{at, draft, edit, filled, open};

#[test]
fn entries_come_back_as_they_were_answered() {
    let disk = MemDisk::new();
    let (mut ledger, recovered) = open(&disk).unwrap();
    assert!(recovered.entries.is_empty() && recovered.warnings.is_empty());
    let mut answered = ledger.append(at(10), vec![draft(0), draft(1)]).unwrap();
    answered.extend(ledger.append(at(5), vec![draft(2)]).unwrap());
    assert!(ledger.append(at(99), Vec::new()).unwrap().is_empty());
    assert_eq!(answered[2].steady, Millis(10), "the steady clock never goes back");
    let (root, last) = (ledger.root(), ledger.last_steady());
    drop(ledger);
    let (again, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.entries, answered);
    assert_eq!((again.root(), again.last_steady(), again.size()), (root, last, 3));
    assert!(recovered.warnings.is_empty());
}

#[test]
fn refused_drafts_leave_nothing_behind() {
    let mut ledger = FileLedger::in_memory();
    ledger.append(at(0), vec![draft(0)]).unwrap();
    let root = ledger.root();
    let mut own = draft(1);
    own.kind = "ledger.snapshot".to_owned();
    let mut long = draft(1);
    long.data = "x".repeat(70_000).into();
    assert!(matches!(ledger.append(at(1), vec![draft(1), own]), Err(LedgerError::Draft { index: 1, .. })));
    assert!(matches!(ledger.append(at(1), vec![draft(1), long]), Err(LedgerError::TooLarge { .. })));
    assert_eq!((ledger.size(), ledger.root(), ledger.latched()), (1, root, None));
    assert_eq!(ledger.append(at(1), vec![draft(1)]).unwrap()[0].seq, 1);
    assert!(matches!(
        FileLedger::open(Arc::new(MemDisk::new()), "ledger", "a\nb"),
        Err(LedgerError::Node(_))
    ));
}

#[test]
fn a_second_owner_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(folder.path()).unwrap());
    let (ledger, _) = FileLedger::open(Arc::clone(&disk), "ledger", "a").unwrap();
    let refused = FileLedger::open(Arc::clone(&disk), "ledger", "a").unwrap_err();
    assert!(matches!(refused, LedgerError::Disk(DiskError::Locked { pid: Some(_), .. })), "{refused}");
    drop(ledger);
    FileLedger::open(disk, "ledger", "a").unwrap();
}

#[test]
fn a_start_needs_only_what_follows_the_newest_snapshot() {
    let disk = MemDisk::new();
    let (mut ledger, _) = open(&disk).unwrap();
    for n in 0..4 {
        ledger.append(at(n), vec![draft(n)]).unwrap();
        let entry = ledger.snapshot(at(n), format!("state {n}").as_bytes()).unwrap();
        assert_eq!((entry.seq, entry.kind.as_str()), (2 * n + 1, "ledger.snapshot"));
    }
    let last = ledger.append(at(9), vec![draft(9)]).unwrap();
    drop(ledger);
    let names = disk.list("ledger").unwrap();
    assert_eq!(names, ["checkpoint", "entries.log", "lock", "snapshot-5.json", "snapshot-7.json"]);
    let (_, recovered) = open(&disk).unwrap();
    let snapshot = recovered.snapshot.unwrap();
    assert_eq!((snapshot.seq, snapshot.state.as_slice()), (7, b"state 3".as_slice()));
    assert_eq!(recovered.entries, last);
}

#[test]
fn a_snapshot_that_is_not_what_was_recorded_is_not_used() {
    let disk = MemDisk::new();
    let (mut ledger, _) = open(&disk).unwrap();
    for n in 0..3 {
        ledger.append(at(n), vec![draft(n)]).unwrap();
        ledger.snapshot(at(n), format!("state {n}").as_bytes()).unwrap();
    }
    drop(ledger);
    edit(&disk, "snapshot-5.json", |bytes| bytes[0] ^= 1);
    let (ledger, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.snapshot.unwrap().seq, 3);
    assert_eq!(recovered.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [4, 5]);
    assert!(recovered.warnings[0].contains("snapshot-5.json"), "{:?}", recovered.warnings);
    drop(ledger);
    let report = verify(&disk, "ledger").unwrap();
    assert!(report.first_bad.unwrap().to_string().contains("snapshot-5.json"));
    disk.remove("ledger/snapshot-3.json").unwrap();
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!((recovered.snapshot, recovered.entries.len(), recovered.warnings.len()), (None, 6, 2));
}

#[test]
fn a_failed_sync_latches_until_reopened_and_numbers_have_no_gap() {
    let (below, faults) = (MemDisk::new(), Faults::new());
    let disk = Arc::new(FaultyDisk::new(Arc::new(below.clone()), faults.clone()));
    let (mut ledger, _) = FileLedger::open(disk, "ledger", "tower-1").unwrap();
    ledger.append(at(0), vec![draft(0)]).unwrap();
    let root = ledger.root();
    faults.fail_syncs();
    assert!(ledger.append(at(1), vec![draft(1), draft(2)]).is_err());
    assert!(ledger.latched().unwrap().contains("sync"));
    assert!(matches!(ledger.append(at(1), vec![draft(1)]), Err(LedgerError::Latched { .. })));
    assert!(matches!(ledger.snapshot(at(1), b"{}"), Err(LedgerError::Latched { .. })));
    assert!(ledger.reopen().is_err() && ledger.latched().is_some());
    faults.heal();
    ledger.reopen().unwrap();
    assert_eq!((ledger.latched(), ledger.size(), ledger.root()), (None, 1, root));
    assert_eq!(ledger.append(at(2), vec![draft(3)]).unwrap()[0].seq, 1);
    assert_eq!(ledger.reader().get(1).unwrap().unwrap().data["n"], 3);
    assert_eq!(verify(&below, "ledger").unwrap().entries, 2);
}

/// A tower restarted on a full disk can read, and records again once there is room.
#[test]
fn a_full_disk_is_opened_and_used_again_when_there_is_room() {
    let (below, faults) = (MemDisk::new(), Faults::new());
    let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(Arc::new(below.clone()), faults.clone()));
    let (mut ledger, _) = FileLedger::open(Arc::clone(&disk), "ledger", "tower-1").unwrap();
    ledger.append(at(0), vec![draft(0)]).unwrap();
    faults.fill();
    assert!(ledger.append(at(1), vec![draft(1)]).is_err());
    drop(ledger);
    let (mut ledger, recovered) = FileLedger::open(disk, "ledger", "tower-1").unwrap();
    assert_eq!(recovered.entries.len(), 1);
    assert!(recovered.warnings[0].contains("cut"), "half of the write was there: {:?}", recovered.warnings);
    assert!(ledger.anchor_trouble().is_some());
    assert!(ledger.append(at(2), vec![draft(1)]).is_err());
    faults.heal();
    ledger.reopen().unwrap();
    ledger.append(at(3), vec![draft(1)]).unwrap();
    assert_eq!(ledger.size(), 2);
}

#[test]
fn an_append_is_one_write_and_one_sync() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Faults::new();
    let real = Arc::new(RealDisk::new(folder.path()).unwrap());
    let disk = Arc::new(FaultyDisk::new(real, faults.clone()));
    let (mut ledger, _) = FileLedger::open(disk, "ledger", "tower-1").unwrap();
    let before = (faults.writes(), faults.syncs());
    ledger.append(at(0), (0..10).map(draft).collect()).unwrap();
    assert_eq!((faults.writes(), faults.syncs()), (before.0 + 1, before.1 + 1));
}

#[test]
fn people_read_from_either_end() {
    let disk = filled(10);
    let (ledger, _) = open(&disk).unwrap();
    let reader = ledger.reader();
    let numbers = |range, order, limit| -> Vec<u64> {
        reader.read(range, order, limit).unwrap().iter().map(|entry| entry.seq).collect()
    };
    assert_eq!(numbers(0..u64::MAX, Order::NewestFirst, 3), [9, 8, 7]);
    assert_eq!(numbers(2..5, Order::OldestFirst, 100), [2, 3, 4]);
    assert_eq!(numbers(2..5, Order::NewestFirst, 2), [4, 3]);
    assert!(numbers(10..20, Order::OldestFirst, 9).is_empty());
    assert_eq!(reader.get(10).unwrap(), None);
}
