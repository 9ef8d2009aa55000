use hmsops_model::gateway::{GatewayLimits, Rate, TlsCertificate};
use hmsops_model::route::{Arm, CanaryArm};
use hmsops_model::service::{BadRule, Identity, Protocol};
use hmsops_model::{BadKind, Millis, Unit, Version};

use super::*;

const TO_GATEWAY_V1: &str = include_str!("../../fixtures/to-gateway-v1.jsonl");
const FROM_GATEWAY_V1: &str = include_str!("../../fixtures/from-gateway-v1.jsonl");

fn service() -> ServiceName {
    ServiceName::new("csac-portal").unwrap()
}

fn arm(version: &str, upstream: &str) -> Arm {
    Arm { version: Version::new(version).unwrap(), upstreams: vec![upstream.to_owned()] }
}

fn to_gateway() -> Vec<ToGateway> {
    let route = Route {
        service: service(),
        host: Some("portal.csac.gov".to_owned()),
        epoch: 7,
        stable: arm("1.7.3", "127.0.0.1:4001"),
        canary: Some(CanaryArm {
            release: ReleaseId(42),
            arm: arm("1.8.0", "127.0.0.1:4002"),
            weight: Weight::from_bp(100).unwrap(),
            salt: u64::MAX,
            shield_after: Some(Millis(1500)),
            excused_for: Millis(1000),
            irreversible: false,
        }),
        identity: Identity::Cookie("session".to_owned()),
        sticky: true,
        bad: vec![
            BadRule::Status5xx,
            BadRule::Timeout,
            BadRule::Answer { path: Some("/login".to_owned()), status: vec![401, 403] },
        ],
        protocol: Protocol::Http1,
    };
    vec![
        ToGateway::Hello { protocol: 1, tower_run: u64::MAX },
        ToGateway::Set { route },
        ToGateway::Remove { service: service(), epoch: 8 },
        ToGateway::Retreat { service: service(), release: ReleaseId(42) },
        ToGateway::Ping,
        ToGateway::TickAck { gateway_run: 3, seq: 9 },
        ToGateway::Shutdown { drain_ms: 10_000 },
    ]
}

fn tick() -> Tick {
    let mut tick = Tick {
        service: service(),
        release: Some(ReleaseId(42)),
        epoch: 7,
        seq: 12,
        gateway_run: 3,
        at: UnixMillis(1_900_000_000_100),
        span: Millis(100),
        weight: Weight::from_bp(100).unwrap(),
        unit: Unit::Client,
        canary_waiting: 2,
        stable: hmsops_model::ArmTick { requests: 99, clients: 80, ..Default::default() },
        canary: hmsops_model::ArmTick {
            requests: 1,
            clients: 1,
            new_bad: 1,
            errors: 1,
            bad: [(BadKind::Status, 1)].into(),
            shielded: 1,
            seen: 0,
            first_bad_at: Some(UnixMillis(1_900_000_000_050)),
            last_bad_at: Some(UnixMillis(1_900_000_000_050)),
            ..Default::default()
        },
    };
    tick.stable.latencies.observe(1200);
    tick.canary.latencies.observe(3400);
    tick
}

fn from_gateway() -> Vec<FromGateway> {
    vec![
        FromGateway::Hello {
            protocol: 1,
            name: "public".to_owned(),
            gateway_run: 3,
            pid: 4711,
            listen: "127.0.0.1:8080".to_owned(),
            routes: vec![RouteState {
                service: service(),
                epoch: 6,
                release: Some(ReleaseId(42)),
                weight: Weight::NONE,
                retreated: true,
            }],
            program: String::new(),
        },
        FromGateway::Applied { service: service(), epoch: 7 },
        FromGateway::Refused { service: service(), epoch: 7, why: "release `r-42` has retreated".to_owned() },
        FromGateway::Retreated {
            service: service(),
            release: ReleaseId(42),
            by: RetreatBy::Gateway,
            at: UnixMillis(1_900_000_000_000),
            weight_was: Weight::from_bp(100).unwrap(),
        },
        FromGateway::Drained { service: service(), release: ReleaseId(42) },
        FromGateway::Tick(tick()),
        FromGateway::Pong,
    ]
}

fn check_fixture<M: Message + PartialEq + std::fmt::Debug>(fixture: &str, messages: &[M]) {
    let written: String =
        messages.iter().map(|message| String::from_utf8(encode(message).unwrap()).unwrap()).collect();
    assert_eq!(written, fixture, "version 1 is written as it was when it was released");
    let mut reader = Reader::default();
    reader.push(fixture.as_bytes());
    for message in messages {
        assert_eq!(reader.next_message::<M>().unwrap().as_ref(), Some(message));
    }
    assert!(reader.next_message::<M>().unwrap().is_none());
}

