//! What OpenMetrics 1.0 demands of the samples of one family.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::Kind;
use super::number;
use super::series::Pair;

/// The suffixes of the samples of a family of that kind.
pub(super) const fn suffixes(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Unknown | Kind::Gauge | Kind::StateSet => &[""],
        Kind::Counter => &["_total", "_created"],
        Kind::Histogram => &["_bucket", "_count", "_sum", "_created"],
        Kind::GaugeHistogram => &["_bucket", "_gcount", "_gsum"],
        Kind::Summary => &["", "_count", "_sum", "_created"],
        Kind::Info => &["_info"],
    }
}

/// One sample, as the rules look at it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point<'p, 'a> {
    pub(super) family: &'p str,
    pub(super) kind: Kind,
    pub(super) suffix: &'static str,
    /// Sorted by name.
    pub(super) pairs: &'p [Pair<'a>],
    /// In seconds.
    pub(super) time: Option<f64>,
    pub(super) value: f64,
    pub(super) has_exemplar: bool,
}

/// What the samples of a family have been so far.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// The group of the last sample: a hash of the labels that its samples share.
    current: Option<u64>,
    seen: HashSet<u64>,
    /// Of the last sample.
    time: Option<f64>,
    buckets: Option<Buckets>,
}

/// One histogram at one moment.
#[derive(Debug, Default)]
struct Buckets {
    /// Of the last bucket: its bound, and how many are in it and below.
    bound: Option<f64>,
    value: f64,
    count: Option<f64>,
    sum: Option<Sum>,
    has_negative_bound: bool,
}

/// The sum of a histogram.
#[derive(Debug)]
struct Sum {
    value: f64,
    /// Whether it may only rise, unlike that of a gauge histogram.
    is_counter: bool,
}

impl Groups {
    /// Looks at the next sample of the family. Answers whether a new group begins with it.
    pub(super) fn take(&mut self, point: &Point<'_, '_>) -> bool {
        let group = group_of(point);
        let is_new = self.current != Some(group);
        self.current = Some(group);
        is_new
    }

    /// The same, and holds it against the rules.
    pub(super) fn judge(&mut self, point: &Point<'_, '_>) -> Result<bool, String> {
        check_labels(point)?;
        check_value(point)?;
        let is_new = self.take(point);
        if is_new {
            if !self.current.is_some_and(|group| self.seen.insert(group)) {
                return Err("samples with the same labels must stand together".into());
            }
        } else if self.time.is_some() != point.time.is_some() {
            return Err("samples with the same labels must all have a time, or none".into());
        } else if point.kind != Kind::Info
            && let (Some(before), Some(time)) = (self.time, point.time)
            && before > time
        {
            return Err("the times of samples with the same labels must not go back".into());
        }
        if matches!(point.kind, Kind::Histogram | Kind::GaugeHistogram) {
            if is_new || self.time != point.time {
                self.close()?;
            }
            self.buckets.get_or_insert_default().take(point)?;
        }
        self.time = point.time;
        Ok(is_new)
    }

    /// Looks at what was left open when the family ends.
    pub(super) fn close(&mut self) -> Result<(), String> {
        self.buckets.take().map_or(Ok(()), |buckets| buckets.close())
    }
}

impl Buckets {
    fn take(&mut self, point: &Point<'_, '_>) -> Result<(), String> {
        match point.suffix {
            "_bucket" => {
                let bound = label(point, "le").and_then(number::value).unwrap_or(f64::NAN);
                self.has_negative_bound |= bound < 0.0;
                if self.bound.is_some_and(|before| bound <= before) {
                    return Err("the buckets of a histogram must ascend by `le`".into());
                }
                if point.value < self.value {
                    return Err("the buckets of a histogram must not descend by value".into());
                }
                (self.bound, self.value) = (Some(bound), point.value);
            }
            "_count" | "_gcount" => self.count = Some(point.value),
            "_sum" | "_gsum" => {
                self.sum = Some(Sum { value: point.value, is_counter: point.suffix == "_sum" });
            }
            _ => {}
        }
        Ok(())
    }

