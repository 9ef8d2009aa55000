//! `freeze:` of hmsops.yaml and services.yaml, and `rollback_window:` → when nothing new goes out, and which versions
//! go back without a canary.

use hmsops_model::freeze::{DAYS, Freeze, FreezeSpan, RollbackWindow, WeekTime};
use hmsops_model::{Millis, UnixMillis};
use jiff::Timestamp;
use jiff::tz::TimeZoneDatabase;

use crate::diagnostic::{Findings, shown};
use crate::fields::{Fields, Key, Shape};
use crate::nearest::nearest;
use crate::scalar;
use crate::settings::line;
use crate::tower::days;
use crate::yaml::{Entry, Node};

pub(crate) static FREEZE: Shape = Shape {
    what: "a freeze",
    keys: &[
        Key::optional("from", "from: 2026-12-20T00:00:00Z"),
        Key::optional("to", "to: 2027-01-04T08:00:00-05:00"),
        Key::optional("weekly", "weekly: Fri 16:00 – Mon 08:00"),
        Key::optional("time_zone", "time_zone: America/New_York"),
        Key::optional("why", "why: year end"),
    ],
};

pub(crate) static ROLLBACK_WINDOW: Shape = Shape {
    what: "a rollback window",
    keys: &[Key::optional("versions", "versions: 3"), Key::optional("age", "age: 7d")],
};

/// Freezes of one file's object: each is looked at whenever a release could go on.
const FREEZES_MAX: usize = 100;

/// Versions that are remembered as proven.
const VERSIONS_MAX: u64 = 20;

/// The example that hints show.
const EXAMPLE: &str = "freeze: [{weekly: Fri 16:00 – Mon 08:00, time_zone: America/New_York}]";

/// Reads a list of freezes.
pub(crate) fn freezes(entry: &Entry, out: &mut Findings) -> Option<Vec<Freeze>> {
    let nodes = scalar::list(entry, EXAMPLE, out)?;
    if nodes.len() > FREEZES_MAX {
        let message = format!("{} freezes are more than {FREEZES_MAX}", nodes.len());
        out.error(entry.at, message, "leave out those that are over");
        return None;
    }
    scalar::each(nodes, |node| freeze(node, out))
}

fn freeze(node: &Node, out: &mut Findings) -> Option<Freeze> {
    let fields = Fields::open(node, node.at, &FREEZE, out)?;
    let why = match fields.get("why") {
        Some(entry) => Some(line(entry, out)?),
        None => None,
    };
    let when = match (fields.get("weekly"), fields.get("from"), fields.get("to")) {
        (Some(weekly), None, None) => every_week(weekly, &fields, out)?,
        (None, Some(from), Some(to)) => once(from, to, &fields, out)?,
        (Some(_), Some(other), _) | (Some(_), None, Some(other)) => {
            let message = format!("`{}` does not go with `weekly`", other.key);
            out.error(other.at, message, "a freeze is once, `from` and `to`, or `weekly`");
            return None;
        }
        _ if fields.disturbed => return None,
        (None, None, None) => {
            out.error(node.at, "a freeze does not say when it is", "add `weekly:`, or `from:` and `to:`");
            return None;
        }
        (None, one, other) => {
            let (given, missing) = one.map_or((other, "from"), |from| (Some(from), "to"));
            let at = given.map_or(node.at, |entry| entry.at);
            out.error(at, format!("`{missing}` is missing"), "a freeze that is once has `from` and `to`");
            return None;
        }
    };
    Some(Freeze { when, why })
}

fn once(from: &Entry, to: &Entry, fields: &Fields<'_>, out: &mut Findings) -> Option<FreezeSpan> {
    if let Some(zone) = fields.get("time_zone") {
        let hint = "`from` and `to` name their own: `2026-12-20T00:00:00-05:00`";
        out.error(zone.at, "`time_zone` goes with `weekly`", hint);
        return None;
    }
    let (begin, end) = (moment(from, out), moment(to, out));
    let (from, end) = (begin?, end?);
    if end <= from {
        out.error(to.value.at, "the freeze ends before it begins", "`to` is later than `from`");
        return None;
    }
    Some(FreezeSpan::Once { from, to: end })
}

fn moment(entry: &Entry, out: &mut Findings) -> Option<UnixMillis> {
    let example = format!("{}: 2026-12-20T00:00:00Z", entry.key);
    let written = scalar::text(&entry.value, &format!("`{}`", entry.key), &example, out)?;
    let Ok(at) = written.parse::<Timestamp>() else {
        let message = format!("`{}` is no moment", shown(written));
        out.error(entry.value.at, message, "write it like `2026-12-20T00:00:00Z` or with `-05:00`");
        return None;
    };
    Some(UnixMillis(at.as_millisecond()))
}

