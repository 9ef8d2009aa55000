//! Bytes to nouns and back: the formats that hmsops speaks with others.
//!
//! Refuses: sockets, a clock, files. Entry points: [`gateway`], the protocol between tower and gateway, and
//! [`api`], the JSON of the tower's own resources.

pub mod api;
pub mod gateway;
