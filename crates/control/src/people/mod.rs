//! People: who has logged in, whose glass is broken, and who somebody is whatever they came in by.

mod approval;
mod decide;

use std::collections::BTreeMap;
use std::sync::Arc;

use hmsops_model::person::{Identity, Role, glass_gives};
use hmsops_model::{Digest, GlassId, Now, PersonId, Scope, SessionId, UnixMillis};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::Who;
use crate::signal::notice::Occasion;
use crate::state::State;

pub use approval::{Approval, Matter, approvals};
pub use decide::{ACCOUNTS_MAX, PeopleWish};
pub(crate) use decide::{decide, other_person, tokens_of};

/// People that one tower remembers.
pub const PERSONS_MAX: usize = 10_000;

/// Log-ins at a time, of all people; the one that would end first makes way.
pub const SESSIONS_MAX: usize = 2000;

/// Log-ins of one person at a time; the one that would end first makes way.
pub const SESSIONS_EACH_MAX: usize = 20;

/// Ended log-ins that are remembered; older ones stay in the ledger.
const ENDED_MAX: usize = 200;

/// Uses of the break-glass that are remembered beside those that wait for a review.
const GLASSES_MAX: usize = 200;

/// Everything that is true of people.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct People {
    /// Everybody who has ever logged in.
    pub persons: BTreeMap<PersonId, Person>,
    /// Log-ins: all that last, and the last that have ended.
    pub sessions: BTreeMap<SessionId, Session>,
    /// Their numbers, by the SHA-256 of their secrets.
    pub by_sha256: BTreeMap<Digest, SessionId>,
    /// Uses of the break-glass: those that wait for a review, and the last of the others.
    pub glasses: BTreeMap<GlassId, Glass>,
    /// Accounts that the tower keeps itself, by name. What their passwords are checked against is in a file.
    pub accounts: BTreeMap<String, Vec<Role>>,
    /// Who gave each account its password: they could be the person behind it.
    pub set_by: BTreeMap<String, Who>,
    /// The highest numbers given.
    pub last: Last,
}

/// The highest numbers given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Last {
    /// Of a person.
    pub person: u64,
    /// Of a log-in.
    pub session: u64,
    /// Of a use of the break-glass.
    pub glass: u64,
}

/// Somebody who has logged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The number.
    pub id: PersonId,
    /// Who that is.
    pub identity: Identity,
    /// As they were last called.
    pub name: String,
    /// When they last logged in.
    pub seen_at: UnixMillis,
}

/// How somebody showed who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// By a provider's word.
    Oidc,
    /// By the password of an account that the tower keeps.
    Password,
    /// By a link that works once.
    Link,
}

impl Proof {
    /// In words: `by a password`.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Oidc => "by the provider",
            Self::Password => "by a password",
            Self::Link => "by a one-time link",
        }
    }
}

/// A log-in. Its secret is known to the browser (or program) alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its number.
    pub id: SessionId,
    /// SHA-256 of its secret.
    pub sha256: Digest,
    /// Whose it is.
    pub person: PersonId,
    /// Their name at that time.
    pub name: String,
    /// What they are here; at least one.
    pub roles: Vec<Role>,
    /// The provider's groups that made them so; none, of those who did not come by it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// How they showed who they are.
    pub proof: Proof,
    /// When they logged in.
    pub opened_at: Now,
    /// When they last showed who they are.
    pub proven_at: UnixMillis,
    /// When it ends at the latest.
    pub until: UnixMillis,
    /// From where it was opened, an address.
    pub from: Option<String>,
    /// How it ended before that.
    pub ended: Option<Ended>,
}

/// An end before its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at: Now,
    /// By whom.
    pub by: Who,
    /// Why.
    pub reason: String,
}

impl Session {
    /// Whether it lets anybody in at this moment, as far as the record tells.
    pub fn is_in_force(&self, now: UnixMillis) -> bool {
        self.ended.is_none() && now < self.until
    }

    /// Whose it is, as it stands in the ledger: by the number, which nobody else is given.
    pub fn who(&self) -> Who {
        Who { actor: actor(self.person, &self.name), source: "person".into() }
    }

    /// Whether what somebody is gives a scope.
    pub fn has(&self, scope: Scope) -> bool {
        self.roles.iter().any(|role| role.gives(scope))
    }
}

