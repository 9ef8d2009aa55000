//! The collector's port: gRPC over HTTP/2 and plain HTTP/1.1 on one listener, for programs on this machine.
//!
//! Two paths and two methods answer and nothing else. Who brings no token may emit, who brings a wrong one may not. Connections,
//! streams, heads, bodies and silence are bounded.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use hmsops_model::limits::WRITE_STALL_MAX;
use hmsops_model::network::subscriber;
use hmsops_wire::collector::{REQUEST_BYTES_MAX, json};
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::emit::{self, Form};
use super::otlp::{self, EXPORT, EXPORT_GRPC, Packed};
use super::{Door, Metrics, grpc, read};
use crate::Engine;
use crate::bound::{Arriving, Place, Turn, Unstalled, is_last};
use crate::door::caller::Caller;
use crate::door::otlp as door_otlp;
use crate::door::receipts::{Answered, Entrance, Seen};
use crate::door::{Auth, Failure, Known, Scope};
use crate::tls::port::Stream;
use crate::tls::{Arrival, Port, Transport};

/// Calls at a time on one connection: a client sends one batch after the other.
const STREAMS_MAX: u32 = 32;

/// A head that has not come whole by then does not come. Also how long a connection may be idle over HTTP/1.1:
/// a program that emits at all flushes once a second.
const HEAD_WITHIN: Duration = Duration::from_mins(1);

/// A connection on which nothing was heard for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(90);

/// Asks whether an HTTP/2 client still lives, so that an idle one is not taken for a dead one.
const PING_EVERY: Duration = Duration::from_secs(30);

/// Headers of a request are some hundred bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// What a client may send ahead on one connection: bounds what idle readers hold to 256 MB.
const WINDOW_BYTES: u32 = 256 << 10;

/// Answers under way get so long when the tower stops.
const DRAIN: Duration = Duration::from_secs(5);

/// The path of plain HTTP.
const EMIT: &str = "/v1/emit";

