//! What is scraped: Prometheus text 0.0.4 and OpenMetrics 1.0, read in one pass over the bytes, and the messages of the
//! Prometheus client model.
//!
//! [`parse`] takes what Prometheus takes: text leniently, OpenMetrics with its syntax but without its rules about
//! families, groups and values, which real programs break; [`judge`] holds a page against those, too. In both
//! formats, names that are no identifiers stand in quotes.
//!
//! Sources: prometheus.io/docs/instrumenting/exposition_formats, the OpenMetrics specification 1.0, and
//! Prometheus' guide on UTF-8 names.

mod cursor;
mod group;
mod number;
mod openmetrics;
mod protobuf;
mod series;
mod text;

use hmsops_model::{Histogram, Labels};

use cursor::Cursor;

/// The longest page that a scraper should take, in bytes: some 100 000 samples.
pub const PAGE_BYTES_MAX: usize = 16 << 20;

/// Families of a page; bounds what lines of metadata alone would take in memory to some 20 MB.
pub const FAMILIES_MAX: usize = 100_000;

/// In which format a page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4, and 1.0.0, which adds quoted names.
    Text,
    /// OpenMetrics 0.0.1 and 1.0.0.
    OpenMetrics,
    /// `io.prometheus.client.MetricFamily` messages, each after its length: the only one with native histograms.
    Protobuf,
}

impl Format {
    /// The format that a `Content-Type` header names; `None` for one that can't be read here.
    pub fn of_content_type(header: &str) -> Option<Self> {
        let mut parts = header.split(';').map(str::trim);
        let media_type = parts.next()?.to_ascii_lowercase();
        let version = parts.find_map(|part| {
            let (key, value) = part.split_once('=')?;
            key.trim().eq_ignore_ascii_case("version").then(|| value.trim().trim_matches('"'))
        });
        match (media_type.as_str(), version) {
            ("text/plain", None | Some("0.0.4" | "1.0.0")) => Some(Self::Text),
            ("application/openmetrics-text", None | Some("0.0.1" | "1.0.0")) => Some(Self::OpenMetrics),
            ("application/vnd.google.protobuf", None) if is_delimited(header) => Some(Self::Protobuf),
            _ => None,
        }
    }
}

/// Whether a media type of protobuf means the messages that are read here.
fn is_delimited(header: &str) -> bool {
    let header = header.to_ascii_lowercase().replace([' ', '"'], "");
    header.contains("proto=io.prometheus.client.metricfamily") && header.contains("encoding=delimited")
}

/// A page that was read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parsed {
    /// All samples, in order.
    pub samples: Vec<Sample>,
    /// Native histograms, in order; only in [`Format::Protobuf`].
    pub histograms: Vec<NativeSample>,
    /// What the page says about its metrics, in order.
    pub families: Vec<Family>,
}

/// One native histogram.
#[derive(Debug, Clone, PartialEq)]
pub struct NativeSample {
    /// What it is called.
    pub labels: Labels,
    /// When it was taken, in Unix milliseconds, if the page says so.
    pub time: Option<i64>,
    /// When it began to count, in Unix milliseconds.
    pub start: Option<i64>,
    /// The histogram.
    pub histogram: Histogram,
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// What it is called. `le` and `quantile` are written as floats: `1.0`, not `1`.
    pub labels: Labels,
    /// When it was taken, in Unix milliseconds, if the page says so.
    pub time: Option<i64>,
    /// The value.
    pub value: f64,
    /// When its counter began, in Unix milliseconds: what OpenMetrics writes as `_created`, which is no sample.
    pub start: Option<i64>,
}

/// What a page says about a metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// The metric's name, without the suffixes of its samples.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// What it means, for people.
    pub help: Option<String>,
    /// In what it is measured.
    pub unit: Option<String>,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// Not said.
    #[default]
    Unknown,
    /// Counts up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets.
    Histogram,
    /// Buckets that go up and down.
    GaugeHistogram,
    /// Quantiles.
    Summary,
    /// Facts, as labels.
    Info,
    /// Which of some states hold.
    StateSet,
}

impl Kind {
    /// As the HTTP API of Prometheus spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }
}

/// Why a page can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", place(*line, *column))]
pub struct ExpositionError {
    /// From 1; 0 where there are no lines.
    pub line: usize,
    /// In characters, from 1; where there are no lines: the byte at which what is wrong begins.
    pub column: usize,
    /// What was expected, and what was found.
    pub why: String,
}

fn place(line: usize, column: usize) -> String {
    if line == 0 { format!("byte {column}") } else { format!("line {line}, column {column}") }
}

/// Reads a page of at most `samples_max` samples. The length of the page is for the caller to bound, by
/// [`PAGE_BYTES_MAX`] or less.
pub fn parse(page: &[u8], format: Format, samples_max: usize) -> Result<Parsed, ExpositionError> {
    match format {
        Format::Text => text::parse(as_text(page)?, samples_max),
        Format::OpenMetrics => openmetrics::parse(as_text(page)?, samples_max, false),
        Format::Protobuf => protobuf::parse(page, samples_max),
    }
}

/// Reads a page of OpenMetrics and holds it against everything that the specification demands: for who writes
/// one, not for who scrapes.
pub fn judge(page: &[u8], samples_max: usize) -> Result<Parsed, ExpositionError> {
    openmetrics::parse(as_text(page)?, samples_max, true)
}

fn as_text(page: &[u8]) -> Result<&str, ExpositionError> {
    std::str::from_utf8(page).map_err(|error| {
        let good = std::str::from_utf8(&page[..error.valid_up_to()]).unwrap_or_default();
        Cursor::new(good).wrong_at(good.len(), "expected UTF-8, found a byte that is none".into())
    })
}

#[cfg(test)]
mod tests;