/// A use of the break-glass: rights for an emergency, and a review that waits for another person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Glass {
    /// Its number.
    pub id: GlassId,
    /// Who broke it.
    pub person: PersonId,
    /// As it stands in the ledger.
    pub by: Who,
    /// Why.
    pub reason: String,
    /// When.
    pub broken_at: Now,
    /// When its rights end at the latest.
    pub until: UnixMillis,
    /// How they ended before that.
    pub ended: Option<Ended>,
    /// Who has looked at what was done with it, and what they say.
    pub reviewed: Option<Ended>,
    /// Who was told that it was broken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<String>,
    /// Who was told that its rights have ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told_end: Vec<String>,
    /// Who was told last at which moment that nobody has looked yet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub told_waits: BTreeMap<String, UnixMillis>,
}

impl Glass {
    /// Whether it gives rights at this moment; a clock that was set back gives none.
    pub fn is_in_force(&self, now: UnixMillis) -> bool {
        let lasts = (self.broken_at.wall..self.until).contains(&now);
        self.ended.is_none() && self.reviewed.is_none() && lasts
    }
}

/// One change of what is true of people. No secret is in it.
#[expect(
    missing_docs,
    reason = "fields are the nouns of this file; each variant says what they mean together"
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "transition", rename_all = "kebab-case")]
pub enum PeopleChange {
    /// Somebody logs in. `proven_at`: they showed who they are earlier, by another log-in.
    SessionOpened {
        session: SessionId,
        sha256: Digest,
        person: PersonId,
        identity: Identity,
        name: String,
        roles: Vec<Role>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        groups: Vec<String>,
        proof: Proof,
        /// When they showed who they are; `None`: at that moment.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proven_at: Option<UnixMillis>,
        until: UnixMillis,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
    },
    /// Somebody who is logged in shows again who they are. The secret is another one from then on.
    SessionProven { session: SessionId, sha256: Digest, proof: Proof, by: Who },
    /// A log-in ends before its time.
    SessionEnded { session: SessionId, by: Who, reason: String },
    /// Somebody takes rights for an emergency.
    GlassBroken { glass: GlassId, person: PersonId, until: UnixMillis, by: Who, reason: String },
    /// They give them back.
    GlassEnded { glass: GlassId, by: Who, reason: String },
    /// Another person has looked at what was done.
    GlassReviewed { glass: GlassId, by: Who, reason: String },
    /// The tower keeps an account, anew or with another password or other roles.
    AccountSet { name: String, roles: Vec<Role>, by: Who, reason: String },
    /// It no longer does.
    AccountRemoved { name: String, by: Who, reason: String },
}

fn actor(person: PersonId, name: &str) -> String {
    format!("person:{person} {name}")
}

impl PeopleChange {
    /// What it is about: `session/ses-1`.
    pub fn subject(&self) -> String {
        match self {
            Self::SessionOpened { session, .. }
            | Self::SessionProven { session, .. }
            | Self::SessionEnded { session, .. } => format!("session/{session}"),
            Self::GlassBroken { glass, .. }
            | Self::GlassEnded { glass, .. }
            | Self::GlassReviewed { glass, .. } => format!("breakglass/{glass}"),
            Self::AccountSet { name, .. } | Self::AccountRemoved { name, .. } => format!("account/{name}"),
        }
    }

    /// Whose doing it is.
    pub fn by(&self) -> Who {
        match self {
            Self::SessionOpened { person, name, .. } => {
                Who { actor: actor(*person, name), source: "person".into() }
            }
            Self::SessionProven { by, .. }
            | Self::SessionEnded { by, .. }
            | Self::GlassBroken { by, .. }
            | Self::GlassEnded { by, .. }
            | Self::GlassReviewed { by, .. }
            | Self::AccountSet { by, .. }
            | Self::AccountRemoved { by, .. } => by.clone(),
        }
    }

    /// Whether a right is taken away: that waits for nobody.
    pub fn is_retreat(&self) -> bool {
        !self.is_advance()
    }

    /// Whether it is still to be made true.
    pub fn is_due(&self, people: &People) -> bool {
        match self {
            Self::SessionEnded { session, .. } => {
                people.sessions.get(session).is_some_and(|session| session.ended.is_none())
            }
            Self::GlassEnded { glass, .. } => {
                people.glasses.get(glass).is_some_and(|glass| glass.ended.is_none())
            }
            Self::AccountRemoved { name, .. } => people.accounts.contains_key(name),
            _ => false,
        }
    }

    /// Whether somebody may do more by it: then its line comes first.
    pub fn is_advance(&self) -> bool {
        !matches!(self, Self::SessionEnded { .. } | Self::GlassEnded { .. } | Self::AccountRemoved { .. })
    }

