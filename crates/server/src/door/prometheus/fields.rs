//! What a request of the query API is asked with: fields of the address and of a form's body, any of them repeated.

use axum::extract::{FromRequest, Request};
use hmsops_promql::number;
use hmsops_wire::prometheus::Failure as Kind;
use http::header::CONTENT_TYPE;
use jiff::Timestamp;

use super::Refused;
use crate::door::body::whole;

/// Fields of one request.
const FIELDS_MAX: usize = 1000;

/// Fields by name, those of a form's body before those of the address.
pub(super) struct Fields(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Refused;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Refused> {
        let media =
            request.headers().get(CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or_default();
        let is_form =
            media.trim_start().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded");
        let query = request.uri().query().unwrap_or_default().to_owned();
        let mut fields = Vec::new();
        if is_form {
            let body = whole(request.into_body()).await;
            let body = body.map_err(|failure| Refused::new(Kind::BadData, failure.words()))?;
            read(&body.bytes, &mut fields)?;
        }
        read(query.as_bytes(), &mut fields)?;
        Ok(Self(fields))
    }
}

fn read(bytes: &[u8], fields: &mut Vec<(String, String)>) -> Result<(), Refused> {
    for (name, value) in form_urlencoded::parse(bytes) {
        if fields.len() >= FIELDS_MAX {
            return Err(Refused::new(Kind::BadData, format!("there are more than {FIELDS_MAX} parameters")));
        }
        fields.push((name.into_owned(), value.into_owned()));
    }
    Ok(())
}

impl Fields {
    /// The first of this name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All of this name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A moment in Unix milliseconds; `None` when it is not given.
    pub(super) fn moment(&self, name: &str) -> Result<Option<i64>, Refused> {
        let given = self.get(name).filter(|text| !text.is_empty());
        let read = |text| {
            let why = || Refused::parameter(name, format!("cannot parse {text:?} to a valid timestamp"));
            moment(text).ok_or_else(why)
        };
        given.map(read).transpose()
    }

    /// A whole number; 0 when it is not given.
    pub(super) fn number(&self, name: &str) -> Result<usize, Refused> {
        let Some(text) = self.get(name).filter(|text| !text.is_empty()) else { return Ok(0) };
        text.parse().map_err(|_| Refused::parameter(name, "limit must be non-negative"))
    }

    /// At most so many results; 0: all.
    pub(super) fn limit(&self) -> Result<usize, Refused> {
        self.number("limit")
    }
}

/// A moment in Unix milliseconds: seconds as a number, or RFC 3339.
pub(super) fn moment(text: &str) -> Option<i64> {
    if let Some(seconds) = number::parse(text) {
        return millis(seconds);
    }
    text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

/// A span in milliseconds: seconds as a number, or `1h30m`.
pub(super) fn duration(text: &str) -> Option<i64> {
    match number::parse(text) {
        Some(seconds) => millis(seconds),
        None => hmsops_promql::duration::parse(text),
    }
}

/// Seconds as whole milliseconds, within what a clock of nanoseconds can hold, as Prometheus has it.
fn millis(seconds: f64) -> Option<i64> {
    let millis = (seconds * 1000.0).round();
    (millis.abs() <= (i64::MAX / 1_000_000) as f64).then_some(millis as i64)
}

/// A label's name as it is meant: `U__http_2e_status` stands for `http.status` (Prometheus' UTF-8 proposal), since not
/// all characters can stand in a path.
pub(super) fn unescaped(name: &str) -> String {
    fn read(mut rest: &str) -> Option<String> {
        let mut text = String::new();
        while let Some((before, after)) = rest.split_once('_') {
            text.push_str(before);
            rest = if let Some(after) = after.strip_prefix('_') {
                text.push('_');
                after
            } else {
                let (code, after) = after.split_once('_')?;
                text.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
                after
            };
        }
        text.push_str(rest);
        Some(text)
    }
    name.strip_prefix("U__").and_then(read).unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_spans_are_read_as_by_prometheus() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1435781451.781", Some(1_435_781_451_781)),
            ("1e3", Some(1_000_000)),
            ("-1.5", Some(-1500)),
            ("2015-07-01T20:10:51.781Z", Some(1_435_781_451_781)),
            ("2015-07-01T22:10:51.781+02:00", Some(1_435_781_451_781)),
            ("", None),
            ("NaN", None),
            ("Inf", None),
            ("1e30", None),
            ("yesterday", None),
        ] {
            assert_eq!(moment(text), expected, "{text}");
        }
        for (text, expected) in [
            ("15", Some(15_000)),
            ("0.5", Some(500)),
            ("1h30m", Some(5_400_000)),
            ("-1", Some(-1000)),
            ("x", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
    }

    #[test]
    fn names_in_paths_are_unescaped() {
        for (path, name) in [
            ("job", "job"),
            ("U__http_2e_status", "http.status"),
            ("U__a__b", "a_b"),
            ("U__bad_zz_", "U__bad_zz_"),
            ("U__open_2e", "U__open_2e"),
        ] {
            assert_eq!(unescaped(path), name);
        }
    }
}
