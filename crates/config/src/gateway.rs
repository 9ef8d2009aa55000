//! `gateways:` of `hmsops.yaml`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hmsops_model::Millis;
use hmsops_model::gateway::{GatewaySettings, HaproxySettings, TlsCertificate};

use crate::address;
use crate::diagnostic::{Findings, shown};
use crate::fields::{Fields, Key, Shape};
use crate::guard;
use crate::scalar;
use crate::settings::{ITEMS_MAX, line};
use crate::tower::{GatewayConfig, days};
use crate::yaml::{Entry, Node, Value};

pub(crate) static GATEWAY: Shape = Shape {
    what: "a gateway",
    keys: &[
        Key::needed("listen", "listen: \"127.0.0.1:8080\"", "a gateway says where it listens"),
        Key::optional("tls", "tls: {cert: tls.crt, key: \"file:tls.key\"}"),
        Key::optional("plain", "plain: \"published on 127.0.0.1 by compose\""),
        Key::optional("tunnel_idle", "tunnel_idle: 1 h"),
        Key::optional("limits", "limits: {client_rate: 50/s}"),
        Key::optional("trusted_proxies", "trusted_proxies: [\"10.0.0.0/8\"]"),
        Key::optional("access_log", "access_log: /var/log/hmsops/access.log"),
        Key::optional("haproxy", HAPROXY_EXAMPLE),
    ],
};

const HAPROXY_EXAMPLE: &str =
    "haproxy: {socket: /run/haproxy/admin.sock, backend: portal, stable: srv_stable, canary: srv_canary}";

pub(crate) static HAPROXY: Shape = Shape {
    what: "an HAProxy",
    keys: &[
        Key::needed("socket", "socket: /run/haproxy/admin.sock", "HAProxy is driven by its runtime socket"),
        Key::needed("backend", "backend: portal", "the backend whose servers are driven"),
        Key::needed("stable", "stable: srv_stable", "the server that carries stable"),
        Key::needed("canary", "canary: srv_canary", "the server that carries the canary"),
        Key::optional("map", "map: /etc/haproxy/canary.map"),
    ],
};

/// The longest path of a unix socket (`sun_path` without its NUL, unix(7)).
const SOCKET_PATH_MAX: usize = 107;

pub(crate) static TLS: Shape = Shape {
    what: "TLS",
    keys: &[
        Key::needed("cert", "cert: tls.crt", "TLS needs a certificate"),
        Key::needed("key", "key: \"file:tls.key\"", "TLS needs a key"),
        Key::optional("hosts", "hosts: [portal.csac.gov]"),
    ],
};

const LISTEN: &str = "write `gateways: {public: {listen: \"127.0.0.1:8080\"}}`";

/// Certificates of one gateway, and hosts of one certificate.
const CERTIFICATES_MAX: usize = 256;

pub(crate) fn gateways(entry: &Entry, out: &mut Findings) -> Option<BTreeMap<String, GatewayConfig>> {
    let Value::Map(map) = &entry.value.value else {
        if !matches!(entry.value.value, Value::Refused) {
            let message = format!("`gateways` is {}, a map was expected", entry.value.form());
            out.error(entry.value.at, message, LISTEN);
        }
        return None;
    };
    if map.entries.len() > ITEMS_MAX {
        let message = format!("{} gateways are more than {ITEMS_MAX}", map.entries.len());
        out.error(entry.at, message, "leave some out");
        return None;
    }
    let mut gateways: BTreeMap<String, GatewayConfig> = BTreeMap::new();
    for entry in map.entries.iter().filter(|entry| !entry.key.starts_with("x-")) {
        if !address::is_label(&entry.key) {
            let message = format!("`{}` is not a gateway's name", shown(&entry.key));
            out.error(entry.at, message, address::GATEWAY_NAMES);
        }
        let Some(gateway) = gateway(entry, out) else { continue };
        if let Some((name, _)) = gateways.iter().find(|(_, other)| other.listen == gateway.listen) {
            let message = format!("gateway `{name}` listens on {} already", gateway.listen);
            out.error(entry.at, message, "give each gateway an address of its own");
        }
        gateways.insert(entry.key.clone(), gateway);
    }
    Some(gateways)
}

