//! What a restarted tower knows of what was seen before.

use super::*;

/// A look at an instance, and what came of it.
fn look(instance: InstanceId, verdict: ProbeVerdict) -> Event {
    let (service, path) = (name(), "/health".to_owned());
    Event::Probe(ProbeResult { service, instance, path, scheduled: true, verdict })
}

fn fails() -> ProbeVerdict {
    ProbeVerdict::Fail { reason: "answered 500".into() }
}

/// What failed both versions alike is no evidence, also not when it is read again.
#[test]
fn a_restart_makes_no_verdict_of_an_outage_of_both() {
    let mut world = World::with_canary_out();
    let canary = world.tower().state().releases[&ReleaseId(1)].instance;
    let stable = world.tower().state().services[&name()].stable.unwrap();
    for _ in 0..4 {
        world.now.steady = world.now.steady + Millis(1000);
        world.gateway(GatewayReport::Alive);
        world.event(&look(canary, fails()));
        world.event(&look(stable, fails()));
    }
    // Stable does not outlive it, and comes up again.
    let reason = "exited with status 1".to_owned();
    world.event(&Event::Instance { id: stable, report: InstanceReport::Exited { reason } });
    world.pass(Millis::from_secs(5));
    assert_ne!(world.tower().state().services[&name()].stable, Some(stable), "another copy runs");
    assert_eq!(world.phase(), Phase::Watching);
    let parts = |world: &World| world.tower().evidence().releases[&ReleaseId(1)].parts();
    let before = parts(&world);
    world.kill();
    world.start();
    let after = parts(&world);
    assert!((after.probes - before.probes).abs() < 0.05, "{before:?} {after:?}");
    world.gateway(GatewayReport::Connected { routes: Vec::new() });
    world.pass(Millis::from_secs(5));
    assert_eq!(world.phase(), Phase::Watching);
}

/// The first look after the canary's first share fails, and stable had passed all before.
#[test]
fn an_outage_of_both_from_the_first_second_on_is_none_of_the_canarys_after_a_restart() {
    let mut world = World::with_canary_out();
    let canary = world.tower().state().releases[&ReleaseId(1)].instance;
    let stable = world.tower().state().services[&name()].stable.unwrap();
    // As if the first looks kept were failures.
    world.side.0.lock().unwrap().remove("r-1");
    for _ in 0..6 {
        world.now.steady = world.now.steady + Millis(1000);
        world.event(&look(stable, fails()));
        world.event(&look(canary, fails()));
        world.event(&look(stable, fails()));
    }
    assert_eq!(world.phase(), Phase::Watching);
    world.kill();
    world.start();
    world.event(&Event::Wake);
    assert_eq!(world.phase(), Phase::Watching);
}

#[test]
fn a_dead_canary_is_as_dead_after_a_restart() {
    let mut world = World::with_canary_out();
    let canary = world.tower().state().releases[&ReleaseId(1)].instance;
    let stable = world.tower().state().services[&name()].stable.unwrap();
    for _ in 0..3 {
        world.pass(Millis(500));
        world.event(&look(canary, fails()));
        world.event(&look(stable, ProbeVerdict::Pass { millis: 1 }));
    }
    let value = |world: &World| world.tower().evidence().releases[&ReleaseId(1)].evidence();
    let before = value(&world);
    // One would be nothing seen, which the comparison below would tell from this.
    assert!(before > 1.5, "{before}");
    world.kill();
    world.start();
    assert!((value(&world) / before - 1.0).abs() < 0.05, "{before} {}", value(&world));
    for _ in 0..4 {
        world.event(&look(canary, fails()));
        world.event(&look(stable, ProbeVerdict::Pass { millis: 1 }));
    }
    assert_eq!(world.phase(), Phase::RolledBack);
    // And its last numbers are those of its whole course.
    let probes = |world: &World| world.tower().evidence().releases[&ReleaseId(1)].tally.probes_failed;
    let failed = probes(&world);
    assert!(failed >= 3);
    world.kill();
    world.start();
    assert_eq!(probes(&world), failed, "also of one that is off and not closed yet");
}

/// Slow answers are judged by the second in which they came.
#[test]
fn slow_answers_are_the_same_evidence_after_a_restart() {
    let mut world = World::with_canary_out();
    world.pass(Millis(300));
    for n in 0..33 {
        let mut tick = world.bad_tick(0);
        if let Event::Tick(tick) = &mut tick {
            // In two seconds, and close together: one second says no more than fourfold.
            let new_slow = if matches!(n, 6 | 8) { 2 } else { 0 };
            tick.canary = ArmTick { requests: 2, new_slow, ..ArmTick::default() };
            tick.stable = ArmTick { requests: 98, ..ArmTick::default() };
        }
        world.event(&tick);
        world.pass(Millis(100));
    }
    let bad = world.bad_tick(1);
    world.event(&bad);
    let value = |world: &World| world.tower().evidence().releases[&ReleaseId(1)].slow.value();
    let before = value(&world);
    assert!(before > 1.5, "{before}");
    world.kill();
    world.start();
    assert!((value(&world) - before).abs() < 1e-9, "{before} {}", value(&world));
}

/// What was asked for together and refused stands in the record like anything else.
#[test]
fn a_refused_release_of_several_is_written_down() {
    let mut world = World::with_canary_out();
    let asked = |tag: &str| Asked {
        spec: Box::new(ReleaseSpec {
            image: Image { name: "csac-portal".into(), tag: Version::new(tag).unwrap() },
            ..release()
        }),
        digest: None,
        salt: 7,
    };
    let options = Options::default();
    let twice = vec![asked("1.8.1"), asked("1.8.2")];
    let handled = world.event(&Event::Release { asked: twice, options, by: Who::tower() });
    assert!(handled.refused.is_some());
    let refused = world.entries("request.refused");
    assert_eq!((refused.len(), refused[0].subject.as_str()), (1, "service/csac-portal"));
}

/// The content is denied, under whatever name and over restarts, until a person lifts it.
#[test]
fn denied_content_is_denied_under_another_tag_and_after_a_kill() {
    let mut world = World::new();
    world.gateway(GatewayReport::Connected { routes: Vec::new() });
    world.event(&Event::Declared { specs: vec![service()], whole: true, by: Who::tower() });
    world.pass(Millis::from_secs(3));
    let deploy = |world: &mut World, tag: &str, content: u8| {
        let image = Image { name: "csac-portal".into(), tag: Version::new(tag).unwrap() };
        let spec = Box::new(ReleaseSpec { image, ..release() });
        let digest = Some(Digest::from_sha256([content; 32]));
        world.event(&Event::Deploy { spec, digest, salt: 7, first: false, by: Who::tower() }).refused
    };
    assert_eq!(deploy(&mut world, "1.8.0", 1), None);
    world.pass(Millis::from_secs(3));
    world.turns_bad();
    assert_eq!(world.phase(), Phase::RolledBack);
    for _ in 0..2 {
        let refused = deploy(&mut world, "1.8.0-rebuilt", 1).expect("the same content");
        assert!(refused.message.contains("was taken back in r-1 and is denied"), "{refused}");
        assert!(deploy(&mut world, "1.8.0", 1).is_some());
        world.kill();
        world.start();
        world.gateway(GatewayReport::Connected { routes: Vec::new() });
    }
    let (command, by) = (Command::Undeny { release: ReleaseId(1) }, Who::tower());
    let handled = world.event(&Event::Command { command, by, reason: "a false alarm".into() });
    assert!(handled.refused.is_none());
    world.kill();
    world.start();
    assert_eq!(deploy(&mut world, "1.8.0-rebuilt", 1), None, "lifted for good");
}
