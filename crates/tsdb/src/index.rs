//! Which series have which labels: label name → value → ids.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use hmsops_model::labels::Labels;
use roaring::RoaringBitmap;

use crate::pattern::{Pattern, Test};
use crate::series::Series;

/// The index of all series in memory.
#[derive(Debug, Default)]
pub(crate) struct Index {
    names: BTreeMap<Box<str>, BTreeMap<Box<str>, RoaringBitmap>>,
    all: RoaringBitmap,
    series: HashMap<u32, Arc<Series>>,
}

impl Index {
    pub(crate) fn insert(&mut self, series: Arc<Series>) {
        for (name, value) in series.labels.iter() {
            if !self.names.contains_key(name) {
                self.names.insert(name.into(), BTreeMap::new());
            }
            if let Some(values) = self.names.get_mut(name) {
                if let Some(ids) = values.get_mut(value) {
                    ids.insert(series.id);
                } else {
                    values.insert(value.into(), RoaringBitmap::from_iter([series.id]));
                }
            }
        }
        self.all.insert(series.id);
        self.series.insert(series.id, series);
    }

    pub(crate) fn remove(&mut self, id: u32, labels: &Labels) {
        for (name, value) in labels.iter() {
            if let Some(values) = self.names.get_mut(name) {
                if let Some(ids) = values.get_mut(value) {
                    ids.remove(id);
                    if ids.is_empty() {
                        values.remove(value);
                    }
                }
                if values.is_empty() {
                    self.names.remove(name);
                }
            }
        }
        self.all.remove(id);
        self.series.remove(&id);
    }

    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Arc<Series>> {
        self.series.get(&id)
    }

    /// In ascending order of their ids, which is the order they came in.
    pub(crate) fn series(&self) -> impl Iterator<Item = &Arc<Series>> {
        self.all.iter().filter_map(|id| self.series.get(&id))
    }

    /// The ids of the series that fulfil all conditions.
    pub(crate) fn select(&self, tests: &[Test]) -> RoaringBitmap {
        let mut found: Option<RoaringBitmap> = None;
        let (positive, empty): (Vec<&Test>, Vec<&Test>) = tests.iter().partition(|test| !test.holds(""));
        for test in positive {
            let ids = self.holding(test);
            let both = match found {
                Some(found) => found & ids,
                None => ids,
            };
            if both.is_empty() {
                return both;
            }
            found = Some(both);
        }
        let mut found = found.unwrap_or_else(|| self.all.clone());
        // What holds for a missing label holds for all series but those with a value it does not hold for.
        for test in empty {
            let against = Test { is_negative: !test.is_negative, ..test.clone() };
            found -= self.holding(&against);
        }
        found
    }

    /// The ids of the series that have the label, with a value that fulfils the condition.
    fn holding(&self, test: &Test) -> RoaringBitmap {
        let Some(values) = self.names.get(test.name.as_str()) else { return RoaringBitmap::new() };
        let mut ids = RoaringBitmap::new();
        match &test.pattern {
            Pattern::Words(words) if !test.is_negative => {
                words.iter().filter_map(|word| values.get(word.as_str())).for_each(|more| ids |= more);
            }
            Pattern::Prefix(prefix, _) if !test.is_negative => {
                let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
                let near =
                    values.range::<str, _>(from).take_while(|(value, _)| value.starts_with(prefix.as_str()));
                near.filter(|(value, _)| test.holds(value)).for_each(|(_, more)| ids |= more);
            }
            Pattern::Prefixes(prefixes, _) if !test.is_negative => {
                for prefix in prefixes {
                    let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
                    let near = values.range::<str, _>(from);
                    let near = near.take_while(|(value, _)| value.starts_with(prefix.as_str()));
                    near.filter(|(value, _)| test.holds(value)).for_each(|(_, more)| ids |= more);
                }
            }
            _ => {
                let holding = values.iter().filter(|(value, _)| test.holds(value));
                holding.for_each(|(_, more)| ids |= more);
            }
        }
        ids
    }

    /// Names with the values below them and the ids below those.
    pub(crate) const fn names(&self) -> &BTreeMap<Box<str>, BTreeMap<Box<str>, RoaringBitmap>> {
        &self.names
    }
}

#[cfg(test)]
mod tests {
    use hmsops_model::labels::{MatchOp, Matcher};

    use super::*;

    fn index() -> Index {
        let mut index = Index::default();
        for (id, labels) in (0..).zip([
            Labels::new([("__name__", "up"), ("job", "a")]),
            Labels::new([("__name__", "up"), ("job", "b"), ("env", "x")]),
            Labels::new([("__name__", "down"), ("job", "ab")]),
            Labels::new([("__name__", "up")]),
        ]) {
            index.insert(Arc::new(Series::new(id, labels)));
        }
        index
    }

    /// The index answers as a look at every series would.
    #[test]
    fn every_matcher_picks_what_it_says() {
        use MatchOp::{Eq, Ne, NotRe, Re};
        let index = index();
        for (name, op, value, expected) in [
            ("__name__", Eq, "up", &[0, 1, 3][..]),
            ("job", Eq, "", &[3]),
            ("job", Ne, "", &[0, 1, 2]),
            ("job", Ne, "a", &[1, 2, 3]),
            ("job", Re, "a.*", &[0, 2]),
            ("job", Re, "a.+", &[2]),
            ("job", Re, ".*", &[0, 1, 2, 3]),
            ("job", Re, ".+", &[0, 1, 2]),
            ("job", Re, "a|b", &[0, 1]),
            ("job", Re, "a|", &[0, 3]),
            ("job", NotRe, "a|b", &[2, 3]),
            ("job", NotRe, ".+", &[3]),
            ("job", Re, "[ab]", &[0, 1]),
            ("job", Re, "a.?b*", &[0, 2]),
            ("job", NotRe, "a.?b*", &[1, 3]),
            ("env", NotRe, "x", &[0, 2, 3]),
            ("none", Eq, "", &[0, 1, 2, 3]),
            ("none", Ne, "", &[]),
        ] {
            let test = Test::compile(&Matcher::new(name, op, value)).unwrap();
            assert_eq!(
                index.select(&[test]).iter().collect::<Vec<_>>(),
                expected,
                "{name}{}{value}",
                op.as_str()
            );
        }
        let both = [Matcher::new("__name__", Eq, "up"), Matcher::new("env", Ne, "x")];
        let tests: Vec<Test> = both.iter().map(|matcher| Test::compile(matcher).unwrap()).collect();
        assert_eq!(index.select(&tests).iter().collect::<Vec<_>>(), [0, 3]);
        assert_eq!(index.select(&[]).len(), 4);
    }

    #[test]
    fn what_is_removed_leaves_nothing_behind() {
        let mut index = index();
        for series in index.series().cloned().collect::<Vec<_>>() {
            index.remove(series.id, &series.labels);
        }
        assert!(index.names.is_empty() && index.all.is_empty() && index.len() == 0);
    }
}
