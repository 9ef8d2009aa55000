//! What becomes of wishes about people.

use hmsops_model::person::{GLASS_LIFE_MAX, Identity, Role, SESSION_LIFE, plain_name};
use hmsops_model::{Digest, GlassId, Millis, PersonId, Scope, SessionId, TokenId, UnixMillis};
use serde::{Deserialize, Serialize};

use super::{
    Glass, PERSONS_MAX, People, PeopleChange, Principal, Proof, SESSIONS_EACH_MAX, SESSIONS_MAX, Session,
    principal,
};
use crate::event::{NO_REASON, Refusal, Who};
use crate::state::State;

/// Accounts that one tower keeps: a few for the beginning and for emergencies; many people have a provider.
pub const ACCOUNTS_MAX: usize = 100;

/// The longest name of an account, in bytes.
const ACCOUNT_BYTES_MAX: usize = 64;

/// Uses of the break-glass by one person that nobody has looked at.
const UNREVIEWED_OWN_MAX: usize = 3;

/// And of all people.
const UNREVIEWED_MAX: usize = 200;

/// What is wanted of people.
#[expect(
    missing_docs,
    reason = "fields are the nouns of `people`; each variant says what they mean together"
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "wish", rename_all = "kebab-case")]
pub enum PeopleWish {
    /// Somebody has shown who they are; `proven_at`: that was earlier; `until`: it lasts
    /// no longer than the log-in that it comes from.
    Open {
        sha256: Digest,
        identity: Identity,
        name: String,
        roles: Vec<Role>,
        groups: Vec<String>,
        proof: Proof,
        proven_at: Option<UnixMillis>,
        until: Option<UnixMillis>,
        from: Option<String>,
    },
    /// Somebody who is logged in has shown it again.
    Prove { session: SessionId, sha256: Digest, identity: Identity, proof: Proof },
    /// A log-in shall end.
    End { session: SessionId },
    /// Rights for an emergency.
    BreakGlass { span: Millis },
    /// Give them back.
    EndGlass { glass: GlassId },
    /// What was done with them has been looked at.
    ReviewGlass { glass: GlassId },
    /// Keep an account.
    SetAccount { name: String, roles: Vec<Role> },
    /// Keep it no longer.
    RemoveAccount { name: String },
}

impl PeopleWish {
    /// The verb, as it stands in lines.
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Open { .. } => "log-in",
            Self::Prove { .. } => "prove",
            Self::End { .. } => "end-session",
            Self::BreakGlass { .. } => "break-glass",
            Self::EndGlass { .. } => "end-breakglass",
            Self::ReviewGlass { .. } => "review-breakglass",
            Self::SetAccount { .. } => "set-account",
            Self::RemoveAccount { .. } => "remove-account",
        }
    }

    /// What it is about.
    pub fn subject(&self) -> String {
        match self {
            Self::Open { .. } => "session/new".into(),
            Self::Prove { session, .. } | Self::End { session } => format!("session/{session}"),
            Self::BreakGlass { .. } => "breakglass/new".into(),
            Self::EndGlass { glass } | Self::ReviewGlass { glass } => format!("breakglass/{glass}"),
            Self::SetAccount { name, .. } | Self::RemoveAccount { name } => format!("account/{name}"),
        }
    }
}

