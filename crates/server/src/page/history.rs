//! The last ninety days of a service, as its incidents tell them.

use hmsops_control::State;
use hmsops_control::headline::{Outlook, Sign};
use hmsops_control::incident::Incident;
use hmsops_control::state::service::Service;
use hmsops_model::{ServiceName, UnixMillis};

use super::Look;
use super::moment::{DAY_MS, day};

/// Days shown.
pub(super) const DAYS: i64 = 90;

/// What is known of one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Day {
    /// Before the service was first seen.
    Unknown,
    /// No incident.
    Good,
    /// Incidents, so many milliseconds of the day.
    Incident(i64),
}

/// What citizens are told of a service. In order of need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Public {
    /// Users get bad answers.
    Failing,
    /// Nothing is known, and since when.
    Unknown(Option<UnixMillis>),
    /// It works.
    Working,
}

impl Public {
    /// What is told of a service.
    pub(super) fn of(outlook: &Outlook<'_>, service: &Service) -> Self {
        let unknown = || outlook.service(service).sign == Sign::Unknown;
        if outlook.age <= hmsops_control::headline::STALE_AFTER && outlook.users_affected(service) {
            Self::Failing
        } else if unknown() {
            Self::Unknown(outlook.heard(service).map(|(_, wall)| wall))
        } else {
            Self::Working
        }
    }

    /// The mark that goes with it.
    pub(super) const fn sign(self) -> Sign {
        match self {
            Self::Failing => Sign::Failing,
            Self::Unknown(_) => Sign::Unknown,
            Self::Working => Sign::Fine,
        }
    }

    /// One word for programs and badges.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Failing => "degraded",
            Self::Unknown(_) => "unknown",
            Self::Working => "working",
        }
    }
}

/// Services that citizens are told of, by name, with what they are told.
pub(super) fn shown<'a>(look: &Look<'a>) -> Vec<(&'a Service, Public)> {
    let outlook = look.outlook();
    let declared = look.view.state.services.values().filter(|service| !service.retired);
    declared.map(|service| (service, Public::of(&outlook, service))).collect()
}

/// When a service was first seen, as far as state remembers.
pub(super) fn first_seen(state: &State, service: &Service) -> Option<UnixMillis> {
    let name = &service.spec.name;
    let proven = service.proven.iter().map(|proven| proven.since);
    let instances = service.instances.values().filter_map(|known| known.ready_at).map(|at| at.wall);
    let releases = state.releases.values().filter(|release| release.spec.service == *name);
    let incidents = state.incidents.values().filter(|incident| incident.service == *name);
    proven
        .chain(instances)
        .chain(releases.map(|release| release.requested_at.wall))
        .chain(incidents.map(|incident| incident.since))
        .min()
}

fn incidents<'a>(state: &'a State, name: &ServiceName) -> impl Iterator<Item = &'a Incident> {
    state.incidents.values().filter(move |incident| incident.service == *name)
}

/// Milliseconds of incidents between two moments.
fn affected(state: &State, name: &ServiceName, (from, to): (i64, i64), now: UnixMillis) -> i64 {
    let overlap = |incident: &Incident| {
        let until = incident.until.unwrap_or(now).0;
        (until.min(to) - incident.since.0.max(from)).max(0)
    };
    incidents(state, name).map(overlap).sum::<i64>().min((to - from).max(0))
}

/// The last ninety days, oldest first, today last. An incident shorter than can be measured still marks its day.
pub(super) fn days(state: &State, service: &Service, now: UnixMillis) -> Vec<Day> {
    let name = &service.spec.name;
    let first = first_seen(state, service).map(day);
    let today = day(now);
    let of = |number: i64| {
        if first.is_none_or(|first| number < first) {
            return Day::Unknown;
        }
        let begin = number * DAY_MS;
        let marked = incidents(state, name).any(|incident| {
            day(incident.since) <= number && incident.until.is_none_or(|until| day(until) >= number)
        });
        match affected(state, name, (begin, begin + DAY_MS), now) {
            0 if !marked => Day::Good,
            spent => Day::Incident(spent),
        }
    };
    (today - DAYS + 1..=today).map(of).collect()
}

/// The share of time without an incident since the service was first seen, at most ninety days back, in per cent,
/// and of how much time in milliseconds.
pub(super) fn availability(state: &State, service: &Service, now: UnixMillis) -> Option<(f64, i64)> {
    let from = first_seen(state, service)?.0.max(now.0 - DAYS * DAY_MS);
    let span = now.0 - from;
    (span > 0).then(|| {
        let lost = affected(state, &service.spec.name, (from, now.0), now);
        (100.0 * (span - lost) as f64 / span as f64, span)
    })
}

/// `99.97 %`, rounded down, so that `100 %` means no incident at all.
pub(super) fn per_cent(value: f64) -> String {
    if value >= 100.0 { "100 %".into() } else { format!("{:.2} %", (value * 100.0).floor() / 100.0) }
}

/// Incidents of the last ninety days, newest first.
pub(super) fn recent<'a>(look: &Look<'a>) -> Vec<&'a Incident> {
    let begin = look.now.0 - DAYS * DAY_MS;
    let in_time = |incident: &&Incident| incident.until.is_none_or(|until| until.0 >= begin);
    let mut found: Vec<&Incident> = look.view.state.incidents.values().filter(in_time).collect();
    found.sort_by_key(|incident| std::cmp::Reverse((incident.since, incident.id)));
    found
}
