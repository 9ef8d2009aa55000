//! What `hmsops.yaml` shows: whether it can be read, and the keys, secrets and certificates that it names.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use hmsops_act::probe::Certificate;
use hmsops_config::tower::{SecretRef, TowerConfig};
use hmsops_model::UnixMillis;

use super::Findings;
use crate::secret;
use crate::serve::{ServeError, read_config};
use crate::tls::{keeper, pem};

/// Permission bits of group and world.
const OTHERS: u32 = 0o077;

/// And of the world alone: the key of a gateway's certificate may be read by a group.
const WORLD: u32 = 0o007;

/// A certificate that has less than this part of its life left is late: who renews them by themselves does so with a
/// third of it left (RFC 9773, and certbot since 4.0).
const LATE: i64 = 10;

/// And this part is three days of one of 90.
const TOO_LATE: i64 = 30;

/// A file of certificates is some kilobytes.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// Looks at the settings and at what they name. Changes nothing.
///
/// `is_tower`: this is the tower's process, which has what variables and systemd hand to it; another knows nothing of
/// those that it has not.
pub(super) fn look(file: &Path, now: UnixMillis, is_tower: bool, findings: &mut Findings) {
    findings.look("settings");
    let config = match read_config(Some(file)) {
        Ok(config) => config,
        Err(error) => {
            let why = match error {
                ServeError::Config(why) => why,
                error => error.to_string(),
            };
            return findings.problem(
                format!("`{}` cannot be used: {}", file.display(), short(&why)),
                "a tower that runs goes on with what it read before; one that starts stops here",
                format!("hmsops check {}", file.display()),
            );
        }
    };
    let folder = keeper::folder(Some(file));
    for (path, closed_to) in secrets(&config, &folder) {
        private(&path, closed_to, findings);
    }
    for secret in named(&config).filter(|secret| is_tower || is_here(secret)) {
        handed(secret, &folder, findings);
    }
    findings.look("certificates");
    for path in certificates(&config, &folder) {
        certificate(&path, now, findings);
    }
}

/// What is wrong and where, without the drawing of it, which `hmsops check` shows.
fn short(why: &str) -> String {
    let lines = why.lines().map(str::trim).filter(|line| !line.is_empty());
    let told = lines.filter(|line| {
        let is_drawn =
            line.starts_with(|c: char| c == '|' || c.is_ascii_digit()) || line.starts_with("hint:");
        !is_drawn
    });
    told.collect::<Vec<_>>().join(" ")
}

/// Files with keys and secrets, each with the bits that it must not have. What a variable or systemd holds is theirs.
fn secrets(config: &TowerConfig, folder: &Path) -> Vec<(PathBuf, u32)> {
    let own = config.tls.files.iter().map(|(_, key)| (key, OTHERS));
    let gateways = config.gateways.values().flat_map(|gateway| &gateway.settings.tls);
    let gateways = gateways.map(|tls| (&tls.key, WORLD));
    let named = named(config).filter_map(|secret| match secret {
        SecretRef::File(file) => Some((file, OTHERS)),
        SecretRef::Env(_) | SecretRef::Credential(_) => None,
    });
    own.chain(gateways).chain(named).map(|(file, closed_to)| (folder.join(file), closed_to)).collect()
}

/// Secrets of what the tower talks to.
fn named(config: &TowerConfig) -> impl Iterator<Item = &SecretRef> {
    let mail = config.notify.mail.iter().filter_map(|mail| mail.password.as_ref());
    let webhooks = config.notify.webhooks.values().flat_map(|webhook| &webhook.secrets);
    let provider = config.people.oidc.iter().filter_map(|oidc| oidc.client_secret.as_ref());
    mail.chain(webhooks).chain(provider)
}

/// Whether a variable or a credential is handed to this process.
fn is_here(secret: &SecretRef) -> bool {
    match secret {
        SecretRef::File(_) => false,
        SecretRef::Env(name) => std::env::var_os(name).is_some(),
        SecretRef::Credential(_) => std::env::var_os(secret::CREDENTIALS).is_some(),
    }
}

