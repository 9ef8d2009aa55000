//! `/hms/v1/agents`: programs elsewhere join by a token that is used up, and get certificates by which they are let in.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use hmsops_control::transport::{Agent, TransportChange};
use hmsops_control::{Command, Transition};
use hmsops_ledger::moment::rfc3339;
use hmsops_model::{AgentId, UnixMillis};
use hmsops_wire::api;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::body::{Body, needed_reason};
use super::caller::Caller;
use super::service::carry_out;
use super::{Access, Context, Failure, Routes, Scope, show};
use crate::ports::pin;
use crate::tls::request::Request;
use crate::tls::{self, Transport};

/// Where the authority's certificate is read.
pub(crate) const CA: &str = "/-/ca.crt";

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/hms/v1/agents", Scope::TOKENS_ADMIN, "Agents that have joined, those let in first", list)
        .post(
            "/hms/v1/agents/join",
            Scope::METRICS_WRITE,
            "Let an agent in; the token that it shows is used up",
            join,
        )
        .post(
            "/hms/v1/agents/renew",
            Scope::METRICS_WRITE,
            "Another certificate for the agent that asks",
            renew,
        )
        .post("/hms/v1/agents/{id}/revoke", Scope::TOKENS_ADMIN, "Let an agent in no more", revoke)
        .get("/hms/v1/transport", Scope::STATE_READ, "What is spoken beyond loopback", spoken)
        .get(CA, Access::Open, "The certificate that the tower is recognised by, PEM", ca)
}

async fn list(State(context): State<Context>) -> Json<api::Agents> {
    let (snapshot, now) = (context.engine.snapshot(), context.clock.now().wall);
    let mut all: Vec<&Agent> = snapshot.state.transport.agents.values().collect();
    all.sort_by_key(|agent| (!agent.is_in_force(now), std::cmp::Reverse(agent.id)));
    Json(api::Agents { items: all.into_iter().map(|agent| shown(agent, now)).collect() })
}

async fn join(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Body { value, .. }: Body<api::Join>,
) -> Result<Response, Failure> {
    let token = caller.token().ok_or_else(|| {
        Failure::conflict("an agent joins by a token of its own")
            .hint("`hmsops token create --kind agt --scope metrics:write --expires 1h --reason …` makes one")
    })?;
    let (transport, request) = (transport(&context)?, request(&value.request)?);
    let now = context.clock.now().wall;
    let certificate = transport.authority.for_agent(&request, now).map_err(|error| unsigned(&error))?;
    let command = Command::JoinAgent { token, name: value.name, certificate: tls::held(&certificate) };
    let handled = carry_out(&context, command, caller.who, String::new()).await?;
    let joined = handled.transitions.iter().find_map(|transition| match transition {
        Transition::Transport(TransportChange::AgentJoined { agent, .. }) => Some(*agent),
        _ => None,
    });
    let agent = joined.ok_or_else(|| Failure::internal("the agent was neither let in nor refused"))?;
    Ok((StatusCode::CREATED, Json(answer(transport, agent, &certificate, now))).into_response())
}

async fn renew(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Body { value, .. }: Body<api::Renewal>,
) -> Result<Json<api::Joined>, Failure> {
    let agent = caller.as_agent().ok_or_else(|| {
        Failure::conflict("only an agent has a certificate that can be renewed")
            .hint("it asks over a connection on which it shows the one it has")
    })?;
    let (transport, request) = (transport(&context)?, request(&value.request)?);
    let now = context.clock.now().wall;
    let certificate = transport.authority.for_agent(&request, now).map_err(|error| unsigned(&error))?;
    let command = Command::RenewAgent { agent, certificate: tls::held(&certificate) };
    carry_out(&context, command, caller.who, String::new()).await?;
    Ok(Json(answer(transport, agent, &certificate, now)))
}

