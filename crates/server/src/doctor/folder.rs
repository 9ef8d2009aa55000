//! What a data folder shows.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use hmsops_disk::{RealDisk, Spill};
use hmsops_model::{Millis, UnixMillis};
use rustix::fs::StatVfsMountFlags;

use super::Findings;
use crate::door::folder;

/// Below this many free bytes the next hours are in doubt: a day of metrics of a middling site.
const SPACE_LOW: u64 = 1 << 30;

/// And below this many the next minutes: a checkpoint of metrics takes as much for a while.
const SPACE_GONE: u64 = 64 << 20;

/// Below this many free inodes the same: files are few, and others on the same disk may have many.
const INODES_LOW: u64 = 10_000;

/// And below this many.
const INODES_GONE: u64 = 100;

/// A wall clock may be corrected by so much without anybody's fault (NTP steps above 128 ms).
const CLOCK_SLACK: Millis = Millis(2000);

/// Files that are looked at: a data folder has some dozens beside those of services.
const FILES_MAX: usize = 1000;

/// Permission bits of group and world that let them change what is there.
const CHANGED_BY_OTHERS: u32 = 0o022;

/// And all of theirs.
const OTHERS: u32 = 0o077;

/// Looks at all that can be seen without the tower. Changes nothing.
pub(super) fn look(data: &Path, now: UnixMillis, findings: &mut Findings) {
    findings.look("data folder");
    if !data.is_dir() {
        return findings.problem(
            format!("there is no folder `{}`", data.display()),
            "a tower that starts there knows nothing of what was before",
            "name the folder with --data or $HMSOPS_DATA",
        );
    }
    permissions(data, findings);
    space(data, findings);
    let last_at = ledger(data, findings);
    clock(last_at, now, findings);
    spill(data, findings);
}

/// What only the tower's user may read, and what nobody else may change.
fn permissions(data: &Path, findings: &mut Findings) {
    findings.look("permissions");
    let Ok(own) = data.metadata() else {
        return findings.problem(
            format!("`{}` cannot be looked at", data.display()),
            "nothing in it can be read",
            "run this as the tower's user",
        );
    };
    if own.mode() & CHANGED_BY_OTHERS != 0 {
        findings.problem(
            format!("`{}` has mode {:04o}", data.display(), own.mode() & 0o7777),
            "others can put files in the place of the tower's",
            format!("chmod 0700 {}", data.display()),
        );
    } else if own.mode() & OTHERS != 0 {
        findings.warning(
            format!("`{}` has mode {:04o}", data.display(), own.mode() & 0o7777),
            "others see which files are there, and reach any that is not closed by itself",
            format!("chmod 0700 {}", data.display()),
        );
    }
    for path in files(data) {
        let Ok(known) = path.symlink_metadata() else { continue };
        let mode = known.mode() & 0o7777;
        let shown = path.display();
        if is_secret(&path) && mode & OTHERS != 0 {
            findings.problem(
                format!("`{shown}` has mode {mode:04o}"),
                "it is a secret, and others can read or replace it",
                format!("chmod 0600 {shown}, and replace the secret: nobody knows who has read it"),
            );
        } else if mode & CHANGED_BY_OTHERS != 0 && known.is_file() {
            findings.problem(
                format!("`{shown}` has mode {mode:04o}"),
                "others can change what the tower goes by",
                format!("chmod 0600 {shown}"),
            );
        }
        if known.uid() != own.uid() {
            findings.warning(
                format!("`{shown}` belongs to user {}, the folder to {}", known.uid(), own.uid()),
                "the tower may not be able to read or replace it, as after a start as root",
                format!("chown {} {shown}", own.uid()),
            );
        }
    }
}

/// Tokens, keys, and what passwords are checked against.
fn is_secret(path: &Path) -> bool {
    let ends = |end: &str| path.extension().is_some_and(|known| known == end);
    ends("token") || ends("key") || path.file_name().is_some_and(|name| name == "accounts.json")
}

/// The files of the tower itself: of services and heals only their own records, which lie deeper, are left out.
fn files(data: &Path) -> Vec<PathBuf> {
    let folders = ["", "tls", "ledger", "evidence", "metrics"].map(|name| data.join(name));
    let entries = folders.into_iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.symlink_metadata().is_ok_and(|known| known.is_file()))
        .take(FILES_MAX)
        .collect();
    found.sort();
    found
}

fn space(data: &Path, findings: &mut Findings) {
    findings.look("disk");
    let Ok(disk) = rustix::fs::statvfs(data) else {
        return findings.warning(
            format!("how full the disk of `{}` is cannot be found out", data.display()),
            "nobody is warned before it is full",
            "look with df",
        );
    };
    let why_full =
        "no release goes on without its line in the ledger, and metrics are not taken; retreats go on";
    if disk.f_flag.contains(StatVfsMountFlags::RDONLY) || is_stopped(data) {
        findings.problem(
            format!("the disk of `{}` takes no writes", data.display()),
            "nothing that the tower decides can be recorded, so nothing advances; retreats go on",
            "look with dmesg for why it was mounted read-only, then mount it anew",
        );
    }
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let what = format!("{} MiB are free on the disk of `{}`", free >> 20, data.display());
    let remedy = "make room, or shorten `retention: {metrics: …}`";
    match free {
        free if free < SPACE_GONE => findings.problem(what, why_full, remedy),
        free if free < SPACE_LOW => findings.warning(what, why_full, remedy),
        _ => {}
    }
    // Some file systems have no fixed number of inodes and say 0.
    let what = format!("{} more files can be made on the disk of `{}`", disk.f_favail, data.display());
    let remedy = "remove what has very many small files; `df -i` shows the disk";
    match disk.f_favail {
        _ if disk.f_files == 0 => {}
        left if left < INODES_GONE => findings.problem(what, why_full, remedy),
        left if left < INODES_LOW => findings.warning(what, why_full, remedy),
        _ => {}
    }
}

