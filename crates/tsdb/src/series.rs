//! One series in memory: what is not on disk yet, where the rest is, and what is on its way.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hmsops_model::labels::Labels;
use hmsops_model::sample::Value;
use hmsops_model::series::Samples;

use crate::bytes::Damaged;
use crate::chunk::{self, OpenChunk, Sealed};
use crate::columns::{Columns, earliest};
use crate::{reset, value};

/// Late samples of a series that are held in memory before they become chunks of their own.
const LATE_MAX: usize = 120;

/// A gap so long, in milliseconds, ends a chunk: a chunk is kept and found as a whole.
const GAP_MAX: i64 = 60 * 60 * 1000;

/// A series.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) id: u32,
    pub(crate) labels: Labels,
    state: Mutex<State>,
}

/// Where a chunk is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskChunk {
    pub(crate) min: i64,
    pub(crate) max: i64,
    /// The number of the segment.
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    /// With its checksum.
    pub(crate) len: u32,
    pub(crate) count: u16,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// In the order they were sealed.
    pub(crate) on_disk: Vec<DiskChunk>,
    /// Sealed after those, and not on disk yet.
    pub(crate) sealed: Vec<Sealed>,
    pub(crate) open: Option<OpenChunk>,
    /// Samples that came out of order.
    pub(crate) late: BTreeMap<i64, (i64, Value)>,
    /// The latest sample that was ever appended.
    pub(crate) newest: Option<(i64, Value)>,
    /// Floats and histograms that are being written to the log.
    pending: Vec<(i64, Value)>,
    /// Whether a record of the log, or the list of series, says what the id stands for.
    pub(crate) is_defined: bool,
    /// Whether the list of series does.
    pub(crate) is_listed: bool,
}

/// What is to be done with a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Store,
    /// It is durable already.
    Duplicate,
    /// The same sample is on its way: it is written once more, so that the answer waits for it.
    DuplicateOnItsWay,
    TooOld {
        newest: i64,
    },
    Conflict,
}

/// Reads the bytes of a chunk on disk.
pub(crate) type ReadChunk<'a> = dyn Fn(&DiskChunk) -> Result<Vec<u8>, String> + 'a;

