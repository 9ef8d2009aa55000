//! What a token is allowed, and to whom it was given.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::network::Network;
use crate::{Millis, Scope, ServiceName, UnixMillis};

/// How long a token lives unless it is said: long enough not to be a nuisance, short enough that a forgotten one ends.
pub const LIFE: Millis = Millis::from_mins(90 * 24 * 60);

/// The longest life.
pub const LIFE_MAX: Millis = Millis::from_mins(365 * 24 * 60);

/// How long a rotated token goes on beside its successor unless it is said.
pub const OVERLAP: Millis = Millis::from_mins(24 * 60);

/// Services or networks that one token is bound to.
pub const BOUNDS_MAX: usize = 64;

/// Who holds a token: stands in its prefix, `hms_sa_…`, so that a scanner for leaked secrets knows what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// A program that acts for itself: CI, a bot.
    Sa,
    /// A person's own programs.
    Pat,
    /// An agent or a probe elsewhere.
    Agt,
    /// What only brings metrics, logs, traces or events.
    Ing,
}

impl TokenKind {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Sa, Self::Pat, Self::Agt, Self::Ing];

    /// As it stands in the prefix.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sa => "sa",
            Self::Pat => "pat",
            Self::Agt => "agt",
            Self::Ing => "ing",
        }
    }

    /// Whether a token of this kind may have a scope. Nothing that lies in a file approves or breaks the glass: both take
    /// a person who is there. What brings data does nothing else.
    pub fn may_have(self, scope: Scope) -> bool {
        match self {
            Self::Sa | Self::Pat | Self::Agt => !scope.approves() && scope != Scope::BREAKGLASS_USE,
            Self::Ing => [Scope::METRICS_WRITE, Scope::LOGS_WRITE, Scope::TRACES_WRITE, Scope::EVENTS_WRITE]
                .contains(&scope),
        }
    }
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No kind of this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKind(String);

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a kind of token: expected `sa`, `pat`, `agt` or `ing`", self.0)
    }
}

impl std::error::Error for UnknownKind {}

impl FromStr for TokenKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let known = Self::ALL.into_iter().find(|kind| kind.name() == text);
        known.ok_or_else(|| UnknownKind(text.chars().take(80).collect()))
    }
}

/// What a token is allowed, and to whom it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenSpec {
    /// Who holds it.
    pub kind: TokenKind,
    /// Whose it is: a person or a team that answers for it.
    pub owner: String,
    /// What it may do, at least one.
    pub scopes: Vec<Scope>,
    /// The only services that it may touch; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceName>,
    /// The only networks that it may come from; none: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Network>,
    /// When it ends.
    pub expires: UnixMillis,
}

impl TokenSpec {
    /// Whether whoever has `self` may give away `other`: nobody gives what they do not have.
    pub fn covers(&self, other: &Self) -> bool {
        let scopes = other.scopes.iter().all(|scope| self.scopes.contains(scope));
        let services = self.services.is_empty()
            || (!other.services.is_empty() && other.services.iter().all(|name| self.services.contains(name)));
        let networks = self.networks.is_empty()
            || (!other.networks.is_empty()
                && other.networks.iter().all(|range| self.networks.contains(range)));
        scopes && services && networks && other.expires <= self.expires
    }

    /// Whether it may touch a service.
    pub fn reaches(&self, service: &ServiceName) -> bool {
        self.services.is_empty() || self.services.contains(service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(scopes: &[Scope], services: &[&str]) -> TokenSpec {
        TokenSpec {
            kind: TokenKind::Sa,
            owner: "ci".into(),
            scopes: scopes.to_vec(),
            services: services.iter().map(|name| ServiceName::new(*name).unwrap()).collect(),
            networks: Vec::new(),
            expires: UnixMillis(1000),
        }
    }

    #[test]
    fn nobody_gives_what_they_do_not_have() {
        let (deploy, read) = (Scope::DEPLOY_REQUEST, Scope::STATE_READ);
        let whole = spec(&[deploy, read], &[]);
        let bound = spec(&[deploy, read], &["a"]);
        assert!(whole.covers(&bound) && whole.covers(&spec(&[read], &["a", "b"])));
        assert!(!bound.covers(&whole), "bound to nothing is bound to less");
        assert!(!bound.covers(&spec(&[read], &["b"])) && bound.covers(&spec(&[read], &["a"])));
        assert!(!whole.covers(&spec(&[Scope::TOKENS_ADMIN], &["a"])));
        let near = TokenSpec { networks: vec!["10.0.0.0/8".parse().unwrap()], ..bound.clone() };
        assert!(
            bound.covers(&near) && near.covers(&near) && !near.covers(&bound),
            "nor a way from elsewhere"
        );
        let later = TokenSpec { expires: UnixMillis(1001), ..bound.clone() };
        assert!(!whole.covers(&later));
        assert!(
            bound.reaches(&ServiceName::new("a").unwrap()) && !bound.reaches(&ServiceName::new("b").unwrap())
        );
    }

    #[test]
    fn programs_never_approve() {
        for scope in Scope::ALL.iter().filter(|scope| scope.approves()) {
            assert!(TokenKind::ALL.iter().all(|kind| !kind.may_have(*scope)), "{scope}");
        }
        assert!(
            TokenKind::Ing.may_have(Scope::METRICS_WRITE) && !TokenKind::Ing.may_have(Scope::METRICS_READ)
        );
        assert_eq!(
            "brk".parse::<TokenKind>().unwrap_err().to_string().split(':').next(),
            Some("`brk` is not a kind of token")
        );
    }
}
