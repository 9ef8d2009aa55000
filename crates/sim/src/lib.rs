//! The seeded simulator: the same tower, ledger, split and outcome fold as in production, with a simulated clock,
//! disk, gateway, network, services and people. One seed is one rollout; the same seed gives the same bytes.
//!
//! Refuses: being shipped. Entry point: [`story::run`].

pub mod dice;
pub mod gateway;
pub mod instance;
pub mod invariant;
pub mod report;
pub mod story;
pub mod world;
