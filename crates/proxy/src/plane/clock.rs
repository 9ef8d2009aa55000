//! The clock of a gateway process.

use hmsops_model::{Millis, Now, UnixMillis};
use rustix::time::{ClockId, clock_gettime};

/// Where a gateway reads the time.
pub trait Clock: Send + Sync {
    /// Both clocks, now.
    fn now(&self) -> Now;

    /// Both clocks as of a few milliseconds ago at most: for what need not be told in order.
    fn about_now(&self) -> Now {
        self.now()
    }
}

/// The machine's own clocks: real time for records, monotonic time for spans.
#[derive(Debug, Clone, Copy, Default)]
pub struct MachineClock;

impl Clock for MachineClock {
    fn now(&self) -> Now {
        read(ClockId::Realtime, ClockId::Monotonic)
    }

    /// The kernel's last tick (clock_getres(2): 1 to 10 ms), which is there to be read; the exact time is computed.
    fn about_now(&self) -> Now {
        read(ClockId::RealtimeCoarse, ClockId::MonotonicCoarse)
    }
}

fn read(wall: ClockId, steady: ClockId) -> Now {
    let millis = |id| {
        let time = clock_gettime(id);
        time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000)
    };
    Now { wall: UnixMillis(millis(wall)), steady: Millis(millis(steady).max(0) as u64) }
}
