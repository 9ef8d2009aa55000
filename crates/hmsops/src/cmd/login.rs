//! `hmsops login`: a tower and who somebody is there are remembered, or a browser gets its link.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmsops_wire::api;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::with;
use crate::client::Client;
use crate::contexts::{Contexts, Place};
use crate::failure::{Exit, Failure};
use crate::session::Asked;
use crate::trust::Trust;
use crate::{password, print};

/// Log in: as yourself by a browser, as an account, or by a token; on the tower's machine, print a link for a browser
///
/// With `--browser`, and wherever no token is known for the tower, the command shows a code. Open the page that it names in
/// any browser, log in there as you do (by the provider, by an account), and type the code: later commands are then yours.
/// Where a token is known, as on the tower's own machine, it prints a link that logs one browser in once.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  hmsops login\n  hmsops login --browser --server https://tower.csac.gov:3000 --ca sha256:…\n  hmsops login --user ann\n  hmsops login --server http://127.0.0.1:3000 --token hms_admin_…\n  hmsops login --server https://tower.csac.gov:3000 --ca sha256:… --token hms_sa_…"
)]
pub(super) struct Args {
    /// The name to remember it by
    #[arg(long, default_value = "default", value_name = "NAME")]
    context: String,
    /// Log in as yourself in a browser, on this machine or another; the log-in is remembered instead of a token
    #[arg(long, conflicts_with_all = ["user", "link"])]
    browser: bool,
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
    let by_hand = std::env::args().any(|arg| {
        let name = arg.split('=').next().unwrap_or_default();
        matches!(name, "--token" | "--token-file")
    });
    if let (Some(server), Some(token), true) = (server, token, by_hand && !args.link) {
        let ca = asked.ca.as_deref().map(Trust::parse).transpose()?.unwrap_or_default();
        let place = Place { server, token, ca: ca.text() };
        return with(asked, async |client| remember(&client, args.context, place).await);
    }
    let by_browser = args.browser;
    let ca = asked.ca.as_deref().map(Trust::parse).transpose()?.unwrap_or_default().text();
    let name = args.context;
    with(asked, async |client| {
        // Whoever holds a token may be let in by it; whoever holds none has a browser to show who they are.
        let is_link = !by_browser && client.shows_token();
        if is_link { link(&client).await } else { in_browser(&client, (name, ca)).await }
    })
}

/// Shows a code, and waits until a person has typed it in a browser (RFC 8628).
async fn in_browser(client: &Client, place: (String, String)) -> Result<(), Failure> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot draw a random number: {error}")))?;
    let verifier = URL_SAFE_NO_PAD.encode(random);
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
    let body = api::NewProgram { challenge, name: own_name() };
    let begun: api::Program = client.post("/login/program", &body).await?;
    print::talk(&format!(
        "open {}{} in a browser, log in as yourself, and type this code within {} min:",
        client.server(),
        print::plain(&begun.path),
        begun.expires_in.div_ceil(60)
    ));
    print::line(&print::plain(&begun.code))?;
    let body = api::FetchProgram { code: begun.code, verifier };
    let interval = begun.interval.clamp(1, 60);
    for _ in 0..begun.expires_in.min(3600).div_ceil(interval) {
        tokio::time::sleep(Duration::from_secs(u64::from(interval))).await;
        match client.post::<Option<api::LoggedIn>>("/login/program/fetch", &body).await {
            Ok(Some(answer)) => return keep(client, place, answer),
            // A tower that is restarted forgets who waits, and says so when it is back.
            Ok(None) | Err(Failure::Said { exit: Exit::Unreachable, .. }) => {}
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure::new(Exit::Failed, "nobody has said yes in time").hint("`hmsops login` begins again"))
}

/// As the person recognises it: `ann@laptop`.
fn own_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_default();
    let name = [user.trim(), host.trim()].into_iter().filter(|part| !part.is_empty());
    name.collect::<Vec<_>>().join("@")
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

/// Logs a person in.
async fn as_person(
    client: &Client,
    place: (String, String),
    user: String,
    password: String,
) -> Result<(), Failure> {
    let body = api::PasswordLogin { name: user, password, next: None };
    let answer: api::LoggedIn = client.post("/login/password", &body).await?;
    keep(client, place, answer)
}

/// From then on commands are theirs.
fn keep(client: &Client, (name, ca): (String, String), answer: api::LoggedIn) -> Result<(), Failure> {
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
