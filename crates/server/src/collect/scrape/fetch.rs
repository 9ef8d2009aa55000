//! One GET of a target's page: a connection of its own, no redirects, a limit in bytes and in time.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use hmsops_act::guard::{Guard, GuardError};
use hmsops_model::Millis;
use hmsops_model::network::Network;
use hmsops_model::scrape::ALLOW_PRIVATE;
use hmsops_wire::exposition::Format;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

/// The longest page in bytes: some 150 000 samples.
const PAGE_BYTES_MAX: usize = 16 << 20;

/// Head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What we can read, best first.
const ACCEPTED: &str =
    "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// A page as it came.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) bytes: Vec<u8>,
    pub(super) format: Format,
}

/// Asks `address` (`host:port`) for `path`. An address that is written out may be any; a name may mean public ones and
/// those of `allowed`. The error says what was wrong, for people.
pub(super) async fn fetch(
    (address, allowed): (&str, &[Network]),
    path: &str,
    timeout: Millis,
) -> Result<Page, String> {
    let fetched = get((address, allowed), path, timeout);
    match tokio::time::timeout(Duration::from_millis(timeout.0), fetched).await {
        Ok(page) => page,
        Err(_) => Err(format!("no whole answer within {timeout}")),
    }
}

async fn get((address, allowed): (&str, &[Network]), path: &str, timeout: Millis) -> Result<Page, String> {
    let request = Request::get(path)
        .header(HOST, address)
        .header(USER_AGENT, concat!("hmsops/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, ACCEPTED)
        .header("x-prometheus-scrape-timeout-seconds", timeout.as_secs_f64().to_string())
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new());
    let request = request.map_err(|_| format!("`http://{address}{path}` can't be asked for"))?;
    let place = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let (host, port) = place.ok_or_else(|| format!("`{address}` is not `host:port`"))?;
    let stream = Guard::written(host, allowed.to_vec()).connect(host, port).await;
    let stream = stream.map_err(|error| match error {
        GuardError::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            "connection refused".to_owned()
        }
        GuardError::Refused { .. } => {
            format!("cannot connect: {error}; as a label of the target: `{ALLOW_PRIVATE}`")
        }
        error => format!("cannot connect: {error}"),
    })?;
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(trouble)?;
    // Ended with this call; its errors reach the sender, too.
    let mut driver = JoinSet::new();
    driver.spawn(async move { drop(connection.await) });
    let response = sender.send_request(request).await.map_err(trouble)?;
    let format = check(&response)?;
    let bytes = body(response).await?;
    Ok(Page { bytes, format })
}

fn check(response: &Response<Incoming>) -> Result<Format, String> {
    let status = response.status();
    if status.is_redirection() {
        return Err(format!(
            "answered {}; redirects are not followed, give the final address",
            status.as_u16()
        ));
    }
    if status != StatusCode::OK {
        return Err(format!("answered {}", status.as_u16()));
    }
    let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(coding) = header(CONTENT_ENCODING).filter(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(format!("the page is packed (`{coding:.40}`), which was not asked for"));
    }
    match header(CONTENT_TYPE) {
        // Plain text is what everybody writes who writes no header.
        None => Ok(Format::Text),
        Some(media) => Format::of_content_type(media).ok_or_else(|| {
            format!("the page is `{media:.80}`; expected text/plain or application/openmetrics-text")
        }),
    }
}

async fn body(response: Response<Incoming>) -> Result<Vec<u8>, String> {
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(trouble)?.into_data() else { continue };
        if bytes.len() + data.len() > PAGE_BYTES_MAX {
            return Err(format!("the page has more than {} MiB", PAGE_BYTES_MAX >> 20));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn trouble(error: hyper::Error) -> String {
    if error.is_parse_too_large() {
        return format!("its answer's head is longer than {} KiB", HEAD_BYTES_MAX >> 10);
    }
    if error.is_parse() {
        return "what it answers is not HTTP".into();
    }
    let io = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    let is_cut_off = io.is_some_and(|io| io.kind() == std::io::ErrorKind::UnexpectedEof);
    if is_cut_off || error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return "closed the connection before its answer was whole".into();
    }
    match error.source() {
        Some(source) => format!("no answer: {source}"),
        None => format!("no answer: {error}"),
    }
}
