//! `notify:` of hmsops.yaml: how people and their tools are told. Secrets are never written there, only where they
//! are: `file:PATH`, `env:NAME` or `credential:NAME`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::address;
use crate::diagnostic::{Findings, Span, shown};
use crate::fields::{Fields, Key, Shape};
use crate::nearest::nearest;
use crate::scalar;
use crate::settings::line;
use crate::tower::{MailConfig, MailTls, NotifyConfig, SecretRef, WebhookConfig};
use crate::yaml::{Entry, Node, Value};

pub(crate) static NOTIFY: Shape = Shape {
    what: "how people are told",
    keys: &[
        Key::optional("mail", "mail: {server: \"smtp.csac.gov:587\", from: hmsops@csac.gov}"),
        Key::optional(
            "webhooks",
            "webhooks: {pager: {url: \"https://…\", secrets: [\"file:pager.secret\"]}}",
        ),
    ],
};

pub(crate) static MAIL: Shape = Shape {
    what: "the mail server",
    keys: &[
        Key::needed("server", "server: \"smtp.csac.gov:587\"", "mail goes through a server"),
        Key::needed("from", "from: hmsops@csac.gov", "mail has a sender"),
        Key::optional("tls", "tls: required"),
        Key::optional("user", "user: hmsops"),
        Key::optional("password", "password: \"file:smtp.password\""),
        Key::optional("ca", "ca: ca.pem"),
    ],
};

pub(crate) static WEBHOOK: Shape = Shape {
    what: "a webhook",
    keys: &[
        Key::needed("url", "url: \"https://pager.csac.gov/hook\"", "a webhook says where it is"),
        Key::needed("secrets", "secrets: [\"file:pager.secret\"]", "what is sent is signed"),
        Key::optional("allow_private", "allow_private: [10.0.0.0/8]"),
        Key::optional("ca", "ca: ca.pem"),
    ],
};

/// Webhooks of one tower.
const WEBHOOKS_MAX: usize = 64;

/// Secrets of one webhook: the one in use, and the next one while the receiver learns it.
const SECRETS_MAX: usize = 4;

/// The longest URL in bytes.
const URL_BYTES_MAX: usize = 2048;

pub(crate) fn notify(entry: &Entry, out: &mut Findings) -> Option<NotifyConfig> {
    let fields = Fields::open(&entry.value, entry.at, &NOTIFY, out)?;
    let mail = fields.get("mail").and_then(|entry| mail(entry, out));
    let webhooks = fields.get("webhooks").and_then(|entry| webhooks(entry, out)).unwrap_or_default();
    Some(NotifyConfig { mail, webhooks })
}

fn mail(entry: &Entry, out: &mut Findings) -> Option<MailConfig> {
    let fields = Fields::open(&entry.value, entry.at, &MAIL, out)?;
    let server = fields
        .get("server")
        .and_then(|entry| address::host_and_port(&entry.value, "`server`", "smtp.csac.gov:587", out));
    let from = fields.get("from").and_then(|entry| scalar::mail(&entry.value, out));
    let tls = fields.get("tls").map_or(Some(MailTls::Required), |entry| tls(entry, server.as_deref(), out));
    let user = fields.get("user").and_then(|entry| line(entry, out));
    let password = fields.get("password").and_then(|entry| secret(&entry.value, "password", out));
    let ca = fields.get("ca").and_then(|entry| line(entry, out));
    match (fields.get("user"), fields.get("password")) {
        (Some(user), None) if !fields.disturbed => {
            out.error(user.at, "`user` stands without `password`", "add `password: \"file:smtp.password\"`");
        }
        (None, Some(password)) if !fields.disturbed => {
            out.error(password.at, "`password` stands without `user`", "add `user: hmsops`");
        }
        _ => {}
    }
    Some(MailConfig { server: server?, from: from?, tls: tls?, user, password, ca })
}

fn tls(entry: &Entry, server: Option<&str>, out: &mut Findings) -> Option<MailTls> {
    match scalar::text(&entry.value, "`tls`", "tls: required", out)? {
        "required" => Some(MailTls::Required),
        "implicit" => Some(MailTls::Implicit),
        "none" => {
            let host = server?.rsplit_once(':').map_or("", |(host, _)| host);
            if !is_loopback(host) {
                let hint =
                    "use `tls: required` (STARTTLS) or `tls: implicit`; `none` is for servers on loopback";
                out.error(entry.value.at, format!("mail to `{host}` would go out in clear"), hint);
                return None;
            }
            Some(MailTls::None)
        }
        other => {
            let hint = match nearest(other, ["required", "implicit", "none"]) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "use `required` (STARTTLS), `implicit` or `none`".to_owned(),
            };
            out.error(entry.value.at, format!("`{}` does not say how mail is protected", shown(other)), hint);
            None
        }
    }
}

