//! Who asks, and what they may touch.

use std::sync::Arc;

use hmsops_control::Who;
use hmsops_control::access::{Party, Token};
use hmsops_control::people::Session;
use hmsops_control::state::release::Release;
use hmsops_control::transport::Agent;
use hmsops_model::person::{FRESH, glass_gives};
use hmsops_model::{
    AgentId, AlertId, HealAction, HealId, ReleaseId, RuleName, ServiceName, SilenceId, TicketId, TokenId,
    TokenSpec, UnixMillis,
};
use hmsops_tower::Snapshot;
use http::Method;

use super::{Failure, Scope};

/// The actor of whoever emits without a token.
pub(crate) const ANYBODY: &str = "anybody";

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// As it stands in the ledger.
    pub(crate) who: Who,
    /// The token that was shown; `None`: all rights.
    token: Option<Arc<Token>>,
    /// The log-in that was shown, and whether its person has broken the glass.
    session: Option<(Arc<Session>, bool)>,
    /// The agent whose certificate was shown: it has the rights of the token that it has joined with.
    agent: Option<Arc<Agent>>,
}

impl Caller {
    /// Somebody with all rights.
    pub(crate) fn whole(actor: &str, source: &str) -> Self {
        Self {
            who: Who { actor: actor.into(), source: source.into() },
            token: None,
            agent: None,
            session: None,
        }
    }

    /// The holder of a token.
    pub(crate) fn holder(token: &Token) -> Self {
        let who = Who { actor: format!("token:{} {}", token.id, token.spec.owner), source: "api".into() };
        Self { who, token: Some(Arc::new(token.clone())), agent: None, session: None }
    }

    /// A person who is logged in. `glass`: whether they have broken it, and it gives them rights.
    pub(crate) fn person(session: &Session, glass: bool) -> Self {
        Self {
            who: session.who(),
            token: None,
            agent: None,
            session: Some((Arc::new(session.clone()), glass)),
        }
    }

    /// The log-in that was shown.
    pub(crate) fn session(&self) -> Option<&Session> {
        self.session.as_ref().map(|(session, _)| &**session)
    }

    /// Refuses whoever has not lately shown who they are: to approve takes more than a browser that somebody left.
    pub(crate) fn needs_fresh(&self, now: UnixMillis) -> Result<(), Failure> {
        self.may_approve()?;
        self.is_fresh(now)
    }

    /// Refuses a log-in that is a while old; programs and the admin's token have nothing to show again.
    pub(crate) fn is_fresh(&self, now: UnixMillis) -> Result<(), Failure> {
        let Some(session) = self.session() else { return Ok(()) };
        if now.since(session.proven_at) <= FRESH && session.proven_at <= now {
            return Ok(());
        }
        Err(Failure::stale(format!(
            "show again who you are: that was more than {} min ago",
            FRESH.0 / 60_000
        ))
        .hint("at /login/again, or by `hmsops login`; then do it again"))
    }

    /// Refuses programs: a token lies in a file, and says nothing of who is there at this moment.
    pub(crate) fn may_approve(&self) -> Result<(), Failure> {
        match self.spec() {
            None => Ok(()),
            Some((id, _)) => {
                Err(Failure::forbidden(format!("{id} is a program's, and this takes a person who is there"))
                    .hint("`hmsops login` logs you in as yourself; then do it again"))
            }
        }
    }

    /// A program elsewhere that has joined.
    pub(crate) fn agent(agent: &Agent) -> Self {
        let who = Who { actor: format!("agent:{} {}", agent.id, agent.name), source: "api".into() };
        Self { who, token: None, agent: Some(Arc::new(agent.clone())), session: None }
    }

    /// Which agent asks, if one does.
    pub(crate) fn as_agent(&self) -> Option<AgentId> {
        self.agent.as_ref().map(|agent| agent.id)
    }

    /// Who has less than all rights, by name, and what they have.
    fn spec(&self) -> Option<(String, &TokenSpec)> {
        match (&self.token, &self.agent) {
            (Some(token), _) => Some((token.id.to_string(), &token.spec)),
            (None, Some(agent)) => Some((agent.id.to_string(), &agent.spec)),
            (None, None) => None,
        }
    }

    /// The number of the token that was shown.
    pub(crate) fn token(&self) -> Option<TokenId> {
        self.token.as_ref().map(|token| token.id)
    }

    /// As receipts count it; `None`: whoever is at its address.
    pub(crate) fn party(&self) -> Option<Party> {
        match self.token() {
            Some(id) => Some(Party::Token(id)),
            None => (self.who.actor != ANYBODY).then(|| Party::Person(self.who.actor.clone())),
        }
    }

    /// The services that it is bound to; `None`: all.
    pub(crate) fn bound(&self) -> Option<&[ServiceName]> {
        self.spec().map(|(_, spec)| spec.services.as_slice()).filter(|services| !services.is_empty())
    }

