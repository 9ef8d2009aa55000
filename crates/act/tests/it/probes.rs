use std::time::Duration;

use hmsops_act::probe::{Prober, Target, look};
use hmsops_model::probe::{Probe, ProbeResult, ProbeVerdict};
use hmsops_model::{InstanceId, Millis, ServiceName, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that reads a request's head and then does what it is told with the connection.
async fn server<F, Fut>(respond: F) -> String
where
    F: Fn(TcpStream, String) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            let mut piece = [0; 1024];
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read(&mut piece).await {
                    Ok(n) if n > 0 => head.extend_from_slice(&piece[..n]),
                    _ => break,
                }
            }
            tokio::spawn(respond(stream, String::from_utf8_lossy(&head).into_owned()));
        }
    });
    addr
}

/// Answers with this text and closes.
async fn answering(text: &'static str) -> String {
    server(move |mut stream, _| async move {
        let _ = stream.write_all(text.as_bytes()).await;
    })
    .await
}

async fn verdict(addr: &str) -> ProbeVerdict {
    verdict_of(addr, "/api/v1/health").await
}

async fn verdict_of(addr: &str, path: &str) -> ProbeVerdict {
    let probe = Probe { timeout: Millis(LIMIT.as_millis() as u64), ..Probe::of_path(path) };
    let target = Target { probe, ..target(1, addr) };
    timeout(PATIENCE, look(&target, addr)).await.expect("a probe ends").verdict
}

