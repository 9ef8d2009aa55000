//! Who is known beside those in the ledger: the admin token, one-time links.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hmsops_disk::{Disk, DiskError};
use hmsops_model::{Millis, Now};
use sha2::{Digest as _, Sha256};

use super::pace::Pace;
use super::people::Activity;
use super::receipts::Receipts;
use super::token;
use crate::bound::Bounds;

/// The admin token's file in the data folder.
pub(crate) const TOKEN_FILE: &str = "admin.token";

/// How long a one-time link can be used.
const LINK_LIFE: Millis = Millis::from_mins(10);

/// Links open at a time.
const LINKS_MAX: usize = 100;

/// A token's file is one line.
const TOKEN_BYTES_MAX: usize = 1024;

/// Why nobody can be known.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The file can't be used.
    #[error("cannot use the admin token's file: {}", .0.chain())]
    Disk(#[from] DiskError),
    /// It holds something else.
    #[error("`admin.token` holds no token; remove it and start again, which makes a new one")]
    Malformed,
    /// What passwords are checked against is not what it was.
    #[error("`accounts.json` cannot be read; put it back, or remove it and set each account anew")]
    Accounts,
    /// The system gave no random numbers.
    #[error("cannot draw a random number: {0}")]
    Random(String),
}

/// Secrets are kept as their SHA-256, with the moment they expire on the steady clock.
type Kept = Mutex<BTreeMap<[u8; 32], Millis>>;

/// Who is known.
pub struct Auth {
    admin_token_sha256: [u8; 32],
    everyone: bool,
    activity: Activity,
    links: Kept,
    seed: [u8; 32],
    drawn: AtomicU64,
    receipts: Receipts,
    bounds: Bounds,
    pace: Pace,
}

impl Auth {
    /// Reads the admin token, or makes one at the first start (`admin.token`, mode 0600). With `no_auth`
    /// everyone on this machine has all rights; the caller sees to it that only this machine is listened to.
    #[expect(clippy::needless_pass_by_value, reason = "handles to the disk are handed over, as everywhere")]
    pub fn open(disk: Arc<dyn Disk>, no_auth: bool) -> Result<Self, AuthError> {
        let text = match disk.read(TOKEN_FILE, TOKEN_BYTES_MAX) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|_| AuthError::Malformed)?,
            Err(error) if error.is_not_found() => {
                let token = token::admin(random()?);
                disk.replace(TOKEN_FILE, format!("{token}\n").as_bytes())?;
                token
            }
            Err(error) => return Err(error.into()),
        };
        let token = text.trim();
        if !token::is_well_formed(token) {
            return Err(AuthError::Malformed);
        }
        Ok(Self {
            admin_token_sha256: sha256(token),
            everyone: no_auth,
            activity: Activity::default(),
            links: Kept::default(),
            seed: random()?,
            drawn: AtomicU64::new(0),
            receipts: Receipts::default(),
            bounds: Bounds::default(),
            pace: Pace::default(),
        })
    }

    /// A path, `/login/…`, that logs one browser in once within ten minutes.
    pub fn login_link(&self, now: Now) -> String {
        let nonce = self.draw();
        keep(&self.links, &nonce, now.steady, LINK_LIFE, LINKS_MAX);
        format!("/login/{nonce}")
    }

    /// What has come to the doors since it was last written down.
    pub(crate) fn receipts(&self) -> &Receipts {
        &self.receipts
    }

    /// Places for connections.
    pub(crate) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// How often who has asked, at any door.
    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Whether everyone on this machine has all rights.
    pub(crate) fn no_auth(&self) -> bool {
        self.everyone
    }

    /// Whether this is the admin token. Takes the same time for any text.
    pub(crate) fn is_admin(&self, text: &str) -> bool {
        let given = sha256(text);
        given.iter().zip(&self.admin_token_sha256).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }

    /// Uses a one-time link up; answers whether it was good.
    pub(crate) fn redeem(&self, nonce: &str, steady: Millis) -> bool {
        locked(&self.links).remove(&sha256(nonce)).is_some_and(|until| until > steady)
    }

    /// When log-ins were last used.
    pub(crate) fn activity(&self) -> &Activity {
        &self.activity
    }

    /// What a browser or program shows that is logged in.
    pub(crate) fn draw_session() -> Result<String, AuthError> {
        Ok(token::session(random()?))
    }

    /// A text that nobody can guess: SHA-256 of a secret seed and a counter, in base 62.
    pub(crate) fn draw(&self) -> String {
        let count = self.drawn.fetch_add(1, Ordering::Relaxed);
        let bytes: [u8; 32] =
            Sha256::new().chain_update(self.seed).chain_update(count.to_be_bytes()).finalize().into();
        token::base62(&bytes, 43)
    }
}

fn keep(kept: &Kept, secret: &str, steady: Millis, life: Millis, most: usize) {
    let mut kept = locked(kept);
    kept.retain(|_, until| *until > steady);
    if kept.len() >= most
        && let Some(first) = kept.iter().min_by_key(|(_, until)| **until).map(|(key, _)| *key)
    {
        kept.remove(&first);
    }
    kept.insert(sha256(secret), steady + life);
}

fn locked(kept: &Kept) -> std::sync::MutexGuard<'_, BTreeMap<[u8; 32], Millis>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Secrets are known by their SHA-256 only.
pub(crate) fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// 32 bytes that nobody can guess.
pub(crate) fn random() -> Result<[u8; 32], AuthError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| AuthError::Random(error.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use hmsops_disk::MemDisk;

    use super::*;

    fn at(ms: u64) -> Now {
        Now { steady: Millis(ms), ..Now::default() }
    }

    #[test]
    fn the_token_is_made_once_and_read_later() {
        let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
        Auth::open(disk.clone(), false).unwrap();
        let text = String::from_utf8(disk.read(TOKEN_FILE, 1024).unwrap()).unwrap();
        let auth = Auth::open(disk.clone(), false).unwrap();
        assert!(auth.is_admin(text.trim()));
        assert!(!auth.is_admin("") && !auth.is_admin(&token::admin([0; 32])));
        disk.replace(TOKEN_FILE, b"secret\n").unwrap();
        assert!(matches!(Auth::open(disk, false), Err(AuthError::Malformed)));
    }

    #[test]
    fn a_link_works_once_and_for_ten_minutes() {
        let auth = Auth::open(Arc::new(MemDisk::new()), false).unwrap();
        let nonce = |link: String| link.strip_prefix("/login/").unwrap().to_owned();
        let (one, late) = (nonce(auth.login_link(at(0))), nonce(auth.login_link(at(0))));
        assert!(auth.redeem(&one, Millis(1)));
        assert!(!auth.redeem(&one, Millis(2)), "used up");
        assert!(!auth.redeem(&late, Millis::from_mins(10)), "too late");
    }
}