    /// Whether it still lets anybody in: what goes on for long asks again.
    pub(crate) fn is_in_force(&self, snapshot: &Snapshot, now: UnixMillis) -> bool {
        let session = self.session().is_none_or(|own| {
            snapshot.state.people.sessions.get(&own.id).is_some_and(|session| {
                session.is_in_force(now)
                    && session.sha256 == own.sha256
                    && (own.has(Scope::STATE_READ)
                        || snapshot.state.people.glass_of(own.person, now).is_some())
            })
        });
        let state = &snapshot.state;
        let token = self.token.as_ref().map(|own| state.access.tokens.get(&own.id));
        let agent = self.agent.as_ref().map(|own| state.transport.agents.get(&own.id));
        session
            && token.is_none_or(|token| token.is_some_and(|token| token.is_in_force(now)))
            && agent.is_none_or(|agent| agent.is_some_and(|agent| agent.is_in_force(now)))
    }

    /// Refuses whoever lacks a scope.
    pub(crate) fn needs(&self, scope: Scope) -> Result<(), Failure> {
        if let Some((session, glass)) = &self.session {
            if session.has(scope) || (*glass && glass_gives(scope)) {
                return Ok(());
            }
            let roles: Vec<&str> = session.roles.iter().map(|role| role.name()).collect();
            return Err(Failure::forbidden(format!("{} has no role with `{scope}`", session.name))
                .hint(format!("what you are here: {}", roles.join(", "))));
        }
        let Some((id, spec)) = self.spec().filter(|(_, spec)| !spec.scopes.contains(&scope)) else {
            return Ok(());
        };
        let has: Vec<&str> = spec.scopes.iter().map(|scope| scope.name()).collect();
        Err(Failure::forbidden(format!("{id} has no scope `{scope}`")).hint(format!(
            "it has {}; `hmsops token create --scope {scope} …` makes one that has",
            has.join(", ")
        )))
    }

    /// Refuses whoever is bound to other services.
    pub(crate) fn on(&self, service: &ServiceName) -> Result<(), Failure> {
        match self.bound() {
            Some(bound) if !bound.contains(service) => Err(self.strange()),
            _ => Ok(()),
        }
    }

    /// Refuses whoever is bound to services: what is asked for is about more than these.
    fn everything(&self) -> Result<(), Failure> {
        if self.bound().is_some() { Err(self.strange()) } else { Ok(()) }
    }

    /// It does not say whether there is such a service.
    fn strange(&self) -> Failure {
        let names =
            self.bound().unwrap_or_default().iter().map(ServiceName::as_str).collect::<Vec<_>>().join(", ");
        let id = self.spec().map_or_else(|| "the token".into(), |(id, _)| id);
        Failure::forbidden(format!("{id} is bound to other services"))
            .hint(format!("it may touch {names} only"))
    }

    /// Refuses whoever may not steer a service: what is done to its release is done to all that go out with it.
    pub(crate) fn steers(&self, service: &ServiceName, snapshot: &Snapshot) -> Result<(), Failure> {
        self.on(service)?;
        let release = snapshot.state.active_release(service);
        release.map_or(Ok(()), |release| self.on_group(release, snapshot))
    }

    /// Refuses whoever may not touch each service whose release goes out with this one.
    fn on_group(&self, release: &Release, snapshot: &Snapshot) -> Result<(), Failure> {
        let is_member = |other: &&Release| other.group.is_some() && other.group == release.group;
        let mut fellows = snapshot.state.releases.values().filter(is_member);
        match (self.bound(), fellows.find(|other| self.on(&other.spec.service).is_err())) {
            (Some(bound), Some(_)) => {
                let id = self.token().map_or_else(|| "the token".into(), |id| id.to_string());
                let names = bound.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(", ");
                let failure = Failure::forbidden(format!(
                    "{} goes out with releases that {id} may not touch",
                    release.id
                ));
                Err(failure.hint(format!("it may touch {names} only, and these are steered together")))
            }
            _ => Ok(()),
        }
    }

    /// Refuses whoever may not touch what a route is about. `is_read`: nothing is changed.
    pub(crate) fn reaches(
        &self,
        subject: &Subject,
        is_read: bool,
        snapshot: &Snapshot,
    ) -> Result<(), Failure> {
        if self.bound().is_none() {
            return Ok(());
        }
        match subject {
            // The handler reads the services out of the body, and asks for each.
            Subject::Body => Ok(()),
            Subject::Everything => self.everything(),
            Subject::Named(kind, id) => {
                let service = kind.service(id, snapshot).ok_or_else(|| self.strange())?;
                self.on(&service)?;
                if is_read {
                    return Ok(());
                }
                let release = id.parse::<ReleaseId>().ok().filter(|_| *kind == Thing::Release);
                match release.and_then(|id| snapshot.state.releases.get(&id)) {
                    Some(release) => self.on_group(release, snapshot),
                    None => self.steers(&service, snapshot),
                }
            }
        }
    }
}

/// What a route is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// More than one service, or none.
    Everything,
    /// What stands in the body.
    Body,
    /// One thing, named by the path or the query.
    Named(Thing, String),
}

/// A thing that belongs to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thing {
    Service,
    Release,
    Rule,
    Alert,
    Heal,
    Silence,
    Ticket,
}

