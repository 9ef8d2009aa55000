//! Native histograms: spans and counts → buckets with their indexes.

use hmsops_model::Histogram;
use hmsops_model::sample::{CUSTOM_SCHEMA, ResetHint, is_stale_nan};

use super::{BUCKETS_MAX, NativeSample, begun, too_many};
use crate::WireError;
use crate::protobuf::Field;

/// Schemas that have a meaning, besides the custom one (model of native histograms, Prometheus documentation).
const SCHEMAS: std::ops::RangeInclusive<i64> = -4..=8;

/// One side of zero as it is sent: where buckets are, and their counts, as differences or plain.
#[derive(Default)]
pub(crate) struct Side {
    /// Gap before, and how many buckets follow.
    pub(crate) spans: Vec<(i64, u64)>,
    pub(crate) deltas: Vec<i64>,
    pub(crate) counts: Vec<f64>,
}

/// A histogram and its times. The outer error is about bytes, the inner one about meaning. `left` is how many
/// buckets, spans and bounds may still come.
pub(super) fn decode(field: &Field<'_>, left: &mut usize) -> Result<Result<NativeSample, String>, WireError> {
    let mut histogram = Histogram::default();
    let (mut time, mut start, mut schema) = (0, 0, 0);
    let (mut positive, mut negative, mut custom) = (Side::default(), Side::default(), Vec::new());
    let mut fields = field.message("a histogram")?;
    while let Some(field) = fields.read()? {
        match field.number {
            1 => histogram.count = field.varint("the count of a histogram")? as f64,
            2 => histogram.count = field.double("the count of a histogram")?,
            3 => histogram.sum = field.double("the sum of a histogram")?,
            4 => schema = field.signed("the schema of a histogram")?,
            5 => histogram.zero_threshold = field.double("the zero threshold of a histogram")?,
            6 => histogram.zero_count = field.varint("the zero count of a histogram")? as f64,
            7 => histogram.zero_count = field.double("the zero count of a histogram")?,
            8 => negative.spans.push(span(&field)?),
            9 => field.each_signed("a bucket", |delta| negative.deltas.push(delta))?,
            10 => field.each_double("a bucket", |count| negative.counts.push(count))?,
            11 => positive.spans.push(span(&field)?),
            12 => field.each_signed("a bucket", |delta| positive.deltas.push(delta))?,
            13 => field.each_double("a bucket", |count| positive.counts.push(count))?,
            14 => histogram.reset = reset(field.varint("the reset hint of a histogram")?),
            15 => time = field.varint("the time of a histogram")? as i64,
            16 => field.each_double("a bound", |bound| custom.push(bound))?,
            17 => start = field.varint("the start of a histogram")? as i64,
            _ => {}
        }
        let held = positive.len() + negative.len() + custom.len();
        if held > *left {
            return Err(too_many("buckets", BUCKETS_MAX));
        }
    }
    *left -= positive.len() + negative.len() + custom.len();
    Ok(finish(histogram, schema, &positive, &negative, custom).map(|value| NativeSample {
        time,
        start: begun(start, time),
        value,
    }))
}

/// A histogram whose buckets were read. An error is about what they mean.
pub(crate) fn finish(
    mut histogram: Histogram,
    schema: i64,
    positive: &Side,
    negative: &Side,
    custom: Vec<f64>,
) -> Result<Histogram, String> {
    let is_custom = schema == i64::from(CUSTOM_SCHEMA);
    if !is_custom && !SCHEMAS.contains(&schema) {
        return Err(format!("a histogram has the unknown schema {schema}"));
    }
    histogram.schema = schema as i32;
    if is_stale_nan(histogram.sum) {
        return Ok(histogram);
    }
    histogram.positive = positive.buckets()?;
    histogram.negative = negative.buckets()?;
    if is_custom {
        check_custom(&histogram, &custom)?;
    } else if !custom.is_empty() {
        return Err(format!("a histogram of schema {schema} has bounds of its own"));
    }
    histogram.custom = custom.into();
    let counts = histogram.positive.iter().chain(&histogram.negative).map(|(_, count)| *count);
    let is_negative = |count: f64| count < 0.0;
    if counts.chain([histogram.count, histogram.zero_count]).any(is_negative) {
        return Err("a histogram has a negative count".into());
    }
    Ok(histogram)
}

fn check_custom(histogram: &Histogram, custom: &[f64]) -> Result<(), String> {
    if !custom.iter().all(|bound| bound.is_finite()) || !custom.windows(2).all(|pair| pair[0] < pair[1]) {
        return Err("a histogram has bounds that are not finite or don't ascend".into());
    }
    if !histogram.negative.is_empty() || histogram.zero_count != 0.0 {
        return Err("a histogram with bounds of its own has zero or negative buckets".into());
    }
    let is_within = |index: i32| usize::try_from(index).is_ok_and(|index| index <= custom.len());
    if !histogram.positive.iter().all(|(index, _)| is_within(*index)) {
        return Err("a histogram has buckets past its bounds".into());
    }
    Ok(())
}

impl Side {
    pub(crate) fn len(&self) -> usize {
        self.spans.len() + self.deltas.len() + self.counts.len()
    }

    /// Float counts are absolute, integer ones differences to the bucket before; one of the lists is empty.
    fn buckets(&self) -> Result<Vec<(i32, f64)>, String> {
        if !self.deltas.is_empty() && !self.counts.is_empty() {
            return Err("a histogram has integer and float buckets".into());
        }
        let mut running = 0_i64;
        let deltas = self.deltas.iter().map(|delta| {
            running = running.wrapping_add(*delta);
            running as f64
        });
        let mut counts = deltas.chain(self.counts.iter().copied());
        let mut buckets = Vec::with_capacity(self.deltas.len() + self.counts.len());
        let mut index = 0_i64;
        for (at, (offset, length)) in self.spans.iter().enumerate() {
            if at > 0 && *offset < 0 {
                return Err("a histogram has spans that overlap".into());
            }
            index += offset;
            for _ in 0..*length {
                let count = counts.next().ok_or("a histogram has fewer buckets than its spans say")?;
                let narrow =
                    i32::try_from(index).map_err(|_| "a histogram has a bucket index beyond 32 bits")?;
                buckets.push((narrow, count));
                index += 1;
            }
        }
        if counts.next().is_some() {
            return Err("a histogram has more buckets than its spans say".into());
        }
        Ok(buckets)
    }
}

/// Where some buckets stand: the gap before them, and how many they are.
pub(crate) fn span(field: &Field<'_>) -> Result<(i64, u64), WireError> {
    let (mut offset, mut length) = (0, 0);
    let mut fields = field.message("a span of buckets")?;
    while let Some(field) = fields.read()? {
        match field.number {
            // Both are 32 bits wide in the definition; a wider number is cut, as protobuf says.
            1 => offset = i64::from(field.signed("the offset of a span")? as i32),
            2 => length = u64::from(field.varint("the length of a span")? as u32),
            _ => {}
        }
    }
    Ok((offset, length))
}

fn reset(hint: u64) -> ResetHint {
    match hint {
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    }
}
