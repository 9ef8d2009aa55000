//! All series in memory, found by their labels or by the bytes that stand for them on the wire.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hmsops_model::labels::Labels;
use siphasher::sip::SipHasher13;
use siphasher::sip128;

use crate::batch::{Key, Refusal};
use crate::index::Index;
use crate::options::{LABEL_NAME_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_BYTES_MAX, LABELS_MAX};
use crate::series::Series;

/// Parts that are locked one by one, so that threads rarely meet.
const SHARDS: usize = 16;

/// SipHash-1-3 (Aumasson, Bernstein 2012) with a secret key: nobody outside can choose what collides.
#[derive(Debug, Clone)]
pub(crate) struct Keyed([u8; 16]);

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;
    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_key(&self.0)
    }
}

/// For keys that are a hash already.
#[derive(Debug, Default, Clone, Copy)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        let head = bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        self.0 = head;
    }
    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

type HashedKeys = std::hash::BuildHasherDefault<Hashed>;
type ByLabels = HashMap<Labels, Arc<Series>, Keyed>;
type ByWire = HashMap<u128, Arc<Series>, HashedKeys>;

/// The series in memory.
#[derive(Debug)]
pub(crate) struct Head {
    key: [u8; 16],
    series_max: usize,
    by_labels: Vec<Mutex<ByLabels>>,
    by_wire: Vec<Mutex<ByWire>>,
    index: RwLock<Indexed>,
}

/// The index and the next id, which are given together so that ids ascend.
#[derive(Debug, Default)]
pub(crate) struct Indexed {
    pub(crate) index: Index,
    next_id: u32,
}

