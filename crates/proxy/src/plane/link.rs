//! The unix socket on which towers call. One tower at a time: a newer connection replaces the older.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hmsops_wire::gateway::{FromGateway, LineError, PROTOCOL, Reader, ToGateway, encode};
use rustix::fs::{Mode, chmod};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::GatewayError;
use super::handover::{Heritage, Kin, Other, Word, handed};
use super::serve::Stop;
use super::settings::Settled;

/// Messages that wait for a tower to read them; ticks wait in their ring beyond that.
const OUT_MAX: usize = 256;

/// Commands that wait to be obeyed.
pub(super) const EVENTS_MAX: usize = 256;

/// Messages written at once.
const BATCH_MAX: usize = 64;

/// A tower that takes nothing for so long is gone.
const WRITE_MAX: Duration = Duration::from_secs(5);

/// What a link tells the conductor.
#[expect(clippy::large_enum_variant, reason = "few wait at a time")]
pub(super) enum Event {
    /// A tower called.
    Connected(Link),
    /// It said something.
    Heard(u64, ToGateway),
    /// It is gone.
    Gone(u64),
    /// What came of settings.
    Settled(Settled),
    /// Another process wants to take this one's place.
    Asked(oneshot::Sender<Heritage>, Other),
    /// It has.
    Taken,
    /// The other process of a hand-over said something.
    KinSaid(Kin, Word),
    /// It is gone.
    KinGone(Kin),
}

/// A tower's connection. Dropping it closes the connection after what was sent.
pub(super) struct Link {
    /// Tells connections apart.
    pub(super) id: u64,
    pub(super) out: mpsc::Sender<FromGateway>,
    reader: JoinHandle<()>,
    writer: Option<JoinHandle<()>>,
}

impl Link {
    /// Ends the connection once all that was sent is written.
    pub(super) async fn finish(mut self) {
        let writer = self.writer.take();
        drop(self);
        if let Some(writer) = writer {
            // It ends by itself; that it panicked would be logged by the runtime.
            let _ = writer.await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Listens at `path`, for the gateway's own user only. A socket that nobody answers on any more is replaced.
pub(super) fn listen(path: &Path) -> Result<UnixListener, GatewayError> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(GatewayError::AlreadyRunning { path: path.to_owned() });
    }
    bind_private(path)
}

/// Listens at `path` in place of whoever does.
pub(super) fn bind_private(path: &Path) -> Result<UnixListener, GatewayError> {
    let failed = |doing, source: io::Error| GatewayError::Socket { path: path.to_owned(), doing, source };
    // Bound under another name first: nobody can call before the mode is set.
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let _ = rustix::fs::unlink(&new);
    let listener = UnixListener::bind(&new).map_err(|error| failed("listen on", error))?;
    chmod(&new, Mode::RUSR | Mode::WUSR).map_err(|error| failed("set the mode of", error.into()))?;
    rustix::fs::rename(&new, path).map_err(|error| failed("rename", error.into()))?;
    Ok(listener)
}

/// Takes towers' calls until the conductor is gone, or another process takes them.
pub(super) async fn accept(
    listener: UnixListener,
    events: mpsc::Sender<Event>,
    mut stopped: watch::Receiver<Option<Stop>>,
) {
    for id in 1.. {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = handed(&mut stopped) => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let (link, go) = start(id, stream, events.clone());
                if events.send(Event::Connected(link)).await.is_err() {
                    return;
                }
                // What the tower says comes after that it is there. A reader that is gone needs no word.
                let _ = go.send(());
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take a tower's call");
                tokio::time::sleep(super::serve::ACCEPT_PAUSE).await;
            }
        }
    }
}

fn start(id: u64, stream: UnixStream, events: mpsc::Sender<Event>) -> (Link, oneshot::Sender<()>) {
    let (read, write) = stream.into_split();
    let (go, started) = oneshot::channel();
    let (out, messages) = mpsc::channel(OUT_MAX);
    let reader = tokio::spawn(async move {
        if started.await.is_err() {
            return;
        }
        if let Err(error) = read_all(id, read, &events).await {
            tracing::warn!(error = error.as_ref(), "the tower's connection is closed");
        }
        // When the conductor is gone nobody needs to know.
        let _ = events.send(Event::Gone(id)).await;
    });
    let writer = tokio::spawn(async move {
        // Its reader notices that the connection is gone.
        let _ = write_all(write, messages).await;
    });
    (Link { id, out, reader, writer: Some(writer) }, go)
}

async fn read_all(
    id: u64,
    mut read: OwnedReadHalf,
    events: &mpsc::Sender<Event>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut reader = Reader::default();
    let mut bytes = vec![0; 64 << 10];
    loop {
        let n = read.read(&mut bytes).await?;
        if n == 0 {
            return Ok(());
        }
        reader.push(bytes.get(..n).unwrap_or_default());
        let unknown = reader.unknown();
        while let Some(message) = reader.next_message::<ToGateway>()? {
            if let ToGateway::Hello { protocol, .. } = message
                && protocol == 0
            {
                return Err(format!("the tower speaks protocol {protocol}, this gateway {PROTOCOL}").into());
            }
            if events.send(Event::Heard(id, message)).await.is_err() {
                return Ok(());
            }
        }
        if reader.unknown() > unknown {
            tracing::debug!(count = reader.unknown(), "the tower said what this version doesn't know");
            // It lives all the same.
            let _ = events.send(Event::Heard(id, ToGateway::Unknown)).await;
        }
    }
}

async fn write_all(mut write: OwnedWriteHalf, mut messages: mpsc::Receiver<FromGateway>) -> io::Result<()> {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    let mut bytes = Vec::new();
    while messages.recv_many(&mut batch, BATCH_MAX).await > 0 {
        bytes.clear();
        for message in batch.drain(..) {
            match encode(&message) {
                Ok(line) => bytes.extend_from_slice(&line),
                Err(
                    error @ (LineError::TooLong | LineError::Malformed { .. } | LineError::Unwritable(_)),
                ) => {
                    tracing::error!(%error, "a message to the tower is dropped");
                }
            }
        }
        timeout(WRITE_MAX, write.write_all(&bytes)).await??;
    }
    write.shutdown().await
}
