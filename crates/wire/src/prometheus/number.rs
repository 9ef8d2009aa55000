//! Numbers and times as the API of Prometheus spells them.

use std::io::Write as _;

/// Writing to memory does not fail.
const INFALLIBLE: &str = "memory takes what is written";

/// A float in quotes: shortest digits that read back, with an exponent below 1e-6 and from 1e21 on (Prometheus,
/// `util/jsonutil`; these bounds are those of JavaScript, and not those of Go's `%g`).
pub(super) fn push_float(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    let size = value.abs();
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else if value == 0.0 || (1e-6..1e21).contains(&size) {
        write!(out, "{value}").expect(INFALLIBLE);
    } else {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
        write!(out, "{digits}e{sign}{exponent:0>2}").expect(INFALLIBLE);
    }
    out.push(b'"');
}

/// Unix milliseconds as seconds, with three decimals if they are not whole.
pub(super) fn push_time(out: &mut Vec<u8>, time: i64) {
    let sign = if time < 0 { "-" } else { "" };
    let (seconds, rest) = (time.unsigned_abs() / 1000, time.unsigned_abs() % 1000);
    write!(out, "{sign}{seconds}").expect(INFALLIBLE);
    if rest != 0 {
        write!(out, ".{rest:03}").expect(INFALLIBLE);
    }
}
