//! `dev/cd/services.yaml` → [`ServiceSpec`]s.

use std::collections::BTreeMap;

use hmsops_model::ServiceName;
use hmsops_model::release::HealthCheck;
use hmsops_model::service::{BadRule, Driver, Identity, Protocol, RouteSpec, ServiceSpec};

use crate::address;
use crate::diagnostic::{Checked, Findings, Refused, Span, shown};
use crate::driver;
use crate::fields::{Fields, Key, Shape};
use crate::freeze;
use crate::health;
use crate::nearest::nearest;
use crate::scalar;
use crate::yaml::{self, Entry, Map, Node, Value};

pub(crate) static SERVICES: Shape = Shape {
    what: "a services file",
    keys: &[Key::needed("services", "services: {csac-portal: {…}}", "the services stand below it")],
};

pub(crate) static SERVICE: Shape = Shape {
    what: "a service",
    keys: &[
        Key::optional("system", "system: csac"),
        Key::optional("owner", "owner: oncall@csac.gov"),
        Key::needed("driver", "driver: process", "a service says how it runs, `process` or `external`"),
        Key::optional("image", "image: {dir: \"/srv/csac-portal/{tag}\"}"),
        Key::optional("run", "run: [\"./portal\", \"--port\", \"{port}\"]"),
        Key::optional("ports", "ports: {http: auto}"),
        Key::optional("env", "env: {MODE: production}"),
        Key::optional("secrets", "secrets: {DB_PASSWORD: \"file:/etc/portal/db.password\"}"),
        Key::optional("isolate", "isolate: netns"),
        Key::optional("upstreams", "upstreams: {\"1.7.3\": [\"10.0.0.4:8080\"]}"),
        Key::optional("route", "route: {gateway: public, host: portal.csac.gov}"),
        Key::optional("identity", "identity: cookie:session"),
        Key::optional("sticky", "sticky: true"),
        Key::optional("bad", "bad: [5xx, timeout]"),
        Key::optional("stable", "stable: \"1.7.3\""),
        Key::optional("freeze", "freeze: [{weekly: Fri 16:00 – Mon 08:00, time_zone: America/New_York}]"),
        Key::optional("rollback_window", "rollback_window: {versions: 3, age: 7d}"),
        Key::optional("capacity", "capacity: 400 req/s"),
        Key::optional("allow_private", "allow_private: [10.0.0.0/8]"),
        Key::optional("health", "health: [{path: /health, threshold: 3 fails/60 s}]"),
    ],
};

pub(crate) static ROUTE: Shape = Shape {
    what: "a route",
    keys: &[
        Key::needed("gateway", "gateway: public", "a route says through which gateway of hmsops.yaml"),
        Key::optional("host", "host: portal.csac.gov"),
        Key::optional("protocol", "protocol: h2c"),
    ],
};

pub(crate) static BAD: Shape = Shape {
    what: "a bad answer",
    keys: &[
        Key::optional("path", "path: /login"),
        Key::needed("status", "status: [401, 403]", "a bad answer is told by its status"),
    ],
};

/// Services of one file.
const SERVICES_MAX: usize = 1000;

/// Bad answers that one service may declare, and statuses of each.
const BAD_RULES_MAX: usize = 64;

/// Reads the services of a team.
pub fn parse_services(text: &str) -> Checked<Vec<ServiceSpec>> {
    let mut out = Findings::new(text);
    let root = yaml::parse_filled(text, false, "write `services:` and each service below it", &mut out);
    let specs = root.and_then(|root| services(&root, &mut out));
    out.finish(specs)
}

