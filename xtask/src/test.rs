//! `cargo xtask test`: all that gates a commit, cheapest first.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::checkout;
use crate::chore::Chore;
use crate::failure::{Failure, Trying as _};
use crate::flags::Flags;
use crate::{flips, fuzz, lab, queries, ruletests, sim, spike, tidy, ui};

/// The chore.
pub(crate) const CHORE: Chore = Chore {
    name: "test",
    summary: "runs all that gates a commit, cheapest first (CI runs the same)",
    help: "\
usage: cargo xtask test [--long] [--only STAGE] [--no-install]

Installs what the tests need where it can (nginx, prometheus, vmagent, shellcheck, python3, Node.js, Chromium and more through
apt-get), then runs each stage and names it with its time. A stage that fails does not keep later ones from running. Exits 1 when one failed.

  --long         adds the large simulation, twenty thousand queries beside Prometheus, hostile bytes for every parser, ten lab runs of each fault, 200 faults in a row, the whole
                 spike, and fifty kills while metrics come in
  --only STAGE   one stage alone, by the name it prints
  --no-install   uses what is there

example: cargo xtask test --only clippy
",
    run,
};

/// One thing that must pass.
struct Stage {
    name: &'static str,
    run: fn() -> Result<Verdict, Failure>,
}

/// How a stage that did not fail ended.
enum Verdict {
    Passed,
    /// A tool is missing that is good to have.
    Skipped(String),
}

const STAGES: &[Stage] = &[
    Stage { name: "tidy", run: || done(tidy::check()) },
    Stage { name: "fmt", run: || done(checkout::run(checkout::cargo().args(["fmt", "--all", "--check"]))) },
    Stage { name: "shell", run: shell },
    Stage { name: "python", run: python },
    Stage { name: "sdk", run: sdk },
    Stage { name: "ui", run: || done(ui::test()) },
    Stage { name: "clippy", run: clippy },
    Stage { name: "tests", run: tests },
    Stage { name: "docs", run: docs },
    Stage {
        name: "sim",
        run: || done(sim::simulate(&words("--rough 500 --rollouts 800 --timed 3 --claims 50 --seed 1"))),
    },
    Stage { name: "browser", run: browser },
    Stage { name: "lab", run: || done(lab::check(&words("--check"))) },
    Stage { name: "lab-photo", run: || done(lab::check(&words("--check --story photo"))) },
    Stage { name: "ruletests", run: ruletests_short },
    Stage { name: "queries", run: queries_short },
    Stage { name: "flips", run: flips_short },
    Stage { name: "kills", run: || done(lab::check(&words("--check --kills 20"))) },
    Stage { name: "spike", run: || done(spike::check(&words("--short"))) },
    Stage { name: "faults", run: || done(lab::check(&words("--check --faults 20 --rate 100"))) },
];

const LONG_STAGES: &[Stage] = &[
    Stage {
        name: "sim-long",
        run: || {
            done(sim::simulate(&words(
                "--rough 2000 --rollouts 20000 --timed 200 --claims 2000 --kills --seed 100000",
            )))
        },
    },
    Stage {
        name: "flips-long",
        run: || done(flips::check(&words("--requests 1000000 --flips 1000 --reloads 20 --upgrades 10"))),
    },
    Stage { name: "queries-long", run: || done(queries::check(&words("--count 20000 --seed 100000"))) },
    Stage { name: "fuzz-long", run: || done(fuzz::feed(&words("--seconds 180 --seed 2"))) },
    Stage { name: "lab-long", run: lab_long },
    Stage { name: "spike-long", run: || done(spike::check(&[])) },
    Stage { name: "faults-long", run: || done(lab::check(&words("--check --faults 200 --rate 100"))) },
    Stage { name: "signals-kills", run: signals_kills },
];

fn run(args: &[String]) -> Result<(), Failure> {
    let flags = Flags::read(args, &["--long", "--no-install"], &["--only"], 0)?;
    let mut stages: Vec<&Stage> = STAGES.iter().collect();
    if flags.has("--long") {
        stages.extend(LONG_STAGES);
    }
    if let Some(only) = flags.text("--only") {
        stages = STAGES.iter().chain(LONG_STAGES).filter(|stage| stage.name == only).collect();
        if stages.is_empty() {
            let names: Vec<&str> = STAGES.iter().chain(LONG_STAGES).map(|stage| stage.name).collect();
            return Err(Failure::usage(format!("unknown stage `{only}`"))
                .hint(format!("stages are {}", names.join(", "))));
        }
    }
    if !flags.has("--no-install") {
        install();
    }
    let began = Instant::now();
    let mut lines = Vec::new();
    let mut failed = 0;
    for (index, stage) in stages.iter().enumerate() {
        eprintln!(
            "── {} of {}: {} ({} s so far)",
            index + 1,
            stages.len(),
            stage.name,
            began.elapsed().as_secs()
        );
        let at = Instant::now();
        let word = match (stage.run)() {
            Ok(Verdict::Passed) => "passed".to_owned(),
            Ok(Verdict::Skipped(why)) => format!("skipped: {why}"),
            Err(failure) => {
                eprintln!("{failure}");
                failed += 1;
                "FAILED".to_owned()
            }
        };
        eprintln!("── {}: {word} after {:.1} s", stage.name, at.elapsed().as_secs_f64());
        lines.push(format!("{:<14}{:>8.1} s  {word}", stage.name, at.elapsed().as_secs_f64()));
    }
    println!("\n{}", lines.join("\n"));
    let skipped = lines.iter().filter(|line| line.contains("  skipped")).count();
    let passed = stages.len() - failed - skipped;
    let and_skipped = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    println!("{passed} passed, {failed} failed{and_skipped}");
    if failed == 0 {
        Ok(())
    } else {
        Err(Failure::new(format!("{failed} of {} stages failed", stages.len())))
    }
}

