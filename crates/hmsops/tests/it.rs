//! Terminal sessions: what was typed, what came out, and how it ended.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[path = "it/bad_input.rs"]
mod bad_input;
#[path = "it/clock.rs"]
mod clock;
#[path = "it/degraded.rs"]
mod degraded;
#[path = "it/doctor.rs"]
mod doctor;
#[path = "it/emitter.rs"]
mod emitter;
#[path = "it/external.rs"]
mod external;
#[path = "it/gateways.rs"]
mod gateways;
#[path = "it/haproxy.rs"]
mod haproxy;
#[path = "it/haystack.rs"]
mod haystack;
#[path = "it/hostile.rs"]
mod hostile;
#[path = "it/hostile_frames.rs"]
mod hostile_frames;
#[path = "it/hostile_words.rs"]
mod hostile_words;
#[path = "it/http.rs"]
mod http;
#[path = "it/inputs.rs"]
mod inputs;
#[path = "it/kills.rs"]
mod kills;
#[path = "it/kit.rs"]
mod kit;
#[path = "it/lines.rs"]
mod lines;
#[path = "it/load.rs"]
mod load;
#[path = "it/nginx.rs"]
mod nginx;
#[path = "it/otlp.rs"]
mod otlp;
#[path = "it/people.rs"]
mod people;
#[path = "it/policies.rs"]
mod policies;
#[path = "it/probes.rs"]
mod probes;
#[path = "it/receiver.rs"]
mod receiver;
#[path = "it/recordings.rs"]
mod recordings;
#[path = "it/scrapes.rs"]
mod scrapes;
#[path = "it/secrets.rs"]
mod secrets;
#[path = "it/sender.rs"]
mod sender;
#[path = "it/signals.rs"]
mod signals;
#[path = "it/signals_kills.rs"]
mod signals_kills;
#[path = "it/state_kills.rs"]
mod state_kills;
#[path = "it/steps.rs"]
mod steps;
#[path = "it/taken_back.rs"]
mod taken_back;
#[path = "it/tls.rs"]
mod tls;
#[path = "it/unit.rs"]
mod unit;
#[path = "it/writers.rs"]
mod writers;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const CANARY: &str = "service: legacy-forms
image: legacy-forms:1.8.0
strategy:
  type: canary
  steps:
    - weight: 1
    - weight: 100
healthChecks:
  - path: /health
    threshold: 3 fails/60 s
";

