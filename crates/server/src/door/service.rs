//! `/hms/v1/services`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use axum::{Extension, Json};
use hmsops_control::{Command, Event, Who};
use hmsops_model::{ServiceName, Version, network};
use hmsops_tower::{Handled, Snapshot};
use hmsops_wire::api;

use super::body::{Body, changed, reason};
use super::{Context, Failure, Routes, Scope, haproxy, show, wait_until};

/// So long is waited for gateways to put a change in force; the answer says whether they did.
pub(crate) const IN_FORCE_WITHIN: Duration = Duration::from_secs(5);

/// Addresses of one version: more than any service has copies on one tower.
const UPSTREAMS_MAX: usize = 1000;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/hms/v1/services", Scope::STATE_READ, "All services", list)
        .get("/hms/v1/services/{name}", Scope::STATE_READ, "One service", show_one)
        .post(
            "/hms/v1/services/{name}/adopt",
            Scope::SERVICES_WRITE,
            "Take over a service that runs already",
            adopt,
        )
        .post(
            "/hms/v1/services/{name}/rollback",
            Scope::DEPLOY_ROLLBACK,
            "Put a service back on an earlier version",
            rollback,
        )
        .post(
            "/hms/v1/services/{name}/restart",
            Scope::DEPLOY_ROLLBACK,
            "Start a service's stable version anew; the new copy takes over once it is ready",
            restart,
        )
}

async fn list(State(context): State<Context>) -> Json<api::Services> {
    let snapshot = context.engine.snapshot();
    let services =
        snapshot.state.services.values().map(|service| show::service(&snapshot, service)).collect();
    Json(api::Services { services })
}

async fn show_one(
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<Json<api::Service>, Failure> {
    one(&context.engine.snapshot(), &ServiceName::new(name)?).map(Json)
}

async fn adopt(
    State(context): State<Context>,
    Extension(by): Extension<Who>,
    Path(name): Path<String>,
    Body { value, is_form }: Body<api::Takeover>,
) -> Result<Response, Failure> {
    let service = ServiceName::new(name)?;
    if value.upstreams.is_empty() || value.upstreams.len() > UPSTREAMS_MAX {
        return Err(Failure::argument(format!("`upstreams` has {} addresses", value.upstreams.len()))
            .hint(format!("name 1 to {UPSTREAMS_MAX}, `host:port` each")));
    }
    if let Some(wrong) = value.upstreams.iter().find(|address| !is_address(address)) {
        return Err(Failure::argument(format!("`{wrong:.80}` is not an address: expected `host:port`")));
    }
    let snapshot = context.engine.snapshot();
    let private = snapshot.state.services.get(&service).map(|known| known.spec.allow_private.as_slice());
    for upstream in &value.upstreams {
        if let Some(is) = network::against_upstream(upstream, private.unwrap_or_default()) {
            return Err(Failure::argument(format!("`{upstream}` is {is}"))
                .hint("no traffic goes there; the local link takes `allow_private` of the service"));
        }
    }
    let of_version = (&value.version, value.upstreams.as_slice());
    haproxy::check_adopted(&context, &context.engine.snapshot(), &service, of_version)?;
    let reason = reason(&value.reason)?;
    let command =
        Command::Adopt { service: service.clone(), version: value.version, upstreams: value.upstreams };
    carry_out(&context, command, by, reason).await?;
    in_force(&context, std::slice::from_ref(&service)).await;
    Ok(changed(is_form, None, &one(&context.engine.snapshot(), &service)?))
}

async fn rollback(
    State(context): State<Context>,
    Extension(by): Extension<Who>,
    Path(name): Path<String>,
    Body { value, is_form }: Body<api::Revert>,
) -> Result<Response, Failure> {
    let service = ServiceName::new(name)?;
    let to = if value.to == "prev" { None } else { Some(Version::new(value.to)?) };
    let reason = reason(&value.reason)?;
    let command = Command::Rollback { service: service.clone(), to };
    carry_out(&context, command, by, reason).await?;
    settled(&context, is_form, value.next.as_deref(), &service).await
}

async fn restart(
    State(context): State<Context>,
    Extension(by): Extension<Who>,
    Path(name): Path<String>,
    Body { value, is_form }: Body<api::Reason>,
) -> Result<Response, Failure> {
    let service = ServiceName::new(name)?;
    let reason = reason(&value.reason)?;
    carry_out(&context, Command::Restart { service: service.clone() }, by, reason).await?;
    settled(&context, is_form, value.next.as_deref(), &service).await
}

/// The answer once another copy has taken over and gateways know, or that takes too long.
async fn settled(
    context: &Context,
    is_form: bool,
    next: Option<&str>,
    service: &ServiceName,
) -> Result<Response, Failure> {
    let settled = |snapshot: &Arc<Snapshot>| {
        snapshot.state.services.get(service).is_none_or(|known| known.revert.is_none())
    };
    wait_until(&context.engine, IN_FORCE_WITHIN, settled).await;
    in_force(context, std::slice::from_ref(service)).await;
    Ok(changed(is_form, next, &one(&context.engine.snapshot(), service)?))
}

/// Hands a person's command in and waits until it is durable and applied.
pub(crate) async fn carry_out(
    context: &Context,
    command: Command,
    by: Who,
    reason: String,
) -> Result<Handled, Failure> {
    let handled = context.engine.submit(Event::Command { command, by, reason }).await?;
    accepted(handled)
}

/// What was decided, unless it was refused or could not be written down.
pub(crate) fn accepted(handled: Handled) -> Result<Handled, Failure> {
    if let Some(refusal) = handled.refused {
        return Err(refusal.into());
    }
    match &handled.ledger_failed {
        // A retreat is done all the same; its line follows.
        Some(why)
            if handled.undone || !handled.transitions.iter().any(hmsops_control::Transition::is_retreat) =>
        {
            Err(Failure::ledger(why))
        }
        _ => Ok(handled),
    }
}

/// Waits until gateways hold the newest routes of these services. Returns whether they do.
pub(crate) async fn in_force(context: &Context, services: &[ServiceName]) -> bool {
    let held = |snapshot: &Arc<Snapshot>| {
        let known = services.iter().filter_map(|name| snapshot.state.services.get(name));
        known.map(|service| show::in_force(snapshot, service)).all(|held| held != Some(false))
    };
    wait_until(&context.engine, IN_FORCE_WITHIN, held).await
}

fn one(snapshot: &Snapshot, name: &ServiceName) -> Result<api::Service, Failure> {
    let service = snapshot.state.services.get(name).ok_or_else(|| {
        let known: Vec<&str> = snapshot.state.services.keys().map(ServiceName::as_str).collect();
        let hint = if known.is_empty() {
            "none is declared yet".into()
        } else {
            format!("known: {}", known.join(", "))
        };
        Failure::not_found(format!("there is no service `{name}`")).hint(hint)
    })?;
    Ok(show::service(snapshot, service))
}

/// `host:port`, the host a name or an address (IPv6 in brackets).
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let port_ok = port.parse::<u16>().is_ok_and(|port| port > 0);
    let name_ok = !host.is_empty()
        && host.len() <= 253
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    port_ok && (name_ok || bracketed.is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for good in ["10.0.0.4:8080", "db-1.internal:1", "[::1]:80"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["", ":80", "host", "host:0", "host:65536", "::1:80", "a b:80", "a/b:80", "[x]:80"] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