impl Head {
    pub(crate) fn new(key: [u8; 16], series_max: usize) -> Self {
        let shards = || 0..SHARDS;
        Self {
            key,
            series_max,
            by_labels: shards().map(|_| Mutex::new(HashMap::with_hasher(Keyed(key)))).collect(),
            by_wire: shards().map(|_| Mutex::default()).collect(),
            index: RwLock::default(),
        }
    }

    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Indexed> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Indexed> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) const fn series_max(&self) -> usize {
        self.series_max
    }

    /// The series a key names; a new one when there is none and one more may be.
    pub(crate) fn find(&self, key: &Key<'_>) -> Result<Arc<Series>, Refusal> {
        let (bytes, parse) = match key {
            Key::Labels(labels) => return self.find_labels(labels),
            Key::Wire { bytes, parse } => (bytes, parse),
        };
        let hash = sip128::SipHasher13::new_with_key(&self.key).hash(bytes).as_u128();
        let shard = &self.by_wire[(hash >> 64) as usize % SHARDS];
        if let Some(series) = lock(shard).get(&hash) {
            return Ok(Arc::clone(series));
        }
        let series = self.find_labels(&parse(bytes).map_err(Refusal::BadLabels)?)?;
        let mut known = lock(shard);
        // LIMIT: a sender that orders labels anew each time would fill it; then all others are looked up once more.
        if known.len() > 2 * self.series_max / SHARDS + 64 {
            known.clear();
        }
        known.insert(hash, Arc::clone(&series));
        Ok(series)
    }

    fn find_labels(&self, labels: &Labels) -> Result<Arc<Series>, Refusal> {
        let mut shard = lock(self.shard(labels));
        if let Some(series) = shard.get(labels) {
            return Ok(Arc::clone(series));
        }
        check(labels).map_err(Refusal::BadLabels)?;
        let mut indexed = self.index_mut();
        if indexed.index.len() >= self.series_max {
            let max = self.series_max;
            return Err(Refusal::OverBudget(format!(
                "`{}` would be one series more than the {max} that are kept",
                shown(labels)
            )));
        }
        let id = indexed.next_id;
        let Some(next_id) = id.checked_add(1) else {
            return Err(Refusal::OverBudget("all numbers of series are used up".to_owned()));
        };
        indexed.next_id = next_id;
        let series = Arc::new(Series::new(id, labels.clone()));
        indexed.index.insert(Arc::clone(&series));
        shard.insert(labels.clone(), Arc::clone(&series));
        Ok(series)
    }

    fn shard(&self, labels: &Labels) -> &Mutex<ByLabels> {
        &self.by_labels[(Keyed(self.key).hash_one(labels) >> 32) as usize % SHARDS]
    }

    /// A series that a file names. One with these labels that is there already stands for it.
    pub(crate) fn adopt(&self, id: u32, labels: &Labels) -> Arc<Series> {
        self.reserve_id(id);
        let mut shard = lock(self.shard(labels));
        if let Some(series) = shard.get(labels) {
            return Arc::clone(series);
        }
        let series = Arc::new(Series::new(id, labels.clone()));
        self.index_mut().index.insert(Arc::clone(&series));
        shard.insert(labels.clone(), Arc::clone(&series));
        series
    }

    /// The id is in use, or was.
    pub(crate) fn reserve_id(&self, id: u32) {
        let mut indexed = self.index_mut();
        indexed.next_id = indexed.next_id.max(id.saturating_add(1));
    }

    /// Takes series out. Nobody may be appending.
    pub(crate) fn forget(&self, series: &[Arc<Series>]) {
        if series.is_empty() {
            return;
        }
        for series in series {
            lock(self.shard(&series.labels)).remove(&series.labels);
        }
        let ids: HashSet<u32> = series.iter().map(|series| series.id).collect();
        for shard in &self.by_wire {
            lock(shard).retain(|_, series| !ids.contains(&series.id));
        }
        let mut indexed = self.index_mut();
        for series in series {
            indexed.index.remove(series.id, &series.labels);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The labels as text, cut to what a message can bear.
pub(crate) fn shown(labels: &Labels) -> String {
    const CHARS_MAX: usize = 200;
    let text = labels.to_string();
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Whether labels may name a series. Names are unique and not empty by their type.
fn check(labels: &Labels) -> Result<(), String> {
    let (mut total, count) = (0, labels.len());
    if count > LABELS_MAX {
        return Err(format!("a series has {count} labels, more than the {LABELS_MAX} it may have"));
    }
    for (name, value) in labels.iter() {
        let (name_len, value_len) = (name.len(), value.len());
        if name_len > LABEL_NAME_BYTES_MAX {
            return Err(format!(
                "the label name `{name:.40}…` has {name_len} bytes, more than the {LABEL_NAME_BYTES_MAX} it may have"
            ));
        }
        if value_len > LABEL_VALUE_BYTES_MAX {
            return Err(format!(
                "the value of label `{name:.80}` has {value_len} bytes, more than the {LABEL_VALUE_BYTES_MAX} it may have"
            ));
        }
        total += name_len + value_len;
    }
    if total > LABELS_BYTES_MAX {
        return Err(format!(
            "the labels of a series have {total} bytes, more than the {LABELS_BYTES_MAX} they may have"
        ));
    }
    if labels.name().is_none() {
        return Err(format!("`{}` has no metric name; set the label `__name__`", shown(labels)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_limits() {
        let named = Labels::new([("__name__", "up")]);
        assert_eq!(check(&named), Ok(()));
        for (labels, expected) in [
            (Labels::new([("a", "b")]), "no metric name"),
            (named.with("a", &"x".repeat(1 << 20)), "value of label `a`"),
            (named.with(&"x".repeat(1 << 20), "a"), "label name"),
            (Labels::new((0..65).map(|n| (n.to_string(), "x"))), "65 labels"),
            (Labels::new((0..8).map(|n| (n.to_string(), "x".repeat(4000)))), "32008 bytes"),
        ] {
            let why = check(&labels).unwrap_err();
            assert!(why.contains(expected) && why.len() < 400, "{why}");
        }
    }

    #[test]
    fn bytes_are_parsed_once_and_other_orders_find_the_same_series() {
        let head = Head::new([0; 16], 10);
        let calls = std::cell::Cell::new(0);
        let parse = |_: &[u8]| {
            calls.set(calls.get() + 1);
            Ok(Labels::new([("__name__", "up"), ("a", "b")]))
        };
        let find = |bytes: &[u8]| head.find(&Key::Wire { bytes, parse: &parse }).unwrap().id;
        assert_eq!([find(b"1"), find(b"1"), find(b"2"), find(b"2")], [0; 4]);
        assert_eq!(calls.get(), 2);
        assert_eq!(head.find(&Key::Labels(&Labels::new([("a", "b"), ("__name__", "up")]))).unwrap().id, 0);
        let bad = |_: &[u8]| Err("no labels".to_owned());
        let refused = head.find(&Key::Wire { bytes: b"3", parse: &bad }).unwrap_err();
        assert_eq!(refused, Refusal::BadLabels("no labels".into()));
    }

    #[test]
    fn the_cache_of_bytes_is_bounded() {
        let head = Head::new([0; 16], 10);
        let parse = |_: &[u8]| Ok(Labels::new([("__name__", "up")]));
        for n in 0..10_000_u32 {
            head.find(&Key::Wire { bytes: &n.to_le_bytes(), parse: &parse }).unwrap();
        }
        let cached: usize = head.by_wire.iter().map(|shard| lock(shard).len()).sum();
        assert!(cached <= 16 * 70, "{cached}");
    }
}
