//! What the ledger holds: changes of state, each with what it needs to be understood alone.

use hmsops_model::instance::Instance;
use hmsops_model::release::ReleaseSpec;
use hmsops_model::service::ServiceSpec;
use hmsops_model::{
    Digest, IncidentId, InstanceId, Millis, Now, ReleaseId, ServiceName, UnixMillis, Version, Weight,
};
use serde::{Deserialize, Serialize};

use crate::access::AccessChange;
use crate::event::Who;
use crate::people::PeopleChange;
use crate::signal::Signal;
use crate::transport::TransportChange;

/// One change of state. Written to the ledger before it is applied (retreats: see `tower`).
#[expect(missing_docs, reason = "fields are the nouns of `model`; each variant says what they mean together")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "transition", rename_all = "kebab-case")]
pub enum Transition {
    /// A service is declared, anew or changed.
    ServiceDeclared {
        spec: Box<ServiceSpec>,
        by: Who,
        /// The gateway that carried it before, when it is another one now.
        #[serde(default)]
        left: Option<String>,
    },
    /// A service is no longer declared.
    ServiceRetired { service: ServiceName, by: Who },
    /// A copy of a version shall run (intent).
    InstanceIntended { instance: Instance, role: Role, by: Who },
    /// It runs (outcome).
    InstanceStarted {
        service: ServiceName,
        id: InstanceId,
        pid: Option<u32>,
        upstreams: Vec<String>,
        /// Where it can be scraped, `host:port`.
        #[serde(default)]
        metrics: Option<String>,
    },
    /// It could not be started (outcome).
    InstanceFailed { service: ServiceName, id: InstanceId, reason: String },
    /// Its probes pass for the first time.
    InstanceReady { service: ServiceName, id: InstanceId },
    /// It ended without being asked to.
    InstanceExited { service: ServiceName, id: InstanceId, reason: String },
    /// It shall stop (intent).
    InstanceStopping { service: ServiceName, id: InstanceId, why: String },
    /// It has stopped (outcome).
    InstanceStopped { service: ServiceName, id: InstanceId },
    /// The version that users are safe on is this one from now on.
    StableSet {
        service: ServiceName,
        id: InstanceId,
        epoch: u64,
        why: String,
        /// Until when the one before stays warm, on the steady clock; `None`: it is stopped.
        warm_until: Option<Millis>,
        by: Who,
    },
    /// The route is put in force anew, with the same versions: its declaration changed, or its gateway held a newer
    /// one than we know of.
    RouteRenewed { service: ServiceName, epoch: u64, why: String, by: Who },
    /// A revert to an earlier version begins: it starts, and gets all traffic once it is ready.
    RevertIntended { service: ServiceName, id: InstanceId, by: Who, reason: String },
    /// A release begins.
    ReleaseRequested {
        release: ReleaseId,
        spec: Box<ReleaseSpec>,
        digest: Option<Digest>,
        instance: InstanceId,
        salt: u64,
        by: Who,
        /// The first of the releases that were asked for together, when there are several.
        #[serde(default)]
        group: Option<ReleaseId>,
        /// Whether it goes back to an earlier version: then without a canary.
        #[serde(default)]
        revert: bool,
        /// Why a person lets it go on in a freeze.
        #[serde(default)]
        freeze_overridden: Option<String>,
    },
    /// The canary shall get a share (intent).
    WeightIntended {
        release: ReleaseId,
        service: ServiceName,
        step: usize,
        weight: Weight,
        epoch: u64,
        /// With the first step: looks at stable until then and how many failed, so that what is held against the
        /// canary's can be found again from the ledger and the side log alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stable_looks: Option<(u32, u32)>,
    },
    /// Its gateway gives it that share (outcome); the step's time begins.
    WeightApplied { release: ReleaseId, service: ServiceName, weight: Weight, epoch: u64 },
    /// The step lasts once more as long: its traffic could not rule out that the canary is worse by the margin.
    StepExtended {
        release: ReleaseId,
        service: ServiceName,
        step: usize,
        /// By how many basis points it may still be worse; `None`: by any.
        upper_bp: Option<u32>,
        margin_bp: u32,
    },
    /// The release stays where it is.
    ReleaseHeld { release: ReleaseId, service: ServiceName, why: HoldReason, by: Who, reason: String },
    /// It goes on.
    ReleaseResumed {
        release: ReleaseId,
        service: ServiceName,
        by: Who,
        reason: String,
        /// Whether it may go on in a freeze, by a person's word.
        #[serde(default)]
        overrides_freeze: bool,
    },
    /// A person lets an irreversible release go where nothing takes it back by itself.
    ReleaseCommitted { release: ReleaseId, service: ServiceName, by: Who, reason: String },
    /// It is taken back (retreat).
    ReleaseTakenBack { release: ReleaseId, service: ServiceName, epoch: u64, verdict: Box<Verdict>, by: Who },
    /// No gateway sends the canary anything any more (outcome of the retreat).
    RollbackCompleted { release: ReleaseId, service: ServiceName, at: UnixMillis, by_gateway: bool },
    /// The last numbers of a release that was taken back.
    ReleaseClosed { release: ReleaseId, service: ServiceName, tally: Tally },
    /// The new version has all traffic; the old one stays warm.
    ReleasePromoted {
        release: ReleaseId,
        service: ServiceName,
        epoch: u64,
        tally: Tally,
        ruled_out_bp: Option<u32>,
    },
    /// The bake time is over: the release is done and its version proven.
    ReleaseBaked { release: ReleaseId, service: ServiceName },
    /// A taken-back version may not be deployed until a person lifts it.
    VersionDenied { release: ReleaseId, service: ServiceName, version: Version, digest: Option<Digest> },
    /// The denial is lifted.
    VersionUndenied { release: ReleaseId, service: ServiceName, version: Version, by: Who, reason: String },
    /// Probes of an instance fail or pass again.
    HealthChanged { service: ServiceName, id: InstanceId, healthy: bool, reason: String },
    /// Users are affected.
    IncidentOpened {
        incident: IncidentId,
        service: ServiceName,
        release: Option<ReleaseId>,
        since: UnixMillis,
        text: String,
    },
    /// They no longer are.
    IncidentResolved { incident: IncidentId, service: ServiceName, until: UnixMillis, text: String },
    /// Something was asked for and refused.
    Refused { what: String, subject: String, why: String, by: Who },
    /// Of rules, alerts, heals, notices and dashboards.
    #[serde(untagged)]
    Signal(Box<Signal>),
    /// Of tokens, and of what came to the doors.
    #[serde(untagged)]
    Access(AccessChange),
    /// Of people.
    #[serde(untagged)]
    People(Box<PeopleChange>),
    /// Of listeners, certificates and agents.
    #[serde(untagged)]
    Transport(TransportChange),
}

