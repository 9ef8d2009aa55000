//! Everything somebody could do to the folder, and what the check says of it.

use std::sync::Arc;

use hmsops_disk::frame::{self, FIRST, HEAD_BYTES, HEADER_BYTES, LAST};
use hmsops_disk::{Disk, MemDisk, RealDisk};
use hmsops_ledger::{Entry, FileLedger, Ledger, LedgerError, Position, verify};

use crate::kit::{at, draft, edit, filled, open};

/// The payloads of a log whose commits have one frame each.
fn payloads(log: &[u8]) -> Vec<Vec<u8>> {
    let (mut found, mut rest) = (Vec::new(), &log[HEADER_BYTES..]);
    while !rest.is_empty() {
        let payload = frame::decode(rest, 1 << 16).unwrap().payload;
        found.push(payload.to_vec());
        rest = &rest[HEAD_BYTES + payload.len()..];
    }
    found
}

/// Rewrites the log with all checksums right.
fn rewrite(disk: &MemDisk, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    edit(disk, "entries.log", |log| {
        let mut entries = payloads(log);
        change(&mut entries);
        log.truncate(HEADER_BYTES);
        for entry in entries {
            log.extend(frame::head(&entry, FIRST | LAST));
            log.extend(entry);
        }
    });
}

/// The check and an opening both name the place, and neither changes anything.
fn found(disk: &MemDisk) -> Position {
    let before = disk.read("ledger/entries.log", 1 << 30).ok();
    let report = verify(disk, "ledger").unwrap();
    let finding = report.first_bad.expect("a finding");
    let refused = open(disk).unwrap_err();
    assert!(matches!(&refused, LedgerError::Damaged(same) if *same == finding), "{refused}, {finding}");
    assert_eq!(disk.read("ledger/entries.log", 1 << 30).ok(), before);
    finding.at
}

#[test]
fn an_untouched_ledger_is_good() {
    for n in [0, 1, 2, 63, 64, 65, 130] {
        let report = verify(&filled(n), "ledger").unwrap();
        assert_eq!((report.entries, report.checkpoint_size, report.first_bad), (n, Some(n), None));
    }
}

#[test]
fn any_flipped_byte_is_found_in_its_entry() {
    let whole = filled(6);
    let log = whole.read("ledger/entries.log", 1 << 20).unwrap();
    let mut ends = vec![HEADER_BYTES];
    for payload in payloads(&log) {
        ends.push(ends[ends.len() - 1] + HEAD_BYTES + payload.len());
    }
    for at in (0..log.len()).step_by(3) {
        let disk = whole.fork();
        edit(&disk, "entries.log", |log| log[at] ^= 0x10);
        let entry = ends.iter().position(|end| at < *end).unwrap().saturating_sub(1) as u64;
        assert_eq!(found(&disk), Position::Entry(entry), "byte {at}");
    }
}

#[test]
fn a_cut_tail_is_found_wherever_it_is_cut() {
    let whole = filled(6);
    let log = whole.read("ledger/entries.log", 1 << 20).unwrap();
    for len in (0..log.len()).step_by(5) {
        let disk = whole.fork();
        edit(&disk, "entries.log", |log| log.truncate(len));
        let mut rest = len.saturating_sub(HEADER_BYTES);
        let entries = payloads(&log);
        let whole_frames = entries.iter().take_while(|payload| {
            let bytes = HEAD_BYTES + payload.len();
            let is_whole = rest >= bytes;
            rest = rest.saturating_sub(bytes);
            is_whole
        });
        let left = whole_frames.count() as u64;
        assert_eq!(found(&disk), Position::Entry(left), "cut to {len}");
    }
}

#[test]
fn entries_removed_swapped_or_doubled_are_found() {
    let disk = filled(9);
    rewrite(&disk, |entries| entries.swap(3, 4));
    assert_eq!(found(&disk), Position::Entry(3));
    let disk = filled(9);
    rewrite(&disk, |entries| drop(entries.remove(5)));
    assert_eq!(found(&disk), Position::Entry(5));
    let disk = filled(9);
    rewrite(&disk, |entries| entries.insert(2, entries[1].clone()));
    assert_eq!(found(&disk), Position::Entry(2));
    let disk = filled(9);
    rewrite(&disk, |entries| entries.truncate(7));
    assert_eq!(found(&disk), Position::Entry(7), "below the checkpoint");
}

