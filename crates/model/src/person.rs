//! People: who they are, what they may do, how long a log-in lasts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Millis, Scope};

/// How long a log-in lasts at most: a day's work (NIST SP 800-63B, section 4.2.3: 12 hours at AAL2).
pub const SESSION_LIFE: Millis = Millis::from_mins(12 * 60);

/// How long a log-in lasts without a request (the same section: 30 minutes at AAL2).
pub const SESSION_IDLE: Millis = Millis::from_mins(30);

/// How fresh a proof of who one is has to be for an approval.
pub const FRESH: Millis = Millis::from_mins(5);

/// How long a broken glass gives rights unless it is said.
pub const GLASS_LIFE: Millis = Millis::from_mins(15);

/// The longest: an emergency that lasts longer is asked for again, aloud.
pub const GLASS_LIFE_MAX: Millis = Millis::from_mins(60);

/// The longest issuer, in bytes: a URL.
pub const ISSUER_BYTES_MAX: usize = 255;

/// The longest subject, in bytes (OpenID Connect Core 1.0, section 2: 255 ASCII characters).
pub const SUBJECT_BYTES_MAX: usize = 255;

/// The longest name of a person, in bytes; what is longer is cut off.
pub const NAME_BYTES_MAX: usize = 120;

/// Who somebody is: the same person has the same issuer and subject, whatever the name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Who says so: a provider's URL, [`Identity::LOCAL`] or [`Identity::TOWER`].
    pub issuer: String,
    /// The person's name there, which is never given to another.
    pub subject: String,
}

impl Identity {
    /// The issuer of accounts that the tower keeps itself.
    pub const LOCAL: &'static str = "local";

    /// The issuer of whoever holds the admin token or a link made with it.
    pub const TOWER: &'static str = "tower";

    /// Whoever holds the admin token, or a link made with it: one person, as far as anybody can tell.
    pub fn admin() -> Self {
        Self { issuer: Self::TOWER.into(), subject: "admin".into() }
    }

    /// Whoever has an account that the tower keeps itself.
    pub fn local(name: &str) -> Self {
        Self { issuer: Self::LOCAL.into(), subject: name.to_owned() }
    }

    /// Whether both parts are as long as they may be, of one line.
    pub fn is_well_formed(&self) -> bool {
        let fits = |text: &str, most: usize| {
            !text.is_empty() && text.len() <= most && !text.chars().any(char::is_control)
        };
        fits(&self.issuer, ISSUER_BYTES_MAX) && fits(&self.subject, SUBJECT_BYTES_MAX)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.subject, self.issuer)
    }
}

/// What somebody is here. Each gives scopes; who has several has those of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees what is.
    Viewer,
    /// Sees, too, who did what.
    Auditor,
    /// Is called: sees, takes alerts in hand, and may break the glass.
    Oncall,
    /// Says yes to what others have asked for.
    Approver,
    /// Runs the services.
    Operator,
    /// May do all.
    Admin,
}

const VIEWER: &[Scope] = &[
    Scope::STATE_READ,
    Scope::METRICS_READ,
    Scope::LOGS_READ,
    Scope::TRACES_READ,
    Scope::ALERTS_READ,
    Scope::KPI_READ,
];

const ONCALL: &[Scope] = &[
    Scope::ALERTS_ACK,
    Scope::ALERTS_SILENCE,
    Scope::TICKETS_WRITE,
    Scope::RUNBOOK_RUN,
    Scope::BREAKGLASS_USE,
    Scope::AUDIT_READ,
];

const APPROVER: &[Scope] = &[
    Scope::DEPLOY_APPROVE,
    Scope::HEAL_APPROVE,
    Scope::TICKETS_APPROVE,
    Scope::AUDIT_READ,
    Scope::DEPLOY_PROMOTE,
];

/// What a broken glass gives beside what somebody has, too: all but the keys of the house themselves.
const OPERATOR: &[Scope] = &[
    Scope::METRICS_WRITE,
    Scope::LOGS_WRITE,
    Scope::TRACES_WRITE,
    Scope::EVENTS_WRITE,
    Scope::ALERTS_ACK,
    Scope::ALERTS_SILENCE,
    Scope::RULES_WRITE,
    Scope::SERVICES_WRITE,
    Scope::HEAL_REQUEST,
    Scope::HEAL_PAUSE,
    Scope::DEPLOY_REQUEST,
    Scope::DEPLOY_PROMOTE,
    Scope::DEPLOY_ROLLBACK,
    Scope::PROBES_WRITE,
    Scope::STATUS_PUBLISH,
    Scope::TICKETS_WRITE,
    Scope::RUNBOOK_RUN,
    Scope::ONCALL_WRITE,
    Scope::DASH_WRITE,
    Scope::AUDIT_READ,
    Scope::BREAKGLASS_USE,
    // Whoever asked is not whoever approves: that is held against the person, not against the role.
    Scope::DEPLOY_APPROVE,
    Scope::HEAL_APPROVE,
    Scope::TICKETS_APPROVE,
];

