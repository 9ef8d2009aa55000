//! `hmsops heal`: what heals do, and the switch that stops them all.

use clap::Subcommand;
use hmsops_model::HealId;
use hmsops_wire::api::{Heal, HealStarted, HealsPaused, NewHeal, Reason};
use serde_json::Value;

use crate::client::Client;
use crate::failure::Failure;
use crate::table::Table;
use crate::{pages, print};

/// See what heals, ask for it, and stop it
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Heals, newest first
    #[command(after_help = "Example:\n  hmsops heal list --limit 5")]
    List {
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: usize,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// One heal, with what it printed
    #[command(after_help = "Example:\n  hmsops heal show h-3")]
    Show {
        /// The heal, h-3
        id: HealId,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a rule's heal now, whether it fires or not
    #[command(after_help = "Example:\n  hmsops heal run photo_error_spike --dry-run\n  \
                      hmsops heal run photo_error_spike --reason \"the alert came late\"")]
    Run {
        /// The rule
        rule: String,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
        /// Why, for the ledger
        #[arg(long, required_unless_present = "dry_run", default_value = "")]
        reason: String,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Heal nothing until resumed; heals that run go on, release detectors stay on
    #[command(after_help = "Example:\n  hmsops heal pause --all --reason \"data centre drill\"")]
    Pause {
        /// Of all services
        #[arg(long, required = true)]
        all: bool,
        /// Why, for the ledger
        #[arg(long)]
        reason: String,
    },
    /// Heal again after a pause
    #[command(after_help = "Example:\n  hmsops heal resume --all")]
    Resume {
        /// Of all services
        #[arg(long, required = true)]
        all: bool,
        /// Why, for the ledger
        #[arg(long, default_value = "the pause is over")]
        reason: String,
    },
}

pub(super) async fn run(client: &Client, args: &Args) -> Result<(), Failure> {
    match &args.verb {
        Verb::List { limit, json } => list(client, *limit, *json).await,
        Verb::Show { id, json } => {
            let heal: Heal = client.get(&format!("/hms/v1/heals/{id}")).await?;
            if *json { print::json(&heal) } else { print::data(&page(&heal)) }
        }
        Verb::Run { rule, dry_run, reason, json } => {
            let asked = NewHeal { rule: rule.clone(), dry_run: *dry_run, reason: reason.clone() };
            let started: HealStarted = client.post("/hms/v1/heals", &asked).await?;
            if *json {
                return print::json(&started);
            }
            print::line(&print::plain(&match &started.id {
                Some(id) => format!("{id}  {}", started.action),
                None => format!("would run: {}", started.action),
            }))?;
            if let Some(id) = &started.id {
                print::talk(&format!("`hmsops heal show {}` says how it went", print::plain(id)));
            }
            Ok(())
        }
        Verb::Pause { reason, .. } => {
            switch(client, "pause", reason).await?;
            print::line("paused: nothing is healed until `hmsops heal resume --all`")
        }
        Verb::Resume { reason, .. } => {
            switch(client, "resume", reason).await?;
            print::line("resumed: heals run again")
        }
    }
}

async fn switch(client: &Client, verb: &str, reason: &str) -> Result<(), Failure> {
    let body = Reason { reason: reason.to_owned(), ..Reason::default() };
    let _answer: Value = client.post(&format!("/hms/v1/heals/{verb}"), &body).await?;
    Ok(())
}

async fn list(client: &Client, limit: usize, json: bool) -> Result<(), Failure> {
    let found = pages::read::<Heal>(client, "/hms/v1/heals", &[], limit).await?;
    if json {
        return print::json(&found);
    }
    let paused = found.more.get("paused").cloned().and_then(|paused| serde_json::from_value(paused).ok());
    if let Some(paused) = paused {
        print::talk(&held(&paused));
    }
    print::data(&table(&found.items))?;
    if found.next.is_some() {
        print::talk("there are older ones; `--limit` shows more");
    }
    Ok(())
}

