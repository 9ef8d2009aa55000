//! Bytes to nouns and back: the formats that hmsops speaks with others.
//!
//! Refuses: sockets, a clock, files. Entry points: [`gateway`], the protocol between tower and gateway.

pub mod gateway;