impl Role {
    /// All there are.
    pub const ALL: [Self; 6] =
        [Self::Viewer, Self::Auditor, Self::Oncall, Self::Approver, Self::Operator, Self::Admin];

    /// As it is written in files: `operator`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Auditor => "auditor",
            Self::Oncall => "oncall",
            Self::Approver => "approver",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Whether it gives a scope.
    pub fn gives(self, scope: Scope) -> bool {
        match self {
            Self::Viewer => VIEWER.contains(&scope),
            Self::Auditor => VIEWER.contains(&scope) || scope == Scope::AUDIT_READ,
            Self::Oncall => VIEWER.contains(&scope) || ONCALL.contains(&scope),
            Self::Approver => VIEWER.contains(&scope) || APPROVER.contains(&scope),
            Self::Operator => VIEWER.contains(&scope) || OPERATOR.contains(&scope),
            Self::Admin => true,
        }
    }
}

/// Whether a broken glass gives a scope: what operators may. Nobody lets others in by it, nor touches the record.
pub fn glass_gives(scope: Scope) -> bool {
    Role::Operator.gives(scope)
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What takes the word of another person than the one who asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FourEyes {
    /// A release goes where nothing takes it back by itself.
    Irreversible,
    /// A version that was taken back may be deployed again: another than who had deployed it.
    Undeny,
}

impl FourEyes {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Irreversible, Self::Undeny];

    /// As it is written in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Irreversible => "irreversible",
            Self::Undeny => "undeny",
        }
    }
}

impl fmt::Display for FourEyes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No role of this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownRole(String);

impl fmt::Display for UnknownRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not a role: expected `viewer`, `auditor`, `oncall`, `approver`, `operator` or `admin`",
            self.0
        )
    }
}

impl std::error::Error for UnknownRole {}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let known = Self::ALL.into_iter().find(|role| role.name() == text);
        known.ok_or_else(|| UnknownRole(text.chars().take(80).collect()))
    }
}

/// A name as people may show it: one line, cut off where it is too long; nothing of it is trusted.
pub fn plain_name(text: &str) -> String {
    let mut name = String::new();
    for c in text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if name.len() + c.len_utf8() > NAME_BYTES_MAX {
            break;
        }
        name.push(c);
    }
    if name.is_empty() { "nameless".into() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_give_what_their_words_say() {
        for scope in Scope::ALL {
            assert!(Role::Admin.gives(*scope));
            let is_read = scope.name().ends_with(":read");
            assert!(is_read || !Role::Viewer.gives(*scope), "a viewer changes nothing by {scope}");
            assert!(
                !Role::Viewer.gives(*scope) || Role::ALL.iter().all(|role| role.gives(*scope)),
                "all see {scope}"
            );
        }
        for keys in [Scope::TOKENS_ADMIN, Scope::AUDIT_ADMIN, Scope::KPI_ATTEST] {
            assert!(!Role::Operator.gives(keys) && !glass_gives(keys), "{keys} are the keys of the house");
        }
        assert!(Role::Approver.gives(Scope::DEPLOY_APPROVE) && !Role::Approver.gives(Scope::DEPLOY_REQUEST));
    }

    #[test]
    fn what_a_provider_says_is_kept_to_one_line() {
        assert_eq!(plain_name(" Ann\nadmin "), "Ann admin");
        assert_eq!(plain_name("\u{0}"), " ");
        assert_eq!(plain_name(""), "nameless");
        assert!(plain_name(&"é".repeat(100)).len() <= NAME_BYTES_MAX);
        assert!(!Identity { issuer: "https://x".into(), subject: "a\nb".into() }.is_well_formed());
        assert!(!Identity { issuer: String::new(), subject: "a".into() }.is_well_formed());
        assert!(Identity::admin().is_well_formed());
        assert!("root".parse::<Role>().unwrap_err().to_string().starts_with("`root` is not a role"));
    }
}
