//! `hmsops restart`: a service is started anew. A verb that heals.

use hmsops_wire::api::Reason;

use super::settle::{self, Wish};
use crate::client::{Client, encoded};
use crate::failure::Failure;
use crate::print;

/// Start a service's stable version anew; the copy that runs goes once the new one is ready, so no user notices
#[derive(clap::Args)]
#[command(after_help = "Waits until the new copy has all traffic, at most 90 s: exit 0 only then.\n\n\
                        Example:\n  hmsops restart csac-portal --reason \"it leaks memory\"")]
pub(super) struct Args {
    /// The service
    service: String,
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
    let body = Reason { reason: args.reason.clone(), ..Reason::default() };
    let wish = Wish::OtherCopy(before.stable.map(|stable| stable.instance));
    settle::ask(client, &path, "restart", &body, &wish).await?;
    let service = settle::until_safe(client, &path, &wish).await?;
    if args.json {
        return print::json(&service);
    }
    match &service.stable {
        Some(stable) => {
            let pid = stable.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
            print::line(&format!(
                "{}  {} runs anew as {}{pid}",
                service.name, stable.version, stable.instance
            ))
        }
        None => print::line(&format!("{}  has no stable version", service.name)),
    }
}
