//! People at the doors: how they log in, show again who they are, and log out; whose glass is broken.

mod account;
mod activity;
mod approval;
mod attempts;
mod glass;
pub(crate) mod login;
pub(crate) mod oidc;
mod password;
mod program;
mod session;

use std::sync::Arc;
use std::time::Duration;

use hmsops_control::people::{PeopleChange, PeopleWish, Proof, SESSIONS_MAX, Session};
use hmsops_control::{Command, Event, Transition, Who};
use hmsops_model::person::{Identity, Role};
use hmsops_model::{Digest, SessionId, UnixMillis};
use hmsops_tower::Handled;
use http::{HeaderMap, HeaderValue};

use super::auth::{Auth, sha256};
use super::authorize::{cookie_name, session_cookie};
use super::{Context, Failure, Routes};
use crate::Engine;
use crate::clock::Clock;

use login::Reception;
use program::Programs;

pub(crate) use activity::Activity;
pub(crate) use attempts::Attempts;
pub(crate) use password::Passwords;

/// How often it is looked whether a log-in or a broken glass has ended by itself.
const LOOK_EVERY: Duration = Duration::from_secs(20);

pub(crate) fn routes(routes: Routes) -> Routes {
    let routes = program::routes(session::routes(login::routes(routes)));
    approval::routes(glass::routes(account::routes(routes)))
}

/// Somebody who has shown who they are.
pub(crate) struct Shown {
    pub(crate) identity: Identity,
    pub(crate) name: String,
    pub(crate) roles: Vec<Role>,
    /// The provider's groups that make them so.
    pub(crate) groups: Vec<String>,
    pub(crate) proof: Proof,
    /// When they showed it, if that was earlier: by another log-in.
    pub(crate) proven_at: Option<UnixMillis>,
    /// When it ends at the latest, if before its time: with another log-in.
    pub(crate) until: Option<UnixMillis>,
    /// From which address.
    pub(crate) from: Option<String>,
    /// The log-in for which they show it again; `None`: a new one.
    pub(crate) again: Option<SessionId>,
}

/// Logs somebody in, or notes that they have shown again who they are. Answers the secret, which is always a new one:
/// whatever somebody may have put into the browser before is worth nothing afterwards.
pub(crate) async fn admit(context: &Context, shown: Shown) -> Result<(String, SessionId), Failure> {
    let secret =
        crate::door::Auth::draw_session().map_err(|error| Failure::unavailable(error.to_string()))?;
    let digest = Digest::from_sha256(sha256(&secret));
    let by = Who { actor: "log-in".into(), source: "person".into() };
    let wish = match shown.again {
        Some(session) => {
            PeopleWish::Prove { session, sha256: digest, identity: shown.identity, proof: shown.proof }
        }
        None => PeopleWish::Open {
            sha256: digest,
            identity: shown.identity,
            name: shown.name,
            roles: shown.roles,
            groups: shown.groups,
            proof: shown.proof,
            proven_at: shown.proven_at,
            until: shown.until,
            from: shown.from,
        },
    };
    let handled = wished(context, wish, by, String::new()).await?;
    let opened = handled.transitions.iter().find_map(|transition| match transition {
        Transition::People(change) => match &**change {
            PeopleChange::SessionOpened { session, .. } | PeopleChange::SessionProven { session, .. } => {
                Some(*session)
            }
            _ => None,
        },
        _ => None,
    });
    let opened = opened.ok_or_else(|| Failure::internal("the log-in was neither noted nor refused"))?;
    context.auth.activity().begin(opened, context.clock.now().steady);
    Ok((secret, opened))
}

/// Has a wish about people carried out.
async fn wished(context: &Context, wish: PeopleWish, by: Who, reason: String) -> Result<Handled, Failure> {
    super::service::carry_out(context, Command::People { wish: Box::new(wish) }, by, reason).await
}

/// The log-in of a browser.
fn of_browser(context: &Context, headers: &HeaderMap, is_tls: bool) -> Option<Session> {
    let secret = session_cookie(headers, is_tls)?;
    let snapshot = context.engine.snapshot();
    let session = snapshot.state.people.find(&Digest::from_sha256(sha256(secret)))?;
    session.is_in_force(context.clock.now().wall).then(|| session.clone())
}

/// The cookie of a browser that is logged in: no script reads it, no other site sends it. It ends with the browser, and
/// with the log-in.
fn session_line(secret: &str, is_tls: bool) -> HeaderValue {
    line(cookie_name(is_tls), secret, "Path=/; HttpOnly; SameSite=Strict", is_tls)
}

/// A cookie's line. What is put in is base 62 and `_`, or nothing.
fn line(name: &str, value: &str, rest: &str, is_tls: bool) -> HeaderValue {
    let secure = if is_tls { "; Secure" } else { "" };
    HeaderValue::from_str(&format!("{name}={value}; {rest}{secure}"))
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Writes down what ends by itself: log-ins that nobody uses, and those of people whose groups are something else by now.
pub(crate) async fn keep(engine: Engine, auth: Arc<Auth>, reception: Arc<Reception>, clock: Clock) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = reception.changed.notified() => {}
        }
        let (snapshot, now) = (engine.snapshot(), clock.now());
        let people = &snapshot.state.people;
        let lasting: Vec<SessionId> = people
            .sessions
            .values()
            .filter(|session| session.is_in_force(now.wall))
            .map(|session| session.id)
            .collect();
        let idle = auth.activity().idle(&lasting, now.steady);
        let over =
            people.sessions.values().filter(|session| session.ended.is_none() && session.until <= now.wall);
        let ends = over.map(|session| (PeopleWish::End { session: session.id }, "its time is over")).chain(
            idle.into_iter().map(|session| (PeopleWish::End { session }, "nobody has used it lately")),
        );
        let others = people.sessions.values().filter(|one| one.is_in_force(now.wall) && !reception.fits(one));
        let ends = ends.chain(others.map(|session| {
            (PeopleWish::End { session: session.id }, "what its groups are here has changed")
        }));
        let glasses =
            people.glasses.values().filter(|glass| glass.ended.is_none() && glass.reviewed.is_none());
        let broken = glasses.filter(|glass| glass.until <= now.wall);
        let ends =
            ends.chain(broken.map(|glass| (PeopleWish::EndGlass { glass: glass.id }, "its time is over")));
        for (wish, reason) in ends.take(SESSIONS_MAX) {
            let command = Command::People { wish: Box::new(wish) };
            let event = Event::Command { command, by: Who::tower(), reason: reason.into() };
            if engine.submit(event).await.is_err() {
                return;
            }
        }
    }
}
