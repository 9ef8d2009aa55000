//! `/api/v1/write`: Prometheus' remote write 1.0.
//!
//! Statuses are those that senders act on: 5xx is sent again, every other refusal is not, by default not even 429
//! (`retry_on_http_429` of Prometheus), which is why a busy tower answers 503. A request of which a part was refused
//! is answered with 400 after the rest was stored.

use axum::extract::{Request, State};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};

use super::{Context, Failure, Routes, Scope};
use crate::collect::remote::write;
use crate::collect::{Door, read};

/// The longest body as it comes, packed: what senders pack into this never reaches the unpacked limit first.
const BODY_BYTES_MAX: usize = 16 << 20;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes.post("/api/v1/write", Scope::METRICS_WRITE, "Prometheus remote write 1.0", remote_write)
}

async fn remote_write(State(context): State<Context>, request: Request) -> Result<StatusCode, Failure> {
    let metrics = &context.metrics;
    let rejected = |failure: Failure| {
        metrics.count_rejected(Door::RemoteWrite);
        failure
    };
    check(request.headers()).map_err(rejected)?;
    let body = read(request.into_body(), BODY_BYTES_MAX, metrics.bodies()).await;
    let body = body.map_err(|error| rejected(error.into()))?;
    let written = write(metrics, body.bytes.clone()).await?;
    match written.trouble() {
        None => Ok(StatusCode::NO_CONTENT),
        Some(trouble) => Err(Failure::argument(trouble)),
    }
}

fn check(headers: &HeaderMap) -> Result<(), Failure> {
    let header =
        |name| headers.get(name).map(|value| value.to_str().unwrap_or("?").trim()).unwrap_or_default();
    let (media, params) = match header(CONTENT_TYPE).split_once(';') {
        Some((media, params)) => (media.trim(), params),
        None => (header(CONTENT_TYPE), ""),
    };
    if !media.eq_ignore_ascii_case("application/x-protobuf") {
        return Err(Failure::unsupported(format!("the body is `{media:.80}`"))
            .hint("remote write sends `Content-Type: application/x-protobuf`"));
    }
    let proto = params.split(';').find_map(|param| param.trim().strip_prefix("proto="));
    if let Some(proto) = proto.filter(|proto| proto.trim_matches('"') != "prometheus.WriteRequest") {
        return Err(Failure::unsupported(format!("the message is `{proto:.80}`"))
            .hint("send remote write 1.0: `protobuf_message: prometheus.WriteRequest`"));
    }
    let coding = header(CONTENT_ENCODING);
    if !coding.eq_ignore_ascii_case("snappy") {
        return Err(Failure::unsupported(format!("the body is packed as `{coding:.80}`"))
            .hint("remote write sends `Content-Encoding: snappy`"));
    }
    Ok(())
}