fn every_week(entry: &Entry, fields: &Fields<'_>, out: &mut Findings) -> Option<FreezeSpan> {
    let zone = match fields.get("time_zone") {
        Some(entry) => zone(entry, out),
        None => Some("UTC".to_owned()),
    };
    let written = scalar::text(&entry.value, "`weekly`", "weekly: Fri 16:00 – Mon 08:00", out)?;
    let Some((from, to)) = split(written) else {
        let message = format!("`{}` is no time of the week", shown(written));
        out.error(entry.value.at, message, "write `Fri 16:00 – Mon 08:00`");
        return None;
    };
    let mut read = |part: &str| {
        let wrong = week_time(part).err()?;
        out.error(
            entry.value.at,
            wrong,
            "write `Fri 16:00 – Mon 08:00`: a day, and hours from 00:00 to 23:59",
        );
        Some(())
    };
    if read(from).is_some() || read(to).is_some() {
        return None;
    }
    let (from, to) = (week_time(from).ok()?, week_time(to).ok()?);
    if from == to {
        let hint = "for all the time, use `from:` and `to:`; to stop releases, take the file out";
        out.error(entry.value.at, "the freeze ends when it begins", hint);
        return None;
    }
    Some(FreezeSpan::Weekly { from, to, zone: zone? })
}

/// The two sides of `–`, `-` or `to`.
fn split(written: &str) -> Option<(&str, &str)> {
    let parts = ["–", "—", " to ", "-"].iter().find_map(|mark| written.split_once(mark))?;
    Some((parts.0.trim(), parts.1.trim()))
}

/// `Fri 16:00` or `Friday 16:00`.
fn week_time(written: &str) -> Result<WeekTime, String> {
    let wrong = || format!("`{}` is no time of the week", shown(written));
    let (day, clock) = written.split_once(char::is_whitespace).ok_or_else(wrong)?;
    let long = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let lower = day.to_lowercase();
    let known = |index: &usize| lower == long[*index] || lower == DAYS[*index].to_lowercase();
    let Some(day) = (0..DAYS.len()).find(known) else {
        return Err(format!("`{}` is no day of the week", shown(day)));
    };
    let two = |text: &str| {
        let digits = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u8>().ok()).flatten()
    };
    let (hour, minute) = clock.trim().split_once(':').ok_or_else(wrong)?;
    let minute = Some(minute).filter(|text| text.len() == 2).and_then(two);
    let (hour, minute) = two(hour).zip(minute).ok_or_else(wrong)?;
    WeekTime::new(day as u8, hour, minute).ok_or_else(wrong)
}

fn zone(entry: &Entry, out: &mut Findings) -> Option<String> {
    let written = scalar::text(&entry.value, "`time_zone`", "time_zone: America/New_York", out)?;
    let known = TimeZoneDatabase::bundled();
    if known.get(written).is_ok() {
        return Some(written.to_owned());
    }
    let names: Vec<String> = known.available().map(|name| name.to_string()).collect();
    let hint = match nearest(written, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "use a name of the IANA database, `Europe/Berlin`, or `UTC`".to_owned(),
    };
    out.error(entry.value.at, format!("`{}` is no time zone", shown(written)), hint);
    None
}

/// Which versions go back without a canary; `versions: 0` none.
pub(crate) fn rollback_window(entry: &Entry, out: &mut Findings) -> Option<RollbackWindow> {
    let fields = Fields::open(&entry.value, entry.at, &ROLLBACK_WINDOW, out)?;
    let mut window = RollbackWindow::default();
    if let Some(entry) = fields.get("versions") {
        window.versions = scalar::count(entry, 0, VERSIONS_MAX, out)? as u32;
    }
    if let Some(entry) = fields.get("age") {
        window.age = scalar::span(entry, Millis::from_mins(1), days(365), out)?;
    }
    Some(window)
}

/// `400 req/s`, in thousandths.
pub(crate) fn capacity(entry: &Entry, out: &mut Findings) -> Option<u64> {
    let written = scalar::text(&entry.value, "`capacity`", "capacity: 400 req/s", out)?;
    let number = written.strip_suffix("req/s").map(str::trim);
    let value = number.and_then(|number| number.parse::<f64>().ok());
    let Some(value) = value.filter(|value| (0.001..=1e9).contains(value)) else {
        let message = format!("`{}` is no rate of requests", shown(written));
        out.error(entry.value.at, message, "write `capacity: 400 req/s`: what one address can take");
        return None;
    };
    Some((value * 1000.0).round() as u64)
}
