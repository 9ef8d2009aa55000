//! Waits until what was asked of a service is so for its users: heal scripts rely on the exit status.

use std::time::Duration;

use hmsops_model::{InstanceId, ReleaseId, Version};
use hmsops_wire::api::{Entries, Phase, Release, Service};
use serde::Serialize;
use serde_json::Value;

use crate::client::{Client, encoded};
use crate::failure::{Exit, Failure};
use crate::print;

/// A service starts within a minute or not at all; a heal as a whole has two.
const SAFE_WITHIN: Duration = Duration::from_secs(90);

/// Tells a verb that it heals, and for which heal: `h-7`.
const HEAL_VARIABLE: &str = "HMSOPS_HEAL";

/// So often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What was asked of a service.
#[derive(Debug)]
pub(super) enum Wish {
    /// What is out is taken back.
    TakenBack(ReleaseId),
    /// Another version is stable.
    Version {
        /// This one, when it was named.
        wanted: Option<Version>,
        /// What was stable.
        before: Option<Version>,
    },
    /// Another copy than this is stable.
    OtherCopy(Option<InstanceId>),
}

/// What a tower says of a service.
struct Seen {
    service: Service,
    /// The one that is to be taken back.
    release: Option<Release>,
    course: Course,
}

/// How far it is.
#[derive(Debug, PartialEq, Eq)]
enum Course {
    /// It is so.
    Safe,
    /// What is waited for.
    Waits(String),
    /// It will not be so.
    Failed(String),
}

/// Who heals outlives its tower: it may have been killed since it asked for the heal, and comes back. A person is told
/// at once that it is away.
fn is_patient() -> bool {
    std::env::var_os(HEAL_VARIABLE).is_some()
}

/// The service as it is before anything is asked of it.
pub(super) async fn before(client: &Client, path: &str) -> Result<Service, Failure> {
    if is_patient() { patiently(async || client.get(path).await).await } else { client.get(path).await }
}

/// Asks for what the wish says, once: when a tower went away over it and is back, its state tells whether it knows.
pub(super) async fn ask(
    client: &Client,
    path: &str,
    verb: &str,
    body: &impl Serialize,
    wish: &Wish,
) -> Result<(), Failure> {
    let to = format!("{path}/{verb}");
    loop {
        let asked = client.post::<Value>(&to, body).await;
        match asked {
            Ok(_) => return Ok(()),
            Err(Failure::Said { exit: Exit::Unreachable, .. }) if is_patient() => {}
            Err(failure) => return Err(failure),
        }
        if is_taken(&patiently(async || look(client, path, wish).await).await?) {
            return Ok(());
        }
    }
}

/// Tries again while the tower is away.
async fn patiently<T>(mut work: impl AsyncFnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let back = async {
        loop {
            match work().await {
                Err(Failure::Said { exit: Exit::Unreachable, .. }) => tokio::time::sleep(LOOK_EVERY).await,
                done => return done,
            }
        }
    };
    match tokio::time::timeout(SAFE_WITHIN, back).await {
        Ok(done) => done,
        Err(_) => work().await,
    }
}

/// Whether what was asked for is under way or done.
fn is_taken(seen: &Seen) -> bool {
    let is_out = seen.release.as_ref().is_some_and(|release| release.phase.is_active());
    !is_out && !matches!(seen.course, Course::Failed(_))
}

