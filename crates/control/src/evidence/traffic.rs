//! The last minute of a service's traffic, by second and arm.

use std::collections::VecDeque;

use hmsops_model::{ArmTick, Millis, Now, Tick, UnixMillis};

/// Seconds remembered.
const SECONDS_MAX: usize = 60;

/// A rate is that of so many seconds: long enough to be steady, short enough to be of now.
const RATE_SECS: u64 = 10;

/// One second of a service's traffic.
#[derive(Debug, Clone, Default)]
pub struct Second {
    /// The second, on the steady clock.
    pub second: u64,
    /// What stable answered.
    pub stable: ArmTick,
    /// What the canary answered.
    pub canary: ArmTick,
}

/// The last minute of a service's traffic.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    seconds: VecDeque<Second>,
    /// When a tick last came, on both clocks.
    pub last_tick: Option<(Millis, UnixMillis)>,
}

impl Traffic {
    /// Takes in one tick.
    pub fn observe(&mut self, now: Now, tick: &Tick) {
        let second = now.steady.0 / 1000;
        if self.seconds.back().is_none_or(|last| last.second != second) {
            self.seconds.push_back(Second { second, ..Second::default() });
            if self.seconds.len() > SECONDS_MAX {
                self.seconds.pop_front();
            }
        }
        if let Some(last) = self.seconds.back_mut() {
            last.stable.add(&tick.stable);
            last.canary.add(&tick.canary);
        }
        self.last_tick = Some((now.steady, now.wall));
    }

    /// The seconds remembered that are not older than `span`, oldest first.
    pub fn last(&self, now: Now, span: Millis) -> impl Iterator<Item = &Second> {
        let begin = now.steady.since(span).0 / 1000;
        self.seconds.iter().filter(move |second| second.second >= begin)
    }

    /// Requests a second to both arms, over the last ten whole seconds, or as many as are known: after a restart the
    /// first ones are no quiet ones. `None`: not one is.
    pub fn rate(&self, now: Now) -> Option<f64> {
        let whole = now.steady.0 / 1000;
        // The first second known is seldom whole.
        let known_since = self.seconds.front().map_or(whole, |first| first.second + 1);
        let begin = known_since.max(whole.saturating_sub(RATE_SECS));
        let lately = self.seconds.iter().filter(|known| (begin..whole).contains(&known.second));
        let requests: u64 = lately.map(|known| known.stable.requests + known.canary.requests).sum();
        let secs = whole.saturating_sub(begin);
        (secs > 0).then(|| requests as f64 / secs as f64)
    }

    /// Sums of stable and canary over the last `span`.
    pub fn sum(&self, now: Now, span: Millis) -> (ArmTick, ArmTick) {
        let mut sum = (ArmTick::default(), ArmTick::default());
        for second in self.last(now, span) {
            sum.0.add(&second.stable);
            sum.1.add(&second.canary);
        }
        sum
    }
}
