//! Every line of the files that people write, broken in turn: one mistake, one error, in the right place.

use std::fmt::Write as _;

use super::{ALERTS, CANARY, ROLLBACK, SCRAPE, SERVICES, edited, errors, rendered};

/// What is done to which line, and where the one error must stand.
pub(super) struct Case {
    line: usize,
    new: Option<&'static str>,
    at: (u32, u32),
}

pub(super) const fn cut(line: usize, at: (u32, u32)) -> Case {
    Case { line, new: None, at }
}

pub(super) const fn put(line: usize, new: &'static str, at: (u32, u32)) -> Case {
    Case { line, new: Some(new), at }
}

/// Breaks a file case by case and compares everything said with a golden text. `HMSOPS_BLESS=1` rewrites it.
pub(super) fn broken(name: &str, original: &str, cases: &[Case], golden: &str, expected: &str) {
    assert_eq!(errors(name, original), Vec::<String>::new(), "{name} itself is right");
    let mut transcript = String::new();
    let mut wrong = Vec::new();
    for case in cases {
        let text = edited(original, case.line, case.new);
        let title = match case.new {
            Some(new) => format!("line {}: {new}", case.line),
            None => format!("without line {}: {}", case.line, original.lines().nth(case.line - 1).unwrap()),
        };
        let said = errors(name, &text);
        let place = format!("{}:{} ", case.at.0, case.at.1);
        if said.len() != 1 || !said[0].starts_with(&place) {
            wrong.push(format!("{title}\n    expected one error at {place}, got {said:#?}"));
        }
        writeln!(transcript, "# {title}\n\n{}", rendered(name, &text)).unwrap();
    }
    assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
    for title in transcript.split("\n# ") {
        assert!(title.contains("\nhint: "), "an error without a hint: {title}");
    }
    if std::env::var_os("HMSOPS_BLESS").is_some() {
        let path = format!("{}/testdata/{golden}", env!("CARGO_MANIFEST_DIR"));
        #[expect(
            clippy::disallowed_methods,
            reason = "a golden text of the crate's own, written when asked"
        )]
        std::fs::write(path, &transcript).unwrap();
    } else {
        assert!(transcript == expected, "{golden} differs; HMSOPS_BLESS=1 rewrites it. Now:\n{transcript}");
    }
}

