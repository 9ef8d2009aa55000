//! Files with lists of targets, as `file_sd_configs` of Prometheus has them.

use std::path::{Path, PathBuf};

use super::{Found, Group, targets};
use crate::collect::scrape::relabel::LabelMap;

/// A file of targets.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Files of one discovery.
const FILES_MAX: usize = 1000;

/// The targets of all files. One that cannot be read is an error of all: half of a list would take targets away.
pub(super) fn look(patterns: &[String]) -> Result<Vec<Found>, String> {
    let mut all = Vec::new();
    for pattern in patterns {
        for file in matching(Path::new(pattern))? {
            let groups = read(&file).map_err(|why| format!("`{}`: {why}", file.display()))?;
            let meta = LabelMap::from([("__meta_filepath".to_owned(), file.display().to_string())]);
            all.extend(targets(groups, &meta, true)?);
        }
    }
    Ok(all)
}

/// The files that a path means, whose last part may have a `*`. No file is no mistake: it may come.
fn matching(pattern: &Path) -> Result<Vec<PathBuf>, String> {
    let name = pattern.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some((before, after)) = name.split_once('*') else {
        return Ok(if pattern.exists() { vec![pattern.to_owned()] } else { Vec::new() });
    };
    let folder = pattern.parent().unwrap_or(Path::new("."));
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("cannot read `{}`: {error}", folder.display())),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| format!("cannot read `{}`: {error}", folder.display()))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let fits =
            name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after);
        if fits && !name.starts_with('.') {
            files.push(path);
        }
    }
    files.sort();
    if files.len() > FILES_MAX {
        return Err(format!("`{}` means more than {FILES_MAX} files", pattern.display()));
    }
    Ok(files)
}

fn read(file: &Path) -> Result<Vec<Group>, String> {
    let found = std::fs::metadata(file).map_err(|error| error.to_string())?;
    if found.len() > FILE_BYTES_MAX || !found.is_file() {
        return Err(format!("it is no file of at most {} MiB", FILE_BYTES_MAX >> 20));
    }
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    if file.extension().is_some_and(|end| end == "json") {
        // Its text is not repeated: whoever names a file need not be allowed to see what is in it.
        return serde_json::from_str(&text).map_err(|error| {
            format!("line {}, column {}: not a list of targets", error.line(), error.column())
        });
    }
    let sets = hmsops_config::parse_targets(&text);
    if let Some(sets) = sets.value {
        return Ok(sets.into_iter().map(|(targets, labels)| Group { targets, labels }).collect());
    }
    let first = sets.diagnostics.iter().find(|found| found.severity == hmsops_config::Severity::Error);
    Err(first.map_or("not a list of targets".into(), |found| {
        format!("line {}, column {}: not a list of targets", found.line, found.column)
    }))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "files that others write")]

    use super::*;

    #[test]
    fn targets_stand_in_json_and_yaml() {
        let folder = tempfile::tempdir().unwrap();
        let json = r#"[{"targets": ["10.0.0.4:9100", "h:1"], "labels": {"rack": "b7"}}]"#;
        std::fs::write(folder.path().join("a.json"), json).unwrap();
        std::fs::write(folder.path().join("b.yml"), "- targets: ['h:2']\n  labels: {__param_m: x}\n")
            .unwrap();
        std::fs::write(folder.path().join(".c.json"), "broken").unwrap();
        let of = |name: &str| folder.path().join(name).display().to_string();
        let found = look(&[of("*.json"), of("b.yml"), of("missing.json")]).unwrap();
        let shown: Vec<&str> = found.iter().map(|one| one.labels["__address__"].as_str()).collect();
        assert_eq!(shown, ["10.0.0.4:9100", "h:1", "h:2"]);
        assert_eq!((found[0].labels["rack"].as_str(), found[2].labels["__param_m"].as_str()), ("b7", "x"));
        assert_eq!(found[2].labels["__meta_filepath"], of("b.yml"));
    }

    #[test]
    fn what_is_no_list_is_an_error_that_shows_nothing_of_it() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in
            [("a.json", "root:hunter2:0"), ("a.yml", "hunter2"), ("b.json", "[{\"targets\": 7}]")]
        {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            let why = look(&[path.display().to_string()]).unwrap_err();
            assert!(why.contains("not a list of targets") && !why.contains("hunter2"), "{why}");
        }
    }
}
