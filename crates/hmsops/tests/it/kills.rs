//! Gateway and tower killed while a canary is out.

use std::process::Stdio;
use std::time::Duration;

use super::http;
use super::kit::{self, Site, is, now};
use super::load::Load;
use super::nginx::{self, Build};

/// One step for five minutes: what changes in these tests is not the time's doing.
const QUARTER: &str = "[{weight: 25}, {weight: 100}]";

/// With a healthy canary at 25 %; answers the release's id.
fn quarter(site: &Site, version: &str) -> String {
    site.build(version, Build::GOOD);
    let file = site.release_file(version, QUARTER, "1s");
    let id = site.json(&["deploy", "-f", &file])["id"].as_str().unwrap().to_owned();
    site.wait_for_weight(&id, 2500);
    id
}

/// So many users in a row, one by one: which versions they got, and that none failed.
fn versions(site: &Site, requests: usize) -> std::collections::BTreeSet<String> {
    let ask = |_| {
        let answer = http::get(site.gateway, "/", &[]).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.version().unwrap().to_owned()
    };
    (0..requests).map(ask).collect()
}

fn only(version: &str) -> std::collections::BTreeSet<String> {
    [version.to_owned()].into()
}

/// A gateway that was killed serves stable at once; a canary's share comes back by its tower's word, and never
/// after a retreat.
#[test]
fn a_killed_gateway_comes_back_safe() {
    let mut site = Site::shop();
    let stable = site.stable_pid();
    let id = quarter(&site, "1.1");
    let load = Load::start(site.gateway, 100);
    site.wait("users have 1.1", 10, |_| (load.tally().of("1.1") > 5).then_some(()));
    drop(load);

    let first = site.gateway_pid();
    kit::kill(first);
    site.wait("a new gateway serves", 10, |site| site.get("/").filter(|answer| answer.status == 200));
    assert_ne!(site.gateway_pid(), first);
    site.wait("the canary's share is back", 10, |site| {
        site.get("/").filter(|answer| answer.version() == Some("1.1"))
    });
    assert!(kit::has_weight(&site.json(&["release", "show", &id]), 2500));

    // Without a tower nobody gives the share back.
    site.kill_tower();
    kit::kill(site.gateway_pid());
    let mut by_hand = site.command(&["gateway", "--name", "public", "--listen", &site.gateway.to_string()]);
    by_hand.arg("--socket").arg(site.path("data/gateway-public.sock")).arg("--state").arg(site.path("data"));
    let mut by_hand = by_hand.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    site.wait("the gateway started by hand", 10, |site| site.get("/"));
    assert_eq!(versions(&site, 300), only("1.0"));
    site.start();
    site.wait("the canary's share is back", 10, |site| {
        site.get("/").filter(|answer| answer.version() == Some("1.1"))
    });
    assert_eq!(site.gateway_pid(), by_hand.id(), "it is taken over, not replaced");

    site.done(&["release", "abort", &id, "--reason", "a test"]);
    site.release(&id, "off", 10, |release| !release["rolled_back_at"].is_null());
    assert_eq!(versions(&site, 300), only("1.0"));
    by_hand.kill().unwrap();
    by_hand.wait().unwrap();
    site.wait("a third gateway serves", 10, |site| site.get("/").filter(|answer| answer.status == 200));
    assert_eq!(versions(&site, 300), only("1.0"));
    assert_eq!(site.stable_pid(), stable);
    assert!(site.done(&["audit", "verify"]).starts_with("whole: "));
}

/// Both killed at once: users have stable again as soon as the tower is back, and the release goes on.
#[test]
fn gateway_and_tower_killed_together_come_back() {
    let mut site = Site::shop();
    let stable = site.stable_pid();
    let id = quarter(&site, "1.1");
    let canary = site.json(&["release", "show", &id])["instance"]["pid"].clone();
    let gateway = site.gateway_pid();
    site.kill_tower();
    kit::kill(gateway);
    assert!(site.get("/").is_none(), "nobody listens");
    let back = site.start();
    assert!(back <= Duration::from_secs(2), "{back:?}");
    site.wait("a new gateway serves", 10, |site| site.get("/").filter(|answer| answer.status == 200));
    site.wait("the canary's share is back", 10, |site| {
        site.get("/").filter(|answer| answer.version() == Some("1.1"))
    });
    let release = site.json(&["release", "show", &id]);
    assert!(kit::has_weight(&release, 2500), "{release}");
    assert_eq!((site.stable_pid(), &release["instance"]["pid"]), (stable, &canary));
    assert!(site.done(&["audit", "verify"]).starts_with("whole: "));
}

