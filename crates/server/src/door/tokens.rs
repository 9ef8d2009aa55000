//! `/hms/v1/tokens`: who is let in besides the admin.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use hmsops_control::access::{AccessChange, Token, Used};
use hmsops_control::transport::TransportChange;
use hmsops_control::{Command, Transition, Who};
use hmsops_ledger::moment::rfc3339;
use hmsops_model::network::Network;
use hmsops_model::token::{LIFE, OVERLAP};
use hmsops_model::{Digest, Millis, Scope, ServiceName, TokenId, TokenKind, TokenSpec, UnixMillis};
use hmsops_tower::Handled;
use hmsops_wire::api;
use http::StatusCode;
use http::header::LOCATION;
use serde::Deserialize;

use super::auth::{random, sha256};
use super::body::{Body, Params, needed_reason};
use super::caller::Caller;
use super::cursor::{Place, page};
use super::service::carry_out;
use super::{Context, Failure, Routes, show, token};

/// A token that nobody has used for so long is doubtful.
const IDLE: Millis = Millis::from_mins(30 * 24 * 60);

/// A token that ends so soon is worth a word.
const ENDS_SOON: Millis = Millis::from_mins(7 * 24 * 60);

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/hms/v1/tokens", Scope::TOKENS_ADMIN, "Tokens, those in force first", list)
        .post("/hms/v1/tokens", Scope::TOKENS_ADMIN, "Make a token; its text is in this answer only", create)
        .get("/hms/v1/tokens/{id}", Scope::TOKENS_ADMIN, "One token, without its text", show_one)
        .post(
            "/hms/v1/tokens/{id}/rotate",
            Scope::TOKENS_ADMIN,
            "Put a new token in the place of one",
            rotate,
        )
        .post("/hms/v1/tokens/{id}/revoke", Scope::TOKENS_ADMIN, "Let nobody in by a token any more", revoke)
}

