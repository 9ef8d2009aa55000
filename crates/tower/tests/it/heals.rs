//! What heals do while the ledger fails.

use hmsops_control::event::{Evaluation, Outcome};
use hmsops_model::Labels;
use hmsops_model::RuleName;
use hmsops_model::rule::{HealAction, OnNoData, RuleSpec};

use super::*;

/// Restarts the portal when too many photos are refused.
fn rule() -> RuleSpec {
    RuleSpec {
        name: RuleName::new("photo_error_spike").unwrap(),
        service: None,
        expr: "photo_errors > 5".into(),
        is_literal: false,
        hold: Millis::ZERO,
        keep_firing_for: Millis::ZERO,
        interval: Millis::from_secs(5),
        labels: [].into(),
        annotations: [].into(),
        heal: Some(HealAction::Restart { service: name() }),
        on_nodata: OnNoData::Keep,
        notify: Vec::new(),
        expected: None,
        group: hmsops_model::RuleGroup::default(),
    }
}

/// So many seconds in which the rule holds, or does not.
fn evaluate_for(world: &mut World, secs: u64, holds: bool) {
    for _ in 0..secs / 5 {
        let series = if holds { vec![(Labels::default(), 9.0)] } else { Vec::new() };
        let (rule, expr, outcome) = (rule().name, rule().expr, Outcome::Holds(series));
        world.event(&Event::Evaluated(Box::new(Evaluation {
            rule,
            expr,
            outcome,
            reading: None,
            texts: [].into(),
        })));
        world.pass(Millis::from_secs(5));
    }
}

fn heals(world: &World) -> usize {
    world.orders.iter().filter(|order| matches!(order, Effect::Heal { .. })).count()
}

/// No line, no advance: a heal changes what users have, and nobody could say later who had done it.
#[test]
fn while_the_ledger_fails_no_heal_begins_and_then_it_does_once() {
    for breaks in [Faults::fill, Faults::fail_syncs] {
        let mut world = World::new();
        world.gateway(GatewayReport::Connected { routes: Vec::new() });
        world.event(&Event::Declared { specs: vec![service()], whole: true, by: Who::tower() });
        world.event(&Event::Rules { rules: vec![(rule(), Vec::new())], by: Who::tower() });
        world.pass(Millis::from_secs(3));
        evaluate_for(&mut world, 20, false);
        assert_eq!(heals(&world), 0);
        breaks(&world.faults);
        evaluate_for(&mut world, 60, true);
        assert_eq!(heals(&world), 0, "no line, no heal");
        assert_eq!(world.tower().state().signals.alerts.len(), 1, "it fires all the same, and is seen");
        world.faults.heal();
        evaluate_for(&mut world, 20, true);
        assert!(heals(&world) > 0, "there is room again");
        assert_eq!(world.entries("heal.run").len(), 1, "one heal, however often it is sent");
        assert_eq!(world.entries("alert.fired").len(), 1, "and the line of what it was for");
    }
}
