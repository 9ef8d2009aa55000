//! By what a tower is recognised: the authorities of this machine, a file of certificates, or a fingerprint.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hmsops_server::tls::{certificates, fingerprint};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::failure::{Exit, Failure};

/// A bundle of all public authorities is 250 KiB.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// By what a tower is recognised.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Trust {
    /// By an authority that this machine trusts.
    #[default]
    Machine,
    /// By its certificate, or that of its authority, of this SHA-256.
    Pin([u8; 32]),
    /// By a certificate in this file, or one that an authority in it has signed.
    File(PathBuf),
}

/// A certificate of one's own, and its key, both PEM.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// Why a connection could not be encrypted.
pub(crate) enum Trouble {
    /// The other side is not who it should be.
    Stranger(Failure),
    /// It broke off; one line.
    Broken(String),
}

impl Trust {
    /// `sha256:…` or a file's name.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        if let Some(pin) = pin(text) {
            return Ok(Self::Pin(pin));
        }
        if text.starts_with("sha256:") {
            return Err(Failure::usage(format!("`{}` is no fingerprint", crate::print::plain(text))).hint(
                "it is `sha256:` and 64 digits; `openssl x509 -noout -fingerprint -sha256` prints one",
            ));
        }
        Ok(Self::File(text.into()))
    }

    /// As it is remembered: a file by its whole path.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Machine => String::new(),
            Self::Pin(pin) => shown(pin),
            Self::File(path) => {
                std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string()
            }
        }
    }

    /// Encrypts a connection to `host`, which has to prove who it is.
    pub(crate) async fn encrypt(
        &self,
        stream: TcpStream,
        (server, host): (&str, &str),
        identity: Option<&Identity>,
    ) -> Result<TlsStream<TcpStream>, Trouble> {
        let verifier = Arc::new(self.verifier().map_err(Trouble::Stranger)?);
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("invariant: ring has the ciphers of TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone());
        let mut config = match identity {
            Some(identity) => identity.show(config).map_err(Trouble::Stranger)?,
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(bare).map_err(|error| Trouble::Broken(error.to_string()))?;
        match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
            Ok(stream) => Ok(stream),
            Err(error) => {
                Err(match verifier.objection.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    Some((why, hint)) => Trouble::Stranger(
                        Failure::new(Exit::Refused, format!("cannot trust the tower at {server}: {why}"))
                            .hint(hint),
                    ),
                    None => Trouble::Broken(error.to_string()),
                })
            }
        }
    }

    fn verifier(&self) -> Result<Recognised, Failure> {
        let (known, roots) = match self {
            Self::Machine => (BTreeSet::new(), rustls_native_certs::load_native_certs().certs),
            Self::Pin(pin) => (BTreeSet::from([*pin]), Vec::new()),
            Self::File(path) => {
                let all = read(path)?;
                (all.iter().map(fingerprint).collect(), all)
            }
        };
        let provider = ring::default_provider();
        Ok(Recognised { trust: self.clone(), known, roots, provider, objection: Mutex::default() })
    }
}

