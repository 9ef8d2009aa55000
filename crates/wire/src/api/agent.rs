//! Agents that join, and what is spoken beyond loopback.

use serde::{Deserialize, Serialize};

use super::By;

/// A wish to join, sent with the token that is used up by it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// What the agent calls itself: its host.
    pub name: String,
    /// PKCS #10 in PEM form, of a key on P-256.
    pub request: String,
}

/// A wish for another certificate, sent over a connection that shows the one before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renewal {
    /// PKCS #10 in PEM form, of a key on P-256.
    pub request: String,
}

/// What an agent is let in by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// `ag-3`.
    pub agent: String,
    /// Its certificate, PEM.
    pub certificate: String,
    /// The authority's, PEM.
    pub authority: String,
    /// When the certificate ends, RFC 3339.
    pub until: String,
    /// How long it holds from now on, in milliseconds: the clocks of both need not agree.
    pub life_ms: u64,
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// `ag-3`.
    pub id: String,
    /// `in-force`, `ended` (it has not asked for another certificate in time), `revoked`.
    pub state: String,
    /// Its host.
    pub name: String,
    /// The token it has joined with.
    pub token: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// The only services that it may touch; none: all.
    pub services: Vec<String>,
    /// When it has joined, RFC 3339.
    pub joined_at: String,
    /// When its newest certificate ends, RFC 3339.
    pub until: String,
    /// When it was shut out, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<String>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_by: Option<By>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke_reason: Option<String>,
}

/// Agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agents {
    /// Those in force first.
    pub items: Vec<Agent>,
}

/// What is spoken beyond loopback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transport {
    /// Whether TLS is spoken on any listener.
    pub tls: bool,
    /// By what clients elsewhere recognise the tower, `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<String>,
    /// When the certificate that is shown ends, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Listeners beyond loopback that speak in clear.
    pub plain: Vec<Plain>,
    /// Handshakes since the start: done, failed, not in time, and no TLS at all.
    pub handshakes: [u64; 4],
}

/// A listener beyond loopback that speaks in clear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plain {
    /// `0.0.0.0:3000`.
    pub listen: String,
    /// Why that is right.
    pub reason: String,
}
