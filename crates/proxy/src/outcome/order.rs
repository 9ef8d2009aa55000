//! Bad answers in the order in which their requests came.
//!
//! The test of bad answers asks of each bad client which arm it is on, and is valid if the arms are told in an order
//! that does not depend on the arm. The order of answers does: while one arm stands still (a collection of garbage, a
//! checkpoint) a failure of what both depend on is first heard of from the other arm alone. So a bad answer is held
//! until both arms have answered what came before it, and becomes evidence in the order of arrival, in which a client
//! is on the canary with the chance of its weight whatever either arm does with its time.
//!
//! What each arm has answered is told by a tick's answers: nothing is known of what came after the newest of their
//! requests, and an arm that comes back from a pause has answered only what is older than nine of ten of them. An arm
//! that answers within a tick holds up nothing else, and none holds up for longer than [`HELD_MAX`]: a canary that
//! fails is taken back so much later at most, and only while stable or the canary is that slow.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;

use hmsops_model::limits::{BAD_CLIENTS_MAX, TICK_INTERVAL};
use hmsops_model::{Latencies, Millis};

use super::Routed;
use super::clients::Mix;
use crate::split::Side;

/// A bad answer is held no longer than this, from when its request came: a longer pause of one arm is a failure of
/// that arm, and a canary is not waited for any longer either (see [`crate::shield::SHIELD_AFTER_MIN`]).
const HELD_MAX: Millis = Millis(1000);

/// Bad answers held of one client. One a second counts at most, and none is held for much longer than a second, so the
/// earliest of its requests are all that can count; a client that hammers takes no more places.
const HELD_PER_CLIENT_MAX: usize = 8;

/// The share of a tick's answers that came no earlier than what counts as answered. The slowest tenth would else hold
/// up a service that always has a few slow answers.
const ANSWERED: f64 = 0.9;

/// A bad answer that may become evidence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    /// When its request came, on the steady clock.
    pub(super) came: Millis,
    pub(super) routed: Routed,
    pub(super) side: Side,
    pub(super) client: Option<u64>,
    /// Whether it is bad only because it was not waited for any longer.
    pub(super) is_late: bool,
}

/// With its place in the order of answers: what came in the same moment stays in it, and nothing tells more.
type Numbered = (u64, Held);

/// The bad answers that are held, and until when each arm has answered what came.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Of clients that are known, at most [`HELD_PER_CLIENT_MAX`] of each.
    clients: HashMap<u64, Vec<Numbered>, BuildHasherDefault<Mix>>,
    /// Of requests that don't say whose they are.
    others: Vec<Numbered>,
    /// How many are held.
    n: usize,
    /// How many have been.
    count: u64,
    stable: Answered,
    canary: Answered,
}

impl Order {
    /// Notes `n` answers of an arm, or failures to answer, to requests that came then and took so many microseconds.
    pub(super) fn note(&mut self, side: Side, came: Millis, micros: u64, n: u64) {
        let arm = match side {
            Side::Stable => &mut self.stable,
            Side::Canary => &mut self.canary,
        };
        arm.ages.observe_many(micros, n);
        arm.newest = arm.newest.max(came);
    }

    /// Holds a bad answer. Of a client that has too many the earliest requests are held, whichever was answered first;
    /// what finds no place because everybody has too many comes back, to be judged at once.
    pub(super) fn hold(&mut self, held: Held) -> Option<Held> {
        if self.n >= BAD_CLIENTS_MAX {
            return Some(held);
        }
        self.count += 1;
        let mine = match held.client {
            Some(client) => self.clients.entry(client).or_default(),
            None => &mut self.others,
        };
        if held.client.is_none() || mine.len() < HELD_PER_CLIENT_MAX {
            mine.push((self.count, held));
            self.n += 1;
        } else if let Some(latest) = mine.iter_mut().max_by_key(|(number, held)| (held.came, *number))
            && held.came < latest.1.came
        {
            *latest = (self.count, held);
        }
        None
    }

    /// Ends a tick, and returns what both arms have answered everything before, in the order in which it came.
    /// `is_idle`: no request waits for the canary.
    pub(super) fn settle(&mut self, now: Millis, is_idle: bool) -> VecDeque<Held> {
        let until = self.stable.close(now, false).min(self.canary.close(now, is_idle));
        self.take(until)
    }

    /// All that is held, in the order in which it came.
    pub(super) fn take_all(&mut self) -> VecDeque<Held> {
        self.take(Millis(u64::MAX))
    }

    fn take(&mut self, until: Millis) -> VecDeque<Held> {
        let is_due = |(_, held): &mut Numbered| held.came <= until;
        let mut due: Vec<Numbered> = self.others.extract_if(.., is_due).collect();
        for mine in self.clients.values_mut() {
            due.extend(mine.extract_if(.., is_due));
        }
        self.clients.retain(|_, mine| !mine.is_empty());
        self.n -= due.len();
        due.sort_unstable_by_key(|(number, held)| (held.came, *number));
        due.into_iter().map(|(_, held)| held).collect()
    }
}

/// Until when an arm has answered what came.
#[derive(Debug, Default)]
struct Answered {
    until: Millis,
    /// When the newest request came that was answered.
    newest: Millis,
    /// How long this tick's answers took.
    ages: Latencies,
}

