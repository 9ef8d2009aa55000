//! Which ports an instance gets, and where their numbers are written into its command.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use super::folder::{self, Folder};
use super::{ProcessError, StartSpec, cannot_start, named};
use crate::port;
use crate::shim::Spec;

/// The port that `{port}` and `$PORT` stand for.
const MAIN: &str = "http";
/// So many free ports in a row that are promised to others mean that something is wrong.
const TRIES_MAX: usize = 200;

/// A number for each name. Blocking: binds each port for a moment to see that it is free.
pub(super) fn choose(
    root: &Path,
    folder: &Folder,
    spec: &StartSpec,
) -> Result<BTreeMap<String, u16>, ProcessError> {
    let mut taken: BTreeSet<u16> = folder::ports_in_use(root, folder)?.into_iter().collect();
    let mut ports = BTreeMap::new();
    // Fixed ones first, so that no automatic one gets in their way.
    for (name, port) in spec.ports.iter().filter_map(|(name, port)| port.map(|port| (name, port))) {
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        if let Err(error) = bound {
            let who = port::holder(port);
            let what = match (error.kind(), who) {
                (std::io::ErrorKind::AddrInUse, Some(who)) => {
                    format!("127.0.0.1:{port} (port `{name}`) is taken by {who}; use `{name}: auto`")
                }
                _ => format!("127.0.0.1:{port} (port `{name}`) cannot be used: {error}; use `{name}: auto`"),
            };
            return Err(cannot_start(&named(&spec.instance), &what));
        }
        if ports.values().any(|other| *other == port) {
            return Err(cannot_start(&named(&spec.instance), &format!("port {port} is given to two names")));
        }
        taken.insert(port);
        ports.insert(name.clone(), port);
    }
    for name in spec.ports.iter().filter(|(_, port)| port.is_none()).map(|(name, _)| name) {
        let port = free_port(&taken).map_err(|what| {
            cannot_start(&named(&spec.instance), &format!("no free port for `{name}`: {what}"))
        })?;
        taken.insert(port);
        ports.insert(name.clone(), port);
    }
    Ok(ports)
}

fn free_port(taken: &BTreeSet<u16>) -> Result<u16, String> {
    // Held until one is found, so that the kernel does not offer the same again.
    let mut held = Vec::new();
    for _ in 0..TRIES_MAX {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        if !taken.contains(&port) {
            return Ok(port);
        }
        held.push(listener);
    }
    Err(format!("the first {TRIES_MAX} that the system offered are promised to other instances"))
}

/// The shim's spec: ports written into command and environment, the variables that every service gets added.
pub(super) fn fill_in(spec: StartSpec, ports: BTreeMap<String, u16>) -> Result<Spec, ProcessError> {
    let StartSpec { instance, image_dir, run, env, secrets, stop_grace, .. } = spec;
    let wrong = |what: String| cannot_start(&named(&instance), &what);
    if run.is_empty() {
        return Err(wrong("its command `run` is empty".into()));
    }
    if let Some(text) = run.iter().chain(env.values()).chain(env.keys()).find(|text| text.contains('\0')) {
        return Err(wrong(format!("`{}` contains a zero byte", text.escape_debug())));
    }
    if let Some(name) = env.keys().chain(secrets.keys()).find(|name| name.is_empty() || name.contains('=')) {
        return Err(wrong(format!("`{name}` is no name of an environment variable")));
    }
    let run = run.iter().map(|word| fill(word, &ports)).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    let mut told: BTreeMap<String, String> =
        ports.iter().map(|(name, port)| (variable(name), port.to_string())).collect();
    told.insert("HMS_SERVICE".into(), instance.service.to_string());
    told.insert("HMS_VERSION".into(), instance.version.to_string());
    for (name, value) in &env {
        told.insert(name.clone(), fill(value, &ports).map_err(wrong)?);
    }
    // The shim runs elsewhere than the tower.
    let dir = std::path::absolute(&image_dir).unwrap_or(image_dir);
    let secrets = secrets.into_keys().collect();
    Ok(Spec { secrets, ..Spec::new(instance, run, dir, told, ports, stop_grace) })
}

/// `http` is `PORT`, `metrics` is `METRICS_PORT`.
fn variable(name: &str) -> String {
    if name == MAIN {
        return "PORT".into();
    }
    let mut variable: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    variable.push_str("_PORT");
    variable
}

/// Replaces `{port}` and `{port:NAME}`; any other brace stays as it is.
fn fill(text: &str, ports: &BTreeMap<String, u16>) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("{port") {
        let (before, from) = rest.split_at(start);
        filled.push_str(before);
        let after = &from["{port".len()..];
        let Some((name, len)) = placeholder(after) else {
            filled.push_str("{port");
            rest = after;
            continue;
        };
        let Some(port) = ports.get(name) else {
            let known: Vec<String> = ports.keys().map(|name| format!("`{name}`")).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(format!("`{text}` asks for port `{name}`, its ports are: {known}"));
        };
        filled.push_str(&port.to_string());
        rest = &after[len..];
    }
    filled.push_str(rest);
    Ok(filled)
}

/// After `{port`: the name that is meant, and how many bytes it takes up to and with the brace.
fn placeholder(after: &str) -> Option<(&str, usize)> {
    if after.starts_with('}') {
        return Some((MAIN, 1));
    }
    let name = &after.strip_prefix(':')?[..after.find('}')?.checked_sub(1)?];
    Some((name, name.len() + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_where_their_names_stand() {
        let ports = BTreeMap::from([("http".to_owned(), 8080), ("metrics".to_owned(), 9100)]);
        for (text, expected) in [
            ("--port={port}", "--port=8080"),
            ("{port}:{port:metrics}", "8080:9100"),
            ("{port:http}{", "8080{"),
            ("{ports} {port:metrics", "{ports} {port:metrics"),
            ("{}{tag} ü{port}ü", "{}{tag} ü8080ü"),
            ("{port", "{port"),
            ("{port:", "{port:"),
        ] {
            assert_eq!(fill(text, &ports).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(
            fill("{port:admin}", &ports).unwrap_err(),
            "`{port:admin}` asks for port `admin`, its ports are: `http`, `metrics`"
        );
        assert!(fill("{port:}", &ports).is_err());
        assert_eq!((variable("http").as_str(), variable("grpc-web").as_str()), ("PORT", "GRPC_WEB_PORT"));
    }

    #[test]
    fn a_port_that_is_promised_is_not_offered_again() {
        let mut taken = BTreeSet::new();
        for _ in 0..50 {
            assert!(taken.insert(free_port(&taken).unwrap()));
        }
    }
}
