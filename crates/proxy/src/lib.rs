//! The data plane of `hmsops gateway`: splits a service's requests between stable and canary, counts what came
//! of them, shields users from the canary, and retreats by itself.
//!
//! [`split`], [`outcome`], [`ticks`], [`shield`], [`rate`], [`health`] and [`routes`] are pure: time is an argument, nothing is read or
//! sent, and the simulator drives them as the gateway does. [`plane`] is the part with sockets; its entry point
//! is [`plane::run`].
//!
//! Refuses: deciding weights. A gateway does what its tower set, or serves stable.

pub mod health;
pub mod outcome;
pub mod plane;
pub mod rate;
pub mod routes;
pub mod shield;
pub mod split;
pub mod ticks;
