//! The files of a repo: which there are, and what each declares.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hmsops_config::Checked;
use hmsops_control::{Event, Who};
use hmsops_model::limits::CONFIG_BYTES_MAX;
use hmsops_model::scrape::{Discovery, ScrapeSpec};
use hmsops_model::service::{Driver, ServiceSpec};
use hmsops_promql::rules::Group;

/// Where services are declared, below a repo.
pub const SERVICES_FILE: &str = "dev/cd/services.yaml";

/// Files of one folder; whoever has more has put something else there.
const FILES_MAX: usize = 1000;

/// What a file declares, told by where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Services,
    Rules,
    Policies,
    Scrape,
    Baseline,
}

/// The folders whose YAML files are read, and what they declare.
const FOLDERS: [(&str, Kind); 4] = [
    ("ops/alerts", Kind::Rules),
    ("ops/policies", Kind::Policies),
    ("ops/scrape", Kind::Scrape),
    ("ops/baselines", Kind::Baseline),
];

/// What was read of each file: its kind and its text, or why it can't be read.
pub(super) type Texts = BTreeMap<PathBuf, (Kind, Result<String, String>)>;

/// What a file without a mistake declares.
#[derive(Debug)]
pub(super) enum Declared {
    /// For the tower.
    Event(Event),
    /// Alert rules for the tower, recording rules for the recorder.
    Rules(Event, Vec<Group>),
    /// For the scraper.
    Scrape(Vec<ScrapeSpec>),
}

/// All files of all repos, as they are now; and which folder cannot be read, if one: that says nothing of its files.
pub(super) fn read(repos: &[PathBuf]) -> (Texts, Option<String>) {
    let (mut texts, mut trouble) = (Texts::new(), None);
    for repo in repos {
        let services = repo.join(SERVICES_FILE);
        if let Some(text) = read_file(&services) {
            texts.insert(services, (Kind::Services, text));
        }
        for (folder, kind) in FOLDERS {
            let files = yaml_files(&repo.join(folder)).unwrap_or_else(|why| {
                trouble = Some(why);
                Vec::new()
            });
            for file in files {
                if let Some(text) = read_file(&file) {
                    texts.insert(file, (kind, text));
                }
            }
        }
    }
    (texts, trouble)
}

/// Whether there is anything in a repo: a mount point without its mount is an empty folder.
pub(super) fn is_there(repo: &Path) -> bool {
    std::fs::read_dir(repo).is_ok_and(|mut entries| entries.next().is_some())
}

fn yaml_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let trouble = |error: std::io::Error| format!("cannot read `{}`: {error}", folder.display());
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(trouble(error)),
    };
    let is_yaml = |file: &Path| {
        let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        !hidden && file.extension().is_some_and(|end| end == "yaml" || end == "yml")
    };
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(trouble)?.path();
        if is_yaml(&file) {
            files.push(file);
        }
    }
    // Sorted first, so that it is always the same ones that are too many.
    files.sort();
    files.truncate(FILES_MAX);
    Ok(files)
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

/// What a file declares, or nothing if it has a mistake (which is then in the log).
pub(super) fn parse(file: &Path, kind: Kind, text: &Result<String, String>) -> Option<Declared> {
    let name = file.display().to_string();
    let text = match text {
        Ok(text) => text,
        Err(error) => {
            tracing::error!("repo: cannot read {name}: {error}; nothing was changed");
            return None;
        }
    };
    let by = author(file);
    Some(match kind {
        Kind::Services => {
            let mut specs = checked(&name, hmsops_config::parse_services(text))?;
            for spec in &mut specs {
                anchor(spec, file);
            }
            Declared::Event(Event::Declared { specs, whole: true, by })
        }
        Kind::Rules => {
            let specs = checked(&name, hmsops_config::parse_rules(text))?;
            let with_readings = |spec: hmsops_model::RuleSpec| {
                let readings = hmsops_config::readings(&spec.expr);
                (spec, readings)
            };
            // What is wrong with them has been said with the alert rules.
            let recordings = hmsops_config::parse_recordings(text, &name).value?;
            Declared::Rules(
                Event::Rules { rules: specs.into_iter().map(with_readings).collect(), by },
                recordings,
            )
        }
        Kind::Policies => {
            let policies = vec![checked(&name, hmsops_config::parse_policy(text))?];
            Declared::Event(Event::Policies { policies, by })
        }
        Kind::Baseline => {
            let rules = checked(&name, hmsops_config::parse_baseline(text))?;
            Declared::Event(Event::Rules {
                rules: rules.into_iter().map(|rule| (rule, Vec::new())).collect(),
                by,
            })
        }
        Kind::Scrape => {
            let mut specs = checked(&name, hmsops_config::parse_scrape(text))?;
            for spec in &mut specs {
                anchor_targets(spec, file);
            }
            Declared::Scrape(specs)
        }
    })
}

/// Files of targets start at the folder of the file that names them.
fn anchor_targets(spec: &mut ScrapeSpec, file: &Path) {
    let Some(folder) = file.parent().and_then(|folder| std::path::absolute(folder).ok()) else { return };
    for discovery in &mut spec.discoveries {
        if let Discovery::File { files, .. } = discovery {
            for named in files {
                *named = folder.join(&*named).display().to_string();
            }
        }
    }
}

/// A file is its declarations' author.
pub(super) fn author(file: &Path) -> Who {
    Who { actor: file.display().to_string(), source: "repo".into() }
}

fn checked<T>(name: &str, checked: Checked<T>) -> Option<T> {
    for found in &checked.diagnostics {
        tracing::warn!("repo: {name}:{}:{}: {}", found.line, found.column, found.message);
    }
    if checked.value.is_none() {
        tracing::error!("repo: {name} has mistakes; nothing was changed");
    }
    checked.value
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
