//! Checks of every kind against real parts: nginx, a health server of gRPC; and against answers that no real part gives.

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use hmsops_act::probe::{Look, Prober, Target, look};
use hmsops_model::Millis;
use hmsops_model::probe::{Ask, Method, Probe, ProbeVerdict, RecordType, Tls};
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::probes::target;
use crate::world::PATIENCE;

/// On a busy machine a handshake of an unoptimised build may take its time.
const PATIENT: Millis = Millis::from_secs(5);

/// One look in which only the answer counts.
pub(crate) async fn once(addr: &str, probe: Probe) -> Look {
    let target = Target { probe, ..target(1, addr) };
    timeout(PATIENCE, look(&target, addr)).await.expect("a look ends")
}

pub(crate) fn asking(ask: Ask, conditions: &[&str]) -> Probe {
    let conditions = conditions.iter().map(ToString::to_string).collect();
    Probe { timeout: PATIENT, every: PATIENT, conditions, ..Probe::of(ask) }
}

/// Why it failed.
pub(crate) fn reason(look: &Look) -> &str {
    match &look.verdict {
        ProbeVerdict::Fail { reason } => reason,
        other => panic!("{other:?}, {:?}", look.seen),
    }
}

pub(crate) fn passed(look: &Look) -> bool {
    matches!(look.verdict, ProbeVerdict::Pass { .. })
}

pub(crate) fn http(path: &str, tls: Tls) -> Ask {
    Ask::Http { method: Method::Get, path: path.into(), headers: Vec::new(), tls }
}

