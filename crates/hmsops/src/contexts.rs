//! `~/.config/hmsops/config.yaml`: towers this user has logged in to.
//!
//! ```yaml
//! current: default
//! contexts:
//!   default:
//!     server: "http://127.0.0.1:3000"
//!     token: "hms_admin_…"
//!     ca: "sha256:…"
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use hmsops_server::door::folder;

use crate::failure::{Exit, Failure};

/// The file's name in its folder.
const FILE: &str = "config.yaml";

/// Towers by name, and which one is meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Contexts {
    pub(crate) current: String,
    pub(crate) all: BTreeMap<String, Place>,
}

/// Where a tower is, and what is shown to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub(crate) server: String,
    pub(crate) token: String,
    /// By what it is recognised, where that was said: a file, or `sha256:…`.
    pub(crate) ca: String,
}

impl Contexts {
    /// Where the file is, or would be.
    pub(crate) fn place() -> Option<PathBuf> {
        dir().map(|dir| dir.join(FILE))
    }

    /// What is in the file; nothing when there is none.
    pub(crate) fn read() -> Result<Self, Failure> {
        let Some(path) = dir().map(|dir| dir.join(FILE)) else { return Ok(Self::default()) };
        let wrong = |what: String| {
            Failure::usage(format!("cannot use `{}`: {what}", path.display()))
                .hint("`hmsops login --server URL --token TOKEN` writes it anew once it is removed")
        };
        let text = folder::check_private(&path)
            .map_err(std::io::Error::other)
            .and_then(|()| std::fs::read_to_string(&path));
        match text {
            Ok(text) => Self::parse(&text).map_err(wrong),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    /// Replaces the file; answers where it is. Only its owner may read it.
    pub(crate) fn write(&self) -> Result<PathBuf, Failure> {
        let dir = dir().ok_or_else(|| {
            Failure::new(
                Exit::Failed,
                "cannot tell where to keep it: neither HOME nor XDG_CONFIG_HOME is set",
            )
        })?;
        let written = folder::disk(&dir)
            .and_then(|disk| disk.replace(FILE, self.text().as_bytes()).map_err(|error| error.to_string()));
        let path = dir.join(FILE);
        written.map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot write `{}`: {error}", path.display()))
        })?;
        Ok(path)
    }

    /// The one that is meant.
    pub(crate) fn current(&self) -> Option<&Place> {
        self.all.get(&self.current)
    }

    fn text(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let mut text = format!("current: {}\ncontexts:\n", quoted(&self.current));
        for (name, place) in &self.all {
            let (name, server, token) = (quoted(name), quoted(&place.server), quoted(&place.token));
            // Writing to a String cannot fail.
            let _ = write!(text, "  {name}:\n    server: {server}\n    token: {token}\n");
            if !place.ca.is_empty() {
                let _ = writeln!(text, "    ca: {}", quoted(&place.ca));
            }
        }
        text
    }

    /// Reads what [`Self::text`] writes, also when a person has changed it; the error names the line.
    fn parse(text: &str) -> Result<Self, String> {
        let mut contexts = Self::default();
        let mut name = None;
        for (index, line) in text.lines().enumerate() {
            let wrong = |what: &str| format!("line {}: {what}", index + 1);
            let content = line.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let indent = line.len() - line.trim_start_matches(' ').len();
            let (key, value) = pair(content).ok_or_else(|| wrong("expected `key: value`"))?;
            match (indent, key.as_str(), &mut name) {
                (0, "current", _) => contexts.current = value,
                (0, "contexts", _) if value.is_empty() => name = None,
                (2, _, _) if value.is_empty() => {
                    contexts.all.insert(key.clone(), Place::default());
                    name = Some(key);
                }
                (4, "server" | "token" | "ca", Some(name)) => {
                    let place = contexts.all.entry(name.clone()).or_default();
                    *match key.as_str() {
                        "server" => &mut place.server,
                        "token" => &mut place.token,
                        _ => &mut place.ca,
                    } = value;
                }
                _ => return Err(wrong("expected `current`, or `server`, `token` and `ca` of a context")),
            }
        }
        Ok(contexts)
    }
}

/// `key: value`, each bare or in double quotes.
fn pair(line: &str) -> Option<(String, String)> {
    let (key, value) = if line.starts_with('"') {
        let end = line.get(1..)?.find('"')? + 2;
        let (key, rest) = line.split_at_checked(end)?;
        (key, rest.strip_prefix(':')?)
    } else {
        line.split_once(':')?
    };
    let bare = |text: &str| {
        let text = text.trim();
        if text.starts_with('"') { serde_json::from_str(text).ok() } else { Some(text.to_owned()) }
    };
    Some((bare(key)?, bare(value)?))
}

fn dir() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")))?;
    Some(base.join("hmsops"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let place = Place {
            server: "http://127.0.0.1:3000".into(),
            token: "hms_admin_x".into(),
            ca: "sha256:ab".into(),
        };
        let contexts = Contexts { current: "lab: \"one\"".into(), all: [("lab".into(), place)].into() };
        assert_eq!(Contexts::parse(&contexts.text()), Ok(contexts));
        let bare = "# mine\ncurrent: lab\ncontexts:\n  lab:\n    server: http://h:1\n    token: t\n";
        assert_eq!(Contexts::parse(bare).unwrap().current().unwrap().server, "http://h:1");
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, line) in
            [("current", 1), ("current: a\nserver: b\n", 2), ("contexts:\n    server: x\n", 2)]
        {
            let wrong = Contexts::parse(text).unwrap_err();
            assert!(wrong.starts_with(&format!("line {line}: ")), "{wrong}");
        }
    }
}
