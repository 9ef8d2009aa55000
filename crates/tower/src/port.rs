//! What the tower needs of the world, beside its ledger.

use hmsops_control::Effect;

pub use hmsops_ledger::SideLog;

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