const SERVICES: &str = "services:
  legacy-forms:
    driver: external
    upstreams: {\"1.7.3\": [\"127.0.0.1:1\"], \"1.8.0\": [\"127.0.0.1:2\"]}
";

/// A folder with its own home, and perhaps a tower.
struct Desk {
    dir: tempfile::TempDir,
    server: Option<String>,
    tower: Option<Child>,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("canary.yaml", CANARY.to_owned()),
            ("services.yaml", SERVICES.to_owned()),
            ("broken.yaml", CANARY.replace("weight: 1\n", "weight: 101\n")),
        ] {
            put(&dir.path().join(name), &text);
        }
        Self { dir, server: None, tower: None }
    }

    /// With a tower of its own, on a port that was free.
    fn with_tower() -> Self {
        let mut desk = Self::new();
        let any = ["serve", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"];
        let mut tower = desk.command(&any).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(tower.stderr.take().unwrap()).lines();
        let greeting = lines.by_ref().map(Result::unwrap).find(|line| line.starts_with("hmsops tower"));
        let port: u16 = greeting.unwrap().trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        desk.server = Some(format!("http://127.0.0.1:{port}"));
        desk.tower = Some(tower);
        desk
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hmsops"));
        command.args(args).current_dir(self.dir.path()).env_clear().env("HOME", self.dir.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        if let Some(server) = &self.server {
            command.env("HMSOPS_SERVER", server);
        }
        command
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        let output: Output = self.command(args).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn json(&self, args: &[&str]) -> Value {
        let (code, out, err) = self.run(args);
        assert_eq!(code, 0, "{args:?}: {err}");
        serde_json::from_str(&out).unwrap()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Some(mut tower) = self.tower.take() {
            let _ended = tower.kill().and_then(|()| tower.wait());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a test lays out what a person would have written")]
fn put(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

#[test]
fn check_says_where_and_what_to_do() {
    let desk = Desk::new();
    let (code, out, err) = desk.run(&["check", "broken.yaml"]);
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (
            2,
            "error: weight 101 is more than 100 %
  --> broken.yaml:6:15
6 |     - weight: 101
  |               ^^^
hint: weights are per cent of users, 0.01 to 100
",
            "1 file checked, 1 file with errors\n"
        )
    );
    let (code, out, err) = desk.run(&["check", "canary.yaml", "services.yaml"]);
    assert_eq!((code, err.lines().last()), (0, Some("2 files checked, nothing is wrong")), "{out}");
}

#[test]
fn check_reads_folders_and_prints_for_programs() {
    let desk = Desk::new();
    let (code, out, _) = desk.run(&["check", ".", "--format", "json"]);
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &found[0]["line"], &found[0]["column"]), (2, &6.into(), &15.into()), "{found}");
    let (code, out, _) = desk.run(&["check", ".", "--format", "sarif"]);
    let log: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &log["version"], &log["runs"][0]["results"][0]["level"]),
        (2, &"2.1.0".into(), &"error".into())
    );
    let (code, _, err) = desk.run(&["check", "nothing.yaml"]);
    assert_eq!(
        (code, err.as_str()),
        (3, "error: there is no file `nothing.yaml`\nhint: paths are relative to this folder\n")
    );
}

#[test]
fn what_goes_wrong_has_its_exit_code_and_a_hint() {
    let desk = Desk::new();
    for (args, code, said) in [
        (
            &["--server", "http://127.0.0.1:1", "service", "list"][..],
            5,
            "cannot reach the tower at http://127.0.0.1:1",
        ),
        (&["--server", "https://tower", "service", "list"], 5, "cannot reach the tower at https://tower:443"),
        (&["--server", "tower", "service", "list"], 2, "is not the address of a tower"),
        (&["release", "show", "42"], 2, "`42` is not a release id"),
        (&["deploy"], 2, "--file"),
        (&["frobnicate"], 2, "unrecognized subcommand"),
        (&["deploy", "-f", "broken.yaml"], 2, "weight 101"),
        (&["deploy", "-f", "nothing.yaml"], 3, "there is no file"),
        (&["lab", "env"], 3, "no lab runs"),
        (&["man", "frobnicate"], 3, "there is no verb"),
        (&["audit", "verify", "--data", "nothing"], 3, "there is no folder"),
    ] {
        let (found, out, err) = desk.run(args);
        assert_eq!((found, out.as_str()), (code, ""), "{args:?}: {err}");
        assert!(err.contains(said), "{args:?}: {err}");
    }
}

#[test]
fn the_lab_is_found_from_below_its_checkout() {
    let desk = Desk::new();
    std::fs::create_dir_all(desk.dir.path().join("lab/.state/repo")).unwrap();
    let lab = r#"{"server":"http://x:1","gateway":"http://x:2","photo_gateway":"http://x:3","data":"d","repo":"r"}"#;
    put(&desk.dir.path().join("lab/.state/lab.json"), lab);
    let output =
        desk.command(&["lab", "env"]).current_dir(desk.dir.path().join("lab/.state/repo")).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.contains("export HMSOPS_SERVER='http://x:1'\n"), "{out}");
}

#[test]
fn shells_get_completions_and_pages() {
    let desk = Desk::new();
    let (code, out, _) = desk.run(&["completions", "bash"]);
    assert!(code == 0 && out.contains("complete -F _hmsops"), "{out}");
    let (code, out, _) = desk.run(&["man", "release", "watch"]);
    assert!(code == 0 && out.contains(".TH"), "{out}");
    assert_eq!(desk.run(&["version"]), (0, format!("hmsops {}\n", env!("CARGO_PKG_VERSION")), String::new()));
}

