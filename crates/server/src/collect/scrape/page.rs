//! A page's samples as they are stored: with the target's labels, its own renamed where they clash, and marks for
//! the series that are gone.

use std::collections::{BTreeMap, HashSet};

use hmsops_model::sample::stale_nan;
use hmsops_model::{Labels, Value};
use hmsops_wire::exposition::Parsed;

use crate::collect::metrics::Sample;

/// What is put before a label of the page that the target has, too.
const EXPORTED: &str = "exported_";

/// The labels of a target, and what they do to a page's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Put on every sample.
    pub(super) labels: BTreeMap<String, String>,
    /// The page's labels win.
    pub(super) honor_labels: bool,
}

impl Stamp {
    /// A sample's labels with the target's.
    pub(super) fn apply(&self, own: &Labels) -> Labels {
        let clashes = self.labels.keys().any(|name| own.get(name).is_some());
        if self.honor_labels || !clashes {
            // The last of equal names counts.
            let target = self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            return Labels::new(target.chain(own.iter()));
        }
        let mut pairs: Vec<(String, &str)> =
            self.labels.iter().map(|(name, value)| (name.clone(), value.as_str())).collect();
        let mut renamed = Vec::new();
        for (name, value) in own.iter() {
            if self.labels.contains_key(name) {
                renamed.push((name, value));
            } else {
                pairs.push((name.to_owned(), value));
            }
        }
        for (name, value) in renamed {
            let mut name = format!("{EXPORTED}{name}");
            while pairs.iter().any(|(known, _)| *known == name) {
                name.insert_str(0, EXPORTED);
            }
            pairs.push((name, value));
        }
        Labels::new(pairs)
    }

    /// A sample of our own about the target.
    pub(super) fn report(&self, name: &str, time: i64, value: f64) -> Sample {
        let target = self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let labels = Labels::new(target.chain([(hmsops_model::labels::METRIC_NAME, name)]));
        Sample { labels, time, start: 0, value: Value::Float(value) }
    }
}

/// The series that a target had when it last answered.
#[derive(Debug, Default)]
pub(super) struct Had(HashSet<Labels>);

impl Had {
    /// The samples of a page, and a mark for each series that is not on it any more. Also how many series are
    /// new. Samples with a time of their own are not watched, as Prometheus has it: they may come late.
    pub(super) fn turn(&mut self, stamp: &Stamp, time: i64, page: &Parsed) -> (Vec<Sample>, usize) {
        let mut now = HashSet::with_capacity(self.0.len());
        let (mut samples, mut added) = (Vec::with_capacity(page.samples.len()), 0);
        for sample in &page.samples {
            let labels = stamp.apply(&sample.labels);
            if sample.time.is_none() {
                added += usize::from(!self.0.contains(&labels));
                now.insert(labels.clone());
            }
            let value = Value::Float(sample.value);
            let (time, start) = (sample.time.unwrap_or(time), sample.start.unwrap_or(0));
            samples.push(Sample { labels, time, start, value });
        }
        samples.extend(self.0.difference(&now).map(|labels| gone(labels, time)));
        self.0 = now;
        (samples, added)
    }

    /// Marks for all of them: the target did not answer, or is asked no more.
    pub(super) fn end(&mut self, time: i64) -> Vec<Sample> {
        self.0.drain().map(|labels| gone(&labels, time)).collect()
    }
}

/// The mark of a series that ends.
pub(super) fn gone(labels: &Labels, time: i64) -> Sample {
    Sample { labels: labels.clone(), time, start: 0, value: Value::Float(stale_nan()) }
}

#[cfg(test)]
mod tests {
    use hmsops_wire::exposition::{Format, parse};

    use super::*;

    fn stamp(honor_labels: bool) -> Stamp {
        let labels = [("job", "node"), ("instance", "h:1")];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Stamp { labels, honor_labels }
    }

    #[test]
    fn labels_that_clash_are_renamed_or_win() {
        let own = Labels::new([("__name__", "up"), ("job", "x"), ("exported_job", "y")]);
        assert_eq!(
            stamp(false).apply(&own).to_string(),
            r#"up{exported_exported_job="x", exported_job="y", instance="h:1", job="node"}"#
        );
        assert_eq!(stamp(true).apply(&own).to_string(), r#"up{exported_job="y", instance="h:1", job="x"}"#);
    }

    #[test]
    fn a_series_that_is_not_there_any_more_is_marked_once() {
        let page = |text: &str| parse(text.as_bytes(), Format::Text, 100).unwrap();
        let (mut had, stamp) = (Had::default(), stamp(false));
        let (samples, added) = had.turn(&stamp, 1000, &page("a 1\nb 2\nc 3 500\n"));
        assert_eq!((samples.len(), added), (3, 2));
        assert_eq!(samples[2].time, 500, "its own time");
        let (samples, added) = had.turn(&stamp, 2000, &page("a 1\n"));
        let marked: Vec<_> = samples.iter().filter(|sample| sample.value.is_stale()).collect();
        assert_eq!((marked.len(), added), (1, 0));
        assert_eq!((marked[0].labels.name(), marked[0].time), (Some("b"), 2000));
        assert_eq!(had.end(3000).len(), 1, "only `a` is left");
        assert_eq!(had.end(4000).len(), 0);
    }
}
