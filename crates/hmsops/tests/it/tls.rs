//! A tower beyond loopback, with clients that are not ours: openssl, curl, Python.

use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;

use super::emitter::python;
use super::kit::{SHOPLESS, Said, Site, faketime};
use super::nginx;

/// A tower that listens everywhere.
struct Tower {
    site: Site,
    port: u16,
    collector: u16,
}

impl Tower {
    fn lay_out(settings: &str) -> Self {
        let site = Site::lay_out(SHOPLESS);
        site.configure(settings);
        let (port, collector) = (site.at.port(), site.collector.port());
        Self { site, port, collector }
    }

    fn start(settings: &str) -> Self {
        let mut tower = Self::lay_out(settings);
        tower.spawn();
        tower.wait_ready();
        tower
    }

    fn spawn(&mut self) {
        let (listen, collector) = (format!("0.0.0.0:{}", self.port), format!("0.0.0.0:{}", self.collector));
        let mut command = self.site.serve(&["--listen", &listen, "--grpc-listen", &collector]);
        let log = File::options().create(true).append(true).open(self.site.path("tower.log")).unwrap();
        command.stderr(log);
        self.site.keep(&mut command);
    }

    fn wait_ready(&self) {
        self.site.wait("the tower is ready over TLS", 30, |_| {
            let said =
                self.curl(&["--insecure", "-o", "/dev/null", "-w", "%{http_code}", &self.url("/-/ready")]);
            (said.out == "200").then_some(())
        });
    }

    fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }

    fn server(&self) -> String {
        self.url("")
    }

    fn curl(&self, args: &[&str]) -> Said {
        let mut command = Command::new("curl");
        command.args(["-s", "--max-time", "20"]).args(args).stdin(Stdio::null());
        command.current_dir(self.site.path("work")).output().unwrap().into()
    }

    /// What `openssl s_client` prints of a handshake.
    fn s_client(&self, args: &[&str]) -> String {
        let at = format!("127.0.0.1:{}", self.port);
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &at]).args(args).stdin(Stdio::null());
        let output = command.output().unwrap();
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
    }

    /// A command of ours on this machine.
    fn run(&self, args: &[&str]) -> Said {
        let mut command = self.site.command(args);
        command.env("HMSOPS_SERVER", self.server());
        command.stdin(Stdio::null()).output().unwrap().into()
    }

    fn json(&self, args: &[&str]) -> Value {
        let said = self.run(&[args, &["--json"]].concat());
        assert_eq!(said.code, Some(0), "{args:?}: {said:?}\n{}", self.site.log());
        serde_json::from_str(&said.out).unwrap()
    }

    /// What the tower says it is recognised by.
    fn pin(&self) -> String {
        let log = self.site.log();
        log.lines().filter_map(|line| line.strip_prefix("recognised by  ")).next_back().unwrap().to_owned()
    }

    fn ca(&self) -> String {
        self.site.path("data/tls/authority.crt").display().to_string()
    }

    /// The fingerprint of the certificate that is shown.
    fn shown(&self) -> String {
        let chain = self.s_client(&["-showcerts"]);
        let first = chain.split_inclusive("-----END CERTIFICATE-----").next().unwrap();
        first.split_once("-----BEGIN CERTIFICATE-----").unwrap().1.to_owned()
    }

    fn entries(&self, kind: &str) -> Vec<Value> {
        self.json(&["audit", "list", "--kind", kind])["entries"].as_array().unwrap().clone()
    }

    /// A certificate for 127.0.0.1 by openssl, good for two days from when it is said to be made, in the place of the one that the settings name.
    fn put_certificate(&self, made: &str) {
        let (cert, key) = (self.site.path("new.crt"), self.site.path("new.key"));
        let said: Said = Command::new("openssl")
            .env("LD_PRELOAD", faketime())
            .env("FAKETIME", made)
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ])
            .args(["-subj", "/CN=tower", "-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
            .args([&key, &PathBuf::from("-out"), &cert])
            .output()
            .unwrap()
            .into();
        assert_eq!(said.code, Some(0), "{said:?}");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        put_in_place(&key, &self.site.path("tls.key"));
        put_in_place(&cert, &self.site.path("tls.crt"));
    }
}

#[expect(clippy::disallowed_methods, reason = "a test does what a person's tool does")]
fn put_in_place(new: &std::path::Path, old: &std::path::Path) {
    std::fs::rename(new, old).unwrap();
}

