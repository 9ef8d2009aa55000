//! Watches the folders that teams keep in git, and hands in what they declare.

mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hmsops_control::state::service::Service;
use hmsops_control::{Event, Who};
use hmsops_model::scrape::ScrapeSpec;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use crate::Engine;
use crate::door::haproxy::{self, Gateways};
use crate::evaluate::record::Recordings;

pub use file::SERVICES_FILE;
use file::{Declared, Kind, Texts};

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks in a row that must miss a file before what it declared retires.
const MISSING_LOOKS: u32 = 10;

/// How many looks in a row have missed a file.
type Missing = BTreeMap<String, u32>;

/// What keeps a gateway from carrying what a file declares, by file.
type Refused = BTreeMap<PathBuf, String>;

/// Files that are not in force as they stand, and why.
pub type Troubles = BTreeMap<String, String>;

/// What became of a file that was handed in.
enum Taken {
    /// It is in force.
    Whole,
    /// It has mistakes, which are in the log; what it said before goes on.
    Mistaken,
    /// It has to be tried again.
    Later,
}

/// What is to be scraped, by file.
pub type Scrapes = BTreeMap<PathBuf, Vec<ScrapeSpec>>;

/// Reads the repos now and whenever their files change, or `reload` says so, until the tower stops. A file with
/// a mistake changes nothing. What is to be scraped goes to `scrapes`, what is not in force to `troubles`.
pub async fn watch(
    engine: Engine,
    repos: Vec<PathBuf>,
    (scrapes, recordings, troubles): (
        watch::Sender<Scrapes>,
        watch::Sender<Recordings>,
        watch::Sender<Troubles>,
    ),
    gateways: Arc<Gateways>,
    mut reload: mpsc::Receiver<()>,
) {
    let (mut refused, mut mistaken) = (Refused::new(), BTreeSet::new());
    let (mut in_force, mut last, mut missing) = (Texts::new(), Texts::new(), Missing::new());
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut first = true;
    let mut trouble: Option<String> = None;
    loop {
        let forced = tokio::select! {
            _ = look.tick() => std::mem::take(&mut first),
            asked = reload.recv() => match asked { Some(()) => true, None => return },
        };
        let folders = repos.clone();
        let Ok((texts, why)) = tokio::task::spawn_blocking(move || file::read(&folders)).await else {
            continue;
        };
        for (path, text) in &texts {
            // A file that is being written is read when it stands still.
            let settled = forced || last.get(path) == Some(text);
            if !settled || (!forced && in_force.get(path) == Some(text)) {
                continue;
            }
            match declare(&engine, (&scrapes, &recordings), &gateways, path, text).await {
                Ok(Taken::Later) => {}
                Ok(taken) => {
                    in_force.insert(path.clone(), text.clone());
                    refused.remove(path);
                    mistaken.remove(path);
                    if matches!(taken, Taken::Mistaken) {
                        mistaken.insert(path.clone());
                    }
                }
                // What stands in its way may go: it is tried again, and said once.
                Err(why) => {
                    if refused.get(path) != Some(&why) {
                        tracing::error!("repo: {}: {why}; nothing was changed", path.display());
                        refused.insert(path.clone(), why);
                    }
                }
            }
        }
        if let Some(why) = why.as_ref().filter(|_| why != trouble) {
            tracing::error!("repo: {why}; nothing is retired");
        }
        trouble = why;
        tell(&troubles, (&refused, &mistaken), trouble.as_deref());
        last.clone_from(&texts);
        if trouble.is_some() {
            continue;
        }
        retire(&engine, &repos, &texts, &mut missing).await;
        let is_gone = |path: &PathBuf| !texts.contains_key(path);
        if scrapes.borrow().keys().any(is_gone) {
            scrapes.send_modify(|known| known.retain(|path, _| !is_gone(path)));
        }
        if recordings.borrow().keys().any(is_gone) {
            recordings.send_modify(|known| known.retain(|path, _| !is_gone(path)));
        }
        in_force.retain(|path, _| texts.contains_key(path));
        refused.retain(|path, _| texts.contains_key(path));
        mistaken.retain(|path| texts.contains_key(path));
    }
}

