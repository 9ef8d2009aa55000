//! Asks one server beyond this machine for small things, one connection a request: an identity provider's documents.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::ChannelError;
use super::tls::{self, Trust};
use crate::guard::Guard;

/// A provider's largest document is its list of keys, some kilobytes.
const BODY_BYTES_MAX: usize = 256 << 10;
/// Status line and headers are some hundred bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// A person waits for it.
const WHOLE: Duration = Duration::from_secs(8);

/// Asks servers; redirects are not followed.
#[derive(Debug, Clone)]
pub struct Fetch {
    trust: Option<Trust>,
    /// Whom a file names; others are named by what this one says.
    known: String,
}

impl Fetch {
    /// `ca_file`: authorities to trust, in PEM form; `None` for those of the machine. `known`: the URL that a file names;
    /// its host may be on any network, other hosts only on public ones. Authorities are needed when it is of HTTPS.
    pub fn new(ca_file: Option<&Path>, known: &str) -> Result<Self, ChannelError> {
        let trust = if known.starts_with("https://") { Some(Trust::load(ca_file)?) } else { None };
        let known: Uri = known
            .parse()
            .map_err(|_| ChannelError::lasting("cannot ask the provider: its name is no URL"))?;
        Ok(Self { trust, known: bare(known.host().unwrap_or_default()).to_owned() })
    }

    /// Gets a URL. `https` only, unless no authorities were needed. Answers status and body, at most 256 KiB.
    pub async fn get(&self, url: &str) -> Result<(StatusCode, Bytes), ChannelError> {
        self.ask(url, None, None).await
    }

    /// Posts a form's fields, already encoded. `authorization` is the whole header, kept out of errors.
    pub async fn post_form(
        &self,
        url: &str,
        form: String,
        authorization: Option<String>,
    ) -> Result<(StatusCode, Bytes), ChannelError> {
        self.ask(url, Some(form), authorization).await
    }

    async fn ask(
        &self,
        url: &str,
        form: Option<String>,
        authorization: Option<String>,
    ) -> Result<(StatusCode, Bytes), ChannelError> {
        let cannot = |why: &str| ChannelError::lasting(format!("cannot ask the provider: {why}"));
        let uri: Uri = url.parse().map_err(|_| cannot("what it names is no URL"))?;
        let is_https = uri.scheme_str() == Some("https");
        if !is_https && (self.trust.is_some() || uri.scheme_str() != Some("http")) {
            return Err(cannot("what it names is no `https://` URL"));
        }
        let host = bare(uri.host().unwrap_or_default()).to_owned();
        let authority = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
        if host.is_empty() || authority.contains('@') {
            return Err(cannot("what it names has no host, or a user in it"));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::builder()
            .method(if form.is_some() { "POST" } else { "GET" })
            .uri(path)
            .header(HOST, authority)
            .header(USER_AGENT, concat!("hmsops/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "application/json")
            .header(CONNECTION, "close");
        let request = match &form {
            Some(_) => request.header(CONTENT_TYPE, "application/x-www-form-urlencoded"),
            None => request,
        };
        let request = match authorization {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        };
        let body = Full::new(Bytes::from(form.unwrap_or_default()));
        let request = request.body(body).map_err(|_| cannot("the request has no form"))?;
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let mut connection = JoinSet::new();
        let passing = |why: String| ChannelError::lasting(format!("cannot ask the provider `{host}`: {why}"));
        let exchange = async {
            let guard = if host == self.known { Guard::own() } else { Guard::elsewhere(Vec::new()) };
            let stream = guard.connect(&host, port).await;
            let stream = stream.map_err(|error| passing(format!("cannot connect: {error}")))?;
            match &self.trust {
                Some(trust) => {
                    let secured = trust.encrypt(stream, &host).await;
                    let secured = secured.map_err(|error| {
                        passing(format!("cannot encrypt: {error}{}", tls::trouble(&error)))
                    })?;
                    speak(secured, request, &mut connection).await.map_err(passing)
                }
                None => speak(stream, request, &mut connection).await.map_err(passing),
            }
        };
        match timeout(WHOLE, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(passing(format!("no answer in {} s", WHOLE.as_secs()))),
        }
    }
}

/// A host without the brackets of an address.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: Request<Full<Bytes>>,
    connection: &mut JoinSet<()>,
) -> Result<(StatusCode, Bytes), String> {
    let mut builder = http1::Builder::new();
    let handshake = builder.max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await;
    let (mut sender, link) = handshake.map_err(|error| error.to_string())?;
    connection.spawn(async move {
        let _closed = link.await;
    });
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
    let body = body.map_err(|_| "its answer broke off, or is too large".to_owned())?;
    Ok((status, body.to_bytes()))
}
