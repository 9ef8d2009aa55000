//! `hmsops.v1.Collector/Emit` over gRPC: frames and statuses by tonic, messages by `hmsops_wire::collector`.

use std::future::Future;
use std::pin::Pin;

use bytes::{Buf as _, BufMut as _, Bytes};
use hmsops_wire::collector::{EmitResponse, REQUEST_BYTES_MAX};
use http_body_util::Full;
use prost::Message as _;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};

use crate::door::caller::Caller;

use super::emit::{self, EmitError, Form};
use super::otlp::{self, Packed};
use super::{AppendError, BodyError, Door, Metrics};
use crate::door::Failure;

/// The path of the one method.
pub(super) const EMIT: &str = "/hmsops.v1.Collector/Emit";

/// A frame is its flag of compression, its length, and the message.
pub(super) const FRAME_BYTES_MAX: usize = REQUEST_BYTES_MAX + 5;

/// Answers a call whose body has come whole.
pub(super) async fn call(
    metrics: Metrics,
    caller: Caller,
    request: http::Request<Full<Bytes>>,
) -> http::Response<axum::body::Body> {
    if request.uri().path() == otlp::EXPORT_GRPC {
        export(metrics, caller, request).await
    } else {
        emit(metrics, caller, request).await
    }
}

async fn emit(
    metrics: Metrics,
    caller: Caller,
    request: http::Request<Full<Bytes>>,
) -> http::Response<axum::body::Body> {
    let mut grpc = Grpc::new(Raw).max_decoding_message_size(REQUEST_BYTES_MAX);
    let response = grpc.unary(Emit(metrics, caller), request).await;
    response.map(axum::body::Body::new)
}

async fn export(
    metrics: Metrics,
    caller: Caller,
    request: http::Request<Full<Bytes>>,
) -> http::Response<axum::body::Body> {
    let mut grpc = Grpc::new(Raw).max_decoding_message_size(REQUEST_BYTES_MAX);
    let response = grpc.unary(Export(metrics, caller), request).await;
    response.map(axum::body::Body::new)
}

/// Answers a call with nothing but a status.
pub(super) fn refuse(status: Status) -> http::Response<axum::body::Body> {
    status.into_http()
}

/// What an answer of this port says by gRPC's own means, with the status that HTTP would give it; `None`: it is no such
/// answer, or all went well.
pub(super) fn said(response: &http::Response<axum::body::Body>) -> Option<(u16, String)> {
    let status = Status::from_header_map(response.headers()).filter(|status| status.code() != Code::Ok)?;
    let as_http = match status.code() {
        Code::InvalidArgument => 400,
        Code::Unauthenticated => 401,
        Code::PermissionDenied => 403,
        Code::Unimplemented | Code::NotFound => 404,
        Code::DeadlineExceeded => 408,
        Code::ResourceExhausted => 413,
        Code::Unavailable => 503,
        _ => 500,
    };
    Some((as_http, status.message().to_owned()))
}

/// The status of a caller who may not.
pub(super) fn status_of_failure(failure: &Failure) -> Status {
    let code = match failure.status().as_u16() {
        401 => Code::Unauthenticated,
        // A batch that comes too early is sent again; one that is too large would not be.
        429 => Code::Unavailable,
        _ => Code::PermissionDenied,
    };
    Status::new(code, failure.detail())
}

/// The status of a body that did not come.
pub(super) fn status_of_body(error: BodyError) -> Status {
    let code = match error {
        BodyError::TooLarge(_) => Code::ResourceExhausted,
        BodyError::Slow => Code::DeadlineExceeded,
        BodyError::Broken => Code::InvalidArgument,
        BodyError::Busy => Code::Unavailable,
    };
    Status::new(code, error.to_string())
}

fn status_of(error: &EmitError) -> Status {
    let code = match error {
        error if error.is_too_large() => Code::ResourceExhausted,
        EmitError::Foreign(_) => Code::PermissionDenied,
        error if !error.is_temporary() => Code::InvalidArgument,
        EmitError::Append(AppendError::Ended) => Code::Internal,
        _ => Code::Unavailable,
    };
    Status::new(code, error.to_string())
}

/// Messages as their bytes: one that comes in is decoded where it is stored, and counted before it is decoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// The method.
struct Emit(Metrics, Caller);

impl UnaryService<Bytes> for Emit {
    type Response = Bytes;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<Bytes>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let (metrics, caller) = (self.0.clone(), self.1.clone());
        Box::pin(async move {
            let answer =
                emit::take(&metrics, Door::Grpc, (Form::Protobuf, request.into_inner()), caller).await;
            let encoded = |answer: EmitResponse| tonic::Response::new(answer.encode_to_vec().into());
            answer.map(encoded).map_err(|error| status_of(&error))
        })
    }
}

/// The method of OTLP.
struct Export(Metrics, Caller);

impl UnaryService<Bytes> for Export {
    type Response = Bytes;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<Bytes>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let (metrics, caller) = (self.0.clone(), self.1.clone());
        Box::pin(async move {
            let packed = Packed { form: Form::Protobuf, is_gzip: false, body: request.into_inner() };
            let answer = otlp::take(&metrics, packed, caller).await;
            let encoded = |answer| tonic::Response::new(otlp::written(&answer, Form::Protobuf));
            answer.map(encoded).map_err(|error| status_of(&error))
        })
    }
}
