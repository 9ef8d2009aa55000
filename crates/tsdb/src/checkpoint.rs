//! Keeping house: sealed chunks to disk, the log cut, what is too old dropped.
//!
//! A checkpoint closes the file of the log while nobody appends, takes down what is in memory at that moment, and
//! lets everybody go on. Then it writes sealed chunks, new series and the rest of the memory to files, and last
//! the manifest that makes them count. Only then are older files removed. A crash anywhere leaves the old manifest
//! with the old files or the new one with the new: no sample is lost, and none is there twice.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use hmsops_disk::{Disk, Log};
use hmsops_model::{Millis, UnixMillis};

use crate::chunk::Sealed;
use crate::error::StoreError;
use crate::manifest::Manifest;
use crate::segment::{BLOCK_BYTES_MAX, SEGMENT_BYTES, Segment};
use crate::series::{DiskChunk, Series};
use crate::snapshot;
use crate::store::{Inner, Store, lock};
use crate::wal;

/// Series that got nothing for so long have their last chunk sealed, so that checkpoints need not carry it.
const IDLE: Millis = Millis::from_mins(60);

/// Old samples are dropped this often, if nothing else asks for a checkpoint.
const DROP_INTERVAL: Millis = Millis::from_mins(30);

/// Bytes of a frame in the files of a checkpoint, about.
const FRAME_BYTES: usize = 1 << 20;

/// Bytes of one commit of them, about.
const COMMIT_BYTES: usize = 16 << 20;

/// The longest frame: one series with histograms may be above the usual size.
pub(crate) const FRAME_BYTES_MAX: usize = 64 << 20;

/// The list of series is written anew when it has so many entries beyond twice those that are alive.
const DEAD_ENTRIES: usize = 10_000;

/// What one call did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Maintained {
    /// A checkpoint was made.
    pub is_checkpoint: bool,
    /// Chunks that went to disk.
    pub chunks: usize,
    /// Samples in them.
    pub samples: u64,
    /// Series without samples within the retention, forgotten.
    pub forgotten: usize,
}

/// What checkpoints know of each other. One at a time.
pub(crate) struct Checkpointer {
    /// The last one that counts.
    pub(crate) manifest: Manifest,
    /// The next number; none is used twice.
    pub(crate) next: u64,
    /// Says what ids stand for.
    pub(crate) list: Option<Log>,
    /// Entries in it.
    pub(crate) listed: usize,
    /// A checkpoint failed, and nobody knows whether its manifest counts: what it wrote is not written over.
    pub(crate) is_unsure: bool,
    pub(crate) last_at: UnixMillis,
}

/// What was in memory when the log was closed.
#[derive(Default)]
struct Captured {
    /// Frames of the file that holds what stays in memory.
    frames: Vec<Vec<u8>>,
    chunks: Vec<(Arc<Series>, Sealed)>,
    unlisted: Vec<Arc<Series>>,
    forgotten: Vec<Arc<Series>>,
}

impl Store {
    /// Makes a checkpoint when one is due. To be called every few seconds, from a thread that may block.
    pub fn maintain(&self, now: UnixMillis) -> Result<Maintained, StoreError> {
        let inner = &*self.0;
        let mut checkpointer = lock(&inner.checkpointer);
        let (bytes, age) = (inner.wal_bytes.load(Ordering::Relaxed), now.since(checkpointer.last_at));
        let is_due = bytes >= inner.options.checkpoint_bytes
            || (bytes > 0 && age >= inner.options.checkpoint_interval)
            || age >= DROP_INTERVAL;
        if is_due { inner.checkpoint(&mut checkpointer, now) } else { Ok(Maintained::default()) }
    }

    /// Makes a checkpoint now: before a stop, so that the next start has nothing to replay.
    pub fn checkpoint(&self, now: UnixMillis) -> Result<Maintained, StoreError> {
        let inner = &*self.0;
        inner.checkpoint(&mut lock(&inner.checkpointer), now)
    }
}

impl Inner {
    fn checkpoint(&self, keeper: &mut Checkpointer, now: UnixMillis) -> Result<Maintained, StoreError> {
        // Also after a failure, so that a full disk is not tried again every few seconds.
        keeper.last_at = now;
        let outcome = self.try_checkpoint(keeper, now);
        keeper.is_unsure |= outcome.is_err();
        *lock(&self.checkpoint_error) = outcome.as_ref().err().map(StoreError::chain);
        outcome
    }

