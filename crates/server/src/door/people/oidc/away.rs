//! Who is at the provider just now: kept by their own browser, sealed, so that nobody who begins a thousand log-ins
//! displaces another's, and the tower remembers nothing of people who do not come back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmsops_model::{Millis, SessionId};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

use crate::door::auth::{AuthError, random, sha256};

/// Log-ins of the last minutes that are remembered, so that none counts twice. Each has cost a code of the provider.
const DONE_MAX: usize = 10_000;

/// The longest sealed text that is opened: what a browser keeps of one cookie.
const SEALED_BYTES_MAX: usize = 4096;

/// Somebody who has gone to the provider.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Away {
    /// When it is too late to come back, on the steady clock.
    pub(super) until: Millis,
    /// What the provider sends back with them.
    pub(super) state: String,
    pub(super) nonce: String,
    pub(super) verifier: String,
    pub(super) next: String,
    pub(super) again: Option<SessionId>,
}

/// Seals what browsers keep (`ChaCha20-Poly1305`, RFC 8439). The key is drawn at each start: who is away then begins again.
pub(super) struct Seal {
    key: LessSafeKey,
    count: AtomicU64,
    done: Mutex<BTreeMap<[u8; 32], Millis>>,
}

impl Seal {
    pub(super) fn new() -> Result<Self, AuthError> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &random()?);
        let key = key.map_err(|_| AuthError::Random("no key can be made of it".into()))?;
        Ok(Self { key: LessSafeKey::new(key), count: AtomicU64::new(0), done: Mutex::default() })
    }

    /// Sealed, as a cookie holds it.
    pub(super) fn close(&self, away: &Away) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        // One key seals no two texts with one nonce (RFC 8439, section 2.8): counted, and the key ends with the process.
        nonce[4..].copy_from_slice(&self.count.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        let mut bytes = serde_json::to_vec(away).ok()?;
        let sealing = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(sealing, Aad::empty(), &mut bytes).ok()?;
        Some(URL_SAFE_NO_PAD.encode([nonce.as_slice(), &bytes].concat()))
    }

    /// What was sealed here; `None`: anything else.
    pub(super) fn open(&self, sealed: &str) -> Option<Away> {
        let bytes =
            URL_SAFE_NO_PAD.decode(Some(sealed).filter(|text| text.len() <= SEALED_BYTES_MAX)?).ok()?;
        let (nonce, rest) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut rest = rest.to_vec();
        serde_json::from_slice(self.key.open_in_place(nonce, Aad::empty(), &mut rest).ok()?).ok()
    }

    /// Notes that somebody has come back; answers whether it is the first time.
    pub(super) fn once(&self, away: &Away, steady: Millis) -> bool {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.retain(|_, until| *until > steady);
        if done.len() >= DONE_MAX
            && let Some(first) = done.iter().min_by_key(|(_, until)| **until).map(|(key, _)| *key)
        {
            done.remove(&first);
        }
        done.insert(sha256(&away.state), away.until).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> Away {
        let text = |text: &str| text.to_owned();
        let (state, nonce, verifier, next) = (text("s"), text("n"), text("v3rifier"), "/x".repeat(500));
        Away { until: Millis(1000), state, nonce, verifier, next, again: Some(SessionId(7)) }
    }

    #[test]
    fn only_what_was_sealed_here_is_opened_and_it_tells_nothing() {
        let (seal, other) = (Seal::new().unwrap(), Seal::new().unwrap());
        let sealed = seal.close(&away()).unwrap();
        assert!(sealed.len() < 4000 && !sealed.contains("v3rifier"));
        assert_ne!(sealed, seal.close(&away()).unwrap());
        let opened = seal.open(&sealed).unwrap();
        assert_eq!((opened.verifier.as_str(), opened.again), ("v3rifier", Some(SessionId(7))));
        assert!(other.open(&sealed).is_none());
        for at in [0, 20, sealed.len() / 2, sealed.len() - 1] {
            let mut bent = sealed.clone().into_bytes();
            bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
            assert!(seal.open(&String::from_utf8(bent).unwrap()).is_none(), "{at}");
        }
        for text in ["", "x", "AAAA", &"A".repeat(5000), &sealed[..30]] {
            assert!(seal.open(text).is_none());
        }
    }

    #[test]
    fn each_counts_once() {
        let seal = Seal::new().unwrap();
        assert!(seal.once(&away(), Millis(1)) && !seal.once(&away(), Millis(2)));
    }
}