impl Answered {
    fn close(&mut self, now: Millis, is_idle: bool) -> Millis {
        let age = std::mem::take(&mut self.ages).quantile_ms(ANSWERED).map(|ms| Millis(ms as u64));
        let until = match age {
            _ if is_idle => now,
            // Within a tick there is no order to be kept.
            Some(age) if age <= TICK_INTERVAL => self.newest,
            Some(age) => self.newest.min(now.since(age)),
            None => Millis::ZERO,
        };
        self.until = self.until.max(until).max(now.since(HELD_MAX));
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST_US: u64 = 5000;

    fn held(came: u64, side: Side) -> Held {
        Held { came: Millis(came), routed: Routed::default(), side, client: None, is_late: false }
    }

    fn sides(due: &VecDeque<Held>) -> Vec<(u64, Side)> {
        due.iter().map(|held| (held.came.0, held.side)).collect()
    }

    #[test]
    fn where_both_answer_at_once_nothing_waits() {
        let mut order = Order::default();
        order.note(Side::Stable, Millis(995), FAST_US, 10);
        order.hold(held(990, Side::Canary));
        order.hold(held(980, Side::Stable));
        assert_eq!(sides(&order.settle(Millis(1000), true)), [(980, Side::Stable), (990, Side::Canary)]);
        assert_eq!(order.settle(Millis(1100), true).len(), 0);
    }

    /// Stable stands still from 1000 to 1400 while what both need fails: the canary's failures wait for stable's.
    #[test]
    fn failures_common_to_both_are_told_in_the_order_in_which_they_came() {
        let mut order = Order::default();
        order.note(Side::Stable, Millis(999), FAST_US, 10);
        for now in [1100, 1200, 1300, 1400] {
            order.note(Side::Canary, Millis(now - 50), FAST_US, 1);
            order.hold(held(now - 50, Side::Canary));
            assert_eq!(order.settle(Millis(now), true).len(), 0, "{now}");
        }
        for came in [1040, 1140, 1240, 1340] {
            order.note(Side::Stable, Millis(came), (1410 - came) * 1000, 1);
            order.hold(held(came, Side::Stable));
        }
        let mut due = order.settle(Millis(1500), true);
        order.note(Side::Stable, Millis(1590), FAST_US, 50);
        due.extend(order.settle(Millis(1600), true));
        let came: Vec<u64> = due.iter().map(|held| held.came.0).collect();
        assert_eq!(came, [1040, 1050, 1140, 1150, 1240, 1250, 1340, 1350]);
    }

    /// The same of the canary's pauses, of which is known whether requests wait.
    #[test]
    fn a_canary_that_stands_still_holds_up_stables_failures() {
        let mut order = Order::default();
        order.note(Side::Canary, Millis(999), FAST_US, 1);
        order.note(Side::Stable, Millis(1090), FAST_US, 10);
        order.hold(held(1050, Side::Stable));
        assert_eq!(order.settle(Millis(1100), false).len(), 0);
        order.note(Side::Canary, Millis(1040), 120_000, 1);
        order.hold(held(1040, Side::Canary));
        order.note(Side::Stable, Millis(1190), FAST_US, 10);
        assert_eq!(sides(&order.settle(Millis(1200), true)), [(1040, Side::Canary), (1050, Side::Stable)]);
    }

    /// One client's storm leaves room for the others, and what is held of it are its earliest requests, whichever arm
    /// was quicker to answer.
    #[test]
    fn one_client_has_few_places() {
        let mut order = Order::default();
        let of = |came, side, client| Held { client: Some(client), ..held(came, side) };
        for n in 0..2 * BAD_CLIENTS_MAX as u64 {
            assert!(order.hold(of(1500 + n % 100, Side::Stable, 1)).is_none());
        }
        assert!(order.hold(of(1400, Side::Canary, 1)).is_none());
        assert!(order.hold(of(1450, Side::Canary, 2)).is_none());
        assert_eq!(order.n, HELD_PER_CLIENT_MAX + 1);
        let due = order.take_all();
        assert_eq!(sides(&due).first(), Some(&(1400, Side::Canary)));
        assert_eq!((due.len(), order.n, order.clients.len()), (HELD_PER_CLIENT_MAX + 1, 0, 0));
    }

    #[test]
    fn what_finds_no_place_comes_back() {
        let mut order = Order::default();
        for n in 0..BAD_CLIENTS_MAX as u64 {
            assert!(order.hold(held(n, Side::Stable)).is_none());
        }
        assert!(order.hold(held(7, Side::Canary)).is_some_and(|over| over.came == Millis(7)));
        assert_eq!(order.take_all().len(), BAD_CLIENTS_MAX);
    }

    #[test]
    fn nothing_is_held_for_longer_than_a_second() {
        let mut order = Order::default();
        order.hold(held(1000, Side::Canary));
        for now in (1100..2000).step_by(100) {
            assert_eq!(order.settle(Millis(now), false).len(), 0, "{now}");
        }
        assert_eq!(order.settle(Millis(2000), false).len(), 1);
    }
}
