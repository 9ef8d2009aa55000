//! A source of series in memory.

use std::collections::BTreeMap;

use hmsops_model::labels::{Labels, METRIC_NAME, MatchOp};
use hmsops_model::sample::{CUSTOM_SCHEMA, Histogram, ResetHint, Value, is_stale_nan};
use hmsops_model::series::{Budget, Found, Samples, Selection, Series, SeriesSource, SourceError};

use super::notation::{Described, describe, starts};
use crate::pattern::Pattern;
use crate::{duration, histogram, number};

/// Whether a label's value fulfils a condition.
type Test = Box<dyn Fn(&str) -> bool>;

/// One sample: its time and start timestamp in Unix milliseconds, and its value.
type Sample = (i64, i64, Value);

/// Series held in memory.
#[derive(Debug, Default, Clone)]
pub struct Memory {
    series: BTreeMap<Labels, Samples>,
}

impl Memory {
    /// Appends a sample; refused unless it is later than the last one of its series.
    pub fn push(&mut self, labels: &Labels, (time, start, value): Sample) -> Result<(), String> {
        let samples = self.series.entry(labels.clone()).or_default();
        if let Some(last) = samples.times().last()
            && *last >= time
        {
            if *last == time && samples.value(samples.len() - 1) == value {
                return Ok(());
            }
            return Err(format!("a sample of `{labels}` at {time} is not later than the last one"));
        }
        let value = hinted(samples, value);
        samples.push(time, start, value);
        Ok(())
    }

    /// Runs a `load` block.
    pub(super) fn load(&mut self, block: &[&str]) -> Result<(), String> {
        let mut words = block[0].split_whitespace();
        let command = words.next().unwrap_or_default().to_ascii_lowercase();
        let step = words.next().and_then(duration::parse).ok_or("a load names no step")?;
        let mut loaded: BTreeMap<Labels, Vec<Sample>> = BTreeMap::new();
        let mut pending: Option<(Labels, Vec<Option<i64>>)> = None;
        for line in &block[1..] {
            let described = describe(line)?;
            if described.is_starts {
                pending = Some((described.labels.clone(), starts(&described.items)?));
                continue;
            }
            let mut samples = samples(&described, step)?;
            if let Some((labels, starts)) = pending.take() {
                if labels != described.labels {
                    return Err(format!("start timestamps of `{labels}` stand before another series"));
                }
                for (time, start, _) in &mut samples {
                    let index = if step == 0 { 0 } else { (*time / step) as usize };
                    *start = starts.get(index).copied().flatten().map_or(0, |offset| *time + offset);
                }
            }
            loaded.insert(described.labels, samples);
        }
        if command == "load_with_nhcb" {
            for (labels, samples) in custom_histograms(&loaded) {
                loaded.entry(labels).or_insert(samples);
            }
        }
        for (labels, samples) in loaded {
            for sample in samples {
                self.push(&labels, sample)?;
            }
        }
        Ok(())
    }
}

/// A histogram with the reset hint that a store gives it, which knows the sample before: a gauge stays one, the first
/// of a run keeps only `Reset`, and after it a reset is found by comparison.
fn hinted(samples: &Samples, value: Value) -> Value {
    let Value::Histogram(histogram) = &value else { return value };
    if histogram.reset == ResetHint::Gauge || value.is_stale() {
        return value;
    }
    let before = samples.len().checked_sub(1).map(|last| samples.value(last));
    let reset = match before {
        Some(Value::Histogram(before)) if before.reset != ResetHint::Gauge && !is_stale_nan(before.sum) => {
            let plain = Histogram { reset: ResetHint::Unknown, ..(**histogram).clone() };
            if histogram.reset == ResetHint::Reset {
                ResetHint::Reset
            } else if histogram::is_reset(&plain, &before) {
                // A store says nothing of a reset that it finds: the samples after it may be overlapped by others.
                ResetHint::Unknown
            } else {
                ResetHint::NotReset
            }
        }
        _ if histogram.reset == ResetHint::Reset => ResetHint::Reset,
        _ => ResetHint::Unknown,
    };
    Value::Histogram(Histogram { reset, ..(**histogram).clone() }.into())
}

fn samples(described: &Described, step: i64) -> Result<Vec<Sample>, String> {
    let values = described.values()?;
    let timed = values.into_iter().enumerate();
    Ok(timed.filter_map(|(index, value)| value.map(|(value, _)| (step * index as i64, 0, value))).collect())
}