/// Routes whose handlers ask for each service that they find in the body.
///
/// An agent that joins, or asks for another certificate, touches no service by it.
pub(crate) const BODY: [&str; 6] = [
    "/hms/v1/deploy",
    "/hms/v1/deploy/group",
    "/hms/v1/apply",
    "/hms/v1/metrics",
    "/hms/v1/agents/join",
    "/hms/v1/agents/renew",
];

/// Under which paths which things stand.
const THINGS: [(&str, Thing); 8] = [
    ("/hms/v1/services/{name}", Thing::Service),
    ("/hms/v1/probes/{name}", Thing::Service),
    ("/hms/v1/releases/{id}", Thing::Release),
    ("/hms/v1/rules/{name}", Thing::Rule),
    ("/hms/v1/alerts/{id}", Thing::Alert),
    ("/hms/v1/heals/{id}", Thing::Heal),
    ("/hms/v1/silences/{id}", Thing::Silence),
    ("/hms/v1/tickets/{id}", Thing::Ticket),
];

/// What a route is about, by its template. What is not known is about everything: closed by default.
pub(crate) fn subject(
    (method, template): (&Method, &str),
    parameter: Option<&str>,
    query: Option<&str>,
) -> Subject {
    if BODY.contains(&template) {
        return Subject::Body;
    }
    let thing = THINGS.iter().find(|(start, _)| {
        template.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    // A rule that is written may name another service than the one that stood there.
    let thing =
        thing.filter(|(_, thing)| *thing != Thing::Rule || matches!(*method, Method::GET | Method::HEAD));
    if let (Some((_, thing)), Some(parameter)) = (thing, parameter) {
        return Subject::Named(*thing, parameter.to_owned());
    }
    let named = |name: &str| {
        let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let found: Vec<&str> = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).collect();
        // Twice would leave it to the handler which one counts.
        if let [one] = found[..] { Some(one.to_owned()) } else { None }
    };
    match template {
        "/hms/v1/releases" => named("service").map(|name| Subject::Named(Thing::Service, name)),
        // A stream of one release tells nothing of others unless it is asked for more.
        "/hms/v1/stream" if query.is_some_and(|query| !query.contains('&')) => {
            named("release").map(|id| Subject::Named(Thing::Release, id))
        }
        _ => None,
    }
    .unwrap_or(Subject::Everything)
}

impl Thing {
    /// The service that a thing belongs to, if there is such a thing.
    fn service(self, id: &str, snapshot: &Snapshot) -> Option<ServiceName> {
        let (state, signals) = (&snapshot.state, &snapshot.state.signals);
        let of_rule = |rule: &RuleName| {
            let spec = &signals.rules.get(rule)?.spec;
            spec.service.clone().or_else(|| spec.heal.as_ref().map(|heal| HealAction::service(heal).clone()))
        };
        match self {
            Self::Service => ServiceName::new(id).ok(),
            Self::Release => Some(state.releases.get(&id.parse::<ReleaseId>().ok()?)?.spec.service.clone()),
            Self::Rule => of_rule(&RuleName::new(id).ok()?),
            Self::Alert => signals.alerts.get(&id.parse::<AlertId>().ok()?)?.service.clone(),
            Self::Heal => Some(signals.heals.get(&id.parse::<HealId>().ok()?)?.action.service().clone()),
            Self::Silence => of_rule(&signals.silences.get(&id.parse::<SilenceId>().ok()?)?.rule),
            Self::Ticket => Some(signals.tickets.get(&id.parse::<TicketId>().ok()?)?.service.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_about_what_its_path_names_and_else_about_everything() {
        let of = |template, parameter, query| subject((&Method::POST, template), parameter, query);
        let named = |thing, id: &str| Subject::Named(thing, id.to_owned());
        assert_eq!(of("/hms/v1/services/{name}/rollback", Some("a"), None), named(Thing::Service, "a"));
        assert_eq!(of("/hms/v1/releases/{id}", Some("r-1"), None), named(Thing::Release, "r-1"));
        assert_eq!(of("/hms/v1/releases", None, Some("service=a")), named(Thing::Service, "a"));
        assert_eq!(of("/hms/v1/stream", None, Some("release=r-1")), named(Thing::Release, "r-1"));
        assert_eq!(of("/hms/v1/deploy", None, None), Subject::Body);
        for (template, query) in [
            ("/hms/v1/releases", None),
            ("/hms/v1/releases", Some("service=a&service=b")),
            ("/hms/v1/stream", Some("release=r-1&topics=state")),
            ("/hms/v1/services", None),
            ("/hms/v1/heals/pause", None),
            ("/hms/v1/tokens", None),
            ("/hms/v1/servicesx/{name}", None),
            ("/hms/v1/rules/{name}", None),
        ] {
            assert_eq!(of(template, Some("a"), query), Subject::Everything, "{template} {query:?}");
        }
        let read = subject((&Method::GET, "/hms/v1/rules/{name}"), Some("a"), None);
        assert_eq!(read, named(Thing::Rule, "a"));
    }
}
