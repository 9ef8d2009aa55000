//! The store: appending.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hmsops_disk::{Disk, DiskLock, GroupLog, LogError};
use hmsops_model::UnixMillis;
use hmsops_model::sample::Value;

use crate::batch::{Appended, Batch, Refusal, Row};
use crate::checkpoint::Checkpointer;
use crate::error::StoreError;
use crate::head::{Head, shown};
use crate::options::{BATCH_BYTES_MAX, FUTURE_MAX, Options, SOURCE_BYTES_MAX};
use crate::origins::Origins;
use crate::recover::{self, Recovered};
use crate::segment::Segments;
use crate::series::{DiskChunk, Series, Verdict};
use crate::stats::{Counters, Stats};
use crate::wal::{self, RecordWriter};

/// The metric store. Clones are the same store; all calls may block on the disk.
#[derive(Clone)]
pub struct Store(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) folder: String,
    pub(crate) options: Options,
    pub(crate) head: Head,
    pub(crate) origins: Origins,
    /// The file of the log that is written. Held for reading from the first look at a batch until it is in
    /// memory, so that who holds it for writing sees the log and the memory say the same.
    pub(crate) wal: RwLock<Arc<GroupLog>>,
    pub(crate) wal_bytes: AtomicU64,
    pub(crate) segments: RwLock<Segments>,
    pub(crate) checkpointer: Mutex<Checkpointer>,
    pub(crate) latched: Mutex<Option<String>>,
    /// The number of the log that could not be made at open, while a stand-in is in its place.
    pub(crate) stand_in: Mutex<Option<u64>>,
    pub(crate) checkpoint_error: Mutex<Option<String>>,
    pub(crate) counters: Counters,
    pub(crate) _lock: DiskLock,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("folder", &self.0.folder).finish_non_exhaustive()
    }
}

/// A sample that was accepted and waits for the log.
struct Accepted {
    series: Arc<Series>,
    time: i64,
    start: i64,
    value: Value,
}

impl Store {
    /// Opens or makes the store in `folder`, and reads what the last checkpoint and the log after it hold.
    #[expect(clippy::needless_pass_by_value, reason = "the store keeps it")]
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: &str,
        options: Options,
        now: UnixMillis,
    ) -> Result<(Self, Recovered), StoreError> {
        recover::open(&disk, folder, options, now)
    }

    /// Stores samples. Returns when they are durable and readers see them. What is refused is counted, and does
    /// not keep the rest from being stored.
    pub fn append(&self, now: UnixMillis, batch: &Batch<'_>) -> Result<Appended, StoreError> {
        let inner = &*self.0;
        inner.check_latch()?;
        if let Some(origin) = batch.origin {
            let bytes = origin.source.len();
            if bytes == 0 || bytes > SOURCE_BYTES_MAX {
                return Err(StoreError::Source { bytes, limit: SOURCE_BYTES_MAX });
            }
            if !inner.origins.take_off(origin) {
                let repeat = Appended { is_repeat: true, ..Appended::default() };
                inner.counters.count(&repeat);
                return Ok(repeat);
            }
        }
        let wal = inner.wal();
        let outcome = inner.store(&wal, now, batch);
        if let Some(origin) = batch.origin {
            let is_stored = outcome.as_ref().is_ok_and(|appended| appended.stored + appended.duplicates > 0);
            inner.origins.land(origin, now, is_stored);
        }
        // Not before: a checkpoint must find the batch among the stored ones.
        drop(wal);
        if let Ok(appended) = &outcome {
            inner.counters.count(appended);
        }
        outcome
    }

    /// After a failure that latched the store: opens the log again at the end of what was acknowledged.
    pub fn reopen(&self) -> Result<(), StoreError> {
        let mut wal = self.0.wal_mut();
        let mut stand_in = lock(&self.0.stand_in);
        if let Some(number) = *stand_in {
            *wal = Arc::new(wal::create(&self.0.disk, &self.0.folder, number)?);
            *stand_in = None;
        } else {
            wal.reopen()?;
        }
        *lock(&self.0.latched) = None;
        Ok(())
    }

    /// How it is doing.
    pub fn stats(&self) -> Stats {
        let inner = &*self.0;
        let counters = &inner.counters;
        Stats {
            series: inner.head.index().index.len(),
            series_max: inner.head.series_max(),
            samples_appended: counters.stored.load(Ordering::Relaxed),
            duplicates: counters.duplicates.load(Ordering::Relaxed),
            late: counters.late.load(Ordering::Relaxed),
            repeats: counters.repeats.load(Ordering::Relaxed),
            refused: counters.refused(),
            wal_bytes: inner.wal_bytes.load(Ordering::Relaxed),
            chunk_bytes: counters.chunk_bytes.load(Ordering::Relaxed),
            chunk_files: counters.chunk_files.load(Ordering::Relaxed),
            sources: inner.origins.len(),
            checkpoints: counters.checkpoints.load(Ordering::Relaxed),
            latched: lock(&inner.latched).clone(),
            checkpoint_error: lock(&inner.checkpoint_error).clone(),
        }
    }
}

impl Inner {
    pub(crate) fn check_latch(&self) -> Result<(), StoreError> {
        match &*lock(&self.latched) {
            Some(why) => Err(StoreError::Latched { why: why.clone() }),
            None => Ok(()),
        }
    }

