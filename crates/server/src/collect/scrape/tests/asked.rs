//! How targets are asked: by whom, with what, and what is believed of the answer.
#![expect(clippy::disallowed_methods, reason = "files that others write")]

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use hmsops_model::scrape::{Auth, SecretText, TlsClient};
use hmsops_model::{Relabel, RelabelAction, Secret};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;

/// A server that gives one answer to all, and the heads of what it was asked.
async fn recorder(answer: Vec<u8>) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let heads = Arc::<Mutex<Vec<String>>>::default();
    let kept = Arc::clone(&heads);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            let n = stream.read(&mut head).await.unwrap();
            kept.lock().unwrap().push(String::from_utf8_lossy(&head[..n]).into_owned());
            let _gone = stream.write_all(&answer).await;
        }
    });
    (at, heads)
}

fn found(head: &Mutex<Vec<String>>) -> String {
    head.lock().unwrap().last().cloned().unwrap_or_default()
}

async fn error_of(site: &Site, spec: &ScrapeSpec) -> Option<String> {
    let mut scrape = scrape(site, spec);
    scrape.ask(site.now()).await;
    scrape.health().error
}

fn replace(sources: &[&str], target: &str, replacement: &str) -> Relabel {
    Relabel {
        source_labels: sources.iter().map(|name| (*name).to_owned()).collect(),
        target_label: target.into(),
        replacement: replacement.into(),
        ..Relabel::default()
    }
}

