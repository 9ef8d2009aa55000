//! What is begun with: seeds of the target, files, and what was once found.

use std::fs;
use std::path::{Path, PathBuf};

use crate::mutate::INPUT_BYTES_MAX;
use crate::target::Target;

/// Files read below one folder.
const FILES_MAX: usize = 5000;

/// Inputs taken out of files.
const INPUTS_MAX: usize = 20_000;

/// Where findings about a target are kept.
pub(crate) fn folder(target: &Target) -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."));
    crates.join(target.about).join("testdata/fuzz").join(target.name)
}

/// What was found before, which is tried first.
pub(crate) fn found(target: &Target) -> Vec<Vec<u8>> {
    files(&folder(target)).iter().filter_map(|file| fs::read(file).ok()).collect()
}

/// Seeds of its own, and those that files hold.
pub(crate) fn seeds(target: &Target, folders: &[PathBuf]) -> Vec<Vec<u8>> {
    let mut seeds = (target.seeds)();
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let own = crates.map(|crates| crates.join(target.about).join("testdata"));
    for file in folders.iter().cloned().chain(own).flat_map(|folder| files(&folder)) {
        let is_ours = file.extension().is_some_and(|end| target.files.iter().any(|known| *known == end));
        if let Some(bytes) = is_ours.then(|| fs::read(&file).ok()).flatten() {
            (target.split)(&bytes, &mut seeds);
        }
        if seeds.len() > INPUTS_MAX {
            break;
        }
    }
    seeds.retain(|seed| seed.len() <= INPUT_BYTES_MAX);
    seeds.push(Vec::new());
    seeds
}

/// Files of a folder and those below it, in the order of their names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut open, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(entry.path()),
                Ok(kind) if kind.is_file() && files.len() < FILES_MAX => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files.sort();
    files
}
