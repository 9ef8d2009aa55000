//! Who is let in: tokens of every state, and what came to the doors.

use hmsops_control::access::{AccessChange, Calls, Denial, Party, Receipt};
use hmsops_control::{Transition, Who};
use hmsops_model::{Digest, Scope, TokenId, TokenKind, TokenSpec, UnixMillis};

use super::scene::{Scene, admin, name};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

fn issue(
    scene: &mut Scene,
    (owner, reason): (&str, &str),
    scopes: &[Scope],
    change: impl FnOnce(&mut TokenSpec),
) {
    let id = TokenId(scene.state.access.last_token + 1);
    let mut spec = TokenSpec {
        kind: TokenKind::Sa,
        owner: owner.into(),
        scopes: scopes.to_vec(),
        services: Vec::new(),
        networks: Vec::new(),
        expires: UnixMillis(scene.now.wall.0 + 90 * DAY),
    };
    change(&mut spec);
    let issued = AccessChange::TokenIssued {
        token: id,
        sha256: Digest::from_sha256([id.0 as u8; 32]),
        spec: Box::new(spec),
        granter: (id.0 == 5).then_some(TokenId(3)),
        follows: (id.0 == 6).then_some(TokenId(4)),
        follows_ends: (id.0 == 6).then(|| UnixMillis(scene.now.wall.0 + DAY)),
        by: admin(),
        reason: reason.into(),
    };
    scene.apply("admin", "token.issued", &["IA-5", "AC-2", "AC-6(9)", "AU-12"], Transition::Access(issued));
}

fn receipt(scene: &Scene) -> Receipt {
    let at = scene.now.wall;
    let calls = |who, requests, refused, from: [u8; 4]| Calls {
        who,
        requests,
        refused,
        last_at: UnixMillis(at.0 - 400),
        from: Some(from.into()),
    };
    Receipt {
        door: "api".into(),
        from: UnixMillis(at.0 - 59_000),
        to: at,
        requests: 1_291,
        refused: 14,
        statuses: vec![(200, 1_271), (201, 6), (401, 12), (403, 2)],
        denials: vec![
            Denial { why: "k-5 was revoked".into(), requests: 12, from: Some([10, 4, 0, 77].into()) },
            Denial {
                why: "k-1 has no scope `deploy:promote`".into(),
                requests: 2,
                from: Some([10, 4, 0, 12].into()),
            },
        ],
        callers: vec![
            calls(Party::Token(TokenId(2)), 1_180, 0, [10, 4, 0, 9]),
            calls(Party::Token(TokenId(1)), 96, 2, [10, 4, 0, 12]),
            calls(Party::Source([10, 4, 0, 77].into()), 12, 12, [10, 4, 0, 77]),
            calls(Party::Person("m.silva@csac.gov".into()), 3, 0, [10, 4, 1, 3]),
        ],
        unlisted: 0,
        digest: Digest::from_sha256([0x9f; 32]),
    }
}

/// `calm` is where it begins.
pub(super) fn locks(calm: &Scene) -> Scene {
    let mut scene = calm.clone();
    let deploy = [Scope::DEPLOY_REQUEST, Scope::STATE_READ];
    issue(&mut scene, ("CI of the portal", "releases by the pipeline, CR-2041"), &deploy, |spec| {
        spec.services = vec![name("csac-portal")];
    });
    issue(&mut scene, ("edge hosts", "metrics of the photo service"), &[Scope::METRICS_WRITE], |spec| {
        spec.kind = TokenKind::Ing;
        spec.networks = vec!["10.4.0.0/16".parse().unwrap()];
    });
    let many = &Scope::ALL[..20];
    issue(&mut scene, ("m.silva@csac.gov", "moving to the new data centre"), many, |spec| {
        spec.kind = TokenKind::Pat;
    });
    scene.pass(84 * DAY);
    issue(&mut scene, ("grafana", "dashboards"), &[Scope::METRICS_READ], |_| {});
    issue(&mut scene, ("one-off script", "count of uploads"), &[Scope::STATE_READ], |_| {});
    scene.pass(2 * HOUR);
    issue(&mut scene, ("grafana", "quarterly"), &[Scope::METRICS_READ], |_| {});
    let by = Who { actor: "m.silva@csac.gov".into(), source: "page".into() };
    let revoked = AccessChange::TokenRevoked {
        token: TokenId(3),
        also: vec![TokenId(5)],
        by,
        reason: "laptop lost on the train".into(),
    };
    scene.pass(HOUR);
    scene.apply("m.silva@csac.gov", "token.revoked", &["IA-5", "AC-2", "AU-12"], Transition::Access(revoked));
    issue(&mut scene, ("bootstrap", "makes tokens for new hosts"), &[Scope::TOKENS_ADMIN], |spec| {
        spec.expires = UnixMillis(scene_end(spec.expires));
    });
    scene.pass(60_000);
    let receipt = Box::new(receipt(&scene));
    scene.apply(
        "tower",
        "door.receipt",
        &["AU-2", "AC-3", "AC-6(9)", "AU-12"],
        Transition::Access(AccessChange::Receipt { receipt }),
    );
    scene
}

/// Within a week of its beginning.
const fn scene_end(end: UnixMillis) -> i64 {
    end.0 - 87 * DAY
}

/// A token and a receipt with texts of somebody who means ill.
pub(super) fn hostile(scene: &mut Scene, text: &str) {
    issue(scene, (text, text), &[Scope::STATE_READ], |_| {});
    let mut receipt = receipt(scene);
    receipt.door = text.into();
    receipt.denials[0].why = text.into();
    receipt.callers[0].who = Party::Person(text.into());
    let change = AccessChange::Receipt { receipt: Box::new(receipt) };
    scene.apply("tower", "door.receipt", &["AU-2"], Transition::Access(change));
    let by = Who { actor: text.into(), source: text.into() };
    let revoked = AccessChange::TokenRevoked { token: TokenId(1), also: Vec::new(), by, reason: text.into() };
    scene.apply(text, "token.revoked", &["AC-2"], Transition::Access(revoked));
}
