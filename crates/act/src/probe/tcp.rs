//! A connection of its own, and perhaps a few bytes each way.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::place::Place;
use super::seen::{Seen, Trouble, failed, io_trouble, quoted};

/// A greeting is a line.
const ANSWER_BYTES_MAX: usize = 4096;

/// Connects; sends; reads until `expect` came, or, where an answer is `wanted`, one line.
pub(super) async fn ask(
    place: &Place,
    send: Option<&str>,
    expect: Option<&str>,
    wanted: bool,
) -> Result<Seen, Trouble> {
    let mut stream = place.connect().await?;
    if let Some(send) = send {
        stream.write_all(send.as_bytes()).await.map_err(|error| io_trouble(&error))?;
    }
    if expect.is_none() && !wanted {
        return Ok(Seen::default());
    }
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    let found = loop {
        if expect.is_some_and(|expect| holds(&answer, expect.as_bytes())) {
            break true;
        }
        let line_read = expect.is_none() && answer.contains(&b'\n');
        if line_read || answer.len() >= ANSWER_BYTES_MAX {
            break false;
        }
        match stream.read(&mut piece).await {
            Ok(0) => break false,
            Ok(count) => answer.extend(piece.iter().take(count)),
            Err(error) => return Err(io_trouble(&error)),
        }
    };
    let text = String::from_utf8_lossy(&answer).into_owned();
    match expect {
        Some(expect) if !found => Err(failed(if answer.is_empty() {
            format!("closed the connection without `{}`", quoted(expect))
        } else {
            format!("answered `{}`, without `{}`", quoted(&text), quoted(expect))
        })),
        _ => Ok(Seen { answers: vec![text], ..Seen::default() }),
    }
}

fn holds(answer: &[u8], expect: &[u8]) -> bool {
    expect.is_empty() || answer.windows(expect.len()).any(|window| window == expect)
}