async fn revoke(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Body { value, .. }: Body<api::Reason>,
) -> Result<Json<api::Agent>, Failure> {
    let agent: AgentId = id.parse()?;
    let reason = needed_reason(&value.reason)?;
    carry_out(&context, Command::RevokeAgent { agent }, caller.who, reason).await?;
    let snapshot = context.engine.snapshot();
    let known = snapshot.state.transport.agents.get(&agent);
    let known = known.ok_or_else(|| Failure::not_found(format!("there is no agent {agent}")))?;
    Ok(Json(shown(known, context.clock.now().wall)))
}

async fn spoken(State(context): State<Context>) -> Json<api::Transport> {
    let snapshot = context.engine.snapshot();
    let state = &snapshot.state.transport;
    let plain = state.plain.iter();
    let transport = context.transport.as_deref();
    let count = |transport: &Transport| {
        let meter = &transport.meter;
        [&meter.done, &meter.failed, &meter.late, &meter.clear].map(|count| count.load(Ordering::Relaxed))
    };
    Json(api::Transport {
        tls: transport.is_some(),
        pin: transport.and_then(pin),
        until: transport
            .and_then(|transport| transport.chain().into_iter().next())
            .map(|first| rfc3339(tls::held(&first).until)),
        plain: plain
            .map(|(listen, reason)| api::Plain { listen: listen.clone(), reason: reason.clone() })
            .collect(),
        handshakes: transport.map(count).unwrap_or_default(),
    })
}

async fn ca(State(context): State<Context>) -> Result<Response, Failure> {
    let anchor = context.transport.as_ref().and_then(|transport| transport.anchor());
    let anchor = anchor.ok_or_else(|| Failure::not_found("this tower speaks no TLS"))?;
    let text = tls::encode("CERTIFICATE", &anchor);
    Ok(([(CONTENT_TYPE, "application/x-pem-file")], text).into_response())
}

fn transport(context: &Context) -> Result<&Arc<Transport>, Failure> {
    context.transport.as_ref().ok_or_else(|| {
        Failure::conflict("this tower has no authority: it listens on this machine only, or speaks in clear")
            .hint("programs on this machine emit without joining; `hmsops serve --listen 0.0.0.0:3000` speaks TLS")
    })
}

fn request(text: &str) -> Result<Request, Failure> {
    Request::parse(text).map_err(|error| {
        Failure::argument(error.to_string()).hint(
            "`openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=agent` makes one",
        )
    })
}

fn unsigned(error: &tls::authority::AuthorityError) -> Failure {
    tracing::error!("agents: {error}");
    Failure::internal("the certificate could not be signed")
}

fn answer(
    transport: &Transport,
    agent: AgentId,
    certificate: &tokio_rustls::rustls::pki_types::CertificateDer<'_>,
    now: UnixMillis,
) -> api::Joined {
    let until = tls::held(certificate).until;
    api::Joined {
        agent: agent.to_string(),
        certificate: tls::encode("CERTIFICATE", certificate),
        authority: tls::encode("CERTIFICATE", transport.authority.certificate()),
        until: rfc3339(until),
        life_ms: until.since(now).0,
    }
}

fn shown(agent: &Agent, now: UnixMillis) -> api::Agent {
    let state = match agent {
        agent if agent.revoked.is_some() => "revoked",
        agent if agent.is_in_force(now) => "in-force",
        _ => "ended",
    };
    let revoked = agent.revoked.as_ref();
    api::Agent {
        id: agent.id.to_string(),
        state: state.into(),
        name: agent.name.clone(),
        token: agent.token.to_string(),
        scopes: agent.spec.scopes.iter().map(ToString::to_string).collect(),
        services: agent.spec.services.iter().map(ToString::to_string).collect(),
        joined_at: rfc3339(agent.joined_at.wall),
        until: rfc3339(agent.certificates.last().map_or(UnixMillis(0), |held| held.until)),
        revoked_at: revoked.map(|(at, _, _)| rfc3339(at.wall)),
        revoked_by: revoked.map(|(_, by, _)| show::by(by)),
        revoke_reason: revoked.map(|(_, _, reason)| reason.clone()),
    }
}