/// `localhost`, `127.…` or `::1`, perhaps in brackets.
fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// `file:PATH`, `env:NAME` or `credential:NAME`. Anything else may be the secret itself, so it is neither repeated nor shown.
pub(crate) fn secret(node: &Node, what: &str, out: &mut Findings) -> Option<SecretRef> {
    if matches!(node.value, Value::List(_) | Value::Map(_)) {
        // Where a list ends is not known.
        out.hide(Span { width: u32::MAX, ..node.at });
    }
    let example = format!("{what}: \"file:smtp.password\"");
    let written = scalar::text(node, &format!("`{what}`"), &example, out)?;
    if let Some(path) = written.strip_prefix("file:") {
        if path.is_empty() || path.len() > 4096 || path.trim() != path || path.chars().any(char::is_control) {
            out.error(node.at, "`file:` is followed by no path", "write `file:smtp.password`");
            return None;
        }
        return Some(SecretRef::File(path.to_owned()));
    }
    if let Some(name) = written.strip_prefix("env:") {
        let fits = name.len() <= 255
            && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !fits {
            let hint = "use letters, digits and `_`, not starting with a digit: `env:SMTP_PASSWORD`";
            out.error(node.at, "`env:` is followed by no variable's name", hint);
            return None;
        }
        return Some(SecretRef::Env(name.to_owned()));
    }
    if let Some(name) = written.strip_prefix("credential:") {
        // "A textual ID … suitable as filename" (systemd.exec(5)).
        let fits = (1..=255).contains(&name.len())
            && !name.starts_with('.')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if !fits {
            let hint = "use the name that `LoadCredential=` gives it: `credential:smtp`";
            out.error(node.at, "`credential:` is followed by no credential's name", hint);
            return None;
        }
        return Some(SecretRef::Credential(name.to_owned()));
    }
    out.hide(node.at);
    let hint = "put it into a file and write `file:PATH`, or into a variable and write `env:NAME`";
    out.error(node.at, format!("`{what}` holds the secret itself"), hint);
    None
}

fn webhooks(entry: &Entry, out: &mut Findings) -> Option<BTreeMap<String, WebhookConfig>> {
    let Value::Map(map) = &entry.value.value else {
        if !matches!(entry.value.value, Value::Refused) {
            let message = format!("`webhooks` is {}, a map was expected", entry.value.form());
            out.error(entry.value.at, message, "write each webhook's name, a colon, and its keys below it");
        }
        return None;
    };
    if map.entries.len() > WEBHOOKS_MAX {
        let message = format!("{} webhooks are more than {WEBHOOKS_MAX}", map.entries.len());
        out.error(entry.at, message, "leave some out");
        return None;
    }
    let mut webhooks = BTreeMap::new();
    for entry in map.entries.iter().filter(|entry| !entry.key.starts_with("x-")) {
        if !address::is_label(&entry.key) {
            let message = format!("`{}` is not a webhook's name", shown(&entry.key));
            out.error(entry.at, message, address::GATEWAY_NAMES);
        }
        if entry.value.is_null() {
            let message = format!("webhook `{}` has no keys", shown(&entry.key));
            out.error(entry.at, message, "add `url: \"https://…\"` and `secrets: [\"file:…\"]`");
            continue;
        }
        if let Some(webhook) = webhook(entry, out) {
            webhooks.insert(entry.key.clone(), webhook);
        }
    }
    Some(webhooks)
}

fn webhook(entry: &Entry, out: &mut Findings) -> Option<WebhookConfig> {
    let fields = Fields::open(&entry.value, entry.at, &WEBHOOK, out)?;
    let url = fields.get("url").and_then(|entry| url(entry, out));
    let ca = fields.get("ca").and_then(|entry| line(entry, out));
    let secrets = fields.get("secrets").and_then(|entry| {
        if matches!(entry.value.value, Value::Scalar { .. }) {
            out.hide(entry.value.at);
        }
        let nodes = scalar::list(entry, "secrets: [\"file:pager.secret\"]", out)?;
        if nodes.len() > SECRETS_MAX {
            let message = format!("{} secrets are more than {SECRETS_MAX}", nodes.len());
            out.error(entry.at, message, "keep the one in use and the next one");
            return None;
        }
        scalar::each(nodes, |node| secret(node, "secrets", out))
    });
    let allow_private = match fields.get("allow_private") {
        Some(entry) => address::networks(entry, out),
        None => Some(Vec::new()),
    };
    Some(WebhookConfig { url: url?, secrets: secrets?, allow_private: allow_private?, ca })
}

/// `https://HOST[:PORT]/…`; plain HTTP on loopback only. A URL may be a secret in itself, so none is shown.
fn url(entry: &Entry, out: &mut Findings) -> Option<String> {
    let written = scalar::text(&entry.value, "`url`", "url: \"https://pager.csac.gov/hook\"", out)?;
    if let Err((message, hint)) = check_url(written) {
        out.hide(entry.value.at);
        out.error(entry.value.at, message, hint);
        return None;
    }
    Some(written.to_owned())
}

/// What is wrong with a URL, and what to do about it.
pub(crate) fn check_url(written: &str) -> Result<(), (String, &'static str)> {
    const EXAMPLE: &str = "write `url: \"https://pager.csac.gov/hook\"`";
    let (rest, plain) = match (written.strip_prefix("https://"), written.strip_prefix("http://")) {
        (Some(rest), _) => (rest, false),
        (_, Some(rest)) => (rest, true),
        _ => return Err(("`url` is no URL of HTTP".to_owned(), EXAMPLE)),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    if authority.contains('@') {
        let hint = "take out what stands before `@`; what is sent is signed with `secrets`";
        return Err(("`url` holds a name or a password".to_owned(), hint));
    }
    let port = |text: &str| text.parse::<u16>().is_ok_and(|port| port > 0);
    let host = match authority.rsplit_once(':') {
        Some((host, digits)) if !digits.contains(']') => Some(host).filter(|_| port(digits)),
        _ => Some(authority),
    };
    let unfit = |c: char| c.is_whitespace() || c.is_control() || c == '#';
    let whole = written.len() <= URL_BYTES_MAX && !written.chars().any(unfit);
    let Some(host) = host.filter(|host| whole && address::is_host_or_ip(host)) else {
        return Err(("`url` is not whole".to_owned(), EXAMPLE));
    };
    if plain && !is_loopback(host) {
        let hint = "use `https://…`; plain HTTP is for receivers on loopback";
        return Err((format!("what is sent to `{host}` would go out in clear"), hint));
    }
    Ok(())
}
