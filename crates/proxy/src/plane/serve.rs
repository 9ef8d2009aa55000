//! Takes clients' connections, and lets go of them in good order.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::carry::carry;
use super::meter::Why;
use super::{ACCEPT_PAUSE, CONNECTIONS_MAX, HEAD_BYTES_MAX, HEAD_FIELDS_MAX, Plane, count};

/// Accepts until told to stop, then waits for the connections to finish, as long as the stop allows.
pub(super) async fn serve(
    plane: Arc<Plane>,
    listener: TcpListener,
    mut stopped: watch::Receiver<Option<Duration>>,
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
                tokio::spawn(connection(Arc::clone(&plane), stream, peer, stopped.clone(), place));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let drain = stopped.borrow().unwrap_or_default();
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    if tokio::time::timeout(drain, places.acquire_many(all)).await.is_err() {
        let left = CONNECTIONS_MAX - places.available_permits();
        tracing::warn!(left, "connections are broken off, the drain time is over");
    }
}

async fn connection(
    plane: Arc<Plane>,
    stream: TcpStream,
    peer: SocketAddr,
    mut stopped: watch::Receiver<Option<Duration>>,
    _place: OwnedSemaphorePermit,
) {
    let Some(_guest) = plane.admit(peer) else {
        return plane.meter.refuse(Why::Connections);
    };
    // Without it only small writes are slower.
    let _ = stream.set_nodelay(true);
    let client_head = plane.limits.client_head;
    let meter = Arc::clone(&plane.meter);
    let service = service_fn(move |request| {
        let plane = Arc::clone(&plane);
        async move { Ok::<_, Infallible>(carry(plane, peer, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(client_head)
        .max_headers(HEAD_FIELDS_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        meter.broken(&error);
        tracing::debug!(%peer, %error, "a client's connection broke");
    }
}

/// Comes back once the gateway is to stop.
async fn told(stopped: &mut watch::Receiver<Option<Duration>>) {
    // The sender is gone only when the gateway is.
    let _ = stopped.wait_for(Option::is_some).await;
}
