//! How a check looks: `http:`, `tcp:`, `grpc:`, `dns:`, `tls:` or `exec:`, with `conditions:`, `every:`, `timeout:`.

use hmsops_model::Millis;
use hmsops_model::condition::{Literal, Op, Subject, parse_condition};
use hmsops_model::limits::{PROBE_INTERVAL, PROBE_TIMEOUT};
use hmsops_model::probe::{Ask, Method, Probe, RecordType, Tls};

use crate::address;
use crate::diagnostic::{Findings, Refused, shown};
use crate::fields::{Fields, Key, Shape};
use crate::health;
use crate::nearest::nearest;
use crate::scalar;
use crate::yaml::{Entry, Map, Node, Value};

/// The kinds, one of which a check without `path` has.
pub(crate) const KINDS: [&str; 6] = ["http", "tcp", "grpc", "dns", "tls", "exec"];

/// A check of one of the kinds.
pub(crate) static CHECK: Shape = Shape {
    what: "a health check",
    keys: &[
        Key::optional("http", "http: {path: /health}"),
        Key::optional("tcp", "tcp: {}"),
        Key::optional("grpc", "grpc: {service: portal.v1}"),
        Key::optional("dns", "dns: {name: portal.csac.gov, type: A}"),
        Key::optional("tls", "tls: {days: 14}"),
        Key::optional("exec", "exec: [\"./check\", \"{port}\"]"),
        Key::optional("path", "path: /health"),
        Key::optional("name", "name: database"),
        Key::optional("threshold", "threshold: 3 fails/60 s"),
        Key::optional("conditions", "conditions: [\"status == 200\"]"),
        Key::optional("every", "every: 10 s"),
        Key::optional("timeout", "timeout: 2 s"),
    ],
};

pub(crate) static HTTP: Shape = Shape {
    what: "`http`",
    keys: &[
        Key::needed("path", "path: /health", "a request says what it asks for"),
        Key::optional("method", "method: GET"),
        Key::optional("headers", "headers: {Accept: application/json}"),
        Key::optional("tls", "tls: true"),
        Key::optional("host", "host: portal.csac.gov"),
        Key::optional("port", "port: 8080"),
    ],
};

pub(crate) static TCP: Shape = Shape {
    what: "`tcp`",
    keys: &[
        Key::optional("send", "send: \"PING\\r\\n\""),
        Key::optional("expect", "expect: PONG"),
        Key::optional("host", "host: db.csac.gov"),
        Key::optional("port", "port: 5432"),
    ],
};

pub(crate) static GRPC: Shape = Shape {
    what: "`grpc`",
    keys: &[
        Key::optional("service", "service: portal.v1"),
        Key::optional("tls", "tls: true"),
        Key::optional("host", "host: portal.csac.gov"),
        Key::optional("port", "port: 9090"),
    ],
};

pub(crate) static DNS: Shape = Shape {
    what: "`dns`",
    keys: &[
        Key::needed("name", "name: portal.csac.gov", "a question to DNS is about a name"),
        Key::optional("type", "type: A"),
        Key::optional("resolver", "resolver: \"10.0.0.2:53\""),
    ],
};

pub(crate) static TLS: Shape = Shape {
    what: "`tls`",
    keys: &[
        Key::optional("days", "days: 14"),
        Key::optional("server_name", "server_name: portal.csac.gov"),
        Key::optional("host", "host: portal.csac.gov"),
        Key::optional("port", "port: 443"),
    ],
};

/// What a certificate has left at least where nobody says otherwise: time for a person to renew it.
const DAYS_DEFAULT: u32 = 14;
const CONDITIONS_MAX: usize = 32;
const WORDS_MAX: usize = 64;
const HEADERS_MAX: usize = 32;
const TEXT_BYTES_MAX: usize = 1024;
/// A check that is made less often says nothing during a release.
const EVERY_MAX: Millis = Millis::from_mins(60);
/// Whoever asks for a look through the API waits for its end.
const TIMEOUT_MAX: Millis = Millis::from_secs(30);
const TIMEOUT_MIN: Millis = Millis(10);

