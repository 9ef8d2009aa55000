//! The trait every file goes through, so that the simulator and the crash tests can stand in for the kernel.

use std::any::Any;
use std::fmt;

use crate::DiskError;

/// Which file [`Disk::open`] accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// It must be there.
    Existing,
    /// It is made, empty, when it isn't there.
    Create,
}

/// A folder and all below it. Paths are relative to its root, `/` between the parts; an empty path is the
/// root itself; `..`, `.`, empty parts and absolute paths are refused.
///
/// Durability is that of POSIX, no more: content is durable after [`DiskFile::sync`], a name (created,
/// renamed, removed) after [`Disk::sync_dir`] of its folder.
pub trait Disk: Send + Sync {
    /// Opens a file for reading and writing; one that is there, on a disk that takes no writes, for reading alone.
    fn open(&self, path: &str, open: Open) -> Result<Box<dyn DiskFile>, DiskError>;

    /// Names in a folder, sorted, without their path.
    fn list(&self, path: &str) -> Result<Vec<String>, DiskError>;

    /// Makes a folder and those above it; content to be when it is there.
    fn create_dir(&self, path: &str) -> Result<(), DiskError>;

    /// Renames a file; one of that name is replaced at once.
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Removes a file.
    fn remove(&self, path: &str) -> Result<(), DiskError>;

    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &str) -> Result<(), DiskError>;

    /// Whether a file or folder is there.
    fn exists(&self, path: &str) -> Result<bool, DiskError>;

    /// Takes the lock file at `path`, until the answer is dropped or the process ends however it ends.
    /// [`DiskError::Locked`] names the process that has it.
    fn lock(&self, path: &str) -> Result<DiskLock, DiskError>;

    /// The whole file; [`DiskError::TooLarge`] above `limit` bytes.
    fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>, DiskError> {
        let file = self.open(path, Open::Existing)?;
        let len = file.len()?;
        if len > limit as u64 {
            return Err(DiskError::TooLarge { path: path.to_owned(), len, limit: limit as u64 });
        }
        let mut bytes = vec![0; len as usize];
        let read = file.read_at(0, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Puts `bytes` in the place of a file's content, atomically and durably: after a crash the file holds the
    /// old bytes or the new ones, whole. Uses `PATH.tmp`; one caller at a time for one path.
    fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
        let temporary = format!("{path}.tmp");
        let mut file = self.open(&temporary, Open::Create)?;
        file.truncate(0)?;
        file.write_at(0, bytes)?;
        file.sync()?;
        drop(file);
        self.rename(&temporary, path)?;
        self.sync_dir(parent(path))
    }
}

/// An open file. Reads may happen through one handle while another writes.
pub trait DiskFile: Send {
    /// Bytes in it.
    fn len(&self) -> Result<u64, DiskError>;

    /// Whether it holds nothing.
    fn is_empty(&self) -> Result<bool, DiskError> {
        Ok(self.len()? == 0)
    }

    /// Fills `buf` from `offset`; fewer bytes only at the end of the file.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, DiskError>;

    /// Writes all of `bytes` at `offset`, growing the file as needed. After an error any part may be written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Cuts the file to `len` bytes, or grows it with zeros (which reserves no space).
    fn truncate(&mut self, len: u64) -> Result<(), DiskError>;

    /// Makes content and length durable (`fdatasync`). After an error nothing unsynced may be relied on, even
    /// if a later sync succeeds: the kernel may have dropped what it could not write.
    fn sync(&mut self) -> Result<(), DiskError>;
}

/// Holds a lock until dropped.
pub struct DiskLock(#[expect(dead_code, reason = "held only to be dropped")] Box<dyn Any + Send + Sync>);

impl DiskLock {
    /// Releases by dropping `guard`.
    pub fn new(guard: impl Any + Send + Sync) -> Self {
        Self(Box::new(guard))
    }
}

impl fmt::Debug for DiskLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DiskLock")
    }
}

/// The folder a path is in; empty for the root.
pub fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Refuses what would leave the root or surprise a file system. The empty path, the root, passes.
pub fn check_path(path: &str) -> Result<(), DiskError> {
    let refuse = |why| Err(DiskError::Path { path: path.chars().take(80).collect(), why });
    if path.is_empty() {
        return Ok(());
    }
    if path.len() > 1024 {
        return refuse("it has more than 1024 bytes");
    }
    if path.starts_with('/') {
        return refuse("it is absolute");
    }
    if path.chars().any(char::is_control) {
        return refuse("it contains a control character");
    }
    for part in path.split('/') {
        match part {
            "" => return refuse("it has an empty part"),
            "." | ".." => return refuse("it has a part `.` or `..`"),
            part if part.len() > 255 => return refuse("it has a part of more than 255 bytes"),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_root() {
        for good in ["", "a", "a/b.c", "..a/b..", "ledger/checkpoint"] {
            assert!(check_path(good).is_ok(), "{good}");
        }
        for bad in
            ["/etc/passwd", "..", "a/../b", "a//b", "a/", "./a", "a\0b", &"x".repeat(256), &"x/".repeat(600)]
        {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }
}
