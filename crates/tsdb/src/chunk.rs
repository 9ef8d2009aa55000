//! A run of samples of one series: open while it grows, sealed when it is full.

use std::sync::Arc;

use hmsops_model::sample::Value;

use crate::bytes::{Damaged, Reader};
use crate::columns::Columns;
use crate::plain::{self, PlainChunk};
use crate::xor::{self, XorChunk};
use crate::{decimal, value};

/// Samples of a chunk: long enough to compress, short enough that a query decodes little in vain (the figure of
/// Gorilla's and Prometheus' chunks).
pub(crate) const CHUNK_SAMPLES: u32 = 120;

/// Bytes of a chunk of histograms, above which it is sealed though it has few samples.
const CHUNK_BYTES: usize = 16 << 10;

const XOR: u8 = 1;
const DECIMAL: u8 = 2;
const PLAIN: u8 = 3;

/// A chunk that grows.
#[derive(Debug, Clone)]
pub(crate) enum OpenChunk {
    Floats(XorChunk),
    Plain(PlainChunk),
}

impl OpenChunk {
    /// An empty one for values like this.
    pub(crate) fn for_value(value: &Value) -> Self {
        match value {
            Value::Float(_) => Self::Floats(XorChunk::default()),
            _ => Self::Plain(PlainChunk::default()),
        }
    }

    /// Whether it takes values like this.
    pub(crate) const fn takes(&self, value: &Value) -> bool {
        matches!(
            (self, value),
            (Self::Floats(_), Value::Float(_)) | (Self::Plain(_), Value::Tally(_) | Value::Histogram(_))
        )
    }

    /// Whether it should be sealed.
    pub(crate) const fn is_full(&self) -> bool {
        match self {
            Self::Floats(chunk) => chunk.count() >= CHUNK_SAMPLES,
            Self::Plain(chunk) => chunk.count() >= CHUNK_SAMPLES || chunk.len_bytes() >= CHUNK_BYTES,
        }
    }

    pub(crate) const fn count(&self) -> u32 {
        match self {
            Self::Floats(chunk) => chunk.count(),
            Self::Plain(chunk) => chunk.count(),
        }
    }

    pub(crate) const fn first(&self) -> i64 {
        match self {
            Self::Floats(chunk) => chunk.first(),
            Self::Plain(chunk) => chunk.first(),
        }
    }

    pub(crate) const fn last(&self) -> i64 {
        match self {
            Self::Floats(chunk) => chunk.last(),
            Self::Plain(chunk) => chunk.last(),
        }
    }

    /// Appends a sample that it takes, whose time is after the last.
    pub(crate) fn push(&mut self, time: i64, start: i64, value: &Value) {
        match (self, value) {
            (Self::Floats(chunk), Value::Float(value)) => chunk.push(time, start, *value),
            (Self::Plain(chunk), value) => chunk.push(time, start, value),
            (Self::Floats(_), _) => debug_assert!(false, "asked `takes` before"),
        }
    }

    /// Hands out the samples.
    pub(crate) fn read(&self, columns: &mut Columns) -> Result<(), Damaged> {
        match self {
            Self::Floats(chunk) => chunk.read(columns),
            Self::Plain(chunk) => chunk.read(columns),
        }
    }

    /// As it is, for a checkpoint.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Floats(chunk) => {
                bytes.push(XOR);
                chunk.encode(&mut bytes);
            }
            Self::Plain(chunk) => {
                bytes.push(PLAIN);
                chunk.encode(&mut bytes);
            }
        }
        bytes
    }

    /// The finished chunk, in whichever form is shorter.
    pub(crate) fn seal(&self) -> Sealed {
        let mut body = self.encode();
        if let Self::Floats(chunk) = self
            && let Some(shorter) = decimal_form(chunk).filter(|decimal| decimal.len() < body.len())
        {
            body = shorter;
        }
        Sealed { min: self.first(), max: self.last(), count: self.count(), body: body.into() }
    }
}

fn decimal_form(chunk: &XorChunk) -> Option<Vec<u8>> {
    let mut columns = Columns::new(i64::MIN, i64::MAX);
    chunk.read(&mut columns).ok()?;
    let samples = columns.finish();
    let (times, starts, values) = samples.into_columns();
    let hmsops_model::series::Values::Floats(values) = values else { return None };
    let mut changes: Vec<(u32, i64)> = Vec::new();
    for (index, start) in (0..).zip(starts) {
        if start != changes.last().map_or(0, |(_, start)| *start) {
            changes.push((index, start));
        }
    }
    let mut bytes = vec![DECIMAL];
    bytes.extend(decimal::encode(&times, &changes, &values)?);
    Some(bytes)
}

/// A chunk that does not change any more.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    /// The first sample's time.
    pub(crate) min: i64,
    /// The last sample's time.
    pub(crate) max: i64,
    /// How many samples.
    pub(crate) count: u32,
    /// What [`decode`] reads.
    pub(crate) body: Arc<[u8]>,
}

impl Sealed {
    /// From samples in strictly ascending time, all of which one chunk takes or not: as many chunks as it needs.
    pub(crate) fn from_rows<'a>(rows: impl Iterator<Item = (i64, i64, &'a Value)>) -> Vec<Self> {
        let mut sealed = Vec::new();
        let mut open: Option<OpenChunk> = None;
        for (time, start, value) in rows {
            if let Some(full) = open.take_if(|chunk| !chunk.takes(value) || chunk.is_full()) {
                sealed.push(full.seal());
            }
            open.get_or_insert_with(|| OpenChunk::for_value(value)).push(time, start, value);
        }
        sealed.extend(open.map(|chunk| chunk.seal()));
        sealed
    }
}

