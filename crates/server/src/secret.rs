//! Secrets where a configuration says they are. A file that others could read is refused: what was read once has to be
//! replaced, and nobody would know.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use hmsops_config::tower::SecretRef;
use hmsops_model::Secret;

/// The longest secret in bytes: a password or a signing key is a line, a private key some kilobytes.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Names the folder in which systemd puts a unit's credentials (systemd.exec(5)).
pub(crate) const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Permission bits of group and world.
const OTHERS: u32 = 0o077;

/// Of the world. systemd shows what an access list gives the unit's user as the group's bits (acl(5)), and lets nobody
/// else into the folder.
const WORLD: u32 = 0o007;

/// Why there is no secret. Says where it was looked for, never what was found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    /// The system said no.
    #[error("cannot read the secret in `{0}`: {1}")]
    Io(PathBuf, std::io::Error),
    /// Others can read it.
    #[error(
        "cannot use the secret in `{file}`: its mode {mode:04o} lets others read it; `chmod 0600 {file}`, and replace the secret if others were there"
    )]
    Exposed {
        /// The file.
        file: String,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody else can change it.
    #[error(
        "cannot use the secret in `{file}`: it belongs to user {owner}, neither to us nor to root; `chown` it"
    )]
    Foreign {
        /// The file.
        file: String,
        /// Whose it is.
        owner: u32,
    },
    /// It cannot be a secret.
    #[error("cannot use the secret in `{0}`: {1}")]
    Unfit(PathBuf, &'static str),
    /// The variable is not set.
    #[error("there is no variable `{0}` for a secret")]
    NoVariable(String),
    /// It is set to what is no text.
    #[error("the variable `{0}` holds no text")]
    NoText(String),
    /// Nobody gave us credentials.
    #[error(
        "there is no credential `{0}`: `$CREDENTIALS_DIRECTORY` is not set; systemd sets it with `LoadCredential={0}:PATH`"
    )]
    NoCredentials(String),
}

/// Reads a secret; `base` is the folder that paths start at. What a file has after its first line's end is refused:
/// nobody means it.
pub(crate) fn read(from: &SecretRef, base: &Path) -> Result<Secret, SecretError> {
    match from {
        SecretRef::File(file) => read_file(&base.join(file), OTHERS),
        SecretRef::Env(name) => match std::env::var(name) {
            Ok(text) => Ok(Secret::new(text)),
            Err(std::env::VarError::NotPresent) => Err(SecretError::NoVariable(name.clone())),
            Err(std::env::VarError::NotUnicode(_)) => Err(SecretError::NoText(name.clone())),
        },
        SecretRef::Credential(name) => {
            let folder = std::env::var_os(CREDENTIALS);
            let folder = folder.ok_or_else(|| SecretError::NoCredentials(name.clone()))?;
            read_file(&Path::new(&folder).join(name), WORLD)
        }
    }
}

/// A file below `folder`, wherever links lead: whoever names it may read no other.
pub(crate) fn within(folder: &Path, name: &str) -> Result<PathBuf, SecretError> {
    let path = folder.join(name);
    let unreadable = |error| SecretError::Io(path.clone(), error);
    let found = path.canonicalize().map_err(unreadable)?;
    if found.starts_with(folder.canonicalize().map_err(unreadable)?) {
        return Ok(found);
    }
    Err(SecretError::Unfit(path, "it is not below the folder of scrape secrets"))
}

/// The secret in a file below `folder`: one line.
pub(crate) fn read_within(folder: &Path, name: &str) -> Result<Secret, SecretError> {
    read_file(&within(folder, name)?, OTHERS)
}

/// The private key in a file below `folder`: as many lines as it has.
pub(crate) fn read_key_within(folder: &Path, name: &str) -> Result<Secret, SecretError> {
    let path = within(folder, name)?;
    read_text(&path, OTHERS).map(Secret::new)
}

fn read_file(path: &Path, closed_to: u32) -> Result<Secret, SecretError> {
    let unfit = |why| SecretError::Unfit(path.to_owned(), why);
    let text = read_text(path, closed_to)?;
    let line = text.trim_end_matches(['\n', '\r']);
    if line.is_empty() {
        return Err(unfit("there is nothing in it"));
    }
    if line.contains(['\n', '\r', '\0']) {
        return Err(unfit("it has more than one line"));
    }
    Ok(Secret::new(line))
}

fn read_text(path: &Path, closed_to: u32) -> Result<String, SecretError> {
    let unreadable = |error| SecretError::Io(path.to_owned(), error);
    let unfit = |why| SecretError::Unfit(path.to_owned(), why);
    // A pipe in its place would keep us waiting.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = File::options().read(true).custom_flags(nonblocking).open(path).map_err(unreadable)?;
    check(path, &file, closed_to)?;
    let mut bytes = Vec::new();
    file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(unfit("it has more than 64 KiB"));
    }
    String::from_utf8(bytes).map_err(|_| unfit("it is not UTF-8"))
}

/// Refuses a file that others than its owner may read or write, or that belongs to another user. What is not there is
/// nobody's.
pub(crate) fn check_private(path: &Path) -> Result<(), SecretError> {
    match File::open(path) {
        Ok(file) => check(path, &file, OTHERS),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(SecretError::Io(path.to_owned(), error)),
    }
}

fn check(path: &Path, file: &File, closed_to: u32) -> Result<(), SecretError> {
    let known = file.metadata().map_err(|error| SecretError::Io(path.to_owned(), error))?;
    let name = || path.display().to_string();
    if !known.is_file() {
        return Err(SecretError::Unfit(path.to_owned(), "it is not a file"));
    }
    let mode = known.mode() & 0o7777;
    if mode & closed_to != 0 {
        return Err(SecretError::Exposed { file: name(), mode });
    }
    let owner = known.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(SecretError::Foreign { file: name(), owner });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a secret's file is somebody else's")]
    fn write(dir: &Path, name: &str, text: &[u8], mode: u32) -> SecretRef {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        SecretRef::File(name.to_owned())
    }

    #[test]
    fn a_file_of_ones_own_is_read_without_its_line_end() {
        let dir = tempfile::tempdir().unwrap();
        for (text, mode) in [(&b"hunter2"[..], 0o600), (b"hunter2\n", 0o400), (b"hunter2\r\n", 0o600)] {
            let _gone = std::fs::remove_file(dir.path().join("secret"));
            let from = write(dir.path(), "secret", text, mode);
            assert_eq!(read(&from, dir.path()).unwrap(), Secret::new("hunter2"));
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o644, 0o640, 0o604, 0o620, 0o666] {
            let from = write(dir.path(), "secret", b"hunter2", mode);
            let said = read(&from, dir.path()).unwrap_err().to_string();
            assert!(said.contains(&format!("mode {mode:04o}")) && said.contains("`chmod 0600 "), "{said}");
            assert!(!said.contains("hunter2"));
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let long = vec![b'x'; 65 << 10];
        for text in [&b""[..], b"\n", b"hunter2\nhunter3\n", b"hunter2\0", b"hunter2\xff", &long] {
            let from = write(dir.path(), "secret", text, 0o600);
            let said = read(&from, dir.path()).unwrap_err().to_string();
            assert!(said.starts_with("cannot use the secret in `") && !said.contains("hunter"), "{said}");
        }
        assert!(read(&SecretRef::File("missing".into()), dir.path()).is_err());
        assert!(read(&SecretRef::File(".".into()), dir.path()).is_err(), "a folder");
        assert!(read(&SecretRef::Env("HMSOPS_NO_SUCH_VARIABLE".into()), dir.path()).is_err());
    }
}