/// A secret that a variable or systemd hands over. What is wrong with a file is told by [`private`].
fn handed(from: &SecretRef, folder: &Path, findings: &mut Findings) {
    let (what, remedy) = match from {
        SecretRef::File(_) => return,
        SecretRef::Env(name) => (
            format!("the variable `{name}` holds no secret"),
            format!(
                "set `{name}` where the tower is started, or write `file:…` or `credential:…` in the settings"
            ),
        ),
        SecretRef::Credential(name) => (
            format!("the credential `{name}` holds no secret"),
            format!("`LoadCredential={name}:PATH` in the unit hands it over at the next start"),
        ),
    };
    let why = "the settings name it, and what needs it does not work without";
    match secret::read(from, folder) {
        Ok(secret) if secret.expose().trim().is_empty() => findings.problem(what, why, remedy),
        Ok(_) => {}
        Err(error) => findings.problem(error.to_string(), why, remedy),
    }
}

fn certificates(config: &TowerConfig, folder: &Path) -> Vec<PathBuf> {
    let own = config.tls.files.iter().map(|(certificate, _)| certificate);
    let gateways = config.gateways.values().flat_map(|gateway| &gateway.settings.tls).map(|tls| &tls.cert);
    own.chain(gateways).map(|file| folder.join(file)).collect()
}

fn private(path: &Path, closed_to: u32, findings: &mut Findings) {
    let shown = path.display();
    match path.metadata() {
        Ok(known) if known.mode() & closed_to != 0 => findings.problem(
            format!("`{shown}` has mode {:04o}", known.mode() & 0o7777),
            "it is a secret, and others can read or replace it; the tower and its gateways refuse it from the next time on",
            format!("chmod 0600 {shown}, and replace the secret: nobody knows who has read it"),
        ),
        Ok(_) => {}
        Err(error) => findings.problem(
            format!("`{shown}` cannot be looked at: {error}"),
            "the settings name it as a key or a secret, and what needs it does not work without",
            "put it there, readable by the tower's user alone, or take its name out of the settings",
        ),
    }
}