/// Must show 6: the floor, with a client that is not ours.
#[test]
fn the_floor_is_tls_1_2_with_forward_secrecy_and_aead() {
    let tower = Tower::start("");
    let ca = tower.ca();
    // The system's own floor must not be what refuses.
    let weak = ["-cipher", "ALL:@SECLEVEL=0"];
    for args in [&["-tls1"][..], &["-tls1_1"]] {
        let said = tower.s_client(&[args, &weak].concat());
        assert!(said.contains("alert") && said.contains("Cipher is (NONE)"), "{args:?}: {said}");
    }
    for suites in
        ["ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA384", "AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA"]
    {
        let said = tower.s_client(&["-tls1_2", "-cipher", &format!("{suites}:@SECLEVEL=0")]);
        assert!(
            said.contains("alert handshake failure") && said.contains("Cipher is (NONE)"),
            "{suites}: {said}"
        );
    }
    let said = tower.s_client(&["-tls1_2", "-CAfile", &ca, "-verify_return_error"]);
    assert!(
        said.contains("TLSv1.2, Cipher is ECDHE-ECDSA-") && said.contains("Verify return code: 0"),
        "{said}"
    );
    let said =
        tower.s_client(&["-tls1_3", "-CAfile", &ca, "-verify_return_error", "-verify_ip", "127.0.0.1"]);
    assert!(said.contains("TLSv1.3, Cipher is TLS_") && said.contains("Verify return code: 0"), "{said}");
}

/// Who forgets the `s` is told so; browsers that came by a name never come in clear again.
#[test]
fn clear_text_gets_an_answer_and_hsts_is_sent_by_name() {
    let tower = Tower::start("tls: {names: [tower.csac.gov]}\n");
    let ca = tower.ca();
    let clear = tower.curl(&["-i", &format!("http://127.0.0.1:{}/status", tower.port)]);
    assert!(
        clear.out.starts_with("HTTP/1.1 400 ") && clear.out.contains("this port speaks TLS only"),
        "{clear:?}"
    );
    let clear = tower.curl(&["-i", "-d", "{}", &format!("http://127.0.0.1:{}/v1/emit", tower.collector)]);
    assert!(clear.out.starts_with("HTTP/1.1 400 ") && clear.out.contains("https://"), "{clear:?}");
    let named = format!("https://tower.csac.gov:{}/status", tower.port);
    let resolve = format!("tower.csac.gov:{}:127.0.0.1", tower.port);
    let page = tower.curl(&["-i", "--cacert", &ca, "--resolve", &resolve, &named]);
    assert!(page.out.contains("strict-transport-security: max-age=31536000"), "{page:?}");
    let local = tower.curl(&["-i", "--cacert", &ca, &tower.url("/status")]);
    assert!(local.out.starts_with("HTTP/1.1 200") && !local.out.contains("strict-transport"), "{local:?}");
    let other = format!("other.gov:{}:127.0.0.1", tower.port);
    let page =
        tower.curl(&["--cacert", &ca, "--resolve", &other, &format!("https://other.gov:{}/", tower.port)]);
    assert_eq!(page.code, Some(60), "the certificate is not for this name: {page:?}");
    let told = tower.json(&["audit", "list", "--kind", "certificate.authority"]);
    assert_eq!(told["entries"].as_array().unwrap().len(), 1, "{told}");
}

