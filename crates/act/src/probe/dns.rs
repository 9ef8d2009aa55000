//! One question to one resolver: UDP, and TCP when the answer doesn't fit (RFC 1035 section 4.2, RFC 7766).

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

use hmsops_model::probe::RecordType;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::packet::{Answer, decode_answer, encode_question};
use super::seen::{Seen, Trouble, failed, io_trouble};
use crate::guard::{Guard, GuardError};

/// Without extensions a UDP answer has at most 512 bytes; some resolvers send more.
const UDP_BYTES_MAX: usize = 4096;
/// Lists the machine's resolvers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Asks `resolver` (`host:port`) if its guard lets us, or the machine's first one.
pub(super) async fn ask(
    name: &str,
    record: RecordType,
    resolver: Option<(&str, &Guard)>,
    timeout: Duration,
) -> Result<Seen, Trouble> {
    let own = Guard::own();
    let (resolver, guard) = match resolver {
        Some((resolver, guard)) => (resolver.to_owned(), guard),
        None => first_resolver(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default())
            .map(|resolver| (resolver, &own))
            .ok_or_else(|| failed(format!("`{RESOLV_CONF}` names no resolver; name one with `resolver:`")))?,
    };
    // Once for both ways: they ask the same machine.
    let address = find(&resolver, guard).await?;
    // Nobody who doesn't see the question can guess the number (RFC 5452).
    let id = RandomState::new().build_hasher().finish() as u16;
    let question = encode_question(id, name, record)
        .ok_or_else(|| failed(format!("`{name}` is not a name that DNS can be asked for")))?;
    let mut answer = over_udp((&resolver, address), &question, record, timeout).await?;
    if answer.cut {
        answer = over_tcp((&resolver, address), &question, record).await?;
    }
    Ok(Seen { rcode: Some(answer.rcode), answers: answer.records, ..Seen::default() })
}

/// What this machine's first resolver knows of a name: records as zone files write them, without the dot at a name's end.
/// No such name is no record. The error says what was wrong, for people.
pub async fn records(name: &str, record: RecordType, timeout: Duration) -> Result<Vec<String>, String> {
    let seen = match tokio::time::timeout(timeout, ask(name, record, None, timeout)).await {
        Ok(Ok(seen)) => seen,
        Ok(Err(Trouble::Failed(why))) => return Err(why),
        Ok(Err(Trouble::Overloaded)) => return Err("this machine has no descriptors left".to_owned()),
        Err(_) => return Err(format!("no answer of the resolver within {} s", timeout.as_secs())),
    };
    match seen.rcode.as_deref() {
        Some("NOERROR" | "NXDOMAIN") | None => Ok(seen.answers),
        Some(code) => Err(format!("the resolver answered {code}")),
    }
}

/// The address of `host:port`.
async fn find(resolver: &str, guard: &Guard) -> Result<SocketAddr, Trouble> {
    let place = resolver.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let (host, port) = place.ok_or_else(|| failed(format!("`{resolver}` is not `host:port`")))?;
    let found = guard.resolve(host, port).await.map_err(|error| match error {
        GuardError::Io(error) => unreachable(resolver, &error),
        error => failed(format!("cannot ask `{resolver}`: {error}")),
    })?;
    found.first().copied().ok_or_else(|| failed(format!("`{resolver}` has no address")))
}

fn unreachable(resolver: &str, error: &std::io::Error) -> Trouble {
    match io_trouble(error) {
        Trouble::Failed(_) => failed(format!("cannot ask `{resolver}`: {error}")),
        Trouble::Overloaded => Trouble::Overloaded,
    }
}

async fn over_udp(
    (resolver, address): (&str, SocketAddr),
    question: &[u8],
    record: RecordType,
    timeout: Duration,
) -> Result<Answer, Trouble> {
    let unreachable = |error: std::io::Error| unreachable(resolver, &error);
    let own = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(own).await.map_err(unreachable)?;
    // Connected: only this resolver's datagrams arrive, and a closed port is told.
    socket.connect(address).await.map_err(unreachable)?;
    socket.send(question).await.map_err(unreachable)?;
    let mut answer = vec![0; UDP_BYTES_MAX];
    let again = tokio::time::sleep(timeout / 2);
    tokio::pin!(again);
    let mut asked_again = false;
    loop {
        tokio::select! {
            received = socket.recv(&mut answer) => {
                let length = received.map_err(unreachable)?;
                let answer = answer.get(..length).unwrap_or_default();
                // What is no answer to this question may be somebody's attempt: the right one may still come.
                if let Some(answer) = decode_answer(answer, question, record) {
                    return Ok(answer);
                }
            }
            // A datagram may get lost without anybody being ill.
            () = &mut again, if !asked_again => {
                asked_again = true;
                socket.send(question).await.map_err(unreachable)?;
            }
        }
    }
}

async fn over_tcp(
    (resolver, address): (&str, SocketAddr),
    question: &[u8],
    record: RecordType,
) -> Result<Answer, Trouble> {
    let stream = TcpStream::connect(address).await;
    let mut stream = stream.map_err(|error| unreachable(resolver, &error))?;
    let length = u16::try_from(question.len()).unwrap_or(u16::MAX);
    let framed = [&length.to_be_bytes()[..], question].concat();
    stream.write_all(&framed).await.map_err(|error| io_trouble(&error))?;
    let cut_off = |_| failed("its resolver closed the connection in the middle of its answer");
    let length = stream.read_u16().await.map_err(cut_off)?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await.map_err(cut_off)?;
    decode_answer(&answer, question, record)
        .filter(|answer| !answer.cut)
        .ok_or_else(|| failed("what its resolver answers is no answer of DNS"))
}

/// The first `nameserver` line (resolv.conf(5)).
fn first_resolver(text: &str) -> Option<String> {
    let mut servers = text.lines().filter_map(|line| line.trim_start().strip_prefix("nameserver"));
    let address = servers.find_map(|rest| rest.split_ascii_whitespace().next())?;
    Some(if address.contains(':') { format!("[{address}]:53") } else { format!("{address}:53") })
}

#[cfg(test)]
mod tests {
    use super::first_resolver;

    #[test]
    fn the_machines_first_resolver() {
        assert_eq!(
            first_resolver("# x\nsearch a\n nameserver 10.0.0.2\nnameserver 1.1.1.1"),
            Some("10.0.0.2:53".into())
        );
        assert_eq!(first_resolver("nameserver ::1 # y"), Some("[::1]:53".into()));
        assert_eq!(first_resolver("nameserver\n"), None);
    }
}
