//! Releases that stay where they are, and releases that go out together.

use hmsops_control::transition::{Detector, HoldReason, Transition, Verdict};
use hmsops_model::freeze::{Freeze, FreezeSpan};
use hmsops_model::{Millis, ReleaseId, UnixMillis, Weight};

use super::scene::{BEGIN, Scene, name, percent};

/// The services whose traffic goes on meanwhile.
const ALL: [&str; 3] = ["csac-portal", "dmv-photo", "tax-renewals"];

/// Each by its name; `calm` is where they begin.
pub(super) fn holds(calm: &Scene) -> Vec<(&'static str, Scene)> {
    vec![
        ("frozen", frozen(calm)),
        ("irreversible", irreversible(calm)),
        ("no-return", no_return(calm)),
        ("inconclusive", inconclusive(calm)),
        ("group", group(calm)),
        ("baking", baking(calm)),
        ("done", done(calm)),
        ("aborted", aborted(calm)),
        ("paused", paused(calm)),
    ]
}

fn out(calm: &Scene) -> (Scene, ReleaseId) {
    let mut scene = calm.clone();
    let release = scene.release(ALL[0], "1.8.0");
    scene.weigh(release, 0, 1);
    scene.good(&ALL, 64);
    (scene, release)
}

/// Held by a freeze of the tower's settings.
fn frozen(calm: &Scene) -> Scene {
    let (mut scene, release) = out(calm);
    // Nine days after the scenes' beginning and three hours on.
    let to = UnixMillis(BEGIN + 9 * 86_400_000 + 3 * 3_600_000);
    let because = Some("year end".to_owned());
    let when = FreezeSpan::Once { from: UnixMillis(BEGIN), to };
    scene.evidence.seen.freezes = vec![Freeze { when, why: because.clone() }];
    scene.hold(release, HoldReason::Freeze { until: to, because });
    scene.good(&ALL, 5);
    scene
}

fn irreversible(calm: &Scene) -> Scene {
    let (mut scene, release) = out(calm);
    scene.state.releases.get_mut(&release).unwrap().spec.irreversible = Some(percent(25));
    scene.hold(release, HoldReason::Irreversible);
    scene.good(&ALL, 5);
    scene
}

/// Past its point of no return, and bad.
fn no_return(calm: &Scene) -> Scene {
    let (mut scene, release) = out(calm);
    scene.state.releases.get_mut(&release).unwrap().spec.irreversible = Some(percent(25));
    scene.apply(
        "admin",
        "release.committed",
        &["CM-3", "CM-5"],
        Transition::ReleaseCommitted {
            release,
            service: name(ALL[0]),
            by: super::scene::admin(),
            reason: "the new columns are filled".into(),
        },
    );
    scene.weigh(release, 1, 25);
    scene.good(&ALL, 20);
    for _ in 0..6 {
        scene.pass(1000);
        scene.gateway();
        scene.second(ALL[0], (150, 0), (50, 9));
    }
    let why =
        "54 of 55 failures hit 1.8.0, which had 25 % of users. Evidence 3\u{202f}420, needed 1\u{202f}000.";
    scene.hold(release, HoldReason::NoReturn { detector: Detector::Errors, why: why.into() });
    scene
}

fn inconclusive(calm: &Scene) -> Scene {
    let (mut scene, release) = out(calm);
    scene.state.releases.get_mut(&release).unwrap().spec.margin_bp = Some(100);
    scene.hold(release, HoldReason::Inconclusive { upper_bp: Some(430), margin_bp: 100 });
    scene.good(&ALL, 3);
    scene
}

/// Two services under watch together.
fn group(calm: &Scene) -> Scene {
    let mut scene = calm.clone();
    let releases = [scene.release(ALL[0], "1.8.0"), scene.release(ALL[1], "2.12.0")];
    for release in releases {
        scene.state.releases.get_mut(&release).unwrap().group = Some(releases[0]);
        scene.weigh(release, 0, 1);
    }
    scene.good(&ALL, 64);
    scene
}

/// All traffic, the version before it still warm.
fn baking(calm: &Scene) -> Scene {
    let (mut scene, release) = out(calm);
    scene.weigh(release, 1, 25);
    scene.good(&ALL, 120);
    let tally = scene.evidence.releases[&release].tally.clone();
    let service = name(ALL[0]);
    scene.apply(
        "tower",
        "release.promoted",
        &["CM-3", "CM-3(2)"],
        Transition::ReleasePromoted { release, service, epoch: 9, tally, ruled_out_bp: Some(120) },
    );
    assert_eq!(scene.state.releases[&release].weight, Weight::ALL);
    scene.pass(Millis::from_secs(2).0 as i64);
    scene
}

/// Proven, and nothing is warm any more.
fn done(calm: &Scene) -> Scene {
    let mut scene = baking(calm);
    scene.pass(Millis::from_mins(30).0 as i64);
    let release = ReleaseId(scene.state.last_release);
    let over = Transition::ReleaseBaked { release, service: name(ALL[0]) };
    scene.apply("tower", "release.done", &["CM-3"], over);
    scene.good(&ALL, 70);
    scene
}

/// Taken back by a person.
fn aborted(calm: &Scene) -> Scene {
    let (mut scene, release) = out(calm);
    let verdict = Verdict {
        detector: Detector::Person,
        detail: "the ministry's letter names the wrong date, and it is on the first page of every form"
            .into(),
        at: scene.now,
        evidence: 0,
        needed: 1000,
        weight: percent(1),
        tally: scene.evidence.releases[&release].tally.clone(),
        evidence_sha256: None,
    };
    let (service, by) = (name(ALL[0]), super::scene::admin());
    let verdict = Box::new(verdict);
    let back = Transition::ReleaseTakenBack { release, service: service.clone(), epoch: 9, verdict, by };
    scene.apply("admin", "release.taken-back", &["IR-4", "CP-10"], back);
    scene.pass(30);
    let at = scene.now.wall;
    let confirmed = Transition::RollbackCompleted { release, service, at, by_gateway: false };
    scene.apply("gateway", "release.rolled-back", &["IR-4(1)", "CP-10"], confirmed);
    scene.good(&ALL, 5);
    scene
}

fn paused(calm: &Scene) -> Scene {
    let (mut scene, release) = out(calm);
    scene.hold(release, HoldReason::Paused);
    scene.good(&ALL, 5);
    scene
}
