//! A release as scripts and pages read it.

use hmsops_model::{Digest, InstanceId, ReleaseId, ServiceName, Version};
use serde::{Deserialize, Serialize};

use super::By;

/// A page of releases, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Releases {
    /// The releases.
    pub releases: Vec<Release>,
    /// Where the next page begins, as `cursor`; `None`: this was the last one.
    pub next: Option<String>,
}

/// One attempt to move a service's traffic to a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Its number.
    pub id: ReleaseId,
    /// The service.
    pub service: ServiceName,
    /// The new version.
    pub version: Version,
    /// The version that was stable when it began; `None`: a first deployment.
    pub from: Option<Version>,
    /// Where it stands.
    pub phase: Phase,
    /// The copy that is watched.
    pub instance: Option<Started>,
    /// The step it is at, from 0.
    pub step: usize,
    /// All steps.
    pub steps: Vec<Step>,
    /// The canary's share as decided.
    pub weight_bp: u16,
    /// Why it stays where it is: `paused`, `halted`, `both-fail`, `policy`, `freeze`, `irreversible` (a person has to let
    /// it go on), `no-return` (it is bad and cannot go back), `capacity`.
    pub hold: Option<String>,
    /// One sentence: where it stands.
    pub headline: String,
    /// One sentence: why, with evidence and need.
    pub why: String,
    /// When it was asked for.
    pub requested_at: String,
    /// When it first had traffic.
    pub traffic_since: Option<String>,
    /// When it was decided to take it back.
    pub verdict_at: Option<String>,
    /// What decided that: `errors`, `probes`, `process`, `start`, `person`, `superseded`, `gateway`,
    /// `policy`, `group`.
    pub detector: Option<String>,
    /// When it ended, well or not.
    pub ended_at: Option<String>,
    /// When its gateways had confirmed the retreat.
    pub rolled_back_at: Option<String>,
    /// Whether the numbers are final.
    pub closed: bool,
    /// The canary's first bad answer, before the shield.
    pub first_bad_at: Option<String>,
    /// And its last.
    pub last_bad_at: Option<String>,
    /// From the first to the last, in milliseconds.
    pub bad_span_ms: Option<u64>,
    /// The evidence against it (an e-value, rounded down).
    pub evidence: Option<u64>,
    /// What the evidence has to reach.
    pub needed: u64,
    /// What the canary answered.
    pub canary: Arm,
    /// What stable answered meanwhile.
    pub stable: Arm,
    /// Bad answers that stable made good.
    pub shielded: u64,
    /// Bad answers that users saw.
    pub seen: u64,
    /// The canary's share of the step's requests, as counted; `None`: too few to say.
    #[serde(default)]
    pub measured: Option<Measured>,
    /// Probes of the canary.
    pub probes: u64,
    /// How many of them failed.
    pub probes_failed: u64,
    /// Who asked for it.
    pub by: By,
    /// What the version's folder held; `None` for external services.
    pub digest: Option<Digest>,
    /// Whether the version may not be deployed until a person lifts it.
    pub denied: bool,
    /// The first of the releases that were asked for together; `null`: it was asked for alone.
    #[serde(default)]
    pub group: Option<ReleaseId>,
    /// Whether it goes back to an earlier version, without a canary.
    #[serde(default)]
    pub revert: bool,
    /// From which share on nothing but a person takes it back, in basis points; 0: from the first traffic on; `null`:
    /// it always can be.
    #[serde(default)]
    pub irreversible_bp: Option<u16>,
    /// The course by second, oldest first; only when asked for with `evidence=1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub points: Option<Vec<Point>>,
}

/// The canary's share of a step's requests, as counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// What the step asked for.
    pub weight_bp: u16,
    /// Requests of both arms.
    pub requests: u64,
    /// Those of the canary.
    pub canary: u64,
    /// The 99.9 % interval's lower end, 0 to 1.
    pub low: f64,
    /// And its upper end.
    pub high: f64,
    /// Whether the router follows.
    pub follows: bool,
    /// For people: `measured 1.02 % of 41 200 requests`.
    pub words: String,
}