/// Waits until it is so, and answers the service as it is then. A tower that is away meanwhile is waited for, too.
pub(super) async fn until_safe(client: &Client, path: &str, wish: &Wish) -> Result<Service, Failure> {
    let mut waits_for = "the tower".to_owned();
    let settled = async {
        loop {
            match look(client, path, wish).await {
                Ok(Seen { service, course: Course::Safe, .. }) => return Ok(service),
                Ok(Seen { course: Course::Waits(what), .. }) => waits_for = what,
                Ok(Seen { service, course: Course::Failed(why), .. }) => {
                    let because = because(client, &service).await.unwrap_or_default();
                    return Err(Failure::new(Exit::Failed, format!("{why}{because}")));
                }
                Err(Failure::Said { exit: Exit::Unreachable, message, .. }) => waits_for = message,
                Err(failure) => return Err(failure),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    if let Ok(settled) = tokio::time::timeout(SAFE_WITHIN, settled).await {
        return settled;
    }
    let message = format!("not done within {} s: {waits_for}", SAFE_WITHIN.as_secs());
    Err(Failure::new(Exit::Failed, message).hint("it goes on; `hmsops service show` says how it is"))
}

async fn look(client: &Client, path: &str, wish: &Wish) -> Result<Seen, Failure> {
    let release: Option<Release> = match wish {
        Wish::TakenBack(id) => Some(client.get(&format!("/hms/v1/releases/{id}")).await?),
        _ => None,
    };
    let service: Service = client.get(path).await?;
    let course = course(&service, release.as_ref(), wish);
    Ok(Seen { service, release, course })
}

fn course(service: &Service, release: Option<&Release>, wish: &Wish) -> Course {
    let name = &service.name;
    let stable = service.stable.as_ref();
    let is_there = match wish {
        Wish::TakenBack(id) => match release {
            Some(release) if release.phase.is_active() => {
                return Course::Waits(format!("{id} is still out"));
            }
            // It was proven just before: what was asked for is the version before it.
            Some(release) if release.phase == Phase::Done => {
                stable.is_some_and(|stable| stable.version != release.version)
            }
            Some(release) if release.rolled_back_at.is_none() && !release.closed => {
                return Course::Waits(format!("its gateway has not yet taken the traffic of {id} back"));
            }
            _ => stable.is_some(),
        },
        Wish::Version { wanted: Some(wanted), .. } => stable.is_some_and(|stable| stable.version == *wanted),
        Wish::Version { wanted: None, before } => {
            stable.is_some_and(|now| Some(&now.version) != before.as_ref())
        }
        Wish::OtherCopy(before) => stable.is_some_and(|now| Some(now.instance) != *before),
    };
    match (is_there, service.revert) {
        (true, _) if service.in_force == Some(false) => {
            Course::Waits(format!("the gateway of `{name}` does not hold its new route yet"))
        }
        (true, _) => Course::Safe,
        (false, Some(copy)) => Course::Waits(format!("{copy} of `{name}` is not ready yet")),
        (false, None) => Course::Failed(match stable {
            Some(stable) => format!("`{name}` stays on {} ({})", stable.version, stable.instance),
            None => format!("no version of `{name}` runs"),
        }),
    }
}

/// `: i-7 could not be started`, of the copy that should have become stable, when the ledger can be read and says so.
async fn because(client: &Client, service: &Service) -> Option<String> {
    let name = encoded(service.name.as_str());
    let path = |kind: &str| format!("/hms/v1/audit?limit=50&kind={kind}&service={name}");
    let reverts: Entries = client.get(&path("service.revert")).await.ok()?;
    let copy = reverts.entries.iter().find_map(|entry| find(&entry.data, "id"))?;
    let copies: Entries = client.get(&path("instance")).await.ok()?;
    let why = copies.entries.iter().find_map(|entry| reason(&entry.data, &copy))?;
    Some(print::plain(&format!(": {copy}: {why}")))
}

/// The first text of that name in a line's data, at any depth.
fn find(data: &Value, name: &str) -> Option<String> {
    let object = data.as_object()?;
    let here = object.get(name).and_then(Value::as_str).map(str::to_owned);
    here.or_else(|| object.values().find_map(|inner| find(inner, name)))
}

/// Why something happened to a copy, when a line's data speaks of that copy.
fn reason(data: &Value, copy: &str) -> Option<String> {
    find(data, "id").filter(|id| id == copy)?;
    find(data, "reason").or_else(|| find(data, "why"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(version: &str, instance: &str, revert: Option<&str>, in_force: Option<bool>) -> Service {
        serde_json::from_value(serde_json::json!({
            "name": "dmv-photo", "system": "dmv", "owner": null, "driver": "process", "state": "fine",
            "stable": {"version": version, "instance": instance, "pid": 1, "upstreams": [], "healthy": true},
            "release": null, "revert": revert, "in_force": in_force, "incident": null, "proven": [],
            "gateway": "photo", "gateway_live": true, "requests_per_second": null, "error_share": null,
            "p99_ms": null
        }))
        .unwrap()
    }

    fn release(phase: &str, rolled_back_at: Option<&str>) -> Release {
        serde_json::from_value(serde_json::json!({
            "id": "r-4", "service": "dmv-photo", "version": "1.4.0", "from": "1.3.9", "phase": phase,
            "instance": null, "step": 0, "steps": [], "weight_bp": 0, "hold": null, "headline": "", "why": "",
            "requested_at": "", "traffic_since": null, "verdict_at": null, "detector": null, "ended_at": null,
            "rolled_back_at": rolled_back_at, "closed": false, "first_bad_at": null, "last_bad_at": null,
            "bad_span_ms": null, "evidence": null, "needed": 1000,
            "canary": {"requests": 0, "bad": 0, "bad_clients": 0},
            "stable": {"requests": 0, "bad": 0, "bad_clients": 0},
            "shielded": 0, "seen": 0, "probes": 0, "probes_failed": 0,
            "by": {"actor": "admin", "source": "api"}, "digest": null, "denied": false
        }))
        .unwrap()
    }

    fn waits(course: &Course) -> bool {
        matches!(course, Course::Waits(_))
    }

    /// Safe is only said when the gateway has confirmed it.
    #[test]
    fn a_release_is_back_once_stable_has_all_traffic() {
        let wish = Wish::TakenBack(ReleaseId(4));
        let at = Some("2026-11-22T14:02:07.100Z");
        let stable = service("1.3.9", "i-1", None, Some(true));
        for phase in ["watching", "baking"] {
            assert!(waits(&course(&stable, Some(&release(phase, None)), &wish)), "{phase}");
        }
        assert!(waits(&course(&stable, Some(&release("aborted", None)), &wish)));
        assert_eq!(course(&stable, Some(&release("aborted", at)), &wish), Course::Safe);
        assert_eq!(course(&stable, Some(&release("rolled-back", at)), &wish), Course::Safe);
        let behind = service("1.3.9", "i-1", None, Some(false));
        assert!(waits(&course(&behind, Some(&release("aborted", at)), &wish)));
        let done = release("done", None);
        assert_eq!(course(&stable, Some(&done), &wish), Course::Safe);
        assert!(waits(&course(&service("1.4.0", "i-2", Some("i-3"), Some(true)), Some(&done), &wish)));
        let stays = course(&service("1.4.0", "i-2", None, Some(true)), Some(&done), &wish);
        assert_eq!(stays, Course::Failed("`dmv-photo` stays on 1.4.0 (i-2)".into()));
    }

    #[test]
    fn a_version_is_back_once_it_is_stable_and_in_force() {
        let version = |text: &str| Version::new(text).ok();
        for wanted in [None, version("1.3.9")] {
            let wish = Wish::Version { wanted, before: version("1.4.0") };
            let now =
                |version, revert, in_force| course(&service(version, "i-1", revert, in_force), None, &wish);
            assert!(waits(&now("1.4.0", Some("i-2"), Some(true))));
            assert!(waits(&now("1.3.9", None, Some(false))));
            assert_eq!(now("1.3.9", None, Some(true)), Course::Safe);
            assert_eq!(now("1.3.9", None, None), Course::Safe, "a service without a gateway");
            assert_eq!(
                now("1.4.0", None, Some(true)),
                Course::Failed("`dmv-photo` stays on 1.4.0 (i-1)".into())
            );
        }
    }

    #[test]
    fn a_restart_is_done_once_another_copy_is_stable() {
        let wish = Wish::OtherCopy(Some(InstanceId(1)));
        assert!(waits(&course(&service("1.3.9", "i-1", Some("i-2"), Some(true)), None, &wish)));
        assert_eq!(course(&service("1.3.9", "i-2", None, Some(true)), None, &wish), Course::Safe);
        let failed = course(&service("1.3.9", "i-1", None, Some(true)), None, &wish);
        assert_eq!(failed, Course::Failed("`dmv-photo` stays on 1.3.9 (i-1)".into()));
    }

    /// A heal whose tower was killed over its request asks again only if the tower does not know of it.
    #[test]
    fn what_was_asked_for_is_told_from_the_state() {
        let taken = |service: Service, release: Option<Release>, wish: &Wish| {
            let course = course(&service, release.as_ref(), wish);
            is_taken(&Seen { service, release, course })
        };
        let copy = Wish::OtherCopy(Some(InstanceId(1)));
        assert!(!taken(service("1.3.9", "i-1", None, None), None, &copy));
        assert!(taken(service("1.3.9", "i-1", Some("i-2"), None), None, &copy));
        assert!(taken(service("1.3.9", "i-2", None, None), None, &copy));

        // A second `--to=prev` would go back twice.
        let prev = Wish::Version { wanted: None, before: Version::new("1.4.0").ok() };
        assert!(!taken(service("1.4.0", "i-1", None, None), None, &prev));
        assert!(taken(service("1.4.0", "i-1", Some("i-2"), None), None, &prev));
        assert!(taken(service("1.3.9", "i-2", None, None), None, &prev));

        let back = Wish::TakenBack(ReleaseId(4));
        let stable = || service("1.3.9", "i-1", None, None);
        assert!(!taken(stable(), Some(release("watching", None)), &back));
        assert!(taken(stable(), Some(release("aborted", None)), &back));
        // It was proven before anybody was asked to take it back.
        assert!(!taken(service("1.4.0", "i-2", None, None), Some(release("done", None)), &back));
    }

    #[test]
    fn the_reason_is_found_in_the_ledgers_line() {
        let data =
            serde_json::json!({"now": {"wall": 1}, "InstanceFailed": {"id": "i-2", "reason": "port taken"}});
        assert_eq!(reason(&data, "i-2").as_deref(), Some("port taken"));
        assert_eq!(reason(&data, "i-3"), None);
    }
}