    pub(crate) fn wal(&self) -> RwLockReadGuard<'_, Arc<GroupLog>> {
        self.wal.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wal_mut(&self) -> RwLockWriteGuard<'_, Arc<GroupLog>> {
        self.wal.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before this, samples are not kept.
    pub(crate) fn cutoff(&self, now: UnixMillis) -> i64 {
        now.0.saturating_sub_unsigned(self.options.retention.0)
    }

    fn store(&self, wal: &GroupLog, now: UnixMillis, batch: &Batch<'_>) -> Result<Appended, StoreError> {
        let (mut appended, mut accepted) = (Appended::default(), Vec::with_capacity(batch.rows.len()));
        for (place, row) in batch.rows.iter().enumerate() {
            let outcome = self.accept(now, row);
            let is_histogram = matches!(row.value, Value::Histogram(_));
            appended.histograms += usize::from(is_histogram && outcome.is_ok());
            match outcome {
                Ok((Verdict::Store, sample)) => {
                    appended.stored += 1;
                    accepted.push(sample);
                }
                Ok((verdict, sample)) => {
                    appended.duplicates += 1;
                    if verdict == Verdict::DuplicateOnItsWay {
                        accepted.push(sample);
                    }
                }
                Err(refusal) => appended.refused.add(place, refusal),
            }
        }
        // A batch of duplicates is remembered as a stored one, though nothing of it is written but its number.
        if accepted.is_empty() && (batch.origin.is_none() || appended.duplicates == 0) {
            return Ok(appended);
        }
        match self.write(wal, now, batch, &accepted) {
            Ok(()) => {
                let mut late = 0;
                for Accepted { series, time, start, value } in accepted {
                    let mut state = series.state();
                    state.is_defined = true;
                    late += u64::from(state.insert(time, start, value));
                }
                if late > 0 {
                    self.counters.late.fetch_add(late, Ordering::Relaxed);
                }
                Ok(appended)
            }
            Err(e) => {
                for Accepted { series, time, value, .. } in &accepted {
                    series.state().withdraw(*time, value);
                }
                Err(e)
            }
        }
    }

    fn accept(&self, now: UnixMillis, row: &Row<'_>) -> Result<(Verdict, Accepted), Refusal> {
        let Row { time, start, .. } = *row;
        let value = row.value.clone();
        if time < self.cutoff(now) {
            let age = now.since(UnixMillis(time));
            let kept = self.options.retention;
            return Err(Refusal::TooOld(format!("a sample is {age} old, samples are kept for {kept}")));
        }
        if time > now.0.saturating_add_unsigned(FUTURE_MAX.0) {
            let ahead = UnixMillis(time).since(now);
            return Err(Refusal::TooNew(format!(
                "a sample is {ahead} in the future, {FUTURE_MAX} are taken; check the sender's clock"
            )));
        }
        let series = self.head.find(&row.key)?;
        let window = self.options.late_window.0.min(i64::MAX as u64) as i64;
        let read = |place: &DiskChunk| self.read_chunk(series.id, place);
        let verdict = series.state().reserve(time, &value, window, &read);
        let name = || shown(&series.labels);
        match verdict {
            Ok(Verdict::TooOld { newest }) => Err(Refusal::TooOld(format!(
                "a sample of `{}` at {time} is older than its newest at {newest}",
                name()
            ))),
            Ok(Verdict::Conflict) => {
                Err(Refusal::Conflicting(format!("`{}` has another value at {time}", name())))
            }
            Ok(verdict) => Ok((verdict, Accepted { series, time, start, value })),
            Err(why) => {
                Err(Refusal::TooOld(format!("a late sample of `{}` cannot be compared: {why}", name())))
            }
        }
    }

    fn write(
        &self,
        wal: &GroupLog,
        now: UnixMillis,
        batch: &Batch<'_>,
        accepted: &[Accepted],
    ) -> Result<(), StoreError> {
        let (mut record, mut defined) = (RecordWriter::new(), HashSet::new());
        for Accepted { series, time, start, value } in accepted {
            // Another batch that defines it may come after this one in the log, or fail.
            if !series.state().is_defined && defined.insert(series.id) {
                record.define(series.id, &series.labels);
            }
            record.push(series.id, *time, *start, value);
        }
        let bytes = record.finish(now, batch.origin);
        let len = bytes.len();
        match wal.append_and_wait(bytes) {
            Ok(()) => {
                self.wal_bytes.fetch_add(len as u64, Ordering::Relaxed);
                Ok(())
            }
            Err(LogError::TooLarge { bytes, .. }) => {
                Err(StoreError::TooLarge { bytes, limit: BATCH_BYTES_MAX })
            }
            Err(e) => {
                lock(&self.latched).get_or_insert_with(|| e.chain());
                Err(e.into())
            }
        }
    }

    /// The body of a chunk on disk.
    pub(crate) fn read_chunk(&self, id: u32, place: &DiskChunk) -> Result<Vec<u8>, String> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let segment = segments.get(&place.segment).cloned();
        drop(segments);
        segment.ok_or_else(|| "its file of chunks was removed".to_owned())?.read(id, place)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
