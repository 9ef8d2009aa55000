//! The machine's own disk.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::disk::check_path;
use crate::{Disk, DiskError, DiskFile, DiskLock, Open};

/// A folder of the machine. Files are made with mode 0600 and folders with 0700.
#[derive(Debug, Clone)]
pub struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    /// A disk below `root`, which is made (mode 0700) when it isn't there.
    pub fn new(root: impl Into<PathBuf>) -> Result<Self, DiskError> {
        let root = root.into();
        make_dir(&root).map_err(|e| DiskError::io("make folder", &root.to_string_lossy(), e))?;
        Ok(Self { root })
    }

    /// The folder this disk is below.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn at(&self, path: &str) -> Result<PathBuf, DiskError> {
        check_path(path)?;
        // Joining an empty path would append a `/`, which is an error for a file of that name.
        Ok(if path.is_empty() { self.root.clone() } else { self.root.join(path) })
    }
}

fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

impl Disk for RealDisk {
    fn open(&self, path: &str, open: Open) -> Result<Box<dyn DiskFile>, DiskError> {
        let at = self.at(path)?;
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(open == Open::Create)
            .truncate(false)
            .mode(0o600)
            .open(&at);
        let (file, read_only) = match opened {
            // What is there can still be read, and whoever writes is told then.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem && open == Open::Existing => {
                (File::open(&at), true)
            }
            opened => (opened, false),
        };
        let file = file.map_err(|e| DiskError::io("open", path, e))?;
        Ok(Box::new(RealFile { file, path: path.to_owned(), read_only }))
    }

    fn list(&self, path: &str) -> Result<Vec<String>, DiskError> {
        let failed = |e| DiskError::io("list", path, e);
        let mut names = Vec::new();
        for entry in fs::read_dir(self.at(path)?).map_err(failed)? {
            // A name that is no UTF-8 is none of ours.
            if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn create_dir(&self, path: &str) -> Result<(), DiskError> {
        make_dir(&self.at(path)?).map_err(|e| DiskError::io("make folder", path, e))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        #[expect(clippy::disallowed_methods, reason = "this crate is where files are renamed")]
        fs::rename(self.at(from)?, self.at(to)?).map_err(|e| DiskError::io("rename", from, e))
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        fs::remove_file(self.at(path)?).map_err(|e| DiskError::io("remove", path, e))
    }

    fn sync_dir(&self, path: &str) -> Result<(), DiskError> {
        File::open(self.at(path)?)
            .and_then(|folder| folder.sync_all())
            .map_err(|e| DiskError::io("sync folder", path, e))
    }

    fn exists(&self, path: &str) -> Result<bool, DiskError> {
        self.at(path)?.try_exists().map_err(|e| DiskError::io("look for", path, e))
    }

    fn lock(&self, path: &str) -> Result<DiskLock, DiskError> {
        let failed = |e| DiskError::io("lock", path, e);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.at(path)?)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // LIMIT: a pid has at most ten digits; what else stands there is no pid.
                let _ = (&mut file).take(32).read_to_string(&mut text);
                return Err(DiskError::Locked { path: path.to_owned(), pid: text.trim().parse().ok() });
            }
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        // The pid only serves the message of the one who comes second; a full disk must not refuse the first.
        let _ = file
            .set_len(0)
            .and_then(|()| file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0));
        Ok(DiskLock::new(file))
    }
}

struct RealFile {
    file: File,
    path: String,
    /// Whether it was opened on a disk that takes no writes.
    read_only: bool,
}

impl RealFile {
    fn writable(&self, doing: &'static str) -> Result<(), DiskError> {
        if self.read_only {
            return Err(DiskError::io(doing, &self.path, io::ErrorKind::ReadOnlyFilesystem.into()));
        }
        Ok(())
    }
}

impl DiskFile for RealFile {
    fn len(&self) -> Result<u64, DiskError> {
        Ok(self.file.metadata().map_err(|e| DiskError::io("look at", &self.path, e))?.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, DiskError> {
        let mut filled = 0;
        while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(DiskError::io("read", &self.path, e)),
            }
        }
        Ok(filled)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.writable("write")?;
        self.file.write_all_at(bytes, offset).map_err(|e| DiskError::io("write", &self.path, e))
    }

    fn truncate(&mut self, len: u64) -> Result<(), DiskError> {
        self.writable("truncate")?;
        self.file.set_len(len).map_err(|e| DiskError::io("truncate", &self.path, e))
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(|e| DiskError::io("sync", &self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn files_are_private_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(folder.path().join("data")).unwrap();
        disk.create_dir("a/b").unwrap();
        disk.replace("a/b/c", b"one").unwrap();
        disk.replace("a/b/c", b"two").unwrap();
        assert_eq!(disk.read("a/b/c", 3).unwrap(), b"two");
        assert!(matches!(disk.read("a/b/c", 2), Err(DiskError::TooLarge { len: 3, .. })));
        assert_eq!(disk.list("a/b").unwrap(), ["c"]);
        let mode = |path: &str| fs::metadata(disk.root().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("a/b/c"), mode("a/b"), mode("")), (0o600, 0o700, 0o700));
        assert!(disk.read("missing", 1).unwrap_err().is_not_found());
        assert!(disk.open("../out", Open::Create).is_err());
    }

    #[test]
    fn a_second_owner_is_refused_with_the_pid_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(folder.path()).unwrap();
        let lock = disk.lock("lock").unwrap();
        let refused = disk.lock("lock").unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(lock);
        disk.lock("lock").unwrap();
    }
}
