//! `/v1/metrics` and `/api/v1/otlp/v1/metrics`: what OpenTelemetry's SDKs and collectors export over HTTP.
//!
//! Source: opentelemetry.io/docs/specs/otlp/#otlphttp. 429 and 503 are sent again, all other failures are not.

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use hmsops_wire::otlp::REQUEST_BYTES_MAX;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};

use super::caller::Caller;
use super::{Context, Failure, Routes, Scope};
use crate::collect::emit::Form;
use crate::collect::otlp::{EXPORT, Packed, take, written};
use crate::collect::{Door, read};

const WHAT: &str = "Metrics of OpenTelemetry: OTLP over HTTP, as protobuf or JSON";

pub(crate) fn routes(routes: Routes) -> Routes {
    routes.post(EXPORT, Scope::METRICS_WRITE, WHAT, export).post(
        "/api/v1/otlp/v1/metrics",
        Scope::METRICS_WRITE,
        "The same, where Prometheus takes it",
        export,
    )
}

async fn export(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Failure> {
    let metrics = &context.metrics;
    let rejected = |failure: Failure| {
        metrics.count_rejected(Door::Otlp);
        failure
    };
    let (form, is_gzip) = form(request.headers()).map_err(rejected)?;
    let body = read(request.into_body(), REQUEST_BYTES_MAX, metrics.bodies()).await;
    let body = body.map_err(|error| rejected(error.into()))?;
    let packed = Packed { form, is_gzip, body: body.bytes.clone() };
    let answer = take(metrics, packed, caller).await?;
    Ok(answered(&answer, form))
}

/// An answer as HTTP has it.
pub(crate) fn answered(answer: &hmsops_wire::otlp::ExportMetricsServiceResponse, form: Form) -> Response {
    let media = match form {
        Form::Json => "application/json",
        Form::Protobuf => "application/x-protobuf",
    };
    ([(CONTENT_TYPE, HeaderValue::from_static(media))], written(answer, form)).into_response()
}

/// How a body is written, and whether it is packed. What a page in a browser can send without asking first is refused.
pub(crate) fn form(headers: &HeaderMap) -> Result<(Form, bool), Failure> {
    let header =
        |name| headers.get(name).map(|value| value.to_str().unwrap_or("?").trim()).unwrap_or_default();
    let media = header(CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let form = match media.as_str() {
        "application/x-protobuf" => Form::Protobuf,
        "application/json" => Form::Json,
        _ => {
            return Err(Failure::unsupported(format!("the body is `{media:.80}`"))
                .hint("OTLP over HTTP is `application/x-protobuf` or `application/json`"));
        }
    };
    match header(CONTENT_ENCODING).to_ascii_lowercase().as_str() {
        "" | "identity" => Ok((form, false)),
        "gzip" => Ok((form, true)),
        coding => Err(Failure::unsupported(format!("the body is packed as `{coding:.80}`"))
            .hint("OTLP over HTTP is packed as `gzip` or not at all")),
    }
}
