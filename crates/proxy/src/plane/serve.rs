//! Takes clients' connections, and lets go of them in good order.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{Request, StatusCode};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::answer::Guarded;
use super::carry::carry;
use super::doze::Doze;
use super::meter::Why;
use super::pace::Paced;
use super::session::Session;
use super::tls::{H2, Tls};
use super::{CONNECTIONS_MAX, HEAD_BYTES_MAX, Plane, count, streams};

/// With which a client of HTTP/2 begins that knows without asking (RFC 9113 §3.4); the rest of it is read by the
/// library. No method of HTTP/1.1 begins so.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// Between two looks at a preface that comes in pieces: nobody sends it so but a tester.
const PREFACE_PAUSE: Duration = Duration::from_millis(5);

/// After a connection could not be accepted (no file descriptors are left, say).
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Connections that wait to be accepted, of which the system takes as many as `net.core.somaxconn` says (4 096 by default,
/// listen(2)). Whoever finds no place tries again after 1 s, 3 s, 7 s (RFC 6298 §2): a crowd that comes while the gateway is
/// held up for a moment must not wait for seconds.
const BACKLOG: u32 = 4096;

/// Listens for clients.
pub(super) fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // What a gateway before it has left in TIME_WAIT is no reason to refuse the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// How a request came in; on requests that came over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    Plain,
    Tls,
}

impl Arrival {
    /// What is plain bears no mark: most requests have no extension at all.
    pub(super) fn mark<B>(self, request: &mut Request<B>) {
        if self == Self::Tls {
            request.extensions_mut().insert(self);
        }
    }
}

/// How the gateway is to stop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    /// How long what runs may take.
    pub(super) drain: Duration,
    /// Another process has the place: there is no hurry, and nobody must notice.
    pub(super) is_handed: bool,
}

impl Stop {
    /// Stops within this time, or sooner if that was said before.
    pub(super) fn hurry(stop: &watch::Sender<Option<Self>>, drain: Duration) {
        stop.send_modify(|stop| {
            let (before, is_handed) = stop.map_or((drain, false), |stop| (stop.drain, stop.is_handed));
            *stop = Some(Self { drain: drain.min(before), is_handed });
        });
    }

    pub(super) fn handed() -> Self {
        Self { drain: HANDED_DRAIN, is_handed: true }
    }
}

/// Requests, streams and tunnels of a process whose place was taken may go on for so long: as long as a tunnel that
/// is used now and then, but a binary with a hole must be gone the same day.
const HANDED_DRAIN: Duration = Duration::from_hours(1);

/// Accepts until told to stop, then waits for the connections and tunnels to finish, as long as the stop allows.
pub(super) async fn serve(
    plane: Arc<Plane>,
    listener: TcpListener,
    mut stopped: watch::Receiver<Option<Stop>>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place.expect("the places are never closed"),
            () = told(&mut stopped) => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = told(&mut stopped) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                count(&plane.counters.connections);
                let (plane, stopped) = (Arc::clone(&plane), stopped.clone());
                tokio::spawn(async move {
                    connection(plane, stream, peer, stopped).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    let ended = async {
        // A place is never taken from here on; its being closed would be as good.
        let _all = places.acquire_many(all).await;
        plane.tunnels.ended().await;
    };
    let mut ended = std::pin::pin!(ended);
    loop {
        let drain = stopped.borrow_and_update().map_or(Duration::ZERO, |stop| stop.drain);
        tokio::select! {
            () = ended.as_mut() => return,
            // It is to stop sooner.
            Ok(()) = stopped.changed() => {}
            () = tokio::time::sleep(drain) => break,
        }
    }
    let left = CONNECTIONS_MAX - places.available_permits();
    let tunnels = plane.tunnels.open();
    tracing::warn!(left, tunnels, "connections are broken off, the drain time is over");
}

async fn connection(
    plane: Arc<Plane>,
    stream: TcpStream,
    peer: SocketAddr,
    stopped: watch::Receiver<Option<Stop>>,
) {
    let Some(_guest) = plane.admit(peer) else {
        return plane.meter.refuse(Why::Connections);
    };
    // Without it only small writes are slower.
    let _ = stream.set_nodelay(true);
    let session = Session::new(&plane, peer);
    let in_force = plane.in_force.load_full();
    let deadline = Instant::now() + plane.limits.client_head;
    match &in_force.tls {
        // What is not plain HTTP/1.1 is boxed: the usual connection stays small.
        Some(tls) => Box::pin(over_tls(tls, session, stream, stopped, deadline)).await,
        None if is_http2(&stream, deadline).await => {
            let stream = paced(&session, stream);
            Box::pin(streams::serve(session, stream, Arrival::Plain, stopped)).await;
        }
        None => {
            let stream = paced(&session, stream);
            http1(session, stream, Arrival::Plain, stopped).await;
        }
    }
}

fn paced(session: &Session, stream: TcpStream) -> Paced<TcpStream> {
    let plane = &session.plane;
    let rate = plane.in_force.load().settings.limits.body_rate_min;
    Paced::new(stream, &plane.meter, plane.limits.upload, rate, &session.is_cut).reporting(&session.head)
}

async fn over_tls(
    tls: &Tls,
    session: Arc<Session>,
    stream: TcpStream,
    mut stopped: watch::Receiver<Option<Stop>>,
    deadline: Instant,
) {
    let peer = session.peer.address;
    let acceptor = TlsAcceptor::from(Arc::clone(&tls.config));
    let shaken = tokio::select! {
        shaken = timeout_at(deadline, acceptor.accept(paced(&session, stream))) => shaken,
        // The client has asked for nothing yet.
        () = async { told(&mut stopped).await; tokio::time::sleep_until(deadline).await } => return,
    };
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "a client's TLS handshake failed"),
        Err(_) => return tracing::debug!(%peer, "a client's TLS handshake took too long"),
    };
    if stream.get_ref().1.alpn_protocol() == Some(H2) {
        Box::pin(streams::serve(session, stream, Arrival::Tls, stopped)).await;
    } else {
        http1(session, stream, Arrival::Tls, stopped).await;
    }
}

