//! HTTP/1.1 to a tower, and its server-sent events.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use hmsops_wire::api::MEDIA_TYPE;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::failure::{Exit, Failure};
use crate::trust::{Identity, Trouble, Trust};

/// A tower on this network answers at once or not at all.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// A tower answers every request within 30 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(35);

/// A stream says something at least every 5 s.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// How what a person who has logged in shows begins.
const SESSION: &str = "hms_ses_";

/// The longest event of a stream that is read.
const EVENT_BYTES_MAX: usize = 16 << 20;

/// Where a tower is, and what is shown to it.
#[derive(Clone)]
pub(crate) struct Client {
    /// `host:port`.
    authority: String,
    token: Option<String>,
    /// By what it is recognised; `None`: in clear.
    trust: Option<Trust>,
    /// What is shown to it besides.
    identity: Option<Identity>,
}

/// A connection, encrypted or not.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Whether a host is this machine, whatever its name service says.
fn is_here(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

impl Client {
    /// For an address like `http://127.0.0.1:3000`.
    pub(crate) fn new(server: &str, token: Option<String>) -> Result<Self, Failure> {
        let wrong = || {
            // A password before the host is not repeated, nor used.
            let host = server.rsplit_once('@').map_or(server.to_owned(), |(before, host)| {
                let scheme = before.split_inclusive("://").next().filter(|_| before.contains("://"));
                format!("{}…@{host}", scheme.unwrap_or_default())
            });
            Failure::usage(format!("`{}` is not the address of a tower", crate::print::plain(&host)))
                .hint("write it as http://127.0.0.1:3000; who asks is said by a token or a log-in")
        };
        let (rest, trust, port) = match server.strip_prefix("https://") {
            Some(rest) => (rest, Some(Trust::Machine), 443),
            None => (server.strip_prefix("http://").ok_or_else(wrong)?, None, 80),
        };
        let rest = rest.trim_end_matches('/');
        let uri: http::uri::Authority = rest.parse().map_err(|_| wrong())?;
        if uri.host().is_empty() || uri.as_str().contains('@') {
            return Err(wrong());
        }
        if trust.is_none() && token.is_some() && !is_here(uri.host()) {
            crate::print::talk(
                "warning: the token goes to another machine in clear, where whoever is on the way reads it; write `https://`",
            );
        }
        let authority = format!("{}:{}", uri.host(), uri.port_u16().unwrap_or(port));
        Ok(Self { authority, token, trust, identity: None })
    }

    /// Recognises the tower by `trust`, where the connection is encrypted.
    pub(crate) fn trusting(mut self, trust: Trust) -> Self {
        self.trust = self.trust.map(|_| trust);
        self
    }

    /// Shows a certificate of its own, where the connection is encrypted.
    pub(crate) fn showing(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Whether connections are encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.trust.is_some()
    }

    /// As messages show it.
    pub(crate) fn server(&self) -> String {
        format!("http{}://{}", if self.trust.is_some() { "s" } else { "" }, self.authority)
    }

    /// Whether what is shown to it is what a program or the admin has, and not a person's log-in, or nothing.
    pub(crate) fn shows_token(&self) -> bool {
        self.token.as_ref().is_some_and(|token| !token.starts_with(SESSION))
    }

    /// Reads a resource.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.read(self.ask(Method::GET, path, None).await?).await
    }

    /// Asks for a change.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).expect("requests of the API can be written as JSON");
        self.read(self.ask(Method::POST, path, Some(body)).await?).await
    }

    /// Asks for something to be put in place of what there is.
    pub(crate) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).expect("requests of the API can be written as JSON");
        self.read(self.ask(Method::PUT, path, Some(body)).await?).await
    }

    /// Asks for something to be removed. What is answered beside that it was is nobody's concern.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), Failure> {
        let response = self.ask(Method::DELETE, path, None).await?;
        if response.status().is_success() { Ok(()) } else { Err(self.refusal(response).await) }
    }

    /// Opens a stream of server-sent events.
    pub(crate) async fn stream(&self, path: &str) -> Result<Events, Failure> {
        let response = self.ask(Method::GET, path, None).await?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(response).await);
        }
        Ok(Events { body: response.into_body(), buffer: Vec::new() })
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Response<Incoming>, Failure> {
        let connect = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(&self.authority)).await;
        let socket = match connect {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => return Err(self.unreachable(&error.to_string())),
            Err(_) => return Err(self.unreachable("no answer")),
        };
        let socket = self.encrypted(socket).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket))
            .await
            .map_err(|error| self.unreachable(&error.to_string()))?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.authority)
            .header(ACCEPT, "application/json, text/event-stream");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|_| Failure::usage("the token or an argument holds what cannot be sent"))?;
        match tokio::time::timeout(ANSWER_WITHIN, sender.send_request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.unreachable(&error.to_string())),
            Err(_) => Err(self.unreachable("it took the request and did not answer")),
        }
    }

    async fn encrypted(&self, socket: TcpStream) -> Result<Box<dyn Wire>, Failure> {
        let Some(trust) = &self.trust else { return Ok(Box::new(socket)) };
        let host = self.authority.rsplit_once(':').map_or(self.authority.as_str(), |(host, _)| host);
        let server = self.server();
        let shaken = trust.encrypt(socket, (&server, host), self.identity.as_ref());
        match tokio::time::timeout(CONNECT_WITHIN, shaken).await {
            Ok(Ok(socket)) => Ok(Box::new(socket)),
            Ok(Err(Trouble::Stranger(failure))) => Err(failure),
            Ok(Err(Trouble::Broken(why))) => Err(self.unreachable(&format!("no TLS: {why}"))),
            Err(_) => Err(self.unreachable("no TLS: no answer")),
        }
    }

    async fn read<T: DeserializeOwned>(&self, response: Response<Incoming>) -> Result<T, Failure> {
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let bytes = self.whole(response).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot read what {} answered: {error}", self.server()))
                .hint("is it a tower, and as new as this program?")
        })
    }

    async fn refusal(&self, response: Response<Incoming>) -> Failure {
        let status = response.status();
        let media =
            response.headers().get(CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or_default();
        let is_problem = media.starts_with(MEDIA_TYPE);
        let said = match self.whole(response).await {
            Ok(bytes) if is_problem => serde_json::from_slice(&bytes).ok().map(Failure::answered),
            Ok(bytes) => serde_json::from_slice(&bytes).ok().map(QueryFailed::failure),
            Err(failure) => return failure,
        };
        said.unwrap_or_else(|| {
            Failure::new(Exit::Failed, format!("{} answered {status}", self.server()))
                .hint("is it a tower? `--server` names another")
        })
    }

    async fn whole(&self, response: Response<Incoming>) -> Result<Bytes, Failure> {
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
        match tokio::time::timeout(ANSWER_WITHIN, body).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) => Err(self.unreachable(&error.to_string())),
            Err(_) => Err(self.unreachable("its answer broke off")),
        }
    }

    fn unreachable(&self, why: &str) -> Failure {
        Failure::new(Exit::Unreachable, format!("cannot reach the tower at {}: {why}", self.server()))
            .hint("`hmsops serve` starts one; `--server` or HMSOPS_SERVER names another")
    }
}

