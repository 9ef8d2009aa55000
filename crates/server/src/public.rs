//! Keeps the public status page as files after each change, so that something else can serve it when the tower
//! can't.

use std::sync::Arc;

use hmsops_disk::Disk;

use crate::Engine;
use crate::clock::Clock;
use crate::page::{self, Look};

/// The folder of the files, below the data folder.
const FOLDER: &str = "public";

/// Writes the page, the feed and the JSON now and after each change of state, until the tower stops.
pub async fn keep(engine: Engine, clock: Clock, disk: Arc<dyn Disk>) {
    let mut changes = engine.changes();
    let mut told = false;
    loop {
        let view = changes.borrow_and_update().clone();
        let look = Look { view: &view, now: clock.now().wall, live: false };
        let files = [
            ("status.html", page::status_static(&look)),
            ("feed.atom", page::status_atom(&look, "")),
            ("status.json", page::status_json(&look).to_string()),
        ];
        let writer = disk.clone();
        let written = tokio::task::spawn_blocking(move || write(writer.as_ref(), &files)).await;
        match written {
            Ok(Err(error)) if !told => {
                tracing::error!("status page: {error}");
                told = true;
            }
            Ok(Ok(())) => told = false,
            _ => {}
        }
        let generation = view.generation;
        if changes.wait_for(|view| view.generation != generation).await.is_err() {
            return;
        }
    }
}

fn write(disk: &dyn Disk, files: &[(&str, String)]) -> Result<(), String> {
    disk.create_dir(FOLDER).map_err(|error| error.chain())?;
    for (name, text) in files {
        disk.replace(&format!("{FOLDER}/{name}"), text.as_bytes()).map_err(|error| error.chain())?;
    }
    Ok(())
}