fn gateway(entry: &Entry, out: &mut Findings) -> Option<GatewayConfig> {
    if entry.value.is_null() {
        let message = format!("gateway `{}` has no keys", shown(&entry.key));
        out.error(entry.at, message, "add `listen: \"127.0.0.1:8080\"`");
        return None;
    }
    let fields = Fields::open(&entry.value, entry.at, &GATEWAY, out)?;
    let settings = settings(&fields, out);
    let plain = fields.get("plain").map(|entry| line(entry, out));
    if let (Some(entry), Some(_)) = (fields.get("plain"), fields.get("tls")) {
        let hint = "keep `tls`; `plain` says why there is none";
        out.error(entry.at, "a gateway speaks TLS or plain HTTP, not both", hint);
    }
    let at = fields.get("listen")?;
    let listen = address::listener(&at.value, out)?;
    beyond_loopback(listen, &at.value, &fields, out);
    Some(GatewayConfig { listen, plain: plain.flatten(), settings })
}

fn beyond_loopback(listen: SocketAddr, at: &Node, fields: &Fields<'_>, out: &mut Findings) {
    if listen.ip().is_loopback() || fields.get("tls").is_some() {
        return;
    }
    if fields.get("plain").is_some() {
        let hint = "make sure that nobody else can reach it";
        out.warning(at.at, format!("{listen} is beyond loopback and speaks plain HTTP"), hint);
        return;
    }
    let hint = "add `tls: {cert: tls.crt, key: \"file:tls.key\"}`, or say why plain HTTP is right: \
                `plain: \"published on 127.0.0.1 by compose\"`";
    out.error(at.at, format!("{listen} is beyond loopback, where only TLS is spoken"), hint);
}

/// What was refused has left an error behind, and with one there is no value.
fn settings(fields: &Fields<'_>, out: &mut Findings) -> GatewaySettings {
    let mut settings = GatewaySettings::default();
    if let Some(entry) = fields.get("tls") {
        settings.tls = tls(entry, out).unwrap_or_default();
    }
    if let Some(entry) = fields.get("tunnel_idle")
        && let Some(span) = scalar::span(entry, Millis::from_secs(1), days(1), out)
    {
        settings.tunnel_idle = span;
    }
    guard::guard(fields, &mut settings, out);
    if let Some(entry) = fields.get("haproxy") {
        settings.haproxy = haproxy(entry, out).map(Box::new);
        for key in ["tls", "tunnel_idle", "limits", "trusted_proxies", "access_log"] {
            if let Some(entry) = fields.get(key) {
                let hint =
                    format!("HAProxy carries the requests: set it in haproxy.cfg and leave `{key}` out");
                out.error(entry.at, format!("`{key}` is of a gateway that carries requests itself"), hint);
            }
        }
    }
    settings
}

/// HAProxy in the gateway's place.
fn haproxy(entry: &Entry, out: &mut Findings) -> Option<HaproxySettings> {
    let fields = Fields::open(&entry.value, entry.at, &HAPROXY, out)?;
    let name = |key: &str, out: &mut Findings| fields.get(key).and_then(|entry| haproxy_name(entry, out));
    let (backend, stable, canary) = (name("backend", out), name("stable", out), name("canary", out));
    if let (Some(entry), true) = (fields.get("canary"), stable.is_some() && stable == canary) {
        out.error(
            entry.value.at,
            "one server can't be both stable and canary",
            "name two servers of the backend",
        );
    }
    let socket = fields.get("socket").and_then(|entry| haproxy_socket(entry, out));
    let map = fields.get("map").map(|entry| haproxy_map(entry, out));
    Some(HaproxySettings {
        socket: socket?,
        backend: backend?,
        stable: stable?,
        canary: canary?,
        map: map.flatten(),
    })
}

/// What HAProxy takes for a proxy's or server's name (Configuration Manual, §4).
fn haproxy_name(entry: &Entry, out: &mut Findings) -> Option<String> {
    let example = format!("{}: portal", entry.key);
    let written = scalar::text(&entry.value, &format!("`{}`", entry.key), &example, out)?;
    let is_named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if written.is_empty() || written.len() > 200 || !written.chars().all(is_named) {
        let message = format!("`{}` is no name in haproxy.cfg", shown(written));
        out.error(entry.value.at, message, "use 1 to 200 of `A-Z`, `a-z`, `0-9`, `-`, `_`, `.` and `:`");
        return None;
    }
    Some(written.to_owned())
}

