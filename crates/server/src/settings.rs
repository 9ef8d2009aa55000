//! Gateways' settings: read with the tower's own, and again on SIGHUP.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hmsops_config::TowerConfig;
use hmsops_config::tower::GatewayConfig;
use hmsops_model::gateway::GatewaySettings;
use tokio::sync::watch;

use crate::serve::{ServeError, read_config};
use crate::tls::keeper::{self, Source};

/// Each gateway's settings, where the task that talks with it hears of a change.
pub(crate) struct Settings {
    /// `hmsops.yaml`, if any.
    file: Option<PathBuf>,
    gateways: BTreeMap<String, (SocketAddr, watch::Sender<GatewaySettings>)>,
    /// Where certificates of the tower's own listeners come from.
    certificates: watch::Sender<Source>,
    /// Why these speak in clear, if they do.
    plain: Option<String>,
}

impl Settings {
    /// Those that the tower starts with.
    pub(crate) fn new(file: Option<&Path>, config: &TowerConfig) -> Self {
        let gateways = config.gateways.iter().map(|(name, gateway)| {
            (name.clone(), (gateway.listen, watch::Sender::new(absolute(file, gateway))))
        });
        let certificates = watch::Sender::new(Source::new(&config.tls, &keeper::folder(file)));
        let plain = config.plain.clone();
        Self { file: file.map(Path::to_owned), gateways: gateways.collect(), certificates, plain }
    }

    /// One gateway's, now and whenever they change.
    pub(crate) fn of(&self, gateway: &str) -> Option<watch::Receiver<GatewaySettings>> {
        self.gateways.get(gateway).map(|(_, settings)| settings.subscribe())
    }

    /// Where certificates of the tower's own listeners come from, now and whenever that changes.
    pub(crate) fn certificates(&self) -> watch::Receiver<Source> {
        self.certificates.subscribe()
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
        // Also when nothing has changed: the files may have.
        self.certificates.send_replace(Source::new(&config.tls, &keeper::folder(self.file.as_deref())));
        if config.plain != self.plain {
            tracing::warn!("settings: `plain` has changed, which holds from the tower's next start on");
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
