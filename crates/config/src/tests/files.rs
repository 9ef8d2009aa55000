//! Right files and what they mean; kinds; renderings.

use std::collections::BTreeMap;

use hmsops_model::gateway::{GatewayLimits, Rate, TlsCertificate};
use hmsops_model::limits::{BAKE_DEFAULT, START_TIMEOUT_DEFAULT, STEP_HOLD_DEFAULT};
use hmsops_model::release::{
    Comparison, ComparisonOp, HealthCheck, Image, PolicyAction, PolicySpec, ReleaseSpec, Step, Threshold,
};
use hmsops_model::service::{BadRule, Driver, Identity, Protocol, RouteSpec, ServiceSpec};
use hmsops_model::{Millis, ServiceName, Version, Weight};

use super::{ALERTS, CANARY, HMSOPS, ROLLBACK, SCRAPE, SERVICES, edited, errors, rendered, warnings};
use crate::tower::{HealMode, Impact, RepoSource};
use crate::{
    Kind, TowerConfig, check, kind_of, parse_policy, parse_release, parse_services, parse_tower, render,
};

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

fn version(text: &str) -> Version {
    Version::new(text).unwrap()
}

fn step(bp: u16, hold: Millis) -> Step {
    Step { weight: Weight::from_bp(bp).unwrap(), hold }
}

#[test]
fn the_chapters_canary_is_read_byte_for_byte() {
    let checked = parse_release(CANARY);
    assert_eq!(checked.diagnostics, []);
    let expected = ReleaseSpec {
        service: name("csac-portal"),
        image: Image { name: "csac-portal".to_owned(), tag: version("1.8.0") },
        steps: vec![
            step(100, STEP_HOLD_DEFAULT),
            step(2500, STEP_HOLD_DEFAULT),
            step(10_000, STEP_HOLD_DEFAULT),
        ],
        checks: vec![HealthCheck::of_path(
            "/api/v1/health",
            Threshold { fails: 3, window: Millis::from_secs(60) },
        )],
        bake: BAKE_DEFAULT,
        start_timeout: START_TIMEOUT_DEFAULT,
        shield_after: None,
        irreversible: None,
        after: Vec::new(),
        margin_bp: None,
        inconclusive: hmsops_model::release::Inconclusive::default(),
    };
    assert_eq!(checked.value, Some(expected));
}

#[test]
fn every_form_of_a_releases_values() {
    for (weight, bp) in
        [("1", 100), ("0.25", 25), ("0.01", 1), ("1 %", 100), ("1%", 100), ("12.50", 1250), ("\"2\"", 200)]
    {
        let line = format!("    - weight: {weight}");
        let spec = parse_release(&edited(CANARY, 7, Some(&line))).value.unwrap();
        assert_eq!(spec.steps[0].weight.bp(), bp, "{weight}");
    }
    for threshold in ["3 fails/60 s", "3 fails / 60s", "3 fails/1 min", "3 fails/1m", "\"3 fails/60 s\""] {
        let line = format!("    threshold: {threshold}");
        let spec = parse_release(&edited(CANARY, 12, Some(&line))).value.unwrap();
        assert_eq!(spec.checks[0].threshold, Threshold::default(), "{threshold}");
    }
    let text = format!("{CANARY}bake: 1 h\nstart_timeout: 1.5 s\nshield_after: 1 s\n")
        .replace("weight: 25 ", "weight: 25\n      for: 90s ");
    let spec = parse_release(&text).value.unwrap();
    assert_eq!((spec.bake, spec.start_timeout), (Millis::from_mins(60), Millis(1500)));
    assert_eq!(spec.shield_after, Some(Millis(1000)));
    assert_eq!(spec.steps[1].hold, Millis::from_secs(90));
    assert_eq!(parse_release(&format!("{CANARY}shield_after: auto\n")).value.unwrap().shield_after, None);
}

#[test]
fn a_release_that_says_something_pointless_is_warned_about() {
    let late = edited(CANARY, 9, Some("    - {weight: 100, for: 5 min}"));
    assert_eq!(warnings("canary.yaml", &late), ["9:21 the last step is not waited for"]);
    let never = edited(CANARY, 12, Some("    threshold: 5 fails/1 s"));
    assert_eq!(
        warnings("canary.yaml", &never),
        ["12:16 5 failures within 1 s cannot happen: a probe goes out every 1 s"]
    );
    assert!(parse_release(&late).value.is_some() && parse_release(&never).value.is_some());
}