/// Classic histograms as native ones with the same bounds, beside the classic series.
fn custom_histograms(loaded: &BTreeMap<Labels, Vec<Sample>>) -> Vec<(Labels, Vec<Sample>)> {
    /// What is known of one histogram at one time: cumulative counts by bound, count, sum.
    #[derive(Default)]
    struct Parts {
        buckets: Vec<(f64, f64)>,
        count: Option<f64>,
        sum: Option<f64>,
    }
    let mut found: BTreeMap<Labels, BTreeMap<i64, Parts>> = BTreeMap::new();
    for (labels, samples) in loaded {
        let name = labels.name().unwrap_or_default();
        let (base, bound, is_count) = if let Some(base) = name.strip_suffix("_bucket") {
            match labels.get("le").and_then(number::parse).filter(|bound| !bound.is_nan()) {
                Some(bound) => (base, Some(bound), false),
                None => continue,
            }
        } else if let Some(base) = name.strip_suffix("_count") {
            (base, None, true)
        } else if let Some(base) = name.strip_suffix("_sum") {
            (base, None, false)
        } else {
            continue;
        };
        let whole = labels.with("le", "").with(METRIC_NAME, base);
        let times = found.entry(whole).or_default();
        for (time, _, value) in samples {
            let Value::Float(value) = value else { continue };
            let parts = times.entry(*time).or_default();
            match bound {
                Some(bound) => parts.buckets.push((bound, *value)),
                None if is_count => parts.count = Some(*value),
                None => parts.sum = Some(*value),
            }
        }
    }
    let convert = |parts: &mut Parts| {
        parts.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total = parts.count.or(parts.buckets.last().map(|(_, count)| *count)).unwrap_or_default();
        let bounds: Vec<f64> =
            parts.buckets.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite()).collect();
        let mut before = 0.0;
        let mut counts: Vec<(i32, f64)> = Vec::new();
        for (index, (_, cumulative)) in
            parts.buckets.iter().filter(|(bound, _)| bound.is_finite()).enumerate()
        {
            counts.push((index as i32, cumulative - before));
            before = *cumulative;
        }
        counts.push((bounds.len() as i32, total - before));
        counts.retain(|(_, count)| *count != 0.0);
        let is_valid = counts.iter().all(|(_, count)| *count >= 0.0);
        is_valid.then(|| Histogram {
            schema: CUSTOM_SCHEMA,
            count: total,
            sum: parts.sum.unwrap_or_default(),
            positive: counts,
            custom: bounds.into(),
            ..Histogram::default()
        })
    };
    let mut converted = Vec::new();
    for (labels, times) in found {
        if !times.values().any(|parts| !parts.buckets.is_empty()) {
            continue;
        }
        let samples = times.into_iter().filter_map(|(time, mut parts)| {
            convert(&mut parts).map(|histogram| (time, 0, Value::Histogram(histogram.into())))
        });
        converted.push((labels, samples.collect()));
    }
    converted
}

impl SeriesSource for Memory {
    fn select<'a>(&'a self, selection: &Selection<'_>, budget: &Budget) -> Result<Found<'a>, SourceError> {
        let mut tests: Vec<(String, Test)> = Vec::new();
        for matcher in selection.matchers {
            let value = matcher.value.clone();
            let compile = || Pattern::new(&value).map_err(|error| SourceError::Failed(error.to_string()));
            let test: Test = match matcher.op {
                MatchOp::Eq => Box::new(move |text| text == value),
                MatchOp::Ne => Box::new(move |text| text != value),
                MatchOp::Re => {
                    let pattern = compile()?;
                    Box::new(move |text| pattern.is_match(text))
                }
                MatchOp::NotRe => {
                    let pattern = compile()?;
                    Box::new(move |text| !pattern.is_match(text))
                }
            };
            tests.push((matcher.name.clone(), test));
        }
        let mut found = Vec::new();
        for (labels, samples) in &self.series {
            if !tests.iter().all(|(name, test)| test(labels.get(name).unwrap_or_default())) {
                continue;
            }
            let low = samples.times().partition_point(|time| *time < selection.from);
            let high = samples.times().partition_point(|time| *time <= selection.to).max(low);
            let part = samples.part(low..high);
            budget.charge(part.len() as u64, part.size() as u64)?;
            if !part.is_empty() {
                found.push(Ok(Series { labels: labels.clone(), samples: part }));
            }
        }
        Ok(Box::new(found.into_iter()))
    }
}
