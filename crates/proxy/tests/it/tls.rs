//! TLS towards clients, with `openssl s_client` and curl as clients.

#![expect(clippy::disallowed_methods, reason = "certificates are written as people write them")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmsops_model::gateway::{GatewaySettings, TlsCertificate};
use hmsops_wire::gateway::{FromGateway, ToGateway};
use rcgen::{CertificateParams, KeyPair};
use tokio::process::Command;

use crate::settings::settle;
use crate::world::{Backend, Reply, Running, Tower, backend, gateway, patiently, route};

/// A gateway that speaks TLS for `portal` with a certificate of that name, its tower, and a version behind it.
struct Scene {
    gateway: Running,
    tower: Tower,
    _stable: Backend,
    folder: tempfile::TempDir,
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Writes a certificate for these names and its key; returns the certificate.
fn certify(folder: &Path, file: &str, names: &[&str]) -> TlsCertificate {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let path = |end: &str| folder.join(format!("{file}.{end}"));
    for (path, text) in [
        (path("key"), pem("PRIVATE KEY", &key.serialize_der())),
        (path("crt"), pem("CERTIFICATE", cert.der())),
    ] {
        let new = path.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(&new, path).unwrap();
    }
    let text = |end: &str| path(end).to_str().unwrap().to_owned();
    TlsCertificate { hosts: Vec::new(), cert: text("crt"), key: text("key") }
}

fn settings(tls: Vec<TlsCertificate>) -> GatewaySettings {
    GatewaySettings { tls, ..GatewaySettings::default() }
}

async fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let stable = backend(Reply::Echo).await;
    let gateway = gateway().await;
    let mut tower = gateway.tower().await;
    tower.set(route(1, &stable.address, &stable.address, 0)).await;
    let tls =
        vec![certify(folder.path(), "portal", &["portal"]), certify(folder.path(), "photo", &["photo.gov"])];
    settle(&mut tower, settings(tls)).await.unwrap();
    Scene { gateway, tower, _stable: stable, folder }
}

impl Scene {
    async fn s_client(&self, more: &[&str]) -> Output {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &self.gateway.listen.to_string()]).args(more);
        command.stdin(std::process::Stdio::null()).kill_on_drop(true);
        patiently("openssl", command.output()).await.unwrap()
    }

    /// A request for `host`; the answer with its head, and the exit code.
    async fn curl(&self, host: &str, cert: &str, more: &[&str]) -> (Option<i32>, String) {
        let (port, ca) = (self.gateway.listen.port(), self.folder.path().join(cert));
        let mut command = Command::new("curl");
        command.args(["-sSi", "--max-time", "20", "--cacert", ca.to_str().unwrap()]).args(more);
        command.args(["--resolve", &format!("{host}:{port}:127.0.0.1"), &format!("https://{host}:{port}/")]);
        let output = patiently("curl", command.kill_on_drop(true).output()).await.unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_host_gets_its_certificate_and_both_versions_of_http() {
    let scene = scene().await;
    for (host, cert) in [("portal", "portal.crt"), ("photo.gov", "photo.crt")] {
        let (code, answer) = scene.curl(host, cert, &["--http2"]).await;
        assert_eq!(code, Some(0), "{host}: {answer}");
        assert!(answer.starts_with("HTTP/2 200"), "{answer}");
        assert!(answer.contains("x-forwarded-proto: https"), "{answer}");
        let (_, answer) = scene.curl(host, cert, &["--http1.1"]).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("x-forwarded-proto: https"), "{answer}");
    }
    let (code, _) = scene.curl("photo.gov", "portal.crt", &[]).await;
    assert_eq!(code, Some(60), "another host's certificate is not enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_protocols_and_weak_suites_are_refused() {
    let scene = scene().await;
    for (what, flags, is_good) in [
        ("TLS 1.3", &["-tls1_3"][..], true),
        ("TLS 1.2", &["-tls1_2"], true),
        ("TLS 1.1", &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], false),
        ("TLS 1.0", &["-tls1", "-cipher", "ALL:@SECLEVEL=0"], false),
        ("CBC", &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA"], false),
        ("no forward secrecy", &["-tls1_2", "-cipher", "AES128-GCM-SHA256:AES256-GCM-SHA384"], false),
    ] {
        let output = scene.s_client(flags).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.success(), is_good, "{what}: {said}");
        assert_eq!(said.contains("Cipher is (NONE)"), !is_good, "{what}: {said}");
    }
}

