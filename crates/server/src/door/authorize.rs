//! The one choke point: who asks, and whether they may.

use std::net::{IpAddr, SocketAddr};

use axum::RequestExt as _;
use axum::extract::{ConnectInfo, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hmsops_control::access::Token;
use hmsops_control::people::Session;
use hmsops_model::{Digest, Now, ReleaseId};
use hmsops_tower::Snapshot;
use http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::auth::{Auth, sha256};
use super::caller::{ANYBODY, Caller, subject};
use super::receipts::Seen;
use super::{Access, Context, Doors, Failure, Scope, token};
use crate::tls::Arrival;

/// The cookie of a browser that is logged in.
pub(crate) const COOKIE_NAME: &str = "hms_session";

/// The same over TLS: browsers take it from this very host alone (RFC 6265bis, section 4.1.3.2).
pub(crate) const COOKIE_NAME_TLS: &str = "__Host-hms_session";

/// What stands in front of one route.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) doors: Doors,
    pub(crate) access: Access,
    /// The template of the route's path.
    pub(crate) path: &'static str,
}

/// Lets a request through with who asked, or answers 401 or 403. Whether somebody may is decided here and nowhere
/// else: by who they are, by the scope of the route, by what the route is about. Only routes that find the services in
/// their body ([`super::caller::BODY`]) ask the [`Caller`] for each.
pub(crate) async fn authorize(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    if let Some(seen) = request.extensions().get::<Seen>() {
        seen.reach(gate.path);
    }
    super::people::login::note(&mut request);
    let Access::Needs(scope) = gate.access else { return next.run(request).await };
    let caller = match twice(&gate, scope, request).await {
        Ok((caller, whole)) => {
            request = whole;
            caller
        }
        Err(failure) => {
            gate.doors.meters.refused();
            return failure.into_response();
        }
    };
    let is_bound = caller.bound().is_some();
    request.extensions_mut().insert(caller.who.clone());
    request.extensions_mut().insert(caller);
    let mut response = next.run(request).await;
    // The hint of what is not there lists what is, of which it may know a part only.
    if is_bound
        && let Some(failure) = response.extensions_mut().get_mut::<Failure>()
        && failure.status() == StatusCode::NOT_FOUND
    {
        failure.without_hint();
    }
    response
}

/// Lets a request in, and once more when its body is there: that may have taken half a minute, in which a log-in or a
/// token can have ended.
async fn twice(gate: &Gate, scope: Scope, mut request: Request) -> Result<(Caller, Request), Failure> {
    let caller = admit(gate, scope, &mut request, Look::First).await?;
    let waits = !matches!(*request.method(), Method::GET | Method::HEAD)
        && gate.path.starts_with("/hms/v1/")
        && scope != Scope::METRICS_WRITE;
    if !waits {
        return Ok((caller, request));
    }
    let (parts, body) = request.into_parts();
    let whole = super::body::whole(body).await?;
    let mut request = Request::from_parts(parts, axum::body::Body::from(whole.bytes.clone()));
    // Its room is taken for as long as it is kept.
    request.extensions_mut().insert(std::sync::Arc::new(whole));
    let caller = admit(gate, scope, &mut request, Look::Second).await?;
    Ok((caller, request))
}

/// Which look at a request it is: it counts once for how often somebody asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    First,
    Second,
}

async fn admit(gate: &Gate, scope: Scope, request: &mut Request, look: Look) -> Result<Caller, Failure> {
    let context = &gate.doors.context;
    let caller = identify_request(context, request)?;
    if let Some((seen, who)) = request.extensions().get::<Seen>().zip(caller.party()) {
        seen.know(who);
    }
    if look == Look::First {
        context.auth.pace().caller(&caller, scope, context.clock.now().steady)?;
    }
    caller.needs(scope)?;
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    if changes && (scope.approves() || goes_for_good(gate, request).await) {
        caller.needs_fresh(context.clock.now().wall)?;
    }
    // What is made there outlasts the log-in.
    if changes && matches!(scope, Scope::TOKENS_ADMIN | Scope::AUDIT_ADMIN) {
        caller.is_fresh(context.clock.now().wall)?;
    }
    if caller.bound().is_some() {
        let parameters = request.extract_parts::<RawPathParams>().await.ok();
        let parameter = parameters.as_ref().and_then(|all| all.iter().next()).map(|(_, value)| value);
        let about = subject((request.method(), gate.path), parameter, request.uri().query());
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        caller.reaches(&about, is_read, &context.engine.snapshot())?;
    }
    Ok(caller)
}

