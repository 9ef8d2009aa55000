//! The ledger as it is read from outside.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A page of entries, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entries {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where the next page begins, as `cursor`; `None`: this was the last one.
    pub next: Option<String>,
}

/// One entry of the ledger, with the fields it was hashed with, and `said`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The version of the entry's format.
    pub v: u32,
    /// Its number, from 0 without gaps.
    pub seq: u64,
    /// When.
    pub at: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// When, by the tower's steady clock in milliseconds.
    pub steady_ms: u64,
    /// The node that recorded it.
    pub node: String,
    /// What happened: `release.taken-back`.
    pub kind: String,
    /// Who did it.
    pub actor: String,
    /// To what: `service/csac-portal`.
    pub subject: String,
    /// Through which door or detector.
    pub source: String,
    /// How it ended.
    pub outcome: EntryOutcome,
    /// NIST SP 800-53 controls it is evidence of.
    pub controls: Vec<String>,
    /// The release it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Whether it was recorded after the fact.
    pub late: bool,
    /// What it says, one line for people. Not part of what was hashed.
    #[serde(default)]
    pub said: String,
    /// Everything else.
    pub data: Value,
}

/// How an act ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryOutcome {
    /// It is about to be done.
    Intended,
    /// It was done.
    Done,
    /// It was tried in vain.
    Failed,
    /// It was not allowed.
    Refused,
}

impl EntryOutcome {
    /// `intended`, `done`, `failed` or `refused`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// What a check of the whole ledger found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Whether nothing is wrong.
    pub whole: bool,
    /// Entries that are good, from the first on.
    pub entries: u64,
    /// The root of the Merkle tree over them, in base64.
    pub root: String,
    /// How many entries the checkpoint anchors.
    pub checkpoint_size: Option<u64>,
    /// Bytes after the last whole commit: being written, or left by a crash. No fault.
    pub torn_bytes: u64,
    /// The first thing that is wrong: where and what.
    pub first_bad: Option<String>,
}