/// Whether the kernel has stopped all writes to a file system because of an error of it. Then it is not mounted read-only:
/// what is open for writing stays so, and only the mount's options tell (Linux 6.15, `emergency_ro` of ext4).
fn is_stopped(data: &Path) -> bool {
    let Ok(data) = data.canonicalize() else { return false };
    // Names need not be UTF-8.
    is_stopped_by(&std::fs::read("/proc/self/mounts").unwrap_or_default(), &data)
}

/// Whether a table of mounts says so of the file system that a folder is on.
fn is_stopped_by(mounts: &[u8], data: &Path) -> bool {
    let of = mounts.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut parts = line.split(|byte| *byte == b' ');
        let (at, options) = (unescaped(parts.nth(1)?), parts.nth(1)?);
        data.starts_with(OsStr::from_bytes(&at)).then_some((at.len(), options))
    });
    let own = of.max_by_key(|(length, _)| *length);
    own.is_some_and(|(_, options)| {
        options.split(|byte| *byte == b',').any(|option| option == b"emergency_ro")
    })
}

/// Blanks and the like stand in the table as three octal digits, `\040` (proc_pid_mounts(5), getmntent(3)).
fn unescaped(mut text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    while let Some((first, rest)) = text.split_first() {
        match rest {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..] if *first == b'\\' => {
                plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                text = rest;
            }
            rest => {
                plain.push(*first);
                text = rest;
            }
        }
    }
    plain
}

/// Whether the ledger is whole. Returns when its last entry was written.
fn ledger(data: &Path, findings: &mut Findings) -> Option<UnixMillis> {
    findings.look("ledger");
    let report = RealDisk::new(data)
        .map_err(|error| error.chain())
        .and_then(|disk| hmsops_ledger::verify(&disk, folder::LEDGER).map_err(|error| error.chain()));
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            findings.problem(
                format!("the ledger cannot be read: {error}"),
                "the tower does not start without it",
                "run this as the tower's user; restore the folder from a backup if it is damaged",
            );
            return None;
        }
    };
    if let Some(bad) = &report.first_bad {
        findings.problem(
            format!("the ledger is not whole: {bad}"),
            "what happened since cannot be proven, and a tower that starts stops here",
            format!("restore the folder from a backup; {} entries before it are good", report.entries),
        );
    }
    report.last_at
}

fn clock(last_at: Option<UnixMillis>, now: UnixMillis, findings: &mut Findings) {
    findings.look("clock");
    let Some(ahead) = last_at.map(|last_at| last_at.since(now)).filter(|ahead| *ahead > CLOCK_SLACK) else {
        return;
    };
    findings.problem(
        format!("the clock is {} s behind the ledger's last entry", ahead.0 / 1000),
        "it was set back, or was ahead when that was written: ends of tokens, silences and certificates are off by as much",
        "let NTP keep the clock; what is recorded stays in its order all the same",
    );
}

/// Lines of retreats that are not in the ledger.
fn spill(data: &Path, findings: &mut Findings) {
    findings.look("leftovers");
    let lines = RealDisk::new(data)
        .map_err(|error| error.chain())
        .and_then(|disk| Spill::peek(&disk, folder::SPILL).map_err(|error| error.chain()));
    match lines {
        Ok(lines) if lines.is_empty() => {}
        Ok(lines) => findings.warning(
            format!("{} lines of retreats wait in the spill", lines.len()),
            "the ledger did not take them when it happened, or the tower ended before it could",
            "the next start writes those that are missing; see that the disk takes writes",
        ),
        Err(error) => findings.warning(
            format!("the spill cannot be read: {error}"),
            "a retreat has nowhere to leave its line while the ledger takes none",
            "run this as the tower's user; a start makes the file when it is missing",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_was_stopped_is_found_by_its_mount_whatever_its_name() {
        let mounts = b"/dev/a / ext4 rw,relatime 0 0\n\
                       /dev/b /srv/the\\040data ext4 rw,emergency_ro 0 0\n\
                       /dev/c /srv/the\\040data/b\\134040 ext4 rw 0 0\n\
                       /dev/d /srv/\xff ext4 rw,emergency_ro 0 0\n";
        let is = |path: &[u8]| is_stopped_by(mounts, Path::new(OsStr::from_bytes(path)));
        assert!(is(b"/srv/the data/hmsops"));
        assert!(is(b"/srv/\xff/hmsops"));
        assert!(!is(b"/srv/the"));
        assert!(!is(b"/srv/the data/b\\040/hmsops"), "another, whose name has a backslash");
        assert!(!is(b"/srv/the\\040data"), "as it stands there");
    }
}
