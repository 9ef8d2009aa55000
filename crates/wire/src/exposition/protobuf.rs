//! Pages of the Prometheus client model: `io.prometheus.client.MetricFamily` messages, each after its length.
//!
//! Source: `metrics.proto` of prometheus/client_model; what becomes of a histogram that is both native and classic is as
//! in Prometheus: it is native alone.

use hmsops_model::labels::METRIC_NAME;
use hmsops_model::{Histogram, Labels};

use super::number::written;
use super::{ExpositionError, FAMILIES_MAX, Family, Kind, NativeSample, Parsed, Sample};
use crate::WireError;
use crate::protobuf::{Field, Fields};
use crate::remote_write::histogram::{Side, finish, span};

/// Buckets, spans and bounds of one page, so that a short one cannot become a long list.
const BUCKETS_MAX: usize = 2_000_000;

/// Reads a page of at most `samples_max` samples.
pub(super) fn parse(page: &[u8], samples_max: usize) -> Result<Parsed, ExpositionError> {
    let mut reader = Reader { parsed: Parsed::default(), samples_max, buckets_left: BUCKETS_MAX };
    let mut rest = page;
    while !rest.is_empty() {
        let at = page.len() - rest.len();
        let wrong = |why: String| ExpositionError { line: 0, column: at, why };
        let (length, after) = varint(rest).ok_or_else(|| wrong("expected the length of a family".into()))?;
        let length = usize::try_from(length).ok().filter(|length| *length <= after.len());
        let length =
            length.ok_or_else(|| wrong("a family is longer than what is left of the page".into()))?;
        reader.family(&after[..length]).map_err(|why| wrong(why.0))?;
        rest = &after[length..];
    }
    Ok(reader.parsed)
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(index).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

/// Why a family is refused.
struct Refusal(String);

impl From<WireError> for Refusal {
    fn from(error: WireError) -> Self {
        Self(error.to_string())
    }
}

struct Reader {
    parsed: Parsed,
    samples_max: usize,
    buckets_left: usize,
}

/// A metric of a family, before it becomes samples.
#[derive(Default)]
struct Metric<'a> {
    labels: Vec<(&'a str, &'a str)>,
    time: Option<i64>,
    value: Option<f64>,
    start: Option<i64>,
    summary: Option<Summary>,
    histogram: Option<Buckets>,
}

#[derive(Default)]
struct Summary {
    count: f64,
    sum: f64,
    quantiles: Vec<(f64, f64)>,
}

#[derive(Default)]
struct Buckets {
    count: f64,
    sum: f64,
    classic: Vec<(f64, f64)>,
    native: Histogram,
    schema: i64,
    positive: Side,
    negative: Side,
}

impl Buckets {
    /// Whether it has native buckets, or says how wide its zero bucket is.
    fn is_native(&self) -> bool {
        self.positive.len() + self.negative.len() > 0
            || self.native.zero_threshold > 0.0
            || self.native.zero_count > 0.0
    }
}

impl Reader {
    fn family(&mut self, message: &[u8]) -> Result<(), Refusal> {
        // A type that is not written is the first, a counter.
        let (mut name, mut help, mut unit, mut kind) = ("", None, None, 0);
        let mut fields = Fields::new("a family", message);
        while let Some(field) = fields.read()? {
            match field.number {
                1 => name = field.text("the name of a family")?,
                2 => help = Some(field.text("the help of a family")?.to_owned()),
                3 => kind = field.varint("the type of a family")?,
                5 => unit = Some(field.text("the unit of a family")?.to_owned()),
                _ => {}
            }
        }
        if name.is_empty() {
            return Err(Refusal("a family has no name".into()));
        }
        if self.parsed.families.len() >= FAMILIES_MAX {
            return Err(Refusal(format!("more than {FAMILIES_MAX} families")));
        }
        let kind = match kind {
            0 => Kind::Counter,
            1 => Kind::Gauge,
            2 => Kind::Summary,
            4 => Kind::Histogram,
            5 => Kind::GaugeHistogram,
            _ => Kind::Unknown,
        };
        let unit = unit.filter(|unit| !unit.is_empty());
        self.parsed.families.push(Family { name: name.to_owned(), kind, help, unit });
        let mut fields = Fields::new("a family", message);
        while let Some(field) = fields.read()? {
            if field.number == 4 {
                let metric = self.metric(&field)?;
                self.take(name, kind, metric)?;
            }
        }
        Ok(())
    }

