//! When nothing new goes out: freezes by the clocks of a place, without a clock of our own.

use hmsops_model::UnixMillis;
use hmsops_model::freeze::{Freeze, FreezeSpan, WeekTime};
use jiff::civil::{Date, Time};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp};

/// Freezes that touch each other are one; more than so many in a row are told up to there, and then anew.
const CHAIN_MAX: usize = 16;

/// Weeks before and after this one in which a weekly freeze is looked for.
const WEEKS: std::ops::RangeInclusive<i64> = -2..=5;

/// A freeze that is or will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// Its first moment.
    pub from: UnixMillis,
    /// The first moment after it.
    pub until: UnixMillis,
    /// Why, when that was said.
    pub because: Option<String>,
}

/// The freeze in force at a moment, if one is; freezes that touch or overlap are told as one.
pub fn at<'a>(freezes: &(impl Iterator<Item = &'a Freeze> + Clone), now: UnixMillis) -> Option<Frozen> {
    let holds = |freeze: &Freeze, at: UnixMillis| {
        around(freeze, at).into_iter().find(|(from, until)| *from <= at && at < *until)
    };
    let mut found: Option<Frozen> = None;
    for _ in 0..CHAIN_MAX {
        let at = found.as_ref().map_or(now, |frozen| frozen.until);
        let longest = freezes.clone().filter_map(|freeze| Some((freeze, holds(freeze, at)?)));
        let Some((freeze, (from, until))) = longest.max_by_key(|(_, (_, until))| *until) else { break };
        found = Some(match found {
            Some(before) => Frozen { until, ..before },
            None => Frozen { from, until, because: freeze.why.clone() },
        });
    }
    found
}

/// The first freeze that begins after a moment and before another, at most five weeks ahead.
pub fn next<'a>(
    freezes: impl Iterator<Item = &'a Freeze>,
    after: UnixMillis,
    before: UnixMillis,
) -> Option<Frozen> {
    let begins = freezes.flat_map(|freeze| {
        around(freeze, after).into_iter().map(move |(from, until)| Frozen {
            from,
            until,
            because: freeze.why.clone(),
        })
    });
    begins.filter(|frozen| after < frozen.from && frozen.from < before).min_by_key(|frozen| frozen.from)
}

/// For people: `until Mon 12 January 13:00 UTC (year end)`.
pub fn words(until: UnixMillis, because: Option<&str>) -> String {
    let because = because.map(|why| format!(" ({why})")).unwrap_or_default();
    match Timestamp::from_millisecond(until.0) {
        Ok(at) => format!("until {} UTC{because}", at.strftime("%a %-d %B %H:%M")),
        Err(_) => format!("without an end{because}"),
    }
}

/// Whether a place is in the time zone database that is compiled in.
pub fn is_zone(name: &str) -> bool {
    zone(name).is_some()
}

fn zone(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}

/// A freeze's times near a moment. A zone that is unknown (a newer one's name, in an older program) counts as
/// frozen at all times: what is not known does not let a release go on.
fn around(freeze: &Freeze, at: UnixMillis) -> Vec<(UnixMillis, UnixMillis)> {
    match &freeze.when {
        FreezeSpan::Once { from, to } => vec![(*from, *to)],
        FreezeSpan::Weekly { from, to, zone: name } => {
            let weekly = zone(name).and_then(|zone| weekly(&zone, *from, *to, at));
            weekly.unwrap_or_else(|| vec![(UnixMillis(i64::MIN), UnixMillis(i64::MAX))])
        }
    }
}

fn weekly(
    zone: &TimeZone,
    from: WeekTime,
    to: WeekTime,
    at: UnixMillis,
) -> Option<Vec<(UnixMillis, UnixMillis)>> {
    let today = zone.to_datetime(Timestamp::from_millisecond(at.0).ok()?).date();
    let monday = today.checked_sub(Span::new().days(today.weekday().to_monday_zero_offset())).ok()?;
    let times = WEEKS.map(|week| {
        let start = monday.checked_add(Span::new().days(week * 7)).ok()?;
        let end = if to <= from { start.checked_add(Span::new().days(7)).ok()? } else { start };
        Some((moment(zone, start, from, Edge::Start)?, moment(zone, end, to, Edge::End)?))
    });
    times.collect()
}

#[derive(Clone, Copy)]
enum Edge {
    Start,
    End,
}

