//! `GET /hms/v1/openapi.json`: the routes as OpenAPI 3.1, made from the very table that serves them.

use axum::Json;
use hmsops_wire::api::MEDIA_TYPE;
use http::Method;
use serde_json::{Map, Value, json};

use super::{Access, Routes, Scope};

pub(crate) fn routes(routes: Routes) -> Routes {
    routes.get("/hms/v1/openapi.json", Scope::STATE_READ, "This document", openapi)
}

async fn openapi() -> Json<Value> {
    Json(document(&super::table()))
}

/// Query parameters by path; each is a text and may be left out.
const QUERIES: &[(&str, &[&str])] = &[
    ("/hms/v1/dashes", &["limit", "cursor"]),
    ("/hms/v1/releases", &["service", "limit", "cursor"]),
    ("/hms/v1/releases/{id}", &["evidence"]),
    (
        "/hms/v1/audit",
        &["actor", "subject", "kind", "release", "service", "control", "from", "to", "limit", "cursor"],
    ),
    ("/hms/v1/stream", &["release", "topics", "dash"]),
    ("/hms/v1/rules", &["service", "limit", "cursor"]),
    ("/hms/v1/alerts", &["active", "service", "limit", "cursor"]),
    ("/hms/v1/silences", &["active", "limit", "cursor"]),
    ("/hms/v1/heals", &["service", "rule", "limit", "cursor"]),
    ("/hms/v1/tickets", &["open", "limit", "cursor"]),
    ("/hms/v1/tokens", &["active", "limit", "cursor"]),
    ("/hms/v1/notices", &["dead", "pending", "limit", "cursor"]),
];

/// Bodies by path: their fields, the required ones first, and how many of them are required.
const BODIES: &[(&str, &[&str], usize)] = &[
    ("/hms/v1/dashes/{name}", &["panels"], 1),
    ("/hms/v1/dashes/{name}/panels", &["title", "query", "panel"], 3),
    ("/hms/v1/apply", &["files", "dry_run"], 1),
    (
        "/hms/v1/deploy",
        &["name", "text", "image", "first", "canary", "override_freeze", "reason", "dry_run"],
        2,
    ),
    ("/hms/v1/deploy/group", &["files", "first", "override_freeze", "reason", "dry_run"], 1),
    ("/hms/v1/services/{name}/adopt", &["version", "upstreams", "reason"], 2),
    ("/hms/v1/services/{name}/rollback", &["to", "reason", "next"], 1),
    ("/hms/v1/releases/{id}/promote", &["reason", "override_freeze", "next"], 0),
    ("/hms/v1/releases/{id}/pause", &["reason", "next"], 0),
    ("/hms/v1/releases/{id}/resume", &["reason", "next"], 0),
    ("/hms/v1/releases/{id}/abort", &["reason", "next"], 0),
    ("/hms/v1/releases/{id}/rollback", &["reason", "next"], 0),
    ("/hms/v1/releases/{id}/undeny", &["reason", "next"], 0),
    ("/hms/v1/login-links", &[], 0),
    ("/hms/v1/sessions/{id}/end", &["reason", "next"], 0),
    ("/hms/v1/accounts/{name}", &["roles", "password", "reason"], 3),
    ("/hms/v1/breakglass", &["reason", "for_ms", "minutes", "next"], 1),
    ("/hms/v1/breakglass/{id}/end", &["reason", "next"], 0),
    ("/hms/v1/breakglass/{id}/review", &["reason", "next"], 1),
    ("/hms/v1/metrics", &["source", "sequence", "metrics", "labels", "dropped"], 3),
    ("/hms/v1/services/{name}/restart", &["reason", "next"], 0),
    (
        "/hms/v1/rules",
        &[
            "name",
            "expr",
            "for_seconds",
            "on_fire",
            "notify",
            "labels",
            "annotations",
            "runbook",
            "reading",
            "service",
            "on_nodata",
            "interval_seconds",
        ],
        2,
    ),
    ("/hms/v1/alerts/{id}/ack", &["reason", "next"], 1),
    ("/hms/v1/silences", &["rule", "for_ms", "reason", "keep_heal"], 3),
    ("/hms/v1/heals", &["rule", "reason", "dry_run"], 2),
    ("/hms/v1/heals/pause", &["reason", "next"], 1),
    ("/hms/v1/heals/resume", &["reason", "next"], 1),
    ("/hms/v1/probes/{name}/run", &["check"], 0),
    ("/hms/v1/tickets/{id}/close", &["reason", "next"], 1),
    ("/hms/v1/agents/join", &["name", "request"], 2),
    ("/hms/v1/agents/renew", &["request"], 1),
    ("/hms/v1/agents/{id}/revoke", &["reason"], 1),
    ("/hms/v1/tokens", &["scopes", "reason", "services", "networks", "kind", "owner", "life_ms"], 2),
    ("/hms/v1/tokens/{id}/rotate", &["reason", "overlap_ms", "life_ms"], 1),
    ("/hms/v1/tokens/{id}/revoke", &["reason", "next"], 1),
    ("/hms/v1/notices/{id}/retry", &["reason", "next"], 0),
    ("/hms/v1/notices/test", &["receiver"], 1),
];