/// Whether a request lets a release go where nothing takes it back by itself.
async fn goes_for_good(gate: &Gate, request: &mut Request) -> bool {
    if !gate.path.ends_with("/promote") {
        return false;
    }
    let parameters = request.extract_parts::<RawPathParams>().await.ok();
    let id = parameters.as_ref().and_then(|all| all.iter().next()?.1.parse::<ReleaseId>().ok());
    let snapshot = gate.doors.context.engine.snapshot();
    let release = id.and_then(|id| snapshot.state.releases.get(&id));
    let Some(release) = release else { return false };
    // One word moves all that go out together.
    let group = snapshot
        .state
        .releases
        .values()
        .filter(|one| one.phase.is_active() && one.group.is_some() && one.group == release.group);
    group.chain([release]).any(|one| one.needs_person(one.next_share()))
}

/// Whether a browser says that a person asked for a page (`Sec-Fetch-User`, W3C Fetch Metadata Request Headers, section
/// 2.4): a page that renews itself, or its script, keeps no log-in alive that was left open. A browser that says nothing
/// of the kind is believed.
fn is_by_hand(headers: &HeaderMap) -> bool {
    match headers.get("sec-fetch-user") {
        Some(user) => user == "?1",
        None => !headers.contains_key("sec-fetch-mode"),
    }
}

/// Whether a request came over TLS: its cookies are others then.
pub(crate) fn is_tls(of: &http::Extensions) -> bool {
    of.get::<Arrival>().is_some_and(|arrival| arrival.is_tls)
}

/// The secret of a browser that is logged in. Over TLS only the cookie counts that no other host can set.
pub(crate) fn session_cookie(headers: &HeaderMap, is_tls: bool) -> Option<&str> {
    cookie(headers, cookie_name(is_tls))
}

/// The cookie of a browser that is logged in.
pub(crate) const fn cookie_name(is_tls: bool) -> &'static str {
    if is_tls { COOKIE_NAME_TLS } else { COOKIE_NAME }
}

/// Who sent a request.
pub(crate) fn identify_request(context: &Context, request: &Request) -> Result<Caller, Failure> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0);
    let arrival = request.extensions().get::<Arrival>().copied();
    let arrival = arrival.or(peer.map(|peer| Arrival { peer, is_tls: false, client: None }));
    let known = Known {
        auth: &context.auth,
        snapshot: &context.engine.snapshot(),
        now: context.clock.now(),
        arrival,
    };
    known.identify(request.method(), request.headers())
}

/// What is known at the moment of a request.
pub(crate) struct Known<'a> {
    pub(crate) auth: &'a Auth,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) now: Now,
    /// How it came in; `None`: not over a network.
    pub(crate) arrival: Option<Arrival>,
}

