//! What a caller may be allowed to do: a closed list.

/// One right. Doors ask for exactly one each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scope(&'static str);

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
}