/// What blackbox_exporter's README recommends: the target becomes a parameter, the exporter the address.
#[tokio::test]
async fn rules_make_a_parameter_of_the_target() {
    let site = Site::new().await;
    let (at, heads) = recorder(page(TEXT, "probe_success 1\n").into_bytes()).await;
    let address = "https://csac.gov/login?a=b&c".to_owned();
    let spec = ScrapeSpec {
        targets: vec![Target { address, labels: BTreeMap::new() }],
        metrics_path: "/probe".into(),
        params: BTreeMap::from([("module".into(), vec!["http_2xx".into()])]),
        relabel: vec![
            replace(&["__address__"], "__param_target", "$1"),
            replace(&["__param_target"], "instance", "$1"),
            replace(&[], "__address__", &at.to_string()),
        ],
        ..own_job("blackbox")
    };
    assert_eq!(error_of(&site, &spec).await, None);
    let path = "/probe?module=http_2xx&target=https%3A%2F%2Fcsac.gov%2Flogin%3Fa%3Db%26c";
    assert!(found(&heads).starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{}", found(&heads));
    let series = site.series("probe_success");
    assert_eq!(series[0].labels.get("instance"), Some("https://csac.gov/login?a=b&c"));
    assert_eq!(series[0].labels.get("job"), Some("blackbox"));
    assert_eq!(series[0].labels.get("__param_target"), None);
}

#[tokio::test]
async fn what_cannot_be_asked_says_why() {
    let job = |relabel: Relabel| {
        let targets = vec![Target { address: "h:1".into(), labels: BTreeMap::new() }];
        Arc::new(Job::new(ScrapeSpec { targets, relabel: vec![relabel], ..own_job("a") }, Arc::default()))
    };
    let fate = |relabel: Relabel| {
        let job = job(relabel);
        job.fate(&job.declared().next().unwrap())
    };
    for (label, value, why) in [
        ("__address__", "", "it has no address"),
        ("__address__", "http://h/x", "`http://h/x` is not an address"),
        ("__address__", "h:99999", "`h:99999` is not `host:port`"),
        ("__scheme__", "ftp", "`ftp` is neither `http` nor `https`"),
        ("__scrape_interval__", "soon", "`__scrape_interval__` is no span of time: `soon`"),
        ("__scrape_timeout__", "1h", "a time-out of 1 h is longer than the interval of 5 s"),
        ("__allow_private__", "10", "`__allow_private__` of `10` is"),
    ] {
        match fate(replace(&[], label, value)) {
            Fate::Wrong(_, said) => assert!(said.starts_with(why), "{said}"),
            other => panic!("{label}={value}: {other:?}"),
        }
    }
    assert!(matches!(
        fate(Relabel { regex: "b".into(), action: RelabelAction::Keep, ..Relabel::default() }),
        Fate::Dropped(labels) if labels["__address__"] == "h:1"
    ));
    let Fate::Asked(plan) = fate(replace(&[], "__address__", "csac.gov")) else { panic!("asked") };
    assert_eq!((plan.place.port, plan.key.url.as_str()), (80, "http://csac.gov/metrics"));
}

/// The page's samples go through rules, and what is left is counted.
#[tokio::test]
async fn rules_change_and_drop_samples() {
    let site = Site::new().await;
    let (at, _) = recorder(page(TEXT, "keep{a=\"1\"} 1\ndrop_me 2\nkeep{a=\"2\"} 3\n").into_bytes()).await;
    let drop = Relabel {
        source_labels: vec!["__name__".into()],
        regex: "drop_.*".into(),
        action: RelabelAction::Drop,
        ..Relabel::default()
    };
    let base = spec(at, Millis(5000));
    let metric_relabel = vec![drop, replace(&["a"], "b", "x$1")];
    let limits = ScrapeLimits { samples: Some(2), ..ScrapeLimits::default() };
    let spec = ScrapeSpec { metric_relabel, limits, ..base.clone() };
    assert_eq!(error_of(&site, &spec).await, None, "the limit counts what is left");
    let mut labels: Vec<_> =
        site.series("keep").iter().map(|one| one.labels.get("b").unwrap().to_owned()).collect();
    labels.sort();
    assert_eq!(labels, ["x1", "x2"]);
    assert_eq!(site.series("drop_me"), []);
    assert_eq!(samples(&site, "scrape_samples_scraped")[0].1, Some(3.0));
    assert_eq!(samples(&site, "scrape_samples_post_metric_relabeling")[0].1, Some(2.0));
    let none = ScrapeLimits::default();
    for (limits, why) in [
        (ScrapeLimits { samples: Some(2), ..none }, "more than 2"),
        (ScrapeLimits { labels: Some(4), ..none }, "has 5 labels, more than `label_limit: 4`"),
        (
            ScrapeLimits { label_name_bytes: Some(7), ..none },
            "has 8 bytes, more than `label_name_length_limit: 7`",
        ),
        (ScrapeLimits { label_value_bytes: Some(5), ..none }, "more than `label_value_length_limit: 5`"),
        (ScrapeLimits { body_bytes: Some(20), ..none }, "more than 20 bytes"),
    ] {
        let error = error_of(&site, &ScrapeSpec { limits, ..base.clone() }).await.unwrap();
        assert!(error.contains(why), "{why}: {error}");
    }
}

#[tokio::test]
async fn secrets_come_from_their_folder_alone_and_go_to_the_target_alone() {
    let site = Site::new().await;
    let folder = site.dir.path().join("scrape-secrets");
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write("node.password", "hunter2\n", 0o600);
    write("open.password", "hunter3\n", 0o644);
    std::os::unix::fs::symlink("/etc/hostname", folder.join("link")).unwrap();
    let (elsewhere, stolen) = recorder(page(TEXT, "a 1\n").into_bytes()).await;
    let location =
        format!("HTTP/1.1 302 Found\r\nlocation: http://{elsewhere}/x\r\ncontent-length: 0\r\n\r\n");
    let (at, heads) = recorder(location.into_bytes()).await;
    let ask = async |file: &str| {
        let password = Some(SecretText::File(file.into()));
        let headers = vec![("x-tenant".to_owned(), SecretText::Plain(Secret::new("csac")))];
        let auth = Some(Auth::Basic { user: "prom".into(), password });
        let client = HttpClient { auth, headers, ..HttpClient::default() };
        let spec = ScrapeSpec { client, ..spec(at, Millis(5000)) };
        let job = Arc::new(Job::new(spec, Arc::new(folder.clone())));
        let Fate::Asked(plan) = job.fate(&job.declared().next().unwrap()) else { panic!("asked") };
        let mut scrape = Scrape::new(*plan, site.metrics.clone(), Board::default());
        scrape.ask(site.now()).await;
        scrape.health().error
    };
    let error = ask("node.password").await.unwrap();
    // `prom:hunter2`
    assert!(
        found(&heads).contains("authorization: Basic cHJvbTpodW50ZXIy\r\nx-tenant: csac\r\n"),
        "{}",
        found(&heads)
    );
    // Where the target points, it says: an address of this machine is not asked for it.
    assert!(error.contains("cannot connect"), "{error}");
    assert_eq!(found(&stolen), "");
    for (file, why) in
        [("open.password", "lets others read it"), ("link", "not below the folder"), ("none", "cannot read")]
    {
        let error = ask(file).await.unwrap();
        assert!(error.contains(why) && !error.contains("hunter"), "{error}");
    }
}

#[tokio::test]
async fn redirects_on_the_same_host_are_followed_and_not_for_ever() {
    let site = Site::new().await;
    let (at, heads) =
        recorder(b"HTTP/1.1 301 Moved\r\nlocation: /there\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    let error = error_of(&site, &spec(at, Millis(5000))).await.unwrap();
    assert_eq!(error, "answered more than 5 redirects");
    assert!(found(&heads).starts_with("GET /there "));
    assert_eq!(heads.lock().unwrap().len(), 6);
}

#[tokio::test]
async fn packed_pages_are_unpacked_up_to_the_limit() {
    let site = Site::new().await;
    let packed = |text: &str| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(text.as_bytes()).unwrap();
        let bytes = gzip.finish().unwrap();
        let head = format!(
            "HTTP/1.1 200 OK\r\n{TEXT}content-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
            bytes.len()
        );
        [head.into_bytes(), bytes].concat()
    };
    let (at, heads) = recorder(packed("packed 7\n")).await;
    assert_eq!(error_of(&site, &spec(at, Millis(5000))).await, None);
    assert_eq!(samples(&site, "packed")[0].1, Some(7.0));
    assert!(found(&heads).contains("accept-encoding: gzip\r\n"));
    let bomb = packed(&"# x\n".repeat(17 << 18));
    assert!(bomb.len() < 200_000);
    let (at, _) = recorder(bomb).await;
    assert_eq!(error_of(&site, &spec(at, Millis(5000))).await.unwrap(), "the page has more than 16 MiB");
}

/// A page over TLS with a certificate for `localhost`, and the certificate.
async fn secured() -> (SocketAddr, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = [0; 4096];
            let _n = stream.read(&mut head).await;
            let _gone = stream.write_all(page(TEXT, "secured 1\n").as_bytes()).await;
            let _gone = stream.shutdown().await;
        }
    });
    let der = base64::engine::general_purpose::STANDARD.encode(made.cert.der());
    (at, format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n"))
}

