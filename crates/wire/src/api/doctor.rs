//! What a look at an installation finds.

use serde::{Deserialize, Serialize};

/// What was looked at, and what is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examination {
    /// Who looked: `tower`, which sees itself, or `folder`, where no tower answered.
    pub by: String,
    /// What was looked at, `ledger`, `permissions`, … in the order of looking.
    pub checked: Vec<String>,
    /// What is not as it should be, the gravest first.
    pub findings: Vec<Finding>,
}

/// How grave a finding is. The gravest is the least, so that they sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Something does not work, or stands open.
    Problem,
    /// It works, and may not for long.
    Warning,
}

impl Severity {
    /// `problem` or `warning`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// Which look found it, one of those in `checked`.
    pub check: String,
    /// What is so.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// What mends it.
    pub remedy: String,
}