/// The moment at which the clocks of a place show a time of a week. When they show it twice or skip it, a freeze begins
/// with the earlier and ends with the later of the two moments that could be meant: it is never shorter than written.
fn moment(zone: &TimeZone, monday: Date, at: WeekTime, edge: Edge) -> Option<UnixMillis> {
    let (hour, minute) = at.clock();
    let date = monday.checked_add(Span::new().days(i64::from(at.day()))).ok()?;
    let shown = date.to_datetime(Time::new(hour as i8, minute as i8, 0, 0).ok()?);
    let meant = zone.to_ambiguous_timestamp(shown);
    let moment = match edge {
        Edge::Start => meant.earlier(),
        Edge::End => meant.later(),
    };
    Some(UnixMillis(moment.ok()?.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_utc(text: &str) -> UnixMillis {
        UnixMillis(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    fn weekly(from: (u8, u8, u8), to: (u8, u8, u8), zone: &str) -> Vec<Freeze> {
        let time = |(day, hour, minute)| WeekTime::new(day, hour, minute).unwrap();
        let when = FreezeSpan::Weekly { from: time(from), to: time(to), zone: zone.into() };
        vec![Freeze { when, why: Some("weekend".into()) }]
    }

    fn edges(freezes: &[Freeze], now: &str) -> Option<(String, String)> {
        let text = |at: UnixMillis| Timestamp::from_millisecond(at.0).unwrap().to_string();
        at(&freezes.iter(), at_utc(now)).map(|frozen| (text(frozen.from), text(frozen.until)))
    }

    #[test]
    fn a_weekend_lasts_from_friday_to_monday_by_the_clocks_of_its_place() {
        let weekend = weekly((4, 16, 0), (0, 8, 0), "America/New_York");
        let of = |from: &str, until: &str| Some((from.to_owned(), until.to_owned()));
        // Winter: five hours behind.
        assert_eq!(edges(&weekend, "2026-01-09T20:59:59Z"), None);
        let winter = of("2026-01-09T21:00:00Z", "2026-01-12T13:00:00Z");
        for now in ["2026-01-09T21:00:00Z", "2026-01-11T23:00:00Z", "2026-01-12T12:59:59Z"] {
            assert_eq!(edges(&weekend, now), winter, "{now}");
        }
        assert_eq!(edges(&weekend, "2026-01-12T13:00:00Z"), None);
        // Clocks go forward on 8 March and back on 1 November 2026.
        assert_eq!(
            edges(&weekend, "2026-03-07T12:00:00Z"),
            of("2026-03-06T21:00:00Z", "2026-03-09T12:00:00Z")
        );
        assert_eq!(
            edges(&weekend, "2026-11-01T12:00:00Z"),
            of("2026-10-30T20:00:00Z", "2026-11-02T13:00:00Z")
        );
    }

    /// 02:30 on 8 March 2026 is skipped in New York; 01:30 on 1 November comes twice.
    #[test]
    fn a_freeze_is_never_shorter_than_written_when_clocks_change() {
        let of = |from: &str, until: &str| Some((from.to_owned(), until.to_owned()));
        let skipped = weekly((6, 2, 30), (6, 4, 0), "America/New_York");
        assert_eq!(
            edges(&skipped, "2026-03-08T07:30:00Z"),
            of("2026-03-08T06:30:00Z", "2026-03-08T08:00:00Z")
        );
        let ends_in_it = weekly((6, 1, 0), (6, 2, 30), "America/New_York");
        assert_eq!(
            edges(&ends_in_it, "2026-03-08T07:00:00Z"),
            of("2026-03-08T06:00:00Z", "2026-03-08T07:30:00Z")
        );
        let twice = weekly((6, 1, 30), (6, 3, 0), "America/New_York");
        assert_eq!(edges(&twice, "2026-11-01T05:30:00Z"), of("2026-11-01T05:30:00Z", "2026-11-01T08:00:00Z"));
        let until_twice = weekly((6, 0, 30), (6, 1, 30), "America/New_York");
        assert_eq!(
            edges(&until_twice, "2026-11-01T05:59:00Z"),
            of("2026-11-01T04:30:00Z", "2026-11-01T06:30:00Z")
        );
    }

    #[test]
    fn freezes_that_touch_are_told_as_one() {
        let once = |from: &str, to: &str| Freeze {
            when: FreezeSpan::Once { from: at_utc(from), to: at_utc(to) },
            why: None,
        };
        let freezes = [
            once("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
            once("2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"),
            once("2026-01-02T12:00:00Z", "2026-01-04T00:00:00Z"),
        ];
        let frozen = edges(&freezes, "2026-01-01T06:00:00Z").unwrap();
        assert_eq!(frozen, ("2026-01-01T00:00:00Z".to_owned(), "2026-01-04T00:00:00Z".to_owned()));
        // All days of the week: without an end, and without an endless loop.
        let always = [weekly((0, 0, 0), (3, 0, 0), "UTC"), weekly((3, 0, 0), (0, 0, 0), "UTC")].concat();
        assert!(edges(&always, "2026-01-01T06:00:00Z").is_some());
    }

    #[test]
    fn the_next_freeze_is_found_and_an_unknown_place_is_frozen() {
        let weekend = weekly((4, 16, 0), (0, 8, 0), "Europe/Berlin");
        let found = next(weekend.iter(), at_utc("2026-07-09T12:00:00Z"), at_utc("2026-07-11T12:00:00Z"));
        assert_eq!(found.map(|frozen| frozen.from), Some(at_utc("2026-07-10T14:00:00Z")));
        assert_eq!(
            next(weekend.iter(), at_utc("2026-07-09T12:00:00Z"), at_utc("2026-07-10T14:00:00Z")),
            None
        );
        assert!(!is_zone("Mars/Olympus_Mons") && is_zone("America/New_York") && is_zone("UTC"));
        assert!(edges(&weekly((0, 0, 0), (1, 0, 0), "UTC"), "2026-07-09T12:00:00Z").is_none());
        let lost = weekly((0, 0, 0), (1, 0, 0), "Mars/Olympus_Mons");
        assert!(at(&lost.iter(), at_utc("2026-07-09T12:00:00Z")).is_some());
    }
}
