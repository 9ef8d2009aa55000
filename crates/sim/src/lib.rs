//! The seeded simulator: the same tower, ledger, split and outcome fold as in production, with a simulated clock,
//! disk, gateway, network, services and people. One seed is one rollout; the same seed gives the same bytes.
//!
//! Refuses: being shipped. Entry points: [`story::run`], [`kills::tell`], [`report::survey`].

pub mod bounds;
pub mod dice;
pub mod gateway;
pub mod instance;
pub mod invariant;
pub mod kills;
pub mod latency;
pub mod mishap;
pub mod pair;
pub mod peers;
pub mod prober;
pub mod report;
pub mod story;
pub mod survey;
pub mod table;
pub mod users;
pub mod world;
