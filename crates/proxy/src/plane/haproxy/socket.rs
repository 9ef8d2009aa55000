//! HAProxy's runtime socket: one line of commands a connection, all of the answer, both within a time limit.
//! Source: HAProxy 2.6 Management Guide, §9.3 *Unix Socket commands*.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// For a connection, the commands and the answer together. HAProxy answers in less than a millisecond; one that needs
/// longer than this is hung, and a retreat must find that out in time to be tried again.
const ASK_MAX: Duration = Duration::from_millis(500);

/// The longest answer that is read. Two servers' counters take 2 KiB.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Where HAProxy takes commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Socket {
    Unix(String),
    Tcp(SocketAddr),
}

/// Why HAProxy did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    #[error(
        "cannot connect to HAProxy's socket `{socket}`: {source}; it runs, and has `stats socket {socket} level admin`?"
    )]
    Connect { socket: String, source: io::Error },
    #[error("HAProxy's socket `{socket}` gave no whole answer: {source}")]
    Broken { socket: String, source: io::Error },
    #[error("HAProxy's socket `{0}` did not answer within {ms} ms", ms = ASK_MAX.as_millis())]
    Silent(String),
    #[error("HAProxy's socket `{0}` answered more than {ANSWER_BYTES_MAX} bytes")]
    TooLong(String),
    #[error("HAProxy's socket `{0}` answered what is no text")]
    NotText(String),
}

impl Socket {
    /// An `IP:PORT` is TCP, everything else a path.
    pub(super) fn new(written: &str) -> Self {
        written.parse().map_or_else(|_| Self::Unix(written.to_owned()), Self::Tcp)
    }

    fn name(&self) -> String {
        match self {
            Self::Unix(path) => path.clone(),
            Self::Tcp(address) => address.to_string(),
        }
    }

    /// Sends one line of commands, separated by `;`, and returns all that is answered.
    pub(super) async fn ask(&self, commands: &str) -> Result<String, SocketError> {
        let asked = async {
            let refused = |source| SocketError::Connect { socket: self.name(), source };
            match self {
                Self::Unix(path) => {
                    self.talk(UnixStream::connect(path).await.map_err(refused)?, commands).await
                }
                Self::Tcp(at) => self.talk(TcpStream::connect(at).await.map_err(refused)?, commands).await,
            }
        };
        timeout(ASK_MAX, asked).await.unwrap_or_else(|_| Err(SocketError::Silent(self.name())))
    }

    async fn talk(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        commands: &str,
    ) -> Result<String, SocketError> {
        let broken = |source| SocketError::Broken { socket: self.name(), source };
        stream.write_all(format!("{commands}\n").as_bytes()).await.map_err(broken)?;
        let mut bytes = Vec::new();
        stream.take(ANSWER_BYTES_MAX + 1).read_to_end(&mut bytes).await.map_err(broken)?;
        if bytes.len() as u64 > ANSWER_BYTES_MAX {
            return Err(SocketError::TooLong(self.name()));
        }
        String::from_utf8(bytes).map_err(|_| SocketError::NotText(self.name()))
    }
}
