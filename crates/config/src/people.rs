//! `people:` of hmsops.yaml: how people log in and what they are here. It stands with the tower's own settings and in
//! no watched folder: whoever may write there would be whatever they like.

use std::collections::BTreeMap;

use hmsops_model::person::{FourEyes, Role};

use crate::diagnostic::{Findings, shown};
use crate::fields::{Fields, Key, Shape};
use crate::nearest::nearest;
use crate::notify::{check_url, secret};
use crate::scalar;
use crate::settings::line;
use crate::tower::{OidcConfig, PeopleConfig};
use crate::yaml::{Entry, Value};

pub(crate) static PEOPLE: Shape = Shape {
    what: "how people log in",
    keys: &[
        Key::optional(
            "oidc",
            "oidc: {issuer: \"https://id.csac.gov\", client_id: hmsops, callback: \"https://…\"}",
        ),
        Key::optional("roles", "roles: {csac-sre: operator, csac-leads: [operator, approver]}"),
        Key::optional("four_eyes", "four_eyes: [irreversible, undeny]"),
        Key::optional("notify", "notify: [security@csac.gov, pager]"),
    ],
};

pub(crate) static OIDC: Shape = Shape {
    what: "an OpenID provider",
    keys: &[
        Key::needed("issuer", "issuer: \"https://id.csac.gov\"", "a provider is known by its issuer"),
        Key::needed("client_id", "client_id: hmsops", "the provider knows the tower by a name"),
        Key::optional("client_secret", "client_secret: \"file:oidc.secret\""),
        Key::needed(
            "callback",
            "callback: \"https://tower.csac.gov:3000/login/oidc/callback\"",
            "browsers come back to the tower",
        ),
        Key::optional("groups_claim", "groups_claim: groups"),
        Key::optional("scopes", "scopes: [profile, groups]"),
        Key::optional("ca", "ca: ca.pem"),
    ],
};

/// Groups that are somebody here.
const GROUPS_MAX: usize = 200;

/// Scopes that the provider is asked for.
const SCOPES_MAX: usize = 16;

/// Where browsers come back to.
const CALLBACK: &str = "/login/oidc/callback";

pub(crate) fn people(entry: &Entry, out: &mut Findings) -> Option<PeopleConfig> {
    let fields = Fields::open(&entry.value, entry.at, &PEOPLE, out)?;
    let oidc = fields.get("oidc").and_then(|entry| oidc(entry, out));
    let roles = fields.get("roles").and_then(|entry| roles(entry, out)).unwrap_or_default();
    let four_eyes = fields.get("four_eyes").and_then(|entry| four_eyes(entry, out)).unwrap_or_default();
    let notify = fields.get("notify").and_then(|entry| crate::policy::notify(entry, out)).unwrap_or_default();
    if let (Some(entry), true) = (fields.get("oidc"), roles.is_empty() && !fields.disturbed) {
        let hint = "add `roles: {GROUP: operator}` beside `oidc`";
        out.warning(entry.at, "nobody who logs in by the provider has a role", hint);
    }
    Some(PeopleConfig { oidc, roles, four_eyes, notify })
}

fn oidc(entry: &Entry, out: &mut Findings) -> Option<OidcConfig> {
    let fields = Fields::open(&entry.value, entry.at, &OIDC, out)?;
    let issuer = fields.get("issuer").and_then(|entry| url(entry, out));
    let client_id = fields.get("client_id").and_then(|entry| line(entry, out));
    let client_secret = match fields.get("client_secret") {
        Some(entry) => Some(secret(&entry.value, "client_secret", out)?),
        None => None,
    };
    let callback = fields.get("callback").and_then(|entry| url(entry, out).map(|url| (entry, url)));
    let callback = callback.and_then(|(entry, url)| {
        if url.ends_with(CALLBACK) {
            return Some(url);
        }
        out.error(
            entry.value.at,
            "`callback` is not where browsers come back to",
            format!("write the tower's address and `{CALLBACK}`"),
        );
        None
    });
    let groups_claim =
        fields.get("groups_claim").map_or_else(|| Some("groups".into()), |entry| line(entry, out));
    let scopes = match fields.get("scopes") {
        Some(entry) => {
            let nodes = scalar::list(entry, "scopes: [profile, groups]", out)?;
            if nodes.len() > SCOPES_MAX {
                out.error(entry.at, format!("more than {SCOPES_MAX} scopes"), "leave some out");
                return None;
            }
            scalar::each(nodes, |node| {
                let text = scalar::text(node, "a scope", "profile", out)?;
                // RFC 6749, section 3.3.
                let fits = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
                if text.is_empty() || text.len() > 100 || !text.chars().all(fits) {
                    out.error(node.at, "this is no scope", "scopes are words such as `profile`");
                    return None;
                }
                Some(text.to_owned())
            })?
        }
        None => vec!["profile".to_owned()],
    };
    let ca = fields.get("ca").and_then(|entry| line(entry, out));
    Some(OidcConfig {
        issuer: issuer?,
        client_id: client_id?,
        client_secret,
        callback: callback?,
        groups_claim: groups_claim?,
        scopes,
        ca,
    })
}

