//! What goes back to the client: an arm's body as it streams through, or a sentence of the gateway's own.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hmsops_model::BadKind;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::grpc;
use super::head::REASON;
use super::receipt::Receipt;
use super::table::Waiting;
use super::upstream::Lease;

/// Why the gateway answered itself; the value of the field `hmsops-gateway`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    BadRequest,
    NoRoute,
    NoUpstream,
    Method,
    Slow,
    Refused,
    Broken,
    Timeout,
}

impl Why {
    const fn text(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::NoRoute => "no-route",
            Self::NoUpstream => "no-upstream",
            Self::Method => "method",
            Self::Slow => "request-timeout",
            Self::Refused => "refused",
            Self::Broken => "broken",
            Self::Timeout => "timeout",
        }
    }
}

/// An answer of the gateway's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    status: StatusCode,
    why: Why,
    text: &'static str,
}

impl Refusal {
    pub(super) const fn new(status: StatusCode, why: Why, text: &'static str) -> Self {
        Self { status, why, text }
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
        if self.why == Why::Slow {
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
    body: Incoming,
    /// Settled at the end: good when the body came whole, bad when it broke. `None`: settled already.
    receipt: Option<Receipt>,
    /// Goes back to its pool when the body came whole.
    lease: Option<Lease>,
    /// Keeps the canary's instances from being stopped.
    _waiting: Option<Waiting>,
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
    #[error("the answer paused for too long")]
    Paused,
}

impl Flow {
    pub(super) fn new(
        body: Incoming,
        receipt: Option<Receipt>,
        lease: Lease,
        waiting: Option<Waiting>,
        pause_max: Duration,
        is_grpc: bool,
    ) -> Self {
        let (lease, pause) = (Some(lease), None);
        let mut flow =
            Self { body, receipt, lease, _waiting: waiting, is_grpc, pause_max, pause, is_pausing: false };
        if flow.body.is_end_stream() {
            flow.end_whole();
        }
        flow
    }

    /// The first call counts.
    fn end(&mut self, bad: Option<BadKind>) {
        if let Some(receipt) = self.receipt.take() {
            receipt.settle_body(bad);
        }
        if let Some(lease) = self.lease.take()
            && bad.is_none()
        {
            lease.give_back();
        }
    }

    /// The body came whole. A call of gRPC whose trailers did not come has broken off.
    fn end_whole(&mut self) {
        self.end(self.is_grpc.then_some(BadKind::Broken));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, FlowError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.is_pausing = false;
                if let Some(trailers) = frame.trailers_ref() {
                    self.end(if self.is_grpc { grpc::judge(trailers) } else { None });
                } else if self.body.is_end_stream() {
                    self.end_whole();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.end(Some(BadKind::Broken));
                Poll::Ready(Some(Err(error.into())))
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
            Self::Flow(flow) => flow.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Self::Flow(flow) => flow.body.size_hint(),
        }
    }
}