/// How the query API of Prometheus says no.
#[derive(Deserialize)]
struct QueryFailed {
    #[serde(rename = "errorType")]
    kind: String,
    error: String,
}

impl QueryFailed {
    fn failure(self) -> Failure {
        let exit = match self.kind.as_str() {
            "bad_data" => Exit::Usage,
            "not_found" => Exit::NotFound,
            _ => Exit::Failed,
        };
        Failure::new(exit, self.error)
    }
}

/// A stream of server-sent events.
pub(crate) struct Events {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Events {
    /// The data of the next event; `None`: the stream has ended, or says nothing any more.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = self.buffer.drain(..end + 2).collect();
                if let Some(data) = data_of(&event) {
                    return Some(data);
                }
                continue;
            }
            let frame = tokio::time::timeout(SILENCE_MAX, self.body.frame()).await.ok()??.ok()?;
            self.buffer.extend_from_slice(frame.data_ref()?);
            if self.buffer.len() > EVENT_BYTES_MAX {
                return None;
            }
        }
    }
}

/// The data lines of one event; `None` for a comment.
fn data_of(event: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(event);
    let lines: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .map(|data| data.strip_prefix(' ').unwrap_or(data))
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// A text as one part of a path or a value of a query (RFC 3986, §2.3).
pub(crate) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_told_from_others() {
        assert!(["127.0.0.1", "127.9.9.9", "localhost", "[::1]"].into_iter().all(is_here));
        assert!(!["10.0.0.1", "tower", "127.0.0.1.example", "[::2]", ""].into_iter().any(is_here));
    }

    #[test]
    fn addresses_are_read() {
        for (text, server) in [
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("http://localhost/", "http://localhost:80"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("https://tower.csac.gov/", "https://tower.csac.gov:443"),
        ] {
            assert_eq!(Client::new(text, None).ok().map(|client| client.server()).as_deref(), Some(server));
        }
        for bad in ["", "localhost:3000", "ftp://x", "http://", "http://a b", "http://u:p@h", "https://"] {
            assert!(Client::new(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn events_are_their_data_lines() {
        assert_eq!(
            data_of(b"event: state\nid: 1\ndata: {\"a\":\ndata: 1}\n\n").as_deref(),
            Some("{\"a\":\n1}")
        );
        assert_eq!(data_of(b": here\n\n"), None);
    }

    #[test]
    fn parts_of_paths_cannot_lead_elsewhere() {
        assert_eq!(encoded("a/../b c?d"), "a%2F..%2Fb%20c%3Fd");
    }
}