/// Where a release stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The new version starts; users do not see it.
    Starting,
    /// It has a share of traffic and is watched.
    Watching,
    /// It has all traffic; the old version is kept warm.
    Baking,
    /// Its version is proven.
    Done,
    /// Taken back by a detector or a gateway.
    RolledBack,
    /// Taken back by a person.
    Aborted,
    /// It never came up.
    Failed,
    /// A newer release took its place.
    Superseded,
}

impl Phase {
    /// As it is written in JSON and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Watching => "watching",
            Self::Baking => "baking",
            Self::Done => "done",
            Self::RolledBack => "rolled-back",
            Self::Aborted => "aborted",
            Self::Failed => "failed",
            Self::Superseded => "superseded",
        }
    }

    /// Whether it can still change by itself.
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Starting | Self::Watching | Self::Baking)
    }

    /// Whether users have the new version now.
    pub const fn is_promoted(self) -> bool {
        matches!(self, Self::Baking | Self::Done)
    }
}

/// The copy of the new version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Its number.
    pub id: InstanceId,
    /// `intended`, `running`, `stopping` or `ended`.
    pub state: String,
    /// Its process, when it is one of ours.
    pub pid: Option<u32>,
    /// Where it answers, `host:port`.
    pub upstreams: Vec<String>,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The canary's share.
    pub weight_bp: u16,
    /// How long it is watched.
    pub hold_ms: u64,
}

/// What one version answered during a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Arm {
    /// Requests.
    pub requests: u64,
    /// Bad answers.
    pub bad: u64,
    /// Distinct clients (or requests) with a bad answer.
    pub bad_clients: u64,
}

/// One second of a release's course.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The second.
    pub at: String,
    /// The canary's share.
    pub weight_bp: u16,
    /// Requests to stable.
    pub stable_requests: u64,
    /// Bad answers of stable.
    pub stable_bad: u64,
    /// Requests to the canary.
    pub canary_requests: u64,
    /// Bad answers of the canary.
    pub canary_bad: u64,
    /// The evidence at that second's end.
    pub evidence: f64,
}

/// `GET /hms/v1/releases/{id}/replay`: what the kept evidence leads to when it is folded again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    /// The release.
    pub id: ReleaseId,
    /// Whether it leads to what the ledger says: the same detector, moment and evidence, or no verdict of the
    /// statistics where there is none.
    pub same: bool,
    /// One sentence for people: `replayed 412 ticks and 96 probes: same verdict at 14:02:09.0, evidence 2 310`.
    pub words: String,
    /// Ticks that were kept; several without a bad answer may be one.
    pub ticks: u64,
    /// Looks that were kept.
    pub probes: u64,
    /// What the ledger says; `null`: it holds no verdict.
    pub recorded: Option<Found>,
    /// What the evidence leads to; `null`: the statistics do not condemn it.
    pub found: Option<Found>,
    /// What the ledger holds it for, past its point of no return, where nothing takes it back by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldFor>,
    /// The evidence then, or at the end (an e-value, rounded down).
    pub evidence: u64,
    /// What each test adds to it.
    pub parts: EvidenceParts,
    /// Whether the SHA-256 of what is kept is that which the verdict names; `null`: it names none.
    pub whole: Option<bool>,
    /// Why the kept evidence cannot be read to its end; `null`: it can.
    pub broken: Option<String>,
}

/// A verdict in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// What condemned it, as in [`Release::detector`].
    pub detector: String,
    /// When.
    pub at: String,
    /// With which evidence.
    pub evidence: u64,
}

/// What was found of a release that stays all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldFor {
    /// What condemned it, as in [`Release::detector`].
    pub detector: String,
    /// When.
    pub at: String,
}

/// What each test adds to a release's evidence. Their sum is held against the need.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EvidenceParts {
    /// Bad answers.
    pub errors: f64,
    /// Probes.
    pub probes: f64,
    /// Slow answers.
    pub slow: f64,
}

/// `GET /hms/v1/releases/{id}/why`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The release.
    pub id: ReleaseId,
    /// One sentence with evidence and need.
    pub why: String,
    /// The moments that matter: what and when, oldest first.
    pub moments: Vec<(String, String)>,
    /// Bad answers that users saw.
    pub seen: u64,
    /// Bad answers that stable made good.
    pub shielded: u64,
    /// The canary's measured share, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<String>,
}
