//! Which tower is meant, and with which token.

use std::path::{Path, PathBuf};

use hmsops_server::door::folder;

use crate::client::Client;
use crate::contexts::Contexts;
use crate::failure::Failure;
use crate::trust::Trust;

/// Where a tower listens that was told nothing else.
const DEFAULT_SERVER: &str = "http://127.0.0.1:3000";

/// A tower's data folder, when nothing else is said.
pub(crate) fn data_folder() -> PathBuf {
    let set = std::env::var_os("HMSOPS_DATA").filter(|value| !value.is_empty());
    set.map_or_else(|| PathBuf::from("hmsops-data"), PathBuf::from)
}

/// What was said on the command line or in the environment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) server: Option<String>,
    pub(crate) token: Option<String>,
    /// By what the tower is recognised: a file, or `sha256:…`.
    pub(crate) ca: Option<String>,
}

impl Asked {
    /// The tower that is meant: as asked, else the current context, else the one on this machine's default port.
    pub(crate) fn client(self) -> Result<Client, Failure> {
        let asked = self.ca.clone().filter(|ca| !ca.is_empty());
        let asked = asked.map(|ca| Trust::parse(&ca)).transpose()?;
        if let Some((server, token)) = self.of_environment() {
            let trust = asked.unwrap_or_else(|| trust(&server, &Contexts::default(), &data_folder()));
            return Ok(Client::new(&server, Some(token))?.trusting(trust));
        }
        let (contexts, data) = (Contexts::read()?, data_folder());
        let (server, token) = resolve(self, &contexts, &data);
        let trust = asked.unwrap_or_else(|| trust(&server, &contexts, &data));
        Ok(Client::new(&server, token)?.trusting(trust))
    }

    /// Whether the tower that is meant is the one of this data folder.
    pub(crate) fn is_of(&self, data: &Path) -> bool {
        if self.of_environment().is_some() {
            return true;
        }
        // A file that cannot be read has been told of by then.
        let contexts = Contexts::read().unwrap_or_default();
        let (server, _) = resolve(self.clone(), &contexts, data);
        is_local(&server) || is_of_folder(&server, data)
    }

    /// An environment that names a tower and its folder, as that of a heal does, needs nothing else: what a user has
    /// logged in to neither helps nor stands in the way.
    fn of_environment(&self) -> Option<(String, String)> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        together(self, set("HMSOPS_SERVER"), set("HMSOPS_DATA").as_deref().map(Path::new))
    }
}

/// The tower and the token of its folder, when both were named together and nothing else was asked for.
fn together(asked: &Asked, server: Option<String>, data: Option<&Path>) -> Option<(String, String)> {
    let server = server.filter(|server| asked.server.as_ref() == Some(server))?;
    let is_here = is_local(&server) || is_of_folder(&server, data?) || is_address_here(&server);
    let server = Some(server).filter(|_| is_here)?;
    let token = asked.token.clone().filter(|token| !token.is_empty());
    Some((server, token.or_else(|| folder::admin_token(data?))?))
}

/// A token is only ever shown to the tower it belongs to.
fn resolve(asked: Asked, contexts: &Contexts, data: &Path) -> (String, Option<String>) {
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    let current = contexts.current().filter(|place| !place.server.is_empty());
    let server = some(asked.server)
        .or_else(|| current.map(|place| place.server.clone()))
        .or_else(|| folder::tls_server(data))
        .unwrap_or_else(|| DEFAULT_SERVER.to_owned());
    let of_context = || {
        let places = current.into_iter().chain(contexts.all.values());
        places
            .filter(|place| same(&place.server, &server))
            .map(|place| place.token.clone())
            .find(|token| !token.is_empty())
    };
    let of_folder =
        || if is_local(&server) || is_of_folder(&server, data) { folder::admin_token(data) } else { None };
    let token = some(asked.token).or_else(of_context).or_else(of_folder);
    (server, token)
}