    fn try_checkpoint(&self, keeper: &mut Checkpointer, now: UnixMillis) -> Result<Maintained, StoreError> {
        self.check_latch()?;
        let number = keeper.next;
        keeper.next += 1;
        let next_wal = Arc::new(wal::create(&self.disk, &self.folder, number)?);
        self.origins.forget(now);
        let mut wal = self.wal_mut();
        // What failed while this waited may be in the file that would be closed.
        self.check_latch()?;
        let captured = self.capture(now);
        *wal = next_wal;
        let closed_bytes = self.wal_bytes.load(Ordering::Relaxed);
        drop(wal);
        let (manifest, places) = self.write_out(keeper, number, now, &captured)?;
        manifest.write(&*self.disk, &self.folder)?;
        keeper.manifest = manifest;
        keeper.is_unsure = false;
        self.counters.count_files(&keeper.manifest);
        self.wal_bytes.fetch_sub(closed_bytes, Ordering::Relaxed);
        self.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
        let samples = captured.chunks.iter().map(|(_, sealed)| u64::from(sealed.count)).sum();
        let done = Maintained {
            is_checkpoint: true,
            chunks: captured.chunks.len(),
            samples,
            forgotten: captured.forgotten.len(),
        };
        settle(captured, &places);
        let kept: Vec<u32> = keeper.manifest.segments.iter().map(|segment| segment.number).collect();
        self.segments.write().unwrap_or_else(PoisonError::into_inner).retain(|n, _| kept.contains(n));
        remove_old(&*self.disk, &self.folder, &keeper.manifest);
        Ok(done)
    }

    /// Nobody appends meanwhile.
    fn capture(&self, now: UnixMillis) -> Captured {
        let (cutoff, idle) = (self.cutoff(now), now.0.saturating_sub_unsigned(IDLE.0));
        let mut captured = Captured::default();
        let mut origins = vec![snapshot::ORIGINS];
        origins.extend(self.origins.encode());
        captured.frames.push(origins);
        let mut frame = vec![snapshot::SERIES];
        for series in self.head.index().index.series() {
            let mut state = series.state();
            state.seal_idle(idle);
            if state.drop_before(cutoff) {
                captured.forgotten.push(Arc::clone(series));
                continue;
            }
            snapshot::encode(&mut frame, series.id, &state);
            if frame.len() >= FRAME_BYTES {
                captured.frames.push(std::mem::replace(&mut frame, vec![snapshot::SERIES]));
            }
            let sealed = state.sealed.iter().map(|sealed| (Arc::clone(series), sealed.clone()));
            captured.chunks.extend(sealed);
            if !state.is_listed {
                captured.unlisted.push(Arc::clone(series));
            }
        }
        captured.frames.push(frame);
        self.head.forget(&captured.forgotten);
        captured
    }

    fn write_out(
        &self,
        keeper: &mut Checkpointer,
        number: u64,
        now: UnixMillis,
        captured: &Captured,
    ) -> Result<(Manifest, Vec<DiskChunk>), StoreError> {
        let list = self.write_list(keeper, number, &captured.unlisted)?;
        let mut manifest = Manifest {
            number,
            head_frames: captured.frames.len() as u64,
            list,
            segments: keeper.manifest.segments.clone(),
        };
        let places = self.write_chunks(keeper, &mut manifest, &captured.chunks)?;
        let path = head_path(&self.folder, number);
        let mut log = Log::open(Arc::clone(&self.disk), &path, FRAME_BYTES_MAX)?.log;
        write_frames(&mut log, captured.frames.iter().map(Vec::as_slice))?;
        let cutoff = self.cutoff(now);
        manifest.segments.retain(|segment| segment.max >= cutoff);
        Ok((manifest, places))
    }

    /// Adds new series to the list; answers its number.
    fn write_list(
        &self,
        keeper: &mut Checkpointer,
        number: u64,
        unlisted: &[Arc<Series>],
    ) -> Result<u64, StoreError> {
        let is_old = keeper.listed > 2 * self.head.index().index.len() + DEAD_ENTRIES;
        if let Some(list) = keeper.list.as_mut().filter(|_| !is_old) {
            if list.latched().is_some() {
                list.reopen()?;
            }
            write_definitions(list, unlisted)?;
            keeper.listed += unlisted.len();
            return Ok(keeper.manifest.list);
        }
        let path = list_path(&self.folder, number);
        let mut list = Log::open(Arc::clone(&self.disk), &path, FRAME_BYTES_MAX)?.log;
        let alive: Vec<Arc<Series>> = self.head.index().index.series().cloned().collect();
        write_definitions(&mut list, &alive)?;
        (keeper.list, keeper.listed, keeper.manifest.list) = (Some(list), alive.len(), number);
        Ok(number)
    }

