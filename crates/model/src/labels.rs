//! What a series is called: label sets, and matchers that pick them. No regular expressions are run here.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The label that holds the metric's name.
pub const METRIC_NAME: &str = "__name__";

/// A label set: names sorted bytewise, none twice, no empty values (an empty value is a missing label). Names
/// and values are any UTF-8. A clone costs one reference count.
#[derive(Clone, PartialEq, Eq)]
pub struct Labels(Arc<Packed>);

/// All names and values in one piece, with where each ends: `name value name value …`.
#[derive(PartialEq, Eq, Hash)]
struct Packed {
    text: Box<str>,
    ends: Box<[u32]>,
}

impl Labels {
    /// From pairs in any order. The last of several with the same name counts; empty names and empty values are
    /// left out.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let pairs: Vec<(N, V)> = pairs.into_iter().collect();
        let mut order: Vec<usize> = (0..pairs.len()).collect();
        order.sort_by(|a, b| pairs[*a].0.as_ref().cmp(pairs[*b].0.as_ref()).then(a.cmp(b)));
        let mut builder = Packing::default();
        for (at, &index) in order.iter().enumerate() {
            let (name, value) = (pairs[index].0.as_ref(), pairs[index].1.as_ref());
            let is_overwritten = order.get(at + 1).is_some_and(|next| pairs[*next].0.as_ref() == name);
            if !is_overwritten && !name.is_empty() && !value.is_empty() {
                builder.push(name, value);
            }
        }
        builder.finish()
    }

    /// From pairs whose names ascend and are there once each; empty values are left out. Cheaper than
    /// [`new`](Self::new), for readers of formats that have sorted and checked already.
    pub fn from_sorted<N: AsRef<str>, V: AsRef<str>>(pairs: &[(N, V)]) -> Self {
        debug_assert!(pairs.windows(2).all(|pair| pair[0].0.as_ref() < pair[1].0.as_ref()), "names ascend");
        let length = pairs.iter().map(|(name, value)| name.as_ref().len() + value.as_ref().len()).sum();
        let mut builder =
            Packing { text: String::with_capacity(length), ends: Vec::with_capacity(pairs.len() * 2) };
        for (name, value) in pairs.iter().filter(|(_, value)| !value.as_ref().is_empty()) {
            builder.push(name.as_ref(), value.as_ref());
        }
        builder.finish()
    }

    /// The set without labels.
    pub fn empty() -> Self {
        Packing::default().finish()
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> + ExactSizeIterator {
        (0..self.len()).map(|index| self.pair(index))
    }

    /// How many labels there are, the metric's name included.
    pub fn len(&self) -> usize {
        self.0.ends.len() / 2
    }

    /// Whether there is no label at all.
    pub fn is_empty(&self) -> bool {
        self.0.ends.is_empty()
    }

    /// The value of a label.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let (found, value) = self.pair(middle);
            match found.cmp(name) {
                Ordering::Equal => return Some(value),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// The metric's name.
    pub fn name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// The labels for whose names `keep` answers yes.
    #[must_use]
    pub fn filter(&self, mut keep: impl FnMut(&str) -> bool) -> Self {
        let mut builder = Packing::default();
        for (name, value) in self.iter().filter(|(name, _)| keep(name)) {
            builder.push(name, value);
        }
        builder.finish()
    }

    /// The same with one label set, or removed when `value` is empty.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        Self::new(self.iter().chain(std::iter::once((name, value))))
    }

    /// The bytes it occupies in memory, about.
    pub fn size(&self) -> usize {
        self.0.text.len() + self.0.ends.len() * 4 + 64
    }

    fn pair(&self, index: usize) -> (&str, &str) {
        let ends = &self.0.ends;
        let start = if index == 0 { 0 } else { ends[2 * index - 1] as usize };
        let (middle, end) = (ends[2 * index] as usize, ends[2 * index + 1] as usize);
        (&self.0.text[start..middle], &self.0.text[middle..end])
    }
}

