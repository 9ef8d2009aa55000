//! What is asked of an arm: a head that can be sent again, and a body that perhaps can.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version, request};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::answer::Refusal;
use super::head::{self, Added};
use super::meter::Why;
use super::upstream::Fault;

/// A body of known length up to this is held, so that it can be sent again.
const HELD_BYTES_MAX: u64 = 64 << 10;

/// A request on its way to an arm, perhaps to a second one.
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) uri: Uri,
    headers: HeaderMap,
    added: Added,
    payload: Payload,
    is_idempotent: bool,
    /// The longest body in bytes.
    body_max: u64,
    pub(super) upload: Progress,
}

enum Payload {
    Empty,
    Held(Bytes),
    Stream(Incoming),
    Gone,
}

/// How far a request's body has come; most have none that comes piece by piece.
#[derive(Debug, Clone)]
pub(super) struct Progress(Option<Arc<Streamed>>);

#[derive(Debug)]
pub(super) struct Streamed {
    bytes: AtomicU64,
    is_open: AtomicBool,
    is_broken: AtomicBool,
    is_too_large: AtomicBool,
    /// The arm would take more, and the client has not sent it.
    is_starved: AtomicBool,
    started: Instant,
    /// Milliseconds from `started` until the last of it went on.
    moved_ms: AtomicU64,
}

impl Progress {
    fn streamed(&self) -> Option<&Streamed> {
        self.0.as_deref()
    }

    /// Bytes that have come from the client.
    pub(super) fn bytes(&self) -> u64 {
        self.streamed().map_or(0, |body| body.bytes.load(Ordering::Relaxed))
    }

    /// For how long the arm has had all that there was to take, at most; `None` while it is the client's turn.
    pub(super) fn arms_turn(&self) -> Option<Duration> {
        self.streamed().map_or(Some(Duration::MAX), Streamed::arms_turn)
    }

    /// The client has more to send, and the arm waits for it.
    pub(super) fn is_clients_turn(&self) -> bool {
        self.streamed().is_some_and(Streamed::is_clients_turn)
    }

    /// What the client did wrong in its body, if anything.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.streamed().and_then(Streamed::fault)
    }
}

impl Streamed {
    fn new() -> Self {
        Self {
            bytes: AtomicU64::new(0),
            is_open: AtomicBool::new(false),
            is_broken: AtomicBool::new(false),
            is_too_large: AtomicBool::new(false),
            is_starved: AtomicBool::new(false),
            started: Instant::now(),
            moved_ms: AtomicU64::new(0),
        }
    }

    fn arms_turn(&self) -> Option<Duration> {
        let moved = Duration::from_millis(self.moved_ms.load(Ordering::Relaxed));
        (!self.is_clients_turn()).then(|| self.started.elapsed().saturating_sub(moved))
    }

    fn is_clients_turn(&self) -> bool {
        self.is_open.load(Ordering::Relaxed) && self.is_starved.load(Ordering::Relaxed)
    }

    fn fault(&self) -> Option<Fault> {
        if self.is_too_large.load(Ordering::Relaxed) {
            Some(Fault::TooLarge)
        } else {
            self.is_broken.load(Ordering::Relaxed).then_some(Fault::Client)
        }
    }

    /// Notes what came of the client's body, which must not be longer than `most`.
    fn pass(
        &self,
        frame: Option<Result<Frame<Bytes>, hyper::Error>>,
        is_end: bool,
        most: u64,
    ) -> Option<Result<Frame<Bytes>, UploadError>> {
        if frame.is_none() || is_end {
            self.is_open.store(false, Ordering::Relaxed);
        }
        self.is_starved.store(false, Ordering::Relaxed);
        self.moved_ms.store(self.started.elapsed().as_millis() as u64, Ordering::Relaxed);
        match frame? {
            Ok(frame) => {
                let more = frame.data_ref().map_or(0, |data| data.len() as u64);
                if self.bytes.fetch_add(more, Ordering::Relaxed) + more > most {
                    self.is_too_large.store(true, Ordering::Relaxed);
                    return Some(Err(UploadError::TooLarge));
                }
                Some(Ok(frame))
            }
            Err(error) => {
                self.is_broken.store(true, Ordering::Relaxed);
                Some(Err(error.into()))
            }
        }
    }
}

impl Ask {
    /// Takes a client's request over, holding its body when that makes it repeatable. A body that says it is longer
    /// than allowed is refused before an arm hears of it.
    pub(super) async fn new(
        parts: request::Parts,
        added: Added,
        body: Incoming,
        wait: Duration,
        body_max: u64,
    ) -> Result<Self, Refusal> {
        if body.size_hint().lower() > body_max {
            return Err(TOO_LARGE);
        }
        let is_idempotent = head::is_idempotent(&parts.method);
        let payload = match body.size_hint().exact() {
            Some(0) => Payload::Empty,
            Some(len) if is_idempotent && len <= HELD_BYTES_MAX => {
                Payload::Held(Box::pin(hold(body, wait)).await?)
            }
            _ => Payload::Stream(body),
        };
        let uri = head::origin_form(&parts.uri);
        let is_streamed = matches!(payload, Payload::Stream(_));
        let upload = Progress(is_streamed.then(|| Arc::new(Streamed::new())));
        Ok(Self {
            method: parts.method,
            uri,
            headers: parts.headers,
            added,
            payload,
            is_idempotent,
            body_max,
            upload,
        })
    }

