//! Moments and spans. Nothing here reads a clock: whoever has one hands a [`Now`] in.

use std::fmt;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// A moment of the wall clock: milliseconds since 1970-01-01T00:00:00Z. For records and people only;
/// spans are never computed from it, because it jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub i64);

/// A span of time, or a moment of the tower's own steady clock, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

/// What both clocks show. `steady` never goes back, also over restarts of the tower (it goes on from
/// the ledger's last entry), and is what every duration is measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Now {
    /// For records.
    pub wall: UnixMillis,
    /// For durations.
    pub steady: Millis,
}

impl Millis {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// From whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1000)
    }

    /// From whole minutes.
    pub const fn from_mins(mins: u64) -> Self {
        Self(mins * 60_000)
    }

    /// In seconds, for arithmetic and display.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// The span from `earlier` to `self`, zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

impl Add for Millis {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Millis {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.since(other)
    }
}

impl UnixMillis {
    /// The span from `earlier` to `self`, zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Millis {
        let span = self.0.saturating_sub(earlier.0);
        Millis(if span < 0 { 0 } else { span as u64 })
    }
}

/// As the contract writes spans: `300 ms`, `1.9 s`, `30 s`, `5 min`, `2 h`, `1 d 12 h`.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0;
        match ms {
            0 => f.write_str("0 s"),
            1..1000 => write!(f, "{ms} ms"),
            1000..60_000 if ms % 1000 < 50 => write!(f, "{} s", ms / 1000),
            1000..60_000 => write!(f, "{}.{} s", ms / 1000, ms % 1000 / 100),
            _ => {
                let secs = ms / 1000;
                let parts = [
                    (secs / 86_400, "d"),
                    (secs / 3600 % 24, "h"),
                    (secs / 60 % 60, "min"),
                    (secs % 60, "s"),
                ];
                let mut shown = parts.iter().skip_while(|(n, _)| *n == 0).take(2).filter(|(n, _)| *n > 0);
                if let Some((n, unit)) = shown.next() {
                    write!(f, "{n} {unit}")?;
                }
                shown.try_for_each(|(n, unit)| write!(f, " {n} {unit}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_people_write_them() {
        for (ms, text) in [
            (0, "0 s"),
            (300, "300 ms"),
            (1900, "1.9 s"),
            (30_000, "30 s"),
            (300_000, "5 min"),
            (7_200_000, "2 h"),
            (129_600_000, "1 d 12 h"),
            (90_000, "1 min 30 s"),
        ] {
            assert_eq!(Millis(ms).to_string(), text);
        }
    }
}
