//! Who is let in: tokens, how they come and go, and what the doors have counted.

mod decide;
mod receipt;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use hmsops_model::token::TokenSpec;
use hmsops_model::{Digest, Now, TokenId, UnixMillis};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) use decide::Rotation;
pub use receipt::{Calls, DENIALS_MAX, Denial, PEOPLE_MAX, Party, Receipt, SOURCES_MAX, TOKENS_LISTED_MAX};

use crate::event::Who;

/// Tokens in force of one tower.
pub const TOKENS_MAX: usize = 10_000;

/// Ended tokens that are remembered; those that ended longer ago stay in the ledger.
pub const ENDED_MAX: usize = 1000;

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
    /// When those end that have not yet, made of `tokens`: so that a look at what has ended looks at nothing else.
    #[serde(skip)]
    ends: BTreeSet<(UnixMillis, TokenId)>,
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
    /// The token that it was made with, which takes it along when it is revoked; `None`: a person's word.
    #[serde(default)]
    pub granter: Option<TokenId>,
    /// The token that it follows.
    pub follows: Option<TokenId>,
    /// The token that follows it.
    pub followed_by: Option<TokenId>,
    /// How it ended before its time.
    pub revoked: Option<Revoked>,
    /// When it was seen that its time was over. From then on it stays so, whatever the clock says.
    #[serde(default)]
    pub ended: Option<Now>,
    /// How it was used, as far as receipts tell.
    #[serde(default)]
    pub used: Option<Used>,
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
    /// The token that was revoked and took this one along, which it had made.
    #[serde(default)]
    pub with: Option<TokenId>,
}

/// How a token was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// When last.
    pub at: UnixMillis,
    /// From where.
    pub from: Option<IpAddr>,
    /// How often, all told.
    pub count: u64,
}

impl Token {
    /// Whether it lets anybody in at this moment.
    pub fn is_in_force(&self, now: UnixMillis) -> bool {
        !self.is_over() && now < self.spec.expires
    }

    /// Whether it is a fact that it has ended.
    pub const fn is_over(&self) -> bool {
        self.revoked.is_some() || self.ended.is_some()
    }

    /// When that became a fact.
    fn over_at(&self) -> Option<UnixMillis> {
        self.revoked.as_ref().map(|revoked| revoked.at).or(self.ended).map(|at| at.wall)
    }
}

/// One change of who is let in, or what was counted at a door.
#[expect(
    missing_docs,
    reason = "fields are the nouns of this file; each variant says what they mean together"
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "transition", rename_all = "kebab-case")]
pub enum AccessChange {
    /// A token is given out, by the holder of `granter` if it has one. With `follows` it takes another's place, which
    /// goes on until `follows_ends` at most.
    TokenIssued {
        token: TokenId,
        sha256: Digest,
        spec: Box<TokenSpec>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        granter: Option<TokenId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        follows: Option<TokenId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        follows_ends: Option<UnixMillis>,
        by: Who,
        reason: String,
    },
    /// A token lets nobody in any more, nor do those in `also`, which it had made.
    TokenRevoked {
        token: TokenId,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        also: Vec<TokenId>,
        by: Who,
        reason: String,
    },
    /// A token's time is over.
    TokenEnded { token: TokenId },
    /// What came to a door within a minute.
    Receipt { receipt: Box<Receipt> },
}

impl AccessChange {
    /// Whether it takes a right away from somebody: then it waits for nobody.
    pub const fn is_retreat(&self) -> bool {
        matches!(self, Self::TokenRevoked { .. })
    }

    /// What it is about: `token/k-3` or `door/api`.
    pub fn subject(&self) -> String {
        match self {
            Self::TokenIssued { token, .. }
            | Self::TokenRevoked { token, .. }
            | Self::TokenEnded { token } => {
                format!("token/{token}")
            }
            Self::Receipt { receipt } => format!("door/{}", receipt.door),
        }
    }

    /// Who wanted it.
    pub fn by(&self) -> Who {
        match self {
            Self::TokenIssued { by, .. } | Self::TokenRevoked { by, .. } => by.clone(),
            Self::TokenEnded { .. } => Who::tower(),
            Self::Receipt { .. } => Who { actor: "tower".into(), source: "door".into() },
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
            Self::TokenRevoked { token, also, reason, .. } => {
                let also = match also.as_slice() {
                    [] => String::new(),
                    [one] => format!(", and {one}, which it had made"),
                    many => format!(", and {} more that it had made", many.len()),
                };
                format!("{token} is revoked{also}: {reason}")
            }
            Self::TokenEnded { token } => format!("{token} has ended: its time is over"),
            Self::Receipt { receipt } => receipt.sentence(),
        }
    }
}

