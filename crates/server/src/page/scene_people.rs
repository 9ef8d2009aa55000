//! Who is here: log-ins of every kind, a glass that is broken, one that waits for a review, what waits for a word.

use hmsops_control::people::{PeopleChange, Proof};
use hmsops_control::transition::HoldReason;
use hmsops_control::{Transition, Who};
use hmsops_model::person::{Identity, Role};
use hmsops_model::{Digest, GlassId, PersonId, SessionId, UnixMillis};

use super::scene::{Scene, admin};

const HOUR: i64 = 3_600_000;

fn apply(scene: &mut Scene, change: PeopleChange) {
    let (actor, kind) = (change.by().actor, change.kind());
    scene.apply(&actor, kind, &["AC-2", "IA-2"], Transition::People(Box::new(change)));
}

fn open(
    scene: &mut Scene,
    person: u64,
    name: &str,
    (issuer, subject): (&str, &str),
    roles: &[Role],
    proof: Proof,
) -> Who {
    let session = SessionId(scene.state.people.last.session + 1);
    let change = PeopleChange::SessionOpened {
        session,
        sha256: Digest::from_sha256([session.0 as u8; 32]),
        person: PersonId(person),
        identity: Identity { issuer: issuer.into(), subject: subject.into() },
        name: name.into(),
        roles: roles.to_vec(),
        groups: Vec::new(),
        proof,
        proven_at: None,
        until: UnixMillis(scene.now.wall.0 + 12 * HOUR),
        from: Some("10.4.1.3".into()),
    };
    let who = change.by();
    apply(scene, change);
    who
}

fn end(scene: &mut Scene, session: u64, reason: &str) {
    let (session, by) = (SessionId(session), Who::tower());
    apply(scene, PeopleChange::SessionEnded { session, by, reason: reason.into() });
}

fn broken(scene: &mut Scene, person: u64, by: &Who, reason: &str) {
    let glass = GlassId(scene.state.people.last.glass + 1);
    let until = UnixMillis(scene.now.wall.0 + HOUR / 4);
    let (person, by, reason) = (PersonId(person), by.clone(), reason.into());
    apply(scene, PeopleChange::GlassBroken { glass, person, until, by, reason });
}

/// `out` has a release under watch.
pub(super) fn people(out: &Scene) -> Scene {
    const PROVIDER: &str = "https://id.csac.gov/realms/csac";
    let mut scene = out.clone();
    for (name, roles) in [("emergency", Role::Admin), ("ann", Role::Operator)] {
        let (name, roles) = (name.to_owned(), vec![roles]);
        apply(
            &mut scene,
            PeopleChange::AccountSet { name, roles, by: admin(), reason: "the beginning".into() },
        );
    }
    let oidc = Proof::Oidc;
    open(&mut scene, 1, "admin", (Identity::TOWER, "admin"), &[Role::Admin], Proof::Link);
    let maria = "Maria da Conceição Silva-Rodríguez";
    let maria = open(
        &mut scene,
        2,
        maria,
        (PROVIDER, "f3a1c2d4-8b7e-4f5a-9c3d-2e1b0a9f8e7d"),
        &[Role::Operator, Role::Approver],
        oidc,
    );
    scene.pass(2 * HOUR);
    end(&mut scene, 1, "nobody has used it lately");
    let ann = open(&mut scene, 3, "ann", (Identity::LOCAL, "ann"), &[Role::Oncall], Proof::Password);
    broken(&mut scene, 3, &ann, "the provider was down and log-ins failed at the counter in Fresno");
    scene.pass(HOUR);
    open(&mut scene, 4, "K. Okafor", (PROVIDER, "9a8b7c6d"), &[Role::Viewer], oidc);
    open(
        &mut scene,
        2,
        "Maria da Conceição Silva-Rodríguez",
        (PROVIDER, "f3a1c2d4-8b7e-4f5a-9c3d-2e1b0a9f8e7d"),
        &[Role::Operator, Role::Approver],
        oidc,
    );
    broken(&mut scene, 2, &maria, "ledger of benefits answers 500 to all, and the approver is on a plane");
    let held = scene.state.releases.keys().next_back().copied();
    if let Some(release) = held {
        scene.hold(release, HoldReason::Irreversible);
    }
    scene.pass(90_000);
    scene.gateway();
    scene
}

/// A person, a log-in and a glass with texts of somebody who means ill.
pub(super) fn hostile(scene: &mut Scene, text: &str) {
    let who = open(scene, 9, text, (text, text), &[Role::Viewer], Proof::Oidc);
    broken(scene, 9, &who, text);
    end(scene, scene.state.people.last.session, text);
    let by = Who { actor: text.into(), source: text.into() };
    let (name, roles) = (text.to_owned(), vec![Role::Viewer]);
    apply(scene, PeopleChange::AccountSet { name, roles, by: by.clone(), reason: text.into() });
    let glass = GlassId(scene.state.people.last.glass);
    apply(scene, PeopleChange::GlassReviewed { glass, by: by.clone(), reason: text.into() });
    broken(scene, 9, &by, text);
}
