//! tokio, HTTP, auth, and the wiring of `tower` to the real world. Decides nothing.

mod bound;
mod clock;
pub mod collect;
pub mod doctor;
pub mod door;
pub mod engine;
pub mod evaluate;
pub mod exemplars;
pub mod families;
pub mod front;
pub mod hands;
pub mod page;
pub mod panel;
mod ports;
pub mod public;
pub mod query;
pub mod recall;
pub mod repo;
mod secret;
pub mod serve;
mod settings;
pub mod tls;

pub use engine::Engine;