/// How a token was used: what stands in the ledger, and what came since.
pub(crate) fn used(context: &Context, token: &Token) -> Option<Used> {
    let fresh = context.auth.receipts().used(token.id);
    match (token.used, fresh) {
        (Some(kept), Some(fresh)) => Some(Used { count: kept.count.saturating_add(fresh.count), ..fresh }),
        (kept, fresh) => fresh.or(kept),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    /// Only those in force.
    #[serde(default)]
    active: bool,
    limit: Option<usize>,
    cursor: Option<String>,
}

async fn list(
    State(context): State<Context>,
    Params(params): Params<ListParams>,
) -> Result<Json<api::Tokens>, Failure> {
    let (snapshot, now) = (context.engine.snapshot(), context.clock.now().wall);
    let all = snapshot.state.access.tokens.values();
    let wanted = all.filter(|token| !params.active || token.is_in_force(now));
    let place = |token: &Token| Place::numbered((!token.is_in_force(now)).into(), token.id.0);
    let found = wanted.map(|token| (place(token), token)).collect();
    let (found, next) = page(found, params.cursor.as_deref(), params.limit)?;
    let items = found.into_iter().map(|token| shown(token, used(&context, token), now));
    Ok(Json(api::Tokens { items: items.collect(), next }))
}

async fn show_one(
    State(context): State<Context>,
    Path(id): Path<String>,
) -> Result<Json<api::Token>, Failure> {
    find(&context, id.parse()?).map(Json)
}

async fn create(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Body { value, .. }: Body<api::NewToken>,
) -> Result<Response, Failure> {
    let made = make(&context, &caller, &value).await?;
    Ok(created(made))
}

/// Makes a token; its text is in the answer only.
pub(crate) async fn make(
    context: &Context,
    caller: &Caller,
    wanted: &api::NewToken,
) -> Result<api::TokenIssued, Failure> {
    let spec = spec(wanted, caller, context.clock.now().wall)?;
    let text = token::of_kind(spec.kind, drawn()?);
    let command = Command::IssueToken {
        sha256: Digest::from_sha256(sha256(&text)),
        spec: Box::new(spec),
        granter: caller.token(),
    };
    let handled = carry_out(context, command, caller.who.clone(), needed_reason(&wanted.reason)?).await?;
    issued(context, &handled, text)
}

fn created(made: api::TokenIssued) -> Response {
    let place = format!("/hms/v1/tokens/{}", made.token.id);
    (StatusCode::CREATED, [(LOCATION, place)], Json(made)).into_response()
}

async fn rotate(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Body { value, .. }: Body<api::Rotation>,
) -> Result<Response, Failure> {
    let made = rotate_now(&context, &caller, (id.parse()?, &value)).await?;
    Ok(created(made))
}

/// Puts another token in the place of one; its text is in the answer only.
pub(crate) async fn rotate_now(
    context: &Context,
    caller: &Caller,
    (id, wanted): (TokenId, &api::Rotation),
) -> Result<api::TokenIssued, Failure> {
    let snapshot = context.engine.snapshot();
    // Who is unknown is refused below, in the tower's words.
    let kind = snapshot.state.access.tokens.get(&id).map_or(TokenKind::Sa, |token| token.spec.kind);
    let text = token::of_kind(kind, drawn()?);
    let command = Command::RotateToken {
        token: id,
        sha256: Digest::from_sha256(sha256(&text)),
        overlap: wanted.overlap_ms.map_or(OVERLAP, Millis),
        life: wanted.life_ms.map(Millis),
        granter: caller.token(),
    };
    let handled = carry_out(context, command, caller.who.clone(), needed_reason(&wanted.reason)?).await?;
    issued(context, &handled, text)
}

async fn revoke(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Body { value, .. }: Body<api::Revocation>,
) -> Result<Json<api::TokenRevoked>, Failure> {
    let id: TokenId = id.parse()?;
    let asked = (id, value.keep_made, needed_reason(&value.reason)?);
    let also = revoke_now(&context, asked, caller.who).await?;
    Ok(Json(api::TokenRevoked { token: find(&context, id)?, also }))
}

/// Revokes a token; answers which others, and which agents, went with it.
pub(crate) async fn revoke_now(
    context: &Context,
    (token, keep_made, reason): (TokenId, bool, String),
    by: Who,
) -> Result<Vec<String>, Failure> {
    let command = Command::RevokeToken { token, keep_made };
    let handled = carry_out(context, command, by, reason).await?;
    if handled.unkept {
        let detail =
            format!("{token} lets nobody in any more, but no disk has taken that: a restart would forget it");
        return Err(Failure::unavailable(detail)
            .hint("see to the disk of the data folder: it is written down once that takes it; until then do not restart"));
    }
    let also = handled.transitions.iter().map(|transition| match transition {
        Transition::Access(AccessChange::TokenRevoked { also, .. }) => {
            also.iter().map(ToString::to_string).collect()
        }
        Transition::Transport(TransportChange::AgentRevoked { agent, also, .. }) => {
            std::iter::once(agent).chain(also).map(ToString::to_string).collect()
        }
        _ => Vec::new(),
    });
    Ok(also.flatten().collect())
}

fn drawn() -> Result<[u8; 32], Failure> {
    random().map_err(|_| Failure::unavailable("the system gave no random number"))
}

/// What was asked for, checked as far as its form goes.
fn spec(value: &api::NewToken, caller: &Caller, now: UnixMillis) -> Result<TokenSpec, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::argument(error.to_string());
    let kind = value.kind.as_deref().map_or(Ok(TokenKind::Sa), str::parse).map_err(|error| wrong(&error))?;
    let mut scopes = Vec::new();
    for text in &value.scopes {
        let scope: Scope = text.parse().map_err(|error| {
            let names: Vec<&str> = Scope::ALL.iter().map(|scope| scope.name()).collect();
            wrong(&error).hint(format!("there are {}", names.join(" ")))
        })?;
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    let services: Result<Vec<ServiceName>, _> =
        value.services.iter().cloned().map(ServiceName::new).collect();
    let networks = value
        .networks
        .iter()
        .map(|text| text.parse::<Network>().map_err(|error| wrong(&format!("`{text:.80}` is {error}"))));
    let life = value.life_ms.map_or(LIFE, Millis);
    Ok(TokenSpec {
        kind,
        owner: value.owner.clone().unwrap_or_else(|| caller.who.actor.clone()),
        scopes,
        services: services?,
        networks: networks.collect::<Result<_, _>>()?,
        expires: UnixMillis(now.0.saturating_add_unsigned(life.0)),
    })
}

fn issued(context: &Context, handled: &Handled, text: String) -> Result<api::TokenIssued, Failure> {
    let id = handled.transitions.iter().find_map(|transition| match transition {
        Transition::Access(AccessChange::TokenIssued { token, .. }) => Some(*token),
        _ => None,
    });
    let id = id.ok_or_else(|| Failure::internal("the token was neither made nor refused"))?;
    Ok(api::TokenIssued { text, token: find(context, id)? })
}

fn find(context: &Context, id: TokenId) -> Result<api::Token, Failure> {
    let snapshot = context.engine.snapshot();
    let tokens = &snapshot.state.access.tokens;
    let token = tokens.get(&id).ok_or_else(|| {
        let newest = tokens.keys().next_back();
        let hint = newest.map_or_else(|| "there is none yet".into(), |id| format!("the newest is {id}"));
        Failure::not_found(format!("there is no token {id}")).hint(hint)
    })?;
    Ok(shown(token, used(context, token), context.clock.now().wall))
}

fn shown(token: &Token, used: Option<Used>, now: UnixMillis) -> api::Token {
    let spec = &token.spec;
    let state = standing(token, now);
    let revoked = token.revoked.as_ref();
    api::Token {
        id: token.id.to_string(),
        kind: spec.kind.to_string(),
        state: state.into(),
        owner: spec.owner.clone(),
        scopes: spec.scopes.iter().map(ToString::to_string).collect(),
        services: spec.services.iter().map(ToString::to_string).collect(),
        networks: spec.networks.iter().map(ToString::to_string).collect(),
        issued_at: rfc3339(token.issued_at.wall),
        issued_by: show::by(&token.by),
        reason: token.reason.clone(),
        expires_at: rfc3339(spec.expires),
        made_with: token.granter.map(|id| id.to_string()),
        follows: token.follows.map(|id| id.to_string()),
        followed_by: token.followed_by.map(|id| id.to_string()),
        revoked_at: revoked.map(|revoked| rfc3339(revoked.at.wall)),
        revoked_by: revoked.map(|revoked| show::by(&revoked.by)),
        revoke_reason: revoked.map(|revoked| revoked.reason.clone()),
        revoked_with: revoked.and_then(|revoked| revoked.with).map(|id| id.to_string()),
        used_at: used.map(|used| rfc3339(used.at)),
        used_from: used.and_then(|used| used.from).map(|from| from.to_string()),
        uses: used.map_or(0, |used| used.count),
        findings: findings(token, used, now),
    }
}

/// `in-force`, `rotated`, `ended` or `revoked`.
pub(crate) fn standing(token: &Token, now: UnixMillis) -> &'static str {
    match token {
        token if token.revoked.is_some() => "revoked",
        token if !token.is_in_force(now) => "ended",
        token if token.followed_by.is_some() => "rotated",
        _ => "in-force",
    }
}