fn done(result: Result<(), Failure>) -> Result<Verdict, Failure> {
    result.map(|()| Verdict::Passed)
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn clippy() -> Result<Verdict, Failure> {
    let args = "clippy --workspace --all-targets --locked -- -D warnings";
    done(checkout::run(checkout::cargo().args(words(args))))
}

/// Unit and integration tests with nextest where it is installed, then the examples in documentation.
fn tests() -> Result<Verdict, Failure> {
    let has_nextest = checkout::cargo()
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if has_nextest {
        checkout::run(checkout::cargo().args(words("nextest run --workspace --locked --no-fail-fast")))?;
        checkout::run(checkout::cargo().args(words("test --workspace --locked --doc --quiet")))?;
    } else {
        checkout::run(checkout::cargo().args(words("test --workspace --locked --no-fail-fast")))?;
    }
    Ok(Verdict::Passed)
}

fn docs() -> Result<Verdict, Failure> {
    let mut command = checkout::cargo();
    command.args(words("doc --workspace --no-deps --locked --quiet")).env("RUSTDOCFLAGS", "-D warnings");
    done(checkout::run(&mut command))
}

fn shell() -> Result<Verdict, Failure> {
    let scripts = [
        ".ci/run",
        "lab/scripts/build_photo.sh",
        "lab/scripts/build_portal.sh",
        "lab/scripts/push_bad_build.sh",
    ];
    for script in scripts {
        checkout::run(Command::new("sh").args(["-n", script]).current_dir(checkout::root()))?;
    }
    if !checkout::has_command("shellcheck") {
        return Ok(Verdict::Skipped("shellcheck is not installed; only the syntax was checked".into()));
    }
    done(checkout::run(Command::new("shellcheck").args(scripts).current_dir(checkout::root())))
}

fn python() -> Result<Verdict, Failure> {
    if !checkout::has_command("python3") {
        return Err(Failure::new("python3 is not installed, which the lab's portal needs")
            .hint("apt-get install python3"));
    }
    for folder in ["lab/portal", "lab/photo"] {
        let args = words("-B -W error -m unittest discover --quiet --start-directory");
        let mut command = Command::new("python3");
        checkout::run(command.args(args).arg(folder).current_dir(checkout::root()))?;
    }
    Ok(Verdict::Passed)
}

/// The SDK's own tests, which need no tower.
fn sdk() -> Result<Verdict, Failure> {
    let args = words("-B -m unittest discover --quiet --start-directory sdk/python/tests");
    done(checkout::run(Command::new("python3").args(args).current_dir(checkout::root())))
}

/// A tile goes red and green and a line climbs, in a real browser, with the live parts of the pages in the tower.
fn browser() -> Result<Verdict, Failure> {
    ui::build()?;
    checkout::run(checkout::cargo().args(words("build --package hmsops --locked")))?;
    let target = checkout::metadata()?.text_at("target_directory").to_owned();
    done(ui::browse(&PathBuf::from(target).join("debug/hmsops")))
}

/// Weights flipped under traffic, with the program that the other stages have built: only the long run needs the fast one.
fn flips_short() -> Result<Verdict, Failure> {
    checkout::run(checkout::cargo().args(words("build --package hmsops --locked")))?;
    let target = checkout::metadata()?.text_at("target_directory").to_owned();
    done(flips::check(&words(&format!("--program {target}/debug/hmsops"))))
}

/// Sixty rule files and their tests, judged by us and by promtool: more by `cargo xtask ruletests`.
fn ruletests_short() -> Result<Verdict, Failure> {
    if !checkout::has_command("promtool") {
        return Ok(Verdict::Skipped("promtool is not installed".into()));
    }
    checkout::run(checkout::cargo().args(words("build --package hmsops --locked")))?;
    let target = checkout::metadata()?.text_at("target_directory").to_owned();
    done(ruletests::check(&words(&format!("--count 60 --program {target}/debug/hmsops"))))
}

/// A thousand queries, answered by us and by Prometheus: more by `cargo xtask queries`.
fn queries_short() -> Result<Verdict, Failure> {
    if !checkout::has_command("prometheus") {
        return Ok(Verdict::Skipped("prometheus is not installed".into()));
    }
    checkout::run(checkout::cargo().args(words("build --package hmsops --locked")))?;
    let target = checkout::metadata()?.text_at("target_directory").to_owned();
    done(queries::check(&words(&format!("--count 1000 --program {target}/debug/hmsops"))))
}

/// The table of how fast each kind of bad build is taken back.
fn lab_long() -> Result<Verdict, Failure> {
    for fault in ["dead", "hang", "probe", "login", "errors", "five-percent"] {
        lab::check(&words(&format!("--check --runs 10 --fault {fault}")))?;
    }
    Ok(Verdict::Passed)
}

/// Fifty kills while metrics come in, alerts wait and people are told, and each process killed in each state of a
/// release; `tests` has five and six of them.
fn signals_kills() -> Result<Verdict, Failure> {
    let args = words(
        "test --package hmsops --locked --test it -- --nocapture signals_kills:: policies:: state_kills::",
    );
    done(checkout::run(checkout::cargo().args(args).env("HMSOPS_LONG", "1")))
}

/// Installs what is missing, where this machine lets us; whatever stays missing is said by the stage that needs it.
fn install() {
    let wanted = [
        ("python3", &["python3"][..]),
        ("nginx", &["nginx-light", "nginx"]),
        ("haproxy", &["haproxy"]),
        ("shellcheck", &["shellcheck"]),
        ("curl", &["curl"]),
        ("node", &["nodejs"]),
        ("npm", &["npm"]),
        ("chromium", &["chromium"]),
        ("prometheus", &["prometheus"]),
        ("prometheus-node-exporter", &["prometheus-node-exporter"]),
        ("vmagent", &["victoria-metrics"]),
        ("faketime", &["faketime"]),
        ("python3: ensurepip", &["python3-venv"]),
        ("python3: aiosmtpd", &["python3-aiosmtpd"]),
        ("python3: prometheus_client", &["python3-prometheus-client"]),
    ];
    let missing = wanted.iter().filter(|(what, _)| !is_there(what));
    let mut is_listed = false;
    for (command, packages) in missing {
        eprintln!("── `{command}` is missing, trying to install it");
        if !checkout::has_command("apt-get") {
            eprintln!("no apt-get here; install `{command}` yourself for the stages that need it");
            continue;
        }
        if !std::mem::replace(&mut is_listed, true) {
            report(apt(&["update", "-qq"]), "apt-get update");
        }
        if !packages.iter().any(|package| install_package(package)) {
            eprintln!("`{command}` could not be installed; stages that need it say so");
        }
    }
    add_components();
}

/// Whether a command, or with `python3: ` before it a module of the system's Python, is there.
fn is_there(what: &str) -> bool {
    let Some(module) = what.strip_prefix("python3: ") else { return checkout::has_command(what) };
    let mut python = Command::new(checkout::SYSTEM_PYTHON);
    python.args(["-c", &format!("import {module}")]).stdin(Stdio::null()).stderr(Stdio::null());
    python.status().is_ok_and(|status| status.success())
}

/// Tries twice: an installation that was interrupted before is repaired in between.
fn install_package(package: &str) -> bool {
    let install = ["install", "-y", "-qq", "--no-install-recommends", package];
    if apt(&install).is_ok() {
        return true;
    }
    report(as_root("dpkg", &["--configure", "-a"]), "dpkg --configure -a");
    report(apt(&["-f", "install", "-y", "-qq"]), "apt-get -f install");
    apt(&install).is_ok()
}

fn apt(args: &[&str]) -> Result<(), Failure> {
    as_root("apt-get", args)
}

/// Runs a command as root, through sudo if we are not root and it asks for no password.
fn as_root(program: &str, args: &[&str]) -> Result<(), Failure> {
    let id = Command::new("id").arg("-u").output().trying("run `id -u`")?;
    let mut command = if String::from_utf8_lossy(&id.stdout).trim() == "0" {
        Command::new(program)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "--preserve-env=DEBIAN_FRONTEND", program]);
        sudo
    };
    // Our standard output is for results.
    command
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(std::io::stderr());
    checkout::run(&mut command)
}

fn report(result: Result<(), Failure>, what: &str) {
    if let Err(failure) = result {
        eprintln!("{what}: {failure}");
    }
}

/// rustfmt and clippy come with most toolchains, not with minimal ones.
fn add_components() {
    for (component, subcommand) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        let has = checkout::cargo()
            .args([subcommand, "--version"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !has && checkout::has_command("rustup") {
            let mut rustup = Command::new(PathBuf::from("rustup"));
            report(
                checkout::run(rustup.args(["component", "add", component]).current_dir(checkout::root())),
                "rustup component add",
            );
        }
    }
}