#[test]
fn two_mistakes_are_two_errors() {
    let text = CANARY.replace("weight: 25", "weight: 250").replace("threshold", "treshold");
    assert_eq!(
        errors("canary.yaml", &text),
        ["8:15 weight 250 is more than 100 %", "12:5 unknown key `treshold` in a health check"]
    );
}

#[test]
fn the_contracts_services_are_read() {
    let checked = parse_services(SERVICES);
    assert_eq!(checked.diagnostics, []);
    let portal = ServiceSpec {
        name: name("csac-portal"),
        system: "csac".to_owned(),
        owner: Some("oncall@csac.gov".to_owned()),
        driver: Driver::Process {
            image_dir: "/srv/csac-portal/{tag}".to_owned(),
            run: ["./portal", "--port", "{port}"].map(str::to_owned).to_vec(),
            ports: BTreeMap::from([("http".to_owned(), None), ("metrics".to_owned(), None)]),
            env: BTreeMap::new(),
            secrets: BTreeMap::new(),
        },
        route: Some(RouteSpec {
            gateway: "public".to_owned(),
            host: Some("portal.csac.gov".to_owned()),
            protocol: Protocol::Http1,
        }),
        identity: Identity::Cookie("session".to_owned()),
        sticky: true,
        bad: vec![
            BadRule::Status5xx,
            BadRule::Timeout,
            BadRule::Answer { path: Some("/login".to_owned()), status: vec![401, 403] },
        ],
        stable: Some(version("1.7.3")),
        health: vec![],
        freeze: Vec::new(),
        rollback_window: hmsops_model::freeze::RollbackWindow::default(),
        capacity_milli: None,
        allow_private: Vec::new(),
    };
    let forms = ServiceSpec {
        name: name("legacy-forms"),
        system: "legacy".to_owned(),
        owner: None,
        driver: Driver::External {
            upstreams: BTreeMap::from([
                (version("1.7.3"), vec!["10.0.0.4:8080".to_owned()]),
                (version("1.8.0"), vec!["10.0.0.5:8080".to_owned()]),
            ]),
        },
        route: None,
        identity: Identity::Request,
        sticky: false,
        bad: BadRule::defaults(),
        stable: None,
        health: vec![],
        freeze: Vec::new(),
        rollback_window: hmsops_model::freeze::RollbackWindow::default(),
        capacity_milli: None,
        allow_private: Vec::new(),
    };
    assert_eq!(checked.value, Some(vec![portal, forms]));
}

#[test]
fn a_services_defaults_and_other_forms() {
    let least = "services:\n  a:\n    driver: process\n    image: {dir: \"v/{tag}\"}\n    run: [./a, \"${port}{print}\", \"\"]\n";
    let spec = parse_services(least).value.unwrap().remove(0);
    let Driver::Process { ports, run, .. } = &spec.driver else { panic!("a process") };
    assert_eq!(ports, &BTreeMap::from([("http".to_owned(), None)]));
    assert_eq!(run[1..], ["${port}{print}", ""]);
    assert_eq!((spec.system.as_str(), spec.identity, spec.sticky), ("a", Identity::Request, false));
    for (written, identity) in [
        ("xff", Identity::Xff),
        ("request", Identity::Request),
        ("header:X-User", Identity::Header("X-User".to_owned())),
    ] {
        let spec = parse_services(&format!("{least}    identity: {written}\n")).value.unwrap().remove(0);
        assert_eq!(spec.sticky, identity != Identity::Request);
        assert_eq!(spec.identity, identity);
    }
    let more = format!(
        "{least}    env: {{DEBUG: true, EMPTY: \"\", N: 010}}\n    sticky: false\n    identity: xff\n    bad: [{{status: 418}}]\n    health: [{{path: /up, threshold: 2 fails/10 s}}]\n    route: {{gateway: public, host: Portal.CSAC.gov}}\n"
    );
    let spec = parse_services(&more).value.unwrap().remove(0);
    let Driver::Process { env, .. } = &spec.driver else { panic!("a process") };
    let env: Vec<(&str, &str)> = env.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(env, [("DEBUG", "true"), ("EMPTY", ""), ("N", "010")]);
    assert!(!spec.sticky);
    assert_eq!(spec.bad, [BadRule::Answer { path: None, status: vec![418] }]);
    assert_eq!(spec.health[0].threshold, Threshold { fails: 2, window: Millis::from_secs(10) });
    assert_eq!(spec.route.unwrap().host.unwrap(), "portal.csac.gov");
}

