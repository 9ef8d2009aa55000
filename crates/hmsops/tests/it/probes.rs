//! Checks of several kinds of a real service: seen in the list, run by hand, and a release taken back by one of them.

use super::http;
use super::kit::{Site, is};
use super::nginx::{self, Build};

const SERVICES: &str = r#"services:
  shop:
    driver: external
    upstreams: {"1": ["@ONE@"], "2": ["@TWO@"]}
    route: {gateway: public}
    health:
      - http: {path: /health}
        conditions: ["status == 200", "body contains ok", "header.x-version matches '^[12]$'"]
      - tcp: {}
      - exec: ["sh", "-c", "echo on port $PORT"]
        name: script
        every: 1 s
        timeout: 1 s
"#;

const RELEASE: &str = r#"service: shop
image: shop:2
strategy: {type: canary, steps: [{weight: 10, for: 10 min}, {weight: 100}]}
healthChecks:
  - http: {path: /ready}
    conditions: ["status == 200", 'header.x-version == "1"']
    name: fit
start_timeout: 5 s
"#;

#[test]
fn checks_of_several_kinds_are_listed_run_and_decide_about_a_release() {
    let mut site = Site::lay_out("services: {}\n");
    let (one, two) = (site.start_by_hand("1", Build::GOOD), site.start_by_hand("2", Build::GOOD));
    let one = one.to_string();
    site.declare(&SERVICES.replace("@ONE@", &one).replace("@TWO@", &two.to_string()));
    site.start();
    site.wait("the service is known", 10, |site| {
        site.api("/hms/v1/services/shop")?["name"].as_str().map(str::len)
    });
    site.json(&["service", "adopt", "shop", "--upstream", &one, "--version", "1"]);
    site.wait("all of its checks have passed", 20, |site| {
        let answer = site.api("/hms/v1/probes/shop")?;
        let probes = answer["probes"].as_array()?;
        let passed = probes.iter().all(|probe| probe["last"]["verdict"] == "passed");
        (probes.len() == 3 && passed).then_some(())
    });
    let list = site.done(&["probe", "list"]);
    for row in ["/health  http", "tcp      tcp", "script   exec"] {
        assert!(list.lines().any(|line| line.contains(row) && line.contains("● passed")), "{row} in {list}");
    }
    let ran = site.done(&["probe", "run", "shop", "script"]);
    assert!(
        ran.contains("● passed") && ran.contains(&format!("on port {}", one.rsplit(':').next().unwrap())),
        "{ran}"
    );
    let fields = [format!("authorization: Bearer {}", site.token()), "accept: text/html".to_owned()];
    let page = http::get(site.at, "/dash/shop", &fields).unwrap().body;
    assert!(page.contains("<h2>Probes</h2>") && page.contains("script"), "{page}");

    // The new version answers well and is not what the check wants.
    nginx::put(&site.path("canary.yaml"), RELEASE);
    let file = site.path("canary.yaml").display().to_string();
    let id = site.json(&["deploy", "-f", &file])["id"].as_str().unwrap().to_owned();
    site.wait("the canary is looked at", 20, |site| {
        let list = site.done(&["probe", "list", "--failing"]);
        list.contains("`header.x-version == \"1\"` does not hold: it is `2`").then_some(())
    });
    let refused = site.run(&["probe", "run", "shop", "fit"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.out.contains("■ failed") && refused.err.contains("1 of 2 looks did not pass"),
        "{refused:?}"
    );
    site.release(&id, "given up", 30, is("failed"));
    let unknown = site.run(&["probe", "run", "shop", "nothing"]);
    assert_eq!(unknown.code, Some(3), "{unknown:?}");
}