    fn write_chunks(
        &self,
        keeper: &mut Checkpointer,
        manifest: &mut Manifest,
        mut chunks: &[(Arc<Series>, Sealed)],
    ) -> Result<Vec<DiskChunk>, StoreError> {
        let mut places = Vec::with_capacity(chunks.len());
        while !chunks.is_empty() {
            let mut bytes = 0;
            let fits = chunks.iter().take_while(|(_, sealed)| {
                bytes += sealed.body.len();
                bytes <= BLOCK_BYTES_MAX
            });
            let (block, rest) = chunks.split_at(fits.count().max(1));
            let current = manifest.segments.last().copied().filter(|last| {
                let is_new = keeper.manifest.segments.last() != Some(last);
                last.end() < SEGMENT_BYTES && (!keeper.is_unsure || is_new)
            });
            let number = if let Some(current) = current {
                current.number
            } else {
                let number = u32::try_from(keeper.next)
                    .map_err(|_| StoreError::corrupt(&self.folder, "all numbers of files are used up"))?;
                keeper.next += 1;
                let segment = Arc::new(Segment::create(&*self.disk, &self.folder, number)?);
                self.segments.write().unwrap_or_else(PoisonError::into_inner).insert(number, segment);
                number
            };
            let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
            let segment = segments.get(&number).cloned();
            drop(segments);
            let segment = segment
                .ok_or_else(|| StoreError::corrupt(&self.folder, &format!("file {number} is gone")))?;
            let (entry, written) = segment.append(number, current, block)?;
            manifest.segments.retain(|other| other.number != number);
            manifest.segments.push(entry);
            places.extend(written);
            chunks = rest;
        }
        Ok(places)
    }
}

/// The manifest counts: what it covers is read from disk from now on.
fn settle(captured: Captured, places: &[DiskChunk]) {
    for ((series, sealed), place) in captured.chunks.iter().zip(places) {
        let mut state = series.state();
        if let Some(at) = state.sealed.iter().position(|other| Arc::ptr_eq(&other.body, &sealed.body)) {
            state.sealed.remove(at);
            state.on_disk.push(*place);
        }
    }
    for series in captured.unlisted {
        series.state().is_listed = true;
    }
}

fn write_definitions(list: &mut Log, series: &[Arc<Series>]) -> Result<(), StoreError> {
    let mut frames: Vec<Vec<u8>> = Vec::new();
    for series in series {
        if frames.last().is_none_or(|frame| frame.len() >= FRAME_BYTES) {
            frames.push(Vec::new());
        }
        if let Some(frame) = frames.last_mut() {
            wal::put_definition(frame, series.id, &series.labels);
        }
    }
    write_frames(list, frames.iter().map(Vec::as_slice))
}

/// Writes frames in commits of bounded size.
fn write_frames<'a>(log: &mut Log, frames: impl Iterator<Item = &'a [u8]>) -> Result<(), StoreError> {
    let mut bytes = 0;
    for frame in frames {
        if bytes > 0 && bytes + frame.len() > COMMIT_BYTES {
            log.commit()?;
            bytes = 0;
        }
        log.append(frame)?;
        bytes += frame.len();
    }
    Ok(log.commit()?)
}

/// The path of the file that holds what was in memory.
pub(crate) fn head_path(folder: &str, number: u64) -> String {
    format!("{folder}/head-{number:08}")
}

/// The path of the list of series.
pub(crate) fn list_path(folder: &str, number: u64) -> String {
    format!("{folder}/series-{number:08}")
}

/// The kind and number in the name of a file of ours.
pub(crate) fn parse_name(name: &str) -> Option<(&str, u64)> {
    let (kind, number) = name.split_once('-')?;
    let is_ours = ["wal", "head", "series", "chunks"].contains(&kind);
    number.parse().ok().filter(|_| is_ours).map(|number| (kind, number))
}

/// Removes what does not count. What can't be removed now will be another time.
pub(crate) fn remove_old(disk: &dyn Disk, folder: &str, manifest: &Manifest) {
    for name in disk.list(folder).unwrap_or_default() {
        let Some((kind, number)) = parse_name(&name) else { continue };
        let counts = match kind {
            "wal" => number >= manifest.number,
            "head" => number == manifest.number,
            "series" => number == manifest.list,
            _ => manifest.segments.iter().any(|segment| u64::from(segment.number) == number),
        };
        if !counts {
            let _ = disk.remove(&format!("{folder}/{name}"));
        }
    }
}
