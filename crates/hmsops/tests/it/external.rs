//! A service that somebody else runs: we only shift its traffic.

use super::kit::{Site, is};
use super::load::Load;
use super::nginx::Build;

const SERVICES: &str = "services:
  shop:
    driver: external
    upstreams: {\"1\": [\"@ONE@\"], \"2\": [\"@TWO@\"]}
    route: {gateway: public}
    health: [{path: /health, threshold: 3 fails/60 s}]
";

/// Adopted, released in steps, and brought back by the verb that heal scripts use, all under load.
#[test]
fn an_existing_service_is_adopted_released_and_brought_back() {
    let mut site = Site::lay_out("services: {}\n");
    let (one, two) = (site.start_by_hand("1", Build::GOOD), site.start_by_hand("2", Build::GOOD));
    let services = SERVICES.replace("@ONE@", &one.to_string()).replace("@TWO@", &two.to_string());
    site.declare(&services);
    site.start();
    site.wait("the service is known", 10, |site| {
        site.api("/hms/v1/services/shop")?["name"].as_str().map(str::len)
    });
    let one = one.to_string();
    let adopted = site.json(&["service", "adopt", "shop", "--upstream", &one, "--version", "1"]);
    assert_eq!(adopted["stable"]["version"], "1", "{adopted}");
    site.wait("1 is served", 10, |site| site.get("/").filter(|answer| answer.version() == Some("1")));
    let load = Load::start(site.gateway, 100);

    let file = site.release_file("2", "[{weight: 10, for: 1s}, {weight: 50, for: 1s}, {weight: 100}]", "1s");
    let id = site.json(&["deploy", "-f", &file])["id"].as_str().unwrap().to_owned();
    site.release(&id, "proven", 30, is("done"));
    let before = load.tally();
    site.wait("users have 2", 10, |_| (load.tally().of("2") > before.of("2") + 50).then_some(()));
    assert!(site.get("/").is_some_and(|answer| answer.version() == Some("2")));

    let said = site.done(&["rollback", "shop", "--to=prev", "--reason", "a test"]);
    assert!(said.starts_with("shop  "), "{said}");
    site.wait("stable is 1 again", 20, |site| {
        let service = site.api("/hms/v1/services/shop")?;
        (service["stable"]["version"] == "1").then_some(())
    });
    site.wait("1 is served again", 10, |site| site.get("/").filter(|answer| answer.version() == Some("1")));
    let back = load.tally();
    site.wait("users have 1", 10, |_| (load.tally().of("1") > back.of("1") + 100).then_some(()));
    let tally = load.stop();
    // Eight requests can have been on their way.
    assert!(tally.of("2") <= back.of("2") + 8, "{back:?} {tally:?}");
    assert_eq!(tally.failed, 0, "{:?}", tally.failures);
    assert!(site.done(&["audit", "verify"]).starts_with("whole: "));
}
