//! Data points as samples.

use std::collections::BTreeMap;

use hmsops_model::sample::{Value, stale_nan};

use super::attributes::{Origin, float_text, labels, texts};
use super::message::{
    CUMULATIVE, DELTA, Data, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, Number,
    NumberDataPoint, SummaryDataPoint,
};
use super::{Family, Point, Request, Said, exponential};

/// The flag of a data point that says that there is none any more.
const NO_RECORDED_VALUE: u32 = 1;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// Samples, in the order they stood in.
    pub points: Vec<Point>,
    /// What was said of metrics.
    pub families: Vec<Family>,
    /// Data points that can't be taken.
    pub refused: u64,
    /// What is wrong with the first of them.
    pub refused_why: Option<String>,
}

impl Batch {
    fn refuse(&mut self, points: usize, metric: &str, why: &str) {
        self.refused += points as u64;
        if points > 0 {
            self.refused_why.get_or_insert_with(|| format!("`{metric:.200}`: {why}"));
        }
    }
}

/// Makes samples of a request. Names stay as they are.
pub fn translate(request: &Request) -> Batch {
    let mut batch = Batch::default();
    for resource in &request.0.resource_metrics {
        let attributes = resource.resource.as_ref().map(|resource| resource.attributes.as_slice());
        let metrics = resource.scope_metrics.iter().flat_map(|scope| &scope.metrics);
        let origin = match Origin::of(attributes.unwrap_or_default()) {
            Ok(origin) => origin,
            Err(why) => {
                metrics.for_each(|metric| batch.refuse(metric.len(), &metric.name, &why));
                continue;
            }
        };
        let before = batch.points.len();
        metrics.for_each(|metric| self::metric(metric, &origin.own, &mut batch));
        info(&origin, before, &mut batch);
    }
    batch
}

/// `target_info`: what else is known of where the samples come from, at the moment of the latest.
fn info(origin: &Origin, before: usize, batch: &mut Batch) {
    let latest = batch.points[before..].iter().map(|point| point.time).max();
    if origin.info.is_empty() || origin.own.is_empty() {
        return;
    }
    batch.points.extend(latest.map(|time| Point {
        labels: labels("target_info", &origin.own, &origin.info, None),
        time,
        start: 0,
        said: Said::Value(Value::Float(1.0)),
    }));
}

fn metric(metric: &Metric, origin: &BTreeMap<String, String>, batch: &mut Batch) {
    let name = metric.name.as_str();
    if name.is_empty() {
        return batch.refuse(metric.len(), name, "a metric has a name");
    }
    let kind = match &metric.data {
        None => return,
        Some(Data::Gauge(_)) => "gauge",
        Some(Data::Sum(sum)) => {
            if sum.is_monotonic {
                "counter"
            } else {
                "gauge"
            }
        }
        Some(Data::Histogram(_) | Data::Exponential(_)) => "histogram",
        Some(Data::Summary(_)) => "summary",
    };
    let (help, unit) = (metric.description.clone(), metric.unit.clone());
    batch.families.push(Family { name: name.to_owned(), kind, help, unit });
    let mut each = Each { name, origin, batch };
    match &metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.iter().for_each(|point| each.number(point, CUMULATIVE)),
        Some(Data::Sum(sum)) => sum.data_points.iter().for_each(|point| each.number(point, sum.temporality)),
        Some(Data::Histogram(of)) => {
            of.data_points.iter().for_each(|point| each.histogram(point, of.temporality));
        }
        Some(Data::Exponential(of)) => {
            of.data_points.iter().for_each(|point| each.exponential(point, of.temporality));
        }
        Some(Data::Summary(summary)) => summary.data_points.iter().for_each(|point| each.summary(point)),
        None => {}
    }
}

/// The data points of one metric.
struct Each<'m> {
    name: &'m str,
    origin: &'m BTreeMap<String, String>,
    batch: &'m mut Batch,
}

/// When a data point is of, in Unix milliseconds, its attributes, and whether it says that there is nothing.
struct Frame {
    time: i64,
    start: i64,
    attributes: BTreeMap<String, String>,
    is_gone: bool,
    is_delta: bool,
}

impl Frame {
    fn of(
        (time, start, flags): (u64, u64, u32),
        attributes: &[super::message::KeyValue],
        temporality: i32,
    ) -> Result<Self, String> {
        if time == 0 {
            return Err("a data point says when it is of".into());
        }
        if temporality != CUMULATIVE && temporality != DELTA {
            return Err("an aggregation temporality is cumulative or delta".into());
        }
        let is_delta = temporality == DELTA;
        Ok(Self {
            time: millis(time),
            start: if is_delta || start > time { 0 } else { millis(start) },
            attributes: texts(attributes)?,
            is_gone: flags & NO_RECORDED_VALUE != 0,
            is_delta,
        })
    }
}

