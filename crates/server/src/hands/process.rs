//! Starts and stops instances, and tells the tower what becomes of them.

use std::path::PathBuf;
use std::sync::Arc;

use hmsops_act::process::{ProcessDriver, ProcessError, StartSpec, Status};
use hmsops_control::{Effect, Event, InstanceReport};
use hmsops_model::instance::Instance;
use hmsops_model::limits::STOP_GRACE;
use hmsops_model::service::{Driver, ServiceSpec};
use tokio::sync::mpsc;

use crate::Engine;

/// Carries out what comes, each instance by a task of its own, until the tower stops.
pub async fn run(engine: Engine, driver: Arc<ProcessDriver>, mut effects: mpsc::Receiver<Effect>) {
    while let Some(effect) = effects.recv().await {
        let (engine, driver) = (engine.clone(), driver.clone());
        match effect {
            Effect::Start { instance, spec } => {
                tokio::spawn(async move { start(&engine, &driver, instance, &spec).await });
            }
            Effect::Stop { instance } => {
                tokio::spawn(async move { stop(&engine, &driver, &instance).await });
            }
            _ => {}
        }
    }
}

async fn report(engine: &Engine, instance: &Instance, report: InstanceReport) {
    // A tower that has stopped learns it from the driver when it is back.
    let _stopped = engine.tell(Event::Instance { id: instance.id, report }).await;
}

async fn start(engine: &Engine, driver: &ProcessDriver, instance: Instance, spec: &ServiceSpec) {
    let Driver::Process { image_dir, run, ports, env } = &spec.driver else { return };
    let dir = PathBuf::from(image_dir.replace("{tag}", instance.version.as_str()));
    // A process that runs already is adopted whatever its folder holds by now.
    let running = matches!(driver.status(&instance).await, Ok(Status::Running { .. }));
    if let (Some(pinned), false) = (instance.digest.clone(), running) {
        let checked = dir.clone();
        let found = tokio::task::spawn_blocking(move || hmsops_act::image::digest(&checked)).await;
        let reason = match found {
            Ok(Ok(digest)) if digest == pinned => None,
            Ok(Ok(digest)) => Some(format!(
                "{} {} was changed since it was deployed: its folder holds {}, pinned was {}",
                instance.service,
                instance.version,
                digest.short(),
                pinned.short()
            )),
            Ok(Err(error)) => {
                Some(format!("cannot start {} {}: {error}", instance.service, instance.version))
            }
            Err(error) => Some(format!("cannot read {}: {error}", dir.display())),
        };
        if let Some(reason) = reason {
            return report(engine, &instance, InstanceReport::Failed { reason }).await;
        }
    }
    let wanted = StartSpec {
        instance: instance.clone(),
        image_dir: dir,
        run: run.clone(),
        ports: ports.clone(),
        env: env.clone(),
        stop_grace: STOP_GRACE,
    };
    match driver.start(wanted).await {
        Ok(started) => {
            let port = started.ports.get("http").copied().unwrap_or(0);
            let upstreams = vec![format!("127.0.0.1:{port}")];
            report(engine, &instance, InstanceReport::Started { pid: Some(started.pid), upstreams }).await;
            watch(engine, driver, &instance).await;
        }
        Err(ProcessError::Exited { exit, .. }) => {
            let reason = format!("{} {} {exit}", instance.service, instance.version);
            report(engine, &instance, InstanceReport::Exited { reason }).await;
        }
        Err(error) => {
            report(engine, &instance, InstanceReport::Failed { reason: error.to_string() }).await;
        }
    }
}

/// Waits for the end of an instance and tells of it.
async fn watch(engine: &Engine, driver: &ProcessDriver, instance: &Instance) {
    let reason = match driver.watch(instance).await {
        Ok(status) => format!("{} {} {status}", instance.service, instance.version),
        Err(error) => error.to_string(),
    };
    report(engine, instance, InstanceReport::Exited { reason }).await;
}

async fn stop(engine: &Engine, driver: &ProcessDriver, instance: &Instance) {
    match driver.stop(instance).await {
        Ok(_) => {
            report(engine, instance, InstanceReport::Stopped).await;
            if let Err(error) = driver.forget(&instance.service).await {
                tracing::warn!("instances: {error}");
            }
        }
        Err(error) => tracing::error!("instances: {error}"),
    }
}
