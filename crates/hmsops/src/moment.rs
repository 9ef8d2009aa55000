//! Moments and spans as people write them on a command line.

use std::fmt;
use std::str::FromStr;

use hmsops_model::Millis;
use jiff::{SignedDuration, Timestamp};

/// A moment: RFC 3339, `now`, or relative to now: `-1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// That one.
    At(Timestamp),
    /// So long ago.
    Ago(Millis),
}

/// What a text is not.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoMoment(String);

impl fmt::Display for NoMoment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoMoment {}

impl FromStr for Moment {
    type Err = NoMoment;
    fn from_str(text: &str) -> Result<Self, NoMoment> {
        if text == "now" {
            return Ok(Self::Ago(Millis::ZERO));
        }
        if let Some(ago) = text.strip_prefix('-') {
            return span(ago).map(Self::Ago).map_err(NoMoment);
        }
        text.parse().map(Self::At).map_err(|_| {
            NoMoment("expected a moment: 2026-11-22T14:00:00Z, or relative to now: -1h".to_owned())
        })
    }
}

impl Moment {
    /// In Unix milliseconds.
    pub(crate) fn unix_ms(self, now: Timestamp) -> i64 {
        match self {
            Self::At(at) => at.as_millisecond(),
            Self::Ago(span) => {
                let span = SignedDuration::from_millis(i64::try_from(span.0).unwrap_or(i64::MAX));
                now.saturating_sub(span).map_or(0, Timestamp::as_millisecond)
            }
        }
    }
}

/// A span: `30s`, `5m`, `2h`, `1d12h`, `5 min`. For arguments.
pub(crate) fn span(text: &str) -> Result<Millis, String> {
    hmsops_config::parse_duration(text).map_err(|wrong| format!("{}; {}", wrong.message, wrong.hint))
}

/// A span of at least a millisecond.
pub(crate) fn some_span(text: &str) -> Result<Millis, String> {
    span(text).and_then(|span| if span.0 > 0 { Ok(span) } else { Err("it is nothing at all".to_owned()) })
}

/// A span of whole seconds.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let span = span(text)?;
    if span.0.is_multiple_of(1000) { Ok(span.0 / 1000) } else { Err("it is finer than a second".to_owned()) }
}

/// Unix milliseconds as the query API takes and writes moments: seconds with decimals.
pub(crate) fn unix_seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    format!("{sign}{}.{:03}", ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000)
}

/// `2026-11-22 14:02:07` of Unix seconds.
pub(crate) fn date(seconds: f64) -> String {
    let ms = (seconds * 1000.0).round() as i64;
    Timestamp::from_millisecond(ms).map_or_else(
        |_| seconds.to_string(),
        |at| {
            let text = format!("{at:.3}");
            match text.strip_suffix(".000Z").or_else(|| text.strip_suffix('Z')) {
                Some(text) => text.replacen('T', " ", 1),
                None => text,
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_absolute_or_relative() {
        let now: Timestamp = "2026-11-22T14:00:00Z".parse().unwrap();
        for (text, ms) in [
            ("2026-11-22T13:00:00Z", now.as_millisecond() - 3_600_000),
            ("2026-11-22T14:00:00.250+01:00", now.as_millisecond() - 3_600_000 + 250),
            ("-1h", now.as_millisecond() - 3_600_000),
            ("-1d12h", now.as_millisecond() - 36 * 3_600_000),
            ("-5 min", now.as_millisecond() - 300_000),
            ("now", now.as_millisecond()),
        ] {
            assert_eq!(text.parse::<Moment>().map(|moment| moment.unix_ms(now)), Ok(ms), "{text}");
        }
        for bad in ["", "1h", "-", "-1", "yesterday", "2026-11-22", "14:00"] {
            assert!(bad.parse::<Moment>().is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_read_in_every_form() {
        for (text, ms) in [("30s", 30_000), ("5m", 300_000), ("1d12h", 129_600_000), ("5 min", 300_000)] {
            assert_eq!(span(text), Ok(Millis(ms)), "{text}");
        }
        assert_eq!(seconds("2 min"), Ok(120));
        assert!(seconds("1500ms").is_err() && some_span("0").is_err() && span("soon").is_err());
    }

    #[test]
    fn moments_are_written_for_the_api_and_for_people() {
        assert_eq!(unix_seconds(1_795_356_000_250), "1795356000.250");
        assert_eq!(date(1_795_356_000.0), "2026-11-22 14:00:00");
        assert_eq!(date(1_795_356_000.25), "2026-11-22 14:00:00.250");
    }
}
