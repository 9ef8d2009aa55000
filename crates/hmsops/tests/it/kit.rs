//! A site of its own for each test: a data folder, a repo, a tower, what it starts, and users' view of it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use super::http::{self, Answer};
use super::nginx::{self, Build};

/// Sites at once: more would wait for the processor, and their promises are in seconds.
const SITES_MAX: usize = 2;

/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(25);

/// The service of most tests.
pub(crate) const SHOP: &str = "services:
  shop:
    driver: process
    image: {dir: \"@ROOT@/shop/{tag}\"}
    run: [\"./run\"]
    ports: {http: auto}
    env: {WORK: \"@ROOT@/work\"}
    route: {gateway: public}
    health: [{path: /health, threshold: 3 fails/60 s}]
    stable: \"1.0\"
";

/// For tests that need no service: one that runs elsewhere.
pub(crate) const SHOPLESS: &str = "services:
  elsewhere:
    driver: external
    upstreams: {\"1.0\": [\"127.0.0.1:1\"]}
";

/// By how much the wall clock of a site's tower is wrong.
const CLOCK: &str = "clock";

/// How a command ended and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// A process that belongs to a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// `serve`, `gateway`, `shim`, or the program's name.
    pub(crate) role: String,
}

/// A tower with all that belongs to it. Dropped, it ends every process of its folder.
pub(crate) struct Site {
    dir: tempfile::TempDir,
    /// Where the tower listens.
    pub(crate) at: SocketAddr,
    /// Where users ask.
    pub(crate) gateway: SocketAddr,
    /// Where what services emit is taken.
    pub(crate) collector: SocketAddr,
    tower: Option<Child>,
    by_hand: Vec<Child>,
    _slot: File,
}

impl Site {
    /// Folders, settings and declarations; nothing runs. `@ROOT@` in the declarations is its folder.
    pub(crate) fn lay_out(services: &str) -> Self {
        nginx::require();
        let slot = slot();
        // Sockets have short paths.
        let dir = tempfile::Builder::new().prefix("hms").tempdir().unwrap();
        let [at, gateway, collector] = free_ports();
        let site = Self { dir, at, gateway, collector, tower: None, by_hand: Vec::new(), _slot: slot };
        site.configure("");
        site.declare(services);
        fs::create_dir_all(site.path("work")).unwrap();
        site
    }

    /// `shop` with version 1.0 as stable, served through the gateway.
    pub(crate) fn shop() -> Self {
        let mut site = Self::lay_out(SHOP);
        site.open_shop();
        site
    }

    /// Starts the tower, and `shop` with it.
    pub(crate) fn open_shop(&mut self) {
        let site = self;
        site.build("1.0", Build::GOOD);
        site.start();
        site.wait("1.0 is served", 30, |site| site.get("/").filter(|answer| answer.version() == Some("1.0")));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file that nobody else may read.
    pub(crate) fn put_secret(&self, name: &str, text: &str) {
        nginx::put(&self.path(name), text);
        let own = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(self.path(name), own).unwrap();
    }

    /// Writes `hmsops.yaml`: the gateway, and more.
    pub(crate) fn configure(&self, more: &str) {
        let gateway = self.gateway;
        let config = format!("gateways: {{public: {{listen: \"{gateway}\"}}}}\n{more}");
        nginx::put(&self.path("hmsops.yaml"), &config);
    }

    /// Starts a program beside the tower, which ends with the site.
    pub(crate) fn keep(&mut self, command: &mut Command) {
        command.current_dir(self.dir.path()).stdin(Stdio::null()).stdout(Stdio::null());
        self.by_hand.push(command.spawn().unwrap());
    }

    /// Ends what was started beside the tower.
    pub(crate) fn end_kept(&mut self) {
        for mut child in self.by_hand.drain(..) {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Writes `services.yaml`.
    pub(crate) fn declare(&self, services: &str) {
        let root = self.dir.path().display().to_string();
        nginx::put(&self.path("repo/dev/cd/services.yaml"), &services.replace("@ROOT@", &root));
    }

    /// Lays out a version of `shop`.
    pub(crate) fn build(&self, version: &str, build: Build) -> PathBuf {
        let dir = self.path(&format!("shop/{version}"));
        nginx::lay_out(&dir, version, build);
        dir
    }

    /// Starts a version by hand and answers where it listens.
    pub(crate) fn start_by_hand(&mut self, version: &str, build: Build) -> SocketAddr {
        let (dir, at) = (self.build(version, build), free_port());
        self.by_hand.push(nginx::start_by_hand(&dir, self.path("work"), version, at.port()));
        self.wait("a version started by hand", 10, |_| http::get(at, "/health", &[]).ok());
        at
    }

    /// Writes a release file and answers its name. `steps` is a YAML list.
    pub(crate) fn release_file(&self, version: &str, steps: &str, bake: &str) -> String {
        let text = format!(
            "service: shop\nimage: shop:{version}\nstrategy:\n  type: canary\n  steps: {steps}\nhealthChecks:\n  - path: /health\n    \
             threshold: 3 fails/60 s\nbake: {bake}\n"
        );
        nginx::put(&self.path("canary.yaml"), &text);
        self.path("canary.yaml").display().to_string()
    }

    /// Starts the tower and waits until it is ready; answers how long that took.
    pub(crate) fn start(&mut self) -> Duration {
        let begun = now();
        self.spawn_tower();
        self.wait_ready();
        begun.elapsed()
    }

    /// Starts the tower.
    pub(crate) fn spawn_tower(&mut self) {
        self.spawn_tower_with(&[]);
    }

    /// Starts the tower with more in its environment.
    pub(crate) fn spawn_tower_with(&mut self, variables: &[(&str, &str)]) {
        assert!(self.tower.is_none(), "it runs already");
        let log = File::options().create(true).append(true).open(self.path("tower.log")).unwrap();
        let mut command = self.serve(&[]);
        command.stdout(log.try_clone().unwrap()).stderr(log).envs(variables.iter().copied());
        self.tower = Some(command.spawn().unwrap());
    }

    /// Waits until the tower is ready.
    pub(crate) fn wait_ready(&mut self) {
        let at = self.at;
        self.wait("the tower is ready", 20, |_| {
            http::get(at, "/-/ready", &[]).ok().filter(|answer| answer.status == 200)
        });
    }

    /// `hmsops serve` for this site.
    pub(crate) fn serve(&self, more: &[&str]) -> Command {
        let mut command = self.command(&["serve", "--config"]);
        command.arg(self.path("hmsops.yaml")).arg("--data").arg(self.path("data"));
        command.arg("--repo").arg(self.path("repo"));
        if !more.contains(&"--listen") {
            command.arg("--listen").arg(self.at.to_string());
        }
        if !more.contains(&"--grpc-listen") {
            // One that listens elsewhere is a second one.
            let is_second = more.contains(&"--listen");
            let collector = if is_second { "127.0.0.1:0".to_owned() } else { self.collector.to_string() };
            command.args(["--grpc-listen", &collector]);
        }
        command.args(more).stdin(Stdio::null());
        if self.path(CLOCK).exists() {
            command.env("LD_PRELOAD", faketime()).env("FAKETIME_TIMESTAMP_FILE", self.path(CLOCK));
            command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        command
    }

    /// Sets the wall clock of the tower that runs, and of those started from now on, forth or back by so many seconds.
    #[expect(clippy::disallowed_methods, reason = "the library must never find half a file")]
    pub(crate) fn set_clock(&self, seconds: i64) {
        nginx::put(&self.path("clock.new"), &format!("{seconds:+}s\n"));
        fs::rename(self.path("clock.new"), self.path(CLOCK)).unwrap();
    }

    /// A command of ours as the site's administrator types it.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hmsops"));
        command.args(args).env_clear().env("HOME", self.dir.path()).env("PATH", nginx::path());
        command.env("HMSOPS_SERVER", format!("http://{}", self.at)).env("HMSOPS_DATA", self.path("data"));
        command.current_dir(self.dir.path());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        self.command(args).stdin(Stdio::null()).output().unwrap().into()
    }

    /// Runs a command that must succeed; answers its output.
    pub(crate) fn done(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert_eq!(said.code, Some(0), "{args:?}: {said:?}\n{}", self.log());
        said.out
    }

    /// Runs a verb as a heal does, with nothing in its environment but where the tower is; it must succeed.
    pub(crate) fn heals(&self, verb: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hmsops"));
        command.args(verb).current_dir(self.path("data")).env_clear();
        command.env("HMSOPS_SERVER", format!("http://{}", self.at)).env("HMSOPS_DATA", self.path("data"));
        let said = Said::from(command.output().unwrap());
        assert_eq!(said.code, Some(0), "{verb:?}: {said:?}\n{}", self.log());
        said.out
    }

    /// Runs a command that must succeed, with `--json`.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let args = [args, &["--json"]].concat();
        serde_json::from_str(&self.done(&args)).unwrap()
    }

    /// Begins to follow a release as `deploy --wait` does.
    pub(crate) fn deploy_and_wait(&self, file: &str) -> Child {
        let mut command = self.command(&["deploy", "-f", file, "--wait"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The admin's token, once the tower has been started.
    pub(crate) fn token(&self) -> String {
        fs::read_to_string(self.path("data/admin.token")).unwrap_or_default().trim().to_owned()
    }

    /// What the API says of a resource; `None` while no tower answers.
    pub(crate) fn api(&self, path: &str) -> Option<Value> {
        let answer = http::get(self.at, path, &[format!("authorization: Bearer {}", self.token())]).ok()?;
        serde_json::from_str(&answer.body).ok()
    }

    /// A release, once it is what is waited for.
    pub(crate) fn release(
        &self,
        id: &str,
        what: &str,
        seconds: u64,
        holds: impl Fn(&Value) -> bool,
    ) -> Value {
        let path = format!("/hms/v1/releases/{id}");
        self.wait(&format!("{id}: {what}"), seconds, |site| site.api(&path).filter(&holds))
    }

    /// Waits until a release has its share of users.
    pub(crate) fn wait_for_weight(&self, id: &str, weight_bp: u64) -> Value {
        self.release(id, &format!("{weight_bp} basis points"), 30, |release| has_weight(release, weight_bp))
    }

    /// The process of the stable version.
    pub(crate) fn stable_pid(&self) -> u64 {
        self.wait("a stable process", 10, |site| site.api("/hms/v1/services/shop")?["stable"]["pid"].as_u64())
    }

    /// A user's request through the gateway.
    pub(crate) fn get(&self, path: &str) -> Option<Answer> {
        http::get(self.gateway, path, &[]).ok()
    }

    /// Waits until something is there. Not within so many seconds: the test fails with the end of the tower's log.
    pub(crate) fn wait<T>(&self, what: &str, seconds: u64, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        self.wait_closely(what, seconds, |site| {
            let found = look(site);
            if found.is_none() {
                pause();
            }
            found
        })
    }

    /// As [`Site::wait`], without a pause between two looks.
    pub(crate) fn wait_closely<T>(
        &self,
        what: &str,
        seconds: u64,
        mut look: impl FnMut(&Self) -> Option<T>,
    ) -> T {
        let deadline = now() + Duration::from_secs(seconds);
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(now() < deadline, "not within {seconds} s: {what}\n{}", self.log());
        }
    }

    /// The tower's log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("tower.log")).unwrap_or_default()
    }

    /// The gateway's process, once there is one.
    pub(crate) fn gateway_pid(&self) -> u32 {
        let gateway = |site: &Self| site.processes().into_iter().find(|process| process.role == "gateway");
        self.wait("a gateway", 10, gateway).pid
    }

    /// Ends the tower as nothing can prevent.
    pub(crate) fn kill_tower(&mut self) {
        let mut tower = self.tower.take().unwrap();
        tower.kill().unwrap();
        tower.wait().unwrap();
    }

    /// Ends everything at once, the tower first so that it starts nothing again.
    pub(crate) fn kill_all(&mut self) {
        self.kill_tower();
        self.end();
    }

    /// Asks the tower to end; answers how long it took.
    pub(crate) fn stop_tower(&mut self) -> Duration {
        let (mut tower, begun) = (self.tower.take().unwrap(), now());
        send(tower.id(), Signal::TERM);
        let ended = self.wait("the tower ends", 20, |_| tower.try_wait().unwrap());
        assert!(ended.success(), "{ended}");
        begun.elapsed()
    }

    /// Asks the tower to read its files again.
    pub(crate) fn hang_up(&self) {
        send(self.tower.as_ref().unwrap().id(), Signal::HUP);
    }

    /// Everything that runs for this site, found by the folder it was started in or for. Zombies have neither.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let root = self.dir.path();
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| *pid != std::process::id()).filter_map(|pid| process(pid, root)).collect()
    }

    fn end(&mut self) {
        if let Some(mut tower) = self.tower.take() {
            let _gone = tower.kill().and_then(|()| tower.wait());
        }
        for mut child in self.by_hand.drain(..) {
            let _gone = child.kill().and_then(|()| child.wait());
        }
        let deadline = now() + Duration::from_secs(10);
        loop {
            let left = self.processes();
            if left.is_empty() || now() >= deadline {
                assert!(left.is_empty() || std::thread::panicking(), "cannot be ended: {left:?}");
                return;
            }
            for process in left {
                send(process.pid, Signal::KILL);
            }
            pause();
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether a release's canary has this share of users now.
pub(crate) fn has_weight(release: &Value, weight_bp: u64) -> bool {
    let headline = release["headline"].as_str().unwrap_or_default();
    release["weight_bp"] == weight_bp && headline.ends_with("of traffic and is under watch.")
}

/// Whether a release is in this phase.
pub(crate) fn is(phase: &'static str) -> impl Fn(&Value) -> bool {
    move |release| release["phase"] == phase
}

/// Sends a signal to a process of ours; one that has ended does not mind.
pub(crate) fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).unwrap();
    let _gone = rustix::process::kill_process(pid, signal);
}

/// Kills a process and waits until it is gone.
pub(crate) fn kill(pid: u32) {
    send(pid, Signal::KILL);
    let deadline = now() + Duration::from_secs(10);
    while fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty()) {
        assert!(now() < deadline, "{pid} does not end");
        pause();
    }
}

/// Whether a process runs.
pub(crate) fn runs(pid: u64) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

/// A process, if it belongs to that folder: it works there, or was told of it.
fn process(pid: u32, root: &Path) -> Option<Process> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let args: Vec<_> = line.split(|byte| matches!(byte, 0 | b' ')).map(String::from_utf8_lossy).collect();
    let works_there = fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|dir| dir.starts_with(root));
    let is_ours =
        !line.is_empty() && (works_there || args.iter().any(|arg| Path::new(&**arg).starts_with(root)));
    let program = args.first()?.rsplit('/').next()?;
    let role = if program == "hmsops" { args.get(1)? } else { program };
    is_ours.then(|| Process { pid, role: role.to_owned() })
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> SocketAddr {
    let [port] = free_ports();
    port
}

/// Ports that nobody listens on, no two the same. Below those that the kernel gives to connections, so that none
/// takes one while what listens there is being restarted.
fn free_ports<const N: usize>() -> [SocketAddr; N] {
    use std::hash::BuildHasher as _;
    // All are held until the last is found.
    let held: [TcpListener; N] = std::array::from_fn(|_| {
        let random = std::collections::hash_map::RandomState::new().hash_one(std::process::id());
        let start = 10_000 + (random % 20_000) as u16;
        let mut ports = (start..32_000).map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        ports.find_map(|at| TcpListener::bind(at).ok()).unwrap()
    });
    held.map(|listener| listener.local_addr().unwrap())
}

/// Waits for one of the places for sites; it is free again when the file is dropped or the process ends.
fn slot() -> File {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let deadline = now() + Duration::from_mins(10);
    loop {
        for number in 0..SITES_MAX {
            let path = dir.join(format!("site-{number}.lock"));
            let file = File::options().create(true).append(true).open(path).unwrap();
            if file.try_lock().is_ok() {
                return file;
            }
        }
        assert!(now() < deadline, "no other test has ended in ten minutes");
        pause();
    }
}

/// The library that shows a process another wall clock.
pub(crate) fn faketime() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path());
    let mut found = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    found
        .find(|library| library.is_file())
        .expect("libfaketime is not installed: `cargo xtask test` installs it, or apt-get install faketime")
}

/// The real clock.
#[expect(clippy::disallowed_methods, reason = "what is waited for happens in other processes")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Between two looks at what has a deadline: other processes tell nobody here of what they do.
pub(crate) fn pause() {
    std::thread::park_timeout(LOOK);
}
