//! The data path, one file per hop, in the order data takes: an event is observed, decided upon, written down,
//! applied and acted on. Synchronous; generic over clock, disk, gateway and actuators, which are handed in.
//!
//! Refuses: tokio, sockets, files, clocks. `server` wires it to the real world, `sim` to a simulated one.

pub mod controls;
pub mod flow;
pub mod port;
pub mod sentinel;

pub use flow::{Handled, Snapshot, Tower, TowerError, decode_line, decode_seen};
pub use port::{Hands, SideLog, Spill};
pub use sentinel::Sentinel;