#[test]
fn services_that_contradict_each_other_or_themselves() {
    let two = "services:\n  a: {driver: external, upstreams: {\"1\": [\"h:1\"]}, route: {gateway: g}}\n  b: {driver: external, upstreams: {\"1\": [\"h:2\"]}, route: {gateway: g}}\n";
    assert_eq!(errors("services.yaml", two), ["3:52 any host on gateway `g` belongs to `a` already"]);
    let stable = "services: {a: {driver: external, stable: \"2\", upstreams: {\"1\": [\"h:1\"]}}}";
    assert_eq!(errors("services.yaml", stable), ["1:42 the stable version `2` has no upstreams"]);
    for (address, fits) in [
        ("10.0.0.4:8080", true),
        ("[::1]:80", true),
        ("forms_1.csac.gov:65535", true),
        ("localhost:1", true),
        ("10.0.0:80", false),
        ("::1:80", false),
        ("h:0", false),
        ("h:+8", false),
        ("-h:80", false),
        (":80", false),
    ] {
        let text = format!("services: {{a: {{driver: external, upstreams: {{\"1\": [\"{address}\"]}}}}}}");
        assert_eq!(errors("services.yaml", &text).is_empty(), fits, "{address}");
    }
}

#[test]
fn upstreams_are_never_where_credentials_are() {
    for (address, allowed, fits) in [
        ("127.0.0.1:80", "10.0.0.0/8", true),
        ("10.0.0.4:80", "10.0.0.0/8", true),
        ("[fd00::1]:80", "10.0.0.0/8", true),
        ("169.254.169.254:80", "10.0.0.0/8", false),
        ("169.254.169.254:80", "169.254.0.0/16", false),
        ("[fd00:ec2::254]:80", "10.0.0.0/8", false),
        ("[::ffff:169.254.169.254]:80", "10.0.0.0/8", false),
        ("169.254.7.1:80", "10.0.0.0/8", false),
        ("169.254.7.1:80", "169.254.7.0/24", true),
        ("[fe80::1]:80", "10.0.0.0/8", false),
    ] {
        let text = format!(
            "services: {{a: {{driver: external, allow_private: [{allowed}], upstreams: {{\"1\": [\"{address}\"]}}}}}}"
        );
        let said = errors("services.yaml", &text);
        assert_eq!(said.is_empty(), fits, "{address}: {said:?}");
        assert!(fits || said[0].contains("cannot be an upstream"), "{said:?}");
    }
}

#[test]
fn secrets_of_a_service_are_places() {
    let with = |more: &str| {
        format!(
            "services:\n  a:\n    driver: process\n    image: {{dir: \"/srv/{{tag}}\"}}\n    run: [x]\n    {more}\n"
        )
    };
    let good =
        with("secrets: {DB_PASSWORD: \"file:/etc/a/db\", TOKEN: \"env:A_TOKEN\", KEY: \"credential:a\"}");
    let spec = parse_services(&good).value.unwrap().remove(0);
    let written = serde_json::to_string(&spec).unwrap();
    let places = r#""secrets":{"DB_PASSWORD":"file:/etc/a/db","KEY":"credential:a","TOKEN":"env:A_TOKEN"}"#;
    assert!(written.contains(places), "{written}");
    assert_eq!(serde_json::from_str::<ServiceSpec>(&written).unwrap(), spec);
    // Lines of before there were secrets are read and written as they were.
    let old = serde_json::to_string(&parse_services(&with("env: {A: b}")).value.unwrap()[0]).unwrap();
    assert!(!old.contains("secrets") && serde_json::from_str::<ServiceSpec>(&old).is_ok(), "{old}");
    for (more, said) in [
        ("secrets: {DB_PASSWORD: hunter2secret}", "6:29 `DB_PASSWORD` holds the secret itself"),
        (
            "secrets: {DB_PASSWORD: \"file:db.password\"}",
            "6:28 `db.password` starts at no folder that is known",
        ),
        ("secrets: {PORT: \"env:A\"}", "6:15 `PORT` is set to the port that the version got"),
        ("secrets: {A-B: \"env:A\"}", "6:15 `A-B` is not a variable's name"),
        ("env: {A: b}\n    secrets: {A: \"env:A\"}", "7:15 `A` stands in `env`, too"),
    ] {
        let found = errors("services.yaml", &with(more));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].split_once(' ').unwrap().1, said.split_once(' ').unwrap().1);
        let shown = format!("{:?}", parse_services(&with(more)).diagnostics);
        assert!(!shown.contains("hunter2secret"), "{shown}");
    }
}

