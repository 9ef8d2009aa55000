//! Runs heals, each behind a shim, and tells the tower how they ended.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hmsops_act::heal::{HealDriver, HealOrder, HealOutcome};
use hmsops_control::signal::heal::{HEAL_TIME_LIMIT, Heal};
use hmsops_control::{Event, HealReport};
use hmsops_model::HealId;
use tokio::sync::mpsc;

use crate::Engine;

/// How much of its output goes into the ledger: the end, which says why.
const OUTPUT_BYTES_TOLD: usize = 4 << 10;

/// How often the driver is asked before a person takes over.
const TRIES_MAX: u32 = 5;

/// Between two of these times.
const TRY_EVERY: Duration = Duration::from_secs(3);

/// What heals are run with.
#[derive(Debug, Clone)]
pub struct HealSite {
    /// Our own binary: the verbs are its own.
    pub exe: PathBuf,
    /// The data folder: where the verbs find their token.
    pub data: PathBuf,
    /// Where the tower listens, `http://127.0.0.1:3000`.
    pub server: String,
    /// The file of certificates by which it is recognised, where it speaks TLS.
    pub ca: Option<PathBuf>,
}

/// Runs what comes, each heal by a task of its own, until the tower stops.
pub async fn run(engine: Engine, driver: Arc<HealDriver>, site: HealSite, mut heals: mpsc::Receiver<Heal>) {
    let busy: Arc<Mutex<BTreeSet<HealId>>> = Arc::default();
    while let Some(heal) = heals.recv().await {
        // Effects come again until they are true; tasks must not.
        if !busy.lock().is_ok_and(|mut busy| busy.insert(heal.id)) {
            continue;
        }
        let (engine, driver, busy, order) = (engine.clone(), driver.clone(), busy.clone(), site.order(&heal));
        tokio::spawn(async move {
            let (id, report) = (heal.id, run_to_end(&driver, &order).await);
            match engine.submit(Event::Heal { id, report }).await {
                // It stays in `busy`: an order for it that was given before this must not run it once more.
                Ok(handled) if handled.ledger_failed.is_none() => {
                    if let Err(error) = driver.forget(&order.id).await {
                        tracing::warn!("heal {id}: {error}");
                    }
                }
                // A tower that has stopped, or whose ledger fails, learns it from the run folder when it is back.
                Ok(_) => {}
                Err(_) => {
                    if let Ok(mut busy) = busy.lock() {
                        busy.remove(&id);
                    }
                }
            }
        });
    }
}

/// Runs a heal, or joins the one that runs. Trouble of the driver says nothing about the heal: it is asked again.
async fn run_to_end(driver: &HealDriver, order: &HealOrder) -> HealReport {
    let mut tries = 1;
    loop {
        match driver.run(order).await {
            Ok(outcome) => return report(outcome),
            Err(error) if tries >= TRIES_MAX => {
                return HealReport { success: false, exit: error.to_string(), output: String::new() };
            }
            Err(error) => tracing::warn!("heal {}: {error}; it is asked again", order.id),
        }
        tokio::time::sleep(TRY_EVERY).await;
        tries += 1;
    }
}

impl HealSite {
    fn order(&self, heal: &Heal) -> HealOrder {
        let mut argv = vec![self.exe.display().to_string()];
        argv.extend(heal.action.args());
        let about = heal.alert.map_or_else(String::new, |alert| format!(" {alert}"));
        argv.push(format!("--reason={} for {}{about}", heal.id, heal.rule));
        let mut env = BTreeMap::from([
            ("HMSOPS_SERVER".to_owned(), self.server.clone()),
            ("HMSOPS_DATA".to_owned(), self.data.display().to_string()),
            // A tower that is killed meanwhile comes back: verbs of a heal wait for it.
            ("HMSOPS_HEAL".to_owned(), heal.id.to_string()),
        ]);
        env.extend(self.ca.iter().map(|ca| ("HMSOPS_CA".to_owned(), ca.display().to_string())));
        HealOrder {
            // Ids begin anew with a new ledger; folders of an old one must not be taken for these.
            id: format!("{}-{}", heal.id, heal.intended_at.wall.0),
            name: heal.action.to_string(),
            argv,
            dir: self.data.clone(),
            env,
            time_limit: Duration::from_millis(HEAL_TIME_LIMIT.0),
            grace: HealOrder::GRACE_DEFAULT,
            output_bytes_max: HealOrder::OUTPUT_BYTES_DEFAULT,
        }
    }
}

fn report(outcome: HealOutcome) -> HealReport {
    let success = matches!(outcome, HealOutcome::Exited { code: 0, .. });
    let (exit, output) = match outcome {
        HealOutcome::Exited { code, output, .. } => (format!("exited with status {code}"), output),
        HealOutcome::Signalled { signal, output, .. } => (format!("was ended by signal {signal}"), output),
        HealOutcome::TimedOut { output, left_behind, .. } => {
            let left = if left_behind { "; something of it could not be ended" } else { "" };
            (format!("was ended after {HEAL_TIME_LIMIT}: too slow{left}"), output)
        }
        HealOutcome::CannotStart { reason } => (format!("could not start: {reason}"), String::new()),
        HealOutcome::Unseen { output } => ("ended unseen: its shim was killed".into(), output),
    };
    let mut start = output.len().saturating_sub(OUTPUT_BYTES_TOLD);
    while !output.is_char_boundary(start) {
        start += 1;
    }
    HealReport { success, exit, output: output[start..].to_owned() }
}
