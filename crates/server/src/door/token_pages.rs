//! The pages' routes of tokens, and the forms by which a person makes, rotates and revokes them.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use hmsops_config::parse_duration;
use hmsops_model::TokenId;
use hmsops_wire::api;
use http::StatusCode;
use serde::Deserialize;

use super::body::{Body, Params, needed_reason};
use super::caller::Caller;
use super::pages::{Still, draw};
use super::{Context, Failure, Routes, Scope, tokens};
use crate::page::{self, TokenRow, TokenWish};

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/tokens", Scope::TOKENS_ADMIN, "Tokens, as a page", list)
        .get("/tokens/new", Scope::TOKENS_ADMIN, "The form that makes a token", form_new)
        .post(
            "/tokens/new",
            Scope::TOKENS_ADMIN,
            "Make a token, by a form; its text is on this page only",
            make,
        )
        .get("/tokens/{id}/rotate", Scope::TOKENS_ADMIN, "The form for it", form_rotate)
        .post(
            "/tokens/{id}/rotate",
            Scope::TOKENS_ADMIN,
            "Put a new token in the place of one, by a form",
            rotate,
        )
        .get("/tokens/{id}/revoke", Scope::TOKENS_ADMIN, "The form for it", form_revoke)
        .post(
            "/tokens/{id}/revoke",
            Scope::TOKENS_ADMIN,
            "Let nobody in by a token any more, by a form",
            revoke,
        )
}

fn still() -> Still {
    Still { still: Some(String::new()) }
}

async fn list(State(context): State<Context>, Params(still): Params<Still>) -> Result<Response, Failure> {
    draw(&context, &still, |look| {
        let rows = look.view.state.access.tokens.values().map(|token| {
            let used = tokens::used(&context, token);
            TokenRow { token, used, findings: tokens::findings(token, used, look.view.now.wall) }
        });
        Some(page::tokens(look, rows.collect()))
    })
}

async fn form_new(State(context): State<Context>) -> Result<Response, Failure> {
    let wish = TokenWish { kind: "sa".into(), expires: "90d".into(), ..TokenWish::default() };
    draw(&context, &still(), |look| Some(page::token_new(look, &wish, None)))
}

#[derive(Deserialize)]
struct NewFields {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    owner: String,
    #[serde(default)]
    services: String,
    #[serde(default)]
    networks: String,
    #[serde(default)]
    expires: String,
    #[serde(default)]
    reason: String,
    /// The boxes of scopes.
    #[serde(flatten)]
    boxes: BTreeMap<String, String>,
}

/// Names with spaces or commas between.
fn names(text: &str) -> Vec<String> {
    text.split([' ', ',', '\t']).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// How long, if that is said.
fn span(text: &str) -> Result<Option<u64>, Failure> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let span = parse_duration(text).map_err(|error| Failure::argument(format!("`{text:.80}`: {error}")))?;
    Ok(Some(span.0))
}

async fn make(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Body { value: given, .. }: Body<NewFields>,
) -> Result<Response, Failure> {
    let boxes = given.boxes.iter().filter(|(_, value)| *value == "true");
    let scopes: Vec<String> =
        boxes.filter_map(|(name, _)| name.strip_prefix(page::SCOPE_FIELD)).map(str::to_owned).collect();
    let wish = TokenWish {
        kind: given.kind,
        owner: given.owner,
        scopes,
        services: given.services,
        networks: given.networks,
        expires: given.expires,
        reason: given.reason,
    };
    let made = match wanted(&wish) {
        Ok(wanted) => tokens::make(&context, &caller, &wanted).await,
        Err(failure) => Err(failure),
    };
    match made {
        Ok(made) => shown_once(&context, &made),
        Err(failure) => again(&failure, |why| {
            draw(&context, &still(), |look| Some(page::token_new(look, &wish, Some(why))))
        }),
    }
}

