//! How somebody logs in: by a one-time link, a password, or a provider's word; and out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::{ConnectInfo, Path, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Json};
use hmsops_control::people::{PeopleWish, Proof, Session};
use hmsops_model::person::{Identity, Role};
use hmsops_model::{SessionId, UnixMillis};
use hmsops_wire::api;
use http::header::SET_COOKIE;
use http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::oidc::Oidc;
use super::{Attempts, Passwords, Programs, Shown, admit, line, of_browser, session, session_line, wished};
use crate::door::auth::AuthError;
use crate::door::authorize::{cookie_name, from_own_page, is_tls};
use crate::door::body::{Body, Params, own_path};
use crate::door::caller::Caller;
use crate::door::{Access, Context, Failure, Routes, Scope};
use crate::page;
use crate::tls::Arrival;

/// What stands between people and the tower: the accounts it keeps, the provider, the roles of groups.
pub struct Reception {
    pub(crate) passwords: Passwords,
    pub(crate) attempts: Attempts,
    pub(super) programs: Programs,
    /// Held while somebody logs in by a password (any number at a time), and while an account changes (alone).
    pub(crate) accounts: tokio::sync::RwLock<()>,
    pub(crate) oidc: Option<Oidc>,
    roles: RwLock<BTreeMap<String, Vec<Role>>>,
    pub(super) changed: tokio::sync::Notify,
}

impl Reception {
    /// Reads the accounts. `oidc`: the provider, if there is one; `roles`: what members of its groups are here.
    pub fn open(
        disk: Arc<dyn hmsops_disk::Disk>,
        oidc: Option<Oidc>,
        roles: BTreeMap<String, Vec<Role>>,
    ) -> Result<Self, AuthError> {
        let passwords = Passwords::open(disk)?;
        let (attempts, changed) = (Attempts::default(), tokio::sync::Notify::new());
        let (programs, accounts) = (Programs::default(), tokio::sync::RwLock::new(()));
        let roles = RwLock::new(roles);
        Ok(Self { passwords, attempts, programs, accounts, oidc, roles, changed })
    }

    /// Other roles of groups: log-ins end that gave others.
    pub fn set_roles(&self, roles: BTreeMap<String, Vec<Role>>) {
        *self.roles.write().unwrap_or_else(PoisonError::into_inner) = roles;
        self.changed.notify_one();
    }

    /// Whether a log-in gives what its groups are here by now. Of those that came by no group that is not asked.
    pub(super) fn fits(&self, session: &Session) -> bool {
        session.groups.is_empty() || self.roles_of(&session.groups).0 == session.roles
    }

    /// What a member of these groups is here, and which of the groups make them so. Each once, in order.
    pub(crate) fn roles_of(&self, groups: &[String]) -> (Vec<Role>, Vec<String>) {
        let known = self.roles.read().unwrap_or_else(PoisonError::into_inner);
        let mut counting: Vec<String> =
            groups.iter().filter(|group| known.contains_key(*group)).cloned().collect();
        counting.sort_unstable();
        counting.dedup();
        let mut roles: Vec<Role> =
            counting.iter().filter_map(|group| known.get(group)).flatten().copied().collect();
        roles.sort_unstable();
        roles.dedup();
        (roles, counting)
    }
}

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/login", Access::Open, "How to log in", form)
        .get("/login/{nonce}", Access::Open, "Log a browser in by a one-time link", by_link)
        .post("/login/password", Access::Open, "Log in by the password of an account", by_password)
        .get("/login/oidc", Access::Open, "Go to the provider, to log in there", to_provider)
        .get("/login/oidc/callback", Access::Open, "Come back from the provider", from_provider)
        .get("/login/again", Scope::STATE_READ, "Show again who you are", again)
        .post("/logout", Scope::STATE_READ, "Log the browser out", logout)
        .post("/hms/v1/login-links", Scope::TOKENS_ADMIN, "A new one-time link", link)
}

#[derive(Deserialize)]
struct Next {
    next: Option<String>,
}

/// Where a request comes from, as it is counted and written down.
pub(super) fn origin(extensions: &Extensions) -> Option<String> {
    let arrival = extensions.get::<Arrival>().map(|arrival| arrival.peer);
    let peer = arrival.or_else(|| extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0));
    peer.map(|peer| peer.ip().to_canonical().to_string())
}

fn html(text: String, status: StatusCode) -> Response {
    (status, axum::response::Html(text)).into_response()
}

fn ways(context: &Context) -> page::LoginWays {
    page::LoginWays {
        password: !context.engine.snapshot().state.people.accounts.is_empty(),
        provider: context.reception.oidc.as_ref().map(|oidc| oidc.host().to_owned()),
    }
}

fn again_of(session: &Session) -> page::Again<'_> {
    page::Again { name: &session.name, proof: session.proof }
}

/// What somebody sees in a browser who is not logged in. `wrong`: what they brought instead.
pub(crate) fn page_of(context: &Context, next: &str, wrong: Option<&str>) -> String {
    page::login_form(&ways(context), Some(next).filter(|path| own_path(path)).unwrap_or("/"), None, wrong)
}

