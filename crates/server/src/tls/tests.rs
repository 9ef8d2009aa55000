//! The authority and its files.

use hmsops_disk::{Disk, RealDisk};
use hmsops_model::{Millis, UnixMillis};
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier as _;
use tokio_rustls::rustls::pki_types::{ServerName, UnixTime};

use super::*;
use crate::tls::authority::{AuthorityError, LIFE};

/// 2026-11-22.
const NOW: UnixMillis = UnixMillis(1_795_300_000_000);

fn at(ms: i64) -> UnixMillis {
    UnixMillis(NOW.0 + ms)
}

/// Whether a client that trusts the authority and has this time takes the certificate for `name`.
fn takes(authority: &Authority, chain: &CertifiedKey, name: &str, now: UnixMillis) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone()).unwrap();
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
            .build()
            .unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_millis(now.0 as u64));
    verifier.verify_server_cert(&chain.cert[0], &chain.cert[1..], &name, &[], now).is_ok()
}

#[test]
fn an_authority_is_made_once_and_its_key_is_its_owners() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(dir.path()).unwrap();
    let first = Authority::open(dir.path(), &disk, NOW).unwrap();
    let mode = std::fs::metadata(dir.path().join("tls/authority.key")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&mode) & 0o777, 0o600);
    let again = Authority::open(dir.path(), &disk, at(1000)).unwrap();
    assert_eq!(first.certificate(), again.certificate());
    // What the one has signed the other stands for.
    let signed = again.for_tower(&["tower.csac.gov".into(), "10.0.0.4".into()], NOW).unwrap();
    for (name, taken) in [("tower.csac.gov", true), ("10.0.0.4", true), ("other.gov", false)] {
        assert_eq!(takes(&first, &signed, name, NOW), taken, "{name}");
    }
}

/// Bad input of the issue: a clock an hour off, in either direction.
#[test]
fn a_clock_an_hour_off_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(dir.path()).unwrap();
    let authority = Authority::open(dir.path(), &disk, NOW).unwrap();
    let signed = authority.for_tower(&["tower.csac.gov".into()], NOW).unwrap();
    let hour = 3_600_000;
    for (ms, taken) in [(-hour, true), (hour, true), (-3 * hour, false), (25 * hour, false)] {
        assert_eq!(takes(&authority, &signed, "tower.csac.gov", at(ms)), taken, "{ms}");
    }
    assert_eq!(held(&signed.cert[0]).until.since(NOW), LIFE);
    assert!(held(authority.certificate()).until.since(NOW) > Millis::from_mins(9 * 365 * 24 * 60));
}

/// A certificate of the own authority is drawn anew with hours left, and when the clock was set back to before it.
#[test]
fn what_ends_soon_is_drawn_anew() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn hmsops_disk::Disk> = Arc::new(RealDisk::new(dir.path()).unwrap());
    let source = keeper::Source::new(&hmsops_config::tower::TlsConfig::default(), dir.path());
    let (_sender, sources) = tokio::sync::watch::channel(source);
    let mut keeper = keeper::Keeper::open((dir.path(), disk), sources, Vec::new(), NOW).unwrap();
    let hour = 3_600_000;
    for (hours, due) in [(0, false), (15, false), (17, true), (30, true), (1, false), (-2, true)] {
        assert_eq!(keeper.is_due(at(hours * hour)), due, "after {hours} h");
    }
    let shown = fingerprint(&keeper.transport().chain()[0]);
    keeper.draw(at(17 * hour)).unwrap();
    assert_ne!(fingerprint(&keeper.transport().chain()[0]), shown);
    assert!(!keeper.is_due(at(17 * hour)));
}

#[test]
fn what_is_not_as_it_was_left_is_refused_with_a_remedy() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(dir.path()).unwrap();
    let open = || Authority::open(dir.path(), &disk, NOW).map(|_| ()).unwrap_err().to_string();
    Authority::open(dir.path(), &disk, NOW).unwrap();
    let key = dir.path().join("tls/authority.key");
    for mode in [0o644, 0o640, 0o604] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let said = open();
        assert!(
            said.contains(&format!("its mode 0{mode:o} lets others read it")) && said.contains("chmod 0600"),
            "{said}"
        );
    }
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let whole = disk.read("tls/authority.key", 4096).unwrap();
    disk.replace("tls/authority.key", b"rubbish").unwrap();
    assert!(open().contains("it holds no key of P-256"), "{}", open());
    let (other, _) = request::Request::draw().unwrap();
    disk.replace("tls/authority.key", other.as_bytes()).unwrap();
    assert!(open().contains("it is of another key"), "{}", open());
    disk.remove("tls/authority.key").unwrap();
    assert!(matches!(Authority::open(dir.path(), &disk, NOW), Err(AuthorityError::Damaged { .. })));
    // As a crash between both files leaves it: agents' certificates go on, they are of the key.
    disk.replace("tls/authority.key", &whole).unwrap();
    disk.remove("tls/authority.crt").unwrap();
    Authority::open(dir.path(), &disk, NOW).unwrap();
}

#[test]
fn an_agents_certificate_is_of_its_own_key() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(dir.path()).unwrap();
    let authority = Authority::open(dir.path(), &disk, NOW).unwrap();
    let (_, text) = request::Request::draw().unwrap();
    let request = request::Request::parse(&text).unwrap();
    let (one, two) =
        (authority.for_agent(&request, NOW).unwrap(), authority.for_agent(&request, NOW).unwrap());
    assert!(one.windows(65).any(|part| part == request.point()));
    assert_ne!(fingerprint(&one), fingerprint(&two), "each has a number of its own");
}
