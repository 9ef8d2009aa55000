//! Everything that can wake the tower.

use std::collections::BTreeMap;
use std::fmt;

use hmsops_model::freeze::Freeze;
use hmsops_model::person::FourEyes;
use hmsops_model::probe::ProbeResult;
use hmsops_model::release::{PolicySpec, ReleaseSpec};
use hmsops_model::service::ServiceSpec;
use hmsops_model::{
    AgentId, AlertId, DashName, DashSpec, Digest, HealId, InstanceId, Labels, Millis, NoticeId, ReleaseId,
    RuleName, RuleSpec, ServiceName, SilenceId, Tick, TicketId, TokenId, TokenSpec, UnixMillis, Version,
};
use serde::{Deserialize, Serialize};

use crate::people::PeopleWish;

use crate::access::Receipt;
use crate::signal::alert::Annotations;
use crate::transport::{Held, TransportReport};

/// Who wants something, and through which door they came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// `admin`, `token:ci`, `gateway public`, …
    pub actor: String,
    /// `api`, `repo`, `detector`, …
    pub source: String,
}

impl Who {
    /// The tower acting by its own rules.
    pub fn tower() -> Self {
        Self { actor: "tower".into(), source: "detector".into() }
    }
}

/// What stands in the ledger where nobody has said why.
pub const NO_REASON: &str = "no reason given";

/// Everything that can wake the tower.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Service declarations, read from a file or sent. With `whole` they are all there are of their author: what
    /// is missing retires.
    Declared {
        /// The checked declarations.
        specs: Vec<ServiceSpec>,
        /// Whether services that the same author declared and that are not among them retire.
        whole: bool,
        /// Who declared them.
        by: Who,
    },
    /// A release is asked for.
    Deploy {
        /// The checked release file.
        spec: Box<ReleaseSpec>,
        /// What the version's folder holds; `None` for external services.
        digest: Option<Digest>,
        /// Drawn by the caller, below 2^53: decides which users see the canary.
        salt: u64,
        /// Whether it is known that no version has ever run.
        first: bool,
        /// Who asked.
        by: Who,
    },
    /// Releases are asked for that go out together, or one with more to say than [`Event::Deploy`] can.
    Release {
        /// One for each service, at least one.
        asked: Vec<Asked>,
        /// What holds for all of them.
        options: Options,
        /// Who asked.
        by: Who,
    },
    /// A person (or script) steers.
    Command {
        /// What is wanted.
        command: Command,
        /// Who wants it.
        by: Who,
        /// Why, for the ledger.
        reason: String,
    },
    /// A gateway counted outcomes.
    Tick(Box<Tick>),
    /// A probe came back.
    Probe(ProbeResult),
    /// A driver reports on an instance.
    Instance {
        /// The instance.
        id: InstanceId,
        /// What is known of it.
        report: InstanceReport,
    },
    /// A gateway reports.
    Gateway {
        /// The gateway's name.
        gateway: String,
        /// What it says.
        report: GatewayReport,
    },
    /// Rules, read from a file. They are all there are of their author: what is missing retires.
    Rules {
        /// The checked rules, each with the ways it can be read if there are two.
        rules: Vec<(RuleSpec, Vec<String>)>,
        /// Who declared them.
        by: Who,
    },
    /// Release policies, read from a file. They are all there are of their author.
    Policies {
        /// The checked policies.
        policies: Vec<PolicySpec>,
        /// Who declared them.
        by: Who,
    },
    /// A rule was evaluated.
    Evaluated(Box<Evaluation>),
    /// A policy's metric was read for both arms of a release.
    Judged(Box<Judgement>),
    /// What is known of a heal's script.
    Heal {
        /// Which.
        id: HealId,
        /// How it ended.
        report: HealReport,
    },
    /// What has become of a notice.
    Notice {
        /// Which.
        id: NoticeId,
        /// What the receiver said.
        report: NoticeReport,
    },
    /// Which verbs heal by themselves, as the settings say.
    HealModes(HealModes),
    /// When nothing new goes out, whatever the service, as the settings say.
    Freezes(Vec<Freeze>),
    /// What takes the word of another person than the one who asked for it, as the settings say.
    FourEyes(Vec<FourEyes>),
    /// Who is told of a broken glass, as the settings say.
    Watchers(Vec<String>),
    /// What listeners beyond loopback show and speak.
    Transport(TransportReport),
    /// What came to a door within a minute.
    Counted(Box<Receipt>),
    /// Time has passed.
    Wake,
}

