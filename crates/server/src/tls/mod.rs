//! What listeners beyond loopback speak: TLS by certificates of files or of an authority of the tower's own, which also
//! signs for agents. Certificates are renewed and read anew while connections go on.
//!
//! ```text
//!  a listener ──▶ port ──▶ handshake ──▶ HTTP
//!                                 ▲ shown (one pointer)
//!  files, authority ──▶ keeper ───┘──▶ the tower: what is shown, what is broken
//! ```

pub(crate) mod authority;
pub(crate) mod keeper;
mod names;
pub(crate) mod pem;
pub(crate) mod port;
pub mod request;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use hmsops_control::transport::Held;
use hmsops_model::{Digest, UnixMillis};
use hmsops_proxy::plane::tls::{TlsError, floor};
use sha2::{Digest as _, Sha256};
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::CertifiedKey;

pub(crate) use authority::Authority;
pub use pem::{certificates, encode};
pub use port::Port;

/// The folder of the authority, below the data folder.
pub const FOLDER: &str = "tls";

/// What programs on this machine trust, in [`FOLDER`]: certificates by which a tower is recognised.
pub const SERVED: &str = "served.pem";

/// Where programs on this machine reach pages and API, in [`FOLDER`], when that takes TLS.
pub const SERVER: &str = "server";

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// Certificate or key of a file can't be used.
    #[error(transparent)]
    File(#[from] TlsError),
    /// The own authority can't be used.
    #[error(transparent)]
    Authority(#[from] authority::AuthorityError),
    /// The library refuses what it was given.
    #[error("cannot set up TLS: {0}")]
    Library(String),
}

/// How a connection came in, and who has shown a certificate of ours on it. On every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// From where.
    pub peer: SocketAddr,
    /// Whether it is encrypted.
    pub is_tls: bool,
    /// The SHA-256 of the certificate that the other side has shown; it is of the own authority and in its time.
    pub client: Option<[u8; 32]>,
}

impl Arrival {
    /// The certificate that was shown, as the tower's state names it.
    pub fn certificate(&self) -> Option<Digest> {
        self.client.map(Digest::from_sha256)
    }
}

/// TLS of all listeners beyond loopback.
pub struct Transport {
    pub(crate) authority: Authority,
    shown: Arc<Shown>,
    web: Arc<ServerConfig>,
    collector: Arc<ServerConfig>,
    pub(crate) meter: port::Meter,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TLS")
    }
}

impl Transport {
    /// Shows `first` until something else is. Whoever has a certificate of `authority` may show it.
    pub(crate) fn new(authority: Authority, first: Arc<CertifiedKey>) -> Result<Self, TransportError> {
        let library = |error: &dyn fmt::Display| TransportError::Library(error.to_string());
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate().clone()).map_err(|error| library(&error))?;
        let provider = Arc::new(ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()
            .map_err(|error| library(&error))?;
        let shown = Arc::new(Shown(Mutex::new(first)));
        let ticketer = ring::Ticketer::new().map_err(|error| library(&error))?;
        let config = |protocols: &[&[u8]]| {
            let resolver = Arc::clone(&shown) as Arc<dyn ResolvesServerCert>;
            let mut config =
                floor().with_client_cert_verifier(Arc::clone(&clients)).with_cert_resolver(resolver);
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            config.ticketer = Arc::clone(&ticketer);
            Arc::new(config)
        };
        let (web, collector) = (config(&[b"http/1.1"]), config(&[b"h2", b"http/1.1"]));
        Ok(Self { authority, shown, web, collector, meter: port::Meter::default() })
    }

    /// For pages and the API, which speak HTTP/1.1.
    pub(crate) fn web(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.web)
    }

    /// For the collector's port, which speaks HTTP/2, too.
    pub(crate) fn collector(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.collector)
    }

    /// Shows another certificate from now on. Connections that are open go on.
    pub(crate) fn show(&self, certified: Arc<CertifiedKey>) {
        *self.shown.0.lock().unwrap_or_else(PoisonError::into_inner) = certified;
    }

    /// What is shown, its own certificate first.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.shown.0.lock().unwrap_or_else(PoisonError::into_inner).cert.clone()
    }

    /// The certificate that clients elsewhere recognise this tower by: the last of what is shown, which is the
    /// authority's where the chain is whole.
    pub(crate) fn anchor(&self) -> Option<CertificateDer<'static>> {
        self.chain().pop()
    }
}

/// The certificate that is shown.
struct Shown(Mutex<Arc<CertifiedKey>>);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the certificate shown")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// By what a certificate is recognised: SHA-256 of its DER form, as `openssl x509 -fingerprint -sha256` prints it.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    Sha256::digest(certificate).into()
}

/// A certificate as the tower's state knows it. One whose end cannot be read ends at once.
pub(crate) fn held(certificate: &CertificateDer<'_>) -> Held {
    let until = hmsops_act::probe::Certificate::read(certificate, 0).map_or(0, |read| read.not_after);
    Held {
        sha256: Digest::from_sha256(fingerprint(certificate)),
        until: UnixMillis(until.saturating_mul(1000)),
    }
}

#[cfg(test)]
mod tests;
