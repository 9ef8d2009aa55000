//! A new version is not given more than it is declared to take; what goes back waits for nobody.

use hmsops_control::Evidence;
use hmsops_control::event::{GatewayReport, HeldRoute};
use hmsops_control::state::release::Phase;
use hmsops_control::transition::HoldReason;
use hmsops_model::service::ServiceSpec;
use hmsops_model::{Millis, ReleaseId};

use super::story::{Story, name, service};

/// Under about 200 requests a second: each tick of the kit has twenty.
fn busy(story: &mut Story, secs: u64) {
    for _ in 0..secs * 10 {
        story.tick(0, 0);
        story.pass(Millis(100));
    }
}

fn is_held(story: &Story) -> bool {
    matches!(story.release(1).hold, Some((HoldReason::Capacity { .. }, _)))
}

#[test]
fn a_release_is_held_before_a_share_that_is_more_than_its_version_takes() {
    let mut story = Story::out("1.8.0");
    story.declare(vec![ServiceSpec { capacity_milli: Some(100_000), ..service() }]);
    busy(&mut story, 620);
    assert_eq!((is_held(&story), story.release(1).step), (true, 1), "25 % of 210 a second, but not all");
    let said = hmsops_control::sentence::headline(story.release(1));
    assert!(said.contains("100 % would be 210 req/s, and 1.8.0 takes 100 req/s"), "{said}");
    story.declare(vec![ServiceSpec { capacity_milli: Some(400_000), ..service() }]);
    busy(&mut story, 310);
    assert_eq!(story.release(1).phase, Phase::Baking, "it is declared to be larger now");
}

#[test]
fn a_bad_version_goes_back_however_small_the_old_one_is() {
    let mut story = Story::baking("1.8.0");
    busy(&mut story, 12);
    story.declare(vec![ServiceSpec { capacity_milli: Some(1000), ..service() }]);
    story.failing.push(story.release(1).instance);
    story.pass(Millis::from_secs(10));
    assert_eq!((story.release(1).phase, story.stable()), (Phase::RolledBack, "1.7.3"));
}

/// Of ten seconds of which the tower saw two, eight were not quiet.
#[test]
fn a_restart_at_the_end_of_a_step_does_not_make_the_service_look_idle() {
    let mut story = Story::out("1.8.0");
    story.declare(vec![ServiceSpec { capacity_milli: Some(100_000), ..service() }]);
    while story.release(1).step == 0 {
        busy(&mut story, 1);
    }
    busy(&mut story, 297);
    assert_eq!((story.release(1).step, is_held(&story)), (1, false));
    story.evidence = Evidence::default();
    let (service, epoch) = (name(), story.service().epoch);
    let held = HeldRoute { service, epoch, release: Some(ReleaseId(1)), retreated: false };
    story.gateway(GatewayReport::Connected { routes: vec![held] });
    busy(&mut story, 8);
    assert_eq!((story.release(1).phase, is_held(&story)), (Phase::Watching, true));
}