fn held(paused: &HealsPaused) -> String {
    let why = if paused.reason.is_empty() { String::new() } else { format!(": {}", paused.reason) };
    print::plain(&format!(
        "paused since {} by {}{why}; nothing is healed until `hmsops heal resume --all`",
        print::date(&paused.since),
        paused.by.actor
    ))
}

/// A phase's mark; its word is beside it.
fn mark(phase: &str) -> &'static str {
    match phase {
        "healed" => "●",
        "running" | "checking" => "▲",
        "failed" => "■",
        _ => "◌",
    }
}

fn table(heals: &[Heal]) -> String {
    let mut table = Table::new(["HEAL", "RULE", "SERVICE", "ACTION", "PHASE", "SINCE", "BY"]);
    for heal in heals {
        table.row([
            heal.id.clone(),
            heal.rule.clone(),
            heal.service.clone(),
            heal.action.clone(),
            format!("{} {}", mark(&heal.phase), heal.phase),
            print::date(&heal.started_at),
            heal.by.actor.clone(),
        ]);
    }
    table.text()
}

fn page(heal: &Heal) -> String {
    let head = format!("{} {}  {}  {}", mark(&heal.phase), heal.id, heal.service, heal.action);
    let facts = [
        ("phase", Some(heal.phase.clone())),
        ("why", heal.why.clone()),
        ("script", heal.exit.clone()),
        ("rule", Some(heal.rule.clone())),
        ("alert", heal.alert.clone()),
        ("ticket", heal.ticket.clone()),
        ("started", Some(print::date(&heal.started_at))),
        ("ended", heal.ended_at.as_deref().map(print::date)),
        ("by", Some(format!("{} ({})", heal.by.actor, heal.by.source))),
    ];
    let facts = facts.into_iter().filter_map(|(what, text)| Some(format!("{what:<9} {}", text?)));
    let mut text: String =
        std::iter::once(head).chain(facts).map(|line| print::plain(&line) + "\n").collect();
    if !heal.output.trim().is_empty() {
        text.push('\n');
        text.extend(heal.output.lines().map(|line| format!("  {}\n", print::plain(line))));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heal() -> Heal {
        serde_json::from_str(
            r#"{"id":"h-3","rule":"photo_error_spike","alert":"a-12","service":"dmv-photo",
                "action":"rollback dmv-photo --to=prev","phase":"failed","by":{"actor":"tower","source":"rule"},
                "started_at":"2026-11-22T14:02:07.100Z","ended_at":"2026-11-22T14:02:17.100Z",
                "exit":"exited with status 4","output":"error: `dmv-photo` has no earlier version\nhint: x\u001b\n",
                "why":"its script exited with status 4","ticket":"t-1"}"#,
        )
        .unwrap()
    }

    #[test]
    fn heals_are_a_table_and_a_page_with_their_output() {
        let expected = "\
HEAL  RULE               SERVICE    ACTION                        PHASE     SINCE                BY
h-3   photo_error_spike  dmv-photo  rollback dmv-photo --to=prev  ■ failed  2026-11-22 14:02:07  tower
";
        assert_eq!(table(&[heal()]), expected);
        let expected = "\
■ h-3  dmv-photo  rollback dmv-photo --to=prev
phase     failed
why       its script exited with status 4
script    exited with status 4
rule      photo_error_spike
alert     a-12
ticket    t-1
started   2026-11-22 14:02:07
ended     2026-11-22 14:02:17
by        tower (rule)

  error: `dmv-photo` has no earlier version
  hint: x\u{fffd}
";
        assert_eq!(page(&heal()), expected);
    }

    #[test]
    fn a_pause_says_since_when_by_whom_and_why() {
        let paused =
            r#"{"since":"2026-11-22T14:02:07.100Z","by":{"actor":"admin","source":"api"},"reason":"drill"}"#;
        assert_eq!(
            held(&serde_json::from_str(paused).unwrap()),
            "paused since 2026-11-22 14:02:07 by admin: drill; nothing is healed until `hmsops heal resume --all`"
        );
    }
}
