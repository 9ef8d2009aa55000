//! A finished chunk of floats that are decimal numbers: whole numbers times a power of ten, their differences
//! divided by their common factor, packed to the bits they need. Used where it is exact and shorter than XOR.
//! The test for exactness is that of ALP (Afroozeh, Boncz 2023, §3): multiply, round, divide, compare the bits.

use crate::bits::{BitReader, BitWriter};
use crate::bytes::{Damaged, Reader, put_int, put_uint, unzigzag, zigzag};
use crate::columns::Columns;
use crate::xor::{StartCursor, put_starts, starts};

/// Powers of ten that are exact as floats and make sense for measured values.
const EXPONENT_MAX: u32 = 15;

/// Above it a float is no longer every whole number.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Values that are no decimals (stale markers, mostly) and stand apart: one in so many.
const EXCEPTIONS_SHARE: usize = 8;

/// The samples as bytes, or `None` when the values are no decimals.
pub(crate) fn encode(times: &[i64], start_changes: &[(u32, i64)], values: &[f64]) -> Option<Vec<u8>> {
    let (exponent, wholes, exceptions) =
        (0..=EXPONENT_MAX).find_map(|exponent| wholes(values, exponent).map(|(w, e)| (exponent, w, e)))?;
    let mut bytes = Vec::new();
    put_uint(&mut bytes, times.len() as u64);
    let first = *times.first()?;
    put_int(&mut bytes, first);
    put_starts(&mut bytes, start_changes, first);
    put_packed(&mut bytes, &differences(&differences(times)));
    put_int(&mut bytes, times.get(1).map_or(0, |second| second.wrapping_sub(first)));
    bytes.push(exponent as u8);
    put_uint(&mut bytes, exceptions.len() as u64);
    for index in &exceptions {
        put_uint(&mut bytes, *index as u64);
        bytes.extend(values[*index].to_bits().to_le_bytes());
    }
    let changes = differences(&wholes);
    put_int(&mut bytes, wholes[0]);
    let factor = changes.iter().fold(0, |factor, change| common(factor, change.unsigned_abs())).max(1);
    put_uint(&mut bytes, factor);
    let factor = i64::try_from(factor).ok()?;
    put_packed(&mut bytes, &changes.iter().map(|change| change / factor).collect::<Vec<_>>());
    Some(bytes)
}

/// All values as whole numbers times 10^−exponent, and the indexes of those that cannot be, where the value
/// before stands instead.
fn wholes(values: &[f64], exponent: u32) -> Option<(Vec<i64>, Vec<usize>)> {
    let scale = 10_f64.powi(exponent.cast_signed());
    let (mut wholes, mut exceptions) = (Vec::with_capacity(values.len()), Vec::new());
    for (index, value) in values.iter().enumerate() {
        let scaled = (value * scale).round_ties_even();
        // Through the integer, which knows no −0.
        let whole = scaled as i64;
        if scaled.abs() <= WHOLE_MAX && (whole as f64 / scale).to_bits() == value.to_bits() {
            wholes.push(whole);
        } else {
            exceptions.push(index);
            if exceptions.len() * EXCEPTIONS_SHARE > values.len() {
                return None;
            }
            wholes.push(wholes.last().copied().unwrap_or(0));
        }
    }
    Some((wholes, exceptions))
}

fn differences(numbers: &[i64]) -> Vec<i64> {
    numbers.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect()
}

/// The greatest common divisor (Euclid).
const fn common(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The least, the bits that the distance to it needs at most, and the distances in so many bits each.
fn put_packed(bytes: &mut Vec<u8>, numbers: &[i64]) {
    let least = numbers.iter().copied().min().unwrap_or(0);
    let distance = |number: &i64| number.wrapping_sub(least) as u64;
    let width = numbers.iter().map(|number| 64 - distance(number).leading_zeros()).max().unwrap_or(0) as u8;
    put_uint(bytes, zigzag(least));
    bytes.push(width);
    if width > 0 {
        let mut bits = BitWriter::default();
        for number in numbers {
            bits.put(distance(number), width);
        }
        bytes.extend(bits.into_bytes());
    }
}

fn packed(reader: &mut Reader<'_>, count: usize) -> Result<Vec<i64>, Damaged> {
    let least = unzigzag(reader.uint()?);
    let width = reader.byte()?;
    if width > 64 {
        return Err(Damaged("a number has more than 64 bits"));
    }
    if width == 0 {
        return Ok(vec![least; count]);
    }
    let mut bits = BitReader::new(reader.take((count * usize::from(width)).div_ceil(8))?);
    (0..count).map(|_| Ok(least.wrapping_add(bits.take(width)? as i64))).collect()
}

/// Hands out the samples of an encoded chunk of at most `count_max` samples.
pub(crate) fn decode(reader: &mut Reader<'_>, count_max: u32, columns: &mut Columns) -> Result<(), Damaged> {
    let count = reader.small()?;
    if count == 0 || count > count_max {
        return Err(Damaged("more samples than there can be"));
    }
    let len = count as usize;
    let mut time = reader.int()?;
    let start_changes = starts(reader, time)?;
    let bends = packed(reader, len.saturating_sub(2))?;
    let mut delta = reader.int()?;
    let exponent = reader.byte()?;
    if u32::from(exponent) > EXPONENT_MAX {
        return Err(Damaged("an exponent is too large"));
    }
    let scale = 10_f64.powi(i32::from(exponent));
    let exceptions: Result<Vec<(u32, f64)>, Damaged> =
        (0..reader.len()?).map(|_| Ok((reader.small()?, reader.float()?))).collect();
    let (exceptions, mut whole) = (exceptions?, reader.int()?);
    let factor = reader.uint()? as i64;
    let changes = packed(reader, len - 1)?;
    let mut exceptions = exceptions.iter().peekable();
    let mut cursor = StartCursor::new(&start_changes);
    for index in 0..count {
        if index > 0 {
            if index > 1 {
                delta = delta.wrapping_add(bends[index as usize - 2]);
            }
            time = time.wrapping_add(delta);
            whole = whole.wrapping_add(changes[index as usize - 1].wrapping_mul(factor));
        }
        if columns.is_past(time) {
            break;
        }
        let exception = exceptions.next_if(|(at, _)| *at == index);
        let value = exception.map_or_else(|| whole as f64 / scale, |(_, value)| *value);
        columns.push_float(time, cursor.at(index), value);
    }
    Ok(())
}
