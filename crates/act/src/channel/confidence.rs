//! What a receiver was told in confidence. Some repeat what they were sent when they refuse it, and what they say is kept
//! in the ledger and shown on pages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmsops_model::Secret;
use hyper::Uri;

/// Shorter ones would be found in words that mean nothing; whoever guesses them needs no echo.
const BYTES_MIN: usize = 6;

/// Stands where one was.
const REDACTED: &str = "[redacted]";

/// Texts that nobody else may see. Printed, they are as redacted as their parts.
#[derive(Debug, Clone, Default)]
pub(super) struct Confidences(Vec<Secret>);

impl Confidences {
    fn of(mut texts: Vec<String>) -> Self {
        texts.retain(|text| text.len() >= BYTES_MIN);
        // What holds others goes first.
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        Self(texts.into_iter().map(Secret::new).collect())
    }

    /// A password as mail takes it: PLAIN (RFC 4616 §2), LOGIN, and in clear.
    pub(super) fn of_mail(user: &str, password: &Secret) -> Self {
        let password = password.expose();
        let plain = BASE64.encode(format!("\0{user}\0{password}"));
        Self::of(vec![plain, BASE64.encode(password), password.to_owned()])
    }

    /// A webhook's address is often all that lets in: each part of its path, and the values of its query.
    pub(super) fn of_address(uri: &Uri) -> Self {
        let parts = uri.path().split('/').chain(uri.query().unwrap_or_default().split(['&', '=', ';']));
        Self::of(parts.flat_map(|part| [part.to_owned(), decoded(part)]).collect())
    }

    /// A text without them. What was cut off may end with the beginning of one, so that goes, too.
    pub(super) fn without(&self, text: &str) -> String {
        let mut text =
            self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.expose(), REDACTED));
        let begun = self.0.iter().filter_map(|secret| begun_at_the_end(&text, secret.expose())).max();
        if let Some(length) = begun {
            text.truncate(text.len() - length);
            text.push_str(REDACTED);
        }
        text
    }
}

/// How many bytes at the end of a text are the beginning of this one.
fn begun_at_the_end(text: &str, secret: &str) -> Option<usize> {
    let mut lengths = (BYTES_MIN..secret.len().min(text.len() + 1)).rev();
    lengths.find(|length| secret.get(..*length).is_some_and(|start| text.ends_with(start)))
}

/// Percent-encoding undone (RFC 3986 §2.1); what is none stays.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let pair = after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        let byte = pair.filter(|_| *first == b'%').and_then(|pair| u8::from_str_radix(pair, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_mail_server_repeats_of_a_password_is_taken_out() {
        let told = Confidences::of_mail("hmsops", &Secret::new("hunter2"));
        for line in [
            "AUTH PLAIN AGhtc29wcwBodW50ZXIy",
            "AHVudGVyMg== aHVudGVyMg==",
            "`hunter2` is wrong",
            "AUTH PLAIN AGhtc29wcwBodW5",
        ] {
            let said = told.without(line);
            assert!(said.contains(REDACTED), "{said}");
            for part in ["hunter2", "aHVudGVyMg", "AGhtc29wcwBodW5"] {
                assert!(!said.contains(part), "{said}");
            }
        }
        assert_eq!(told.without("5.7.8 bad credentials"), "5.7.8 bad credentials");
        assert!(!format!("{told:?}").contains("hunter2"));
    }

    #[test]
    fn what_a_receiver_repeats_of_its_address_is_taken_out() {
        let told = Confidences::of_address(
            &"https://hooks.csac.gov/services/T0B0C1/abc%2Fdef?key=hunter2&v=1".parse().unwrap(),
        );
        let said = told.without("no POST /services/T0B0C1/abc%2Fdef (abc/def) ?key=hunter2&v=1 here: hunter");
        assert_eq!(said, "no POST /~/~/~ (~) ?key=~&v=1 here: ~".replace('~', REDACTED));
    }

    #[test]
    fn an_encoding_that_is_none_stays() {
        for (text, plain) in [("a%20b", "a b"), ("100%", "100%"), ("%zz%4", "%zz%4"), ("%C3%A9", "é")] {
            assert_eq!(decoded(text), plain);
        }
    }
}
