//! `cargo xtask ui`: builds the live parts of the pages, which the tower embeds when they are there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime};

use crate::checkout;
use crate::chore::Chore;
use crate::failure::{Failure, Trying as _};
use crate::flags::Flags;

/// The chore.
pub(crate) const CHORE: Chore = Chore {
    name: "ui",
    summary: "builds the live parts of the pages (needs Node.js)",
    help: "\
usage: cargo xtask ui [--test] [--force]

Installs what the pages' script is built with, as the lock file says, and builds it into `dist` below `ui`, where
the next build of the tower takes it from. Does nothing when what is there is newer than all it is made of.
The tower works without it: its pages are whole, and renew themselves instead of moving.

  --test    checks types and runs the tests, too
  --force   installs and builds even if nothing has changed

example: cargo xtask ui --test
",
    run,
};

/// What Vite asks for; versions between the two are not maintained.
const NODE_HINT: &str = "install Node.js 20.19 or later (`apt-get install nodejs npm`, or from nodejs.org)";
/// The oldest Node.js that will do.
const NODE_MIN: (u32, u32) = (20, 19);
/// What the build makes; the tower embeds these by name.
const MADE: [&str; 2] = ["dist/live.js", "dist/live.css"];
/// What it makes them of, besides the lock file.
const SOURCES: [&str; 4] = ["src", "package.json", "tsconfig.json", "vite.config.ts"];

/// The chore with its options; `--test` is what gates a commit.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    let flags = Flags::read(args, &["--test", "--force"], &[], 0)?;
    make(flags.has("--test"), flags.has("--force"))
}

/// Builds what is not up to date.
pub(crate) fn build() -> Result<(), Failure> {
    make(false, false)
}

/// Checks types, runs the tests and builds.
pub(crate) fn test() -> Result<(), Failure> {
    make(true, true)
}

fn make(is_tested: bool, is_forced: bool) -> Result<(), Failure> {
    let ui = checkout::root().join("ui");
    let is_stale = is_forced || is_stale(&ui)?;
    if !is_stale && !is_tested {
        eprintln!("ui: nothing has changed since {} were built", MADE.join(" and "));
        return Ok(());
    }
    let began = Instant::now();
    install(&ui, is_forced, began)?;
    if is_tested {
        step(&ui, "checking types", &["run", "--silent", "check"], began)?;
        step(&ui, "running its tests", &["test", "--silent"], began)?;
    }
    if is_stale {
        step(&ui, "building", &["run", "--silent", "build"], began)?;
    }
    for made in MADE {
        let bytes = std::fs::metadata(ui.join(made)).trying(format!("look at `ui/{made}`"))?.len();
        eprintln!("ui: {made}, {} kB", bytes / 1000);
    }
    Ok(())
}

/// Installs what the lock file says, unless that was done.
fn install(ui: &Path, is_forced: bool, began: Instant) -> Result<(), Failure> {
    has_node()?;
    if !is_forced && is_installed(ui)? {
        return Ok(());
    }
    step(ui, "installing what it is built with", &["ci", "--no-audit", "--no-fund"], began).map_err(
        |failure| failure.hint("the npm registry must be reachable; the lock file must fit package.json"),
    )
}

/// Runs the pages of a built hmsops in a real browser.
pub(crate) fn browse(program: &Path) -> Result<(), Failure> {
    let ui = checkout::root().join("ui");
    // What was built may be newer than all its sources and the packages be gone.
    install(&ui, false, Instant::now())?;
    for story in ["e2e/live.mjs", "e2e/hostile.mjs"] {
        let mut node = Command::new("node");
        node.arg(story).arg(program).current_dir(&ui).stdin(Stdio::null());
        checkout::run(&mut node)?;
    }
    Ok(())
}

fn step(ui: &Path, words: &str, args: &[&str], began: Instant) -> Result<(), Failure> {
    eprintln!("ui: {words} ({} s so far)", began.elapsed().as_secs());
    // Our own standard output is for results.
    checkout::run(
        Command::new("npm").args(args).current_dir(ui).stdin(Stdio::null()).stdout(std::io::stderr()),
    )
}

