//! Rates of requests, by the generic cell rate algorithm (ITU-T I.371 §A, "virtual scheduling"): one number for each
//! client, and exactly a token bucket. Pure: time is an argument.

use std::collections::HashMap;
use std::net::IpAddr;

use hmsops_model::Millis;
use hmsops_model::gateway::Rate;

/// Clients of one service that are told apart at a time; further ones share one allowance, so that an attacker with
/// many addresses costs bounded memory and shuts out nobody who is known.
pub const CLIENTS_MAX: usize = 65_536;

/// A token bucket: when, in microseconds, the next request would be exactly on time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bucket(u64);

impl Bucket {
    /// Takes one request out of the allowance; else how long until there is one again.
    pub fn take(&mut self, now: Millis, rate: Rate) -> Result<(), Millis> {
        let now = now.0.saturating_mul(1000);
        let (count, whole) = (u64::from(rate.count.max(1)), rate.per.0.max(1).saturating_mul(1000));
        let step = (whole / count).max(1);
        let due = self.0.max(now);
        // The last of `count` requests at once is `whole - step` early.
        let early = due - now;
        let may_be_early = whole - step.min(whole);
        if early > may_be_early {
            return Err(Millis((early - may_be_early).div_ceil(1000)));
        }
        self.0 = due + step;
        Ok(())
    }

    /// Whether all of the allowance is there again.
    fn is_full(self, now: Millis) -> bool {
        self.0 <= now.0.saturating_mul(1000)
    }
}

/// The rates of one service: all its clients together, and each alone.
#[derive(Debug, Default)]
pub struct Rates {
    all: Bucket,
    clients: HashMap<IpAddr, Bucket>,
    others: Bucket,
}

impl Rates {
    /// Takes a request of this client out of both allowances; else how long until there is one again. What a client's
    /// own allowance refuses is not taken out of the service's.
    pub fn take(
        &mut self,
        now: Millis,
        client: IpAddr,
        service_rate: Option<Rate>,
        client_rate: Option<Rate>,
    ) -> Result<(), Millis> {
        if let Some(rate) = client_rate {
            self.client(now, client).take(now, rate)?;
        }
        service_rate.map_or(Ok(()), |rate| self.all.take(now, rate))
    }

    fn client(&mut self, now: Millis, client: IpAddr) -> &mut Bucket {
        let is_known = self.clients.contains_key(&client);
        if !is_known && self.clients.len() >= CLIENTS_MAX {
            self.clients.retain(|_, bucket| !bucket.is_full(now));
        }
        if !is_known && self.clients.len() >= CLIENTS_MAX {
            return &mut self.others;
        }
        self.clients.entry(client).or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn rate(count: u32, ms: u64) -> Rate {
        Rate { count, per: Millis(ms) }
    }

    #[test]
    fn a_burst_of_the_whole_rate_passes_and_then_one_at_a_time() {
        let (mut bucket, rate) = (Bucket::default(), rate(10, 1000));
        assert_eq!((0..100).filter(|_| bucket.take(Millis(5000), rate).is_ok()).count(), 10);
        assert_eq!(bucket.take(Millis(5000), rate), Err(Millis(100)));
        assert_eq!((0..100).filter(|_| bucket.take(Millis(5100), rate).is_ok()).count(), 1);
        assert_eq!((0..100).filter(|_| bucket.take(Millis(9000), rate).is_ok()).count(), 10);
    }

    #[test]
    fn one_client_does_not_use_up_the_others() {
        let mut rates = Rates::default();
        let ip = |n: u8| IpAddr::V4(Ipv4Addr::new(192, 0, 2, n));
        let mut ask = |n| rates.take(Millis(1), ip(n), Some(rate(15, 1000)), Some(rate(10, 1000))).is_ok();
        assert_eq!((0..100).filter(|_| ask(1)).count(), 10);
        assert_eq!((0..100).filter(|_| ask(2)).count(), 5, "what one was refused is not taken from all");
    }

    #[test]
    fn many_addresses_cost_bounded_memory() {
        let mut rates = Rates::default();
        for n in 0..CLIENTS_MAX as u32 + 1000 {
            let _ = rates.take(Millis(1), IpAddr::V4(Ipv4Addr::from_bits(n)), None, Some(rate(1, 60_000)));
        }
        assert_eq!(rates.clients.len(), CLIENTS_MAX);
        let fresh = IpAddr::V4(Ipv4Addr::from_bits(u32::MAX));
        assert!(rates.take(Millis(2), fresh, None, Some(rate(1, 60_000))).is_err(), "they share one");
        assert!(rates.take(Millis(70_000), fresh, None, Some(rate(1, 60_000))).is_ok());
        assert!(rates.clients.len() < 10, "who has been quiet is forgotten");
    }

    proptest! {
        /// Never more than the rate and one burst pass, whatever the order of times.
        #[test]
        fn no_more_than_the_rate_passes(
            steps in prop::collection::vec(0..50_u64, 1..300), count in 1..50_u32, ms in 1..5000_u64,
        ) {
            let (mut bucket, mut now, mut passed) = (Bucket::default(), 0, 0_u64);
            for step in steps {
                now += step;
                passed += u64::from(bucket.take(Millis(now), rate(count, ms)).is_ok());
            }
            // The interval between two is rounded down to whole microseconds.
            let step = (ms * 1000 / u64::from(count)).max(1);
            prop_assert!(passed <= ms * 1000 / step + 1 + now * 1000 / step);
        }
    }
}
