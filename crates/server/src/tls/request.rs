//! Requests for certificates: PKCS #10 (RFC 2986), of keys on P-256 and signed with SHA-256, in DER (X.690).
//!
//! A request proves that its sender has the key, and nothing else: names and uses in it are not read.

use rcgen::{CertificateParams, KeyPair};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use tokio_rustls::rustls::pki_types::CertificateSigningRequestDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use super::pem;

/// The longest request, in bytes of PEM: those of P-256 have some hundred.
pub const REQUEST_BYTES_MAX: usize = 16 << 10;

/// `1.2.840.10045.2.1` and `1.2.840.10045.3.1.7`: a key on P-256 (RFC 5480 §2.1.1).
const KEY_OF_P256: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07,
];

/// `1.2.840.10045.4.3.2`: ECDSA with SHA-256 (RFC 5758 §3.2).
const ECDSA_WITH_SHA256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// An uncompressed point of P-256 (SEC 1 §2.3.3).
const POINT_BYTES: usize = 65;

/// Why a request is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It is longer than any.
    #[error("the request for a certificate is longer than {REQUEST_BYTES_MAX} bytes")]
    TooLong,
    /// It is no PKCS #10 in PEM form.
    #[error("the request for a certificate is none in PEM form, `-----BEGIN CERTIFICATE REQUEST-----`")]
    Form,
    /// Its key or signature is of a kind that is not taken.
    #[error("the request for a certificate is not of a key on P-256, signed with ECDSA and SHA-256")]
    Kind,
    /// Its signature is not of its key.
    #[error("the request for a certificate is not signed with its own key")]
    Signature,
}

/// A request whose sender has the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    point: Vec<u8>,
}

impl Request {
    /// Reads a request and checks its signature.
    pub fn parse(text: &str) -> Result<Self, RequestError> {
        if text.len() > REQUEST_BYTES_MAX {
            return Err(RequestError::TooLong);
        }
        let der =
            CertificateSigningRequestDer::from_pem_slice(text.as_bytes()).map_err(|_| RequestError::Form)?;
        let parts = Parts::read(&der).ok_or(RequestError::Form)?;
        let is_point = parts.key.len() == POINT_BYTES && parts.key.first() == Some(&4);
        if parts.key_kind != KEY_OF_P256 || parts.signature_kind != ECDSA_WITH_SHA256 || !is_point {
            return Err(RequestError::Kind);
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, parts.key)
            .verify(parts.signed, parts.signature)
            .map_err(|_| RequestError::Signature)?;
        Ok(Self { point: parts.key.to_vec() })
    }

    /// Draws a key and asks for a certificate of it: the key as PKCS #8 and the request, both PEM.
    pub fn draw() -> Result<(String, String), String> {
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let request =
            CertificateParams::default().serialize_request(&key).map_err(|error| error.to_string())?;
        Ok((
            pem::encode("PRIVATE KEY", &key.serialize_der()),
            pem::encode("CERTIFICATE REQUEST", request.der()),
        ))
    }

    /// The key.
    pub(super) fn point(&self) -> &[u8] {
        &self.point
    }
}

/// Where things stand in a request (RFC 2986 §4).
struct Parts<'a> {
    signed: &'a [u8],
    key_kind: &'a [u8],
    key: &'a [u8],
    signature_kind: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Parts<'a> {
    fn read(der: &'a [u8]) -> Option<Self> {
        let (request, _, after) = element(der, Some(SEQUENCE))?;
        let (info, signed, rest) = element(request, Some(SEQUENCE))?;
        let (signature_kind, _, rest) = element(rest, Some(SEQUENCE))?;
        let (signature, _, end) = element(rest, Some(BIT_STRING))?;
        if !after.is_empty() || !end.is_empty() {
            return None;
        }
        let (_version, _, rest) = element(info, None)?;
        let (_subject, _, rest) = element(rest, Some(SEQUENCE))?;
        let (public, _, _attributes) = element(rest, Some(SEQUENCE))?;
        let (key_kind, _, rest) = element(public, Some(SEQUENCE))?;
        let (key, _, _) = element(rest, Some(BIT_STRING))?;
        Some(Self {
            signed,
            key_kind,
            key: whole_bytes(key)?,
            signature_kind,
            signature: whole_bytes(signature)?,
        })
    }
}

/// The bytes of a bit string that has no odd bits.
fn whole_bytes(bits: &[u8]) -> Option<&[u8]> {
    bits.split_first().filter(|(odd, _)| **odd == 0).map(|(_, bytes)| bytes)
}

/// The first element: its content, itself, and what follows. Lengths are definite and in their shortest form
/// (X.690 §10.1).
fn element(bytes: &[u8], wanted: Option<u8>) -> Option<(&[u8], &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    if wanted.is_some_and(|wanted| wanted != *tag) {
        return None;
    }
    let (first, rest) = rest.split_first()?;
    let (len, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        long @ (0x81 | 0x82) => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            let len = digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit));
            (Some(len).filter(|len| *len >= if long == 0x81 { 0x80 } else { 0x100 })?, rest)
        }
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(len)?;
    let whole = bytes.get(..bytes.len() - after.len())?;
    Some((content, whole, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_and_a_changed_one_is_not() {
        let (_, text) = Request::draw().unwrap();
        let request = Request::parse(&text).unwrap();
        assert_eq!(request.point().len(), POINT_BYTES);
        let der = CertificateSigningRequestDer::from_pem_slice(text.as_bytes()).unwrap();
        // Every byte is structure, signed, or signature.
        for at in 0..der.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut other = der.to_vec();
                other[at] ^= flip;
                let found = Request::parse(&pem::encode("CERTIFICATE REQUEST", &other));
                assert!(found.is_err(), "byte {at} of {}", der.len());
            }
        }
        for cut in 0..der.len() {
            assert!(Request::parse(&pem::encode("CERTIFICATE REQUEST", &der[..cut])).is_err(), "{cut}");
        }
    }

    #[test]
    fn what_is_no_request_is_said() {
        assert_eq!(Request::parse(""), Err(RequestError::Form));
        assert_eq!(Request::parse(&"x".repeat(REQUEST_BYTES_MAX + 1)), Err(RequestError::TooLong));
        let (key, _) = Request::draw().unwrap();
        assert_eq!(Request::parse(&key), Err(RequestError::Form));
    }
}
