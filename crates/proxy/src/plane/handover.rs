//! A gateway's place taken by a new process, without a refused connection: the new one gets the listening sockets
//! themselves (`SCM_RIGHTS`, unix(7)) and what is in force, and the old one drains.
//!
//! ```text
//!  successor            predecessor
//!     │── take-over ──────▶│  from here on it passes on what its tower says
//!     │◀─ sockets, state ──│
//!     │  accepts           │  accepts
//!     │── taken ──────────▶│  accepts no more, lets go of its tower, stops writing its state
//!     │◀─ yours ───────────│
//!     │  writes its state  │  drains
//!     │── orders ─────────▶│  all that the tower says: a retreat reaches both
//!     │◀─ reports ─────────│  its ticks, and which canaries wait for nothing any more
//! ```
//!
//! Whoever of the two ends before `taken`, the other one goes on as if nothing had been. After it, the successor is
//! the gateway; a predecessor that hears nothing any more retreats by itself, as from a silent tower.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hmsops_model::gateway::GatewaySettings;
use hmsops_wire::gateway::{FromGateway, ToGateway};
use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::link::{Event, bind_private};
use super::serve::{Stop, told};
use super::{GatewayError, STATE_BYTES_MAX};

/// The version of the words below.
const VERSION: u32 = 1;

/// Each side waits for the other's next word of the hand-over for so long, then leaves things as they were.
const STEP_MAX: Duration = Duration::from_secs(10);

/// Calls before nobody is there: two seconds.
const CALLS_MAX: u32 = 100;

/// Words that wait to be written. A side that does not read them is dropped.
const WORDS_MAX: usize = 1024;

/// What goes with the first byte: the sockets for requests and for towers.
const SOCKETS: usize = 2;

/// What the two processes say to each other: a length of four bytes, big end first, and JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "word", content = "of", rename_all = "kebab-case")]
pub(super) enum Word {
    /// The successor asks, and says what it is.
    TakeOver { version: u32, program: String },
    /// What is in force.
    State(Box<Heritage>),
    /// The successor accepts connections.
    Taken,
    /// The predecessor does not write to disk any more.
    Yours,
    /// What the tower says, passed on.
    Order(Box<ToGateway>),
    /// What is to be told to the tower.
    Report(Box<FromGateway>),
    /// A word of a later version.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// What a successor begins with.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Heritage {
    pub(super) version: u32,
    /// As in the state file, with weights.
    pub(super) routes: serde_json::Value,
    pub(super) settings: GatewaySettings,
    /// So that clients keep their numbers.
    pub(super) secret: u64,
}

/// Who of the two is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kin {
    Predecessor,
    Successor,
}

/// The other process.
pub(super) struct Other {
    out: mpsc::Sender<Word>,
    writer: JoinHandle<()>,
}

impl Other {
    /// `false`: it does not read and is to be dropped.
    pub(super) fn say(&self, word: Word) -> bool {
        self.out.try_send(word).is_ok()
    }

    /// For one who speaks later.
    pub(super) fn speaker(&self) -> mpsc::Sender<Word> {
        self.out.clone()
    }

    /// Whether there is room for what can wait.
    pub(super) fn has_room(&self) -> bool {
        self.out.capacity() > WORDS_MAX / 2
    }

    /// Ends the connection once all that was said is written.
    pub(super) async fn finish(self) {
        drop(self.out);
        // It ends by itself; that it panicked would be logged by the runtime.
        let _ = self.writer.await;
    }
}

/// The sockets of a gateway, to be given away. They are closed with it: a gateway that ends must not keep a port on
/// which nobody accepts.
pub(super) struct Sockets {
    requests: OwnedFd,
    towers: OwnedFd,
}

impl Sockets {
    pub(super) fn of(requests: &TcpListener, towers: &UnixListener) -> io::Result<Self> {
        let copy = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned();
        Ok(Self { requests: copy(requests.as_fd())?, towers: copy(towers.as_fd())? })
    }
}

/// Where a successor asks.
pub(super) fn path(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".next");
    path.into()
}