/// A tower is recognised by its folder, a pin, or what was remembered; nobody else gets the token.
#[test]
fn the_command_line_knows_its_tower_and_no_other() {
    let tower = Tower::start("");
    // By its folder, without a word.
    let said: Said =
        tower.site.command(&["service", "list"]).env_remove("HMSOPS_SERVER").output().unwrap().into();
    assert_eq!(said.code, Some(0), "{said:?}");
    let elsewhere = tower.site.path("work");
    let from_afar = |args: &[&str]| -> Said {
        let mut command = tower.site.command(args);
        command.current_dir(&elsewhere).env_remove("HMSOPS_SERVER").env_remove("HMSOPS_DATA");
        command.stdin(Stdio::null()).output().unwrap().into()
    };
    let (server, token, pin) = (tower.server(), tower.site.token(), tower.pin());
    let said = from_afar(&["--server", &server, "--token", &token, "service", "list"]);
    assert_eq!(said.code, Some(4), "{said:?}");
    assert!(said.err.contains("knows no authority") && said.err.contains(&pin), "{said:?}");
    let wrong = format!("sha256:{}", "ab".repeat(32));
    let said = from_afar(&["--server", &server, "--token", &token, "--ca", &wrong, "service", "list"]);
    assert_eq!(said.code, Some(4), "{said:?}");
    assert!(said.err.contains(&format!("recognised by {wrong}, and shows {pin}")), "{said:?}");
    let said = from_afar(&["--server", &server, "--token", &token, "--ca", "sha256:12", "service", "list"]);
    assert!(said.code == Some(2) && said.err.contains("is no fingerprint"), "{said:?}");
    let said = from_afar(&["login", "--server", &server, "--ca", &pin, "--token", &token]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(from_afar(&["service", "list"]).code, Some(0), "the context remembers the pin");
    let clear = format!("http://127.0.0.1:{}", tower.port);
    let said = from_afar(&["--server", &clear, "--token", &token, "service", "list"]);
    assert!(
        said.code == Some(2) && said.err.contains("TLS only") && said.err.contains("https://"),
        "{said:?}"
    );
}

/// Must show 6: certificates change under load, and no request fails. A pair that cannot be used changes nothing.
#[test]
fn certificates_rotate_under_load_without_a_failed_request() {
    let mut tower = Tower::lay_out("tls: {cert: tls.crt, key: \"file:tls.key\"}\n");
    tower.put_certificate("+0");
    tower.spawn();
    tower.wait_ready();
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let users: Vec<_> = (0..6)
        .map(|user| {
            let (url, stop, done) = (tower.url("/-/ready"), Arc::clone(&stop), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut failed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    // Half of them keep their connection for forty requests, half open one for each.
                    let urls: Vec<&str> = vec![&url; if user % 2 == 0 { 40 } else { 1 }];
                    let mut curl = Command::new("curl");
                    curl.args(["-s", "-S", "--insecure", "--fail", "--max-time", "20"]).args(&urls);
                    let output = curl.output().unwrap();
                    if !output.status.success() {
                        failed.push(String::from_utf8_lossy(&output.stderr).into_owned());
                    }
                    done.fetch_add(urls.len() as u64, Ordering::Relaxed);
                }
                failed
            })
        })
        .collect();
    let shown = |tower: &Tower, what: &str, old: &str| {
        tower.site.wait(what, 20, |_| Some(tower.shown()).filter(|shown| *shown != old))
    };
    let first = tower.shown();
    let mut last = first.clone();
    for _ in 0..3 {
        tower.put_certificate("+0");
        last = shown(&tower, "a new pair is shown", &last);
    }
    // Half of a pair, rubbish, a key that everybody may read, and one that has ended: the last good one goes on.
    let broken = |tower: &Tower, said: &str| {
        tower.site.wait(said, 20, |site| site.log().contains(said).then_some(()));
        assert_eq!(tower.shown(), last, "{said}");
    };
    nginx::put(&tower.site.path("tls.crt"), "rubbish");
    broken(&tower, "cannot find a certificate in");
    std::fs::set_permissions(tower.site.path("tls.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    tower.put_certificate("-3d");
    broken(&tower, "the new certificate has ended already");
    tower.put_certificate("+0");
    last = shown(&tower, "a good pair after bad ones", &last);
    stop.store(true, Ordering::Relaxed);
    let failed: Vec<String> = users.into_iter().flat_map(|user| user.join().unwrap()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(done.load(Ordering::Relaxed) > 200, "there was load: {done:?}");
    // The tower's own folder knows the certificate of the file, which names another host than some use.
    let broken = tower.entries("certificate.broken");
    assert!(broken.len() >= 2 && broken.iter().all(|entry| entry["outcome"] == "failed"), "{broken:?}");
    assert!(tower.entries("certificate.shown").len() >= 5);
    assert_ne!(first, last);
}

/// Nothing is spoken in clear beyond loopback but by a written exception, which stands in the record.
#[test]
fn clear_text_beyond_loopback_takes_a_written_exception() {
    let why = "published on 127.0.0.1 by compose";
    let mut tower = Tower::lay_out(&format!("plain: \"{why}\"\n"));
    tower.spawn();
    let clear = format!("http://127.0.0.1:{}", tower.port);
    tower.site.wait("the tower is ready in clear", 30, |_| {
        let said = tower.curl(&["-o", "/dev/null", "-w", "%{http_code}", &format!("{clear}/-/ready")]);
        (said.out == "200").then_some(())
    });
    assert!(tower.site.log().contains(&format!("is beyond loopback and speaks in clear: {why}")));
    let entries = tower.site.wait("the exception is in the ledger", 10, |site| {
        let list: Value = serde_json::from_str(
            &Said::from(
                site.command(&["--server", &clear, "audit", "list", "--kind", "listener.plain", "--json"])
                    .output()
                    .unwrap(),
            )
            .out,
        )
        .ok()?;
        Some(list["entries"].as_array()?.clone()).filter(|all| !all.is_empty())
    });
    assert!(entries[0].to_string().contains(why), "{entries:?}");
    // Everyone on this machine having all rights is for this machine.
    let refused: Said = tower.site.serve(&["--listen", "0.0.0.0:0", "--no-auth"]).output().unwrap().into();
    assert!(refused.code == Some(1) && refused.err.contains("beyond loopback"), "{refused:?}");
}

/// The authority's key is its owner's alone, or the tower does not start.
#[test]
fn a_key_that_others_may_read_is_refused_with_a_remedy() {
    let mut tower = Tower::start("");
    let (pin, key) = (tower.pin(), tower.site.path("data/tls/authority.key"));
    tower.site.end_kept();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let listen = format!("0.0.0.0:{}", tower.port);
    let said: Said = tower.site.serve(&["--listen", &listen]).output().unwrap().into();
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.err.contains("its mode 0644 lets others read it") && said.err.contains("chmod 0600"),
        "{said:?}"
    );
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    // What was drawn before is drawn anew at each start: one that has ended meanwhile is nobody's trouble.
    tower.spawn();
    tower.wait_ready();
    tower
        .site
        .wait("it is recognised as before", 10, |site| (site.log().matches(&pin).count() == 2).then_some(()));
    let wrong = "tls: {cert: none.crt, key: \"file:none.key\"}\n";
    tower.site.end_kept();
    tower.site.configure(wrong);
    let said: Said = tower.site.serve(&["--listen", &listen]).output().unwrap().into();
    assert!(said.code == Some(1) && said.err.contains("none.crt"), "{said:?}");
}

/// Joins by a file, which the list of processes does not show; one that others may read is refused.
fn by_file(tower: &Tower, text: &str, agent: &dyn Fn(&[&str]) -> Said) -> Said {
    let file = tower.site.path("work/join.txt");
    nginx::put(&file, text);
    let args = ["--join-file", "join.txt", "--spool", "a"];
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = agent(&args);
    assert!(said.code == Some(2) && said.err.contains("mode 0644") && !said.err.contains(text), "{said:?}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    agent(&args)
}

/// An agent joins once by a token, is let in by its certificate alone, renews it, and is shut out.
#[test]
fn an_agent_joins_once_renews_and_is_shut_out() {
    let tower = Tower::start("");
    let (server, pin) = (tower.server(), tower.pin());
    let token = |scope: &str, kind: &str| {
        let args =
            ["token", "create", "--kind", kind, "--scope", scope, "--expires", "1h", "--reason", "test"];
        tower.json(&args)["text"].as_str().unwrap().to_owned()
    };
    let agent = |args: &[&str]| -> Said {
        let mut command = tower.site.command(&["agent", "--once", "--name", "edge-1"]);
        command.args(args).current_dir(tower.site.path("work")).env_remove("HMSOPS_DATA");
        command.env("HMSOPS_SERVER", &server).stdin(Stdio::null()).output().unwrap().into()
    };
    let first = token("metrics:write", "agt");
    let said = agent(&["--join", &first]);
    assert!(said.code == Some(2) && said.err.contains("recognised by"), "{said:?}");
    let said = agent(&["--join", &format!("{first}@sha256:{}", "00".repeat(32)), "--spool", "a"]);
    assert!(said.code == Some(4) && said.err.contains("cannot trust the tower"), "{said:?}");
    let said = by_file(&tower, &format!("{first}@{pin}"), &agent);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "ag-1  has a certificate\n"), "{said:?}");
    let mode = std::fs::metadata(tower.site.path("work/a/agent.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let said = agent(&["--join", &format!("{first}@{pin}"), "--spool", "b"]);
    assert!(said.code == Some(4) && said.err.contains("k-1 is used up: ag-1 has joined by it"), "{said:?}");
    for (scope, kind, why) in [
        ("metrics:write", "sa", "is no agent's"),
        ("metrics:write,deploy:request", "agt", "agents only bring data"),
    ] {
        let args: Vec<&str> = scope.split(',').flat_map(|scope| ["--scope", scope]).collect();
        let made = [&["token", "create", "--kind", kind, "--reason", "test"][..], &args].concat();
        let text = tower.json(&made)["text"].as_str().unwrap().to_owned();
        let said = agent(&["--join", &format!("{text}@{pin}"), "--spool", "b"]);
        assert!(said.code == Some(4) && said.err.contains(why), "{said:?}");
    }
    // Renewed, and the one before goes on until it ends.
    let before = identity(&tower, "a");
    let said = agent(&["--spool", "a"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let after = identity(&tower, "a");
    assert_ne!(before, after);
    let emit = |(cert, key): &(String, String)| {
        nginx::put(&tower.site.path("work/agent.crt"), cert);
        nginx::put(&tower.site.path("work/agent.key"), key);
        let body = r#"{"source":"00112233445566778899aabbccddeeff","sequence":1,"labels":{"service":"elsewhere"},
            "dropped":0,"metrics":[{"name":"up","labels":{},"time":1792000000000,"sum":1,"count":1,"min":1,"max":1,"last":1}]}"#;
        let url = format!("https://127.0.0.1:{}/v1/emit", tower.collector);
        let common =
            ["--cacert", &tower.ca(), "--cert", "agent.crt", "--key", "agent.key", "-w", "\n%{http_code}"]
                .map(str::to_owned);
        let mut args: Vec<&str> = common.iter().map(String::as_str).collect();
        args.extend(["-H", "content-type: application/json", "-d", body, &url]);
        tower.curl(&args).out
    };
    for (what, identity) in [("the old one", &before), ("the new one", &after)] {
        let said = emit(identity);
        assert!(said.ends_with("200"), "{what}: {said}");
    }
    // It is no key to anything else.
    let shown = ["--cert", "agent.crt", "--key", "agent.key", "-w", "%{http_code}", "--cacert"];
    let denied = tower.curl(&[&shown[..], &[&tower.ca(), &tower.url("/hms/v1/services")]].concat());
    assert!(denied.out.ends_with("403"), "{denied:?}");
    assert_eq!(tower.json(&["agent", "list"])["items"][0]["state"], "in-force");
    assert_eq!(tower.run(&["agent", "revoke", "ag-1", "--reason", "sold"]).code, Some(0));
    assert!(emit(&after).ends_with("401"), "{}", emit(&after));
    let said = agent(&["--spool", "a"]);
    assert!(said.code == Some(4) && said.err.contains("lets nobody in any more"), "{said:?}");
    for kind in ["agent.joined", "agent.renewed", "agent.revoked"] {
        assert_eq!(tower.entries(kind).len(), 1, "{kind}");
    }
}

/// An agent's certificate and key.
fn identity(tower: &Tower, spool: &str) -> (String, String) {
    let text = std::fs::read(tower.site.path(&format!("work/{spool}/agent.json"))).unwrap();
    let agent: Value = serde_json::from_slice(&text).unwrap();
    (agent["certificate"].as_str().unwrap().to_owned(), agent["key"].as_str().unwrap().to_owned())
}

/// The SDK emits over TLS, recognises the tower by a file or a pin, and gives nothing to others.
#[test]
fn the_sdk_emits_over_tls_to_its_tower_only() {
    let tower = Tower::start("");
    let emit = "from hms_ops import Metric\nMetric.emit('photo.upload.ok', 1)\nMetric.flush(5)\nprint(Metric.stats().sent)\n";
    let (ca, pin) = (tower.ca(), tower.pin());
    let wrong = format!("sha256:{}", "ab".repeat(32));
    let served = tower.site.path("data/tls/served.pem").display().to_string();
    for (ca, sent) in [(ca.as_str(), "1"), (&pin, "1"), (&served, "1"), (&wrong, "0"), ("", "0")] {
        let mut python = python(&tower.site);
        python.env("HMSOPS_ENDPOINT", format!("https://127.0.0.1:{}", tower.collector)).env("HMSOPS_CA", ca);
        python.env("HMSOPS_TOKEN", "").args(["-B", "-c", emit]);
        let said: Said = python.output().unwrap().into();
        assert_eq!(said.out.trim(), sent, "{ca}: {said:?}\n{}", tower.site.log());
    }
    let alert = "from hms_ops import Alert\nprint(Alert.create(name='a', expr='rate(x[1m]) < 1', for_sec=60).changed)\n";
    let mut python = python(&tower.site);
    python
        .env("HMSOPS_SERVER", tower.server())
        .env("HMSOPS_CA", &pin)
        .env("HMSOPS_TOKEN", tower.site.token());
    let said: Said = python.args(["-B", "-c", alert]).output().unwrap().into();
    assert_eq!(said.out.trim(), "True", "{said:?}");
}
