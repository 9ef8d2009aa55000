//! What the tower needs of the world, beside its ledger.

use hmsops_control::Effect;
use hmsops_model::ReleaseId;

/// Whatever carries effects out. Must not block: it queues and returns.
pub trait Hands {
    /// Carries out, some time soon; what comes of it arrives as an event.
    fn perform(&mut self, effect: Effect);
}

/// The preallocated local file for retreats, which works on a full disk.
pub trait Spill {
    /// Tries to make a line durable, and gives up within 50 ms. Returns whether it is durable.
    fn put(&mut self, line: Vec<u8>) -> bool;
    /// All lines that were put since it was last cleared.
    fn lines(&mut self) -> Vec<Vec<u8>>;
    /// Forgets them: the ledger has them now.
    fn clear(&mut self);
}

/// Where the evidence of releases is kept: not decisions, so not hashed line by line, but the verdict holds the
/// hash of the whole.
pub trait SideLog {
    /// Keeps lines of a release, in order. A failure is answered `false` and loses evidence, not decisions.
    fn append(&mut self, release: ReleaseId, lines: &[Vec<u8>]) -> bool;
    /// All lines of a release, oldest first.
    fn read(&mut self, release: ReleaseId) -> Vec<Vec<u8>>;
    /// SHA-256 over all lines of a release, in hexadecimal; `None` when there are none.
    fn sha256(&mut self, release: ReleaseId) -> Option<String>;
    /// Forgets a release.
    fn remove(&mut self, release: ReleaseId);
}
