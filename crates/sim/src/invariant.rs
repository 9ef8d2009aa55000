//! What must be true at every moment, named once.

use std::fmt;

/// What must be true at every moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// A canary's share is in force only if a durable ledger line granted at least that share.
    NoLineNoAdvance,
    /// What was retreated gets no request again until a person says so.
    RetreatedStaysRetreated,
    /// An instance is started at most once.
    NoEffectTwice,
    /// No request is sent to an instance that the tower has stopped.
    StableUntouched,
    /// The ledger verifies after every crash.
    LedgerVerifies,
    /// State read back from the ledger is the state that was.
    StateIsAFold,
    /// A broken release with enough traffic is off within 30 s (M04).
    TakenBackInTime,
    /// A denied version is not deployed.
    DeniedStaysDenied,
    /// Everything that was begun ends.
    StoryEnds,
    /// Nothing advances while the ledger fails.
    FailsClosed,
    /// The same seed gives the same bytes.
    SameSeedSameBytes,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// Seconds since the story began.
    pub at_secs: u64,
    /// What was found.
    pub what: String,
}
