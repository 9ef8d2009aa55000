//! Checks of all kinds: what is read, and each line broken in turn.

use hmsops_model::Millis;
use hmsops_model::probe::{Ask, Method, Probe, RecordType, Tls};
use hmsops_model::release::{HealthCheck, Threshold};

use super::broken::{Case, broken, cut, put};
use super::{errors, warnings};
use crate::parse_release;

const CHECKS: &str = include_str!("../../testdata/checks.yaml");

fn checks(text: &str) -> Vec<HealthCheck> {
    let read = parse_release(text);
    read.value.unwrap_or_else(|| panic!("{:#?}", read.diagnostics)).checks
}

#[test]
fn a_file_with_checks_of_every_kind() {
    let checks = checks(CHECKS);
    let names: Vec<&str> = checks.iter().map(|check| check.path.as_str()).collect();
    assert_eq!(
        names,
        [
            "/api/v1/health",
            "/ready",
            "HEAD portal.csac.gov:443/",
            "tcp :6379",
            "health",
            "dns portal.csac.gov AAAA",
            "tls",
            "exec ./check"
        ]
    );
    let probe = |index: usize| checks[index].probe();
    assert_eq!(checks[0].probe, None, "the plain form stays what it was");
    let ready = probe(1);
    assert_eq!((ready.every, ready.timeout), (Millis::from_secs(10), Millis::from_secs(2)));
    assert_eq!(ready.conditions.len(), 3);
    assert_eq!(checks[1].threshold, Threshold { fails: 2, window: Millis::from_secs(60) });
    assert!(matches!(probe(2).ask, Ask::Http { method: Method::Head, tls: Tls::Trusted, .. }));
    assert_eq!((probe(2).host.as_deref(), probe(2).port), (Some("portal.csac.gov"), Some(443)));
    assert_eq!(
        probe(3),
        Probe {
            port: Some(6379),
            ..Probe::of(Ask::Tcp { send: Some("PING\r\n".into()), expect: Some("+PONG".into()) })
        }
    );
    assert!(matches!(probe(4).ask, Ask::Grpc { ref service, tls: Tls::Any } if service == "portal.v1"));
    let dns = probe(5);
    assert!(
        matches!(dns.ask, Ask::Dns { record: RecordType::Aaaa, ref resolver, .. } if resolver.as_deref() == Some("10.0.0.2:53"))
    );
    assert_eq!((dns.every, dns.timeout), (Millis::from_secs(10), Millis::from_secs(2)));
    let tls = probe(6);
    assert!(matches!(tls.ask, Ask::Tls { days: 30, .. }));
    assert_eq!(tls.every, Millis::from_secs(60));
    assert_eq!(checks[6].threshold.window, Millis::from_secs(240), "three of four looks");
    assert!(matches!(probe(7).ask, Ask::Exec { ref argv } if argv == &["./check", "{port}"]));
}

#[test]
fn checks_of_every_kind_keep_their_meaning_in_the_ledger() {
    for check in checks(CHECKS) {
        let line = serde_json::to_string(&check).unwrap();
        assert_eq!(serde_json::from_str::<HealthCheck>(&line).unwrap(), check, "{line}");
    }
    let old = r#"{"path":"/api/v1/health","threshold":{"fails":3,"window":60000}}"#;
    let check: HealthCheck = serde_json::from_str(old).unwrap();
    assert_eq!(serde_json::to_string(&check).unwrap(), old, "a line of before, byte for byte");
}

