//! Gateways' settings: read with the tower's own, and again on SIGHUP.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hmsops_config::TowerConfig;
use hmsops_config::tower::GatewayConfig;
use hmsops_model::gateway::GatewaySettings;
use tokio::sync::watch;

use crate::serve::{ServeError, read_config};

/// Each gateway's settings, where the task that talks with it hears of a change.
pub(crate) struct Settings {
    /// `hmsops.yaml`, if any.
    file: Option<PathBuf>,
    gateways: BTreeMap<String, (SocketAddr, watch::Sender<GatewaySettings>)>,
}

impl Settings {
    /// Those that the tower starts with.
    pub(crate) fn new(file: Option<&Path>, config: &TowerConfig) -> Self {
        let gateways = config.gateways.iter().map(|(name, gateway)| {
            (name.clone(), (gateway.listen, watch::Sender::new(absolute(file, gateway))))
        });
        Self { file: file.map(Path::to_owned), gateways: gateways.collect() }
    }

    /// One gateway's, now and whenever they change.
    pub(crate) fn of(&self, gateway: &str) -> Option<watch::Receiver<GatewaySettings>> {
        self.gateways.get(gateway).map(|(_, settings)| settings.subscribe())
    }

    /// All gateways', now and whenever they change.
    pub(crate) fn all(&self) -> BTreeMap<String, watch::Receiver<GatewaySettings>> {
        let all = self.gateways.iter();
        all.map(|(name, (_, settings))| (name.clone(), settings.subscribe())).collect()
    }

    /// Reads them again, and gives the whole file's. A file with a mistake changes nothing and says so; what takes a
    /// restart is said.
    pub(crate) fn read_again(&self) -> Option<TowerConfig> {
        let config = match read_config(self.file.as_deref()) {
            Ok(config) => config,
            Err(error) => {
                match error {
                    ServeError::Config(why) => tracing::error!("settings: nothing is changed\n{why}"),
                    error => tracing::error!("settings: nothing is changed: {error}"),
                }
                return None;
            }
        };
        for (name, gateway) in &config.gateways {
            let Some((listen, settings)) = self.gateways.get(name) else {
                tracing::warn!("settings: gateway {name} is new and starts when the tower does");
                continue;
            };
            if *listen != gateway.listen {
                let new = gateway.listen;
                tracing::warn!(
                    "settings: gateway {name} stays on {listen} until it and the tower start again, then on {new}"
                );
            }
            let new = absolute(self.file.as_deref(), gateway);
            let changed = settings.send_if_modified(|old| {
                let changed = *old != new;
                *old = new;
                changed
            });
            if changed {
                tracing::info!("settings: those of gateway {name} have changed");
            }
        }
        for name in self.gateways.keys().filter(|name| !config.gateways.contains_key(*name)) {
            tracing::warn!("settings: gateway {name} is gone from the file and goes on until it is stopped");
        }
        Some(config)
    }
}

/// With files by their whole path: the gateway has a folder of its own.
fn absolute(file: Option<&Path>, gateway: &GatewayConfig) -> GatewaySettings {
    let folder = file.and_then(Path::parent).unwrap_or(Path::new("."));
    let whole = |path: &mut String| {
        if let Ok(absolute) = std::path::absolute(folder.join(&*path)) {
            *path = absolute.to_string_lossy().into_owned();
        }
    };
    let mut settings = gateway.settings.clone();
    for tls in &mut settings.tls {
        whole(&mut tls.cert);
        whole(&mut tls.key);
    }
    if let Some(path) = settings.access_log.as_mut().filter(|path| *path != "stdout") {
        whole(path);
    }
    settings
}
