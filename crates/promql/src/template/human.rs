//! Numbers, spans and moments for people, as Go and Prometheus write them.

use std::fmt::Write as _;

/// The larger prefixes of `humanize`, by thousands.
const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];

/// The smaller ones.
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

/// Those of `humanize1024`.
const BINARY: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];

/// Go's `%g`: with so many significant digits, or with as many as it takes to read the same number back (`%v`).
pub(super) fn general(value: f64, digits: Option<usize>) -> String {
    if !value.is_finite() || value == 0.0 {
        return crate::number::format(value);
    }
    let precision = digits.map(|digits| digits.max(1));
    let text = match precision {
        Some(digits) => format!("{value:.*e}", digits - 1),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mantissa =
        if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    // Go's `strconv`: without a precision the shortest digits, and an exponent as if six had been asked for, unless
    // there are more.
    let limit = precision.map_or(6, |digits| digits as i32);
    if (-4..limit).contains(&exponent) {
        let places = mantissa.chars().filter(char::is_ascii_digit).count() as i32 - 1 - exponent;
        return format!("{value:.*}", places.max(0) as usize);
    }
    format!("{mantissa}{}", exponent_text(exponent))
}

/// `e+06`.
pub(super) fn exponent_text(exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("e{sign}{:02}", exponent.unsigned_abs())
}

fn four(value: f64) -> String {
    general(value, Some(4))
}

fn scaled_up(mut value: f64, prefixes: [&'static str; 8], by: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for next in prefixes {
        if value.abs() < by {
            break;
        }
        (value, prefix) = (value / by, next);
    }
    (value, prefix)
}

fn scaled_down(mut value: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for next in SMALL {
        if value.abs() >= 1.0 {
            break;
        }
        (value, prefix) = (value * 1000.0, next);
    }
    (value, prefix)
}

/// `humanize`: 1234567 is 1.235M.
pub(super) fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return four(value);
    }
    let (value, prefix) =
        if value.abs() >= 1.0 { scaled_up(value, LARGE, 1000.0) } else { scaled_down(value) };
    four(value) + prefix
}

/// `humanize1024`: 1048576 is 1Mi.
pub(super) fn humanize1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return four(value);
    }
    let (value, prefix) = scaled_up(value, BINARY, 1024.0);
    four(value) + prefix
}

/// `humanizePercentage`: 0.1234 is 12.34%.
pub(super) fn percentage(value: f64) -> String {
    four(value * 100.0) + "%"
}

/// `humanizeDuration`: 3661 is 1h 1m 1s.
pub(super) fn duration(value: f64) -> String {
    if !value.is_finite() {
        return four(value);
    }
    if value == 0.0 {
        return four(value) + "s";
    }
    if value.abs() < 1.0 {
        let (value, prefix) = scaled_down(value);
        return format!("{}{prefix}s", four(value));
    }
    let (sign, value) = if value < 0.0 { ("-", -value) } else { ("", value) };
    let whole = value as i64;
    let (seconds, minutes, hours, days) = (whole % 60, whole / 60 % 60, whole / 3600 % 24, whole / 86_400);
    if days != 0 {
        format!("{sign}{days}d {hours}h {minutes}m {seconds}s")
    } else if hours != 0 {
        format!("{sign}{hours}h {minutes}m {seconds}s")
    } else if minutes != 0 {
        format!("{sign}{minutes}m {seconds}s")
    } else {
        format!("{sign}{}s", four(value))
    }
}

/// A number of seconds since 1970 as nanoseconds; what cannot be a moment is an error.
pub(super) fn moment(value: f64) -> Result<i128, String> {
    let nanos = value * 1e9;
    if nanos.is_nan() || nanos.abs() > i64::MAX as f64 {
        let shown = general(value, None);
        return Err(format!(
            "{shown} cannot be represented as a nanoseconds timestamp since it overflows int64"
        ));
    }
    // Prometheus' moments are whole milliseconds.
    Ok(i128::from(nanos as i64 / 1_000_000) * 1_000_000)
}

/// `humanizeTimestamp`: 0 is `1970-01-01 00:00:00 +0000 UTC`.
pub(super) fn timestamp(value: f64) -> Result<String, String> {
    if value.is_finite() { moment(value).map(time) } else { Ok(four(value)) }
}

/// As Go prints a moment in UTC.
pub(super) fn time(nanos: i128) -> String {
    let (seconds, rest) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
    let (days, of_day) = (seconds.div_euclid(86_400) as i64, seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
    if rest != 0 {
        let _ = write!(text, ".{}", format!("{rest:09}").trim_end_matches('0'));
    }
    text + " +0000 UTC"
}

/// The date of a day counted from 1970-01-01 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms",
/// `civil_from_days`).
const fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// As Go prints a span: `1h2m3.5s`, `250ms`.
pub(super) fn span(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".into();
    }
    let sign = if nanos < 0 { "-" } else { "" };
    let size = nanos.unsigned_abs();
    let fraction = |unit: u64, name: &str| {
        let width = unit.ilog10() as usize;
        let rest = format!("{:0width$}", size % unit);
        let rest = rest.trim_end_matches('0');
        let dot = if rest.is_empty() || unit == 1 { "" } else { "." };
        format!("{sign}{}{dot}{}{name}", size / unit, if unit == 1 { "" } else { rest })
    };
    match size {
        0..1000 => fraction(1, "ns"),
        1000..1_000_000 => fraction(1000, "µs"),
        1_000_000..1_000_000_000 => fraction(1_000_000, "ms"),
        _ => {
            let seconds = size / 1_000_000_000;
            let rest = format!("{:09}", size % 1_000_000_000);
            let rest = rest.trim_end_matches('0');
            let dot = if rest.is_empty() { "" } else { "." };
            let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            let minutes = if hours > 0 || minutes > 0 { format!("{minutes}m") } else { String::new() };
            let hours = if hours > 0 { format!("{hours}h") } else { String::new() };
            format!("{sign}{hours}{minutes}{seconds}{dot}{rest}s")
        }
    }
}