/// A real nginx in a folder of its own.
pub(crate) struct Nginx {
    process: Child,
    dir: tempfile::TempDir,
    plain: String,
    ports: Vec<u16>,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[expect(clippy::disallowed_methods, reason = "a test lays out what a person would have written")]
pub(crate) fn put(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

/// RFC 7468.
fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// A certificate for `portal.csac.gov` and 127.0.0.1 by nobody's authority, valid until that day.
fn certify(dir: &Path, name: &str, until: (i32, u8, u8)) {
    let names = vec!["portal.csac.gov".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until.0, until.1, until.2);
    params.distinguished_name.push(DnType::CommonName, "portal.csac.gov");
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    put(&dir.join(format!("{name}.crt")), &pem("CERTIFICATE", certificate.der()));
    put(&dir.join(format!("{name}.key")), &pem("PRIVATE KEY", &key.serialize_der()));
}

impl Nginx {
    /// Plain HTTP, and one TLS server per certificate; `/grpc.` goes on to `grpc`.
    async fn start(certificates: &[(&str, (i32, u8, u8))], grpc: Option<u16>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, until) in certificates {
            certify(dir.path(), name, *until);
        }
        let names: Vec<&str> = certificates.iter().map(|(name, _)| *name).collect();
        Self::serve(dir, &names, grpc).await
    }

    /// The same, with certificates and keys that lie in `dir` already: `NAME.crt` and `NAME.key`.
    pub(crate) async fn serve(dir: tempfile::TempDir, certificates: &[&str], grpc: Option<u16>) -> Self {
        let here = dir.path().display().to_string();
        let plain = free_port();
        let mut ports = Vec::new();
        let mut servers = String::new();
        for name in certificates {
            let port = free_port();
            let pass = grpc.map_or(String::new(), |port| {
                format!("location /grpc. {{ grpc_pass grpc://127.0.0.1:{port}; }}")
            });
            servers = format!(
                "{servers}server {{ listen 127.0.0.1:{port} ssl http2; ssl_certificate {here}/{name}.crt;\n\
                 ssl_certificate_key {here}/{name}.key; {pass} location / {{ return 200 ok; }} }}\n"
            );
            ports.push(port);
        }
        let conf = format!(
            r#"worker_processes 1; master_process off; pid {here}/pid; error_log stderr crit; events {{ worker_connections 128; }}
http {{ access_log off; default_type application/json; client_body_temp_path {here}/a; proxy_temp_path {here}/b;
fastcgi_temp_path {here}/c; uwsgi_temp_path {here}/d; scgi_temp_path {here}/e;
server {{ listen 127.0.0.1:{plain};
location = /up {{ return 200 '{{"status":"ok","queue":[1,2]}}'; }}
location = /down {{ return 503 '{{"status":"down"}}'; }}
location = /elsewhere {{ return 302 https://login.gov/; }}
location = /agent {{ return 200 '{{"agent":"$http_user_agent","key":"$http_x_key","host":"$http_host"}}'; }}
location = /here {{ return 302 /up; }} }}
{servers} }}"#
        );
        put(&dir.path().join("nginx.conf"), &conf);
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let process = Command::new("nginx")
            .args(["-e", "stderr", "-p", &here, "-c", &format!("{here}/nginx.conf"), "-g", "daemon off;"])
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("nginx is not installed: `cargo xtask test` installs it");
        let started = Self { process, dir, plain: format!("127.0.0.1:{plain}"), ports };
        timeout(PATIENCE, async {
            while TcpStream::connect(&started.plain).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("nginx listens");
        assert!(started.dir.path().is_dir());
        started
    }

    pub(crate) fn tls(&self, index: usize) -> String {
        format!("127.0.0.1:{}", self.ports[index])
    }
}

#[tokio::test]
async fn conditions_judge_what_a_real_server_answers() {
    let nginx = Nginx::start(&[], None).await;
    let at = nginx.plain.as_str();
    let all = [
        "status == 200",
        "time < 5 s",
        "body.status == \"ok\"",
        "len(body.queue) == 2",
        "header.content-type contains json",
    ];
    let up = once(at, asking(http("/up", Tls::Plain), &all)).await;
    assert!(passed(&up), "{up:?}");
    assert_eq!(up.seen.status, Some(200));
    let down = once(at, asking(http("/down", Tls::Plain), &[])).await;
    assert_eq!(reason(&down), "answered 503");
    assert!(passed(
        &once(at, asking(http("/down", Tls::Plain), &["status == 503", "body contains down"])).await
    ));
    let wrong = once(at, asking(http("/up", Tls::Plain), &["body.status == \"fine\""])).await;
    assert_eq!(reason(&wrong), "`body.status == \"fine\"` does not hold: it is \"ok\"");
    let headers =
        vec![("X-Key".to_owned(), "k".to_owned()), ("Host".to_owned(), "portal.csac.gov".to_owned())];
    let ask = Ask::Http { method: Method::Get, path: "/agent".into(), headers, tls: Tls::Plain };
    let told = ["body.agent == \"hmsops-probe\"", "body.key == k", "body.host == \"portal.csac.gov\""];
    let look = once(at, asking(ask, &told)).await;
    assert!(passed(&look), "{look:?}");
    let head = Ask::Http { method: Method::Head, path: "/up".into(), headers: Vec::new(), tls: Tls::Plain };
    assert!(passed(&once(at, asking(head, &[])).await));
}

#[tokio::test]
async fn a_redirect_to_another_host_fails_whatever_is_expected_and_none_is_followed() {
    let nginx = Nginx::start(&[], None).await;
    let lenient = |path| asking(http(path, Tls::Plain), &["status in [200-399]"]);
    let elsewhere = once(&nginx.plain, lenient("/elsewhere")).await;
    assert_eq!(reason(&elsewhere), "answered 302 and sends elsewhere, to `https://login.gov/`");
    let here = once(&nginx.plain, lenient("/here")).await;
    assert!(passed(&here) && here.seen.status == Some(302), "{here:?}");
    assert_eq!(reason(&once(&nginx.plain, asking(http("/here", Tls::Plain), &[])).await), "answered 302");
}

#[tokio::test]
async fn an_expired_certificate_tells_its_date_and_its_subject_for_every_kind() {
    let nginx = Nginx::start(&[("expired", (2024, 2, 29)), ("valid", (2060, 1, 1))], None).await;
    let (expired, valid) = (nginx.tls(0), nginx.tls(1));
    let days = |days| asking(Ask::Tls { days, server_name: None }, &[]);
    for probe in [
        days(0),
        asking(http("/", Tls::Any), &[]),
        asking(http("/", Tls::Trusted), &[]),
        asking(Ask::Grpc { service: String::new(), tls: Tls::Any }, &[]),
        asking(Ask::Tls { days: 0, server_name: None }, &["certificate_days > 14"]),
    ] {
        let look = once(&expired, probe).await;
        let why = reason(&look);
        assert!(
            why.starts_with("certificate expired ")
                && why.ends_with(" d ago (2024-02-29), CN=portal.csac.gov"),
            "{why}"
        );
    }
    let look = once(&valid, days(14)).await;
    assert!(passed(&look), "{look:?}");
    assert_eq!(look.seen.certificate.unwrap().subject, "portal.csac.gov");
    assert!(
        reason(
            &once(&valid, asking(Ask::Tls { days: 0, server_name: None }, &["certificate_days > 99999"]))
                .await
        )
        .starts_with("`certificate_days > 99999` does not hold: it is ")
    );
    assert!(passed(&once(&valid, asking(http("/", Tls::Any), &["certificate_days > 14"])).await));
    assert_eq!(
        reason(&once(&valid, asking(http("/", Tls::Trusted), &[])).await),
        "its certificate is by no authority that this machine trusts"
    );
    let plain = once(&nginx.plain, days(14)).await;
    assert_eq!(reason(&plain), "what it answers is not TLS");
}

#[tokio::test]
async fn a_health_server_of_grpc_is_asked_over_h2c_and_tls() {
    let (reporter, health) = tonic_health::server::health_reporter();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tonic::transport::Server::builder().add_service(health).serve_with_incoming(incoming);
    let server = tokio::spawn(server);
    for (service, status) in [
        ("portal.v1", tonic_health::ServingStatus::Serving),
        ("photo.v1", tonic_health::ServingStatus::NotServing),
        ("ledger.v1", tonic_health::ServingStatus::Unknown),
    ] {
        reporter.set_service_status(service, status).await;
    }
    let ask = |service: &str, tls| Ask::Grpc { service: service.into(), tls };
    let nginx = Nginx::start(&[("valid", (2060, 1, 1))], Some(addr.port())).await;
    for (addr, tls) in [(addr.to_string(), Tls::Plain), (nginx.tls(0), Tls::Any)] {
        let serving = once(&addr, asking(ask("portal.v1", tls), &[])).await;
        assert!(passed(&serving), "{serving:?}");
        assert!(passed(&once(&addr, asking(ask("", tls), &["health == SERVING"])).await));
        assert_eq!(reason(&once(&addr, asking(ask("photo.v1", tls), &[])).await), "NOT_SERVING");
        assert_eq!(reason(&once(&addr, asking(ask("ledger.v1", tls), &[])).await), "UNKNOWN");
        assert_eq!(
            reason(&once(&addr, asking(ask("weather.v1", tls), &[])).await),
            "knows no service `weather.v1` (NOT_FOUND)"
        );
        assert!(passed(&once(&addr, asking(ask("photo.v1", tls), &["health == NOT_SERVING"])).await));
    }
    assert_eq!(
        reason(&once(&nginx.plain, asking(ask("", Tls::Plain), &[])).await),
        "does not speak HTTP/2, which gRPC needs"
    );
    server.abort();
}

#[tokio::test]
async fn a_server_of_grpc_without_health_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let routes = tonic::service::Routes::default();
    let server =
        tokio::spawn(tonic::transport::Server::builder().add_routes(routes).serve_with_incoming(incoming));
    let look = once(&addr, asking(Ask::Grpc { service: String::new(), tls: Tls::Plain }, &[])).await;
    assert_eq!(reason(&look), "its server does not implement grpc.health.v1 (UNIMPLEMENTED)");
    server.abort();
}

/// Answers each connection with the pieces, then holds it.
async fn saying(pieces: Vec<&'static [u8]>, over_and_over: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let pieces = pieces.clone();
            tokio::spawn(async move {
                loop {
                    for piece in &pieces {
                        if stream.write_all(piece).await.is_err() {
                            return;
                        }
                    }
                    if !over_and_over {
                        let mut rest = Vec::new();
                        let _ = stream.read_to_end(&mut rest).await;
                        return;
                    }
                }
            });
        }
    });
    addr
}

#[tokio::test]
async fn a_greeting_over_tcp_is_read_and_compared() {
    let redis = saying(vec![b"+PO", b"NG\r\n"], false).await;
    let ask = |expect: &str| Ask::Tcp { send: Some("PING\r\n".into()), expect: Some(expect.into()) };
    assert!(passed(&once(&redis, asking(ask("+PONG"), &[])).await));
    let line = Ask::Tcp { send: None, expect: None };
    assert!(passed(&once(&redis, asking(line.clone(), &["answer matches \"^.PONG\""])).await));
    assert_eq!(
        reason(&once(&redis, asking(line, &["answer contains READY"])).await),
        "`answer contains READY` does not hold: it is `+PONG`"
    );
    let flood = saying(vec![&[b'x'; 1024]], true).await;
    assert!(reason(&once(&flood, asking(ask("+PONG"), &[])).await).starts_with("answered `xxxx"));
    let silent = saying(vec![], false).await;
    let short = Probe { timeout: Millis(100), ..asking(ask("+PONG"), &[]) };
    assert_eq!(reason(&once(&silent, short).await), "no answer in 100 ms");
}

#[tokio::test]
async fn hostile_answers_end_at_a_limit_with_the_words_for_it() {
    let body = |pieces, over| async move {
        let addr = saying(pieces, over).await;
        let probe = Probe { timeout: Millis(1000), ..asking(http("/", Tls::Plain), &["body contains ok"]) };
        reason(&once(&addr, probe).await).to_owned()
    };
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let endless: &'static [u8] =
        Box::leak([&head[..], &b"5\r\nhello\r\n".repeat(20_000)].concat().into_boxed_slice());
    assert_eq!(body(vec![endless], false).await, "its body is longer than 64 KiB");
    assert_eq!(body(vec![&head[..], b"5\r\nhel"], false).await, "no answer in 1 s");
    assert_eq!(
        body(vec![b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc"], false).await,
        "its body is encoded as `gzip`, which was not asked for"
    );
    assert_eq!(
        body(vec![b"HTTP/1.1 100 Continue\r\n\r\n"], true).await,
        "no answer in 1 s",
        "a storm of 1xx"
    );
    assert_eq!(
        body(vec![b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n\x1b[2Jno\n"], false).await,
        "no answer in 1 s"
    );
    let h2 = saying(vec![b"\0\0\0\x04\0\0\0\0\0", b"\0\0\0\x04\x01\0\0\0\0"], true).await;
    let probe =
        Probe { timeout: Millis(1000), ..asking(Ask::Grpc { service: String::new(), tls: Tls::Plain }, &[]) };
    let look = once(&h2, probe).await;
    assert!(matches!(look.verdict, ProbeVerdict::Fail { .. }), "{look:?}");
}

/// A resolver that answers by the name asked for. Returns its address, over UDP and TCP alike.
pub(crate) async fn resolver(addr: &str) -> String {
    let listener = TcpListener::bind(addr).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(addr).unwrap();
    socket.set_nonblocking(true).unwrap();
    let socket = tokio::net::UdpSocket::from_std(socket).unwrap();
    tokio::spawn(async move {
        let mut lost = false;
        let mut question = [0; 512];
        loop {
            let (length, from) = socket.recv_from(&mut question).await.unwrap();
            let question = &question[..length];
            let name = String::from_utf8_lossy(&question[13..]).into_owned();
            if name.starts_with("lossy") && !std::mem::replace(&mut lost, true) {
                continue;
            }
            if name.starts_with("spoofed") {
                let mut wrong = answer(question, 0x8180, &[10, 6, 6, 6]);
                wrong[0] ^= 1;
                socket.send_to(&wrong, from).await.unwrap();
                socket.send_to(b"x", from).await.unwrap();
            }
            let found = match name.as_bytes() {
                [b'g', b'o', b'n', b'e', ..] => answer(question, 0x8183, &[]),
                [b'l', b'o', b'n', b'g', ..] => answer(question, 0x8380, &[]),
                _ => answer(question, 0x8180, &[10, 0, 0, 4]),
            };
            socket.send_to(&found, from).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let length = stream.read_u16().await.unwrap();
            let mut question = vec![0; usize::from(length)];
            stream.read_exact(&mut question).await.unwrap();
            let found = answer(&question, 0x8180, &[10, 0, 0, 5]);
            stream.write_u16(found.len() as u16).await.unwrap();
            stream.write_all(&found).await.unwrap();
        }
    });
    addr.to_string()
}

/// With one record of type A, or none.
fn answer(question: &[u8], flags: u16, address: &[u8]) -> Vec<u8> {
    let mut message = question.to_vec();
    message[2..4].copy_from_slice(&flags.to_be_bytes());
    if !address.is_empty() {
        message[7] = 1;
        message.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        message.extend_from_slice(address);
    }
    message
}

#[tokio::test]
async fn a_resolver_is_asked_over_udp_and_tcp_and_only_its_answer_counts() {
    let resolver = resolver("127.0.0.1:0").await;
    let dns = |name: &str, record, conditions: &[&str]| {
        let ask = Ask::Dns { name: name.into(), record, resolver: Some(resolver.clone()) };
        once("127.0.0.1:1", asking(ask, conditions))
    };
    let found = dns("portal.csac.gov", RecordType::A, &["answer == \"10.0.0.4\"", "rcode == NOERROR"]).await;
    assert!(passed(&found), "{found:?}");
    assert_eq!(reason(&dns("gone.csac.gov", RecordType::A, &[]).await), "NXDOMAIN");
    assert!(passed(&dns("gone.csac.gov", RecordType::A, &["rcode == NXDOMAIN"]).await));
    assert_eq!(reason(&dns("portal.csac.gov", RecordType::Mx, &[]).await), "has no MX record");
    assert!(passed(&dns("long.csac.gov", RecordType::A, &["answer == \"10.0.0.5\""]).await), "over TCP");
    assert!(passed(&dns("lossy.csac.gov", RecordType::A, &[]).await), "a datagram may get lost");
    assert!(passed(&dns("spoofed.csac.gov", RecordType::A, &["answer == \"10.0.0.4\""]).await));
    let nobody = Ask::Dns {
        name: "a".into(),
        record: RecordType::A,
        resolver: Some(format!("127.0.0.1:{}", free_port())),
    };
    assert!(reason(&once("127.0.0.1:1", asking(nobody, &[])).await).starts_with("cannot ask `127.0.0.1:"));
}

#[tokio::test]
async fn another_host_is_not_asked_where_the_services_file_does_not_allow_its_network() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    let elsewhere = |host: &str| Probe { host: Some(host.into()), port: Some(port), ..Probe::of_path("") };
    let strict = |probe: Probe| Target { probe, allow_private: Vec::new(), ..target(1, "127.0.0.1:1") };
    for host in ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let found = look(&strict(elsewhere(host)), "127.0.0.1:1").await;
        assert!(reason(&found).contains("nothing allows it: `allow_private`"), "{host}: {found:?}");
    }
    let named = Ask::Dns {
        name: "csac.gov".into(),
        record: RecordType::A,
        resolver: Some(format!("127.0.0.1:{port}")),
    };
    let found = look(&strict(Probe::of(named)), "127.0.0.1:1").await;
    assert!(reason(&found).contains("nothing allows it: `allow_private`"), "{found:?}");
    let own = server.local_addr().unwrap().to_string();
    let found = look(&strict(Probe::of_path("")), &own).await;
    assert!(passed(&found), "an instance may be anywhere: {found:?}");
    let (_first, from) = server.accept().await.unwrap();
    assert!(from.ip().is_loopback());
    let more = timeout(std::time::Duration::ZERO, server.accept()).await;
    assert!(more.is_err(), "nobody else came");
    assert!(passed(&once("127.0.0.1:1", elsewhere("127.0.0.1")).await), "its network is allowed");
}

#[tokio::test]
async fn another_host_or_port_is_asked_only_where_the_check_names_it() {
    let nginx = Nginx::start(&[], None).await;
    let port = nginx.plain.rsplit_once(':').unwrap().1.parse().unwrap();
    let by_port = Probe { port: Some(port), ..asking(http("/up", Tls::Plain), &[]) };
    assert!(passed(&once("127.0.0.1:1", by_port.clone()).await));
    let by_host = Probe { host: Some("127.0.0.1".into()), ..by_port };
    assert!(passed(&once("192.0.2.1:1", by_host).await));
}

#[tokio::test]
async fn more_looks_than_the_prober_makes_at_a_time_are_overload_and_not_failure() {
    // All of them hang, and wait for each other's turns.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = silent.local_addr().unwrap().to_string();
    let (results_in, mut results) = mpsc::channel(4096);
    let mut prober = Prober::new(results_in);
    prober.set((0..400).map(|id| target(id, &addr)).collect());
    let (mut failed, mut overloaded) = (0, 0);
    while failed == 0 || overloaded == 0 {
        match timeout(PATIENCE, results.recv()).await.expect("results come").unwrap().verdict {
            ProbeVerdict::Fail { reason } => {
                assert_eq!(reason, "no answer in 500 ms");
                failed += 1;
            }
            ProbeVerdict::Overloaded => overloaded += 1,
            ProbeVerdict::Pass { .. } => panic!("nobody answers"),
        }
    }
}