/// Whether a map is a check of one of the kinds, rightly spelt or nearly.
pub(crate) fn is_one(node: &Node) -> bool {
    let Value::Map(Map { entries, .. }) = &node.value else { return false };
    let kind = |key: &str| nearest(key, CHECK.names()).is_some_and(|name| KINDS.contains(&name));
    entries.iter().any(|entry| KINDS.contains(&entry.key.as_str()) || kind(&entry.key))
}

/// The name of such a check and how it looks.
pub(crate) fn read(fields: &Fields<'_>, out: &mut Findings) -> Option<(String, Probe)> {
    let mut kinds: Vec<&Entry> = KINDS.iter().filter_map(|kind| fields.get(kind)).collect();
    kinds.sort_by_key(|entry| (entry.at.line, entry.at.column));
    // One without a value has been complained about.
    let entry = kinds.first().copied()?;
    if let Some(second) = kinds.get(1).copied().or_else(|| fields.get("path")) {
        let message = format!("`{}` stands beside `{}`: a check asks one thing", second.key, entry.key);
        let hint =
            if second.key == "path" { "write the path below `http:`" } else { "make it a check of its own" };
        out.error(second.at, message, hint);
        return None;
    }
    let kind = fields.name_of(entry);
    let asked = ask(kind, entry, out);
    let rhythm = rhythm(fields, kind, out);
    let given = fields.get("name").map(|entry| name(entry, out));
    let (ask, place) = asked?;
    let conditions = conditions(fields, &ask, out)?;
    let name = match given {
        Some(name) => name?,
        None => own_name(&ask, &place),
    };
    let (every, timeout) = rhythm?;
    Some((name, Probe { ask, host: place.0, port: place.1, every, timeout, conditions }))
}

/// Another rhythm or conditions beside a `path`; `None` inside: nothing of it is there.
pub(crate) fn beside_path(
    fields: &Fields<'_>,
    path: &str,
    out: &mut Findings,
) -> Result<Option<Probe>, Refused> {
    if ["conditions", "every", "timeout"].iter().all(|key| fields.get(key).is_none()) {
        return Ok(None);
    }
    let plain = Probe::of_path(path);
    let rhythm = rhythm(fields, "http", out);
    let conditions = conditions(fields, &plain.ask, out).ok_or(Refused)?;
    let (every, timeout) = rhythm.ok_or(Refused)?;
    Ok(Some(Probe { every, timeout, conditions, ..plain }))
}

/// Another host, and another port.
type Elsewhere = (Option<String>, Option<u16>);

fn ask(kind: &str, entry: &Entry, out: &mut Findings) -> Option<(Ask, Elsewhere)> {
    let open = |shape, out: &mut Findings| Fields::open(&entry.value, entry.at, shape, out);
    match kind {
        "http" => http(&open(&HTTP, out)?, out),
        "tcp" => {
            let fields = open(&TCP, out)?;
            let text =
                |key, out: &mut Findings| fields.get(key).map(|entry| short_text(entry, out)).transpose();
            let (send, expect) = (text("send", out), text("expect", out));
            let elsewhere = elsewhere(&fields, None, out)?;
            Some((Ask::Tcp { send: send.ok()?, expect: expect.ok()? }, elsewhere))
        }
        "grpc" => {
            let fields = open(&GRPC, out)?;
            let service = fields.get("service").map(|entry| short_text(entry, out)).transpose();
            let tls = tls(&fields, out);
            let elsewhere = elsewhere(&fields, None, out)?;
            Some((Ask::Grpc { service: service.ok()?.unwrap_or_default(), tls: tls? }, elsewhere))
        }
        "dns" => dns(&open(&DNS, out)?, out),
        "tls" => {
            let fields = open(&TLS, out)?;
            let days = fields.get("days").map(|entry| scalar::count(entry, 0, 3650, out).ok_or(Refused));
            let host = |entry: &Entry, out: &mut Findings| address::host(&entry.value, out).ok_or(Refused);
            let server_name = fields.get("server_name").map(|entry| host(entry, out)).transpose();
            let elsewhere = elsewhere(&fields, Some(443), out)?;
            let days = days.transpose().ok()?.map_or(DAYS_DEFAULT, |days| days as u32);
            Some((Ask::Tls { days, server_name: server_name.ok()? }, elsewhere))
        }
        _ => exec(entry, out).map(|argv| (Ask::Exec { argv }, (None, None))),
    }
}