/// A release that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// The checked release file.
    pub spec: Box<ReleaseSpec>,
    /// What the version's folder holds; `None` for external services.
    pub digest: Option<Digest>,
    /// Drawn by the caller, below 2^53: decides which users see the canary.
    pub salt: u64,
}

/// How releases are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// Whether it is known that no version has ever run.
    pub first: bool,
    /// Behind a canary, though it is a version to go back to.
    pub canary: bool,
    /// Why a person lets them begin and go on in a freeze.
    pub override_freeze: Option<String>,
}

/// What a person can ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Command {
    /// Go to the next step now.
    Promote {
        /// The release.
        release: ReleaseId,
        /// Also in a freeze.
        #[serde(default)]
        override_freeze: bool,
    },
    /// Stay at this step until resumed.
    Pause {
        /// The release.
        release: ReleaseId,
    },
    /// Go on after a pause or a halt.
    Resume {
        /// The release.
        release: ReleaseId,
    },
    /// Take the release back, by a person's decision.
    Abort {
        /// The release.
        release: ReleaseId,
    },
    /// Put a service back on an earlier version.
    Rollback {
        /// The service.
        service: ServiceName,
        /// The version; `None` is the last proven one (`prev`).
        to: Option<Version>,
    },
    /// Let a taken-back version be deployed again.
    Undeny {
        /// The release that was taken back.
        release: ReleaseId,
    },
    /// Start a service's stable version anew: the new copy takes over once it is ready.
    Restart {
        /// The service.
        service: ServiceName,
    },
    /// Declare an alert rule.
    DeclareRule {
        /// As declared, checked.
        rule: Box<RuleSpec>,
        /// The ways it can be read, if there are two.
        readings: Vec<String>,
    },
    /// Remove an alert rule.
    RemoveRule {
        /// Which.
        rule: RuleName,
    },
    /// Take an alert in hand.
    Ack {
        /// Which.
        alert: AlertId,
    },
    /// Let a rule's alerts tell and heal nothing for a while.
    Silence {
        /// The rule.
        rule: RuleName,
        /// For how long.
        span: Millis,
        /// Heal all the same.
        keep_heal: bool,
    },
    /// End a silence before its time.
    Unsilence {
        /// Which.
        silence: SilenceId,
    },
    /// Run a rule's heal now.
    Heal {
        /// The rule.
        rule: RuleName,
    },
    /// Heal nothing from now on: the kill switch.
    PauseHeals,
    /// Heal again.
    ResumeHeals,
    /// A ticket is done.
    CloseTicket {
        /// Which.
        ticket: TicketId,
    },
    /// Try whether a receiver can be told.
    TestReceiver {
        /// A mail address or a webhook's name.
        receiver: String,
    },
    /// Try a notice again that was given up.
    RetryNotice {
        /// Which.
        notice: NoticeId,
    },
    /// Make or change a dashboard.
    DeclareDash {
        /// Whole.
        dash: DashSpec,
    },
    /// Remove a dashboard.
    RemoveDash {
        /// Which.
        dash: DashName,
    },
    /// Give a token out.
    IssueToken {
        /// SHA-256 of its text.
        sha256: Digest,
        /// What it is allowed.
        spec: Box<TokenSpec>,
        /// The token of who asks; `None` is the admin.
        granter: Option<TokenId>,
    },
    /// Put another token in the place of one.
    RotateToken {
        /// The one.
        token: TokenId,
        /// SHA-256 of the other's text.
        sha256: Digest,
        /// How long the one goes on beside the other.
        overlap: Millis,
        /// How long the other lives; `None`: as long as the one was given, or as who asks may give at most.
        life: Option<Millis>,
        /// The token of who asks; `None` is the admin.
        granter: Option<TokenId>,
    },
    /// Let nobody in by a token any more.
    RevokeToken {
        /// Which.
        token: TokenId,
        /// Leave in force what was made with it.
        #[serde(default)]
        keep_made: bool,
    },
    /// Of people: log-ins, accounts, the break-glass.
    People {
        /// What is wanted.
        wish: Box<PeopleWish>,
    },
    /// Let an agent in by a certificate; its token is used up.
    JoinAgent {
        /// The token it has shown.
        token: TokenId,
        /// What it calls itself.
        name: String,
        /// The certificate it gets.
        certificate: Held,
    },
    /// Let an agent in by another certificate.
    RenewAgent {
        /// Which.
        agent: AgentId,
        /// The certificate it gets.
        certificate: Held,
    },
    /// Let an agent in no more.
    RevokeAgent {
        /// Which.
        agent: AgentId,
    },
    /// A service that already runs: this version at these addresses is its first stable.
    Adopt {
        /// The service.
        service: ServiceName,
        /// Its version.
        version: Version,
        /// Addresses `host:port`.
        upstreams: Vec<String>,
    },
}

