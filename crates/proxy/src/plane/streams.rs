//! HTTP/2 towards clients: many requests on one connection, and no more of them than a connection may cost.
//!
//! What the h2 library bounds itself: the size of a header list and with it the CONTINUATION frames it may come in
//! (VU#421644), streams that a client resets before they are taken (CVE-2023-44487), streams that it makes us reset,
//! pings and settings (each answered before the next is read).

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::HEAD_BYTES_MAX;
use super::answer::Guarded;
use super::carry::carry;
use super::serve::{Arrival, Stop, told};
use super::session::Session;

/// Requests at a time on one connection: what RFC 9113 §6.5.2 asks servers not to go below.
const STREAMS_MAX: u32 = 100;

/// Answers held for one client that reads slowly, in bytes of one stream.
const SEND_BYTES_MAX: usize = 256 << 10;

/// What a client may send on one stream, and on its connection, before an arm has taken it, in bytes.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// A client that does not answer a ping for so long is gone.
const PING_EVERY: Duration = Duration::from_secs(20);
const PONG_MAX: Duration = Duration::from_secs(20);

/// A connection with so many requests that its client gave up before they were answered, and more of these than of
/// others, is an attack by resets of streams already taken.
const BROKEN_MAX: u64 = 200;

/// What one connection's requests came to.
#[derive(Default)]
struct Tally {
    begun: AtomicU64,
    open: AtomicU64,
    broken: AtomicU64,
    abused: Notify,
}

impl Tally {
    fn is_abuse(&self) -> bool {
        let broken = self.broken.load(Ordering::Relaxed);
        broken >= BROKEN_MAX && broken * 2 > self.begun.load(Ordering::Relaxed)
    }
}

/// Serves one connection until its client ends it, is idle for too long, or the gateway stops.
pub(super) async fn serve<S>(
    session: Arc<Session>,
    stream: S,
    arrival: Arrival,
    mut stopped: watch::Receiver<Option<Stop>>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (head, peer) = (session.plane.limits.client_head, session.peer.address);
    let resting = Arc::clone(&session);
    let tally = Arc::new(Tally::default());
    let theirs = Arc::clone(&tally);
    let service = service_fn(move |mut request| {
        let (session, open) = (Arc::clone(&session), Open::new(&theirs));
        arrival.mark(&mut request);
        async move {
            let answer = carry(session, request).await;
            let mut open = open;
            // What comes of the body is the client's own affair.
            open.is_answered = true;
            Ok::<_, Infallible>(answer.map(|answer| Guarded { answer, _guard: open }))
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .max_send_buf_size(SEND_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let (mut begun, mut quiet_since, mut is_closing) = (0, Instant::now(), false);
    let mut look = tokio::time::interval(head);
    look.tick().await;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "a client's connection broke");
                }
                return;
            }
            () = told(&mut stopped), if !is_closing => {
                is_closing = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = look.tick() => {
                let so_far = tally.begun.load(Ordering::Relaxed);
                if tally.open.load(Ordering::Relaxed) > 0 || so_far != begun {
                    (begun, quiet_since) = (so_far, Instant::now());
                }
                // Who has asked for nothing yet has the time for a head; who has may rest as over HTTP/1.1.
                let rest = if begun == 0 || is_closing { head } else { resting.rest() };
                if quiet_since.elapsed() < rest {
                    continue;
                }
                if is_closing {
                    // It was told to go, and had the time for it.
                    return;
                }
                (is_closing, quiet_since) = (true, Instant::now());
                connection.as_mut().graceful_shutdown();
            }
            () = tally.abused.notified() => {
                tracing::warn!(%peer, "a client gives its requests up as fast as it sends them; it is cut off");
                return;
            }
        }
    }
}

/// A request under way; ends when dropped.
struct Open {
    tally: Arc<Tally>,
    is_answered: bool,
}

impl Open {
    fn new(tally: &Arc<Tally>) -> Self {
        tally.begun.fetch_add(1, Ordering::Relaxed);
        tally.open.fetch_add(1, Ordering::Relaxed);
        Self { tally: Arc::clone(tally), is_answered: false }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.tally.open.fetch_sub(1, Ordering::Relaxed);
        if !self.is_answered {
            self.tally.broken.fetch_add(1, Ordering::Relaxed);
            if self.tally.is_abuse() {
                self.tally.abused.notify_one();
            }
        }
    }
}
