//! What follows a `101 Switching Protocols`: bytes both ways until either side ends or both are silent for too long.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::Plane;
use super::answer::Answer;
use super::carry::UPGRADE;
use super::head;
use super::table::Waiting;
use super::wire::Wire;

/// Tunnels that are open, and a process before this one that drains; the gateway's end waits for them.
#[derive(Default)]
pub(super) struct Tunnels {
    open: AtomicUsize,
    ended: Notify,
}

impl Tunnels {
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Comes back when there is none.
    pub(super) async fn ended(&self) {
        loop {
            let mut woken = std::pin::pin!(self.ended.notified());
            woken.as_mut().enable();
            if self.open() == 0 {
                return;
            }
            woken.await;
        }
    }
}

/// A tunnel's place among those open; ends when dropped.
pub(super) struct Place(Arc<Plane>);

impl Place {
    pub(super) fn new(plane: &Arc<Plane>) -> Self {
        plane.tunnels.open.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(plane))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.tunnels.open.fetch_sub(1, Ordering::SeqCst);
        self.0.tunnels.ended.notify_waiters();
    }
}

/// Answers the client's upgrade with the arm's, and joins the two connections. The canary's drain waits for it.
pub(super) fn open(
    plane: &Arc<Plane>,
    client: OnUpgrade,
    mut response: Response<()>,
    arm: Box<Wire>,
    waiting: Option<Waiting>,
) -> Response<Answer> {
    let protocol = response.headers().get(header::UPGRADE).cloned();
    head::strip(response.headers_mut());
    response.headers_mut().insert(header::CONNECTION, UPGRADE);
    if let Some(protocol) = protocol {
        response.headers_mut().insert(header::UPGRADE, protocol);
    }
    let (place, idle_max) =
        (Place::new(plane), Duration::from_millis(plane.in_force.load().settings.tunnel_idle.0));
    tokio::spawn(async move {
        let _places = (place, waiting);
        if let Ok(client) = client.await {
            join(TokioIo::new(client), arm, idle_max).await;
        }
    });
    response.map(|()| Answer::Text(None::<Bytes>))
}

/// Carries bytes both ways. Either side's end is the tunnel's, once what came before has been carried.
async fn join<A, B>(client: A, arm: B, idle_max: Duration)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let reads = AtomicU64::new(0);
    let (mut client, mut arm) = (Heard { io: client, reads: &reads }, Heard { io: arm, reads: &reads });
    let mut carried = std::pin::pin!(tokio::io::copy_bidirectional(&mut client, &mut arm));
    let mut before = None;
    loop {
        tokio::select! {
            // Either side's end is the tunnel's.
            _ = carried.as_mut() => return,
            // Between one and two idle spans pass before a silent tunnel ends; a timer for each read would cost more.
            () = tokio::time::sleep(idle_max) => {
                let now = Some(reads.load(Ordering::Relaxed));
                if now == before {
                    return;
                }
                before = now;
            }
        }
    }
}

/// A side of a tunnel, whose words are counted.
struct Heard<'a, S> {
    io: S,
    reads: &'a AtomicU64,
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<'_, S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        if read.is_ready() {
            this.reads.fetch_add(1, Ordering::Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<'_, S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
