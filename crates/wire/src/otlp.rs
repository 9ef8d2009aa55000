//! OTLP metrics: what OpenTelemetry's SDKs and collectors send, as protobuf and as JSON, and what becomes of it here.
//!
//! Sources: opentelemetry.io/docs/specs/otlp, opentelemetry-proto's `metrics/v1/metrics.proto`, and for what becomes of
//! it opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics.

mod attributes;
mod exponential;
mod json;
mod message;
mod point;

use hmsops_model::Labels;
use hmsops_model::sample::Value;
use prost::Message as _;

use crate::WireError;

pub use message::{ExportMetricsServiceResponse, PartialSuccess};
pub use point::{Batch, translate};

/// What is being read, for messages.
const WHAT: &str = "an OTLP request";

/// The longest request, in bytes, unpacked: that of what our own SDK sends.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;

/// Data points of one request; SDKs send some hundred, collectors some thousand.
pub const POINTS_MAX: usize = 100_000;

/// Attributes of one resource or data point.
pub const ATTRIBUTES_MAX: usize = 128;

/// A request that has been read.
#[derive(Debug, Clone, PartialEq)]
pub struct Request(pub(crate) message::ExportMetricsServiceRequest);

/// What a data point says.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// The value itself.
    Value(Value),
    /// By how much a counter, or a gauge, has grown since the data point before.
    Growth(f64),
}

/// A sample of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Of which series.
    pub labels: Labels,
    /// When, in Unix milliseconds.
    pub time: i64,
    /// When its counter began, in Unix milliseconds; 0 when unknown.
    pub start: i64,
    /// What.
    pub said: Said,
}

/// Type, help and unit of a metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// As Prometheus names types: `counter`, `gauge`, `histogram`, `summary`.
    pub kind: &'static str,
    /// In words.
    pub help: String,
    /// As it was sent.
    pub unit: String,
}

/// Reads a request of protobuf.
pub fn decode(bytes: &[u8]) -> Result<Request, WireError> {
    check_size(bytes)?;
    let request = message::ExportMetricsServiceRequest::decode(bytes)
        .map_err(|error| WireError::Invalid { what: WHAT, why: error.to_string() })?;
    check_count(&request)?;
    Ok(Request(request))
}

/// Reads a request of JSON (opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding). Fields that are not known are
/// passed over, as the specification has it.
pub fn decode_json(bytes: &[u8]) -> Result<Request, WireError> {
    check_size(bytes)?;
    let value: serde_json::Value = serde_json::from_slice(bytes)
        .map_err(|error| WireError::Json { what: WHAT, why: error.to_string() })?;
    let request = json::request(&value).map_err(|why| WireError::Json { what: WHAT, why })?;
    check_count(&request)?;
    Ok(Request(request))
}

fn check_size(bytes: &[u8]) -> Result<(), WireError> {
    if bytes.len() > REQUEST_BYTES_MAX {
        let (size, limit) = (bytes.len() as u64, REQUEST_BYTES_MAX as u64);
        return Err(WireError::TooLarge { what: WHAT, size, limit });
    }
    Ok(())
}

fn check_count(request: &message::ExportMetricsServiceRequest) -> Result<(), WireError> {
    let metrics = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    let count: usize = metrics.flat_map(|scope| &scope.metrics).map(message::Metric::len).sum();
    if count > POINTS_MAX {
        return Err(WireError::TooMany { what: WHAT, of: "data points", limit: POINTS_MAX as u64 });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
