//! `hmsops deploy`: a release.

use std::path::PathBuf;

use hmsops_config::{Report, check, render};
use hmsops_wire::api::{Deploy, DeployGroup, File, Phase, Plan, Plans, Release, Releases};

use super::{source, watch};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::{paint, print};

/// Release a version behind a canary; returns once the canary is started
#[derive(clap::Args)]
#[command(after_help = "With --wait: exit 0 only if it was promoted, 1 if it was taken back.\n\n\
                        Example:\n  hmsops deploy -f dev/cd/canary.yaml --dry-run\n  hmsops deploy -f dev/cd/canary.yaml --wait\n  \
                        hmsops deploy -f dev/cd/canary.yaml --override-freeze --reason \"security-fix\"\n  \
                        hmsops deploy -f portal/canary.yaml -f photo/canary.yaml")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct Args {
    /// The release file; `-` is stdin. Of several, those of each service go out together, and back
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Instead of the file's image: NAME:TAG, or only a tag
    #[arg(long)]
    image: Option<String>,
    /// Only say what would happen
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// No version of the service has ever run: there is nothing to compare with
    #[arg(long)]
    first: bool,
    /// Behind a canary, though it is a version that was stable lately and would go back at once
    #[arg(long)]
    canary: bool,
    /// Begin and go on in a freeze; needs --reason
    #[arg(long, requires = "reason")]
    override_freeze: bool,
    /// Why, for the ledger
    #[arg(long, default_value = "")]
    reason: String,
    /// Follow the release until it is promoted or taken back
    #[arg(long)]
    wait: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(client: &Client, args: &Args) -> Result<(), Failure> {
    let mut files = Vec::new();
    for path in &args.files {
        files.push(source::read(path)?);
    }
    let report: Vec<Report> = files.iter().map(|file| check(&file.name, &file.text)).collect();
    if report.iter().any(Report::failed) {
        print::talk(render::text(&report, paint::errors()).trim_end());
        return Err(Failure::Silent(Exit::Usage));
    }
    if files.len() > 1 {
        if args.image.is_some() || args.canary {
            return Err(Failure::usage("`--image` and `--canary` go with one release file"));
        }
        return group(client, args, files, &report).await;
    }
    let Some(file) = files.pop() else { return Err(Failure::usage("no release file is named")) };
    let dry_run = args.dry_run;
    let asked = Deploy {
        name: file.name,
        text: file.text,
        image: args.image.clone(),
        first: args.first,
        canary: args.canary,
        override_freeze: args.override_freeze,
        reason: args.reason.clone(),
        dry_run,
    };
    if dry_run {
        let plan: Plan = client.post("/hms/v1/deploy", &asked).await?;
        warn(&report);
        if args.json {
            return print::json(&plan);
        }
        return plan.lines.iter().try_for_each(|line| print::line(&print::plain(line)));
    }
    let release: Release = client.post("/hms/v1/deploy", &asked).await?;
    warn(&report);
    if args.wait {
        let last = watch::follow(client, release.id, !args.json).await?;
        if args.json {
            print::json(&last)?;
        }
        return if last.phase.is_promoted() { Ok(()) } else { Err(Failure::Silent(Exit::Failed)) };
    }
    let release = watch::until_started(client, release).await?;
    if args.json {
        print::json(&release)?;
    } else {
        print::line(&line(&release))?;
        print::talk(&print::plain(&release.headline));
    }
    match release.phase {
        Phase::Failed | Phase::RolledBack | Phase::Aborted => {
            Err(Failure::new(Exit::Failed, print::plain(&release.why)).hint("stable goes on untouched"))
        }
        _ => {
            print::talk(&format!("`hmsops release watch {}` follows it", release.id));
            Ok(())
        }
    }
}

/// `r-1  shop 1.0 → 1.1, pid 4711`
fn line(release: &Release) -> String {
    let pid = release.instance.as_ref().and_then(|instance| instance.pid).map(|pid| format!(", pid {pid}"));
    let from = release.from.as_ref().map(|from| format!("{from} → ")).unwrap_or_default();
    format!("{}  {} {from}{}{}", release.id, release.service, release.version, pid.unwrap_or_default())
}

/// Several releases that go out together.
async fn group(client: &Client, args: &Args, files: Vec<File>, report: &[Report]) -> Result<(), Failure> {
    let (first, override_freeze, reason) = (args.first, args.override_freeze, args.reason.clone());
    let asked = DeployGroup { files, first, override_freeze, reason, dry_run: args.dry_run };
    if args.dry_run {
        let plans: Plans = client.post("/hms/v1/deploy/group", &asked).await?;
        warn(report);
        if args.json {
            return print::json(&plans);
        }
        let lines = plans.plans.iter().flat_map(|plan| &plan.lines);
        return lines.into_iter().try_for_each(|line| print::line(&print::plain(line)));
    }
    let begun: Releases = client.post("/hms/v1/deploy/group", &asked).await?;
    warn(report);
    let mut releases = Vec::new();
    for release in begun.releases {
        releases.push(if args.wait {
            watch::follow(client, release.id, !args.json).await?
        } else {
            watch::until_started(client, release).await?
        });
    }
    let failed = releases.iter().any(|release| !release.phase.is_active() && !release.phase.is_promoted());
    if args.json {
        print::json(&Releases { releases, next: None })?;
    } else {
        for release in &releases {
            let from = release.from.as_ref().map(|from| format!("{from} → ")).unwrap_or_default();
            print::line(&format!("{}  {} {from}{}", release.id, release.service, release.version))?;
            print::talk(&print::plain(&release.headline));
        }
    }
    if failed { Err(Failure::Silent(Exit::Failed)) } else { Ok(()) }
}

fn warn(report: &[Report]) {
    let text = render::text(report, paint::errors());
    if !text.is_empty() {
        print::talk(text.trim_end());
    }
}
