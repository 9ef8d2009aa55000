//! Bytes to nouns and back: the formats that hmsops speaks with others.
//!
//! Refuses: sockets, a clock, files. Entry points: [`gateway`], the protocol between tower and gateway;
//! [`api`], the JSON of the tower's own resources; [`collector`], what programs emit; [`remote_write`], what other
//! collectors send; [`remote_read`], what they ask for; [`otlp`], what OpenTelemetry sends; [`exposition`], what is
//! scraped; [`prometheus`], what queries are answered with.

pub mod api;
pub mod collector;
mod error;
pub mod exposition;
pub mod gateway;
pub mod otlp;
pub mod prometheus;
mod protobuf;
pub mod remote_read;
pub mod remote_write;

pub use error::WireError;
