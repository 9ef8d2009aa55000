//! WebSocket (RFC 6455) through a gateway: the handshake, frames both ways, and silence that ends.

use hmsops_model::Millis;
use hmsops_model::gateway::GatewaySettings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::settings::settle;
use crate::world::{gateway, patiently, route};

/// The handshake's example of §1.3: with this key a server must answer that.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// "Hello" as §5.7 has it: masked by a client, unmasked by a server; and a masked close with status 1000.
const MASKED: [u8; 11] = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
const UNMASKED: [u8; 7] = [0x81, 0x05, b'H', b'e', b'l', b'l', b'o'];
const CLOSE: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];
const CLOSED: [u8; 4] = [0x88, 0x02, 0x03, 0xe8];

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(patiently("a head", stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap().to_ascii_lowercase()
}

/// A server that knows the one key, answers each "Hello" with its own, and a close with a close.
async fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let asked = head(&mut stream).await;
            for field in ["upgrade: websocket", "connection: upgrade", "sec-websocket-version: 13"] {
                assert!(asked.contains(&format!("\r\n{field}\r\n")), "{field}: {asked}");
            }
            assert!(asked.contains(&KEY.to_ascii_lowercase()), "{asked}");
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {ACCEPT}\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            let mut frame = [0; MASKED.len()];
            while stream.read_exact(&mut frame[..CLOSE.len()]).await.is_ok() {
                if frame[..CLOSE.len()] == CLOSE {
                    stream.write_all(&CLOSED).await.unwrap();
                    break;
                }
                stream.read_exact(&mut frame[CLOSE.len()..]).await.unwrap();
                assert_eq!(frame, MASKED, "a masked frame comes as it was sent");
                stream.write_all(&UNMASKED).await.unwrap();
            }
        }
    });
    address
}

async fn open(gateway: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(gateway).await.unwrap();
    let request = format!(
        "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nOrigin: http://example.com\r\nSec-WebSocket-Protocol: chat, superchat\r\n\
         Sec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = head(&mut stream).await;
    assert!(answer.starts_with("http/1.1 101"), "{answer}");
    for field in ["upgrade: websocket", "connection: upgrade", "sec-websocket-protocol: chat"] {
        assert!(answer.contains(&format!("\r\n{field}\r\n")), "{field}: {answer}");
    }
    assert!(answer.contains(&ACCEPT.to_ascii_lowercase()), "{answer}");
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_is_opened_used_and_closed() {
    let gateway = gateway().await;
    let mut tower = gateway.tower().await;
    tower.set(route(1, &server().await, "", 0)).await;
    let mut stream = open(gateway.listen).await;
    let mut frame = [0; UNMASKED.len()];
    for _ in 0..100 {
        stream.write_all(&MASKED).await.unwrap();
        patiently("an answer", stream.read_exact(&mut frame)).await.unwrap();
        assert_eq!(frame, UNMASKED);
    }
    stream.write_all(&CLOSE).await.unwrap();
    let mut rest = Vec::new();
    patiently("the close", stream.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, CLOSED);
    let (stable, _) = tower.counts("the handshake", |stable, _| stable.requests >= 1).await;
    assert_eq!(stable.n_bad(), 0);
}

/// A tunnel in which nobody says anything ends; the one that is used meanwhile goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_tunnel_ends_and_a_used_one_does_not() {
    let gateway = gateway().await;
    let mut tower = gateway.tower().await;
    tower.set(route(1, &server().await, "", 0)).await;
    let idle = GatewaySettings { tunnel_idle: Millis::from_secs(1), ..GatewaySettings::default() };
    settle(&mut tower, idle).await.unwrap();
    let (mut silent, mut used) = (open(gateway.listen).await, open(gateway.listen).await);
    let ended = tokio::spawn(async move {
        let mut rest = Vec::new();
        patiently("the silent tunnel's end", silent.read_to_end(&mut rest)).await.unwrap();
    });
    let mut frame = [0; UNMASKED.len()];
    while !ended.is_finished() {
        used.write_all(&MASKED).await.unwrap();
        patiently("an answer", used.read_exact(&mut frame)).await.unwrap();
    }
    ended.await.unwrap();
}
