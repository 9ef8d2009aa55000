//! How a service's versions run: `driver:` and the keys that belong to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hmsops_model::Version;
use hmsops_model::network::{self, Network, Special};
use hmsops_model::service::Driver;

use crate::address;
use crate::diagnostic::{Findings, Span, shown};
use crate::fields::{Fields, Key, Shape};
use crate::nearest::nearest;
use crate::scalar;
use crate::yaml::{Entry, Map, Node, Value};

pub(crate) static IMAGE: Shape = Shape {
    what: "an image",
    keys: &[
        Key::optional("dir", "dir: \"/srv/csac-portal/{tag}\""),
        Key::optional("oci", "oci: folder"),
        Key::optional("registry", "registry: name"),
    ],
};

/// Keys that only one driver reads.
const OF_PROCESS: [&str; 5] = ["image", "run", "ports", "env", "isolate"];
const OF_EXTERNAL: [&str; 1] = ["upstreams"];

/// Words of a command, ports, variables, versions, addresses: more than anyone writes.
const ITEMS_MAX: usize = 256;

/// The longest word of a command, and value of a variable, in bytes.
const WORD_BYTES_MAX: usize = 4096;

/// Reads the driver of a service.
pub(crate) fn driver(service: &Entry, fields: &Fields<'_>, out: &mut Findings) -> Option<Driver> {
    let entry = fields.get("driver")?;
    let written = scalar::text(&entry.value, "`driver`", "driver: process", out)?;
    let foreign = match written {
        "process" => &OF_EXTERNAL[..],
        "external" => &OF_PROCESS[..],
        "docker" | "kubernetes" | "systemd" => {
            let hint = "use `driver: process` here, or `driver: external` for what something else runs";
            out.error(entry.value.at, format!("the driver `{written}` is not built yet"), hint);
            return None;
        }
        other => {
            let hint = match nearest(other, ["process", "external", "docker", "kubernetes", "systemd"]) {
                Some(word) => format!("did you mean `{word}`?"),
                None => "use `process` or `external`".to_owned(),
            };
            out.error(entry.value.at, format!("`{}` is not a driver", shown(other)), hint);
            return None;
        }
    };
    let strangers: Vec<&Entry> = foreign.iter().filter_map(|name| fields.get(name)).collect();
    if let Some(first) = strangers.first() {
        // A key given twice often means that the line between two services was lost: that is said there.
        if !fields.disturbed {
            let names: Vec<String> = strangers.iter().map(|entry| format!("`{}`", entry.key)).collect();
            let verb = if names.len() == 1 { "does" } else { "do" };
            let message = format!("{} {verb} not go with `driver: {written}`", names.join(", "));
            let other = if written == "process" { "external" } else { "process" };
            out.error(first.at, message, format!("take it out, or use `driver: {other}`"));
        }
        return None;
    }
    if written == "process" { process(service, fields, out) } else { external(service, fields, out) }
}

fn needed<'n>(
    service: &Entry,
    fields: &Fields<'n>,
    key: &str,
    why: &str,
    out: &mut Findings,
) -> Option<&'n Entry> {
    let entry = fields.get(key);
    // An empty value or a strange key has been said already.
    let given =
        matches!(&service.value.value, Value::Map(map) if map.entries.iter().any(|entry| entry.key == key));
    if entry.is_none() && !given && !fields.disturbed {
        let example = crate::service::SERVICE.keys.iter().find(|known| known.name == key);
        let hint = format!("add `{}`", example.map_or(key, |known| known.example));
        out.missing_key(key, service.at, format!("`{key}` is missing: {why}"), hint);
    }
    entry
}

fn process(service: &Entry, fields: &Fields<'_>, out: &mut Findings) -> Option<Driver> {
    let image = needed(service, fields, "image", "a process says where its versions lie", out);
    let image_dir = image.and_then(|entry| image_dir(entry, out));
    let ports = match fields.get("ports") {
        Some(entry) => ports(entry, out),
        None => Some(BTreeMap::from([("http".to_owned(), None)])),
    };
    let run = needed(service, fields, "run", "a process says what to start", out);
    let run = run.and_then(|entry| run_command(entry, ports.as_ref(), out));
    let env = match fields.get("env") {
        Some(entry) => env(entry, ports.as_ref(), out),
        None => Some(BTreeMap::new()),
    };
    if let Some(entry) = fields.get("isolate") {
        let hint = "leave it out and let ports be `auto`";
        out.error(entry.at, "`isolate` is not built yet", hint);
        return None;
    }
    Some(Driver::Process { image_dir: image_dir?, run: run?, ports: ports?, env: env? })
}

