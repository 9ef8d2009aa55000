//! `hmsops agent`: a program on another machine joins the tower, and keeps the certificate by which it is let in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use hmsops_model::AgentId;
use hmsops_server::door::folder;
use hmsops_server::tls::request::Request;
use hmsops_wire::api::{Agent, Agents, Join, Joined, Reason, Renewal};
use serde::{Deserialize, Serialize};

use super::{machine, with};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::print;
use crate::secret;
use crate::session::Asked;
use crate::table::Table;
use crate::trust::{Identity, Trust};

/// Join a tower from another machine by a token that is used up, and keep the certificate that it gives for it fresh
///
/// It forwards nothing yet: programs on its machine emit to the tower itself, with the agent's certificate or a token.
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Example:\n  hmsops agent --server https://tower.csac.gov:3000 --join-file join.txt --spool /var/lib/hmsops-agent\n  \
                  hmsops agent --spool /var/lib/hmsops-agent"
)]
pub(super) struct Args {
    /// The token, used up by this, and what the tower is recognised by; without it the agent has joined before. Everybody
    /// on this machine reads it in the list of processes until it is used up: --join-file is not seen
    #[arg(long, value_name = "TOKEN@CA")]
    join: Option<String>,
    /// A file with TOKEN@CA in it, nobody else's to read; `-`: standard input
    #[arg(long, value_name = "FILE", conflicts_with = "join")]
    join_file: Option<PathBuf>,
    /// The folder of its key and certificate, nobody else's
    #[arg(long, value_name = "DIR", default_value = "hmsops-agent")]
    spool: PathBuf,
    /// What it is called [default: this machine's name]
    #[arg(long)]
    name: Option<String>,
    /// End once it has a fresh certificate
    #[arg(long)]
    once: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Agents that have joined, those let in first
    #[command(after_help = "Example:\n  hmsops agent list")]
    List {
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Let an agent in no more, within a second
    #[command(after_help = "Example:\n  hmsops agent revoke ag-3 --reason \"machine sold\"")]
    Revoke {
        /// The agent, ag-3
        id: AgentId,
        /// Why
        #[arg(long)]
        reason: String,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
}

/// What an agent is, in its folder: one file, so that it is whole or the one before.
const FILE: &str = "agent.json";

/// Between two tries to reach a tower, at first and at most.
const TRY_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// Where a tower is, and what an agent shows to it.
#[derive(Debug, Serialize, Deserialize)]
struct Spooled {
    server: String,
    /// By what the tower is recognised.
    ca: String,
    agent: String,
    key: String,
    certificate: String,
    authority: String,
}

pub(super) fn run(args: Args, asked: Asked) -> Result<(), Failure> {
    match args.verb {
        Some(Verb::List { json }) => with(asked, async |client| list(&client, json).await),
        Some(Verb::Revoke { id, reason, json }) => {
            with(asked, async |client| revoke(&client, id, reason, json).await)
        }
        None => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|error| machine("start a runtime", &error))?.block_on(live(args, asked))
        }
    }
}

async fn list(client: &Client, as_json: bool) -> Result<(), Failure> {
    let found: Agents = client.get("/hms/v1/agents").await?;
    if as_json {
        return print::json(&found);
    }
    let mut table =
        Table::new(["AGENT", "STATE", "NAME", "SCOPES", "SERVICES", "JOINED", "CERTIFICATE ENDS"]);
    for agent in &found.items {
        let mark = if agent.state == "in-force" { "●" } else { "○" };
        let services = if agent.services.is_empty() { "all".into() } else { agent.services.join(",") };
        table.row([
            agent.id.clone(),
            format!("{mark} {}", agent.state),
            agent.name.clone(),
            agent.scopes.join(","),
            services,
            print::date(&agent.joined_at),
            agent.until.clone(),
        ]);
    }
    print::data(&table.text())
}

async fn revoke(client: &Client, id: AgentId, reason: String, as_json: bool) -> Result<(), Failure> {
    let body = Reason { reason, ..Reason::default() };
    let agent: Agent = client.post(&format!("/hms/v1/agents/{id}/revoke"), &body).await?;
    if as_json { print::json(&agent) } else { print::line(&format!("{id}  revoked")) }
}

/// Joins if it is to, and renews until it is told to stop.
async fn live(args: Args, asked: Asked) -> Result<(), Failure> {
    let of_file = args.join_file.as_deref().map(|file| secret::read(file, "what to join by")).transpose()?;
    let (mut spooled, mut left) = match of_file.as_ref().or(args.join.as_ref()) {
        Some(join) => {
            let (spooled, joined) = self::join(&args, join, &asked).await?;
            (spooled, rest(joined.life_ms))
        }
        // What is left of it by this machine's clock may be wrong: the tower's is asked by asking for another.
        None => (read(&args.spool)?, Duration::ZERO),
    };
    loop {
        if !left.is_zero() {
            if args.once {
                return print::line(&format!("{}  has a certificate", spooled.agent));
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                _ = tokio::signal::ctrl_c() => return Ok(()),
            }
        }
        left = rest(renew(&mut spooled, &args).await?);
    }
}