/// What was added within version 1.
fn added_to_gateway() -> Vec<ToGateway> {
    let tls = TlsCertificate {
        hosts: vec!["portal.csac.gov".to_owned()],
        cert: "/etc/hmsops/tls.crt".to_owned(),
        key: "/etc/hmsops/tls.key".to_owned(),
    };
    let settings =
        GatewaySettings { tls: vec![tls], tunnel_idle: Millis::from_mins(5), ..GatewaySettings::default() };
    let limits = GatewayLimits {
        client_rate: Some(Rate { count: 50, per: Millis(1000) }),
        ..GatewayLimits::default()
    };
    let guarded = GatewaySettings {
        limits,
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        access_log: Some("/var/log/hmsops/access.log".to_owned()),
        ..GatewaySettings::default()
    };
    vec![ToGateway::Settings { settings }, ToGateway::Settings { settings: guarded }]
}

fn added_from_gateway() -> Vec<FromGateway> {
    vec![
        FromGateway::Hello {
            protocol: 1,
            name: "public".to_owned(),
            gateway_run: 3,
            pid: 4711,
            listen: "127.0.0.1:8080".to_owned(),
            routes: Vec::new(),
            program: "0.2.0".to_owned(),
        },
        FromGateway::SettingsApplied,
        FromGateway::SettingsRefused { why: "cannot read `tls.crt`".to_owned() },
        FromGateway::Counts {
            gateway_run: 3,
            counts: GatewayCounts {
                refused: [("rate".to_owned(), 7)].into(),
                ejections: 2,
                over_budget: 1,
                unlogged: 0,
                ejected: vec![EjectedUpstream { service: service(), upstream: "10.0.0.4:8080".to_owned() }],
            },
        },
    ]
}

#[test]
fn what_was_added_is_read_and_written_as_released() {
    check_fixture(include_str!("../../fixtures/to-gateway-v1-added.jsonl"), &added_to_gateway());
    check_fixture(include_str!("../../fixtures/from-gateway-v1-added.jsonl"), &added_from_gateway());
}

/// A tower that knows fewer or more settings than its gateway is understood.
#[test]
fn settings_of_another_version_are_read_with_defaults() {
    let read = decode::<ToGateway>(br#"{"type":"settings","settings":{"warp":9}}"#).unwrap();
    assert_eq!(read, ToGateway::Settings { settings: GatewaySettings::default() });
}

#[test]
fn version_1_is_read_and_written_as_released() {
    check_fixture(TO_GATEWAY_V1, &to_gateway());
    check_fixture(FROM_GATEWAY_V1, &from_gateway());
}

/// A later version's types and fields do not break this one.
#[test]
fn unknown_types_are_skipped_and_counted() {
    let mut reader = Reader::default();
    reader.push(b"{\"type\":\"warp\",\"factor\":{\"x\":[1]}}\n\n{\"type\":\"ping\",\"since\":3}\n");
    assert_eq!(reader.next_message::<ToGateway>().unwrap(), Some(ToGateway::Ping));
    assert_eq!(reader.next_message::<ToGateway>().unwrap(), None);
    assert_eq!(reader.unknown(), 1);
    assert!(encode(&ToGateway::Unknown).is_err());
}

/// However the bytes arrive, the same messages come out.
#[test]
fn lines_may_come_in_pieces() {
    for size in [1, 2, 7, 64, 100_000] {
        let mut reader = Reader::default();
        let mut seen = Vec::new();
        for piece in FROM_GATEWAY_V1.as_bytes().chunks(size) {
            reader.push(piece);
            while let Some(message) = reader.next_message::<FromGateway>().unwrap() {
                seen.push(message);
            }
        }
        assert_eq!(seen, from_gateway(), "pieces of {size}");
    }
}

#[test]
fn what_is_too_long_or_broken_is_an_error_and_not_memory() {
    let mut reader = Reader::default();
    reader.push(&vec![b' '; GATEWAY_LINE_BYTES_MAX + 1]);
    assert!(matches!(reader.next_message::<ToGateway>(), Err(LineError::TooLong)));
    let refused =
        FromGateway::Refused { service: service(), epoch: 1, why: "x".repeat(GATEWAY_LINE_BYTES_MAX) };
    assert!(matches!(encode(&refused), Err(LineError::TooLong)));
    for bad in
        ["nonsense", "{}", "{\"type\":\"set\"}", "{\"type\":\"tick-ack\",\"gateway_run\":-1,\"seq\":1}", "[]"]
    {
        let error = decode::<ToGateway>(bad.as_bytes()).unwrap_err();
        assert!(matches!(error, LineError::Malformed { .. }), "{bad}: {error}");
    }
    let weight = TO_GATEWAY_V1.replace("\"weight\":100", "\"weight\":10001");
    assert!(weight.lines().any(|line| decode::<ToGateway>(line.as_bytes()).is_err()));
}
