//! What came to a door within a minute: who, how often, and what was refused. By these every message leaves a trace
//! in the ledger, without an entry each.

use std::fmt;
use std::net::IpAddr;

use hmsops_model::{Digest, TokenId, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::sentence::grouped;

/// Tokens that one receipt lists: with all that is bounded here an entry stays below the ledger's 64 KiB.
pub const TOKENS_LISTED_MAX: usize = 256;

/// People that one receipt lists.
pub const PEOPLE_MAX: usize = 64;

/// Addresses without a name that one receipt lists: anybody can have many.
pub const SOURCES_MAX: usize = 32;

/// Reasons of denials that one receipt lists.
pub const DENIALS_MAX: usize = 16;

/// What came to a door from `from` to `to`. One without requests is not written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Which: `api`, `pages`, `query`, `write`, `emit`, `grpc`, `public`.
    pub door: String,
    /// The first request's answer.
    pub from: UnixMillis,
    /// When it was counted up, a minute later at most.
    pub to: UnixMillis,
    /// Requests that were answered.
    pub requests: u64,
    /// Those of them that were answered with a status from 400 on.
    pub refused: u64,
    /// Statuses, and how many got each.
    pub statuses: Vec<(u16, u64)>,
    /// Why some were not let in (401, 403, 429), most first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denials: Vec<Denial>,
    /// Who asked, most first; bounded for each kind.
    pub callers: Vec<Calls>,
    /// Requests of those who found no place in the list.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unlisted: u64,
    /// SHA-256 over one line a request, in the order of the answers: `MILLISECONDS METHOD ROUTE STATUS WHO` and a line
    /// feed. The tower's log has these lines at level debug, under the target `hmsops::door`.
    pub digest: Digest,
}

/// Why requests were not let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// As it was said to who asked.
    pub why: String,
    /// How many.
    pub requests: u64,
    /// The last address that it was said to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
}

/// What somebody asked for at a door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// Who.
    pub who: Party,
    /// How often.
    pub requests: u64,
    /// How often in vain.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused: u64,
    /// When last.
    pub last_at: UnixMillis,
    /// From where, then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
}

/// Who asks at a door.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Party {
    /// The holder of a token.
    Token(TokenId),
    /// A person who is logged in, or the admin.
    Person(String),
    /// Whoever is at this address, without a name.
    Source(IpAddr),
    /// Whoever, from wherever: not over a network.
    Nobody,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(id) => write!(f, "token:{id}"),
            Self::Person(name) => write!(f, "person:{name}"),
            Self::Source(address) => write!(f, "source:{address}"),
            Self::Nobody => f.write_str("nobody"),
        }
    }
}

impl Receipt {
    /// One line for people.
    pub fn sentence(&self) -> String {
        let of =
            |n: u64, one: &str, many: &str| format!("{} {}", grouped(n), if n == 1 { one } else { many });
        let count =
            |is: fn(&Party) -> bool| self.callers.iter().filter(|calls| is(&calls.who)).count() as u64;
        let groups = [
            (count(|who| matches!(who, Party::Token(_))), "token", "tokens"),
            (count(|who| matches!(who, Party::Person(_))), "person", "people"),
            (count(|who| matches!(who, Party::Source(_) | Party::Nobody)), "address", "addresses"),
        ];
        let who: Vec<String> =
            groups.iter().filter(|(n, ..)| *n > 0).map(|(n, one, many)| of(*n, one, many)).collect();
        let more = if self.unlisted > 0 { " and others" } else { "" };
        let refused = match self.refused {
            0 => "none refused".to_owned(),
            n if n == self.requests => "all refused".to_owned(),
            n => format!("{} refused", grouped(n)),
        };
        let why = self.denials.first().map(|denial| {
            let rest = if self.denials.len() > 1 { "; …" } else { "" };
            format!(" ({}{rest})", denial.why)
        });
        let requests = of(self.requests, "request", "requests");
        format!(
            "{requests} at {} by {}{more}, {refused}{}",
            self.door,
            who.join(", "),
            why.unwrap_or_default()
        )
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_says_who_came_and_what_was_refused() {
        let calls = |who, requests, refused| Calls {
            who,
            requests,
            refused,
            last_at: UnixMillis(60_000),
            from: Some([10, 0, 0, 1].into()),
        };
        let mut receipt = Receipt {
            door: "api".into(),
            from: UnixMillis(1),
            to: UnixMillis(60_000),
            requests: 1204,
            refused: 3,
            statuses: vec![(200, 1201), (403, 3)],
            denials: vec![Denial { why: "k-1 was revoked".into(), requests: 3, from: None }],
            callers: vec![
                calls(Party::Token(TokenId(2)), 1200, 0),
                calls(Party::Person("admin".into()), 1, 0),
                calls(Party::Source([10, 0, 0, 1].into()), 3, 3),
            ],
            unlisted: 0,
            digest: Digest::from_sha256([7; 32]),
        };
        let said = "1 204 requests at api by 1 token, 1 person, 1 address, 3 refused (k-1 was revoked)";
        assert_eq!(receipt.sentence().replace(['\u{202f}', '\u{a0}'], " "), said);
        let text = serde_json::to_string(&receipt).unwrap();
        assert_eq!(serde_json::from_str::<Receipt>(&text).unwrap(), receipt, "{text}");
        receipt.callers.truncate(1);
        (receipt.requests, receipt.refused, receipt.denials) = (1, 1, Vec::new());
        assert_eq!(receipt.sentence(), "1 request at api by 1 token, all refused");
    }
}