/// Two thirds of a certificate's life: one that is asked for in vain for hours is still good.
fn rest(life_ms: u64) -> Duration {
    Duration::from_millis((life_ms / 3 * 2).max(1000))
}

async fn join(args: &Args, join: &str, asked: &Asked) -> Result<(Spooled, Joined), Failure> {
    let (token, ca) = join.split_once('@').ok_or_else(|| {
        Failure::usage("`--join` does not say what the tower is recognised by")
            .hint("write TOKEN@sha256:…; the tower says it at its start, and `hmsops token create --kind agt` prints both")
    })?;
    let server = asked.server.clone().filter(|server| !server.is_empty());
    let server = server.ok_or_else(|| {
        Failure::usage("it is not said which tower is joined")
            .hint("add `--server https://tower.csac.gov:3000`")
    })?;
    let trust = Trust::parse(ca)?;
    let client = Client::new(&server, Some(token.to_owned()))?.trusting(trust.clone());
    if !client.is_encrypted() {
        return Err(Failure::usage(format!("cannot join `{}` in clear", print::plain(&server)))
            .hint("agents join over TLS: `--server https://…`"));
    }
    if args.spool.join(FILE).exists() {
        return Err(unusable(&args.spool, "an agent has joined from it already")
            .hint("leave `--join` and `--join-file` out to go on, or name another folder"));
    }
    let (key, request) =
        Request::draw().map_err(|why| Failure::new(Exit::Failed, format!("cannot draw a key: {why}")))?;
    let name = args.name.clone().unwrap_or_else(host);
    let joined: Joined = client.post("/hms/v1/agents/join", &Join { name, request }).await?;
    let spooled = Spooled {
        server,
        ca: trust.text(),
        agent: joined.agent.clone(),
        key,
        certificate: joined.certificate.clone(),
        authority: joined.authority.clone(),
    };
    write(&args.spool, &spooled)?;
    print::talk(&format!("{} has joined; its certificate ends {}", joined.agent, joined.until));
    Ok((spooled, joined))
}

/// Asks until there is an answer; gives how long the new certificate holds, in milliseconds.
async fn renew(spooled: &mut Spooled, args: &Args) -> Result<u64, Failure> {
    let mut pause = TRY_EVERY.0;
    loop {
        let (key, request) =
            Request::draw().map_err(|why| Failure::new(Exit::Failed, format!("cannot draw a key: {why}")))?;
        let identity = Identity { certificate: spooled.certificate.clone(), key: spooled.key.clone() };
        let client =
            Client::new(&spooled.server, None)?.trusting(Trust::parse(&spooled.ca)?).showing(identity);
        match client.post::<Joined>("/hms/v1/agents/renew", &Renewal { request }).await {
            Ok(joined) => {
                spooled.key = key;
                spooled.certificate = joined.certificate;
                spooled.authority = joined.authority;
                write(&args.spool, spooled)?;
                print::talk(&format!("{} has a new certificate, which ends {}", spooled.agent, joined.until));
                return Ok(joined.life_ms);
            }
            Err(failure) if failure.text().contains("CertificateExpired") => {
                return Err(Failure::new(
                    Exit::Refused,
                    format!("the certificate of {} has ended", spooled.agent),
                )
                .hint("the agent was away for more than a day: remove its folder, and join by a new token"));
            }
            Err(failure) if failure.exit() == Some(Exit::Unreachable) && !args.once => {
                print::talk(&format!("{}; it is tried again", failure.text()));
            }
            Err(failure) => return Err(failure),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = tokio::signal::ctrl_c() => return Ok(0),
        }
        pause = (pause * 2).min(TRY_EVERY.1);
    }
}

fn unusable(dir: &Path, why: &str) -> Failure {
    Failure::new(Exit::Failed, format!("cannot use the agent's folder `{}`: {why}", dir.display()))
}

fn read(dir: &Path) -> Result<Spooled, Failure> {
    let path = dir.join(FILE);
    let text = std::fs::read(&path).map_err(|error| {
        Failure::new(Exit::NotFound, format!("no agent has joined from `{}`: {error}", dir.display()))
            .hint("`hmsops agent --server URL --join-file FILE`, with TOKEN@CA in it, joins")
    })?;
    serde_json::from_slice(&text).map_err(|error| {
        unusable(dir, &format!("`{FILE}`: {error}")).hint("remove it, and join by a new token")
    })
}

/// Its owner alone may read it.
fn write(dir: &Path, spooled: &Spooled) -> Result<(), Failure> {
    let text = serde_json::to_vec_pretty(spooled).map_err(|error| unusable(dir, &error.to_string()))?;
    let written =
        folder::disk(dir).and_then(|disk| disk.replace(FILE, &text).map_err(|error| error.to_string()));
    written.map_err(|error| unusable(dir, &error))
}

/// This machine's name.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Some(name.trim().to_owned()).filter(|name| !name.is_empty()).unwrap_or_else(|| "agent".into())
}
