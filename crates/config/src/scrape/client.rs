//! How somebody is asked over HTTP: authorization, TLS, more fields.

use std::path::{Component, Path};

use hmsops_model::Secret;
use hmsops_model::network::Network;
use hmsops_model::scrape::{Auth, HttpClient, HttpUrl, Scheme, SecretText, TlsClient};

use super::shape::{AUTHORIZATION, BASIC_AUTH, HEADER, TLS};
use crate::address;
use crate::diagnostic::{Findings, shown};
use crate::fields::Fields;
use crate::scalar;
use crate::yaml::{Entry, Node, Value};

/// Fields of a request that one job adds.
const HEADERS_MAX: usize = 50;

/// The longest of them in bytes, and the longest secret that is written out.
const TEXT_BYTES_MAX: usize = 8192;

/// The longest path of a file in bytes.
const PATH_BYTES_MAX: usize = 1024;

/// Fields that the request itself needs.
const RESERVED: [&str; 13] = [
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// What a map with the keys of an HTTP client says.
pub(super) fn client(fields: &Fields<'_>, out: &mut Findings) -> Option<HttpClient> {
    let usual = HttpClient::default();
    let basic = fields.get("basic_auth").map(|entry| basic_auth(entry, out));
    let bearer = fields.get("authorization").map(|entry| authorization(entry, out));
    if let (Some(_), Some(_), Some(entry)) = (&basic, &bearer, fields.get("authorization")) {
        out.error(entry.at, "`basic_auth` and `authorization` say two things", "keep one");
        return None;
    }
    let auth = match basic.or(bearer) {
        Some(auth) => Some(auth?),
        None => None,
    };
    let tls = fields.get("tls_config").map_or(Some(usual.tls), |entry| tls(entry, out));
    let headers = fields.get("http_headers").map_or(Some(Vec::new()), |entry| headers(entry, out));
    let mut is_on = |key: &str| fields.get(key).map_or(Some(true), |entry| scalar::flag(entry, out));
    let (follow_redirects, compression, _http2) =
        (is_on("follow_redirects"), is_on("enable_compression"), is_on("enable_http2"));
    Some(HttpClient {
        auth,
        tls: tls?,
        headers: headers?,
        follow_redirects: follow_redirects?,
        compression: compression?,
    })
}

fn basic_auth(entry: &Entry, out: &mut Findings) -> Option<Auth> {
    let fields = Fields::open(&entry.value, entry.at, &BASIC_AUTH, out)?;
    let user = fields.get("username")?;
    let user = scalar::text(&user.value, "a name", "username: prom", out)?;
    let password = secret(&fields, "password", "password_file", out)?;
    if user.contains(':') || user.len() > TEXT_BYTES_MAX || user.chars().any(char::is_control) {
        out.error(entry.at, format!("`{}` cannot be a name here", shown(user)), "leave out `:` (RFC 7617)");
        return None;
    }
    Some(Auth::Basic { user: user.to_owned(), password })
}

fn authorization(entry: &Entry, out: &mut Findings) -> Option<Auth> {
    let fields = Fields::open(&entry.value, entry.at, &AUTHORIZATION, out)?;
    let scheme = match fields.get("type") {
        Some(entry) => scalar::text(&entry.value, "`type`", "type: Bearer", out)?,
        None => "Bearer",
    };
    let is_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
    if scheme.eq_ignore_ascii_case("basic") {
        out.error(entry.at, "the type `Basic` takes a name and a password", "write `basic_auth: {…}`");
        return None;
    }
    if scheme.len() > 64 || !scheme.chars().all(is_token) {
        out.error(entry.at, format!("`{}` is not a type", shown(scheme)), "write `type: Bearer`");
        return None;
    }
    let Some(credentials) = secret(&fields, "credentials", "credentials_file", out)? else {
        out.error(entry.at, "`authorization` has no credentials", "write `credentials_file: node.token`");
        return None;
    };
    Some(Auth::Credentials { scheme: scheme.to_owned(), credentials })
}

/// A secret that is written out or in a file; the outer `None` is a mistake, the inner one is no secret.
#[expect(
    clippy::option_option,
    reason = "the outer one is a mistake that was told, the inner one that nothing is said"
)]
fn secret(fields: &Fields<'_>, plain: &str, file: &str, out: &mut Findings) -> Option<Option<SecretText>> {
    match (fields.get(plain), fields.get(file)) {
        (Some(_), Some(entry)) => {
            out.error(entry.at, format!("`{plain}` and `{file}` say two things"), format!("keep `{file}`"));
            None
        }
        (Some(entry), None) => plain_secret(&entry.value, file, out).map(Some),
        (None, Some(entry)) => path(entry, out).map(|path| Some(SecretText::File(path))),
        (None, None) => Some(None),
    }
}

fn plain_secret(node: &Node, file: &str, out: &mut Findings) -> Option<SecretText> {
    out.hide(node.at);
    let text = match &node.value {
        Value::Scalar { text, plain: false } => text.as_str(),
        _ => scalar::text(node, "a secret", &format!("{file}: node.secret"), out)?,
    };
    if text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
        out.error(node.at, "the secret is not one line of at most 8192 bytes", format!("write `{file}: …`"));
        return None;
    }
    let hint = format!("write `{file}: …`, a file below the folder of scrape secrets");
    out.warning(node.at, "a secret is written out where everybody who reads this file sees it", hint);
    Some(SecretText::Plain(Secret::new(text)))
}