impl Access {
    /// The token whose text has this hash, whether or not it is in force.
    pub fn find(&self, sha256: &Digest) -> Option<&Token> {
        self.tokens.get(self.by_sha256.get(sha256)?)
    }

    /// Tokens whose time is over without its being a fact yet, at most `most`.
    pub(crate) fn overdue(&self, now: UnixMillis, most: usize) -> impl Iterator<Item = TokenId> + '_ {
        self.ends.iter().take_while(move |(at, _)| *at <= now).take(most).map(|(_, id)| *id)
    }

    /// Makes a change true.
    pub(crate) fn apply(&mut self, now: Now, change: &AccessChange) {
        match change {
            AccessChange::TokenIssued { .. } => self.give(now, change),
            AccessChange::TokenRevoked { token, also, by, reason } => {
                for id in std::iter::once(token).chain(also) {
                    let with = (id != token).then_some(*token);
                    let revoked = Revoked { at: now, by: by.clone(), reason: reason.clone(), with };
                    self.end(*id, |token| {
                        token.revoked.get_or_insert(revoked);
                    });
                }
            }
            AccessChange::TokenEnded { token } => self.end(*token, |token| {
                token.ended.get_or_insert(now);
            }),
            AccessChange::Receipt { receipt } => {
                for calls in &receipt.callers {
                    let Party::Token(id) = calls.who else { continue };
                    let Some(token) = self.tokens.get_mut(&id) else { continue };
                    let before = token.used.map_or(0, |used| used.count);
                    let count = before.saturating_add(calls.requests);
                    token.used = Some(Used { at: calls.last_at, from: calls.from, count });
                }
                return;
            }
        }
        self.forget_ended();
    }

    fn give(&mut self, now: Now, change: &AccessChange) {
        let AccessChange::TokenIssued { token: id, sha256, spec, granter, follows, follows_ends, by, reason } =
            change
        else {
            return;
        };
        self.last_token = self.last_token.max(id.0);
        if let Some(old) = follows.and_then(|old| self.tokens.get_mut(&old)) {
            self.ends.remove(&(old.spec.expires, old.id));
            old.followed_by = Some(*id);
            old.spec.expires = follows_ends.map_or(old.spec.expires, |ends| ends.min(old.spec.expires));
            if !old.is_over() {
                self.ends.insert((old.spec.expires, old.id));
            }
        }
        let token = Token {
            id: *id,
            sha256: sha256.clone(),
            spec: (**spec).clone(),
            by: by.clone(),
            reason: reason.clone(),
            issued_at: now,
            granter: *granter,
            follows: *follows,
            followed_by: None,
            revoked: None,
            ended: None,
            used: None,
        };
        self.ends.insert((token.spec.expires, *id));
        self.by_sha256.insert(sha256.clone(), *id);
        self.tokens.insert(*id, token);
    }

    fn end(&mut self, id: TokenId, how: impl FnOnce(&mut Token)) {
        if let Some(token) = self.tokens.get_mut(&id).filter(|token| token.revoked.is_none()) {
            how(token);
            self.ends.remove(&(token.spec.expires, id));
        }
    }

    /// Forgets those that ended longest ago.
    fn forget_ended(&mut self) {
        let over = self.tokens.len().saturating_sub(self.ends.len());
        if over <= ENDED_MAX {
            return;
        }
        let mut ended: Vec<(UnixMillis, TokenId)> =
            self.tokens.values().filter_map(|token| Some((token.over_at()?, token.id))).collect();
        ended.sort_unstable();
        for (_, id) in ended.iter().take(over - ENDED_MAX) {
            if let Some(token) = self.tokens.remove(id) {
                self.by_sha256.remove(&token.sha256);
            }
        }
    }

    fn index(&mut self) {
        let open = self.tokens.values().filter(|token| !token.is_over());
        self.ends = open.map(|token| (token.spec.expires, token.id)).collect();
    }
}

/// Writes what is shared as if it were not: a snapshot of state holds it once anyway.
pub(crate) fn serialize<S: Serializer>(access: &Arc<Access>, serializer: S) -> Result<S::Ok, S::Error> {
    access.as_ref().serialize(serializer)
}

/// Reads it, and makes what is not written down.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Access>, D::Error> {
    let mut access = Access::deserialize(deserializer)?;
    access.index();
    Ok(Arc::new(access))
}
