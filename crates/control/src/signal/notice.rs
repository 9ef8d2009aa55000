//! Messages to people: intended first, delivered at least once, or given up and said so.

use hmsops_model::{AlertId, GlassId, Millis, NoticeId, Now, ReleaseId, TicketId};
use serde::{Deserialize, Serialize};

/// A notice that could not be delivered for so long is given up: a day later nobody is helped by it.
pub const NOTICE_AGE_MAX: Millis = Millis::from_mins(60 * 24);

/// The first retry comes after this, then each after twice as long.
pub const RETRY_FIRST: Millis = Millis::from_secs(2);

/// The longest wait between two tries.
pub const RETRY_MAX: Millis = Millis::from_mins(10);

/// A message to one receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Which; also its idempotency key.
    pub id: NoticeId,
    /// A mail address or the name of a webhook.
    pub receiver: String,
    /// What it is about.
    pub about: About,
    /// Why it is sent.
    pub occasion: Occasion,
    /// One line.
    pub subject: String,
    /// The message.
    pub text: String,
    /// When it was intended.
    pub intended_at: Now,
    /// Tries that failed.
    pub attempts: u32,
    /// Why the last one failed.
    pub error: Option<String>,
    /// When it is tried again, on the steady clock.
    pub due_at: Millis,
    /// How it ended.
    pub ended: Option<NoticeEnd>,
}

/// What a notice is about. Notices about the same thing to the same receiver arrive in order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "kebab-case")]
pub enum About {
    /// An alert.
    Alert(AlertId),
    /// A release.
    Release(ReleaseId),
    /// A ticket.
    Ticket(TicketId),
    /// A use of the break-glass.
    Glass(GlassId),
    /// Nothing: a person tries whether it arrives.
    Test(u64),
}

/// Why a notice is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Occasion {
    /// An alert fired.
    Fired,
    /// It resolved.
    Resolved,
    /// A release was taken back.
    RolledBack,
    /// A release does not go on, or back, without a person.
    Held,
    /// It no longer waits for one.
    HoldEnded,
    /// A person has to take over.
    TakeOver,
    /// Somebody has broken the glass.
    GlassBroken,
    /// Its rights have ended.
    GlassEnded,
    /// Nobody has looked yet at what was done with it.
    GlassWaits,
    /// A person tries whether it arrives.
    Test,
}

/// How a notice ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "kebab-case")]
pub enum NoticeEnd {
    /// The receiver took it.
    Delivered {
        /// When.
        at: Now,
        /// What it answered.
        receipt: String,
    },
    /// It was given up.
    Dead {
        /// When.
        at: Now,
        /// Why.
        why: String,
    },
}

impl About {
    /// As it is written: `a-12`, `r-4`, `t-1`, `test`.
    pub fn words(&self) -> String {
        match self {
            Self::Alert(id) => id.to_string(),
            Self::Release(id) => id.to_string(),
            Self::Ticket(id) => id.to_string(),
            Self::Glass(id) => id.to_string(),
            Self::Test(_) => "test".into(),
        }
    }
}

impl Notice {
    /// Whether it is still to be delivered.
    pub const fn is_waiting(&self) -> bool {
        self.ended.is_none()
    }

    /// When the try after the one that has just failed is due: twice as long as before, or what the receiver asked.
    pub fn retry_after(&self, asked: Option<Millis>) -> Millis {
        let doubled = RETRY_FIRST.0.saturating_mul(1 << self.attempts.min(20));
        Millis(
            asked
                .map_or(doubled, |asked| asked.0.max(doubled))
                .min(RETRY_MAX.0.max(asked.map_or(0, |a| a.0.min(3_600_000)))),
        )
    }
}