impl Known<'_> {
    /// Who asks.
    fn identify(&self, method: &Method, headers: &HeaderMap) -> Result<Caller, Failure> {
        if let Some(given) = headers.get(AUTHORIZATION) {
            return self.by_token(given);
        }
        let changes = !matches!(*method, Method::GET | Method::HEAD);
        let shown = session_cookie(headers, self.arrival.is_some_and(|arrival| arrival.is_tls));
        if let Some(session) = shown.and_then(|secret| self.session(secret, changes || is_by_hand(headers))) {
            if changes && !from_own_page(headers, false) {
                return Err(Failure::forbidden("the request did not come from a page of this tower"));
            }
            return Ok(self.person(session));
        }
        if let Some(agent) = self.agent()? {
            // A browser that has an agent's certificate shows it for every page that asks it to.
            if changes && !from_own_page(headers, true) {
                return Err(Failure::forbidden("the request does not come from an agent, but from a page"));
            }
            return Ok(agent);
        }
        if self.auth.no_auth() {
            // Nothing is asked of programs on this machine, but a foreign page in its browser is not one of them.
            if !is_local_host(headers) || (changes && !from_own_page(headers, true)) {
                return Err(Failure::forbidden("the request comes from a page of somebody else's"));
            }
            return Ok(Caller::whole("local", "no-auth"));
        }
        Err(Failure::unauthenticated(super::problem::NOTHING_BROUGHT)
            .hint("programs send `Authorization: Bearer TOKEN`; browsers log in by a one-time link"))
    }

    fn by_token(&self, given: &HeaderValue) -> Result<Caller, Failure> {
        let given = given.to_str().ok().and_then(|text| text.strip_prefix("Bearer ")).map(str::trim);
        let Some(text) = given else {
            return Err(Failure::unauthenticated("the header `Authorization` is not `Bearer TOKEN`"));
        };
        if !token::is_well_formed(text) {
            return Err(Failure::unauthenticated("the token is mistyped or cut off")
                .hint("a token looks like hms_admin_… or hms_sa_… and is copied whole"));
        }
        if token::is_session(text) {
            let session = self.session(text, true).ok_or_else(|| {
                Failure::unauthenticated("this log-in has ended")
                    .hint("`hmsops login --user NAME` logs in again")
            })?;
            return Ok(self.person(session));
        }
        if self.auth.is_admin(text) {
            return Ok(Caller::whole("admin", "api"));
        }
        // Found by its hash: how long the search takes tells nothing of the token itself.
        match self.snapshot.state.access.find(&Digest::from_sha256(sha256(text))) {
            Some(token) => self.holder(token),
            None => Err(Failure::unauthenticated("the token is not known here").hint(
                "it may be another tower's; the admin token is in the file admin.token of the data folder",
            )),
        }
    }

    /// The log-in with this secret, if it lasts and was used lately. `by_hand`: a person does something with it.
    fn session(&self, secret: &str, by_hand: bool) -> Option<&Session> {
        if !token::is_well_formed(secret) || !token::is_session(secret) {
            return None;
        }
        let session = self.snapshot.state.people.find(&Digest::from_sha256(sha256(secret)))?;
        let lasts = session.is_in_force(self.now.wall);
        (lasts && self.auth.activity().touch(session.id, by_hand, self.now.steady)).then_some(session)
    }

    fn person(&self, session: &Session) -> Caller {
        Caller::person(session, self.snapshot.state.people.glass_of(session.person, self.now.wall).is_some())
    }

    fn holder(&self, token: &Token) -> Result<Caller, Failure> {
        if token.revoked.is_some() {
            let agents = &self.snapshot.state.transport.agents;
            return Err(match agents.values().find(|agent| agent.token == token.id) {
                Some(agent) => Failure::unauthenticated(format!(
                    "{} is used up: {} has joined by it",
                    token.id, agent.id
                ))
                .hint("each agent joins by a token of its own, once; if it was not you, revoke that agent"),
                None => Failure::unauthenticated(format!("{} was revoked", token.id)),
            });
        }
        if !token.is_in_force(self.now.wall) {
            return Err(Failure::unauthenticated(format!("{} has ended", token.id))
                .hint(format!("`hmsops token rotate {}` is for those that have not", token.id)));
        }
        let networks = &token.spec.networks;
        let peer = self.peer();
        let is_near = |peer: IpAddr| networks.iter().any(|network| network.contains(peer));
        if !networks.is_empty() && !peer.is_some_and(is_near) {
            return Err(Failure::forbidden(format!("{} may not be used from this address", token.id)));
        }
        Ok(Caller::holder(token))
    }

    fn peer(&self) -> Option<IpAddr> {
        self.arrival.map(|arrival| arrival.peer.ip())
    }

    /// The agent whose certificate was shown. One that lets nobody in any more is refused, whatever else was brought.
    fn agent(&self) -> Result<Option<Caller>, Failure> {
        let Some(shown) = self.arrival.and_then(|arrival| arrival.certificate()) else { return Ok(None) };
        let Some(agent) = self.snapshot.state.transport.find(&shown, self.now.wall) else {
            return Err(Failure::unauthenticated("the certificate that was shown lets nobody in any more")
                .hint(
                    "the agent was shut out, or another certificate has followed: it joins anew by a token",
                ));
        };
        let networks = &agent.spec.networks;
        let is_near = |peer: IpAddr| networks.iter().any(|network| network.contains(peer));
        if !networks.is_empty() && !self.peer().is_some_and(is_near) {
            return Err(Failure::forbidden(format!("{} may not come from this address", agent.id)));
        }
        Ok(Some(Caller::agent(agent)))
    }

    /// Whether a request to the collector's port may bring metrics, and of which services: a program of this machine
    /// without a token may, one with a wrong token may not, and no page in a browser may.
    /// `authority` is the host that HTTP/2 names instead of a header.
    pub(crate) fn may_emit(&self, authority: Option<&str>, headers: &HeaderMap) -> Result<Caller, Failure> {
        if let Some(given) = headers.get(AUTHORIZATION) {
            let caller = self.by_token(given)?;
            caller.needs(Scope::METRICS_WRITE)?;
            return Ok(caller);
        }
        if let Some(agent) = self.agent()? {
            agent.needs(Scope::METRICS_WRITE)?;
            return Ok(agent);
        }
        // As it is known of a peer without a network: in tests of doors.
        if !self.peer().is_none_or(|peer| peer.to_canonical().is_loopback()) {
            return Err(Failure::unauthenticated(super::problem::NOTHING_BROUGHT).hint(
                "beyond this machine who emits shows a token with `metrics:write`, or an agent's certificate",
            ));
        }
        if is_passed_on(headers) {
            return Err(Failure::unauthenticated(super::problem::NOTHING_BROUGHT).hint(
                "something passes this on for others, so that its address says nothing: it shows a token with `metrics:write`",
            ));
        }
        let is_local = is_local_host(headers) && authority.is_none_or(is_local_name);
        if !is_local || !from_own_page(headers, true) {
            return Err(Failure::forbidden("the request comes from a page of somebody else's"));
        }
        Ok(Caller::whole(ANYBODY, "emit"))
    }
}

