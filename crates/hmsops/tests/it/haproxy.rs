//! HAProxy carries the requests, and the gateway beside it only sets and watches it.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::Command;

use super::kit::{self, SHOP, Said, Site, is};
use super::load::Load;
use super::nginx::{self, Build};

const CONFIG: &str = "global
  stats socket @DIR@/haproxy.sock mode 600 level admin
  hard-stop-after 5s
defaults
  mode http
  timeout connect 250ms
  timeout client 30s
  timeout server 5s
  retries 1
  option redispatch
frontend users
  bind @USERS@
  default_backend shop
backend shop
  balance roundrobin
  use-server srv_stable if { path -f @DIR@/bound.lst }
  server srv_stable 127.0.0.1:1
  server srv_canary 127.0.0.1:1 weight 0 disabled check addr 127.0.0.1 port @WATCH@ inter 500ms fall 2 rise 1
";

/// Paths that HAProxy serves from stable whatever the weights are.
const BOUND: &str = "bound.lst";

/// `shop` with version 1.0 as stable, served through an HAProxy; where users ask it.
fn shop() -> (Site, SocketAddr) {
    let mut site = Site::lay_out(SHOP);
    let users = kit::free_port();
    let dir = site.path("").display().to_string();
    let config = CONFIG.replace("@DIR@", dir.trim_end_matches('/')).replace("@USERS@", &users.to_string());
    let config = config.replace("@WATCH@", &site.gateway.port().to_string());
    nginx::put(&site.path("haproxy.cfg"), &config);
    nginx::put(&site.path(BOUND), "/never\n");
    let socket = site.path("haproxy.sock").display().to_string();
    let gateway = site.gateway;
    let settings = format!(
        "gateways:\n  public:\n    listen: \"{gateway}\"\n    haproxy: {{socket: {socket}, backend: shop, stable: \
         srv_stable, canary: srv_canary}}\n"
    );
    nginx::put(&site.path("hmsops.yaml"), &settings);
    site.keep(Command::new("haproxy").args(["-db", "-f", "haproxy.cfg"]).env("PATH", nginx::path()));
    site.build("1.0", Build::GOOD);
    site.start();
    site.wait("1.0 is served", 30, |_| {
        super::http::get(users, "/", &[]).ok().filter(|answer| answer.version() == Some("1.0"))
    });
    (site, users)
}

/// A bad release is judged by HAProxy's own counters and taken back in it.
#[test]
fn a_broken_release_behind_haproxy_is_taken_back() {
    let (site, users) = shop();
    site.build("1.1", Build::BROKEN);
    let load = Load::start(users, 200);
    let file = site.release_file("1.1", "[{weight: 5}, {weight: 100}]", "1 s");
    let said: Said = site.deploy_and_wait(&file).wait_with_output().unwrap().into();
    assert_eq!(said.code, Some(1), "{said:?}");
    let release = site.release("r-1", "its numbers are final", 20, |release| release["closed"] == true);
    assert!(is("rolled-back")(&release), "{release}");
    let why = site.done(&["release", "why", "r-1"]);
    assert!(why.starts_with("Rolled back: ") && why.contains(" failures hit 1.1, which had 5 % of"), "{why}");
    assert!(site.log().contains("rollback shop: Rollback to shop:1.0 completed"), "{}", site.log());
    // Users saw the failures: HAProxy asks nobody a second time. Then all is 1.0's.
    let failed = load.tally().failed;
    assert!(failed >= 3, "{failed}");
    let before = load.tally().sent;
    site.wait("more are served", 20, |_| (load.tally().sent > before + 200).then_some(()));
    let tally = load.stop();
    assert_eq!(tally.failed, failed, "{:?}", tally.failures);
    assert_eq!(tally.of("1.1"), 0, "{tally:?}");
}

