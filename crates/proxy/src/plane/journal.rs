//! The access log: a line of JSON for each request, written by a thread of its own. A request never waits for it; lines
//! that find no room, or that the file does not take, are counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use hmsops_model::route::Route;
use hmsops_model::{Now, ReleaseId, UnixMillis, Version};
use http::header::{self, HeaderValue};
use http::{StatusCode, request};
use serde::Serialize;

use super::Plane;
use super::meter::Why;
use crate::split::Side;

/// Lines that wait to be written: a second at full speed.
const WAITING_MAX: usize = 8192;

/// Lines written at once.
const BATCH_MAX: usize = 256;

/// How soon a file that was moved away is noticed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The longest path that is written, in bytes.
const PATH_BYTES_MAX: usize = 2048;

/// What is written of one request. Never its query, cookies or credentials.
#[derive(Debug, Serialize)]
struct Line {
    /// When it came, in milliseconds since 1970.
    time: UnixMillis,
    client: IpAddr,
    method: String,
    host: String,
    path: String,
    /// 0: the client went before there was one.
    status: u16,
    /// Whose answer it is; none: the gateway's.
    #[serde(skip_serializing_if = "Option::is_none")]
    arm: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Version>,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<ReleaseId>,
    /// Until the last byte was handed on.
    ms: u64,
    /// Of the answer's body.
    bytes: u64,
    /// Stable answered for the canary.
    shielded: bool,
    /// The answer did not come whole.
    broken: bool,
    /// Why the gateway answered itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    trace: String,
}

/// Where lines go.
#[derive(Debug)]
pub(super) struct Journal {
    lines: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
}

/// One request's line, written when it is dropped.
pub(super) struct Entry {
    plane: Arc<Plane>,
    journal: Arc<Journal>,
    began: Now,
    line: Option<Line>,
    /// Of the answer's body, so far.
    pub(super) bytes: u64,
    pub(super) is_broken: bool,
}

impl Journal {
    /// Opens the file, or standard output for `stdout`, and starts to write.
    pub(super) fn open(target: &str) -> io::Result<Self> {
        let mut sink = Sink::open(target)?;
        let (lines, waiting) = sync_channel(WAITING_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&dropped);
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(&mut sink, &waiting, &count))?;
        Ok(Self { lines, dropped })
    }

    /// Lines that could not be kept.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Entry {
    pub(super) fn new(
        plane: &Arc<Plane>,
        journal: &Arc<Journal>,
        parts: &request::Parts,
        client: IpAddr,
    ) -> Box<Self> {
        let began = plane.clock.now();
        let host = parts.headers.get(header::HOST).map(HeaderValue::as_bytes).unwrap_or_default();
        let path = parts.uri.path().bytes().take(PATH_BYTES_MAX).collect::<Vec<_>>();
        let line = Line {
            time: began.wall,
            client,
            method: parts.method.to_string(),
            host: String::from_utf8_lossy(host).into_owned(),
            path: String::from_utf8_lossy(&path).into_owned(),
            status: 0,
            arm: None,
            version: None,
            release: None,
            ms: 0,
            bytes: 0,
            shielded: false,
            broken: false,
            reason: None,
            trace: String::new(),
        };
        let (plane, journal) = (Arc::clone(plane), Arc::clone(journal));
        Box::new(Self { plane, journal, began, line: Some(line), bytes: 0, is_broken: false })
    }

    /// Which trace it belongs to.
    pub(super) fn traced(&mut self, id: &str) {
        self.line.iter_mut().for_each(|line| id.clone_into(&mut line.trace));
    }

    /// Whose answer it got.
    pub(super) fn answered(&mut self, route: &Route, side: Side, shielded: bool) {
        let Some(line) = &mut self.line else { return };
        let canary = route.canary.as_ref();
        line.release = canary.map(|canary| canary.release);
        line.shielded = shielded;
        (line.arm, line.version) = match side {
            Side::Stable => (Some("stable"), Some(route.stable.version.clone())),
            Side::Canary => (Some("canary"), canary.map(|canary| canary.arm.version.clone())),
        };
    }

    /// Which status it got.
    pub(super) fn status(&mut self, status: StatusCode) {
        self.line.iter_mut().for_each(|line| line.status = status.as_u16());
    }

    /// The gateway answered itself.
    pub(super) fn refused(&mut self, why: Why) {
        self.line.iter_mut().for_each(|line| line.reason = Some(why.text()));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Some(mut line) = self.line.take() else { return };
        line.ms = self.plane.clock.now().steady.since(self.began.steady).0;
        (line.bytes, line.broken) = (self.bytes, self.is_broken);
        if self.journal.lines.try_send(line).is_err() {
            self.journal.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes what comes until nobody can send any more.
fn write_all(sink: &mut Sink, lines: &Receiver<Line>, dropped: &AtomicU64) {
    let mut bytes = Vec::new();
    let mut looked = 0;
    loop {
        let first = match lines.recv_timeout(LOOK_EVERY) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                sink.look();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        // Lines come in nearly the order of their time: one of a later second is the clock of this loop.
        let second = first.time.0 / 1000;
        if second != looked {
            looked = second;
            sink.look();
        }
        bytes.clear();
        let batch = std::iter::once(first).chain(lines.try_iter().take(BATCH_MAX - 1));
        let mut count = 0;
        for line in batch {
            count += 1;
            // Texts and numbers: it can't fail, and if it did a line would be short.
            let _ = serde_json::to_writer(&mut bytes, &line);
            bytes.push(b'\n');
        }
        if let Err(error) = sink.write(&bytes) {
            dropped.fetch_add(count, Ordering::Relaxed);
            tracing::debug!(%error, "cannot write the access log");
        }
    }
}

/// What is written to.
#[derive(Debug)]
enum Sink {
    Stdout,
    File {
        path: PathBuf,
        /// `None`: it could not be opened again.
        file: Option<File>,
        /// Something of a line was written and then no more.
        is_torn: bool,
    },
}

impl Sink {
    fn open(target: &str) -> io::Result<Self> {
        if target == "stdout" {
            return Ok(Self::Stdout);
        }
        let path = PathBuf::from(target);
        let file = Some(append(&path)?);
        Ok(Self::File { path, file, is_torn: false })
    }

    /// Opens the file again if it is not at its path any more: who rotates logs has moved it.
    fn look(&mut self) {
        let Self::File { path, file, .. } = self else { return };
        let id = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
        let held = file.as_ref().and_then(|file| file.metadata().ok()).map(id);
        if held.is_none() || held != std::fs::metadata(&*path).ok().map(id) {
            match append(path) {
                Ok(new) => *file = Some(new),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "cannot open the access log again");
                }
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => io::stdout().lock().write_all(bytes),
            Self::File { file: None, .. } => Err(io::ErrorKind::NotFound.into()),
            Self::File { file: Some(file), is_torn, .. } => {
                if *is_torn {
                    file.write_all(b"\n")?;
                    *is_torn = false;
                }
                let written = file.write_all(bytes);
                *is_torn = written.is_err();
                written
            }
        }
    }
}

/// Two gateways write to one file while one takes over from the other: each write goes to the file's end as a whole,
/// which writing at an offset would not.
fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}
