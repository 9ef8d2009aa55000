//! What came of the requests: counts, failures and latencies.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::http::{Answer, Broken};

/// Latencies are kept in buckets of an eighth of a power of two: at most 9 % too high.
const BUCKETS_PER_DOUBLING: f64 = 8.0;

/// What came of one request.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Whether it may be sent twice without harm (GET).
    pub(crate) is_idempotent: bool,
    /// From the moment it was due to the end of its answer.
    pub(crate) latency: Duration,
    /// When it ended, from the load's beginning.
    pub(crate) at: Duration,
    /// The answer, or why there is none.
    pub(crate) result: Result<Answer, Broken>,
}

/// Requests that failed: answered with 4xx or 5xx, or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Failures {
    /// How many.
    pub(crate) count: u64,
    /// When the first one ended, from the load's beginning.
    pub(crate) first_at: Option<Duration>,
    /// When the last one ended.
    pub(crate) last_at: Option<Duration>,
    /// How many of each kind: `answered 500`, `no answer in time`.
    pub(crate) kinds: BTreeMap<String, u64>,
}

impl Failures {
    fn count(&mut self, kind: String, at: Duration) {
        self.count += 1;
        self.first_at = Some(self.first_at.map_or(at, |first| first.min(at)));
        self.last_at = Some(self.last_at.map_or(at, |last| last.max(at)));
        *self.kinds.entry(kind).or_default() += 1;
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.count)?;
        if let (Some(first), Some(last)) = (self.first_at, self.last_at) {
            let kinds: Vec<String> = self.kinds.iter().map(|(kind, n)| format!("{n} × {kind}")).collect();
            write!(
                f,
                " ({}; at {:.1} s to {:.1} s)",
                kinds.join(", "),
                first.as_secs_f64(),
                last.as_secs_f64()
            )?;
        }
        Ok(())
    }
}

/// What has come of a load.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    /// Handed to a worker.
    pub(crate) sent: u64,
    /// Due, but all workers were waiting for answers.
    pub(crate) unsent: u64,
    /// Answered with 2xx or 3xx.
    pub(crate) ok: u64,
    /// GETs that failed: none may, while a good version stands behind the gateway.
    pub(crate) idempotent: Failures,
    /// POSTs that failed.
    pub(crate) other: Failures,
    /// Answers by what the server calls itself in `X-Served-By`; empty when it doesn't.
    pub(crate) served_by: BTreeMap<String, u64>,
    latencies: BTreeMap<u32, u64>,
}

impl Tally {
    /// Adds what came of one request.
    pub(crate) fn count(&mut self, outcome: Outcome) {
        *self.latencies.entry(bucket(outcome.latency)).or_default() += 1;
        let kind = match outcome.result {
            Ok(answer) => {
                let server = answer.header("x-served-by").unwrap_or_default();
                match self.served_by.get_mut(server) {
                    Some(count) => *count += 1,
                    None => _ = self.served_by.insert(server.to_owned(), 1),
                }
                if answer.status < 400 {
                    self.ok += 1;
                    return;
                }
                format!("answered {}", answer.status)
            }
            Err(broken) => broken.as_str().to_owned(),
        };
        let failures = if outcome.is_idempotent { &mut self.idempotent } else { &mut self.other };
        failures.count(kind, outcome.at);
    }

    /// Requests that failed, of any kind.
    pub(crate) fn failed(&self) -> u64 {
        self.idempotent.count + self.other.count
    }

    /// The latency that a share of all requests stayed below; `None` before the first.
    pub(crate) fn latency(&self, share: f64) -> Option<Duration> {
        self.latency_since(&Self::default(), share)
    }