/// By what a tower is recognised when nothing is asked for: as its context says, as its data folder here says, else by the
/// authorities of this machine.
fn trust(server: &str, contexts: &Contexts, data: &Path) -> Trust {
    let current = contexts.current();
    let places = current.into_iter().chain(contexts.all.values());
    let known = places.filter(|place| same(&place.server, server)).map(|place| place.ca.as_str());
    if let Some(trust) = known.filter(|ca| !ca.is_empty()).find_map(|ca| Trust::parse(ca).ok()) {
        return trust;
    }
    match folder::served(data) {
        Some(file) if is_local(server) || is_of_folder(server, data) => Trust::File(file),
        _ => Trust::Machine,
    }
}

fn same(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

/// Whether it is the tower of this data folder, which is then recognised by what the folder says, wherever it listens.
fn is_of_folder(server: &str, data: &Path) -> bool {
    folder::tls_server(data).is_some_and(|known| same(&known, server))
}

/// Whether it is an address of this machine: others cannot be bound.
fn is_address_here(server: &str) -> bool {
    let address = server.strip_prefix("http://").and_then(|rest| rest.parse::<std::net::SocketAddr>().ok());
    address.is_some_and(|address| std::net::UdpSocket::bind((address.ip(), 0)).is_ok())
}

fn is_local(server: &str) -> bool {
    let rest = server.strip_prefix("http://").or_else(|| server.strip_prefix("https://")).unwrap_or(server);
    let host = rest
        .split('/')
        .next()
        .and_then(|authority| authority.rsplit_once(':').map(|(host, _)| host).or(Some(authority)));
    matches!(host, Some("127.0.0.1" | "localhost" | "[::1]"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contexts::Place;

    fn contexts() -> Contexts {
        let place = |server: &str, token: &str| Place {
            server: server.into(),
            token: token.into(),
            ca: String::new(),
        };
        let all = [("a".into(), place("http://a:1", "ta")), ("b".into(), place("http://b:1/", "tb"))].into();
        Contexts { current: "a".into(), all }
    }

    #[test]
    fn what_is_asked_for_wins_and_tokens_stay_with_their_tower() {
        let none = Path::new("no-such-folder");
        let asked = |server: &str, token: &str| {
            let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            resolve(Asked { server: some(server), token: some(token), ca: None }, &contexts(), none)
        };
        for (given, server, token) in [
            (("", ""), "http://a:1", Some("ta")),
            (("http://b:1", ""), "http://b:1", Some("tb")),
            (("http://c:1", ""), "http://c:1", None),
            (("http://c:1", "tc"), "http://c:1", Some("tc")),
            (("", "other"), "http://a:1", Some("other")),
        ] {
            assert_eq!(asked(given.0, given.1), (server.to_owned(), token.map(str::to_owned)), "{given:?}");
        }
        assert_eq!(resolve(Asked::default(), &Contexts::default(), none), (DEFAULT_SERVER.to_owned(), None));
    }

    #[test]
    fn a_heals_environment_alone_is_enough() {
        let folder = tempfile::tempdir().unwrap();
        let token = folder::admin_token(folder.path());
        assert_eq!(token, None, "an empty folder has none");
        let asked = |server: &str, token: Option<&str>| Asked {
            server: Some(server.into()),
            token: token.map(str::to_owned),
            ca: None,
        };
        let here = "http://127.0.0.1:3000";
        let found = |asked: &Asked, server: &str| together(asked, Some(server.into()), Some(folder.path()));
        assert_eq!(found(&asked(here, None), here), None, "without a token contexts are asked");
        assert_eq!(found(&asked(here, Some("t")), here), Some((here.into(), "t".into())));
        assert_eq!(found(&asked("http://127.0.0.1:4000", Some("t")), here), None, "another was asked for");
        assert_eq!(found(&asked("http://far:3000", Some("t")), "http://far:3000"), None, "not this machine");
    }

    #[test]
    fn the_data_folders_token_is_for_this_machine_only() {
        for (server, local) in
            [("http://127.0.0.1:3000", true), ("http://localhost/", true), ("http://tower:3000", false)]
        {
            assert_eq!(is_local(server), local, "{server}");
        }
    }
}
