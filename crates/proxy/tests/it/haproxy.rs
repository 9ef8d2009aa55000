//! A real HAProxy in the gateway's place: what is said to be in force is counted in real requests.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hmsops_model::gateway::{GatewaySettings, HaproxySettings};
use hmsops_model::{BadKind, Millis, ReleaseId, Unit, Weight};
use hmsops_proxy::plane::{keep_settings, settings_file};
use hmsops_wire::gateway::{FromGateway, RetreatBy, ToGateway};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::world::{
    Backend, Client, Reply, Running, backend, gateway_with, nowhere, patiently, portal, route,
};

/// An HAProxy of this test's own, ended with it.
struct Haproxy {
    folder: tempfile::TempDir,
    listen: SocketAddr,
    process: Child,
}

const CONFIG: &str = "global
  stats socket @DIR@/admin.sock mode 600 level admin
  hard-stop-after 5s
defaults
  mode http
  timeout connect 250ms
  timeout client 30s
  timeout server 2s
  retries 1
  option redispatch
frontend users
  bind @LISTEN@
  default_backend portal
backend portal
  @RULES@
  server srv_stable 127.0.0.1:1
  server srv_canary 127.0.0.1:1 weight 0 disabled
";

/// The share from a map, drawn anew for each request.
const RULES: &str = "balance roundrobin
  http-request set-var(txn.share) str(portal),map_str_int(@DIR@/canary.map,0)
  http-request set-var(txn.drawn) rand(10000)
  use-server srv_canary if { var(txn.share),sub(txn.drawn) gt 0 }";

impl Haproxy {
    async fn start(rules: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("hap").tempdir().unwrap();
        let listen: SocketAddr = nowhere().await.parse().unwrap();
        let dir = folder.path().display().to_string();
        let config = CONFIG.replace("@RULES@", rules).replace("@DIR@", &dir);
        put(&folder.path().join("haproxy.cfg"), &config.replace("@LISTEN@", &listen.to_string()));
        put(&folder.path().join("canary.map"), "portal 0\n");
        let process = run(folder.path());
        let haproxy = Self { folder, listen, process };
        haproxy.wait().await;
        haproxy
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }

    fn settings(&self) -> HaproxySettings {
        HaproxySettings {
            socket: self.socket().display().to_string(),
            backend: "portal".to_owned(),
            stable: "srv_stable".to_owned(),
            canary: "srv_canary".to_owned(),
            map: None,
        }
    }

    fn with_map(&self) -> HaproxySettings {
        let map = self.folder.path().join("canary.map").display().to_string();
        HaproxySettings { map: Some(map), ..self.settings() }
    }

