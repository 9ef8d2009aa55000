//! How often passwords may be tried, with a bound on what is remembered.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use hmsops_model::Millis;

use crate::door::Failure;

/// Failures are counted so long.
const SPAN: Millis = Millis::from_mins(15);

/// Failures of one account from one address within [`SPAN`].
const PAIR_MAX: u32 = 5;

/// Failures of one address, whatever the account.
const ADDRESS_MAX: u32 = 20;

/// Failures of one account, from wherever (NIST SP 800-63B, section 3.2.2: no more than 100).
const ACCOUNT_MAX: u32 = 100;

/// Counts that are remembered; the oldest makes way.
const COUNTS_MAX: usize = 4096;

/// Failures by what they are of: an account, an address, both.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<BTreeMap<String, (Millis, u32)>>);

impl Attempts {
    /// Refuses whoever has failed too often.
    pub(crate) fn check(&self, account: &str, from: Option<&str>, steady: Millis) -> Result<(), Failure> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = keys(account, from).into_iter().filter_map(|(key, most)| {
            let (since, count) = counts.get(&key)?;
            let passed = steady.since(*since);
            (*count >= most && passed < SPAN).then(|| Millis(SPAN.0.saturating_sub(passed.0)))
        });
        match waits.max() {
            None => Ok(()),
            Some(wait) => Err(Failure::too_many("too many wrong passwords")
                .hint("wait, or log in by a link: `hmsops login`")
                .retry_after(u32::try_from(wait.0.div_ceil(1000)).unwrap_or(u32::MAX))),
        }
    }

    /// Notes a wrong password.
    pub(crate) fn failed(&self, account: &str, from: Option<&str>, steady: Millis) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, _) in keys(account, from) {
            if counts.len() >= COUNTS_MAX && !counts.contains_key(&key) {
                counts.retain(|_, (since, _)| steady.since(*since) < SPAN);
                let oldest = counts.iter().min_by_key(|(_, (since, _))| *since).map(|(key, _)| key.clone());
                if let Some(oldest) = oldest.filter(|_| counts.len() >= COUNTS_MAX) {
                    counts.remove(&oldest);
                }
            }
            let one = counts.entry(key).or_insert((steady, 0));
            *one = if steady.since(one.0) >= SPAN { (steady, 1) } else { (one.0, one.1.saturating_add(1)) };
        }
    }

    /// Takes back one failure that was noted: nobody could look at the password.
    pub(crate) fn unseen(&self, account: &str, from: Option<&str>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, _) in keys(account, from) {
            if let Some((_, count)) = counts.get_mut(&key) {
                *count = count.saturating_sub(1);
            }
        }
    }

    /// Forgets the failures of somebody who has shown who they are.
    pub(crate) fn passed(&self, account: &str, from: Option<&str>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [(pair, _), others @ ..] = keys(account, from);
        counts.remove(&pair);
        // What was noted before it was known counts no longer: a whole office comes from one address.
        for (key, _) in others {
            if let Some((_, count)) = counts.get_mut(&key) {
                *count = count.saturating_sub(1);
            }
        }
    }
}

/// What an attempt counts for, the pair first.
fn keys(account: &str, from: Option<&str>) -> [(String, u32); 3] {
    let account: String = account.chars().take(64).collect();
    let from = network(from.unwrap_or("-"));
    [
        (format!("{account}\n{from}"), PAIR_MAX),
        (format!("\n{from}"), ADDRESS_MAX),
        (format!("{account}\n"), ACCOUNT_MAX),
    ]
}

/// One customer of a provider has 2^64 addresses of IPv6 at least (RFC 6177): they count as one.
fn network(from: &str) -> String {
    match from.parse::<std::net::Ipv6Addr>() {
        Ok(address) if address.to_ipv4_mapped().is_none() => {
            let [a, b, c, d, ..] = address.segments();
            std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).to_string()
        }
        _ => from.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_is_slowed_down_and_nobody_else_is_shut_out() {
        let attempts = Attempts::default();
        let ask = |account: &str, from: &str, at| attempts.check(account, Some(from), Millis(at)).is_ok();
        for _ in 0..PAIR_MAX {
            assert!(ask("ann", "10.0.0.1", 0));
            attempts.failed("ann", Some("10.0.0.1"), Millis(0));
        }
        assert!(!ask("ann", "10.0.0.1", 1));
        assert!(ask("ann", "10.0.0.2", 1), "she herself comes from elsewhere");
        assert!(ask("ann", "10.0.0.1", SPAN.0), "and it ends");
        for n in 0..3 * ADDRESS_MAX {
            attempts.failed(&format!("o{n}"), Some("10.0.0.8"), Millis(0));
            attempts.passed(&format!("o{n}"), Some("10.0.0.8"));
        }
        assert!(ask("new", "10.0.0.8", 1), "an office logs in from one address");
        for n in 0..ADDRESS_MAX {
            attempts.failed(&format!("a{n}"), Some("10.0.0.9"), Millis(0));
        }
        for n in 0..ADDRESS_MAX {
            attempts.failed(&format!("b{n}"), Some(&format!("2001:db8::{n:x}")), Millis(0));
        }
        assert!(
            !ask("new", "2001:db8::ffff", 1) && ask("new", "2001:db8:0:1::1", 1),
            "a network is one source"
        );
        for _ in 0..PAIR_MAX {
            attempts.failed("eve", Some("10.0.0.3"), Millis(0));
        }
        attempts.unseen("eve", Some("10.0.0.3"));
        assert!(ask("eve", "10.0.0.3", 1), "what nobody looked at is no failure");
        assert!(!ask("new", "10.0.0.9", 1), "one address tries one name after the other");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let attempts = Attempts::default();
        for n in 0..10_000_u64 {
            attempts.failed(&format!("a{n}"), Some(&format!("f{n}")), Millis(n));
        }
        assert!(attempts.0.lock().unwrap().len() <= COUNTS_MAX);
    }
}
