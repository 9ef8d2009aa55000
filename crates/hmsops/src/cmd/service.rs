//! `hmsops service`: what runs.

use clap::Subcommand;
use hmsops_model::Version;
use hmsops_wire::api::{Health, Service, Services, Takeover};

use crate::client::{Client, encoded};
use crate::failure::Failure;
use crate::print;
use crate::table::Table;

/// See services, and take over one that runs already
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// All services
    #[command(after_help = "Example:\n  hmsops service list --json")]
    List {
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// One service
    #[command(after_help = "Example:\n  hmsops service show csac-portal")]
    Show {
        /// Its name
        name: String,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Take over a service that runs already, with `driver: external`: its first stable version
    #[command(
        after_help = "Example:\n  hmsops service adopt legacy-forms --upstream 10.0.0.4:8080 --version 1.7.3"
    )]
    Adopt {
        /// Its name
        name: String,
        /// Where it answers; can be given more than once
        #[arg(long, required = true, value_name = "HOST:PORT")]
        upstream: Vec<String>,
        /// The version that runs
        #[arg(long)]
        version: String,
        /// Why, for the ledger
        #[arg(long, default_value = "")]
        reason: String,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(client: &Client, args: &Args) -> Result<(), Failure> {
    match &args.verb {
        Verb::List { json } => {
            let services: Services = client.get("/hms/v1/services").await?;
            if *json { print::json(&services) } else { print::data(&table(&services.services)) }
        }
        Verb::Show { name, json } => {
            let service: Service = client.get(&format!("/hms/v1/services/{}", encoded(name))).await?;
            if *json { print::json(&service) } else { print::data(&page(&service)) }
        }
        Verb::Adopt { name, upstream, version, reason, json } => {
            let version =
                Version::new(version.as_str()).map_err(|error| Failure::usage(error.to_string()))?;
            let body = Takeover { version, upstreams: upstream.clone(), reason: reason.clone() };
            let service: Service =
                client.post(&format!("/hms/v1/services/{}/adopt", encoded(name)), &body).await?;
            if *json { print::json(&service) } else { print::data(&page(&service)) }
        }
    }
}

/// Its mark and its word, so that neither colour nor shape says it alone.
fn mark(health: Health) -> String {
    let sign = match health {
        Health::Fine => "●",
        Health::Watch => "▲",
        Health::Failing => "■",
        Health::Unknown | Health::Retired => "◌",
    };
    format!("{sign} {}", health.name())
}

fn table(services: &[Service]) -> String {
    let mut table =
        Table::new(["SERVICE", "STATE", "STABLE", "RELEASE", "REQ/S", "ERRORS", "P99", "GATEWAY"]);
    for service in services {
        let dash = || "–".to_owned();
        table.row([
            service.name.to_string(),
            mark(service.state),
            service.stable.as_ref().map_or_else(dash, |stable| stable.version.to_string()),
            service.release.map_or_else(dash, |release| release.to_string()),
            service.requests_per_second.map_or_else(dash, |rate| format!("{rate:.1}")),
            service.error_share.map_or_else(dash, |share| format!("{:.2} %", share * 100.0)),
            service.p99_ms.map_or_else(dash, |p99| format!("{p99:.0} ms")),
            gateway(service),
        ]);
    }
    table.text()
}

fn gateway(service: &Service) -> String {
    match (&service.gateway, service.gateway_live) {
        (Some(name), Some(true)) => name.clone(),
        (Some(name), _) => format!("{name} (silent)"),
        (None, _) => "–".to_owned(),
    }
}

fn page(service: &Service) -> String {
    let mut lines = vec![format!("{}  {}", service.name, mark(service.state))];
    if let Some(stable) = &service.stable {
        let pid = stable.pid.map(|pid| format!("  pid {pid}")).unwrap_or_default();
        let health = match stable.healthy {
            Some(true) => "probes pass",
            Some(false) => "probes fail",
            None => "probes not known yet",
        };
        lines.push(format!(
            "stable    {}  {}{pid}  {}  {health}",
            stable.version,
            stable.instance,
            stable.upstreams.join(", ")
        ));
    } else {
        lines.push("stable    none yet".to_owned());
    }
    lines.extend(service.release.map(|release| format!("release   {release}")));
    lines.extend(service.incident.map(|incident| format!("incident  {incident}")));
    let rate = service.requests_per_second.map_or_else(
        || "not known".to_owned(),
        |rate| {
            let errors = service
                .error_share
                .map(|share| format!(", {:.2} % errors", share * 100.0))
                .unwrap_or_default();
            let p99 = service.p99_ms.map(|p99| format!(", p99 {p99:.0} ms")).unwrap_or_default();
            format!("{rate:.1} requests/s{errors}{p99}")
        },
    );
    lines.push(format!("traffic   {rate}"));
    lines.push(format!("gateway   {}", gateway(service)));
    lines.push(format!("driver    {}", service.driver));
    let proven: Vec<&str> = service.proven.iter().map(Version::as_str).collect();
    if !proven.is_empty() {
        lines.push(format!("proven    {}", proven.join(", ")));
    }
    lines.extend(service.owner.as_ref().map(|owner| format!("owner     {owner}")));
    lines.iter().map(|line| print::plain(line) + "\n").collect()
}
