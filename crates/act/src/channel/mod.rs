//! Channels to people: mail and webhooks. A channel sends one message once and says what came of it; whether and
//! when it is tried again is decided elsewhere.
//!
//! Every phase has a time limit, every answer a length limit, and nothing secret is in what a channel says.

mod confidence;
pub mod fetch;
mod letter;
pub mod mail;
mod tls;
pub mod webhook;

use std::time::Duration;

pub use hmsops_model::Secret;
use hmsops_model::UnixMillis;

/// To reach a server that is there takes milliseconds.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// From the first packet to the answer. A person waits for the other end of this.
const WHOLE_LIMIT: Duration = Duration::from_secs(20);
/// `n-18446744073709551615` is 22 characters; room for what others call their messages.
const KEY_CHARS_MAX: usize = 128;
/// What a server says is for one line of a page.
const SAID_CHARS_MAX: usize = 200;

/// What is told to one receiver.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The same for every attempt, so that a receiver knows a repeated one: letters, digits, `-` and `_`, 1 to 128
    /// of them.
    pub key: String,
    /// One line; line breaks become spaces, and what is longer than 250 characters is cut.
    pub subject: String,
    /// The mail's body, plain text.
    pub text: String,
    /// The webhook's body.
    pub json: serde_json::Value,
    /// When it came to be; the same for every attempt.
    pub at: UnixMillis,
}

impl Message {
    /// The key becomes part of headers and of what is signed.
    fn check(&self) -> Result<(), ChannelError> {
        let known = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !self.key.is_empty() && self.key.len() <= KEY_CHARS_MAX && self.key.chars().all(known) {
            return Ok(());
        }
        let found = one_line(&self.key);
        Err(ChannelError::lasting(format!(
            "`{found}` is not a message's key: expected 1 to {KEY_CHARS_MAX} letters, digits, `-` or `_`"
        )))
    }
}

/// Why a message did not get through, or a channel cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct ChannelError {
    /// A sentence: what was tried, and what went wrong.
    pub why: String,
    /// Another attempt with the same message and settings will fail the same way.
    pub is_final: bool,
    /// The receiver asks not to be tried again before.
    pub retry_after: Option<Duration>,
}

impl ChannelError {
    fn lasting(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_final: true, retry_after: None }
    }

    fn passing(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_final: false, retry_after: None }
    }
}

/// How long a channel may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLimits {
    /// Until there is a connection, its name looked up; 5 s.
    pub connect: Duration,
    /// Until the answer; 20 s.
    pub whole: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self { connect: CONNECT_LIMIT, whole: WHOLE_LIMIT }
    }
}

/// What a server said, as one line that changes nothing where it is shown.
fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    cut(&line, SAID_CHARS_MAX)
}

/// At most `chars_max` characters of it, and `…` in the last one's place where something is missing.
fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}

/// For sentences: `5 s`, `300 ms`.
fn span_text(span: Duration) -> String {
    hmsops_model::Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_becomes_one_bounded_line() {
        assert_eq!(one_line(" a\r\nb\u{1b}[31m\tc "), "a b [31m c");
        assert_eq!(one_line(&"x".repeat(1000)).chars().count(), SAID_CHARS_MAX);
    }

    #[test]
    fn a_key_holds_nothing_that_could_end_a_header_or_a_signed_part() {
        let message = |key: &str| Message {
            key: key.into(),
            subject: String::new(),
            text: String::new(),
            json: serde_json::Value::Null,
            at: UnixMillis(0),
        };
        assert_eq!(message("n-9").check(), Ok(()));
        for key in ["", "n.9", "n-9\r\nTo: x", "<n-9>", "ñ", &"n".repeat(129)] {
            assert!(message(key).check().is_err_and(|error| error.is_final), "{key}");
        }
    }
}