fn wanted(wish: &TokenWish) -> Result<api::NewToken, Failure> {
    if wish.scopes.is_empty() {
        return Err(Failure::argument("a token without a scope may do nothing: tick what it may do"));
    }
    Ok(api::NewToken {
        kind: Some(wish.kind.clone()).filter(|kind| !kind.is_empty()),
        owner: Some(wish.owner.trim().to_owned()).filter(|owner| !owner.is_empty()),
        scopes: wish.scopes.clone(),
        services: names(&wish.services),
        networks: names(&wish.networks),
        life_ms: span(&wish.expires)?,
        reason: needed_reason(&wish.reason)?,
    })
}

/// The form once more, with why it was not done; what is no fault of what was typed goes to its own page.
fn again(
    failure: &Failure,
    form: impl FnOnce(&str) -> Result<Response, Failure>,
) -> Result<Response, Failure> {
    let status = failure.status();
    if !status.is_client_error() || failure.is_denial() {
        return Err(failure.clone());
    }
    let mut page = form(&failure.words())?;
    *page.status_mut() = status;
    Ok(page)
}

fn shown_once(context: &Context, made: &api::TokenIssued) -> Result<Response, Failure> {
    let id: TokenId = made.token.id.parse()?;
    let mut page = draw(context, &still(), |look| {
        let token = look.view.state.access.tokens.get(&id)?;
        Some(page::token_made(look, token, &made.text))
    })?;
    *page.status_mut() = StatusCode::CREATED;
    Ok(page)
}

async fn form_rotate(State(context): State<Context>, Path(id): Path<String>) -> Result<Response, Failure> {
    let id: TokenId = id.parse()?;
    draw(&context, &still(), |look| {
        page::token_rotate(look, look.view.state.access.tokens.get(&id)?, ("1d", "", ""), None)
    })
}

#[derive(Deserialize)]
struct RotateFields {
    #[serde(default)]
    overlap: String,
    #[serde(default)]
    expires: String,
    #[serde(default)]
    reason: String,
}

async fn rotate(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Body { value: given, .. }: Body<RotateFields>,
) -> Result<Response, Failure> {
    let id: TokenId = id.parse()?;
    let wanted = || {
        let reason = needed_reason(&given.reason)?;
        Ok(api::Rotation { overlap_ms: span(&given.overlap)?, life_ms: span(&given.expires)?, reason })
    };
    let made = match wanted() {
        Ok(wanted) => tokens::rotate_now(&context, &caller, (id, &wanted)).await,
        Err(failure) => Err(failure),
    };
    match made {
        Ok(made) => shown_once(&context, &made),
        Err(failure) => again(&failure, |why| {
            let typed = (given.overlap.as_str(), given.expires.as_str(), given.reason.as_str());
            draw(&context, &still(), |look| {
                page::token_rotate(look, look.view.state.access.tokens.get(&id)?, typed, Some(why))
            })
        }),
    }
}

async fn form_revoke(State(context): State<Context>, Path(id): Path<String>) -> Result<Response, Failure> {
    revoke_form(&context, id.parse()?, None)
}

fn revoke_form(context: &Context, id: TokenId, refused: Option<&str>) -> Result<Response, Failure> {
    draw(context, &still(), |look| {
        let access = &look.view.state.access;
        page::token_revoke(look, access.tokens.get(&id)?, &access.made_with(id), refused)
    })
}

#[derive(Deserialize)]
struct RevokeFields {
    #[serde(default)]
    keep_made: bool,
    #[serde(default)]
    reason: String,
}

async fn revoke(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Body { value: given, .. }: Body<RevokeFields>,
) -> Result<Response, Failure> {
    let id: TokenId = id.parse()?;
    let revoked = match needed_reason(&given.reason) {
        Ok(reason) => tokens::revoke_now(&context, (id, given.keep_made, reason), caller.who).await,
        Err(failure) => Err(failure),
    };
    match revoked {
        Ok(_) => Ok(Redirect::to(&format!("/tokens#{id}")).into_response()),
        Err(failure) => again(&failure, |why| revoke_form(&context, id, Some(why))),
    }
}
