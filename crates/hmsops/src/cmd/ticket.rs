//! `hmsops ticket`: what a person has to do.

use clap::Subcommand;
use hmsops_model::TicketId;
use hmsops_wire::api::{Reason, Ticket};

use crate::client::Client;
use crate::failure::Failure;
use crate::table::Table;
use crate::{pages, print};

/// See what a person has to take over, and say that it is done
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Open tickets, newest first
    #[command(after_help = "Example:\n  hmsops ticket list --all")]
    List {
        /// Closed ones, too
        #[arg(long)]
        all: bool,
        /// How many
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// One ticket: what was tried, and what it printed
    #[command(after_help = "Example:\n  hmsops ticket show t-1")]
    Show {
        /// The ticket, t-1
        id: TicketId,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Say that it is done
    #[command(after_help = "Example:\n  hmsops ticket close t-1 --reason \"disk replaced\"")]
    Close {
        /// The ticket, t-1
        id: TicketId,
        /// What was done
        #[arg(long)]
        reason: String,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(client: &Client, args: &Args) -> Result<(), Failure> {
    match &args.verb {
        Verb::List { all, limit, json } => {
            let asked: &[(&str, &str)] = if *all { &[] } else { &[("open", "true")] };
            let found = pages::read::<Ticket>(client, "/hms/v1/tickets", asked, *limit).await?;
            if *json {
                return print::json(&found);
            }
            print::data(&table(&found.items))?;
            if found.next.is_some() {
                print::talk("there are older ones; `--limit` shows more");
            }
            Ok(())
        }
        Verb::Show { id, json } => {
            let ticket: Ticket = client.get(&format!("/hms/v1/tickets/{id}")).await?;
            if *json { print::json(&ticket) } else { print::data(&page(&ticket)) }
        }
        Verb::Close { id, reason, json } => {
            let body = Reason { reason: reason.clone(), ..Reason::default() };
            let ticket: Ticket = client.post(&format!("/hms/v1/tickets/{id}/close"), &body).await?;
            if *json { print::json(&ticket) } else { print::line(&format!("{id}  closed")) }
        }
    }
}

/// An open ticket is somebody's work; its word is beside the mark.
const fn state(ticket: &Ticket) -> &'static str {
    if ticket.closed_at.is_some() { "● closed" } else { "■ open" }
}

fn table(tickets: &[Ticket]) -> String {
    let mut table = Table::new(["TICKET", "STATE", "SERVICE", "SINCE", "ALERT", "HEAL", "TITLE"]);
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "–".to_owned());
    for ticket in tickets {
        table.row([
            ticket.id.clone(),
            state(ticket).to_owned(),
            ticket.service.clone(),
            print::date(&ticket.opened_at),
            or_dash(&ticket.alert),
            or_dash(&ticket.heal),
            ticket.title.clone(),
        ]);
    }
    table.text()
}

fn page(ticket: &Ticket) -> String {
    let closed = ticket.closed_at.as_deref().map(|at| {
        let by = ticket.closed_by.as_ref().map(|by| format!(" by {}", by.actor)).unwrap_or_default();
        let why = ticket.close_reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        format!("{}{by}{why}", print::date(at))
    });
    let facts = [
        ("service", Some(ticket.service.clone())),
        ("alert", ticket.alert.clone()),
        ("heal", ticket.heal.clone()),
        ("opened", Some(print::date(&ticket.opened_at))),
        ("closed", closed),
    ];
    let facts = facts.into_iter().filter_map(|(what, text)| Some(format!("{what:<9} {}", text?)));
    let head = format!("{} {}  {}", state(ticket), ticket.id, ticket.title);
    let mut text: String =
        std::iter::once(head).chain(facts).map(|line| print::plain(&line) + "\n").collect();
    if !ticket.text.trim().is_empty() {
        text.push('\n');
        text.extend(ticket.text.lines().map(|line| print::plain(line) + "\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_are_a_table_and_a_page_with_what_was_tried() {
        let open: Ticket = serde_json::from_str(
            r#"{"id":"t-1","title":"Take-Over Required: dmv-photo","service":"dmv-photo","alert":"a-12","heal":null,
                "opened_at":"2026-11-22T14:02:07.100Z","text":"rollback failed\nit printed nothing\n",
                "closed_at":null,"closed_by":null,"close_reason":null}"#,
        )
        .unwrap();
        let expected = "\
TICKET  STATE   SERVICE    SINCE                ALERT  HEAL  TITLE
t-1     ■ open  dmv-photo  2026-11-22 14:02:07  a-12   –     Take-Over Required: dmv-photo
";
        assert_eq!(table(std::slice::from_ref(&open)), expected);
        let closed = Ticket {
            closed_at: Some("2026-11-22T15:00:00.000Z".into()),
            closed_by: serde_json::from_str(r#"{"actor":"admin","source":"api"}"#).ok(),
            close_reason: Some("disk replaced".into()),
            ..open
        };
        let expected = "\
● closed t-1  Take-Over Required: dmv-photo
service   dmv-photo
alert     a-12
opened    2026-11-22 14:02:07
closed    2026-11-22 15:00:00 by admin: disk replaced

rollback failed
it printed nothing
";
        assert_eq!(page(&closed), expected);
    }
}