    /// The kind of its line.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::SessionOpened { .. } => "session.opened",
            Self::SessionProven { .. } => "session.proven",
            Self::SessionEnded { .. } => "session.ended",
            Self::GlassBroken { .. } => "breakglass.used",
            Self::GlassEnded { .. } => "breakglass.ended",
            Self::GlassReviewed { .. } => "breakglass.reviewed",
            Self::AccountSet { .. } => "account.set",
            Self::AccountRemoved { .. } => "account.removed",
        }
    }

    /// One line for people.
    pub fn sentence(&self) -> String {
        match self {
            Self::SessionOpened { session, person, identity, name, roles, proof, .. } => format!(
                "{name} ({person}, {identity}) logs in {} as {}: {session}",
                proof.words(),
                named(roles)
            ),
            Self::SessionProven { session, proof, by, .. } => {
                format!("{} shows again who they are, {}: {session}", by.actor, proof.words())
            }
            Self::SessionEnded { session, reason, .. } => format!("{session} ends: {reason}"),
            Self::GlassBroken { glass, by, reason, .. } => {
                format!("{} breaks the glass, {glass}, which waits for a review: {reason}", by.actor)
            }
            Self::GlassEnded { glass, reason, .. } => format!("the rights of {glass} end: {reason}"),
            Self::GlassReviewed { glass, by, reason } => {
                format!("{} has looked at what was done with {glass}: {reason}", by.actor)
            }
            Self::AccountSet { name, roles, reason, .. } => {
                format!("the account {name} is {}: {reason}", named(roles))
            }
            Self::AccountRemoved { name, reason, .. } => format!("the account {name} is gone: {reason}"),
        }
    }
}

/// Roles in words.
fn named(roles: &[Role]) -> String {
    roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(", ")
}

impl People {
    /// The log-in whose secret has this hash, whether or not it lasts.
    pub fn find(&self, sha256: &Digest) -> Option<&Session> {
        self.sessions.get(self.by_sha256.get(sha256)?)
    }

    /// Who has an identity.
    pub fn person(&self, identity: &Identity) -> Option<&Person> {
        self.persons.values().find(|person| person.identity == *identity)
    }

    /// The glass that a person has broken and that gives them rights.
    pub fn glass_of(&self, person: PersonId, now: UnixMillis) -> Option<&Glass> {
        self.glasses.values().find(|glass| glass.person == person && glass.is_in_force(now))
    }

    /// Whether somebody has a scope by a log-in: by what they are, or by the glass that they broke.
    pub fn allows(&self, session: &Session, scope: Scope, now: UnixMillis) -> bool {
        session.has(scope) || (glass_gives(scope) && self.glass_of(session.person, now).is_some())
    }

    /// Makes a change true.
    pub(crate) fn apply(&mut self, now: Now, change: &PeopleChange) {
        let ended =
            |by: &Who, reason: &String| Some(Ended { at: now, by: by.clone(), reason: reason.clone() });
        match change {
            PeopleChange::SessionOpened { .. } => self.open(now, change),
            PeopleChange::SessionProven { session, sha256, proof, .. } => {
                if let Some(session) = self.sessions.get_mut(session) {
                    self.by_sha256.remove(&session.sha256);
                    self.by_sha256.insert(sha256.clone(), session.id);
                    (session.sha256, session.proof, session.proven_at) = (sha256.clone(), *proof, now.wall);
                }
            }
            PeopleChange::SessionEnded { session, by, reason } => {
                if let Some(session) =
                    self.sessions.get_mut(session).filter(|session| session.ended.is_none())
                {
                    session.ended = ended(by, reason);
                }
            }
            PeopleChange::GlassBroken { glass: id, person, until, by, reason } => {
                self.last.glass = self.last.glass.max(id.0);
                let (by, reason) = (by.clone(), reason.clone());
                let (person, until) = (*person, *until);
                let glass = Glass {
                    id: *id,
                    person,
                    by,
                    reason,
                    broken_at: now,
                    until,
                    ended: None,
                    reviewed: None,
                    told: Vec::new(),
                    told_end: Vec::new(),
                    told_waits: BTreeMap::new(),
                };
                self.glasses.insert(*id, glass);
            }
            PeopleChange::GlassEnded { glass, by, reason } => {
                if let Some(glass) = self.glasses.get_mut(glass) {
                    glass.ended = ended(by, reason);
                }
            }
            PeopleChange::GlassReviewed { glass, by, reason } => {
                if let Some(glass) = self.glasses.get_mut(glass) {
                    glass.reviewed = ended(by, reason);
                }
            }
            PeopleChange::AccountSet { name, roles, by, .. } => {
                self.accounts.insert(name.clone(), roles.clone());
                self.set_by.insert(name.clone(), by.clone());
            }
            PeopleChange::AccountRemoved { name, .. } => {
                self.accounts.remove(name);
                self.set_by.remove(name);
                // An account of that name may be given to somebody else, who is not this person.
                let identity = Identity::local(name);
                if let Some(person) = self.persons.values_mut().find(|person| person.identity == identity) {
                    person.identity.subject = format!("{name}#{}", person.id);
                }
            }
        }
        self.forget(now.wall);
    }

