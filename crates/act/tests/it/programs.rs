//! Programs as checks: what they see, what is kept of them, and that nothing of them is left.

use std::path::{Path, PathBuf};

use hmsops_act::probe::{Look, Target, look};
use hmsops_model::Millis;
use hmsops_model::probe::{Ask, Probe};
use tokio::time::timeout;

use crate::kinds::{asking, passed, reason};
use crate::probes::target;
use crate::world::PATIENCE;

async fn run(dir: &Path, argv: &[&str], conditions: &[&str], limit: Millis) -> Look {
    let argv = argv.iter().map(ToString::to_string).collect();
    let probe = Probe { timeout: limit, ..asking(Ask::Exec { argv }, conditions) };
    let target = Target { probe, dir: Some(PathBuf::from(dir)), ..target(7, "127.0.0.1:41833") };
    timeout(PATIENCE, look(&target, "127.0.0.1:41833")).await.expect("a look ends")
}

async fn sh(script: &str, conditions: &[&str]) -> Look {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &["sh", "-c", script], conditions, Millis::from_secs(10)).await
}

#[tokio::test]
async fn exit_code_0_passes_and_another_says_the_first_line() {
    assert!(passed(&sh("exit 0", &[]).await));
    assert_eq!(
        reason(&sh("echo; echo no disk >&2; echo more >&2; exit 3", &[]).await),
        "exited with 3: no disk"
    );
    assert!(passed(&sh("echo degraded; exit 3", &["exit in [0, 3]", "output contains degraded"]).await));
    assert_eq!(reason(&sh("kill -9 $$", &[]).await), "was ended by signal 9");
    let none = sh("true", &["output contains ready"]).await;
    assert_eq!(reason(&none), "`output contains ready` does not hold: it is ``");
}

#[tokio::test]
async fn a_program_runs_in_its_version_s_folder_with_words_and_environment_of_our_making() {
    let dir = tempfile::tempdir().unwrap();
    let look = run(
        dir.path(),
        &[
            "sh",
            "-c",
            "echo $0 $PORT $HMS_ADDR $HMS_SERVICE $HMS_VERSION; pwd; env | grep -c CARGO",
            "{host}:{port}/{version}",
        ],
        &["exit >= 0"],
        Millis::from_secs(10),
    )
    .await;
    let output = look.seen.output.as_deref().unwrap();
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[0], "127.0.0.1:41833/1.8.0 41833 127.0.0.1:41833 csac-portal 1.8.0");
    assert_eq!(Path::new(lines[1]).canonicalize().unwrap(), dir.path().canonicalize().unwrap());
    assert_eq!(lines[2], "0", "cargo's variables stay outside");
    let gone = run(dir.path(), &["./gone"], &[], Millis::from_secs(10)).await;
    assert!(reason(&gone).starts_with("cannot run `./gone`: "), "{gone:?}");
}

#[tokio::test]
async fn a_flood_of_output_is_read_and_forgotten() {
    let look =
        sh("head -c 3000000 /dev/zero | tr '\\0' x; head -c 3000000 /dev/zero | tr '\\0' y >&2", &[]).await;
    assert!(passed(&look), "{look:?}");
    assert_eq!(look.seen.output.map(|output| output.len()), Some(8192));
}

/// Whether a process with this pid runs.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

async fn gone(pid_file: &Path) {
    let pid = timeout(PATIENCE, async {
        loop {
            match std::fs::read_to_string(pid_file) {
                Ok(pid) if pid.ends_with('\n') => return pid.trim().to_owned(),
                _ => tokio::task::yield_now().await,
            }
        }
    });
    let pid = pid.await.expect("it has started");
    let end = timeout(PATIENCE, async {
        while runs(&pid) {
            tokio::task::yield_now().await;
        }
    });
    assert!(end.await.is_ok(), "process {pid} is left");
}

#[tokio::test]
async fn when_its_time_is_over_nothing_of_it_is_left_also_what_left_its_group() {
    let dir = tempfile::tempdir().unwrap();
    let script = "sh -c 'echo $$ > child; exec tail -f /dev/null' & setsid sh -c 'echo $$ > escaped; exec tail -f /dev/null' & \
                  while ! [ -s child -a -s escaped ]; do :; done; exec tail -f /dev/null";
    let look = run(dir.path(), &["sh", "-c", script], &[], Millis::from_secs(3)).await;
    assert_eq!(reason(&look), "no answer in 3 s");
    gone(&dir.path().join("child")).await;
    gone(&dir.path().join("escaped")).await;
}

#[tokio::test]
async fn a_program_that_leaves_children_behind_is_judged_at_once_and_they_are_ended() {
    let dir = tempfile::tempdir().unwrap();
    let script =
        "sh -c 'echo $$ > child; exec tail -f /dev/null' & while ! [ -s child ]; do :; done; echo fine";
    let look = run(dir.path(), &["sh", "-c", script], &["output == fine"], Millis::from_secs(10)).await;
    assert!(passed(&look), "{look:?}");
    gone(&dir.path().join("child")).await;
}
