//! Watches the folders that teams keep in git, and hands in what they declare.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hmsops_control::{Event, Who};
use hmsops_model::limits::CONFIG_BYTES_MAX;
use hmsops_model::service::{Driver, ServiceSpec};
use tokio::time::MissedTickBehavior;

use crate::Engine;

/// Where services are declared, below a repo.
pub const SERVICES_FILE: &str = "dev/cd/services.yaml";

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks in a row that must miss a file before what it declared retires.
const MISSING_LOOKS: u32 = 10;

/// How many looks in a row have missed a file.
type Missing = BTreeMap<String, u32>;

/// What was read of each file: its text, or why it can't be read.
type Texts = BTreeMap<PathBuf, Result<String, String>>;

/// Reads the repos now and whenever their files change, or `reload` says so, until the tower stops. A file with
/// a mistake changes nothing.
pub async fn watch(engine: Engine, repos: Vec<PathBuf>, mut reload: tokio::sync::mpsc::Receiver<()>) {
    let (mut in_force, mut last, mut missing) = (Texts::new(), Texts::new(), Missing::new());
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut first = true;
    loop {
        let forced = tokio::select! {
            _ = look.tick() => std::mem::take(&mut first),
            asked = reload.recv() => match asked { Some(()) => true, None => return },
        };
        let folders = repos.clone();
        let Ok(texts) = tokio::task::spawn_blocking(move || read(&folders)).await else { continue };
        for (file, text) in &texts {
            // A file that is being written is read when it stands still.
            let settled = forced || last.get(file) == Some(text);
            if settled && (forced || in_force.get(file) != Some(text)) && declare(&engine, file, text).await {
                in_force.insert(file.clone(), text.clone());
            }
        }
        retire(&engine, &repos, &texts, &mut missing).await;
        in_force.retain(|file, _| texts.contains_key(file));
        last = texts;
    }
}

fn author(file: &Path) -> Who {
    Who { actor: file.display().to_string(), source: "repo".into() }
}

/// Hands a file in. `false`: it has to be tried again.
async fn declare(engine: &Engine, file: &Path, text: &Result<String, String>) -> bool {
    let Some(specs) = parse(file, text) else { return true };
    let event = Event::Declared { specs, whole: true, by: author(file) };
    engine.submit(event).await.is_ok_and(|handled| handled.ledger_failed.is_none())
}

/// Retires what files declared that are no longer there, and have not been for a while: editors and `git checkout`
/// make files vanish for a moment, and a folder that is not there (not mounted) says nothing of its files.
async fn retire(engine: &Engine, repos: &[PathBuf], texts: &Texts, missing: &mut Missing) {
    if repos.is_empty() {
        return; // started without a repo: that says nothing of the files
    }
    let snapshot = engine.snapshot();
    let files: BTreeSet<String> = texts.keys().map(|file| file.display().to_string()).collect();
    let gone = snapshot.state.services.values().filter(|known| {
        !known.retired && known.declared_by.source == "repo" && !files.contains(&known.declared_by.actor)
    });
    let authors: BTreeSet<String> = gone.map(|known| known.declared_by.actor.clone()).collect();
    missing.retain(|file, _| authors.contains(file));
    for actor in authors {
        let repo_is_there = repos.iter().any(|repo| Path::new(&actor).starts_with(repo) && repo.is_dir());
        let looks = missing.entry(actor.clone()).or_insert(0);
        *looks += 1;
        if !repo_is_there || *looks < MISSING_LOOKS {
            continue;
        }
        let by = Who { actor, source: "repo".into() };
        let _stopped = engine.tell(Event::Declared { specs: Vec::new(), whole: true, by }).await;
    }
}

fn read(repos: &[PathBuf]) -> Texts {
    let files = repos.iter().map(|repo| repo.join(SERVICES_FILE));
    files.filter_map(|file| Some((file.clone(), read_file(&file)?))).collect()
}

/// `None`: there is no such file, which is no mistake.
fn read_file(file: &Path) -> Option<Result<String, String>> {
    match std::fs::metadata(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(error.to_string())),
        Ok(found) if found.len() > CONFIG_BYTES_MAX as u64 => {
            Some(Err(format!("it is larger than {CONFIG_BYTES_MAX} bytes")))
        }
        Ok(_) => Some(std::fs::read_to_string(file).map_err(|error| error.to_string())),
    }
}

/// A file's services, or nothing if it has a mistake (which is then in the log).
fn parse(file: &Path, text: &Result<String, String>) -> Option<Vec<ServiceSpec>> {
    let name = file.display().to_string();
    let text = match text {
        Ok(text) => text,
        Err(error) => {
            tracing::error!("repo: cannot read {name}: {error}; nothing was changed");
            return None;
        }
    };
    let checked = hmsops_config::parse_services(text);
    for found in &checked.diagnostics {
        tracing::warn!("repo: {name}:{}:{}: {}", found.line, found.column, found.message);
    }
    if checked.value.is_none() {
        tracing::error!("repo: {name} has mistakes; nothing was changed");
    }
    let mut specs = checked.value?;
    for spec in &mut specs {
        anchor(spec, file);
    }
    Some(specs)
}

/// A version's folder is written relative to the repo.
fn anchor(spec: &mut ServiceSpec, file: &Path) {
    let repo = file.ancestors().nth(Path::new(SERVICES_FILE).components().count());
    if let (Driver::Process { image_dir, .. }, Some(repo)) = (&mut spec.driver, repo)
        && let Ok(repo) = std::path::absolute(repo)
    {
        *image_dir = repo.join(&image_dir).display().to_string();
    }
}
