//! What a version's folder holds, as one digest: what was deployed is what is started later, or it is noticed.
//!
//! The digest is SHA-256 over the folder's entries in the byte order of their relative paths. Each entry is a
//! kind (`d` folder, `f` file, `x` executable file, `l` symbolic link), the path and the content (of a file its
//! bytes, of a link its target's text, of a folder nothing); path and content are each preceded by their length
//! as 64-bit big-endian. Owners, times and other permissions do not count.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use hmsops_model::Digest;
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

/// More entries are no version of a service, but somebody's home folder.
const ENTRIES_MAX: usize = 100_000;
/// So much is read in some ten seconds.
const BYTES_MAX: u64 = 4 << 30;
/// How many neighbours a hint names.
const NEIGHBOURS_MAX: usize = 8;

/// Why a version's folder has no digest.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// There is no such folder.
    #[error("version folder `{}` is missing{}", dir.display(), there_are(neighbours))]
    Missing {
        /// The folder.
        dir: PathBuf,
        /// What stands where it should, the last eight in order of name.
        neighbours: Vec<String>,
    },
    /// It is something else.
    #[error("version folder `{}` is not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// A link leads out of it, so the digest would not cover what runs.
    #[error("cannot take the digest of version folder `{}`: `{link}` leads out of it, to `{target}`", dir.display())]
    Escape {
        /// The folder.
        dir: PathBuf,
        /// The link, relative to the folder.
        link: String,
        /// Its target.
        target: String,
    },
    /// It holds something that has no content.
    #[error("cannot take the digest of version folder `{}`: `{entry}` is a {kind}", dir.display())]
    Special {
        /// The folder.
        dir: PathBuf,
        /// The entry, relative to the folder.
        entry: String,
        /// `socket`, `device` or `pipe`.
        kind: &'static str,
    },
    /// Too much is in it.
    #[error("cannot take the digest of version folder `{}`: it holds more than {limit}", dir.display())]
    TooLarge {
        /// The folder.
        dir: PathBuf,
        /// `100000 entries` or `4 GiB`.
        limit: String,
    },
    /// A file grew or shrank meanwhile.
    #[error("cannot take the digest of version folder `{}`: `{entry}` changed meanwhile", dir.display())]
    Changed {
        /// The folder.
        dir: PathBuf,
        /// The file, relative to the folder.
        entry: String,
    },
    /// The file system said no.
    #[error("cannot take the digest of version folder: `{}`: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
}

fn there_are(neighbours: &[String]) -> String {
    match neighbours {
        [] => String::new(),
        [one] => format!("; there is {one}"),
        more => format!("; there are {}", more.join(", ")),
    }
}

/// The digest of a version's folder. Reads all of it: call it where blocking is allowed.
pub fn digest(dir: &Path) -> Result<Digest, ImageError> {
    digest_within(dir, ENTRIES_MAX, BYTES_MAX)
}

/// Says whether the folder is there, and if not, what is in its place.
pub fn check_present(dir: &Path) -> Result<(), ImageError> {
    match fs::metadata(dir) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(ImageError::NotAFolder(dir.to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(ImageError::Missing { dir: dir.to_owned(), neighbours: neighbours(dir) })
        }
        Err(source) => Err(ImageError::File { path: dir.to_owned(), source }),
    }
}

fn neighbours(dir: &Path) -> Vec<String> {
    let Some(entries) = dir.parent().and_then(|parent| fs::read_dir(parent).ok()) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .take(ENTRIES_MAX)
        .collect();
    names.sort_unstable();
    names.split_off(names.len().saturating_sub(NEIGHBOURS_MAX))
}

