//! Opening: the last checkpoint, and the log after it.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};

use hmsops_disk::{Disk, GroupLog, Log, MemDisk, disk};
use hmsops_model::UnixMillis;
use hmsops_model::labels::Labels;

use crate::bytes::Reader;
use crate::checkpoint::{Checkpointer, FRAME_BYTES_MAX, head_path, list_path, parse_name, remove_old};
use crate::error::StoreError;
use crate::head::Head;
use crate::manifest::{self, Manifest};
use crate::options::{BATCH_BYTES_MAX, Options};
use crate::origins::Origins;
use crate::segment::{Segment, Segments};
use crate::series::Series;
use crate::snapshot::{self, Kept};
use crate::stats::Counters;
use crate::store::{Inner, Store};
use crate::wal::{self, Record};

/// What was found when a store was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Series.
    pub series: usize,
    /// Samples, on disk and in the log.
    pub samples: u64,
    /// Records of the log that were replayed.
    pub records: u64,
    /// Bytes at the end of the log that no append had acknowledged, cut off.
    pub torn_bytes: u64,
    /// When the last record was written.
    pub last_at: Option<UnixMillis>,
    /// What somebody should know.
    pub warnings: Vec<String>,
}

/// A store being read.
struct Recovery<'a> {
    disk: &'a Arc<dyn Disk>,
    folder: &'a str,
    head: Head,
    origins: Origins,
    /// What ids stand for, as the list says.
    defined: HashMap<u32, Labels>,
    /// Series by the ids that files use.
    series: HashMap<u32, Arc<Series>>,
    found: Recovered,
}

pub(crate) fn open(
    disk: &Arc<dyn Disk>,
    folder: &str,
    options: Options,
    now: UnixMillis,
) -> Result<(Store, Recovered), StoreError> {
    make_folder(&**disk, folder)?;
    let lock = disk.lock(&format!("{folder}/lock"))?;
    let names = disk.list(folder)?;
    let numbers: Vec<(&str, u64)> = names.iter().filter_map(|name| parse_name(name)).collect();
    let manifest = read_manifest(&**disk, folder, numbers.is_empty())?;
    remove_old(&**disk, folder, &manifest);
    let key = match options.hash_key {
        Some(key) => key,
        None => random_key()?,
    };
    let head = Head::new(key, options.series_max);
    let mut recovery = Recovery {
        disk,
        folder,
        head,
        origins: Origins::default(),
        defined: HashMap::new(),
        series: HashMap::new(),
        found: Recovered::default(),
    };
    let list = recovery.read_list(&manifest)?;
    let cutoff = now.0.saturating_sub_unsigned(options.retention.0);
    let segments = recovery.read_segments(&manifest, cutoff)?;
    recovery.read_head(&manifest)?;
    let mut wals: Vec<u64> =
        numbers.iter().filter(|(kind, n)| *kind == "wal" && *n >= manifest.number).map(|(_, n)| *n).collect();
    wals.sort_unstable();
    let mut wal_bytes = 0;
    for number in wals {
        wal_bytes += recovery.replay(number)?;
    }
    let Recovery { head, origins, defined, mut found, .. } = recovery;
    origins.forget(now);
    found.series = head.index().index.len();
    let number = numbers.iter().map(|(_, n)| *n).chain([manifest.number]).max().unwrap_or(0) + 1;
    let (wal, refused) = begin_log(disk, folder, number)?;
    let counters = Counters::default();
    counters.count_files(&manifest);
    let checkpointer = Checkpointer {
        manifest,
        next: number + 1,
        list,
        listed: defined.len(),
        is_unsure: false,
        last_at: now,
    };
    let inner = Inner {
        disk: Arc::clone(disk),
        folder: folder.to_owned(),
        options,
        head,
        origins,
        wal: RwLock::new(Arc::new(wal)),
        wal_bytes: AtomicU64::new(wal_bytes),
        segments: RwLock::new(segments),
        checkpointer: Mutex::new(checkpointer),
        stand_in: Mutex::new(refused.is_some().then_some(number)),
        latched: Mutex::new(refused),
        checkpoint_error: Mutex::default(),
        counters,
        _lock: lock,
    };
    Ok((Store(Arc::new(inner)), found))
}