/// Waits for a successor, from when this process `owns` the place until it stops. One at a time.
pub(super) async fn offer(
    path: PathBuf,
    sockets: Sockets,
    events: mpsc::Sender<Event>,
    mut owns: watch::Receiver<bool>,
    mut stopped: watch::Receiver<Option<Stop>>,
) {
    let offered = async {
        if owns.wait_for(|owns| *owns).await.is_err() {
            return;
        }
        let listener = match bind_private(&path) {
            Ok(listener) => listener,
            Err(error) => {
                return tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "no other process can take over"
                );
            }
        };
        loop {
            match listener.accept().await {
                Ok((stream, _)) => match give(stream, &sockets, &events).await {
                    Ok(()) => return,
                    Err(error) => tracing::warn!(%error, "a hand-over failed; this process goes on"),
                },
                Err(_) => tokio::time::sleep(super::serve::ACCEPT_PAUSE).await,
            }
        }
    };
    tokio::select! {
        () = offered => {}
        () = told(&mut stopped) => {}
    }
}

/// Hands everything over to the process at the other end.
async fn give(mut stream: UnixStream, sockets: &Sockets, events: &mpsc::Sender<Event>) -> io::Result<()> {
    let gone = || io::Error::other("the gateway ends");
    match timeout(STEP_MAX, read_word(&mut stream)).await?? {
        Word::TakeOver { version: VERSION, program } => tracing::info!(program, "another process takes over"),
        other => return Err(io::Error::other(format!("version {VERSION} was expected, not {other:?}"))),
    }
    let (out, words) = mpsc::channel(WORDS_MAX);
    let (answer, asked) = oneshot::channel();
    let (begin, begun) = oneshot::channel::<OwnedWriteHalf>();
    let writer = tokio::spawn(async move {
        if let Ok(write) = begun.await {
            // Its reader notices that the connection is gone.
            let _ = write_all(write, words).await;
        }
    });
    events.send(Event::Asked(answer, Other { out, writer })).await.map_err(|_| gone())?;
    let given = async {
        let heritage = asked.await.map_err(|_| gone())?;
        timeout(STEP_MAX, send_sockets(&stream, sockets)).await??;
        timeout(STEP_MAX, write_word(&mut stream, &Word::State(Box::new(heritage)))).await??;
        let (mut read, write) = stream.into_split();
        // What the tower said meanwhile follows.
        begin.send(write).map_err(|_| gone())?;
        match timeout(STEP_MAX, read_word(&mut read)).await?? {
            Word::Taken => Ok(read),
            other => Err(io::Error::other(format!("`taken` was expected, not {other:?}"))),
        }
    };
    let read = match given.await {
        Ok(read) => read,
        Err(error) => {
            // The conductor ends only with the gateway.
            let _ = events.send(Event::KinGone(Kin::Successor)).await;
            return Err(error);
        }
    };
    let _ = events.send(Event::Taken).await;
    tokio::spawn(read_all(read, Kin::Successor, events.clone()));
    Ok(())
}

/// A place that is being taken over.
pub(super) struct Taking {
    pub(super) stream: UnixStream,
    pub(super) requests: TcpListener,
    pub(super) towers: UnixListener,
    pub(super) heritage: Heritage,
}

/// Asks the gateway at `socket` for its place.
pub(super) async fn take(socket: &Path, program: &str) -> Result<Taking, GatewayError> {
    let path = path(socket);
    let failed = |source: io::Error| GatewayError::TakeOver { path: path.clone(), source };
    let taken = async {
        let mut stream = call(&path).await?;
        let ask = Word::TakeOver { version: VERSION, program: program.to_owned() };
        write_word(&mut stream, &ask).await?;
        let [requests, towers] = receive_sockets(&stream).await?;
        let heritage = match read_word(&mut stream).await? {
            Word::State(heritage) if heritage.version == VERSION => *heritage,
            other => return Err(io::Error::other(format!("version {VERSION} was expected, not {other:?}"))),
        };
        let requests = TcpListener::from_std(std::net::TcpListener::from(requests))?;
        let towers = UnixListener::from_std(std::os::unix::net::UnixListener::from(towers))?;
        Ok(Taking { stream, requests, towers, heritage })
    };
    timeout(STEP_MAX, taken).await.map_err(|late| failed(late.into()))?.map_err(failed)
}