fn forge(entry: &mut Vec<u8>) {
    let mut forged = Entry::decode(entry).unwrap();
    forged.actor.push_str(", they say");
    *entry = forged.encode().unwrap();
}

/// Right numbers, right checksums: only the tree knows.
#[test]
fn a_rewritten_suffix_is_found_by_the_root() {
    let disk = filled(9);
    rewrite(&disk, |entries| entries[6..].iter_mut().for_each(forge));
    assert_eq!(found(&disk), Position::Before(9));
}

#[test]
fn roots_in_snapshot_entries_narrow_the_place_down() {
    let disk = MemDisk::new();
    let (mut ledger, _) = open(&disk).unwrap();
    for n in 0..10 {
        ledger.append(at(n), vec![draft(n)]).unwrap();
        if n == 4 {
            ledger.snapshot(at(n), b"{}").unwrap();
        }
    }
    ledger.close().unwrap();
    drop(ledger);
    rewrite(&disk, |entries| forge(&mut entries[2]));
    assert_eq!(found(&disk), Position::Before(5));
}

#[test]
fn deleted_files_are_found() {
    let disk = filled(9);
    disk.remove("ledger/entries.log").unwrap();
    assert_eq!(found(&disk), Position::Entry(0));

    let disk = MemDisk::new();
    let (mut ledger, _) = open(&disk).unwrap();
    ledger.snapshot(at(0), b"{}").unwrap();
    drop(ledger);
    disk.remove("ledger/entries.log").unwrap();
    disk.remove("ledger/checkpoint").unwrap();
    assert_eq!(found(&disk), Position::File("entries.log".to_owned()));

    let disk = filled(9);
    disk.remove("ledger/checkpoint").unwrap();
    let report = verify(&disk, "ledger").unwrap();
    assert_eq!(report.first_bad.unwrap().at, Position::File("checkpoint".to_owned()));
    let (_, recovered) = open(&disk).unwrap();
    assert!(recovered.warnings[0].contains("checkpoint"), "it can be used, with a warning");

    let report = verify(&MemDisk::new(), "ledger").unwrap();
    assert_eq!(report.first_bad.unwrap().at, Position::File("entries.log".to_owned()));
}

#[test]
fn a_damaged_checkpoint_is_found() {
    let disk = filled(3);
    edit(&disk, "checkpoint", |bytes| bytes.truncate(20));
    assert_eq!(found(&disk), Position::File("checkpoint".to_owned()));
    let disk = filled(3);
    edit(&disk, "checkpoint", |bytes| {
        *bytes = String::from_utf8(bytes.clone()).unwrap().replace("\n3\n", "\n2\n").into();
    });
    assert_eq!(found(&disk), Position::Before(2));
}

/// `audit verify` may run beside the tower: the lock is not needed, nothing is written.
#[test]
fn a_ledger_in_use_can_be_checked() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(folder.path()).unwrap());
    let (mut ledger, _) = FileLedger::open(Arc::clone(&disk), "ledger", "tower-1").unwrap();
    for n in 0..70 {
        ledger.append(at(n), vec![draft(n)]).unwrap();
    }
    let report = verify(&*disk, "ledger").unwrap();
    assert_eq!((report.entries, report.checkpoint_size, report.first_bad), (70, Some(64), None));
    assert_eq!(report.root, ledger.root());
}

/// A header that was being written when the machine stopped is no fault; one that was changed is.
#[test]
fn a_flipped_byte_of_an_empty_ledger_is_found() {
    let whole = filled(0);
    for at in 0..HEADER_BYTES {
        let disk = whole.fork();
        edit(&disk, "entries.log", |log| log[at] ^= 0x10);
        let finding = verify(&disk, "ledger").unwrap().first_bad.unwrap_or_else(|| panic!("byte {at}"));
        assert_eq!(finding.at, Position::File("entries.log".to_owned()), "byte {at}");
        let disk = whole.fork();
        edit(&disk, "entries.log", |log| log[at..].fill(0));
        assert_eq!(verify(&disk, "ledger").unwrap().first_bad, None, "written up to byte {at}");
        let disk = whole.fork();
        edit(&disk, "entries.log", |log| log.truncate(at));
        assert_eq!(verify(&disk, "ledger").unwrap().first_bad, None, "{at} bytes long");
    }
}
