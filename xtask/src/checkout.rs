//! The checkout that the chores work on: its folders, its packages, and the commands that are run in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::{Failure, Trying as _};
use crate::json::Json;

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    xtask.parent().map_or_else(|| xtask.clone(), Path::to_path_buf)
}

/// The cargo that runs us, else the one on `PATH`.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // Set by the cargo that runs us for this package.
    // Build scripts that name them, ring's above all, would start all that depends on them afresh.
    let ours = |name: &str| name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_PKG_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(ours)) {
        command.env_remove(name);
    }
    command
}

/// What `cargo metadata` says about the workspace's own packages.
pub(crate) fn metadata() -> Result<Json, Failure> {
    let output = cargo()
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .stderr(Stdio::inherit())
        .output()
        .trying("run `cargo metadata`")?;
    if !output.status.success() {
        return Err(Failure::new("`cargo metadata` failed"));
    }
    Json::parse(&String::from_utf8_lossy(&output.stdout))
        .map_err(|error| Failure::new(format!("cannot read what `cargo metadata` printed: {error}")))
}

/// The Python that packages of the system belong to; another may stand before it on `PATH`.
pub(crate) const SYSTEM_PYTHON: &str = "/usr/bin/python3";

/// Whether a command is on `PATH` (or in the folder where Debian keeps daemons).
pub(crate) fn has_command(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]).any(|folder| folder.join(name).is_file())
}

/// Runs a command with our own output and waits for it; a failure names it.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let line = line_of(command);
    let status = command.status().trying(format!("run `{line}`"))?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("`{line}` failed: {status}"))) }
}

/// The command as one would type it, without its environment.
fn line_of(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut line = program.file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}
