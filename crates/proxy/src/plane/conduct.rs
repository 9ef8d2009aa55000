//! How the upstreams of an arm behave beside each other, and who is asked next.
//!
//! Only stable's upstreams are ejected. A canary's are judged by the release: to leave the failing half of a canary alone
//! would hide it from the verdict, and its users have the shield.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hmsops_model::Millis;

use super::upstream::Upstream;
use crate::health::{FAULTS_MAX, Standing, Window, is_outlier, may_eject};
use crate::split::Side;

/// Upstreams of one arm among which outliers are looked for; those beyond are asked, and never ejected.
const COMPARED_MAX: usize = 64;

/// One upstream's behaviour towards stable's requests.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    /// Faults in a row.
    faults: AtomicU32,
    requests: AtomicU64,
    failed: AtomicU64,
    /// Steady milliseconds until which its share is not whole, so that requests need no lock; 0: it always was.
    limited_until: AtomicU64,
    standing: Mutex<Standing>,
}

impl Conduct {
    fn standing(&self) -> MutexGuard<'_, Standing> {
        // A standing is two numbers, each whole.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn share(&self, now: Millis) -> f64 {
        if now.0 >= self.limited_until.load(Ordering::Relaxed) { 1.0 } else { self.standing().share(now) }
    }

    /// Whether it is left alone now.
    pub(super) fn is_ejected(&self, now: Millis) -> bool {
        now.0 < self.limited_until.load(Ordering::Relaxed) && self.standing().is_ejected(now)
    }

    fn eject(&self, now: Millis) -> Millis {
        let mut standing = self.standing();
        let until = standing.eject(now);
        self.limited_until.store(standing.whole_at().map_or(0, |at| at.0), Ordering::Relaxed);
        self.faults.store(0, Ordering::Relaxed);
        until
    }

    /// It answered, with an error of its own or without.
    pub(super) fn answered(&self, is_bad: bool) {
        if self.faults.load(Ordering::Relaxed) > 0 {
            self.faults.store(0, Ordering::Relaxed);
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(u64::from(is_bad), Ordering::Relaxed);
    }

    /// It gave no answer. Says whether there were too many such in a row.
    fn failed(&self) -> bool {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.faults.fetch_add(1, Ordering::Relaxed) + 1 >= FAULTS_MAX
    }

    /// What it answered since the last call.
    fn window(&self) -> Window {
        let failed = self.failed.swap(0, Ordering::Relaxed);
        // One that is counted in between is in the next window.
        Window { requests: self.requests.swap(0, Ordering::Relaxed).max(failed), failed }
    }
}

/// An ejection that has just begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ejection {
    pub(super) upstream: String,
    pub(super) until: Millis,
}

fn ejected(arm: &[Arc<Upstream>], now: Millis) -> usize {
    arm.iter().filter(|upstream| upstream.conduct.is_ejected(now)).count()
}

/// Which of an arm's upstreams is asked on this turn: the next in line that is not left alone and, after an ejection, has
/// its share; else the next in line. Those `tried` already are not.
pub(super) fn pick(
    arm: &[Arc<Upstream>],
    side: Side,
    turn: usize,
    tried: &[usize],
    now: Millis,
) -> Option<usize> {
    let line =
        || (0..arm.len()).map(|step| turn.wrapping_add(step) % arm.len()).filter(|at| !tried.contains(at));
    if side == Side::Canary || arm.len() == 1 {
        return line().next();
    }
    // The turn's place in a hundred, spread so that neighbours do not stand together.
    let lot = (turn as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let lot = lot as f64 / f64::from(u32::MAX);
    let accepts = |at: &usize| arm.get(*at).is_some_and(|upstream| lot < upstream.conduct.share(now));
    let is_out = |at: &usize| arm.get(*at).is_some_and(|upstream| upstream.conduct.is_ejected(now));
    // A route may have lost the upstreams that were well: with more than half out nobody is left alone.
    if ejected(arm, now) * 2 > arm.len() {
        return line().next();
    }
    line().find(accepts).or_else(|| line().find(|at| !is_out(at))).or_else(|| line().next())
}

/// One of stable's upstreams gave no answer. It is ejected when that has happened too often in a row and enough others
/// are left.
pub(super) fn fail(arm: &[Arc<Upstream>], at: usize, now: Millis) -> Option<Ejection> {
    let upstream = arm.get(at)?;
    let is_over = upstream.conduct.failed();
    (is_over && !upstream.conduct.is_ejected(now)).then(|| eject(arm, upstream, now)).flatten()
}

fn eject(arm: &[Arc<Upstream>], upstream: &Upstream, now: Millis) -> Option<Ejection> {
    let may = arm.len() <= COMPARED_MAX && may_eject(ejected(arm, now), arm.len());
    may.then(|| Ejection { upstream: upstream.address.clone(), until: upstream.conduct.eject(now) })
}

/// Looks for upstreams that failed more than the others since the last look, and ejects them.
pub(super) fn compare(arm: &[Arc<Upstream>], now: Millis) -> Vec<Ejection> {
    if arm.len() < 2 || arm.len() > COMPARED_MAX {
        return Vec::new();
    }
    let windows: Vec<Window> = arm.iter().map(|upstream| upstream.conduct.window()).collect();
    let all = windows.iter().fold(Window::default(), |all, window| Window {
        requests: all.requests + window.requests,
        failed: all.failed + window.failed,
    });
    let outliers = arm.iter().zip(&windows).filter(|(upstream, own)| {
        let others = Window { requests: all.requests - own.requests, failed: all.failed - own.failed };
        !upstream.conduct.is_ejected(now) && is_outlier(**own, others)
    });
    outliers.filter_map(|(upstream, _)| eject(arm, upstream, now)).collect()
}
