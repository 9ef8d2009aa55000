//! The one place where failures become statuses and `application/problem+json`.

use axum::response::{IntoResponse, Response};
use hmsops_config::{Diagnostic, Report};
use hmsops_control::{Refusal, RefusalKind};
use hmsops_model::ids::IdError;
use hmsops_wire::api::{MEDIA_TYPE, Mistake, Problem};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use crate::collect::emit::EmitError;
use crate::collect::{AppendError, BodyError};
use crate::engine::Stopping;

/// What is said to whoever brings neither a token nor a session.
pub(crate) const NOTHING_BROUGHT: &str = "this needs a token";

/// The kind of a failure that a fresh proof of who somebody is mends.
const STALE: &str = "not-lately-proven";

/// Why a request is not carried out. Nothing has changed.
#[derive(Debug, Clone)]
pub struct Failure {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    hint: Option<String>,
    mistakes: Vec<Mistake>,
    /// In seconds.
    retry_after: Option<u32>,
}

impl Failure {
    fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            title,
            detail: detail.into(),
            hint: None,
            mistakes: Vec::new(),
            retry_after: None,
        }
    }

    /// 401: it isn't known who asks.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "who asks is not known", detail)
    }

    /// 403: who asks may not.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "not allowed", detail)
    }

    /// 404: the named thing isn't there.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "not found", detail)
    }

    /// 405: there, but not to be used so.
    pub fn method(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "not to be used so", detail)
    }

    /// 409: against a rule or the present state.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "not possible now", detail)
    }

    /// 400: an argument is wrong.
    pub fn argument(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-argument", "an argument is wrong", detail)
    }

    /// 413: more than is taken.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "too large", detail)
    }

    /// 415: in a form that is not read here.
    pub fn unsupported(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "not read in this form",
            detail,
        )
    }

    /// 422: files with mistakes, all of them.
    pub fn files(reports: &[Report]) -> Self {
        let mistakes = mistakes(reports);
        let errors: Vec<&Mistake> = mistakes.iter().filter(|m| m.severity == "error").collect();
        let detail = match errors.as_slice() {
            [] => "the file cannot be used".to_owned(),
            [one] => format!("{}:{}:{}: {}", one.file, one.line, one.column, one.message),
            [first, ..] => format!(
                "{} mistakes; the first: {}:{}:{}: {}",
                errors.len(),
                first.file,
                first.line,
                first.column,
                first.message
            ),
        };
        let hint = errors.first().and_then(|first| first.hint.clone());
        let failure =
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-file", "a file has mistakes", detail);
        Self { hint, mistakes, ..failure }
    }

    /// 400: fields of what was sent are wrong, all of them: each mistake names its field, where files have a name.
    pub fn fields(wrong: &[hmsops_config::Mistake]) -> Self {
        let one = |found: &hmsops_config::Mistake| Mistake {
            file: found.field.clone(),
            severity: "error".to_owned(),
            line: found.line,
            column: found.column,
            message: found.message.clone(),
            hint: Some(found.hint.clone()).filter(|hint| !hint.is_empty()),
        };
        let mistakes: Vec<Mistake> = wrong.iter().map(one).collect();
        let detail = match mistakes.as_slice() {
            [] => "a field is wrong".to_owned(),
            [first, rest @ ..] => {
                let said = format!("`{}`, column {}: {}", first.file, first.column, first.message);
                if rest.is_empty() { said } else { format!("{} mistakes; the first: {said}", mistakes.len()) }
            }
        };
        let hint = mistakes.first().and_then(|first| first.hint.clone());
        Self { hint, mistakes, ..Self::argument(detail) }
    }

    /// 403: it takes a fresh proof of who somebody is.
    pub fn stale(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, STALE, "not lately proven", detail)
    }

    /// Whether that is what it is.
    pub(crate) fn is_stale(&self) -> bool {
        self.kind == STALE
    }

    /// 429: somebody asks, or tries, too often.
    pub fn too_many(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many", "too many requests", detail)
    }

    /// 503: it can't be done at the moment.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "not possible at the moment", detail)
    }

    /// 503: the ledger takes nothing, and what has no line is not done.
    pub fn ledger(why: &str) -> Self {
        Self::unavailable(format!("nothing was done, because it could not be written to the ledger: {why}"))
            .hint("see to the disk of the data folder; retreats of bad releases go on all the same")
    }

    /// 408: the request did not come in time.
    pub fn request_timeout(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "request-timeout", "the request took too long", detail)
    }

    /// 504: it took too long.
    pub fn timeout(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "it took too long", detail)
    }

    /// 500: a fault of ours.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "a fault of ours", detail)
    }

    /// What is wrong.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// With the likely remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With when to ask again, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Whether somebody was not let in.
    pub(crate) fn is_denial(&self) -> bool {
        [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS]
            .contains(&self.status)
    }

    /// What is wrong and the likely remedy, in one line.
    pub(crate) fn words(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{}; {hint}", self.detail),
            None => self.detail.clone(),
        }
    }

    /// Without the remedy: it would name what somebody may not know of.
    pub(crate) fn without_hint(&mut self) {
        self.hint = None;
    }

    /// Its status.
    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    /// As it is sent; `instance` is the resource that was asked for.
    pub(crate) fn problem(&self, instance: &str) -> Problem {
        Problem {
            kind: format!("/problems/{}", self.kind),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            hint: self.hint.clone(),
            instance: instance.to_owned(),
            mistakes: self.mistakes.clone(),
        }
    }

    /// The answer for a program.
    pub(crate) fn json(&self, instance: &str) -> Response {
        let body = serde_json::to_string(&self.problem(instance)).unwrap_or_default();
        self.answer(MEDIA_TYPE, body)
    }

    /// The answer for a person's browser. `log_in` draws the page for whoever is not known, with what was wrong.
    pub(crate) fn html(&self, log_in: impl FnOnce(Option<&str>) -> String) -> Response {
        const HTML: &str = "text/html; charset=utf-8";
        if self.status == StatusCode::UNAUTHORIZED {
            // Who simply came is told how to log in; who brought something wrong is told what.
            let wrong = Some(self.detail.as_str()).filter(|detail| *detail != NOTHING_BROUGHT);
            return self.answer(HTML, log_in(wrong));
        }
        let body = crate::page::failure(self.title, &self.detail, self.hint.as_deref());
        self.answer(HTML, body)
    }

    fn answer(&self, media_type: &'static str, body: String) -> Response {
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"hmsops\""));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The shell around all routes gives it its final form, which depends on who asked for what.
impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let failure = match refusal.kind {
            RefusalKind::NotFound => Self::not_found(refusal.message),
            RefusalKind::Conflict => Self::conflict(refusal.message),
        };
        Self { hint: refusal.hint, ..failure }
    }
}

