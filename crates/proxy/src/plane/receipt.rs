//! The count that each request owes: made when it is sent to an arm, settled once when its outcome is known.

use std::sync::Arc;
use std::time::Duration;

use hmsops_model::{BadKind, Millis, Now, Unit};
use tokio::time::Instant;

use super::Plane;
use super::table::Served;
use super::upload::Progress;
use crate::outcome::{Outcome, Routed};
use crate::split::Side;

/// One request's count at one arm. Dropped unsettled when the client went before there was an
/// answer.
pub(super) struct Receipt {
    plane: Arc<Plane>,
    served: Arc<Served>,
    routed: Routed,
    side: Side,
    client: Option<u64>,
    pub(super) started: Instant,
    latency_us: Option<u64>,
    /// The request's body: while it comes the arm's time has not begun.
    upload: Progress,
    is_settled: bool,
}

impl Receipt {
    pub(super) fn new(plane: &Arc<Plane>, served: &Arc<Served>, drawn: Drawn, upload: &Progress) -> Self {
        let Drawn { side, routed, client } = drawn;
        let (plane, served, upload) = (Arc::clone(plane), Arc::clone(served), upload.clone());
        let started = Instant::now();
        Self { plane, served, routed, side, client, started, latency_us: None, upload, is_settled: false }
    }

    /// Nothing that the arm did: it is not counted.
    pub(super) fn forgive(mut self) {
        self.is_settled = true;
    }

    /// The answer's head came.
    pub(super) fn head_came(&mut self) {
        self.latency_us = Some(self.started.elapsed().as_micros() as u64);
    }

    /// A bad answer, which a good one of another upstream's replaced, or which a user saw.
    pub(super) fn settle_bad(self, bad: BadKind, is_shielded: bool) {
        self.settle(Some(bad), is_shielded);
    }

    /// An answer that has not come when the other arm would not be waited for any longer.
    pub(super) fn settle_slow(mut self) {
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

    fn settle(mut self, bad: Option<BadKind>, is_shielded: bool) {
        let at: Now = self.plane.clock.now();
        let shielded = bad.is_some() && is_shielded;
        self.count(at, bad, shielded, bad.is_some() && !is_shielded);
    }

    fn count(&mut self, at: Now, bad: Option<BadKind>, shielded: bool, seen: bool) {
        self.is_settled = true;
        let (routed, side, client, latency_us) = (self.routed, self.side, self.client, self.latency_us);
        let came = at.steady.since(Millis(self.started.elapsed().as_millis() as u64));
        let outcome = Outcome { at, came, routed, side, client, latency_us, bad, shielded, seen };
        let mut book = self.served.service.book();
        book.budget.saw(at.steady);
        book.retries.saw(at.steady);
        book.fold.count(&outcome);
    }
}

impl Drop for Receipt {
    /// The client went before there was an answer. That alone is nobody's failure; but an arm that had kept it waiting
    /// for longer than a canary is waited for, is why it went. The measure is the same for both arms.
    fn drop(&mut self) {
        if self.is_settled || self.latency_us.is_some() || !self.served.times_out() {
            return;
        }
        let Some(waited) = self.upload.arms_turn().map(|turn| turn.min(self.started.elapsed())) else {
            return;
        };
        if waited > Duration::from_millis(self.served.shield_after().0) {
            let at = self.plane.clock.now();
            self.count(at, Some(BadKind::Timeout), false, true);
        }
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
