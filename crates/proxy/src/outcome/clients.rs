//! Bounded sets of clients. Their numbers are hashes already, so the sets only mix them.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use hmsops_model::Millis;
use hmsops_model::limits::{BAD_CLIENTS_MAX, CLIENTS_MIN};

use crate::split::Side;

/// Half of the time in which distinct clients are counted.
const SEEN_WINDOW: Millis = Millis::from_secs(30);

/// One client's bad answers count so often at most.
const ERROR_SPACING: Millis = Millis(1000);

/// Who was counted is remembered for so long after: what came before is judged up to a second later, and would else
/// take the place of what came after.
const JUDGED_WITHIN: Millis = Millis(4000);

/// Spreads numbers over a table; the odd factor is 2⁶⁴ divided by the golden ratio (Knuth, volume 3, §6.4).
#[derive(Debug, Default, Clone)]
pub(super) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

type Build = BuildHasherDefault<Mix>;

/// Distinct clients, at most [`BAD_CLIENTS_MAX`].
#[derive(Debug, Default)]
pub(super) struct Set(HashSet<u64, Build>);

impl Set {
    /// Whether the client is new. Past the bound nobody is.
    pub(super) fn insert(&mut self, client: u64) -> bool {
        self.has_room(0) && self.0.insert(client)
    }

    fn contains(&self, client: u64) -> bool {
        self.0.contains(&client)
    }

    /// Whether more than so many still fit.
    fn has_room(&self, n: usize) -> bool {
        self.0.len() + n < BAD_CLIENTS_MAX
    }
}

/// Clients with a bad answer in this release.
#[derive(Debug, Default)]
pub(super) struct BadClients(Set);

impl BadClients {
    pub(super) fn insert(&mut self, client: u64) -> bool {
        self.0.insert(client)
    }

    pub(super) fn clear(&mut self) {
        self.0.0.clear();
    }
}

/// Slow answers of stable's in one tick below which it cannot be told whether it stands still.
const STALL_SLOW_MIN: u64 = 10;

/// The share of a tick's answers of stable's, as one in so many, from which on it stands still: ten times what is slow
/// at any time.
const STALL_ONE_IN: u64 = 10;

/// Clients with a slow answer in this release.
///
/// A process that stands still for a moment makes all of its clients slow at once. Would stable's then count as met for
/// good, only the canary's were left to be met, and each of those would look like a draw against the canary. So the
/// clients of a tick in which stable stands still count for stable in that tick, and may count again: that can only
/// speak for the canary.
#[derive(Debug, Default)]
pub(super) struct SlowClients {
    met: Set,
    /// Of stable's in the present tick.
    fresh: HashSet<u64, Build>,
    answers: u64,
    slow: u64,
}

impl SlowClients {
    /// Whether a client's slow answer is its first. Past the bound nobody's is.
    pub(super) fn insert(&mut self, client: u64, side: Side) -> bool {
        match side {
            Side::Canary => !self.fresh.contains(&client) && self.met.insert(client),
            Side::Stable => {
                self.met.has_room(self.fresh.len()) && !self.met.contains(client) && self.fresh.insert(client)
            }
        }
    }

    /// Notes so many answers of stable's, and how many of them were slow.
    pub(super) fn note(&mut self, answers: u64, slow: u64) {
        self.answers += answers;
        self.slow += slow;
    }

    /// Ends a tick.
    pub(super) fn turn(&mut self) {
        let stalled = self.slow >= STALL_SLOW_MIN && self.slow * STALL_ONE_IN >= self.answers;
        for client in self.fresh.drain() {
            if !stalled {
                self.met.insert(client);
            }
        }
        (self.answers, self.slow) = (0, 0);
    }

    /// Forgets them: another release begins.
    pub(super) fn clear(&mut self) {
        self.met.0.clear();
        self.fresh.clear();
    }
}

/// Whether there were [`CLIENTS_MIN`] distinct clients in the last half to whole minute. Remembers no more
/// than it needs to know that.
#[derive(Debug)]
pub(super) struct ClientSet {
    now: Vec<u64>,
    before: Vec<u64>,
    since: Millis,
}

impl ClientSet {
    pub(super) fn new(now: Millis) -> Self {
        Self { now: Vec::with_capacity(CLIENTS_MIN), before: Vec::with_capacity(CLIENTS_MIN), since: now }
    }

    pub(super) fn insert(&mut self, client: u64, now: Millis) {
        self.turn(now);
        if self.now.len() < CLIENTS_MIN && !self.now.contains(&client) {
            self.now.push(client);
        }
    }

    pub(super) fn turn(&mut self, now: Millis) {
        let age = now.since(self.since);
        if age >= SEEN_WINDOW {
            std::mem::swap(&mut self.now, &mut self.before);
            self.now.clear();
            self.since = now;
            if age >= SEEN_WINDOW + SEEN_WINDOW {
                self.before.clear();
            }
        }
    }

    pub(super) fn is_enough(&self) -> bool {
        let only_before = self.before.iter().filter(|client| !self.now.contains(client)).count();
        self.now.len() + only_before >= CLIENTS_MIN
    }
}

/// When each client's last counted bad answers were.
#[derive(Debug, Default)]
pub(super) struct RecentClients {
    at: HashMap<u64, Recent, Build>,
    forgot_at: Millis,
}

#[derive(Debug, Default, Clone, Copy)]
struct Recent {
    stable: Option<Millis>,
    canary: Option<Millis>,
    either: Option<Millis>,
}

impl RecentClients {
    /// Whether it is this client's first bad answer within a second at this arm. Past the bound nobody's is.
    pub(super) fn count(&mut self, client: u64, side: Side, now: Millis) -> bool {
        self.entry(client).is_some_and(|recent| {
            let arm = match side {
                Side::Stable => &mut recent.stable,
                Side::Canary => &mut recent.canary,
            };
            counts(arm, now)
        })
    }

    /// Whether it is this client's first bad answer within a second at either arm. To be asked in the order in which
    /// requests came.
    pub(super) fn count_any(&mut self, client: u64, came: Millis) -> bool {
        self.entry(client).is_some_and(|recent| counts(&mut recent.either, came))
    }

    fn entry(&mut self, client: u64) -> Option<&mut Recent> {
        let fits = self.at.len() < BAD_CLIENTS_MAX || self.at.contains_key(&client);
        fits.then(|| self.at.entry(client).or_default())
    }

    /// Drops who can be counted again anyway.
    pub(super) fn forget(&mut self, now: Millis) {
        if now.since(self.forgot_at) >= ERROR_SPACING {
            self.forgot_at = now;
            let now = now.since(JUDGED_WITHIN);
            self.at.retain(|_, recent| {
                ![recent.stable, recent.canary, recent.either].into_iter().all(|at| is_over(at, now))
            });
        }
    }
}

/// Whether it counts, and if so notes when it was.
fn counts(last: &mut Option<Millis>, at: Millis) -> bool {
    let counts = is_over(*last, at);
    if counts {
        *last = Some(at);
    }
    counts
}

fn is_over(at: Option<Millis>, now: Millis) -> bool {
    at.is_none_or(|at| now.since(at) >= ERROR_SPACING)
}