/// The value of a cookie.
pub(crate) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// Whether a browser says that a page of this very tower sent the request. `otherwise` is the answer when
/// neither header is there, as with programs.
pub(crate) fn from_own_page(headers: &HeaderMap, otherwise: bool) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin";
    }
    match (text(ORIGIN.as_str()), text(HOST.as_str())) {
        (Some(origin), Some(host)) => {
            origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) == Some(host)
        }
        (Some(_), None) => false,
        (None, _) => otherwise,
    }
}

/// Whether a proxy has passed the request on, and says so (RFC 7239, RFC 9110 §7.6.3): then who asks need not be of this
/// machine, though the connection is.
fn is_passed_on(headers: &HeaderMap) -> bool {
    ["forwarded", "x-forwarded-for", "x-real-ip", "via"].iter().any(|name| headers.contains_key(*name))
}

/// Whether the request names this machine by a name that nobody else can give an address of ours (DNS
/// rebinding): an address, or `localhost`.
pub(crate) fn is_local_host(headers: &HeaderMap) -> bool {
    headers.get(HOST).and_then(|host| host.to_str().ok()).is_none_or(is_local_name)
}

/// The same for a name with or without a port.
fn is_local_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_proxy_has_passed_on_is_not_of_this_machine() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "127.0.0.1:4317".parse().unwrap());
        assert!(is_local_host(&headers) && !is_passed_on(&headers));
        for name in ["forwarded", "x-forwarded-for", "x-real-ip", "via"] {
            let mut headers = headers.clone();
            headers.insert(name, "198.51.100.7".parse().unwrap());
            assert!(is_passed_on(&headers), "{name}");
        }
    }
}
