//! `hmsops audit`: the ledger.

use std::path::PathBuf;

use clap::Subcommand;
use hmsops_server::door::folder;
use hmsops_wire::api::{Entries, Entry, Verified};

use super::with;
use crate::client::{Client, encoded};
use crate::failure::{Exit, Failure};
use crate::print;
use crate::session::Asked;
use crate::table::Table;

/// Read the ledger, and see whether it is whole
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Entries, newest first
    #[command(
        after_help = "Example:\n  hmsops audit list --kind release --from -1h\n  hmsops audit list --control AC-6(9) --json"
    )]
    List(Box<List>),
    /// One entry, whole
    #[command(after_help = "Example:\n  hmsops audit show 1204")]
    Show {
        /// Its number, as `audit list` has it
        seq: u64,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Check every entry and the tree over them; exit 1 if something is wrong
    #[command(after_help = "Example:\n  hmsops audit verify\n  hmsops audit verify --data hmsops-data")]
    Verify {
        /// Check this data folder itself, without a tower
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
struct List {
    /// Done by
    #[arg(long)]
    actor: Option<String>,
    /// Done to, service/NAME
    #[arg(long)]
    subject: Option<String>,
    /// What happened, release.taken-back, or all of a kind: release
    #[arg(long)]
    kind: Option<String>,
    /// Of this release
    #[arg(long)]
    release: Option<String>,
    /// Of this service
    #[arg(long)]
    service: Option<String>,
    /// Evidence of this NIST SP 800-53 control
    #[arg(long)]
    control: Option<String>,
    /// Not before: 2026-11-22T14:00:00Z, or -1h
    #[arg(long, allow_hyphen_values = true)]
    from: Option<String>,
    /// Before
    #[arg(long, allow_hyphen_values = true)]
    to: Option<String>,
    /// How many
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Go on from where the answer before ended
    #[arg(long)]
    cursor: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args, asked: Asked) -> Result<(), Failure> {
    match args.verb {
        Verb::List(args) => with(asked, async |client| list(&client, &args).await),
        Verb::Show { seq, json } => with(asked, async |client| show(&client, seq, json).await),
        Verb::Verify { data: Some(data), json } => {
            let verified = folder::verify(&data).map_err(|error| {
                let exit = if data.is_dir() { Exit::Failed } else { Exit::NotFound };
                Failure::new(exit, format!("cannot check the ledger of `{}`: {error}", data.display()))
            })?;
            tell(&verified, json)
        }
        Verb::Verify { data: None, json } => with(asked, async |client| {
            let verified: Verified = client.get("/hms/v1/audit/verify").await?;
            tell(&verified, json)
        }),
    }
}

fn tell(verified: &Verified, json: bool) -> Result<(), Failure> {
    if json {
        print::json(verified)?;
    }
    let Some(first_bad) = verified.first_bad.as_ref().filter(|_| !verified.whole) else {
        let anchored = match verified.checkpoint_size {
            Some(size) => format!("anchored up to {size}"),
            None => "not anchored yet".to_owned(),
        };
        let text = format!("whole: {} entries, {anchored}, root {}", verified.entries, verified.root);
        return if json { Ok(()) } else { print::line(&print::plain(&text)) };
    };
    Err(Failure::new(Exit::Failed, format!("the ledger is not whole: {}", print::plain(first_bad)))
        .hint(format!("{} entries before it are good", verified.entries)))
}

async fn list(client: &Client, args: &List) -> Result<(), Failure> {
    let named = [
        ("actor", &args.actor),
        ("subject", &args.subject),
        ("kind", &args.kind),
        ("release", &args.release),
        ("service", &args.service),
        ("control", &args.control),
        ("from", &args.from),
        ("to", &args.to),
        ("cursor", &args.cursor),
    ];
    let query: Vec<String> = named
        .into_iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| format!("&{name}={}", encoded(value))))
        .collect();
    let found: Entries = client.get(&format!("/hms/v1/audit?limit={}{}", args.limit, query.concat())).await?;
    if args.json {
        return print::json(&found);
    }
    let mut table = Table::new(["SEQ", "AT", "KIND", "OUTCOME", "SUBJECT", "RELEASE", "BY", "WHAT"]);
    for entry in &found.entries {
        table.row([
            entry.seq.to_string(),
            entry.at.clone(),
            entry.kind.clone(),
            entry.outcome.name().to_owned(),
            entry.subject.clone(),
            entry.release.clone().unwrap_or_else(|| "–".to_owned()),
            format!("{} ({})", entry.actor, entry.source),
            entry.said.clone(),
        ]);
    }
    print::data(&table.text())?;
    if let Some(next) = &found.next {
        print::talk(&format!("there are older ones: `--cursor {}`", print::plain(next)));
    }
    Ok(())
}

async fn show(client: &Client, seq: u64, as_json: bool) -> Result<(), Failure> {
    let entry: Entry = client.get(&format!("/hms/v1/audit/{seq}")).await?;
    if as_json {
        return print::json(&entry);
    }
    let late = if entry.late { ", recorded late" } else { "" };
    for (name, value) in [
        ("entry", entry.seq.to_string()),
        ("what", entry.said.clone()),
        ("kind", format!("{}, {}{late}", entry.kind, entry.outcome.name())),
        ("at", entry.at.clone()),
        ("subject", entry.subject.clone()),
        ("by", format!("{} ({}) on {}", entry.actor, entry.source, entry.node)),
        ("release", entry.release.clone().unwrap_or_else(|| "–".to_owned())),
        ("controls", entry.controls.join(", ")),
    ] {
        print::line(&format!("{name:<8}  {}", print::plain(&value)))?;
    }
    let text = serde_json::to_string_pretty(&entry.data).unwrap_or_default();
    text.lines().try_for_each(|line| print::line(&print::plain(line)))
}
