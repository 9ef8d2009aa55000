//! The photo service's story without a person: its uploads begin to fail, an alert fires, takes the service back to
//! the version before, and ends healed; then the alert is silenced, and the ledger knows of both ends.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::check::say;
use super::release::Cli;
use super::running::{Lab, PHOTO_BEFORE, Stopped, stopped};
use super::settings::Settings;
use super::stop::{Stop, Waited};
use crate::checkout;
use crate::failure::{Failure, Trying as _};
use crate::json::Json;

/// The rule of the chapter.
const RULE: &str = "photo_error_spike";
/// The panel of the chapter.
const PANEL: &str = "sum(rate(photo.upload.ok[5m]))";
/// Photos a second, of two that come, when a window of five minutes has seen the first ten seconds of them.
const PHOTOS_MIN: f64 = 0.05;
/// From the first upload until it is seen in an answer.
const SEEN: Duration = Duration::from_secs(30);
/// From the first failed upload: the rule's window turns within one minute and has to hold for another.
const FIRED: Duration = Duration::from_mins(4);
/// From the alert until uploads go to the version before.
const TAKEN_BACK: Duration = Duration::from_secs(30);
/// From there until the heal's check has seen a minute without failures.
const HEALED: Duration = Duration::from_mins(5);
/// The chapter's loop, as it stands there; its relative address is known to a shell that knows the lab.
const LOOP: &str = "for i in {1..30}; do curl -X POST /api/photo/fail; done";

/// Tells the story; a failure says what did not happen.
pub(super) fn tell(settings: &Settings, stop: &Stop) -> Result<(), Failure> {
    let lab = Lab::start(settings, stop)?;
    let cli = Cli::new(&lab, settings.tower)?;
    add_panel(&lab, &cli, stop)?;
    create_rule(settings, &cli)?;
    let began = Instant::now();
    fail_uploads(settings, &cli)?;
    let fired = wait_for_fire(&lab, &cli, stop, began)?;
    let back = wait_for_rollback(&lab, settings, stop, began)?;
    let healed = wait_for_heal(&lab, &cli, stop, began)?;
    silence(&lab, &cli, stop)?;
    say(&format!("audit: {}", cli.verify_ledger()?));
    let Stopped { tally, photos, processes } = lab.stop()?;
    say(&format!("stopped {processes}"));
    if tally.failed() > 0 {
        return Err(Failure::new(format!("users of another service were hit:\n{tally}")));
    }
    println!(
        "first failed upload → fired, heal-running: {:.1} s → served by 1.3.9: {:.1} s → healed: {:.1} s",
        fired.as_secs_f64(),
        back.as_secs_f64(),
        healed.as_secs_f64()
    );
    println!("uploads of users: {} stored, {} failed", photos.ok, photos.failed());
    println!("lab --check: all of it happened");
    Ok(())
}

/// The chapter's rule, by the chapter's program.
fn create_rule(settings: &Settings, cli: &Cli) -> Result<(), Failure> {
    say("python3 lab/heal_rule.py");
    let root = checkout::root();
    let mut python = Command::new("python3");
    python.arg("-B").arg(root.join("lab/heal_rule.py")).env("PYTHONPATH", root.join("sdk/python"));
    python.env("HMSOPS_ENDPOINT", settings.grpc.to_string());
    checkout::run(cli.prepare(&mut python))
}

/// The chapter's panel, which must show that photos come in.
fn add_panel(lab: &Lab, cli: &Cli, stop: &Stop) -> Result<(), Failure> {
    let mut last = String::from("nothing");
    let waited = stop.wait_for(SEEN, || match cli.value(PANEL) {
        Ok(Some(value)) if value >= PHOTOS_MIN => {
            last = format!("{value:.2}");
            true
        }
        Ok(value) => {
            last = format!("{value:?}");
            false
        }
        Err(failure) => {
            last = failure.to_string();
            false
        }
    });
    hold(lab, waited, || format!("`{PANEL}` is not at least {PHOTOS_MIN} within 30 s; last seen: {last}"))?;
    say(&format!("photos a second: {last}"));
    let url =
        cli.say(&["dash", "add", "--query", PANEL, "--title", "Photo Uploads / sec", "--panel", "line"])?;
    if !url.contains("/dash/dmv") {
        return Err(lab.failure(format!("the panel is not on the page of the system dmv: {url}")));
    }
    say(&format!("hmsops dash add: {url}"));
    Ok(())
}

