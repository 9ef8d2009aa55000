//! Small JSON files that are read whole and replaced whole: a reader sees the old one or the new one.

use std::path::{Path, PathBuf};

use hmsops_disk::{Disk, DiskError, RealDisk};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Our own records are some kilobytes; what is longer was not written by us.
const RECORD_BYTES_MAX: usize = 4 << 20;

/// Why a record could not be read or replaced.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file system said no.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    File {
        /// `read`, `replace`, …
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// The disk said no to a record.
    #[error("{} in `{}`", source.chain(), folder.display())]
    Disk {
        /// The folder.
        folder: PathBuf,
        /// What was tried there.
        source: DiskError,
    },
    /// What is in the file is no record of ours.
    #[error("cannot understand `{}`: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
}

/// Turns a file system's answer into a [`RecordError`] that names what was tried.
pub(crate) fn failed<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> RecordError + use<'a> {
    move |source| RecordError::File { doing, path: path.to_owned(), source }
}

/// The record `name` of this folder; `None` when it, or the folder, is not there.
pub(crate) fn read<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<Option<T>, RecordError> {
    // Reading makes no folder.
    if !folder.is_dir() {
        return Ok(None);
    }
    let in_folder = |source| RecordError::Disk { folder: folder.to_owned(), source };
    let disk = RealDisk::new(folder).map_err(in_folder)?;
    let bytes = match disk.read(name, RECORD_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(in_folder(error)),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| RecordError::Content { path: folder.join(name), reason: error.to_string() })
}

/// Writes the record so that a power loss leaves the old one or the new one. The folder must be there; one writer
/// per record at a time.
pub(crate) fn replace<T: Serialize>(folder: &Path, name: &str, record: &T) -> Result<(), RecordError> {
    let bytes = serde_json::to_vec(record)
        .map_err(|error| RecordError::Content { path: folder.join(name), reason: error.to_string() })?;
    // A folder that was removed, because its instance was forgotten, must not come back.
    std::fs::metadata(folder).map_err(failed("write into", folder))?;
    let disk = RealDisk::new(folder).and_then(|disk| disk.replace(name, &bytes));
    disk.map_err(|source| RecordError::Disk { folder: folder.to_owned(), source })
}