fn millis(nanos: u64) -> i64 {
    (nanos / 1_000_000).cast_signed()
}

impl Each<'_> {
    fn refuse(&mut self, why: &str) {
        self.batch.refuse(1, self.name, why);
    }

    fn put(&mut self, frame: &Frame, suffix: &str, more: Option<(&str, &str)>, value: f64) {
        let said = match (frame.is_gone, frame.is_delta) {
            (true, _) => Said::Value(Value::Float(stale_nan())),
            (false, true) => Said::Growth(value),
            (false, false) => Said::Value(Value::Float(value)),
        };
        let name = format!("{}{suffix}", self.name);
        let labels = labels(&name, self.origin, &frame.attributes, more);
        self.batch.points.push(Point { labels, time: frame.time, start: frame.start, said });
    }

    fn number(&mut self, point: &NumberDataPoint, temporality: i32) {
        let times = (point.time_nanos, point.start_nanos, point.flags);
        let frame = match Frame::of(times, &point.attributes, temporality) {
            Ok(frame) => frame,
            Err(why) => return self.refuse(&why),
        };
        let value = match point.value {
            Some(Number::Double(value)) => value,
            Some(Number::Int(value)) => value as f64,
            None if frame.is_gone => 0.0,
            None => return self.refuse("a data point has a value"),
        };
        self.put(&frame, "", None, value);
    }

    /// As the classic histograms of Prometheus: cumulative buckets, `_count` and `_sum`.
    fn histogram(&mut self, point: &HistogramDataPoint, temporality: i32) {
        let times = (point.time_nanos, point.start_nanos, point.flags);
        let frame = match Frame::of(times, &point.attributes, temporality) {
            Ok(frame) => frame,
            Err(why) => return self.refuse(&why),
        };
        let (bounds, counts) = (&point.explicit_bounds, &point.bucket_counts);
        if !counts.is_empty() && counts.len() != bounds.len() + 1 {
            return self.refuse("a histogram has one bucket more than bounds");
        }
        if bounds.windows(2).any(|pair| pair[0].total_cmp(&pair[1]).is_ge())
            || bounds.iter().any(|bound| bound.is_nan())
        {
            return self.refuse("bounds of a histogram ascend");
        }
        let mut below = 0_u64;
        for (bound, count) in bounds.iter().zip(counts) {
            below = below.saturating_add(*count);
            self.put(&frame, "_bucket", Some(("le", &float_text(*bound))), below as f64);
        }
        if bounds.last() != Some(&f64::INFINITY) {
            self.put(&frame, "_bucket", Some(("le", "+Inf")), point.count as f64);
        }
        self.put(&frame, "_count", None, point.count as f64);
        if let Some(sum) = point.sum.or(frame.is_gone.then_some(0.0)) {
            self.put(&frame, "_sum", None, sum);
        }
    }

    fn exponential(&mut self, point: &ExponentialHistogramDataPoint, temporality: i32) {
        let times = (point.time_nanos, point.start_nanos, point.flags);
        let frame = match Frame::of(times, &point.attributes, temporality) {
            Ok(frame) => frame,
            Err(why) => return self.refuse(&why),
        };
        if frame.is_gone {
            return self.put(&frame, "", None, 0.0);
        }
        if frame.is_delta {
            return self.refuse(
                "exponential histograms of delta temporality are not taken: let the SDK export cumulative ones",
            );
        }
        let native = match exponential::native(point) {
            Ok(native) => native,
            Err(why) => return self.refuse(&why),
        };
        let labels = labels(self.name, self.origin, &frame.attributes, None);
        let said = Said::Value(Value::Histogram(native.into()));
        self.batch.points.push(Point { labels, time: frame.time, start: frame.start, said });
    }

    fn summary(&mut self, point: &SummaryDataPoint) {
        let times = (point.time_nanos, point.start_nanos, point.flags);
        let frame = match Frame::of(times, &point.attributes, CUMULATIVE) {
            Ok(frame) => frame,
            Err(why) => return self.refuse(&why),
        };
        for of in &point.quantile_values {
            self.put(&frame, "", Some(("quantile", &float_text(of.quantile))), of.value);
        }
        self.put(&frame, "_count", None, point.count as f64);
        self.put(&frame, "_sum", None, point.sum);
    }
}