/// The ledger is for ever, and a diagnostic is printed into logs.
#[test]
fn a_secret_in_an_environment_is_warned_of_and_not_shown() {
    let read = |variable: &str| {
        let text = format!(
            "services: {{a: {{driver: process, image: {{dir: \"/a/{{tag}}\"}}, run: [\"./a\"], env: {{{variable}}}}}}}"
        );
        let checked = parse_services(&text);
        assert!(checked.value.is_some(), "{variable}");
        format!("{:?}", checked.diagnostics)
    };
    for name in
        ["DB_PASSWORD", "API_KEY", "PGPASSWORD", "SENTRY_DSN", "AUTH_TOKEN_2", "client_secret", "APIKEY"]
    {
        let said = read(&format!("{name}: hunter2"));
        assert!(said.contains("seems to be a secret") && !said.contains("hunter2"), "{name}: {said}");
    }
    let said = read("DATABASE: \"postgres://portal:hunter2@db:5432/portal\"");
    assert!(said.contains("seems to be a secret") && !said.contains("hunter2"), "{said}");
    for plain in [
        "DB_PASSWORD_FILE: /etc/a",
        "TOKEN_TTL: 5m",
        "KEYBOARD: us",
        "PUBLIC_KEY: x",
        "URL: \"http://a:80/b@c\"",
        "TOKEN: \"\"",
    ] {
        assert!(!read(plain).contains("secret,"), "{plain}");
    }
}

#[test]
fn the_chapters_rollback_is_read_byte_for_byte() {
    let expected = PolicySpec {
        service: None,
        metric: "auth_fail_rate".to_owned(),
        of: None,
        above: Comparison { op: ComparisonOp::Gt, bound: 0.05 },
        hold: Millis::from_mins(2),
        action: PolicyAction::Rollback,
        notify: vec!["oncall@csac.gov".to_owned()],
    };
    assert_eq!(parse_policy(ROLLBACK).value, Some(expected.clone()));
    for when in [
        "  when: \"> 5 % for 2 min\"",
        "  when: '> 5% for 2m'",
        "  when: >5 % for 120 s # a comment",
        "  when:   > 0.05 for 2 min",
        "  when: >-\n    > 5 % for 2 min",
    ] {
        assert_eq!(parse_policy(&edited(ROLLBACK, 4, Some(when))).value, Some(expected.clone()), "{when}");
    }
    let mut other = expected;
    other.above = Comparison { op: ComparisonOp::Le, bound: 20.0 };
    other.of = Some("auth.total".to_owned());
    other.service = Some(name("csac-portal"));
    other.action = PolicyAction::Hold;
    other.notify = vec!["a@b".to_owned(), "pager".to_owned()];
    let text = "service: csac-portal\ndetect: {metric: auth_fail_rate, of: auth.total, when: <= 20 for 2 min}\naction: hold\nnotify: [a@b, pager]\n";
    assert_eq!(parse_policy(text).value, Some(other));
}