    async fn wait(&self) {
        patiently("HAProxy", async {
            while self.ask("show info").await.is_none() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// What its socket answers, as a person would ask it.
    async fn ask(&self, command: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.socket()).await.ok()?;
        stream.write_all(format!("{command}\n").as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Killed and started again from its file, in which the canary gets nothing.
    async fn restart(&mut self) {
        self.kill();
        self.process = run(self.folder.path());
        self.wait().await;
    }

    async fn client(&self) -> Client {
        Client::new(self.listen).await
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

fn run(folder: &Path) -> Child {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(folder.join("haproxy.cfg")).env("PATH", path);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("haproxy is installed: `cargo xtask test` installs it, or apt-get install haproxy")
}

#[expect(clippy::disallowed_methods, reason = "a test lays out what a person would have written")]
fn put(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

async fn driving(haproxy: HaproxySettings) -> Running {
    driving_with(haproxy, Millis::from_mins(1)).await
}

async fn driving_with(haproxy: HaproxySettings, retreat_after: Millis) -> Running {
    gateway_with(|options| {
        let settings = GatewaySettings { haproxy: Some(Box::new(haproxy)), ..GatewaySettings::default() };
        options.settings = settings_file("public");
        options.disk.replace(&options.settings, &keep_settings(&settings)).unwrap();
        options.retreat_after = retreat_after;
    })
    .await
}

async fn versions() -> (Backend, Backend) {
    (backend(Reply::Status(200, "stable")).await, backend(Reply::Status(200, "canary")).await)
}

async fn ask(client: &mut Client, n: u64) -> u64 {
    let mut failed = 0;
    for _ in 0..n {
        failed += u64::from(client.get("/").await.status != 200);
    }
    failed
}

/// Whether `k` of `n` is within the 99.9 % interval of Wilson (1927) around the share.
fn agrees(k: u64, n: u64, share: f64) -> bool {
    let (n, z) = (n as f64, 3.2905_f64);
    let seen = k as f64 / n;
    let middle = (seen + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (seen * (1.0 - seen) / n + z * z / (4.0 * n * n)).sqrt();
    (share - middle).abs() <= half + 1e-9
}

/// Ten thousand requests, and what HAProxy's counters say of them comes as ticks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_share_that_is_set_is_the_share_that_is_counted() {
    let haproxy = Haproxy::start("balance roundrobin").await;
    let ((stable, canary), gateway) = (versions().await, driving(haproxy.settings()).await);
    let mut tower = gateway.tower().await;
    let mut client = haproxy.client().await;
    for (epoch, bp) in [(1, 100), (2, 700), (3, 2500)] {
        tower.set(route(epoch, &stable.address, &canary.address, bp)).await;
        let before = (stable.asked(), canary.asked());
        assert_eq!(ask(&mut client, 3500).await, 0);
        let (of_stable, of_canary) = (stable.asked() - before.0, canary.asked() - before.1);
        assert_eq!(of_stable + of_canary, 3500);
        let share = f64::from(bp) / 1e4;
        assert!(agrees(of_canary, 3500, share), "{of_canary} of 3500 at {bp} basis points");
    }
    let (asked, of_canary) = (stable.asked() + canary.asked(), canary.asked());
    let counted = tower.counts("every request", |s, c| s.requests + c.requests >= asked).await;
    assert_eq!((counted.0.requests + counted.1.requests, counted.1.requests), (asked, of_canary));
    assert!(tower.ticks.iter().all(|tick| tick.unit == Unit::Request));
    assert!(tower.ticks.iter().any(|tick| tick.weight.bp() == 2500 && tick.epoch == 3));
}

/// A canary does not wait for a long round of HAProxy's round robin to end before it gets its first request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_begins_at_once() {
    let haproxy = Haproxy::start("balance roundrobin").await;
    let ((stable, canary), gateway) = (versions().await, driving(haproxy.settings()).await);
    let mut tower = gateway.tower().await;
    let mut client = haproxy.client().await;
    let steps = [1000, 5000, 2500, 500, 9000];
    for (n, bp) in (1..).zip(steps) {
        let at = [&stable.address, &canary.address];
        let mut none = route(2 * n, at[0], at[1], 0);
        none.canary = None;
        tower.set(none).await;
        assert_eq!(ask(&mut client, 50).await, 0);
        tower.set(route(2 * n + 1, at[0], at[1], bp)).await;
        let before = canary.asked();
        assert_eq!(ask(&mut client, 200).await, 0);
        let (seen, expected) = (canary.asked() - before, u64::from(bp) / 50);
        assert!(seen.abs_diff(expected) <= 10 + expected / 10, "{seen} of 200 at {bp} basis points");
    }
}

/// A map's share is drawn for each request and may be as small as a basis point.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_map_gives_shares_that_weights_cannot() {
    let haproxy = Haproxy::start(RULES).await;
    let ((stable, canary), gateway) = (versions().await, driving(haproxy.with_map()).await);
    let mut tower = gateway.tower().await;
    let mut client = haproxy.client().await;
    for (epoch, bp) in [(1, 20), (2, 3000), (3, 10_000)] {
        tower.set(route(epoch, &stable.address, &canary.address, bp)).await;
        let before = canary.asked();
        assert_eq!(ask(&mut client, 3000).await, 0);
        let of_canary = canary.asked() - before;
        assert!(agrees(of_canary, 3000, f64::from(bp) / 1e4), "{of_canary} of 3000 at {bp} basis points");
    }
    assert_eq!(tower.retreat(1).await, Weight::ALL);
    let before = canary.asked();
    assert_eq!(ask(&mut client, 2000).await, 0);
    assert_eq!(canary.asked(), before);
}

/// After the retreat is confirmed, none of the next two thousand requests is the canary's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retreat_leaves_the_canary_nothing() {
    let haproxy = Haproxy::start(
        "balance roundrobin\n  cookie V insert indirect nocache dynamic\n  dynamic-cookie-key k",
    )
    .await;
    let ((stable, canary), gateway) = (versions().await, driving(haproxy.settings()).await);
    let mut tower = gateway.tower().await;
    tower.set(route(1, &stable.address, &canary.address, 5000)).await;
    let mut client = haproxy.client().await;
    assert_eq!(ask(&mut client, 100).await, 0);
    assert!(canary.asked() > 40);
    assert_eq!(tower.retreat(1).await.bp(), 5000);
    let before = canary.asked();
    assert_eq!(ask(&mut client, 2000).await, 0);
    assert_eq!(canary.asked(), before);
    tower.wait("the drain", |m| matches!(m, FromGateway::Drained { .. }).then_some(())).await;
    // It is for good, whatever is asked for later.
    tower.say(ToGateway::Set { route: route(2, &stable.address, &canary.address, 100) }).await;
    let why = tower
        .wait("no", |m| match m {
            FromGateway::Refused { why, .. } => Some(why.clone()),
            _ => None,
        })
        .await;
    assert!(why.contains("has retreated"), "{why}");
}

/// Errors, broken answers and refused connections come as what they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_canary_does_is_counted_by_kind() {
    let haproxy = Haproxy::start("balance roundrobin").await;
    let gateway = driving(haproxy.settings()).await;
    let stable = backend(Reply::Status(200, "stable")).await;
    let mut tower = gateway.tower().await;
    let bad = backend(Reply::Status(500, "sorry")).await;
    let (junk, none) = (backend(Reply::Last(b"junk\r\n\r\n".to_vec())).await, nowhere().await);
    let kinds = [
        (bad.address.as_str(), BadKind::Status),
        (junk.address.as_str(), BadKind::Broken),
        (none.as_str(), BadKind::Refused),
    ];
    for (epoch, (address, kind)) in (1..).zip(kinds) {
        tower.set(route(epoch, &stable.address, address, 5000)).await;
        tower.ticks.clear();
        let mut client = haproxy.client().await;
        for _ in 0..40 {
            client.get("/").await;
        }
        let (_, canary) =
            tower.counts("forty requests", |s, c| s.requests + c.requests >= 40 && c.n_bad() > 0).await;
        assert_eq!(canary.bad.keys().copied().collect::<Vec<_>>(), [kind], "{canary:?}");
        assert_eq!(canary.n_bad(), canary.requests);
        assert_eq!(canary.new_bad, canary.requests);
        let is_shielded = kind == BadKind::Refused;
        assert_eq!((canary.shielded > 0, canary.seen == 0), (is_shielded, is_shielded), "{canary:?}");
    }
}

/// Weights change a hundred times under load, and nobody notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flips_of_weight_fail_no_request() {
    let haproxy = Haproxy::start("balance roundrobin").await;
    let ((one, two), gateway) = (versions().await, driving(haproxy.settings()).await);
    let mut tower = gateway.tower().await;
    tower.set(route(1, &one.address, &two.address, 100)).await;
    let (stop, sent, failed) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let users: Vec<_> = (0..4)
        .map(|_| {
            let (stop, sent, failed) = (Arc::clone(&stop), Arc::clone(&sent), Arc::clone(&failed));
            let listen = haproxy.listen;
            tokio::spawn(async move {
                let mut client = Client::new(listen).await;
                while !stop.load(Ordering::SeqCst) {
                    failed.fetch_add(ask(&mut client, 1).await, Ordering::SeqCst);
                    sent.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for epoch in 2..100 {
        let bp = [100, 5000, 10_000, 2500][epoch as usize % 4];
        let mut next = route(epoch, &one.address, &two.address, bp);
        if bp == 10_000 {
            // Promoted, and brought back: stable's server is pointed at the other version and back.
            next = route(epoch, &two.address, &two.address, 0);
            next.canary = None;
        }
        tower.set(next).await;
    }
    stop.store(true, Ordering::SeqCst);
    for user in users {
        patiently("a user", user).await.unwrap();
    }
    assert_eq!(failed.load(Ordering::SeqCst), 0, "of {}", sent.load(Ordering::SeqCst));
    assert!(two.asked() > 0 && one.asked() > 0);
}

/// An HAProxy that forgets all is told again; after a retreat it is told stable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_haproxy_is_set_right() {
    let mut haproxy = Haproxy::start("balance roundrobin").await;
    let ((stable, canary), gateway) = (versions().await, driving(haproxy.settings()).await);
    let mut tower = gateway.tower().await;
    tower.set(route(1, &stable.address, &canary.address, 5000)).await;
    haproxy.restart().await;
    let mut client = haproxy.client().await;
    patiently("both versions are asked", async {
        while stable.asked() == 0 || canary.asked() == 0 {
            client.get("/").await;
        }
    })
    .await;

    haproxy.kill();
    tower.say(ToGateway::Retreat { service: portal(), release: ReleaseId(1) }).await;
    haproxy.restart().await;
    // Said only now, when it is true.
    tower.wait("the retreat", |m| matches!(m, FromGateway::Retreated { .. }).then_some(())).await;
    let (mut client, before) = (haproxy.client().await, canary.asked());
    assert_eq!(ask(&mut client, 500).await, 0);
    assert_eq!(canary.asked(), before);
    // A person who sets a weight by hand is overruled.
    haproxy.ask("set server portal/srv_canary state ready;set server portal/srv_canary weight 256").await;
    patiently("it is set right", async {
        while !is_in_maintenance(&haproxy).await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn is_in_maintenance(haproxy: &Haproxy) -> bool {
    let stat = haproxy.ask("show stat portal 4 -1").await.unwrap_or_default();
    stat.lines().any(|line| line.starts_with("portal,srv_canary,") && line.contains(",MAINT,"))
}

/// A gateway that hears no tower takes the canary back in HAProxy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_tower_it_retreats_by_itself() {
    let haproxy = Haproxy::start("balance roundrobin").await;
    let (stable, canary) = versions().await;
    let gateway = driving_with(haproxy.settings(), Millis(1000)).await;
    let mut tower = gateway.tower().await;
    tower.set(route(1, &stable.address, &canary.address, 5000)).await;
    drop(tower);
    patiently("the retreat", async {
        while !is_in_maintenance(&haproxy).await {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut client = haproxy.client().await;
    assert_eq!(ask(&mut client, 200).await, 0);
    assert_eq!(canary.asked(), 0);
    let mut tower = gateway.tower().await;
    let by = tower
        .wait("what it did", |m| match m {
            FromGateway::Retreated { by, .. } => Some(*by),
            _ => None,
        })
        .await;
    assert_eq!(by, RetreatBy::Gateway);
}

/// A gateway that ends leaves no canary behind that nobody watches.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_ends_leaves_stable_only() {
    let haproxy = Haproxy::start("balance roundrobin").await;
    let ((stable, canary), gateway) = (versions().await, driving(haproxy.settings()).await);
    let mut tower = gateway.tower().await;
    tower.set(route(1, &stable.address, &canary.address, 5000)).await;
    gateway.stop().await;
    assert!(is_in_maintenance(&haproxy).await);
    assert_eq!(ask(&mut haproxy.client().await, 100).await, 0);
    assert_eq!(canary.asked(), 0);
}

/// What HAProxy hasn't got is said in words, and what it can't do is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_name_is_refused_in_words() {
    type Change = fn(&mut HaproxySettings);
    let haproxy = Haproxy::start("balance roundrobin").await;
    let (stable, canary) = versions().await;
    let wrong: [(Change, &str); 3] = [
        (|haproxy| haproxy.backend = "portals".into(), "HAProxy says `No such"),
        (|haproxy| haproxy.canary = "srv_new".into(), "HAProxy has no server `srv_new` in backend `portal`"),
        (|haproxy| haproxy.map = Some("/nowhere.map".into()), "HAProxy says `"),
    ];
    for (change, expected) in wrong {
        let mut settings = haproxy.settings();
        change(&mut settings);
        let gateway = driving(settings).await;
        let mut tower = gateway.tower().await;
        tower.say(ToGateway::Set { route: route(1, &stable.address, &canary.address, 100) }).await;
        let why = tower
            .wait("no", |m| match m {
                FromGateway::Refused { why, .. } => Some(why.clone()),
                _ => None,
            })
            .await;
        assert!(why.starts_with(expected), "{why}");
        gateway.stop().await;
    }
    let gateway = driving(haproxy.settings()).await;
    let mut tower = gateway.tower().await;
    tower.say(ToGateway::Set { route: route(1, &stable.address, &canary.address, 10) }).await;
    let why = tower
        .wait("no", |m| match m {
            FromGateway::Refused { why, .. } => Some(why.clone()),
            _ => None,
        })
        .await;
    assert!(why.starts_with("HAProxy's weights can't give a canary 0.1 %"), "{why}");
}

/// While HAProxy is away the tower hears nothing, which holds a release; nothing is said to be in force.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_haproxy_that_is_away_makes_the_gateway_silent() {
    let mut haproxy = Haproxy::start("balance roundrobin").await;
    let ((stable, canary), gateway) = (versions().await, driving(haproxy.settings()).await);
    let mut tower = gateway.tower().await;
    tower.set(route(1, &stable.address, &canary.address, 100)).await;
    tower.say(ToGateway::Ping).await;
    tower.wait("a pong", |m| matches!(m, FromGateway::Pong).then_some(())).await;
    haproxy.kill();
    tower.say(ToGateway::Set { route: route(2, &stable.address, &canary.address, 2500) }).await;
    // From some ping on there is no answer.
    patiently("silence", async {
        loop {
            tower.say(ToGateway::Ping).await;
            let pong = tower.wait("a pong", |m| matches!(m, FromGateway::Pong).then_some(()));
            if tokio::time::timeout(Duration::from_millis(300), pong).await.is_err() {
                break;
            }
        }
    })
    .await;
    haproxy.restart().await;
    let epoch = tower
        .wait("the route", |m| match m {
            FromGateway::Applied { epoch, .. } => Some(*epoch),
            _ => None,
        })
        .await;
    assert_eq!(epoch, 2);
    let mut client = haproxy.client().await;
    assert_eq!(ask(&mut client, 400).await, 0);
    assert!(agrees(canary.asked(), 400, 0.25), "{}", canary.asked());
}

/// Its own address answers HAProxy's check for as long as it lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_address_is_a_dead_mans_handle() {
    let haproxy = Haproxy::start("balance roundrobin").await;
    let gateway = driving(haproxy.settings()).await;
    let listen = gateway.listen;
    assert!(tokio::net::TcpStream::connect(listen).await.is_ok());
    gateway.stop().await;
    patiently("the end", async {
        while tokio::net::TcpStream::connect(listen).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