/// The document of these routes.
pub(crate) fn document(routes: &Routes) -> Value {
    let mut paths = Map::new();
    // Pages are for people and may change their addresses.
    let is_for_programs =
        |path: &str| ["/hms/", "/-/", "/metrics"].iter().any(|start| path.starts_with(start));
    for route in routes.all().iter().filter(|route| is_for_programs(route.path)) {
        let method = route.method.as_str().to_ascii_lowercase();
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            item.insert(method, operation(route.path, route.access, route.summary, &route.method));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "hmsops",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The tower's own resources. Failures are application/problem+json (RFC 9457).",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": super::authorize::COOKIE_NAME},
            },
            "schemas": {"Problem": problem()},
        },
    })
}

fn operation(path: &str, access: Access, summary: &str, method: &Method) -> Value {
    let text = json!({"type": "string"});
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> =
        names.map(|name| json!({"name": name, "in": "path", "required": true, "schema": text})).collect();
    if *method == Method::GET {
        let queries = QUERIES.iter().find(|(of, _)| *of == path).map_or(&[][..], |(_, names)| names);
        parameters.extend(queries.iter().map(|name| json!({"name": name, "in": "query", "schema": text})));
    }
    if *method == Method::DELETE {
        parameters.push(json!({"name": "reason", "in": "query", "schema": text}));
    }
    let creates = [
        "/hms/v1/deploy",
        "/hms/v1/deploy/group",
        "/hms/v1/login-links",
        "/hms/v1/tokens",
        "/hms/v1/breakglass",
    ];
    let creates = creates.contains(&path) || path.ends_with("/rotate") || path.ends_with("/join");
    let good = if creates && *method == Method::POST { "201" } else { "200" };
    let failure = json!({
        "description": "why it was not carried out",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    });
    let security = match access {
        Access::Open => json!([]),
        Access::Needs(scope) => json!([{"token": [scope.name()]}, {"session": [scope.name()]}]),
    };
    let mut operation = json!({
        "summary": summary,
        "parameters": parameters,
        "security": security,
        "responses": {good: {"description": "done"}, "default": failure},
    });
    let has_body = matches!(*method, Method::POST | Method::PUT);
    if let Some((_, fields, required)) = BODIES.iter().find(|(of, ..)| *of == path && has_body) {
        let properties: Map<String, Value> =
            fields.iter().map(|field| ((*field).to_owned(), json!({}))).collect();
        let schema = json!({
            "type": "object",
            "properties": properties,
            "required": fields.iter().take(*required).collect::<Vec<_>>(),
            "additionalProperties": false,
        });
        operation["requestBody"] =
            json!({"required": *required > 0, "content": {"application/json": {"schema": schema}}});
    }
    operation
}

fn problem() -> Value {
    let text = json!({"type": "string"});
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "instance"],
        "properties": {
            "type": text, "title": text, "status": {"type": "integer"}, "detail": text, "hint": text,
            "instance": text,
            "mistakes": {"type": "array", "items": {"type": "object", "properties": {
                "file": text, "severity": text, "line": {"type": "integer"}, "column": {"type": "integer"},
                "message": text, "hint": text,
            }}},
        },
    })
}