fn url(entry: &Entry, out: &mut Findings) -> Option<String> {
    let what = format!("`{}`", entry.key);
    let written = scalar::text(&entry.value, &what, "https://id.csac.gov", out)?;
    if let Err((message, hint)) = check_url(written) {
        out.hide(entry.value.at);
        out.error(entry.value.at, message, hint);
        return None;
    }
    if written.contains(['?', '#']) {
        out.error(entry.value.at, format!("{what} has a query or a fragment"), "end it with the path");
        return None;
    }
    Some(written.to_owned())
}

fn roles(entry: &Entry, out: &mut Findings) -> Option<BTreeMap<String, Vec<Role>>> {
    let Value::Map(map) = &entry.value.value else {
        if !matches!(entry.value.value, Value::Refused) {
            let message = format!("`roles` is {}, a map was expected", entry.value.form());
            out.error(entry.value.at, message, "write each group's name, a colon, and its role");
        }
        return None;
    };
    if map.entries.len() > GROUPS_MAX {
        out.error(
            entry.at,
            format!("{} groups are more than {GROUPS_MAX}", map.entries.len()),
            "leave some out",
        );
        return None;
    }
    let mut roles = BTreeMap::new();
    for entry in map.entries.iter().filter(|entry| !entry.key.starts_with("x-")) {
        let given = if matches!(entry.value.value, Value::List(_)) {
            let nodes = scalar::list(entry, "[operator, approver]", out);
            nodes.and_then(|nodes| scalar::each(nodes, |node| role(node, out)))
        } else {
            role(&entry.value, out).map(|role| vec![role])
        };
        if let Some(given) = given.filter(|given| !given.is_empty()) {
            roles.insert(entry.key.clone(), given);
        }
    }
    Some(roles)
}

fn role(node: &crate::yaml::Node, out: &mut Findings) -> Option<Role> {
    let written = scalar::text(node, "a role", "operator", out)?;
    if let Ok(role) = written.parse() {
        return Some(role);
    }
    let names = Role::ALL.map(Role::name);
    let hint = match nearest(written, names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("use one of {}", names.join(", ")),
    };
    out.error(node.at, format!("`{}` is not a role", shown(written)), hint);
    None
}

fn four_eyes(entry: &Entry, out: &mut Findings) -> Option<Vec<FourEyes>> {
    let nodes = scalar::list(entry, "four_eyes: [irreversible, undeny]", out)?;
    scalar::each(nodes, |node| {
        let written = scalar::text(node, "what takes four eyes", "irreversible", out)?;
        let known = FourEyes::ALL.into_iter().find(|what| what.name() == written);
        if known.is_none() {
            let names = FourEyes::ALL.map(FourEyes::name).join("` and `");
            out.error(
                node.at,
                format!("`{}` is nothing that takes four eyes", shown(written)),
                format!("there are `{names}`"),
            );
        }
        known
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_tower;

    #[test]
    fn people_are_read_and_what_is_wrong_is_named() {
        let text = "people:\n  oidc: {issuer: \"https://id.csac.gov\", client_id: hmsops, client_secret: \"file:s\", callback: \"https://tower:3000/login/oidc/callback\"}\n  roles: {sre: operator, leads: [operator, approver]}\n  four_eyes: [irreversible]\n  notify: security@csac.gov\n";
        let people = parse_tower(text).value.unwrap().people;
        let oidc = people.oidc.unwrap();
        assert_eq!((oidc.groups_claim.as_str(), oidc.scopes.len()), ("groups", 1));
        assert_eq!(people.roles["leads"], [Role::Operator, Role::Approver]);
        assert_eq!(people.four_eyes, [FourEyes::Irreversible]);
        assert_eq!(people.notify, ["security@csac.gov"]);
        for (text, said) in [
            ("people: {roles: {sre: operater}}", "did you mean `operator`?"),
            ("people: {notify: \"nobody at all\"}", "neither a mail address nor a webhook's name"),
            ("people: {four_eyes: [all]}", "there are `irreversible` and `undeny`"),
            (
                "people: {oidc: {issuer: \"http://far.example\", client_id: x, callback: \"https://t/login/oidc/callback\"}}",
                "https",
            ),
            (
                "people: {oidc: {issuer: \"https://id\", client_id: x, client_secret: hunter2, callback: \"https://t/login/oidc/callback\"}}",
                "file:PATH",
            ),
            (
                "people: {oidc: {issuer: \"https://id\", client_id: x, callback: \"https://t/elsewhere\"}}",
                "/login/oidc/callback",
            ),
        ] {
            let checked = parse_tower(text);
            let all = format!("{:?}", checked.diagnostics);
            assert!(checked.value.is_none() && all.contains(said), "{text}: {all}");
            assert!(!all.contains("hunter2"), "{all}");
        }
    }
}