    #[expect(clippy::float_cmp, reason = "counts are whole numbers, written twice")]
    fn close(&self) -> Result<(), String> {
        let is_negative = self.sum.as_ref().is_some_and(|sum| sum.value < 0.0);
        let why = if self.bound != Some(f64::INFINITY) {
            "a histogram must have a bucket with le=\"+Inf\""
        } else if self.count.is_some_and(|count| count != self.value) {
            "the count of a histogram must be that of its bucket with le=\"+Inf\""
        } else if self.sum.is_some() && self.count.is_none() {
            "a histogram with a sum must have a count"
        } else if self.sum.is_none() && self.count.is_some() {
            "a histogram with a count must have a sum"
        } else if self.sum.as_ref().is_some_and(|sum| sum.is_counter) && self.has_negative_bound {
            "a histogram with negative buckets must not have a sum"
        } else if is_negative && !self.has_negative_bound {
            "a histogram without negative buckets must not have a negative sum"
        } else {
            return Ok(());
        };
        Err(why.into())
    }
}

fn check_labels(point: &Point<'_, '_>) -> Result<(), String> {
    match (point.kind, point.suffix) {
        (Kind::StateSet, _) if label(point, point.family).is_none() => {
            Err(format!("expected the label `{}` with the state's name", point.family))
        }
        (_, "_bucket") => {
            let text = label(point, "le").ok_or("expected the label `le` of a bucket")?;
            let is_bound = |bound: f64| !bound.is_nan() && (bound != f64::INFINITY || text == "+Inf");
            if number::value(text).is_some_and(is_bound) {
                Ok(())
            } else {
                Err(format!("expected a number or +Inf as `le`, found `{text}`"))
            }
        }
        (Kind::Summary, "") => {
            let text = label(point, "quantile").ok_or("expected the label `quantile` of a summary")?;
            if number::value(text).is_some_and(|quantile| (0.0..=1.0).contains(&quantile)) {
                Ok(())
            } else {
                Err(format!("expected a number from 0 to 1 as `quantile`, found `{text}`"))
            }
        }
        _ => Ok(()),
    }
}

#[expect(clippy::float_cmp, reason = "states and infos are exactly 0 or 1")]
fn check_value(point: &Point<'_, '_>) -> Result<(), String> {
    let Point { value, suffix, .. } = *point;
    let is_whole = value.is_finite() && value.fract() == 0.0;
    let why = if point.kind == Kind::StateSet && value != 0.0 && value != 1.0 {
        "the value of a state must be 0 or 1"
    } else if point.kind == Kind::Info && value != 1.0 {
        "the value of an info must be 1"
    } else if point.kind == Kind::Summary && suffix.is_empty() && value < 0.0 {
        "the value of a quantile must not be negative"
    } else if matches!(suffix, "_bucket" | "_count" | "_gcount") && !is_whole {
        "a count must be a whole number"
    } else if matches!(suffix, "_total" | "_sum" | "_gsum") && value.is_nan() {
        "the value of a counter must not be NaN"
    } else if matches!(suffix, "_total" | "_sum" | "_count" | "_bucket" | "_gcount") && value < 0.0 {
        "the value of a counter must not be negative"
    } else if point.has_exemplar
        && !matches!((point.kind, suffix), (_, "_bucket") | (Kind::Counter, "_total"))
    {
        "only buckets and counters may have exemplars"
    } else {
        return Ok(());
    };
    Err(why.into())
}

fn label<'p>(point: &Point<'p, '_>, name: &str) -> Option<&'p str> {
    point.pairs.iter().find(|(found, _)| found == name).map(|(_, value)| &**value)
}

/// The labels that the samples of one metric share. Infos can't be told apart: they are one group.
fn group_of(point: &Point<'_, '_>) -> u64 {
    let left_out = match (point.kind, point.suffix) {
        (Kind::Info, _) => return 0,
        (_, "_bucket") => "le",
        (Kind::Summary, "") => "quantile",
        (Kind::StateSet, _) => point.family,
        _ => "",
    };
    let mut hasher = DefaultHasher::new();
    for pair in point.pairs.iter().filter(|(name, _)| name != left_out) {
        pair.hash(&mut hasher);
    }
    hasher.finish()
}