fn services(root: &Node, out: &mut Findings) -> Option<Vec<ServiceSpec>> {
    if let Value::Map(map) = &root.value
        && !map.disturbed
        && !map.entries.iter().any(|entry| nearest(&entry.key, ["services"]).is_some())
    {
        let hint = "write `services:` in a line of its own, and each service below it, indented";
        out.error(root.at, "`services:` is missing above the services", hint);
        return None;
    }
    let fields = Fields::open(root, root.at, &SERVICES, out)?;
    let entry = fields.get("services")?;
    let Value::Map(map) = &entry.value.value else {
        if !matches!(entry.value.value, Value::Refused) {
            let message = format!("`services` is {}, a map was expected", entry.value.form());
            out.error(entry.value.at, message, "write each service's name, a colon, and its keys below it");
        }
        return None;
    };
    let count = map.entries.len();
    if count > SERVICES_MAX {
        out.error(entry.at, format!("{count} services are more than {SERVICES_MAX}"), "split the file");
        return None;
    }
    let named: Vec<&Entry> = map.entries.iter().filter(|entry| !entry.key.starts_with("x-")).collect();
    let specs: Vec<Option<ServiceSpec>> = named.iter().map(|entry| service(entry, out)).collect();
    routes_apart(&named, &specs, out);
    specs.into_iter().collect()
}

/// Two services behind one gateway need two hosts.
fn routes_apart(named: &[&Entry], specs: &[Option<ServiceSpec>], out: &mut Findings) {
    let mut taken: BTreeMap<(&str, Option<&str>), &ServiceName> = BTreeMap::new();
    for (entry, spec) in named.iter().zip(specs) {
        let Some(spec) = spec else { continue };
        let Some(route) = &spec.route else { continue };
        let place = (route.gateway.as_str(), route.host.as_deref());
        match taken.get(&place) {
            Some(first) => {
                let host =
                    route.host.as_deref().map_or("any host".to_owned(), |host| format!("host `{host}`"));
                let message = format!("{host} on gateway `{}` belongs to `{first}` already", route.gateway);
                out.error(
                    route_at(entry).unwrap_or(entry.at),
                    message,
                    "give each service a `host:` of its own",
                );
            }
            None => {
                taken.insert(place, &spec.name);
            }
        }
    }
}

fn route_at(service: &Entry) -> Option<Span> {
    let Value::Map(Map { entries, .. }) = &service.value.value else { return None };
    entries.iter().find(|entry| entry.key == "route").map(|entry| entry.at)
}

fn service(entry: &Entry, out: &mut Findings) -> Option<ServiceSpec> {
    let name = ServiceName::new(entry.key.clone());
    if is_stray_key(entry) {
        let message =
            format!("`{}` is a key of a service, and stands where a service's name should", entry.key);
        out.strange_key(
            &entry.key,
            entry.at,
            message,
            "indent it as far as the service's other keys".to_owned(),
        );
        return None;
    }
    if let Err(error) = &name {
        let message = format!("`{}` is not a service name", shown(&entry.key));
        out.error(entry.at, message, format!("use {}", error.expected));
    }
    if entry.value.is_null() {
        out.error(
            entry.at,
            format!("`{}` has no keys", shown(&entry.key)),
            "indent what belongs to it, `driver:` first",
        );
        return None;
    }
    let fields = Fields::open(&entry.value, entry.at, &SERVICE, out)?;
    let driver = driver::driver(entry, &fields, out);
    let system = match fields.get("system") {
        Some(entry) => system(entry, out),
        None => Some(entry.key.split('-').next().unwrap_or("").to_owned()),
    };
    let owner = optional(fields.get("owner"), |entry| scalar::mail(&entry.value, out));
    let route = optional(fields.get("route"), |entry| route(entry, out));
    let (identity, sticky) = identity_and_sticky(&fields, out)?;
    let bad = match fields.get("bad") {
        Some(entry) => bad(entry, out),
        None => Some(BadRule::defaults()),
    };
    let stable = optional(fields.get("stable"), |entry| stable(entry, driver.as_ref(), out));
    let health: Option<Vec<HealthCheck>> = match fields.get("health") {
        Some(entry) => health::checks(entry, out),
        None => Some(Vec::new()),
    };
    let freeze = optional(fields.get("freeze"), |entry| freeze::freezes(entry, out));
    let window = optional(fields.get("rollback_window"), |entry| freeze::rollback_window(entry, out));
    let private = optional(fields.get("allow_private"), |entry| address::networks(entry, out));
    let capacity = optional(fields.get("capacity"), |entry| freeze::capacity(entry, out));
    Some(ServiceSpec {
        name: name.ok()?,
        system: system?,
        owner: owner.ok()?,
        driver: driver?,
        route: route.ok()?,
        identity,
        sticky,
        bad: bad?,
        stable: stable.ok()?,
        health: health?,
        freeze: freeze.ok()?.unwrap_or_default(),
        rollback_window: window.ok()?.unwrap_or_default(),
        capacity_milli: capacity.ok()?,
        allow_private: private.ok()?.unwrap_or_default(),
    })
}