    /// Whether it may be asked again although an arm has perhaps acted on it.
    pub(super) fn is_repeatable(&self) -> bool {
        self.is_idempotent && matches!(self.payload, Payload::Empty | Payload::Held(_))
    }

    /// Whether it is as the client sent it, so that it can be asked at all.
    pub(super) fn is_whole(&self) -> bool {
        !matches!(self.payload, Payload::Gone)
    }

    /// The fields of its head, and those that the gateway adds.
    pub(super) fn fields(&self) -> (&HeaderMap, &Added) {
        (&self.headers, &self.added)
    }

    /// The body to send. What is not repeatable moves out; see [`Ask::keep`].
    pub(super) fn send(&mut self) -> Upload {
        if self.is_repeatable() {
            return match &self.payload {
                Payload::Held(bytes) => Upload::Held(Some(bytes.clone())),
                _ => Upload::Held(None),
            };
        }
        match std::mem::replace(&mut self.payload, Payload::Gone) {
            Payload::Held(bytes) => Upload::Held(Some(bytes)),
            Payload::Stream(body) => {
                let progress = self.upload.0.get_or_insert_with(|| Arc::new(Streamed::new()));
                progress.is_open.store(true, Ordering::Relaxed);
                Upload::Stream(body, Arc::clone(progress), self.body_max)
            }
            Payload::Empty | Payload::Gone => Upload::Held(None),
        }
    }

    /// Takes back a body of which nothing was sent.
    pub(super) fn keep(&mut self, upload: Upload) {
        if !self.is_repeatable() {
            self.payload = match upload {
                Upload::Held(None) => Payload::Empty,
                Upload::Held(Some(bytes)) => Payload::Held(bytes),
                Upload::Stream(body, ..) => Payload::Stream(body),
            };
        }
    }

    /// The request to send. What is not repeatable moves out; see [`Ask::put_back`].
    pub(super) fn request(&mut self) -> Request<Upload> {
        let is_repeatable = self.is_repeatable();
        let mut headers =
            if is_repeatable { self.headers.clone() } else { std::mem::take(&mut self.headers) };
        self.added.put_into(&mut headers);
        let mut request = Request::new(self.send());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = headers;
        request
    }

    /// What [`Ask::put_back`] needs of a request that the server refuses unread, where its body is held.
    pub(super) fn spare(&self) -> Option<Request<Upload>> {
        let upload = match &self.payload {
            Payload::Empty => Upload::Held(None),
            Payload::Held(bytes) => Upload::Held(Some(bytes.clone())),
            Payload::Stream(_) | Payload::Gone => return None,
        };
        let mut request = Request::new(upload);
        request.headers_mut().clone_from(&self.headers);
        Some(request)
    }

    /// Takes back a request of which nothing was sent.
    pub(super) fn put_back(&mut self, request: Request<Upload>) {
        if self.is_repeatable() {
            return;
        }
        let (parts, upload) = request.into_parts();
        self.headers = parts.headers;
        self.keep(upload);
    }
}

async fn hold(body: Incoming, wait: Duration) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(wait, Limited::new(body, HELD_BYTES_MAX as usize).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(_)) => {
            Err(Refusal::new(StatusCode::BAD_REQUEST, Why::BadRequest, "the request's body broke off"))
        }
        Err(_) => Err(SLOW),
    }
}

/// The client does not send its body.
pub(super) const SLOW: Refusal =
    Refusal::new(StatusCode::REQUEST_TIMEOUT, Why::Slow, "the request's body did not come in time");

/// The client's body is too long.
pub(super) const TOO_LARGE: Refusal = Refusal::new(
    StatusCode::PAYLOAD_TOO_LARGE,
    Why::BodySize,
    "the request's body is longer than this gateway lets through",
);

/// A request body that does not reach the arm whole; its connection is broken off.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    #[error("the request's body broke off")]
    Broken(#[from] hyper::Error),
    #[error("the request's body is too long")]
    TooLarge,
}

/// A request body towards an arm.
#[derive(Debug)]
pub(super) enum Upload {
    /// All of it is here; `None`: there is none.
    Held(Option<Bytes>),
    /// It comes from the client, and may be so many bytes long.
    Stream(Incoming, Arc<Streamed>, u64),
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match self.get_mut() {
            Self::Held(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(body, progress, most) => {
                let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) else {
                    progress.is_starved.store(true, Ordering::Relaxed);
                    return Poll::Pending;
                };
                Poll::Ready(progress.pass(frame, body.is_end_stream(), *most))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Held(bytes) => bytes.is_none(),
            Self::Stream(body, ..) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Held(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Stream(body, ..) => body.size_hint(),
        }
    }
}