fn digest_within(dir: &Path, entries_max: usize, bytes_max: u64) -> Result<Digest, ImageError> {
    check_present(dir)?;
    let root = fs::canonicalize(dir).map_err(failed(dir))?;
    let mut hash = Sha256::new();
    let mut bytes_left = bytes_max;
    for path in entries(&root, entries_max)? {
        let full = root.join(&path);
        let meta = fs::symlink_metadata(&full).map_err(failed(&full))?;
        let kind = meta.file_type();
        if kind.is_dir() {
            header(&mut hash, b'd', &path, 0);
        } else if kind.is_symlink() {
            let target = link_target(&root, &path)?;
            header(&mut hash, b'l', &path, target.as_os_str().len() as u64);
            hash.update(target.as_os_str().as_bytes());
        } else if kind.is_file() {
            bytes_left = bytes_left
                .checked_sub(meta.len())
                .ok_or_else(|| ImageError::TooLarge { dir: root.clone(), limit: size_text(bytes_max) })?;
            let executable = meta.permissions().mode() & 0o111 != 0;
            header(&mut hash, if executable { b'x' } else { b'f' }, &path, meta.len());
            if !hash_file(&mut hash, &full, meta.len())? {
                return Err(ImageError::Changed { dir: root.clone(), entry: path.display().to_string() });
            }
        } else {
            let kind = if kind.is_socket() {
                "socket"
            } else if kind.is_fifo() {
                "pipe"
            } else {
                "device"
            };
            return Err(ImageError::Special { dir: root.clone(), entry: path.display().to_string(), kind });
        }
    }
    Ok(Digest::from_sha256(hash.finalize().into()))
}

/// Relative paths of all that is in the folder, in byte order. Links are not followed.
fn entries(root: &Path, entries_max: usize) -> Result<Vec<PathBuf>, ImageError> {
    let mut found: Vec<PathBuf> = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let full = root.join(&folder);
        for entry in fs::read_dir(&full).map_err(failed(&full))? {
            let entry = entry.map_err(failed(&full))?;
            let path = folder.join(entry.file_name());
            if entry.file_type().map_err(failed(&full))?.is_dir() {
                folders.push(path.clone());
            }
            if found.len() == entries_max {
                let limit = format!("{entries_max} entries");
                return Err(ImageError::TooLarge { dir: root.to_owned(), limit });
            }
            found.push(path);
        }
    }
    found.sort_unstable_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    Ok(found)
}

fn header(hash: &mut Sha256, kind: u8, path: &Path, content_bytes: u64) {
    let path = path.as_os_str().as_bytes();
    hash.update([kind]);
    hash.update((path.len() as u64).to_be_bytes());
    hash.update(path);
    hash.update(content_bytes.to_be_bytes());
}

/// False when the file did not hold exactly so many bytes.
fn hash_file(hash: &mut Sha256, path: &Path, bytes: u64) -> Result<bool, ImageError> {
    // It may have become a link or a pipe since it was looked at: neither is followed or waited for.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let mut file: File = opened.map_err(failed(path))?;
    let mut buffer = vec![0; 128 << 10];
    let mut read_bytes = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(read_bytes == bytes),
            Ok(n) => {
                read_bytes += n as u64;
                if read_bytes > bytes {
                    return Ok(false);
                }
                hash.update(&buffer[..n]);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(path)(error)),
        }
    }
}

/// The target's text, if it stays in the folder.
fn link_target(root: &Path, link: &Path) -> Result<PathBuf, ImageError> {
    let full = root.join(link);
    let target = fs::read_link(&full).map_err(failed(&full))?;
    // Where it leads is asked of the file system, which follows links on the way; where it leads nowhere, its
    // text must stay inside.
    let inside = match fs::canonicalize(&full) {
        Ok(real) => real.starts_with(root),
        Err(_) => stays_inside(link.parent().unwrap_or(Path::new("")), &target),
    };
    if inside {
        return Ok(target);
    }
    Err(ImageError::Escape {
        dir: root.to_owned(),
        link: link.display().to_string(),
        target: target.display().to_string(),
    })
}

fn stays_inside(from: &Path, target: &Path) -> bool {
    let mut depth = from.components().count();
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::CurDir => {}
            _ => return false,
        }
    }
    true
}