#[test]
fn what_a_policy_cannot_do_is_said() {
    assert_eq!(warnings("rollback.yaml", ROLLBACK), ["4:10 this policy cannot act before 2 min"]);
    let untold = edited(ROLLBACK, 6, None);
    assert_eq!(warnings("rollback.yaml", &untold)[0], "2:1 `notify` is missing: nobody would be told");
    assert!(parse_policy(&untold).value.unwrap().notify.is_empty());
    let halved = edited(ROLLBACK, 3, Some("  metric: auth_fail_rate\n  of: auth_fail_rate"));
    assert_eq!(errors("rollback.yaml", &halved), ["4:7 `auth_fail_rate` divided by itself is always 1"]);
    for name in ["auth.", "nan", "a..b", "1st"] {
        let text = edited(ROLLBACK, 3, Some(&format!("  metric: {name}")));
        assert_eq!(errors("rollback.yaml", &text), [format!("3:11 `{name}` is not a metric's name")]);
    }
    let only = edited(&untold, 5, Some("action: notify"));
    assert_eq!(
        errors("rollback.yaml", &only),
        ["2:1 `notify` is missing: this policy only tells, and nobody would be told"]
    );
}

#[test]
fn the_contracts_tower_is_read_and_says_what_it_cannot_do_yet() {
    let checked = parse_tower(HMSOPS);
    let config = checked.value.expect("the contract's example is right");
    let gateway = &config.gateways["public"];
    assert_eq!((gateway.listen.to_string().as_str(), &gateway.plain), ("127.0.0.1:8080", &None));
    let tls = TlsCertificate { hosts: Vec::new(), cert: "tls.crt".to_owned(), key: "tls.key".to_owned() };
    assert_eq!(gateway.settings.tls, [tls]);
    assert_eq!(config.repos[0].services, [name("csac-portal")]);
    let source = RepoSource::Url { url: "git@git.csac.gov:portal.git".to_owned(), branch: "main".to_owned() };
    assert_eq!(config.repos[0].source, source);
    assert_eq!((config.heal.rollback, config.heal.other), (HealMode::Auto, HealMode::Approve));
    assert_eq!(config.system.impact, Some(Impact::Moderate));
    assert_eq!(config.retention, TowerConfig::default().retention);
    let said = warnings("hmsops.yaml", HMSOPS);
    assert!(said[1].ends_with(" approvals are not built yet: treated as off"), "{said:#?}");
    let keys = ["url", "", "logs", "traces", "audit", "remote_write", "query", "bus"];
    assert_eq!(said.len(), keys.len(), "{said:#?}");
    for (said, key) in said.iter().zip(keys).filter(|(_, key)| !key.is_empty()) {
        assert!(said.ends_with(&format!(" `{key}` is read but not acted on yet")), "{said}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one wrong file after another")]
fn an_empty_tower_is_the_default_and_a_wrong_one_is_not() {
    assert_eq!(parse_tower("").value, Some(TowerConfig::default()));
    let text = "status: {title: CSAC}\nobserve_only: true\nrepos: [{dir: /srv/a}]\nretention: {logs: 30d}\n";
    let config = parse_tower(text).value.unwrap();
    assert_eq!(config.status_title.as_deref(), Some("CSAC"));
    assert!(config.observe_only);
    assert_eq!(config.repos[0].source, RepoSource::Dir("/srv/a".to_owned()));
    assert_eq!(config.retention.logs, Millis::from_mins(30 * 24 * 60));
    for (text, expected) in [
        (
            "gateways: {g: {listen: \"0.0.0.0:80\"}}",
            "1:24 0.0.0.0:80 is beyond loopback, where only TLS is spoken",
        ),
        (
            "gateways: {g: {listen: \"127.0.0.1:8405\", haproxy: {socket: a.sock, backend: b, stable: s, canary: c}}}",
            "1:60 `a.sock` is no socket of HAProxy's",
        ),
        (
            "gateways: {g: {listen: \"127.0.0.1:8405\", haproxy: {socket: \"10.0.0.1:9\", backend: b, stable: s, canary: c}}}",
            "1:60 10.0.0.1:9 is beyond loopback",
        ),
        (
            "gateways: {g: {listen: \"127.0.0.1:8405\", haproxy: {socket: /a, backend: b, stable: s, canary: s}}}",
            "1:95 one server can't be both stable and canary",
        ),
        (
            "gateways: {g: {listen: \"127.0.0.1:8405\", haproxy: {socket: /a, backend: \"b;x\", stable: s, canary: c}}}",
            "1:73 `b;x` is no name in haproxy.cfg",
        ),
        ("gateways: {g: {listen: \"[::]:443\", tls: {cert: a, key: b}}}", "1:56 `key` names no file"),
        (
            "gateways: {g: {listen: \"[::]:443\", tls: {cert: a, key: \"file:b\"}, plain: x}}",
            "1:67 a gateway speaks TLS or plain HTTP, not both",
        ),
        (
            "gateways: {g: {listen: \"[::]:443\", tls: [{cert: a, key: \"file:b\", hosts: [\"*.gov\"]}]}}",
            "1:75 `*.gov` is not a host",
        ),
        (
            "gateways: {g: {listen: \"[::1]:443\", tunnel_idle: 2d}}",
            "1:50 `tunnel_idle` of 2 d is longer than 1 d",
        ),
        ("gateways: {g: {listen: \"[::1]:443\", limits: {client_rate: fast}}}", "1:59 `fast` is not a rate"),
        (
            "gateways: {g: {listen: \"[::1]:443\", limits: {client_rate: 5/2 h}}}",
            "1:59 `5/2 h` is not a rate",
        ),
        ("gateways: {g: {listen: \"[::1]:443\", limits: {body_max: 1 GB}}}", "1:56 `1 GB` is not a size"),
        (
            "gateways: {g: {listen: \"[::1]:443\", trusted_proxies: [10.0.0.0/99]}}",
            "1:55 `10.0.0.0/99` is no address or network",
        ),
        ("gateways: {g: {listen: \"[::1]:443\", access_log: /var/}}", "1:49 `access_log` names no file"),
        ("gateways: {g: {listen: 8080}}", "1:24 `8080` is not an address to listen on"),
        ("gateways: {g: {listen: \"127.0.0.1:0\"}}", "1:24 port 0 is another one at each start"),
        ("gateways: {g: {}}", "1:12 `listen` is missing: a gateway says where it listens"),
        (
            "gateways:\n  a: {listen: \"127.0.0.1:80\"}\n  b: {listen: \"127.0.0.1:80\"}\n",
            "3:3 gateway `a` listens on 127.0.0.1:80 already",
        ),
        ("tls: {cert: a}", "1:7 a certificate and its key go together"),
        ("tls: {cert: a, key: b}", "1:21 `key` names no file"),
        (
            "tls: {cert: a, key: \"file:b\", names: [c]}",
            "1:31 `names` are for a certificate of the tower's own authority",
        ),
        ("tls: {names: [\"*.csac.gov\"]}", "1:15 `*.csac.gov` is not a host"),
        ("tls: {names: [a]}\nplain: b\n", "2:1 the tower speaks TLS or clear text, not both"),
        ("plain: \"\"", "1:8 `plain` is empty"),
        ("gatways: {}", "1:1 unknown key `gatways` in the tower's settings"),
        ("heal: {rollback: atuo}", "1:18 `atuo` does not say who decides"),
        ("observe_only: on", "1:15 `on` is neither `true` nor `false`"),
        ("retention: {logs: 1 min}", "1:19 `logs` of 1 min is shorter than 1 h"),
        ("ledger: mysql://u:secret@h/d", "1:9 `ledger` is no place that is known"),
        ("system: {impact: severe}", "1:18 `severe` is not an impact level"),
        ("repos: [{branch: main}]", "1:9 a repository does not say where it is"),
        ("metrics: {query: localhost}", "1:18 `query` is no URL of HTTP"),
        ("metrics: {series_max: many}", "1:23 `many` is not a whole number"),
        ("metrics: {out_of_order_window: 2 d}", "1:32 `out_of_order_window` of 2 d is longer than 1 d"),
        ("metrics: {series_max: 10}", "1:23 `series_max` of 10 is out of bounds"),
    ] {
        assert_eq!(errors("hmsops.yaml", text), [expected], "{text}");
        assert_eq!(parse_tower(text).value, None);
    }
    let plain = "gateways: {g: {listen: \"0.0.0.0:80\", plain: \"published on 127.0.0.1 by compose\"}}";
    assert_eq!(warnings("x", plain), ["1:24 0.0.0.0:80 is beyond loopback and speaks plain HTTP"]);
    let names = parse_tower("tls: {names: [Tower.csac.gov, 10.0.0.4, \"::1\"]}").value.unwrap().tls;
    assert_eq!(
        (names.files, names.names),
        (None, vec!["tower.csac.gov".into(), "10.0.0.4".into(), "::1".into()])
    );
    let files = parse_tower("tls: {cert: a.crt, key: \"file:a.key\"}").value.unwrap().tls.files;
    assert_eq!(files, Some(("a.crt".into(), "a.key".into())));
}

#[test]
fn what_a_terminal_would_act_on_is_not_repeated() {
    let text = SERVICES.replace("http: auto", "http:\u{202e}: ");
    let said = rendered("services.yaml", &text);
    assert!(said.contains("hint: ") && !said.contains('\u{202e}'), "{said:?}");
}

#[test]
fn kinds_are_told_by_content() {
    for (text, kind) in [
        (CANARY, Kind::Release),
        (SERVICES, Kind::Services),
        (ROLLBACK, Kind::Policy),
        (HMSOPS, Kind::Tower),
        ("servces:\n  a: {}\n", Kind::Services),
        ("iamge: a:1\nstratgy: [", Kind::Release),
        ("{detect: {when: 1}}", Kind::Policy),
        ("", Kind::Unknown),
        (ALERTS, Kind::Rules),
        (SCRAPE, Kind::Scrape),
        ("rule_files: [a.yaml]\nevaluation_interval: 1m\ntests: []\n", Kind::RuleTests),
        ("groups:\n  - name: a\n", Kind::Rules),
        ("gruops:\n  - name: a\n", Kind::Rules),
        ("global: {}\nrule_files: [a]\n", Kind::Scrape),
        ("notify: {mail: {}}\n", Kind::Tower),
        ("alerts: []\n", Kind::Unknown),
        ("\u{1}", Kind::Unknown),
    ] {
        assert_eq!(kind_of(text), kind, "{text}");
    }
    for (text, kind) in [(CANARY, Kind::Release), (SERVICES, Kind::Services), (ROLLBACK, Kind::Policy)] {
        for line in 1..=text.lines().count() {
            let told = kind_of(&edited(text, line, None));
            assert!(told == kind || told == Kind::Unknown, "without line {line}: {told:?}");
        }
    }
    assert_eq!(check("a/hmsops.yaml", "").kind, Kind::Tower);
    assert_eq!(errors("a.yaml", "alarms: []"), ["1:1 no file that is read here starts with `alarms`"]);
}

#[test]
fn a_report_as_text_json_and_sarif() {
    let text = edited(CANARY, 7, Some("    - weight: 101"));
    let reports = [check("dev/cd/canary \"é\".yaml", &text), check("ok.yaml", CANARY)];
    assert!(reports[0].failed() && !reports[1].failed());
    let plain = "error: weight 101 is more than 100 %\n  --> dev/cd/canary \"é\".yaml:7:15\n7 |     - weight: 101\n  |               ^^^\nhint: weights are per cent of users, 0.01 to 100\n";
    assert_eq!(render::text(&reports, false), plain);
    let coloured = render::text(&reports, true);
    assert!(coloured.starts_with("\u{1b}[1;31merror\u{1b}[0m: "), "{coloured}");
    let mut stripped = coloured;
    for code in ["0", "1", "34", "36", "1;31"] {
        stripped = stripped.replace(&format!("\u{1b}[{code}m"), "");
    }
    assert_eq!(stripped, plain);

    let json: serde_json::Value = serde_json::from_str(&render::json(&reports)).unwrap();
    assert_eq!(
        json,
        serde_json::json!([{
            "file": "dev/cd/canary \"é\".yaml", "severity": "error", "line": 7, "column": 15,
            "message": "weight 101 is more than 100 %", "hint": "weights are per cent of users, 0.01 to 100",
        }])
    );
    let sarif: serde_json::Value = serde_json::from_str(&render::sarif(&reports, "0.1.0")).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!((&result["level"], &result["ruleId"]), (&"error".into(), &"release".into()));
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "dev/cd/canary%20%22%C3%A9%22.yaml");
    assert_eq!(place["region"], serde_json::json!({"startLine": 7, "startColumn": 15, "endColumn": 18}));
    assert_eq!(sarif["runs"][0]["results"].as_array().unwrap().len(), 1);
}