    fn metric<'a>(&mut self, field: &Field<'a>) -> Result<Metric<'a>, Refusal> {
        let mut metric = Metric::default();
        let mut fields = field.message("a metric")?;
        while let Some(field) = fields.read()? {
            match field.number {
                1 => metric.labels.push(label(&field)?),
                // A gauge, a counter and what has no type have their value at the same place.
                2 | 3 | 5 => (metric.value, metric.start) = value(&field)?,
                4 => (metric.summary, metric.start) = summary(&field)?,
                6 => {
                    metric.time =
                        Some(field.varint("the time of a metric")? as i64).filter(|time| *time != 0);
                }
                7 => (metric.histogram, metric.start) = self.histogram(&field)?,
                _ => {}
            }
        }
        Ok(metric)
    }

    fn histogram(&mut self, field: &Field<'_>) -> Result<(Option<Buckets>, Option<i64>), Refusal> {
        let (mut buckets, mut start) = (Buckets::default(), None);
        let mut fields = field.message("a histogram")?;
        while let Some(field) = fields.read()? {
            match field.number {
                1 => buckets.count = field.varint("the count of a histogram")? as f64,
                2 => buckets.sum = field.double("the sum of a histogram")?,
                3 => buckets.classic.push(bucket(&field)?),
                4 => buckets.count = field.double("the count of a histogram")?,
                5 => buckets.schema = field.signed("the schema of a histogram")?,
                6 => buckets.native.zero_threshold = field.double("the zero threshold of a histogram")?,
                7 => buckets.native.zero_count = field.varint("the zero count of a histogram")? as f64,
                8 => buckets.native.zero_count = field.double("the zero count of a histogram")?,
                9 => buckets.negative.spans.push(span(&field)?),
                10 => field.each_signed("a bucket", |delta| buckets.negative.deltas.push(delta))?,
                11 => field.each_double("a bucket", |count| buckets.negative.counts.push(count))?,
                12 => buckets.positive.spans.push(span(&field)?),
                13 => field.each_signed("a bucket", |delta| buckets.positive.deltas.push(delta))?,
                14 => field.each_double("a bucket", |count| buckets.positive.counts.push(count))?,
                15 => start = timestamp(&field)?,
                _ => {}
            }
            let held = buckets.classic.len() + buckets.positive.len() + buckets.negative.len();
            if held > self.buckets_left {
                return Err(Refusal(format!("more than {BUCKETS_MAX} buckets")));
            }
        }
        self.buckets_left -= buckets.classic.len() + buckets.positive.len() + buckets.negative.len();
        Ok((Some(buckets), start))
    }

    /// A metric as samples.
    fn take(&mut self, name: &str, kind: Kind, metric: Metric<'_>) -> Result<(), Refusal> {
        let Metric { labels, time, value, start, summary, histogram } = metric;
        let about = About { name, labels: &labels, time, start };
        if let Some(summary) = summary {
            for (quantile, value) in summary.quantiles {
                self.push(about.sample("", Some(("quantile", quantile)), value))?;
            }
            self.push(about.sample("_sum", None, summary.sum))?;
            self.push(about.sample("_count", None, summary.count))?;
        } else if let Some(mut buckets) = histogram {
            if !buckets.is_native() {
                return self.classic(&about, &buckets);
            }
            (buckets.native.count, buckets.native.sum) = (buckets.count, buckets.sum);
            if kind == Kind::GaugeHistogram {
                buckets.native.reset = hmsops_model::sample::ResetHint::Gauge;
            }
            let native =
                finish(buckets.native, buckets.schema, &buckets.positive, &buckets.negative, Vec::new());
            let histogram = native.map_err(|why| Refusal(format!("`{name:.100}`: {why}")))?;
            self.room()?;
            self.parsed.histograms.push(NativeSample {
                labels: about.labels("", None),
                time,
                start,
                histogram,
            });
        } else if let Some(value) = value {
            self.push(about.sample("", None, value))?;
        }
        Ok(())
    }

    fn classic(&mut self, about: &About<'_>, buckets: &Buckets) -> Result<(), Refusal> {
        let has_last = buckets.classic.iter().any(|(bound, _)| *bound == f64::INFINITY);
        let last = (!has_last).then_some((f64::INFINITY, buckets.count));
        for (bound, count) in buckets.classic.iter().copied().chain(last) {
            self.push(about.sample("_bucket", Some(("le", bound)), count))?;
        }
        self.push(about.sample("_sum", None, buckets.sum))?;
        self.push(about.sample("_count", None, buckets.count))
    }

    fn push(&mut self, sample: Sample) -> Result<(), Refusal> {
        self.room()?;
        self.parsed.samples.push(sample);
        Ok(())
    }

    fn room(&self) -> Result<(), Refusal> {
        if self.parsed.samples.len() + self.parsed.histograms.len() < self.samples_max {
            return Ok(());
        }
        Err(Refusal(format!("more than {} samples", self.samples_max)))
    }
}

