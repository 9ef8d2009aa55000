//! Names and numbers that identify things. Each is built by a function that checks it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not the identifier it should be. `Display` says what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdError {
    /// What was wanted: `service name`, `version`, `release id`, …
    pub what: &'static str,
    /// What was found, cut to 80 characters.
    pub found: String,
    /// The form that is accepted.
    pub expected: &'static str,
}

impl IdError {
    fn new(what: &'static str, found: &str, expected: &'static str) -> Self {
        Self { what, found: found.chars().take(80).collect(), expected }
    }
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a {}: expected {}", self.found, self.what, self.expected)
    }
}

impl std::error::Error for IdError {}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $expected:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks and wraps the text.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                let check: fn(&str) -> bool = $check;
                if check(&text) { Ok(Self(text)) } else { Err(IdError::new($what, &text, $expected)) }
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix($prefix)
                    .filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
                    .and_then(|digits| digits.parse().ok())
                    .map(Self)
                    .ok_or_else(|| IdError::new($what, text, concat!("`", $prefix, "` and a number")))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}

text_id!(
    /// A service's name, `csac-portal`: a DNS label, so that it can be a host, a folder and a label value.
    ServiceName,
    "service name",
    "1 to 63 of a-z, 0-9 and `-`, starting and ending with a letter or digit",
    |text| {
        let edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        (1..=63).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && text.as_bytes().first().is_some_and(edge)
            && text.as_bytes().last().is_some_and(edge)
    }
);

text_id!(
    /// A version, which is an image's tag: `1.8.0`. The form is that of an OCI tag.
    Version,
    "version",
    "1 to 128 of A-Z, a-z, 0-9, `_`, `.` and `-`, not starting with `.` or `-`",
    |text| {
        (1..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
            && !text.starts_with(['.', '-'])
    }
);

text_id!(
    /// The content of an image: `sha256:` and 64 lower-case hexadecimal digits.
    Digest,
    "digest",
    "`sha256:` and 64 digits of 0-9 a-f",
    |text| {
        text.strip_prefix("sha256:").is_some_and(|hex| {
            hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        })
    }
);

impl Digest {
    /// From the 32 bytes of a SHA-256.
    pub fn from_sha256(bytes: [u8; 32]) -> Self {
        use fmt::Write as _;
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// `sha256:9f1c…`, for people.
    pub fn short(&self) -> String {
        format!("{}…", self.0.get(..11).unwrap_or(&self.0))
    }
}

text_id!(
    /// An alert rule's name, `photo_error_spike`.
    RuleName,
    "rule name",
    "1 to 128 characters without control characters, spaces at the edges or `/`",
    |text| {
        (1..=128).contains(&text.len())
            && text.trim() == text
            && text.chars().all(|c| !c.is_control() && c != '/')
    }
);

text_id!(
    /// A dashboard's name, `dmv`: the last part of its address.
    DashName,
    "dashboard name",
    "1 to 63 of a-z, 0-9, `_` and `-`, starting with a letter or digit",
    |text| {
        (1..=63).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
            && !text.starts_with(['_', '-'])
    }
);

number_id!(
    /// One attempt to move a service's traffic to a version: `r-42`.
    ReleaseId,
    "r-",
    "release id"
);
number_id!(
    /// One started copy of a version: `i-7`. Never reused, so starting it twice is recognised.
    InstanceId,
    "i-",
    "instance id"
);
number_id!(
    /// One time in which users were affected: `inc-3`.
    IncidentId,
    "inc-",
    "incident id"
);

number_id!(
    /// One episode of an alert, from its first moment to its end: `a-12`.
    AlertId,
    "a-",
    "alert id"
);
number_id!(
    /// One run of what heals: `h-7`. Never reused, so running it twice is recognised.
    HealId,
    "h-",
    "heal id"
);
number_id!(
    /// A time in which alerts tell and heal nothing: `s-2`.
    SilenceId,
    "s-",
    "silence id"
);
number_id!(
    /// Something a person has to do: `t-4`.
    TicketId,
    "t-",
    "ticket id"
);
number_id!(
    /// What a program shows to be let in, `k-3`: the number under which a token is listed and revoked, no secret.
    TokenId,
    "k-",
    "token id"
);
number_id!(
    /// A person who has logged in: an issuer's subject, whatever the name.
    PersonId,
    "p-",
    "person id"
);
number_id!(
    /// A log-in of a person.
    SessionId,
    "ses-",
    "session id"
);
number_id!(
    /// A use of the break-glass.
    GlassId,
    "g-",
    "break-glass id"
);
number_id!(
    /// A program elsewhere that has joined: `ag-3`.
    AgentId,
    "ag-",
    "agent id"
);
number_id!(
    /// One message to one receiver: `n-9`.
    NoticeId,
    "n-",
    "notice id"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_accept_their_form_and_name_it_when_refusing() {
        assert!(ServiceName::new("csac-portal").is_ok());
        for bad in ["", "-a", "a-", "A", "a_b", &"a".repeat(64), "a/../b"] {
            assert!(ServiceName::new(bad).is_err(), "{bad}");
        }
        assert!(Version::new("1.8.0").is_ok());
        for bad in ["", ".hidden", "-x", "a/b", "..", "a b"] {
            assert!(Version::new(bad).is_err(), "{bad}");
        }
        assert_eq!("r-42".parse::<ReleaseId>(), Ok(ReleaseId(42)));
        assert_eq!(
            "42".parse::<ReleaseId>().unwrap_err().to_string(),
            "`42` is not a release id: expected `r-` and a number"
        );
        for bad in ["r-", "r-+1", "r-99999999999999999999", "i-1"] {
            assert!(bad.parse::<ReleaseId>().is_err(), "{bad}");
        }
        assert_eq!(Digest::from_sha256([0xab; 32]).short(), "sha256:abab…");
    }
}
