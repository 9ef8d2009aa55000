//! `/api/v1/write`: Prometheus' remote write 1.0 and 2.0.
//!
//! Statuses are those that senders act on: 5xx is sent again, every other refusal is not, by default not even 429
//! (`retry_on_http_429` of Prometheus), which is why a busy tower answers 503. A request of which a part was refused
//! is answered with 400 after the rest was stored. Whatever becomes of a request that is in a form that is read here,
//! the answer says how much of it is written (remote write 2.0, Required Written Response Headers); what was there
//! before counts as written, so that a sender may send again.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{Context, Failure, Routes, Scope};
use crate::collect::remote::{Version, Written, write};
use crate::collect::{Door, read};

/// The longest body as it comes, packed: what senders pack into this never reaches the unpacked limit first.
const BODY_BYTES_MAX: usize = 16 << 20;

/// How much is written: samples, histograms, exemplars.
pub(super) const WRITTEN: [HeaderName; 3] = [
    HeaderName::from_static("x-prometheus-remote-write-samples-written"),
    HeaderName::from_static("x-prometheus-remote-write-histograms-written"),
    HeaderName::from_static("x-prometheus-remote-write-exemplars-written"),
];

pub(crate) fn routes(routes: Routes) -> Routes {
    routes.post("/api/v1/write", Scope::METRICS_WRITE, "Prometheus remote write 1.0 and 2.0", remote_write)
}

async fn remote_write(State(context): State<Context>, request: Request) -> Result<Response, Failure> {
    let metrics = &context.metrics;
    let rejected = |failure: Failure| {
        metrics.count_rejected(Door::RemoteWrite);
        failure
    };
    let version = version(request.headers()).map_err(rejected)?;
    let written = match read(request.into_body(), BODY_BYTES_MAX, metrics.bodies()).await {
        Ok(body) => write(metrics, version, body.bytes.clone()).await.map_err(Failure::from),
        Err(error) => Err(rejected(error.into())),
    };
    let (Written { exemplars, .. }, (samples, histograms)) = match &written {
        Ok(written) => (written.clone(), written.counts()),
        Err(_) => (Written::default(), (0, 0)),
    };
    let mut response = match written.map(|written| written.trouble()) {
        Ok(None) => StatusCode::NO_CONTENT.into_response(),
        Ok(Some(trouble)) => Failure::argument(trouble).into_response(),
        Err(failure) => failure.into_response(),
    };
    for (name, count) in WRITTEN.into_iter().zip([samples, histograms, exemplars]) {
        response.headers_mut().insert(name, HeaderValue::from(count));
    }
    Ok(response)
}

/// The version that a request is of, if it is in a form that is read here.
fn version(headers: &HeaderMap) -> Result<Version, Failure> {
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
    let param = |param: &str| {
        let (name, value) = param.trim().split_once('=')?;
        name.eq_ignore_ascii_case("proto").then(|| value.trim_matches('"').to_owned())
    };
    let version = match params.split(';').find_map(param).as_deref() {
        None | Some("prometheus.WriteRequest") => Version::One,
        Some("io.prometheus.write.v2.Request") => Version::Two,
        Some(proto) => {
            return Err(Failure::unsupported(format!("the message is `{proto:.80}`")).hint(
                "send `prometheus.WriteRequest` or `io.prometheus.write.v2.Request` (`protobuf_message` of \
                 Prometheus)",
            ));
        }
    };
    let coding = header(CONTENT_ENCODING);
    if !coding.eq_ignore_ascii_case("snappy") {
        return Err(Failure::unsupported(format!("the body is packed as `{coding:.80}`"))
            .hint("remote write sends `Content-Encoding: snappy`"));
    }
    Ok(version)
}
