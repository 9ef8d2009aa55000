//! What policies do while the ledger fails, and over a kill.

use super::*;

/// With a policy of twenty seconds, and its metric over the bound since this moment.
fn with_policy_pending(mut world: World, before: impl FnOnce(&mut World)) -> World {
    let policy = hmsops_model::release::PolicySpec {
        service: None,
        metric: "auth_fail_rate".into(),
        of: None,
        above: hmsops_model::release::Comparison { op: hmsops_model::release::ComparisonOp::Gt, bound: 0.05 },
        hold: Millis::from_secs(20),
        action: hmsops_model::release::PolicyAction::Rollback,
        notify: vec!["oncall@csac.gov".into()],
    };
    world.event(&Event::Policies { policies: vec![policy], by: Who::tower() });
    before(&mut world);
    judge_for(&mut world, 10);
    assert_eq!(world.phase(), Phase::Watching);
    world
}

fn judge_for(world: &mut World, secs: u64) {
    for _ in 0..secs / 2 {
        let judgement = hmsops_control::event::Judgement {
            policy: "auth_fail_rate".into(),
            release: ReleaseId(1),
            canary: Some(0.5),
            stable: Some(0.0),
        };
        world.event(&Event::Judged(Box::new(judgement)));
        world.pass(Millis::from_secs(2));
    }
}

#[test]
fn a_policy_takes_back_although_the_ledger_fails_and_its_receiver_is_told_when_it_works_again() {
    let mut world = with_policy_pending(World::with_canary_out(), |world| world.faults.fill());
    judge_for(&mut world, 14);
    assert_eq!((world.phase(), world.retreats() > 0), (Phase::RolledBack, true));
    world.pass(Millis::from_secs(60));
    let told = |world: &World| world.tower().state().signals.notices.len();
    assert_eq!(told(&world), 0, "no line, no message");
    world.faults.heal();
    world.pass(Millis::from_secs(5));
    assert_eq!(told(&world), 1);
}

#[test]
fn a_policy_s_time_goes_on_over_a_kill() {
    let mut world = with_policy_pending(World::with_canary_out(), |_| ());
    world.kill();
    world.start();
    world.gateway(GatewayReport::Connected { routes: Vec::new() });
    judge_for(&mut world, 14);
    assert_eq!(world.phase(), Phase::RolledBack);
    let verdict = world.tower().state().releases[&ReleaseId(1)].verdict.clone().unwrap();
    assert_eq!(verdict.detector, hmsops_control::transition::Detector::Policy);
}
