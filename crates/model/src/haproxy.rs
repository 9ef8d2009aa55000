//! What an HAProxy can carry: one address a version, and shares as two weights, which are whole numbers from 0 to 256
//! (HAProxy 2.6 Configuration Manual, §5.2 `weight`).

use std::net::SocketAddr;

use crate::Weight;
use crate::gateway::HaproxySettings;
use crate::route::Arm;

/// The largest weight of a server.
const SERVER_WEIGHT_MAX: u16 = 256;

/// A basis point.
const SHORT_MAX: f64 = 1e-4;

/// Weights of the two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Of the server that carries stable, 0 to 256.
    pub stable: u16,
    /// Of the server that carries the canary, 0 to 256.
    pub canary: u16,
}

impl Pair {
    /// The pair whose share comes closest to the weight without exceeding it: the weight then bounds the canary's
    /// true share from above, and a test that takes it for the chance that a request is the canary's stays valid.
    /// It is short by less than a basis point, or by at most a hundredth of the smaller arm's share; `None`: there is
    /// no such pair, as below 0.39 %.
    ///
    /// In lowest terms, and 1 when alone: HAProxy's round robin goes in rounds of 16 times the weights, and a server
    /// that comes up waits for the round to end. With 256 that was measured to take thousands of requests.
    pub fn of(weight: Weight) -> Option<Self> {
        match weight {
            Weight::NONE => return Some(Self { stable: 1, canary: 0 }),
            Weight::ALL => return Some(Self { stable: 0, canary: 1 }),
            _ => {}
        }
        let bp = u64::from(weight.bp());
        let pairs = (1..=SERVER_WEIGHT_MAX).filter_map(|canary| {
            // The smallest weight of stable with which the share is not above the canary's.
            let least = (u64::from(canary) * (10_000 - bp)).div_ceil(bp);
            let stable = u16::try_from(least.max(1)).ok().filter(|stable| *stable <= SERVER_WEIGHT_MAX)?;
            Some(Self { stable, canary })
        });
        let best = pairs.max_by(|a, b| a.share().total_cmp(&b.share()))?;
        let short = weight.share() - best.share();
        let smaller = weight.share().min(1.0 - weight.share());
        (short < SHORT_MAX.max(smaller / 100.0)).then(|| best.reduced())
    }

    fn reduced(self) -> Self {
        let divisor = (1..=self.canary)
            .rev()
            .find(|n| self.canary.is_multiple_of(*n) && self.stable.is_multiple_of(*n))
            .unwrap_or(1);
        Self { stable: self.stable / divisor, canary: self.canary / divisor }
    }

    /// The canary's share, 0 to 1.
    fn share(self) -> f64 {
        f64::from(self.canary) / f64::from(self.canary + self.stable).max(1.0)
    }

    /// The canary's share in basis points, never less than it is.
    pub fn weight(self) -> Weight {
        let (canary, all) = (u64::from(self.canary), u64::from(self.canary) + u64::from(self.stable));
        let bp = (canary * 10_000).checked_div(all).map_or(0, |_| (canary * 10_000).div_ceil(all));
        u16::try_from(bp).ok().and_then(Weight::from_bp).unwrap_or(Weight::ALL)
    }
}

impl HaproxySettings {
    /// The servers' weights for a share, by which none is given where a map draws it; in words why there are none.
    pub fn pair(&self, share: Weight) -> Result<Pair, String> {
        let by_weights = if self.map.is_some() { Weight::NONE } else { share };
        Pair::of(by_weights).ok_or_else(|| {
            format!(
                "HAProxy's weights can't give a canary {share}, only 0.39 % to 99.61 %, nothing or all; use a larger \
                 step, or a map (`haproxy: {{map: …}}`)"
            )
        })
    }

    /// What of a release it can't do, in words, before anything is done: a share that its weights can't give, a
    /// version that has not exactly one address in numbers. `arms` are the versions whose addresses are known already.
    pub fn objection(&self, shares: &[Weight], arms: &[Arm]) -> Option<String> {
        let of_share = shares.iter().find_map(|share| self.pair(*share).err());
        of_share.or_else(|| arms.iter().find_map(|arm| address(arm).err()))
    }
}

/// The one address that a server of HAProxy's is given for an arm; `None`: nothing answers there. In words why it can't
/// be given.
pub fn address(arm: &Arm) -> Result<Option<SocketAddr>, String> {
    match arm.upstreams.as_slice() {
        [] => Ok(None),
        [one] => one.parse().map(Some).map_err(|_| {
            format!(
                "HAProxy is given numbers: write version `{}`'s address `{one}` as `IP:PORT`",
                arm.version
            )
        }),
        many => Err(format!(
            "version `{}` has {} addresses, and a server of HAProxy has one; put a balancer of its own before them",
            arm.version,
            many.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(bp: u16) -> Option<(u16, u16)> {
        Pair::of(Weight::from_bp(bp).unwrap()).map(|pair| (pair.stable, pair.canary))
    }

    #[test]
    fn common_steps_are_exact() {
        assert_eq!(pair(0), Some((1, 0)));
        assert_eq!(pair(10_000), Some((0, 1)));
        for (bp, one_in) in [(40, 250), (50, 200), (100, 100), (500, 20), (1000, 10), (2500, 4), (5000, 2)] {
            let (stable, canary) = pair(bp).unwrap();
            assert_eq!((stable + canary) % one_in, 0, "{bp}");
            assert_eq!(canary, (stable + canary) / one_in, "{bp}");
        }
    }

    /// Every share from 0.39 % to 99.61 % can be had, is never exceeded, and is short by little.
    #[test]
    fn a_share_is_never_exceeded() {
        for bp in 1..10_000 {
            let Some((stable, canary)) = pair(bp) else {
                assert!(!(39..=9961).contains(&bp), "{bp}");
                continue;
            };
            let share = f64::from(canary) / f64::from(canary + stable) * 1e4;
            assert!(share <= f64::from(bp) + 1e-9 && share > f64::from(bp) * 0.99 - 1.0, "{bp} {share}");
            assert!(stable <= SERVER_WEIGHT_MAX && canary <= SERVER_WEIGHT_MAX);
        }
        assert_eq!(pair(10), None);
    }
}