    /// The same of the requests that ended since `earlier`.
    pub(crate) fn latency_since(&self, earlier: &Self, share: f64) -> Option<Duration> {
        let before = |bucket: &u32| earlier.latencies.get(bucket).copied().unwrap_or_default();
        let fresh = || self.latencies.iter().map(|(bucket, count)| (*bucket, count - before(bucket)));
        let total: u64 = fresh().map(|(_, count)| count).sum();
        let rank = ((total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        fresh().find_map(|(bucket, count)| {
            seen += count;
            (seen >= rank).then(|| upper_bound(bucket))
        })
    }

    /// Answers since `earlier`, by server.
    pub(crate) fn served_since(&self, earlier: &Self) -> BTreeMap<String, u64> {
        let before = |server: &String| earlier.served_by.get(server).copied().unwrap_or_default();
        let fresh = self.served_by.iter().map(|(server, count)| (server.clone(), count - before(server)));
        fresh.filter(|(_, count)| *count > 0).collect()
    }

    /// One line about what happened since `earlier`: `200 sent · 200 ok · 0 failed · 1.7.3 99 % · 1.8.0 1 %`.
    pub(crate) fn line_since(&self, earlier: &Self) -> String {
        let served = self.served_since(earlier);
        let total: u64 = served.values().sum();
        let shares = served.iter().map(|(server, count)| {
            let version = server.split([' ', '/']).nth(1).unwrap_or("unnamed server");
            format!(" · {version} {:.1} %", *count as f64 * 100.0 / total as f64)
        });
        format!(
            "{} sent · {} ok · {} failed{}",
            self.sent - earlier.sent,
            self.ok - earlier.ok,
            self.failed() - earlier.failed(),
            shares.collect::<String>()
        )
    }
}

/// The whole report.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "sent {}, not sent {}, ok {}", self.sent, self.unsent, self.ok)?;
        writeln!(f, "failed idempotent (GET)   {}", self.idempotent)?;
        writeln!(f, "failed other (POST)       {}", self.other)?;
        for (server, count) in &self.served_by {
            let server = if server.is_empty() { "a server without a name" } else { server };
            writeln!(f, "answered by {server}: {count}")?;
        }
        if let (Some(p50), Some(p99)) = (self.latency(0.5), self.latency(0.99)) {
            writeln!(
                f,
                "latency p50 {:.1} ms, p99 {:.1} ms",
                p50.as_secs_f64() * 1e3,
                p99.as_secs_f64() * 1e3
            )?;
        }
        Ok(())
    }
}

fn bucket(latency: Duration) -> u32 {
    let micros = (latency.as_micros() as f64).max(1.0);
    (micros.log2() * BUCKETS_PER_DOUBLING) as u32
}

fn upper_bound(bucket: u32) -> Duration {
    Duration::from_secs_f64((f64::from(bucket + 1) / BUCKETS_PER_DOUBLING).exp2() / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(is_idempotent: bool, millis: u64, result: Result<Answer, Broken>) -> Outcome {
        Outcome {
            is_idempotent,
            latency: Duration::from_millis(millis),
            at: Duration::from_millis(millis),
            result,
        }
    }

    #[test]
    fn failures_are_kept_by_method_with_their_times() {
        let mut tally = Tally::default();
        tally.count(outcome(true, 900, Err(Broken::TimedOut)));
        tally.count(outcome(false, 300, Err(Broken::Closed)));
        tally.count(outcome(false, 700, Err(Broken::Closed)));
        tally.count(outcome(false, 500, Err(Broken::Refused)));
        assert_eq!(tally.idempotent.to_string(), "1 (1 × no answer in time; at 0.9 s to 0.9 s)");
        assert_eq!(
            tally.other.to_string(),
            "3 (2 × closed before the answer, 1 × connection refused; at 0.3 s to 0.7 s)"
        );
        assert_eq!((tally.ok, tally.failed()), (0, 4));
    }

    #[test]
    fn latencies_are_right_to_a_tenth() {
        let mut tally = Tally::default();
        assert_eq!(tally.latency(0.5), None);
        for millis in 1..=1000 {
            tally.count(outcome(true, millis, Err(Broken::Closed)));
        }
        for (share, millis) in [(0.5, 500.0), (0.99, 990.0), (0.001, 1.0)] {
            let found = tally.latency(share).unwrap().as_secs_f64() * 1000.0;
            assert!((1.0..1.1).contains(&(found / millis)), "{share}: {found}");
        }
    }
}
