//! What the tower needs of a ledger, wherever it is kept.

use hmsops_model::{Millis, Now};

use crate::{Draft, Entry, Hash, LedgerError};

/// The append-only record. One writer.
pub trait Ledger: Send {
    /// Records all drafts or none, in order, durably: they are there after any crash once this answers `Ok`.
    /// A steady clock that is behind the last entry's is recorded as the last entry's.
    ///
    /// A draft that is refused ([`LedgerError::Draft`], [`LedgerError::TooLarge`]) leaves the ledger as it was.
    /// After any other error the ledger latches and answers [`LedgerError::Latched`] until reopened; if the
    /// program ends before that, the drafts may turn out to be recorded, all of them or none.
    fn append(&mut self, now: Now, drafts: Vec<Draft>) -> Result<Vec<Entry>, LedgerError>;

    /// Keeps `state`, what all entries so far amount to, so that the next start need not read them, and
    /// records its hash. Answers the entry `ledger.snapshot`. Removes no entry.
    fn snapshot(&mut self, now: Now, state: &[u8]) -> Result<Entry, LedgerError>;

    /// After a latch: cuts what was not acknowledged and takes entries again. On an error it stays latched.
    fn reopen(&mut self) -> Result<(), LedgerError>;

    /// Anchors what is recorded. The ledger can be used on.
    fn close(&mut self) -> Result<(), LedgerError>;

    /// How many entries are recorded; the number of the next one.
    fn size(&self) -> u64;

    /// The root of the Merkle tree over them.
    fn root(&self) -> Hash;

    /// Why nothing is taken, if so.
    fn latched(&self) -> Option<String>;

    /// The steady clock in the last entry, from which a restarted tower's clock goes on.
    fn last_steady(&self) -> Millis;
}