fn image_dir(entry: &Entry, out: &mut Findings) -> Option<String> {
    const EXAMPLE: &str = "write `image: {dir: \"/srv/csac-portal/{tag}\"}`";
    if let Value::Scalar { text, .. } = &entry.value.value {
        out.error(entry.value.at, format!("the image `{}` does not say what it is", shown(text)), EXAMPLE);
        return None;
    }
    let fields = Fields::open(&entry.value, entry.at, &IMAGE, out)?;
    for kind in ["oci", "registry"] {
        if let Some(entry) = fields.get(kind) {
            out.error(entry.at, format!("images from `{kind}` are not built yet"), EXAMPLE);
            return None;
        }
    }
    let Some(entry) = fields.get("dir") else {
        if !fields.disturbed {
            out.error(entry.at, "the image does not say where it lies", EXAMPLE);
        }
        return None;
    };
    let written = scalar::text(&entry.value, "`dir`", "dir: \"/srv/csac-portal/{tag}\"", out)?;
    let wrong = if written.len() > WORD_BYTES_MAX || written.chars().any(char::is_control) {
        format!("`{}` is not a folder", shown(written))
    } else if !written.contains("{tag}") {
        format!("the folder `{}` is the same for every version", shown(written))
    } else {
        return Some(written.to_owned());
    };
    out.error(entry.value.at, wrong, "put `{tag}` where the version stands: `/srv/csac-portal/{tag}`");
    None
}

/// `auto` for each; a fixed port would leave no room for a canary beside stable.
fn ports(entry: &Entry, out: &mut Findings) -> Option<BTreeMap<String, Option<u16>>> {
    let map = words(entry, "ports: {http: auto, metrics: auto}", out)?;
    let mut ports = BTreeMap::from([("http".to_owned(), None)]);
    let mut sound = true;
    for port in &map.entries {
        let name_fits = port.key.len() <= 32
            && port.key.starts_with(|c: char| c.is_ascii_lowercase())
            && port.key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !name_fits {
            let hint = "use 1 to 32 of a-z, 0-9 and `_`, starting with a letter: it becomes `$NAME_PORT`";
            out.error(port.at, format!("`{}` is not a port's name", shown(&port.key)), hint);
            sound = false;
        }
        let what = format!("the port `{}`", shown(&port.key));
        match scalar::text(&port.value, &what, &format!("{}: auto", port.key), out) {
            Some("auto") => {
                ports.insert(port.key.clone(), None);
            }
            Some(other) if other.parse::<u16>().is_ok_and(|port| port > 0) => {
                let hint = "use `auto`; a fixed port needs `isolate: netns`, which is not built yet";
                out.error(port.value.at, format!("port {other} cannot be had by two versions at once"), hint);
                sound = false;
            }
            Some(other) => {
                out.error(port.value.at, format!("`{}` is not a port", shown(other)), "use `auto`");
                sound = false;
            }
            None => sound = false,
        }
    }
    sound.then_some(ports)
}

fn run_command(
    entry: &Entry,
    ports: Option<&BTreeMap<String, Option<u16>>>,
    out: &mut Findings,
) -> Option<Vec<String>> {
    const EXAMPLE: &str = "run: [\"./portal\", \"--port\", \"{port}\"]";
    let nodes = scalar::list(entry, EXAMPLE, out)?;
    if nodes.len() > ITEMS_MAX {
        out.error(
            entry.at,
            format!("a command of {} words is longer than {ITEMS_MAX}", nodes.len()),
            "put them into a script",
        );
        return None;
    }
    scalar::each(nodes, |node| {
        // An empty word is a word, also of a command; only nothing at all is none.
        let word = match &node.value {
            Value::Map(_) => {
                let hint = format!("quote it, because `{{` opens a map: `{EXAMPLE}`");
                out.error(node.at, "a word of `run` is a map", hint);
                return None;
            }
            Value::Scalar { text, plain: false } if text.is_empty() => return Some(String::new()),
            _ => scalar::text(node, "a word of `run`", EXAMPLE, out)?,
        };
        if word.len() > WORD_BYTES_MAX || word.contains('\0') {
            out.error(
                node.at,
                format!("`{}` cannot be a word of a command", shown(word)),
                "use at most 4096 bytes, none of them zero",
            );
            return None;
        }
        placeholders(node, word, ports, out)?;
        Some(word.to_owned())
    })
}