fn http(fields: &Fields<'_>, out: &mut Findings) -> Option<(Ask, Elsewhere)> {
    let path = fields.get("path").and_then(|entry| health::path(entry, out));
    let method = match fields.get("method") {
        Some(entry) => method(entry, out),
        None => Some(Method::Get),
    };
    let headers = match fields.get("headers") {
        Some(entry) => headers(entry, out),
        None => Some(Vec::new()),
    };
    let tls = tls(fields, out);
    let usual_port = if tls.is_none_or(|tls| tls == Tls::Plain) { 80 } else { 443 };
    let elsewhere = elsewhere(fields, Some(usual_port), out)?;
    Some((Ask::Http { method: method?, path: path?, headers: headers?, tls: tls? }, elsewhere))
}

fn method(entry: &Entry, out: &mut Findings) -> Option<Method> {
    match scalar::text(&entry.value, "`method`", "method: GET", out)? {
        "GET" => Some(Method::Get),
        "HEAD" => Some(Method::Head),
        other => {
            let message = format!("`{}` is not a method that a check may use", shown(other));
            out.error(entry.value.at, message, "use `GET` or `HEAD`: a look changes nothing");
            None
        }
    }
}

/// Headers whose values are secrets: checks are kept in the ledger, which many may read and nobody can change.
const SECRET_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-api-key"];

/// Names and values that a request can carry (RFC 9110 section 5).
fn headers(entry: &Entry, out: &mut Findings) -> Option<Vec<(String, String)>> {
    const EXAMPLE: &str = "headers: {Accept: application/json}";
    let Value::Map(map) = &entry.value.value else {
        let message = format!("`headers` is a map, not {}", entry.value.form());
        out.error(entry.value.at, message, format!("write `{EXAMPLE}`"));
        return None;
    };
    if map.entries.len() > HEADERS_MAX {
        let message = format!("{} headers are more than {HEADERS_MAX}", map.entries.len());
        out.error(entry.at, message, "leave some out");
        return None;
    }
    let mut headers = Vec::new();
    for header in &map.entries {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if header.key.is_empty() || !header.key.bytes().all(token) {
            let message = format!("`{}` is not the name of a header", shown(&header.key));
            out.error(header.at, message, format!("write `{EXAMPLE}`"));
            return None;
        }
        if matches!(
            header.key.to_ascii_lowercase().as_str(),
            "connection" | "content-length" | "transfer-encoding"
        ) {
            let message = format!("the header `{}` belongs to the connection", shown(&header.key));
            out.error(header.at, message, "leave it out");
            return None;
        }
        if SECRET_HEADERS.iter().any(|name| header.key.eq_ignore_ascii_case(name)) {
            out.hide(header.value.at);
            let message =
                format!("what `{}` says would stand in the ledger and on pages", shown(&header.key));
            out.error(header.at, message, "let the check ask what answers without a secret");
            return None;
        }
        let value = scalar::text(&header.value, "a header's value", EXAMPLE, out)?;
        if value.len() > TEXT_BYTES_MAX || value.bytes().any(|b| b < b' ' || b == 0x7f) {
            let message = format!("the value of `{}` cannot stand in a header", shown(&header.key));
            out.error(header.value.at, message, "use one line of at most 1024 bytes");
            return None;
        }
        headers.push((header.key.clone(), value.to_owned()));
    }
    Some(headers)
}

fn tls(fields: &Fields<'_>, out: &mut Findings) -> Option<Tls> {
    let Some(entry) = fields.get("tls") else { return Some(Tls::Plain) };
    match scalar::text(&entry.value, "`tls`", "tls: true", out)? {
        "true" => Some(Tls::Trusted),
        "false" => Some(Tls::Plain),
        "any" => Some(Tls::Any),
        other => {
            let message = format!("`{}` is not a way to encrypt", shown(other));
            out.error(
                entry.value.at,
                message,
                "write `tls: true`, or `tls: any` for a certificate that no authority of this machine made",
            );
            None
        }
    }
}

