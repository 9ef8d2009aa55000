//! What the HTTP API of Prometheus answers under `/api/v1`, written straight into bytes.
//!
//! Source: prometheus.io/docs/prometheus/latest/querying/api, and `util/jsonutil` for how numbers are spelled.

mod histogram;
mod number;

use hmsops_model::series::Values;
use hmsops_model::{Histogram, Labels, Series, Value};
use serde::Serialize;

/// What a query found.
#[derive(Debug, Clone, Copy)]
pub enum Data<'a> {
    /// One value for each series: labels, when (in Unix milliseconds), value.
    Vector(&'a [(Labels, i64, Value)]),
    /// Values over time. A sample is a float or a histogram; a tally is shown as its last value.
    Matrix(&'a [Series]),
    /// A number, and when.
    Scalar(i64, f64),
    /// A text, and when.
    Text(i64, &'a str),
}

/// What the reader of an answer should know about it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Notes<'a> {
    /// That it may be wrong.
    pub warnings: &'a [String],
    /// That the query may not mean what it looks like.
    pub infos: &'a [String],
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// A parameter is missing or wrong.
    BadData,
    /// The query can't be run.
    Execution,
    /// It took too long.
    Timeout,
    /// Who asked went away, or it was called off.
    Canceled,
    /// Our fault.
    Internal,
    /// Not now.
    Unavailable,
    /// There is no such thing.
    NotFound,
}

impl Failure {
    /// As `errorType` says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Timeout => "timeout",
            Self::Canceled => "canceled",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::NotFound => "not_found",
        }
    }

    /// The HTTP status that goes with it.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadData => 400,
            Self::Execution => 422,
            Self::Timeout | Self::Unavailable => 503,
            Self::Canceled => 499,
            Self::Internal => 500,
            Self::NotFound => 404,
        }
    }
}

/// The answer to a query.
pub fn query(data: Data<'_>, notes: Notes<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(expected_size(data));
    out.extend_from_slice(br#"{"status":"success","data":{"resultType":""#);
    match data {
        Data::Vector(points) => {
            out.extend_from_slice(br#"vector","result":["#);
            for (index, (labels, time, value)) in points.iter().enumerate() {
                comma(&mut out, index);
                vector_point(&mut out, labels, *time, value);
            }
            out.push(b']');
        }
        Data::Matrix(all) => {
            out.extend_from_slice(br#"matrix","result":["#);
            for (index, series) in all.iter().enumerate() {
                comma(&mut out, index);
                matrix_series(&mut out, series);
            }
            out.push(b']');
        }
        Data::Scalar(time, value) => {
            out.extend_from_slice(br#"scalar","result":"#);
            float_pair(&mut out, time, value);
        }
        Data::Text(time, text) => {
            out.extend_from_slice(br#"string","result":["#);
            number::push_time(&mut out, time);
            out.push(b',');
            json(&mut out, text);
            out.push(b']');
        }
    }
    out.push(b'}');
    finish(out, notes)
}

/// The answer to anything else: lists of names, label sets, metadata and so on.
pub fn success<T: Serialize + ?Sized>(data: &T, notes: Notes<'_>) -> Vec<u8> {
    let mut out = br#"{"status":"success","data":"#.to_vec();
    json(&mut out, data);
    finish(out, notes)
}

/// That there is no answer, and why; to be sent with [`Failure::status`].
pub fn failure(failure: Failure, error: &str) -> Vec<u8> {
    let mut out = br#"{"status":"error","errorType":""#.to_vec();
    out.extend_from_slice(failure.name().as_bytes());
    out.extend_from_slice(br#"","error":"#);
    json(&mut out, error);
    out.push(b'}');
    out
}

/// Some 30 bytes a sample and 100 a label set.
fn expected_size(data: Data<'_>) -> usize {
    200 + match data {
        Data::Vector(points) => points.len() * 150,
        Data::Matrix(all) => all.iter().map(|series| 120 + series.samples.len() * 30).sum(),
        Data::Scalar(..) | Data::Text(..) => 0,
    }
}

fn finish(mut out: Vec<u8>, notes: Notes<'_>) -> Vec<u8> {
    for (key, texts) in [("warnings", notes.warnings), ("infos", notes.infos)] {
        if !texts.is_empty() {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(b"\":");
            json(&mut out, texts);
        }
    }
    out.push(b'}');
    out
}

fn vector_point(out: &mut Vec<u8>, labels: &Labels, time: i64, value: &Value) {
    metric(out, labels);
    match flat(value) {
        Flat::Float(value) => {
            out.extend_from_slice(br#","value":"#);
            float_pair(out, time, value);
        }
        Flat::Histogram(histogram) => {
            out.extend_from_slice(br#","histogram":"#);
            histogram_pair(out, time, histogram);
        }
    }
    out.push(b'}');
}

/// Floats under `values`, histograms under `histograms`, each left out when there is none of them.
fn matrix_series(out: &mut Vec<u8>, series: &Series) {
    metric(out, &series.labels);
    let times = series.samples.times();
    match series.samples.values() {
        Values::Floats(floats) => {
            if !floats.is_empty() {
                out.extend_from_slice(br#","values":["#);
                for (index, (time, value)) in times.iter().zip(floats).enumerate() {
                    comma(out, index);
                    float_pair(out, *time, *value);
                }
                out.push(b']');
            }
        }
        Values::Mixed(values) => {
            let mut written = 0;
            for (time, value) in times.iter().zip(values) {
                if let Flat::Float(value) = flat(value) {
                    out.extend_from_slice(if written == 0 { br#","values":["# } else { b"," });
                    float_pair(out, *time, value);
                    written += 1;
                }
            }
            out.extend_from_slice(if written == 0 { b"" } else { b"]" });
            written = 0;
            for (time, value) in times.iter().zip(values) {
                if let Flat::Histogram(histogram) = flat(value) {
                    out.extend_from_slice(if written == 0 { br#","histograms":["# } else { b"," });
                    histogram_pair(out, *time, histogram);
                    written += 1;
                }
            }
            out.extend_from_slice(if written == 0 { b"" } else { b"]" });
        }
    }
    out.push(b'}');
}

/// What Prometheus knows: no tallies.
enum Flat<'a> {
    Float(f64),
    Histogram(&'a Histogram),
}

fn flat(value: &Value) -> Flat<'_> {
    match value {
        Value::Float(value) => Flat::Float(*value),
        Value::Tally(tally) => Flat::Float(tally.last),
        Value::Histogram(histogram) => Flat::Histogram(histogram),
    }
}

/// Opens an object with its labels in it.
fn metric(out: &mut Vec<u8>, labels: &Labels) {
    out.extend_from_slice(br#"{"metric":{"#);
    for (index, (name, value)) in labels.iter().enumerate() {
        comma(out, index);
        json(out, name);
        out.push(b':');
        json(out, value);
    }
    out.push(b'}');
}

fn float_pair(out: &mut Vec<u8>, time: i64, value: f64) {
    out.push(b'[');
    number::push_time(out, time);
    out.push(b',');
    number::push_float(out, value);
    out.push(b']');
}

fn histogram_pair(out: &mut Vec<u8>, time: i64, value: &Histogram) {
    out.push(b'[');
    number::push_time(out, time);
    out.push(b',');
    histogram::push(out, value);
    out.push(b']');
}

fn comma(out: &mut Vec<u8>, index: usize) {
    if index > 0 {
        out.push(b',');
    }
}

fn json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("texts, numbers and lists of them are JSON");
}

#[cfg(test)]
mod tests;
