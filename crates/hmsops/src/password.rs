//! A password: typed without an echo, or the first line of a file or of standard input. Never an argument, which every
//! process of the machine may read.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::failure::{Exit, Failure};

/// The longest password, as the tower takes it.
const BYTES_MAX: u64 = 1024;

/// Gives a terminal its echo back, whatever happens.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> Option<Self> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &quiet).ok()?;
        Some(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _restored = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0);
    }
}

/// Reads it. `file`: from there; else from standard input, asked for on a terminal.
pub(crate) fn read(file: Option<&Path>, prompt: &str) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        let from = file.map_or("standard input".to_owned(), |file| format!("`{}`", file.display()));
        Failure::new(Exit::Usage, format!("cannot read the password from {from}: {error}"))
    };
    let line = match file {
        Some(file) => first_line(std::fs::File::open(file).map_err(failed)?),
        None if std::io::stdin().is_terminal() => {
            eprint!("{prompt}: ");
            let _shown = std::io::stderr().flush();
            let _quiet = Quiet::begin();
            let line = first_line(std::io::stdin());
            eprintln!();
            line
        }
        None => first_line(std::io::stdin()),
    };
    let line = line.map_err(failed)?;
    if line.is_empty() {
        return Err(
            Failure::new(Exit::Usage, "there is no password").hint("type it, or `--password-file FILE`")
        );
    }
    Ok(line)
}

fn first_line(from: impl std::io::Read) -> std::io::Result<String> {
    let mut line = String::new();
    std::io::BufReader::new(from.take(BYTES_MAX + 2)).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_password_blanks_and_all() {
        assert_eq!(first_line(&b"two words \r\nmore\n"[..]).unwrap(), "two words ");
        assert_eq!(first_line(&b"no end"[..]).unwrap(), "no end");
        assert!(first_line(&[b'x'; 5000][..]).unwrap().len() < 1100);
    }
}
