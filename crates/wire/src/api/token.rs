//! Tokens.

use serde::{Deserialize, Serialize};

use super::By;

/// A token that is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// `sa` (a program, the default), `pat` (a person's programs), `agt` (an agent), `ing` (brings data only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Who answers for it; the caller's name, unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What it may do, at least one: `deploy:request`.
    pub scopes: Vec<String>,
    /// The only services that it may touch; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// The only networks that it may come from, `10.0.0.0/8`; none: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// How long it lives, in milliseconds; 90 days unless it is said, a year at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life_ms: Option<u64>,
    /// What for.
    pub reason: String,
}

/// How a token is followed by another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// How long the old one goes on, in milliseconds; a day unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap_ms: Option<u64>,
    /// How long the new one lives, in milliseconds; as long as the old one was given unless it is said. With a token of
    /// its own whoever asks cannot give more than that has left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life_ms: Option<u64>,
    /// Why.
    pub reason: String,
}

/// How a token is revoked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Why.
    pub reason: String,
    /// Leave in force what was made with it; else that is revoked, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_made: bool,
}

/// A token that was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRevoked {
    /// The token.
    pub token: Token,
    /// Tokens that were revoked with it, since they were made with it, and agents that have joined by it or by these.
    pub also: Vec<String>,
}

/// A token, without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// `k-3`.
    pub id: String,
    /// `sa`, `pat`, `agt`, `ing`.
    pub kind: String,
    /// `in-force`, `rotated` (another follows it), `ended`, `revoked`.
    pub state: String,
    /// Who answers for it.
    pub owner: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// The only services that it may touch; none: all.
    pub services: Vec<String>,
    /// The only networks that it may come from; none: any.
    pub networks: Vec<String>,
    /// When it was made.
    pub issued_at: String,
    /// By whom.
    pub issued_by: By,
    /// What for.
    pub reason: String,
    /// When it ends.
    pub expires_at: String,
    /// The token that it was made with, if not by a person's word.
    #[serde(default)]
    pub made_with: Option<String>,
    /// The token that it follows.
    pub follows: Option<String>,
    /// The token that follows it.
    pub followed_by: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<String>,
    /// By whom.
    pub revoked_by: Option<By>,
    /// Why.
    pub revoke_reason: Option<String>,
    /// The token that was revoked and took this one along, which it had made.
    #[serde(default)]
    pub revoked_with: Option<String>,
    /// When it was last used. Kept once a minute: a crash can lose the last one.
    pub used_at: Option<String>,
    /// Where from.
    pub used_from: Option<String>,
    /// How often, all told.
    pub uses: u64,
    /// What is doubtful about it, sentence by sentence.
    pub findings: Vec<String>,
}

/// A token that was just made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenIssued {
    /// Its text. It is shown this once and kept nowhere.
    pub text: String,
    /// The token.
    pub token: Token,
}

impl std::fmt::Debug for TokenIssued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenIssued").field("text", &"[redacted]").field("token", &self.token).finish()
    }
}

/// A page of tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Those in force first, newest first.
    pub items: Vec<Token>,
    /// Where the next page begins.
    pub next: Option<String>,
}
