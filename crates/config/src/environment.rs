//! `env:` and `secrets:` of a service: the variables of its environment. Secrets stand in `secrets:`, as the place
//! where each is: declarations go to the ledger, which many may read and nobody can change.

use std::collections::BTreeMap;

use hmsops_model::SecretRef;

use crate::diagnostic::{Findings, Span, shown};
use crate::driver::{WORD_BYTES_MAX, words};
use crate::notify::secret;
use crate::scalar;
use crate::yaml::{Entry, Value};

/// Ports of a service by name, where they could be read.
type Ports<'a> = Option<&'a BTreeMap<String, Option<u16>>>;

/// The longest name of a variable in bytes.
const NAME_BYTES_MAX: usize = 255;

/// `env:`.
pub(crate) fn env(entry: &Entry, ports: Ports<'_>, out: &mut Findings) -> Option<BTreeMap<String, String>> {
    let map = words(entry, "env: {MODE: production}", out)?;
    let mut env = BTreeMap::new();
    let mut sound = true;
    for variable in &map.entries {
        sound &= is_free(variable, ports, out);
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
                        "replace the secret, write the new one into a file of mode 0600, and say where it is: `secrets: {{{}: \"file:/PATH\"}}`",
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

/// `secrets:`; `known` are the ports and the plain variables.
pub(crate) fn secrets(
    entry: &Entry,
    known: (Ports<'_>, Option<&BTreeMap<String, String>>),
    out: &mut Findings,
) -> Option<BTreeMap<String, SecretRef>> {
    let map = words(entry, "secrets: {DB_PASSWORD: \"file:/etc/portal/db.password\"}", out)?;
    let mut secrets = BTreeMap::new();
    let mut sound = true;
    for variable in &map.entries {
        sound &= is_free(variable, known.0, out);
        if known.1.is_some_and(|env| env.contains_key(&variable.key)) {
            let message = format!("`{}` stands in `env`, too", shown(&variable.key));
            out.error(variable.at, message, "take one of them out");
            sound = false;
        }
        match secret(&variable.value, &shown(&variable.key), out) {
            // A repository is no place for secrets, and a version's folder is somebody else's.
            Some(SecretRef::File(path)) if !path.starts_with('/') => {
                let message = format!("`{}` starts at no folder that is known", shown(&path));
                out.error(variable.value.at, message, "write the whole path: `file:/etc/portal/db.password`");
                sound = false;
            }
            Some(from) => {
                secrets.insert(variable.key.clone(), from);
            }
            None => sound = false,
        }
    }
    sound.then_some(secrets)
}

/// Whether a variable has a name that it may have.
fn is_free(variable: &Entry, ports: Ports<'_>, out: &mut Findings) -> bool {
    let key = &variable.key;
    let fits = key.len() <= NAME_BYTES_MAX
        && key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !fits {
        let hint = "use letters, digits and `_`, not starting with a digit";
        out.error(variable.at, format!("`{}` is not a variable's name", shown(key)), hint);
        return false;
    }
    let is_port = |port: &String| format!("{}_PORT", port.to_uppercase()) == *key;
    if key == "PORT" || ports.is_some_and(|ports| ports.keys().any(is_port)) {
        let message = format!("`{}` is set to the port that the version got", shown(key));
        out.error(variable.at, message, "take it out, or name yours differently");
        return false;
    }
    true
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
