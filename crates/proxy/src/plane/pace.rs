//! A client that does not read its answer holds a version's connection and memory of ours; it is let go. One that is
//! refused before it has sent all is heard to its end, or it would lose the answer.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::meter::{Meter, Why};
use super::session::Head;

/// A client that was refused may go on sending for so long. A socket that is closed with bytes unread is reset, and takes
/// back what was sent on it (RFC 9112 §9.6).
const LINGER_MAX: Duration = Duration::from_secs(5);

/// What is written in pieces and is no longer than this goes out as one: to copy it costs less than to have the system
/// gather it.
const GATHERED_MAX: usize = 1024;

/// A client's connection, of which `least` bytes must be taken within each span in which it is full.
pub(super) struct Paced<S> {
    io: S,
    meter: Arc<Meter>,
    span: Duration,
    least: u64,
    /// Runs since the connection was full, until all was taken.
    full: Option<Pin<Box<Sleep>>>,
    /// Bytes taken since then.
    taken: u64,
    /// Whether what still comes is read and dropped before the connection is closed.
    lingers: Arc<AtomicBool>,
    /// Runs since our side was closed.
    closing: Option<Pin<Box<Sleep>>>,
    /// Who is told that bytes come.
    head: Option<Arc<Head>>,
}

impl<S> Paced<S> {
    /// `rate` in bytes a second; 0: any.
    pub(super) fn new(
        io: S,
        meter: &Arc<Meter>,
        span: Duration,
        rate: u64,
        lingers: &Arc<AtomicBool>,
    ) -> Self {
        let least = rate.saturating_mul(span.as_millis() as u64) / 1000;
        let (meter, lingers) = (Arc::clone(meter), Arc::clone(lingers));
        Self { io, meter, span, least, full: None, taken: 0, lingers, closing: None, head: None }
    }

    /// Says when the first bytes of a head come.
    pub(super) fn reporting(mut self, head: &Arc<Head>) -> Self {
        self.head = Some(Arc::clone(head));
        self
    }

    /// What a write comes to.
    fn judge(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(n)) => self.taken = self.taken.saturating_add(*n as u64),
            Poll::Pending if self.least > 0 => {
                if self.full.is_none() {
                    self.taken = 0;
                }
                let span = self.span;
                let full = self.full.get_or_insert_with(|| Box::pin(tokio::time::sleep(span)));
                while full.as_mut().poll(cx).is_ready() {
                    if self.taken < self.least {
                        self.meter.refuse(Why::SlowReader);
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    self.taken = 0;
                    full.as_mut().reset(Instant::now() + span);
                }
            }
            _ => {}
        }
        written
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Paced<S> {
    /// Closes our side, and where a request was not read whole, waits for the client's to end.
    fn close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            std::task::ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            if !self.lingers.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
        }
        let closing = self.closing.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER_MAX)));
        let mut bytes = [0; 4096];
        while closing.as_mut().poll(cx).is_pending() {
            let mut rest = ReadBuf::new(&mut bytes);
            // An end in disorder is an end.
            let is_over = std::task::ready!(Pin::new(&mut self.io).poll_read(cx, &mut rest)).is_err();
            if is_over || rest.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (this, before) = (self.get_mut(), buf.filled().len());
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        if let Some(head) = this.head.as_ref().filter(|_| buf.filled().len() > before) {
            head.heard();
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, buf);
        this.judge(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let all = bufs.iter().map(|buf| buf.len()).sum();
        let mut whole = [0; GATHERED_MAX];
        let written = match whole.get_mut(..all) {
            Some(whole) => {
                let mut left = &mut *whole;
                for buf in bufs {
                    let (place, rest) = std::mem::take(&mut left).split_at_mut(buf.len());
                    place.copy_from_slice(buf);
                    left = rest;
                }
                Pin::new(&mut this.io).poll_write(cx, whole)
            }
            None => Pin::new(&mut this.io).poll_write_vectored(cx, bufs),
        };
        this.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.io).poll_flush(cx);
        if flushed.is_ready() {
            this.full = None;
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().close(cx)
    }
}
