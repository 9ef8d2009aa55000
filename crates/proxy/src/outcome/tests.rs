use hmsops_model::route::{Arm, CanaryArm};
use hmsops_model::{BadKind, UnixMillis, Version};
use proptest::prelude::*;

use super::*;

fn now(ms: u64) -> Now {
    Now { wall: UnixMillis(1_900_000_000_000 + ms as i64), steady: Millis(ms) }
}

fn arm(version: &str) -> Arm {
    Arm { version: Version::new(version).unwrap(), upstreams: Vec::new() }
}

fn route(epoch: u64, release: u64, weight: u16) -> Route {
    Route {
        service: ServiceName::new("portal").unwrap(),
        host: None,
        epoch,
        stable: arm("1"),
        canary: Some(CanaryArm {
            release: ReleaseId(release),
            arm: arm("2"),
            weight: Weight::from_bp(weight).unwrap(),
            salt: 1,
            shield_after: None,
            excused_for: Millis::ZERO,
            irreversible: false,
        }),
        identity: Identity::Cookie("session".to_owned()),
        sticky: true,
        bad: Vec::new(),
        protocol: hmsops_model::service::Protocol::Http1,
    }
}

/// A fold that has seen enough clients to go by them, at 1 s.
fn by_clients() -> Fold {
    let mut fold = Fold::new(now(0), &route(1, 42, 100));
    (0..20).for_each(|client| fold.count(&good(&fold, 0, Some(1000 + client))));
    fold.close(now(1000), 0);
    assert_eq!(fold.routed().unit, Unit::Client);
    fold
}

fn good(fold: &Fold, ms: u64, client: Option<u64>) -> Outcome {
    Outcome {
        at: now(ms),
        came: Millis(ms),
        routed: fold.routed(),
        side: Side::Stable,
        client,
        latency_us: Some(1000),
        bad: None,
        shielded: false,
        seen: false,
    }
}

fn bad(fold: &Fold, ms: u64, side: Side, client: Option<u64>) -> Outcome {
    Outcome { side, bad: Some(BadKind::Status), seen: true, ..good(fold, ms, client) }
}

/// Ends a tick in which stable answered something that came at its end, so that nothing before is held.
fn settle(fold: &mut Fold, ms: u64) -> Vec<Tick> {
    fold.count(&good(fold, ms, None));
    fold.close(now(ms), 0)
}

fn total(ticks: &[Tick]) -> (ArmTick, ArmTick) {
    let mut sum = (ArmTick::default(), ArmTick::default());
    for tick in ticks {
        sum.0.add(&tick.stable);
        sum.1.add(&tick.canary);
    }
    sum
}

#[test]
fn a_client_is_new_bad_once_a_release_over_both_arms() {
    let mut fold = by_clients();
    for ms in [1000, 1500, 2000, 9000] {
        fold.count(&bad(&fold, ms, Side::Canary, Some(7)));
    }
    fold.count(&bad(&fold, 9000, Side::Stable, Some(7)));
    fold.count(&bad(&fold, 9000, Side::Canary, Some(8)));
    let (stable, canary) = total(&settle(&mut fold, 9100));
    assert_eq!((canary.new_bad, canary.n_bad(), canary.errors), (2, 5, 4), "1500 is within a second of 1000");
    assert_eq!((stable.new_bad, stable.errors), (0, 1));
    fold.set_route(now(9200), &route(2, 42, 2500));
    fold.count(&bad(&fold, 11_000, Side::Canary, Some(7)));
    assert_eq!(total(&settle(&mut fold, 11_100)).1.new_bad, 0, "a new weight is the same release");
    fold.set_route(now(11_200), &route(3, 43, 100));
    fold.count(&bad(&fold, 13_000, Side::Canary, Some(7)));
    assert_eq!(total(&settle(&mut fold, 13_100)).1.new_bad, 1, "a new release counts anew");
}

