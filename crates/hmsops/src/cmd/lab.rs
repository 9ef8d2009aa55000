//! `hmsops lab`: the running lab, for a shell.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use hmsops_server::door::folder;
use serde::Deserialize;

use crate::failure::{Exit, Failure};
use crate::print;

/// The file a running lab leaves for shells, below the folder of its checkout.
const FILE: &str = "lab/.state/lab.json";

/// What is longer is something else.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Work with a running lab
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Print what a shell needs to know the lab; then `curl /api/…` asks the lab's gateways
    #[command(after_help = "Example:\n  eval \"$(hmsops lab env)\"\n  hmsops lab env --shell zsh")]
    Env {
        /// For which shell
        #[arg(long, value_enum, default_value_t = Shell::Bash)]
        shell: Shell,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Shell {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
}

/// Where the lab is. Keys that are not known are the lab's own.
#[derive(Debug, Deserialize)]
struct Lab {
    /// `http://127.0.0.1:3000`
    server: String,
    /// Where programs send metrics, `127.0.0.1:4317`.
    #[serde(default)]
    endpoint: Option<String>,
    /// `http://127.0.0.1:8080`
    gateway: String,
    /// The gateway of `/api/photo`.
    photo_gateway: String,
    /// The tower's data folder.
    data: PathBuf,
    /// The repository the tower watches, or the checkout.
    repo: PathBuf,
}

/// What a shell is told.
struct Told<'a> {
    lab: &'a Lab,
    /// The folder of the lab's state.
    state: PathBuf,
    /// The folder of the Python module, if there is one.
    python: Option<PathBuf>,
    /// The folder of this program.
    programs: Option<PathBuf>,
    /// The admin's, when this user may read it.
    token: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let Verb::Env { shell } = args.verb;
    let here = std::env::current_dir().ok();
    let program = std::env::current_exe().ok();
    let programs = program.as_deref().and_then(Path::parent);
    let starts = [here.as_deref(), programs];
    let file = find(starts.into_iter().flatten())?;
    let text = std::fs::read_to_string(&file).map_err(|error| unusable(&file, &error.to_string()))?;
    let lab: Lab = serde_json::from_str(&text).map_err(|error| unusable(&file, &error.to_string()))?;
    // STATE/lab.json lies in CHECKOUT/lab/.state.
    let state = file.parent().unwrap_or(Path::new("."));
    let checkout = state.ancestors().nth(2);
    let pythons =
        [Some(lab.repo.as_path()), checkout].into_iter().flatten().map(|root| root.join("sdk/python"));
    let told = Told {
        state: state.to_owned(),
        python: pythons.into_iter().find(|folder| folder.is_dir()),
        programs: programs.map(Path::to_owned),
        token: folder::admin_token(&lab.data),
        lab: &lab,
    };
    print::data(&script(&told, shell))
}

fn unusable(file: &Path, why: &str) -> Failure {
    Failure::new(Exit::Failed, format!("cannot use `{}`: {why}", file.display()))
        .hint("start the lab anew with: cargo xtask lab")
}

/// From the folder here or one above it, else beside the program itself, which stands in its checkout.
fn find<'a>(starts: impl Iterator<Item = &'a Path>) -> Result<PathBuf, Failure> {
    let mut files = starts.flat_map(Path::ancestors).map(|folder| folder.join(FILE));
    let found = files.find(|file| {
        std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.len() <= FILE_BYTES_MAX)
    });
    found.ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("no lab runs: there is no `{FILE}` here or in a folder above"))
            .hint("start one with: cargo xtask lab")
    })
}

/// A text as one word of a POSIX shell (XCU 2.2.2: nothing is special between single quotes).
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn script(told: &Told<'_>, shell: Shell) -> String {
    let shown = |path: &Path| quoted(&path.display().to_string());
    let mut text = "# The running lab, for a shell: eval \"$(hmsops lab env)\"\n".to_owned();
    // Writing to a String cannot fail.
    let mut set = |name: &str, value: &str| {
        let _ = writeln!(text, "export {name}={value}");
    };
    set("HMSOPS_SERVER", &quoted(&told.lab.server));
    set("HMSOPS_DATA", &shown(&told.lab.data));
    set("HMSOPS_LAB_STATE", &shown(&told.state));
    if let Some(endpoint) = &told.lab.endpoint {
        set("HMSOPS_ENDPOINT", &quoted(endpoint));
    }
    if let Some(python) = &told.python {
        set("PYTHONPATH", &format!("{}\"${{PYTHONPATH:+:$PYTHONPATH}}\"", shown(python)));
    }
    if let Some(programs) = &told.programs {
        set("PATH", &format!("{}:\"$PATH\"", shown(programs)));
    }
    // Without the token another tower's that the shell knows would be shown to this one.
    match &told.token {
        Some(token) => set("HMSOPS_TOKEN", &quoted(token)),
        None => text.push_str("unset HMSOPS_TOKEN\n"),
    }
    text.push_str(match shell {
        Shell::Bash => "hash -r\n",
        Shell::Zsh => "rehash\n",
    });
    text.push_str(&curl(&told.lab.gateway, &told.lab.photo_gateway));
    text
}