/// A good release goes through its steps to the end, and no user notices.
#[test]
fn a_good_release_behind_haproxy_is_promoted() {
    let (site, users) = shop();
    site.build("1.1", Build::GOOD);
    let load = Load::start(users, 200);
    let file =
        site.release_file("1.1", "[{weight: 10, for: 1s}, {weight: 50, for: 1s}, {weight: 100}]", "1 s");
    site.done(&["deploy", "-f", &file]);
    site.release("r-1", "proven", 40, is("done"));
    let before = load.tally();
    site.wait("users have 1.1", 10, |_| (load.tally().of("1.1") > before.of("1.1") + 50).then_some(()));
    let tally = load.stop();
    assert_eq!(tally.failed, 0, "{:?}", tally.failures);
}

/// The tower is killed while the canary has users: the gateway beside HAProxy takes them back. When that is killed
/// too, HAProxy's own check of it does.
#[test]
fn without_a_tower_or_a_gateway_the_canary_loses_its_users() {
    let (mut site, users) = shop();
    site.build("1.1", Build::GOOD);
    let load = Load::start(users, 100);
    let file = site.release_file("1.1", "[{weight: 50}, {weight: 100}]", "1 s");
    let id = site.json(&["deploy", "-f", &file])["id"].as_str().unwrap().to_owned();
    site.wait_for_weight(&id, 5000);
    site.wait("users have 1.1", 10, |_| (load.tally().of("1.1") > 20).then_some(()));
    site.release(&id, "its share is measured", 15, |release| release["measured"]["follows"] == true);
    assert!(site.done(&["release", "why", &id]).contains("\nmeasured "));
    let gateway = site.gateway_pid();
    site.kill_tower();
    kit::kill(gateway);
    site.wait("users have 1.0 only", 20, |_| {
        let before = load.tally();
        site.wait("fifty more", 20, |_| (load.tally().of("1.0") > before.of("1.0") + 50).then_some(()));
        (load.tally().of("1.1") == before.of("1.1")).then_some(())
    });
    let tally = load.stop();
    assert_eq!(tally.failed, 0, "{:?}", tally.failures);
}

/// From now on HAProxy sends requests for this path to stable, whatever the servers' weights are.
fn bind_to_stable(site: &Site, path: &str) {
    let mut haproxy = UnixStream::connect(site.path("haproxy.sock")).unwrap();
    let list = site.path(BOUND).display().to_string();
    haproxy.write_all(format!("add acl {list} {path}\n").as_bytes()).unwrap();
    let mut said = String::new();
    haproxy.read_to_string(&mut said).unwrap();
    assert_eq!(said.trim(), "");
}

/// What `hmsops_release_share_follows` says in the tower's own exposition; `None`: it is not there.
fn follows(site: &Site) -> Option<u64> {
    let token = format!("authorization: Bearer {}", site.token());
    let text = super::http::get(site.at, "/metrics", &[token]).ok()?.body;
    let line =
        text.lines().find_map(|line| line.strip_prefix("hmsops_release_share_follows{service=\"shop\"} "))?;
    line.parse().ok()
}

/// The share that a real HAProxy gives is measured, and told when it is not the one that the step asks for: here
/// because a rule of its configuration binds users to stable, which no weight overrules.
#[test]
fn a_share_that_haproxy_does_not_give_is_told() {
    let (site, users) = shop();
    site.build("1.1", Build::GOOD);
    let load = Load::start(users, 200);
    let file = site.release_file("1.1", "[{weight: 50}, {weight: 100}]", "1 s");
    let id = site.json(&["deploy", "-f", &file])["id"].as_str().unwrap().to_owned();
    site.wait_for_weight(&id, 5000);
    assert_eq!(site.wait("the share is measured", 20, follows), 1);
    site.release(&id, "it follows", 10, |release| release["measured"]["follows"] == true);
    bind_to_stable(&site, "/");
    site.wait("it follows no longer", 30, |site| follows(site).filter(|follows| *follows == 0));
    let release = site.release(&id, "it says so", 10, |release| release["measured"]["follows"] == false);
    assert!(is("watching")(&release), "a share that is off condemns nobody: {release}");
    site.done(&["release", "abort", &id, "--reason", "seen enough"]);
    site.wait("nothing is said of a release that has ended", 10, |site| {
        follows(site).is_none().then_some(())
    });
    assert_eq!(load.stop().failed, 0);
}
