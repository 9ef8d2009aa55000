//! What is spoken beyond this machine: the authority and certificates that are shown, listeners that stay in clear,
//! and the agents that have certificates of ours.

use std::collections::BTreeMap;

use hmsops_model::{AgentId, Digest, Millis, Now, TokenId, TokenKind, TokenSpec, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::access::Access;
use crate::event::{NO_REASON, Refusal, Who};

/// Agents of one tower that are let in.
pub const AGENTS_MAX: usize = 1000;

/// Agents shut out that are remembered; older ones stay in the ledger.
const ENDED_MAX: usize = 200;

/// Certificates of one agent at a time: the one it shows, and those before it until they end by themselves.
const CERTIFICATES_MAX: usize = 3;

/// No more than these within so long: each is a line of the ledger, which somebody who has an agent's key could fill.
const RENEWALS_WITHIN: Millis = Millis::from_secs(10);

/// The longest name of an agent, in bytes: that of a host (RFC 1035 §2.3.4).
pub const NAME_BYTES_MAX: usize = 253;

/// Everything that is true of what is spoken beyond this machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Transport {
    /// The own authority's certificate, once there is one.
    pub authority: Option<Held>,
    /// The certificate that listeners show.
    pub shown: Option<Held>,
    /// Listeners beyond loopback that speak in clear, `0.0.0.0:3000`, and why that is right.
    pub plain: BTreeMap<String, String>,
    /// Agents: all that are let in, and the last that no longer are.
    pub agents: BTreeMap<AgentId, Agent>,
    /// The highest number given.
    pub last_agent: u64,
}

/// A certificate, by what it is recognised by and how long it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// SHA-256 of its DER form.
    pub sha256: Digest,
    /// When it ends.
    pub until: UnixMillis,
}

/// A program elsewhere that has joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Its number.
    pub id: AgentId,
    /// What it calls itself: its host.
    pub name: String,
    /// The token it has joined with, which is used up.
    pub token: TokenId,
    /// The tokens that this one was made with, the nearest first: whoever revokes one of them shuts the agent out.
    #[serde(default)]
    pub made_with: Vec<TokenId>,
    /// What it may do: what the token allowed. That token's end by its time or by its use is not the agent's.
    pub spec: TokenSpec,
    /// When it has joined.
    pub joined_at: Now,
    /// Certificates that let it in, the newest last.
    pub certificates: Vec<Held>,
    /// How it was shut out.
    pub revoked: Option<(Now, Who, String)>,
}

impl Agent {
    /// Whether it is let in by one of its certificates at this moment.
    pub fn is_in_force(&self, now: UnixMillis) -> bool {
        self.revoked.is_none() && self.certificates.iter().any(|held| now < held.until)
    }
}

/// What the server tells of its listeners and certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransportReport {
    /// The own authority that is in use.
    Authority(Held),
    /// Listeners show this certificate from now on; `own`: it is of the own authority, else of a file.
    Shown {
        /// Which.
        held: Held,
        /// Whether it is of the own authority.
        own: bool,
    },
    /// A new certificate cannot be used; the one before goes on.
    Broken {
        /// Why, one line.
        why: String,
    },
    /// All listeners beyond loopback that speak in clear, each with the reason.
    Plain(BTreeMap<String, String>),
}

/// One change of what is spoken beyond this machine.
#[expect(
    missing_docs,
    reason = "fields are the nouns of this file; each variant says what they mean together"
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "transition", rename_all = "kebab-case")]
pub enum TransportChange {
    /// There is an own authority from now on.
    AuthorityMade { authority: Held },
    /// Listeners show another certificate.
    CertificateShown { shown: Held, own: bool },
    /// A new certificate cannot be used, and the one before goes on.
    CertificateBroken { why: String },
    /// These listeners beyond loopback speak in clear, and no others.
    PlainAllowed { plain: BTreeMap<String, String> },
    /// An agent is let in by a certificate. Its token is used up by this.
    AgentJoined {
        agent: AgentId,
        name: String,
        token: TokenId,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        made_with: Vec<TokenId>,
        spec: Box<TokenSpec>,
        certificate: Held,
        by: Who,
    },
    /// An agent has another certificate.
    AgentRenewed { agent: AgentId, certificate: Held },
    /// An agent is no longer let in, nor are the others that go with it.
    AgentRevoked {
        agent: AgentId,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        also: Vec<AgentId>,
        by: Who,
        reason: String,
    },
}

impl TransportChange {
    /// Whether it lets somebody do more: then its line comes first. What listeners show is a fact.
    pub fn is_advance(&self) -> bool {
        matches!(self, Self::AgentJoined { .. } | Self::AgentRenewed { .. })
    }

    /// Whether it takes a right away from somebody: then it waits for nobody.
    pub const fn is_retreat(&self) -> bool {
        matches!(self, Self::AgentRevoked { .. })
    }

    /// What it is about, as the ledger names it.
    pub fn subject(&self) -> String {
        match self {
            Self::AgentJoined { agent, .. }
            | Self::AgentRenewed { agent, .. }
            | Self::AgentRevoked { agent, .. } => format!("agent/{agent}"),
            _ => "tower".into(),
        }
    }

