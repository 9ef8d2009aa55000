//! The one clock of the program.

use std::time::{SystemTime, UNIX_EPOCH};

use hmsops_model::{Millis, Now, UnixMillis};
use rustix::time::{ClockId, clock_gettime};

/// The one clock. Its steady side is the machine's boot-time clock, shifted so that it never shows less than what
/// the ledger's last entry says, also after the machine was started anew.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Added to the boot-time clock, in milliseconds.
    offset: u64,
}

impl Clock {
    /// A clock that goes on from `last`, the newest moment in the ledger.
    pub fn after(last: Option<Now>) -> Self {
        let clock = Self { offset: 0 };
        let Some(last) = last else { return clock };
        let now = clock.now();
        if now.steady >= last.steady {
            return clock;
        }
        // The machine was started anew: the wall clock says how long that took, unless it was set back.
        let away = now.wall.since(last.wall);
        Self { offset: (last.steady + away).since(now.steady).0 }
    }

    /// What both clocks show.
    #[expect(clippy::disallowed_methods, reason = "this is the one clock")]
    pub fn now(self) -> Now {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let boot = clock_gettime(ClockId::Boottime);
        let boot_ms = boot.tv_sec as u64 * 1000 + boot.tv_nsec as u64 / 1_000_000;
        Now { wall: UnixMillis(since_epoch.as_millis() as i64), steady: Millis(boot_ms + self.offset) }
    }
}