impl Series {
    pub(crate) fn new(id: u32, labels: Labels) -> Self {
        Self { id, labels, state: Mutex::default() }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Decides about a sample, and if it is to be stored, keeps its place until [`State::insert`] or
    /// [`State::withdraw`].
    pub(crate) fn reserve(
        &mut self,
        time: i64,
        value: &Value,
        late_window: i64,
        read: &ReadChunk<'_>,
    ) -> Result<Verdict, String> {
        if matches!(value, Value::Tally(_)) {
            return Ok(Verdict::Store);
        }
        if let Some((_, on_its_way)) = self.pending.iter().find(|(pending, _)| *pending == time) {
            if !value::is_same(on_its_way, value) {
                return Ok(Verdict::Conflict);
            }
            self.pending.push((time, value.clone()));
            return Ok(Verdict::DuplicateOnItsWay);
        }
        let newest = self.newest.iter().chain(&self.pending).map(|(time, _)| *time).max();
        if let Some(newest) = newest.filter(|newest| time <= *newest) {
            match self.agrees(time, value, read)? {
                Some(true) => return Ok(Verdict::Duplicate),
                Some(false) => return Ok(Verdict::Conflict),
                None if newest.saturating_sub(time) > late_window => return Ok(Verdict::TooOld { newest }),
                None => {}
            }
        }
        self.pending.push((time, value.clone()));
        Ok(Verdict::Store)
    }

    /// Whether what is stored at a moment is this value; `None` when nothing is.
    fn agrees(&self, time: i64, value: &Value, read: &ReadChunk<'_>) -> Result<Option<bool>, String> {
        let text = |damage: Damaged| damage.to_string();
        if let Some((_, newest)) = self.newest.as_ref().filter(|(newest, _)| *newest == time) {
            return Ok(Some(value::is_same(newest, value)));
        }
        if let Some((_, late)) = self.late.get(&time) {
            return Ok(Some(value::is_same(late, value)));
        }
        if let Some(open) = self.open.as_ref().filter(|open| open.first() <= time && time <= open.last()) {
            let mut columns = Columns::new(time, time);
            open.read(&mut columns).map_err(text)?;
            let samples = columns.finish();
            if !samples.is_empty() {
                return Ok(Some(value::is_same(&samples.value(0), value)));
            }
        }
        for sealed in self.sealed.iter().filter(|sealed| sealed.min <= time && time <= sealed.max) {
            if let Some(answer) = chunk::agrees(&sealed.body, time, value).map_err(text)? {
                return Ok(Some(answer));
            }
        }
        for place in self.on_disk.iter().filter(|place| place.min <= time && time <= place.max) {
            if let Some(answer) = chunk::agrees(&read(place)?, time, value).map_err(text)? {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    /// Gives the place of a sample back that was not stored.
    pub(crate) fn withdraw(&mut self, time: i64, value: &Value) {
        if matches!(value, Value::Tally(_)) {
            return;
        }
        if let Some(index) = self.pending.iter().position(|(pending, _)| *pending == time) {
            self.pending.swap_remove(index);
            if self.pending.is_empty() {
                self.pending = Vec::new();
            }
        }
    }

    /// Takes a sample that is durable. Never refuses: what the log holds was accepted. Samples may come in
    /// another order than they were accepted in. Answers whether there was a newer one, or one of that moment.
    pub(crate) fn insert(&mut self, time: i64, start: i64, value: Value) -> bool {
        self.withdraw(time, &value);
        let is_latest = self.newest.as_ref().is_none_or(|(newest, _)| time > *newest);
        if !is_latest {
            self.insert_late(time, start, value);
            return true;
        }
        let value = reset::hinted(self.newest.as_ref().map(|(_, before)| before), value);
        let is_done = |open: &mut OpenChunk| {
            !open.takes(&value) || open.is_full() || time.saturating_sub(open.last()) > GAP_MAX
        };
        if let Some(done) = self.open.take_if(is_done) {
            self.sealed.push(done.seal());
        }
        self.open.get_or_insert_with(|| OpenChunk::for_value(&value)).push(time, start, &value);
        self.newest = Some((time, value));
        false
    }

    fn insert_late(&mut self, time: i64, start: i64, value: Value) {
        match (self.late.get_mut(&time), value) {
            (Some((known_start, Value::Tally(before))), Value::Tally(later)) => {
                *before = before.merge(later);
                *known_start = earliest(*known_start, start);
            }
            // The same sample once more, as the log may have it.
            (Some(_), _) => {}
            (None, value) => {
                let is_repeated = !matches!(value, Value::Tally(_))
                    && self.newest.as_ref().is_some_and(|(newest, _)| *newest == time);
                if !is_repeated {
                    self.late.insert(time, (start, value));
                }
            }
        }
        if self.late.len() >= LATE_MAX {
            self.seal_late();
        }
    }

    fn seal_late(&mut self) {
        let late = std::mem::take(&mut self.late);
        // What is in the open chunk came before; of one moment the first must stay the first.
        if let Some(open) = self.open.take() {
            self.sealed.push(open.seal());
        }
        self.sealed
            .extend(Sealed::from_rows(late.iter().map(|(time, (start, value))| (*time, *start, value))));
    }

    /// Seals the open chunk and what came late when nothing came since `before`.
    pub(crate) fn seal_idle(&mut self, before: i64) {
        if self.newest.as_ref().is_some_and(|(newest, _)| *newest < before) {
            if let Some(open) = self.open.take() {
                self.sealed.push(open.seal());
            }
            if !self.late.is_empty() {
                self.seal_late();
            }
        }
    }

    /// Drops what ended before `cutoff`. Answers whether nothing is left.
    pub(crate) fn drop_before(&mut self, cutoff: i64) -> bool {
        self.on_disk.retain(|place| place.max >= cutoff);
        self.sealed.retain(|sealed| sealed.max >= cutoff);
        self.open.take_if(|open| open.last() < cutoff);
        if self.late.first_key_value().is_some_and(|(time, _)| *time < cutoff) {
            self.late = self.late.split_off(&cutoff);
        }
        self.is_empty() && self.pending.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.on_disk.is_empty() && self.sealed.is_empty() && self.open.is_none() && self.late.is_empty()
    }

    /// The latest sample from `from` to `to`, when it is the latest of all and a float of the open chunk: then nothing
    /// has to be decoded.
    pub(crate) fn latest(&self, from: i64, to: i64) -> Option<Samples> {
        let Some(OpenChunk::Floats(chunk)) = &self.open else { return None };
        let (time, start, value) = chunk.latest()?;
        let is_latest = self.newest.as_ref().is_some_and(|(newest, _)| *newest == time);
        (is_latest && (from..=to).contains(&time)).then(|| {
            let mut samples = Samples::default();
            samples.push(time, start, Value::Float(value));
            samples
        })
    }

    /// Whether there may be samples from `from` to `to`: a chunk that spans the range counts though it may have
    /// a hole there.
    pub(crate) fn is_within(&self, from: i64, to: i64) -> bool {
        let overlaps = |min: i64, max: i64| min <= to && max >= from;
        from <= to
            && (self.open.as_ref().is_some_and(|open| overlaps(open.first(), open.last()))
                || self.sealed.iter().any(|sealed| overlaps(sealed.min, sealed.max))
                || self.late.range(from..=to).next().is_some()
                || self.on_disk.iter().rev().any(|place| overlaps(place.min, place.max)))
    }
}
