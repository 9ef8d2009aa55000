//! HTTP/2 towards an arm: few connections, many requests on each.

use std::error::Error as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use h2::Reason;
use http::header::{self, HeaderValue};
use http::uri::Authority;
use http::{Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::upload::{Ask, Upload};
use super::upstream::Fault;
use super::{HEAD_BYTES_MAX, grpc};

/// Requests at a time on one connection: servers allow a hundred at least (RFC 9113 §6.5.2).
const STREAMS_MAX: usize = 100;

/// Connections to one address: ten thousand requests at a time.
const CONNECTIONS_MAX: usize = 100;

/// Streams that one request tries. A server that refuses so many in a row has no room, and is not to be pressed.
const TRIES_MAX: usize = 5;

/// Looks in a row that must find a connection unused before it is closed; there is one a second.
const IDLE_LOOKS: u32 = 60;

/// A server that does not answer a ping for so long is gone.
const PING_EVERY: Duration = Duration::from_secs(10);
const PONG_MAX: Duration = Duration::from_secs(10);

/// What an arm may send on one stream, and on its connection, before a client has taken it, in bytes.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// The connections to one address.
#[derive(Default)]
pub(super) struct Multiplex {
    connections: Mutex<Vec<Connection>>,
    /// One connects, the others wait for it.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Connection {
    sender: SendRequest<Upload>,
    open: Arc<AtomicUsize>,
    idle_looks: u32,
}

/// A request's place on a connection; free when dropped.
pub(super) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Multiplex {
    /// Asks, on a connection with room or a new one. What the server has certainly not begun is asked again whatever
    /// the method; what it may have begun only if that does no harm.
    pub(super) async fn ask<C>(
        &self,
        ask: &mut Ask,
        address: &str,
        connect: impl Fn() -> C,
    ) -> Result<(Response<Incoming>, Place), Fault>
    where
        C: Future<Output = Result<TcpStream, Fault>>,
    {
        for _ in 0..TRIES_MAX {
            let (mut sender, place, is_new) = match self.find() {
                Some((sender, place)) => (sender, place, false),
                None => self.add(&connect).await?,
            };
            // What is repeatable is there anyway.
            let spare = if ask.is_repeatable() { None } else { ask.spare() };
            match sender.try_send_request(as_http2(ask.request(), address)).await {
                Ok(response) if response.status().is_informational() => return Err(Fault::Broken),
                Ok(response) => return Ok((response, place)),
                Err(mut failed) => {
                    let unsent = failed.take_message().map(as_it_was);
                    let is_untouched = unsent.is_some() || is_refused(&failed.into_error());
                    if let Some(fault) = ask.upload.fault() {
                        return Err(fault);
                    }
                    if let Some(request) = unsent.or(spare.filter(|_| is_untouched)) {
                        ask.put_back(request);
                    }
                    let may_repeat = ask.is_repeatable() || (is_untouched && ask.is_whole());
                    if !may_repeat || (is_new && !is_untouched) {
                        return Err(Fault::Broken);
                    }
                }
            }
        }
        Err(Fault::Broken)
    }

    /// Forgets connections that are closed, and closes those that nobody has used for a while.
    pub(super) fn reap(&self) {
        self.lock().retain_mut(|connection| {
            let is_idle = connection.open.load(Ordering::SeqCst) == 0;
            connection.idle_looks = if is_idle { connection.idle_looks + 1 } else { 0 };
            !connection.sender.is_closed() && connection.idle_looks < IDLE_LOOKS
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place on the connection with the most room.
    fn find(&self) -> Option<(SendRequest<Upload>, Place)> {
        let mut connections = self.lock();
        connections.retain(|connection| !connection.sender.is_closed());
        let best = connections.iter().min_by_key(|connection| connection.open.load(Ordering::SeqCst))?;
        // Beyond that many connections they are shared by more, and the library makes the rest wait.
        let has_room = best.open.load(Ordering::SeqCst) < STREAMS_MAX || connections.len() >= CONNECTIONS_MAX;
        has_room.then(|| (best.sender.clone(), best.place()))
    }

    async fn add<C>(&self, connect: impl Fn() -> C) -> Result<(SendRequest<Upload>, Place, bool), Fault>
    where
        C: Future<Output = Result<TcpStream, Fault>>,
    {
        let _turn = self.connecting.lock().await;
        if let Some((sender, place)) = self.find() {
            return Ok((sender, place, false));
        }
        let stream = connect().await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PONG_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Fault::Refused)?;
        tokio::spawn(async move {
            // Errors reach the requests that wait on this connection.
            let _ = connection.await;
        });
        let connection = Connection { sender, open: Arc::default(), idle_looks: 0 };
        let place = connection.place();
        let sender = connection.sender.clone();
        self.lock().push(connection);
        Ok((sender, place, true))
    }
}

impl Connection {
    fn place(&self) -> Place {
        self.open.fetch_add(1, Ordering::SeqCst);
        Place(Arc::clone(&self.open))
    }
}

/// Whether the server has refused a stream unread (RFC 9113 §8.7). That it went away proves less: a request that is
/// being sent when that is heard gets the same error, and is perhaps among those the server still answers.
fn is_refused(error: &hyper::Error) -> bool {
    let error = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    error.is_some_and(|error| {
        error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM) && error.is_reset()
    })
}

/// A request that [`as_http2`] has changed, with its host where it was.
fn as_it_was(mut request: Request<Upload>) -> Request<Upload> {
    let authority = request.uri().authority().map(|authority| HeaderValue::from_str(authority.as_str()));
    if let Some(Ok(host)) = authority {
        request.headers_mut().insert(header::HOST, host);
    }
    request
}

/// The request as HTTP/2 has it: the host in `:authority`, and for gRPC the word that trailers are understood.
fn as_http2(mut request: Request<Upload>, address: &str) -> Request<Upload> {
    *request.version_mut() = Version::HTTP_2;
    let host = request.headers_mut().remove(header::HOST);
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut uri = std::mem::take(request.uri_mut()).into_parts();
    uri.scheme = Some(http::uri::Scheme::HTTP);
    uri.authority = authority.or_else(|| Authority::try_from(address).ok());
    uri.path_and_query.get_or_insert_with(|| http::uri::PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
    let headers = request.headers_mut();
    headers.remove(header::CONNECTION);
    headers.remove(header::UPGRADE);
    if grpc::is_grpc(headers) {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    request
}
