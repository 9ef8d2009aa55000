//! A token from a file or from standard input: on a command line everybody on the machine reads it in the list of
//! processes (proc_pid_cmdline(5)), and shells keep it in their history.

use std::io::{BufRead as _, Read};
use std::path::Path;

use hmsops_server::door::folder;

use crate::failure::Failure;

/// The longest line that is read, in bytes: a token and a fingerprint have some 200.
const BYTES_MAX: u64 = 4096;

/// Stands for standard input.
const STDIN: &str = "-";

/// The first line of `file`, or of standard input for `-`. A file that others may read is refused. `what` names it in
/// errors, which never repeat it.
pub(crate) fn read(file: &Path, what: &str) -> Result<String, Failure> {
    let is_stdin = file.as_os_str() == STDIN;
    let from = if is_stdin { "standard input".to_owned() } else { format!("`{}`", file.display()) };
    let failed = |why: &str| {
        Failure::usage(format!("cannot read {what} from {from}: {why}"))
            .hint("it is the first line of a file of mode 0600, or of standard input for `-`")
    };
    let line = if is_stdin {
        first_line(std::io::stdin())
    } else {
        // What a shell hands over by `<(…)` is a pipe, and nobody else's.
        if file.is_file() {
            folder::check_private(file).map_err(|why| failed(&why))?;
        }
        std::fs::File::open(file).and_then(first_line)
    };
    let line = line.map_err(|error| failed(&error.to_string()))?;
    if line.is_empty() { Err(failed("there is nothing in it")) } else { Ok(line) }
}

fn first_line(from: impl Read) -> std::io::Result<String> {
    let mut line = String::new();
    std::io::BufReader::new(from.take(BYTES_MAX)).read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a file that somebody has put there")]
    fn a_token_is_the_first_line_of_a_file_that_nobody_else_reads() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let write = |text: &str, mode: u32| {
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            read(&file, "the token").map_err(|failure| failure.text().to_owned())
        };
        assert_eq!(write("hms_sa_x \nmore\n", 0o600).as_deref(), Ok("hms_sa_x"));
        let refused = write("hms_sa_x\n", 0o640).unwrap_err();
        assert!(refused.contains("mode 0640") && !refused.contains("hms_sa_x"), "{refused}");
        assert!(write("\n", 0o600).unwrap_err().contains("nothing in it"));
        assert!(read(&dir.path().join("none"), "the token").is_err());
    }
}
