//! Connections of HTTP/1.1 to versions: what is kept for the next request, what is not, and what is tried once more.

use std::time::Duration;

use hmsops_model::BadKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::world::{gateway, gateway_with, patiently, raw, route};

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Reads until what has come ends so.
async fn until(stream: &mut TcpStream, end: &[u8]) -> String {
    let mut all = Vec::new();
    while !all.ends_with(end) {
        all.push(patiently("more of it", stream.read_u8()).await.unwrap());
    }
    String::from_utf8(all).unwrap()
}

async fn head(stream: &mut TcpStream) -> String {
    until(stream, b"\r\n\r\n").await
}

/// Interim answers are passed over, trailers end a body, lines may come in pieces, and the connection serves on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_serves_answers_of_every_kind() {
    let (listener, address) = listener().await;
    let answers: [(&[&[u8]], &str); 6] = [
        (&[b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na"], "a"),
        (&[b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nb\r\n0\r\nx: y\r\n\r\n"], "b"),
        (&[b"HTTP/1.1 2", b"00 OK\r\nTransfer-Encoding: chunked\r", b"\n\r\n2", b"\r\ncc\r", b"\n0\r\n\r", b"\n"], "cc"),
        (&[b"HTTP/1.1 204 No Content\r\n\r\n"], ""),
        (&[b"HTTP/1.1 200 OK\ncontent-length: 2\n\nd", b"d"], "dd"),
        (&[b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"], ""),
    ];
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        for (pieces, _) in answers {
            head(&mut stream).await;
            for piece in pieces {
                stream.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        }
        stream
    });
    let gateway = gateway().await;
    gateway.tower().await.set(route(1, &address, "", 0)).await;
    let mut client = gateway.client().await;
    for (_, body) in answers {
        assert_eq!(client.get("/").await.body.as_deref(), Some(body));
    }
    patiently("one connection's end", server).await.unwrap();
}

/// Bytes behind an answer are no answer to the next request, whoever asks it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_behind_an_answer_answers_nobody() {
    let (listener, address) = listener().await;
    let server = tokio::spawn(async move {
        for turn in 0..4 {
            let (mut stream, _) = listener.accept().await.unwrap();
            head(&mut stream).await;
            let more = if turn % 2 == 0 { "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil" } else { "x" };
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood{more}");
            stream.write_all(answer.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            let _ = patiently("the end", stream.read_to_end(&mut rest)).await;
            assert!(rest.is_empty(), "it is not used again");
        }
    });
    let gateway = gateway().await;
    gateway.tower().await.set(route(1, &address, "", 0)).await;
    for _ in 0..4 {
        assert_eq!(gateway.client().await.get("/").await.body.as_deref(), Some("good"));
    }
    patiently("four connections", server).await.unwrap();
}

/// A version may refuse a body before it has read it, and stop to listen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_counts_though_the_body_was_not_taken() {
    let (listener, address) = listener().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        head(&mut stream).await;
        let answer = b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbig";
        stream.write_all(answer).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = patiently("the end", stream.read_to_end(&mut rest)).await;
    });
    let gateway = gateway().await;
    let mut tower = gateway.tower().await;
    tower.set(route(1, &address, "", 0)).await;
    let mut stream = TcpStream::connect(gateway.listen).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
    let answer = until(&mut stream, b"big").await;
    assert!(answer.starts_with("HTTP/1.1 413") && !answer.contains("hmsops-gateway"), "{answer}");
    drop(stream);
    patiently("the server", server).await.unwrap();
    let (stable, _) = tower.counts("the request", |stable, _| stable.requests >= 1).await;
    assert_eq!(stable.n_bad(), 0);
}

/// A version may answer whole before it has read all of a request: the rest still reaches it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rest_of_a_request_goes_out_behind_its_answer() {
    let (listener, address) = listener().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 202 OK\r\ncontent-length: 4\r\n\r\nsoon").await.unwrap();
        until(&mut stream, b"0\r\n\r\n").await
    });
    let gateway = gateway().await;
    gateway.tower().await.set(route(1, &address, "", 0)).await;
    let mut stream = TcpStream::connect(gateway.listen).await.unwrap();
    let begin = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    stream.write_all(begin).await.unwrap();
    assert!(until(&mut stream, b"soon").await.starts_with("HTTP/1.1 202"));
    stream.write_all(b"4\r\nrest\r\n0\r\n\r\n").await.unwrap();
    let came = patiently("the rest", server).await.unwrap();
    assert_eq!(came, "4\r\nhalf\r\n4\r\nrest\r\n0\r\n\r\n");
}

/// An answer without a length ends with its connection, and one that has a length does not end before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_ends_ends_only_what_has_no_length() {
    let (listener, address) = listener().await;
    let answers: [&[u8]; 3] = [
        b"HTTP/1.0 200 OK\r\n\r\nto the end",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello",
    ];
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            head(&mut stream).await;
            stream.write_all(answer).await.unwrap();
        }
    });
    let gateway = gateway().await;
    let mut tower = gateway.tower().await;
    tower.set(route(1, &address, "", 0)).await;
    let bodies = [Some("to the end"), None, None];
    for body in bodies {
        assert_eq!(gateway.client().await.get("/").await.body.as_deref(), body);
    }
    let (stable, _) = tower.counts("all", |stable, _| stable.requests >= 3).await;
    assert_eq!(stable.bad, [(BadKind::Broken, 2)].into());
}

/// A packet that is lost on the way to a version costs no user an answer: the connection is tried once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_not_taken_in_time_is_tried_once_more() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // Two wait, more than there is room for: the next one's first packet is dropped, and sent again after a second.
    let mut crowd = Vec::new();
    for _ in 0..2 {
        crowd.push(TcpStream::connect(address).await.unwrap());
    }
    let gateway = gateway_with(|options| options.limits.connect = Duration::from_millis(500)).await;
    let mut tower = gateway.tower().await;
    tower.set(route(1, &address.to_string(), "", 0)).await;
    let listen = gateway.listen;
    let asked =
        tokio::spawn(
            async move { raw(listen, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await },
        );
    // A socket in SYN_SENT (2) towards that port, see proc(5).
    let port = format!(":{:04X} 02 ", address.port());
    patiently("a first packet that is dropped", async {
        while !std::fs::read_to_string("/proc/net/tcp").unwrap().contains(&port) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut byte = [0; 1024];
                if stream.read(&mut byte).await.is_ok_and(|n| n > 0) {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nback").await.unwrap();
                }
            });
        }
    });
    let answer = patiently("an answer", asked).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("back"), "{answer}");
    server.abort();
    let (stable, _) = tower.counts("the request", |stable, _| stable.requests >= 1).await;
    assert_eq!(
        (stable.bad, stable.seen),
        ([(BadKind::Refused, 1)].into(), 0),
        "it is counted, nobody saw it"
    );
}
