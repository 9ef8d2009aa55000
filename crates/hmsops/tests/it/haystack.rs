//! Looks for known values in all that a site leaves behind or shows, in the forms in which a text is disguised without
//! being hidden.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use sha2::{Digest as _, Sha256};

use super::kit::Site;

/// A value that nobody may see, and where it is all the same.
#[derive(Debug, Clone)]
pub(crate) struct Needle {
    /// Where it is configured or given.
    pub(crate) what: &'static str,
    pub(crate) value: String,
    /// Files that are documented to hold it, by the beginning of their path below the site's folder.
    pub(crate) own: &'static [&'static str],
}

impl Needle {
    /// A value that is nowhere else.
    pub(crate) fn new(what: &'static str, own: &'static [&'static str]) -> Self {
        let value = Sha256::digest(what).iter().take(14).fold(String::from("Zq"), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        Self { what, value, own }
    }

    /// A value that was made elsewhere.
    pub(crate) fn found(what: &'static str, value: impl Into<String>, own: &'static [&'static str]) -> Self {
        let value = value.into();
        assert!(value.len() >= 16, "{what}: `{value}` would be found by chance");
        Self { what, value, own }
    }

    /// As it may stand somewhere: itself, and what it becomes by the usual encodings.
    pub(crate) fn forms(&self) -> Vec<(&'static str, Vec<u8>)> {
        let bytes = self.value.as_bytes();
        let each =
            |one: &dyn Fn(u8) -> String| bytes.iter().map(|byte| one(*byte)).collect::<String>().into_bytes();
        let mut forms = vec![
            ("as it is", bytes.to_vec()),
            ("backwards", bytes.iter().rev().copied().collect()),
            ("hex", each(&|byte| format!("{byte:02x}"))),
            ("HEX", each(&|byte| format!("{byte:02X}"))),
            ("percent", each(&|byte| format!("%{byte:02x}"))),
            ("PERCENT", each(&|byte| format!("%{byte:02X}"))),
            ("json", each(&|byte| format!("\\u{byte:04x}"))),
            ("JSON", each(&|byte| format!("\\u{byte:04X}"))),
            ("numbers", each(&|byte| format!("{byte}, "))),
        ];
        for (name, engine) in [("base64", &STANDARD), ("base64url", &URL_SAFE)] {
            for before in 0..3 {
                // What stands before and behind it is in the first and the last characters.
                let text = engine.encode([&vec![0; before], bytes].concat());
                let inner = text.get(4..text.len() - 4).unwrap();
                forms.push((name, inner.as_bytes().to_vec()));
            }
        }
        forms
    }
}

/// As many bytes of a form as are looked up at each place.
const START: usize = 8;

/// Whose it is, how it is written, and its bytes.
type Spelling = (usize, &'static str, Vec<u8>);

/// Values to look for.
pub(crate) struct Search {
    /// Forms by their first bytes.
    starts: HashMap<[u8; START], Vec<Spelling>>,
    needles: Vec<Needle>,
    /// What was found, by needle, form and place.
    pub(crate) found: Vec<String>,
    /// Bytes that were looked at.
    pub(crate) bytes: usize,
}

impl Search {
    pub(crate) fn new(needles: Vec<Needle>) -> Self {
        let mut starts: HashMap<[u8; START], Vec<_>> = HashMap::new();
        for (index, needle) in needles.iter().enumerate() {
            for (form, bytes) in needle.forms() {
                let start = *bytes.first_chunk().unwrap();
                starts.entry(start).or_default().push((index, form, bytes));
            }
        }
        Self { starts, needles, found: Vec::new(), bytes: 0 }
    }

    /// Looks into what is called `place`.
    pub(crate) fn look(&mut self, place: &str, hay: &[u8]) {
        self.bytes += hay.len();
        for (at, window) in hay.windows(START).enumerate() {
            let start: [u8; START] = window.try_into().unwrap();
            let Some(forms) = self.starts.get(&start) else { continue };
            for (index, form, bytes) in forms {
                let needle = &self.needles[*index];
                let is_own = needle.own.iter().any(|own| place.starts_with(own));
                if !is_own && hay[at..].starts_with(bytes) {
                    let from = at.saturating_sub(100);
                    let context = String::from_utf8_lossy(&hay[from..at]).replace('\n', "⏎");
                    self.found
                        .push(format!("{} ({form}) in {place} at {at}, after `{context}`", needle.what));
                }
            }
        }
    }

    /// Every file below the site's folder, and what packed ones hold. Returns how many files.
    pub(crate) fn look_into_files(&mut self, site: &Site) -> usize {
        let root = site.path("");
        let (mut folders, mut count) = (vec![root.clone()], 0);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let (path, kind) = (entry.path(), entry.file_type().unwrap());
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() {
                    count += 1;
                    self.look_into(&root, &path);
                }
            }
        }
        count
    }

    fn look_into(&mut self, root: &Path, path: &Path) {
        // What is gone meanwhile was no record.
        let Ok(bytes) = fs::read(path) else { return };
        let name = path.strip_prefix(root).unwrap().display().to_string();
        self.look(&name, name.as_bytes());
        self.look(&name, &bytes);
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let plain = Command::new("gzip").arg("-dc").arg(path).output().unwrap();
            self.look(&name, &plain.stdout);
        }
    }

    /// What everybody on the machine sees of the site's processes, and what those after the tower were handed.
    pub(crate) fn look_at_processes(&mut self, site: &Site) -> usize {
        let processes = site.processes();
        for process in &processes {
            let read = |file: &str| fs::read(format!("/proc/{}/{file}", process.pid)).unwrap_or_default();
            self.look(&format!("the command line of {}", process.role), &read("cmdline"));
            // The tower's own holds what `env:` refers to.
            if process.role != "serve" {
                self.look(&format!("the environment of {}", process.role), &read("environ"));
            }
        }
        processes.len()
    }
}
