//! The port of pages and API: takes connections, and lets go of them in good order. Connections, heads and silence are
//! bounded.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt as _;

use crate::tls::port::{Greeting, Stream};
use crate::tls::{Arrival, Port};

/// Browsers keep some each, programs one.
const CONNECTIONS_MAX: usize = 1024;

/// A head that has not come whole by then does not come. Also how long a connection may be idle.
const HEAD_WITHIN: Duration = Duration::from_secs(75);

/// Headers of a request are some kilobytes.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// After a connection could not be accepted: descriptors are short, or the client was gone at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until it is told to stop, and then for as long as requests under way take; the caller bounds that.
pub async fn run(port: Port, router: axum::Router, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place,
            () = told(&mut stop) => break,
        };
        let accepted = tokio::select! {
            accepted = port.accept() => accepted,
            () = told(&mut stop) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (greeting, router, stop) = (port.greeting(), router.clone(), stop.clone());
                tokio::spawn(async move {
                    connection((greeting, stream, peer), router, stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("pages: cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(port);
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    // Every place is given back once its connection has ended.
    let _ended = places.acquire_many(all).await;
}

async fn connection(
    (greeting, stream, peer): (Greeting, tokio::net::TcpStream, SocketAddr),
    router: axum::Router,
    mut stop: watch::Receiver<bool>,
) {
    let greeted = tokio::select! {
        greeted = greeting.done(stream, peer) => greeted,
        () = told(&mut stop) => None,
    };
    let Some((stream, arrival)) = greeted else { return };
    let service = service_fn(move |request| answer(router.clone(), arrival, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::<Stream>::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("pages: the connection of {peer} broke off: {error}");
    }
}

/// Comes back once the tower is to stop.
async fn told(stop: &mut watch::Receiver<bool>) {
    // Its sender is gone only when the tower is.
    let _stopped = stop.wait_for(|stop| *stop).await;
}

async fn answer(
    router: axum::Router,
    arrival: Arrival,
    mut request: Request<Incoming>,
) -> Result<axum::response::Response, Infallible> {
    request.extensions_mut().insert(ConnectInfo(arrival.peer));
    request.extensions_mut().insert(arrival);
    router.oneshot(request).await
}
