//! What a gateway knows of gRPC ("gRPC over HTTP2", grpc/doc/PROTOCOL-HTTP2.md): how a call ended is in its trailers.

use bytes::Bytes;
use hmsops_model::BadKind;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};

use super::answer::Answer;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const CONTENT: &str = "application/grpc";

/// Statuses that are the server's fault: those that `google/rpc/code.proto` maps to a 5xx of HTTP, as Envoy's
/// outlier detection does (`Grpc::Utility::grpcToHttpStatus`): UNKNOWN, `DEADLINE_EXCEEDED`, UNIMPLEMENTED,
/// INTERNAL, UNAVAILABLE, `DATA_LOSS`. An UNKNOWN is what a handler that panics or throws becomes, and an
/// UNIMPLEMENTED what a version answers that has lost a method.
const BAD: [&[u8]; 6] = [b"2", b"4", b"12", b"13", b"14", b"15"];

/// Whether a message is gRPC's; gRPC-Web, which has its trailers in the body, is not.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let content = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = content.and_then(|content| content.strip_prefix(CONTENT.as_bytes()));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Whether a call's end is said here: in trailers, or in a head that is all there is.
pub(super) fn has_ended(fields: &HeaderMap) -> bool {
    fields.contains_key(STATUS)
}

/// Why a call's end is bad for the version that gave it, by its status; one without a status has broken off.
pub(super) fn judge(fields: &HeaderMap) -> Option<BadKind> {
    match fields.get(STATUS) {
        Some(status) => BAD.contains(&status.as_bytes()).then_some(BadKind::Status),
        None => Some(BadKind::Broken),
    }
}

/// An answer of the gateway's own in gRPC's form, without a body (`Trailers-Only`). The status is what gRPC's clients
/// make of the HTTP status themselves (grpc/doc/http-grpc-status-mapping.md), but for 413, which they don't know.
pub(super) fn refuse(mut answer: Response<Answer>, text: &'static str) -> Response<Answer> {
    let status = match answer.status() {
        StatusCode::BAD_REQUEST => "13",
        StatusCode::UNAUTHORIZED => "16",
        StatusCode::FORBIDDEN => "7",
        StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED => "12",
        StatusCode::PAYLOAD_TOO_LARGE => "8",
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => "14",
        _ => "2",
    };
    *answer.status_mut() = StatusCode::OK;
    let fields = answer.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT));
    fields.insert(STATUS, HeaderValue::from_static(status));
    // Percent-encoding is for what is not printable ASCII; our own texts are.
    fields.insert(MESSAGE, HeaderValue::from_static(text));
    answer.map(|_| Answer::Text(None::<Bytes>))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(name: &'static str, value: &'static str) -> HeaderMap {
        [(HeaderName::from_static(name), HeaderValue::from_static(value))].into_iter().collect()
    }

    #[test]
    fn grpc_is_told_by_its_content_type() {
        for (content, is) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; charset=x", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_grpc(&fields("content-type", content)), is, "{content}");
        }
    }

    #[test]
    fn the_servers_faults_are_bad_and_the_clients_are_not() {
        let bad: Vec<_> = (0..=16_u8)
            .filter(|code| {
                let value = HeaderValue::from_str(&code.to_string()).unwrap();
                judge(&[(STATUS, value)].into_iter().collect()) == Some(BadKind::Status)
            })
            .collect();
        assert_eq!(bad, [2, 4, 12, 13, 14, 15]);
        assert_eq!(judge(&HeaderMap::new()), Some(BadKind::Broken));
    }
}