async fn http1<S>(session: Arc<Session>, stream: S, arrival: Arrival, stopped: watch::Receiver<Option<Stop>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (plane, peer) = (&session.plane, session.peer.address);
    let (theirs, leaving) = (Arc::clone(&session), Arc::new(stopped.clone()));
    let service = service_fn(move |mut request| {
        let (session, leaving) = (Arc::clone(&theirs), Arc::clone(&leaving));
        arrival.mark(&mut request);
        async move {
            let busy = session.begin();
            let mut answer = carry(session, request).await;
            if leaving.borrow().is_some() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer.map(|answer| Guarded { answer, _guard: busy }))
        }
    });
    // At most [`super::HEAD_FIELDS_MAX`] fields: that is what hyper takes when it is not told. Told, it fills buffers
    // for each head that it otherwise leaves as they are.
    let connection = http1::Builder::new()
        .max_header_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let late = std::pin::pin!(session.is_late());
    let mut late = Doze::new(late);
    let mut leaves = stopped.clone();
    let leave = std::pin::pin!(told(&mut leaves));
    let leave = Doze::new(leave);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        why = &mut late => return why.map_or((), |why| plane.meter.refuse(why)),
        () = leave => {
            // A connection that is closed while idle may meet a request on its way. Handed over, there is time to
            // wait for that request, or for as long as its client may be silent anyway.
            if !stopped.borrow().is_some_and(|stop| stop.is_handed) {
                connection.as_mut().graceful_shutdown();
            }
            tokio::select! {
                ended = connection => ended,
                why = late => return why.map_or((), |why| plane.meter.refuse(why)),
            }
        }
    };
    if let Err(error) = ended {
        plane.meter.broken(&error);
        tracing::debug!(%peer, %error, "a client's connection broke");
    }
}

/// Whether a client speaks HTTP/2 without having asked. Looks without reading, so that nothing has to be put back.
async fn is_http2(stream: &TcpStream, deadline: Instant) -> bool {
    let mut start = [0; PREFACE.len()];
    loop {
        let Ok(Ok(n)) = timeout_at(deadline, stream.peek(&mut start)).await else { return false };
        let start = start.get(..n).unwrap_or_default();
        if n == 0 || n == PREFACE.len() || !PREFACE.starts_with(start) {
            return start == PREFACE;
        }
        tokio::time::sleep(PREFACE_PAUSE).await;
        if Instant::now() >= deadline {
            return false;
        }
    }
}

/// Comes back once the gateway is to stop.
pub(super) async fn told(stopped: &mut watch::Receiver<Option<Stop>>) {
    // The sender is gone only when the gateway is.
    let _ = stopped.wait_for(Option::is_some).await;
}
