//! A share of traffic.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A share of traffic in basis points: 0 is none, 10 000 is all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Weight(u16);

impl Weight {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(10_000);

    /// From basis points, `None` above 10 000.
    pub const fn from_bp(bp: u16) -> Option<Self> {
        if bp <= 10_000 { Some(Self(bp)) } else { None }
    }

    /// In basis points, 0 to 10 000.
    pub const fn bp(self) -> u16 {
        self.0
    }

    /// As a share, 0 to 1.
    pub fn share(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

impl TryFrom<u16> for Weight {
    type Error = String;
    fn try_from(bp: u16) -> Result<Self, String> {
        Self::from_bp(bp).ok_or_else(|| format!("weight of {bp} basis points is more than 10 000"))
    }
}

impl From<Weight> for u16 {
    fn from(weight: Weight) -> u16 {
        weight.0
    }
}

/// In per cent without trailing zeros: `1 %`, `0.25 %`.
impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        match rest {
            0 => write!(f, "{whole} %"),
            rest if rest % 10 == 0 => write!(f, "{whole}.{} %", rest / 10),
            rest => write!(f, "{whole}.{rest:02} %"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_print_as_per_cent() {
        for (bp, text) in [(100, "1 %"), (25, "0.25 %"), (2550, "25.5 %"), (10_000, "100 %"), (1, "0.01 %")] {
            assert_eq!(Weight::from_bp(bp).unwrap().to_string(), text);
        }
        assert_eq!(Weight::from_bp(10_001), None);
    }
}