/// What an instance is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// To become (or again be) stable.
    Stable,
    /// To be watched.
    Canary,
    /// It was stable once; it runs on only while it is warm or drains.
    Former,
}

/// Why a release stays where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "hold", rename_all = "kebab-case")]
pub enum HoldReason {
    /// A person said so.
    Paused,
    /// `3 fails/60 s` was reached.
    Halted {
        /// The check's path.
        path: String,
        /// Scheduled failures counted.
        fails: u32,
    },
    /// Both versions fail the same check: not the canary's fault, nor a time to go on.
    BothFail {
        /// The check's path.
        path: String,
    },
    /// A policy that holds was broken.
    Policy {
        /// Its metric.
        metric: String,
    },
    /// Nothing new goes out at this time.
    Freeze {
        /// Until when.
        until: UnixMillis,
        /// Why it is frozen, when that was said.
        #[serde(default)]
        because: Option<String>,
    },
    /// From the next share on there is no way back: a person has to let it go there.
    Irreversible,
    /// It is bad, and there is no way back but by a person.
    NoReturn {
        /// What found it.
        detector: Detector,
        /// Why, one sentence.
        why: String,
    },
    /// The new version is not known to be able to take all traffic.
    Capacity {
        /// One line.
        detail: String,
    },
    /// A step's traffic could not rule out that the canary is worse by the margin.
    Inconclusive {
        /// By how many basis points it may still be worse; `None`: by any.
        #[serde(default)]
        upper_bp: Option<u32>,
        /// And may be at most.
        margin_bp: u32,
    },
    /// The canary fails single looks far oftener than stable, if too seldom for a verdict.
    Flapping {
        /// Failed looks.
        failed: u64,
        /// Of so many.
        looks: u64,
    },
}