/// `usual_port`: what stands for the port of another host when none is named.
fn elsewhere(fields: &Fields<'_>, usual_port: Option<u16>, out: &mut Findings) -> Option<Elsewhere> {
    let port =
        fields.get("port").map(|entry| scalar::count(entry, 1, 65_535, out).ok_or(Refused)).transpose();
    let host = fields.get("host").map(|entry| (entry, other_host(entry, out)));
    let port = port.ok()?.map(|port| port as u16);
    let Some((entry, host)) = host else { return Some((None, port)) };
    let host = host?;
    if port.or(usual_port).is_none() {
        let message = "`host` names another host and no port of it".to_owned();
        out.error(entry.at, message, "add `port:`");
        return None;
    }
    Some((Some(host), port.or(usual_port)))
}

fn other_host(entry: &Entry, out: &mut Findings) -> Option<String> {
    let written = scalar::text(&entry.value, "`host`", "host: portal.csac.gov", out)?;
    if address::is_host_or_ip(written) {
        return Some(written.to_ascii_lowercase());
    }
    let message = format!("`{}` is not a host", shown(written));
    out.error(entry.value.at, message, "write a name or an address alone; the port goes into `port:`");
    None
}

fn dns(fields: &Fields<'_>, out: &mut Findings) -> Option<(Ask, Elsewhere)> {
    let name = fields.get("name").and_then(|entry| {
        let written = scalar::text(&entry.value, "`name`", "name: portal.csac.gov", out)?;
        let name = written.strip_suffix('.').unwrap_or(written).to_ascii_lowercase();
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        if name.len() <= 253 && name.split('.').all(label) {
            return Some(name);
        }
        let message = format!("`{}` is not a name of DNS", shown(written));
        out.error(entry.value.at, message, "write it like `portal.csac.gov`, without a scheme, port or path");
        None
    });
    let record = match fields.get("type") {
        Some(entry) => record(entry, out),
        None => Some(RecordType::A),
    };
    let resolver = fields
        .get("resolver")
        .map(|entry| {
            let known =
                scalar::text(&entry.value, "a resolver", "resolver: \"10.0.0.2:53\"", out).ok_or(Refused)?;
            if address::is_host_or_ip(known) {
                return Ok(format!("{}:53", known.to_ascii_lowercase()));
            }
            address::host_and_port(&entry.value, "a resolver", "10.0.0.2:53", out).ok_or(Refused)
        })
        .transpose();
    Some((Ask::Dns { name: name?, record: record?, resolver: resolver.ok()? }, (None, None)))
}

fn record(entry: &Entry, out: &mut Findings) -> Option<RecordType> {
    let written = scalar::text(&entry.value, "`type`", "type: A", out)?;
    let found = RecordType::ALL.into_iter().find(|record| record.name().eq_ignore_ascii_case(written));
    if found.is_none() {
        let names: Vec<&str> = RecordType::ALL.iter().map(|record| record.name()).collect();
        let message = format!("`{}` is not a type of record that is read here", shown(written));
        out.error(entry.value.at, message, format!("use one of {}", names.join(", ")));
    }
    found
}

fn exec(entry: &Entry, out: &mut Findings) -> Option<Vec<String>> {
    const EXAMPLE: &str = "exec: [\"./check\", \"{port}\"]";
    let nodes = scalar::list(entry, EXAMPLE, out)?;
    if nodes.len() > WORDS_MAX {
        out.error(
            entry.at,
            format!("{} words are more than {WORDS_MAX}", nodes.len()),
            "write a script and run that",
        );
        return None;
    }
    scalar::each(nodes, |node| {
        let word = scalar::text(node, "a word of the command", EXAMPLE, out)?;
        if word.len() > TEXT_BYTES_MAX || word.contains('\0') {
            out.error(node.at, "this word cannot be passed on", "use at most 1024 bytes, no NUL");
            return None;
        }
        Some(word.to_owned())
    })
}

/// A text of at most 1 KiB.
fn short_text(entry: &Entry, out: &mut Findings) -> Result<String, Refused> {
    let what = format!("`{}`", entry.key);
    let written = scalar::text(&entry.value, &what, &format!("{}: …", entry.key), out).ok_or(Refused)?;
    if written.len() > TEXT_BYTES_MAX {
        out.error(entry.value.at, format!("{what} is longer than {TEXT_BYTES_MAX} bytes"), "make it shorter");
        return Err(Refused);
    }
    Ok(written.to_owned())
}

