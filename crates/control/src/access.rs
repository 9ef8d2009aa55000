//! Who is let in: tokens, and how they come and go.

use std::collections::BTreeMap;

use hmsops_model::token::{BOUNDS_MAX, LIFE_MAX, TokenSpec};
use hmsops_model::{Digest, Millis, Now, TokenId, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::event::{NO_REASON, Refusal, Who};

/// Tokens in force of one tower.
pub const TOKENS_MAX: usize = 10_000;

/// Ended tokens that are remembered; older ones stay in the ledger.
const ENDED_MAX: usize = 1000;

/// The longest name of an owner, in bytes.
const OWNER_BYTES_MAX: usize = 200;

/// Everything that is true of who is let in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Access {
    /// Tokens: all in force, and the last that have ended.
    pub tokens: BTreeMap<TokenId, Token>,
    /// Their numbers, by the SHA-256 of their texts.
    pub by_sha256: BTreeMap<Digest, TokenId>,
    /// The highest number given.
    pub last_token: u64,
}

/// A token that was given out. Its text is known to its holder alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its number.
    pub id: TokenId,
    /// SHA-256 of its text: 256 random bits need no slow hash.
    pub sha256: Digest,
    /// What it is allowed. The end is brought forward when another follows it.
    pub spec: TokenSpec,
    /// Who made it.
    pub by: Who,
    /// What for.
    pub reason: String,
    /// When.
    pub issued_at: Now,
    /// The token that it follows.
    pub follows: Option<TokenId>,
    /// The token that follows it.
    pub followed_by: Option<TokenId>,
    /// How it ended before its time.
    pub revoked: Option<Revoked>,
}

/// A token's end before its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// When.
    pub at: Now,
    /// By whom.
    pub by: Who,
    /// Why.
    pub reason: String,
}

impl Token {
    /// Whether it lets anybody in at this moment.
    pub fn is_in_force(&self, now: UnixMillis) -> bool {
        self.revoked.is_none() && now < self.spec.expires
    }
}

/// One change of who is let in.
#[expect(
    missing_docs,
    reason = "fields are the nouns of this file; each variant says what they mean together"
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "transition", rename_all = "kebab-case")]
pub enum AccessChange {
    /// A token is given out. With `follows` it takes another's place, which goes on until `follows_ends` at most.
    TokenIssued {
        token: TokenId,
        sha256: Digest,
        spec: Box<TokenSpec>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        follows: Option<TokenId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        follows_ends: Option<UnixMillis>,
        by: Who,
        reason: String,
    },
    /// A token lets nobody in any more.
    TokenRevoked { token: TokenId, by: Who, reason: String },
}

impl AccessChange {
    /// The token it is about.
    pub fn token(&self) -> TokenId {
        match self {
            Self::TokenIssued { token, .. } | Self::TokenRevoked { token, .. } => *token,
        }
    }

    /// Who wanted it.
    pub fn by(&self) -> &Who {
        match self {
            Self::TokenIssued { by, .. } | Self::TokenRevoked { by, .. } => by,
        }
    }

    /// One line for people. No secret is in it.
    pub fn sentence(&self) -> String {
        match self {
            Self::TokenIssued { token, spec, follows, reason, .. } => {
                let scopes: Vec<&str> = spec.scopes.iter().map(|scope| scope.name()).collect();
                let instead = follows.map(|old| format!(" in place of {old}")).unwrap_or_default();
                format!("{token} is given to {}{instead} for {}: {reason}", spec.owner, scopes.join(", "))
            }
            Self::TokenRevoked { token, reason, .. } => format!("{token} is revoked: {reason}"),
        }
    }
}

impl Access {
    /// The token whose text has this hash, whether or not it is in force.
    pub fn find(&self, sha256: &Digest) -> Option<&Token> {
        self.tokens.get(self.by_sha256.get(sha256)?)
    }

    /// Makes a change true.
    pub(crate) fn apply(&mut self, now: Now, change: &AccessChange) {
        match change {
            AccessChange::TokenIssued { token: id, sha256, spec, follows, follows_ends, by, reason } => {
                self.last_token = self.last_token.max(id.0);
                if let Some(old) = follows.and_then(|old| self.tokens.get_mut(&old)) {
                    old.followed_by = Some(*id);
                    old.spec.expires =
                        follows_ends.map_or(old.spec.expires, |ends| ends.min(old.spec.expires));
                }
                let token = Token {
                    id: *id,
                    sha256: sha256.clone(),
                    spec: (**spec).clone(),
                    by: by.clone(),
                    reason: reason.clone(),
                    issued_at: now,
                    follows: *follows,
                    followed_by: None,
                    revoked: None,
                };
                self.by_sha256.insert(sha256.clone(), *id);
                self.tokens.insert(*id, token);
            }
            AccessChange::TokenRevoked { token, by, reason } => {
                if let Some(token) = self.tokens.get_mut(token).filter(|token| token.revoked.is_none()) {
                    token.revoked = Some(Revoked { at: now, by: by.clone(), reason: reason.clone() });
                }
            }
        }
        self.forget_ended(now.wall);
    }

    /// A token that was good for one use has had it.
    pub(crate) fn use_up(&mut self, now: Now, token: TokenId, by: &Who, reason: String) {
        if let Some(token) = self.tokens.get_mut(&token).filter(|token| token.revoked.is_none()) {
            token.revoked = Some(Revoked { at: now, by: by.clone(), reason });
        }
    }

