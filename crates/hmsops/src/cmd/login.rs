//! `hmsops login`: a tower is remembered, or a browser gets its link.

use std::path::PathBuf;

use hmsops_wire::api;
use serde_json::{Value, json};

use super::with;
use crate::client::Client;
use crate::contexts::{Contexts, Place};
use crate::failure::{Exit, Failure};
use crate::session::Asked;
use crate::trust::Trust;
use crate::{password, print};

/// Remember a tower and its token for later commands; without `--token`, print a link that logs a browser in once
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  hmsops login\n  hmsops login --user ann\n  hmsops login --server http://127.0.0.1:3000 --token hms_admin_…\n  hmsops login --server https://tower.csac.gov:3000 --ca sha256:… --token hms_sa_…"
)]
pub(super) struct Args {
    /// The name to remember it by
    #[arg(long, default_value = "default", value_name = "NAME")]
    context: String,
    /// Log in as a person, by the account of this name; the log-in is remembered instead of a token
    #[arg(long, value_name = "NAME", conflicts_with = "link")]
    user: Option<String>,
    /// A file whose first line is the password [default: asked for, or the first line of standard input]
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Print a link also when a token is given
    #[arg(long)]
    link: bool,
}

pub(super) fn run(args: Args, asked: Asked) -> Result<(), Failure> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (server, token) = (given(&asked.server), given(&asked.token));
    if let Some(user) = args.user {
        let password = password::read(args.password_file.as_deref(), &format!("password of {user}"))?;
        let name = args.context;
        let ca = asked.ca.as_deref().map(Trust::parse).transpose()?.unwrap_or_default().text();
        return with(asked, async |client| as_person(&client, (name, ca), user, password).await);
    }
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

/// Logs a person in; from then on commands are theirs.
async fn as_person(
    client: &Client,
    (name, ca): (String, String),
    user: String,
    password: String,
) -> Result<(), Failure> {
    let body = api::PasswordLogin { name: user, password, next: None };
    let answer: api::LoggedIn = client.post("/login/password", &body).await?;
    let mut contexts = Contexts::read()?;
    contexts.all.insert(name.clone(), Place { server: client.server(), token: answer.text, ca });
    contexts.current = name;
    let path = contexts.write()?;
    let session = answer.session;
    print::talk(&format!("{} is remembered in `{}`", client.server(), path.display()));
    print::line(&format!(
        "{}  {} until {}",
        session.id,
        print::plain(&session.roles.join(", ")),
        print::date(&session.until)
    ))
}

async fn link(client: &Client) -> Result<(), Failure> {
    let answer: Value = client.post("/hms/v1/login-links", &json!({})).await?;
    let path = answer.get("path").and_then(Value::as_str).filter(|path| path.starts_with("/login/"));
    let path = path.ok_or_else(|| Failure::new(Exit::Failed, "the tower answered without a link"))?;
    print::talk("open this within ten minutes; it works once");
    print::line(&format!("{}{}", client.server(), print::plain(path)))
}