/// What is doubtful about all tokens in force, each finding with its token.
pub(crate) fn findings_of_all(context: &Context) -> Vec<(TokenId, String)> {
    let (snapshot, now) = (context.engine.snapshot(), context.clock.now().wall);
    let tokens = snapshot.state.access.tokens.values();
    tokens
        .flat_map(|token| {
            let found = findings(token, used(context, token), now);
            found.into_iter().map(|found| (token.id, found))
        })
        .collect()
}

/// What is doubtful about a token in force, for people to mend.
pub(crate) fn findings(token: &Token, used: Option<Used>, now: UnixMillis) -> Vec<String> {
    let mut findings = Vec::new();
    if !token.is_in_force(now) {
        return findings;
    }
    let spec = &token.spec;
    let quiet_since = used.map_or(token.issued_at.wall, |used| used.at);
    if now.since(quiet_since) >= IDLE {
        findings.push("not used for 30 days, as far as is known: revoke it if nobody needs it".into());
    }
    if spec.expires.since(now) <= ENDS_SOON && token.followed_by.is_none() {
        findings.push(format!("ends within a week: `hmsops token rotate {}`", token.id));
    }
    if spec.scopes.contains(&Scope::TOKENS_ADMIN) {
        findings.push("can make tokens: whoever finds it stays".into());
    }
    let changes =
        [Scope::DEPLOY_REQUEST, Scope::DEPLOY_PROMOTE, Scope::DEPLOY_ROLLBACK, Scope::SERVICES_WRITE];
    if spec.services.is_empty()
        && spec.kind == TokenKind::Sa
        && spec.scopes.iter().any(|own| changes.contains(own))
    {
        findings.push("may change every service: bind it with `--service`".into());
    }
    if spec.scopes.len() * 2 > Scope::ALL.len() {
        findings.push(format!("has {} of {} scopes", spec.scopes.len(), Scope::ALL.len()));
    }
    findings
}