/// A file below the folder of scrape secrets.
fn path(entry: &Entry, out: &mut Findings) -> Option<String> {
    let written = scalar::text(&entry.value, &format!("`{}`", entry.key), "node.password", out)?;
    let climbs = Path::new(written).components().any(|part| part == Component::ParentDir);
    if climbs || written.len() > PATH_BYTES_MAX || written.chars().any(char::is_control) {
        let hint = "name a file below the folder of scrape secrets, without `..`";
        out.error(entry.value.at, format!("`{}` is not a file that may be read", shown(written)), hint);
        return None;
    }
    Some(written.to_owned())
}

fn tls(entry: &Entry, out: &mut Findings) -> Option<TlsClient> {
    let fields = Fields::open(&entry.value, entry.at, &TLS, out)?;
    let mut file = |key: &str| match fields.get(key) {
        Some(entry) => path(entry, out).map(Some),
        None => Some(None),
    };
    let (ca_file, cert, key) = (file("ca_file"), file("cert_file"), file("key_file"));
    let server_name = match fields.get("server_name") {
        Some(entry) => address::host_or_ip(&entry.value, out).map(Some),
        None => Some(None),
    };
    let skip = fields.get("insecure_skip_verify").map_or(Some(false), |entry| {
        let skip = scalar::flag(entry, out)?;
        if skip {
            let message = "whoever answers is believed, and is shown what proves who asks";
            out.warning(entry.at, message, "write `ca_file: …` and take this out");
        }
        Some(skip)
    });
    let certificate = match (cert?, key?) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => {
            out.error(entry.at, "`cert_file` and `key_file` belong together", "write both, or none");
            return None;
        }
    };
    Some(TlsClient { ca_file: ca_file?, certificate, server_name: server_name?, insecure_skip_verify: skip? })
}

fn headers(entry: &Entry, out: &mut Findings) -> Option<Vec<(String, SecretText)>> {
    let Value::Map(map) = &entry.value.value else {
        let hint = "write `http_headers: {X-Tenant: {values: [csac]}}`";
        out.error(
            entry.value.at,
            format!("`http_headers` is {}, a map was expected", entry.value.form()),
            hint,
        );
        return None;
    };
    let mut all = Vec::new();
    for entry in &map.entries {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let name = entry.key.to_ascii_lowercase();
        if name.is_empty() || name.len() > 128 || !name.chars().all(is_token) {
            out.error(
                entry.at,
                format!("`{}` is not a field's name", shown(&entry.key)),
                "see RFC 9110 §5.1",
            );
            return None;
        }
        if RESERVED.contains(&name.as_str()) || name.starts_with("x-prometheus-") {
            let message = format!("`{}` belongs to the request itself", shown(&entry.key));
            out.error(entry.at, message, "take it out; `authorization` and `basic_auth` are keys of the job");
            return None;
        }
        all.extend(header(entry, out)?.into_iter().map(|value| (name.clone(), value)));
    }
    if all.len() > HEADERS_MAX {
        out.error(entry.at, format!("{} fields are more than {HEADERS_MAX}", all.len()), "take some out");
        return None;
    }
    Some(all)
}

fn header(entry: &Entry, out: &mut Findings) -> Option<Vec<SecretText>> {
    let fields = Fields::open(&entry.value, entry.at, &HEADER, out)?;
    let mut values = Vec::new();
    for key in ["values", "secrets", "files"] {
        let Some(entry) = fields.get(key) else { continue };
        let nodes = scalar::list(entry, &format!("{key}: [csac]"), out)?;
        let read = scalar::each(nodes, |node| match key {
            "secrets" => plain_secret(node, "files", out),
            "files" => {
                let name = scalar::text(node, "a file", "tenant.header", out)?;
                Some(SecretText::File(name.to_owned()))
            }
            _ => {
                let text = scalar::text(node, "a value", "csac", out)?;
                if text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
                    out.error(node.at, "the value is not one line of at most 8192 bytes", "shorten it");
                    return None;
                }
                Some(SecretText::Plain(Secret::new(text)))
            }
        });
        values.extend(read?);
    }
    if values.is_empty() {
        out.error(entry.at, format!("`{}` has no value", shown(&entry.key)), "write `values: [csac]`");
        return None;
    }
    Some(values)
}

/// `http[s]://HOST[:PORT][/…]`, without a name or a password in it.
pub(super) fn url(node: &Node, allow_private: Vec<Network>, out: &mut Findings) -> Option<HttpUrl> {
    const EXAMPLE: &str = "write `http://127.0.0.1:8000/targets`";
    let written = scalar::text(node, "a URL", "http://127.0.0.1:8000/targets", out)?;
    let (scheme, rest) = match (written.strip_prefix("https://"), written.strip_prefix("http://")) {
        (Some(rest), _) => (Scheme::Https, rest),
        (_, Some(rest)) => (Scheme::Http, rest),
        _ => {
            out.error(node.at, "what is written here is no URL of HTTP", EXAMPLE);
            return None;
        }
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains('@') {
        out.hide(node.at);
        out.error(node.at, "the URL holds a name or a password", "write `basic_auth: {…}`");
        return None;
    }
    let bracketed = authority.ends_with(']');
    let (host, port) = match authority.rsplit_once(':').filter(|_| !bracketed) {
        Some((host, digits)) => (host, digits.parse::<u16>().ok().filter(|port| *port > 0)),
        None => (authority, Some(scheme.port())),
    };
    let unfit = |c: char| c.is_whitespace() || c.is_control() || c == '#';
    let is_whole = written.len() <= 2048 && !written.chars().any(unfit) && address::is_host_or_ip(host);
    let Some(port) = port.filter(|_| is_whole) else {
        out.error(node.at, "the URL is not whole", EXAMPLE);
        return None;
    };
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Some(HttpUrl { scheme, host: host.to_ascii_lowercase(), port, path, allow_private })
}