#[test]
fn below_twenty_clients_requests_count_and_one_client_once_a_second() {
    let mut fold = Fold::new(now(0), &route(1, 42, 100));
    (0..19).for_each(|client| fold.count(&good(&fold, 0, Some(client))));
    fold.close(now(100), 0);
    assert_eq!(fold.routed().unit, Unit::Request);
    for ms in [100, 600, 1100, 1600] {
        fold.count(&bad(&fold, ms, Side::Canary, Some(7)));
    }
    fold.count(&bad(&fold, 1600, Side::Canary, None));
    fold.count(&bad(&fold, 1600, Side::Canary, None));
    let (_, canary) = total(&settle(&mut fold, 1700));
    assert_eq!((canary.new_bad, canary.errors, canary.n_bad(), canary.clients), (4, 4, 6, 3));
}

#[test]
fn clients_are_forgotten_after_a_minute_without_them() {
    let mut fold = by_clients();
    fold.count(&good(&fold, 31_000, Some(1)));
    fold.close(now(31_000), 0);
    assert_eq!(fold.routed().unit, Unit::Client);
    fold.close(now(62_000), 0);
    assert_eq!(fold.routed().unit, Unit::Request);
}

#[test]
fn requests_are_the_unit_where_clients_are_unknown_or_move() {
    for (identity, sticky) in [(Identity::Request, true), (Identity::Xff, false)] {
        let mut fold = Fold::new(now(0), &Route { identity, sticky, ..route(1, 42, 100) });
        (0..100).for_each(|client| fold.count(&good(&fold, 0, Some(client))));
        fold.close(now(100), 0);
        assert_eq!(fold.routed().unit, Unit::Request);
    }
}

#[test]
fn what_a_fresh_arm_fails_is_shown_but_no_evidence() {
    let mut route = route(1, 42, 100);
    route.canary.as_mut().unwrap().excused_for = Millis(2000);
    let mut fold = Fold::new(now(0), &route);
    fold.count(&bad(&fold, 4000, Side::Stable, Some(3)));
    // The canary's first request comes long after its share.
    fold.count(&bad(&fold, 5000, Side::Canary, Some(1)));
    fold.count(&bad(&fold, 6999, Side::Canary, Some(1)));
    fold.count(&bad(&fold, 6999, Side::Stable, Some(2)));
    fold.count(&bad(&fold, 7000, Side::Canary, Some(1)));
    let (stable, canary) = total(&settle(&mut fold, 7100));
    assert_eq!((canary.new_bad, canary.errors, canary.n_bad(), canary.seen), (1, 1, 3, 3));
    assert_eq!(canary.first_bad_at, Some(now(5000).wall));
    assert_eq!(canary.last_bad_at, Some(now(7000).wall));
    assert_eq!((stable.new_bad, stable.errors, stable.n_bad()), (0, 0, 2), "both arms alike");
}

/// A late answer is counted under the weight its request was drawn with.
#[test]
fn outcomes_belong_to_the_epoch_they_were_routed_under() {
    let mut fold = by_clients();
    let late = bad(&fold, 1300, Side::Canary, Some(1));
    fold.count(&good(&fold, 1050, Some(2)));
    fold.set_route(now(1100), &route(2, 42, 2500));
    fold.count(&late);
    fold.count(&good(&fold, 1350, Some(3)));
    let ticks = fold.close(now(1400), 3);
    let of = |epoch| ticks.iter().filter(move |tick| tick.epoch == epoch).collect::<Vec<_>>();
    assert_eq!(of(1).len(), 2, "one ended by the change, one for what came late");
    assert!(of(1).iter().all(|tick| tick.weight.bp() == 100));
    assert_eq!(of(1).iter().map(|tick| tick.canary.new_bad).sum::<u64>(), 1);
    assert_eq!(
        of(2).iter().map(|tick| (tick.stable.requests, tick.weight.bp())).collect::<Vec<_>>(),
        [(1, 2500)]
    );
    assert!(ticks.iter().all(|tick| tick.canary_waiting == 3));
}

#[test]
fn ticks_come_each_100_ms_with_a_canary_and_each_second_without() {
    let count = |weight| {
        let mut fold = Fold::new(now(0), &route(1, 42, weight));
        (1..=2000).step_by(10).map(|ms| fold.close(now(ms), 0).len()).sum::<usize>()
    };
    assert!((18..=20).contains(&count(100)), "{}", count(100));
    assert!((1..=2).contains(&count(0)), "{}", count(0));
}

