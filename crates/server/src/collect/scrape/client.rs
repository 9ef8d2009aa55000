//! One GET: a connection of its own, as a job says it is to be asked, with a limit in bytes. The time is the caller's
//! to bound.

use std::error::Error as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use bytes::Bytes;
use flate2::read::GzDecoder;
use hmsops_act::guard::{Guard, GuardError};
use hmsops_model::Secret;
use hmsops_model::network::Network;
use hmsops_model::scrape::{ALLOW_PRIVATE, Auth, HttpClient, HttpUrl, Scheme, SecretText, TlsClient};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, HOST, LOCATION, USER_AGENT,
};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};

use crate::secret;

/// Head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Answers that point elsewhere, one after the other.
const REDIRECTS_MAX: usize = 5;

/// An authority's certificates, or our own: a bundle of all public authorities is 250 KiB.
const PEM_BYTES_MAX: u64 = 4 << 20;

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) scheme: Scheme,
    /// A name or an address; IPv6 in brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// With its query.
    pub(super) path: String,
    /// As it stands in `Host`.
    pub(super) authority: String,
}

impl From<&HttpUrl> for Place {
    fn from(url: &HttpUrl) -> Self {
        let is_usual = url.port == url.scheme.port();
        let authority = if is_usual { url.host.clone() } else { format!("{}:{}", url.host, url.port) };
        Self { scheme: url.scheme, host: url.host.clone(), port: url.port, path: url.path.clone(), authority }
    }
}

/// Who may be connected to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reach {
    /// An address that is written out may be any: whoever may decide that wrote it.
    pub(super) is_written: bool,
    /// Networks that are not public and may be asked.
    pub(super) allowed: Vec<Network>,
}

impl Reach {
    fn guard(&self, host: &str) -> Guard {
        let allowed = self.allowed.clone();
        if self.is_written { Guard::written(host, allowed) } else { Guard::elsewhere(allowed) }
    }
}

/// An answer with the status 200, unpacked.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) bytes: Vec<u8>,
}

/// Asks as a job says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Client {
    how: HttpClient,
    /// The folder of the secrets that it names.
    secrets: Arc<PathBuf>,
}

impl Client {
    pub(super) fn new(how: HttpClient, secrets: Arc<PathBuf>) -> Self {
        Self { how, secrets }
    }

    /// Gets a page of at most `bytes_max` bytes, with these fields besides its own. The error says what was wrong, for
    /// people.
    pub(super) async fn get(
        &self,
        place: &Place,
        reach: &Reach,
        fields: &[(HeaderName, HeaderValue)],
        bytes_max: usize,
    ) -> Result<Answer, String> {
        let proof = self.proof()?;
        let (mut place, mut reach, mut is_same_host) = (place.clone(), reach.clone(), true);
        for _ in 0..=REDIRECTS_MAX {
            let mut request = self.request(&place, fields)?;
            if is_same_host {
                request.headers_mut().extend(proof.iter().cloned());
            }
            // Ended with this round; its errors reach the sender, too.
            let mut driver = JoinSet::new();
            let response = self.send(&place, &reach, request, &mut driver).await?;
            if response.status().is_redirection() {
                let next = self.next(&response, &place)?;
                is_same_host &= next.authority == place.authority && next.scheme == place.scheme;
                // Where it points to, somebody else says.
                reach.is_written &= next.authority == place.authority;
                place = next;
                continue;
            }
            if response.status() != StatusCode::OK {
                return Err(format!("answered {}", response.status().as_u16()));
            }
            let headers = response.headers().clone();
            let bytes = self.body(response, bytes_max).await?;
            return Ok(Answer { headers, bytes });
        }
        Err(format!("answered more than {REDIRECTS_MAX} redirects"))
    }