impl From<Stopping> for Failure {
    fn from(stopping: Stopping) -> Self {
        Self::unavailable(stopping.to_string()).hint("ask again in a moment")
    }
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Self {
        let detail = error.to_string();
        match error {
            BodyError::TooLarge(_) => Self::too_large(detail),
            BodyError::Slow => Self::request_timeout(detail),
            BodyError::Broken => Self::argument(detail),
            BodyError::Busy => Self::unavailable(detail).retry_after(1),
        }
    }
}

impl From<EmitError> for Failure {
    fn from(error: EmitError) -> Self {
        let detail = error.to_string();
        match &error {
            error if error.is_too_large() => Self::too_large(detail),
            EmitError::Foreign(_) => Self::forbidden(detail),
            error if !error.is_temporary() => Self::argument(detail),
            EmitError::Append(AppendError::Store(_)) => {
                Self::unavailable(detail).hint("see to the disk of the data folder").retry_after(5)
            }
            EmitError::Append(AppendError::Ended) => Self::internal(detail),
            _ => Self::unavailable(detail).retry_after(1),
        }
    }
}

impl From<IdError> for Failure {
    fn from(error: IdError) -> Self {
        Self::argument(error.to_string())
    }
}

/// Everything there is to say about some files.
pub(crate) fn mistakes(reports: &[Report]) -> Vec<Mistake> {
    let one = |file: &str, found: &Diagnostic| Mistake {
        file: file.to_owned(),
        severity: found.severity.name().to_owned(),
        line: found.line,
        column: found.column,
        message: found.message.clone(),
        hint: found.hint.clone(),
    };
    reports
        .iter()
        .flat_map(|report| report.diagnostics.iter().map(|found| one(&report.name, found)))
        .collect()
}
