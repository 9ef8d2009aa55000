//! Reading.

use std::sync::{Arc, PoisonError};

use hmsops_model::labels::{Labels, Matcher};
use hmsops_model::sample::Value;
use hmsops_model::series::{Budget, Found, Samples, Selection, Series as Answer, SeriesSource, SourceError};
use roaring::RoaringBitmap;

use crate::chunk::{self, OpenChunk, Sealed};
use crate::columns::Columns;
use crate::index::Index;
use crate::pattern::Test;
use crate::segment::Segments;
use crate::series::{DiskChunk, Series};
use crate::store::{Inner, Store};
use crate::value;

/// What a series of one sample occupies.
const LATEST_BYTES: u64 = 16;

/// What there is of a series in a range, before it is read.
struct Parts {
    on_disk: Vec<DiskChunk>,
    sealed: Vec<Sealed>,
    open: Option<OpenChunk>,
    late: Vec<(i64, i64, Value)>,
}

impl SeriesSource for Store {
    /// Chunks outside the range are not read. With [`is_labels_only`](hmsops_model::series::Hints) none is, and a
    /// series with a chunk that spans the range is found though it may have a hole there.
    fn select<'a>(&'a self, selection: &Selection<'_>, budget: &Budget) -> Result<Found<'a>, SourceError> {
        let (from, to) = (selection.from, selection.to);
        let inner = &*self.0;
        let tests = compile(selection.matchers)?;
        let series: Vec<Arc<Series>> = {
            let indexed = inner.head.index();
            let index = &indexed.index;
            index.select(&tests).iter().filter_map(|id| index.get(id).cloned()).collect()
        };
        // Kept, so that what retention removes meanwhile can still be read.
        let segments = inner.segments.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut found = Vec::new();
        for series in series {
            if selection.hints.is_labels_only {
                budget.charge(0, 0)?;
                if series.state().is_within(from, to) {
                    found.push(Ok(Answer { labels: series.labels.clone(), samples: Samples::default() }));
                }
                continue;
            }
            let latest = selection.hints.is_latest_only.then(|| series.state().latest(from, to)).flatten();
            let samples = match latest {
                Some(sample) => {
                    budget.charge(1, LATEST_BYTES)?;
                    sample
                }
                None => inner.read(&series, from, to, &segments, budget)?,
            };
            if !samples.is_empty() {
                found.push(Ok(Answer { labels: series.labels.clone(), samples }));
            }
        }
        Ok(Box::new(found.into_iter()))
    }
}

impl Store {
    /// The label sets of the series that one of the matcher sets picks (all series, if there is none) with
    /// samples from `from` to `to`, sorted; at most `limit`, if that is not 0.
    pub fn series(
        &self,
        matcher_sets: &[Vec<Matcher>],
        from: i64,
        to: i64,
        limit: usize,
    ) -> Result<Vec<Labels>, SourceError> {
        let indexed = self.0.head.index();
        let picked = pick(&indexed.index, matcher_sets)?;
        let within = picked.iter().filter_map(|id| indexed.index.get(id)).filter(|series| {
            let state = series.state();
            state.is_within(from, to)
        });
        let mut labels: Vec<Labels> =
            within.map(|series| series.labels.clone()).take(at_most(limit)).collect();
        labels.sort();
        Ok(labels)
    }

    /// The label names of these series, sorted; at most `limit`, if that is not 0.
    pub fn label_names(
        &self,
        matcher_sets: &[Vec<Matcher>],
        from: i64,
        to: i64,
        limit: usize,
    ) -> Result<Vec<String>, SourceError> {
        let indexed = self.0.head.index();
        let picked = pick(&indexed.index, matcher_sets)?;
        let mut within = RoaringBitmap::new();
        for id in &picked {
            if indexed.index.get(id).is_some_and(|series| series.state().is_within(from, to)) {
                within.insert(id);
            }
        }
        let names = indexed.index.names().iter();
        let held = names.filter(|(_, values)| values.values().any(|ids| !ids.is_disjoint(&within)));
        Ok(held.map(|(name, _)| name.to_string()).take(at_most(limit)).collect())
    }