/// What the samples of one metric share.
struct About<'m> {
    name: &'m str,
    labels: &'m [(&'m str, &'m str)],
    time: Option<i64>,
    start: Option<i64>,
}

impl About<'_> {
    fn labels(&self, suffix: &str, bound: Option<(&str, f64)>) -> Labels {
        let name = format!("{}{suffix}", self.name);
        let bound = bound.map(|(label, value)| (label, written(value)));
        let pairs = self.labels.iter().copied().chain([(METRIC_NAME, name.as_str())]);
        Labels::new(pairs.chain(bound.as_ref().map(|(label, text)| (*label, text.as_str()))))
    }

    fn sample(&self, suffix: &str, bound: Option<(&str, f64)>, value: f64) -> Sample {
        Sample { labels: self.labels(suffix, bound), time: self.time, value, start: self.start }
    }
}

fn label<'a>(field: &Field<'a>) -> Result<(&'a str, &'a str), WireError> {
    let (mut name, mut value) = ("", "");
    let mut fields = field.message("a label")?;
    while let Some(field) = fields.read()? {
        match field.number {
            1 => name = field.text("the name of a label")?,
            2 => value = field.text("the value of a label")?,
            _ => {}
        }
    }
    Ok((name, value))
}

/// Of a counter, a gauge or what has no type; a value that is not written is 0.
fn value(field: &Field<'_>) -> Result<(Option<f64>, Option<i64>), WireError> {
    let (mut value, mut start) = (0.0, None);
    let is_counter = field.number == 3;
    let mut fields = field.message("a value")?;
    while let Some(field) = fields.read()? {
        match field.number {
            1 => value = field.double("a value")?,
            3 if is_counter => start = timestamp(&field)?,
            _ => {}
        }
    }
    Ok((Some(value), start))
}

fn summary(field: &Field<'_>) -> Result<(Option<Summary>, Option<i64>), WireError> {
    let (mut summary, mut start) = (Summary::default(), None);
    let mut fields = field.message("a summary")?;
    while let Some(field) = fields.read()? {
        match field.number {
            1 => summary.count = field.varint("the count of a summary")? as f64,
            2 => summary.sum = field.double("the sum of a summary")?,
            3 => summary.quantiles.push(pair(&field, "a quantile")?),
            4 => start = timestamp(&field)?,
            _ => {}
        }
    }
    Ok((Some(summary), start))
}

fn pair(field: &Field<'_>, what: &'static str) -> Result<(f64, f64), WireError> {
    let (mut first, mut second) = (0.0, 0.0);
    let mut fields = field.message(what)?;
    while let Some(field) = fields.read()? {
        match field.number {
            1 => first = field.double(what)?,
            2 => second = field.double(what)?,
            _ => {}
        }
    }
    Ok((first, second))
}

/// The bound of a classic bucket, and how many are in it and below.
fn bucket(field: &Field<'_>) -> Result<(f64, f64), WireError> {
    let (mut bound, mut count) = (0.0, 0.0);
    let mut fields = field.message("a bucket")?;
    while let Some(field) = fields.read()? {
        match field.number {
            1 => count = field.varint("the count of a bucket")? as f64,
            2 => bound = field.double("the bound of a bucket")?,
            4 => count = field.double("the count of a bucket")?,
            _ => {}
        }
    }
    Ok((bound, count))
}

