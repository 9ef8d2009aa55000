//! An encrypted connection whose certificate is looked at before anybody decides whether to trust it: one that has
//! expired tells its date and its subject instead of only breaking the handshake.

use std::sync::{Arc, Mutex, PoisonError};

use hmsops_model::probe::Tls;
use jiff::Timestamp;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::certificate::Certificate;
use super::seen::{Trouble, failed, io_trouble};

/// Whom this machine trusts; `None`: nobody. Read once.
static TRUSTED: OnceCell<Option<Arc<WebPkiServerVerifier>>> = OnceCell::const_new();

/// Reads whom this machine trusts, which is not part of a look.
pub(super) async fn trusted() -> Option<Arc<WebPkiServerVerifier>> {
    let load = || {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::new(ring::default_provider()))
            .build()
            .ok()
    };
    let read = async || tokio::task::spawn_blocking(load).await.ok().flatten();
    TRUSTED.get_or_init(read).await.clone()
}

/// Notes the certificate, and what the authorities would say of it; refuses none.
#[derive(Debug)]
struct Witness {
    provider: CryptoProvider,
    trusted: Option<Arc<WebPkiServerVerifier>>,
    found: Mutex<Option<(CertificateDer<'static>, Option<Error>)>>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = match &self.trusted {
            Some(trusted) => {
                trusted.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now).err()
            }
            None => Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        };
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((end_entity.clone().into_owned(), judged));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Encrypts a connection to `host` and judges whose certificate is shown before anything else is sent. `alpn` is
/// the protocol that will be spoken.
pub(super) async fn encrypt(
    stream: TcpStream,
    host: &str,
    tls: Tls,
    alpn: &[u8],
) -> Result<(TlsStream<TcpStream>, Certificate), Trouble> {
    let (stream, certificate, judged) = shake(stream, host, alpn).await?;
    if let Some(why) = certificate.invalid() {
        return Err(failed(why));
    }
    match judged {
        Some(error) if tls == Tls::Trusted => Err(failed(distrust(&error, host))),
        _ => Ok((stream, certificate)),
    }
}

/// The certificate alone; it may have expired.
pub(super) async fn certificate(stream: TcpStream, host: &str) -> Result<Certificate, Trouble> {
    shake(stream, host, b"").await.map(|(_, certificate, _)| certificate)
}

async fn shake(
    stream: TcpStream,
    host: &str,
    alpn: &[u8],
) -> Result<(TlsStream<TcpStream>, Certificate, Option<Error>), Trouble> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(bare.to_owned())
        .map_err(|_| failed(format!("`{host}` is no name for a certificate")))?;
    let provider = ring::default_provider();
    let witness =
        Arc::new(Witness { provider: provider.clone(), trusted: trusted().await, found: Mutex::default() });
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("invariant: ring has the ciphers of TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(witness.clone())
        .with_no_client_auth();
    // Each look shakes hands for itself: a resumed session shows no certificate.
    config.resumption = tokio_rustls::rustls::client::Resumption::disabled();
    if !alpn.is_empty() {
        config.alpn_protocols = vec![alpn.to_vec()];
    }
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let found = witness.found.lock().unwrap_or_else(PoisonError::into_inner).take();
    let now = Timestamp::now().as_second();
    let read = found.and_then(|(der, judged)| Some((Certificate::read(&der, now)?, judged)));
    match (shaken, read) {
        (Ok(stream), Some((certificate, judged))) => Ok((stream, certificate, judged)),
        (Ok(_), None) => Err(failed("its certificate cannot be read")),
        (Err(error), _) => Err(handshake_trouble(&error)),
    }
}

fn handshake_trouble(error: &std::io::Error) -> Trouble {
    let rustls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match rustls {
        Some(Error::InvalidMessage(_)) => failed("what it answers is not TLS"),
        Some(why) => failed(format!("the TLS handshake failed: {why}")),
        None if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            failed("closed the connection during the TLS handshake")
        }
        None => io_trouble(error),
    }
}

fn distrust(error: &Error, host: &str) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is by no authority that this machine trusts".into()
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!("its certificate is not for `{host}`"),
        other => format!("its certificate is not trusted: {other}"),
    }
}
