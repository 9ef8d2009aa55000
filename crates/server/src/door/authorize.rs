//! The one choke point: who asks, and whether they may.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hmsops_control::Who;
use http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Method};

use super::auth::Auth;
use super::{Access, Doors, Failure, token};

/// The cookie of a browser that is logged in.
pub(crate) const COOKIE_NAME: &str = "hms_session";

/// What stands in front of one route.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) doors: Doors,
    pub(crate) access: Access,
}

/// Lets a request through with who asked, or answers 401 or 403.
pub(crate) async fn authorize(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    if let Access::Needs(_scope) = gate.access {
        // Whoever is known has all scopes: there is one admin token. Tokens with fewer are asked for theirs here.
        let context = &gate.doors.context;
        let asked = (request.method(), request.headers());
        match identify(&context.auth, context.clock.now().steady, asked) {
            Ok(who) => {
                request.extensions_mut().insert(who);
            }
            Err(failure) => {
                gate.doors.meters.refused();
                return failure.into_response();
            }
        }
    }
    next.run(request).await
}

/// Who asks.
pub(crate) fn identify(
    auth: &Auth,
    steady: hmsops_model::Millis,
    (method, headers): (&Method, &HeaderMap),
) -> Result<Who, Failure> {
    let who = |actor: &str, source: &str| Who { actor: actor.into(), source: source.into() };
    if let Some(given) = headers.get(AUTHORIZATION) {
        return check_token(auth, given).map(|()| who("admin", "api"));
    }
    let changes = !matches!(*method, Method::GET | Method::HEAD);
    if let Some(session) = cookie(headers, COOKIE_NAME)
        && auth.has_session(session, steady)
    {
        if changes && !from_own_page(headers, false) {
            return Err(Failure::forbidden("the request did not come from a page of this tower"));
        }
        return Ok(who("admin", "page"));
    }
    if auth.no_auth() {
        // Nothing is asked of programs on this machine, but a foreign page in its browser is not one of them.
        if !is_local_host(headers) || (changes && !from_own_page(headers, true)) {
            return Err(Failure::forbidden("the request comes from a page of somebody else's"));
        }
        return Ok(who("local", "no-auth"));
    }
    Err(Failure::unauthenticated(super::problem::NOTHING_BROUGHT)
        .hint("programs send `Authorization: Bearer TOKEN`; browsers log in by a one-time link"))
}

fn check_token(auth: &Auth, given: &HeaderValue) -> Result<(), Failure> {
    let given = given.to_str().ok().and_then(|text| text.strip_prefix("Bearer ")).map(str::trim);
    match given {
        Some(text) if auth.is_admin(text) => Ok(()),
        Some(text) if !token::is_well_formed(text) => {
            Err(Failure::unauthenticated("the token is mistyped or cut off")
                .hint("a token looks like hms_admin_… and is copied whole"))
        }
        Some(_) => Err(Failure::unauthenticated("the token is not known here")
            .hint("the admin token is in the file admin.token of the tower's data folder")),
        None => Err(Failure::unauthenticated("the header `Authorization` is not `Bearer TOKEN`")),
    }
}

/// Whether a request to the collector's port, which only this machine reaches, may bring metrics: a program
/// without a token may, one with a wrong token may not, and no page in a browser may. `authority` is the host
/// that HTTP/2 names instead of a header.
pub(crate) fn may_emit(auth: &Auth, authority: Option<&str>, headers: &HeaderMap) -> Result<(), Failure> {
    if let Some(given) = headers.get(AUTHORIZATION) {
        return check_token(auth, given);
    }
    let is_local = is_local_host(headers) && authority.is_none_or(is_local_name);
    if !is_local || !from_own_page(headers, true) {
        return Err(Failure::forbidden("the request comes from a page of somebody else's"));
    }
    Ok(())
}

/// The value of a cookie.
pub(crate) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// Whether a browser says that a page of this very tower sent the request. `otherwise` is the answer when
/// neither header is there, as with programs.
fn from_own_page(headers: &HeaderMap, otherwise: bool) -> bool {
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

/// Whether the request names this machine by a name that nobody else can give an address of ours (DNS
/// rebinding): an address, or `localhost`.
fn is_local_host(headers: &HeaderMap) -> bool {
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
