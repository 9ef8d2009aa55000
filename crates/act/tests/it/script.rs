//! Servers that say what a script says, and nothing else: the faults that real ones do not show on demand.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, IsCa, KeyPair};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::world::PATIENCE;

/// What such a server does next.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Sends this.
    Say(&'static str),
    /// Sends this over and over, until nobody takes it.
    Flood(&'static str),
    /// Reads a line.
    Line,
    /// Reads a mail, up to its final dot.
    Letter,
    /// Reads a request with its body.
    Request,
    /// Goes on encrypted.
    Tls,
    /// Says nothing more and holds the connection.
    Hang,
}

/// A server for one connection; its task ends with all that it has read.
pub(crate) struct Script {
    pub(crate) addr: SocketAddr,
    heard: JoinHandle<String>,
}

impl Script {
    pub(crate) async fn new(steps: Vec<Step>) -> Self {
        Self::encrypted(steps, None).await
    }

    pub(crate) async fn encrypted(steps: Vec<Step>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let heard = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut heard = String::new();
            act(stream, &steps, tls, &mut heard).await;
            heard
        });
        Self { addr, heard }
    }

    /// All that it has read, once its script is over.
    pub(crate) async fn heard(self) -> String {
        tokio::time::timeout(PATIENCE, self.heard).await.expect("its script ends").unwrap()
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

type Stream = BufReader<Box<dyn Duplex>>;

async fn act(stream: TcpStream, steps: &[Step], tls: Option<TlsAcceptor>, heard: &mut String) {
    let mut stream: Stream = BufReader::new(Box::new(stream));
    for step in steps {
        match step {
            Step::Say(text) => stream.write_all(text.as_bytes()).await.unwrap(),
            Step::Flood(text) => while stream.write_all(text.as_bytes()).await.is_ok() {},
            Step::Line => line(&mut stream, heard).await,
            Step::Letter => {
                while !heard.ends_with("\r\n.\r\n") {
                    line(&mut stream, heard).await;
                }
            }
            Step::Request => request(&mut stream, heard).await,
            Step::Tls => {
                let tls = tls.as_ref().expect("the test gives it a certificate");
                // A client that does not trust it breaks off.
                let Ok(encrypted) = tls.accept(stream.into_inner()).await else { return };
                stream = BufReader::new(Box::new(encrypted));
            }
            Step::Hang => {
                // Until the other side has had enough.
                let _ = stream.read_to_string(heard).await;
            }
        }
    }
    // TLS ends with a word, or the other side takes it for an attack.
    let _ = stream.shutdown().await;
}

async fn line(stream: &mut Stream, heard: &mut String) {
    let read = stream.read_line(heard).await.unwrap();
    assert!(read > 0, "the connection ended after: {heard}");
}

async fn request(stream: &mut Stream, heard: &mut String) {
    while !heard.ends_with("\r\n\r\n") {
        line(stream, heard).await;
    }
    let length = heard.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    heard.push_str(std::str::from_utf8(&body).unwrap());
}

/// A certificate for 127.0.0.1 that signs itself: its file for clients, and a server that has it.
pub(crate) fn certificate(folder: &tempfile::TempDir) -> (PathBuf, TlsAcceptor) {
    certificate_of(folder, IsCa::NoCa)
}

/// The same, as an authority's or not.
pub(crate) fn certificate_of(folder: &tempfile::TempDir, is_ca: IsCa) -> (PathBuf, TlsAcceptor) {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    parameters.is_ca = is_ca;
    // No two authorities share a name, or a client takes one for the other.
    parameters.distinguished_name.push(DnType::CommonName, folder.path().display().to_string());
    let der = parameters.self_signed(&key).unwrap().der().clone();
    let path = folder.path().join("ca.pem");
    let text = {
        use base64::Engine as _;
        let lines = base64::engine::general_purpose::STANDARD.encode(&der);
        format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
    };
    std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), text.as_bytes()).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der], key)
        .unwrap();
    (path, TlsAcceptor::from(Arc::new(config)))
}

/// An address where connections are neither accepted nor refused: the queue of its listener is full.
pub(crate) struct Full {
    pub(crate) addr: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Full {
    pub(crate) async fn new() -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let addr = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(connected) =
            tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(addr)).await
        {
            waiting.push(connected.unwrap());
            assert!(waiting.len() < 100, "its queue does not fill");
        }
        Self { addr, _listener: listener, _waiting: waiting }
    }
}