/// Says that connections are accepted, and talks with the predecessor from here on.
pub(super) async fn begin(mut stream: UnixStream, events: mpsc::Sender<Event>) -> io::Result<Other> {
    timeout(STEP_MAX, write_word(&mut stream, &Word::Taken)).await??;
    let (read, write) = stream.into_split();
    let (out, words) = mpsc::channel(WORDS_MAX);
    let writer = tokio::spawn(async move {
        // Its reader notices that the connection is gone.
        let _ = write_all(write, words).await;
    });
    tokio::spawn(read_all(read, Kin::Predecessor, events));
    Ok(Other { out, writer })
}

/// A process that has just taken over itself is not there yet for the next one.
async fn call(path: &Path) -> io::Result<UnixStream> {
    let mut tries = CALLS_MAX;
    loop {
        match UnixStream::connect(path).await {
            Err(_) if tries > 0 => {
                tries -= 1;
                tokio::time::sleep(super::serve::ACCEPT_PAUSE).await;
            }
            called => return called,
        }
    }
}

async fn read_all(mut read: OwnedReadHalf, kin: Kin, events: mpsc::Sender<Event>) {
    while let Ok(word) = read_word(&mut read).await {
        if events.send(Event::KinSaid(kin, word)).await.is_err() {
            return;
        }
    }
    // When the conductor is gone nobody needs to know.
    let _ = events.send(Event::KinGone(kin)).await;
}

async fn write_all(mut write: OwnedWriteHalf, mut words: mpsc::Receiver<Word>) -> io::Result<()> {
    while let Some(word) = words.recv().await {
        timeout(STEP_MAX, write_word(&mut write, &word)).await??;
    }
    write.shutdown().await
}

async fn write_word(write: &mut (impl AsyncWriteExt + Unpin), word: &Word) -> io::Result<()> {
    let bytes = serde_json::to_vec(word).map_err(io::Error::other)?;
    let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    write.write_all(&len.to_be_bytes()).await?;
    write.write_all(&bytes).await
}

async fn read_word(read: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Word> {
    let len = read.read_u32().await? as usize;
    if len > STATE_BYTES_MAX {
        return Err(io::Error::other(format!("a word of {len} bytes is longer than {STATE_BYTES_MAX}")));
    }
    let mut bytes = Vec::new();
    // What is announced is not yet there: memory grows with what comes.
    read.take(len as u64).read_to_end(&mut bytes).await?;
    if bytes.len() < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_slice(&bytes).map_err(io::Error::other)
}

async fn send_sockets(stream: &UnixStream, sockets: &Sockets) -> io::Result<()> {
    let fds = [sockets.requests.as_fd(), sockets.towers.as_fd()];
    let send = || {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(SOCKETS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::Error::other("no room for the sockets"));
        }
        // At least one byte has to go with them (unix(7)).
        Ok(sendmsg(stream, &[IoSlice::new(b"s")], &mut control, SendFlags::NOSIGNAL)?)
    };
    stream.async_io(Interest::WRITABLE, send).await.map(drop)
}

async fn receive_sockets(stream: &UnixStream) -> io::Result<[OwnedFd; SOCKETS]> {
    let receive = || {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(SOCKETS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let got = recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let rights = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let fds: Vec<OwnedFd> = rights.flatten().collect();
        if got.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        fds.try_into().map_err(|_| io::Error::other("the sockets did not come"))
    };
    stream.async_io(Interest::READABLE, receive).await
}

/// Comes back once the place has been handed over.
pub(super) async fn handed(stopped: &mut watch::Receiver<Option<Stop>>) {
    // The sender is gone only when the gateway is.
    let _ = stopped.wait_for(|stop| stop.is_some_and(|stop| stop.is_handed)).await;
}
