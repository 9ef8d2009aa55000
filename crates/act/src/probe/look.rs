//! One look: a connection of its own, one GET, the answer's status.

use std::error::Error as _;
use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::TokioIo;
use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use hmsops_model::limits::PROBE_LAG_MAX;
use hmsops_model::probe::ProbeVerdict;

/// Status line and headers of a health answer are some hundred bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// So much of the body is read, for the sake of servers that complain when nobody does.
const BODY_BYTES_MAX: usize = 4096;
/// And so long is waited for it: the verdict stands already.
const BODY_WAIT: Duration = Duration::from_millis(50);

/// Asks `addr` (`host:port`) for `path` and judges the answer: a status of 200 to 299 within `timeout` passes,
/// anything else fails, redirects too. An empty `path` asks only for a connection. Trouble of our own (late, out of descriptors, out of ports) is
/// `Overloaded`.
pub async fn probe(addr: &str, path: &str, timeout: Duration) -> ProbeVerdict {
    let begun_at = Instant::now();
    let mut connection = JoinSet::new();
    let answered = if path.is_empty() {
        let connected = tokio::time::timeout(timeout, TcpStream::connect(addr)).await;
        connected.map(|stream| stream.map(|_| None).map_err(|error| io_trouble(&error)))
    } else {
        let head = tokio::time::timeout(timeout, head(addr, path, &mut connection)).await;
        head.map(|response| response.map(Some))
    };
    let taken = begun_at.elapsed();
    // The timer is ours: when it comes late, we were stopped meanwhile, and the answer perhaps as well.
    if taken > timeout + Duration::from_millis(PROBE_LAG_MAX.0) {
        return ProbeVerdict::Overloaded;
    }
    match answered {
        Err(_) => fail(format!("no answer in {}", millis_text(timeout))),
        Ok(Err(trouble)) => trouble,
        Ok(Ok(None)) => pass(taken),
        Ok(Ok(Some(response))) => {
            let status = response.status();
            let _ = tokio::time::timeout(BODY_WAIT, some_of_body(response)).await;
            if status.is_success() { pass(taken) } else { fail(answered_text(status)) }
        }
    }
}

fn pass(taken: Duration) -> ProbeVerdict {
    ProbeVerdict::Pass { millis: u32::try_from(taken.as_millis()).unwrap_or(u32::MAX) }
}

fn fail(reason: String) -> ProbeVerdict {
    ProbeVerdict::Fail { reason }
}

fn answered_text(status: StatusCode) -> String {
    format!("answered {}", status.as_u16())
}

fn millis_text(span: Duration) -> String {
    hmsops_model::Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)).to_string()
}

/// The answer's head. The connection lives in `connection` as long as the caller keeps that.
async fn head(
    addr: &str,
    path: &str,
    connection: &mut JoinSet<()>,
) -> Result<Response<Incoming>, ProbeVerdict> {
    let request = Request::get(path)
        .header(HOST, addr)
        .header(USER_AGENT, "hmsops-probe")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .ok()
        .filter(|request| request.uri().host().is_none())
        .ok_or_else(|| fail(format!("`{path}` is not a path that can be asked for")))?;
    let stream = TcpStream::connect(addr).await.map_err(|error| io_trouble(&error))?;
    // One small request: it should not wait for more to send.
    let _ = stream.set_nodelay(true);
    let (mut sender, driver) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| http_trouble(&error))?;
    // Its errors reach the sender, too.
    connection.spawn(async move { drop(driver.await) });
    sender.send_request(request).await.map_err(|error| http_trouble(&error))
}

async fn some_of_body(response: Response<Incoming>) {
    let mut body = response.into_body();
    let mut read_bytes = 0;
    while read_bytes < BODY_BYTES_MAX
        && let Some(Ok(frame)) = body.frame().await
    {
        read_bytes += frame.data_ref().map_or(0, Bytes::len);
    }
}

fn io_trouble(error: &std::io::Error) -> ProbeVerdict {
    let own = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];
    if own.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) {
        return ProbeVerdict::Overloaded;
    }
    fail(match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".into(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "broke off the connection".into(),
        _ => format!("cannot connect: {error}"),
    })
}

fn http_trouble(error: &hyper::Error) -> ProbeVerdict {
    if let Some(io) = error.source().and_then(|source| source.downcast_ref::<std::io::Error>()) {
        return io_trouble(io);
    }
    fail(if error.is_parse_too_large() {
        format!("its answer's head is longer than {} KiB", HEAD_BYTES_MAX >> 10)
    } else if error.is_parse() {
        "what it answers is not HTTP".into()
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        "closed the connection without an answer".into()
    } else {
        format!("no answer: {error}")
    })
}
