//! `hmsops notify`: whether messages reach their receivers.

use std::time::Duration;

use clap::Subcommand;
use hmsops_model::NoticeId;
use hmsops_wire::api::{Notice, Receiver};
use serde_json::Value;

use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::table::Table;
use crate::{pages, print};

/// A test that is not delivered by then has failed for the one who waits.
const DELIVERED_WITHIN: Duration = Duration::from_secs(30);

/// So often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// See messages to people, and try whether they arrive
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Args)]
struct Shown {
    /// How many
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Verb {
    /// Messages, newest first
    #[command(after_help = "Example:\n  hmsops notify list --dead")]
    List {
        /// Only those that were given up
        #[arg(long)]
        dead: bool,
        /// Only those that are still to be delivered
        #[arg(long, conflicts_with = "dead")]
        pending: bool,
        #[command(flatten)]
        shown: Shown,
    },
    /// Send a test and wait up to 30 s; exit 1 if it was not delivered
    #[command(after_help = "Example:\n  hmsops notify test oncall@dmv.gov")]
    Test {
        /// A mail address or a webhook's name
        receiver: String,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Messages that were given up
    Dead {
        #[command(subcommand)]
        verb: Dead,
    },
}

#[derive(Subcommand)]
enum Dead {
    /// Messages that were given up, newest first
    #[command(after_help = "Example:\n  hmsops notify dead list")]
    List(Shown),
    /// Try one again
    #[command(after_help = "Example:\n  hmsops notify dead retry n-9")]
    Retry {
        /// The message, n-9
        id: NoticeId,
    },
}

pub(super) async fn run(client: &Client, args: &Args) -> Result<(), Failure> {
    match &args.verb {
        Verb::List { dead, pending, shown } => {
            let asked: &[(&str, &str)] = match (dead, pending) {
                (true, _) => &[("dead", "true")],
                (_, true) => &[("pending", "true")],
                _ => &[],
            };
            list(client, asked, shown).await
        }
        Verb::Test { receiver, json } => test(client, receiver, *json).await,
        Verb::Dead { verb: Dead::List(shown) } => list(client, &[("dead", "true")], shown).await,
        Verb::Dead { verb: Dead::Retry { id } } => {
            let nothing = Value::Object(serde_json::Map::new());
            let _answer: Value = client.post(&format!("/hms/v1/notices/{id}/retry"), &nothing).await?;
            print::line(&format!("{id}  is tried again"))
        }
    }
}

async fn list(client: &Client, asked: &[(&str, &str)], shown: &Shown) -> Result<(), Failure> {
    let found = pages::read::<Notice>(client, "/hms/v1/notices", asked, shown.limit).await?;
    if shown.json {
        return print::json(&found);
    }
    print::data(&table(&found.items))?;
    if found.next.is_some() {
        print::talk("there are older ones; `--limit` shows more");
    }
    Ok(())
}

async fn test(client: &Client, receiver: &str, json: bool) -> Result<(), Failure> {
    let asked = Receiver { receiver: receiver.to_owned() };
    let mut notice: Notice = client.post("/hms/v1/notices/test", &asked).await?;
    let settled = async {
        while notice.phase == "waiting" {
            tokio::time::sleep(LOOK_EVERY).await;
            let found = pages::read::<Notice>(client, "/hms/v1/notices", &[], 1000).await?;
            if let Some(known) = found.items.into_iter().find(|known| known.id == notice.id) {
                notice = known;
            }
        }
        Ok::<(), Failure>(())
    };
    if let Ok(Err(failure)) = tokio::time::timeout(DELIVERED_WITHIN, settled).await {
        return Err(failure);
    }
    if json {
        print::json(&notice)?;
    }
    match outcome(&notice) {
        Ok(_) if json => Ok(()),
        Ok(said) => print::line(&said),
        Err(failure) => Err(failure),
    }
}

/// What became of a test.
fn outcome(notice: &Notice) -> Result<String, Failure> {
    let to = print::plain(&notice.receiver);
    let why = notice.last_error.as_deref().map(print::plain);
    match notice.phase.as_str() {
        "delivered" => {
            let receipt = notice.receipt.as_deref().filter(|receipt| !receipt.is_empty());
            let receipt = receipt.map(|receipt| format!(": {}", print::plain(receipt))).unwrap_or_default();
            Ok(format!("{}  delivered to {to}{receipt}", print::plain(&notice.id)))
        }
        "dead" => {
            let why = why.unwrap_or_else(|| "no reason is known".to_owned());
            Err(Failure::new(Exit::Failed, format!("{} was not delivered to {to}: {why}", notice.id)))
        }
        _ => {
            let why = why.unwrap_or_else(|| "it was not tried yet".to_owned());
            let within = DELIVERED_WITHIN.as_secs();
            let message = format!("{} was not delivered to {to} within {within} s: {why}", notice.id);
            Err(Failure::new(Exit::Failed, message).hint("it is tried again; `hmsops notify list` shows it"))
        }
    }
}

/// A phase's mark; its word is beside it.
fn mark(phase: &str) -> &'static str {
    match phase {
        "delivered" => "●",
        "waiting" => "▲",
        "dead" => "■",
        _ => "◌",
    }
}

fn table(notices: &[Notice]) -> String {
    let mut table = Table::new(["NOTICE", "RECEIVER", "ABOUT", "PHASE", "TRIES", "AT", "SUBJECT", "ERROR"]);
    for notice in notices {
        table.row([
            notice.id.clone(),
            notice.receiver.clone(),
            notice.about.clone(),
            format!("{} {}", mark(&notice.phase), notice.phase),
            // `attempts` counts those that failed.
            (notice.attempts + u32::from(notice.phase == "delivered")).to_string(),
            print::date(&notice.created_at),
            notice.subject.clone(),
            notice.last_error.clone().unwrap_or_else(|| "–".to_owned()),
        ]);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(phase: &str, last_error: Option<&str>, receipt: Option<&str>) -> Notice {
        let notice = r#"{"id":"n-9","receiver":"oncall@dmv.gov","about":"test","subject":"hmsops: a test","text":"",
            "phase":"","attempts":1,"last_error":null,"next_at":null,"created_at":"2026-11-22T14:02:07.100Z",
            "delivered_at":null,"receipt":null}"#;
        Notice {
            phase: phase.into(),
            last_error: last_error.map(str::to_owned),
            receipt: receipt.map(str::to_owned),
            ..serde_json::from_str(notice).unwrap()
        }
    }

    #[test]
    fn notices_are_a_table() {
        let expected = "\
NOTICE  RECEIVER        ABOUT  PHASE        TRIES  AT                   SUBJECT         ERROR
n-9     oncall@dmv.gov  test   ● delivered  2      2026-11-22 14:02:07  hmsops: a test  –
n-9     oncall@dmv.gov  test   ■ dead       1      2026-11-22 14:02:07  hmsops: a test  550 no such user
";
        let notices =
            [notice("delivered", None, Some("250 ok")), notice("dead", Some("550 no such user"), None)];
        assert_eq!(table(&notices), expected);
    }

    #[test]
    fn only_what_was_delivered_is_a_success() {
        assert_eq!(
            outcome(&notice("delivered", None, Some("250 ok"))).ok().as_deref(),
            Some("n-9  delivered to oncall@dmv.gov: 250 ok")
        );
        for (phase, error, said) in [
            ("dead", Some("550 no"), "n-9 was not delivered to oncall@dmv.gov: 550 no"),
            ("waiting", Some("refused"), "n-9 was not delivered to oncall@dmv.gov within 30 s: refused"),
            ("waiting", None, "n-9 was not delivered to oncall@dmv.gov within 30 s: it was not tried yet"),
        ] {
            let Err(Failure::Said { exit: Exit::Failed, message, .. }) = outcome(&notice(phase, error, None))
            else {
                panic!("{phase}")
            };
            assert_eq!(message, said);
        }
    }
}
