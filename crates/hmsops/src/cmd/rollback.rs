//! `hmsops rollback`: a service goes back. The verb that heal scripts use.

use hmsops_wire::api::{Revert, Service};

use crate::client::{Client, encoded};
use crate::failure::Failure;
use crate::print;

/// Put a service back on an earlier version; whatever is out goes first
#[derive(clap::Args)]
#[command(after_help = "Example:\n  hmsops rollback csac-portal --to=prev")]
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
    let body = Revert { to: args.to.clone(), reason: args.reason.clone(), next: None };
    let path = format!("/hms/v1/services/{}/rollback", encoded(&args.service));
    let service: Service = client.post(&path, &body).await?;
    if args.json {
        return print::json(&service);
    }
    match &service.stable {
        Some(stable) => print::line(&format!("{}  stable is {}", service.name, stable.version)),
        None => print::line(&format!("{}  has no stable version", service.name)),
    }
}
