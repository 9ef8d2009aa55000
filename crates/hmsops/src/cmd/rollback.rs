//! `hmsops rollback`: a service goes back. The verb that heal scripts use.

use hmsops_model::Version;
use hmsops_wire::api::Revert;

use super::settle::{self, Wish};
use crate::client::{Client, encoded};
use crate::failure::Failure;
use crate::print;

/// Put a service back on an earlier version; whatever is out goes first
#[derive(clap::Args)]
#[command(after_help = "Waits until users are safe on that version, at most 90 s: exit 0 only then.\n\n\
                        Example:\n  hmsops rollback csac-portal --to=prev")]
pub(super) struct Args {
    /// The service
    service: String,
    /// A version, or `prev`: the last proven one that is not denied
    #[arg(long, value_name = "prev|VERSION")]
    to: String,
    /// Why, for the ledger
    #[arg(long, default_value = "")]
    reason: String,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(client: &Client, args: &Args) -> Result<(), Failure> {
    let path = format!("/hms/v1/services/{}", encoded(&args.service));
    let before = settle::before(client, &path).await?;
    let body = Revert { to: args.to.clone(), reason: args.reason.clone(), next: None };
    let wish = match before.release {
        Some(release) => Wish::TakenBack(release),
        None => Wish::Version {
            // One that is no version will be refused.
            wanted: (args.to != "prev").then(|| Version::new(args.to.as_str()).ok()).flatten(),
            before: before.stable.map(|stable| stable.version),
        },
    };
    settle::ask(client, &path, "rollback", &body, &wish).await?;
    let service = settle::until_safe(client, &path, &wish).await?;
    if args.json {
        return print::json(&service);
    }
    match &service.stable {
        Some(stable) => print::line(&format!("{}  stable is {}", service.name, stable.version)),
        None => print::line(&format!("{}  has no stable version", service.name)),
    }
}