/// What becomes of a wish.
pub(crate) fn decide(
    state: &State,
    now: UnixMillis,
    wish: &PeopleWish,
    by: &Who,
    reason: &str,
) -> Result<Vec<PeopleChange>, Refusal> {
    let people = &state.people;
    match wish {
        PeopleWish::Open { .. } => people.opened(now, wish),
        PeopleWish::Prove { session, sha256, identity, proof } => {
            let known = people.known(*session, now)?;
            let own = people.persons.get(&known.person).map(|person| &person.identity);
            if own != Some(identity) {
                return Err(Refusal::conflict(format!("{session} is another person's"))
                    .hint("log out, and log in as yourself"));
            }
            let (session, sha256, proof) = (*session, sha256.clone(), *proof);
            Ok(vec![PeopleChange::SessionProven { session, sha256, proof, by: known.who() }])
        }
        PeopleWish::End { session } => {
            let known = people.sessions.get(session);
            let known = known.ok_or_else(|| Refusal::not_found(format!("there is no session {session}")))?;
            let over = known.ended.is_some();
            let end =
                PeopleChange::SessionEnded { session: *session, by: by.clone(), reason: reason.to_owned() };
            Ok(if over { Vec::new() } else { vec![end] })
        }
        PeopleWish::BreakGlass { span } => broken(state, now, *span, by, said(reason)?),
        PeopleWish::EndGlass { glass } => {
            let known = people.glass(*glass)?;
            // What is over by its time may be written down as such.
            if known.ended.is_some() || known.reviewed.is_some() {
                return Err(Refusal::conflict(format!("the rights of {glass} have ended")));
            }
            Ok(vec![PeopleChange::GlassEnded { glass: *glass, by: by.clone(), reason: reason.to_owned() }])
        }
        PeopleWish::ReviewGlass { glass } => reviewed(state, *glass, by, said(reason)?),
        PeopleWish::SetAccount { name, roles } => {
            people.check_account(name, roles)?;
            let (name, roles, by, reason) = (name.clone(), roles.clone(), by.clone(), said(reason)?);
            // Who had the old password, or more rights, comes in anew.
            let ends = people.sessions_of_account(&name, now, &by, "the account was set anew");
            Ok([PeopleChange::AccountSet { name, roles, by, reason }].into_iter().chain(ends).collect())
        }
        PeopleWish::RemoveAccount { name } => {
            if !people.accounts.contains_key(name) {
                return Err(Refusal::not_found(format!("there is no account `{name}`")));
            }
            let ends = people.sessions_of_account(name, now, by, "the account is gone");
            let (name, by, reason) = (name.clone(), by.clone(), said(reason)?);
            Ok([PeopleChange::AccountRemoved { name, by, reason }].into_iter().chain(ends).collect())
        }
    }
}

/// Who may say yes to what somebody else has asked for: a person, and another one. `what` names it: `r-1`.
pub(crate) fn other_person(
    state: &State,
    now: UnixMillis,
    (asked, by): (&Who, &Who),
    what: &str,
) -> Result<(), Refusal> {
    // Whoever holds a token need not be the person who made it.
    let own = principal(state, by).filter(|_| !by.actor.starts_with("token:"));
    if let Some(Principal::Person(person)) = own
        && state.people.glass_of(person, now).is_some()
    {
        // An emergency: it is looked at afterwards, by another person.
        return Ok(());
    }
    if own.is_none() {
        return Err(Refusal::conflict(format!(
            "{what} needs another person's word, and a program gave its own"
        ))
        .hint("log in and say it yourself"));
    }
    let setter = own.as_ref().and_then(|own| setter(state, own));
    if setter.is_some() && setter == principal(state, asked) {
        return Err(Refusal::conflict(format!(
            "{what} was asked for by whoever set the password of this account, who could be the same person"
        ))
        .hint("somebody else has to say yes; people of a provider have passwords of their own"));
    }
    if own == principal(state, asked) {
        return Err(Refusal::conflict(format!("{what} was asked for by yourself, and another person has to say yes"))
            .hint("by whichever token or log-in you come, you are one person; `hmsops breakglass --reason …` is for emergencies"));
    }
    Ok(())
}

/// Who gave the account of a person its password, when it is one that the tower keeps.
fn setter(state: &State, own: &Principal) -> Option<Principal> {
    let Principal::Person(person) = own else { return None };
    let identity = &state.people.persons.get(person)?.identity;
    let is_local = identity.issuer == Identity::LOCAL;
    let by = state.people.set_by.get(&identity.subject).filter(|_| is_local)?;
    principal(state, by)
}

/// What ends with an account, or with its right to let others in: the tokens that were made by it.
pub(crate) fn tokens_of(state: &State, wish: &PeopleWish) -> Vec<TokenId> {
    let name = match wish {
        PeopleWish::RemoveAccount { name } => name,
        PeopleWish::SetAccount { name, roles }
            if !roles.iter().any(|role| role.gives(Scope::TOKENS_ADMIN)) =>
        {
            name
        }
        _ => return Vec::new(),
    };
    let Some(person) = state.people.person(&Identity::local(name)) else { return Vec::new() };
    let own = Some(Principal::Person(person.id));
    let lasting = state.access.tokens.values().filter(|token| !token.is_over());
    lasting.filter(|token| principal(state, &token.by) == own).map(|token| token.id).collect()
}

