//! The count that each request owes: made when it is sent to an arm, settled once when its outcome is known.

use std::sync::Arc;
use std::time::Duration;

use hmsops_model::{BadKind, Now, Unit};
use tokio::time::Instant;

use super::Plane;
use super::table::Served;
use crate::outcome::{Outcome, Routed};
use crate::split::Side;

/// One request's count at one arm. Dropped unsettled when the client went before there was an answer.
pub(super) struct Receipt {
    plane: Arc<Plane>,
    served: Arc<Served>,
    routed: Routed,
    side: Side,
    client: Option<u64>,
    started: Instant,
    latency_us: Option<u64>,
}

impl Receipt {
    pub(super) fn new(plane: &Arc<Plane>, served: &Arc<Served>, drawn: Drawn) -> Self {
        let Drawn { side, routed, client } = drawn;
        let (plane, served) = (Arc::clone(plane), Arc::clone(served));
        Self { plane, served, routed, side, client, started: Instant::now(), latency_us: None }
    }

    /// The answer's head came.
    pub(super) fn head_came(&mut self) {
        self.latency_us = Some(self.started.elapsed().as_micros() as u64);
    }

    /// A bad answer, which a good one of another upstream's replaced, or which a user saw.
    pub(super) fn settle_bad(self, bad: BadKind, is_shielded: bool) {
        self.settle(Some(bad), is_shielded);
    }

    /// Until the answer's head, or until now.
    pub(super) fn latency(&self) -> Duration {
        self.latency_us.map_or_else(|| self.started.elapsed(), Duration::from_micros)
    }

    /// A good answer that came later than the other arm would have been waited for.
    pub(super) fn settle_slow(self) {
        let at: Now = self.plane.clock.now();
        self.count(at, Some(BadKind::Timeout), false, false);
    }

    /// A good head, and how its body ended. A pause is judged by the service's rules like any time-out.
    pub(super) fn settle_body(self, bad: Option<BadKind>) {
        let bad = bad.filter(|kind| *kind != BadKind::Timeout || self.served.times_out());
        self.settle(bad, false);
    }

    /// An outcome that is not bad.
    pub(super) fn settle_good(self) {
        self.settle(None, false);
    }

    fn settle(self, bad: Option<BadKind>, is_shielded: bool) {
        let at: Now = self.plane.clock.now();
        let shielded = bad.is_some() && is_shielded;
        self.count(at, bad, shielded, bad.is_some() && !is_shielded);
    }

    fn count(&self, at: Now, bad: Option<BadKind>, shielded: bool, seen: bool) {
        let (routed, side, client, latency_us) = (self.routed, self.side, self.client, self.latency_us);
        let outcome = Outcome { at, routed, side, client, latency_us, bad, shielded, seen };
        let mut book = self.served.service.book();
        book.budget.saw(at.steady);
        book.fold.count(&outcome);
    }
}

/// Which arm a request goes to, and what it was drawn under.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drawn {
    pub(super) side: Side,
    pub(super) routed: Routed,
    pub(super) client: Option<u64>,
}

/// Units as a number, so that requests read them without a lock.
pub(super) const fn unit_code(unit: Unit) -> u8 {
    match unit {
        Unit::Request => 0,
        Unit::Client => 1,
    }
}