impl HoldReason {
    /// Whether it is about one step alone, and over with it.
    pub const fn is_of_one_step(&self) -> bool {
        matches!(self, Self::Inconclusive { .. } | Self::Capacity { .. })
    }

    /// Which it is, in one word, whatever its numbers are.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Halted { .. } => "halted",
            Self::BothFail { .. } => "both-fail",
            Self::Policy { .. } => "policy",
            Self::Freeze { .. } => "freeze",
            Self::Irreversible => "irreversible",
            Self::NoReturn { .. } => "no-return",
            Self::Capacity { .. } => "capacity",
            Self::Inconclusive { .. } => "inconclusive",
            Self::Flapping { .. } => "flapping",
        }
    }

    /// Whether it ends without a person.
    pub const fn ends_by_itself(&self) -> bool {
        matches!(self, Self::Freeze { .. } | Self::Capacity { .. } | Self::BothFail { .. })
    }

    /// Whether it ends by a person's word alone: then somebody is called.
    pub const fn needs_person(&self) -> bool {
        matches!(
            self,
            Self::Irreversible
                | Self::NoReturn { .. }
                | Self::Halted { .. }
                | Self::BothFail { .. }
                | Self::Flapping { .. }
        )
    }
}

/// What took a release back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Detector {
    /// The sequential test of bad answers.
    Errors,
    /// The sequential test of probes.
    Probes,
    /// The sequential test of slow answers.
    Slow,
    /// The canary's process ended.
    Process,
    /// It never became healthy.
    Start,
    /// A person.
    Person,
    /// A newer release of the same service.
    Superseded,
    /// A gateway that had lost its tower.
    Gateway,
    /// A policy's metric, judged against stable.
    Policy,
    /// A release that was deployed together with it was taken back.
    Group,
}

/// Why a release was taken back, with the numbers that say so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What decided.
    pub detector: Detector,
    /// One line for the detector's case: `exited with status 1`, a person's reason, …
    pub detail: String,
    /// When, on both clocks.
    pub at: Now,
    /// The evidence reached (an e-value, rounded down, at most 10^15).
    pub evidence: u64,
    /// The evidence needed: 1/α.
    pub needed: u64,
    /// The canary's share at that moment.
    pub weight: Weight,
    /// Counts until then.
    pub tally: Tally,
    /// SHA-256 of the side log that the evidence was read from, in hexadecimal.
    #[serde(default)]
    pub evidence_sha256: Option<String>,
}

