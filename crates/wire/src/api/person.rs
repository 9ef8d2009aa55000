//! People: log-ins, accounts, the break-glass.

use serde::{Deserialize, Serialize};

/// `POST /login/password`.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PasswordLogin {
    /// The account.
    pub name: String,
    /// Its password.
    pub password: String,
    /// Of a form: the page to go to, a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Nothing of a password is printed.
impl std::fmt::Debug for PasswordLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordLogin")
            .field("name", &self.name)
            .field("password", &"[redacted]")
            .finish_non_exhaustive()
    }
}

/// The answer to a program that has logged in. The text is in it only.
#[derive(Clone, Serialize, Deserialize)]
pub struct LoggedIn {
    /// The log-in.
    pub session: Session,
    /// What the program sends from now on: `Authorization: Bearer …`.
    pub text: String,
}

/// A log-in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Session {
    /// `ses-7`.
    pub id: String,
    /// `in-force` or `ended`.
    pub state: String,
    /// `p-3`.
    pub person: String,
    /// As they were called when they logged in.
    pub name: String,
    /// Who says who that is: a provider, `local`, or `tower` for whoever holds the admin token.
    pub issuer: String,
    /// The person's name there.
    pub subject: String,
    /// What they are here.
    pub roles: Vec<String>,
    /// `oidc`, `password`, `link`.
    pub proof: String,
    /// When they logged in.
    pub opened_at: String,
    /// When they last showed who they are.
    pub proven_at: String,
    /// When it ends at the latest.
    pub until: String,
    /// From which address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Whether it is the one that asks.
    pub own: bool,
    /// How it ended before its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Said>,
}

/// Who did something, when and why.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Said {
    /// When.
    pub at: String,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Log-ins.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sessions {
    /// Those that last first, the newest first.
    pub items: Vec<Session>,
}

/// `PUT /hms/v1/accounts/{name}`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAccount {
    /// What the account is here.
    pub roles: Vec<String>,
    /// Its password.
    pub password: String,
    /// Why.
    pub reason: String,
}

/// Nothing of a password is printed.
impl std::fmt::Debug for NewAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewAccount")
            .field("roles", &self.roles)
            .field("password", &"[redacted]")
            .finish_non_exhaustive()
    }
}

/// An account that the tower keeps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// What it is here.
    pub roles: Vec<String>,
}

/// Accounts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Accounts {
    /// By name.
    pub items: Vec<Account>,
}

/// `POST /hms/v1/breakglass`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewGlass {
    /// Why.
    pub reason: String,
    /// For how long, in milliseconds; 15 minutes unless it is said, 60 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// Of a form: minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes: Option<u64>,
    /// Of a form: the page to go to, a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A use of the break-glass.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Glass {
    /// `g-1`.
    pub id: String,
    /// `in-force`, `to-review`, `reviewed`.
    pub state: String,
    /// Who broke it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub broken_at: String,
    /// When its rights end at the latest.
    pub until: String,
    /// How they ended before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Said>,
    /// Who has looked at what was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewed: Option<Said>,
    /// Who is told of it by a message; in the answer to breaking it alone. None are named: nobody is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Vec<String>>,
}

/// Uses of the break-glass.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Glasses {
    /// Those that wait for a review first, the newest first.
    pub items: Vec<Glass>,
}

/// Something that somebody may say yes to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Approval {
    /// `no-return`, `inconclusive`, `breakglass`, `denial`.
    pub kind: String,
    /// What it is about: `r-1`, `g-1`.
    pub subject: String,
    /// Whether it stands still until somebody says so. A denial does not: it stands until somebody wants it lifted.
    pub waits: bool,
    /// Whose wish it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<String>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The scope that it takes.
    pub scope: String,
    /// The roles that have it, weakest first.
    pub roles: Vec<String>,
    /// Whether it takes another person than whose wish it is.
    pub by_other: bool,
    /// Whether whoever asks may say yes, having lately shown who they are.
    pub yours: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// `GET /hms/v1/approvals`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Approvals {
    /// What waits, the longest first; then what may be allowed again, the newest first.
    pub items: Vec<Approval>,
}

/// `POST /login/program`: a program asks to act as somebody.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewProgram {
    /// SHA-256 of what it keeps to itself, in base64url without padding (RFC 7636, method S256).
    pub challenge: String,
    /// As it calls itself: `ann@laptop`.
    #[serde(default)]
    pub name: String,
}

/// The answer to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Program {
    /// What the person compares, and types: `WDJB-MJHT`.
    pub code: String,
    /// Where they type it, on this tower.
    pub path: String,
    /// For how many seconds it is waited for.
    pub expires_in: u32,
    /// After how many seconds to ask again.
    pub interval: u32,
}

/// `POST /login/program/fetch`: 202 while nobody has said anything.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchProgram {
    /// The code.
    pub code: String,
    /// What the program kept to itself, 43 to 128 characters.
    pub verifier: String,
}

/// Nothing of the verifier is printed.
impl std::fmt::Debug for FetchProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FetchProgram").field("code", &self.code).finish_non_exhaustive()
    }
}