/// The chapter's loop in the chapter's shell.
fn fail_uploads(settings: &Settings, cli: &Cli) -> Result<(), Failure> {
    say(LOOP);
    // A lab of a check has a folder of its own, and shells look for it where a person's lab is: below a checkout.
    let shell = settings.state.join("shell");
    std::fs::create_dir_all(shell.join("lab")).trying("make a folder for a shell")?;
    let link = shell.join("lab/.state");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(&settings.state, link).trying("make a folder for a shell")?;
    let script = format!("set -e\neval \"$(hmsops lab env)\"\n{LOOP}\n");
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]).current_dir(shell).stdout(Stdio::null()).stderr(Stdio::null());
    checkout::run(cli.prepare(&mut bash))
}

fn wait_for_fire(lab: &Lab, cli: &Cli, stop: &Stop, began: Instant) -> Result<Duration, Failure> {
    let mut last = String::new();
    let waited = stop.wait_for(FIRED, || {
        last = cli.say(&["alert", "list", "--active"]).unwrap_or_else(|failure| failure.to_string());
        last.lines().any(|line| line.contains(RULE) && line.contains("fired, heal-running"))
    });
    hold(lab, waited, || format!("no `{RULE}` that is `fired, heal-running`; last seen:\n{last}"))?;
    let after = began.elapsed();
    say(&format!("hmsops alert list --active, {:.1} s after the first failed upload:", after.as_secs_f64()));
    println!("{last}");
    Ok(after)
}

fn wait_for_rollback(
    lab: &Lab,
    settings: &Settings,
    stop: &Stop,
    began: Instant,
) -> Result<Duration, Failure> {
    let mut last = String::new();
    let waited = stop.wait_for(TAKEN_BACK, || {
        last = super::running::served_by(settings.photo_gateway, "/api/v1/health")
            .unwrap_or_else(|instead| instead);
        last.starts_with(PHOTO_BEFORE)
    });
    hold(lab, waited, || format!("uploads do not go to 1.3.9; last seen: {last}"))?;
    Ok(began.elapsed())
}

/// The alert must end by itself, and its heal must be a success. Uploads of users are stored again from then on.
fn wait_for_heal(lab: &Lab, cli: &Cli, stop: &Stop, began: Instant) -> Result<Duration, Failure> {
    let mut last = String::new();
    let waited = stop.wait_for(HEALED, || {
        let heals = cli.ask_json(&["heal", "list", "--json"]);
        let row = heals.as_ref().ok().and_then(|heals| rows(heals, "heals").first());
        last = row.map(|row| row.text_at("phase").to_owned()).unwrap_or_default();
        last != "running" && last != "checking" && !last.is_empty()
    });
    hold(lab, waited, || format!("the heal does not end; last seen: {last}"))?;
    let after = began.elapsed();
    if last != "healed" {
        let heals = cli.say(&["heal", "list", "--json"])?;
        return Err(lab.failure(format!("the heal ended as `{last}`:\n{heals}")));
    }
    let before = lab.photos();
    if stop.wait(Duration::from_secs(3)) {
        return Err(stopped());
    }
    let now = lab.photos();
    if now.failed() > before.failed() || now.ok == before.ok {
        return Err(lab.failure(format!("uploads still fail: {}", now.line_since(&before))));
    }
    Ok(after)
}

/// The chapter's silence, and that the ledger holds its beginning and its end.
fn silence(lab: &Lab, cli: &Cli, stop: &Stop) -> Result<(), Failure> {
    say("hmsops alert silence photo_error_spike --for 2h --reason \"planned upgrade\"");
    let said = cli.say(&["alert", "silence", RULE, "--for", "2h", "--reason", "planned upgrade"])?;
    println!("{said}");
    cli.say(&["alert", "unsilence", RULE, "--reason", "upgrade done"])?;
    let mut last = String::new();
    let waited = stop.wait_for(Duration::from_secs(5), || {
        last = cli.say(&["audit", "list", "--json"]).unwrap_or_else(|failure| failure.to_string());
        last.contains("planned upgrade") && last.contains("upgrade done")
    });
    hold(lab, waited, || "the audit does not tell of the silence and its end".to_owned())
}

/// The rows of a list, which is bare or below `items` or its name.
fn rows<'a>(list: &'a Json, name: &str) -> &'a [Json] {
    let below = list.at("items").or_else(|| list.at(name)).unwrap_or(list);
    below.items()
}

fn hold(lab: &Lab, waited: Waited, what: impl FnOnce() -> String) -> Result<(), Failure> {
    match waited {
        Waited::Held => Ok(()),
        Waited::TimedOut => Err(lab.failure(what())),
        Waited::Stopped => Err(stopped()),
    }
}