/// The log that goes on from here. A disk that takes no new file (it is full) keeps nobody from reading: then the
/// store opens latched, with a stand-in that nothing is ever written to, and why.
fn begin_log(
    disk: &Arc<dyn Disk>,
    folder: &str,
    number: u64,
) -> Result<(GroupLog, Option<String>), StoreError> {
    match wal::create(disk, folder, number) {
        Ok(wal) => Ok((wal, None)),
        Err(error) => {
            let memory: Arc<dyn Disk> = Arc::new(MemDisk::new());
            memory.create_dir(folder)?;
            Ok((wal::create(&memory, folder, number)?, Some(error.chain())))
        }
    }
}

/// The manifest, a first one when the folder holds nothing of ours.
fn read_manifest(disk: &dyn Disk, folder: &str, is_new: bool) -> Result<Manifest, StoreError> {
    if let Some(manifest) = Manifest::read(disk, folder)? {
        return Ok(manifest);
    }
    if !is_new {
        let what = "it is missing, and other files of the store are there";
        return Err(StoreError::corrupt(&manifest::path(folder), what));
    }
    Manifest::default().write(disk, folder)?;
    Ok(Manifest::default())
}

fn make_folder(disk: &dyn Disk, folder: &str) -> Result<(), StoreError> {
    disk.create_dir(folder)?;
    let mut path = folder;
    while !path.is_empty() {
        path = disk::parent(path);
        disk.sync_dir(path)?;
    }
    Ok(())
}

fn random_key() -> Result<[u8; 16], StoreError> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(|e| StoreError::Random { why: e.to_string() })?;
    Ok(key)
}

