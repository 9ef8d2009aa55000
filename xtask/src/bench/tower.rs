//! As much of a tower as a gateway needs: it sets routes over the unix socket, pings, and acknowledges ticks.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::failure::{Failure, Trying as _};
use crate::json::{Json, quoted};

/// How often a gateway hears that its tower lives; after five seconds without it would retreat.
const PING_EVERY: Duration = Duration::from_millis(500);

/// An answer that takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(20);

/// The service that is routed, and its release.
const SERVICE: &str = "bench";

/// A connection to one gateway.
pub(crate) struct Tower {
    stream: Arc<Mutex<UnixStream>>,
    heard: Receiver<String>,
    reader: Option<JoinHandle<()>>,
    pinger: Option<(std::sync::mpsc::Sender<()>, JoinHandle<()>)>,
    epoch: u64,
    pid: u32,
}

impl Tower {
    /// Says hello on a gateway's socket.
    pub(crate) fn connect(socket: &Path) -> Result<Self, Failure> {
        let what = || format!("talk to the gateway on `{}`", socket.display());
        let stream = UnixStream::connect(socket).trying(what())?;
        let lines = BufReader::new(stream.try_clone().trying(what())?);
        let stream = Arc::new(Mutex::new(stream));
        let (answers, heard) = channel();
        let back = Arc::clone(&stream);
        let reader = std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                match acknowledgement(&line) {
                    // When the gateway has gone, the lines end, too.
                    Some(ack) => drop(say(&back, &ack)),
                    None if line.contains("\"type\":\"pong\"") => {}
                    None => drop(answers.send(line)),
                }
            }
        });
        let (stop, stopped) = channel::<()>();
        let speaker = Arc::clone(&stream);
        let pinger = std::thread::spawn(move || {
            while stopped.recv_timeout(PING_EVERY) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                if say(&speaker, "{\"type\":\"ping\"}").is_err() {
                    return;
                }
            }
        });
        let mut tower =
            Self { stream, heard, reader: Some(reader), pinger: Some((stop, pinger)), epoch: 0, pid: 0 };
        say(&tower.stream, "{\"type\":\"hello\",\"protocol\":1,\"tower_run\":1}").trying(what())?;
        let hello = tower.wait("hello", "")?;
        let pid = Json::parse(&hello).ok().and_then(|hello| hello.at("pid").and_then(Json::as_number));
        tower.pid = pid.unwrap_or_default() as u32;
        Ok(tower)
    }

    /// The gateway's process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Routes all requests to `stable`, but for so many basis points to `canary`; comes back when that is in force.
    pub(crate) fn set(&mut self, stable: u16, canary: u16, weight_bp: u32) -> Result<(), Failure> {
        self.set_with(stable, canary, weight_bp, "\"5xx\",\"timeout\"")
    }

    /// The same, with other declarations of what is bad.
    pub(crate) fn set_with(
        &mut self,
        stable: u16,
        canary: u16,
        weight_bp: u32,
        bad: &str,
    ) -> Result<(), Failure> {
        self.epoch += 1;
        let (epoch, service) = (self.epoch, quoted(SERVICE));
        let route = format!(
            "{{\"type\":\"set\",\"route\":{{\"service\":{service},\"host\":null,\"epoch\":{epoch},\
             \"stable\":{{\"version\":\"1\",\"upstreams\":[\"127.0.0.1:{stable}\"]}},\
             \"canary\":{{\"release\":\"r-1\",\"version\":\"2\",\"upstreams\":[\"127.0.0.1:{canary}\"],\
             \"weight\":{weight_bp},\"salt\":7,\"shield_after\":null,\"excused_for\":0}},\
             \"identity\":\"request\",\"sticky\":false,\"bad\":[{bad}]}}}}"
        );
        say(&self.stream, &route).trying("set a route")?;
        self.wait("applied", &format!("\"epoch\":{epoch}")).map(drop)
    }

    /// Says one line of the protocol, without its newline.
    pub(crate) fn say(&self, line: &str) -> Result<(), Failure> {
        say(&self.stream, line).trying("talk to the gateway")
    }

    /// Waits for a message of this type that contains `part`, and returns it.
    pub(crate) fn wait(&self, kind: &str, part: &str) -> Result<String, Failure> {
        let kind = format!("\"type\":\"{kind}\"");
        loop {
            let line = self.heard.recv_timeout(PATIENCE).map_err(|_| {
                Failure::new(format!("the gateway did not answer `{kind}` within {} s", PATIENCE.as_secs()))
            })?;
            if line.contains("\"type\":\"refused\"") || line.contains("\"type\":\"retreated\"") {
                return Err(Failure::new(format!("the gateway refused a route or retreated: {line}")));
            }
            if line.contains(&kind) && line.contains(part) {
                return Ok(line);
            }
        }
    }

    /// The highest epoch that was set, for the tower that comes after this one.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Goes on counting where another tower ended.
    pub(crate) fn after(mut self, epoch: u64) -> Self {
        self.epoch = epoch;
        self
    }
}

impl Drop for Tower {
    fn drop(&mut self) {
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        // Ends the reader; a gateway that has gone has closed it already.
        let _ = stream.shutdown(std::net::Shutdown::Both);
        drop(stream);
        if let Some((stop, pinger)) = self.pinger.take() {
            drop(stop);
            let _ = pinger.join();
        }
        let _ = self.reader.take().map(JoinHandle::join);
    }
}

fn say(stream: &Mutex<UnixStream>, line: &str) -> std::io::Result<()> {
    stream.lock().unwrap_or_else(PoisonError::into_inner).write_all(format!("{line}\n").as_bytes())
}

/// What answers a tick. Numbers are taken over as text: they have 64 bits, and JSON readers give them fewer.
fn acknowledgement(line: &str) -> Option<String> {
    if !line.starts_with("{\"type\":\"tick\"") || Json::parse(line).is_err() {
        return None;
    }
    let number = |key: &str| {
        let (_, rest) = line.split_once(&format!("\"{key}\":"))?;
        rest.split(|c: char| !c.is_ascii_digit()).next()
    };
    let (run, seq) = (number("gateway_run")?, number("seq")?);
    Some(format!("{{\"type\":\"tick-ack\",\"gateway_run\":{run},\"seq\":{seq}}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_acknowledged_to_the_last_digit() {
        let tick = r#"{"type":"tick","service":"a","seq":12,"gateway_run":18446744073709551615}"#;
        let ack = r#"{"type":"tick-ack","gateway_run":18446744073709551615,"seq":12}"#;
        assert_eq!(acknowledgement(tick).as_deref(), Some(ack));
        assert_eq!(acknowledgement(r#"{"type":"pong"}"#), None);
    }
}
