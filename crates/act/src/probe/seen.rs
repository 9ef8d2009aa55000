//! What an answer was, before it is judged.

use std::io::ErrorKind;
use std::time::Duration;

use hmsops_model::probe::ProbeVerdict;
use rustix::io::Errno;

use super::certificate::Certificate;
use crate::guard::GuardError;

/// A text is quoted to so many characters in a reason.
const QUOTED_CHARS_MAX: usize = 80;

/// What came back; what the kind of question doesn't bring stays empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// HTTP's status.
    pub status: Option<u16>,
    /// HTTP's headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The first 64 KiB of HTTP's body, when a condition speaks of it.
    pub body: Option<Vec<u8>>,
    /// The certificate that was shown.
    pub certificate: Option<Certificate>,
    /// gRPC health's word.
    pub health: Option<String>,
    /// DNS's answer code.
    pub rcode: Option<String>,
    /// DNS's records, or what came back over TCP.
    pub answers: Vec<String>,
    /// A program's exit code.
    pub exit: Option<i32>,
    /// What it printed, at most 4 KiB of each stream.
    pub output: Option<String>,
    /// From the start until the answer.
    pub took: Duration,
}

impl Seen {
    /// For people, one fact a line: name and value.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = Vec::new();
        facts.extend(self.status.map(|status| ("status", status.to_string())));
        facts.extend(self.health.clone().map(|health| ("health", health)));
        facts.extend(self.rcode.clone().map(|rcode| ("rcode", rcode)));
        facts.extend(self.answers.iter().map(|answer| ("answer", quoted(answer))));
        facts.extend(self.exit.map(|code| ("exit", code.to_string())));
        let output = self.output.as_deref().filter(|output| !output.is_empty());
        facts.extend(output.map(|output| ("output", quoted(output))));
        let location = self.headers.iter().find(|(name, _)| name == "location");
        facts.extend(location.map(|(_, location)| ("location", quoted(location))));
        facts.extend(self.body.as_deref().map(|body| ("body", quoted(&String::from_utf8_lossy(body)))));
        if let Some(certificate) = &self.certificate {
            facts.push(("certificate", certificate.to_string()));
        }
        facts
    }
}

/// Why nothing was seen that could be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The target's.
    Failed(String),
    /// Our own.
    Overloaded,
}

impl From<Trouble> for ProbeVerdict {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Failed(reason) => Self::Fail { reason },
            Trouble::Overloaded => Self::Overloaded,
        }
    }
}

/// The target's trouble.
pub(super) fn failed(reason: impl Into<String>) -> Trouble {
    Trouble::Failed(reason.into())
}

/// Whose trouble a refused call of the system is. Out of descriptors, ports or memory are we.
pub(super) fn io_trouble(error: &std::io::Error) -> Trouble {
    let own = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL, Errno::AGAIN];
    if own.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) {
        return Trouble::Overloaded;
    }
    failed(match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".into(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "broke off the connection".into(),
        _ => format!("cannot connect: {error}"),
    })
}

/// Whose trouble it is that there is no connection.
pub(super) fn guard_trouble(error: &GuardError) -> Trouble {
    match error {
        GuardError::Io(error) => io_trouble(error),
        GuardError::Refused { .. } | GuardError::NoAddress(_) => failed(format!("cannot connect: {error}")),
    }
}

/// A text of the target's in a reason: its beginning, on one line, nothing a terminal acts on.
pub(super) fn quoted(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    let mut quoted: String = text.trim().chars().take(QUOTED_CHARS_MAX).map(shown).collect();
    if text.trim().chars().nth(QUOTED_CHARS_MAX).is_some() {
        quoted.push('…');
    }
    quoted
}
