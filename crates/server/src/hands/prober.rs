//! Keeps the prober looking at what runs.

use std::path::PathBuf;

use hmsops_act::probe::{Prober, Target};
use hmsops_control::effect::ProbeTarget;
use hmsops_control::{Event, effect};
use hmsops_model::probe::ProbeVerdict;
use tokio::sync::mpsc;

use crate::Engine;

/// Results that may wait for the tower; a prober that waits says it was late.
const RESULTS_MAX: usize = 256;

/// Probes what each new state says, and hands in what comes of it, until the tower stops.
pub async fn run(engine: Engine) {
    let (results, mut found) = mpsc::channel(RESULTS_MAX);
    let mut prober = Prober::new(results);
    let mut changes = engine.changes();
    let mut generation = None;
    loop {
        let snapshot = changes.borrow_and_update().clone();
        if generation != Some(snapshot.generation) {
            generation = Some(snapshot.generation);
            prober.set(effect::probe_targets(&snapshot.state).into_iter().map(target).collect());
        }
        tokio::select! {
            result = found.recv() => {
                let Some(result) = result else { return };
                if matches!(result.verdict, ProbeVerdict::Fail { .. }) {
                    prober.look_beside(&result.service, result.instance);
                }
                if engine.tell(Event::Probe(result)).await.is_err() {
                    return;
                }
            }
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// What the prober is told of it.
pub(crate) fn target(found: ProbeTarget) -> Target {
    Target {
        service: found.service,
        instance: found.instance,
        version: found.version,
        addrs: found.addrs,
        path: found.path,
        probe: found.probe,
        dir: found.dir.map(PathBuf::from),
        allow_private: found.allow_private,
    }
}