/// Serves the collector's port until the tower stops.
pub async fn run(port: impl Into<Port>, metrics: Metrics, auth: Arc<Auth>, engine: Engine) {
    let port = port.into();
    let transport = port.transport().cloned();
    loop {
        let accepted = tokio::select! {
            accepted = port.accept() => accepted,
            () = engine.leaves() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Descriptors are short, or the client was gone at once: others can still be served.
                tracing::warn!("metrics in: cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(place) = auth.bounds().collector.take(peer.ip()) else {
            continue;
        };
        let place = Arc::new(place);
        let (metrics, auth, engine) = (metrics.clone(), auth.clone(), engine.clone());
        let (greeting, transport) = (port.greeting(), transport.clone());
        tokio::spawn(async move {
            let greeted = tokio::select! {
                greeted = greeting.done(stream, peer) => greeted,
                () = engine.leaves() => None,
                () = place.dismissed() => None,
            };
            if let Some((stream, arrival)) = greeted {
                tokio::select! {
                    () = serve((stream, arrival, transport), (metrics, place.clone()), auth, &engine) => {}
                    () = place.dismissed() => {}
                }
            }
        });
    }
}

/// Serves one connection to its end.
async fn serve(
    (stream, arrival, transport): (Stream, Arrival, Option<Arc<Transport>>),
    (metrics, place): (Metrics, Arc<Place>),
    auth: Arc<Auth>,
    engine: &Engine,
) {
    let tower = engine.clone();
    let service = service_fn(move |request| {
        let (metrics, auth, engine) = (metrics.clone(), auth.clone(), tower.clone());
        let place = place.clone();
        let anchor = transport.as_ref().filter(|_| is_for_ca(&request)).and_then(|tls| tls.anchor());
        async move {
            if let Some(anchor) = anchor {
                return Ok(Response::new(Body::from(crate::tls::encode("CERTIFICATE", &anchor))));
            }
            let turn = Turn::new(&place);
            let is_last = is_last(&request);
            let request = request.map(|body| Arriving::new(body, &turn));
            let response = answer(request, metrics, (&auth, &engine), arrival).await;
            // Whoever has to make way is gone before an answer could be.
            let Some(busy) = turn.answered() else {
                return Ok::<_, Infallible>(Response::new(Body::empty()));
            };
            let mut response = response.map(|body| busy.until_sent(body));
            if is_last {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY);
    let connection =
        builder.serve_connection(TokioIo::new(Unstalled::new(Heard::new(stream), WRITE_STALL_MAX)), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = engine.leaves() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(DRAIN, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!("metrics in: a connection broke off: {error}");
    }
}

/// Whether a program asks for what it may recognise the tower by.
fn is_for_ca(request: &Request<Incoming>) -> bool {
    request.method() == Method::GET && request.uri().path() == crate::door::CA
}

/// Answers one request, and counts it.
async fn answer(
    request: Request<Arriving>,
    metrics: Metrics,
    tower: (&Auth, &Engine),
    arrival: Arrival,
) -> Response<Body> {
    let media = request.headers().get(CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or_default();
    let is_grpc = media.starts_with("application/grpc");
    let method = request.method().clone();
    let (clock, seen) = (metrics.clock(), Seen::default());
    if let Some(route) =
        [EMIT, grpc::EMIT, EXPORT, EXPORT_GRPC].into_iter().find(|route| *route == request.uri().path())
    {
        seen.reach(route);
    }
    let response = handle(request, metrics, tower, (arrival, is_grpc), &seen).await;
    let peer = Some(arrival.peer.ip());
    let said = grpc::said(&response);
    let refused = response.extensions().get::<Failure>().filter(|failure| failure.is_denial());
    let denied = refused.map(Failure::detail).or_else(|| {
        said.as_ref().filter(|(status, _)| matches!(status, 401 | 403 | 429)).map(|(_, why)| why.as_str())
    });
    let answered = Answered {
        at: clock.now().wall,
        method: method.as_str(),
        route: seen.route(),
        status: refused.map_or_else(
            || said.as_ref().map_or(response.status().as_u16(), |(status, _)| *status),
            |failure| failure.status().as_u16(),
        ),
        who: seen.who(peer),
        from: peer,
        denied,
    };
    tower.0.receipts().note(if is_grpc { Entrance::Grpc } else { Entrance::Emit }, answered);
    response
}

/// The answer for a program, which whoever counts it can look into.
fn refused(failure: Failure, path: &str) -> Response<Body> {
    let mut response = failure.json(path);
    response.extensions_mut().insert(failure);
    response
}

async fn handle(
    request: Request<Arriving>,
    metrics: Metrics,
    (auth, engine): (&Auth, &Engine),
    (arrival, is_grpc): (Arrival, bool),
    seen: &Seen,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let door = if is_grpc { Door::Grpc } else { Door::Emit };
    let path = parts.uri.path();
    let admitted = {
        let snapshot = engine.snapshot();
        let known = Known { auth, snapshot: &snapshot, now: metrics.clock().now(), arrival: Some(arrival) };
        let (admitted, pace, steady) = (admit(&known, &parts, is_grpc), auth.pace(), known.now.steady);
        match &admitted {
            Ok(caller) => pace.caller(caller, Scope::METRICS_WRITE, steady).and(admitted),
            Err(failure) if failure.status() == StatusCode::UNAUTHORIZED => {
                pace.guess(Some(subscriber(arrival.peer.ip())), steady).and(admitted)
            }
            Err(_) => admitted,
        }
    };
    let caller = match admitted {
        Ok(caller) => caller,
        Err(failure) => {
            metrics.count_rejected(door);
            return match (is_grpc, failure.status()) {
                (false, _) => refused(failure, path),
                (true, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) => {
                    grpc::refuse(tonic::Status::unimplemented(failure.detail()))
                }
                (true, _) => {
                    let mut response = grpc::refuse(grpc::status_of_failure(&failure));
                    response.extensions_mut().insert(failure);
                    response
                }
            };
        }
    };
    if let Some(who) = caller.party() {
        seen.know(who);
    }
    let limit = if is_grpc { grpc::FRAME_BYTES_MAX } else { REQUEST_BYTES_MAX };
    let whole = match read(body, limit, metrics.bodies()).await {
        Ok(whole) => whole,
        Err(error) => {
            metrics.count_rejected(door);
            return if is_grpc {
                grpc::refuse(grpc::status_of_body(error))
            } else {
                refused(Failure::from(error), path)
            };
        }
    };
    if is_grpc {
        let request = Request::from_parts(parts, Full::new(whole.bytes.clone()));
        return grpc::call(metrics, caller, request).await;
    }
    taken((metrics, caller), &parts, whole.bytes.clone()).await
}

/// Takes the body of a request in plain HTTP.
async fn taken((metrics, caller): (Metrics, Caller), parts: &Parts, body: bytes::Bytes) -> Response<Body> {
    let path = parts.uri.path();
    if path == EXPORT {
        let answer = async {
            let (form, is_gzip) = door_otlp::form(&parts.headers)?;
            let packed = Packed { form, is_gzip, body };
            let answer = otlp::take(&metrics, packed, caller).await?;
            Ok(door_otlp::answered(&answer, form))
        };
        return answer.await.unwrap_or_else(|failure: Failure| refused(failure, path));
    }
    match emit::take(&metrics, Door::Emit, (Form::Json, body), caller).await {
        Ok(answer) => {
            let mut response = Response::new(Body::from(json::encode_response(&answer)));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(error) => refused(Failure::from(error), path),
    }
}

/// Who brings metrics, if they may and ask for what is there.
fn admit(known: &Known<'_>, parts: &Parts, is_grpc: bool) -> Result<Caller, Failure> {
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    let caller = known.may_emit(authority, &parts.headers)?;
    let paths = if is_grpc { [grpc::EMIT, EXPORT_GRPC] } else { [EMIT, EXPORT] };
    if !paths.contains(&parts.uri.path()) {
        return Err(Failure::not_found("there is nothing at this address of the collector's port").hint(
            "metrics go to POST /v1/emit or /v1/metrics (OTLP), or to hmsops.v1.Collector/Emit or OTLP's \
             MetricsService/Export by gRPC; all else is on --listen",
        ));
    }
    if parts.method != Method::POST {
        return Err(Failure::method(format!("{} is not possible here", parts.method)));
    }
    if parts.uri.path() == EXPORT {
        door_otlp::form(&parts.headers)?;
    } else if !is_grpc {
        let media = parts.headers.get(CONTENT_TYPE).and_then(|media| media.to_str().ok());
        check_media(media.unwrap_or_default())?;
    }
    Ok(caller)
}

/// A page in a browser can send text and forms without asking first, but no JSON.
pub(crate) fn check_media(media: &str) -> Result<(), Failure> {
    let media = media.split(';').next().unwrap_or_default().trim();
    if media.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let failure = Failure::unsupported(format!("the body is `{media:.80}`"));
    Err(failure.hint("send JSON and say so: `Content-Type: application/json`"))
}

/// A connection that ends itself when nothing was heard for [`SILENCE_MAX`].
struct Heard {
    stream: Stream,
    deadline: Pin<Box<Sleep>>,
}

impl Heard {
    fn new(stream: Stream) -> Self {
        Self { stream, deadline: Box::pin(tokio::time::sleep(SILENCE_MAX)) }
    }
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, into) {
            self.deadline.as_mut().reset(Instant::now() + SILENCE_MAX);
            return Poll::Ready(read);
        }
        ready!(self.deadline.as_mut().poll(context));
        Poll::Ready(Err(std::io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Heard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
