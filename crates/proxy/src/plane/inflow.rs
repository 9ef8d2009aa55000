//! What a version sends before its answer's head is bounded: interim answers (1xx) could else come for ever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes before a head, interim answers included. A head is no longer than 64 KiB, and what may be read of a body
/// together with it no longer than the reader's buffer of 408 KiB: what is legitimate never comes near.
const BEFORE_HEAD_MAX: usize = 1 << 20;

/// The head has come.
const CAME: usize = usize::MAX;

/// How much has come of an answer that has no head yet.
#[derive(Debug, Clone)]
pub(super) struct Awaited(Arc<AtomicUsize>);

impl Awaited {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(CAME)))
    }

    /// A request is about to be sent.
    pub(super) fn begin(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// Its answer's head is here.
    pub(super) fn end(&self) {
        self.0.store(CAME, Ordering::Release);
    }
}

/// A version's connection.
pub(super) struct Inflow {
    io: TcpStream,
    awaited: Awaited,
}

impl Inflow {
    pub(super) fn new(io: TcpStream, awaited: Awaited) -> Self {
        Self { io, awaited }
    }
}

impl AsyncRead for Inflow {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let so_far = this.awaited.0.load(Ordering::Relaxed);
        if so_far != CAME && so_far > BEFORE_HEAD_MAX {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "no head within 1 MiB")));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        let n = buf.filled().len() - before;
        if so_far != CAME && n > 0 {
            // A head that comes at this moment wins: its `CAME` must not be added to.
            let more = |so_far: usize| (so_far != CAME).then(|| so_far.saturating_add(n).min(CAME - 1));
            let _ = this.awaited.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        }
        read
    }
}

impl AsyncWrite for Inflow {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
