//! What is said of a metric beside its values.

use super::WriteRequest;
use crate::WireError;
use crate::protobuf::Field;

/// Metrics of a request of which something is noted: as many as are remembered.
const METADATA_MAX: usize = 20_000;

/// What a sender says of a metric beside its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metadata<'a> {
    /// The name of the metric, without what the series of histograms and summaries add to it.
    pub family: &'a str,
    /// `counter`, `gauge`, `histogram`, `gaugehistogram`, `summary`, `info`, `stateset`; `unknown` if it isn't said.
    pub kind: &'static str,
    /// In words; may be empty.
    pub help: &'a str,
    /// `seconds`, `bytes`, …; may be empty.
    pub unit: &'a str,
}

/// The kind behind a number; both versions have the same.
pub(super) const fn kind(number: u64) -> &'static str {
    match number {
        1 => "counter",
        2 => "gauge",
        3 => "histogram",
        4 => "gaugehistogram",
        5 => "summary",
        6 => "info",
        7 => "stateset",
        _ => "unknown",
    }
}

/// The metric that a series is of.
pub(super) fn family<'a>(series: &'a str, kind: &str) -> &'a str {
    let suffixes: &[&str] = match kind {
        "histogram" => &["_bucket", "_count", "_sum"],
        "gaugehistogram" => &["_bucket", "_gcount", "_gsum", "_count", "_sum"],
        "summary" => &["_count", "_sum"],
        _ => &[],
    };
    let cut = suffixes.iter().find_map(|suffix| series.strip_suffix(suffix));
    cut.filter(|family| !family.is_empty()).unwrap_or(series)
}

impl<'a> Metadata<'a> {
    /// As version 1.0 has it, by itself.
    pub(super) fn decode(field: &Field<'a>) -> Result<Self, WireError> {
        let mut metadata = Self { kind: kind(0), ..Self::default() };
        let mut fields = field.message("metadata")?;
        while let Some(field) = fields.read()? {
            match field.number {
                1 => metadata.kind = kind(field.varint("the type of a metric")?),
                2 => metadata.family = field.text("the name of a metric")?,
                4 => metadata.help = field.text("the help of a metric")?,
                5 => metadata.unit = field.text("the unit of a metric")?,
                _ => {}
            }
        }
        Ok(metadata)
    }

    /// Whether it says anything.
    fn is_something(&self) -> bool {
        !self.family.is_empty() && (self.kind != kind(0) || !self.help.is_empty() || !self.unit.is_empty())
    }
}

impl<'a> WriteRequest<'a> {
    pub(super) fn take_metadata(&mut self, metadata: Metadata<'a>) {
        if metadata.is_something() && self.metadata.len() < METADATA_MAX {
            self.metadata.push(metadata);
        }
    }
}
