//! What is read of a request: bounded, checked, and refused with what was expected.

use std::sync::{Arc, LazyLock};

use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::response::{IntoResponse, Redirect, Response};
use hmsops_wire::api::BODY_BYTES_MAX;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::Failure;
use crate::collect::{Whole, read};

/// The longest reason a person gives, in characters.
const REASON_CHARS_MAX: usize = 500;

/// Bytes of bodies that may be under way, metrics apart: people and scripts send some kilobytes. The form of the log-in
/// takes one of anybody.
const BODIES_BYTES_MAX: usize = 32 << 20;

/// A body as JSON (or as a form's fields), at most 1 MiB.
pub(crate) struct Body<T> {
    /// What it holds.
    pub(crate) value: T,
    /// Whether a form sent it: then the answer is a page to go to.
    pub(crate) is_form: bool,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Failure> {
        let media =
            request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_form = media == "application/x-www-form-urlencoded";
        if !is_form && !media.is_empty() && media != "application/json" {
            return Err(
                Failure::argument(format!("the body is `{media:.80}`")).hint("send `application/json`")
            );
        }
        let here = request.extensions().get::<Arc<Whole>>().cloned();
        let whole = match here {
            Some(here) => here,
            None => Arc::new(whole(request.into_body()).await?),
        };
        let bytes = &whole.bytes;
        let value = if is_form {
            axum::Form::<T>::from_bytes(bytes)?
        } else if bytes.is_empty() {
            // A body that may be left out has only fields that may be.
            read_json(b"{}")?
        } else {
            read_json(bytes)?
        };
        Ok(Self { value, is_form })
    }
}

/// A body of at most 1 MiB that has come whole, in time, and with all others within [`BODIES_BYTES_MAX`].
pub(crate) async fn whole(body: axum::body::Body) -> Result<Whole, Failure> {
    static ROOM: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(BODIES_BYTES_MAX)));
    Ok(read(body, BODY_BYTES_MAX, &ROOM).await?)
}

fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| Failure::argument(format!("cannot read the body: {error}")))
}

/// Reads a form's fields.
trait FromForm: Sized {
    fn from_bytes(bytes: &[u8]) -> Result<Self::Fields, Failure>;
    type Fields;
}

impl<T: DeserializeOwned> FromForm for axum::Form<T> {
    type Fields = T;
    fn from_bytes(bytes: &[u8]) -> Result<T, Failure> {
        let text = std::str::from_utf8(bytes).map_err(|_| Failure::argument("the form is not UTF-8"))?;
        let uri = http::Uri::builder().path_and_query(format!("/?{text}")).build();
        let uri = uri.map_err(|_| Failure::argument("the form holds what no browser sends"))?;
        Query::<T>::try_from_uri(&uri)
            .map(|Query(fields)| fields)
            .map_err(|error| Failure::argument(format!("cannot read the form: {}", error.body_text())))
    }
}

/// The query, each name known.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        Query::<T>::try_from_uri(&parts.uri)
            .map(|Query(params)| Self(params))
            .map_err(|error| Failure::argument(format!("cannot read the query: {}", error.body_text())))
    }
}

/// A reason as it goes to the ledger.
pub(crate) fn reason(text: &str) -> Result<String, Failure> {
    let text = text.trim();
    let n = text.chars().count();
    if n > REASON_CHARS_MAX {
        return Err(Failure::argument(format!(
            "the reason has {n} characters, at most {REASON_CHARS_MAX} are taken"
        )));
    }
    if text.chars().any(|c| c.is_control() || turns(c)) {
        return Err(Failure::argument("the reason holds a control character").hint("write it in one line"));
    }
    Ok(if text.is_empty() { hmsops_control::event::NO_REASON.into() } else { text.into() })
}

/// Whether a character ends a line or turns the direction of what follows: in a log or a terminal the line would read
/// as another (UAX #9, section 2; "Trojan Source", CVE-2021-42574).
fn turns(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A reason where one has to be given.
pub(crate) fn needed_reason(text: &str) -> Result<String, Failure> {
    if text.trim().is_empty() {
        return Err(Failure::argument("a reason is needed: it goes into the ledger")
            .hint("say why in one line: `reason`"));
    }
    reason(text)
}

/// The answer to a change: JSON for programs, the next page for forms.
pub(crate) fn changed<T: Serialize>(is_form: bool, next: Option<&str>, answer: &T) -> Response {
    if !is_form {
        return axum::Json(answer).into_response();
    }
    Redirect::to(next.filter(|path| own_path(path)).unwrap_or("/")).into_response()
}

/// Whether this is a path on this tower: `//host` and `/\host` lead elsewhere.
pub(crate) fn own_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= 2000
        && !path.starts_with("//")
        && !path.contains(|c: char| c == '\\' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_leads_to_pages_of_this_tower_only() {
        for (next, to) in [
            (Some("/releases/r-1"), "/releases/r-1"),
            (Some("//evil.example"), "/"),
            (Some("/\\evil.example"), "/"),
            (Some("https://evil.example"), "/"),
            (None, "/"),
        ] {
            let response = changed(true, next, &());
            assert_eq!(response.headers()[http::header::LOCATION], to, "{next:?}");
        }
    }

    #[test]
    fn reasons_are_one_line() {
        assert_eq!(reason("  wrong build ").unwrap(), "wrong build");
        assert_eq!(reason("").unwrap(), "no reason given");
        assert!(reason("a\nb").is_err() && reason(&"x".repeat(501)).is_err());
    }
}
