//! What a look takes from the machine: whom it trusts, and whom it asks for names. Both are read once a process, or stand in
//! a file of the machine's own; so each test runs itself once more, as a process that has another machine around it.

use std::process::{Command, Output, Stdio};

use hmsops_model::probe::{Ask, Probe, RecordType, Tls};

use crate::kinds::{Nginx, asking, http, once, passed, put, reason, resolver};

/// Tells the inner process what to ask.
const INNER: &str = "HMSOPS_TEST_MACHINE";

/// An authority, and two certificates of its own: for 127.0.0.1 and localhost, and for another host.
const CERTIFY: &str = r#"set -eu
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 30 -subj "/CN=CSAC test authority" 2>/dev/null
certify() {
    openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$1" 2>/dev/null
    printf 'subjectAltName=%s\nbasicConstraints=CA:FALSE\n' "$2" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 20 -extfile "$1.ext" -out "$1.crt" 2>/dev/null
}
certify here IP:127.0.0.1,DNS:localhost
certify elsewhere DNS:portal.csac.gov
"#;

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().expect("it can be started")
}

/// This test once more.
fn inner(test: &str, tell: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("machine::{test}"), "--nocapture"]).env(INNER, tell);
    command
}

fn must_pass(output: &Output) {
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", said(&output.stdout), said(&output.stderr));
    assert!(said(&output.stdout).contains("1 passed"), "{}", said(&output.stdout));
}

#[tokio::test]
async fn a_certificate_by_an_authority_that_the_machine_trusts() {
    if let Ok(at) = std::env::var(INNER) {
        return trusting(&at).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let made = run(Command::new("sh").args(["-c", CERTIFY]).current_dir(dir.path()));
    assert!(made.status.success(), "openssl is not installed: {made:?}");
    let authority = dir.path().join("ca.pem");
    let nginx = Nginx::serve(dir, &["here", "elsewhere"], None).await;
    let (here, elsewhere) = (nginx.tls(0), nginx.tls(1));
    // Whom nobody has told of the authority trusts none of its certificates.
    let look = once(&here, asking(http("/", Tls::Trusted), &[])).await;
    assert_eq!(reason(&look), "its certificate is by no authority that this machine trusts");
    let mut trusting =
        inner("a_certificate_by_an_authority_that_the_machine_trusts", &format!("{here} {elsewhere}"));
    let output = tokio::task::spawn_blocking(move || run(trusting.env("SSL_CERT_FILE", authority))).await;
    must_pass(&output.unwrap());
}

/// In a process that trusts the authority.
async fn trusting(at: &str) {
    let (here, elsewhere) = at.split_once(' ').unwrap();
    let trusted = || asking(http("/", Tls::Trusted), &["status == 200", "certificate_days > 18"]);
    let look = once(here, trusted()).await;
    assert!(passed(&look), "{look:?}");
    // The certificate is for the host that is asked, be it named by the check.
    let port = here.rsplit_once(':').unwrap().1.parse().unwrap();
    let named = Probe { host: Some("localhost".into()), port: Some(port), ..trusted() };
    let look = once("127.0.0.1:1", named).await;
    assert!(passed(&look), "{look:?}");
    assert_eq!(reason(&once(elsewhere, trusted()).await), "its certificate is not for `127.0.0.1`");
    let expiry = asking(Ask::Tls { days: 14, server_name: Some("portal.csac.gov".into()) }, &[]);
    let look = once(elsewhere, expiry).await;
    assert!(passed(&look), "{look:?}");
    let soon = asking(Ask::Tls { days: 25, server_name: None }, &[]);
    assert!(reason(&once(here, soon).await).contains("certificate"));
}

#[tokio::test]
async fn a_name_is_asked_of_the_machines_own_resolver() {
    if std::env::var(INNER).is_ok() {
        return resolving().await;
    }
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("resolv.conf");
    put(&conf, "# the machine's\nsearch csac.gov\nnameserver 127.0.0.1\nnameserver 127.0.0.2\n");
    let inner = inner("a_name_is_asked_of_the_machines_own_resolver", "inner");
    // A network and a file of its own: there, port 53 is free and the resolver's address is ours to say.
    let script = "ip link set lo up && mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    let mut around = Command::new("unshare");
    around.args(["--map-root-user", "--mount", "--net", "sh", "-c", script]).arg(&conf);
    around.arg(inner.get_program()).args(inner.get_args()).env(INNER, "inner");
    let may = run(Command::new("unshare").args(["--map-root-user", "--mount", "--net", "true"]));
    if !may.status.success() {
        eprintln!("skipped: this machine gives nobody a network of their own: {may:?}");
        return;
    }
    must_pass(&tokio::task::spawn_blocking(move || run(&mut around)).await.unwrap());
}

/// In a process whose machine has its resolver on 127.0.0.1.
async fn resolving() {
    resolver("127.0.0.1:53").await;
    let ask = |name: &str| Ask::Dns { name: name.into(), record: RecordType::A, resolver: None };
    let look = once("127.0.0.1:1", asking(ask("portal.csac.gov"), &["answer == \"10.0.0.4\""])).await;
    assert!(passed(&look), "{look:?}");
    assert_eq!(reason(&once("127.0.0.1:1", asking(ask("gone.csac.gov"), &[])).await), "NXDOMAIN");
}
