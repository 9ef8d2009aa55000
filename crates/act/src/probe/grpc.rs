//! `grpc.health.v1.Health/Check`, over HTTP/2 with and without TLS.
//!
//! Both messages have one field (gRPC health checking protocol, `health.proto`): written and read by hand.

use bytes::{Bytes, BytesMut};
use hmsops_model::Millis;
use hmsops_model::probe::Tls;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper::header::{CONTENT_TYPE, TE, USER_AGENT};
use hyper::{HeaderMap, Request, Response, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use super::place::Place;
use super::seen::{Seen, Trouble, failed, quoted};
use super::tls;

/// An answer has two bytes, and five before them.
const ANSWER_BYTES_MAX: usize = 4096;
/// gRPC status codes with words of their own.
const OK: u32 = 0;
const NOT_FOUND: u32 = 5;
const UNIMPLEMENTED: u32 = 12;

/// Asks for `service`; empty: for the server as a whole.
pub(super) async fn ask(place: &Place, service: &str, tls: Tls, timeout: Millis) -> Result<Seen, Trouble> {
    let stream = place.connect().await?;
    let mut connection = JoinSet::new();
    let request = request(place, service, tls, timeout)?;
    let (response, certificate) = if tls == Tls::Plain {
        (head(stream, request, &mut connection).await?, None)
    } else {
        let (stream, certificate) = tls::encrypt(stream, &place.host, tls, b"h2").await?;
        (head(stream, request, &mut connection).await?, Some(certificate))
    };
    let health = answer(response, service).await?;
    Ok(Seen { health: Some(health.into()), certificate, ..Seen::default() })
}

fn request(place: &Place, service: &str, tls: Tls, timeout: Millis) -> Result<Request<Full<Bytes>>, Trouble> {
    let scheme = if tls == Tls::Plain { "http" } else { "https" };
    Request::post(format!("{scheme}://{}/grpc.health.v1.Health/Check", place.addr()))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, "hmsops-probe")
        .header("grpc-timeout", format!("{}m", timeout.0.min(99_999_999)))
        .body(Full::new(encode_request(service)))
        .map_err(|_| failed(format!("`{}` cannot be asked over HTTP/2", place.addr())))
}

async fn head<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    connection: &mut JoinSet<()>,
) -> Result<Response<Incoming>, Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let trouble = |error: hyper::Error| {
        let mut source: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(&error);
        while let Some(inner) = source {
            if let Some(io) = inner.downcast_ref::<std::io::Error>()
                && io.raw_os_error().is_some()
            {
                return super::seen::io_trouble(io);
            }
            source = inner.source();
        }
        failed("does not speak HTTP/2, which gRPC needs")
    };
    let (mut sender, driver) =
        http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await.map_err(trouble)?;
    connection.spawn(async move { drop(driver.await) });
    sender.send_request(request).await.map_err(trouble)
}

/// What it says of the service's health.
async fn answer(response: Response<Incoming>, service: &str) -> Result<&'static str, Trouble> {
    let http = response.status();
    if !http.is_success() {
        return Err(failed(format!("answered {} instead of gRPC", http.as_u16())));
    }
    // A refusal has its status among the headers.
    if let Some(code) = status(response.headers()).filter(|code| *code != OK) {
        return Err(refusal(code, message(response.headers()), service));
    }
    let mut body = response.into_body();
    let mut read = BytesMut::new();
    let mut code = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| failed("broke off in the middle of its answer"))?;
        if let Some(trailers) = frame.trailers_ref() {
            code = status(trailers);
            if let Some(code) = code.filter(|code| *code != OK) {
                return Err(refusal(code, message(trailers), service));
            }
        }
        if let Some(data) = frame.data_ref() {
            read.extend_from_slice(data);
        }
        if read.len() > ANSWER_BYTES_MAX {
            return Err(failed(format!("its answer is longer than {} KiB", ANSWER_BYTES_MAX >> 10)));
        }
    }
    if code.is_none() {
        return Err(failed("what it answers is not gRPC: it has no status"));
    }
    decode_answer(&read).ok_or_else(|| failed("what it answers is no health of gRPC"))
}

fn status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

fn message(headers: &HeaderMap) -> Option<String> {
    let message = headers.get("grpc-message")?.to_str().ok()?;
    Some(quoted(message)).filter(|message| !message.is_empty())
}

fn refusal(code: u32, message: Option<String>, service: &str) -> Trouble {
    let server = "its server does not implement grpc.health.v1 (UNIMPLEMENTED)";
    failed(match code {
        NOT_FOUND => format!("knows no service `{service}` (NOT_FOUND)"),
        UNIMPLEMENTED => server.to_owned(),
        code => {
            let message = message.map(|message| format!(": {message}")).unwrap_or_default();
            format!("refused with gRPC status {code}{message}")
        }
    })
}

/// `HealthCheckRequest { string service = 1; }`, after the five bytes of a gRPC message.
fn encode_request(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(&message);
    framed.into()
}

/// `HealthCheckResponse { ServingStatus status = 1; }`; a field that is left out is 0, and others are skipped.
fn decode_answer(framed: &[u8]) -> Option<&'static str> {
    let (prefix, message) = framed.split_at_checked(5)?;
    let length = u32::from_be_bytes(prefix.get(1..)?.try_into().ok()?);
    if prefix.first() != Some(&0) || usize::try_from(length).ok()? != message.len() {
        return None;
    }
    let mut rest = message;
    let mut status = 0;
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        match tag & 7 {
            0 => {
                let value = varint(&mut rest)?;
                if tag >> 3 == 1 {
                    status = value;
                }
            }
            1 => rest = rest.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            5 => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(match status {
        0 => "UNKNOWN",
        1 => "SERVING",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => return None,
    })
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in 0..10 {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f).checked_shl(7 * shift)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_the_protocol_has_them() {
        assert_eq!(&encode_request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&encode_request("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = encode_request(&"x".repeat(200));
        assert_eq!(&long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
        for (bytes, expected) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], Some("SERVING")),
            (&[0, 0, 0, 0, 2, 8, 2], Some("NOT_SERVING")),
            (&[0, 0, 0, 0, 2, 8, 3], Some("SERVICE_UNKNOWN")),
            (&[0, 0, 0, 0, 0], Some("UNKNOWN")),
            (&[0, 0, 0, 0, 5, 0x12, 1, 7, 8, 1], Some("SERVING")),
            (&[0, 0, 0, 0, 2, 8, 9], None),
            (&[0, 0, 0, 0, 1, 8], None),
            (&[0, 0, 0, 0, 3, 8, 1], None),
            (&[1, 0, 0, 0, 2, 8, 1], None),
            (&[0, 0, 0, 0, 3, 0x12, 0xff, 1], None),
            (&[], None),
        ] {
            assert_eq!(decode_answer(bytes), expected, "{bytes:?}");
        }
    }
}
