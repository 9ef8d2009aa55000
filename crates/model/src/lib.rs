//! The nouns every room shares: ids, time, weights, service and release specs, what a gateway
//! counted, label sets and samples, and the limits.
//!
//! Refuses: I/O, a clock, formats. Types derive `serde` traits because they appear in the ledger, the
//! gateway protocol and the API; which bytes they become is decided in `wire`, `tower` and `ledger`.

pub mod condition;
pub mod freeze;
pub mod gateway;
pub mod haproxy;
pub mod ids;
pub mod instance;
pub mod labels;
pub mod limits;
pub mod network;
pub mod outcome;
pub mod person;
pub mod probe;
pub mod relabel;
pub mod release;
pub mod route;
pub mod rule;
pub mod sample;
pub mod scope;
pub mod scrape;
pub mod secret;
pub mod series;
pub mod service;
pub mod time;
pub mod token;
pub mod weight;

pub use ids::{
    AgentId, AlertId, DashName, Digest, GlassId, HealId, IncidentId, InstanceId, NoticeId, PersonId,
    ReleaseId, RuleName, ServiceName, SessionId, SilenceId, TicketId, TokenId, Version,
};
pub use labels::{Labels, MatchOp, Matcher};
pub use outcome::{ArmTick, BadKind, Latencies, Tick, Unit};
pub use person::{Identity, Role};
pub use relabel::{Relabel, RelabelAction};
pub use rule::{DashSpec, HealAction, OnNoData, PanelKind, PanelSpec, RuleGroup, RuleSpec};
pub use sample::{Histogram, Tally, Value};
pub use scope::Scope;
pub use scrape::ScrapeSpec;
pub use secret::{Secret, SecretRef};
pub use series::{Budget, Samples, Series, SeriesSource};
pub use time::{Millis, Now, UnixMillis};
pub use token::{TokenKind, TokenSpec};
pub use weight::Weight;