#[test]
fn the_canary_is_waited_for_by_what_stable_took_in_the_last_minute() {
    let mut fold = by_clients();
    (0..1000).for_each(|_| fold.count(&Outcome { latency_us: Some(1_000_000), ..good(&fold, 1000, None) }));
    assert!((3000..=3600).contains(&fold.auto_shield_after().0), "{}", fold.auto_shield_after());
    for ms in [32_000, 63_000] {
        fold.count(&good(&fold, ms, None));
    }
    assert_eq!(fold.auto_shield_after(), shield::SHIELD_AFTER_MIN);
}

/// A fold that goes by clients and has seen what stable takes: 1 ms, and one answer in a hundred 100 ms.
fn by_stable() -> Fold {
    let mut fold = by_clients();
    for n in 0..400 {
        let latency_us = Some(if n % 100 == 0 { 100_000 } else { 1000 });
        fold.count(&Outcome { latency_us, ..good(&fold, 1000, Some(1000 + n)) });
    }
    fold.count(&Outcome { side: Side::Canary, ..good(&fold, 1000, Some(999)) });
    // The bound is drawn when a tick ends, before the answers that it judges.
    let (stable, _) = total(&fold.close(now(1100), 0));
    assert_eq!(stable.slow, 0, "nothing is slow before it is known what stable takes");
    fold
}

fn took(fold: &Fold, ms: u64, side: Side, client: Option<u64>, latency_us: u64) -> Outcome {
    Outcome { side, latency_us: Some(latency_us), ..good(fold, ms, client) }
}

#[test]
fn what_is_slower_than_stables_slowest_counts_once_a_client_over_both_arms() {
    let mut fold = by_stable();
    let ms = 20_000;
    for client in [7, 7, 8] {
        fold.count(&took(&fold, ms, Side::Canary, Some(client), 900_000));
    }
    fold.count(&took(&fold, ms, Side::Stable, Some(7), 900_000));
    fold.count(&took(&fold, ms, Side::Stable, Some(9), 900_000));
    fold.count(&took(&fold, ms, Side::Canary, Some(10), 1000));
    // Who does not say who it is counts each time.
    (0..2).for_each(|_| fold.count(&took(&fold, ms, Side::Canary, None, 900_000)));
    let (stable, canary) = total(&fold.close(now(ms + 100), 0));
    assert_eq!((canary.slow, canary.new_slow), (5, 4));
    assert_eq!((stable.slow, stable.new_slow), (2, 1), "client 7 was slow at the canary before");
    fold.set_route(now(ms + 200), &route(2, 42, 2500));
    fold.count(&took(&fold, ms + 300, Side::Canary, Some(7), 900_000));
    assert_eq!(total(&fold.close(now(ms + 400), 0)).1.new_slow, 0, "a new weight is the same release");
}

/// Else only the canary's clients would be left to be counted, each of them against it.
#[test]
fn clients_that_were_slow_because_stable_stood_still_may_count_again() {
    let mut fold = by_stable();
    // Of many answers, fifty slow ones do not move the 99th percentile.
    let (at, routed, some) = (now(1100), fold.routed(), &[][..]);
    let side = Side::Stable;
    fold.count_many(&Bulk { at, routed, side, requests: 100_000, clients: 100, some, latency_us: 1000 });
    fold.close(now(1200), 0);
    let mut tick = |ms: u64, side: Side, clients: std::ops::Range<u64>| {
        clients.for_each(|client| fold.count(&took(&fold, ms, side, Some(client), 400_000)));
        (0..100).for_each(|_| fold.count(&good(&fold, ms, None)));
        let (stable, canary) = total(&fold.close(now(ms + 100), 0));
        (stable.new_slow, canary.new_slow)
    };
    assert_eq!(tick(20_000, Side::Stable, 0..50), (50, 0), "stable stands still");
    assert_eq!(tick(20_100, Side::Stable, 0..5), (5, 0), "and they count again");
    assert_eq!(tick(20_200, Side::Stable, 0..5), (0, 0), "once, where it goes on");
    assert_eq!(tick(20_300, Side::Canary, 0..10), (0, 5), "over both arms");
    assert_eq!(tick(20_400, Side::Canary, 0..10), (0, 0), "whatever the canary does");
}