/// `google.protobuf.Timestamp` → Unix milliseconds.
fn timestamp(field: &Field<'_>) -> Result<Option<i64>, WireError> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    let mut fields = field.message("a time")?;
    while let Some(field) = fields.read()? {
        match field.number {
            1 => seconds = field.varint("the seconds of a time")? as i64,
            2 => nanos = field.varint("the nanoseconds of a time")? as i64,
            _ => {}
        }
    }
    Ok(Some(seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000)))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::super::{Format, parse};
    use super::*;

    /// The client model, as its definition numbers it, for writing pages.
    mod model {
        #[derive(Clone, PartialEq, prost::Message)]
        pub(super) struct Family {
            #[prost(string, tag = "1")]
            pub(super) name: String,
            #[prost(string, tag = "2")]
            pub(super) help: String,
            #[prost(int32, tag = "3")]
            pub(super) kind: i32,
            #[prost(message, repeated, tag = "4")]
            pub(super) metrics: Vec<Metric>,
            #[prost(string, tag = "5")]
            pub(super) unit: String,
        }
        #[derive(Clone, PartialEq, prost::Message)]
        pub(super) struct Metric {
            #[prost(message, repeated, tag = "1")]
            pub(super) labels: Vec<Pair>,
            #[prost(message, optional, tag = "3")]
            pub(super) counter: Option<Counter>,
            #[prost(message, optional, tag = "4")]
            pub(super) summary: Option<Summary>,
            #[prost(int64, tag = "6")]
            pub(super) time: i64,
            #[prost(message, optional, tag = "7")]
            pub(super) histogram: Option<Histogram>,
        }
        #[derive(Clone, PartialEq, prost::Message)]
        pub(super) struct Pair {
            #[prost(string, tag = "1")]
            pub(super) name: String,
            #[prost(string, tag = "2")]
            pub(super) value: String,
        }
        #[derive(Clone, PartialEq, prost::Message)]
        pub(super) struct Counter {
            #[prost(double, tag = "1")]
            pub(super) value: f64,
            #[prost(message, optional, tag = "3")]
            pub(super) created: Option<Time>,
        }
        #[derive(Clone, PartialEq, prost::Message)]
        pub(super) struct Time {
            #[prost(int64, tag = "1")]
            pub(super) seconds: i64,
            #[prost(int32, tag = "2")]
            pub(super) nanos: i32,
        }
        #[derive(Clone, PartialEq, prost::Message)]
        pub(super) struct Summary {
            #[prost(uint64, tag = "1")]
            pub(super) count: u64,
            #[prost(double, tag = "2")]
            pub(super) sum: f64,
            #[prost(message, repeated, tag = "3")]
            pub(super) quantiles: Vec<Quantile>,
        }
        #[derive(Clone, PartialEq, prost::Message)]
        pub(super) struct Quantile {
            #[prost(double, tag = "1")]
            pub(super) quantile: f64,
            #[prost(double, tag = "2")]
            pub(super) value: f64,
        }
        #[derive(Clone, PartialEq, prost::Message)]
        pub(super) struct Histogram {
            #[prost(uint64, tag = "1")]
            pub(super) count: u64,
            #[prost(double, tag = "2")]
            pub(super) sum: f64,
            #[prost(message, repeated, tag = "3")]
            pub(super) buckets: Vec<Bucket>,
            #[prost(sint32, tag = "5")]
            pub(super) schema: i32,
            #[prost(double, tag = "6")]
            pub(super) zero_threshold: f64,
            #[prost(uint64, tag = "7")]
            pub(super) zero_count: u64,
            #[prost(message, repeated, tag = "12")]
            pub(super) positive_span: Vec<Span>,
            #[prost(sint64, repeated, tag = "13")]
            pub(super) positive_delta: Vec<i64>,
        }
        #[derive(Clone, PartialEq, prost::Message)]
        pub(super) struct Bucket {
            #[prost(uint64, tag = "1")]
            pub(super) count: u64,
            #[prost(double, tag = "2")]
            pub(super) bound: f64,
        }
        #[derive(Clone, PartialEq, prost::Message)]
        pub(super) struct Span {
            #[prost(sint32, tag = "1")]
            pub(super) offset: i32,
            #[prost(uint32, tag = "2")]
            pub(super) length: u32,
        }
    }

    fn family(name: &str, kind: i32, metric: model::Metric) -> model::Family {
        model::Family {
            name: name.into(),
            kind,
            help: "what it is".into(),
            metrics: vec![metric],
            unit: String::new(),
        }
    }

    fn page(families: &[model::Family]) -> Vec<u8> {
        families.iter().flat_map(model::Family::encode_length_delimited_to_vec).collect()
    }

    fn shown(parsed: &Parsed) -> Vec<String> {
        parsed.samples.iter().map(|sample| format!("{} {}", sample.labels, sample.value)).collect()
    }

    #[test]
    fn families_become_samples_as_in_text() {
        let pair = model::Pair { name: "code".into(), value: "200".into() };
        let created = Some(model::Time { seconds: 1_700_000_000, nanos: 5_000_000 });
        let counter = model::Metric {
            labels: vec![pair],
            counter: Some(model::Counter { value: 7.0, created }),
            time: 1_700_000_001_000,
            ..model::Metric::default()
        };
        let quantiles = vec![model::Quantile { quantile: 0.99, value: 3.0 }];
        let summary = model::Summary { count: 2, sum: 4.0, quantiles };
        let summary = model::Metric { summary: Some(summary), ..model::Metric::default() };
        let buckets = vec![model::Bucket { count: 1, bound: 1.0 }];
        let classic = model::Histogram { count: 3, sum: 9.0, buckets, ..model::Histogram::default() };
        let classic = model::Metric { histogram: Some(classic), ..model::Metric::default() };
        let bytes = page(&[
            family("requests_total", 0, counter),
            family("wait", 2, summary),
            family("size", 4, classic),
        ]);
        let parsed = parse(&bytes, Format::Protobuf, 100).unwrap();
        assert_eq!(
            shown(&parsed),
            [
                "requests_total{code=\"200\"} 7",
                "wait{quantile=\"0.99\"} 3",
                "wait_sum 4",
                "wait_count 2",
                "size_bucket{le=\"1.0\"} 1",
                "size_bucket{le=\"+Inf\"} 3",
                "size_sum 9",
                "size_count 3",
            ]
        );
        assert_eq!(parsed.samples[0].time, Some(1_700_000_001_000));
        assert_eq!(parsed.samples[0].start, Some(1_700_000_000_005));
        assert_eq!((parsed.families[0].kind, parsed.families[2].kind), (Kind::Counter, Kind::Histogram));
        assert!(parse(&bytes, Format::Protobuf, 7).unwrap_err().why.contains("more than 7 samples"));
    }

    #[test]
    fn a_native_histogram_is_native_alone() {
        let native = model::Histogram {
            count: 6,
            sum: 9.0,
            buckets: vec![model::Bucket { count: 1, bound: 1.0 }],
            schema: 3,
            zero_threshold: 1e-128,
            zero_count: 1,
            positive_span: vec![model::Span { offset: -1, length: 2 }, model::Span { offset: 3, length: 1 }],
            positive_delta: vec![1, 1, 0],
        };
        let metric = model::Metric { histogram: Some(native), ..model::Metric::default() };
        let parsed = parse(&page(&[family("size", 4, metric)]), Format::Protobuf, 100).unwrap();
        assert_eq!(parsed.samples, []);
        let histogram = &parsed.histograms[0].histogram;
        assert_eq!(histogram.positive, [(-1, 1.0), (0, 2.0), (4, 2.0)]);
        assert_eq!((histogram.schema, histogram.count, histogram.zero_count), (3, 6.0, 1.0));
    }

    #[test]
    fn broken_pages_say_where_and_never_panic() {
        let metric = model::Metric {
            counter: Some(model::Counter { value: 7.0, created: None }),
            ..model::Metric::default()
        };
        let bytes = page(&[family("a_total", 0, metric.clone()), family("b_total", 0, metric)]);
        for end in 1..bytes.len() {
            let cut = parse(&bytes[..end], Format::Protobuf, 100);
            assert!(cut.is_err() || cut.is_ok_and(|parsed| parsed.samples.len() == 1), "{end}");
        }
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 0xff;
            let _ = parse(&broken, Format::Protobuf, 100);
        }
        let error = parse(&[0xff], Format::Protobuf, 100).unwrap_err();
        assert_eq!(error.to_string(), "byte 0: expected the length of a family");
    }
}
