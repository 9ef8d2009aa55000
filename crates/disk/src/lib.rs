//! The only way to a file: a [`Disk`] (real, in memory, faulty), and on it a framed, checksummed [`Log`],
//! group commit ([`GroupLog`]) and a preallocated [`Spill`] that works on a full disk.
//!
//! Refuses: meaning. It stores bytes and gives them back, or says where they are damaged. No wall clock.
//! The formats are drawn byte by byte in `docs/format.md`.

pub mod disk;
pub mod error;
pub mod faulty;
pub mod frame;
pub mod group;
pub mod log;
pub mod memory;
pub mod real;
pub mod spill;
pub mod spill_thread;

pub use disk::{Disk, DiskFile, DiskLock, Open};
pub use error::{DiskError, LogError};
pub use faulty::{Faults, FaultyDisk};
pub use group::GroupLog;
pub use log::{Log, Opened, Scan, Torn};
pub use memory::MemDisk;
pub use real::RealDisk;
pub use spill::Spill;
pub use spill_thread::{SpillOutcome, SpillThread};
