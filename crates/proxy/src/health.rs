//! When one of several upstreams of an arm is left alone for a while because it fails more than the others do, and how
//! it comes back. Pure: time is an argument.
//!
//! An upstream is ejected after [`FAULTS_MAX`] faults of its connection in a row, or when over a window it failed
//! clearly more often than the rest of its arm. Errors that all of them give are the version's, not an upstream's.
//! Never more than half of an arm is out.

use hmsops_model::Millis;

/// Faults in a row after which an upstream is ejected, as Envoy's `consecutive_gateway_failure`.
pub const FAULTS_MAX: u32 = 5;

/// The first ejection takes so long; each further one twice the one before.
pub const EJECTED_FOR: Millis = Millis::from_secs(5);

/// No ejection takes longer, as Envoy's `max_ejection_time`.
pub const EJECTED_FOR_MAX: Millis = Millis::from_mins(5);

/// After an ejection the share of requests rises to its full measure in this time: a process that has just started
/// has cold caches.
pub const SLOW_START: Millis = Millis::from_secs(10);

/// A slow start begins with this share.
const SLOW_START_SHARE: f64 = 0.1;

/// After so long without another ejection the next one is a first one again.
const FORGIVEN_AFTER: Millis = Millis::from_mins(5);

/// Requests of a window from which on a share of failures says something.
pub const WINDOW_REQUESTS_MIN: u64 = 20;

/// Failures must exceed the others' share by so many points, however sure it is.
const SHARE_MARGIN: f64 = 0.1;

/// And by so many standard errors: a chance of 3 in 100 000 for an upstream that is like the others.
const STANDARD_ERRORS: f64 = 4.0;

/// What an upstream answered in a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// Requests.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
}

/// Whether an upstream fails clearly more often than the others of its arm, which are taken together: a two-proportion
/// z test with pooled variance (Fleiss, Levin, Paik, "Statistical Methods for Rates and Proportions", §3.1).
pub fn is_outlier(own: Window, others: Window) -> bool {
    if own.requests < WINDOW_REQUESTS_MIN || others.requests < WINDOW_REQUESTS_MIN {
        return false;
    }
    let (n, m) = (own.requests as f64, others.requests as f64);
    let difference = own.failed as f64 / n - others.failed as f64 / m;
    let pooled = (own.failed + others.failed) as f64 / (n + m);
    let error = (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
    difference >= SHARE_MARGIN && difference > STANDARD_ERRORS * error
}

/// Whether one more of `all` upstreams may be ejected when `ejected` are: never more than half.
pub const fn may_eject(ejected: usize, all: usize) -> bool {
    (ejected + 1) * 2 <= all
}

/// One upstream's standing in its arm.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standing {
    /// When its last ejection ends.
    until: Option<Millis>,
    times: u32,
}

impl Standing {
    /// Leaves it alone from now on; returns until when.
    pub fn eject(&mut self, now: Millis) -> Millis {
        let forgiven = self.until.is_some_and(|until| now.since(until) >= FORGIVEN_AFTER);
        self.times = if forgiven { 0 } else { self.times };
        let span = EJECTED_FOR.0.saturating_mul(1 << self.times.min(16)).min(EJECTED_FOR_MAX.0);
        self.times = self.times.saturating_add(1);
        let until = now + Millis(span);
        self.until = Some(until);
        until
    }

    /// Whether it is left alone now.
    pub fn is_ejected(&self, now: Millis) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// The share of its usual requests that it is given, 0 to 1.
    pub fn share(&self, now: Millis) -> f64 {
        match self.until {
            None => 1.0,
            Some(until) if now < until => 0.0,
            Some(until) => (now.since(until).0 as f64 / SLOW_START.0 as f64).clamp(SLOW_START_SHARE, 1.0),
        }
    }

    /// From when on its share is whole again; `None`: it always was.
    pub fn whole_at(&self) -> Option<Millis> {
        self.until.map(|until| until + SLOW_START)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ejections_grow_and_are_forgiven() {
        let mut standing = Standing::default();
        let mut now = Millis(1000);
        let mut spans = Vec::new();
        for _ in 0..9 {
            let until = standing.eject(now);
            spans.push(until.since(now).0 / 1000);
            now = until;
        }
        assert_eq!(spans, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        let until = standing.eject(now + FORGIVEN_AFTER);
        assert_eq!(until.since(now + FORGIVEN_AFTER), EJECTED_FOR);
    }

    #[test]
    fn who_comes_back_starts_slowly() {
        let mut standing = Standing::default();
        assert!(standing.share(Millis(0)) >= 1.0);
        let until = standing.eject(Millis(1000));
        assert!(standing.is_ejected(Millis(1000)) && standing.share(Millis(1000)) <= 0.0);
        assert!(!standing.is_ejected(until));
        assert!((standing.share(until) - 0.1).abs() < 1e-9);
        assert!((standing.share(until + Millis(5000)) - 0.5).abs() < 1e-9);
        assert!(standing.share(until + SLOW_START) >= 1.0);
    }

    #[test]
    fn half_of_an_arm_stays() {
        let most = |all| (0..=all).find(|ejected| !may_eject(*ejected, all)).unwrap();
        assert_eq!([0, 1, 2, 3, 4, 5, 6].map(most), [0, 0, 1, 1, 2, 2, 3]);
    }

    #[test]
    fn only_who_fails_more_than_the_others_is_an_outlier() {
        let window = |requests, failed| Window { requests, failed };
        assert!(is_outlier(window(50, 50), window(50, 0)));
        assert!(is_outlier(window(100, 40), window(300, 3)));
        assert!(!is_outlier(window(50, 50), window(50, 50)), "errors of all are the version's");
        assert!(!is_outlier(window(19, 19), window(500, 0)), "too little is no evidence");
        assert!(!is_outlier(window(10_000, 300), window(10_000, 100)), "two points are no reason");
        assert!(!is_outlier(window(25, 6), window(25, 2)), "nor is chance");
    }
}