#[tokio::test]
async fn a_certificate_is_believed_when_its_authority_is_named() {
    let site = Site::new().await;
    let (at, pem) = secured().await;
    let folder = Arc::new(site.dir.path().to_owned());
    std::fs::write(folder.join("ca.pem"), pem).unwrap();
    let ask = async |tls: TlsClient| {
        let client = HttpClient { tls, ..HttpClient::default() };
        let spec = ScrapeSpec { client, scheme: Scheme::Https, ..spec(at, Millis(5000)) };
        let job = Arc::new(Job::new(spec, Arc::clone(&folder)));
        let Fate::Asked(plan) = job.fate(&job.declared().next().unwrap()) else { panic!("asked") };
        let mut scrape = Scrape::new(*plan, site.metrics.clone(), Board::default());
        scrape.ask(site.now()).await;
        scrape.health().error
    };
    let own = || TlsClient {
        ca_file: Some("ca.pem".into()),
        server_name: Some("localhost".into()),
        ..TlsClient::default()
    };
    assert!(ask(TlsClient::default()).await.unwrap().contains("TLS handshake failed"));
    let other_name = TlsClient { server_name: Some("csac.gov".into()), ..own() };
    assert!(ask(other_name).await.unwrap().contains("TLS handshake failed"));
    assert_eq!(ask(own()).await, None);
    assert_eq!(samples(&site, "secured")[0].1, Some(1.0));
    assert_eq!(ask(TlsClient { insecure_skip_verify: true, ..TlsClient::default() }).await, None);
}