static CANARY_CASES: &[Case] = &[
    // Taken out. (Line 1 is a comment; without line 7 or 8 it is another, valid release.)
    cut(2, (2, 1)),
    cut(3, (2, 1)),
    cut(4, (4, 3)),
    cut(5, (4, 1)),
    cut(6, (6, 5)),
    cut(9, (8, 15)),
    cut(10, (10, 3)),
    cut(11, (11, 5)),
    cut(12, (11, 5)),
    // Keys misspelt.
    put(2, "servce: csac-portal", (2, 1)),
    put(3, "iamge: csac-portal:1.8.0", (3, 1)),
    put(4, "stratgy:", (4, 1)),
    put(5, "  typ: canary", (5, 3)),
    put(6, "  step:", (6, 3)),
    put(7, "    - wieght: 1", (7, 7)),
    put(8, "    - Weight: 25", (8, 7)),
    put(9, "    - weigth: 100", (9, 7)),
    put(10, "healthcheck:", (10, 1)),
    put(11, "  - paht: /api/v1/health", (11, 5)),
    put(12, "    treshold: 3 fails/60 s", (12, 5)),
    put(12, "    colour: blue", (12, 5)),
    // Values missing.
    put(2, "service:", (2, 1)),
    put(3, "image:", (3, 1)),
    put(5, "  type:", (5, 3)),
    put(7, "    - weight:", (7, 7)),
    put(8, "    -", (8, 6)),
    put(11, "  - path:", (11, 5)),
    put(12, "    threshold: ~", (12, 5)),
    // Values of the wrong type.
    put(2, "service: [csac-portal]", (2, 10)),
    put(2, "service: CSAC Portal", (2, 10)),
    put(3, "image: {name: csac-portal}", (3, 8)),
    put(3, "image: csac-portal", (3, 8)),
    put(3, "image: csac-portal:1.8.0/x y", (3, 8)),
    put(3, "image: \"csac-portal:\"", (3, 8)),
    put(3, "image: CSAC:1.8.0", (3, 8)),
    put(3, "image: csac-portal: 1.8.0", (3, 19)),
    put(3, "image: csac-portal@sha256:9f1c", (3, 8)),
    put(5, "  type: cannary", (5, 9)),
    put(5, "  type: blue-green", (5, 9)),
    put(7, "    - weight: one", (7, 15)),
    put(7, "    - 1", (7, 7)),
    put(11, "  - path: api/v1/health", (11, 11)),
    put(11, "  - path: http://portal/api/v1/health", (11, 11)),
    put(12, "    threshold: 3", (12, 16)),
    put(12, "    threshold: three fails/60 s", (12, 16)),
    put(12, "    threshold: {fails: 3}", (12, 16)),
    // Units, bounds, order.
    put(7, "    - weight: 1 kg", (7, 17)),
    put(7, "    - weight: 0", (7, 15)),
    put(7, "    - weight: -1", (7, 15)),
    put(7, "    - weight: 0.001", (7, 15)),
    put(7, "    - weight: 101", (7, 15)),
    put(8, "    - weight: 101", (8, 15)),
    put(9, "    - weight: 101", (9, 15)),
    put(7, "    - weight: 30", (8, 15)),
    put(8, "    - weight: 0.5", (8, 15)),
    put(8, "    - weight: 1", (8, 15)),
    put(9, "    - weight: 20", (9, 15)),
    put(9, "    - weight: 99", (9, 15)),
    put(8, "    - {weight: 25, for: 5 parsecs}", (8, 27)),
    put(8, "    - {weight: 25, for: 0 s}", (8, 25)),
    put(8, "    - {weight: 25, for: 5}", (8, 25)),
    put(12, "    threshold: 0 fails/0 s", (12, 16)),
    put(12, "    threshold: 0 fails/60 s", (12, 16)),
    put(12, "    threshold: 3 fails/0 s", (12, 16)),
    put(12, "    threshold: 3 fails/60 parsecs", (12, 27)),
    put(12, "    threshold: 3 fails/60", (12, 24)),
    put(12, "    threshold: 3/60 s", (12, 16)),
    put(12, "    threshold: 3 frogs/60 s", (12, 18)),
    put(12, "    threshold: 2000 fails/60 s", (12, 16)),
    put(12, "    threshold: 3 fails/2d", (12, 16)),
    // Indented wrongly.
    put(3, "  image: csac-portal:1.8.0", (3, 3)),
    put(5, "type: canary", (6, 3)),
    put(6, "steps:", (6, 1)),
    put(7, "  - weight: 1", (8, 5)),
    put(10, "  healthChecks:", (10, 3)),
    put(12, "threshold: 3 fails/60 s", (12, 1)),
    // Forms that YAML or we do not take.
    put(2, "\tservice: csac-portal", (2, 1)),
    put(2, "service csac-portal", (2, 1)),
    put(2, "service: \"csac-portal", (2, 10)),
    put(2, "service: &name csac-portal", (2, 16)),
    put(2, "service: !!str csac-portal", (2, 16)),
    put(2, "service: @csac", (2, 10)),
    put(4, "strategy: [", (4, 11)),
    put(10, "health_checks: 3 fails", (11, 3)),
    put(12, "    path: /twice", (12, 5)),
    // What makes a release safe.
    put(1, "irreversible: maybe", (1, 15)),
    put(1, "irreversible: 101", (1, 15)),
    put(1, "irreversable: true", (1, 1)),
    put(1, "after: dmv-photo", (1, 8)),
    put(1, "after: [DMV]", (1, 9)),
];