/// The page of the form that was sent to a path: where somebody goes on who had to show first who they are.
pub(crate) fn page_of_form(path: &str) -> &str {
    match path {
        path if path.starts_with("/hms/v1/breakglass") => "/breakglass",
        path if path.starts_with("/hms/") => "/",
        path => path,
    }
}

async fn form(State(context): State<Context>, Params(next): Params<Next>) -> Response {
    let next = next.next.as_deref().filter(|path| own_path(path)).unwrap_or("/");
    html(page::login_form(&ways(&context), next, None, None), StatusCode::OK)
}

async fn again(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Params(next): Params<Next>,
) -> Response {
    let next = next.next.as_deref().filter(|path| own_path(path)).unwrap_or("/");
    let again = caller.session().map(again_of);
    html(page::login_form(&ways(&context), next, again, None), StatusCode::OK)
}

async fn by_link(
    State(context): State<Context>,
    method: Method,
    Path(nonce): Path<String>,
    headers: HeaderMap,
    Extension(tls): Extension<OverTls>,
    from: Extension<From>,
) -> Result<Response, Failure> {
    if method != Method::GET {
        // A look ahead must not use the link up.
        return Ok(StatusCode::OK.into_response());
    }
    if !context.auth.redeem(&nonce, context.clock.now().steady) {
        return Err(Failure::unauthenticated("this link was used already, or is older than ten minutes")
            .hint("`hmsops login` makes a new one"));
    }
    let again = of_browser(&context, &headers, tls.0).filter(|session| session.proof == Proof::Link);
    let shown = Shown {
        identity: Identity::admin(),
        name: "admin".into(),
        roles: vec![Role::Admin],
        groups: Vec::new(),
        proof: Proof::Link,
        proven_at: None,
        until: None,
        from: from.0.0,
        again: again.map(|session| session.id),
    };
    let (secret, _) = admit(&context, shown).await?;
    let mut response = Redirect::to("/").into_response();
    response.headers_mut().append(SET_COOKIE, session_line(&secret, tls.0));
    Ok(response)
}

/// Whether a request came over TLS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OverTls(pub(crate) bool);

/// From which address it came.
#[derive(Debug, Clone)]
pub(crate) struct From(pub(crate) Option<String>);

/// Notes what handlers need to know of how a request came in.
pub(crate) fn note(request: &mut Request) {
    let (tls, from) = (OverTls(is_tls(request.extensions())), From(origin(request.extensions())));
    request.extensions_mut().insert(tls);
    request.extensions_mut().insert(from);
}

async fn by_password(
    State(context): State<Context>,
    headers: HeaderMap,
    Extension(tls): Extension<OverTls>,
    Extension(from): Extension<From>,
    Body { value, is_form }: Body<api::PasswordLogin>,
) -> Result<Response, Failure> {
    // Nobody logs a browser in as somebody else from a page of their own.
    if !from_own_page(&headers, !is_form) {
        return Err(Failure::forbidden("the request did not come from a page of this tower"));
    }
    let next = value.next.as_deref().filter(|path| own_path(path)).unwrap_or("/").to_owned();
    let own = of_browser(&context, &headers, tls.0).filter(|_| is_form);
    match password(&context, &value, from.0, own.as_ref().map(|session| session.id)).await {
        Ok((secret, id)) if !is_form => {
            Ok((StatusCode::CREATED, Json(logged_in(&context, secret, id)?)).into_response())
        }
        Ok((secret, _)) => {
            let mut response = Redirect::to(&next).into_response();
            response.headers_mut().append(SET_COOKIE, session_line(&secret, tls.0));
            Ok(response)
        }
        Err(failure) if is_form => {
            let again = own.as_ref().map(again_of);
            let text = page::login_form(&ways(&context), &next, again, Some(&failure.words()));
            Ok(html(text, failure.status()))
        }
        Err(failure) => Err(failure),
    }
}

/// What a program gets that somebody has logged in.
pub(super) fn logged_in(context: &Context, text: String, id: SessionId) -> Result<api::LoggedIn, Failure> {
    let snapshot = context.engine.snapshot();
    let known = snapshot.state.people.sessions.get(&id);
    let known = known.ok_or_else(|| Failure::internal("the log-in is gone already"))?;
    let session = session::shown(&snapshot, known, Some(id), context.clock.now().wall);
    Ok(api::LoggedIn { session, text })
}

