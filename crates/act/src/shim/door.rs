//! The socket on which a shim answers (`shim.sock`): one JSON line asks, one JSON line answers.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hmsops_model::Millis;
use serde::{Deserialize, Serialize};

use super::Event;
use super::spec::State;

/// `sun_path` holds 108 bytes (unix(7)), one of them the final zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Our own requests are well below 100 bytes.
const REQUEST_BYTES_MAX: u64 = 4096;
/// Who has connected asks at once.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A tower holds one connection an instance; the rest is for people.
const CONNECTIONS_MAX: usize = 32;

/// What a shim can be asked. Every answer is the [`State`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub(crate) enum Request {
    /// Answers at once.
    Status,
    /// Answers when the service has ended.
    Wait,
    /// Answers when nothing of the service is left.
    WaitSwept,
    /// SIGTERM, after the grace SIGKILL; answers when nothing of the service is left.
    Stop { grace_ms: Millis },
}

/// What the threads of a shim share.
#[derive(Debug)]
pub(crate) struct Board {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    /// Nothing of the service is left.
    swept: bool,
    connections: usize,
    /// Those who asked for something that has not come yet.
    waiting: Vec<Waiting>,
    next_waiting: u64,
}

/// Somebody to be answered later.
#[derive(Debug)]
struct Waiting {
    number: u64,
    stream: UnixStream,
    until_swept: bool,
}

impl Board {
    /// With the first state.
    pub(crate) fn new(state: State) -> Self {
        let inner = Inner { state, swept: false, connections: 0, waiting: Vec::new(), next_waiting: 0 };
        Self { inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and answers those who waited for it.
    pub(crate) fn set(&self, state: State) {
        let mut inner = self.lock();
        inner.state = state;
        inner.answer_waiting();
    }

    /// Says that nothing of the service is left, and answers all who waited for that.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.swept = true;
        inner.answer_waiting();
    }
}

impl Inner {
    fn has_come(&self, until_swept: bool) -> bool {
        self.swept || (!until_swept && self.state.phase.is_final())
    }

    fn answer_waiting(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let (ready, waiting) = waiting.into_iter().partition(|asker| self.has_come(asker.until_swept));
        self.waiting = waiting;
        for asker in ready {
            // One that went away needs no answer. Its thread ends when the connection does.
            let _ = say(&asker.stream, &self.state);
            let _ = asker.stream.shutdown(Shutdown::Both);
        }
    }
}

/// A path that fits into a socket address; holds the folder open where it takes that to make it short.
#[derive(Debug)]
pub(crate) struct SocketPath {
    path: PathBuf,
    _folder: Option<File>,
}

impl SocketPath {
    /// Of the shim of this run folder.
    pub(crate) fn of(folder: &Path) -> std::io::Result<Self> {
        let path = folder.join("shim.sock");
        if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return Ok(Self { path, _folder: None });
        }
        let held = File::open(folder)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/shim.sock", held.as_raw_fd()));
        Ok(Self { path, _folder: Some(held) })
    }

    /// The path, good as long as `self` lives.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Opens the socket for its owner alone and answers from threads of its own.
pub(crate) fn open(folder: &Path, board: &Arc<Board>, events: &Sender<Event>) -> std::io::Result<()> {
    let socket = SocketPath::of(folder)?;
    match fs::remove_file(socket.path()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // The folder is ours alone (0700), so nobody comes in between.
    let listener = UnixListener::bind(socket.path())?;
    fs::set_permissions(socket.path(), fs::Permissions::from_mode(0o600))?;
    let (board, events) = (Arc::clone(board), events.clone());
    let named = std::thread::Builder::new().name("door".into());
    named.spawn(move || accept(&listener, &board, &events)).map(drop)
}

/// Takes the socket away, so that nobody connects to a shim that has gone.
pub(crate) fn remove(folder: &Path) {
    // Left behind, it refuses connections: that is understood as well.
    let _ = fs::remove_file(folder.join("shim.sock"));
}

fn accept(listener: &UnixListener, board: &Arc<Board>, events: &Sender<Event>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // Out of descriptors, most likely: others must end first.
            std::thread::park_timeout(Duration::from_millis(100));
            continue;
        };
        {
            let mut inner = board.lock();
            if inner.connections >= CONNECTIONS_MAX {
                continue;
            }
            inner.connections += 1;
        }
        let (own_board, own_events) = (Arc::clone(board), events.clone());
        let named = std::thread::Builder::new().name("answer".into());
        let spawned = named.spawn(move || {
            // An asker that went away needs no answer.
            let _ = answer(&stream, &own_board, &own_events);
            own_board.lock().connections -= 1;
        });
        if spawned.is_err() {
            board.lock().connections -= 1;
        }
    }
}

fn answer(stream: &UnixStream, board: &Board, events: &Sender<Event>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
    stream.set_write_timeout(Some(REQUEST_TIMEOUT))?;
    let mut line = Vec::new();
    BufReader::new(stream.take(REQUEST_BYTES_MAX)).read_until(b'\n', &mut line)?;
    let request = match serde_json::from_slice::<Request>(&line) {
        Ok(request) => request,
        Err(error) => {
            let mut stream = stream;
            return writeln!(stream, "{}", serde_json::json!({ "error": error.to_string() }));
        }
    };
    let until_swept = match request {
        Request::Status => return say(stream, &board.lock().state),
        Request::Wait => false,
        Request::WaitSwept => true,
        Request::Stop { grace_ms } => {
            // The receiver has gone only when the service has ended, and then there is nothing to stop.
            let _ = events.send(Event::Stop(grace_ms));
            true
        }
    };
    let number = {
        let mut inner = board.lock();
        if inner.has_come(until_swept) {
            return say(stream, &inner.state);
        }
        let number = inner.next_waiting;
        inner.next_waiting += 1;
        inner.waiting.push(Waiting { number, stream: stream.try_clone()?, until_swept });
        number
    };
    // Until it is answered or goes away: either way the connection ends.
    stream.set_read_timeout(None)?;
    let mut stream = stream;
    let ended = stream.read(&mut [0]);
    board.lock().waiting.retain(|asker| asker.number != number);
    ended.map(drop)
}

fn say(mut stream: &UnixStream, state: &State) -> std::io::Result<()> {
    let mut bytes = serde_json::to_vec(state)?;
    bytes.push(b'\n');
    stream.write_all(&bytes)
}