/// The shell's `curl`: an argument that begins with `/` is a path on the lab's gateway, unless it belongs to an option
/// that takes a file or a text.
fn curl(gateway: &str, photo: &str) -> String {
    let (gateway, photo) = (quoted(gateway.trim_end_matches('/')), quoted(photo.trim_end_matches('/')));
    format!(
        r#"unalias curl 2>/dev/null || true
function curl {{
    local before='' takes='' left=$#
    while [ "$left" -gt 0 ]; do
        case "$before" in
            -*X?*) takes='' ;;
            -[sSfLkivgGN]*[oTKbcDEdwFH] | -[oTKbcDEdwFH] | --output | --upload-file | --config | --cookie | \
            --cookie-jar | --dump-header | --cert | --key | --cacert | --capath | --data | --data-raw | \
            --data-binary | --data-urlencode | --json | --form | --header | --write-out | --unix-socket | \
            --request-target) takes=yes ;;
            *) takes='' ;;
        esac
        case "$takes:$1" in
            :/api/photo | :/api/photo[/?]*) set -- "$@" {photo}"$1" ;;
            :/*) set -- "$@" {gateway}"$1" ;;
            *) set -- "$@" "$1" ;;
        esac
        before=$1
        shift
        left=$((left - 1))
    done
    command curl "$@"
}}
"#
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    fn lab() -> Lab {
        serde_json::from_str(
            r#"{"server":"http://127.0.0.1:3100","endpoint":"127.0.0.1:4318","gateway":"http://127.0.0.1:8180",
                "photo_gateway":"http://127.0.0.1:8181/","data":"/lab/it's here","repo":"/lab/repo","new":1}"#,
        )
        .unwrap()
    }

    /// Runs a line in bash that has evaluated the script; `curl` is a program that prints its arguments.
    fn shell(told: &Told<'_>, line: &str) -> String {
        let out = Command::new("bash")
            .args(["--norc", "-c", &format!("eval \"$1\"\n{line}"), "bash"])
            .arg(script(told, Shell::Bash))
            .env("HMSOPS_TOKEN", "of another")
            .env("PYTHONPATH", "/mine")
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a program for the shell to find")]
    fn a_shell_knows_the_lab_and_its_relative_addresses() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("curl");
        std::fs::write(&program, "#!/bin/sh\nfor word; do printf '<%s>' \"$word\"; done\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let lab = lab();
        let told = Told {
            lab: &lab,
            state: "/lab/.state".into(),
            python: Some("/sdk/python".into()),
            programs: Some(folder.path().to_owned()),
            token: None,
        };
        let line = r#"echo "$HMSOPS_SERVER $HMSOPS_DATA $PYTHONPATH $HMSOPS_ENDPOINT ${HMSOPS_TOKEN-none}""#;
        assert_eq!(
            shell(&told, line),
            "http://127.0.0.1:3100 /lab/it's here /sdk/python:/mine 127.0.0.1:4318 none\n"
        );
        for (line, called) in [
            ("curl -X POST /api/photo/fail", "<-X><POST><http://127.0.0.1:8181/api/photo/fail>"),
            ("curl -sS '/api/photo?a=b c'", "<-sS><http://127.0.0.1:8181/api/photo?a=b c>"),
            ("curl /api/photos /", "<http://127.0.0.1:8180/api/photos><http://127.0.0.1:8180/>"),
            ("curl -so /dev/null /login", "<-so></dev/null><http://127.0.0.1:8180/login>"),
            ("curl -XPOST /a --data /b", "<-XPOST><http://127.0.0.1:8180/a><--data></b>"),
            ("curl -sXPOST /a", "<-sXPOST><http://127.0.0.1:8180/a>"),
            ("curl http://127.0.0.1:1/x", "<http://127.0.0.1:1/x>"),
            ("curl", ""),
        ] {
            assert_eq!(shell(&told, line), called, "{line}");
        }
        let told = Told { token: Some("hms_admin_x".into()), ..told };
        assert_eq!(shell(&told, "echo $HMSOPS_TOKEN"), "hms_admin_x\n");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the file that a lab leaves")]
    fn the_lab_is_found_from_a_folder_below_its_checkout() {
        let checkout = tempfile::tempdir().unwrap();
        let below = checkout.path().join("target/debug");
        let state = checkout.path().join("lab/.state");
        for folder in [&below, &state] {
            std::fs::create_dir_all(folder).unwrap();
        }
        let looked = || find([checkout.path().join("elsewhere").as_path(), &below].into_iter());
        let Err(Failure::Said { exit: Exit::NotFound, message, .. }) = looked() else {
            panic!("no lab runs")
        };
        assert!(message.contains("lab/.state/lab.json"), "{message}");
        std::fs::write(state.join("lab.json"), "{}").unwrap();
        assert_eq!(looked().ok(), Some(state.join("lab.json")));
    }
}
