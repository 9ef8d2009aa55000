//! The metric store: samples by series, from the write-ahead log through memory to files of chunks.
//!
//! Owns: durability, order and repeats of samples, the index of labels, retention, the budget of series.
//! Refuses: the query language, which meets it at `SeriesSource`; HTTP; a clock, which is handed in.
//! The formats are drawn byte by byte in `docs/format.md`. Start reading at `store.rs`, then `checkpoint.rs`.

pub mod batch;
mod bits;
mod bytes;
pub mod cardinality;
pub mod checkpoint;
mod chunk;
mod columns;
mod decimal;
pub mod error;
mod head;
mod index;
mod manifest;
pub mod options;
mod origins;
mod pattern;
mod plain;
pub mod recover;
mod reset;
mod segment;
mod select;
mod series;
mod snapshot;
pub mod stats;
pub mod store;
mod value;
mod wal;
mod xor;

pub use batch::{Appended, Batch, Key, Origin, Refused, Row};
pub use checkpoint::Maintained;
pub use error::StoreError;
pub use options::Options;
pub use recover::Recovered;
pub use stats::Stats;
pub use store::Store;