/// Tells what is not in force, when that has changed.
fn tell(
    troubles: &watch::Sender<Troubles>,
    (refused, mistaken): (&Refused, &BTreeSet<PathBuf>),
    folder: Option<&str>,
) {
    let mistaken = mistaken.iter().map(|path| (path, "it has mistakes, which are in the log"));
    let refused = refused.iter().map(|(path, why)| (path, why.as_str()));
    let mut now: Troubles =
        mistaken.chain(refused).map(|(path, why)| (path.display().to_string(), why.to_owned())).collect();
    now.extend(folder.map(|why| ("--repo".to_owned(), why.to_owned())));
    troubles.send_if_modified(|known| {
        let is_other = *known != now;
        *known = now;
        is_other
    });
}

/// Hands a file in; the error says in words what a gateway can't do of it.
async fn declare(
    engine: &Engine,
    (scrapes, recordings): (&watch::Sender<Scrapes>, &watch::Sender<Recordings>),
    gateways: &Gateways,
    path: &Path,
    (kind, text): &(Kind, Result<String, String>),
) -> Result<Taken, String> {
    Ok(match file::parse(path, *kind, text) {
        None => Taken::Mistaken,
        Some(Declared::Scrape(specs)) => {
            scrapes.send_modify(|known| {
                known.insert(path.to_owned(), specs);
            });
            Taken::Whole
        }
        Some(Declared::Rules(event, groups)) => {
            let handled = engine.submit(event).await;
            if !handled.is_ok_and(|handled| handled.ledger_failed.is_none()) {
                return Ok(Taken::Later);
            }
            if groups.is_empty() != recordings.borrow().get(path).is_none() || !groups.is_empty() {
                recordings.send_modify(|known| {
                    known.remove(path);
                    if !groups.is_empty() {
                        known.insert(path.to_owned(), groups);
                    }
                });
            }
            Taken::Whole
        }
        Some(Declared::Event(event)) => {
            if let Event::Declared { specs, by, .. } = &event {
                // What the file no longer names leaves with it.
                let stays = |known: &Service| known.declared_by != *by;
                let objection = haproxy::objection(gateways, &engine.snapshot(), specs, stays);
                objection.map_or(Ok(()), Err)?;
            }
            let handled = engine.submit(event).await;
            if handled.is_ok_and(|handled| handled.ledger_failed.is_none()) {
                Taken::Whole
            } else {
                Taken::Later
            }
        }
    })
}

/// Retires what files declared that are no longer there, and have not been for a while: editors and `git checkout`
/// make files vanish for a moment, and a folder that is not there (not mounted) says nothing of its files.
async fn retire(engine: &Engine, repos: &[PathBuf], texts: &Texts, missing: &mut Missing) {
    if repos.is_empty() {
        return; // started without a repo: that says nothing of the files
    }
    let snapshot = engine.snapshot();
    let files: BTreeSet<String> = texts.keys().map(|file| file.display().to_string()).collect();
    let signals = &snapshot.state.signals;
    let services = snapshot.state.services.values().filter(|known| !known.retired);
    let owners = services.map(|known| &known.declared_by);
    let owners = owners.chain(signals.rules.values().map(|rule| &rule.by));
    let owners = owners.chain(signals.policies.values().map(|policy| &policy.by));
    let gone = owners.filter(|by| by.source == "repo" && !files.contains(&by.actor));
    let authors: BTreeSet<String> = gone.map(|by| by.actor.clone()).collect();
    missing.retain(|file, _| authors.contains(file));
    for actor in authors {
        let repo_is_there =
            repos.iter().any(|repo| Path::new(&actor).starts_with(repo) && file::is_there(repo));
        let looks = missing.entry(actor.clone()).or_insert(0);
        *looks += 1;
        if !repo_is_there || *looks < MISSING_LOOKS {
            continue;
        }
        let by = Who { actor, source: "repo".into() };
        // One of them is what it declared; the others change nothing.
        let nothing = [
            Event::Declared { specs: Vec::new(), whole: true, by: by.clone() },
            Event::Rules { rules: Vec::new(), by: by.clone() },
            Event::Policies { policies: Vec::new(), by },
        ];
        for event in nothing {
            let _stopped = engine.tell(event).await;
        }
    }
}
