//! What comes from clients and versions is hostile: none of it panics, and what a version does is counted.

use std::time::Duration;

use hmsops_model::BadKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{Reply, backend, gateway, gateway_with, patiently, raw, route};

/// A canary that answers a POST so is counted bad once, of this kind, and the gateway goes on.
async fn check_bad(reply: Reply, kind: BadKind) {
    let gateway = gateway_with(|options| {
        options.limits.head = Duration::from_millis(500);
        options.limits.pause = Duration::from_millis(300);
    })
    .await;
    let (stable, canary) = (backend(Reply::Status(200, "stable")).await, backend(reply.clone()).await);
    let mut tower = gateway.tower().await;
    tower.set(route(1, &stable.address, &canary.address, 10_000)).await;
    let got = gateway.client().await.post("/").await;
    assert!(got.status >= 500 || got.body.is_none(), "{reply:?}: {got:?}");
    let (_, bad) = tower.counts("the bad answer", |_, canary| canary.n_bad() >= 1).await;
    assert_eq!((bad.bad, bad.seen), ([(kind, 1)].into(), 1), "{reply:?}");
    tower.set(route(2, &stable.address, &canary.address, 0)).await;
    assert_eq!(gateway.client().await.get("/").await.status, 200, "the gateway goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_for_an_answer_is_broken() {
    check_bad(Reply::Raw(b"\x00\xff\xfe garbage\r\n\r\n".to_vec()), BadKind::Broken).await;
    check_bad(Reply::Last(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), BadKind::Broken).await;
    check_bad(Reply::Last(b"HTTP/1.1 20".to_vec()), BadKind::Broken).await;
    check_bad(
        Reply::Raw(b"HTTP/1.1 101 Hm\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".to_vec()),
        BadKind::Broken,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_or_oversized_head_is_broken() {
    check_bad(
        Reply::Endless(b"HTTP/1.1 200 OK\r\nx: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        BadKind::Broken,
    )
    .await;
    let fields = "a: b\r\n".repeat(101);
    let many = format!("HTTP/1.1 200 OK\r\n{fields}content-length: 0\r\n\r\n");
    check_bad(Reply::Raw(many.into_bytes()), BadKind::Broken).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_lengths_are_broken() {
    let short = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort".to_vec();
    check_bad(Reply::Last(short), BadKind::Broken).await;
    let two = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab".to_vec();
    check_bad(Reply::Last(two), BadKind::Broken).await;
    let chunk = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_vec();
    check_bad(Reply::Last(chunk), BadKind::Broken).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_never_ends_is_a_time_out() {
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_vec();
    check_bad(Reply::Raw(half), BadKind::Timeout).await;
    check_bad(Reply::Raw(b"HTTP/1.1 200 OK\r\n".to_vec()), BadKind::Timeout).await;
}

/// What a second parser could read differently is refused, or sent on in one reading only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_smuggled() {
    let (gateway, stable) = (gateway().await, backend(Reply::Status(200, "stable")).await);
    gateway.tower().await.set(route(1, &stable.address, &stable.address, 0)).await;
    let refused: [&[u8]; 8] = [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n x: folded\r\n\r\n",
    ];
    for request in refused {
        let answer = raw(gateway.listen, request).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{}: {answer}", String::from_utf8_lossy(request));
    }
    assert_eq!(stable.asked(), 0);
}

/// With both lengths the chunks count, the length is not sent on, and the connection ends: the bytes behind it
/// are no second request (RFC 9112 §6.3).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_both_lengths_is_one_request() {
    let (gateway, stable) = (gateway().await, backend(Reply::Echo).await);
    gateway.tower().await.set(route(1, &stable.address, &stable.address, 0)).await;
    for fields in
        ["Content-Length: 4\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 4"]
    {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let answer = raw(gateway.listen, request.as_bytes()).await;
        assert!(
            !answer.contains("/smuggled") && !answer.to_ascii_lowercase().contains("content-length: 4"),
            "{answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_are_bounded() {
    let (gateway, stable) = (gateway().await, backend(Reply::Status(200, "stable")).await);
    gateway.tower().await.set(route(1, &stable.address, &stable.address, 0)).await;
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "a".repeat(66_000));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(100));
    for request in [long, many] {
        let answer = raw(gateway.listen, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    assert_eq!(stable.asked(), 0);
}

/// A connection may rest between two requests for longer than a head may take, and a head that is begun then has no more
/// time than any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_rests_and_a_head_does_not() {
    const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let stable = backend(Reply::Status(200, "stable")).await;
    for (rest, then) in [(Duration::from_secs(1), ""), (Duration::from_hours(1), "GET / HTTP/1.1\r\nHo")] {
        let gateway = gateway_with(|options| {
            options.limits.client_head = Duration::from_millis(100);
            options.limits.client_rest = rest;
        })
        .await;
        let mut tower = gateway.tower().await;
        tower.set(route(1, &stable.address, &stable.address, 0)).await;
        let mut stream = TcpStream::connect(gateway.listen).await.unwrap();
        stream.write_all(ASK).await.unwrap();
        let mut answer = vec![0; 1024];
        let n = patiently("an answer", stream.read(&mut answer)).await.unwrap();
        assert!(n > 0);
        let answered_at = tokio::time::Instant::now();
        stream.write_all(then.as_bytes()).await.unwrap();
        let mut left = Vec::new();
        patiently("the end", stream.read_to_end(&mut left)).await.unwrap();
        let rested = answered_at.elapsed();
        assert!(!then.is_empty() || rested > Duration::from_millis(900), "{rested:?}");
    }
}

/// A client that is slow with its head, or its body, is let go and counts for nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_are_let_go() {
    let gateway = gateway_with(|options| {
        options.limits.client_head = Duration::from_millis(200);
        options.limits.upload = Duration::from_millis(200);
        options.limits.head = Duration::from_millis(200);
    })
    .await;
    let stable = backend(Reply::Status(200, "stable")).await;
    let mut tower = gateway.tower().await;
    tower.set(route(1, &stable.address, &stable.address, 0)).await;
    assert_eq!(raw(gateway.listen, b"GET / HTTP/1.1\r\nHost: a\r\n").await, "");
    for method in ["PUT", "POST"] {
        let request = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
        let answer = raw(gateway.listen, request.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 408") && answer.contains("request-timeout"),
            "{method}: {answer}"
        );
    }
    assert_eq!(gateway.client().await.get("/").await.status, 200);
    let (stable, _) = tower.counts("the good one", |stable, _| stable.requests >= 1).await;
    assert_eq!((stable.requests, stable.n_bad()), (1, 0));
}
