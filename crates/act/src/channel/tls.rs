//! Whom encrypted channels trust: the machine's own list of authorities, or the file that the settings name.

use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error as RustlsError, RootCertStore};

use super::ChannelError;

/// A bundle of all public authorities is 250 KiB.
const CA_FILE_BYTES_MAX: u64 = 4 << 20;

/// Trusted authorities.
#[derive(Debug, Clone)]
pub(super) struct Trust {
    roots: Vec<CertificateDer<'static>>,
    config: Arc<ClientConfig>,
}

impl Trust {
    /// Of `ca_file` alone when there is one, else of the machine. Reads files.
    pub(super) fn load(ca_file: Option<&Path>) -> Result<Self, ChannelError> {
        let (found, origin) = match ca_file {
            Some(path) => (from_file(path)?, format!("`{}`", path.display())),
            None => (rustls_native_certs::load_native_certs().certs, "this machine".to_owned()),
        };
        let mut store = RootCertStore::empty();
        // Lists of machines hold certificates that nobody can use any more: they are left out.
        let roots: Vec<_> = found.into_iter().filter(|root| store.add(root.clone()).is_ok()).collect();
        if roots.is_empty() {
            let why = format!(
                "cannot check certificates: no authority is known to {origin}; install `ca-certificates` or set `ca_file`"
            );
            return Err(ChannelError::lasting(why));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("invariant: ring has the ciphers of TLS 1.2 and 1.3")
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(Self { roots, config: Arc::new(config) })
    }

    /// The certificates themselves.
    pub(super) fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// Encrypts the connection to `host`, whose certificate must be for that name.
    pub(super) async fn encrypt(
        &self,
        stream: TcpStream,
        host: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await
    }
}

/// Why a handshake failed, with a remedy where there is a likely one.
pub(super) fn trouble(cause: &(dyn std::error::Error + 'static)) -> String {
    let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    let inner = inner.and_then(|inner| inner.downcast_ref());
    let hint = match inner.or_else(|| cause.downcast_ref()) {
        Some(RustlsError::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => "; set `ca_file` to the authority that signed it",
        // `openssl req -x509` makes such ones unless told otherwise.
        Some(RustlsError::InvalidCertificate(CertificateError::Other(other)))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            "; it is an authority's (`CA:TRUE`): give the server one that is `CA:FALSE`"
        }
        _ => "",
    };
    format!("{cause}{hint}")
}

fn from_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, ChannelError> {
    use std::io::Read;
    let cannot =
        |why: &str| ChannelError::lasting(format!("cannot read `ca_file` `{}`: {why}", path.display()));
    let mut pem = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(CA_FILE_BYTES_MAX).read_to_end(&mut pem))
        .map_err(|error| cannot(&error.to_string()))?;
    let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let roots = roots.map_err(|error| cannot(&error.to_string()))?;
    if roots.is_empty() {
        return Err(cannot("it holds no certificate in PEM form"));
    }
    Ok(roots)
}
