//! What becomes of the wish to let somebody in or to shut somebody out.

use std::collections::{BTreeMap, BTreeSet};

use hmsops_model::token::{BOUNDS_MAX, LIFE_MAX, TokenSpec};
use hmsops_model::{Digest, Millis, TokenId, UnixMillis};

use super::{Access, AccessChange, TOKENS_MAX, Token};
use crate::event::{NO_REASON, Refusal, Who};

/// The longest name of an owner, in bytes.
const OWNER_BYTES_MAX: usize = 200;

/// Tokens that one line revokes beside the one it is about, so that it stays below the ledger's 64 KiB. More take
/// more lines.
const ALSO_MAX: usize = 4000;

/// Tokens that made one another and are followed back: people make one or two, programs another.
const MAKERS_MAX: usize = 100;

/// How a token is to be followed by another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rotation<'a> {
    /// The token.
    pub(crate) old: TokenId,
    /// SHA-256 of the other's text.
    pub(crate) sha256: &'a Digest,
    /// How long the one goes on beside the other.
    pub(crate) overlap: Millis,
    /// How long the other lives; `None`: as long as the one was given, as far as who asks may give that.
    pub(crate) life: Option<Millis>,
}

impl Access {
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
            granter,
            follows: None,
            follows_ends: None,
            by: by.clone(),
            reason: said(reason)?,
        })
    }

    /// The same rights under a new text; the old one goes on for the overlap at most. Nobody prolongs what they are
    /// let in by themselves: a token that rotates itself is followed by one that ends when it does.
    pub(crate) fn rotate(
        &self,
        now: UnixMillis,
        rotation: Rotation<'_>,
        granter: Option<TokenId>,
        (by, reason): (&Who, &str),
    ) -> Result<AccessChange, Refusal> {
        let Rotation { old, sha256, overlap, life } = rotation;
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
        let until = |life: Millis| UnixMillis(now.0.saturating_add_unsigned(life.0));
        spec.expires = match (life, granter) {
            (Some(life), _) => until(life),
            (None, None) => until(known.spec.expires.since(known.issued_at.wall)),
            (None, Some(granter)) => {
                let same = until(known.spec.expires.since(known.issued_at.wall));
                same.min(self.known(granter)?.spec.expires)
            }
        };
        self.check(now, sha256, &spec, granter)?;
        Ok(AccessChange::TokenIssued {
            token: TokenId(self.last_token + 1),
            sha256: sha256.clone(),
            spec: Box::new(spec),
            granter,
            follows: Some(old),
            follows_ends: Some(until(overlap)),
            by: by.clone(),
            reason: said(reason)?,
        })
    }

    /// An end before its time, of a token and, unless these are kept, of all that were made with it and with those. One
    /// that is revoked already cannot be revoked again; what it made still can.
    pub(crate) fn revoke(
        &self,
        token: TokenId,
        keep_made: bool,
        (by, reason): (&Who, &str),
    ) -> Result<Vec<AccessChange>, Refusal> {
        let is_revoked = self.known(token)?.revoked.is_some();
        let made = if keep_made { Vec::new() } else { self.made_with(token) };
        if is_revoked && made.is_empty() {
            return Ok(Vec::new());
        }
        let reason = said(reason)?;
        let line = |also: &[TokenId]| AccessChange::TokenRevoked {
            token,
            also: also.to_vec(),
            by: by.clone(),
            reason: reason.clone(),
        };
        if made.is_empty() {
            return Ok(vec![line(&[])]);
        }
        Ok(made.chunks(ALSO_MAX).map(line).collect())
    }

    /// Tokens that have not ended and were made with this one, or with one that was, and so on.
    pub fn made_with(&self, token: TokenId) -> Vec<TokenId> {
        let lasts = |id: &TokenId| self.tokens.get(id).is_some_and(|known| !known.is_over());
        self.ever_made_with(token).into_iter().filter(|id| *id != token && lasts(id)).collect()
    }

    /// Those that have ended, too, and the token itself if one of them made it anew.
    pub(crate) fn ever_made_with(&self, token: TokenId) -> BTreeSet<TokenId> {
        let mut by_granter: BTreeMap<TokenId, Vec<&Token>> = BTreeMap::new();
        for known in self.tokens.values() {
            if let Some(granter) = known.granter {
                by_granter.entry(granter).or_default().push(known);
            }
        }
        let (mut found, mut open) = (BTreeSet::new(), vec![token]);
        while let Some(granter) = open.pop() {
            // Taken out, so that nothing is looked at twice.
            for made in by_granter.remove(&granter).into_iter().flatten() {
                open.push(made.id);
                found.insert(made.id);
            }
        }
        found
    }

    /// The tokens that a token was made with, the nearest first, as far as they are remembered.
    pub(crate) fn makers(&self, token: TokenId) -> Vec<TokenId> {
        let of = |id: TokenId| self.tokens.get(&id).and_then(|known| known.granter);
        let mut makers = Vec::new();
        let mut next = of(token);
        while let Some(maker) = next.filter(|maker| makers.len() < MAKERS_MAX && !makers.contains(maker)) {
            makers.push(maker);
            next = of(maker);
        }
        makers
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
        if self.ends.len() >= TOKENS_MAX {
            return Err(Refusal::conflict(format!("there are {TOKENS_MAX} tokens already"))
                .hint("`hmsops token lint` finds those that nobody uses"));
        }
        match granter {
            // It may have ended since it was let in.
            Some(granter) if !self.known(granter)?.is_in_force(now) => {
                Err(Refusal::conflict(format!("{granter}, which asks for it, has ended")))
            }
            Some(granter) if !self.known(granter)?.spec.covers(spec) => {
                Err(Refusal::conflict(format!("{granter} cannot give what it does not have"))
                    .hint("no more scopes, services, networks or time than its own"))
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