/// A service may be named like a key; but then it is a map that says its driver.
fn is_stray_key(entry: &Entry) -> bool {
    let is_service =
        matches!(&entry.value.value, Value::Map(map) if map.entries.iter().any(|e| e.key == "driver"));
    !is_service && SERVICE.names().any(|name| name == entry.key)
}

/// A key that may be left out.
fn optional<'n, T>(
    entry: Option<&'n Entry>,
    read: impl FnOnce(&'n Entry) -> Option<T>,
) -> Result<Option<T>, Refused> {
    entry.map(|entry| read(entry).ok_or(Refused)).transpose()
}

fn system(entry: &Entry, out: &mut Findings) -> Option<String> {
    let written = scalar::text(&entry.value, "`system`", "system: csac", out)?;
    match ServiceName::new(written) {
        Ok(name) => Some(name.into()),
        Err(error) => {
            out.error(
                entry.value.at,
                format!("`{}` is not a system's name", shown(written)),
                format!("use {}", error.expected),
            );
            None
        }
    }
}

fn route(entry: &Entry, out: &mut Findings) -> Option<RouteSpec> {
    let fields = Fields::open(&entry.value, entry.at, &ROUTE, out)?;
    let gateway = fields.get("gateway").and_then(|entry| address::gateway_name(&entry.value, out));
    let host = optional(fields.get("host"), |entry| address::host(&entry.value, out));
    let protocol = fields.get("protocol").map_or(Some(Protocol::Http1), |entry| protocol(entry, out));
    Some(RouteSpec { gateway: gateway?, host: host.ok()?, protocol: protocol? })
}

fn protocol(entry: &Entry, out: &mut Findings) -> Option<Protocol> {
    match scalar::text(&entry.value, "`protocol`", "protocol: h2c", out)? {
        "http1" => Some(Protocol::Http1),
        "h2c" => Some(Protocol::H2c),
        other => {
            let message = format!("`{}` is not a protocol that versions are asked in", shown(other));
            out.error(entry.value.at, message, "use `http1`, or `h2c` for gRPC");
            None
        }
    }
}

fn identity_and_sticky(fields: &Fields<'_>, out: &mut Findings) -> Option<(Identity, bool)> {
    let identity = match fields.get("identity") {
        Some(entry) => identity(entry, out),
        None => Some(Identity::Request),
    };
    let Some(entry) = fields.get("sticky") else {
        return identity.map(|identity| (identity.clone(), identity != Identity::Request));
    };
    let sticky = scalar::flag(entry, out)?;
    let identity = identity?;
    if sticky && identity == Identity::Request {
        let hint = "say who a client is, `identity: cookie:session`, or leave `sticky` out";
        out.error(entry.at, "a service cannot be sticky when each request counts for itself", hint);
        return None;
    }
    Some((identity, sticky))
}

