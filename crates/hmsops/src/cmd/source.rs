//! Files named on the command line: read, or found in folders.

use std::path::{Path, PathBuf};

use hmsops_model::limits::CONFIG_BYTES_MAX;
use hmsops_wire::api::File;

use crate::failure::{Exit, Failure};

/// Files of one command.
const FILES_MAX: usize = 10_000;

/// How deep folders are looked into.
const DEPTH_MAX: usize = 32;

/// A file as text; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<File, Failure> {
    use std::io::Read as _;
    let name = path.display().to_string();
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::new(Exit::NotFound, format!("there is no file `{name}`"))
            .hint("paths are relative to this folder"),
        _ => Failure::usage(format!("cannot read `{name}`: {error}")),
    };
    let mut bytes = Vec::new();
    let limit = CONFIG_BYTES_MAX as u64 + 1;
    let (name, read) = if path == Path::new("-") {
        ("stdin".to_owned(), std::io::stdin().lock().take(limit).read_to_end(&mut bytes))
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        (name.clone(), file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(failed)?;
    if bytes.len() > CONFIG_BYTES_MAX {
        return Err(Failure::usage(format!("`{name}` has more than {CONFIG_BYTES_MAX} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::usage(format!("`{name}` is not UTF-8 text: byte {at} is wrong"))
    })?;
    Ok(File { name, text })
}

/// Files as they are named, and all `.yaml` and `.yml` files of folders, in the order of their names. Hidden
/// folders and links are left out.
pub(super) fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            walk(path, 0, &mut found)?;
        } else {
            found.push(path.clone());
        }
    }
    if found.is_empty() {
        let named: Vec<String> = paths.iter().map(|path| format!("`{}`", path.display())).collect();
        return Err(Failure::new(Exit::NotFound, format!("there is no .yaml file in {}", named.join(", "))));
    }
    Ok(found)
}

fn walk(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let entries = std::fs::read_dir(dir).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries =
        entries.map_err(|error| Failure::usage(format!("cannot list `{}`: {error}", dir.display())))?;
    let mut entries: Vec<(PathBuf, Option<std::fs::FileType>)> =
        entries.into_iter().map(|entry| (entry.path(), entry.file_type().ok())).collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    for (path, kind) in entries {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let is_yaml = matches!(path.extension().and_then(|ext| ext.to_str()), Some("yaml" | "yml"));
        match kind {
            Some(kind) if kind.is_dir() && !hidden && depth < DEPTH_MAX => walk(&path, depth + 1, found)?,
            Some(kind) if kind.is_file() && is_yaml && !hidden => found.push(path),
            _ => {}
        }
        if found.len() > FILES_MAX {
            return Err(Failure::usage(format!(
                "there are more than {FILES_MAX} files below `{}`",
                dir.display()
            )));
        }
    }
    Ok(())
}
