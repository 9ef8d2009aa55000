//! The tower's thinking: what happened goes in, what shall be true from now on comes out.
//!
//! `observe(now, &event)` folds probes and ticks into the volatile [`Evidence`]; `decide(&State, &Evidence,
//! now, &Event)` answers with [`Transition`]s; [`State::apply`] makes them so; [`effects`] says what has to be
//! done about each. The ledger holds transitions, so recovery runs only `apply` and never decides again.
//!
//! Refuses: I/O, a clock, async, threads, randomness.

pub mod access;
pub mod decide;
pub mod effect;
pub mod event;
pub mod evidence;
pub mod freeze;
pub mod headline;
pub mod incident;
pub mod people;
pub mod release;
pub mod replay;
pub mod sentence;
pub mod signal;
pub mod state;
pub mod transition;
pub mod transport;

pub use decide::{decide, due, frozen, retreats_due, told_of, told_of_glass};
pub use effect::{Effect, effects, probe_targets, route_of};
pub use event::{
    Command, Event, GatewayReport, HealReport, InstanceReport, NoticeReport, Refusal, RefusalKind, Who,
};
pub use evidence::Evidence;
pub use signal::Signal;
pub use state::{State, service::Service};
pub use transition::{Transition, Verdict};
pub use transport::TransportReport;
