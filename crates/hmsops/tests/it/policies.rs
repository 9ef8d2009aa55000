//! A release policy over a metric that the service exports itself: the whole way, with a service in Python, its
//! scraped counter, the gateway's count of requests, and a mail server.

use serde_json::Value;

use super::emitter;
use super::kit::{Site, free_port, is, now};
use super::load::Load;
use super::nginx;
use super::signals::{MAIL, encoded, first};

/// Users' requests a second: a share is steady after two scrapes.
const PER_SECOND: u32 = 40;

/// Users make themselves known by nothing, so each request is a client.
const PORTAL: &str = "services:
  csac-portal:
    driver: process
    image: {dir: \"@ROOT@/portal/{tag}\"}
    run: [\"./run\"]
    ports: {http: auto, metrics: auto}
    route: {gateway: public}
    health: [{path: /health, threshold: 3 fails/60 s}]
    stable: \"1.7.3\"
";

/// As in the chapter, only quicker.
const POLICY: &str = "detect:
  metric: auth_fail_rate
  when:  > 5 % for 5 s
action: rollback
notify: oncall@csac.gov
";

/// The chapter's own file, byte for byte; with `HMSOPS_LONG=1` it takes its two minutes.
const CHAPTERS: &str = include_str!("../../../../lab/ops/policies/rollback.yaml");

/// The policy, and how long it has to hold.
fn policy() -> (&'static str, &'static str) {
    let long = std::env::var("HMSOPS_LONG").is_ok_and(|value| value == "1");
    if long { (CHAPTERS, "2 min") } else { (POLICY, "5 s") }
}

/// Answers every user with 200, so that nothing but its counter tells that each `@ONE_IN@`-th log-in failed; with 0,
/// none does.
const RUN: &str = r#"#!/usr/bin/python3 -B
import os, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
ONE_IN, lock, served, failed = @ONE_IN@, threading.Lock(), 0, 0
class Answer(BaseHTTPRequestHandler):
    protocol_version, wbufsize = "HTTP/1.1", -1
    def answer(self, text):
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.send_header("content-length", str(len(text)))
        self.send_header("x-version", os.environ["HMS_VERSION"])
        self.end_headers()
        self.wfile.write(text.encode())
    def log_message(self, *_):
        pass
class User(Answer):
    def do_GET(self):
        global served, failed
        with lock:
            if self.path != "/health":
                served += 1
                failed += ONE_IN > 0 and served % ONE_IN == 0
        self.answer("hello\n")
class Scrape(Answer):
    def do_GET(self):
        self.answer('# TYPE auth_fail_total counter\nauth_fail_total %d\n' % failed)
def listen(port, answer):
    return ThreadingHTTPServer(("127.0.0.1", int(os.environ[port])), answer).serve_forever
threading.Thread(target=listen("METRICS_PORT", Scrape), daemon=True).start()
listen("PORT", User)()
"#;

/// Lays out a version of which each so many-th log-in fails.
fn build(site: &Site, version: &str, one_in: u32) {
    nginx::script(
        &site.path(&format!("portal/{version}/run")),
        &RUN.replace("@ONE_IN@", &one_in.to_string()),
    );
}

/// The portal with 1.7.3 as stable, the policy, and steady users, whose failed log-ins are known.
fn portal(stable_one_in: u32, canary_one_in: u32) -> (Site, Load) {
    let mut site = Site::lay_out(PORTAL);
    let port = free_port().port();
    site.configure(&format!(
        "notify: {{mail: {{server: \"127.0.0.1:{port}\", from: hmsops@csac.gov, tls: none}}}}\n"
    ));
    let mut mail = emitter::python(&site);
    mail.args(["-B", "-c", MAIL, &port.to_string(), &site.path("mailbox").display().to_string()]);
    site.keep(&mut mail);
    nginx::put(&site.path("repo/ops/policies/rollback.yaml"), policy().0);
    build(&site, "1.7.3", stable_one_in);
    build(&site, "1.8.0", canary_one_in);
    site.start();
    site.wait("1.7.3 is served", 30, |site| site.get("/").filter(|answer| answer.version() == Some("1.7.3")));
    let load = Load::start(site.gateway, PER_SECOND);
    // What is not known of stable excuses no canary.
    site.wait("how often log-ins fail on stable", 60, |site| share(site, "1.7.3"));
    (site, load)
}

/// Sends half of the users to 1.8.0, for as long as a test takes.
fn deploy(site: &Site) -> String {
    let text = "service: csac-portal\nimage: csac-portal:1.8.0\nstrategy:\n  type: canary\n  \
                steps: [{weight: 50, for: 10 min}, {weight: 100}]\nhealthChecks:\n  - path: /health\n    \
                threshold: 3 fails/60 s\n";
    let file = site.path("canary.yaml");
    nginx::put(&file, text);
    let release = site.json(&["deploy", "-f", &file.display().to_string()]);
    let id = release["id"].as_str().unwrap().to_owned();
    site.wait_for_weight(&id, 5000);
    id
}

/// The failed log-ins of each request that the gateway gave a version.
fn share(site: &Site, version: &str) -> Option<f64> {
    let rate =
        |metric: &str| format!("sum(rate({metric}{{service=\"csac-portal\", version=\"{version}\"}}[30s]))");
    let query = format!("{} / {}", rate("auth_fail_total"), rate("gateway_requests_total"));
    let answer = site.api(&format!("/api/v1/query?query={}", encoded(&query)))?;
    let value: f64 = answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()?;
    value.is_finite().then_some(value)
}

fn alert(site: &Site, holds: impl Fn(&Value) -> bool) -> Option<Value> {
    first(site, "/hms/v1/alerts", |alert| alert["rule"] == "auth_fail_rate" && holds(alert))
}

/// Each log-in fails on the canary and every answer is a 200: the policy alone takes it back, says why, and tells
/// whom it names.
#[test]
fn a_policy_takes_back_what_only_its_metric_sees() {
    let (site, load) = portal(0, 1);
    let id = deploy(&site);
    site.wait("an alert stands", 60, |site| alert(site, |alert| alert["resolved_at"].is_null()));
    let listed = site.done(&["alert", "list", "--active"]);
    assert!(listed.contains("auth_fail_rate"), "{listed}");

    let release = site.release(&id, "taken back", 240, is("rolled-back"));
    assert_eq!(release["detector"], "policy", "{release}");
    assert_eq!(release["headline"], "1.8.0 was taken back by a policy.", "{release}");
    let why = site.done(&["release", "why", &id]);
    assert!(
        why.contains("auth_fail_rate was ") && why.contains(&format!(" for {}, on stable 0", policy().1)),
        "{why}"
    );
    let ended = site.wait("the alert ends", 20, |site| alert(site, |alert| !alert["resolved_at"].is_null()));
    assert!(ended["fired_at"].is_string(), "{ended}");

    let mailbox = site.path("mailbox");
    let mail = site.wait("a mail", 60, |_| {
        std::fs::read_to_string(&mailbox).ok().filter(|mail| mail.contains("auth_fail_rate"))
    });
    assert!(mail.contains("TO oncall@csac.gov\n"), "{mail}");
    assert!(mail.contains("Subject: csac-portal: 1.8.0 was taken back by a policy."), "{mail}");
    let notices = site.done(&["notify", "list"]);
    assert!(notices.contains("oncall@csac.gov") && notices.contains("delivered"), "{notices}");

    site.release(&id, "its numbers are final", 30, |release| release["closed"] == true);
    let before = load.tally();
    assert!(before.of("1.8.0") > 0, "users had it: {before:?}");
    site.wait("more users", 10, |_| (load.tally().sent > before.sent + 50).then_some(()));
    let after = load.stop();
    assert_eq!(after.of("1.8.0"), before.of("1.8.0"), "stable has all users: {after:?}");
    assert_eq!(after.failed, 0, "{:?}", after.failures);
    assert!(site.done(&["audit", "verify"]).starts_with("whole: "));
}

/// Log-ins fail as often on stable: the canary is no worse, and the policy says nothing of it.
#[test]
fn a_policy_condemns_no_canary_that_is_as_bad_as_stable() {
    let (site, load) = portal(5, 5);
    let id = deploy(&site);
    let mut over = None;
    site.wait("both have been over the bound for 12 s", 90, |site| {
        assert_eq!(alert(site, |_| true), None, "{}", site.log());
        let is_over = ["1.7.3", "1.8.0"].iter().all(|version| share(site, version) > Some(0.05));
        assert!(is_over || over.is_none(), "{:?}", ["1.7.3", "1.8.0"].map(|version| share(site, version)));
        let since = is_over.then(|| *over.get_or_insert_with(now))?;
        (since.elapsed().as_secs() >= 12).then_some(())
    });
    let release = site.json(&["release", "show", &id]);
    assert!(is("watching")(&release) && release["weight_bp"] == 5000, "{release}");
    let tally = load.stop();
    assert_eq!(tally.failed, 0, "{:?}", tally.failures);
    assert!(tally.of("1.8.0") > 0 && tally.of("1.7.3") > 0, "{tally:?}");
}
