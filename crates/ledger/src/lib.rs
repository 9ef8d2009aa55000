//! The append-only record: numbered entries in a framed log, hashed into a Merkle tree, anchored by
//! checkpoints, shortened at start by snapshots.
//!
//! Refuses: knowing what an entry means. It keeps the envelope and the bytes. Entry point: [`Ledger`] and
//! [`FileLedger`]. The format is drawn in `docs/format.md`.

pub mod canonical;
pub mod checkpoint;
pub mod entry;
pub mod error;
pub mod file_ledger;
pub mod hash;
pub mod ledger;
pub mod moment;
pub mod reader;
pub mod side;
pub mod snapshot;
pub mod tree;
pub mod verify;
mod walk;

pub use entry::{Draft, Entry, Outcome};
pub use error::{Finding, LedgerError, Position};
pub use file_ledger::{FileLedger, Recovered};
pub use hash::Hash;
pub use ledger::Ledger;
pub use reader::{LedgerReader, Order};
pub use side::{Chain, FileSideLog, SideLog, scan_side};
pub use snapshot::Snapshot;
pub use tree::Tree;
pub use verify::{Report, verify};
