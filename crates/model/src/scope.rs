//! What a caller may be allowed to do: a closed list.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One right. Doors ask for exactly one each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(&'static str);

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// No scope of this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownScope(pub String);

impl fmt::Display for UnknownScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a scope", self.0)
    }
}

impl std::error::Error for UnknownScope {}

macro_rules! scopes {
    ($($name:ident = $text:literal),+ $(,)?) => {
        impl Scope {
            $(#[doc = concat!("`", $text, "`")] pub const $name: Self = Self($text);)+

            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$name),+];
        }
    };
}

scopes! {
    METRICS_WRITE = "metrics:write", LOGS_WRITE = "logs:write", TRACES_WRITE = "traces:write",
    EVENTS_WRITE = "events:write", METRICS_READ = "metrics:read", LOGS_READ = "logs:read",
    TRACES_READ = "traces:read", ALERTS_READ = "alerts:read", ALERTS_ACK = "alerts:ack",
    ALERTS_SILENCE = "alerts:silence", RULES_WRITE = "rules:write", SERVICES_WRITE = "services:write",
    HEAL_REQUEST = "heal:request", HEAL_APPROVE = "heal:approve", HEAL_PAUSE = "heal:pause",
    DEPLOY_REQUEST = "deploy:request", DEPLOY_APPROVE = "deploy:approve", DEPLOY_PROMOTE = "deploy:promote",
    DEPLOY_ROLLBACK = "deploy:rollback", STATE_READ = "state:read", PROBES_WRITE = "probes:write",
    STATUS_PUBLISH = "status:publish", TICKETS_WRITE = "tickets:write", TICKETS_APPROVE = "tickets:approve",
    RUNBOOK_RUN = "runbook:run", ONCALL_WRITE = "oncall:write", DASH_WRITE = "dash:write", KPI_READ = "kpi:read",
    KPI_ATTEST = "kpi:attest", AUDIT_READ = "audit:read", AUDIT_ADMIN = "audit:admin",
    TOKENS_ADMIN = "tokens:admin", BREAKGLASS_USE = "breakglass:use",
}

impl Scope {
    /// As it is written in tokens and messages: `deploy:request`.
    pub const fn name(self) -> &'static str {
        self.0
    }

    /// Whether it decides what others have asked for. Four eyes need a person's, so no program's token has it.
    pub fn approves(self) -> bool {
        matches!(self, Self::HEAL_APPROVE | Self::DEPLOY_APPROVE | Self::TICKETS_APPROVE | Self::KPI_ATTEST)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        let known = Self::ALL.iter().find(|scope| scope.0 == text);
        known.copied().ok_or_else(|| UnknownScope(text.chars().take(80).collect()))
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer as _;
    use serde::de::value::StrDeserializer;

    use super::*;

    #[test]
    fn a_scope_is_read_by_its_name_and_no_other() {
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse(), Ok(*scope));
            let text: StrDeserializer<'_, serde::de::value::Error> = scope.name().into_deserializer();
            assert_eq!(Scope::deserialize(text).unwrap(), *scope);
        }
        for wrong in ["", "metrics", "Metrics:write", "metrics:write ", "*"] {
            assert_eq!(wrong.parse::<Scope>(), Err(UnknownScope(wrong.into())));
        }
    }
}
