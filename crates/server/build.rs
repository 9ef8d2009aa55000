//! Embeds the live parts of the pages, if they are built (`cargo xtask ui`). The tower works without them.

use std::path::{Path, PathBuf};

/// What the pages load, by name.
const FILES: [&str; 2] = ["live.js", "live.css"];

#[expect(clippy::disallowed_methods, reason = "generated code goes into the folder of this build")]
fn main() {
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the crate is"));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo says where to build"));
    let ui = here.join("../../ui");
    let built: Vec<PathBuf> = FILES.iter().map(|name| ui.join("dist").join(name)).collect();
    let text = if built.iter().all(|file| file.is_file()) {
        for file in &built {
            watch(file);
        }
        let [js, css] = [&built[0], &built[1]].map(|file| file.display().to_string());
        format!("Some((include_bytes!({js:?}), include_bytes!({css:?})))\n")
    } else {
        // A file that is not there would have the crate built anew each time; its folder tells when it comes.
        let nearest = [ui.join("dist"), ui, here];
        if let Some(folder) = nearest.iter().find(|folder| folder.is_dir()) {
            watch(folder);
        }
        "None\n".to_owned()
    };
    std::fs::write(out.join("live.rs"), text).expect("the folder of this build takes a file");
}

fn watch(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}