fn broken(
    state: &State,
    now: UnixMillis,
    span: Millis,
    by: &Who,
    reason: String,
) -> Result<Vec<PeopleChange>, Refusal> {
    let Some(Principal::Person(person)) = principal(state, by) else {
        return Err(Refusal::conflict("only a person who is logged in as themselves breaks the glass")
            .hint("the admin token may do all already; `hmsops login --user NAME` logs a person in"));
    };
    if span == Millis(0) || span > GLASS_LIFE_MAX {
        return Err(Refusal::conflict(format!(
            "a broken glass gives rights for {} minutes at most",
            GLASS_LIFE_MAX.0 / 60_000
        ))
        .hint("`--for 15m`; it can be asked for again"));
    }
    if let Some(open) = state.people.glass_of(person, now) {
        return Err(Refusal::conflict(format!("{} is broken already", open.id)));
    }
    state.people.may_break(person)?;
    let glass = GlassId(state.people.last.glass + 1);
    let until = UnixMillis(now.0.saturating_add_unsigned(span.0));
    Ok(vec![PeopleChange::GlassBroken { glass, person, until, by: by.clone(), reason }])
}

fn reviewed(state: &State, glass: GlassId, by: &Who, reason: String) -> Result<Vec<PeopleChange>, Refusal> {
    let known = state.people.glass(glass)?;
    if known.reviewed.is_some() {
        return Err(Refusal::conflict(format!("{glass} was looked at already")));
    }
    other_reviewer(state, glass, by)?;
    Ok(vec![PeopleChange::GlassReviewed { glass, by: by.clone(), reason }])
}

/// Refuses whoever would look at what they did themselves, and programs.
pub(super) fn other_reviewer(state: &State, glass: GlassId, by: &Who) -> Result<(), Refusal> {
    let known = state.people.glass(glass)?;
    let own = principal(state, by).filter(|_| !by.actor.starts_with("token:"));
    if own.as_ref().and_then(|own| setter(state, own)) == Some(Principal::Person(known.person)) {
        return Err(Refusal::conflict(format!(
            "{glass} was broken by whoever set the password of this account, who could be the same person"
        )));
    }
    match own {
        None => Err(Refusal::conflict("a person looks at what was done, not a program").hint("log in first")),
        Some(Principal::Person(own)) if own == known.person => Err(Refusal::conflict(format!(
            "{glass} was broken by yourself, and another person has to look at it"
        ))),
        Some(_) => Ok(()),
    }
}

impl People {
    /// Refuses a glass to whoever has too many that nobody has looked at: an emergency is not a way to work.
    fn may_break(&self, person: PersonId) -> Result<(), Refusal> {
        let waiting = self.glasses.values().filter(|glass| glass.reviewed.is_none());
        let (mut own, mut all) = (0, 0);
        for glass in waiting {
            own += usize::from(glass.person == person);
            all += 1;
        }
        if own < UNREVIEWED_OWN_MAX && all < UNREVIEWED_MAX {
            return Ok(());
        }
        let message =
            format!("{own} of your emergencies, {all} in all, wait for another person to look at them");
        Err(Refusal::conflict(message).hint("`hmsops breakglass review ID --reason …`, by somebody else"))
    }

    fn known(&self, id: SessionId, now: UnixMillis) -> Result<&Session, Refusal> {
        let known = self.sessions.get(&id).filter(|session| session.is_in_force(now));
        known.ok_or_else(|| Refusal::not_found(format!("{id} has ended")).hint("log in again"))
    }

    fn glass(&self, id: GlassId) -> Result<&Glass, Refusal> {
        self.glasses.get(&id).ok_or_else(|| {
            Refusal::not_found(format!("there is no {id}")).hint("`hmsops breakglass list` has them all")
        })
    }