fn identity(entry: &Entry, out: &mut Findings) -> Option<Identity> {
    const HINT: &str = "use `cookie:NAME`, `header:NAME`, `xff` or `request`";
    let written = scalar::text(&entry.value, "`identity`", "identity: cookie:session", out)?;
    let (kind, name) = match written.split_once(':') {
        Some((kind, name)) => (kind, Some(name)),
        None => (written, None),
    };
    match (kind, name) {
        ("xff", None) => Some(Identity::Xff),
        ("request", None) => Some(Identity::Request),
        ("cookie" | "header", Some(name)) if is_token(name) => Some(match kind {
            "cookie" => Identity::Cookie(name.to_owned()),
            _ => Identity::Header(name.to_owned()),
        }),
        ("cookie" | "header", Some(name)) => {
            let at = entry.value.part(kind.len() + 1, name.chars().count(), out);
            let hint = "use letters, digits, `-` and `_`";
            out.error(at, format!("`{}` is not the name of a {kind}", shown(name)), hint);
            None
        }
        ("cookie" | "header", None) => {
            out.error(
                entry.value.at,
                format!("`{kind}` does not say which {kind}"),
                format!("write `identity: {kind}:NAME`"),
            );
            None
        }
        _ => {
            let hint = match nearest(kind, ["cookie", "header", "xff", "request"]) {
                Some(word) if word != kind => format!("did you mean `{word}`?"),
                _ => HINT.to_owned(),
            };
            out.error(entry.value.at, format!("`{}` does not tell who a client is", shown(written)), hint);
            None
        }
    }
}

/// The characters of a name in HTTP (RFC 9110 `token`, RFC 6265 `cookie-name`).
fn is_token(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn bad(entry: &Entry, out: &mut Findings) -> Option<Vec<BadRule>> {
    let nodes = scalar::list(entry, "bad: [5xx, timeout]", out)?;
    if nodes.len() > BAD_RULES_MAX {
        out.error(
            entry.at,
            format!("{} kinds of bad answers are more than {BAD_RULES_MAX}", nodes.len()),
            "leave some out",
        );
        return None;
    }
    scalar::each(nodes, |node| bad_rule(node, out))
}

fn bad_rule(node: &Node, out: &mut Findings) -> Option<BadRule> {
    const FORMS: &str = "use `5xx`, `timeout` or `{path: /login, status: [401, 403]}`";
    if let Value::Map(_) = &node.value {
        let fields = Fields::open(node, node.at, &BAD, out)?;
        let path = optional(fields.get("path"), |entry| health::path(entry, out));
        let status = fields.get("status").and_then(|entry| statuses(entry, out));
        return Some(BadRule::Answer { path: path.ok()?, status: status? });
    }
    match scalar::text(node, "a bad answer", "5xx", out)? {
        "5xx" => Some(BadRule::Status5xx),
        "timeout" => Some(BadRule::Timeout),
        other => {
            let hint = match nearest(other, ["timeout"]) {
                Some(word) => format!("did you mean `{word}`?"),
                None => FORMS.to_owned(),
            };
            out.error(node.at, format!("`{}` is not a kind of bad answer", shown(other)), hint);
            None
        }
    }
}

/// One status or a list of them.
fn statuses(entry: &Entry, out: &mut Findings) -> Option<Vec<u16>> {
    let nodes = match &entry.value.value {
        Value::List(_) => scalar::list(entry, "status: [401, 403]", out)?,
        _ => std::slice::from_ref(&entry.value),
    };
    if nodes.len() > BAD_RULES_MAX {
        out.error(
            entry.at,
            format!("{} statuses are more than {BAD_RULES_MAX}", nodes.len()),
            "leave some out",
        );
        return None;
    }
    scalar::each(nodes, |node| {
        let written = scalar::text(node, "a status", "401", out)?;
        let status = Some(written).filter(|text| text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit()));
        let status = status.and_then(|text| text.parse().ok()).filter(|status| (100..=599).contains(status));
        if status.is_none() {
            out.error(
                node.at,
                format!("`{}` is not an HTTP status", shown(written)),
                "use 100 to 599: `[401, 403]`",
            );
        }
        status
    })
}

fn stable(entry: &Entry, driver: Option<&Driver>, out: &mut Findings) -> Option<hmsops_model::Version> {
    let version = scalar::version(&entry.value, out)?;
    if let Some(Driver::External { upstreams }) = driver
        && !upstreams.contains_key(&version)
    {
        let message = format!("the stable version `{version}` has no upstreams");
        out.error(
            entry.value.at,
            message,
            format!("add it: `upstreams: {{\"{version}\": [\"HOST:PORT\"]}}`"),
        );
        return None;
    }
    Some(version)
}
