//! Answers in one message: `prometheus.ReadResponse`.

use hmsops_model::sample::ResetHint;
use hmsops_model::{Histogram, Labels, Series, Value};

use crate::protobuf::Message;

/// The results of all questions, in their order. A tally is shown as its last value.
pub fn samples(results: &[Vec<Series>]) -> Vec<u8> {
    let mut response = Message::default();
    for result in results {
        let mut message = Message::default();
        for series in result {
            message.message(1, &time_series(series));
        }
        response.message(1, &message);
    }
    response.into_bytes()
}

/// In a snappy block.
///
/// # Errors
/// When it is longer than such a block may be, 4 GiB.
pub fn pack(answer: &[u8]) -> Result<Vec<u8>, snap::Error> {
    snap::raw::Encoder::new().compress_vec(answer)
}

fn time_series(series: &Series) -> Message {
    let mut message = Message::default();
    labels(&mut message, &series.labels);
    for (index, time) in series.samples.times().iter().enumerate() {
        let value = match series.samples.value(index) {
            Value::Float(value) => value,
            Value::Tally(tally) => tally.last,
            Value::Histogram(value) => {
                message.message(4, &histogram(*time, series.samples.start(index), &value));
                continue;
            }
        };
        let mut sample = Message::default();
        sample.double(1, value);
        sample.varint(2, *time as u64);
        message.message(2, &sample);
    }
    message
}

/// As field 1.
pub(super) fn labels(message: &mut Message, labels: &Labels) {
    for (name, value) in labels.iter() {
        let mut label = Message::default();
        label.bytes(1, name.as_bytes());
        label.bytes(2, value.as_bytes());
        message.message(1, &label);
    }
}

fn histogram(time: i64, start: i64, value: &Histogram) -> Message {
    let mut message = Message::default();
    message.double(2, value.count);
    message.double(3, value.sum);
    message.signed(4, i64::from(value.schema));
    message.double(5, value.zero_threshold);
    message.double(7, value.zero_count);
    for (buckets, spans, counts) in [(&value.negative, 8, 10), (&value.positive, 11, 13)] {
        let mut end = 0;
        for run in buckets.chunk_by(|a, b| i64::from(a.0) + 1 == i64::from(b.0)) {
            let Some((first, _)) = run.first() else { continue };
            let mut span = Message::default();
            span.signed(1, i64::from(*first) - end);
            span.varint(2, run.len() as u64);
            message.message(spans, &span);
            end = i64::from(*first) + run.len() as i64;
        }
        message.doubles(counts, buckets.iter().map(|(_, count)| *count));
    }
    let hint = match value.reset {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    };
    message.varint(14, hint);
    message.varint(15, time as u64);
    message.doubles(16, value.custom.iter().copied());
    message.varint(17, start as u64);
    message
}
