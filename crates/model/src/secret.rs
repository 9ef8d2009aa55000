//! What nobody is shown: passwords, signing keys, tokens.

use std::fmt;
use std::hint::black_box;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is not printed, not serialised, compared in a time that tells nothing of it, and overwritten when it is
/// no longer needed.
///
/// Overwriting is by ordinary stores that the compiler is kept from leaving out; copies that the system made of the
/// memory (swap, a core file) are not reached by it.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the text out of sight.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into().into_bytes())
    }

    /// For the one place that needs it.
    pub fn expose(&self) -> &str {
        std::str::from_utf8(&self.0).expect("invariant: it is made of a text, and only dropping changes it")
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for Secret {
    /// Takes the same time whatever the two have in common; only their lengths show.
    fn eq(&self, other: &Self) -> bool {
        let differ = self.0.iter().zip(&other.0).fold(0, |differ, (a, b)| black_box(differ | (a ^ b)));
        self.0.len() == other.0.len() && differ == 0
    }
}

impl Eq for Secret {}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        black_box(&self.0);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Where a secret is. The secret itself is never part of a configuration, nor of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SecretRef {
    /// `file:PATH`; of hmsops.yaml a relative path starts at its folder.
    File(String),
    /// `env:NAME`, a variable of the tower's environment.
    Env(String),
    /// `credential:NAME`, a file of `$CREDENTIALS_DIRECTORY` (systemd.exec(5), "Credentials").
    Credential(String),
}

/// A text that says no place of a secret. It may be the secret itself, so it is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretRefError;

impl fmt::Display for SecretRefError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the place of a secret, like `file:PATH`, `env:NAME` or `credential:NAME`")
    }
}

impl std::error::Error for SecretRefError {}

impl FromStr for SecretRef {
    type Err = SecretRefError;

    fn from_str(text: &str) -> Result<Self, SecretRefError> {
        match text.split_once(':') {
            Some(("file", path)) => Ok(Self::File(path.to_owned())),
            Some(("env", name)) => Ok(Self::Env(name.to_owned())),
            Some(("credential", name)) => Ok(Self::Credential(name.to_owned())),
            _ => Err(SecretRefError),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{path}"),
            Self::Env(name) => write!(f, "env:{name}"),
            Self::Credential(name) => write!(f, "credential:{name}"),
        }
    }
}

impl TryFrom<String> for SecretRef {
    type Error = SecretRefError;

    fn try_from(text: String) -> Result<Self, SecretRefError> {
        text.parse()
    }
}

impl From<SecretRef> for String {
    fn from(from: SecretRef) -> Self {
        from.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let secret = Secret::new("hunter2");
        assert_eq!(
            format!("{secret} {secret:?} {:?}", Some(&secret)),
            "[redacted] [redacted] Some([redacted])"
        );
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn a_place_is_written_as_it_is_read_and_a_secret_in_its_stead_is_not_repeated() {
        for text in ["file:/etc/portal/db.password", "env:DB_PASSWORD", "credential:db"] {
            let place: SecretRef = text.parse().unwrap();
            assert_eq!(place.to_string(), text);
        }
        let wrong = "hunter2".parse::<SecretRef>().unwrap_err().to_string();
        assert!(!wrong.contains("hunter2"), "{wrong}");
    }

    #[test]
    fn secrets_are_equal_when_their_texts_are() {
        let one = Secret::new("hunter2");
        assert!(one == Secret::new("hunter2") && !one.is_empty());
        for other in ["", "hunter", "hunter3", "hunter22", "Hunter2"] {
            assert_ne!(one, Secret::new(other), "{other}");
        }
    }
}
