//! What an HAProxy can't carry is found in the files, before anything is sent.

use super::said;
use crate::{Severity, check_together};

const TOWER: &str = "gateways:
  edge:
    listen: \"127.0.0.1:8405\"
    haproxy: {socket: /run/haproxy/admin.sock, backend: portal, stable: srv_stable, canary: srv_canary}
";

const SERVICES: &str = "services:
  portal:
    driver: external
    upstreams: {\"1.7.3\": [\"127.0.0.1:1\"], \"1.8.0\": [\"127.0.0.1:2\"]}
    route: {gateway: edge}
";

const RELEASE: &str = "service: portal
image: portal:1.8.0
strategy:
  type: canary
  steps:
    - {weight: 1}
    - {weight: 100}
healthChecks:
  - {path: /health, threshold: 3 fails/60 s}
";

fn errors(files: &[&str]) -> Vec<Vec<String>> {
    let files: Vec<(&str, &str)> = files.iter().map(|text| ("a.yaml", *text)).collect();
    check_together(&files).iter().map(|report| said(report, Severity::Error)).collect()
}

#[test]
fn what_it_can_carry_is_well() {
    assert_eq!(errors(&[RELEASE, SERVICES, TOWER]), [[""; 0]; 3]);
}

#[test]
fn a_service_with_an_address_that_a_server_cannot_have_is_an_error_there() {
    let two = SERVICES.replace("[\"127.0.0.1:2\"]", "[\"127.0.0.1:2\", \"127.0.0.1:3\"]");
    let found = errors(&[&two, TOWER]).remove(0);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("4:52 gateway `edge` can't carry `portal`: version `1.8.0` has 2 addresses")
    );
    let named = SERVICES.replace("127.0.0.1:1", "portal.csac.gov:80");
    let found = errors(&[TOWER, &named]).remove(1);
    assert!(found[0].starts_with("4:26 ") && found[0].contains("`IP:PORT`"), "{found:?}");
    assert_eq!(errors(&[&two]), [[""; 0]], "nothing tells what its gateway is");
}

#[test]
fn a_second_service_is_an_error_wherever_it_is_declared() {
    let other = SERVICES.replace("  portal:", "  photo:");
    let expected =
        "5:12 gateway `edge` can't carry `photo`: backend `portal` of its HAProxy carries `portal`";
    assert_eq!(errors(&[TOWER, SERVICES, &other])[2], [expected]);
    let second = "  photo:\n    driver: external\n    upstreams: {\"1\": [\"127.0.0.1:9\"]}\n    \
                  route: {gateway: edge, host: photo.csac.gov}\n";
    let found = errors(&[&format!("{SERVICES}{second}"), TOWER]).remove(0);
    assert_eq!(found, [expected.replace("5:12", "9:12")]);
    assert_eq!(errors(&[TOWER, SERVICES, &other.replace("edge", "public")])[2], [""; 0]);
    let plain = "gateways: {edge: {listen: \"127.0.0.1:8080\"}}\n";
    assert_eq!(errors(&[TOWER, plain, SERVICES, &other])[3], [""; 0], "which `edge` is meant is not known");
}

#[test]
fn a_share_that_its_weights_cannot_give_is_an_error_at_its_step() {
    let small = RELEASE.replace("weight: 1}", "weight: 0.1}");
    let found = errors(&[&small, SERVICES, TOWER]).remove(0);
    assert_eq!(found.len(), 1, "{found:?}");
    let expected =
        "6:16 gateway `edge` can't release `portal:1.8.0`: HAProxy's weights can't give a canary 0.1 %";
    assert!(found[0].starts_with(expected), "{found:?}");
    let drawn = TOWER.replace("canary: srv_canary", "canary: srv_canary, map: /etc/haproxy/canary.map");
    assert_eq!(errors(&[&small, SERVICES, &drawn])[0], [""; 0]);
    assert_eq!(errors(&[&small, TOWER])[0], [""; 0], "nothing tells which gateway it goes through");
}
