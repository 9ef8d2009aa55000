//! Probes: what is asked of each instance, and what was seen.

use hmsops_model::{ServiceName, Version};
use serde::{Deserialize, Serialize};

/// One check of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The service.
    pub service: ServiceName,
    /// The check's name.
    pub check: String,
    /// `http`, `tcp`, `grpc`, `dns`, `tls` or `exec`.
    pub kind: String,
    /// What is asked, and where: `GET 127.0.0.1:41833/api/v1/health`; of several addresses the first, and how many
    /// more there are.
    pub target: String,
    /// `i-3`.
    pub instance: String,
    /// Its version.
    pub version: Version,
    /// `stable`, `canary`, `warm` or `former`.
    pub role: String,
    /// From one look to the next.
    pub every_ms: u64,
    /// A look that takes longer has failed.
    pub timeout_ms: u64,
    /// What has to hold beside, or in place of, the kind's usual.
    pub conditions: Vec<String>,
    /// `3 fails/60 s`.
    pub threshold: String,
    /// The last look; `null`: there was none yet.
    pub last: Option<ProbeLook>,
}

/// What came of a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeLook {
    /// The verdict.
    pub verdict: ProbeWord,
    /// The same for people: `answered 500`.
    pub said: String,
    /// When it came.
    pub at: String,
    /// Since when looks came to the same.
    pub since: String,
    /// How long the answer took, of one that passed.
    pub latency_ms: Option<u32>,
}

/// The three verdicts. Unknown is neither passed nor failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeWord {
    /// All that had to hold did.
    Passed,
    /// Something did not.
    Failed,
    /// The prober was too busy to judge.
    Overloaded,
}

impl ProbeWord {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Overloaded => "overloaded",
        }
    }
}

/// All probes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probes {
    /// By service, instance and check.
    pub probes: Vec<Probe>,
}

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeOrder {
    /// The check's name; left out: all of the service.
    #[serde(default)]
    pub check: Option<String>,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeRuns {
    /// Whether every one passed.
    pub passed: bool,
    /// By instance, check and address.
    pub runs: Vec<ProbeRun>,
}

/// One look that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeRun {
    /// The check's name.
    pub check: String,
    /// What was asked, and where.
    pub target: String,
    /// `i-3`.
    pub instance: String,
    /// Its version.
    pub version: Version,
    /// The verdict.
    pub verdict: ProbeWord,
    /// The same for people.
    pub said: String,
    /// How long it took.
    pub took_ms: u64,
    /// What was seen, one fact each.
    pub seen: Vec<ProbeFact>,
}

/// `status` and `500`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeFact {
    /// What.
    pub name: String,
    /// As text.
    pub value: String,
}
