//! `hmsops account`, `hmsops session`, `hmsops approval`, `hmsops breakglass`: people and what they may do.

use std::path::PathBuf;

use clap::Subcommand;
use hmsops_model::{GlassId, Millis, SessionId};
use hmsops_wire::api;

use crate::client::{Client, encoded};
use crate::failure::Failure;
use crate::moment;
use crate::table::Table;
use crate::{password, print};

/// Keep accounts of the tower's own: for the beginning, and for when the provider is away
#[derive(clap::Args)]
pub(super) struct AccountArgs {
    #[command(subcommand)]
    verb: Account,
}

#[derive(Subcommand)]
enum Account {
    /// Accounts and what they are here
    #[command(after_help = "Example:\n  hmsops account list")]
    List {
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Keep an account, anew or with another password; what it had opened ends
    #[command(after_help = "Example:\n  hmsops account set ann --role operator --reason \"joins the team\"")]
    Set {
        /// Its name
        name: String,
        /// What it is here: viewer, auditor, oncall, approver, operator, admin
        #[arg(long = "role", required = true, value_name = "ROLE")]
        roles: Vec<String>,
        /// A file whose first line is the password [default: asked for, or the first line of standard input]
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Keep it no longer; what it had opened ends
    #[command(after_help = "Example:\n  hmsops account rm ann --reason \"has left\"")]
    Rm {
        /// Its name
        name: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
}

pub(super) async fn account(client: &Client, args: &AccountArgs) -> Result<(), Failure> {
    match &args.verb {
        Account::List { json } => {
            let found: api::Accounts = client.get("/hms/v1/accounts").await?;
            if *json {
                return print::json(&found);
            }
            let mut table = Table::new(["ACCOUNT", "ROLES"]);
            for account in &found.items {
                table.row([account.name.clone(), account.roles.join(", ")]);
            }
            print::data(&table.text())
        }
        Account::Set { name, roles, password_file, reason } => {
            let password = password::read(password_file.as_deref(), &format!("password for {name}"))?;
            let body = api::NewAccount { roles: roles.clone(), password, reason: reason.clone() };
            let path = format!("/hms/v1/accounts/{}", encoded(name));
            let kept: api::Account = client.put(&path, &body).await?;
            print::line(&format!("{}  {}", print::plain(&kept.name), kept.roles.join(", ")))
        }
        Account::Rm { name, reason } => {
            let path = format!("/hms/v1/accounts/{}?reason={}", encoded(name), encoded(reason));
            client.delete(&path).await?;
            print::line(&format!("{}  gone", print::plain(name)))
        }
    }
}

/// See who is logged in, and end it
#[derive(clap::Args)]
pub(super) struct SessionArgs {
    #[command(subcommand)]
    verb: Session,
}

#[derive(Subcommand)]
enum Session {
    /// Log-ins that last: your own, or for admins everybody's
    #[command(after_help = "Example:\n  hmsops session list --all")]
    List {
        /// Those that have ended, too
        #[arg(long)]
        all: bool,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// End a log-in
    #[command(after_help = "Example:\n  hmsops session end ses-7 --reason \"laptop lost\"")]
    End {
        /// The log-in, ses-7
        id: SessionId,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
}

pub(super) async fn session(client: &Client, args: &SessionArgs) -> Result<(), Failure> {
    match &args.verb {
        Session::List { all, json } => {
            let mut found: api::Sessions = client.get("/hms/v1/sessions").await?;
            found.items.retain(|session| *all || session.state == "in-force");
            if *json {
                return print::json(&found);
            }
            print::data(&sessions(&found.items))
        }
        Session::End { id, reason } => {
            let body = api::Reason { reason: reason.clone(), ..api::Reason::default() };
            let ended: api::Session = client.post(&format!("/hms/v1/sessions/{id}/end"), &body).await?;
            print::line(&format!("{}  {}", ended.id, ended.state))
        }
    }
}

fn sessions(sessions: &[api::Session]) -> String {
    let mut table = Table::new(["SESSION", "STATE", "WHO", "ROLES", "BY", "SINCE", "UNTIL", "FROM"]);
    for session in sessions {
        let mark = if session.state == "in-force" { "● lasts" } else { "◌ ended" };
        let own = if session.own { " (this one)" } else { "" };
        table.row([
            session.id.clone(),
            format!("{mark}{own}"),
            format!("{} {}", session.name, session.person),
            session.roles.join(", "),
            session.proof.clone(),
            print::date(&session.opened_at),
            print::date(&session.until),
            session.from.clone().unwrap_or_else(|| "–".to_owned()),
        ]);
    }
    table.text()
}

/// See what waits for somebody's word, whose wish it is, and who may say yes
#[derive(clap::Args)]
pub(super) struct ApprovalArgs {
    #[command(subcommand)]
    verb: Approval,
}

#[derive(Subcommand)]
enum Approval {
    /// What waits, the longest first
    #[command(after_help = "Example:\n  hmsops approval list --all")]
    List {
        /// Versions that may not be deployed again, too
        #[arg(long)]
        all: bool,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn approval(client: &Client, args: &ApprovalArgs) -> Result<(), Failure> {
    let Approval::List { all, json } = &args.verb;
    let mut found: api::Approvals = client.get("/hms/v1/approvals").await?;
    found.items.retain(|one| *all || one.waits);
    if *json { print::json(&found) } else { print::data(&approvals(&found.items)) }
}

fn approvals(approvals: &[api::Approval]) -> String {
    let mut table = Table::new(["WHAT", "STATE", "WISH OF", "SINCE", "WHO MAY", "BY"]);
    for one in approvals {
        let other = if one.by_other { " (another person)" } else { "" };
        let verb = match one.kind.as_str() {
            "breakglass" => format!("hmsops breakglass review {} --reason …", one.subject),
            "denial" => format!("hmsops release undeny {} --reason …", one.subject),
            _ => format!("hmsops release promote {} --reason …", one.subject),
        };
        table.row([
            format!("{} {}", one.subject, one.kind),
            if one.waits { "▲ waits" } else { "◌ denied" }.to_owned(),
            one.asked_by.clone().unwrap_or_else(|| "–".to_owned()),
            one.since.as_deref().map_or_else(|| "–".to_owned(), print::date),
            format!("{}{other}", one.roles.join(", ")),
            one.refused.as_ref().map_or(verb, |why| format!("not by you: {why}")),
        ]);
    }
    table.text()
}

/// Take an operator's rights for an emergency, aloud; another person looks at it afterwards
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Example:\n  hmsops breakglass --reason \"the provider is down and log-ins fail\" --for 15m"
)]
pub(super) struct GlassArgs {
    #[command(subcommand)]
    verb: Option<Glass>,
    /// Why: everybody will read it
    #[arg(long, required = true)]
    reason: Option<String>,
    /// For how long, at most 60m
    #[arg(long = "for", value_name = "D", default_value = "15m", value_parser = moment::span)]
    span: Millis,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Glass {
    /// Uses, those that wait for a review first
    #[command(after_help = "Example:\n  hmsops breakglass list")]
    List {
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Give the rights back
    #[command(after_help = "Example:\n  hmsops breakglass end g-1")]
    End {
        /// The use, g-1
        id: GlassId,
    },
    /// Say what another person's use was
    #[command(
        after_help = "Example:\n  hmsops breakglass review g-1 --reason \"restarted the portal, nothing else\""
    )]
    Review {
        /// The use, g-1
        id: GlassId,
        /// What was done with it
        #[arg(long)]
        reason: String,
    },
}

pub(super) async fn breakglass(client: &Client, args: &GlassArgs) -> Result<(), Failure> {
    match &args.verb {
        None => {
            let reason = args.reason.clone().unwrap_or_default();
            let body = api::NewGlass { reason, for_ms: Some(args.span.0), minutes: None, next: None };
            let glass: api::Glass = client.post("/hms/v1/breakglass", &body).await?;
            if args.json {
                return print::json(&glass);
            }
            print::talk("everybody sees it; another person has to look at what was done");
            match glass.told.as_deref() {
                None => {}
                Some([]) => {
                    print::talk(
                        "nobody is told by a message: `people: {notify: …}` in hmsops.yaml names who",
                    );
                }
                Some(told) => print::talk(&format!("told by a message: {}", print::plain(&told.join(", ")))),
            }
            print::line(&format!("{}  until {}", glass.id, print::date(&glass.until)))
        }
        Some(Glass::List { json }) => {
            let found: api::Glasses = client.get("/hms/v1/breakglass").await?;
            if *json { print::json(&found) } else { print::data(&glasses(&found.items)) }
        }
        Some(Glass::End { id }) => told(client, *id, "end", "").await,
        Some(Glass::Review { id, reason }) => told(client, *id, "review", reason).await,
    }
}

async fn told(client: &Client, id: GlassId, verb: &str, reason: &str) -> Result<(), Failure> {
    let body = api::Reason { reason: reason.to_owned(), ..api::Reason::default() };
    let glass: api::Glass = client.post(&format!("/hms/v1/breakglass/{id}/{verb}"), &body).await?;
    print::line(&format!("{}  {}", glass.id, glass.state))
}

fn glasses(glasses: &[api::Glass]) -> String {
    let mut table = Table::new(["USE", "STATE", "WHO", "BROKEN", "RIGHTS END", "WHY"]);
    for glass in glasses {
        let mark = match glass.state.as_str() {
            "in-force" => "■ broken",
            "to-review" => "▲ to review",
            _ => "● reviewed",
        };
        table.row([
            glass.id.clone(),
            mark.to_owned(),
            glass.by.clone(),
            print::date(&glass.broken_at),
            print::date(glass.ended.as_ref().map_or(&glass.until, |ended| &ended.at)),
            glass.reason.clone(),
        ]);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_says_by_what_it_goes_on_or_why_not() {
        let one = |kind: &str, subject: &str, refused: Option<&str>| api::Approval {
            kind: kind.into(),
            subject: subject.into(),
            waits: true,
            asked_by: Some("person:p-1 Ann".into()),
            since: Some("2026-11-22T14:02:07.100Z".into()),
            scope: "deploy:promote".into(),
            roles: vec!["approver".into(), "admin".into()],
            by_other: refused.is_some(),
            yours: refused.is_none(),
            refused: refused.map(str::to_owned),
        };
        let expected = "\
WHAT            STATE    WISH OF         SINCE                WHO MAY                           BY
r-1 no-return   ▲ waits  person:p-1 Ann  2026-11-22 14:02:07  approver, admin                   hmsops release promote r-1 --reason …
g-1 breakglass  ▲ waits  person:p-1 Ann  2026-11-22 14:02:07  approver, admin (another person)  not by you: it was yourself
";
        let all = [one("no-return", "r-1", None), one("breakglass", "g-1", Some("it was yourself"))];
        assert_eq!(approvals(&all), expected);
    }

    #[test]
    fn who_is_logged_in_is_a_table() {
        let one: api::Session = serde_json::from_str(
            r#"{"id":"ses-1","state":"in-force","person":"p-1","name":"ann","issuer":"local","subject":"ann","roles":["operator"],
                "proof":"password","opened_at":"2026-11-22T14:02:07.100Z","proven_at":"2026-11-22T14:02:07.100Z",
                "until":"2026-11-23T02:02:07.100Z","own":true}"#,
        )
        .unwrap();
        let expected = "\
SESSION  STATE               WHO      ROLES     BY        SINCE                UNTIL                FROM
ses-1    ● lasts (this one)  ann p-1  operator  password  2026-11-22 14:02:07  2026-11-23 02:02:07  –
";
        assert_eq!(sessions(&[one]), expected);
    }
}
