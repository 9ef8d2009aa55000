//! `/hms/v1/metrics`: what programs elsewhere emit, with a token.

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use hmsops_wire::collector::{REQUEST_BYTES_MAX, json};
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::caller::Caller;
use super::{Context, Failure, Routes, Scope};
use crate::collect::emit::{Form, take};
use crate::collect::listener::check_media;
use crate::collect::{Door, read};

pub(crate) fn routes(routes: Routes) -> Routes {
    routes.post(
        "/hms/v1/metrics",
        Scope::METRICS_WRITE,
        "Stores emitted metrics, as /v1/emit of the collector's port",
        emit,
    )
}

async fn emit(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Failure> {
    let metrics = &context.metrics;
    let media = request.headers().get(CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or_default();
    let rejected = |failure: Failure| {
        metrics.count_rejected(Door::Api);
        failure
    };
    check_media(media).map_err(rejected)?;
    let body = read(request.into_body(), REQUEST_BYTES_MAX, metrics.bodies()).await;
    let body = body.map_err(|error| rejected(error.into()))?;
    let answer = take(metrics, Door::Api, (Form::Json, body.bytes.clone()), caller).await?;
    let json = Bytes::from(json::encode_response(&answer));
    Ok(([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], json).into_response())
}
