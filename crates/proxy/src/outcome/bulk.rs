//! Many good answers at once: what the simulator counts where nothing happens, so that ten thousand requests a
//! second cost no more than ten.

use super::{Fold, Routed};
use crate::split::Side;
use hmsops_model::{Millis, Now};

/// Good answers of one arm that took about as long, none of them slow.
#[derive(Debug, Clone, Copy)]
pub struct Bulk<'a> {
    /// When they were known.
    pub at: Now,
    /// What they were routed under.
    pub routed: Routed,
    /// The arm that was asked.
    pub side: Side,
    /// How many.
    pub requests: u64,
    /// Distinct clients among them.
    pub clients: u64,
    /// Some of those clients: enough of them to see whether there are many.
    pub some: &'a [u64],
    /// Microseconds until each answer's head came.
    pub latency_us: u64,
}

impl Fold {
    /// Counts many good answers as [`Fold::count`] would one by one; only a tick's `clients` may then count one twice
    /// that is in two bulks.
    pub fn count_many(&mut self, bulk: &Bulk<'_>) {
        for client in bulk.some {
            self.seen.insert(*client, bulk.at.steady);
        }
        let came = bulk.at.steady.since(Millis(bulk.latency_us / 1000));
        if bulk.side == Side::Canary && bulk.requests > 0 {
            self.note_canary(bulk.routed, came, true);
        }
        self.order.note(bulk.side, came, bulk.latency_us, bulk.requests);
        if bulk.side == Side::Stable {
            self.observe_stable(bulk.at.steady, bulk.latency_us, bulk.requests);
            self.slow.note(bulk.requests, 0);
        }
        let tick = &mut self.open_for(bulk.routed).side(bulk.side).tick;
        tick.requests += bulk.requests;
        tick.clients += bulk.clients;
        tick.latencies.observe_many(bulk.latency_us, bulk.requests);
    }
}