    /// Who wanted it.
    pub fn by(&self) -> Who {
        match self {
            Self::AgentJoined { by, .. } | Self::AgentRevoked { by, .. } => by.clone(),
            Self::AgentRenewed { agent, .. } => Who { actor: format!("agent:{agent}"), source: "api".into() },
            _ => Who { actor: "tower".into(), source: "settings".into() },
        }
    }

    /// One line for people. No secret is in it.
    pub fn sentence(&self) -> String {
        match self {
            Self::AuthorityMade { authority } => {
                format!("the tower has an authority of its own, {}", authority.sha256.short())
            }
            Self::CertificateShown { shown, own } => {
                let whose = if *own { "of the own authority" } else { "of its file" };
                format!("listeners show another certificate {whose}, {}", shown.sha256.short())
            }
            Self::CertificateBroken { why } => format!("the certificate before goes on: {why}"),
            Self::PlainAllowed { plain } if plain.is_empty() => {
                "no listener beyond loopback speaks in clear any more".into()
            }
            Self::PlainAllowed { plain } => {
                let all: Vec<String> =
                    plain.iter().map(|(listen, why)| format!("{listen} speaks in clear: {why}")).collect();
                all.join("; ")
            }
            Self::AgentJoined { agent, name, token, .. } => {
                format!("{agent} has joined from {name}, by {token}, which is used up")
            }
            Self::AgentRenewed { agent, .. } => format!("{agent} has a new certificate"),
            Self::AgentRevoked { agent, also, reason, .. } if !also.is_empty() => {
                format!("{agent} and {} more agents are shut out: {reason}", also.len())
            }
            Self::AgentRevoked { agent, reason, .. } => format!("{agent} is shut out: {reason}"),
        }
    }
}

impl Transport {
    /// The agent that shows a certificate of this SHA-256, if that lets it in at this moment.
    pub fn find(&self, sha256: &Digest, now: UnixMillis) -> Option<&Agent> {
        let shows = |held: &Held| held.sha256 == *sha256 && now < held.until;
        self.agents.values().find(|agent| agent.revoked.is_none() && agent.certificates.iter().any(shows))
    }

    /// Makes a change true.
    pub(crate) fn apply(&mut self, now: Now, change: &TransportChange) {
        match change {
            TransportChange::AuthorityMade { authority } => self.authority = Some(authority.clone()),
            TransportChange::CertificateShown { shown, .. } => self.shown = Some(shown.clone()),
            TransportChange::CertificateBroken { .. } => {}
            TransportChange::PlainAllowed { plain } => self.plain.clone_from(plain),
            TransportChange::AgentJoined { agent, name, token, made_with, spec, certificate, .. } => {
                self.last_agent = self.last_agent.max(agent.0);
                let joined = Agent {
                    id: *agent,
                    name: name.clone(),
                    token: *token,
                    made_with: made_with.clone(),
                    spec: (**spec).clone(),
                    joined_at: now,
                    certificates: vec![certificate.clone()],
                    revoked: None,
                };
                self.agents.insert(*agent, joined);
            }
            TransportChange::AgentRenewed { agent, certificate } => {
                if let Some(agent) = self.agents.get_mut(agent) {
                    agent.certificates.push(certificate.clone());
                    let old = agent.certificates.len().saturating_sub(CERTIFICATES_MAX);
                    agent.certificates.drain(..old);
                }
            }
            TransportChange::AgentRevoked { agent, also, by, reason } => {
                for id in std::iter::once(agent).chain(also) {
                    if let Some(agent) = self.agents.get_mut(id).filter(|agent| agent.revoked.is_none()) {
                        agent.revoked = Some((now, by.clone(), reason.clone()));
                    }
                }
            }
        }
        self.forget_ended(now.wall);
    }

    fn forget_ended(&mut self, now: UnixMillis) {
        let ended: Vec<AgentId> =
            self.agents.values().filter(|agent| !agent.is_in_force(now)).map(|agent| agent.id).collect();
        for id in ended.iter().take(ended.len().saturating_sub(ENDED_MAX)) {
            self.agents.remove(id);
        }
    }

    /// What of a report is new.
    pub(crate) fn told(&self, report: &TransportReport) -> Option<TransportChange> {
        match report {
            TransportReport::Authority(held) if self.authority.as_ref() != Some(held) => {
                Some(TransportChange::AuthorityMade { authority: held.clone() })
            }
            TransportReport::Shown { held, own } if self.shown.as_ref() != Some(held) => {
                Some(TransportChange::CertificateShown { shown: held.clone(), own: *own })
            }
            TransportReport::Broken { why } => Some(TransportChange::CertificateBroken { why: why.clone() }),
            TransportReport::Plain(plain) if self.plain != *plain => {
                Some(TransportChange::PlainAllowed { plain: plain.clone() })
            }
            _ => None,
        }
    }

