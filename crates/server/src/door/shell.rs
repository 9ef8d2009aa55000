//! What is around all routes: limits, the security headers, the last form of a failure.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use http::header::{ACCEPT, CACHE_CONTROL, HeaderName, STRICT_TRANSPORT_SECURITY};
use http::{HeaderValue, Method, StatusCode};

use super::authorize::{identify_request, is_local_host};
use super::pace::source_of;
use super::people::login::{page_of, page_of_form};
use super::receipts::{Answered, Entrance, NO_ROUTE, Seen};
use super::{Doors, Failure, Routes, token};
use crate::tls::Arrival;

/// How long a request may take until its answer begins: longer than a query, which says itself that it was late.
const ANSWER_WITHIN: Duration = Duration::from_secs(32);

/// Headers of every answer. Nothing is loaded from elsewhere, no script runs, no page frames ours or keeps a handle on its
/// window, and what a browser could lend a page (place, camera, keys) ours never asks for.
const HEADERS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    (
        "permissions-policy",
        "accelerometer=(), browsing-topics=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), \
         magnetometer=(), microphone=(), midi=(), payment=(), publickey-credentials-get=(), serial=(), usb=()",
    ),
    // For browsers that do not know `frame-ancestors`.
    ("x-frame-options", "DENY"),
];

/// A browser that has once come by TLS does not come in clear for a year (RFC 6797). Of this host alone: what else a domain
/// has is not ours to decide.
const HSTS: &str = "max-age=31536000";

/// All routes with everything that is around them.
pub(crate) fn enclose(routes: Routes, doors: Doors) -> Router {
    routes
        .guarded(&doors)
        .fallback(unknown)
        .method_not_allowed_fallback(misused)
        .layer(from_fn(in_time))
        .layer(from_fn(unexposed))
        .layer(from_fn_with_state(doors.clone(), finish))
        .with_state(doors)
}

/// Who asks for what is no route.
fn identify(doors: &Doors, request: &Request) -> Result<(), Failure> {
    let caller = identify_request(&doors.context, request)?;
    if let Some((seen, who)) = request.extensions().get::<Seen>().zip(caller.party()) {
        seen.know(who);
    }
    Ok(())
}

/// Whoever isn't known does not learn which paths there are.
async fn unknown(State(doors): State<Doors>, request: Request) -> Failure {
    match identify(&doors, &request) {
        Ok(()) => Failure::not_found("there is nothing at this address")
            .hint("`/hms/v1/openapi.json` lists what there is"),
        Err(failure) => {
            doors.meters.refused();
            failure
        }
    }
}

async fn misused(State(doors): State<Doors>, request: Request) -> Failure {
    match identify(&doors, &request) {
        Ok(()) => Failure::method(format!("{} is not possible here", request.method())),
        Err(failure) => failure,
    }
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Failure::timeout(format!("there was no answer within {} s", ANSWER_WITHIN.as_secs()))
            .hint("what was asked for may still happen: look before asking again")
            .into_response(),
    }
}

/// Whether a token stands in the address, where proxies, histories and logs keep it.
fn has_token_in_address(request: &Request) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let address = request.uri().path_and_query().map_or("", |address| address.as_str());
    // A percent-encoded quote before it ends in digits: a token begins where its prefix does.
    address.match_indices("hms_").any(|(at, _)| {
        let rest = &address[at..];
        token::is_well_formed(&rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())])
    })
}

/// A token in the address lets nobody in, and whoever sends one is told at once that it is out.
async fn unexposed(request: Request, next: Next) -> Response {
    if has_token_in_address(&request) {
        return Failure::argument("a token stands in the address, where histories and logs keep it")
            .hint("send it as `Authorization: Bearer TOKEN`; `hmsops token rotate` replaces the one that was seen")
            .into_response();
    }
    next.run(request).await
}

async fn finish(State(doors): State<Doors>, mut request: Request, next: Next) -> Response {
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let is_browser = accept.contains("text/html");
    // What must not stand in an address is not repeated by an answer either.
    let is_exposed = has_token_in_address(&request);
    let path = if is_exposed { "/" } else { request.uri().path() }.to_owned();
    // Where a person goes on who has to log in first: with what the address asked for, unless it was a form.
    let is_asked_again = *request.method() == Method::GET && !is_exposed;
    let whole = request.uri().path_and_query().filter(|_| is_asked_again);
    let whole = whole.map_or_else(|| path.clone(), ToString::to_string);
    let is_tls = request.extensions().get::<Arrival>().is_some_and(|arrival| arrival.is_tls);
    // Of `localhost` all ports are one site: what else a person runs there would be out of reach.
    let is_named = is_tls && !is_local_host(request.headers());
    let (method, is_head) = (request.method().clone(), request.method() == Method::HEAD);
    let from = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    let seen = Seen::default();
    request.extensions_mut().insert(seen.clone());
    let (source, steady) = (source_of(&request), doors.context.clock.now().steady);
    let pace = doors.context.auth.pace();
    let mut response = match pace.source(source, steady) {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    };
    if response.status() == StatusCode::UNAUTHORIZED
        && let Err(failure) = pace.guess(source, steady)
    {
        response = failure.into_response();
    }
    let failure = response.extensions_mut().remove::<Failure>();
    let answered = Answered {
        at: doors.context.clock.now().wall,
        method: method.as_str(),
        route: seen.route(),
        status: response.status().as_u16(),
        who: seen.who(from),
        from,
        denied: failure.as_ref().filter(|failure| failure.is_denial()).map(Failure::detail),
    };
    doors.context.auth.receipts().note(Entrance::of_path(&path), answered);
    if let Some(failure) = failure {
        let mut set = std::mem::take(response.headers_mut());
        response = if is_browser && failure.is_stale() {
            let next = page_of_form(&whole);
            let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
            Redirect::to(&format!("/login/again?next={next}")).into_response()
        } else if is_browser {
            failure.html(|wrong| page_of(&doors.context, page_of_form(&whole), wrong))
        } else {
            // What was asked for where nothing is, and the links that log in, are nobody else's business.
            failure.json(match seen.route() {
                // Whoever isn't known would learn by it which paths there are.
                _ if response.status() == StatusCode::UNAUTHORIZED => "/",
                NO_ROUTE => "/",
                route if route.starts_with("/login/") => route,
                _ => &path,
            })
        };
        let kept = std::iter::once(http::header::ALLOW).chain(super::remote_write::WRITTEN);
        response.headers_mut().extend(kept.filter_map(|name| set.remove(&name).map(|value| (name, value))));
    }
    if is_head {
        *response.body_mut() = axum::body::Body::empty();
    }
    doors.meters.answered(response.status());
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.entry(HeaderName::from_static(name)).or_insert(HeaderValue::from_static(value));
    }
    if is_named {
        headers.entry(STRICT_TRANSPORT_SECURITY).or_insert(HeaderValue::from_static(HSTS));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
