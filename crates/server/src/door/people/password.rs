//! Passwords of the accounts that the tower keeps itself: a few, for the beginning and for when the provider is away.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use hmsops_disk::Disk;
use tokio::sync::Semaphore;

use crate::door::Failure;
use crate::door::auth::{AuthError, random};

/// What passwords are checked against, in the data folder, mode 0600.
const FILE: &str = "accounts.json";

/// A hundred accounts of some hundred bytes each.
const FILE_BYTES_MAX: usize = 64 << 10;

/// The shortest password, in characters (NIST SP 800-63B-4, section 3.1.1.2: 15 where it is the only proof).
pub(crate) const PASSWORD_CHARS_MIN: usize = 15;

/// The longest, in bytes: it is a phrase, not a file.
pub(crate) const PASSWORD_BYTES_MAX: usize = 1024;

/// Passwords checked at a time: each takes [`MEMORY_KIB`], and a core for some tens of milliseconds.
const CHECKS_MAX: usize = 2;

/// Those that wait meanwhile; more are told to come again.
const WAITING_MAX: usize = 32;

/// Argon2id with 19 MiB, two passes, one lane: the OWASP Password Storage Cheat Sheet's first choice for a server
/// (RFC 9106 describes the function).
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// What passwords are checked against.
pub(crate) struct Passwords {
    disk: Arc<dyn Disk>,
    /// PHC strings by account.
    hashes: Mutex<BTreeMap<String, String>>,
    /// Checked when there is no such account, so that the answer takes as long.
    nobody: String,
    checks: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

fn argon() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("invariant: these are within RFC 9106");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn hashed(password: &str) -> Result<String, AuthError> {
    let wrong = |error: argon2::password_hash::Error| AuthError::Random(error.to_string());
    let salt = SaltString::encode_b64(random()?.get(..16).unwrap_or_default()).map_err(wrong)?;
    Ok(argon().hash_password(password.as_bytes(), &salt).map_err(wrong)?.to_string())
}

impl Passwords {
    /// Reads the file, if there is one.
    pub(crate) fn open(disk: Arc<dyn Disk>) -> Result<Self, AuthError> {
        let hashes = match disk.read(FILE, FILE_BYTES_MAX) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| AuthError::Accounts)?,
            Err(error) if error.is_not_found() => BTreeMap::new(),
            Err(error) => return Err(error.into()),
        };
        Ok(Self {
            disk,
            hashes: Mutex::new(hashes),
            nobody: "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
                .into(),
            checks: Arc::new(Semaphore::new(CHECKS_MAX)),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        })
    }

    /// Whether this is an account's password. Takes as long for an account that is not there.
    pub(crate) async fn check(&self, account: &str, password: String) -> Result<bool, Failure> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        let known = self.hashes.lock().unwrap_or_else(PoisonError::into_inner).get(account).cloned();
        let is_known = known.is_some();
        let hash = known.unwrap_or_else(|| self.nobody.clone());
        let fits = self
            .worked(move || {
                PasswordHash::new(&hash)
                    .is_ok_and(|hash| argon().verify_password(password.as_bytes(), &hash).is_ok())
            })
            .await?;
        Ok(fits && is_known)
    }

    /// What a password is checked against.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Failure> {
        let hash = self.worked(move || hashed(&password)).await?;
        hash.map_err(|error| Failure::unavailable(error.to_string()))
    }

    /// Keeps what another password for an account is checked against.
    pub(crate) fn set(&self, account: &str, hash: String) -> Result<(), Failure> {
        self.change(|hashes| {
            hashes.insert(account.to_owned(), hash);
        })
    }

    /// Forgets an account's.
    pub(crate) fn remove(&self, account: &str) -> Result<(), Failure> {
        self.change(|hashes| {
            hashes.remove(account);
        })
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, String>)) -> Result<(), Failure> {
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = hashes.clone();
        change(&mut new);
        let bytes = serde_json::to_vec_pretty(&new).map_err(|error| Failure::internal(error.to_string()))?;
        self.disk.replace(FILE, &bytes).map_err(|error| {
            Failure::unavailable(format!("the password could not be written down: {}", error.chain()))
                .hint("see to the disk of the data folder, and set it again")
        })?;
        *hashes = new;
        Ok(())
    }

    async fn worked<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let busy = || Failure::too_many("too many people log in at once").retry_after(2);
        let waiting = self.waiting.clone().try_acquire_owned().map_err(|_| busy())?;
        let turn = self.checks.clone().acquire_owned().await.map_err(|_| busy())?;
        let done = tokio::task::spawn_blocking(move || {
            let _until_done = (waiting, turn);
            work()
        });
        done.await.map_err(|error| Failure::internal(error.to_string()))
    }
}

/// Refuses a password that is easily guessed, or is no text.
pub(crate) fn fit(password: &str, account: &str) -> Result<(), Failure> {
    let chars = password.chars().count();
    if chars < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
        return Err(Failure::argument(format!(
            "a password has {PASSWORD_CHARS_MIN} characters at least, and {PASSWORD_BYTES_MAX} bytes at most"
        ))
        .hint("several words that have nothing to do with each other are good"));
    }
    let mut distinct: Vec<char> = password.chars().collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() < 5
        || password.to_lowercase().replace(account, "").chars().count() < PASSWORD_CHARS_MIN / 2
    {
        return Err(Failure::argument("this password is easily guessed")
            .hint("several words that have nothing to do with each other are good"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hmsops_disk::MemDisk;

    use super::*;

    #[tokio::test]
    async fn a_password_is_kept_as_its_hash_and_nobody_else_gets_in() {
        let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
        let passwords = Passwords::open(disk.clone()).unwrap();
        let (good, bad) = ("correct horse battery staple", "correct horse battery stable");
        let hash = passwords.hash(good.into()).await.unwrap();
        passwords.set("ann", hash).unwrap();
        let kept = String::from_utf8(disk.read(FILE, 1 << 16).unwrap()).unwrap();
        assert!(kept.contains("$argon2id$v=19$m=19456,t=2,p=1$") && !kept.contains("horse"), "{kept}");
        let passwords = Passwords::open(disk.clone()).unwrap();
        assert!(passwords.check("ann", good.into()).await.unwrap());
        assert!(!passwords.check("ann", bad.into()).await.unwrap());
        assert!(!passwords.check("bob", good.into()).await.unwrap(), "there is no such account");
        assert!(!passwords.check("ann", "x".repeat(2000)).await.unwrap());
        passwords.remove("ann").unwrap();
        assert!(!passwords.check("ann", good.into()).await.unwrap());
        disk.replace(FILE, b"{").unwrap();
        assert!(Passwords::open(disk).is_err(), "a broken file lets nobody in, and says so");
    }

    #[test]
    fn who_is_not_there_takes_as_long() {
        let passwords = Passwords::open(Arc::new(MemDisk::new())).unwrap();
        let hash = PasswordHash::new(&passwords.nobody).unwrap();
        assert!(argon().verify_password(b"x", &hash).is_err(), "and is no password of anybody");
        let params = Params::try_from(&hash).unwrap();
        assert_eq!((params.m_cost(), params.t_cost(), params.p_cost()), (MEMORY_KIB, PASSES, LANES));
    }

    #[test]
    fn what_is_easily_guessed_is_refused() {
        for bad in ["short", "aaaaaaaaaaaaaaaaaaaa", "abababababababababab", "annemarieannemarie"] {
            assert!(fit(bad, "annemarie").is_err(), "{bad}");
        }
        fit("correct horse battery staple", "ann").unwrap();
    }
}
