//! `gateways:` of `hmsops.yaml`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hmsops_model::Millis;
use hmsops_model::gateway::{GatewaySettings, TlsCertificate};

use crate::address;
use crate::diagnostic::{Findings, shown};
use crate::fields::{Fields, Key, Shape};
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
    ],
};

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
    settings
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
fn path(entry: &Entry, prefix: &str, out: &mut Findings) -> Option<String> {
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
