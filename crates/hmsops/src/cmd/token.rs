//! `hmsops token`: who is let in besides the admin.

use clap::Subcommand;
use hmsops_config::parse_duration;
use hmsops_model::TokenId;
use hmsops_wire::api::{NewToken, Revocation, Rotation, Token, TokenIssued, TokenRevoked, Transport};

use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::table::Table;
use crate::{pages, print};

/// Make, list, rotate and revoke tokens for programs
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a token; its text is printed once and kept nowhere
    #[command(after_help = "Example:
  hmsops token create --scope deploy:request --scope state:read --service csac-portal --reason \"CI of the portal\"
  hmsops token create --kind ing --scope metrics:write --cidr 10.0.0.0/8 --expires 30d --reason \"edge hosts\"")]
    Create {
        /// What it may do, `deploy:request`; more than once
        #[arg(long, required = true, value_name = "SCOPE")]
        scope: Vec<String>,
        /// The only service that it may touch; more than once; without it all
        #[arg(long, value_name = "SERVICE")]
        service: Vec<String>,
        /// The only network that it may come from, `10.0.0.0/8`; more than once; without it any
        #[arg(long, value_name = "NETWORK")]
        cidr: Vec<String>,
        /// Who holds it: `sa` a program, `pat` a person's programs, `agt` an agent, `ing` what only brings data
        #[arg(long, default_value = "sa")]
        kind: String,
        /// Who answers for it; without it whoever asks
        #[arg(long)]
        owner: Option<String>,
        /// How long it lives, a year at most
        #[arg(long, default_value = "90d", value_name = "SPAN")]
        expires: String,
        /// What for
        #[arg(long)]
        reason: String,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Tokens, those in force first; never their texts
    #[command(after_help = "Example:\n  hmsops token list --all")]
    List {
        /// Those that have ended, too
        #[arg(long)]
        all: bool,
        /// How many
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Let nobody in by a token any more, within a second, nor by those that were made with it
    #[command(after_help = "Example:\n  hmsops token revoke k-3 --reason \"laptop lost\"")]
    Revoke {
        /// The token, k-3
        id: TokenId,
        /// Leave in force what was made with it
        #[arg(long)]
        keep_made: bool,
        /// Why
        #[arg(long)]
        reason: String,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Put a new token in the place of one, which goes on for a while
    #[command(after_help = "Example:\n  hmsops token rotate k-3 --overlap 2h --reason quarterly")]
    Rotate {
        /// The token, k-3
        id: TokenId,
        /// How long the old one goes on
        #[arg(long, default_value = "1d", value_name = "SPAN")]
        overlap: String,
        /// How long the new one lives; without it as long as the old one did
        #[arg(long, value_name = "SPAN")]
        expires: Option<String>,
        /// Why
        #[arg(long)]
        reason: String,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Tokens that are unused, too powerful or about to end; ends with 1 if there are any
    #[command(after_help = "Example:\n  hmsops token lint")]
    Lint {
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Tokens that are looked through.
const LINTED_MAX: usize = 10_000;

pub(super) async fn run(client: &Client, args: &Args) -> Result<(), Failure> {
    match &args.verb {
        Verb::Create { scope, service, cidr, kind, owner, expires, reason, json } => {
            let body = NewToken {
                kind: Some(kind.clone()),
                owner: owner.clone(),
                scopes: scope.clone(),
                services: service.clone(),
                networks: cidr.clone(),
                life_ms: Some(span("--expires", expires)?),
                reason: reason.clone(),
            };
            let made: TokenIssued = client.post("/hms/v1/tokens", &body).await?;
            issued(&made, *json)?;
            if made.token.kind == "agt" && !*json {
                tell_join(client, &made.text).await;
            }
            Ok(())
        }
        Verb::List { all, limit, json } => {
            let asked: &[(&str, &str)] = if *all { &[] } else { &[("active", "true")] };
            let found = pages::read::<Token>(client, "/hms/v1/tokens", asked, *limit).await?;
            if *json {
                return print::json(&found);
            }
            print::data(&table(&found.items))?;
            if found.next.is_some() {
                print::talk("there are older ones; `--limit` shows more");
            }
            Ok(())
        }
        Verb::Revoke { id, keep_made, reason, json } => {
            let body = Revocation { reason: reason.clone(), keep_made: *keep_made };
            let revoked: TokenRevoked = client.post(&format!("/hms/v1/tokens/{id}/revoke"), &body).await?;
            if *json {
                return print::json(&revoked);
            }
            print::line(&format!("{id}  revoked"))?;
            revoked.also.iter().try_for_each(|also| print::line(&format!("{also}  revoked, made with it")))
        }
        Verb::Rotate { id, overlap, expires, reason, json } => {
            let body = Rotation {
                overlap_ms: Some(span("--overlap", overlap)?),
                life_ms: expires.as_deref().map(|text| span("--expires", text)).transpose()?,
                reason: reason.clone(),
            };
            let made: TokenIssued = client.post(&format!("/hms/v1/tokens/{id}/rotate"), &body).await?;
            issued(&made, *json)
        }
        Verb::Lint { json } => lint(client, *json).await,
    }
}

fn span(flag: &str, text: &str) -> Result<u64, Failure> {
    parse_duration(text)
        .map(|span| span.0)
        .map_err(|error| Failure::new(Exit::Usage, format!("`{flag} {text:.80}`: {error}")))
}

fn issued(made: &TokenIssued, as_json: bool) -> Result<(), Failure> {
    if as_json {
        return print::json(made);
    }
    print::line(&made.text)?;
    print::talk(&format!(
        "{} of {} ends {}; keep its text now, it is not shown again",
        made.token.id,
        made.token.owner,
        print::date(&made.token.expires_at)
    ));
    Ok(())
}

/// How an agent joins by a token, where the tower can be joined.
async fn tell_join(client: &Client, text: &str) {
    // Who may make tokens need not be allowed to read this: then there is nothing to say.
    let known: Result<Transport, Failure> = client.get("/hms/v1/transport").await;
    if let Some(pin) = known.ok().and_then(|known| known.pin) {
        print::talk(&format!(
            "join once with: hmsops agent --server URL --join-file -\nand on its standard input: {text}@{pin}"
        ));
    }
}

async fn lint(client: &Client, as_json: bool) -> Result<(), Failure> {
    let found = pages::read::<Token>(client, "/hms/v1/tokens", &[("active", "true")], LINTED_MAX).await?;
    let doubtful: Vec<&Token> = found.items.iter().filter(|token| !token.findings.is_empty()).collect();
    if as_json {
        print::json(&doubtful)?;
    } else {
        for token in &doubtful {
            for finding in &token.findings {
                print::line(&format!("{}  {}  {finding}", token.id, token.owner))?;
            }
        }
    }
    if doubtful.is_empty() {
        if !as_json {
            print::talk(&format!("{} tokens, nothing doubtful", found.items.len()));
        }
        return Ok(());
    }
    let word = if doubtful.len() == 1 { "token is" } else { "tokens are" };
    Err(Failure::new(Exit::Failed, format!("{} {word} doubtful", doubtful.len())))
}

fn table(tokens: &[Token]) -> String {
    let mut table =
        Table::new(["TOKEN", "STATE", "KIND", "OWNER", "SCOPES", "SERVICES", "ENDS", "LAST USED"]);
    for token in tokens {
        let mark = if token.state == "in-force" || token.state == "rotated" { "●" } else { "○" };
        let services = if token.services.is_empty() { "all".into() } else { token.services.join(",") };
        table.row([
            token.id.clone(),
            format!("{mark} {}", token.state),
            token.kind.clone(),
            token.owner.clone(),
            token.scopes.join(","),
            services,
            print::date(&token.expires_at),
            token.used_at.as_deref().map_or_else(|| "–".to_owned(), print::date),
        ]);
    }
    table.text()
}