/// A gateway that hears nothing for five seconds takes the canary's users back by itself, and its tower learns it.
#[test]
fn without_a_tower_the_gateway_retreats_by_itself() {
    let mut site = Site::shop();
    let id = quarter(&site, "1.1");
    let load = Load::start(site.gateway, 100);
    site.wait("users have 1.1", 10, |_| (load.tally().of("1.1") > 5).then_some(()));

    site.kill_tower();
    let killed = now();
    let quiet = |tally: &super::load::Tally| now() - tally.last["1.1"] > Duration::from_secs(2);
    site.wait("1.1 has no users any more", 15, |_| quiet(&load.tally()).then_some(()));
    let after = load.tally().last["1.1"] - killed;
    // The tower speaks twice a second, so the gateway's five seconds may have begun half a second before.
    assert!((4.4..=8.0).contains(&after.as_secs_f64()), "{after:?}");

    site.start();
    let release = site.release(&id, "taken back", 10, is("rolled-back"));
    assert_eq!(release["detector"], "gateway", "{release}");
    let why = site.done(&["release", "why", &id]);
    assert!(why.starts_with("Rolled back: ") && why.contains("gateway"), "{why}");
    site.release(&id, "its numbers are final", 20, |release| release["closed"] == true);
    let tally = load.stop();
    assert_eq!(tally.failed, 0, "{:?}", tally.failures);
    assert_eq!(versions(&site, 300), only("1.0"));
    assert!(site.done(&["audit", "verify"]).starts_with("whole: "));
}

/// Killed while the canary starts, just after it has users, and while the old version is kept warm: the release
/// ends as it should, and nothing is done twice.
#[test]
fn a_tower_killed_in_each_state_goes_on_where_it_was() {
    let mut site = Site::shop();
    let stable = site.stable_pid();
    site.build("1.1", Build::WAITS);
    let load = Load::start(site.gateway, 100);
    let file = site.release_file("1.1", "[{weight: 25, for: 2s}, {weight: 100}]", "3s");
    let release = site.json(&["deploy", "-f", &file]);
    let canary = release["instance"]["pid"].as_u64().unwrap();
    assert!(is("starting")(&release), "{release}");
    kill_and_return(&mut site);
    let release = site.json(&["release", "show", "r-1"]);
    assert!(is("starting")(&release) && release["instance"]["pid"] == canary, "{release}");

    nginx::put(&site.path("work/ready"), "");
    site.wait_for_weight("r-1", 2500);
    kill_and_return(&mut site);
    let release = site.json(&["release", "show", "r-1"]);
    assert!(release["weight_bp"].as_u64() >= Some(2500), "{release}");

    site.release("r-1", "all traffic", 20, is("baking"));
    kill_and_return(&mut site);
    site.release("r-1", "proven", 20, is("done"));
    site.wait("the old version is gone", 20, |_| (!kit::runs(stable)).then_some(()));
    assert_eq!(site.stable_pid(), canary);
    let tally = load.stop();
    assert_eq!(tally.failed, 0, "{:?}", tally.failures);
    for (kind, times) in [
        ("release.requested", 1),
        // Intended and applied, of the one step below 100 %.
        ("release.weight", 2),
        ("release.promoted", 1),
        ("release.proven", 1),
        // The first stable and the canary.
        ("instance.start", 2),
        ("instance.stop", 1),
        ("release.taken-back", 0),
    ] {
        let found = site.json(&["audit", "list", "--kind", kind]);
        let found: Vec<_> =
            found["entries"].as_array().unwrap().iter().filter(|entry| entry["kind"] == kind).collect();
        assert_eq!(found.len(), times, "{kind}: {found:?}");
    }
    assert!(site.done(&["audit", "verify"]).starts_with("whole: "));
}

/// Killed while a canary that was taken back still answers its last request: the answer comes whole, then the canary
/// is stopped.
#[test]
fn a_tower_killed_during_a_drain_lets_the_last_answer_end() {
    let mut site = Site::shop();
    let stable = site.stable_pid();
    let slow = "x".repeat(400_000);
    nginx::put(&site.path("work/slow"), &slow);
    let id = quarter(&site, "1.1");
    let canary = site.json(&["release", "show", &id])["instance"]["pid"].as_u64().unwrap();
    // Of so many, some are the canary's.
    let open: Vec<_> = (0..30).map(|_| http::open(site.gateway, "/slow", &[]).unwrap()).collect();
    // Each answer has begun.
    assert!(open.iter().all(|stream| stream.peek(&mut [0]).unwrap() == 1));
    site.done(&["release", "abort", &id, "--reason", "a test"]);
    kill_and_return(&mut site);
    let readers: Vec<_> = open.into_iter().map(|stream| std::thread::spawn(|| http::read(stream))).collect();
    let answers: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap().unwrap()).collect();
    let of_canary = answers.iter().filter(|answer| answer.version() == Some("1.1")).count();
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == slow));
    assert!(of_canary > 0, "no answer was the canary's");
    site.release(&id, "its numbers are final", 30, |release| release["closed"] == true);
    site.wait("the canary is gone", 30, |_| (!kit::runs(canary)).then_some(()));
    assert_eq!((versions(&site, 100), site.stable_pid()), (only("1.0"), stable));
    let release = site.json(&["release", "show", &id]);
    assert!(is("aborted")(&release), "{release}");
    assert!(site.done(&["audit", "verify"]).starts_with("whole: "));
}