/// Whether what was built is missing or older than something it is made of.
fn is_stale(ui: &Path) -> Result<bool, Failure> {
    let mut built = SystemTime::now();
    for made in MADE {
        match modified(&ui.join(made)) {
            Some(at) => built = built.min(at),
            None => return Ok(true),
        }
    }
    let mut newest = modified(&ui.join("package-lock.json"));
    for source in SOURCES {
        newest = newest.max(newest_in(&ui.join(source))?);
    }
    Ok(newest.is_none_or(|newest| newest >= built))
}

/// Whether what the lock file lists was installed since it changed: npm keeps its own copy of the list.
fn is_installed(ui: &Path) -> Result<bool, Failure> {
    let lock = ui.join("package-lock.json");
    let locked = modified(&lock).ok_or_else(|| Failure::new("`ui/package-lock.json` is missing"))?;
    Ok(modified(&ui.join("node_modules/.package-lock.json")).is_some_and(|installed| installed > locked))
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|found| found.modified()).ok()
}

/// When the newest file at or below a path was changed.
fn newest_in(path: &Path) -> Result<Option<SystemTime>, Failure> {
    if !path.is_dir() {
        return Ok(modified(path));
    }
    let read =
        || std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<PathBuf>>>();
    // The folder itself, too: a file that was taken away leaves no other trace.
    let mut newest = modified(path);
    for below in read().trying(format!("list `{}`", path.display()))? {
        newest = newest.max(newest_in(&below)?);
    }
    Ok(newest)
}

fn has_node() -> Result<(), Failure> {
    for command in ["node", "npm"] {
        if !checkout::has_command(command) {
            return Err(Failure::new(format!(
                "`{command}` is not installed, which the pages' script is built with"
            ))
            .hint(NODE_HINT));
        }
    }
    let output = Command::new("node").arg("--version").output().trying("run `node --version`")?;
    let said = String::from_utf8_lossy(&output.stdout);
    match version_of(&said) {
        Some(version) if version >= NODE_MIN => Ok(()),
        _ => Err(Failure::new(format!("`node --version` says `{}`, which is too old", said.trim()))
            .hint(NODE_HINT)),
    }
}

/// `v20.19.2` → 20, 19.
fn version_of(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().strip_prefix('v')?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_node_is_told_from_a_new_one() {
        for (text, version) in [
            ("v20.19.2\n", Some((20, 19))),
            ("v9.11.0", Some((9, 11))),
            ("20.1.0", None),
            ("vx", None),
            ("", None),
        ] {
            assert_eq!(version_of(text), version, "{text}");
        }
        assert!(version_of("v9.11.0") < Some(NODE_MIN) && version_of("v22.1.0") > Some(NODE_MIN));
    }

    /// What was built is used again until something it is made of is newer.
    #[test]
    fn a_change_of_a_source_makes_the_build_stale() {
        let ui = std::env::temp_dir().join(format!("hmsops-xtask-ui-{}", std::process::id()));
        std::fs::create_dir_all(ui.join("src/chart")).unwrap();
        std::fs::create_dir_all(ui.join("dist")).unwrap();
        let at = |secs: u64| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(secs);
        let touch = |name: &str, secs: u64| {
            std::fs::write(ui.join(name), "").unwrap();
            std::fs::File::options().write(true).open(ui.join(name)).unwrap().set_modified(at(secs)).unwrap();
        };
        let settle = || {
            for folder in ["src/chart", "src"] {
                std::fs::File::open(ui.join(folder)).unwrap().set_modified(at(10)).unwrap();
            }
        };
        for name in ["src/chart/a.ts", "src/main.ts", "package.json", "tsconfig.json", "vite.config.ts"] {
            touch(name, 10);
        }
        touch("package-lock.json", 10);
        settle();
        let missing = is_stale(&ui).unwrap();
        touch("dist/live.js", 20);
        touch("dist/live.css", 20);
        let fresh = is_stale(&ui).unwrap();
        touch("src/chart/a.ts", 30);
        settle();
        let stale = is_stale(&ui).unwrap();
        touch("dist/live.js", 40);
        let half = is_stale(&ui).unwrap();
        std::fs::remove_dir_all(&ui).unwrap();
        assert_eq!((missing, fresh, stale, half), (true, false, true, true));
    }
}
