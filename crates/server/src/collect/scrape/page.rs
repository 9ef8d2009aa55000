//! A page's samples as they are stored: with the target's labels, its own renamed where they clash, and marks for
//! the series that are gone.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use hmsops_model::labels::METRIC_NAME;
use hmsops_model::sample::stale_nan;
use hmsops_model::{Labels, Value};
use hmsops_wire::exposition::Parsed;

use super::job::Job;
use super::relabel::LabelMap;
use crate::collect::metrics::Sample;

/// What is put before a label of the page that the target has, too.
const EXPORTED: &str = "exported_";

/// The labels of a target, and what its job does to a page's.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stamp {
    /// Put on every sample.
    pub(super) labels: BTreeMap<String, String>,
    pub(super) job: Arc<Job>,
}

/// What became of a page.
#[derive(Debug)]
pub(super) struct Turned {
    /// With marks for what is not on it any more.
    pub(super) samples: Vec<Sample>,
    /// Series that are new.
    pub(super) added: usize,
    /// Samples that the rules left.
    pub(super) kept: usize,
}

impl Stamp {
    /// A sample's labels with the target's.
    pub(super) fn apply(&self, own: &Labels) -> Labels {
        let clashes = self.labels.keys().any(|name| own.get(name).is_some());
        if self.job.spec.honor_labels || !clashes {
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

    /// A sample's labels as they are stored; `None`: a rule dropped it. An error refuses the page.
    fn stored(&self, own: &Labels) -> Result<Option<Labels>, String> {
        let mut labels = self.apply(own);
        let rules = &self.job.metric_rules;
        if !rules.is_empty() {
            let pairs = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
            let mut map: LabelMap = pairs.collect();
            if !rules.apply(&mut map) {
                return Ok(None);
            }
            if !map.contains_key(METRIC_NAME) {
                return Err("the rules of `metric_relabel_configs` took a sample's name".into());
            }
            labels = Labels::new(map);
        }
        self.within_limits(&labels).map(|()| Some(labels))
    }

    fn within_limits(&self, labels: &Labels) -> Result<(), String> {
        let limits = &self.job.spec.limits;
        let over = |count: usize, limit: Option<u64>| {
            limit.filter(|limit| u64::try_from(count).unwrap_or(u64::MAX) > *limit)
        };
        let name = || labels.name().unwrap_or_default().to_owned();
        let count = labels.iter().count();
        if let Some(limit) = over(count, limits.labels) {
            return Err(format!(
                "a sample of `{:.100}` has {count} labels, more than `label_limit: {limit}`",
                name()
            ));
        }
        for (label, value) in labels.iter() {
            if let Some(limit) = over(label.len(), limits.label_name_bytes) {
                let found = label.len();
                return Err(format!(
                    "the label `{label:.100}` of `{:.100}` has {found} bytes, more than `label_name_length_limit: {limit}`",
                    name()
                ));
            }
            if let Some(limit) = over(value.len(), limits.label_value_bytes) {
                let found = value.len();
                return Err(format!(
                    "the value of `{label:.100}` of `{:.100}` has {found} bytes, more than `label_value_length_limit: {limit}`",
                    name()
                ));
            }
        }
        Ok(())
    }

    /// A sample of our own about the target.
    pub(super) fn report(&self, name: &str, time: i64, value: f64) -> Sample {
        let target = self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let labels = Labels::new(target.chain([(METRIC_NAME, name)]));
        Sample { labels, time, start: 0, value: Value::Float(value) }
    }
}

/// The series that a target had when it last answered.
#[derive(Debug, Default)]
pub(super) struct Had(HashSet<Labels>);

impl Had {
    /// The samples of a page, and a mark for each series that is not on it any more. Samples with a time of their own are
    /// not watched unless the job says so, as Prometheus has it: they may come late. After an error all is as before.
    pub(super) fn turn(&mut self, stamp: &Stamp, time: i64, page: &Parsed) -> Result<Turned, String> {
        let spec = &stamp.job.spec;
        let mut now = HashSet::with_capacity(self.0.len());
        let (mut samples, mut added) = (Vec::with_capacity(page.samples.len()), 0);
        let floats =
            page.samples.iter().map(|one| (&one.labels, one.time, one.start, Value::Float(one.value)));
        let native = page
            .histograms
            .iter()
            .map(|one| (&one.labels, one.time, one.start, Value::Histogram(Arc::new(one.histogram.clone()))));
        for (own, own_time, start, value) in floats.chain(native) {
            let Some(labels) = stamp.stored(own)? else { continue };
            let own_time = own_time.filter(|_| spec.honor_timestamps);
            if own_time.is_none() || spec.track_timestamps_staleness {
                added += usize::from(!self.0.contains(&labels));
                now.insert(labels.clone());
            }
            samples.push(Sample { labels, time: own_time.unwrap_or(time), start: start.unwrap_or(0), value });
        }
        let kept = samples.len();
        if let Some(limit) = spec.limits.samples.filter(|limit| kept as u64 > *limit) {
            return Err(format!("{kept} samples are more than `sample_limit: {limit}`"));
        }
        samples.extend(self.0.difference(&now).map(|labels| gone(labels, time)));
        self.0 = now;
        Ok(Turned { samples, added, kept })
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
        let spec = hmsops_model::ScrapeSpec { honor_labels, ..crate::collect::scrape::own_job("node") };
        Stamp { labels, job: Arc::new(Job::new(spec, Arc::default())) }
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
        let Turned { samples, added, .. } = had.turn(&stamp, 1000, &page("a 1\nb 2\nc 3 500\n")).unwrap();
        assert_eq!((samples.len(), added), (3, 2));
        assert_eq!(samples[2].time, 500, "its own time");
        let Turned { samples, added, .. } = had.turn(&stamp, 2000, &page("a 1\n")).unwrap();
        let marked: Vec<_> = samples.iter().filter(|sample| sample.value.is_stale()).collect();
        assert_eq!((marked.len(), added), (1, 0));
        assert_eq!((marked[0].labels.name(), marked[0].time), (Some("b"), 2000));
        assert_eq!(had.end(3000).len(), 1, "only `a` is left");
        assert_eq!(had.end(4000).len(), 0);
    }
}
