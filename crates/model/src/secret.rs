//! What nobody is shown: passwords, signing keys, tokens.

use std::fmt;
use std::hint::black_box;

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
    fn secrets_are_equal_when_their_texts_are() {
        let one = Secret::new("hunter2");
        assert!(one == Secret::new("hunter2") && !one.is_empty());
        for other in ["", "hunter", "hunter3", "hunter22", "Hunter2"] {
            assert_ne!(one, Secret::new(other), "{other}");
        }
    }
}
