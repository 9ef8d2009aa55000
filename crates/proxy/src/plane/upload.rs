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

use super::answer::{Refusal, Why};
use super::head;

/// A body of known length up to this is held, so that it can be sent again.
const HELD_BYTES_MAX: u64 = 64 << 10;

/// A request on its way to an arm, perhaps to a second one.
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) uri: Uri,
    headers: HeaderMap,
    payload: Payload,
    is_idempotent: bool,
    pub(super) upload: Arc<Progress>,
}

enum Payload {
    Empty,
    Held(Bytes),
    Stream(Incoming),
    Gone,
}

/// How far a streamed request body has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    frames: AtomicU64,
    is_open: AtomicBool,
    is_broken: AtomicBool,
}

impl Progress {
    pub(super) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// The client has more to send.
    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// The client broke off in its body.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }
}

impl Ask {
    /// Takes a client's request over, holding its body when that makes it repeatable.
    pub(super) async fn new(parts: request::Parts, body: Incoming, wait: Duration) -> Result<Self, Refusal> {
        let is_idempotent = head::is_idempotent(&parts.method);
        let payload = match body.size_hint().exact() {
            Some(0) => Payload::Empty,
            Some(len) if is_idempotent && len <= HELD_BYTES_MAX => Payload::Held(hold(body, wait).await?),
            _ => Payload::Stream(body),
        };
        let uri = head::origin_form(&parts.uri);
        let upload = Arc::default();
        Ok(Self { method: parts.method, uri, headers: parts.headers, payload, is_idempotent, upload })
    }

    /// Whether it may be asked again although an arm has perhaps acted on it.
    pub(super) fn is_repeatable(&self) -> bool {
        self.is_idempotent && matches!(self.payload, Payload::Empty | Payload::Held(_))
    }

    /// Whether it is as the client sent it, so that it can be asked at all.
    pub(super) fn is_whole(&self) -> bool {
        !matches!(self.payload, Payload::Gone)
    }

    /// The request to send. What is not repeatable moves out; see [`Ask::put_back`].
    pub(super) fn request(&mut self) -> Request<Upload> {
        let (headers, upload) = if self.is_repeatable() {
            let upload = match &self.payload {
                Payload::Held(bytes) => Upload::Held(Some(bytes.clone())),
                _ => Upload::Held(None),
            };
            (self.headers.clone(), upload)
        } else {
            let upload = match std::mem::replace(&mut self.payload, Payload::Gone) {
                Payload::Held(bytes) => Upload::Held(Some(bytes)),
                Payload::Stream(body) => {
                    self.upload.is_open.store(true, Ordering::Relaxed);
                    Upload::Stream(body, Arc::clone(&self.upload))
                }
                Payload::Empty | Payload::Gone => Upload::Held(None),
            };
            (std::mem::take(&mut self.headers), upload)
        };
        let mut request = Request::new(upload);
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
        self.payload = match upload {
            Upload::Held(None) => Payload::Empty,
            Upload::Held(Some(bytes)) => Payload::Held(bytes),
            Upload::Stream(body, _) => Payload::Stream(body),
        };
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

/// A request body towards an arm.
pub(super) enum Upload {
    /// All of it is here; `None`: there is none.
    Held(Option<Bytes>),
    /// It comes from the client.
    Stream(Incoming, Arc<Progress>),
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Held(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(body, progress) => {
                let frame = std::task::ready!(Pin::new(&mut *body).poll_frame(cx));
                match &frame {
                    Some(Ok(_)) => drop(progress.frames.fetch_add(1, Ordering::Relaxed)),
                    Some(Err(_)) => progress.is_broken.store(true, Ordering::Relaxed),
                    None => {}
                }
                if frame.is_none() || body.is_end_stream() {
                    progress.is_open.store(false, Ordering::Relaxed);
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Held(bytes) => bytes.is_none(),
            Self::Stream(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Held(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Stream(body, _) => body.size_hint(),
        }
    }
}