/// Hands out the samples of a chunk's bytes.
pub(crate) fn decode(body: &[u8], columns: &mut Columns) -> Result<(), Damaged> {
    let mut reader = Reader::new(body);
    match reader.byte()? {
        XOR => xor::decode(&mut reader, columns),
        DECIMAL => decimal::decode(&mut reader, CHUNK_SAMPLES, columns),
        PLAIN => plain::decode(&mut reader, columns),
        _ => Err(Damaged("a kind of chunk that does not exist")),
    }
}

/// An open chunk again, from the bytes that [`OpenChunk::encode`] made.
pub(crate) fn reopen(body: &[u8]) -> Result<Option<OpenChunk>, Damaged> {
    let mut columns = Columns::new(i64::MIN, i64::MAX);
    decode(body, &mut columns)?;
    let samples = columns.finish();
    let mut chunk: Option<OpenChunk> = None;
    for (index, time) in samples.times().iter().enumerate() {
        let value = samples.value(index);
        let chunk = chunk.get_or_insert_with(|| OpenChunk::for_value(&value));
        if !chunk.takes(&value) {
            return Err(Damaged("a chunk of several kinds"));
        }
        chunk.push(*time, samples.start(index), &value);
    }
    Ok(chunk)
}

/// About the bytes that samples of this chunk occupy once read.
pub(crate) fn bytes_when_read(count: u32, body_len: usize) -> u64 {
    u64::from(count) * 16 + body_len as u64
}

/// The sample at a moment, if the chunk has one.
pub(crate) fn find(body: &[u8], time: i64) -> Result<Option<Value>, Damaged> {
    let mut columns = Columns::new(time, time);
    decode(body, &mut columns)?;
    let samples = columns.finish();
    Ok((!samples.is_empty()).then(|| samples.value(0)))
}

/// Whether the chunk says the same of a moment; `None` when it says nothing.
pub(crate) fn agrees(body: &[u8], time: i64, with: &Value) -> Result<Option<bool>, Damaged> {
    Ok(find(body, time)?.map(|found| value::is_same(&found, with)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::tests::{floats, values};

    fn rows(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Vec<(i64, i64, Value)>> {
        let step = prop_oneof![Just(15_000_i64), 1..20_000_i64, 1..i64::from(u32::MAX)];
        let start = prop_oneof![3 => Just(0_i64), 1 => -5_000_i64..5_000];
        prop::collection::vec((step, start, value), 1..CHUNK_SAMPLES as usize).prop_map(|rows| {
            let mut time = 1_700_000_000_000;
            let timed = rows.into_iter().map(|(step, start, value)| {
                time += step;
                (time, if start == 0 { 0 } else { time + start }, value)
            });
            timed.collect()
        })
    }

    fn check(rows: &[(i64, i64, Value)]) {
        let mut open: Option<OpenChunk> = None;
        for (time, start, value) in rows {
            let chunk = open.get_or_insert_with(|| OpenChunk::for_value(value));
            if chunk.takes(value) {
                chunk.push(*time, *start, value);
            }
        }
        let open = open.unwrap();
        let expected: Vec<_> = rows.iter().filter(|row| open.takes(&row.2)).collect();
        let sealed = open.seal();
        for body in [&sealed.body[..], &open.encode(), &reopen(&open.encode()).unwrap().unwrap().encode()] {
            let mut columns = Columns::new(i64::MIN, i64::MAX);
            decode(body, &mut columns).unwrap();
            let samples = columns.finish();
            assert_eq!(samples.len(), expected.len());
            for (index, (time, start, value)) in expected.iter().enumerate() {
                assert_eq!((samples.times()[index], samples.start(index)), (*time, *start));
                assert!(value::is_same(&samples.value(index), value), "{value:?} at {index}");
            }
        }
        assert_eq!((sealed.min, sealed.max), (expected[0].0, expected[expected.len() - 1].0));
        for cut in (0..sealed.body.len()).step_by(1 + sealed.body.len() / 8) {
            let _ = decode(&sealed.body[..cut], &mut Columns::new(i64::MIN, i64::MAX));
        }
    }

    proptest! {
        #[test]
        fn floats_round_trip_bit_exact(rows in rows(floats().prop_map(Value::Float))) {
            check(&rows);
        }

        #[test]
        fn decimals_round_trip_bit_exact(
            rows in rows((0_i64..1_000_000).prop_map(|m| Value::Float(m as f64 / 100.0)))
        ) {
            check(&rows);
        }

        #[test]
        fn all_kinds_round_trip_bit_exact(rows in rows(values())) {
            check(&rows);
        }

        #[test]
        fn any_bytes_are_answered(body in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode(&body, &mut Columns::new(i64::MIN, i64::MAX));
        }
    }

    /// Counters of hundredths, the commonest kind, take about a byte and a half each.
    #[test]
    fn decimals_are_packed() {
        let values: Vec<Value> =
            (0..120).map(|n| Value::Float(f64::from(n * 1500 + n * n % 37) / 100.0)).collect();
        let rows = (0..).zip(&values).map(|(n, value)| (n * 15_000, 0, value));
        let sealed = Sealed::from_rows(rows);
        assert!(sealed.len() == 1 && sealed[0].body.len() < 180, "{}", sealed[0].body.len());
    }
}