/// A label set under construction, fed in order.
#[derive(Default)]
struct Packing {
    text: String,
    ends: Vec<u32>,
}

impl Packing {
    fn push(&mut self, name: &str, value: &str) {
        for part in [name, value] {
            self.text.push_str(part);
            self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
        }
    }

    fn finish(self) -> Labels {
        Labels(Arc::new(Packed { text: self.text.into(), ends: self.ends.into() }))
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// Pair by pair, name before value; a set that runs out first comes first.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// `name{label="value", …}`, with quotes around what is not an identifier.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let plain = self.name().filter(|name| is_plain_metric(name));
        if let (None, Some(name)) = (plain, self.name()) {
            parts.push(format!("{name:?}"));
        }
        for (name, value) in self.iter().filter(|(name, _)| *name != METRIC_NAME) {
            if is_plain_label(name) {
                parts.push(format!("{name}={value:?}"));
            } else {
                parts.push(format!("{name:?}={value:?}"));
            }
        }
        f.write_str(plain.unwrap_or_default())?;
        if plain.is_none() || !parts.is_empty() {
            write!(f, "{{{}}}", parts.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether a metric's name needs no quotes in Prometheus: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub fn is_plain_metric(name: &str) -> bool {
    let is_start = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    name.starts_with(is_start) && name.chars().all(|c| is_start(c) || c.is_ascii_digit())
}

/// Whether a label's name needs no quotes in Prometheus: `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_plain_label(name: &str) -> bool {
    is_plain_metric(name) && !name.contains(':')
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Labels;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of label names to values")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut pairs: Vec<(String, String)> = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Labels::new(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MatchOp {
    /// `=`
    Eq,
    /// `!=`
    Ne,
    /// `=~`: RE2 syntax, must match the whole value, a dot matches every character
    Re,
    /// `!~`
    NotRe,
}

impl MatchOp {
    /// As queries spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "=",
            Self::Ne => "!=",
            Self::Re => "=~",
            Self::NotRe => "!~",
        }
    }
}

/// One condition on one label; a label that is missing has the empty value. Data only: who selects compiles the
/// expressions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Matcher {
    /// The label's name; [`METRIC_NAME`] for the metric's.
    pub name: String,
    /// How.
    pub op: MatchOp,
    /// With what.
    pub value: String,
}

impl Matcher {
    /// `name op "value"`.
    pub fn new(name: impl Into<String>, op: MatchOp, value: impl Into<String>) -> Self {
        Self { name: name.into(), op, value: value.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_sorted_and_has_neither_doubles_nor_empty_values() {
        let labels = Labels::new([("b", "2"), ("a", "1"), ("c", ""), ("a", "3"), ("__name__", "up")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("__name__", "up"), ("a", "3"), ("b", "2")]);
        assert_eq!((labels.get("a"), labels.get("c"), labels.name()), (Some("3"), None, Some("up")));
        assert_eq!(labels.to_string(), r#"up{a="3", b="2"}"#);
        assert_eq!(labels.with("a", "").with("z", "9").to_string(), r#"up{b="2", z="9"}"#);
        assert_eq!(Labels::empty().to_string(), "{}");
        assert_eq!(Labels::from_sorted(&[("__name__", "up"), ("a", "3"), ("b", "2"), ("c", "")]), labels);
    }

    #[test]
    fn equal_text_with_other_borders_is_another_set() {
        assert_ne!(Labels::new([("ab", "c")]), Labels::new([("a", "bc")]));
    }

    #[test]
    fn sets_compare_pair_by_pair() {
        let mut sets = [
            Labels::new([("a", "2")]),
            Labels::new([("b", "1")]),
            Labels::new([("a", "1"), ("b", "1")]),
            Labels::new([("a", "1")]),
        ];
        sets.sort();
        let shown: Vec<String> = sets.iter().map(ToString::to_string).collect();
        assert_eq!(shown, [r#"{a="1"}"#, r#"{a="1", b="1"}"#, r#"{a="2"}"#, r#"{b="1"}"#]);
    }
}