#[test]
fn a_bad_answer_is_not_slow_as_well_and_one_without_a_head_is_not_slow_at_all() {
    let mut fold = by_stable();
    let failed = Outcome { latency_us: Some(900_000), ..bad(&fold, 20_000, Side::Canary, Some(7)) };
    fold.count(&failed);
    fold.count(&Outcome { latency_us: None, side: Side::Canary, ..good(&fold, 20_000, Some(8)) });
    let (_, canary) = total(&settle(&mut fold, 20_100));
    assert_eq!((canary.slow, canary.new_slow, canary.new_bad), (0, 0, 1));
}

#[test]
fn slow_answers_of_a_fresh_release_are_shown_and_excused_at_both_arms() {
    let mut fold = by_stable();
    fold.set_route(now(1200), &route(2, 43, 100));
    fold.count(&took(&fold, 1300, Side::Canary, Some(6), 1000));
    for (client, side) in [(7, Side::Canary), (8, Side::Stable)] {
        fold.count(&took(&fold, 16_100, side, Some(client), 900_000));
    }
    let (stable, canary) = total(&fold.close(now(16_150), 0));
    assert_eq!((canary.slow, canary.new_slow, stable.slow, stable.new_slow), (1, 0, 1, 0));
    fold.count(&took(&fold, 16_300, Side::Canary, Some(7), 900_000));
    assert_eq!(
        total(&fold.close(now(16_400), 0)).1.new_slow,
        1,
        "15 s are over, and it was not counted before"
    );
}

#[test]
fn a_late_slow_answer_of_an_earlier_release_is_no_evidence_of_this_one() {
    let mut fold = by_stable();
    let late = took(&fold, 30_000, Side::Canary, Some(7), 900_000);
    fold.set_route(now(1200), &route(2, 43, 100));
    fold.count(&late);
    let ticks = fold.close(now(30_100), 0);
    assert_eq!(total(&ticks).1.new_slow, 0);
    assert!(ticks.iter().any(|tick| tick.release == Some(ReleaseId(42)) && tick.canary.slow == 1));
}

#[test]
fn little_is_never_slow_and_of_few_answers_nobody_knows() {
    let mut fold = by_clients();
    for _ in 0..150 {
        fold.count(&took(&fold, 1000, Side::Stable, None, 1000));
    }
    fold.close(now(1100), 0);
    fold.count(&took(&fold, 20_000, Side::Canary, Some(7), 900_000));
    assert_eq!(total(&fold.close(now(20_100), 0)).1.slow, 0, "170 answers of stable are too few");
    for _ in 0..400 {
        fold.count(&took(&fold, 20_100, Side::Stable, None, 1000));
    }
    fold.close(now(20_200), 0);
    fold.count(&took(&fold, 20_300, Side::Canary, Some(8), 15_000));
    fold.count(&took(&fold, 20_300, Side::Canary, Some(9), 40_000));
    assert_eq!(total(&fold.close(now(20_400), 0)).1.slow, 1, "15 ms is fifteen times stable's, and fast");
}

/// A service that is slower at noon is slow for both arms.
#[test]
fn what_is_slow_follows_stable() {
    let mut fold = by_stable();
    for ms in [32_000, 63_000, 94_000] {
        for _ in 0..300 {
            fold.count(&took(&fold, ms, Side::Stable, None, 2_000_000));
        }
        fold.close(now(ms + 100), 0);
    }
    fold.count(&took(&fold, 94_200, Side::Canary, Some(7), 900_000));
    assert_eq!(total(&fold.close(now(94_300), 0)).1.slow, 0);
}

/// A fresh canary that answers slowly is excused for being waited for too long; one that answers nothing is not.
#[test]
fn a_fresh_canary_may_be_slow_and_must_not_hang() {
    for answers in [true, false] {
        let mut route = route(1, 42, 100);
        route.canary.as_mut().unwrap().excused_for = Millis(500);
        let mut fold = Fold::new(now(0), &route);
        let late = |ms: u64, side| Outcome {
            side,
            came: Millis(ms - 1000),
            latency_us: None,
            bad: Some(BadKind::Timeout),
            ..good(&fold, ms, None)
        };
        let (first, second, stables) =
            (late(2000, Side::Canary), late(8000, Side::Canary), late(8000, Side::Stable));
        fold.count(&first);
        if answers {
            fold.count(&Outcome { side: Side::Canary, ..good(&fold, 3000, None) });
        }
        fold.count(&second);
        fold.count(&stables);
        let (stable, canary) = total(&settle(&mut fold, 8100));
        let judged = u64::from(!answers);
        assert_eq!((canary.new_bad, stable.new_bad), (judged, judged), "answers: {answers}");
    }
}