async fn reason(addr: &str) -> String {
    match verdict(addr).await {
        ProbeVerdict::Fail { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn statuses_from_200_to_299_pass_and_others_do_not() {
    for text in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.0 204 No Content\r\n\r\n",
        "HTTP/1.1 299 Fine\r\ncontent-length: 1000\r\n\r\ncut off",
    ] {
        let found = verdict(&answering(text).await).await;
        assert!(matches!(found, ProbeVerdict::Pass { millis: 0..500 }), "{text}: {found:?}");
    }
    for (text, expected) in [
        ("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", "answered 500"),
        ("HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n", "answered 302"),
        ("HTTP/1.1 404 Not Found\r\n\r\n", "answered 404"),
        ("220 mail.csac.gov ESMTP\r\n", "what it answers is not HTTP"),
        ("\0\0\0\0\0\0\0\0\0", "what it answers is not HTTP"),
        ("HTTP/1.1 200 OK\r\nx: half a he", "closed the connection without an answer"),
        ("", "closed the connection without an answer"),
    ] {
        assert_eq!(reason(&answering(text).await).await, expected, "{text}");
    }
}

#[tokio::test]
async fn a_probe_says_who_it_is_and_takes_a_connection_of_its_own() {
    let (heads_in, mut heads) = mpsc::channel(4);
    let addr = server(move |mut stream, head| {
        let heads_in = heads_in.clone();
        async move {
            heads_in.send(head).await.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    })
    .await;
    for _ in 0..2 {
        verdict(&addr).await;
        let head = heads.recv().await.unwrap().to_lowercase();
        assert!(head.starts_with("get /api/v1/health http/1.1\r\n"), "{head}");
        for line in [format!("host: {addr}"), "user-agent: hmsops-probe".into(), "connection: close".into()] {
            assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
        }
    }
}

#[tokio::test]
async fn whoever_does_not_answer_in_time_fails() {
    let hangs = server(|stream, _| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    assert_eq!(reason(&hangs).await, "no answer in 500 ms");
    // Accepted by the kernel alone: nobody ever takes the connection.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    assert_eq!(reason(&silent.local_addr().unwrap().to_string()).await, "no answer in 500 ms");
    let refused = silent.local_addr().unwrap().to_string();
    drop(silent);
    assert_eq!(reason(&refused).await, "connection refused");
}

#[tokio::test]
async fn an_endless_head_ends_at_a_limit_and_an_endless_body_does_not_matter() {
    let head = server(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await;
        while stream.write_all(&[b'a'; 4096]).await.is_ok() {}
    })
    .await;
    assert_eq!(reason(&head).await, "its answer's head is longer than 16 KiB");
    let body = server(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        while stream.write_all(b"5\r\nhello\r\n").await.is_ok() {}
    })
    .await;
    assert!(matches!(verdict(&body).await, ProbeVerdict::Pass { .. }));
    let slow = server(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n").await;
        std::future::pending::<()>().await;
    })
    .await;
    assert!(matches!(verdict(&slow).await, ProbeVerdict::Pass { .. }));
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_a_failure_with_its_reason() {
    let addr = answering("HTTP/1.1 200 OK\r\n\r\n").await;
    for path in ["no slash here", "http://elsewhere/", "/a b"] {
        let found = verdict_of(&addr, path).await;
        let expected = format!("`{path}` is not a path that can be asked for");
        assert_eq!(found, ProbeVerdict::Fail { reason: expected });
    }
    assert!(reason("no-port-here").await.starts_with("cannot connect: "));
}

pub(crate) fn target(id: u64, addr: &str) -> Target {
    Target {
        service: ServiceName::new("csac-portal").unwrap(),
        instance: InstanceId(id),
        addrs: vec![addr.to_owned()],
        path: "/api/v1/health".into(),
        version: Version::new("1.8.0").unwrap(),
        probe: Probe::of_path("/api/v1/health"),
        dir: None,
        // Where these tests have their servers.
        allow_private: vec!["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()],
    }
}

async fn next(results: &mut mpsc::Receiver<ProbeResult>) -> ProbeResult {
    timeout(PATIENCE, results.recv()).await.expect("a result comes").unwrap()
}

#[tokio::test]
async fn a_failure_is_followed_by_rechecks_between_the_scheduled_looks() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let (results_in, mut results) = mpsc::channel(16);
    let mut prober = Prober::new(results_in);
    prober.set(vec![target(1, &gone), target(1, &gone)]);
    let first = next(&mut results).await;
    assert!(first.scheduled);
    assert_eq!(first.verdict, ProbeVerdict::Fail { reason: "connection refused".into() });
    let mut later = Vec::new();
    for _ in 0..3 {
        later.push(next(&mut results).await.scheduled);
    }
    assert_eq!(later, [false; 3], "one task, although it was named twice");
}

#[tokio::test]
async fn all_addresses_of_a_version_get_their_turn_and_the_one_that_fails_is_named() {
    let well = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let ill = answering("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").await;
    let (results_in, mut results) = mpsc::channel(16);
    let mut prober = Prober::new(results_in);
    let addrs = vec![well.clone(), ill.clone(), well];
    prober.set(vec![Target { addrs, ..target(1, "") }]);
    let mut found = Vec::new();
    while found.len() < 6 {
        let result = next(&mut results).await;
        assert_eq!(result.instance, InstanceId(1));
        match result.verdict {
            ProbeVerdict::Pass { .. } => found.push(None),
            ProbeVerdict::Fail { reason } => found.push(Some(reason)),
            ProbeVerdict::Overloaded => panic!("nothing holds the prober up"),
        }
    }
    let ill = || Some(format!("{ill}: answered 500"));
    assert_eq!(found, [None, ill(), None, None, ill(), None], "looks in between take turns, too");
}

#[tokio::test]
async fn targets_come_go_and_stay() {
    let addr = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let (results_in, mut results) = mpsc::channel(16);
    let mut prober = Prober::new(results_in);
    prober.set(vec![target(1, &addr)]);
    assert_eq!(next(&mut results).await.instance, InstanceId(1));
    prober.set(vec![target(1, &addr), target(2, &addr)]);
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 2 {
        seen.insert(next(&mut results).await.instance.0);
    }
    prober.set(vec![target(2, &addr)]);
    while results.try_recv().is_ok() {}
    for _ in 0..2 {
        assert_eq!(next(&mut results).await.instance, InstanceId(2));
    }
    drop(prober);
    while results.recv().await.is_some() {}
}

#[tokio::test]
async fn a_prober_that_was_held_up_says_overloaded_instead_of_judging() {
    let addr = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let (results_in, mut results) = mpsc::channel(16);
    let mut prober = Prober::new(results_in);
    prober.set(vec![target(1, &addr)]);
    assert!(matches!(next(&mut results).await.verdict, ProbeVerdict::Pass { .. }));
    // This test's runtime has one thread: nothing moves while it is held, as when a machine is suspended. The next
    // look is due within a second, and starts half a second late.
    let (_held, never) = std::sync::mpsc::channel::<()>();
    assert!(never.recv_timeout(Duration::from_millis(1500)).is_err());
    assert_eq!(next(&mut results).await.verdict, ProbeVerdict::Overloaded);
    assert!(
        matches!(next(&mut results).await.verdict, ProbeVerdict::Pass { .. }),
        "and then it judges again"
    );
}
