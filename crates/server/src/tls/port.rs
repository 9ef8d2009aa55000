//! A listening socket and what is spoken on it: in clear, or TLS. Handshakes are bounded in time and number; who speaks
//! HTTP in clear on a port of TLS is told so.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hmsops_wire::api::{MEDIA_TYPE, Problem};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

use super::{Arrival, Transport, fingerprint};

/// A handshake takes two round trips; what has not come by then does not come.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// Handshakes of one source at a time; more of it wait for these. One that is slow on purpose keeps no other source out.
const HANDSHAKES_MAX: usize = 64;

/// The first byte of every TLS connection: a record of the handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

/// What is read of a request in clear, so that its sender gets to read the answer before the connection is gone.
const CLEAR_BYTES_MAX: u64 = 64 << 10;

/// How long that may take.
const CLEAR_WITHIN: Duration = Duration::from_secs(2);

/// What became of handshakes since the start.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Done.
    pub(crate) done: AtomicU64,
    /// Broken off by either side, or of no protocol that is spoken.
    pub(crate) failed: AtomicU64,
    /// Not done in time.
    pub(crate) late: AtomicU64,
    /// Not TLS at all.
    pub(crate) clear: AtomicU64,
}

/// A listening socket and what is spoken on it.
#[derive(Debug)]
pub struct Port {
    tcp: TcpListener,
    tls: Option<Secured>,
}

#[derive(Debug)]
struct Secured {
    transport: Arc<Transport>,
    config: Arc<ServerConfig>,
    sources: Arc<Sources>,
}

impl From<TcpListener> for Port {
    /// In clear.
    fn from(tcp: TcpListener) -> Self {
        Self { tcp, tls: None }
    }
}

impl Port {
    /// TLS for pages and the API.
    pub fn web(tcp: TcpListener, transport: Option<&Arc<Transport>>) -> Self {
        Self { tcp, tls: transport.map(|transport| Secured::new(transport, transport.web())) }
    }

    /// TLS for the collector's port.
    pub fn collector(tcp: TcpListener, transport: Option<&Arc<Transport>>) -> Self {
        Self { tcp, tls: transport.map(|transport| Secured::new(transport, transport.collector())) }
    }

    /// What is spoken, where it is TLS.
    pub(crate) fn transport(&self) -> Option<&Arc<Transport>> {
        self.tls.as_ref().map(|secured| &secured.transport)
    }

    /// The next connection. Nothing of it was read yet: [`Port::greeting`] does that, in a task of its own.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.tcp.accept().await
    }

    /// What has to be done with a connection before HTTP is spoken on it.
    pub fn greeting(&self) -> Greeting {
        let secured = self.tls.as_ref();
        Greeting {
            secured: secured.map(|secured| {
                let (transport, config) = (Arc::clone(&secured.transport), Arc::clone(&secured.config));
                (transport, config, Arc::clone(&secured.sources))
            }),
        }
    }
}

impl Secured {
    fn new(transport: &Arc<Transport>, config: Arc<ServerConfig>) -> Self {
        Self { transport: Arc::clone(transport), config, sources: Arc::default() }
    }
}

/// What has to be done with a connection before HTTP is spoken on it.
pub struct Greeting {
    secured: Option<(Arc<Transport>, Arc<ServerConfig>, Arc<Sources>)>,
}

impl Greeting {
    /// Does it. `None`: nothing can be spoken; the connection is closed.
    pub async fn done(self, stream: TcpStream, peer: SocketAddr) -> Option<(Stream, Arrival)> {
        // Answers are small, and the client waits for them.
        let _ = stream.set_nodelay(true);
        let Some((transport, config, sources)) = self.secured else {
            return Some((Stream::Clear(stream), Arrival { peer, is_tls: false, client: None }));
        };
        let (meter, deadline) = (&transport.meter, Instant::now() + HANDSHAKE_WITHIN);
        let place = sources.place(peer.ip());
        let Ok(held) = timeout_at(deadline, place.acquire()).await else {
            return refused(&meter.late, peer, "there was no place for its handshake");
        };
        let mut first = [0];
        match timeout_at(deadline, stream.peek(&mut first)).await {
            Ok(Ok(1)) if first == [HANDSHAKE] => {}
            Ok(Ok(1)) => {
                meter.clear.fetch_add(1, Ordering::Relaxed);
                drop(held);
                tell_clear(stream).await;
                return None;
            }
            Ok(_) => return refused(&meter.failed, peer, "it was closed before its handshake"),
            Err(_) => return refused(&meter.late, peer, "it said nothing"),
        }
        match timeout_at(deadline, TlsAcceptor::from(config).accept(stream)).await {
            Ok(Ok(stream)) => {
                meter.done.fetch_add(1, Ordering::Relaxed);
                let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                let arrival = Arrival { peer, is_tls: true, client: shown.map(fingerprint) };
                Some((Stream::Tls(Box::new(stream)), arrival))
            }
            Ok(Err(error)) => refused(&meter.failed, peer, &error.to_string()),
            Err(_) => refused(&meter.late, peer, "its handshake took too long"),
        }
    }
}

fn refused<T>(count: &AtomicU64, peer: SocketAddr, why: &str) -> Option<T> {
    count.fetch_add(1, Ordering::Relaxed);
    tracing::debug!("tls: a connection of {peer} comes to nothing: {why}");
    None
}

/// Says in clear that it is not spoken here: a browser or a program that forgot the `s` shows it.
async fn tell_clear(mut stream: TcpStream) {
    let problem = Problem {
        kind: "/problems/tls-only".into(),
        title: "this port speaks TLS".into(),
        status: 400,
        detail:
            "this port speaks TLS only, and the request came in clear: a token in it could be read on its way"
                .into(),
        hint: Some("write `https://` in place of `http://`".into()),
        instance: String::new(),
        mistakes: Vec::new(),
    };
    let body = serde_json::to_string(&problem).unwrap_or_default();
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    let told = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // What is closed with something unread is reset, and the answer may be lost (RFC 9112 §9.6).
        tokio::io::copy(&mut (&mut stream).take(CLEAR_BYTES_MAX), &mut tokio::io::sink()).await
    };
    let _in_vain = tokio::time::timeout(CLEAR_WITHIN, told).await;
}

/// Places for handshakes, by source.
#[derive(Debug, Default)]
struct Sources(Mutex<HashMap<IpAddr, Arc<Semaphore>>>);

impl Sources {
    fn place(&self, ip: IpAddr) -> Arc<Semaphore> {
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sources.len() >= 1024 {
            // Those that nobody waits for or has a place of are forgotten.
            sources.retain(|_, places| Arc::strong_count(places) > 1);
        }
        Arc::clone(sources.entry(source(ip)).or_insert_with(|| Arc::new(Semaphore::new(HANDSHAKES_MAX))))
    }
}

/// Who has one address of IPv6 has all of its network (RFC 4291 §2.5.4).
fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// A connection on which HTTP can be spoken.
#[derive(Debug)]
pub enum Stream {
    /// In clear.
    Clear(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_read(context, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write(context, from),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, from),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write_vectored(context, from),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, from),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Clear(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