/// Kills the tower and starts it; it is ready within the promised two seconds.
fn kill_and_return(site: &mut Site) {
    site.kill_tower();
    let back = site.start();
    assert!(back <= Duration::from_secs(2), "{back:?}\n{}", site.log());
}

/// A tower that is stopped under load is done within ten seconds, also while somebody watches, and users notice
/// nothing; told to read its files again, it does.
#[test]
fn a_tower_stops_in_order_and_reads_its_files_when_told() {
    let mut site = Site::shop();
    let (stable, gateway) = (site.stable_pid(), site.gateway_pid());
    let load = Load::start(site.gateway, 100);
    let id = quarter(&site, "1.1");
    let mut watch = site.command(&["release", "watch", &id]);
    let mut watch = watch.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    let mut lines = std::io::BufReader::new(watch.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut lines, &mut line).unwrap();
    assert!(line.contains("under watch"), "{line}");

    let took = site.stop_tower();
    assert!(took <= Duration::from_secs(10), "{took:?}");
    let before = load.tally();
    site.wait("users are served", 10, |_| (load.tally().sent > before.sent + 50).then_some(()));
    assert!(site.log().contains("tower: stopped; gateways and services go on"), "{}", site.log());
    site.start();
    assert_eq!((site.stable_pid(), site.gateway_pid()), (stable, gateway));

    site.declare(&kit::SHOP.replace("    route:", "    owner: oncall@example.org\n    route:"));
    site.hang_up();
    site.wait("the new owner", 5, |site| {
        let service = site.api("/hms/v1/services/shop")?;
        (service["owner"] == "oncall@example.org").then_some(())
    });
    assert!(site.log().contains("tower: reading the declarations again"), "{}", site.log());
    watch.kill().unwrap();
    watch.wait().unwrap();
    let tally = load.stop();
    assert_eq!(tally.failed, 0, "{:?}", tally.failures);
}

/// Every process of the machine ends at once, as in a power cut: stable is back by itself, the canary is not.
#[test]
fn after_a_power_cut_stable_is_back_and_the_canary_is_not() {
    let mut site = Site::shop();
    let id = quarter(&site, "1.1");
    site.kill_all();
    assert!(site.get("/").is_none(), "nobody listens");
    site.start();
    site.wait("1.0 is served", 15, |site| site.get("/").filter(|answer| answer.version() == Some("1.0")));
    let release = site.release(&id, "taken back", 15, is("rolled-back"));
    assert_eq!(release["detector"], "process", "{release}");
    site.release(&id, "its numbers are final", 20, |release| release["closed"] == true);
    assert_eq!(versions(&site, 100), only("1.0"));
    assert!(site.done(&["audit", "verify"]).starts_with("whole: "));
}

/// Stable ends while no tower is there to see it: the next tower starts it again, and the canary stays out of it.
#[test]
fn a_stable_that_ended_without_a_tower_is_started_by_the_next() {
    let mut site = Site::shop();
    let stable = site.stable_pid();
    site.kill_tower();
    kit::kill(stable.try_into().unwrap());
    site.start();
    site.wait("another process of 1.0", 15, |site| {
        let service = site.api("/hms/v1/services/shop")?;
        service["stable"]["pid"].as_u64().filter(|pid| *pid != stable && kit::runs(*pid))
    });
    site.wait("1.0 is served", 15, |site| site.get("/").filter(|answer| answer.version() == Some("1.0")));
    assert!(site.done(&["audit", "verify"]).starts_with("whole: "));
}

/// Somebody who never ends a request holds up no stop.
#[test]
fn a_tower_stops_within_its_time_whoever_is_connected() {
    let mut site = Site::lay_out("services: {}\n");
    site.start();
    let mut half = std::net::TcpStream::connect(site.at).unwrap();
    std::io::Write::write_all(&mut half, b"GET /status HTTP/1.1\r\nhost: x\r\n").unwrap();
    let took = site.stop_tower();
    assert!(took <= Duration::from_secs(10), "{took:?}");
}