async fn password(
    context: &Context,
    given: &api::PasswordLogin,
    from: Option<String>,
    again: Option<SessionId>,
) -> Result<(String, SessionId), Failure> {
    let reception = &context.reception;
    let (name, steady) = (given.name.trim(), context.clock.now().steady);
    reception.attempts.check(name, from.as_deref(), steady)?;
    // Counted before it is known, so that many at a time do not get more tries.
    reception.attempts.failed(name, from.as_deref(), steady);
    // While somebody logs in, no account changes: what was checked is what lets them in.
    let _same = reception.accounts.read().await;
    let checked = reception.passwords.check(name, given.password.clone()).await;
    let fits = checked.inspect_err(|_| reception.attempts.unseen(name, from.as_deref()))?;
    let roles = context.engine.snapshot().state.people.accounts.get(name).cloned();
    let Some(roles) = roles.filter(|_| fits) else {
        // Not which of the two is wrong.
        return Err(Failure::unauthenticated("there is no such account, or its password is another"));
    };
    reception.attempts.passed(name, from.as_deref());
    let identity = Identity { issuer: Identity::LOCAL.into(), subject: name.to_owned() };
    let (name, proof, groups) = (name.to_owned(), Proof::Password, Vec::new());
    let shown = Shown { identity, name, roles, groups, proof, proven_at: None, until: None, from, again };
    admit(context, shown).await
}

async fn to_provider(
    State(context): State<Context>,
    headers: HeaderMap,
    Extension(tls): Extension<OverTls>,
    Params(next): Params<Next>,
) -> Result<Response, Failure> {
    let oidc = provider(&context)?;
    let next = next.next.filter(|path| own_path(path)).unwrap_or_else(|| "/".into());
    let again = of_browser(&context, &headers, tls.0).filter(|session| session.proof == Proof::Oidc);
    let again = again.map(|session| session.id);
    let begun = oidc.begin(&context.auth, context.clock.now(), next, again).await?;
    let mut response = Redirect::to(&begun.url).into_response();
    // Not `Strict`: the provider's page leads back to us.
    let rest = "Path=/login/oidc; HttpOnly; SameSite=Lax; Max-Age=600";
    response.headers_mut().append(SET_COOKIE, line(super::oidc::COOKIE, &begun.browser, rest, tls.0));
    Ok(response)
}

async fn from_provider(
    State(context): State<Context>,
    headers: HeaderMap,
    Extension(tls): Extension<OverTls>,
    Extension(from): Extension<From>,
    Params(answer): Params<super::oidc::Answer>,
) -> Result<Response, Failure> {
    let oidc = provider(&context)?;
    let come = oidc.come_back(&headers, answer, context.clock.now()).await.inspect_err(|failure| {
        tracing::warn!("people: a log-in by the provider failed: {}", failure.words());
    })?;
    let (roles, groups) = context.reception.roles_of(&come.groups);
    if roles.is_empty() {
        return Err(Failure::forbidden(format!("{} is in no group that has a role here", come.name))
            .hint("`people: {roles: {GROUP: viewer}}` in hmsops.yaml gives a group one"));
    }
    let Come { identity, name, next, again, proven_at, .. } = come;
    let (proof, proven_at, from) = (Proof::Oidc, Some(proven_at), from.0);
    let shown = Shown { identity, name, roles, groups, proof, proven_at, until: None, from, again };
    let (secret, _) = admit(&context, shown).await?;
    // A redirect would still belong to the provider's page, and the browser would hold the cookie back.
    let mut response = html(page::login_done(&next), StatusCode::OK);
    let headers = response.headers_mut();
    headers.append(SET_COOKIE, session_line(&secret, tls.0));
    headers.append(SET_COOKIE, line(super::oidc::COOKIE, "", "Path=/login/oidc; HttpOnly; Max-Age=0", tls.0));
    Ok(response)
}

/// Somebody who came back from the provider.
pub(super) struct Come {
    pub(super) identity: Identity,
    pub(super) name: String,
    pub(super) groups: Vec<String>,
    pub(super) next: String,
    pub(super) again: Option<SessionId>,
    /// When they last showed the provider who they are, as far as it says so.
    pub(super) proven_at: UnixMillis,
}

fn provider(context: &Context) -> Result<&Oidc, Failure> {
    context.reception.oidc.as_ref().ok_or_else(|| {
        Failure::not_found("this tower knows no provider")
            .hint("`people: {oidc: …}` in hmsops.yaml names one")
    })
}

async fn logout(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Extension(tls): Extension<OverTls>,
) -> Result<Response, Failure> {
    if let Some(session) = caller.session() {
        let wish = PeopleWish::End { session: session.id };
        wished(&context, wish, caller.who.clone(), "logged out".into()).await?;
    }
    let mut response = Redirect::to("/login").into_response();
    let gone = line(cookie_name(tls.0), "", "Path=/; HttpOnly; SameSite=Strict; Max-Age=0", tls.0);
    response.headers_mut().append(SET_COOKIE, gone);
    response.headers_mut().insert("clear-site-data", HeaderValue::from_static("\"cache\""));
    Ok(response)
}

/// A browser that is logged in by a link may do all, so who may do less cannot log one in.
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
    if caller.session().is_some() {
        // Not even one by a link: it would prolong itself without end.
        return Err(Failure::conflict("a link logs in whoever holds the admin token, and not you")
            .hint("log in at /login as yourself"));
    }
    let path = context.auth.login_link(context.clock.now());
    Ok((StatusCode::CREATED, Json(json!({ "path": path }))).into_response())
}