    /// What becomes of the wish to join by a token.
    pub(crate) fn join(
        &self,
        now: UnixMillis,
        access: &Access,
        (token, name, certificate): (TokenId, &str, &Held),
        by: &Who,
    ) -> Result<TransportChange, Refusal> {
        let known = access.tokens.get(&token);
        let known = known.ok_or_else(|| Refusal::not_found(format!("there is no token {token}")))?;
        if known.spec.kind != TokenKind::Agt {
            return Err(Refusal::conflict(format!(
                "{token} is no agent's: it is of kind `{}`",
                known.spec.kind
            ))
            .hint("`hmsops token create --kind agt …` makes one to join with"));
        }
        // Whoever holds an agent's certificate steers nothing and lets nobody in.
        if let Some(scope) = known.spec.scopes.iter().find(|scope| !TokenKind::Ing.may_have(**scope)) {
            return Err(Refusal::conflict(format!("{token} has `{scope}`, and agents only bring data"))
                .hint("make one with scopes `…:write` of data: `--scope metrics:write`"));
        }
        if !known.is_in_force(now) {
            return Err(Refusal::conflict(format!("{token} lets nobody in any more"))
                .hint("each agent joins by a token of its own, once: `hmsops token create --kind agt …`"));
        }
        if !is_name(name) {
            return Err(Refusal::conflict(format!(
                "an agent's name has 1 to {NAME_BYTES_MAX} of A-Z, a-z, 0-9, `-`, `_` and `.`"
            )));
        }
        if self.agents.values().filter(|agent| agent.is_in_force(now)).count() >= AGENTS_MAX {
            return Err(Refusal::conflict(format!("there are {AGENTS_MAX} agents already"))
                .hint("`hmsops agent list` shows them, `hmsops agent revoke` shuts one out"));
        }
        Ok(TransportChange::AgentJoined {
            agent: AgentId(self.last_agent + 1),
            name: name.to_owned(),
            token,
            made_with: access.makers(token),
            spec: Box::new(known.spec.clone()),
            certificate: certificate.clone(),
            by: by.clone(),
        })
    }

    /// Another certificate for an agent that is let in.
    pub(crate) fn renew(
        &self,
        now: UnixMillis,
        agent: AgentId,
        certificate: &Held,
    ) -> Result<TransportChange, Refusal> {
        let known = self.known(agent)?;
        if !known.is_in_force(now) {
            return Err(Refusal::conflict(format!("{agent} is not let in any more"))
                .hint("it joins anew by a token of its own"));
        }
        // Certificates live equally long, so that their ends tell when they were asked for.
        let oldest = known.certificates.first().filter(|_| known.certificates.len() >= CERTIFICATES_MAX);
        if oldest.is_some_and(|oldest| certificate.until.since(oldest.until) < RENEWALS_WITHIN) {
            return Err(Refusal::conflict(format!("{agent} asks for certificates too often"))
                .hint("an agent asks at its start and twice a day: is there another that has its key?"));
        }
        Ok(TransportChange::AgentRenewed { agent, certificate: certificate.clone() })
    }

    /// An agent's end. Shutting out twice changes nothing.
    pub(crate) fn revoke(
        &self,
        agent: AgentId,
        by: &Who,
        reason: &str,
    ) -> Result<Option<TransportChange>, Refusal> {
        if self.known(agent)?.revoked.is_some() {
            return Ok(None);
        }
        if reason.trim().is_empty() || reason == NO_REASON {
            return Err(Refusal::conflict("a reason is needed").hint("add `--reason …`"));
        }
        let (by, reason) = (by.clone(), reason.to_owned());
        Ok(Some(TransportChange::AgentRevoked { agent, also: Vec::new(), by, reason }))
    }

    /// The end of all agents that are let in by what a token, which is revoked, has made: by itself, or by one that was
    /// made with it. `None`: there is none.
    pub(crate) fn revoke_joined(
        &self,
        now: UnixMillis,
        access: &Access,
        token: TokenId,
        (by, reason): (&Who, &str),
    ) -> Option<TransportChange> {
        let is_of = |agent: &&Agent| {
            agent.is_in_force(now)
                && (agent.token == token
                    || agent.made_with.contains(&token)
                    // Entries of before this was written down.
                    || access.makers(agent.token).contains(&token))
        };
        let mut all = self.agents.values().filter(is_of).map(|agent| agent.id);
        let agent = all.next()?;
        let reason = format!("{token}, by which it came in, is revoked: {reason}");
        Some(TransportChange::AgentRevoked { agent, also: all.collect(), by: by.clone(), reason })
    }

    fn known(&self, id: AgentId) -> Result<&Agent, Refusal> {
        let newest = || match self.agents.keys().next_back() {
            Some(newest) => format!("the newest is {newest}"),
            None => "none has joined yet".into(),
        };
        self.agents
            .get(&id)
            .ok_or_else(|| Refusal::not_found(format!("there is no agent {id}")).hint(newest()))
    }
}

/// Whether a text can be an agent's name.
fn is_name(name: &str) -> bool {
    let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits)
}
