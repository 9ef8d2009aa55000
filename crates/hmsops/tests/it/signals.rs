//! What a service emits, the alert over it, and what heals: the whole way, with a real nginx and the real SDK.

use serde_json::Value;

use super::emitter::{self, Emitter};
use super::kit::Site;
use super::nginx::Build;

const METRIC: &str = "photo.upload.ok";

/// `shop` with 1.1 out and 1.0 to go back to.
fn shop_with_two_versions() -> Site {
    let site = Site::shop();
    site.build("1.1", Build::GOOD);
    let file = site.release_file("1.1", "[{weight: 100}]", "1 s");
    site.done(&["deploy", "-f", &file, "--wait"]);
    assert_eq!(stable(&site).as_deref(), Some("1.1"));
    site
}

fn stable(site: &Site) -> Option<String> {
    Some(site.api("/hms/v1/services/shop")?["stable"]["version"].as_str()?.to_owned())
}

/// Creates a rule as in the chapter, only quicker.
fn create_rule(site: &Site, more: &str) {
    let text = format!(
        "from hms_ops import Alert, Heal\nAlert.create(name='spike', expr='rate(photo.upload.ok[10s]) < 0.7', \
         for_sec=2, on_fire=Heal(script='rollback shop --to=prev'){more})\n"
    );
    let output = emitter::python(site).args(["-B", "-c", &text]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The first of a list that is what is asked for.
pub(crate) fn first(site: &Site, path: &str, holds: impl Fn(&Value) -> bool) -> Option<Value> {
    site.api(path)?["items"].as_array()?.iter().find(|item| holds(item)).cloned()
}

/// Counts of a metric, as the command line prints them.
fn counted(site: &Site, query: &str) -> Option<f64> {
    let answer = site.api(&format!("/api/v1/query?query={}", encoded(query)))?;
    answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}

/// As a part of a URL.
pub(crate) fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let bytes = text
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") });
    bytes.collect()
}

/// What the tower has taken is there after a kill, and what was emitted while none ran comes later.
#[test]
fn what_was_emitted_survives_the_tower() {
    let mut site = Site::shop();
    let mut emitter = Emitter::start(&site, "1.0");
    assert_eq!(emitter.emit(METRIC, 1.0, 100), 100, "{}", site.log());
    let count = "sum(count_over_time(photo.upload.ok[1h]))";
    let before = site.wait("it is seen", 10, |site| counted(site, count));
    let printed = site.json(&["query", "sum(rate(photo.upload.ok[5m]))"]);
    assert!(printed.to_string().contains("vector"), "{printed}");

    site.kill_tower();
    site.spawn_tower();
    site.wait_ready();
    let after = site.wait("it is there again", 10, |site| counted(site, count));
    assert!(after >= before, "{before} and then {after}");

    site.kill_tower();
    emitter.emit(METRIC, 0.0, 1);
    site.start();
    site.wait("what was emitted meanwhile has come", 30, |site| {
        emitter.emit(METRIC, 0.0, 1);
        counted(site, "sum(count_over_time(photo.upload.ok[1h]))").filter(|now| *now > after)
    });
}

/// The chapter's rule fires, its heal takes the service back, and the alert ends as healed.
#[test]
fn an_alert_takes_a_service_back_and_ends_healed() {
    let site = shop_with_two_versions();
    create_rule(&site, "");
    let mut bad = Emitter::start(&site, "1.1");
    let heal = site.wait("it heals", 60, |site| {
        bad.emit(METRIC, 0.0, 5);
        first(site, "/hms/v1/heals", |heal| heal["rule"] == "spike")
    });
    assert_eq!(heal["action"], "rollback shop --to=prev", "{heal}");
    let listed = site.done(&["alert", "list", "--active"]);
    assert!(listed.contains("spike") && listed.contains("fired, heal"), "{listed}");
    drop(bad);
    let mut good = Emitter::start(&site, "1.0");
    site.wait("1.0 is stable again", 30, |site| {
        good.emit(METRIC, 1.0, 5);
        stable(site).filter(|version| version == "1.0")
    });
    let heal = site.wait("it has helped", 90, |site| {
        good.emit(METRIC, 1.0, 5);
        first(site, "/hms/v1/heals", |heal| heal["phase"] == "healed" || heal["phase"] == "failed")
    });
    assert_eq!(heal["phase"], "healed", "{heal}\n{}", site.log());
    assert!(site.done(&["audit", "verify"]).starts_with("whole: "));
}

/// A heal that fails ends with a ticket for a person, which says what it printed.
#[test]
fn a_heal_that_fails_leaves_a_ticket() {
    // There is no version to go back to.
    let site = Site::shop();
    create_rule(&site, "");
    let mut bad = Emitter::start(&site, "1.0");
    let ticket = site.wait("a ticket", 60, |site| {
        bad.emit(METRIC, 0.0, 5);
        first(site, "/hms/v1/tickets?open=true", |_| true)
    });
    assert_eq!(ticket["title"], "Take-Over Required: shop", "{ticket}");
    let text = ticket["text"].as_str().unwrap();
    assert!(text.contains("rollback shop --to=prev") && text.contains("it printed:\n"), "{text}");
    let alert = first(&site, "/hms/v1/alerts?active=true", |alert| alert["rule"] == "spike").unwrap();
    assert_eq!(alert["state"], "fired, take-over", "{alert}");
    assert_eq!(stable(&site).as_deref(), Some("1.0"));
}

/// A silence holds the heal until it ends, and the ledger knows of both.
#[test]
fn a_silence_holds_the_heal() {
    let site = shop_with_two_versions();
    create_rule(&site, "");
    let said = site.done(&["alert", "silence", "spike", "--for", "2h", "--reason", "planned upgrade"]);
    assert!(said.contains("silenced until "), "{said}");
    let mut bad = Emitter::start(&site, "1.1");
    let alert = site.wait("it fires in silence", 60, |site| {
        bad.emit(METRIC, 0.0, 5);
        first(site, "/hms/v1/alerts?active=true", |alert| alert["condition"] == "firing")
    });
    assert_eq!(alert["handling"], "open", "{alert}");
    assert!(alert["silenced_until"].is_string(), "{alert}");
    assert_eq!(first(&site, "/hms/v1/heals", |_| true), None);
    assert_eq!(stable(&site).as_deref(), Some("1.1"));

    site.done(&["alert", "unsilence", "spike", "--reason", "upgrade done"]);
    site.wait("it heals", 30, |site| {
        bad.emit(METRIC, 0.0, 5);
        first(site, "/hms/v1/heals", |heal| heal["rule"] == "spike")
    });
    let audit = site.done(&["audit", "list", "--json"]);
    assert!(audit.contains("planned upgrade") && audit.contains("upgrade done"), "{audit}");
}

/// A mail server that takes everything and writes it down.
pub(crate) const MAIL: &str = "
import asyncio, sys
from aiosmtpd.controller import Controller
class Box:
    async def handle_DATA(self, server, session, envelope):
        with open(sys.argv[2], 'ab') as file:
            file.write(b'TO ' + ','.join(envelope.rcpt_tos).encode() + b'\\n' + envelope.content + b'\\n')
        return '250 taken'
controller = Controller(Box(), hostname='127.0.0.1', port=int(sys.argv[1]))
controller.start()
asyncio.new_event_loop().run_forever()
";

/// People are told by mail, also when neither the mail server nor the tower was there when it happened.
#[test]
fn a_notice_outlives_the_tower() {
    let mut site = Site::shop();
    let port = super::kit::free_port().port();
    site.configure(&format!(
        "notify: {{mail: {{server: \"127.0.0.1:{port}\", from: hmsops@csac.gov, tls: none}}}}\n"
    ));
    site.stop_tower();
    site.start();
    create_rule(&site, ", notify='oncall@csac.gov'");
    let mut bad = Emitter::start(&site, "1.0");
    site.wait("a notice waits", 60, |site| {
        bad.emit(METRIC, 0.0, 5);
        first(site, "/hms/v1/notices?pending=true", |notice| notice["receiver"] == "oncall@csac.gov")
    });
    site.kill_tower();
    let mailbox = site.path("mailbox");
    let mut server = emitter::python(&site);
    server.args(["-B", "-c", MAIL, &port.to_string(), &mailbox.display().to_string()]);
    site.keep(&mut server);
    site.start();
    let mail = site
        .wait("a mail", 60, |_| std::fs::read_to_string(&mailbox).ok().filter(|mail| mail.contains("spike")));
    assert!(mail.contains("TO oncall@csac.gov\n"), "{mail}");
    site.wait("it is delivered", 20, |site| {
        first(site, "/hms/v1/notices", |notice| notice["phase"] == "delivered")
    });
}