fn size_text(bytes: u64) -> String {
    if bytes >= 1 << 30 { format!("{} GiB", bytes >> 30) } else { format!("{bytes} bytes") }
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> ImageError + use<> {
    let path = path.to_owned();
    move |source| ImageError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    fn put(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::io::Write::write_all(&mut File::create(path).unwrap(), text.as_bytes()).unwrap();
    }

    fn version() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        put(&dir.path().join("portal"), "#!/bin/sh\n");
        put(&dir.path().join("static/a.css"), "a {}");
        symlink("static/a.css", dir.path().join("style.css")).unwrap();
        dir
    }

    fn refusal(dir: &Path) -> String {
        let root = fs::canonicalize(dir).unwrap();
        digest(dir).unwrap_err().to_string().replace(&root.display().to_string(), "DIR")
    }

    #[test]
    fn equal_folders_have_equal_digests_wherever_they_stand() {
        let (a, b) = (version(), version());
        assert_eq!(digest(a.path()).unwrap(), digest(b.path()).unwrap());
        // The form is a promise to ledgers that hold digests.
        let expected = {
            let mut hash = Sha256::new();
            for (kind, path, content) in [
                (b'f', "portal", "#!/bin/sh\n"),
                (b'd', "static", ""),
                (b'f', "static/a.css", "a {}"),
                (b'l', "style.css", "static/a.css"),
            ] {
                header(&mut hash, kind, Path::new(path), content.len() as u64);
                hash.update(content);
            }
            Digest::from_sha256(hash.finalize().into())
        };
        assert_eq!(digest(a.path()).unwrap(), expected);
    }

    #[test]
    fn every_difference_that_can_matter_changes_the_digest() {
        let original = digest(version().path()).unwrap();
        let differs = |change: &dyn Fn(&Path)| {
            let dir = version();
            change(dir.path());
            assert_ne!(digest(dir.path()).unwrap(), original);
        };
        differs(&|dir| put(&dir.join("portal"), "#!/bin/bash\n"));
        differs(&|dir| fs::set_permissions(dir.join("portal"), fs::Permissions::from_mode(0o755)).unwrap());
        differs(&|dir| put(&dir.join("static/b.css"), ""));
        differs(&|dir| fs::create_dir(dir.join("empty")).unwrap());
        differs(&|dir| fs::remove_file(dir.join("static/a.css")).unwrap());
        differs(&|dir| {
            fs::remove_file(dir.join("style.css")).unwrap();
            symlink("./static/a.css", dir.join("style.css")).unwrap();
        });
    }

    #[test]
    fn links_that_lead_out_are_refused() {
        for (link, target) in [
            ("passwd", "/etc/passwd"),
            ("static/up", "../../other"),
            ("nowhere", "/does/not/exist"),
            ("dangling", "static/../../x"),
        ] {
            let dir = version();
            symlink(target, dir.path().join(link)).unwrap();
            assert_eq!(
                refusal(dir.path()),
                format!(
                    "cannot take the digest of version folder `DIR`: `{link}` leads out of it, to `{target}`"
                )
            );
        }
        // By way of another link: its text alone would seem to stay inside.
        let dir = version();
        symlink(".", dir.path().join("static/here")).unwrap();
        symlink("static/here/../../../etc", dir.path().join("by-way")).unwrap();
        assert!(refusal(dir.path()).contains("leads out") || !dir.path().join("by-way").exists());
        // Round and round is inside.
        let dir = version();
        symlink("loop", dir.path().join("loop")).unwrap();
        assert!(digest(dir.path()).is_ok());
    }

    #[test]
    fn what_has_no_content_is_refused() {
        let dir = version();
        let _listener = UnixListener::bind(dir.path().join("s.sock")).unwrap();
        assert_eq!(
            refusal(dir.path()),
            "cannot take the digest of version folder `DIR`: `s.sock` is a socket"
        );
    }

    #[test]
    fn limits_are_kept_to_the_entry_and_the_byte() {
        let dir = version();
        assert!(digest_within(dir.path(), 4, 14).is_ok());
        let text = digest_within(dir.path(), 3, 14).unwrap_err().to_string();
        assert!(text.ends_with("it holds more than 3 entries"), "{text}");
        let text = digest_within(dir.path(), 4, 13).unwrap_err().to_string();
        assert!(text.ends_with("it holds more than 13 bytes"), "{text}");
        assert_eq!(size_text(BYTES_MAX), "4 GiB");
    }

    #[test]
    fn a_missing_version_names_those_that_are_there() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["1.7.3", "1.7.2"] {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        put(&parent.path().join("notes.txt"), "");
        let text = |name: &str| {
            let text = digest(&parent.path().join(name)).unwrap_err().to_string();
            text.replace(&parent.path().display().to_string(), "/srv/csac-portal")
        };
        assert_eq!(
            text("1.8.0"),
            "version folder `/srv/csac-portal/1.8.0` is missing; there are 1.7.2, 1.7.3"
        );
        assert_eq!(text("notes.txt"), "version folder `/srv/csac-portal/notes.txt` is not a folder");
        assert_eq!(text("x/y"), "version folder `/srv/csac-portal/x/y` is missing");
    }
}
