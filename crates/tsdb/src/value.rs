//! Values as bytes: in records of the write-ahead log, and in chunks that are not plain floats.

use std::sync::Arc;

use hmsops_model::sample::{Histogram, ResetHint, Tally, Value};

use crate::bytes::{Damaged, Reader, put_count, put_float, put_int, put_uint};

const FLOAT: u8 = 0;
const HISTOGRAM: u8 = 1;
const TALLY: u8 = 2;

/// Appends a value, bit-exact.
pub(crate) fn encode(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Float(value) => {
            bytes.push(FLOAT);
            put_float(bytes, *value);
        }
        Value::Tally(tally) => {
            bytes.push(TALLY);
            put_uint(bytes, tally.count);
            for value in [tally.sum, tally.min, tally.max, tally.last] {
                put_count(bytes, value);
            }
        }
        Value::Histogram(histogram) => {
            let hint = match histogram.reset {
                ResetHint::Unknown => 0,
                ResetHint::Reset => 1,
                ResetHint::NotReset => 2,
                ResetHint::Gauge => 3,
            };
            bytes.push(HISTOGRAM | hint << 4);
            put_int(bytes, i64::from(histogram.schema));
            put_float(bytes, histogram.zero_threshold);
            put_count(bytes, histogram.zero_count);
            put_count(bytes, histogram.count);
            put_float(bytes, histogram.sum);
            for buckets in [&histogram.positive, &histogram.negative] {
                put_uint(bytes, buckets.len() as u64);
                let mut before = 0;
                for (index, count) in buckets {
                    put_int(bytes, i64::from(*index) - before);
                    put_count(bytes, *count);
                    before = i64::from(*index);
                }
            }
            put_uint(bytes, histogram.custom.len() as u64);
            histogram.custom.iter().for_each(|bound| put_float(bytes, *bound));
        }
    }
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Value, Damaged> {
    let head = reader.byte()?;
    match head & 0xf {
        FLOAT => Ok(Value::Float(reader.float()?)),
        TALLY => {
            let count = reader.uint()?;
            let (sum, min) = (reader.count()?, reader.count()?);
            let (max, last) = (reader.count()?, reader.count()?);
            Ok(Value::Tally(Tally { sum, count, min, max, last }))
        }
        HISTOGRAM => {
            let reset = match head >> 4 {
                0 => ResetHint::Unknown,
                1 => ResetHint::Reset,
                2 => ResetHint::NotReset,
                3 => ResetHint::Gauge,
                _ => return Err(Damaged("a reset hint that does not exist")),
            };
            let schema = int32(reader.int()?)?;
            let (zero_threshold, zero_count) = (reader.float()?, reader.count()?);
            let (count, sum) = (reader.count()?, reader.float()?);
            let (positive, negative) = (buckets(reader)?, buckets(reader)?);
            let custom: Result<Vec<f64>, Damaged> = (0..reader.len()?).map(|_| reader.float()).collect();
            let custom = custom?.into();
            Ok(Value::Histogram(Arc::new(Histogram {
                reset,
                schema,
                zero_threshold,
                zero_count,
                count,
                sum,
                positive,
                negative,
                custom,
            })))
        }
        _ => Err(Damaged("a kind of value that does not exist")),
    }
}

fn buckets(reader: &mut Reader<'_>) -> Result<Vec<(i32, f64)>, Damaged> {
    let mut index = 0_i64;
    (0..reader.len()?)
        .map(|_| {
            index = index.saturating_add(reader.int()?);
            Ok((int32(index)?, reader.count()?))
        })
        .collect()
}

fn int32(value: i64) -> Result<i32, Damaged> {
    i32::try_from(value).map_err(|_| Damaged("a number is too large"))
}

/// Whether both are the same to the last bit; what is said of resets does not matter, because the store says it.
pub(crate) fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (Value::Float(_), _) | (_, Value::Float(_)) => false,
        _ => plain_bytes(a) == plain_bytes(b),
    }
}

fn plain_bytes(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes, value);
    if let Some(head) = bytes.first_mut() {
        *head &= 0xf;
    }
    bytes
}

/// About the bytes a value occupies in memory.
pub(crate) fn size(value: &Value) -> usize {
    match value {
        Value::Histogram(histogram) => size_of::<Value>() + histogram.size(),
        _ => size_of::<Value>(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Floats of every kind, the odd ones more often than chance would have them.
    pub(crate) fn floats() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (-1_000_000_i64..1_000_000, 0_i32..4).prop_map(|(m, e)| m as f64 / 10_f64.powi(e)),
            Just(hmsops_model::sample::stale_nan()),
            Just(-0.0),
            Just(f64::INFINITY),
        ]
    }

    /// Values of every kind.
    pub(crate) fn values() -> impl Strategy<Value = Value> {
        let tally = (floats(), any::<u64>(), floats(), floats(), floats())
            .prop_map(|(sum, count, min, max, last)| Value::Tally(Tally { sum, count, min, max, last }));
        let bucket = || prop::collection::btree_map(any::<i32>(), floats(), 0..6);
        let histogram =
            (floats(), floats(), bucket(), bucket(), prop::collection::vec(floats(), 0..4), -53..9).prop_map(
                |(count, sum, positive, negative, custom, schema)| {
                    Value::Histogram(Arc::new(Histogram {
                        reset: ResetHint::Gauge,
                        schema,
                        count,
                        sum,
                        positive: positive.into_iter().collect(),
                        negative: negative.into_iter().collect(),
                        custom: custom.into(),
                        ..Histogram::default()
                    }))
                },
            );
        prop_oneof![floats().prop_map(Value::Float), tally, histogram]
    }

    proptest! {
        #[test]
        fn values_round_trip_bit_exact(value in values()) {
            let mut bytes = Vec::new();
            encode(&mut bytes, &value);
            let mut reader = Reader::new(&bytes);
            let decoded = decode(&mut reader).unwrap();
            prop_assert!(is_same(&decoded, &value) && reader.is_empty(), "{decoded:?} {value:?}");
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode(&mut Reader::new(&bytes));
        }
    }
}