    fn opened(&self, now: UnixMillis, wish: &PeopleWish) -> Result<Vec<PeopleChange>, Refusal> {
        let PeopleWish::Open { sha256, identity, name, roles, groups, proof, proven_at, until, from } = wish
        else {
            return Ok(Vec::new());
        };
        if !identity.is_well_formed() {
            return Err(Refusal::conflict("who that is has no form in which it can be kept"));
        }
        if until.is_some_and(|until| until <= now) {
            return Err(Refusal::conflict("the log-in that it comes from has ended").hint("log in again"));
        }
        if roles.is_empty() {
            return Err(Refusal::conflict(format!("{name} has no role here"))
                .hint("`people: {roles: {GROUP: viewer}}` in hmsops.yaml gives a group one"));
        }
        let person = match self.person(identity) {
            Some(person) => person.id,
            None if self.persons.len() >= PERSONS_MAX => {
                return Err(Refusal::conflict(format!("{PERSONS_MAX} people are known already")));
            }
            None => PersonId(self.last.person + 1),
        };
        let mut changes: Vec<PeopleChange> = self.in_the_way(person, now);
        let mut roles = roles.clone();
        roles.sort_unstable();
        roles.dedup();
        let life = UnixMillis(now.0.saturating_add_unsigned(SESSION_LIFE.0));
        changes.push(PeopleChange::SessionOpened {
            session: SessionId(self.last.session + 1),
            sha256: sha256.clone(),
            person,
            identity: identity.clone(),
            name: plain_name(name),
            roles,
            groups: groups.clone(),
            proof: *proof,
            proven_at: proven_at.map(|at| at.min(now)),
            until: until.map_or(life, |until| until.min(life)),
            from: from.clone(),
        });
        Ok(changes)
    }

    /// Log-ins that make way for another.
    fn in_the_way(&self, person: PersonId, now: UnixMillis) -> Vec<PeopleChange> {
        let lasting = self.sessions.values().filter(|session| session.is_in_force(now));
        let own: Vec<&Session> = lasting.clone().filter(|session| session.person == person).collect();
        let first = if own.len() >= SESSIONS_EACH_MAX {
            own.into_iter().min_by_key(|session| session.until)
        } else if lasting.clone().count() >= SESSIONS_MAX {
            lasting.min_by_key(|session| session.until)
        } else {
            None
        };
        let end = |session: &Session| PeopleChange::SessionEnded {
            session: session.id,
            by: Who::tower(),
            reason: "too many log-ins at a time: it makes way for a later one".into(),
        };
        first.map(end).into_iter().collect()
    }

    fn check_account(&self, name: &str, roles: &[Role]) -> Result<(), Refusal> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-@".contains(c);
        if name.is_empty() || name.len() > ACCOUNT_BYTES_MAX || !name.chars().all(fits) {
            return Err(Refusal::conflict(format!(
                "an account's name has 1 to {ACCOUNT_BYTES_MAX} of a-z, 0-9, `.`, `_`, `-` and `@`"
            )));
        }
        if roles.is_empty() {
            return Err(
                Refusal::conflict("an account without a role may do nothing").hint("add `--role viewer`")
            );
        }
        if self.accounts.len() >= ACCOUNTS_MAX && !self.accounts.contains_key(name) {
            return Err(Refusal::conflict(format!("there are {ACCOUNTS_MAX} accounts already"))
                .hint("let people log in by a provider: `people: {oidc: …}` in hmsops.yaml"));
        }
        Ok(())
    }

    fn sessions_of_account(&self, name: &str, now: UnixMillis, by: &Who, why: &str) -> Vec<PeopleChange> {
        let person = self.person(&Identity::local(name)).map(|person| person.id);
        let lasting = self.sessions.values().filter(|session| session.is_in_force(now));
        let own = lasting.filter(|session| Some(session.person) == person);
        own.map(|session| PeopleChange::SessionEnded {
            session: session.id,
            by: by.clone(),
            reason: why.into(),
        })
        .collect()
    }
}

