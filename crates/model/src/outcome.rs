//! What a gateway counted of a service's traffic.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Millis, ReleaseId, ServiceName, UnixMillis, Weight};

/// Why an answer was bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BadKind {
    /// A status of 500 to 599.
    Status,
    /// No answer in time, or given up by the shield.
    Timeout,
    /// The connection was refused or could not be made.
    Refused,
    /// The connection broke, or what came was no HTTP.
    Broken,
    /// Declared bad by the service.
    Declared,
}

impl BadKind {
    /// For sentences: `answered 5xx`, `timed out`, …
    pub const fn words(self) -> &'static str {
        match self {
            Self::Status => "answered 5xx",
            Self::Timeout => "timed out",
            Self::Refused => "refused the connection",
            Self::Broken => "broke off",
            Self::Declared => "gave an answer its service calls bad",
        }
    }
}

/// What one bad event counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// A client, counted once a release.
    Client,
    /// A request: no identity is configured, or fewer than 20 clients were seen.
    #[default]
    Request,
}

/// One arm's counts in one tick. All counts are of what the arm answered, before the shield.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ArmTick {
    /// Requests sent to the arm whose outcome is known.
    pub requests: u64,
    /// Distinct clients among them within the tick.
    pub clients: u64,
    /// Clients (or requests, see [`Tick::unit`]) that got their first bad answer of this release: what the
    /// evidence is made of.
    #[serde(default)]
    pub new_bad: u64,
    /// Bad answers, at most one a client a second: what the guard counts.
    #[serde(default)]
    pub errors: u64,
    /// Answers slower than stable's 99th percentile of late.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub slow: u64,
    /// Clients (or requests) that got their first slow answer of this release.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub new_slow: u64,
    /// All bad answers, by kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bad: BTreeMap<BadKind, u64>,
    /// Bad answers that the shield replaced by one of stable's.
    #[serde(default)]
    pub shielded: u64,
    /// Bad answers that a user saw.
    #[serde(default)]
    pub seen: u64,
    /// When the first and the last bad answer of the tick came, before the shield.
    #[serde(default)]
    pub first_bad_at: Option<UnixMillis>,
    /// See `first_bad_at`.
    #[serde(default)]
    pub last_bad_at: Option<UnixMillis>,
    /// How long answers took until their head came.
    #[serde(default)]
    pub latencies: Latencies,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl ArmTick {
    /// All bad answers, of every kind.
    pub fn n_bad(&self) -> u64 {
        self.bad.values().sum()
    }

    /// Adds another tick's counts to this one.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.clients += other.clients;
        self.new_bad += other.new_bad;
        self.errors += other.errors;
        self.slow += other.slow;
        self.new_slow += other.new_slow;
        for (kind, n) in &other.bad {
            *self.bad.entry(*kind).or_default() += n;
        }
        self.shielded += other.shielded;
        self.seen += other.seen;
        self.first_bad_at = [self.first_bad_at, other.first_bad_at].into_iter().flatten().min();
        self.last_bad_at = self.last_bad_at.max(other.last_bad_at);
        self.latencies.add(&other.latencies);
    }
}

/// What a gateway counted of one service in about 100 ms, under one weight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// The service.
    pub service: ServiceName,
    /// The release that was out, if one was.
    pub release: Option<ReleaseId>,
    /// The route's epoch these requests were routed under.
    pub epoch: u64,
    /// Rises by one with each tick of a gateway's life; with `gateway_run` it identifies the tick.
    pub seq: u64,
    /// A random number drawn when the gateway process started.
    pub gateway_run: u64,
    /// The end of the tick.
    pub at: UnixMillis,
    /// Its length.
    pub span: Millis,
    /// The canary's weight in force when these requests were routed.
    pub weight: Weight,
    /// What a bad event counts as.
    pub unit: Unit,
    /// Requests still waiting for the canary's answer.
    #[serde(default)]
    pub canary_waiting: u64,
    /// Counts of stable.
    pub stable: ArmTick,
    /// Counts of the canary.
    pub canary: ArmTick,
}

/// A latency histogram with buckets of a quarter of a power of two: bucket `i` holds latencies up to
/// `2^(i/4)` × 0.1 ms. Relative error of a quantile: at most 19 %.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, u64>")]
pub struct Latencies(BTreeMap<u8, u64>);

/// Keys are read as text and then as numbers: inside a tagged enum serde hands a JSON key on as text only.
impl TryFrom<BTreeMap<String, u64>> for Latencies {
    type Error = String;
    fn try_from(text: BTreeMap<String, u64>) -> Result<Self, String> {
        let bucket = |key: String| key.parse().map_err(|_| format!("`{key}` is no latency bucket, 0 to 255"));
        text.into_iter().map(|(key, n)| Ok((bucket(key)?, n))).collect::<Result<_, _>>().map(Self)
    }
}

impl Latencies {
    /// Buckets with anything in them, ascending, with how many there are in each.
    pub fn buckets(&self) -> impl Iterator<Item = (u8, u64)> {
        self.0.iter().map(|(bucket, n)| (*bucket, *n))
    }

    /// Counts one answer that took so many microseconds.
    pub fn observe(&mut self, micros: u64) {
        self.observe_many(micros, 1);
    }

    /// Counts `n` answers that took so many microseconds each.
    pub fn observe_many(&mut self, micros: u64, n: u64) {
        *self.0.entry(Self::bucket(micros)).or_default() += n;
    }

    /// The bucket of an answer that took so many microseconds.
    pub fn bucket(micros: u64) -> u8 {
        let tenths = (micros as f64 / 100.0).max(1.0);
        (tenths.log2() * 4.0).ceil().clamp(0.0, 255.0) as u8
    }

    /// The bucket that holds the quantile `q` (0 to 1); `None` when empty.
    pub fn quantile_bucket(&self, q: f64) -> Option<u8> {
        let rank = (q * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.0.iter().find_map(|(bucket, n)| {
            seen += n;
            (seen >= rank).then_some(*bucket)
        })
    }

    /// Adds another histogram's counts.
    pub fn add(&mut self, other: &Self) {
        for (bucket, n) in &other.0 {
            *self.0.entry(*bucket).or_default() += n;
        }
    }

    /// How many answers were counted.
    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The latency in milliseconds that a share `q` (0 to 1) of answers did not exceed; `None` when empty.
    pub fn quantile_ms(&self, q: f64) -> Option<f64> {
        self.quantile_bucket(q).map(|bucket| (f64::from(bucket) / 4.0).exp2() * 0.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_stay_within_their_bucket_error() {
        let mut latencies = Latencies::default();
        for ms in 1..=100 {
            latencies.observe(ms * 1000);
        }
        let p99 = latencies.quantile_ms(0.99).unwrap();
        assert!((99.0..99.0 * 1.19).contains(&p99), "{p99}");
        assert_eq!(Latencies::default().quantile_ms(0.5), None);
    }
}
