//! Where targets are found. Each discovery looks again and again; what it cannot see any more stays as it was.

mod dns;
mod docker;
mod file;
mod http;
mod kubernetes;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hmsops_model::Millis;
use hmsops_model::scrape::{ADDRESS, ALLOW_PRIVATE, Discovery};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::job::Found;
use super::relabel::LabelMap;

/// One look.
const LOOK: Duration = Duration::from_secs(30);

/// Targets of one discovery.
const FOUND_MAX: usize = 10_000;

/// What an answer of a discovery may have in bytes.
const PAGE_BYTES_MAX: usize = 16 << 20;

/// Files are looked at this often, whatever their discovery says: a change holds at once.
const FILES: Millis = Millis::from_secs(2);

/// Kubernetes is asked this often.
const KUBERNETES: Millis = Millis::from_secs(15);

/// What a discovery sees.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct View {
    pub(super) found: Vec<Found>,
    /// What was wrong at the last look.
    pub(super) error: Option<String>,
}

/// A discovery that is looking; dropped, it looks no more.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) discovery: Discovery,
    view: Arc<Mutex<View>>,
    looking: JoinHandle<()>,
}

impl Search {
    /// Begins. `changed` is told when what is seen changes; `secrets` is the folder of the secrets that it may name.
    pub(super) fn start(
        job: &str,
        discovery: Discovery,
        secrets: Arc<PathBuf>,
        changed: Arc<Notify>,
    ) -> Self {
        let view = Arc::<Mutex<View>>::default();
        let (seen, wanted, job) = (Arc::clone(&view), discovery.clone(), job.to_owned());
        let looking = tokio::spawn(async move {
            loop {
                let looked = tokio::time::timeout(LOOK, look(&wanted, &secrets)).await;
                let looked = looked.unwrap_or_else(|_| Err(format!("no answer within {} s", LOOK.as_secs())));
                if note(&seen, looked, &format!("`{}` of the job `{job}`", wanted.key())) {
                    changed.notify_one();
                }
                tokio::time::sleep(Duration::from_millis(refresh(&wanted).0)).await;
            }
        });
        Self { discovery, view, looking }
    }

    /// What it sees now.
    pub(super) fn view(&self) -> View {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

fn refresh(discovery: &Discovery) -> Millis {
    match discovery {
        Discovery::File { refresh, .. } => (*refresh).min(FILES),
        Discovery::Http { refresh, .. }
        | Discovery::Dns { refresh, .. }
        | Discovery::Docker { refresh, .. } => *refresh,
        Discovery::Kubernetes { .. } => KUBERNETES,
    }
}

/// Writes down what was seen. Whether it is something else than before.
fn note(view: &Mutex<View>, looked: Result<Vec<Found>, String>, what: &str) -> bool {
    let mut view = view.lock().unwrap_or_else(PoisonError::into_inner);
    match looked {
        Ok(mut found) => {
            if view.error.take().is_some() {
                tracing::info!("discovery: {what} sees again");
            }
            for one in &mut found {
                // Only the scrape file itself says what may be asked.
                one.labels.remove(ALLOW_PRIVATE);
            }
            found.sort();
            found.dedup();
            if found.len() > FOUND_MAX {
                let count = found.len();
                tracing::error!("discovery: {what} found {count} targets; only {FOUND_MAX} are asked");
                found.truncate(FOUND_MAX);
            }
            let is_new = view.found != found;
            view.found = found;
            is_new
        }
        Err(why) => {
            if view.error.as_ref() != Some(&why) {
                tracing::warn!("discovery: {what}: {why}; what it saw before stays");
            }
            let is_new = view.error.as_ref() != Some(&why);
            view.error = Some(why);
            is_new
        }
    }
}

async fn look(discovery: &Discovery, secrets: &Arc<PathBuf>) -> Result<Vec<Found>, String> {
    match discovery {
        Discovery::File { files, .. } => {
            let files = files.clone();
            let read = tokio::task::spawn_blocking(move || file::look(&files)).await;
            read.unwrap_or_else(|_| Err("reading ended before its time".into()))
        }
        Discovery::Http { url, client, .. } => http::look(url, client, secrets).await,
        Discovery::Dns { names, record, port, .. } => dns::look(names, *record, *port).await,
        Discovery::Docker { .. } => docker::look(discovery, secrets).await,
        Discovery::Kubernetes { .. } => kubernetes::look(discovery, secrets).await,
    }
}

/// A list of targets, as files and pages have it: `[{"targets": ["10.0.0.4:9100"], "labels": {"rack": "b7"}}]`.
#[derive(Debug, serde::Deserialize)]
struct Group {
    #[serde(default)]
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// The targets of groups, with labels that say where they come from.
fn targets(groups: Vec<Group>, meta: &LabelMap, is_written: bool) -> Result<Vec<Found>, String> {
    let mut all = Vec::new();
    for group in groups {
        let unfit = |name: &String| name.is_empty() || name.chars().any(char::is_control);
        if let Some(name) = group.labels.keys().find(|name| unfit(name)) {
            return Err(format!("{name:?} is not a label's name"));
        }
        for address in group.targets {
            let mut labels = group.labels.clone();
            labels.extend(meta.iter().map(|(name, value)| (name.clone(), value.clone())));
            labels.insert(ADDRESS.to_owned(), address);
            all.push(Found { labels, is_written });
        }
        if all.len() > FOUND_MAX {
            return Err(format!("more than {FOUND_MAX} targets"));
        }
    }
    Ok(all)
}

/// A name of something else as part of a label's name: what is neither a letter, a digit nor `_` becomes `_`.
fn sanitized(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}
