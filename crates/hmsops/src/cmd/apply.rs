//! `hmsops apply`: declares services.

use std::path::PathBuf;

use hmsops_config::{check, render};
use hmsops_wire::api::{Applied, Apply, ChangeKind};

use super::source;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::{paint, print};

/// Declare services from files; returns when they are in force
#[derive(clap::Args)]
#[command(after_help = "Example:\n  hmsops apply -f dev/cd/services.yaml --dry-run")]
pub(super) struct Args {
    /// Files, and folders to look through for .yaml files; `-` is stdin
    #[arg(short, long = "file", required = true, num_args = 1.., value_name = "PATH")]
    file: Vec<PathBuf>,
    /// Only say what would change
    #[arg(long)]
    dry_run: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(client: &Client, args: &Args) -> Result<(), Failure> {
    let mut files = Vec::new();
    for path in source::find(&args.file)? {
        files.push(source::read(&path)?);
    }
    let reports: Vec<_> = files.iter().map(|file| check(&file.name, &file.text)).collect();
    if reports.iter().any(hmsops_config::Report::failed) {
        print::talk(render::text(&reports, paint::errors()).trim_end());
        return Err(Failure::Silent(Exit::Usage));
    }
    let applied: Applied = client.post("/hms/v1/apply", &Apply { files, dry_run: args.dry_run }).await?;
    for warning in &applied.warnings {
        print::talk(&format!(
            "warning: {}:{}:{}: {}",
            warning.file, warning.line, warning.column, warning.message
        ));
    }
    if args.json {
        print::json(&applied)?;
    } else {
        for change in &applied.changes {
            print::line(&format!("{}  {}", words(change.change, args.dry_run), change.service))?;
        }
    }
    if !applied.dry_run && !applied.in_force {
        return Err(Failure::new(
            Exit::Failed,
            "it is written down, but no gateway holds the new routes yet",
        )
        .hint("`hmsops service list` says which gateway is silent; it gets them once it is back"));
    }
    Ok(())
}

fn words(change: ChangeKind, dry_run: bool) -> &'static str {
    match (change, dry_run) {
        (ChangeKind::Added, false) => "+ added    ",
        (ChangeKind::Added, true) => "+ would add",
        (ChangeKind::Changed, false) => "~ changed  ",
        (ChangeKind::Changed, true) => "~ would change",
        (ChangeKind::Returned, false) => "+ returned ",
        (ChangeKind::Returned, true) => "+ would return",
        (ChangeKind::Same, _) => "= unchanged",
    }
}