/// What a release has cost and shown so far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Requests the canary was sent.
    pub canary_requests: u64,
    /// Requests stable was sent meanwhile.
    pub stable_requests: u64,
    /// Bad answers of the canary.
    pub canary_bad: u64,
    /// Bad answers of stable.
    pub stable_bad: u64,
    /// Distinct clients (or requests) with a bad answer of the canary.
    pub canary_bad_clients: u64,
    /// Distinct clients (or requests) with a bad answer of stable.
    pub stable_bad_clients: u64,
    /// Distinct clients (or requests) with a slow answer of the canary.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub canary_slow_clients: u64,
    /// Distinct clients (or requests) with a slow answer of stable.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stable_slow_clients: u64,
    /// Whether requests were counted instead of clients, for want of an identity or of twenty clients.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_request: bool,
    /// Bad answers that stable made good.
    pub shielded: u64,
    /// Bad answers that users saw.
    pub seen: u64,
    /// Failed probes of the canary and all of them.
    pub probes_failed: u64,
    /// See `probes_failed`.
    pub probes: u64,
    /// The canary's first bad answer, before the shield.
    pub first_bad_at: Option<UnixMillis>,
    /// And its last.
    pub last_bad_at: Option<UnixMillis>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Transition {
    /// Whether this takes traffic away from a canary, or a right away from somebody: then it waits for nobody. Making
    /// way for a newer release is no emergency: it waits for that release's line.
    pub fn is_retreat(&self) -> bool {
        match self {
            Self::ReleaseTakenBack { verdict, .. } => verdict.detector != Detector::Superseded,
            Self::Access(change) => change.is_retreat(),
            Self::People(change) => change.is_retreat(),
            Self::Transport(change) => change.is_retreat(),
            _ => false,
        }
    }

    /// The service it is about, if one.
    pub fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::ServiceDeclared { spec, .. } => Some(&spec.name),
            Self::InstanceIntended { instance, .. } => Some(&instance.service),
            Self::ReleaseRequested { spec, .. } => Some(&spec.service),
            Self::ServiceRetired { service, .. }
            | Self::InstanceStarted { service, .. }
            | Self::InstanceFailed { service, .. }
            | Self::InstanceReady { service, .. }
            | Self::InstanceExited { service, .. }
            | Self::InstanceStopping { service, .. }
            | Self::InstanceStopped { service, .. }
            | Self::StableSet { service, .. }
            | Self::RouteRenewed { service, .. }
            | Self::RevertIntended { service, .. }
            | Self::WeightIntended { service, .. }
            | Self::WeightApplied { service, .. }
            | Self::StepExtended { service, .. }
            | Self::ReleaseHeld { service, .. }
            | Self::ReleaseResumed { service, .. }
            | Self::ReleaseCommitted { service, .. }
            | Self::ReleaseTakenBack { service, .. }
            | Self::RollbackCompleted { service, .. }
            | Self::ReleaseClosed { service, .. }
            | Self::ReleasePromoted { service, .. }
            | Self::ReleaseBaked { service, .. }
            | Self::VersionDenied { service, .. }
            | Self::VersionUndenied { service, .. }
            | Self::HealthChanged { service, .. }
            | Self::IncidentOpened { service, .. }
            | Self::IncidentResolved { service, .. } => Some(service),
            Self::Signal(change) => change.service(),
            Self::Refused { .. } | Self::Access(_) | Self::Transport(_) | Self::People(_) => None,
        }
    }

    /// The release it is about, if one.
    pub fn release(&self) -> Option<ReleaseId> {
        match self {
            Self::ReleaseRequested { release, .. }
            | Self::WeightIntended { release, .. }
            | Self::WeightApplied { release, .. }
            | Self::StepExtended { release, .. }
            | Self::ReleaseHeld { release, .. }
            | Self::ReleaseResumed { release, .. }
            | Self::ReleaseCommitted { release, .. }
            | Self::ReleaseTakenBack { release, .. }
            | Self::RollbackCompleted { release, .. }
            | Self::ReleaseClosed { release, .. }
            | Self::ReleasePromoted { release, .. }
            | Self::ReleaseBaked { release, .. }
            | Self::VersionDenied { release, .. }
            | Self::VersionUndenied { release, .. } => Some(*release),
            Self::IncidentOpened { release, .. } => *release,
            _ => None,
        }
    }
}

impl Verdict {
    /// Whether a detector found the version itself to be bad: then it is denied.
    pub fn is_the_versions_fault(&self) -> bool {
        matches!(
            self.detector,
            Detector::Errors | Detector::Probes | Detector::Slow | Detector::Process | Detector::Policy
        )
    }

    /// Whether a person decided it.
    pub fn by_person(&self) -> bool {
        matches!(self.detector, Detector::Person | Detector::Superseded)
    }
}

impl From<Signal> for Transition {
    fn from(change: Signal) -> Self {
        Self::Signal(Box::new(change))
    }
}
