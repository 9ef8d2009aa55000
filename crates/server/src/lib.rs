//! tokio, HTTP, auth, and the wiring of `tower` to the real world. Decides nothing.

pub mod clock;
pub mod door;
pub mod engine;
pub mod page;
pub mod serve;

pub use engine::Engine;