impl Command {
    /// The verb, as it stands in paths and lines.
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Promote { .. } => "promote",
            Self::Pause { .. } => "pause",
            Self::Resume { .. } => "resume",
            Self::Abort { .. } => "abort",
            Self::Rollback { .. } => "rollback",
            Self::Undeny { .. } => "undeny",
            Self::Adopt { .. } => "adopt",
            Self::Restart { .. } => "restart",
            Self::DeclareRule { .. } => "declare-rule",
            Self::RemoveRule { .. } => "remove-rule",
            Self::Ack { .. } => "ack",
            Self::Silence { .. } => "silence",
            Self::Unsilence { .. } => "unsilence",
            Self::Heal { .. } => "heal",
            Self::PauseHeals => "pause-heals",
            Self::ResumeHeals => "resume-heals",
            Self::CloseTicket { .. } => "close-ticket",
            Self::TestReceiver { .. } => "test-receiver",
            Self::RetryNotice { .. } => "retry-notice",
            Self::DeclareDash { .. } => "declare-dash",
            Self::RemoveDash { .. } => "remove-dash",
            Self::People { wish } => wish.verb(),
            Self::IssueToken { .. } => "issue-token",
            Self::RotateToken { .. } => "rotate-token",
            Self::RevokeToken { .. } => "revoke-token",
            Self::JoinAgent { .. } => "join-agent",
            Self::RenewAgent { .. } => "renew-agent",
            Self::RevokeAgent { .. } => "revoke-agent",
        }
    }

    /// What it is about: `release/r-1` or `service/csac-portal`.
    pub fn subject(&self) -> String {
        match self {
            Self::Promote { release, .. }
            | Self::Pause { release }
            | Self::Resume { release }
            | Self::Abort { release }
            | Self::Undeny { release } => format!("release/{release}"),
            Self::Rollback { service, .. } | Self::Adopt { service, .. } | Self::Restart { service } => {
                format!("service/{service}")
            }
            Self::DeclareRule { rule, .. } => format!("rule/{}", rule.name),
            Self::RemoveRule { rule } | Self::Silence { rule, .. } | Self::Heal { rule } => {
                format!("rule/{rule}")
            }
            Self::Ack { alert } => format!("alert/{alert}"),
            Self::Unsilence { silence } => format!("silence/{silence}"),
            Self::PauseHeals | Self::ResumeHeals => "heals".into(),
            Self::CloseTicket { ticket } => format!("ticket/{ticket}"),
            Self::TestReceiver { receiver } => format!("receiver/{receiver}"),
            Self::RetryNotice { notice } => format!("notice/{notice}"),
            Self::DeclareDash { dash } => format!("dash/{}", dash.name),
            Self::RemoveDash { dash } => format!("dash/{dash}"),
            Self::People { wish } => wish.subject(),
            Self::IssueToken { .. } => "token/new".into(),
            Self::JoinAgent { .. } => "agent/new".into(),
            Self::RenewAgent { agent, .. } | Self::RevokeAgent { agent } => format!("agent/{agent}"),
            Self::RotateToken { token, .. } | Self::RevokeToken { token, .. } => format!("token/{token}"),
        }
    }
}

