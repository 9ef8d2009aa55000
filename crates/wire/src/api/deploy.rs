//! What is asked for, and what it would mean.

use hmsops_model::{Digest, ServiceName, Version};
use serde::{Deserialize, Serialize};

use super::Mistake;

/// A text file that a person wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its name as messages show it.
    pub name: String,
    /// What it holds.
    pub text: String,
}

/// `POST /hms/v1/apply`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// The files; all are taken or none.
    pub files: Vec<File>,
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
}

/// The answer to [`Apply`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// One per declared service, in the order of their names.
    pub changes: Vec<Change>,
    /// Whether nothing was changed because nothing was asked to be.
    pub dry_run: bool,
    /// Whether everything is in force: gateways hold the new routes.
    pub in_force: bool,
    /// What a person should look at.
    pub warnings: Vec<Mistake>,
}

/// What becomes of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The service.
    pub service: ServiceName,
    /// What becomes of it.
    pub change: ChangeKind,
}

/// What becomes of a service that is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// It was not known.
    Added,
    /// It was known otherwise.
    Changed,
    /// It was retired.
    Returned,
    /// It was known just so.
    Same,
}

/// `POST /hms/v1/deploy`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Deploy {
    /// The release file's name as messages show it.
    pub name: String,
    /// The release file.
    pub text: String,
    /// Instead of the file's image: `NAME:TAG` or only a tag.
    #[serde(default)]
    pub image: Option<String>,
    /// No version of the service has ever run, so there is nothing to compare with.
    #[serde(default)]
    pub first: bool,
    /// Behind a canary, though it is a version to go back to.
    #[serde(default)]
    pub canary: bool,
    /// Begin and go on in a freeze; needs a reason.
    #[serde(default)]
    pub override_freeze: bool,
    /// Why, for the ledger.
    #[serde(default)]
    pub reason: String,
    /// Only say what would happen.
    #[serde(default)]
    pub dry_run: bool,
}

/// `POST /hms/v1/deploy/group`: releases that go out together, and back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeployGroup {
    /// The release files, 2 to 32, one for each service.
    pub files: Vec<File>,
    /// No version of the services has ever run.
    #[serde(default)]
    pub first: bool,
    /// Begin and go on in a freeze; needs a reason.
    #[serde(default)]
    pub override_freeze: bool,
    /// Why, for the ledger.
    #[serde(default)]
    pub reason: String,
    /// Only say what would happen: [`Plans`].
    #[serde(default)]
    pub dry_run: bool,
}

/// What releases that go out together would mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plans {
    /// One each.
    pub plans: Vec<Plan>,
}

/// What a release would mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The service.
    pub service: ServiceName,
    /// The stable version; `None`: a first deployment.
    pub from: Option<Version>,
    /// The new version.
    pub version: Version,
    /// What the new version's folder holds.
    pub digest: Option<Digest>,
    /// What would be run, or where it answers.
    pub run: String,
    /// Whether it goes back to a version that was stable lately: then without a canary.
    #[serde(default)]
    pub revert: bool,
    /// The steps.
    pub steps: Vec<PlanStep>,
    /// How long the old version stays warm, in milliseconds.
    pub bake_ms: u64,
    /// Requests a second that the service gets now; `None`: not known.
    pub requests_per_second: Option<f64>,
    /// Who would be told.
    pub tells: String,
    /// What a person should look at.
    pub warnings: Vec<Mistake>,
    /// All of it in lines for a person.
    pub lines: Vec<String>,
}

/// One step of a [`Plan`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanStep {
    /// The canary's share.
    pub weight_bp: u16,
    /// How long it is watched.
    pub hold_ms: u64,
    /// Requests it gives the canary at the present rate.
    pub requests: Option<u64>,
    /// The smallest worsening of the error share that so many requests can rule out.
    pub rules_out_bp: Option<u32>,
}

/// The body of `POST /hms/v1/releases/{id}/{verb}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Why, for the ledger.
    #[serde(default)]
    pub reason: String,
    /// `promote` alone: also in a freeze; needs a reason.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub override_freeze: bool,
    /// For forms: the page to go to afterwards, a path on this tower.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The body of `POST /hms/v1/services/{name}/rollback`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revert {
    /// A version, or `prev`: the last proven one that is not denied.
    pub to: String,
    /// Why, for the ledger.
    #[serde(default)]
    pub reason: String,
    /// For forms: the page to go to afterwards, a path on this tower.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The body of `POST /hms/v1/services/{name}/adopt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Takeover {
    /// The version that runs.
    pub version: Version,
    /// Where it answers, `host:port` each.
    pub upstreams: Vec<String>,
    /// Why, for the ledger.
    #[serde(default)]
    pub reason: String,
}