impl Identity {
    fn show(
        &self,
        config: tokio_rustls::rustls::ConfigBuilder<
            ClientConfig,
            tokio_rustls::rustls::client::WantsClientCert,
        >,
    ) -> Result<ClientConfig, Failure> {
        let wrong = |what: &str| Failure::new(Exit::Failed, format!("cannot use the agent's {what}"));
        let chain = certificates(self.certificate.as_bytes()).ok_or_else(|| wrong("certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|_| wrong("key"))?;
        config.with_client_auth_cert(chain, key).map_err(|error| wrong(&format!("certificate: {error}")))
    }
}

/// A fingerprint: 64 digits, perhaps with colons between pairs and `sha256:` before them.
fn pin(text: &str) -> Option<[u8; 32]> {
    let digits: String = text.strip_prefix("sha256:").unwrap_or(text).split(':').collect();
    if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut pin = [0; 32];
    for (byte, pair) in pin.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(pin)
}

fn shown(pin: &[u8; 32]) -> String {
    pin.iter().fold("sha256:".to_owned(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let wrong = |why: &str| {
        Failure::usage(format!("cannot read certificates from `{}`: {why}", path.display()))
            .hint("`--ca` is a file of certificates in PEM form, or `sha256:` and a fingerprint")
    };
    let mut text = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut text))
        .map_err(|error| wrong(&error.to_string()))?;
    let all = certificates(&text).filter(|all| !all.is_empty());
    all.ok_or_else(|| wrong("it holds none in PEM form"))
}

/// Takes whom we know, and notes why not.
#[derive(Debug)]
struct Recognised {
    trust: Trust,
    /// Certificates that are enough by themselves, or make an authority of one that is shown.
    known: BTreeSet<[u8; 32]>,
    roots: Vec<CertificateDer<'static>>,
    provider: CryptoProvider,
    objection: Mutex<Option<(String, String)>>,
}

impl Recognised {
    fn object(&self, why: String, hint: &str) -> Error {
        *self.objection.lock().unwrap_or_else(PoisonError::into_inner) = Some((why, hint.to_owned()));
        Error::InvalidCertificate(CertificateError::UnknownIssuer)
    }

    fn strange(&self, end_entity: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Error {
        let found = shown(&fingerprint(others.last().unwrap_or(end_entity)));
        match &self.trust {
            Trust::Pin(pin) => self.object(
                format!("it should be recognised by {}, and shows {found}", shown(pin)),
                "a tower that was set up anew says at its start what it is recognised by; otherwise somebody is in between",
            ),
            Trust::File(path) => self.object(
                format!("nothing of what it shows is in `{}`; it shows {found}", path.display()),
                "`--ca` names another file, or what the tower says at its start it is recognised by",
            ),
            Trust::Machine => self.object(
                format!("this machine knows no authority of its certificate; it shows {found}"),
                "if that is what the tower says at its start it is recognised by: `--ca sha256:…`, and `hmsops login` remembers it",
            ),
        }
    }
}

impl ServerCertVerifier for Recognised {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The very certificate: neither its name nor its time says more. So heals go on with a clock that is wrong.
        if self.known.contains(&fingerprint(end_entity)) {
            return Ok(ServerCertVerified::assertion());
        }
        let mut roots = RootCertStore::empty();
        let pinned = intermediates.iter().filter(|shown| self.known.contains(&fingerprint(shown)));
        roots.add_parsable_certificates(
            self.roots.iter().cloned().chain(pinned.map(|shown| shown.clone().into_owned())),
        );
        if roots.is_empty() {
            return Err(self.strange(end_entity, intermediates));
        }
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(self.provider.clone()))
                .build()
                .map_err(|error| Error::General(error.to_string()))?;
        let judged = verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        judged.map_err(|error| match &error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
                self.strange(end_entity, intermediates)
            }
            Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => self.object(
                format!("its certificate is not for `{}`", named(server_name)),
                "use a name that it is for, or add this one in the tower's settings: `tls: {names: […]}`",
            ),
            Error::InvalidCertificate(why) => {
                self.object(why.to_string(), "see to the clocks of both machines, and to the certificate")
            }
            _ => error,
        })
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

fn named(name: &ServerName<'_>) -> String {
    match name {
        ServerName::IpAddress(ip) => IpAddr::from(*ip).to_string(),
        name => name.to_str().into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_they_are_printed() {
        let digits = "ab".repeat(32);
        let colons = ["AB"; 32].join(":");
        for text in [digits.clone(), format!("sha256:{digits}"), colons.clone(), format!("sha256:{colons}")] {
            assert_eq!(Trust::parse(&text).ok(), Some(Trust::Pin([0xab; 32])), "{text}");
        }
        assert_eq!(Trust::Pin([0xab; 32]).text(), format!("sha256:{digits}"));
        assert!(Trust::parse("sha256:abcd").is_err());
        assert_eq!(Trust::parse("ca.pem").ok(), Some(Trust::File("ca.pem".into())));
    }
}
