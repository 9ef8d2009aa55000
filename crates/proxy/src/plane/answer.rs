//! What goes back to the client: an arm's body as it streams through, or a sentence of the gateway's own.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hmsops_model::{BadKind, Millis};
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::grpc;
use super::head::REASON;
use super::journal::Entry;
use super::meter::Why;
use super::receipt::Receipt;
use super::table::Waiting;
use super::upload::Progress;
use super::upstream::Source;
use super::wire::WireError;

/// An answer of the gateway's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    status: StatusCode,
    pub(super) why: Why,
    text: &'static str,
    /// When to come back, in seconds.
    retry_after: Option<u64>,
}

impl Refusal {
    pub(super) const fn new(status: StatusCode, why: Why, text: &'static str) -> Self {
        Self { status, why, text, retry_after: None }
    }

    /// With word of when it is worth coming back.
    pub(super) const fn after(self, wait: Millis) -> Self {
        Self { retry_after: Some(wait.0.div_ceil(1000)), ..self }
    }

    /// As a call of gRPC is refused.
    pub(super) fn grpc_answer(self) -> Response<Answer> {
        grpc::refuse(self.answer(), self.text)
    }

    pub(super) fn answer(self) -> Response<Answer> {
        let mut answer = Response::new(Answer::Text(Some(Bytes::from_static(self.text.as_bytes()))));
        *answer.status_mut() = self.status;
        let fields = answer.headers_mut();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        fields.insert(REASON, HeaderValue::from_static(self.why.text()));
        if let Some(seconds) = self.retry_after {
            fields.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.why.ends_connection() {
            fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}

/// The body of an answer.
pub(super) enum Answer {
    /// The gateway's own.
    Text(Option<Bytes>),
    /// An arm's.
    Flow(Box<Flow>),
}

/// An arm's body on its way through, with what must happen when it ends.
pub(super) struct Flow {
    /// Goes back to its pool when the body came whole.
    source: Source,
    /// Settled at the end: good when the body came whole, bad when it broke. `None`: settled already.
    receipt: Option<Receipt>,
    /// Keeps the canary's instances from being stopped.
    _waiting: Option<Waiting>,
    /// The request's body, which may still be on its way.
    upload: Progress,
    /// Its line of the access log, written when it ends.
    pub(super) entry: Option<Box<Entry>>,
    /// A call of gRPC, whose trailers say how it ended.
    is_grpc: bool,
    /// The arm may pause so long.
    pause_max: Duration,
    pause: Option<Pin<Box<Sleep>>>,
    is_pausing: bool,
}

/// An arm's body that did not come whole; the client's connection is broken off, so that it knows.
#[derive(Debug, thiserror::Error)]
pub(super) enum FlowError {
    #[error("the answer broke off")]
    Broken(#[from] hyper::Error),
    #[error("the answer broke off")]
    Wire(#[from] WireError),
    #[error("the answer paused for too long")]
    Paused,
}

impl Flow {
    pub(super) fn new(
        source: Source,
        receipt: Option<Receipt>,
        waiting: Option<Waiting>,
        upload: Progress,
        pause_max: Duration,
        is_grpc: bool,
    ) -> Self {
        let mut flow = Self {
            source,
            receipt,
            _waiting: waiting,
            upload,
            entry: None,
            is_grpc,
            pause_max,
            pause: None,
            is_pausing: false,
        };
        if flow.source.is_end_stream() {
            flow.end_whole();
        }
        flow
    }

    /// How it broke. When it was the client's own body that broke, the arm is not to blame: its connection was ended
    /// for that.
    fn broke(&self) -> Option<BadKind> {
        self.upload.fault().is_none().then_some(BadKind::Broken)
    }

    /// The first call counts.
    fn end(&mut self, bad: Option<BadKind>) {
        if let Some(receipt) = self.receipt.take() {
            receipt.settle_body(bad);
        }
        let source = std::mem::replace(&mut self.source, Source::Over);
        if bad.is_none() && source.is_end_stream() {
            source.give_back();
        }
    }

    /// The body came whole. A call of gRPC whose trailers did not come has broken off.
    fn end_whole(&mut self) {
        self.end(self.is_grpc.then_some(BadKind::Broken));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, FlowError>>> {
        match self.source.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.is_pausing = false;
                if let (Some(entry), Some(data)) = (&mut self.entry, frame.data_ref()) {
                    entry.bytes += data.len() as u64;
                }
                if let Some(trailers) = frame.trailers_ref() {
                    self.end(if self.is_grpc { grpc::judge(trailers) } else { None });
                } else if self.source.is_end_stream() {
                    self.end_whole();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.end(self.broke());
                self.entry.iter_mut().for_each(|entry| entry.is_broken = true);
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                self.end_whole();
                Poll::Ready(None)
            }
            Poll::Pending => self.poll_pause(cx),
        }
    }

    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, FlowError>>> {
        let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.pause_max)));
        if !self.is_pausing {
            self.is_pausing = true;
            pause.as_mut().reset(Instant::now() + self.pause_max);
        }
        match pause.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                self.end(Some(BadKind::Timeout));
                self.entry.iter_mut().for_each(|entry| entry.is_broken = true);
                Poll::Ready(Some(Err(FlowError::Paused)))
            }
        }
    }
}

impl Drop for Flow {
    /// Dropped early means that the client went: nobody's error. The connection has unread bytes and is closed.
    fn drop(&mut self) {
        if let Some(receipt) = self.receipt.take() {
            receipt.settle_body(None);
        }
    }
}

/// An answer's body with what lives as long as it does.
pub(super) struct Guarded<G> {
    pub(super) answer: Answer,
    pub(super) _guard: G,
}

impl<G: Unpin> Body for Guarded<G> {
    type Data = Bytes;
    type Error = FlowError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, FlowError>>> {
        Pin::new(&mut self.get_mut().answer).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.answer.size_hint()
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = FlowError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, FlowError>>> {
        match self.get_mut() {
            Self::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Flow(flow) => flow.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Text(text) => text.is_none(),
            Self::Flow(flow) => flow.source.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Self::Flow(flow) => flow.source.size_hint(),
        }
    }
}
