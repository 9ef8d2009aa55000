//! Moments as pages write them: in UTC, with the zone beside them.

use hmsops_control::headline::clock;
use hmsops_model::UnixMillis;
use jiff::{Timestamp, tz::TimeZone};

use super::html::{Element, el};

/// Milliseconds of a day.
pub(super) const DAY_MS: i64 = 86_400_000;

/// The day's number, from 1970-01-01.
pub(super) fn day(at: UnixMillis) -> i64 {
    at.0.div_euclid(DAY_MS)
}

fn formatted(at: UnixMillis, format: &str) -> String {
    let moment = Timestamp::from_millisecond(at.0).unwrap_or_default();
    moment.to_zoned(TimeZone::UTC).strftime(format).to_string()
}

/// `Friday 20 November 2026`.
pub(super) fn long_day(at: UnixMillis) -> String {
    formatted(at, "%A %-d %B %Y")
}

/// `20 November`.
pub(super) fn short_day(at: UnixMillis) -> String {
    formatted(at, "%-d %B")
}

/// `2026-11-20T14:02:07Z`, whole seconds, as `datetime` attributes and feeds want it.
pub(super) fn rfc3339(at: UnixMillis) -> String {
    formatted(at, "%Y-%m-%dT%H:%M:%SZ")
}

/// `14:02:07.1`: tenths tell the order of steps within a second.
pub(super) fn tenths(at: UnixMillis) -> String {
    format!("{}.{}", clock(at), at.0.rem_euclid(1000) / 100)
}

/// `14:02:07 UTC`, with the day in front unless it is the day of `now`.
pub(super) fn when(at: UnixMillis, now: UnixMillis) -> String {
    if day(at) == day(now) {
        format!("{} UTC", clock(at))
    } else {
        format!("{}, {} UTC", short_day(at), clock(at))
    }
}

/// The same as a `time` element that carries the whole moment.
pub(super) fn time(at: UnixMillis, words: &str) -> Element {
    el("time")
        .attr("datetime", rfc3339(at))
        .attr("title", format!("{}, {} UTC", long_day(at), tenths(at)))
        .put(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_name_their_zone_and_their_day_when_it_is_another() {
        let at = UnixMillis(1_795_356_127_100);
        assert_eq!(when(at, UnixMillis(at.0 + 1000)), "14:02:07 UTC");
        assert_eq!(when(at, UnixMillis(at.0 + DAY_MS)), "22 November, 14:02:07 UTC");
        assert_eq!((tenths(at).as_str(), long_day(at).as_str()), ("14:02:07.1", "Sunday 22 November 2026"));
        assert_eq!(rfc3339(at), "2026-11-22T14:02:07Z");
        // A moment that no calendar has is no panic.
        assert_eq!(rfc3339(UnixMillis(i64::MAX)), "1970-01-01T00:00:00Z");
    }
}