#[test]
fn what_keeps_releases_safe_is_read() {
    use hmsops_model::freeze::{FreezeSpan, RollbackWindow, WeekTime};
    let text = "freeze:\n  - {weekly: friday 16:00 to Mon 8:00, time_zone: America/New_York, why: weekend}\n  \
                - {from: 2026-12-20T00:00:00-05:00, to: 2027-01-04T13:00:00Z}\n";
    let tower = crate::parse_tower(text).value.unwrap();
    let (from, to) = (WeekTime::new(4, 16, 0).unwrap(), WeekTime::new(0, 8, 0).unwrap());
    assert_eq!(tower.freeze[0].when, FreezeSpan::Weekly { from, to, zone: "America/New_York".into() });
    assert_eq!(tower.freeze[0].why.as_deref(), Some("weekend"));
    assert_eq!(format!("{from} {to}"), "Fri 16:00 Mon 08:00");
    let once = FreezeSpan::Once {
        from: hmsops_model::UnixMillis(1_797_742_800_000),
        to: hmsops_model::UnixMillis(1_799_067_600_000),
    };
    assert_eq!(tower.freeze[1].when, once);

    let text = "services:\n  a:\n    driver: external\n    upstreams: {\"1\": [\"h:80\"]}\n    \
                rollback_window: {versions: 1}\n    capacity: 12.5 req/s\n";
    let spec = crate::parse_services(text).value.unwrap().remove(0);
    assert_eq!(spec.rollback_window, RollbackWindow { versions: 1, ..RollbackWindow::default() });
    assert_eq!(spec.capacity_milli, Some(12_500));

    for (written, from) in [("true", Some(0)), ("25 %", Some(2500)), ("100", Some(10_000)), ("false", None)] {
        let text = format!("{}irreversible: {written}\nafter: [b, c]\n", super::CANARY);
        let spec = crate::parse_release(&text).value.unwrap();
        assert_eq!(spec.irreversible.map(hmsops_model::Weight::bp), from, "{written}");
        assert_eq!(spec.after.len(), 2);
    }
}