    fn forget_ended(&mut self, now: UnixMillis) {
        let ended: Vec<TokenId> =
            self.tokens.values().filter(|token| !token.is_in_force(now)).map(|token| token.id).collect();
        for id in ended.iter().take(ended.len().saturating_sub(ENDED_MAX)) {
            if let Some(token) = self.tokens.remove(id) {
                self.by_sha256.remove(&token.sha256);
            }
        }
    }

    /// What becomes of the wish for a token. `granter` is the token of who asks; the admin has none.
    pub(crate) fn issue(
        &self,
        now: UnixMillis,
        (sha256, spec): (&Digest, &TokenSpec),
        granter: Option<TokenId>,
        (by, reason): (&Who, &str),
    ) -> Result<AccessChange, Refusal> {
        self.check(now, sha256, spec, granter)?;
        Ok(AccessChange::TokenIssued {
            token: TokenId(self.last_token + 1),
            sha256: sha256.clone(),
            spec: Box::new(spec.clone()),
            follows: None,
            follows_ends: None,
            by: by.clone(),
            reason: said(reason)?,
        })
    }

    /// The same rights under a new text; the old one goes on for `overlap` at most.
    pub(crate) fn rotate(
        &self,
        now: UnixMillis,
        (old, sha256, overlap, life): (TokenId, &Digest, Millis, Millis),
        granter: Option<TokenId>,
        (by, reason): (&Who, &str),
    ) -> Result<AccessChange, Refusal> {
        let known = self.known(old)?;
        if !known.is_in_force(now) {
            return Err(
                Refusal::conflict(format!("{old} has ended")).hint("`hmsops token create` makes a new one")
            );
        }
        if let Some(next) = known.followed_by {
            return Err(Refusal::conflict(format!("{next} follows {old} already"))
                .hint(format!("rotate {next}, or revoke {old}")));
        }
        let mut spec = known.spec.clone();
        spec.expires = UnixMillis(now.0.saturating_add_unsigned(life.0));
        self.check(now, sha256, &spec, granter.filter(|granter| *granter != old))?;
        Ok(AccessChange::TokenIssued {
            token: TokenId(self.last_token + 1),
            sha256: sha256.clone(),
            spec: Box::new(spec),
            follows: Some(old),
            follows_ends: Some(UnixMillis(now.0.saturating_add_unsigned(overlap.0))),
            by: by.clone(),
            reason: said(reason)?,
        })
    }

    /// An end before its time. One that has ended by itself cannot be ended again.
    pub(crate) fn revoke(
        &self,
        token: TokenId,
        by: &Who,
        reason: &str,
    ) -> Result<Option<AccessChange>, Refusal> {
        if self.known(token)?.revoked.is_some() {
            return Ok(None);
        }
        Ok(Some(AccessChange::TokenRevoked { token, by: by.clone(), reason: said(reason)? }))
    }

    fn known(&self, id: TokenId) -> Result<&Token, Refusal> {
        let newest = || match self.tokens.keys().next_back() {
            Some(newest) => format!("the newest is {newest}"),
            None => "there is none yet".into(),
        };
        self.tokens
            .get(&id)
            .ok_or_else(|| Refusal::not_found(format!("there is no token {id}")).hint(newest()))
    }

    fn check(
        &self,
        now: UnixMillis,
        sha256: &Digest,
        spec: &TokenSpec,
        granter: Option<TokenId>,
    ) -> Result<(), Refusal> {
        if spec.scopes.is_empty() {
            return Err(Refusal::conflict("a token without a scope may do nothing").hint("add `--scope …`"));
        }
        if let Some(scope) = spec.scopes.iter().find(|scope| !spec.kind.may_have(**scope)) {
            return Err(Refusal::conflict(format!("a token of kind `{}` cannot have `{scope}`", spec.kind))
                .hint("approvals are a person's; what only brings data has `…:write` scopes of data"));
        }
        if spec.owner.trim().is_empty()
            || spec.owner.len() > OWNER_BYTES_MAX
            || spec.owner.chars().any(char::is_control)
        {
            return Err(Refusal::conflict(format!(
                "an owner has 1 to {OWNER_BYTES_MAX} bytes, no control characters"
            )));
        }
        if spec.services.len() > BOUNDS_MAX || spec.networks.len() > BOUNDS_MAX {
            return Err(Refusal::conflict(format!(
                "a token is bound to {BOUNDS_MAX} services and networks at most"
            )));
        }
        let ends_at_most = now.0.saturating_add_unsigned(LIFE_MAX.0);
        if spec.expires <= now || spec.expires.0 > ends_at_most {
            return Err(Refusal::conflict("a token lives for a minute to a year").hint("`--expires 90d`"));
        }
        if self.by_sha256.contains_key(sha256) {
            return Err(Refusal::conflict("this very token is given out already"));
        }
        if self.tokens.values().filter(|token| token.is_in_force(now)).count() >= TOKENS_MAX {
            return Err(Refusal::conflict(format!("there are {TOKENS_MAX} tokens already"))
                .hint("`hmsops token lint` finds those that nobody uses"));
        }
        match granter {
            Some(granter) if !self.known(granter)?.spec.covers(spec) => {
                Err(Refusal::conflict(format!("{granter} cannot give what it does not have"))
                    .hint("no more scopes, services or time than its own"))
            }
            _ => Ok(()),
        }
    }
}

/// Whoever lets somebody in, or shuts somebody out, says why.
fn said(reason: &str) -> Result<String, Refusal> {
    if reason.trim().is_empty() || reason == NO_REASON {
        return Err(Refusal::conflict("a reason is needed").hint("add `--reason …`"));
    }
    Ok(reason.to_owned())
}