proptest! {
    /// Nothing is lost or counted twice, whatever comes in which order.
    #[test]
    fn ticks_sum_to_what_was_counted(
        events in prop::collection::vec((0..300_u64, 0..3_u8, prop::option::of(0..40_u64), any::<bool>(), 0..20_u8), 1..300)
    ) {
        let mut fold = Fold::new(now(0), &route(1, 1, 100));
        let (mut ms, mut epoch, mut ticks) = (0, 1, Vec::new());
        let (mut requests, mut n_bad) = (0, 0);
        for (step, what, client, canary, turn) in events {
            ms += step;
            let side = if canary { Side::Canary } else { Side::Stable };
            let outcome = match what {
                0 => bad(&fold, ms, side, client),
                _ => Outcome { side, ..good(&fold, ms, client) },
            };
            if turn == 0 {
                epoch += 1;
                fold.set_route(now(ms), &route(epoch, epoch / 2, 100));
            }
            fold.count(&outcome);
            requests += 1;
            n_bad += u64::from(what == 0);
            ticks.extend(fold.close(now(ms), 0));
        }
        ticks.extend(fold.close(now(ms + 100), 0));
        // What is held is judged within a second.
        ticks.extend(fold.close(now(ms + 1200), 0));
        let (stable, canary) = total(&ticks);
        for arm in [&stable, &canary] {
            prop_assert!(arm.new_bad <= arm.n_bad());
        }
        prop_assert_eq!(stable.requests + canary.requests, requests);
        prop_assert_eq!(stable.n_bad() + canary.n_bad(), n_bad);
        for tick in &ticks {
            for arm in [&tick.stable, &tick.canary] {
                prop_assert!(arm.errors <= arm.n_bad());
                prop_assert!(arm.clients <= arm.requests && arm.seen <= arm.n_bad());
                prop_assert_eq!(arm.latencies.count(), arm.requests);
            }
        }
    }
}

/// What the simulator counts in bulk is what it would be one by one.
#[test]
fn many_at_once_are_counted_as_one_by_one() {
    let (mut singly, mut at_once) = (by_clients(), by_clients());
    for side in [Side::Stable, Side::Canary] {
        let some: Vec<u64> = (0..50).collect();
        for client in &some {
            let good = good(&singly, 20, Some(*client));
            singly.count(&Outcome { side, latency_us: Some(7000), ..good });
        }
        let (at, routed) = (now(20), at_once.routed());
        at_once.count_many(&Bulk {
            at,
            routed,
            side,
            requests: 50,
            clients: 50,
            some: &some,
            latency_us: 7000,
        });
    }
    assert_eq!(singly.auto_shield_after(), at_once.auto_shield_after());
    assert_eq!(singly.close(now(150), 0), at_once.close(now(150), 0));
}

/// What a fresh canary is excused for stays excused when the next release takes its place while it is still held.
#[test]
fn an_excuse_ends_with_its_release() {
    let mut excused = route(2, 43, 100);
    excused.canary.as_mut().unwrap().excused_for = Millis(5000);
    let mut fold = by_clients();
    fold.set_route(now(1000), &excused);
    fold.count(&bad(&fold, 1100, Side::Canary, Some(1)));
    assert_eq!(total(&fold.close(now(1150), 1)).1.new_bad, 0, "held");
    fold.set_route(now(1200), &route(3, 44, 100));
    assert_eq!(total(&fold.close(now(1300), 0)).1.new_bad, 0, "and excused");
}

#[test]
fn the_last_tick_holds_nothing_back() {
    let mut fold = by_clients();
    fold.count(&bad(&fold, 1010, Side::Canary, Some(1)));
    fold.count(&bad(&fold, 1010, Side::Stable, Some(2)));
    let ticks = fold.finish(now(1020), 3);
    let (stable, canary) = total(&ticks);
    assert_eq!((stable.new_bad, canary.new_bad), (1, 1));
    assert!(ticks.iter().all(|tick| tick.canary_waiting == 3));
    assert!(fold.finish(now(1030), 0).is_empty(), "once");
}
