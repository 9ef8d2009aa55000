//! What the gateway refused, by reason, and what else its tower shows of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why the gateway refused a request or ended a connection; on its own answers the value of the field
/// `hmsops-gateway`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The head can't be read, or can be read in two ways.
    BadRequest,
    /// No service has this host.
    NoRoute,
    /// The service has nothing that answers.
    NoUpstream,
    /// `CONNECT`.
    Method,
    /// The client was slow with its request.
    Slow,
    /// The service refused the connection.
    Refused,
    /// The service broke off, or answered what is no HTTP.
    Broken,
    /// The service did not answer in time.
    Timeout,
    /// The body is too long.
    BodySize,
    /// The head is too long, or has too many fields.
    HeadSize,
    /// The target is too long.
    TargetSize,
    /// More requests than the service or the client is granted.
    Rate,
    /// All places at the upstream are taken.
    Busy,
    /// The gateway has no means left: file descriptors, ports, memory.
    Overloaded,
    /// The client's address has all the connections it may have.
    Connections,
    /// The client does not read its answer.
    SlowReader,
}

impl Why {
    const ALL: [Self; 16] = [
        Self::BadRequest,
        Self::NoRoute,
        Self::NoUpstream,
        Self::Method,
        Self::Slow,
        Self::Refused,
        Self::Broken,
        Self::Timeout,
        Self::BodySize,
        Self::HeadSize,
        Self::TargetSize,
        Self::Rate,
        Self::Busy,
        Self::Overloaded,
        Self::Connections,
        Self::SlowReader,
    ];

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::NoRoute => "no-route",
            Self::NoUpstream => "no-upstream",
            Self::Method => "method",
            Self::Slow => "request-timeout",
            Self::Refused => "refused",
            Self::Broken => "broken",
            Self::Timeout => "timeout",
            Self::BodySize => "body-size",
            Self::HeadSize => "head-size",
            Self::TargetSize => "target-size",
            Self::Rate => "rate",
            Self::Busy => "busy",
            Self::Overloaded => "overloaded",
            Self::Connections => "connections",
            Self::SlowReader => "slow-reader",
        }
    }

    /// Whether what the client sends next can't be told from this request, or is not wanted.
    pub(super) const fn ends_connection(self) -> bool {
        matches!(
            self,
            Self::BadRequest | Self::Method | Self::Slow | Self::BodySize | Self::HeadSize | Self::TargetSize
        )
    }
}

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct Meter {
    refused: [AtomicU64; Why::ALL.len()],
    /// Upstreams that were ejected.
    pub(super) ejections: AtomicU64,
    /// Tries at another upstream, or at stable for the canary, that the budget did not allow.
    pub(super) over_budget: AtomicU64,
}

impl Meter {
    pub(super) fn refuse(&self, why: Why) {
        if let Some(count) = self.refused.get(why as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A client's connection ended with this: what could not be read as a request was answered by the library.
    pub(super) fn broken(&self, error: &hyper::Error) {
        if error.is_parse_too_large() {
            self.refuse(Why::HeadSize);
        } else if error.is_parse() {
            self.refuse(Why::BadRequest);
        } else if error.is_timeout() {
            self.refuse(Why::Slow);
        }
    }

    /// What was refused at all, by reason.
    pub(super) fn refused(&self) -> BTreeMap<String, u64> {
        let counts = Why::ALL.iter().zip(&self.refused);
        let counts = counts.map(|(why, count)| (why.text().to_owned(), count.load(Ordering::Relaxed)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_count() {
        for (at, why) in Why::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, at);
            let meter = Meter::default();
            meter.refuse(why);
            assert_eq!(meter.refused(), [(why.text().to_owned(), 1)].into());
        }
    }
}