#[test]
fn each_line_of_the_chapters_canary_broken_in_turn() {
    broken(
        "canary.yaml",
        CANARY,
        CANARY_CASES,
        "canary.golden",
        include_str!("../../testdata/canary.golden"),
    );
}

static SERVICES_CASES: &[Case] = &[
    // Taken out. (Without 4, 5, 9, 10, 12, 13 or 14 it is another, valid file.)
    cut(2, (2, 3)),
    cut(3, (14, 3)),
    cut(6, (3, 3)),
    cut(7, (3, 3)),
    cut(8, (3, 3)),
    cut(11, (11, 5)),
    cut(15, (15, 5)),
    cut(16, (15, 3)),
    cut(17, (15, 3)),
    // Keys misspelt.
    put(2, "servces:", (2, 1)),
    put(3, "  CSAC_portal:", (3, 3)),
    put(4, "    sytem: csac", (4, 5)),
    put(5, "    onwer: oncall@csac.gov", (5, 5)),
    put(6, "    drivr: process", (6, 5)),
    put(7, "    iamge: {dir: \"/srv/csac-portal/{tag}\"}", (7, 5)),
    put(8, "    rum: [\"./portal\"]", (8, 5)),
    put(9, "    port: {http: auto}", (9, 5)),
    put(10, "    rout: {gateway: public}", (10, 5)),
    put(11, "    idenity: cookie:session", (11, 5)),
    put(12, "    stiky: true", (12, 5)),
    put(13, "    bda: [5xx]", (13, 5)),
    put(14, "    stabel: \"1.7.3\"", (14, 5)),
    put(17, "    upsteams: {\"1.7.3\": [\"10.0.0.4:8080\"]}", (17, 5)),
    put(7, "    image: {dri: \"/srv/{tag}\"}", (7, 13)),
    put(10, "    route: {gatway: public}", (10, 13)),
    put(13, "    bad: [{path: /login, stauts: [401]}]", (13, 26)),
    // Values missing.
    put(3, "  csac-portal: ~", (4, 5)),
    put(6, "    driver:", (6, 5)),
    put(7, "    image: {}", (7, 5)),
    put(8, "    run: []", (8, 10)),
    put(10, "    route: {host: portal.csac.gov}", (10, 5)),
    put(13, "    bad: []", (13, 10)),
    put(13, "    bad: [{path: /login}]", (13, 11)),
    put(17, "    upstreams: {}", (17, 16)),
    put(17, "    upstreams: {\"1.7.3\": }", (17, 17)),
    // Values of the wrong type, out of bounds, or not built yet.
    put(4, "    system: The CSAC", (4, 13)),
    put(5, "    owner: oncall", (5, 12)),
    put(6, "    driver: docker", (6, 13)),
    put(6, "    driver: proces", (6, 13)),
    put(6, "    driver: {process: yes}", (6, 13)),
    put(7, "    image: /srv/csac-portal", (7, 12)),
    put(7, "    image: {dir: /srv/csac-portal}", (7, 18)),
    put(7, "    image: {oci: portal}", (7, 13)),
    put(8, "    run: ./portal --port {port}", (8, 10)),
    put(8, "    run: [./portal, {port}]", (8, 21)),
    put(8, "    run: [\"./portal\", \"{port:metrcs}\"]", (8, 24)),
    put(8, "    run: [\"./portal\", \"--at={prot}\"]", (8, 29)),
    put(9, "    ports: {http: 8080}", (9, 19)),
    put(9, "    ports: {http: any}", (9, 19)),
    put(9, "    ports: {HTTP: auto}", (9, 13)),
    put(9, "    ports: auto", (9, 12)),
    put(9, "    env: {PORT: 80}", (9, 11)),
    put(9, "    env: {1X: 80}", (9, 11)),
    put(9, "    isolate: netns", (9, 5)),
    put(10, "    route: public", (10, 12)),
    put(10, "    route: {gateway: public, host: \"portal.csac.gov:80\"}", (10, 36)),
    put(11, "    identity: cookie", (11, 15)),
    put(11, "    identity: coockie:session", (11, 15)),
    put(11, "    identity: cookie:a b", (11, 22)),
    put(12, "    sticky: yes", (12, 13)),
    put(13, "    bad: [4xx]", (13, 11)),
    put(13, "    bad: [5xx, timeuot]", (13, 16)),
    put(13, "    bad: [{path: login, status: 401}]", (13, 18)),
    put(13, "    bad: [{status: [401, 999]}]", (13, 26)),
    put(14, "    stable: 1.7.3/x", (14, 13)),
    put(14, "    health: [{path: /health, threshold: 0 fails/0 s}]", (14, 41)),
    put(6, "    driver: external", (7, 5)),
    put(16, "    driver: process", (17, 5)),
    put(17, "    upstreams: {\"1.7.3\": [\"10.0.0.4\"]}", (17, 27)),
    put(17, "    upstreams: {\"1.7.3\": [\"10.0.0.4:99999\"]}", (17, 27)),
    put(17, "    upstreams: {\"1.7.3\": [\"http://a:80\"]}", (17, 27)),
    put(17, "    upstreams: {\"1.7.3\": \"10.0.0.4:80\"}", (17, 26)),
    put(17, "    upstreams: {a: [\"h:80\"], b: [\"h:80\"]}", (17, 34)),
    put(17, "    upstreams: {\"a b\": [\"h:80\"]}", (17, 17)),
    put(2, "  services:", (2, 3)),
    put(14, "  stable: \"1.7.3\"", (14, 3)),
    put(17, "  upstreams: {\"1.7.3\": [\"10.0.0.4:8080\"]}", (17, 3)),
    put(17, "upstreams: {\"1.7.3\": [\"10.0.0.4:8080\"]}", (17, 1)),
    put(14, "    stable: &v \"1.7.3\"", (14, 16)),
    put(14, "    <<: *base", (14, 9)),
    // What makes a service safe.
    put(12, "    freeze: weekends", (12, 13)),
    put(12, "    freeze: [{weekly: Fri 16:00}]", (12, 23)),
    put(12, "    freeze: [{weekly: Fryday 16:00 – Mon 08:00}]", (12, 23)),
    put(12, "    freeze: [{weekly: Fri 24:00 – Mon 08:00}]", (12, 23)),
    put(12, "    freeze: [{weekly: Fri 16:00 – Fri 16:00}]", (12, 23)),
    put(12, "    freeze: [{weekly: Fri 16:00 – Mon 08:00, time_zone: Europe/Berln}]", (12, 57)),
    put(12, "    freeze: [{weekly: Fri 16:00 – Mon 08:00, to: 2026-01-01T00:00:00Z}]", (12, 46)),
    put(12, "    freeze: [{from: 2026-01-01T00:00:00Z}]", (12, 15)),
    put(12, "    freeze: [{why: because}]", (12, 14)),
    put(12, "    freeze: [{from: tomorrow, to: 2026-01-01T00:00:00Z}]", (12, 21)),
    put(12, "    freeze: [{from: 2026-01-02T00:00:00Z, to: 2026-01-01T00:00:00Z}]", (12, 47)),
    put(12, "    freeze: [{from: 2026-01-01T00:00:00Z, to: 2026-01-02T00:00:00Z, time_zone: UTC}]", (12, 69)),
    put(12, "    rollback_window: 7d", (12, 22)),
    put(12, "    rollback_window: {versions: 21}", (12, 33)),
    put(12, "    rollback_window: {age: 2y}", (12, 28)),
    put(12, "    capacity: 400", (12, 15)),
    put(12, "    capacity: -1 req/s", (12, 15)),
];

