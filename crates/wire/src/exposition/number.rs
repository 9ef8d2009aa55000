//! Numbers of exposition formats.

use std::borrow::Cow;

/// A value: decimal with an optional exponent, infinity or NaN, as both formats have them. No hexadecimal, no
/// underscores.
pub(super) fn value(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// A moment in seconds → Unix milliseconds, rounded, and held within what 64 bits can say; `None` when it is not
/// finite.
pub(super) fn to_millis(seconds: f64) -> Option<i64> {
    seconds.is_finite().then(|| (seconds * 1000.0).round() as i64)
}

/// The value of an `le` or `quantile` label as Prometheus 3 stores it: a float with a point or an exponent, as
/// Go's `FormatFloat(value, 'g', -1, 64)` writes it (an exponent below 1e-4 and from 1e6 on), with `.0` after whole numbers. What is no number stays.
pub(super) fn canonical(text: Cow<'_, str>) -> Cow<'_, str> {
    let Some(value) = value(&text) else { return text };
    let written = write(value);
    if *written == *text { text } else { Cow::Owned(written) }
}

fn write(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    if value == 0.0 {
        return "0.0".into();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{value}");
    if plain.contains('.') { plain } else { plain + ".0" }
}
