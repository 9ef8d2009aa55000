//! The store through its door, on disks in memory that crash, fail and fill up.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::float_cmp, reason = "what is stored comes back to the bit")]

mod append;
mod crash;
mod ground;
mod late;
mod read;