    /// Somebody is told of a broken glass.
    pub(crate) fn told(&mut self, now: Now, glass: GlassId, occasion: Occasion, receiver: &str) {
        let Some(glass) = self.glasses.get_mut(&glass) else { return };
        match occasion {
            Occasion::GlassBroken => glass.told.push(receiver.to_owned()),
            Occasion::GlassEnded => glass.told_end.push(receiver.to_owned()),
            _ => drop(glass.told_waits.insert(receiver.to_owned(), now.wall)),
        }
    }

    fn open(&mut self, now: Now, change: &PeopleChange) {
        let PeopleChange::SessionOpened {
            session,
            sha256,
            person,
            identity,
            name,
            roles,
            groups,
            proof,
            proven_at,
            until,
            from,
        } = change
        else {
            return;
        };
        self.last.session = self.last.session.max(session.0);
        self.last.person = self.last.person.max(person.0);
        let known = Person { id: *person, identity: identity.clone(), name: name.clone(), seen_at: now.wall };
        self.persons.insert(*person, known);
        let opened = Session {
            id: *session,
            sha256: sha256.clone(),
            person: *person,
            name: name.clone(),
            roles: roles.clone(),
            groups: groups.clone(),
            proof: *proof,
            opened_at: now,
            proven_at: proven_at.unwrap_or(now.wall),
            until: *until,
            from: from.clone(),
            ended: None,
        };
        self.by_sha256.insert(sha256.clone(), *session);
        self.sessions.insert(*session, opened);
    }

    fn forget(&mut self, now: UnixMillis) {
        let over: Vec<SessionId> = self
            .sessions
            .values()
            .filter(|session| !session.is_in_force(now))
            .map(|session| session.id)
            .collect();
        for id in over.iter().take(over.len().saturating_sub(ENDED_MAX)) {
            if let Some(session) = self.sessions.remove(id) {
                self.by_sha256.remove(&session.sha256);
            }
        }
        let done: Vec<GlassId> =
            self.glasses.values().filter(|glass| glass.reviewed.is_some()).map(|glass| glass.id).collect();
        for id in done.iter().take(done.len().saturating_sub(GLASSES_MAX)) {
            self.glasses.remove(id);
        }
    }
}

/// Who somebody is, whatever they came in by: a person is that person by each of their tokens, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// A person who has logged in, by number.
    Person(PersonId),
    /// Whoever holds the admin token, or a link or token made with it.
    Admin,
}

/// How many tokens made by tokens are followed to the person behind them.
const GRANTERS_MAX: usize = 100;

/// The person behind whoever did something; `None`: a program of nobody's, or the tower itself.
///
/// Actors are written by the doors alone; nothing that somebody chooses stands before the first space.
pub fn principal(state: &State, who: &Who) -> Option<Principal> {
    let mut actor = who.actor.as_str();
    for _ in 0..GRANTERS_MAX {
        if actor == "admin" {
            return Some(Principal::Admin);
        }
        let first = actor.split(' ').next().unwrap_or_default();
        if let Some(id) = first.strip_prefix("person:") {
            let id = id.parse().ok()?;
            let is_admin =
                state.people.persons.get(&id).is_some_and(|person| person.identity == Identity::admin());
            return Some(if is_admin { Principal::Admin } else { Principal::Person(id) });
        }
        let token = first.strip_prefix("token:")?.parse().ok()?;
        actor = state.access.tokens.get(&token)?.by.actor.as_str();
    }
    None
}

/// Writes what is shared as it is.
pub(crate) fn serialize<S: Serializer>(people: &Arc<People>, serializer: S) -> Result<S::Ok, S::Error> {
    People::serialize(people, serializer)
}

/// Reads it again.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<People>, D::Error> {
    People::deserialize(deserializer).map(Arc::new)
}
