//! TLS towards clients: certificates by host, read again when their files change. The tower's own listeners share the
//! floor of protocols and the reading of files.
//!
//! TLS 1.2 and 1.3 with the suites of rustls' ring provider, which for 1.2 are ECDHE with an AEAD only (what RFC 9325
//! §4.2 recommends); sessions are resumed by tickets whose keys are this process's own.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::SystemTime;

use hmsops_model::gateway::TlsCertificate;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::{ClientHello, ParsedCertificate, ProducesTickets, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, ConfigBuilder, ServerConfig, WantsVerifier};

/// The largest file of certificates or of a key that is read: chains have a few kilobytes.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// HTTP/2 as ALPN names it (RFC 7540 §3.1).
pub(super) const H2: &[u8] = b"h2";

/// Why certificates can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("cannot read `{file}`: {source}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file is larger than any certificate or key.
    #[error("cannot use `{file}`: it is larger than {PEM_BYTES_MAX} bytes")]
    TooLarge {
        /// The file.
        file: String,
    },
    /// Everyone on the machine may read the key.
    #[error(
        "cannot use the key `{file}`: its mode {mode:04o} lets others read it; set it with `chmod 0640` or `chmod 0600`"
    )]
    Exposed {
        /// The file.
        file: String,
        /// Its mode.
        mode: u32,
    },
    /// A file holds no PEM of what it should hold.
    #[error("cannot find {what} in `{file}`; it must be PEM, `-----BEGIN …-----`")]
    Empty {
        /// What was looked for.
        what: &'static str,
        /// The file.
        file: String,
    },
    /// Certificate and key do not go together, or are of a kind that isn't known.
    #[error("cannot use the certificate `{cert}` with the key `{key}`: {why}")]
    Unusable {
        /// The certificate's file.
        cert: String,
        /// The key's file.
        key: String,
        /// What the TLS library said.
        why: String,
    },
}

/// The certificates in force.
pub(super) struct Tls {
    pub(super) config: Arc<ServerConfig>,
    /// The files as they were when they were read.
    pub(super) seen: Stamps,
}

/// The protocols and suites of every listener of ours: TLS 1.2 with ECDHE and an AEAD, and TLS 1.3.
pub fn floor() -> ConfigBuilder<ServerConfig, WantsVerifier> {
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS12, &TLS13])
        .expect("the provider has suites for both versions")
}

/// Each file of some certificates; `None`: it isn't there.
pub type Stamps = Vec<Option<Stamp>>;

/// By what a file is known to have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    len: u64,
    modified: Option<SystemTime>,
}

/// Session tickets outlive a change of certificates.
#[derive(Clone)]
pub(super) struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    pub(super) fn new() -> Result<Self, rustls::Error> {
        ring::Ticketer::new().map(Self)
    }
}

impl Tls {
    /// Reads all files and makes sure that they can be used; `None` when there are no certificates.
    pub(super) fn open(sites: &[TlsCertificate], tickets: &Tickets) -> Result<Option<Self>, TlsError> {
        if sites.is_empty() {
            return Ok(None);
        }
        // Stamped first: what changes while it is read is read again.
        let seen = stamps(sites);
        let sites = sites.iter().map(Site::open).collect::<Result<Vec<_>, _>>()?;
        let mut config = floor().with_no_client_auth().with_cert_resolver(Arc::new(Sites(sites)));
        config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
        config.ticketer = Arc::clone(&tickets.0);
        Ok(Some(Self { config: Arc::new(config), seen }))
    }
}

/// How the files are now.
pub(super) fn stamps(sites: &[TlsCertificate]) -> Stamps {
    sites.iter().flat_map(|site| [&site.cert, &site.key]).map(|file| stamp(file)).collect()
}

/// How a file is now; `None`: it isn't there.
pub fn stamp(file: &str) -> Option<Stamp> {
    let known = fs::metadata(file).ok()?;
    Some(Stamp { inode: known.ino(), len: known.len(), modified: known.modified().ok() })
}

/// Reads a certificate with what leads to its authority, and its key, and makes sure that they go together. A key that
/// everyone on the machine may read is refused. Both are PEM.
pub fn certified(cert: &str, key: &str) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(&read(cert, false)?).collect::<Result<Vec<_>, _>>();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| TlsError::Empty { what: "a certificate", file: cert.to_owned() })?;
    let secret = PrivateKeyDer::from_pem_slice(&read(key, true)?);
    let secret = secret.map_err(|_| TlsError::Empty { what: "a key", file: key.to_owned() })?;
    let unusable = |why: rustls::Error| {
        let why = why.to_string();
        TlsError::Unusable { cert: cert.to_owned(), key: key.to_owned(), why }
    };
    let certified = CertifiedKey::from_der(chain, secret, &ring::default_provider()).map_err(unusable)?;
    if let Some(first) = certified.cert.first() {
        ParsedCertificate::try_from(first).map_err(unusable)?;
    }
    Ok(Arc::new(certified))
}

/// A certificate and what it is for.
struct Site {
    hosts: Vec<String>,
    certified: Arc<CertifiedKey>,
}

impl Site {
    fn open(site: &TlsCertificate) -> Result<Self, TlsError> {
        let TlsCertificate { hosts, cert, key } = site;
        Ok(Self { hosts: hosts.clone(), certified: certified(cert, key)? })
    }

    fn is_for(&self, host: &str) -> bool {
        if self.hosts.is_empty() {
            return self.names(host).is_some();
        }
        let any_label = host.split_once('.').map(|(_, rest)| rest);
        self.hosts.iter().any(|known| match known.strip_prefix("*.") {
            Some(rest) => any_label == Some(rest),
            None => known == host,
        })
    }

    /// Whether the certificate itself names a host.
    fn names(&self, host: &str) -> Option<()> {
        let cert = ParsedCertificate::try_from(self.certified.cert.first()?).ok()?;
        verify_server_name(&cert, &ServerName::try_from(host).ok()?).ok()
    }
}

fn read(file: &str, is_key: bool) -> Result<Vec<u8>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { file: file.to_owned(), source };
    let opened = File::open(file).map_err(unreadable)?;
    let mode = opened.metadata().map_err(unreadable)?.mode() & 0o7777;
    if is_key && mode & 0o007 != 0 {
        return Err(TlsError::Exposed { file: file.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    opened.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > PEM_BYTES_MAX {
        return Err(TlsError::TooLarge { file: file.to_owned() });
    }
    Ok(bytes)
}

/// The certificate for a client: that of the host it names, else the first.
struct Sites(Vec<Site>);

impl fmt::Debug for Sites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} certificates", self.0.len())
    }
}

impl ResolvesServerCert for Sites {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls hands names on in lower case.
        let named = hello.server_name().and_then(|host| self.0.iter().find(|site| site.is_for(host)));
        named.or(self.0.first()).map(|site| Arc::clone(&site.certified))
    }
}