fn name(entry: &Entry, out: &mut Findings) -> Option<String> {
    let written = scalar::text(&entry.value, "`name`", "name: database", out)?;
    if written.chars().count() <= 60 && !written.chars().any(char::is_control) {
        return Some(written.to_owned());
    }
    let message = format!("`{}` is not a name for a check", shown(written));
    out.error(entry.value.at, message, "use one line of at most 60 characters");
    None
}

/// From one look to the next, and how long it may take.
fn rhythm(fields: &Fields<'_>, kind: &str, out: &mut Findings) -> Option<(Millis, Millis)> {
    let (every_default, timeout_default) = match kind {
        "dns" => (Millis::from_secs(10), Millis::from_secs(2)),
        "exec" => (Millis::from_secs(10), Millis::from_secs(5)),
        "tls" => (Millis::from_secs(60), Millis::from_secs(5)),
        _ => (PROBE_INTERVAL, PROBE_TIMEOUT),
    };
    let every = match fields.get("every") {
        Some(entry) => scalar::span(entry, PROBE_INTERVAL, EVERY_MAX, out),
        None => Some(every_default),
    };
    let written = fields.get("timeout");
    let timeout = match written {
        Some(entry) => scalar::span(entry, TIMEOUT_MIN, TIMEOUT_MAX, out),
        None => every.map(|every| timeout_default.min(every)),
    };
    let (every, timeout) = (every?, timeout?);
    if let Some(entry) = written.filter(|_| timeout > every) {
        let message =
            format!("a `timeout` of {timeout} is longer than the {every} from one look to the next");
        out.error(entry.value.at, message, "looks never overlap: raise `every`, or shorten it");
        return None;
    }
    Some((every, timeout))
}

fn conditions(fields: &Fields<'_>, ask: &Ask, out: &mut Findings) -> Option<Vec<String>> {
    let Some(entry) = fields.get("conditions") else { return Some(Vec::new()) };
    let nodes = scalar::list(entry, "conditions: [\"status == 200\"]", out)?;
    if nodes.len() > CONDITIONS_MAX {
        let message = format!("{} conditions are more than {CONDITIONS_MAX}", nodes.len());
        out.error(entry.at, message, "make two checks of it");
        return None;
    }
    let encrypted = matches!(ask, Ask::Http { tls, .. } | Ask::Grpc { tls, .. } if *tls != Tls::Plain);
    let known = Subject::of_kind(ask.kind(), encrypted);
    let head = matches!(ask, Ask::Http { method: Method::Head, .. });
    scalar::each(nodes, |node| {
        let written = scalar::text(node, "a condition", "status == 200", out)?;
        let condition = match parse_condition(written, known) {
            Ok(condition) => condition,
            Err(error) => {
                out.error(node.part(error.offset, error.width, out), error.message, error.hint);
                return None;
            }
        };
        if head && condition.subject == Subject::Body {
            out.error(node.at, "an answer to HEAD has no body", "use `method: GET`");
            return None;
        }
        if let (Op::Matches, [Literal::Text(pattern)]) = (condition.op, condition.values.as_slice())
            && let Err(why) = regex::Regex::new(pattern)
        {
            let why = why.to_string();
            let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
            out.error(node.at, format!("`{}` is not a regular expression", shown(pattern)), why);
            return None;
        }
        Some(written.to_owned())
    })
}

/// What a check is called that nobody gave a name.
fn own_name(ask: &Ask, (host, port): &Elsewhere) -> String {
    let place = match (host, port) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.clone(),
        (None, Some(port)) => format!(":{port}"),
        (None, None) => String::new(),
    };
    let words = match ask {
        Ask::Http { method: Method::Get, path, .. } => return format!("{place}{path}"),
        Ask::Http { method: Method::Head, path, .. } => return format!("HEAD {place}{path}"),
        Ask::Tcp { .. } => ["tcp", "", &place],
        Ask::Grpc { service, .. } => ["grpc", service, &place],
        Ask::Dns { name, record, .. } => ["dns", name, record.name()],
        Ask::Tls { .. } => ["tls", "", &place],
        Ask::Exec { argv } => ["exec", argv.first().map_or("", String::as_str), ""],
    };
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    words.join(" ")
}