/// Many requests while certificates change on disk: none fails, and in the end the new one is served.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_certificate_is_taken_up_without_a_failed_request() {
    let mut scene = scene().await;
    let old = std::fs::read_to_string(scene.folder.path().join("portal.crt")).unwrap();
    std::fs::write(scene.folder.path().join("both.crt"), &old).unwrap();
    certify(scene.folder.path(), "portal", &["portal"]);
    let new = std::fs::read_to_string(scene.folder.path().join("portal.crt")).unwrap();
    std::fs::write(scene.folder.path().join("both.crt"), old + &new).unwrap();
    let taken = patiently("the new certificate", async {
        let mut asked = 0;
        loop {
            let (code, answer) = scene.curl("portal", "both.crt", &[]).await;
            assert_eq!(code, Some(0), "{answer}");
            asked += 1;
            if scene.curl("portal", "portal.crt", &[]).await.0 == Some(0) {
                return asked;
            }
        }
    });
    assert!(taken.await > 0);
    // A broken one is refused, aloud, and the one before is served.
    std::fs::write(scene.folder.path().join("portal.crt.new"), "nonsense").unwrap();
    let whole = scene.folder.path().join("portal.crt");
    std::fs::copy(&whole, scene.folder.path().join("good.crt")).unwrap();
    std::fs::rename(scene.folder.path().join("portal.crt.new"), &whole).unwrap();
    let why = scene.tower.wait("a refusal", |message| match message {
        FromGateway::SettingsRefused { why } => Some(why.clone()),
        _ => None,
    });
    assert!(why.await.contains("cannot find a certificate in `"));
    assert_eq!(scene.curl("portal", "good.crt", &[]).await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_changes_nothing_and_says_why() {
    let mut scene = scene().await;
    let folder = scene.folder.path().to_owned();
    let open = certify(&folder, "open", &["open"]);
    std::fs::set_permissions(&open.key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (one, other) = (certify(&folder, "one", &["one"]), certify(&folder, "other", &["other"]));
    let missing = TlsCertificate { cert: folder.join("none").to_str().unwrap().to_owned(), ..one.clone() };
    let swapped = TlsCertificate { key: other.key.clone(), ..one.clone() };
    let empty = TlsCertificate { key: one.cert.clone(), ..one.clone() };
    for (tls, why) in [
        (open, "its mode 0644 lets others read it; set it with `chmod 0640` or `chmod 0600`"),
        (missing, "No such file"),
        (swapped, "cannot use the certificate `"),
        (empty, "cannot find a key in `"),
    ] {
        let refused = settle(&mut scene.tower, settings(vec![tls])).await.unwrap_err();
        assert!(refused.contains(why), "{refused}");
        assert_eq!(scene.curl("portal", "portal.crt", &[]).await.0, Some(0), "{why}");
    }
    // After a restart it speaks TLS before a tower has called.
    let folder = scene.folder;
    let gateway = scene.gateway.stop().await.start().await;
    let scene = Scene { gateway, folder, ..scene };
    assert_eq!(scene.s_client(&[]).await.status.code(), Some(0));
}

/// A client that begins a handshake and says no more does not keep its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_stops_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let short = |options: &mut hmsops_proxy::plane::GatewayOptions| {
        options.limits.client_head = std::time::Duration::from_millis(200);
    };
    let gateway = crate::world::gateway_with(short).await;
    let mut tower = gateway.tower().await;
    settle(&mut tower, settings(vec![certify(folder.path(), "portal", &["portal"])])).await.unwrap();
    assert_eq!(crate::world::raw(gateway.listen, b"\x16\x03\x01").await, "");
    tower.say(ToGateway::Ping).await;
    tower.wait("a pong", |message| matches!(message, FromGateway::Pong).then_some(())).await;
}
