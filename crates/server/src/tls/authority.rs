//! The tower's own authority: a key and a certificate in the data folder, and the short-lived certificates that it
//! signs. Keys of those are drawn anew each time and never written down.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hmsops_control::transport::Held;
use hmsops_disk::{Disk, DiskError};
use hmsops_model::{Millis, UnixMillis};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber,
};
use sha2::{Digest as _, Sha256};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::request::Request;
use super::{FOLDER, held, pem};

/// The key's file in [`FOLDER`].
const KEY: &str = "authority.key";

/// The certificate's file in [`FOLDER`].
const CERTIFICATE: &str = "authority.crt";

/// Key and certificate have less than a kilobyte each.
const FILE_BYTES_MAX: usize = 64 << 10;

/// How long the authority holds: agents know it by its fingerprint, and nobody wants to tell them another often.
const AUTHORITY_LIFE: Millis = Millis::from_mins(10 * 365 * 24 * 60);

/// How long what it signs holds: who has taken a key has it for a day at most.
pub(crate) const LIFE: Millis = Millis::from_mins(24 * 60);

/// What is left when another is drawn: a night without a tower, or a clock that is hours ahead, harms nobody.
pub(crate) const RENEW_BEFORE: Millis = Millis::from_mins(8 * 60);

/// Certificates hold from so long before they were made: clocks of others may be an hour and more behind ours.
const BACKDATED: Millis = Millis::from_mins(2 * 60);

/// The same for the authority's own.
const AUTHORITY_BACKDATED: Millis = Millis::from_mins(2 * 24 * 60);

/// Why the own authority can't be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its folder can't be used.
    #[error("cannot use the tower's own authority: {}", .0.chain())]
    Disk(#[from] DiskError),
    /// Others may read its key.
    #[error(
        "cannot use the authority's key `{file}`: its mode {mode:04o} lets others read it; set it with `chmod 0600 \
         {file}`, or, if somebody may have read it, remove the folder: the next start makes another authority, and \
         agents join anew"
    )]
    Exposed {
        /// The file.
        file: String,
        /// Its mode.
        mode: u32,
    },
    /// A file holds something else, or only one of both is there.
    #[error(
        "cannot use the authority's `{file}`: {why}; put it back from a backup, or remove the folder: the next start \
         makes another authority, and agents join anew"
    )]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong.
        why: String,
    },
    /// The library can't sign.
    #[error("cannot sign a certificate: {0}")]
    Sign(String),
}

impl From<rcgen::Error> for AuthorityError {
    fn from(error: rcgen::Error) -> Self {
        Self::Sign(error.to_string())
    }
}

