//! Rates: how often somebody may ask, by the generic cell rate algorithm (ITU-T I.371, annex A), which keeps one moment
//! for each. Memory is bounded; those for whom there is no room share one rate.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use hmsops_model::Millis;
use hmsops_model::limits::Rate;

/// What somebody has asked for in the last moments.
#[derive(Debug)]
pub(crate) struct Rates<K> {
    rate: Rate,
    most: usize,
    known: Mutex<Known<K>>,
}

#[derive(Debug)]
struct Known<K> {
    /// By whom: when all that was asked for is paid for, in microseconds ("theoretical arrival time").
    each: HashMap<K, u64>,
    /// Of all for whom there is no room.
    rest: u64,
    /// When those who owe nothing were last forgotten.
    tidied_at: Millis,
}

impl<K: Eq + Hash> Rates<K> {
    /// For at most `most` at a time.
    pub(crate) fn new(rate: Rate, most: usize) -> Self {
        let known = Known { each: HashMap::new(), rest: 0, tidied_at: Millis::ZERO };
        Self { rate, most, known: Mutex::new(known) }
    }

    /// Counts one request; answers after how many seconds to ask again, if it is one too many. That one is not counted.
    pub(crate) fn ask(&self, who: K, steady: Millis) -> Result<(), u32> {
        let now = steady.0.saturating_mul(1000);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { each, rest, tidied_at } = &mut *known;
        if each.len() >= self.most && !each.contains_key(&who) && steady.since(*tidied_at) >= Millis(1000) {
            *tidied_at = steady;
            each.retain(|_, paid| *paid > now);
        }
        let has_room = each.len() < self.most || each.contains_key(&who);
        let paid = if has_room { each.entry(who).or_insert(0) } else { rest };
        let turn = 1_000_000 / u64::from(self.rate.each_second.max(1));
        let owed = paid.saturating_sub(now);
        let most_owed = turn * u64::from(self.rate.at_once.max(1) - 1);
        if owed > most_owed {
            return Err(u32::try_from((owed - most_owed).div_ceil(1_000_000)).unwrap_or(u32::MAX));
        }
        *paid = now + owed + turn;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { each_second: 10, at_once: 20 };

    #[test]
    fn so_many_at_once_and_then_so_many_a_second() {
        let rates = Rates::new(RATE, 10);
        let asked = |ms| (0..100).filter(|_| rates.ask("a", Millis(ms)).is_ok()).count();
        assert_eq!(asked(5000), 20);
        assert_eq!(rates.ask("a", Millis(5000)), Err(1));
        assert_eq!(rates.ask("b", Millis(5000)), Ok(()), "another one's rate is another");
        assert_eq!(asked(6000), 10);
        assert_eq!(asked(6050), 0);
        assert_eq!(asked(60_000), 20, "what is saved up is no more than at once");
    }

    #[test]
    fn memory_is_bounded_and_the_others_share_one_rate() {
        let rates = Rates::new(RATE, 10);
        for who in 0..10_u32 {
            assert_eq!(rates.ask(who, Millis(1000)), Ok(()));
        }
        let passed = (10..1000_u32).filter(|who| rates.ask(*who, Millis(1001)).is_ok()).count();
        assert_eq!(passed, 20);
        assert_eq!(rates.ask(3, Millis(1001)), Ok(()), "who is known is not held to theirs");
        assert_eq!(rates.known.lock().unwrap().each.len(), 10);
        assert_eq!(rates.ask(5000, Millis(3000)), Ok(()), "who owes nothing is forgotten");
        assert_eq!(rates.known.lock().unwrap().each.len(), 1);
    }
}
