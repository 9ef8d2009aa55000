//! The JSON of `/hms/v1/…`: what the doors answer and the command line reads.
//!
//! Moments are texts, RFC 3339 in UTC with milliseconds; spans are whole milliseconds; shares of traffic are
//! basis points. A field that is not known is `null`, never a number that looks like one.

mod agent;
mod alert;
mod audit;
mod dash;
mod deploy;
mod doctor;
mod heal;
mod person;
mod probe;
mod problem;
mod release;
mod rule;
mod service;
mod token;

pub use agent::{Agent, Agents, Join, Joined, Plain, Renewal, Transport};
pub use alert::{Alert, Alerts, NewSilence, Silence, Silences};
pub use audit::{Entries, Entry, EntryOutcome, Verified};
pub use dash::{Dash, Dashes, Panel, PanelAdded, PanelPoints, Panels, Points, SeriesPoints};
pub use deploy::{
    Applied, Apply, Change, ChangeKind, Deploy, DeployGroup, File, Plan, PlanStep, Plans, Reason, Revert,
    Takeover,
};
pub use doctor::{Examination, Finding, Severity};
pub use heal::{Heal, HealStarted, Heals, HealsPaused, NewHeal, Notice, Notices, Receiver, Ticket, Tickets};
pub use person::{
    Account, Accounts, Approval, Approvals, FetchProgram, Glass, Glasses, LoggedIn, NewAccount, NewGlass,
    NewProgram, PasswordLogin, Program, Said, Session, Sessions,
};
pub use probe::{Probe, ProbeFact, ProbeLook, ProbeOrder, ProbeRun, ProbeRuns, ProbeWord, Probes};
pub use problem::{MEDIA_TYPE, Mistake, Problem};
pub use release::{
    Arm, EvidenceParts, Found, HeldFor, Measured, Phase, Point, Release, Releases, Replay, Started, Step, Why,
};
pub use rule::{NewRule, Rule, RuleDeclared, Rules};
pub use service::{Health, Service, Services, Stable};
pub use token::{NewToken, Revocation, Rotation, Token, TokenIssued, TokenRevoked, Tokens};

use serde::{Deserialize, Serialize};

/// The longest body that the doors take, in bytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// Who did something, and through which door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    /// `admin`, `token:ci`, `gateway public`, …
    pub actor: String,
    /// `api`, `page`, `repo`, `detector`, …
    pub source: String,
}

/// One message of `/hms/v1/stream`, event `state`: what has changed since the one before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// Rises with each change of state within one life of the tower.
    pub generation: u64,
    /// Services that changed, whole.
    pub services: Vec<Service>,
    /// Releases that changed, whole.
    pub releases: Vec<Release>,
    /// The alerts that go on, all of them, when any changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alerts: Option<Vec<Alert>>,
}

#[cfg(test)]
mod tests;