/// A whole session with a real tower: its token is found in its data folder, as a new user would have it.
#[test]
fn a_service_is_declared_adopted_and_released() {
    let desk = Desk::with_tower();
    assert_eq!(
        desk.run(&["service", "list"]).1,
        "SERVICE  STATE  STABLE  RELEASE  REQ/S  ERRORS  P99  GATEWAY\n"
    );
    assert_eq!(desk.run(&["apply", "-f", "services.yaml", "--dry-run"]).1, "+ would add  legacy-forms\n");
    assert_eq!(desk.run(&["apply", "-f", "services.yaml"]).1, "+ added      legacy-forms\n");
    assert_eq!(desk.run(&["apply", "-f", "services.yaml"]).1, "= unchanged  legacy-forms\n");
    let (code, _, err) = desk.run(&["deploy", "-f", "canary.yaml"]);
    assert_eq!(code, 4, "{err}");
    assert!(err.starts_with("error: no version of `legacy-forms` runs yet\nhint: "), "{err}");
    let adopt =
        ["service", "adopt", "legacy-forms", "--upstream", "127.0.0.1:1", "--version", "1.7.3", "--json"];
    assert_eq!(desk.json(&adopt)["stable"]["version"], "1.7.3");
    let (code, plan, err) = desk.run(&["deploy", "-f", "canary.yaml", "--dry-run"]);
    assert!(code == 0 && plan.starts_with("legacy-forms  1.7.3 (stable) → 1.8.0\n"), "{plan}{err}");
    let release = desk.json(&["deploy", "-f", "canary.yaml", "--json"]);
    assert_eq!(
        (&release["id"], &release["instance"]["state"]),
        (&"r-1".into(), &"running".into()),
        "{release}"
    );
    let (code, out, err) = desk.run(&["release", "abort", "r-1", "--reason", "wrong build"]);
    assert!(code == 0 && out.starts_with("■ r-1  "), "{out}{err}");
    let (code, out, _) = desk.run(&["release", "why", "r-1"]);
    assert!(code == 0 && out.starts_with("Taken back by a person: wrong build.\nasked for "), "{out}");
    assert_eq!(desk.json(&["release", "list", "--json"])["releases"][0]["phase"], "aborted");
    let (code, out, err) = desk.run(&["release", "watch"]);
    assert!(code == 0 && out.ends_with("Taken back by a person: wrong build.\n"), "{out}{err}");
    assert_eq!(desk.run(&["release", "show", "r-9"]).0, 3);
    assert_eq!(desk.run(&["rollback", "legacy-forms", "--to", "prev"]).0, 3, "there is no earlier version");
    let (code, out, err) = desk.run(&["audit", "verify"]);
    assert!(code == 0 && out.starts_with("whole: "), "{out}{err}");
    let (code, out, err) = desk.run(&["audit", "verify", "--data", "hmsops-data"]);
    assert!(code == 0 && out.starts_with("whole: "), "{out}{err}");
    let (_, out, _) = desk.run(&["audit", "list", "--release", "r-1", "--kind", "release.requested"]);
    assert_eq!(out.lines().count(), 2, "{out}");
}

#[test]
fn a_login_is_remembered_and_a_wrong_one_is_not() {
    let desk = Desk::with_tower();
    let server = desk.server.clone().unwrap();
    let token = std::fs::read_to_string(desk.dir.path().join("hmsops-data/admin.token")).unwrap();
    let (code, out, err) = desk.run(&["login"]);
    assert!(code == 0 && out.starts_with(&format!("{server}/login/")), "{out}{err}");
    let (code, _, err) = desk.run(&["login", "--server", &server, "--token", "hms_admin_wrong"]);
    assert!(code == 4 && err.contains("mistyped"), "{err}");
    let (code, _, err) = desk.run(&["login", "--server", &server, "--token", token.trim()]);
    assert_eq!(code, 0, "{err}");
    let elsewhere = tempfile::tempdir().unwrap();
    let mut command = desk.command(&["service", "list", "--json"]);
    let output = command.current_dir(elsewhere.path()).env_remove("HMSOPS_SERVER").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A reader that has seen enough is no failure of ours.
#[test]
fn a_closed_pipe_is_silent() {
    let desk = Desk::new();
    let mut child =
        desk.command(&["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
