//! What a gateway refuses and bounds, so that neither a client nor a version can take it down.

use hmsops_model::gateway::{GatewayLimits, GatewaySettings, Rate};
use hmsops_model::{BadKind, Millis, ServiceName};
use hmsops_wire::gateway::{FromGateway, GatewayCounts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::settings::settle;
use crate::world::{Reply, Running, Tower, backend, gateway, gateway_with, nowhere, patiently, raw, route};

/// A gateway with one stable upstream, and these limits.
async fn limited(upstream: &str, change: impl FnOnce(&mut GatewaySettings)) -> (Running, Tower) {
    let gateway = gateway().await;
    let mut tower = gateway.tower().await;
    tower.set(route(1, upstream, upstream, 0)).await;
    let mut settings = GatewaySettings::default();
    change(&mut settings);
    settle(&mut tower, settings).await.unwrap();
    (gateway, tower)
}

async fn told(tower: &mut Tower, what: &str, enough: impl Fn(&GatewayCounts) -> bool) -> GatewayCounts {
    tower
        .wait(what, |message| match message {
            FromGateway::Counts { counts, .. } => enough(counts).then(|| counts.clone()),
            _ => None,
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_bounded_by_what_they_say_and_by_what_comes() {
    let stable = backend(Reply::Status(200, "stable")).await;
    let (gateway, mut tower) = limited(&stable.address, |settings| settings.limits.body_max = 1000).await;
    let said = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n";
    let answer = raw(gateway.listen, said).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("body-size"), "{answer}");
    assert_eq!(stable.asked(), 0, "no version hears of it");
    let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000));
    let came =
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n");
    let hang = backend(Reply::Hang).await;
    tower.set(route(2, &hang.address, "", 0)).await;
    let answer = raw(gateway.listen, came.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let counts = told(&mut tower, "both", |counts| counts.refused.get("body-size") == Some(&2)).await;
    assert_eq!(counts.refused.len(), 1);
    tower.set(route(3, &stable.address, "", 0)).await;
    assert_eq!(gateway.client().await.post("/").await.status, 200);
    let (stable, _) = tower.counts("the good one", |stable, _| stable.requests >= 1).await;
    assert_eq!((stable.requests, stable.n_bad()), (1, 0), "a client's long body is no version's failure");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rates_are_granted_and_then_said() {
    let stable = backend(Reply::Status(200, "stable")).await;
    let rate = Some(Rate { count: 3, per: Millis::from_mins(60) });
    let (gateway, mut tower) = limited(&stable.address, |settings| settings.limits.client_rate = rate).await;
    let mut client = gateway.client().await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.status, 200);
    }
    let answer = raw(gateway.listen, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after: 1"), "{answer}");
    let other = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.1\r\nConnection: close\r\n\r\n";
    assert!(
        raw(gateway.listen, other).await.starts_with("HTTP/1.1 200"),
        "a trusted proxy's clients are apart"
    );
    told(&mut tower, "the refusal", |counts| counts.refused.get("rate") == Some(&1)).await;
}

/// Whoever asks, the service gets no more than its rate; another service behind the same gateway has its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_services_rate_is_that_of_all_its_clients_together() {
    let stable = backend(Reply::Status(200, "stable")).await;
    let rate = Some(Rate { count: 3, per: Millis::from_mins(60) });
    let (gateway, mut tower) = limited(&stable.address, |settings| settings.limits.service_rate = rate).await;
    let mut other = route(1, &stable.address, "", 0);
    (other.service, other.host) = (ServiceName::new("other").unwrap(), Some("other".to_owned()));
    tower.set(other).await;
    let ask = async |host: &str, client: u8| {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: 198.51.100.{client}\r\nConnection: close\r\n\r\n"
        );
        raw(gateway.listen, request.as_bytes()).await
    };
    for client in 1..=3 {
        assert!(ask("a", client).await.starts_with("HTTP/1.1 200"), "{client}");
    }
    let answer = ask("a", 4).await;
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after: 1"), "{answer}");
    assert_eq!(stable.asked(), 3, "no version hears of it");
    for client in 4..=6 {
        assert!(ask("other", client).await.starts_with("HTTP/1.1 200"), "{client}");
    }
    assert!(ask("other", 7).await.starts_with("HTTP/1.1 429"));
    told(&mut tower, "the refusals", |counts| counts.refused.get("rate") == Some(&2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_is_full_is_not_waited_for() {
    let hang = backend(Reply::Hang).await;
    let (gateway, mut tower) = limited(&hang.address, |settings| {
        settings.limits =
            GatewayLimits { upstream_requests: 1, upstream_waiting: 0, ..GatewayLimits::default() };
    })
    .await;
    let mut first = TcpStream::connect(gateway.listen).await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    patiently("the first request", async {
        while hang.asked() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let answer = raw(gateway.listen, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");
    assert!(answer.contains("hmsops-gateway: busy"), "{answer}");
    told(&mut tower, "the refusal", |counts| counts.refused.get("busy") == Some(&1)).await;
    assert_eq!(tower.sum().0.requests, 0, "what was not sent is not counted");
}

/// With all upstreams down each request is tried about once, not three times, and none waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_upstreams_get_no_storm_of_retries() {
    let gateway = gateway().await;
    let mut tower = gateway.tower().await;
    let mut dead = route(1, &nowhere().await, "", 0);
    dead.stable.upstreams.extend([nowhere().await, nowhere().await]);
    tower.set(dead).await;
    let mut client = gateway.client().await;
    for _ in 0..400 {
        assert_eq!(client.get("/").await.status, 502);
    }
    let counts = told(&mut tower, "the retries that were not made", |counts| counts.over_budget > 0).await;
    assert_eq!(counts.ejections, 1, "never more than half");
    assert_eq!(counts.ejected.len(), 1);
}

/// Interim answers without end are cut off by their size; the usual time-out would let them run for half a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_interim_answers_is_broken() {
    let (gateway, stable) = (gateway().await, backend(Reply::Status(200, "stable")).await);
    let canary = backend(Reply::Endless(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")).await;
    let mut tower = gateway.tower().await;
    tower.set(route(1, &stable.address, &canary.address, 10_000)).await;
    let got = gateway.client().await.get("/").await;
    assert_eq!((got.status, got.body.as_deref()), (200, Some("stable")));
    let (_, canary) = tower.counts("the storm", |_, canary| canary.n_bad() >= 1).await;
    assert_eq!((canary.bad, canary.shielded), ([(BadKind::Broken, 1)].into(), 1));
}

/// A user who gives up on a hanging version was failed by it, although there was never an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_a_hanging_canary_counts() {
    let (gateway, stable) = (gateway().await, backend(Reply::Status(200, "stable")).await);
    let canary = backend(Reply::Hang).await;
    let mut tower = gateway.tower().await;
    let mut all = route(1, &stable.address, &canary.address, 10_000);
    all.canary.as_mut().unwrap().shield_after = Some(Millis(10));
    tower.set(all).await;
    let mut leaving = TcpStream::connect(gateway.listen).await.unwrap();
    leaving.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
    patiently("the request", async {
        while canary.asked() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for _ in 0..3 {
        tower.wait("a tick", |message| matches!(message, FromGateway::Tick(_)).then_some(())).await;
    }
    drop(leaving);
    let (_, canary) = tower.counts("the hang", |_, canary| canary.n_bad() >= 1).await;
    assert_eq!((canary.bad, canary.seen), ([(BadKind::Timeout, 1)].into(), 1));
}

/// A client that asks and does not read holds nothing for long, and counts for no version.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_let_go() {
    let gateway = gateway_with(|options| options.limits.upload = std::time::Duration::from_millis(200)).await;
    let length = 48 << 20;
    let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + length, b'x');
    let stable = backend(Reply::Raw(answer)).await;
    let mut tower = gateway.tower().await;
    tower.set(route(1, &stable.address, "", 0)).await;
    let mut idle = TcpStream::connect(gateway.listen).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    told(&mut tower, "the refusal", |counts| counts.refused.get("slow-reader") == Some(&1)).await;
    let (stable, _) = tower.counts("the request", |stable, _| stable.requests >= 1).await;
    assert_eq!(stable.n_bad(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_so_many_connections() {
    let stable = backend(Reply::Status(200, "stable")).await;
    let (gateway, mut tower) = limited(&stable.address, |settings| {
        settings.limits.client_connections = 1;
        settings.trusted_proxies.clear();
    })
    .await;
    let mut client = gateway.client().await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(raw(gateway.listen, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await, "");
    assert_eq!(client.get("/").await.status, 200);
    told(&mut tower, "the refusal", |counts| counts.refused.get("connections") == Some(&1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_trusted_clients_learn_the_version() {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.1\r\nConnection: close\r\n\r\n";
    let echo = backend(Reply::Echo).await;
    let (gateway, mut tower) = limited(&echo.address, |_| ()).await;
    let answer = raw(gateway.listen, request).await.to_ascii_lowercase();
    assert!(
        answer.contains("hmsops-version: 1.7.3") && answer.contains("for: 198.51.100.1, 127.0.0.1\r\n"),
        "{answer}"
    );
    assert!(answer.contains("\r\ntraceparent: 00-"), "{answer}");
    let nobody = GatewaySettings { trusted_proxies: Vec::new(), ..GatewaySettings::default() };
    settle(&mut tower, nobody).await.unwrap();
    let answer = raw(gateway.listen, request).await.to_ascii_lowercase();
    assert!(!answer.contains("hmsops-version") && answer.contains("for: 127.0.0.1\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_has_its_line_and_rotation_loses_none() {
    let folder = tempfile::tempdir().unwrap();
    let (log, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let stable = backend(Reply::Status(200, "stable")).await;
    let (gateway, mut tower) = limited(&stable.address, |_| ()).await;
    let to = |path: &std::path::Path| Some(path.to_str().unwrap().to_owned());
    let wrong =
        GatewaySettings { access_log: to(&folder.path().join("no/folder")), ..GatewaySettings::default() };
    assert!(settle(&mut tower, wrong).await.unwrap_err().contains("access log"));
    settle(&mut tower, GatewaySettings { access_log: to(&log), ..GatewaySettings::default() }).await.unwrap();
    let mut client = gateway.client().await;
    let request =
        hyper::Request::get("/a?token=s3cret").header("host", "portal").header("cookie", "c=s3cret");
    assert_eq!(client.send(request).await.status, 200);
    let lines = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
    patiently("the line", async {
        while !lines(&log).ends_with('\n') {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let line: serde_json::Value = serde_json::from_str(lines(&log).trim()).unwrap();
    for (key, value) in
        [("path", "/a"), ("method", "GET"), ("host", "portal"), ("arm", "stable"), ("version", "1.7.3")]
    {
        assert_eq!(line[key], value, "{line}");
    }
    assert_eq!((&line["status"], &line["bytes"]), (&200.into(), &6.into()));
    assert_eq!(line["trace"].as_str().unwrap().len(), 32);
    assert!(!lines(&log).contains("s3cret"));
    let mut sent = 1;
    rustix::fs::rename(&log, &moved).unwrap();
    patiently("the new file", async {
        while lines(&log).is_empty() {
            assert_eq!(client.get("/").await.status, 200);
            sent += 1;
        }
    })
    .await;
    patiently("all lines", async {
        while lines(&log).lines().count() + lines(&moved).lines().count() < sent {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// What a second parser could read differently: each is refused, or one request goes on and the connection ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bytes_make_a_second_request() {
    let stable = backend(Reply::Echo).await;
    let (gateway, _tower) = limited(&stable.address, |_| ()).await;
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(17_000));
    let next = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let refused = [
        ("400", "GET / HTTP/1.1\r\nHost: a\r\nx: a\0b\r\n\r\n"),
        ("400", "GET / HTTP/1.1\r\nHost: a\r\nx: a\rb\r\n\r\n"),
        ("400", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        ("400", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        ("400", "GET / HTTP/1.1\r\n\r\n"),
        ("400", "GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("400", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
        ("400", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\n"),
        ("400", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
        ("400", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n"),
        ("400", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"),
        ("400", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        ("414", &long),
    ];
    for (status, request) in refused {
        let answer = raw(gateway.listen, format!("{request}{next}").as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:?}: {answer}");
        assert!(!answer.contains("/smuggled"), "{request:?}: {answer}");
    }
    assert_eq!(stable.asked(), 0);
    for chunks in [
        "zz\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "-1\r\n",
        "fffffffffffffffff\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3 \n",
    ] {
        let request =
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{next}");
        let answer = raw(gateway.listen, request.as_bytes()).await;
        assert!(!answer.contains("/smuggled"), "{chunks:?}: {answer}");
    }
}

/// An answer with two lengths, or with a second answer behind it, reaches the client as one and in one reading.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_split() {
    let two =
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let behind =
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    for bytes in [&two[..], &behind[..]] {
        let stable = backend(Reply::Raw(bytes.to_vec())).await;
        let (gateway, _tower) = limited(&stable.address, |_| ()).await;
        let mut client = gateway.client().await;
        for _ in 0..3 {
            let got = client.get("/").await;
            assert!(!got.body.unwrap_or_default().contains("evil"));
        }
        let answer = raw(gateway.listen, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        let lengths = ["content-length:", "transfer-encoding:"].map(|name| answer.contains(name));
        assert!(lengths != [true, true], "{answer}");
    }
}

/// The same client stays on its arm, also at a larger share; another release draws anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_stay_on_their_arm() {
    let (gateway, stable) = (gateway().await, backend(Reply::Status(200, "stable")).await);
    let canary = backend(Reply::Status(200, "canary")).await;
    let mut tower = gateway.tower().await;
    let sticky = |epoch, bp, salt| {
        let mut route = route(epoch, &stable.address, &canary.address, bp);
        route.identity = hmsops_model::service::Identity::Cookie("s".to_owned());
        route.sticky = true;
        let arm = route.canary.as_mut().unwrap();
        arm.salt = salt;
        route
    };
    let mut client = gateway.client().await;
    // Enough clients are known only once they have been seen.
    tower.set(sticky(1, 1000, 7)).await;
    let mut ask = async |who: usize| {
        let request = hyper::Request::get("/").header("host", "a").header("cookie", format!("s=c{who}"));
        client.send(request).await.body.unwrap() == "canary"
    };
    for who in 0..100 {
        ask(who).await;
    }
    tower
        .wait("the unit", |message| match message {
            FromGateway::Tick(tick) => (tick.unit == hmsops_model::Unit::Client).then_some(()),
            _ => None,
        })
        .await;
    let mut low = Vec::new();
    for who in 0..200 {
        low.push(ask(who).await);
    }
    tower.set(sticky(2, 2500, 7)).await;
    let mut high = Vec::new();
    for who in 0..200 {
        high.push(ask(who).await);
        assert_eq!(ask(who).await, high[who], "the same client, the same arm");
    }
    assert!(low.iter().zip(&high).all(|(low, high)| !low || *high), "who is in stays in");
    assert!(low.contains(&true) && high.iter().filter(|in_it| **in_it).count() > 20);
    tower.set(sticky(3, 2500, 8)).await;
    let mut other = Vec::new();
    for who in 0..200 {
        other.push(ask(who).await);
    }
    assert_ne!(high, other, "another release draws anew");
}

/// A client that sends all of its body before it reads gets the answer, and not a reset that takes it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_refused_early_gets_the_answer() {
    let stable = backend(Reply::Status(200, "stable")).await;
    let (gateway, _tower) = limited(&stable.address, |settings| settings.limits.body_max = 1000).await;
    let length = 32 << 20;
    let mut request = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    request.resize(request.len() + length, b'x');
    let mut stream = TcpStream::connect(gateway.listen).await.unwrap();
    patiently("the whole body to be taken", stream.write_all(&request)).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    patiently("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}