/// `{port}` and `{port:NAME}` must be known; other braces are the command's own.
fn placeholders(
    node: &Node,
    word: &str,
    ports: Option<&BTreeMap<String, Option<u16>>>,
    out: &mut Findings,
) -> Option<()> {
    let mut sound = Some(());
    for (start, _) in
        word.match_indices('{').filter(|(start, _)| !word.get(..*start).unwrap_or("").ends_with('$'))
    {
        let Some((inner, _)) = word.get(start + 1..).and_then(|rest| rest.split_once('}')) else { continue };
        let at = |out: &Findings| {
            node.part(word.get(..start).unwrap_or("").chars().count(), inner.chars().count() + 2, out)
        };
        let (kind, name) = inner.split_once(':').map_or((inner, None), |(kind, name)| (kind, Some(name)));
        match (kind, name) {
            ("port", None) => {}
            ("port", Some(name)) => {
                if let Some(ports) = ports.filter(|ports| !ports.contains_key(name)) {
                    let hint = match nearest(name, ports.keys().map(String::as_str)) {
                        Some(near) => format!("did you mean `{{port:{near}}}`?"),
                        None => format!("add it: `ports: {{{}: auto}}`", shown(name)),
                    };
                    out.error(at(out), format!("the port `{}` is not among `ports`", shown(name)), hint);
                    sound = None;
                }
            }
            (kind, _) if kind == "tag" || nearest(kind, ["port"]).is_some() => {
                let hint = "`{port}` and `{port:NAME}` are known; the command runs in its version's folder";
                out.error(at(out), format!("`{{{}}}` stands for nothing in a command", shown(inner)), hint);
                sound = None;
            }
            _ => {}
        }
    }
    sound
}

fn env(
    entry: &Entry,
    ports: Option<&BTreeMap<String, Option<u16>>>,
    out: &mut Findings,
) -> Option<BTreeMap<String, String>> {
    let map = words(entry, "env: {MODE: production}", out)?;
    let ours = |key: &str| {
        key == "PORT"
            || ports
                .is_some_and(|ports| ports.keys().any(|port| format!("{}_PORT", port.to_uppercase()) == key))
    };
    let mut env = BTreeMap::new();
    let mut sound = true;
    for variable in &map.entries {
        let name_fits = variable.key.len() <= 255
            && variable.key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && variable.key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !name_fits {
            let hint = "use letters, digits and `_`, not starting with a digit";
            out.error(variable.at, format!("`{}` is not a variable's name", shown(&variable.key)), hint);
            sound = false;
        } else if ours(&variable.key) {
            let message = format!("`{}` is set to the port that the version got", variable.key);
            out.error(variable.at, message, "take it out, or name yours differently");
            sound = false;
        }
        let value = match &variable.value.value {
            Value::Scalar { text, plain: false } if text.is_empty() => Some(""),
            _ => {
                scalar::text(&variable.value, &format!("`{}`", shown(&variable.key)), "MODE: production", out)
            }
        };
        match value {
            Some(value) if value.len() <= WORD_BYTES_MAX && !value.contains('\0') => {
                if is_secret(&variable.key, value) {
                    out.hide(Span { width: u32::MAX, ..variable.value.at });
                    let message =
                        format!("`{}` seems to be a secret, and the ledger keeps it for ever", variable.key);
                    let hint = format!(
                        "replace the secret, write it into a file that only its service reads, and name that: `{}_FILE: /etc/portal/secret`",
                        variable.key
                    );
                    out.warning(variable.value.at, message, hint);
                }
                env.insert(variable.key.clone(), value.to_owned());
            }
            Some(_) => {
                let message = format!("`{}` cannot have this value", shown(&variable.key));
                out.error(variable.value.at, message, "use at most 4096 bytes, none of them zero");
                sound = false;
            }
            None => sound = false,
        }
    }
    sound.then_some(env)
}

/// Whether a variable's value is one that nobody should see, by its name or by a password in an address (RFC 3986
/// §3.2.1). A name that ends otherwise (`TOKEN_TTL`, `DB_PASSWORD_FILE`) says something about a secret.
fn is_secret(name: &str, value: &str) -> bool {
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_').to_ascii_uppercase();
    let last = name.rsplit('_').next().unwrap_or_default();
    let is_named = ["SECRET", "TOKEN", "PASSWORD", "PASSWD", "PASSPHRASE", "APIKEY", "DSN", "CREDENTIALS"]
        .iter()
        .any(|word| last.ends_with(word));
    let is_key = last == "KEY" && !name.ends_with("PUBLIC_KEY");
    let user =
        value.split_once("://").map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let has_password = user
        .and_then(|place| place.rsplit_once('@'))
        .is_some_and(|(user, _)| user.split_once(':').is_some_and(|(_, password)| !password.is_empty()));
    !value.is_empty() && (is_named || is_key || has_password)
}

