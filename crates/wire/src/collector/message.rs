//! The messages of `proto/hmsops/v1/collector.proto`, written by hand so that building needs no protoc. A test
//! compares the two.

use serde::{Deserialize, Serialize};

/// One batch of one emitting process.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EmitRequest {
    /// A random id drawn when the emitting process started.
    #[prost(string, tag = "1")]
    pub source: String,
    /// The number of this batch: from 1, ascending within a source.
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
    /// Labels that all metrics of the batch have.
    #[prost(message, repeated, tag = "3")]
    pub labels: Vec<Label>,
    /// What was emitted.
    #[prost(message, repeated, tag = "4")]
    pub metrics: Vec<Metric>,
    /// How many values this source has dropped so far.
    #[prost(uint64, tag = "5")]
    pub dropped: u64,
}

/// A name and a value. A label whose value is empty is no label.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Label {
    /// Any text but `__name__`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Any text.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// All values emitted under one name and label set between two flushes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Metric {
    /// Any text; dots are welcome.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Labels of this metric; they win over those of the batch.
    #[prost(message, repeated, tag = "2")]
    pub labels: Vec<Label>,
    /// When it was flushed, in Unix milliseconds.
    #[prost(int64, tag = "3")]
    pub time_unix_ms: i64,
    /// The sum of the values.
    #[prost(double, tag = "4")]
    pub sum: f64,
    /// How many values there were, at least 1.
    #[prost(uint64, tag = "5")]
    pub count: u64,
    /// The least value.
    #[prost(double, tag = "6")]
    pub min: f64,
    /// The greatest value.
    #[prost(double, tag = "7")]
    pub max: f64,
    /// The latest value.
    #[prost(double, tag = "8")]
    pub last: f64,
}

/// What became of a batch. Its JSON has the same names.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize, Deserialize)]
pub struct EmitResponse {
    /// How many metrics were stored.
    #[prost(uint64, tag = "1")]
    pub stored: u64,
    /// Whether this batch had been taken before; nothing was stored then.
    #[prost(bool, tag = "2")]
    pub duplicate: bool,
    /// Metrics that can't be stored, and never will be.
    #[prost(message, repeated, tag = "3")]
    pub refused: Vec<Refusal>,
}

/// A metric that was not stored.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize, Deserialize)]
pub struct Refusal {
    /// Its place in the batch, from 0.
    #[prost(uint32, tag = "1")]
    pub index: u32,
    /// What is wrong with it, for people.
    #[prost(string, tag = "2")]
    pub why: String,
}