#[test]
fn a_margin_and_what_becomes_of_a_doubt() {
    use hmsops_model::release::Inconclusive;
    let spec = |keys: &str| parse_release(&format!("{CANARY}{keys}"));
    let declared = spec("margin: 0.5 %\ninconclusive: ask\n").value.unwrap();
    assert_eq!((declared.margin_bp, declared.inconclusive), (Some(50), Inconclusive::Ask));
    assert_eq!(spec("margin: 2\n").value.unwrap().margin_bp, Some(200));
    assert_eq!(spec("margin: auto\ninconclusive: hold\n").value.unwrap().margin_bp, None);
    for wrong in
        ["margin: 0", "margin: 101 %", "margin: 0.001", "margin: 1.", "margin: a", "inconclusive: aks"]
    {
        assert!(spec(&format!("{wrong}\n")).value.is_none(), "{wrong}");
    }
}

#[test]
fn a_gateways_limits_are_read() {
    let text = "gateways: {g: {listen: \"127.0.0.1:80\", trusted_proxies: [], access_log: stdout, limits: {\
        body_max: 16 MiB, client_rate: 50/s, service_rate: 100/10 s, upstream_wait: 0}}}";
    let checked = parse_tower(text);
    assert!(checked.diagnostics.is_empty(), "{:?}", checked.diagnostics);
    let settings = checked.value.unwrap().gateways["g"].settings.clone();
    assert_eq!(settings.limits.body_max, 16 << 20);
    assert_eq!(settings.limits.client_rate.unwrap(), Rate { count: 50, per: Millis(1000) });
    assert_eq!(settings.limits.service_rate.unwrap(), Rate { count: 100, per: Millis(10_000) });
    assert_eq!(settings.limits.upstream_wait, Millis::ZERO);
    assert_eq!(settings.limits.client_connections, GatewayLimits::default().client_connections);
    assert!(settings.trusted_proxies.is_empty() && settings.access_log.as_deref() == Some("stdout"));
}