/// A map whose keys are the writer's own.
fn words<'n>(entry: &'n Entry, example: &str, out: &mut Findings) -> Option<&'n Map> {
    match &entry.value.value {
        Value::Map(map) if map.entries.len() <= ITEMS_MAX => Some(map),
        Value::Map(map) => {
            let message = format!("`{}` has {} keys, more than {ITEMS_MAX}", entry.key, map.entries.len());
            out.error(entry.at, message, "leave some out");
            None
        }
        Value::Refused => None,
        _ => {
            let message = format!("`{}` is {}, a map was expected", entry.key, entry.value.form());
            out.error(entry.value.at, message, format!("write `{example}`"));
            None
        }
    }
}

fn external(service: &Entry, fields: &Fields<'_>, out: &mut Findings) -> Option<Driver> {
    const EXAMPLE: &str = "upstreams: {\"1.7.3\": [\"10.0.0.4:8080\"]}";
    let entry = needed(service, fields, "upstreams", "traffic needs somewhere to go", out)?;
    let map = words(entry, EXAMPLE, out)?;
    if map.entries.is_empty() {
        out.error(entry.value.at, "`upstreams` is empty", format!("write `{EXAMPLE}`"));
        return None;
    }
    let mut upstreams = BTreeMap::new();
    let mut places: BTreeMap<String, Span> = BTreeMap::new();
    // What is wrong with it is said where it is read.
    let allowed =
        fields.get("allow_private").and_then(|entry| address::networks(entry, &mut Findings::new("")));
    let allowed = allowed.unwrap_or_default();
    let mut sound = true;
    for version in &map.entries {
        let name = Version::new(version.key.clone());
        if let Err(error) = &name {
            let message = format!("`{}` is not a version", shown(&version.key));
            out.error(version.at, message, format!("use {}", error.expected));
        }
        let addresses = upstream_list(version, &mut places, &allowed, out);
        match (name, addresses) {
            (Ok(name), Some(addresses)) => {
                upstreams.insert(name, addresses);
            }
            _ => sound = false,
        }
    }
    sound.then_some(Driver::External { upstreams })
}

/// What stands against an upstream, and the remedy. Users' requests would be answered with the machine's credentials;
/// loopback and private networks are where upstreams are.
fn objection(address: &str, allowed: &[Network]) -> Option<(Special, &'static str)> {
    let address = address.parse::<SocketAddr>().ok()?.ip();
    let is_allowed = || allowed.iter().any(|network| network.contains(address));
    match network::special(address)? {
        is @ Special::Metadata => Some((is, "name where the service itself listens")),
        is @ Special::LinkLocal if !is_allowed() => {
            Some((is, "if it is meant, add its network: `allow_private: [169.254.7.0/24]`"))
        }
        _ => None,
    }
}

fn upstream_list(
    version: &Entry,
    places: &mut BTreeMap<String, Span>,
    allowed: &[Network],
    out: &mut Findings,
) -> Option<Vec<String>> {
    if version.value.is_null() {
        let message = format!("version `{}` has no upstreams", shown(&version.key));
        out.error(version.at, message, "write `\"1.7.3\": [\"10.0.0.4:8080\"]`");
        return None;
    }
    let nodes = scalar::list(version, &format!("\"{}\": [\"10.0.0.4:8080\"]", version.key), out)?;
    if nodes.len() > ITEMS_MAX {
        out.error(
            version.at,
            format!("{} upstreams are more than {ITEMS_MAX}", nodes.len()),
            "put a balancer before them",
        );
        return None;
    }
    scalar::each(nodes, |node| {
        let address = address::host_and_port(node, "an upstream", "10.0.0.4:8080", out)?;
        if let Some((is, hint)) = objection(&address, allowed) {
            out.error(node.at, format!("`{address}` cannot be an upstream: it is {is}"), hint);
            return None;
        }
        if let Some(first) = places.insert(address.clone(), node.at) {
            let hint = format!(
                "it stands in line {}, column {} already; versions must not share one",
                first.line, first.column
            );
            out.error(node.at, format!("`{address}` is given twice"), hint);
            return None;
        }
        Some(address)
    })
}