/// Whoever takes or gives rights says why.
fn said(reason: &str) -> Result<String, Refusal> {
    if reason.trim().is_empty() || reason == NO_REASON {
        return Err(Refusal::conflict("a reason is needed").hint("add `--reason …`"));
    }
    Ok(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use hmsops_model::Now;
    use hmsops_model::token::{TokenKind, TokenSpec};

    use super::*;
    use crate::access::AccessChange;
    use crate::transition::Transition;

    fn digest(n: u8) -> Digest {
        Digest::from_sha256([n; 32])
    }

    fn at(ms: i64) -> Now {
        Now { wall: UnixMillis(ms), ..Now::default() }
    }

    fn admin() -> Who {
        Who { actor: "admin".into(), source: "api".into() }
    }

    fn wish(state: &mut State, now: Now, wish: &PeopleWish, by: &Who) -> Result<Vec<PeopleChange>, Refusal> {
        let changes = decide(state, now.wall, wish, by, "because")?;
        for change in &changes {
            // As it comes back from the ledger.
            let line = serde_json::to_string(&Transition::People(Box::new(change.clone()))).unwrap();
            let read: Transition = serde_json::from_str(&line).unwrap();
            assert_eq!(read, Transition::People(Box::new(change.clone())), "{line}");
            state.apply(now, &read);
        }
        Ok(changes)
    }

    /// Logs somebody in; who that is in the ledger.
    fn log_in(state: &mut State, n: u8, subject: &str, name: &str) -> Who {
        let identity = Identity { issuer: "https://id".into(), subject: subject.into() };
        let open = PeopleWish::Open {
            sha256: digest(n),
            identity,
            name: name.into(),
            roles: vec![Role::Operator],
            groups: Vec::new(),
            proof: Proof::Oidc,
            proven_at: None,
            until: None,
            from: None,
        };
        wish(state, at(1000), &open, &admin()).unwrap();
        state.people.find(&digest(n)).unwrap().who()
    }

    fn token(state: &mut State, number: u64, by: &Who) -> Who {
        let spec = TokenSpec {
            kind: TokenKind::Pat,
            owner: "bob".into(),
            scopes: vec![Scope::DEPLOY_APPROVE],
            services: Vec::new(),
            networks: Vec::new(),
            expires: UnixMillis(1_000_000),
        };
        let issued = serde_json::json!({
            "transition": "token-issued", "token": TokenId(number), "sha256": digest(100 + number as u8),
            "spec": spec, "by": by, "reason": "x",
        });
        let issued: AccessChange = serde_json::from_value(issued).unwrap();
        state.apply(at(1000), &Transition::Access(issued));
        Who { actor: format!("token:{} bob", TokenId(number)), source: "api".into() }
    }

    #[test]
    fn one_person_is_one_person_by_whatever_they_come() {
        let mut state = State::default();
        let ann = log_in(&mut state, 1, "u-1", "Ann");
        let renamed = log_in(&mut state, 2, "u-1", "Bob");
        let bob = log_in(&mut state, 3, "u-2", "Bob");
        let hers = token(&mut state, 1, &ann);
        let made_by_it = token(&mut state, 2, &hers);
        let admins = token(&mut state, 3, &admin());
        let yes = |asked: &Who, by: &Who| other_person(&state, UnixMillis(1000), (asked, by), "r-1").is_ok();
        for own in [&ann, &renamed, &hers, &made_by_it] {
            assert!(!yes(&ann, own), "{}", own.actor);
            assert!(!yes(own, &ann), "{}", own.actor);
            assert!(yes(own, &bob), "{}", own.actor);
        }
        assert!(yes(&bob, &ann) && yes(&bob, &renamed));
        // Whoever holds a token need not be the person who made it.
        assert!(![&hers, &made_by_it, &admins].iter().any(|token| yes(&bob, token)));
        assert!(!yes(&admin(), &admins) && !yes(&admins, &admin()) && yes(&ann, &admin()));
        let nobody = ["ci", "tower", "person:p-x Ann", "person: Ann", "token:k-99 ann", "administrator", ""];
        for actor in nobody {
            let who = Who { actor: actor.into(), source: "api".into() };
            assert!(!yes(&ann, &who), "`{actor}` is no person");
        }
    }

    /// Logs in by an account of the tower's own.
    fn log_in_here(state: &mut State, n: u8, name: &str) -> Who {
        let open = PeopleWish::Open {
            sha256: digest(n),
            identity: Identity::local(name),
            name: name.into(),
            roles: vec![Role::Operator],
            groups: Vec::new(),
            proof: Proof::Password,
            proven_at: None,
            until: None,
            from: None,
        };
        wish(state, at(1000), &open, &admin()).unwrap();
        state.people.find(&digest(n)).unwrap().who()
    }

    #[test]
    fn whoever_set_the_password_of_an_account_has_no_second_word_by_it() {
        let mut state = State::default();
        let ann = log_in(&mut state, 1, "u-1", "Ann");
        let set = |name: &str| PeopleWish::SetAccount { name: name.into(), roles: vec![Role::Approver] };
        wish(&mut state, at(1), &set("bob"), &ann).unwrap();
        wish(&mut state, at(1), &set("cid"), &admin()).unwrap();
        let (bob, cid) = (log_in_here(&mut state, 2, "bob"), log_in_here(&mut state, 3, "cid"));
        let yes = |asked: &Who, by: &Who| other_person(&state, UnixMillis(1000), (asked, by), "r-1").is_ok();
        assert!(
            !yes(&ann, &bob) && yes(&ann, &cid) && yes(&cid, &bob) && yes(&bob, &ann) && !yes(&admin(), &cid)
        );
        wish(&mut state, at(1000), &PeopleWish::BreakGlass { span: Millis(1000) }, &ann).unwrap();
        let review = PeopleWish::ReviewGlass { glass: GlassId(1) };
        assert!(wish(&mut state, at(3000), &review, &bob).is_err());
        wish(&mut state, at(3000), &review, &cid).unwrap();
    }

    #[test]
    fn what_somebody_made_ends_with_their_account_and_the_next_of_that_name_is_another() {
        let mut state = State::default();
        let set = |roles: &[Role]| PeopleWish::SetAccount { name: "bob".into(), roles: roles.to_vec() };
        wish(&mut state, at(1), &set(&[Role::Admin]), &admin()).unwrap();
        let bob = log_in_here(&mut state, 1, "bob");
        let made = token(&mut state, 1, &bob);
        token(&mut state, 2, &made);
        token(&mut state, 3, &admin());
        let (his, remove) = ([TokenId(1), TokenId(2)], PeopleWish::RemoveAccount { name: "bob".into() });
        assert_eq!(tokens_of(&state, &remove), his);
        assert_eq!(tokens_of(&state, &set(&[Role::Viewer])), his);
        assert_eq!(tokens_of(&state, &set(&[Role::Admin, Role::Viewer])), []);
        wish(&mut state, at(2), &remove, &admin()).unwrap();
        wish(&mut state, at(3), &set(&[Role::Admin]), &admin()).unwrap();
        let next = log_in_here(&mut state, 2, "bob");
        assert_ne!(principal(&state, &next), principal(&state, &bob));
    }

    #[test]
    fn an_emergency_ends_with_its_clock_and_is_no_way_to_work() {
        let mut state = State::default();
        let ann = log_in(&mut state, 1, "u-1", "Ann");
        let span = Millis::from_mins(5);
        for n in 1..=3 {
            wish(&mut state, at(1000 * n), &PeopleWish::BreakGlass { span }, &ann).unwrap();
            let glass = state.people.glasses.values().last().unwrap();
            assert!(glass.is_in_force(UnixMillis(1000 * n)) && !glass.is_in_force(UnixMillis(999)));
            let end = PeopleWish::EndGlass { glass: glass.id };
            wish(&mut state, at(1000 * n + 1), &end, &ann).unwrap();
        }
        let refused = wish(&mut state, at(5000), &PeopleWish::BreakGlass { span }, &ann).unwrap_err();
        assert!(refused.to_string().contains("wait for another person"), "{refused}");
        let bob = log_in(&mut state, 2, "u-2", "Bob");
        wish(&mut state, at(6000), &PeopleWish::ReviewGlass { glass: GlassId(1) }, &bob).unwrap();
        wish(&mut state, at(7000), &PeopleWish::BreakGlass { span }, &ann).unwrap();
    }

    #[test]
    fn a_name_cannot_make_somebody_another() {
        let mut state = State::default();
        let ann = log_in(&mut state, 1, "u-1", "Ann");
        let evil = log_in(&mut state, 2, "u-2", "person:p-1 Ann\nadmin");
        assert_eq!(principal(&state, &evil), Some(Principal::Person(PersonId(2))));
        assert_ne!(principal(&state, &evil), principal(&state, &ann));
        assert!(!evil.actor.contains('\n'));
    }

    #[test]
    fn a_proof_is_for_the_person_whose_log_in_it_is() {
        let mut state = State::default();
        log_in(&mut state, 1, "u-1", "Ann");
        let session = state.people.find(&digest(1)).unwrap().id;
        let prove = |subject: &str, n| PeopleWish::Prove {
            session,
            sha256: digest(n),
            identity: Identity { issuer: "https://id".into(), subject: subject.into() },
            proof: Proof::Oidc,
        };
        assert!(wish(&mut state, at(5000), &prove("u-2", 7), &admin()).is_err());
        wish(&mut state, at(5000), &prove("u-1", 8), &admin()).unwrap();
        let people = &state.people;
        assert!(people.find(&digest(1)).is_none(), "the secret is another one");
        assert_eq!(people.find(&digest(8)).unwrap().proven_at, UnixMillis(5000));
        let late = at(i64::try_from(SESSION_LIFE.0).unwrap() + 1000);
        assert!(wish(&mut state, late, &prove("u-1", 9), &admin()).is_err(), "it has ended");
    }

    #[test]
    fn a_log_in_made_by_another_is_no_fresher_and_lasts_no_longer() {
        let mut state = State::default();
        let life = i64::try_from(SESSION_LIFE.0).unwrap();
        let open = |proven_at: i64, n: u8| PeopleWish::Open {
            until: Some(UnixMillis(4000 + life)),
            sha256: digest(n),
            identity: Identity { issuer: "https://id".into(), subject: "u-1".into() },
            name: "Ann".into(),
            roles: vec![Role::Operator],
            groups: Vec::new(),
            proof: Proof::Oidc,
            proven_at: Some(UnixMillis(proven_at)),
            from: None,
        };
        wish(&mut state, at(9000), &open(4000, 1), &admin()).unwrap();
        let made = state.people.find(&digest(1)).unwrap();
        assert_eq!((made.proven_at, made.until), (UnixMillis(4000), UnixMillis(4000 + life)));
        assert!(wish(&mut state, at(4000 + life), &open(4000, 2), &admin()).is_err(), "it has ended");
        wish(&mut state, at(9000), &open(9001, 3), &admin()).unwrap();
        let early = state.people.find(&digest(3)).unwrap();
        assert_eq!(early.proven_at, UnixMillis(9000), "nor is it of the future");
    }

    #[test]
    fn a_glass_ends_by_itself_and_waits_for_another_person() {
        let mut state = State::default();
        let (ann, bob) = (log_in(&mut state, 1, "u-1", "Ann"), log_in(&mut state, 2, "u-2", "Bob"));
        let take = PeopleWish::BreakGlass { span: Millis(1000) };
        wish(&mut state, at(2000), &take, &ann).unwrap();
        assert!(wish(&mut state, at(2500), &take, &ann).is_err(), "one at a time");
        let own = |state: &State, ms| other_person(state, UnixMillis(ms), (&ann, &ann), "r-1").is_ok();
        assert!(own(&state, 2999) && !own(&state, 3000));
        let review = PeopleWish::ReviewGlass { glass: GlassId(1) };
        assert!(wish(&mut state, at(9000), &review, &ann).is_err());
        let hers = token(&mut state, 1, &ann);
        assert!(wish(&mut state, at(9000), &review, &hers).is_err(), "nor by a token of hers");
        wish(&mut state, at(9000), &review, &bob).unwrap();
        assert!(wish(&mut state, at(9001), &review, &bob).is_err(), "once");
        for span in [Millis(0), Millis(GLASS_LIFE_MAX.0 + 1)] {
            assert!(wish(&mut state, at(9000), &PeopleWish::BreakGlass { span }, &ann).is_err());
        }
        assert!(wish(&mut state, at(9000), &take, &admin()).is_err(), "the admin has it all anyhow");
    }

    #[test]
    fn log_ins_are_bounded_and_the_oldest_makes_way() {
        let mut state = State::default();
        for n in 0..=SESSIONS_EACH_MAX {
            log_in(&mut state, n as u8, "u-1", "Ann");
        }
        let lasting = state.people.sessions.values().filter(|one| one.is_in_force(UnixMillis(1000))).count();
        assert_eq!(lasting, SESSIONS_EACH_MAX);
        assert!(!state.people.find(&digest(0)).unwrap().is_in_force(UnixMillis(1000)));
        assert_eq!(state.people.persons.len(), 1);
    }
}