    /// The fields that prove who asks, and those that a file adds.
    fn proof(&self) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
        let mut fields = Vec::new();
        if let Some(auth) = &self.how.auth {
            let text = match auth {
                Auth::Basic { user, password } => {
                    let password = password.as_ref().map(|password| self.text(password)).transpose()?;
                    let pair = format!("{user}:{}", password.as_ref().map_or("", Secret::expose));
                    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
                }
                Auth::Credentials { scheme, credentials } => {
                    format!("{scheme} {}", self.text(credentials)?.expose())
                }
            };
            fields.push((AUTHORIZATION, sensitive(&text)?));
        }
        for (name, value) in &self.how.headers {
            let name = HeaderName::try_from(name).map_err(|_| format!("`{name}` is no field's name"))?;
            fields.push((name, sensitive(self.text(value)?.expose())?));
        }
        Ok(fields)
    }

    fn text(&self, from: &SecretText) -> Result<Secret, String> {
        match from {
            SecretText::Plain(secret) => Ok(secret.clone()),
            SecretText::File(name) => {
                secret::read_within(&self.secrets, name).map_err(|error| error.to_string())
            }
        }
    }

    fn request(
        &self,
        place: &Place,
        fields: &[(HeaderName, HeaderValue)],
    ) -> Result<Request<Empty<Bytes>>, String> {
        let coding = if self.how.compression { "gzip" } else { "identity" };
        let request = Request::get(&place.path)
            .header(HOST, &place.authority)
            .header(USER_AGENT, concat!("hmsops/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT_ENCODING, coding)
            .header(CONNECTION, "close")
            .body(Empty::new());
        let url = || format!("{}://{}{}", place.scheme.as_str(), place.authority, place.path);
        let mut request = request.map_err(|_| format!("`{}` can't be asked for", url()))?;
        request.headers_mut().extend(fields.iter().cloned());
        Ok(request)
    }

    async fn send(
        &self,
        place: &Place,
        reach: &Reach,
        request: Request<Empty<Bytes>>,
        driver: &mut JoinSet<()>,
    ) -> Result<Response<Incoming>, String> {
        let stream = reach.guard(&place.host).connect(&place.host, place.port).await;
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
        match place.scheme {
            Scheme::Http => exchange(stream, request, driver).await,
            Scheme::Https => {
                let (tls, secrets) = (self.how.tls.clone(), Arc::clone(&self.secrets));
                // Reads files.
                let config = tokio::task::spawn_blocking(move || config(&tls, &secrets)).await;
                let config = config.map_err(|_| "setting up TLS ended before its time".to_owned())??;
                let bare = place.host.trim_start_matches('[').trim_end_matches(']');
                let name = self.how.tls.server_name.as_deref().unwrap_or(bare).to_owned();
                let name = ServerName::try_from(name.clone())
                    .map_err(|_| format!("`{name}` is no name for a certificate"))?;
                let secured = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
                let secured = secured.map_err(|error| format!("the TLS handshake failed: {error}"))?;
                exchange(secured, request, driver).await
            }
        }
    }

    fn next(&self, response: &Response<Incoming>, from: &Place) -> Result<Place, String> {
        let status = response.status().as_u16();
        if !self.how.follow_redirects {
            return Err(format!("answered {status}; redirects are not followed, give the final address"));
        }
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let place = location.and_then(|location| elsewhere(location, from));
        place.ok_or_else(|| format!("answered {status} and points nowhere that can be asked"))
    }

    async fn body(&self, response: Response<Incoming>, bytes_max: usize) -> Result<Vec<u8>, String> {
        let coding = response.headers().get(CONTENT_ENCODING).cloned();
        let coding = coding.as_ref().map(|coding| coding.to_str().unwrap_or("?").to_ascii_lowercase());
        let is_packed = match coding.as_deref() {
            None | Some("identity" | "") => false,
            Some("gzip" | "x-gzip") if self.how.compression => true,
            Some(coding) => {
                return Err(format!("the page is packed (`{coding:.40}`), which was not asked for"));
            }
        };
        let bytes = collect(response, bytes_max).await?;
        if !is_packed {
            return Ok(bytes);
        }
        let unpack = move || {
            let mut plain = Vec::new();
            let limit = bytes_max as u64 + 1;
            match GzDecoder::new(bytes.as_slice()).take(limit).read_to_end(&mut plain) {
                Ok(_) if plain.len() > bytes_max => Err(too_long(bytes_max)),
                Ok(_) => Ok(plain),
                Err(error) => Err(format!("the page is packed, and can't be unpacked: {error}")),
            }
        };
        tokio::task::spawn_blocking(unpack)
            .await
            .unwrap_or_else(|_| Err("unpacking ended before its time".into()))
    }
}

/// Gets a page from a server that listens on a socket of this machine.
pub(super) async fn get_local(socket: &str, path: &str, bytes_max: usize) -> Result<Vec<u8>, String> {
    let stream = UnixStream::connect(socket).await;
    let stream = stream.map_err(|error| format!("cannot connect to `{socket}`: {error}"))?;
    let request = Request::get(path)
        .header(HOST, "localhost")
        .header(USER_AGENT, concat!("hmsops/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(|_| format!("`{path}` can't be asked for"))?;
    let mut driver = JoinSet::new();
    let response = exchange(stream, request, &mut driver).await?;
    if response.status() != StatusCode::OK {
        return Err(format!("answered {}", response.status().as_u16()));
    }
    collect(response, bytes_max).await
}

fn sensitive(text: &str) -> Result<HeaderValue, String> {
    let value = HeaderValue::from_str(text).map(|mut value| {
        value.set_sensitive(true);
        value
    });
    value.map_err(|_| "a secret cannot stand in a field of a request: it is not one line".to_owned())
}

/// Where a `Location` points to.
fn elsewhere(location: &str, from: &Place) -> Option<Place> {
    if location.starts_with('/') && !location.starts_with("//") {
        return Some(Place { path: location.to_owned(), ..from.clone() });
    }
    let uri: http::Uri = location.parse().ok()?;
    let scheme = match uri.scheme_str()? {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return None,
    };
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    Some(Place {
        scheme,
        host: authority.host().to_owned(),
        port: authority.port_u16().unwrap_or(scheme.port()),
        path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        authority: authority.as_str().to_owned(),
    })
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: Request<Empty<Bytes>>,
    driver: &mut JoinSet<()>,
) -> Result<Response<Incoming>, String> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(trouble)?;
    driver.spawn(async move { drop(connection.await) });
    sender.send_request(request).await.map_err(trouble)
}

async fn collect(response: Response<Incoming>, bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(trouble)?.into_data() else { continue };
        if bytes.len() + data.len() > bytes_max {
            return Err(too_long(bytes_max));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

fn too_long(bytes_max: usize) -> String {
    match bytes_max % (1 << 20) {
        0 => format!("the page has more than {} MiB", bytes_max >> 20),
        _ => format!("the page has more than {bytes_max} bytes"),
    }
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

/// Whom this machine trusts; read once.
static MACHINE: OnceLock<Arc<RootCertStore>> = OnceLock::new();

fn config(tls: &TlsClient, secrets: &Path) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("invariant: ring has the ciphers of TLS 1.2 and 1.3");
    let builder = if tls.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
    } else {
        builder.with_root_certificates(roots(tls, secrets)?)
    };
    let Some((certificate, key)) = &tls.certificate else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(secrets, certificate)?;
    let pem = secret::read_key_within(secrets, key).map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::from_pem_slice(pem.expose().as_bytes())
        .map_err(|error| format!("`{key}` holds no key: {error}"))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| format!("`{certificate}`: {error}"))
}

fn roots(tls: &TlsClient, secrets: &Path) -> Result<Arc<RootCertStore>, String> {
    let Some(file) = &tls.ca_file else {
        return Ok(Arc::clone(MACHINE.get_or_init(|| {
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(store)
        })));
    };
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(certificates(secrets, file)?);
    if added == 0 { Err(format!("`{file}` holds no authority's certificate")) } else { Ok(Arc::new(store)) }
}

fn certificates(secrets: &Path, file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let path = secret::within(secrets, file).map_err(|error| error.to_string())?;
    let cannot = |why: String| format!("cannot read `{file}`: {why}");
    // A pipe in its place would keep a thread for ever.
    if !path.is_file() {
        return Err(cannot("it is not a file".into()));
    }
    let mut pem = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(PEM_BYTES_MAX).read_to_end(&mut pem))
        .map_err(|error| cannot(error.to_string()))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| cannot(error.to_string()))?;
    if found.is_empty() { Err(cannot("it holds no certificate in PEM form".into())) } else { Ok(found) }
}

/// Believes whoever answers: `insecure_skip_verify`.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
