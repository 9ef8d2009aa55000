//! Times in which nothing new goes out.

use serde::{Deserialize, Serialize};

use crate::{Millis, UnixMillis};

/// A time in which no release begins or goes further. What goes back always may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// When.
    #[serde(flatten)]
    pub when: FreezeSpan,
    /// Why, one line for people.
    #[serde(default)]
    pub why: Option<String>,
}

/// When a freeze is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "freeze", rename_all = "kebab-case")]
pub enum FreezeSpan {
    /// Once.
    Once {
        /// From this moment on.
        from: UnixMillis,
        /// Until this moment, later than `from`.
        to: UnixMillis,
    },
    /// Every week, by the clocks of a place.
    Weekly {
        /// From this time on.
        from: WeekTime,
        /// Until the next such time, not `from` itself.
        to: WeekTime,
        /// The place, a name of the IANA time zone database that is compiled in.
        zone: String,
    },
}

/// A time of the week: minutes since Monday 00:00, 0 to 10 079.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct WeekTime(u16);

/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// Days as they are written and shown, Monday first.
pub const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

impl WeekTime {
    /// `None` unless the day is 0 (Monday) to 6, the hour at most 23 and the minute at most 59.
    pub const fn new(day: u8, hour: u8, minute: u8) -> Option<Self> {
        if day < 7 && hour < 24 && minute < 60 {
            Some(Self(day as u16 * DAY + hour as u16 * 60 + minute as u16))
        } else {
            None
        }
    }

    /// The day, 0 is Monday.
    pub const fn day(self) -> u8 {
        (self.0 / DAY) as u8
    }

    /// Hour and minute of the day.
    pub const fn clock(self) -> (u8, u8) {
        ((self.0 % DAY / 60) as u8, (self.0 % 60) as u8)
    }
}

impl TryFrom<u16> for WeekTime {
    type Error = String;
    fn try_from(minutes: u16) -> Result<Self, String> {
        if minutes < 7 * DAY { Ok(Self(minutes)) } else { Err(format!("minute {minutes} is in no week")) }
    }
}

impl From<WeekTime> for u16 {
    fn from(at: WeekTime) -> u16 {
        at.0
    }
}

/// `Fri 16:00`.
impl std::fmt::Display for WeekTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (hour, minute) = self.clock();
        write!(f, "{} {hour:02}:{minute:02}", DAYS[usize::from(self.day()) % DAYS.len()])
    }
}

/// Which versions a service goes back to without a canary when they are deployed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackWindow {
    /// So many proven versions before the present one; 0: none.
    pub versions: u32,
    /// And stable not longer ago than this.
    pub age: Millis,
}

impl Default for RollbackWindow {
    /// Three versions, seven days: what is still warm in people's memory and was on the same data.
    fn default() -> Self {
        Self { versions: 3, age: Millis::from_mins(7 * 24 * 60) }
    }
}
