//! Browsers log in by a one-time link, and out.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::json;

use super::auth::SESSION_LIFE;
use super::authorize::{COOKIE_NAME, cookie};
use super::caller::Caller;
use super::{Access, Context, Failure, Routes, Scope};

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/login/{nonce}", Access::Open, "Log a browser in by a one-time link", login)
        .post("/logout", Scope::STATE_READ, "Log the browser out", logout)
        .post("/hms/v1/login-links", Scope::TOKENS_ADMIN, "A new one-time link", link)
}

async fn login(
    State(context): State<Context>,
    method: Method,
    Path(nonce): Path<String>,
) -> Result<Response, Failure> {
    if method != Method::GET {
        // A look ahead must not use the link up.
        return Ok(StatusCode::OK.into_response());
    }
    let session = context.auth.redeem(&nonce, context.clock.now().steady).ok_or_else(|| {
        Failure::unauthenticated("this link was used already, or is older than ten minutes")
            .hint("`hmsops login --link` makes a new one")
    })?;
    let life = SESSION_LIFE.0 / 1000;
    Ok(with_cookie(&format!("{COOKIE_NAME}={session}; Path=/; HttpOnly; SameSite=Strict; Max-Age={life}")))
}

async fn logout(State(context): State<Context>, headers: HeaderMap) -> Response {
    if let Some(session) = cookie(&headers, COOKIE_NAME) {
        context.auth.end_session(session);
    }
    with_cookie(&format!("{COOKIE_NAME}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"))
}

/// A browser that is logged in may do all, so a token that may do less cannot log one in.
async fn link(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Failure> {
    if caller.as_agent().is_some() {
        return Err(Failure::forbidden("an agent logs no browser in"));
    }
    if let Some(token) = caller.token() {
        return Err(Failure::conflict(format!("{token} cannot log a browser in, which may do more than it"))
            .hint("ask with the admin token, which is in the file admin.token of the data folder"));
    }
    let path = context.auth.login_link(context.clock.now());
    Ok((StatusCode::CREATED, axum::Json(json!({ "path": path }))).into_response())
}

fn with_cookie(cookie: &str) -> Response {
    let mut response = Redirect::to("/").into_response();
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(SET_COOKIE, value);
    }
    response
}