impl Recovery<'_> {
    /// What ids stand for.
    fn read_list(&mut self, manifest: &Manifest) -> Result<Option<Log>, StoreError> {
        if manifest.list == 0 {
            return Ok(None);
        }
        let path = list_path(self.folder, manifest.list);
        self.must_exist(&path)?;
        let mut failed = None;
        let mut visit = |_, payload: Vec<u8>| {
            let mut reader = Reader::new(&payload);
            while !reader.is_empty() && failed.is_none() {
                match wal::definition(&mut reader) {
                    Ok((id, labels)) => drop(self.defined.insert(id, labels)),
                    Err(e) => failed = Some(StoreError::corrupt(&path, &e)),
                }
            }
        };
        let (log, _) = Log::open_with(Arc::clone(self.disk), &path, FRAME_BYTES_MAX, &mut visit)?;
        failed.map_or(Ok(()), Err)?;
        if let Some(last) = self.defined.keys().max() {
            self.head.reserve_id(*last);
        }
        Ok(Some(log))
    }

    /// Where chunks on disk are. Those whose series was forgotten are too old to matter.
    fn read_segments(&mut self, manifest: &Manifest, cutoff: i64) -> Result<Segments, StoreError> {
        let mut segments = Segments::new();
        let mut strangers = 0;
        for entry in &manifest.segments {
            let (segment, chunks) = Segment::open(&**self.disk, self.folder, entry)?;
            for (id, place) in chunks.into_iter().filter(|(_, place)| place.max >= cutoff) {
                match self.by_id(id) {
                    Some(series) => {
                        self.found.samples += u64::from(place.count);
                        series.state().on_disk.push(place);
                    }
                    None => strangers += 1,
                }
            }
            segments.insert(entry.number, Arc::new(segment));
        }
        if strangers > 0 {
            self.found.warnings.push(format!("{strangers} chunks belong to series that are not listed"));
        }
        Ok(segments)
    }

    /// What was in memory at the checkpoint.
    fn read_head(&mut self, manifest: &Manifest) -> Result<(), StoreError> {
        if manifest.head_frames == 0 {
            return Ok(());
        }
        let path = head_path(self.folder, manifest.number);
        self.must_exist(&path)?;
        let (mut frames, mut failed) = (0, None);
        Log::scan(&**self.disk, &path, FRAME_BYTES_MAX, &mut |_, payload| {
            frames += 1;
            if failed.is_none() {
                failed = self.restore(&payload).err();
            }
        })?;
        if let Some(what) = failed {
            return Err(StoreError::corrupt(&path, &what));
        }
        if frames < manifest.head_frames {
            let what = format!("it has {frames} frames, expected {}", manifest.head_frames);
            return Err(StoreError::corrupt(&path, &what));
        }
        Ok(())
    }

    fn restore(&mut self, payload: &[u8]) -> Result<(), String> {
        let text = |e: crate::bytes::Damaged| e.to_string();
        let mut reader = Reader::new(payload);
        match reader.byte().map_err(text)? {
            snapshot::ORIGINS => return self.origins.decode(reader.rest()).map_err(text),
            snapshot::SERIES => {}
            _ => return Err("a kind of frame that does not exist".to_owned()),
        }
        while !reader.is_empty() {
            let kept = Kept::decode(&mut reader).map_err(text)?;
            let id = kept.id;
            let series = self.by_id(id).ok_or_else(|| format!("series {id} is not listed"))?;
            self.found.samples += kept.restore(&mut series.state()).map_err(text)? as u64;
        }
        Ok(())
    }

    /// Takes all records of a file of the log; answers its length.
    fn replay(&mut self, number: u64) -> Result<u64, StoreError> {
        let path = wal::path(self.folder, number);
        let mut failed = None;
        let disk = Arc::clone(self.disk);
        let (log, torn) = Log::open_with(disk, &path, BATCH_BYTES_MAX, &mut |_, payload| {
            if failed.is_none() {
                failed = self.take(&payload).err();
            }
        })?;
        if let Some(what) = failed {
            return Err(StoreError::corrupt(&path, &what));
        }
        if let Some(torn) = torn {
            self.found.torn_bytes += torn.bytes;
            let (bytes, offset) = (torn.bytes, torn.offset);
            self.found.warnings.push(format!(
                "`{path}`: {bytes} bytes of an append that was not finished were cut off at byte {offset}"
            ));
        }
        Ok(log.len_bytes() - hmsops_disk::frame::HEADER_BYTES as u64)
    }

    fn take(&mut self, payload: &[u8]) -> Result<(), String> {
        let record = Record::decode(payload).map_err(|e| e.to_string())?;
        if let Some(origin) = record.origin {
            self.origins.recover(origin, record.at);
        }
        for (id, labels) in &record.definitions {
            let series = self.head.adopt(*id, labels);
            series.state().is_defined = true;
            self.series.insert(*id, series);
        }
        self.found.samples += record.rows.len() as u64;
        for (id, time, start, value) in record.rows {
            let series = self.by_id(id).ok_or_else(|| format!("series {id} is not defined"))?;
            series.state().insert(time, start, value);
        }
        self.found.records += 1;
        self.found.last_at = Some(UnixMillis(record.at));
        Ok(())
    }

    fn by_id(&mut self, id: u32) -> Option<Arc<Series>> {
        if let Some(series) = self.series.get(&id) {
            return Some(Arc::clone(series));
        }
        let series = self.head.adopt(id, self.defined.get(&id)?);
        {
            let mut state = series.state();
            state.is_defined = true;
            state.is_listed |= series.id == id;
        }
        self.series.insert(id, Arc::clone(&series));
        Some(series)
    }

    /// A log that is missing would be made, and look empty.
    fn must_exist(&self, path: &str) -> Result<(), StoreError> {
        if self.disk.exists(path)? {
            return Ok(());
        }
        Err(StoreError::corrupt(path, "it is missing, and the manifest says that it counts"))
    }
}
