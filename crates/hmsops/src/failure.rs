//! How a verb ends when it doesn't end well: exit code, message, hint.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use hmsops_wire::api::{Mistake, Problem};

use crate::{paint, print};

/// What an exit code means. 0 is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The operation failed, or the answer is no.
    Failed = 1,
    /// Wrong usage, or an invalid file.
    Usage = 2,
    /// The named thing isn't there.
    NotFound = 3,
    /// The tower refuses.
    Refused = 4,
    /// No tower answers.
    Unreachable = 5,
}

/// Why a verb did not do what it was asked to.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something to be said.
    Said {
        /// The exit code.
        exit: Exit,
        /// What is wrong, lower case, no full stop.
        message: String,
        /// The likely remedy.
        hint: Option<String>,
        /// What is wrong with the files that were sent.
        mistakes: Vec<Mistake>,
    },
    /// All is said already.
    Silent(Exit),
    /// Nobody reads what is printed any more, which is theirs to decide.
    Unread,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self::Said { exit, message: message.into(), hint: None, mistakes: Vec::new() }
    }

    /// Wrong usage.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// With the likely remedy.
    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Said { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// What a tower answered instead of doing it.
    pub(crate) fn answered(problem: Problem) -> Self {
        let exit = match problem.status {
            400 | 405 | 413 | 422 => Exit::Usage,
            404 => Exit::NotFound,
            401 | 403 | 409 => Exit::Refused,
            _ => Exit::Failed,
        };
        Self::Said { exit, message: problem.detail, hint: problem.hint, mistakes: problem.mistakes }
    }

    /// Its message alone; empty when all is said.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Said { message, .. } => message,
            Self::Silent(_) | Self::Unread => "",
        }
    }

    /// How the program will end with it.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match self {
            Self::Said { exit, .. } | Self::Silent(exit) => Some(*exit),
            Self::Unread => None,
        }
    }

    /// Says it on stderr.
    pub(crate) fn tell(self) -> ExitCode {
        let exit = match self {
            Self::Unread => return ExitCode::SUCCESS,
            Self::Silent(exit) => exit,
            Self::Said { exit, message, hint, mistakes } => {
                let text = said(&message, hint.as_deref(), &mistakes, paint::errors());
                // Where not even this can be said, the exit code says it.
                let _unsaid = io::stderr().write_all(text.as_bytes());
                exit
            }
        };
        ExitCode::from(exit as u8)
    }
}

/// `error: …` and `hint: …`; each mistake of a file on lines of its own.
fn said(message: &str, hint: Option<&str>, mistakes: &[Mistake], coloured: bool) -> String {
    let error = paint::text("1;31", "error", coloured);
    let label = paint::text("36", "hint", coloured);
    let mut text = String::new();
    let mut add = |severity: &str, message: &str, hint: Option<&str>| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{severity}: {}", print::plain_lines(&print::without_tokens(message)));
        if let Some(hint) = hint {
            let _ = writeln!(text, "{label}: {}", print::plain_lines(&print::without_tokens(hint)));
        }
    };
    if mistakes.is_empty() {
        add(&error, message, hint);
    }
    for mistake in mistakes {
        let place = format!("{}:{}:{}: {}", mistake.file, mistake.line, mistake.column, mistake.message);
        let severity = if mistake.severity == "error" { error.as_str() } else { "warning" };
        add(severity, &place, mistake.hint.as_deref());
    }
    text
}

impl From<io::Error> for Failure {
    /// From printing.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Unread,
            _ => Self::new(Exit::Failed, format!("cannot print: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_read_as_error_and_hint() {
        assert_eq!(said("no such thing", Some("look"), &[], false), "error: no such thing\nhint: look\n");
        let mistake = Mistake {
            file: "c.yaml".into(),
            severity: "error".into(),
            line: 3,
            column: 5,
            message: "weight 101".into(),
            hint: None,
        };
        assert_eq!(said("a file has mistakes", None, &[mistake], false), "error: c.yaml:3:5: weight 101\n");
    }

    #[test]
    fn statuses_become_exit_codes() {
        for (status, code) in [(400, 2), (401, 4), (403, 4), (404, 3), (409, 4), (422, 2), (500, 1), (503, 1)]
        {
            let problem = Problem {
                kind: String::new(),
                title: String::new(),
                status,
                detail: String::new(),
                hint: None,
                instance: String::new(),
                mistakes: Vec::new(),
            };
            let Failure::Said { exit, .. } = Failure::answered(problem) else { panic!("said") };
            assert_eq!(exit as u8, code, "{status}");
        }
    }
}
