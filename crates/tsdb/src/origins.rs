//! Which batches were stored, by who sent them and their number.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use hmsops_model::UnixMillis;

use crate::batch::Origin;
use crate::bytes::{Damaged, Reader, put_int, put_slice, put_uint};
use crate::options::{RUNS_KEPT, SOURCE_KEPT, SOURCES_MAX};

/// Sequences of all sources.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    sources: Mutex<HashMap<Box<str>, Source>>,
    /// Told when a batch on its way has arrived or failed.
    landed: Condvar,
}

#[derive(Debug, Default)]
struct Source {
    /// Runs of numbers without a gap, first to last: a source that counts has one, however long it lives.
    stored: BTreeMap<u64, u64>,
    /// On their way.
    flying: Vec<u64>,
    last_at: i64,
}

impl Origins {
    /// Whether a batch is new, in which case it is on its way until [`Origins::land`]. Waits while the same
    /// batch is on its way in another thread.
    pub(crate) fn take_off(&self, origin: Origin<'_>) -> bool {
        let mut sources = self.sources();
        loop {
            let source = match sources.get_mut(origin.source) {
                Some(source) => source,
                None => sources.entry(origin.source.into()).or_default(),
            };
            if source.is_stored(origin.sequence) {
                return false;
            }
            if !source.flying.contains(&origin.sequence) {
                source.flying.push(origin.sequence);
                return true;
            }
            sources = self.landed.wait(sources).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A batch has arrived, or has not.
    pub(crate) fn land(&self, origin: Origin<'_>, now: UnixMillis, is_stored: bool) {
        let mut sources = self.sources();
        if let Some(source) = sources.get_mut(origin.source) {
            source.flying.retain(|flying| *flying != origin.sequence);
            if !is_stored && source.flying.is_empty() && source.stored.is_empty() {
                sources.remove(origin.source);
            }
        }
        if is_stored {
            store(&mut sources, origin, now.0);
        }
        drop(sources);
        self.landed.notify_all();
    }

    /// A batch that the log holds.
    pub(crate) fn recover(&self, origin: Origin<'_>, at: i64) {
        store(&mut self.sources(), origin, at);
    }

    /// Forgets sources that have been silent for long.
    pub(crate) fn forget(&self, now: UnixMillis) {
        let cutoff = now.0.saturating_sub_unsigned(SOURCE_KEPT.0);
        self.sources().retain(|_, source| source.last_at >= cutoff || !source.flying.is_empty());
    }

    pub(crate) fn len(&self) -> usize {
        self.sources().len()
    }

    /// All that was stored, for a checkpoint.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, source) in self.sources().iter().filter(|(_, source)| !source.stored.is_empty()) {
            put_slice(&mut bytes, name.as_bytes());
            put_int(&mut bytes, source.last_at);
            put_uint(&mut bytes, source.stored.len() as u64);
            for (first, last) in &source.stored {
                put_uint(&mut bytes, *first);
                put_uint(&mut bytes, last - first);
            }
        }
        bytes
    }

    /// Takes what [`Origins::encode`] wrote.
    pub(crate) fn decode(&self, bytes: &[u8]) -> Result<(), Damaged> {
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let (source, at) = (reader.text()?, reader.int()?);
            let mut stored = BTreeMap::new();
            for _ in 0..reader.len()? {
                let first = reader.uint()?;
                stored.insert(first, first.saturating_add(reader.uint()?));
            }
            self.sources().insert(source.into(), Source { stored, flying: Vec::new(), last_at: at });
        }
        Ok(())
    }

    fn sources(&self) -> MutexGuard<'_, HashMap<Box<str>, Source>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn store(sources: &mut HashMap<Box<str>, Source>, origin: Origin<'_>, at: i64) {
    if sources.len() >= SOURCES_MAX && !sources.contains_key(origin.source) {
        // A tenth at once, so that a flood of names does not sort them each time.
        let mut times: Vec<i64> = sources.values().map(|source| source.last_at).collect();
        let (_, cutoff, _) = times.select_nth_unstable(SOURCES_MAX / 10);
        let cutoff = *cutoff;
        sources.retain(|_, source| source.last_at > cutoff || !source.flying.is_empty());
    }
    let source = sources.entry(origin.source.into()).or_default();
    source.last_at = source.last_at.max(at);
    source.store(origin.sequence);
}

impl Source {
    fn is_stored(&self, sequence: u64) -> bool {
        self.stored.range(..=sequence).next_back().is_some_and(|(_, last)| *last >= sequence)
    }

    fn store(&mut self, sequence: u64) {
        if self.is_stored(sequence) {
            return;
        }
        let (mut first, mut last) = (sequence, sequence);
        let before = self.stored.range(..sequence).next_back().map(|(first, last)| (*first, *last));
        if let Some((run, _)) = before.filter(|(_, end)| *end + 1 == sequence) {
            first = run;
        }
        if let Some(end) = sequence.checked_add(1).and_then(|next| self.stored.remove(&next)) {
            last = end;
        }
        self.stored.insert(first, last);
        if self.stored.len() > RUNS_KEPT {
            self.stored.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn origin(source: &str, sequence: u64) -> Origin<'_> {
        Origin { source, sequence }
    }

    #[test]
    fn sequences_are_remembered_in_any_order_and_failed_ones_are_not() {
        let origins = Origins::default();
        for sequence in [5, 3, 4] {
            assert!(origins.take_off(origin("a", sequence)));
            origins.land(origin("a", sequence), UnixMillis(1), sequence != 4);
        }
        assert!(!origins.take_off(origin("a", 3)) && !origins.take_off(origin("a", 5)));
        assert!(origins.take_off(origin("a", 4)) && origins.take_off(origin("b", 3)));
        let again = Origins::default();
        again.decode(&origins.encode()).unwrap();
        assert!(!again.take_off(origin("a", 3)) && again.take_off(origin("a", 4)));
    }

    #[test]
    fn runs_grow_together_and_are_bounded() {
        let mut source = Source::default();
        for sequence in [5, 3, 4, 7, u64::MAX, 6, 0] {
            source.store(sequence);
        }
        let runs: Vec<(u64, u64)> = source.stored.iter().map(|(first, last)| (*first, *last)).collect();
        assert_eq!(runs, [(0, 0), (3, 7), (u64::MAX, u64::MAX)]);
        assert!([3, 5, 7, u64::MAX].iter().all(|sequence| source.is_stored(*sequence)));
        assert!([1, 2, 8].iter().all(|sequence| !source.is_stored(*sequence)));
        (0..1000).for_each(|n| source.store(100 + 2 * n));
        assert!(source.stored.len() == RUNS_KEPT && source.is_stored(100 + 2 * 999));
    }

    #[test]
    fn sources_are_bounded_and_the_silent_are_forgotten() {
        let origins = Origins::default();
        for n in 0..=SOURCES_MAX as i64 {
            origins.recover(origin(&n.to_string(), 1), n);
        }
        assert!(origins.len() <= SOURCES_MAX && !origins.take_off(origin(&SOURCES_MAX.to_string(), 1)));
        origins.forget(UnixMillis(SOURCES_MAX as i64 + SOURCE_KEPT.0 as i64));
        assert!(origins.len() <= 2);
    }
}
