//! The ledger through its door: what is recorded stays, what is changed behind its back is named.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crash;
mod kit;
mod recover;
mod tamper;
