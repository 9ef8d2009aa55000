//! One question to a shim.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::folder::Folder;
use crate::shim::{Request, SocketPath, State};

/// A state is some hundred bytes, and a reason in it perhaps a few thousand.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// A shim that lives answers about its status at once.
const STATUS_WAIT: Duration = Duration::from_secs(2);

/// Asks the shim of the folder. Without a time limit, except for [`Request::Status`]: a shim that ends closes.
pub(crate) async fn ask(folder: &Folder, request: Request) -> std::io::Result<State> {
    match request {
        Request::Status => tokio::time::timeout(STATUS_WAIT, exchange(folder, request)).await?,
        Request::Wait | Request::WaitSwept | Request::Stop { .. } => exchange(folder, request).await,
    }
}

async fn exchange(folder: &Folder, request: Request) -> std::io::Result<State> {
    let socket = SocketPath::of(folder.path())?;
    let mut stream = UnixStream::connect(socket.path()).await?;
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_until(b'\n', &mut answer).await?;
    Ok(serde_json::from_slice(&answer)?)
}
