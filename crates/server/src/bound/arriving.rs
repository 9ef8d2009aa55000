//! A request whose body is on its way. Until that has come whole its connection can still be sent away: who sends a
//! byte a second holds a place only as long as nobody else wants it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use http::Request;
use http::header::TRANSFER_ENCODING;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::{Busy, Place};

/// When a request is under way: from the end of its body until its answer has gone out.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    place: Arc<Place>,
    held: Arc<Mutex<Option<Busy>>>,
}

impl Turn {
    /// Of a request whose head has come.
    pub(crate) fn new(place: &Arc<Place>) -> Self {
        place.stir();
        Self { place: Arc::clone(place), held: Arc::default() }
    }

    /// The request has come whole.
    fn begin(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            *held = self.place.busy();
        }
    }

    /// Its answer can go out. `None`: the connection has to make way.
    pub(crate) fn answered(&self) -> Option<Busy> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        held.or_else(|| self.place.busy())
    }
}

/// A body that is on its way.
#[derive(Debug)]
pub(crate) struct Arriving {
    body: Incoming,
    turn: Turn,
}

impl Arriving {
    /// The body of a request, and its turn.
    pub(crate) fn new(body: Incoming, turn: &Turn) -> Self {
        if body.is_end_stream() {
            turn.begin();
        }
        Self { body, turn: turn.clone() }
    }
}

/// Whether a connection ends with the answer to this request: its body comes in chunks, and if it named a length, too,
/// whoever stands in front may have another idea of where it ends (RFC 9112 §6.1).
pub(crate) fn is_last<B>(request: &Request<B>) -> bool {
    request.headers().contains_key(TRANSFER_ENCODING)
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.turn.begin();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