#[test]
fn each_line_of_the_contracts_services_broken_in_turn() {
    broken(
        "services.yaml",
        SERVICES,
        SERVICES_CASES,
        "services.golden",
        include_str!("../../testdata/services.golden"),
    );
}

#[test]
fn each_line_of_the_chapters_rollback_broken_in_turn() {
    let cases = [
        // Taken out. (Without `notify` it is valid, with a warning.)
        cut(2, (2, 3)),
        cut(3, (2, 1)),
        cut(4, (2, 1)),
        cut(5, (2, 1)),
        put(4, "when: > 5 % for 2 min", (4, 1)),
        put(5, "  action: rollback", (5, 3)),
        // Misspelt, empty, wrong.
        put(2, "detct:", (2, 1)),
        put(3, "  metrc: auth_fail_rate", (3, 3)),
        put(3, "  metric: rate(auth_fail[1m])", (3, 11)),
        put(4, "  wen:  \"> 5 % for 2 min\"", (4, 3)),
        put(4, "  when:", (4, 3)),
        put(4, "  when:  > 5 %", (4, 10)),
        put(4, "  when:  > 5 % for 2 parsecs", (4, 22)),
        put(4, "  when:  > 5 % for 2", (4, 20)),
        put(4, "  when:  > 5 % for", (4, 10)),
        put(4, "  when:  > 5 percent for 2 min", (4, 14)),
        put(4, "  when:  >> 5 % for 2 min", (4, 10)),
        put(4, "  when:  > five % for 2 min", (4, 12)),
        put(4, "  when:  5 % for 2 min", (4, 10)),
        put(4, "  when: \"above 5 %\"", (4, 10)),
        put(4, "  when: > 5 % for 40 d", (4, 19)),
        put(4, "  when: {above: 5}", (4, 9)),
        put(5, "action: rolback", (5, 9)),
        put(5, "action: explode", (5, 9)),
        put(5, "actoin: rollback", (5, 1)),
        put(6, "notify: PagerDuty", (6, 9)),
        put(6, "notify: [oncall@csac.gov, Me]", (6, 27)),
        put(6, "notfy: oncall@csac.gov", (6, 1)),
    ];
    broken(
        "rollback.yaml",
        ROLLBACK,
        &cases,
        "rollback.golden",
        include_str!("../../testdata/rollback.golden"),
    );
}

