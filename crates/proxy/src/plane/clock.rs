//! The clock of a gateway process.

use hmsops_model::{Millis, Now, UnixMillis};
use rustix::time::{ClockId, clock_gettime};

/// Where a gateway reads the time.
pub trait Clock: Send + Sync {
    /// Both clocks, now.
    fn now(&self) -> Now;
}

/// The machine's own clocks: real time for records, monotonic time for spans.
#[derive(Debug, Clone, Copy, Default)]
pub struct MachineClock;

impl Clock for MachineClock {
    fn now(&self) -> Now {
        let millis = |id| {
            let time = clock_gettime(id);
            time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000)
        };
        Now {
            wall: UnixMillis(millis(ClockId::Realtime)),
            steady: Millis(millis(ClockId::Monotonic).max(0) as u64),
        }
    }
}