    /// The values of a label of these series, sorted; at most `limit`, if that is not 0.
    pub fn label_values(
        &self,
        name: &str,
        matcher_sets: &[Vec<Matcher>],
        from: i64,
        to: i64,
        limit: usize,
    ) -> Result<Vec<String>, SourceError> {
        let indexed = self.0.head.index();
        let picked = pick(&indexed.index, matcher_sets)?;
        let Some(values) = indexed.index.names().get(name) else { return Ok(Vec::new()) };
        let is_there = |ids: &RoaringBitmap| {
            (ids & &picked).iter().filter_map(|id| indexed.index.get(id)).any(|series| {
                let state = series.state();
                state.is_within(from, to)
            })
        };
        let found = values.iter().filter(|(_, ids)| is_there(ids)).map(|(value, _)| value.to_string());
        Ok(found.take(at_most(limit)).collect())
    }
}

impl Inner {
    fn read(
        &self,
        series: &Series,
        from: i64,
        to: i64,
        segments: &Segments,
        budget: &Budget,
    ) -> Result<Samples, SourceError> {
        let parts = Parts::of(series, from, to);
        let (samples_max, bytes_max) = parts.size();
        budget.charge(samples_max, bytes_max)?;
        let samples = parts.read(from, to, |place| match segments.get(&place.segment) {
            Some(segment) => segment.read(series.id, place),
            None => self.read_chunk(series.id, place),
        });
        let samples = samples.map_err(|why| {
            SourceError::Failed(format!("cannot read `{}`: {why}", crate::head::shown(&series.labels)))
        })?;
        let (count, bytes) = (samples.len() as u64, samples.size() as u64);
        budget.release(samples_max - count.min(samples_max), bytes_max - bytes.min(bytes_max));
        budget.charge(0, bytes.saturating_sub(bytes_max))?;
        Ok(samples)
    }
}

impl Parts {
    fn of(series: &Series, from: i64, to: i64) -> Self {
        let overlaps = |min: i64, max: i64| min <= to && max >= from;
        let state = series.state();
        let late = state.late.range(from..=to.max(from));
        let late = late.map(|(time, (start, value))| (*time, *start, value.clone())).collect();
        Self {
            on_disk: state.on_disk.iter().filter(|place| overlaps(place.min, place.max)).copied().collect(),
            sealed: state.sealed.iter().filter(|sealed| overlaps(sealed.min, sealed.max)).cloned().collect(),
            open: state.open.as_ref().filter(|open| overlaps(open.first(), open.last())).cloned(),
            late,
        }
    }

    /// Samples and bytes at most.
    fn size(&self) -> (u64, u64) {
        let on_disk = self.on_disk.iter().map(|place| (u32::from(place.count), place.len as usize));
        let sealed = self.sealed.iter().map(|sealed| (sealed.count, sealed.body.len()));
        let open = self.open.iter().map(|open| (open.count(), 0));
        let (mut samples, mut bytes) = (self.late.len() as u64, 0);
        for (count, len) in on_disk.chain(sealed).chain(open) {
            samples += u64::from(count);
            bytes += chunk::bytes_when_read(count, len);
        }
        bytes += self.late.iter().map(|(.., value)| 16 + value::size(value) as u64).sum::<u64>();
        (samples, bytes)
    }

    fn read(
        self,
        from: i64,
        to: i64,
        mut fetch: impl FnMut(&DiskChunk) -> Result<Vec<u8>, String>,
    ) -> Result<Samples, String> {
        let mut columns = Columns::new(from, to);
        let text = |e: crate::bytes::Damaged| e.to_string();
        for place in &self.on_disk {
            chunk::decode(&fetch(place)?, &mut columns).map_err(text)?;
        }
        for sealed in &self.sealed {
            chunk::decode(&sealed.body, &mut columns).map_err(text)?;
        }
        if let Some(open) = &self.open {
            open.read(&mut columns).map_err(text)?;
        }
        for (time, start, value) in self.late {
            columns.push(time, start, value);
        }
        Ok(columns.finish())
    }
}

fn compile(matchers: &[Matcher]) -> Result<Vec<Test>, SourceError> {
    matchers.iter().map(Test::compile).collect()
}

fn pick(index: &Index, matcher_sets: &[Vec<Matcher>]) -> Result<RoaringBitmap, SourceError> {
    if matcher_sets.is_empty() {
        return Ok(index.select(&[]));
    }
    let mut picked = RoaringBitmap::new();
    for matchers in matcher_sets {
        picked |= index.select(&compile(matchers)?);
    }
    Ok(picked)
}

const fn at_most(limit: usize) -> usize {
    if limit == 0 { usize::MAX } else { limit }
}
