//! Starts and stops instances, and tells the tower what becomes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hmsops_act::process::{ProcessDriver, ProcessError, StartSpec, Status};
use hmsops_control::{Effect, Event, InstanceReport};
use hmsops_model::instance::Instance;
use hmsops_model::limits::STOP_GRACE;
use hmsops_model::service::{Driver, ServiceSpec};
use hmsops_model::{InstanceId, Secret, SecretRef};
use tokio::sync::mpsc;

use crate::Engine;
use crate::ports::Reach;
use crate::secret;

/// Where the SDK emits to on this machine when nothing says otherwise.
const SDK_PORT: u16 = 4317;

/// Between two attempts to learn how an instance is.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Instances whose start or stop is being seen to: effects come again until they are true, tasks must not.
#[derive(Clone, Default)]
struct Busy(Arc<Mutex<BTreeSet<(InstanceId, bool)>>>);

impl Busy {
    /// `false`: it is being seen to already.
    fn begin(&self, id: InstanceId, stops: bool) -> bool {
        self.0.lock().is_ok_and(|mut busy| busy.insert((id, stops)))
    }

    fn end(&self, id: InstanceId, stops: bool) {
        if let Ok(mut busy) = self.0.lock() {
            busy.remove(&(id, stops));
        }
    }
}

/// What instances are told of where to emit, variables of their environment: nothing when it is where the SDK looks by
/// itself.
pub(crate) fn told(reach: &Reach) -> BTreeMap<String, String> {
    let mut told = BTreeMap::new();
    if reach.endpoint != format!("{}:{SDK_PORT}", Ipv4Addr::LOCALHOST) {
        told.insert("HMSOPS_ENDPOINT".to_owned(), reach.endpoint.clone());
    }
    if let Some(ca) = &reach.ca {
        told.insert("HMSOPS_CA".to_owned(), ca.display().to_string());
    }
    told
}

/// Carries out what comes, each instance by a task of its own, until the tower stops. `told`: what each gets into its environment.
pub async fn run(
    engine: Engine,
    driver: Arc<ProcessDriver>,
    mut effects: mpsc::Receiver<Effect>,
    told: BTreeMap<String, String>,
) {
    let busy = Busy::default();
    while let Some(effect) = effects.recv().await {
        let (engine, driver, busy) = (engine.clone(), driver.clone(), busy.clone());
        match effect {
            Effect::Start { instance, spec } if busy.begin(instance.id, false) => {
                let told = told.clone();
                tokio::spawn(async move {
                    let id = instance.id;
                    start(&engine, &driver, instance, &spec, told).await;
                    busy.end(id, false);
                });
            }
            Effect::Stop { instance } if busy.begin(instance.id, true) => {
                tokio::spawn(async move {
                    stop(&engine, &driver, &instance).await;
                    busy.end(instance.id, true);
                });
            }
            _ => {}
        }
    }
}

async fn report(engine: &Engine, instance: &Instance, report: InstanceReport) {
    // A tower that has stopped learns it from the driver when it is back.
    let _stopped = engine.tell(Event::Instance { id: instance.id, report }).await;
}

async fn start(
    engine: &Engine,
    driver: &ProcessDriver,
    instance: Instance,
    spec: &ServiceSpec,
    told: BTreeMap<String, String>,
) {
    let Driver::Process { image_dir, run, ports, env, secrets } = &spec.driver else { return };
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
    // What runs already has its own.
    let secrets = match resolved(secrets, running).await {
        Ok(secrets) => secrets,
        Err(why) => {
            let reason = format!("cannot start {} {}: {why}", instance.service, instance.version);
            return report(engine, &instance, InstanceReport::Failed { reason }).await;
        }
    };
    let mut env = env.clone();
    for (name, value) in told {
        // What the service says of it itself stays.
        env.entry(name).or_insert(value);
    }
    let wanted = StartSpec {
        instance: instance.clone(),
        image_dir: dir,
        run: run.clone(),
        ports: ports.clone(),
        env,
        secrets,
        stop_grace: STOP_GRACE,
    };
    match driver.start(wanted).await {
        Ok(started) => {
            let port = started.ports.get("http").copied().unwrap_or(0);
            let upstreams = vec![format!("127.0.0.1:{port}")];
            let metrics = started.ports.get("metrics").map(|port| format!("127.0.0.1:{port}"));
            let started = InstanceReport::Started { pid: Some(started.pid), upstreams, metrics };
            report(engine, &instance, started).await;
            watch(engine, driver, &instance).await;
        }
        Err(ProcessError::Exited { exit, .. }) => {
            let reason = format!("{} {} {exit}", instance.service, instance.version);
            report(engine, &instance, InstanceReport::Exited { reason }).await;
        }
        // That its folder can't be read says nothing of the instance: it is tried again by and by.
        Err(error @ ProcessError::Record(_)) => tracing::error!("instances: {error}"),
        Err(error) => {
            report(engine, &instance, InstanceReport::Failed { reason: error.to_string() }).await;
        }
    }
}

/// The secrets of a service, read where they are just now. The error says which, and never what.
async fn resolved(
    secrets: &BTreeMap<String, SecretRef>,
    running: bool,
) -> Result<BTreeMap<String, Secret>, String> {
    if running || secrets.is_empty() {
        return Ok(BTreeMap::new());
    }
    let secrets = secrets.clone();
    let read = move || {
        let one = |(name, from): (String, SecretRef)| match secret::read(&from, Path::new("/")) {
            Ok(value) => Ok((name, value)),
            Err(error) => Err(format!("its `{name}`: {error}")),
        };
        secrets.into_iter().map(one).collect()
    };
    let found = tokio::task::spawn_blocking(read).await;
    found.map_err(|error| format!("its secrets cannot be read: {error}"))?
}

/// Waits for the end of an instance and tells of it. Not being able to look is not an end.
async fn watch(engine: &Engine, driver: &ProcessDriver, instance: &Instance) {
    loop {
        match driver.watch(instance).await {
            Ok(status) => {
                let reason = format!("{} {} {status}", instance.service, instance.version);
                return report(engine, instance, InstanceReport::Exited { reason }).await;
            }
            Err(error) => tracing::error!("instances: {error}"),
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_told_of_an_endpoint_they_would_not_find() {
        for (endpoint, ca, env) in [
            ("127.0.0.1:4317", None, &[][..]),
            ("127.0.0.1:4318", None, &[("HMSOPS_ENDPOINT", "127.0.0.1:4318")]),
            ("[::1]:4317", None, &[("HMSOPS_ENDPOINT", "[::1]:4317")]),
            (
                "https://127.0.0.1:4317",
                Some("/data/tls/served.pem"),
                &[("HMSOPS_CA", "/data/tls/served.pem"), ("HMSOPS_ENDPOINT", "https://127.0.0.1:4317")],
            ),
        ] {
            let reach = Reach {
                server: String::new(),
                endpoint: endpoint.into(),
                ca: ca.map(PathBuf::from),
                pin: None,
            };
            let told = told(&reach);
            let told: Vec<(&str, &str)> =
                told.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(told, env);
        }
    }
}
