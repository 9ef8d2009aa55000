//! One request of HTTP/1.1 on a connection of its own.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use hmsops_model::probe::{Method, Tls};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT_ENCODING, CONNECTION, HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response, Uri, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use super::place::Place;
use super::seen::{Seen, Trouble, failed, io_trouble};
use super::tls;

/// Status line and headers of a health answer are some hundred bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// So much of the body is read that nobody asked for, for the sake of servers that complain when nobody does.
const UNREAD_BYTES_MAX: usize = 4096;
/// And so long is waited for it: the verdict stands already.
const UNREAD_WAIT: Duration = Duration::from_millis(50);
/// A body that is judged: a health answer, not a page with its pictures.
const BODY_BYTES_MAX: usize = 64 << 10;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'q> {
    pub(super) method: Method,
    pub(super) path: &'q str,
    pub(super) headers: &'q [(String, String)],
    pub(super) tls: Tls,
    /// A condition speaks of the body.
    pub(super) body: bool,
}

/// Asks. A redirect is not followed; one to another host fails whatever is expected.
pub(super) async fn ask(place: &Place, question: Question<'_>) -> Result<Seen, Trouble> {
    let request = request(place, question)?;
    let stream = place.connect().await?;
    let mut connection = JoinSet::new();
    let (response, certificate) = if question.tls == Tls::Plain {
        (head(stream, request, &mut connection).await?, None)
    } else {
        let (stream, certificate) = tls::encrypt(stream, &place.host, question.tls, b"http/1.1").await?;
        (head(stream, request, &mut connection).await?, Some(certificate))
    };
    elsewhere(&response, place)?;
    let status = Some(response.status().as_u16());
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = response.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value)));
    let mut seen = Seen { status, headers: headers.collect(), certificate, ..Seen::default() };
    if question.body {
        let encoding = response.headers().get(hyper::header::CONTENT_ENCODING);
        if let Some(encoding) =
            encoding.filter(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
        {
            let encoding = super::seen::quoted(&text(encoding));
            return Err(failed(format!("its body is encoded as `{encoding}`, which was not asked for")));
        }
        seen.body = Some(whole_body(response).await?);
    } else {
        let _ = tokio::time::timeout(UNREAD_WAIT, some_of_body(response)).await;
    }
    Ok(seen)
}

fn request(place: &Place, question: Question<'_>) -> Result<Request<Empty<Bytes>>, Trouble> {
    let Question { method, path, headers, .. } = question;
    let mut request = Request::builder().method(method.to_string().as_str()).uri(path);
    let own = |name: &str| headers.iter().any(|(header, _)| header.eq_ignore_ascii_case(name));
    for (name, value) in [
        (HOST, place.addr().as_str()),
        (USER_AGENT, "hmsops-probe"),
        (ACCEPT_ENCODING, "identity"),
        (CONNECTION, "close"),
    ] {
        if !own(name.as_str()) {
            request = request.header(name, value);
        }
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request
        .body(Empty::<Bytes>::new())
        .ok()
        .filter(|request| request.uri().host().is_none() && path.starts_with('/'))
        .ok_or_else(|| failed(format!("`{path}` is not a path that can be asked for")))
}

/// The answer's head. The connection lives in `connection` as long as the caller keeps that.
async fn head<S>(
    stream: S,
    request: Request<Empty<Bytes>>,
    connection: &mut JoinSet<()>,
) -> Result<Response<Incoming>, Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, driver) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| http_trouble(&error))?;
    // Its errors reach the sender, too.
    connection.spawn(async move { drop(driver.await) });
    sender.send_request(request).await.map_err(|error| http_trouble(&error))
}

/// A health endpoint that sends us to another host would have somebody else judged.
fn elsewhere(response: &Response<Incoming>, place: &Place) -> Result<(), Trouble> {
    let location = response.headers().get(LOCATION).filter(|_| response.status().is_redirection());
    let Some(location) = location else { return Ok(()) };
    let target = Uri::try_from(location.as_bytes()).ok();
    // `//host/` is another host, too, and `Uri` reads it as a path.
    let bytes = location.as_bytes();
    let relative = bytes.starts_with(b"/") && !bytes.starts_with(b"//");
    let host = target.as_ref().and_then(Uri::host);
    let same = relative || host.is_some_and(|host| host.eq_ignore_ascii_case(&place.host));
    let no_scheme = host.is_none() && !bytes.starts_with(b"//") && !bytes.contains(&b':');
    if same || no_scheme {
        return Ok(());
    }
    let shown = super::seen::quoted(&String::from_utf8_lossy(bytes));
    Err(failed(format!("answered {} and sends elsewhere, to `{shown}`", response.status().as_u16())))
}

async fn whole_body(response: Response<Incoming>) -> Result<Vec<u8>, Trouble> {
    let mut body = response.into_body();
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| failed("broke off in the middle of its body"))?;
        read.extend(frame.data_ref().into_iter().flatten());
        if read.len() > BODY_BYTES_MAX {
            return Err(failed(format!("its body is longer than {} KiB", BODY_BYTES_MAX >> 10)));
        }
    }
    Ok(read)
}

async fn some_of_body(response: Response<Incoming>) {
    let mut body = response.into_body();
    let mut read_bytes = 0;
    while read_bytes < UNREAD_BYTES_MAX
        && let Some(Ok(frame)) = body.frame().await
    {
        read_bytes += frame.data_ref().map_or(0, Bytes::len);
    }
}

fn http_trouble(error: &hyper::Error) -> Trouble {
    if let Some(io) = error.source().and_then(|source| source.downcast_ref::<std::io::Error>()) {
        return io_trouble(io);
    }
    failed(if error.is_parse_too_large() {
        format!("its answer's head is longer than {} KiB", HEAD_BYTES_MAX >> 10)
    } else if error.is_parse() {
        "what it answers is not HTTP".into()
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        "closed the connection without an answer".into()
    } else {
        format!("no answer: {error}")
    })
}
