//! A tower's data folder with real shims and services.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use hmsops_act::process::{ProcessDriver, ProcessError, StartSpec, Started, Status, run_folder};
use hmsops_act::shim::Exit;
use hmsops_model::instance::Instance;
use hmsops_model::{InstanceId, Millis, ServiceName, Version};
use tokio::time::timeout;

pub(crate) const SHIM: &str = env!("CARGO_BIN_EXE_hmsops-shim-test");
/// What a machine that does other things besides may take; nothing here needs a tenth of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A data folder and a version's folder; stops what a failed test left running.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) driver: ProcessDriver,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("srv/1.8.0")).unwrap();
        let driver = ProcessDriver::new(folder.path().join("run"), SHIM.into());
        Self { folder, driver }
    }

    /// As after a restart of the tower.
    pub(crate) fn another_driver(&self) -> ProcessDriver {
        ProcessDriver::new(self.root(), SHIM.into())
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    pub(crate) fn image(&self) -> PathBuf {
        self.folder.path().join("srv/1.8.0")
    }

    pub(crate) fn run_folder(&self, id: u64) -> PathBuf {
        run_folder(&self.root(), &instance(id))
    }

    pub(crate) fn spec(&self, id: u64, run: &[&str]) -> StartSpec {
        StartSpec {
            instance: instance(id),
            image_dir: self.image(),
            run: run.iter().map(|word| (*word).to_owned()).collect(),
            ports: BTreeMap::from([("http".to_owned(), None), ("metrics".to_owned(), None)]),
            env: BTreeMap::new(),
            secrets: BTreeMap::new(),
            stop_grace: Millis(300),
        }
    }

    pub(crate) fn shell(&self, id: u64, script: &str) -> StartSpec {
        self.spec(id, &["sh", "-c", script])
    }

    pub(crate) async fn start(&self, spec: StartSpec) -> Result<Started, ProcessError> {
        timeout(PATIENCE, self.driver.start(spec)).await.expect("start answers")
    }

    pub(crate) async fn ended(&self, id: u64) -> Status {
        timeout(PATIENCE, self.driver.watch(&instance(id))).await.expect("it ends").unwrap()
    }

    pub(crate) async fn stop(&self, id: u64) -> Option<Exit> {
        timeout(PATIENCE, self.driver.stop(&instance(id))).await.expect("stop answers").unwrap()
    }

    /// What the service wrote into this file of its folder, once it is whole.
    pub(crate) async fn written(&self, name: &str) -> String {
        let path = self.image().join(name);
        eventually(|| std::fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n'))).await
    }

    pub(crate) fn state(&self, id: u64) -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(self.run_folder(id).join("state.json")).unwrap()).unwrap()
    }

    pub(crate) fn shim_pid(&self, id: u64) -> u32 {
        u32::try_from(self.state(id)["shim"]["pid"].as_u64().unwrap()).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Whatever a failed assertion left: found by the folder in its environment, or as its shim's argument.
        let mark = self.root().display().to_string();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let belongs = ["environ", "cmdline"].iter().any(|file| {
                let text = std::fs::read(entry.path().join(file)).unwrap_or_default();
                text.windows(mark.len()).any(|window| window == mark.as_bytes())
            });
            if belongs && pid != std::process::id() {
                kill(pid, "KILL");
            }
        }
    }
}

pub(crate) fn instance(id: u64) -> Instance {
    Instance {
        id: InstanceId(id),
        service: ServiceName::new("csac-portal").unwrap(),
        version: Version::new("1.8.0").unwrap(),
        digest: None,
    }
}

/// The value, as soon as there is one.
pub(crate) async fn eventually<T>(mut value: impl FnMut() -> Option<T>) -> T {
    let found = async {
        let mut look = tokio::time::interval(Duration::from_millis(5));
        loop {
            look.tick().await;
            if let Some(found) = value() {
                return found;
            }
        }
    };
    timeout(PATIENCE, found).await.expect("what is waited for comes")
}

pub(crate) fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let state = stat.rsplit_once(") ").map(|(_, fields)| fields.starts_with(['Z', 'X']));
        state == Some(false)
    })
}

pub(crate) fn kill(pid: u32, signal: &str) {
    // One that has gone already is as good as killed.
    let mut kill = std::process::Command::new("kill");
    kill.args(["-s", signal, &pid.to_string()]).stderr(Stdio::null()).status().unwrap();
}

pub(crate) fn running_pid(status: &Status) -> u32 {
    match status {
        Status::Running { pid, .. } => *pid,
        other => panic!("it {other}"),
    }
}