/// The first certificate of a file: that which is shown.
fn certificate(path: &Path, now: UnixMillis, findings: &mut Findings) {
    let shown = path.display();
    let first = read(path).and_then(|text| pem::certificates(&text)?.into_iter().next());
    let now_s = now.0.div_euclid(1000);
    let Some(read) = first.and_then(|first| Certificate::read(&first, now_s)) else {
        return findings.problem(
            format!("`{shown}` is no certificate that can be read"),
            "what was read before goes on; a start does not",
            format!("look with `openssl x509 -noout -text -in {shown}`"),
        );
    };
    let why = "browsers, programs and agents refuse what shows it from then on";
    let remedy = "renew it and put it in this place; it is read again by itself";
    let life = read.not_after.saturating_sub(read.not_before).max(0);
    let rest = read.not_after.saturating_sub(now_s);
    let what = format!("`{shown}` {read}");
    if now_s < read.not_before {
        findings.problem(what, "until then nobody takes it", "see that the clock is right");
    } else if rest < life / TOO_LATE {
        findings.problem(what, why, remedy);
    } else if rest < life / LATE {
        findings.warning(what, why, remedy);
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(PEM_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    /// 2026-11-23.
    const NOW_S: i64 = 1_795_392_000;
    const DAY_S: i64 = 86_400;

    #[expect(clippy::disallowed_methods, reason = "a test writes what is looked at")]
    fn write(path: &Path, text: &str, mode: u32) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A certificate of 90 days with so many left, and its key.
    fn pair(days_left: i64) -> (String, String) {
        let mut params = CertificateParams::new(["tower.csac.gov".to_owned()]).unwrap();
        let at = |days: i64| time::OffsetDateTime::from_unix_timestamp(NOW_S + days * DAY_S).unwrap();
        (params.not_before, params.not_after) = (at(days_left - 90), at(days_left));
        let key = KeyPair::generate().unwrap();
        let signed = params.self_signed(&key).unwrap();
        (pem::encode("CERTIFICATE", signed.der()), pem::encode("PRIVATE KEY", &key.serialize_der()))
    }

    fn found(file: &Path) -> Vec<(String, String)> {
        let mut findings = Findings::default();
        look(file, UnixMillis(NOW_S * 1000), true, &mut findings);
        let found = findings.end("folder").findings;
        found.into_iter().map(|found| (found.severity.name().to_owned(), found.what)).collect()
    }

    #[test]
    fn keys_secrets_and_certificates_that_the_settings_name_are_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let settings = "tls: {cert: own.crt, key: \"file:own.key\"}\n\
                        notify: {webhooks: {pager: {url: \"https://pager.csac.gov/x\", secrets: [\"file:pager.secret\"]}}}\n";
        write(&at("hmsops.yaml"), settings, 0o644);
        let (certificate, key) = pair(60);
        write(&at("own.crt"), &certificate, 0o644);
        write(&at("own.key"), &key, 0o600);
        write(&at("pager.secret"), "hunter2hunter2hunter2hunter2\n", 0o600);
        assert_eq!(found(&at("hmsops.yaml")), []);

        write(&at("own.key"), &key, 0o640);
        write(&at("pager.secret"), "hunter2hunter2hunter2hunter2\n", 0o604);
        let ill = found(&at("hmsops.yaml"));
        assert_eq!(ill.len(), 2, "{ill:?}");
        assert!(ill[0].0 == "problem" && ill[0].1.ends_with("own.key` has mode 0640"), "{ill:?}");
        assert!(ill[1].0 == "problem" && ill[1].1.ends_with("pager.secret` has mode 0604"), "{ill:?}");
        write(&at("own.key"), &key, 0o600);
        std::fs::remove_file(at("pager.secret")).unwrap();
        assert!(found(&at("hmsops.yaml"))[0].1.contains("pager.secret` cannot be looked at"));
        write(&at("pager.secret"), "hunter2hunter2hunter2hunter2\n", 0o600);

        for (days_left, severity) in [
            (10, None),
            (8, Some("warning")),
            (4, Some("warning")),
            (2, Some("problem")),
            (-1, Some("problem")),
        ] {
            write(&at("own.crt"), &pair(days_left).0, 0o644);
            let ill = found(&at("hmsops.yaml"));
            assert_eq!(ill.first().map(|found| found.0.as_str()), severity, "{days_left}: {ill:?}");
        }
        write(&at("own.crt"), &pair(100).0, 0o644);
        assert!(found(&at("hmsops.yaml"))[0].1.contains("is valid only in 10 d"));
        write(&at("own.crt"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0o644);
        assert!(found(&at("hmsops.yaml"))[0].1.contains("is no certificate"));
    }

    #[test]
    fn secrets_that_are_handed_over_are_looked_for_where_they_should_be() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hmsops.yaml");
        let settings = "notify: {webhooks: {pager: {url: \"https://pager.csac.gov/x\", \
                        secrets: [\"env:HMSOPS_TEST_NO_SUCH_SECRET\", \"credential:pager-secret\"]}}}\n";
        write(&file, settings, 0o644);
        let ill = found(&file);
        assert_eq!(ill.len(), 2, "{ill:?}");
        assert!(ill[0].0 == "problem" && ill[0].1.contains("`HMSOPS_TEST_NO_SUCH_SECRET`"), "{ill:?}");
        assert!(ill[1].0 == "problem" && ill[1].1.contains("pager-secret"), "{ill:?}");
        // Who looks from outside cannot know what the tower was handed.
        let mut findings = Findings::default();
        look(&file, UnixMillis(NOW_S * 1000), false, &mut findings);
        assert_eq!(findings.end("folder").findings, []);
    }

    #[test]
    fn settings_that_cannot_be_used_are_said_with_their_place() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hmsops.yaml");
        let missing = found(&file);
        assert!(missing[0].1.contains("cannot read"), "{missing:?}");
        write(&file, "gatways: {}\n", 0o644);
        let ill = found(&file);
        assert!(ill[0].0 == "problem" && ill[0].1.ends_with("hmsops.yaml:1:1"), "{ill:?}");
    }
}
