//! `hmsops release`: what was released, why it is what it is, and steering it.

use std::fmt::Write as _;

use clap::Subcommand;
use hmsops_model::ReleaseId;
use hmsops_wire::api::{Reason, Release, Releases, Replay, Why};

use super::watch;
use crate::client::{Client, encoded};
use crate::failure::{Exit, Failure};
use crate::print;
use crate::table::Table;

/// See releases and steer them
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

/// A release, and why something is done to it.
#[derive(clap::Args)]
struct Steer {
    /// The release, r-42
    id: ReleaseId,
    /// Why, for the ledger
    #[arg(long, default_value = "")]
    reason: String,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Verb {
    /// Releases, newest first
    #[command(after_help = "Example:\n  hmsops release list --service csac-portal")]
    List {
        /// Only this service's
        #[arg(long)]
        service: Option<String>,
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: usize,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// One release
    #[command(after_help = "Example:\n  hmsops release show r-42 --evidence --json")]
    Show {
        /// The release, r-42
        id: ReleaseId,
        /// With its course by second
        #[arg(long)]
        evidence: bool,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Follow a release until it is promoted or taken back; the newest, unless one is named
    #[command(after_help = "Example:\n  hmsops release watch r-42")]
    Watch {
        /// The release, r-42
        id: Option<ReleaseId>,
    },
    /// Fold a release's kept evidence again: exit 0 when it leads to the verdict of the ledger, 1 when not
    #[command(after_help = "Example:\n  hmsops release replay r-42")]
    Replay {
        /// The release, r-42
        id: ReleaseId,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Why a release is what it is, with evidence and need
    #[command(after_help = "Example:\n  hmsops release why r-42")]
    Why {
        /// The release, r-42
        id: ReleaseId,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Go to the next step now
    #[command(
        after_help = "An irreversible release needs a reason to go where nothing takes it back by itself.\n\n\
                            Example:\n  hmsops release promote r-42 --reason \"looks-good\"\n  \
                            hmsops release promote r-42 --override-freeze --reason \"security-fix\""
    )]
    Promote {
        #[command(flatten)]
        to: Steer,
        /// Also in a freeze; needs --reason
        #[arg(long, requires = "reason")]
        override_freeze: bool,
    },
    /// Stay at this step until resumed
    #[command(after_help = "Example:\n  hmsops release pause r-42 --reason \"lunch\"")]
    Pause(Steer),
    /// Go on after a pause or a halt
    #[command(after_help = "Example:\n  hmsops release resume r-42")]
    Resume(Steer),
    /// Take a release back that is out
    #[command(after_help = "Example:\n  hmsops release abort r-42 --reason \"wrong-build\"")]
    Abort(Steer),
    /// Take a release back, also after it was promoted
    #[command(after_help = "Example:\n  hmsops release rollback r-42 --reason \"wrong-totals\"")]
    Rollback(Steer),
    /// Let a taken-back version be deployed again
    #[command(after_help = "Example:\n  hmsops release undeny r-42 --reason \"the-test-was-wrong\"")]
    Undeny(Steer),
}

pub(super) async fn run(client: &Client, args: &Args) -> Result<(), Failure> {
    match &args.verb {
        Verb::List { service, limit, json } => list(client, service.as_deref(), *limit, *json).await,
        Verb::Show { id, evidence, json } => {
            let query = if *evidence { "?evidence=1" } else { "" };
            let release: Release = client.get(&format!("/hms/v1/releases/{id}{query}")).await?;
            if *json { print::json(&release) } else { print::data(&page(&release)) }
        }
        Verb::Watch { id } => {
            let id = match id {
                Some(id) => *id,
                None => newest(client).await?,
            };
            watch::follow(client, id, true).await.map(|_| ())
        }
        Verb::Why { id, json } => {
            let why: Why = client.get(&format!("/hms/v1/releases/{id}/why")).await?;
            if *json { print::json(&why) } else { print::data(&because(&why)) }
        }
        Verb::Replay { id, json } => {
            let replay: Replay = client.get(&format!("/hms/v1/releases/{id}/replay")).await?;
            if *json {
                print::json(&replay)?;
            } else {
                print::line(&print::plain(&replay.words))?;
            }
            if replay.same { Ok(()) } else { Err(Failure::Silent(Exit::Failed)) }
        }
        Verb::Promote { to, override_freeze } => steer(client, to, "promote", *override_freeze).await,
        Verb::Pause(to) => steer(client, to, "pause", false).await,
        Verb::Resume(to) => steer(client, to, "resume", false).await,
        Verb::Abort(to) => steer(client, to, "abort", false).await,
        Verb::Rollback(to) => steer(client, to, "rollback", false).await,
        Verb::Undeny(to) => steer(client, to, "undeny", false).await,
    }
}

async fn steer(client: &Client, to: &Steer, verb: &str, override_freeze: bool) -> Result<(), Failure> {
    let body = Reason { reason: to.reason.clone(), override_freeze, next: None };
    let release: Release = client.post(&format!("/hms/v1/releases/{}/{verb}", to.id), &body).await?;
    if to.json {
        return print::json(&release);
    }
    print::line(&format!(
        "{} {}  {}",
        watch::mark(release.phase),
        release.id,
        print::plain(&release.headline)
    ))
}

async fn list(client: &Client, service: Option<&str>, limit: usize, json: bool) -> Result<(), Failure> {
    let mut path = format!("/hms/v1/releases?limit={limit}");
    if let Some(service) = service {
        let _ = write!(path, "&service={}", encoded(service));
    }
    let found: Releases = client.get(&path).await?;
    if json {
        return print::json(&found);
    }
    let mut table = Table::new(["RELEASE", "SERVICE", "VERSION", "PHASE", "WEIGHT", "GROUP", "SINCE", "BY"]);
    for release in &found.releases {
        table.row([
            release.id.to_string(),
            release.service.to_string(),
            release.version.to_string(),
            format!("{} {}", watch::mark(release.phase), release.phase.name()),
            print::share(release.weight_bp),
            release.group.map(|first| first.to_string()).unwrap_or_default(),
            print::date(&release.requested_at),
            release.by.actor.clone(),
        ]);
    }
    print::data(&table.text())?;
    if found.next.is_some() {
        print::talk("there are older ones; `--limit` shows more");
    }
    Ok(())
}

async fn newest(client: &Client) -> Result<ReleaseId, Failure> {
    let found: Releases = client.get("/hms/v1/releases?limit=1").await?;
    let newest = found.releases.first().map(|release| release.id);
    newest.ok_or_else(|| {
        Failure::new(Exit::NotFound, "there is no release yet").hint("`hmsops deploy -f FILE` begins one")
    })
}

fn page(release: &Release) -> String {
    let from = release.from.as_ref().map(|from| format!("{from} → ")).unwrap_or_default();
    let digest = release.digest.as_ref().map(|digest| format!("  {}", digest.short())).unwrap_or_default();
    let mut lines = vec![
        format!(
            "{} {}  {} {from}{}{digest}",
            watch::mark(release.phase),
            release.id,
            release.service,
            release.version
        ),
        release.headline.clone(),
    ];
    if release.why != release.headline {
        lines.push(release.why.clone());
    }
    let steps: Vec<String> = release.steps.iter().map(|step| print::share(step.weight_bp)).collect();
    let hold = release.hold.as_ref().map(|hold| format!(", {hold}")).unwrap_or_default();
    lines.push(format!("phase     {}{hold}", release.phase.name()));
    lines.push(format!("steps     {}; now {}", steps.join(" → "), print::share(release.weight_bp)));
    lines.push(format!("shown     {}", watch::live(release)));
    lines.push(format!("users     {} bad answers seen, {} shielded", release.seen, release.shielded));
    if let Some(measured) = &release.measured {
        lines.push(format!("share     {}", measured.words));
    }
    let moments = [
        ("asked", Some(&release.requested_at)),
        ("traffic", release.traffic_since.as_ref()),
        ("first bad", release.first_bad_at.as_ref()),
        ("verdict", release.verdict_at.as_ref()),
        ("last bad", release.last_bad_at.as_ref()),
        ("off", release.rolled_back_at.as_ref()),
    ];
    let mut moments: Vec<(&String, &str)> =
        moments.into_iter().filter_map(|(what, at)| Some((at?, what))).collect();
    moments.sort_unstable();
    let moments: Vec<String> =
        moments.into_iter().map(|(at, what)| format!("{what} {}", print::clock(at))).collect();
    lines.push(format!("moments   {}", moments.join(" · ")));
    lines.push(format!("by        {} ({})", release.by.actor, release.by.source));
    if let Some(first) = release.group {
        lines.push(format!("group     of {first}: they go out together, and back"));
    }
    if release.revert {
        lines.push("revert    to a version that was stable lately: without a canary".to_owned());
    }
    if let Some(from) = release.irreversible_bp {
        let from = if from == 0 { "the first traffic".to_owned() } else { print::share(from) };
        lines.push(format!("no return from {from} on: only a person takes it back"));
    }
    if release.denied {
        lines.push(format!("denied    until `hmsops release undeny {}`", release.id));
    }
    let mut text: String = lines.iter().map(|line| print::plain(line) + "\n").collect();
    if let Some(points) = &release.points {
        text.push('\n');
        let mut table = Table::new(["SECOND", "WEIGHT", "CANARY", "BAD", "STABLE", "BAD", "EVIDENCE"]);
        for point in points {
            table.row([
                print::clock(&point.at),
                print::share(point.weight_bp),
                point.canary_requests.to_string(),
                point.canary_bad.to_string(),
                point.stable_requests.to_string(),
                point.stable_bad.to_string(),
                format!("{:.1}", point.evidence),
            ]);
        }
        text.push_str(&table.text());
    }
    text
}

fn because(why: &Why) -> String {
    let moments: Vec<String> =
        why.moments.iter().map(|(what, at)| format!("{what} {}", print::clock(at))).collect();
    let measured = why.measured.as_ref().map(|words| print::plain(words) + "\n").unwrap_or_default();
    format!(
        "{}\n{} · {} bad answers seen by users, {} shielded\n{measured}",
        print::plain(&why.why),
        print::plain(&moments.join(" · ")),
        why.seen,
        why.shielded
    )
}
