//! What the tests share: drafts, a clock's readings, a filled ledger.

use std::sync::Arc;

use hmsops_disk::{Disk, MemDisk};
use hmsops_ledger::{Draft, FileLedger, Ledger, LedgerError, Outcome, Recovered};
use hmsops_model::{Millis, Now, UnixMillis};
use serde_json::json;

pub(crate) fn at(steady: u64) -> Now {
    Now { wall: UnixMillis(1_795_356_000_000 + steady as i64), steady: Millis(steady) }
}

pub(crate) fn draft(n: u64) -> Draft {
    Draft {
        kind: "test.happened".to_owned(),
        actor: "admin".to_owned(),
        subject: "service/csac-portal".to_owned(),
        source: "test".to_owned(),
        outcome: Outcome::Done,
        controls: vec!["AU-2".to_owned()],
        release: None,
        late: false,
        data: json!({"n": n, "text": "x".repeat((n as usize * 37) % 700)}),
    }
}

pub(crate) fn open(disk: &MemDisk) -> Result<(FileLedger, Recovered), LedgerError> {
    FileLedger::open(Arc::new(disk.clone()) as Arc<dyn Disk>, "ledger", "tower-1")
}

/// A closed ledger of `n` entries, each in a commit of its own.
pub(crate) fn filled(n: u64) -> MemDisk {
    let disk = MemDisk::new();
    let (mut ledger, _) = open(&disk).unwrap();
    for seq in 0..n {
        ledger.append(at(seq), vec![draft(seq)]).unwrap();
    }
    ledger.close().unwrap();
    disk
}

pub(crate) fn edit(disk: &MemDisk, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = format!("ledger/{name}");
    let mut bytes = disk.read(&path, 1 << 30).unwrap();
    change(&mut bytes);
    disk.replace(&path, &bytes).unwrap();
}
