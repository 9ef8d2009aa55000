//! `hmsops login`: a tower is remembered, or a browser gets its link.

use serde_json::{Value, json};

use super::with;
use crate::client::Client;
use crate::contexts::{Contexts, Place};
use crate::failure::{Exit, Failure};
use crate::print;
use crate::session::Asked;
use crate::trust::Trust;

/// Remember a tower and its token for later commands; without `--token`, print a link that logs a browser in once
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  hmsops login\n  hmsops login --server http://127.0.0.1:3000 --token hms_admin_…\n  hmsops login --server https://tower.csac.gov:3000 --ca sha256:… --token hms_sa_…"
)]
pub(super) struct Args {
    /// The name to remember it by
    #[arg(long, default_value = "default", value_name = "NAME")]
    context: String,
    /// Print a link also when a token is given
    #[arg(long)]
    link: bool,
}

pub(super) fn run(args: Args, asked: Asked) -> Result<(), Failure> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (server, token) = (given(&asked.server), given(&asked.token));
    // In a shell that knows a tower by its environment a link is what is missing.
    let by_hand = std::env::args().any(|arg| arg == "--token" || arg.starts_with("--token="));
    if let (Some(server), Some(token), true) = (server, token, by_hand && !args.link) {
        let ca = asked.ca.as_deref().map(Trust::parse).transpose()?.unwrap_or_default();
        let place = Place { server, token, ca: ca.text() };
        return with(asked, async |client| remember(&client, args.context, place).await);
    }
    with(asked, async |client| link(&client).await)
}

async fn remember(client: &Client, name: String, place: Place) -> Result<(), Failure> {
    // What does not work is not worth remembering.
    let _services: Value = client.get("/hms/v1/services").await?;
    let mut contexts = Contexts::read()?;
    contexts.all.insert(name.clone(), place);
    contexts.current = name;
    let path = contexts.write()?;
    print::talk(&format!("{} is remembered in `{}`", client.server(), path.display()));
    Ok(())
}

async fn link(client: &Client) -> Result<(), Failure> {
    let answer: Value = client.post("/hms/v1/login-links", &json!({})).await?;
    let path = answer.get("path").and_then(Value::as_str).filter(|path| path.starts_with("/login/"));
    let path = path.ok_or_else(|| Failure::new(Exit::Failed, "the tower answered without a link"))?;
    print::talk("open this within ten minutes; it works once");
    print::line(&format!("{}{}", client.server(), print::plain(path)))
}
