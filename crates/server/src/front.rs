//! The port of pages and API: takes connections, and lets go of them in good order. Connections, heads and silence are
//! bounded.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::response::IntoResponse as _;
use hmsops_model::limits::WRITE_STALL_MAX;
use http::header::CONNECTION;
use http::{HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::bound::{Arriving, Place, Turn, Unstalled, is_last};
use crate::door::Auth;
use crate::tls::port::{Greeting, Stream};
use crate::tls::{Arrival, Port};

/// A head that has not come whole by then does not come. Also how long a connection may be idle.
const HEAD_WITHIN: Duration = Duration::from_secs(75);

/// Headers of a request are some kilobytes.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// After a connection could not be accepted: descriptors are short, or the client was gone at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until it is told to stop, and then for as long as requests under way take; the caller bounds that.
pub async fn run(port: Port, router: axum::Router, auth: Arc<Auth>, mut stop: watch::Receiver<bool>) {
    let places = &auth.bounds().web;
    let mut running = JoinSet::new();
    loop {
        while running.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = port.accept() => accepted,
            () = told(&mut stop) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(place) = places.take(peer.ip()) else {
                    tracing::debug!("pages: no place for {peer}, all {} are busy", places.counts().taken);
                    continue;
                };
                let place = Arc::new(place);
                let (greeting, router, stop) = (port.greeting(), router.clone(), stop.clone());
                running.spawn(async move {
                    tokio::select! {
                        () = connection((greeting, stream, peer), (router, place.clone()), stop) => {}
                        () = place.dismissed() => {
                            tracing::debug!("pages: the connection of {peer} made way for another one");
                        }
                    }
                });
            }
            Err(error) => {
                tracing::warn!("pages: cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(port);
    while running.join_next().await.is_some() {}
}

async fn connection(
    (greeting, stream, peer): (Greeting, tokio::net::TcpStream, SocketAddr),
    (router, place): (axum::Router, Arc<Place>),
    mut stop: watch::Receiver<bool>,
) {
    let greeted = tokio::select! {
        greeted = greeting.done(stream, peer) => greeted,
        () = told(&mut stop) => None,
    };
    let Some((stream, arrival)) = greeted else { return };
    let service = service_fn(move |request| answer((router.clone(), place.clone()), arrival, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Unstalled::<Stream>::new(stream, WRITE_STALL_MAX)), service);
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
    (router, place): (axum::Router, Arc<Place>),
    arrival: Arrival,
    mut request: Request<Incoming>,
) -> Result<axum::response::Response, Infallible> {
    request.extensions_mut().insert(ConnectInfo(arrival.peer));
    request.extensions_mut().insert(arrival);
    let (turn, is_last) = (Turn::new(&place), is_last(&request));
    let response = router.oneshot(request.map(|body| Arriving::new(body, &turn))).await?;
    // Whoever has to make way is gone before an answer could be.
    let Some(busy) = turn.answered() else { return Ok(StatusCode::SERVICE_UNAVAILABLE.into_response()) };
    let mut response = response.map(|body| busy.until_sent(body));
    if is_last {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}