/// What a driver knows of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstanceReport {
    /// It runs; whether it answers is the probes' business.
    Started {
        /// Its process, if it is one of ours.
        pid: Option<u32>,
        /// Where it answers, `host:port`.
        upstreams: Vec<String>,
        /// Where it can be scraped, `host:port`.
        metrics: Option<String>,
    },
    /// It could not be started.
    Failed {
        /// One line.
        reason: String,
    },
    /// It ran and ended without being asked to.
    Exited {
        /// One line: `exited with status 1`.
        reason: String,
    },
    /// It was asked to stop and has ended.
    Stopped,
}

/// One evaluation of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The rule.
    pub rule: RuleName,
    /// Its expression as it was evaluated: of a rule that was changed meanwhile this says nothing.
    pub expr: String,
    /// What came out.
    pub outcome: Outcome,
    /// How the expression was read, when there are two ways.
    pub reading: Option<String>,
    /// For series of `outcome`: the annotations that are templates, expanded.
    pub texts: BTreeMap<Labels, Annotations>,
}

/// What comes out of an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The series for which the expression holds, with their values; none: it holds for none.
    Holds(Vec<(Labels, f64)>),
    /// None of its series had a sample in its window.
    NoData,
    /// The query failed: one line.
    Failed(String),
}

/// A policy's metric for both arms of a release; `None`: not known.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The policy's key.
    pub policy: String,
    /// The release.
    pub release: ReleaseId,
    /// For the canary.
    pub canary: Option<f64>,
    /// For stable.
    pub stable: Option<f64>,
}

/// How a heal's script ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealReport {
    /// Whether it did what it is for.
    pub success: bool,
    /// One line: `exited with status 0`, `ended after 2 min: too slow`.
    pub exit: String,
    /// The last it printed, at most some kilobytes.
    pub output: String,
}

/// What has become of a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoticeReport {
    /// The receiver took it.
    Delivered {
        /// What it answered.
        receipt: String,
    },
    /// It did not.
    Failed {
        /// One line.
        why: String,
        /// Whether another try is useless.
        is_final: bool,
        /// When the receiver wants the next try.
        retry_after: Option<Millis>,
    },
}

/// Which verbs heal by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealModes {
    /// `heal: {rollback: auto}`
    pub rollback: bool,
    /// `heal: {restart: auto}`
    pub restart: bool,
}

impl Default for HealModes {
    fn default() -> Self {
        Self { rollback: true, restart: true }
    }
}

/// What a gateway says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewayReport {
    /// It is there; routes it holds, by service: epoch and whether the release it knows was retreated.
    Connected {
        /// One per route.
        routes: Vec<HeldRoute>,
    },
    /// It answered; nothing else.
    Alive,
    /// The connection is gone.
    Lost,
    /// A route is in force.
    Applied {
        /// The service.
        service: ServiceName,
        /// The route's epoch.
        epoch: u64,
    },
    /// A route was not taken.
    Refused {
        /// The service.
        service: ServiceName,
        /// The route's epoch.
        epoch: u64,
        /// One line.
        why: String,
    },
    /// A canary gets no more requests.
    Retreated {
        /// The service.
        service: ServiceName,
        /// The release.
        release: ReleaseId,
        /// Whether the gateway did it by itself, having lost its tower.
        by_itself: bool,
        /// When.
        at: UnixMillis,
    },
    /// No request waits for the canary any more.
    Drained {
        /// The service.
        service: ServiceName,
        /// The release.
        release: ReleaseId,
    },
}

/// A route as a gateway holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRoute {
    /// The service.
    pub service: ServiceName,
    /// Its epoch.
    pub epoch: u64,
    /// The release whose canary it knows.
    pub release: Option<ReleaseId>,
    /// Whether it took that canary back by itself.
    pub retreated: bool,
}

/// Why a request of a person is not carried out. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which answer the door gives.
    pub kind: RefusalKind,
    /// What and why, lower case, no full stop.
    pub message: String,
    /// The likely remedy.
    pub hint: Option<String>,
}

/// Which answer a door gives to a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// No such service, release or version.
    NotFound,
    /// Against a rule or the present state.
    Conflict,
}

impl Refusal {
    /// The named thing isn't there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self { kind: RefusalKind::NotFound, message: message.into(), hint: None }
    }

    /// It can't be done now.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self { kind: RefusalKind::Conflict, message: message.into(), hint: None }
    }

    /// With the likely remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}