/// A path, or an address on loopback: whoever reaches it rules the HAProxy.
fn haproxy_socket(entry: &Entry, out: &mut Findings) -> Option<String> {
    let example = "socket: /run/haproxy/admin.sock";
    let written = scalar::text(&entry.value, "`socket`", example, out)?;
    if let Ok(address) = written.parse::<SocketAddr>() {
        if !address.ip().is_loopback() {
            let hint = "whoever reaches it rules the HAProxy: use a unix socket, or 127.0.0.1";
            out.error(entry.value.at, format!("{address} is beyond loopback"), hint);
            return None;
        }
    } else if !written.starts_with('/')
        || written.len() > SOCKET_PATH_MAX
        || written.chars().any(char::is_control)
    {
        let hint = format!("write a path from `/`, at most {SOCKET_PATH_MAX} bytes, or `127.0.0.1:9999`");
        out.error(entry.value.at, format!("`{}` is no socket of HAProxy's", shown(written)), hint);
        return None;
    }
    Some(written.to_owned())
}

/// A map's name goes into a command as it is: no blanks and nothing that ends one.
fn haproxy_map(entry: &Entry, out: &mut Findings) -> Option<String> {
    let example = "map: /etc/haproxy/canary.map";
    let written = scalar::text(&entry.value, "`map`", example, out)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '@');
    if written.is_empty() || written.len() > 1000 || !written.chars().all(is_plain) {
        let hint = format!("write it as in haproxy.cfg, `{example}`, without blanks");
        out.error(entry.value.at, format!("`{}` is no file name of a map", shown(written)), hint);
        return None;
    }
    Some(written.to_owned())
}

/// One certificate, or a list of them.
fn tls(entry: &Entry, out: &mut Findings) -> Option<Vec<TlsCertificate>> {
    if !matches!(entry.value.value, Value::List(_)) {
        return Some(vec![certificate(&entry.value, entry, out)?]);
    }
    let nodes = scalar::list(entry, "tls: [{cert: tls.crt, key: \"file:tls.key\"}]", out)?;
    if nodes.len() > CERTIFICATES_MAX {
        let message = format!("{} certificates are more than {CERTIFICATES_MAX}", nodes.len());
        out.error(entry.at, message, "leave some out");
        return None;
    }
    scalar::each(nodes, |node| certificate(node, entry, out))
}

fn certificate(node: &Node, entry: &Entry, out: &mut Findings) -> Option<TlsCertificate> {
    let at = if matches!(entry.value.value, Value::List(_)) { node.at } else { entry.at };
    let fields = Fields::open(node, at, &TLS, out)?;
    let hosts = match fields.get("hosts") {
        Some(entry) => {
            let nodes = scalar::list(entry, "hosts: [portal.csac.gov]", out)?;
            if nodes.len() > CERTIFICATES_MAX {
                let message = format!("{} hosts are more than {CERTIFICATES_MAX}", nodes.len());
                out.error(entry.at, message, "leave some out");
                return None;
            }
            scalar::each(nodes, |node| address::host_or_any_label(node, out))?
        }
        None => Vec::new(),
    };
    let cert = fields.get("cert").and_then(|entry| path(entry, "", out));
    let key = fields.get("key").and_then(|entry| path(entry, "file:", out));
    Some(TlsCertificate { hosts, cert: cert?, key: key? })
}

/// A file's path after `prefix`.
pub(crate) fn path(entry: &Entry, prefix: &str, out: &mut Findings) -> Option<String> {
    let example = format!("{}: \"{prefix}tls.{}\"", entry.key, if prefix.is_empty() { "crt" } else { "key" });
    let written = scalar::text(&entry.value, &format!("`{}`", entry.key), &example, out)?;
    let path = written.strip_prefix(prefix).unwrap_or_default();
    if path.is_empty() || path.len() > 4096 || path.trim() != path || path.chars().any(char::is_control) {
        // Whoever pastes the key itself shall not find it in a log.
        out.hide(entry.value.at);
        out.error(entry.value.at, format!("`{}` names no file", entry.key), format!("write `{example}`"));
        return None;
    }
    Some(path.to_owned())
}