/// The authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    /// Reads it from the data folder, or makes it. A key that others may read is refused.
    pub(crate) fn open(data: &Path, disk: &dyn Disk, now: UnixMillis) -> Result<Self, AuthorityError> {
        let at = |name: &str| format!("{FOLDER}/{name}");
        let shown = |name: &str| data.join(FOLDER).join(name).display().to_string();
        disk.create_dir(FOLDER)?;
        let damaged = |name: &str, why: &str| AuthorityError::Damaged { file: shown(name), why: why.into() };
        let known = found(disk.read(&at(CERTIFICATE), FILE_BYTES_MAX))?;
        let key = match found(disk.read(&at(KEY), FILE_BYTES_MAX))? {
            Some(bytes) => {
                guarded(&data.join(FOLDER).join(KEY))?;
                key(&bytes).ok_or_else(|| damaged(KEY, "it holds no key of P-256 in PEM form"))?
            }
            None if known.is_some() => return Err(damaged(KEY, "it is missing")),
            None => {
                let key = KeyPair::generate()?;
                disk.replace(&at(KEY), pem::encode("PRIVATE KEY", &key.serialize_der()).as_bytes())?;
                key
            }
        };
        let params = params(&key, now);
        let certificate = if let Some(bytes) = known {
            let found = pem::certificates(&bytes).and_then(|mut all| all.pop());
            let found = found.ok_or_else(|| damaged(CERTIFICATE, "it holds no certificate in PEM form"))?;
            // The key as it stands in a certificate of its own (RFC 5480 §2.2).
            let own = key.public_key_raw();
            if !found.windows(own.len()).any(|part| part == own) {
                return Err(damaged(CERTIFICATE, "it is of another key than `authority.key`"));
            }
            found
        } else {
            // Also after a crash between both files.
            let made = params.self_signed(&key)?.der().clone();
            disk.replace(&at(CERTIFICATE), pem::encode("CERTIFICATE", &made).as_bytes())?;
            made
        };
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// Its certificate.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its certificate as the tower's state knows it.
    pub(crate) fn held(&self) -> Held {
        held(&self.certificate)
    }

    /// A key and a certificate for the tower's own listeners, good for these names and addresses.
    pub(crate) fn for_tower(
        &self,
        names: &[String],
        now: UnixMillis,
    ) -> Result<Arc<CertifiedKey>, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = leaf("hmsops tower", now)?;
        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let signed = params.signed_by(&key, &self.issuer)?;
        let secret = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        // Clients that know the authority by its fingerprint alone find it here.
        let chain = vec![signed.der().clone(), self.certificate.clone()];
        let certified = CertifiedKey::from_der(chain, secret, &ring::default_provider())
            .map_err(|error| AuthorityError::Sign(error.to_string()))?;
        Ok(Arc::new(certified))
    }

    /// A certificate for an agent's key. What the request says of names and uses is not taken over.
    pub(crate) fn for_agent(
        &self,
        request: &Request,
        now: UnixMillis,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        // Which one it is stands in the tower's state, by the certificate's SHA-256.
        let mut params = leaf("hmsops agent", now)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(params.signed_by(&Point(request.point()), &self.issuer)?.der().clone())
    }
}

/// The public key of a request.
struct Point<'a>(&'a [u8]);

impl PublicKeyData for Point<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// What is there.
fn found(read: Result<Vec<u8>, DiskError>) -> Result<Option<Vec<u8>>, DiskError> {
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Refuses a key that others may read. What is on no file system has no mode.
fn guarded(path: &Path) -> Result<(), AuthorityError> {
    let mode = std::fs::metadata(path).map_or(0o600, |known| known.mode() & 0o7777);
    if mode.trailing_zeros() >= 6 {
        return Ok(());
    }
    Err(AuthorityError::Exposed { file: path.display().to_string(), mode })
}

fn key(bytes: &[u8]) -> Option<KeyPair> {
    let secret = PrivateKeyDer::from_pem_slice(bytes).ok()?;
    KeyPair::from_der_and_sign_algo(&secret, &rcgen::PKCS_ECDSA_P256_SHA256).ok()
}

/// What the authority's certificate says. Only its times are not the same each time.
fn params(key: &KeyPair, now: UnixMillis) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = moment(now, AUTHORITY_BACKDATED, Millis::ZERO);
    params.not_after = moment(now, Millis::ZERO, AUTHORITY_LIFE);
    let digest = Sha256::digest(key.public_key_raw());
    let own = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    params.distinguished_name = named(&format!("hmsops authority {own:08x}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf(name: &str, now: UnixMillis) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.not_before = moment(now, BACKDATED, Millis::ZERO);
    params.not_after = moment(now, Millis::ZERO, LIFE);
    params.distinguished_name = named(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(|error| AuthorityError::Sign(error.to_string()))?;
    // A positive number that is never empty (RFC 5280 §4.1.2.2).
    serial[0] = (serial[0] & 0x7f) | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// A moment in whole seconds, as certificates have it: from 1970 on and not after 9999.
fn moment(now: UnixMillis, before: Millis, after: Millis) -> time::OffsetDateTime {
    let ms = now.0.saturating_sub_unsigned(before.0).saturating_add_unsigned(after.0);
    // 9999-12-30: the last day but one that has a form (RFC 5280 §4.1.2.5.2).
    let seconds = (ms / 1000).clamp(0, 253_402_128_000).unsigned_abs();
    rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
}