static CASES: &[Case] = &[
    put(8, "    threshold: 3 fails/60 parsecs", (8, 27)),
    put(9, "  - htpp: {path: /ready}", (9, 5)),
    put(9, "  - http: {}", (9, 5)),
    put(9, "  - http:", (9, 5)),
    put(9, "  - http: /ready", (9, 11)),
    put(9, "  - http: {path: ready}", (9, 18)),
    put(9, "  - http: {path: /ready, metod: GET}", (9, 26)),
    put(9, "  - http: {path: /ready, method: POST}", (9, 34)),
    put(9, "  - http: {path: /ready, headers: [a]}", (9, 35)),
    put(9, "  - http: {path: /ready, headers: {a b: c}}", (9, 36)),
    put(9, "  - http: {path: /ready, headers: {Connection: close}}", (9, 36)),
    put(9, "  - http: {path: /ready, headers: {authorization: Bearer hunter2}}", (9, 36)),
    put(9, "  - http: {path: /ready, tls: yes}", (9, 31)),
    put(9, "  - http: {path: /ready, port: 0}", (9, 32)),
    put(9, "  - http: {path: /ready, host: \"https://a\"}", (9, 32)),
    put(10, "    conditions: []", (10, 17)),
    put(10, "    conditions: status == 200", (10, 17)),
    put(10, "    conditions: [\"statsu == 200\"]", (10, 19)),
    put(10, "    conditions: [\"status = 200\"]", (10, 26)),
    put(10, "    conditions: [\"status == 200\", \"time < 300\"]", (10, 43)),
    put(10, "    conditions: ['body.status == \"ok']", (10, 34)),
    put(10, "    conditions: ['body matches \"(\"']", (10, 18)),
    put(10, "    conditions: [\"rcode == NOERROR\"]", (10, 19)),
    put(11, "    every: 100 ms", (11, 12)),
    put(11, "    every: 2 h", (11, 12)),
    put(12, "    timeout: 20 s", (12, 14)),
    put(12, "    timeout: 1 ms", (12, 14)),
    put(12, "    tmeout: 1 s", (12, 5)),
    put(13, "    threshold: 2 frogs/60 s", (13, 18)),
    put(14, "  - http: {path: /, method: HEAD, tls: true, host: portal.csac.gov, port: 99999}", (14, 75)),
    put(15, "  - tcp: {sned: a}", (15, 11)),
    put(15, "  - tcp: {host: db.csac.gov}", (15, 11)),
    put(15, "  - tcp: 6379", (15, 10)),
    put(16, "  - grpc: {service: portal.v1, tls: on}", (16, 37)),
    put(16, "  - grpc: {service: [a]}", (16, 21)),
    put(17, "    name: \"\"", (17, 11)),
    put(17, "    tcp: {}", (17, 5)),
    put(17, "    path: /x", (17, 5)),
    cut(8, (7, 5)),
    put(18, "  - dns: {type: A}", (18, 5)),
    put(18, "  - dns: {name: \"a b\"}", (18, 17)),
    put(18, "  - dns: {name: a, type: ANY}", (18, 26)),
    put(18, "  - dns: {name: a, resolver: \"10.0.0.2:dns\"}", (18, 30)),
    put(19, "  - tls: {days: many}", (19, 17)),
    put(19, "  - tls: {days: -1}", (19, 17)),
    put(19, "  - tls: {server_name: \"*.csac.gov\"}", (19, 24)),
    put(20, "  - exec: ./check", (20, 11)),
    put(20, "  - exec: []", (20, 11)),
    put(20, "  - exec: [\"\"]", (20, 12)),
    put(20, "  - tls: {}", (20, 5)),
    put(20, "  - name: x", (20, 5)),
];

#[test]
fn each_line_of_the_checks_broken_in_turn() {
    broken("canary.yaml", CHECKS, CASES, "checks.golden", include_str!("../../testdata/checks.golden"));
}

#[test]
fn a_threshold_that_cannot_be_reached_is_warned_of_in_the_check_s_own_rhythm() {
    let text = CHECKS.replace("threshold: 2 fails/60 s", "threshold: 8 fails/60 s");
    assert_eq!(errors("canary.yaml", &text), Vec::<String>::new());
    assert_eq!(
        warnings("canary.yaml", &text),
        ["13:16 8 failures within 1 min cannot happen: a probe goes out every 10 s"]
    );
}

#[test]
fn a_plain_path_may_have_conditions_and_another_rhythm() {
    let text = CHECKS.replace(
        "  - path: /api/v1/health\n",
        "  - path: /api/v1/health\n    every: 5 s\n    conditions: [\"status == 204\"]\n",
    );
    let check = checks(&text).remove(0);
    assert_eq!(check.path, "/api/v1/health");
    let probe = check.probe.unwrap();
    assert_eq!((probe.every, probe.timeout), (Millis::from_secs(5), Millis(500)));
    assert_eq!(probe.conditions, ["status == 204"]);
}
