//! Files that were damaged while the program was away: opened, they are refused or read as far as they are good.

use std::sync::Arc;

use hmsops_disk::{Disk, MemDisk};
use hmsops_ledger::{Draft, Entry, FileLedger, Ledger, Outcome, verify};
use hmsops_model::sample::Tally;
use hmsops_model::series::{Budget, Hints, Selection, SeriesSource};
use hmsops_model::{Labels, Millis, Now, UnixMillis, Value};
use hmsops_tsdb::{Batch, Key, Options, Row, Store};

use super::{Target, World, whole, words};

const START: i64 = 1_700_000_000_000;

/// The largest file that is read into a seed, in bytes.
const FILE_BYTES_MAX: usize = 1 << 20;

/// Puts an input in the place of a file: its first byte says of which.
fn damage(disk: &MemDisk, folder: &str, names: &[String], input: &[u8]) -> Option<String> {
    let (which, content) = input.split_first()?;
    let name = names.get(usize::from(*which) % names.len().max(1))?;
    let end = name.rsplit('.').next().unwrap_or_default().to_owned();
    disk.replace(&format!("{folder}/{name}"), content).ok().map(|()| end)
}

fn files(disk: &MemDisk, folder: &str) -> Vec<String> {
    disk.list(folder)
        .unwrap_or_default()
        .into_iter()
        .filter(|name| disk.read(&format!("{folder}/{name}"), FILE_BYTES_MAX).is_ok())
        .collect()
}

fn each(disk: &MemDisk, folder: &str) -> Vec<Vec<u8>> {
    let names = files(disk, folder);
    let file = |(at, name): (usize, &String)| {
        let content = disk.read(&format!("{folder}/{name}"), FILE_BYTES_MAX).unwrap_or_default();
        [vec![at as u8], content].concat()
    };
    names.iter().enumerate().map(file).collect()
}

fn options() -> Options {
    Options { hash_key: Some([7; 16]), ..Options::default() }
}

fn opened(disk: &MemDisk) -> Result<Store, String> {
    let now = UnixMillis(START + 700_000);
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Store::open(disk, "metrics", options(), now).map(|(store, _)| store).map_err(|error| error.to_string())
}

/// A checkpoint with files of chunks, and a log after it.
fn stored() -> MemDisk {
    let disk = MemDisk::new();
    let store = opened(&disk).expect("an empty disk makes a store");
    let label = |job: &str| Labels::new([("__name__", "up"), ("job", job)]);
    for turn in 0..2 {
        for job in ["a", "b"] {
            let labels = label(job);
            let row = |n: i64| Row {
                key: Key::Labels(&labels),
                time: START + turn * 300_000 + n * 1000,
                start: 0,
                value: if job == "a" {
                    Value::Float(n as f64 / 3.0)
                } else {
                    Value::Tally(Tally::of(n as f64))
                },
            };
            let batch = Batch { origin: None, rows: (0..200).map(row).collect() };
            store.append(UnixMillis(START + 700_000), &batch).expect("a sound disk takes samples");
        }
        if turn == 0 {
            store.checkpoint(UnixMillis(START + 700_000)).expect("a sound disk takes a checkpoint");
        }
    }
    drop(store);
    disk
}

pub(super) const STORE: Target = Target {
    name: "store",
    about: "tsdb",
    files: &[],
    split: whole,
    seeds: || each(&stored(), "metrics"),
    words: &[],
    world: store,
};

fn store() -> World {
    let sound = stored();
    let names = files(&sound, "metrics");
    Box::new(move |input| {
        let disk = sound.fork();
        let Some(end) = damage(&disk, "metrics", &names, input) else { return "nothing".into() };
        let store = match opened(&disk) {
            Ok(store) => store,
            Err(error) => return format!("{end}: {error}"),
        };
        let budget = Budget::new(1_000_000, 64 << 20);
        let selection = Selection { matchers: &[], from: i64::MIN, to: i64::MAX, hints: Hints::default() };
        let found = match store.select(&selection, &budget) {
            Ok(found) => words(found.collect::<Result<Vec<_>, _>>()),
            Err(error) => error.to_string(),
        };
        let kept = words(store.checkpoint(UnixMillis(START + 800_000)));
        format!("{end}: {found}; {kept}")
    })
}

fn recorded() -> MemDisk {
    let disk = MemDisk::new();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (mut ledger, _) =
        FileLedger::open(shared, "ledger", "tower-1").expect("an empty disk makes a ledger");
    for n in 0..40_u64 {
        let draft = Draft {
            kind: "test.happened".into(),
            actor: "admin".into(),
            subject: "service/csac-portal".into(),
            source: "test".into(),
            outcome: Outcome::Done,
            controls: vec!["AU-2".into()],
            release: None,
            late: false,
            data: serde_json::json!({"n": n, "text": "x".repeat(n as usize * 7)}),
        };
        let now = Now { wall: UnixMillis(START + n as i64), steady: Millis(n) };
        ledger.append(now, vec![draft]).expect("a sound disk takes entries");
        if n == 20 {
            ledger.snapshot(now, b"{\"state\":1}").expect("a sound disk takes a snapshot");
        }
    }
    ledger.close().expect("a sound disk closes");
    disk
}

pub(super) const LEDGER: Target = Target {
    name: "ledger",
    about: "ledger",
    files: &[],
    split: whole,
    seeds: || {
        let mut seeds = each(&recorded(), "ledger");
        let entry = r#"{"v":1,"seq":0,"at":"2023-11-14T22:13:20.000Z","at_ms":1700000000000,"steady_ms":0,"node":"a","kind":"a.b","actor":"a","subject":"a","source":"a","outcome":"done","controls":[],"late":false,"data":{}}"#;
        seeds.push(entry.as_bytes().to_vec());
        seeds
    },
    words: &[b"\"seq\":", b"\"at_ms\":", b"\"data\":{", b"null"],
    world: ledger,
};

fn ledger() -> World {
    let sound = recorded();
    let names = files(&sound, "ledger");
    Box::new(move |input| {
        let entry = words(Entry::decode(input));
        let disk = sound.fork();
        let Some(end) = damage(&disk, "ledger", &names, input) else { return entry };
        let verified = words(verify(&disk, "ledger"));
        let shared: Arc<dyn Disk> = Arc::new(disk);
        let opened = words(FileLedger::open(shared, "ledger", "tower-1"));
        format!("{entry}; {end}: {verified}; {opened}")
    })
}
