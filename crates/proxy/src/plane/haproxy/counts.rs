//! HAProxy's counters as ticks. A request is the unit: HAProxy draws an arm for each and knows no clients. It counts
//! when the answer comes, so a request that began under an earlier share is counted under the larger of the two,
//! which can only weaken evidence. Its latencies are averages, of which no quantile can be made: none are told.

use std::collections::BTreeMap;

use hmsops_model::limits::TICK_INTERVAL;
use hmsops_model::route::Route;
use hmsops_model::{ArmTick, BadKind, Millis, Now, ReleaseId, Tick, Unit, UnixMillis, Weight};

use super::answer::{Counters, Reading, Server};
use crate::outcome::EMPTY_TICK_INTERVAL;

/// A request that began before a share changed is taken to have ended after so long. A longer one counts under the
/// new share.
const LATE: Millis = Millis::from_secs(10);

/// Makes ticks of readings.
#[derive(Debug)]
pub(super) struct Counts {
    last: Option<Reading>,
    at: Millis,
    told_at: Millis,
    /// The release that was seen last with a share, and until when its bad answers are excused.
    excused: Option<(ReleaseId, Millis)>,
    /// The largest share of a release of late, and until when it is taken for the one in force.
    widest: Option<(ReleaseId, Weight, Millis)>,
}

impl Counts {
    pub(super) fn new(now: Millis) -> Self {
        Self { last: None, at: now, told_at: now, excused: None, widest: None }
    }

    /// What was counted since the reading before, under the route in force since then. `None`: nothing, and it need
    /// not be said again that the gateway lives. A process that is new, or whose counters went back, is counted
    /// from here on.
    pub(super) fn tick(&mut self, now: Now, reading: &Reading, route: &Route) -> Option<Tick> {
        let last = self.last.replace(reading.clone());
        let span = now.steady.since(self.at);
        self.at = now.steady;
        let last = last.filter(|last| last.pid == reading.pid)?;
        let canary = route.canary.as_ref();
        let release = canary.map(|canary| canary.release);
        let out = canary.filter(|canary| canary.weight > Weight::NONE);
        if let Some(out) = out.filter(|out| self.excused.is_none_or(|(of, _)| of != out.release)) {
            self.excused = Some((out.release, now.steady + out.excused_for));
        }
        let is_excused = self.excused.is_some_and(|(of, until)| Some(of) == release && now.steady < until);
        let weight = out.map_or(Weight::NONE, |out| {
            let share = out.weight.max(last.share()).max(reading.share());
            self.widest(now.steady, out.release, share)
        });
        let begun = UnixMillis(now.wall.0.saturating_sub_unsigned(span.0));
        let arm = |last: &Server, read: &Server| {
            since(&last.counters, &read.counters).map(|counters| arm(&counters, begun, now.wall, is_excused))
        };
        let (stable, canary) = (arm(&last.stable, &reading.stable)?, arm(&last.canary, &reading.canary)?);
        let is_silent = now.steady.since(self.told_at) >= EMPTY_TICK_INTERVAL;
        if stable.requests + canary.requests == 0 && out.is_none() && !is_silent {
            return None;
        }
        self.told_at = now.steady;
        Some(Tick {
            service: route.service.clone(),
            release,
            epoch: route.epoch,
            seq: 0,
            gateway_run: 0,
            at: now.wall,
            span: span.max(TICK_INTERVAL),
            weight,
            unit: Unit::Request,
            canary_waiting: reading.canary.open,
            stable,
            canary,
        })
    }

    /// The largest share in force since requests began that may have ended by now.
    fn widest(&mut self, now: Millis, release: ReleaseId, share: Weight) -> Weight {
        let held = self.widest.filter(|(of, held, until)| *of == release && *held > share && now < *until);
        let (_, widest, _) = *self.widest.insert(held.unwrap_or((release, share, now + LATE)));
        widest
    }
}

/// The difference; `None` when a counter went back.
fn since(last: &Counters, read: &Counters) -> Option<Counters> {
    Some(Counters {
        answered: read.answered.checked_sub(last.answered)?,
        status: read.status.checked_sub(last.status)?,
        broken: read.broken.checked_sub(last.broken)?,
        refused: read.refused.checked_sub(last.refused)?,
        passed_on: read.passed_on.checked_sub(last.passed_on)?,
    })
}

fn arm(counters: &Counters, begun: UnixMillis, ended: UnixMillis, is_excused: bool) -> ArmTick {
    let kinds = [
        (BadKind::Status, counters.status),
        (BadKind::Broken, counters.broken),
        (BadKind::Refused, counters.refused + counters.passed_on),
    ];
    let bad: BTreeMap<BadKind, u64> = kinds.into_iter().filter(|(_, n)| *n > 0).collect();
    let n_bad: u64 = bad.values().sum();
    let requests = counters.answered + counters.broken + counters.refused + counters.passed_on;
    let evidence = if is_excused { 0 } else { n_bad };
    ArmTick {
        requests,
        clients: requests,
        new_bad: evidence,
        errors: evidence,
        shielded: counters.passed_on,
        seen: n_bad - counters.passed_on,
        // Somewhere between two readings: from the earliest moment to the latest.
        first_bad_at: (n_bad > 0).then_some(begun),
        last_bad_at: (n_bad > 0).then_some(ended),
        bad,
        ..ArmTick::default()
    }
}
