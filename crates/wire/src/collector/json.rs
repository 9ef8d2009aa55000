//! A batch as JSON, for programs that speak plain HTTP/1.1.
//!
//! Numbers that JSON does not have are the texts `NaN`, `+Inf` and `-Inf`. A key that is not known is refused, so
//! that a misspelt one is noticed.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{EmitRequest, EmitResponse, Label, Metric, WHAT, check_size};
use crate::WireError;

/// Reads a batch.
pub fn decode(bytes: &[u8]) -> Result<EmitRequest, WireError> {
    check_size(bytes)?;
    let batch: Batch = serde_json::from_slice(bytes)
        .map_err(|error| WireError::Json { what: WHAT, why: error.to_string() })?;
    Ok(EmitRequest {
        source: batch.source,
        sequence: batch.sequence,
        labels: batch.labels.0,
        metrics: batch.metrics.into_iter().map(Metric::from).collect(),
        dropped: batch.dropped,
    })
}

/// Writes a batch.
pub fn encode(request: &EmitRequest) -> Vec<u8> {
    let batch = Batch {
        source: request.source.clone(),
        sequence: request.sequence,
        labels: Pairs(request.labels.clone()),
        metrics: request.metrics.iter().map(Emit::from).collect(),
        dropped: request.dropped,
    };
    serde_json::to_vec(&batch).expect("texts and numbers are JSON")
}

/// Writes what became of a batch.
pub fn encode_response(response: &EmitResponse) -> Vec<u8> {
    serde_json::to_vec(response).expect("texts and numbers are JSON")
}

/// Reads what became of a batch.
pub fn decode_response(bytes: &[u8]) -> Result<EmitResponse, WireError> {
    serde_json::from_slice(bytes)
        .map_err(|error| WireError::Json { what: "the answer to a batch", why: error.to_string() })
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    source: String,
    sequence: u64,
    #[serde(default)]
    labels: Pairs,
    metrics: Vec<Emit>,
    #[serde(default)]
    dropped: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Emit {
    name: String,
    #[serde(default)]
    labels: Pairs,
    time: i64,
    sum: Number,
    count: u64,
    min: Number,
    max: Number,
    last: Number,
}

impl From<Emit> for Metric {
    fn from(emit: Emit) -> Self {
        Self {
            name: emit.name,
            labels: emit.labels.0,
            time_unix_ms: emit.time,
            sum: emit.sum.0,
            count: emit.count,
            min: emit.min.0,
            max: emit.max.0,
            last: emit.last.0,
        }
    }
}

impl From<&Metric> for Emit {
    fn from(metric: &Metric) -> Self {
        Self {
            name: metric.name.clone(),
            labels: Pairs(metric.labels.clone()),
            time: metric.time_unix_ms,
            sum: Number(metric.sum),
            count: metric.count,
            min: Number(metric.min),
            max: Number(metric.max),
            last: Number(metric.last),
        }
    }
}

/// An object of texts. A key given twice is kept twice, for [`batch`](super::batch) to refuse.
#[derive(Default)]
struct Pairs(Vec<Label>);

impl Serialize for Pairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for label in &self.0 {
            map.serialize_entry(&label.name, &label.value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Pairs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of label names and texts")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut labels = Vec::new();
                while let Some((name, value)) = map.next_entry()? {
                    labels.push(Label { name, value });
                }
                Ok(Pairs(labels))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A number, or the text of one that JSON does not have.
struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            value if value.is_nan() => serializer.serialize_str("NaN"),
            f64::INFINITY => serializer.serialize_str("+Inf"),
            f64::NEG_INFINITY => serializer.serialize_str("-Inf"),
            value => serializer.serialize_f64(value),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Float;
        impl Visitor<'_> for Float {
            type Value = Number;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, \"NaN\", \"+Inf\" or \"-Inf\"")
            }
            fn visit_f64<E>(self, value: f64) -> Result<Number, E> {
                Ok(Number(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Number, E> {
                Ok(Number(value as f64))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Number, E> {
                Ok(Number(value as f64))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Number, E> {
                match text {
                    "NaN" => Ok(Number(f64::NAN)),
                    "+Inf" => Ok(Number(f64::INFINITY)),
                    "-Inf" => Ok(Number(f64::NEG_INFINITY)),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Float)
    }
}
