//! What the series of a store are many of: by metric, by label, by label and value.

use hmsops_model::labels::METRIC_NAME;

use crate::index::Index;
use crate::store::Store;

/// Something and how much of it there is.
pub type Counted = (String, u64);

/// What the series of a store are many of, the most first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Series in memory.
    pub series: u64,
    /// Series at most.
    pub series_max: u64,
    /// Different pairs of label and value.
    pub pairs: u64,
    /// Series by the name of their metric.
    pub metrics: Vec<Counted>,
    /// Different values by label.
    pub values: Vec<Counted>,
    /// Bytes of all different values by label.
    pub bytes: Vec<Counted>,
    /// Series by label and value, `job=portal`.
    pub by_pair: Vec<Counted>,
}

impl Store {
    /// What its series are many of: of each kind at most `limit`. Blocks while it looks through the index.
    pub fn cardinality(&self, limit: usize) -> Cardinality {
        let inner = &*self.0;
        let found = of(&inner.head.index().index, limit);
        Cardinality { series_max: inner.head.series_max() as u64, ..found }
    }
}

fn of(index: &Index, limit: usize) -> Cardinality {
    let (mut metrics, mut values) = (Most::new(limit), Most::new(limit));
    let (mut bytes, mut by_pair) = (Most::new(limit), Most::new(limit));
    let mut pairs = 0;
    for (name, of_name) in index.names() {
        pairs += of_name.len() as u64;
        values.add(of_name.len() as u64, || name.to_string());
        bytes.add(of_name.keys().map(|value| value.len() as u64).sum(), || name.to_string());
        for (value, ids) in of_name {
            if &**name == METRIC_NAME {
                metrics.add(ids.len(), || value.to_string());
            }
            by_pair.add(ids.len(), || format!("{name}={value}"));
        }
    }
    Cardinality {
        series: index.len() as u64,
        series_max: 0,
        pairs,
        metrics: metrics.0,
        values: values.0,
        bytes: bytes.0,
        by_pair: by_pair.0,
    }
}

/// Those with the highest counts, in descending order; of equals the ones that came first.
struct Most(Vec<Counted>, usize);

impl Most {
    const fn new(limit: usize) -> Self {
        Self(Vec::new(), limit)
    }

    fn add(&mut self, count: u64, name: impl FnOnce() -> String) {
        let place = self.0.partition_point(|(_, known)| *known >= count);
        if place < self.1 {
            self.0.truncate(self.1 - 1);
            self.0.insert(place.min(self.0.len()), (name(), count));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hmsops_model::Labels;

    use super::*;
    use crate::series::Series;

    #[test]
    fn what_is_most_comes_first() {
        let mut index = Index::default();
        for id in 0..10_u32 {
            let name = if id < 7 { "requests" } else { "up" };
            let user = format!("user-{id}");
            let labels = Labels::new([("__name__", name), ("job", "portal"), ("user", user.as_str())]);
            index.insert(Arc::new(Series::new(id, labels)));
        }
        let found = of(&index, 2);
        assert_eq!((found.series, found.pairs), (10, 13));
        assert_eq!(found.metrics, [("requests".into(), 7), ("up".into(), 3)]);
        assert_eq!(found.values, [("user".into(), 10), ("__name__".into(), 2)]);
        assert_eq!(found.bytes[0], ("user".into(), 60));
        assert_eq!(found.by_pair, [("job=portal".into(), 10), ("__name__=requests".into(), 7)]);
        assert_eq!(of(&index, 0).metrics, []);
    }
}