#[test]
fn a_line_taken_out_of_a_rule_file_or_a_scrape_file_is_at_most_one_error() {
    for (name, text) in [("alerts.yaml", ALERTS), ("scrape.yaml", SCRAPE)] {
        // Without its first line a rule becomes part of the one before, and each key they share is given twice.
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.contains("- alert: "));
        for (line, _) in lines {
            let said = errors(name, &edited(text, line, None));
            assert!(said.len() <= 1, "{name} without line {line}: {said:#?}");
        }
    }
}

#[test]
fn each_line_of_the_contracts_baseline_broken_in_turn() {
    let cases = [
        cut(1, (1, 1)),
        cut(2, (1, 1)),
        put(1, "servce: dmv-photo", (1, 1)),
        put(1, "service: DMV", (1, 10)),
        put(2, "expct: {p99: 250ms}", (2, 1)),
        put(2, "expect: 250ms", (2, 9)),
        put(2, "expect: {from: esr-run-118}", (2, 1)),
        put(2, "expect: {p98: 250ms}", (2, 10)),
        put(2, "expect: {p99: fast}", (2, 15)),
        put(2, "expect: {p99: 0s}", (2, 15)),
        put(2, "expect: {p50: 250ms, p99: 40ms}", (2, 27)),
        put(3, "drift: 20 %", (3, 8)),
        put(3, "drift: {above: 20}", (3, 16)),
        put(3, "drift: {above: 0 %}", (3, 16)),
        put(3, "drift: {abov: 20 %}", (3, 9)),
        put(3, "drift: {for: 1s}", (3, 14)),
    ];
    let text = "service: dmv-photo\nexpect: {p50: 40ms, p99: 250ms, from: esr-run-118}\ndrift: {above: 20 %, for: 10m}\n";
    broken("baseline.yaml", text, &cases, "baseline.golden", include_str!("../../testdata/baseline.golden"));
}
