//! The verbs, one file each.

mod agent;
mod alert;
mod apply;
mod audit;
mod check;
mod completions;
mod dash;
mod deploy;
mod doctor;
mod gateway;
mod heal;
mod lab;
mod login;
mod man;
mod metric;
mod notify;
mod person;
mod probe;
mod query;
mod release;
mod restart;
mod rollback;
mod serve;
mod service;
mod settle;
mod shim;
mod source;
mod ticket;
mod token;
mod trial;
mod version;
mod watch;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::print;
use crate::secret;
use crate::session::Asked;

/// The control tower: ships releases behind a canary, and takes bad ones back within seconds.
#[derive(Parser)]
#[command(
    name = "hmsops",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 failed or the answer is no, 2 usage or invalid file, 3 not found, 4 refused, \
                  5 no tower answers\n\nExample:\n  hmsops deploy -f dev/cd/canary.yaml --wait"
)]
pub(crate) struct Cli {
    /// The tower's address [default: the current context's, else http://127.0.0.1:3000]
    #[arg(long, global = true, env = "HMSOPS_SERVER", hide_env_values = true, value_name = "URL")]
    server: Option<String>,
    /// The token to show, which everybody on this machine reads in the list of processes: --token-file and $HMSOPS_TOKEN
    /// are not seen [default: the context's, else the admin token of the data folder here]
    #[arg(long, global = true, env = "HMSOPS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    /// A file with the token to show, nobody else's to read; `-`: standard input. Goes before --token
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// By what a tower with TLS is recognised: a file of certificates, or sha256:… [default: the context's, else the data
    /// folder's here, else the authorities of this machine]
    #[arg(long, global = true, env = "HMSOPS_CA", hide_env_values = true, value_name = "FILE|SHA256")]
    ca: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Serve(serve::Args),
    Gateway(gateway::Args),
    Shim(shim::Args),
    Agent(agent::Args),
    Check(check::Args),
    Apply(apply::Args),
    Service(service::Args),
    Deploy(deploy::Args),
    Release(release::Args),
    Rollback(rollback::Args),
    Restart(restart::Args),
    Probe(probe::Args),
    Query(query::Args),
    Metric(metric::Args),
    Dash(dash::Args),
    Alert(alert::Args),
    Heal(heal::Args),
    Ticket(ticket::Args),
    Token(token::Args),
    Account(person::AccountArgs),
    Session(person::SessionArgs),
    Approval(person::ApprovalArgs),
    Breakglass(person::GlassArgs),
    Notify(notify::Args),
    Audit(audit::Args),
    Doctor(doctor::Args),
    Lab(lab::Args),
    Login(login::Args),
    Completions(completions::Args),
    Man(man::Args),
    Version(version::Args),
}

/// Does what was asked.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    let token = match &cli.token_file {
        Some(file) => Some(secret::read(file, "the token")?),
        None => cli.token,
    };
    let asked = Asked { server: cli.server, token, ca: cli.ca };
    match cli.verb {
        Verb::Serve(args) => serve::run(args),
        Verb::Gateway(args) => gateway::run(args),
        Verb::Shim(args) => shim::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Lab(args) => lab::run(&args),
        Verb::Completions(args) => completions::run(&args),
        Verb::Man(args) => man::run(&args),
        Verb::Version(args) => version::run(&args),
        Verb::Audit(args) => audit::run(args, asked),
        Verb::Doctor(args) => doctor::run(&args, asked),
        Verb::Agent(args) => agent::run(args, asked),
        Verb::Login(args) => login::run(args, asked),
        Verb::Apply(args) => with(asked, async |client| apply::run(&client, &args).await),
        Verb::Service(args) => with(asked, async |client| service::run(&client, &args).await),
        Verb::Deploy(args) => with(asked, async |client| deploy::run(&client, &args).await),
        Verb::Release(args) => with(asked, async |client| release::run(&client, &args).await),
        Verb::Rollback(args) => with(asked, async |client| rollback::run(&client, &args).await),
        Verb::Restart(args) => with(asked, async |client| restart::run(&client, &args).await),
        Verb::Probe(args) => with(asked, async |client| probe::run(&client, &args).await),
        Verb::Query(args) => with(asked, async |client| query::run(&client, &args).await),
        Verb::Metric(args) => with(asked, async |client| metric::run(&client, &args).await),
        Verb::Dash(args) => with(asked, async |client| dash::run(&client, &args).await),
        Verb::Alert(args) if args.trial().is_some() => args.trial().map_or(Ok(()), trial::run),
        Verb::Alert(args) => with(asked, async |client| alert::run(&client, &args).await),
        Verb::Heal(args) => with(asked, async |client| heal::run(&client, &args).await),
        Verb::Token(args) => with(asked, async |client| token::run(&client, &args).await),
        Verb::Account(args) => with(asked, async |client| person::account(&client, &args).await),
        Verb::Session(args) => with(asked, async |client| person::session(&client, &args).await),
        Verb::Approval(args) => with(asked, async |client| person::approval(&client, &args).await),
        Verb::Breakglass(args) => with(asked, async |client| person::breakglass(&client, &args).await),
        Verb::Ticket(args) => with(asked, async |client| ticket::run(&client, &args).await),
        Verb::Notify(args) => with(asked, async |client| notify::run(&client, &args).await),
    }
}

/// Speaks with the tower that is meant.
fn with(asked: Asked, speak: impl AsyncFnOnce(Client) -> Result<(), Failure>) -> Result<(), Failure> {
    let client = asked.client()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| machine("start a runtime", &error))?.block_on(speak(client))
}

/// The machine refuses something basic.
fn machine(doing: &str, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot {doing}: {error}"))
}

/// Says what is wrong with a command line, and how the program ends with it.
pub(crate) fn mistyped(wrong: &clap::Error) -> ExitCode {
    let text = wrong.render().to_string();
    let shown = print::without_tokens(&text);
    if shown == text {
        wrong.exit();
    }
    // Where not even this can be said, the exit code says it.
    let _unsaid = std::io::stderr().write_all(shown.as_bytes());
    ExitCode::from(u8::try_from(wrong.exit_code()).unwrap_or(Exit::Usage as u8))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn walk(command: &clap::Command, path: &str, found: &mut Vec<(String, String)>) {
        let path = format!("{path} {}", command.get_name());
        if command.get_subcommands().next().is_none() || command.get_name() == "hmsops" {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            found.push((path.trim().to_owned(), help));
        }
        command.get_subcommands().for_each(|verb| walk(verb, &path, found));
    }

    /// The words of a command as a shell takes them: quotes hold blanks together, `>` and `|` end it.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
        for c in line.chars() {
            match (c, quote) {
                (c, Some(open)) if c == open => quote = None,
                ('"' | '\'', None) => (quote, word) = (Some(c), Some(word.unwrap_or_default())),
                (' ', None) => words.extend(word.take()),
                (c, _) => word.get_or_insert_default().push(c),
            }
            if quote.is_none() && matches!(words.last().map(String::as_str), Some(">" | "|")) {
                words.pop();
                return words;
            }
        }
        words.extend(word);
        words
    }

    /// The reference page: every verb's help, as a terminal shows it.
    fn reference() -> String {
        fn add(command: &mut clap::Command, path: &str, text: &mut String) {
            let path = format!("{path} {}", command.get_name()).trim().to_owned();
            let help = command.render_long_help().to_string();
            let help: String = help.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
            text.push_str(&["\n## ", &path, "\n\n```text\n", help.trim_end(), "\n```\n"].concat());
            for verb in command.get_subcommands_mut().filter(|verb| verb.get_name() != "help") {
                add(verb, &path, text);
            }
        }
        let mut text = "# The command line\n\nWritten by a test from the program's own help: \
                        `UPDATE=1 cargo test -p hmsops reference`.\n"
            .to_owned();
        let mut root = Cli::command().term_width(100);
        root.build();
        add(&mut root, "", &mut text);
        text
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the one who asks for it wants the page written")]
    fn the_reference_page_is_what_the_program_says() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/cli.md");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(page, reference()).unwrap();
        }
        let written = std::fs::read_to_string(page).unwrap();
        assert!(
            written == reference(),
            "docs/reference/cli.md is old: UPDATE=1 cargo test -p hmsops reference"
        );
    }

    #[test]
    fn the_arguments_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_has_an_example_that_parses() {
        let mut found = Vec::new();
        walk(&Cli::command(), "", &mut found);
        assert!(found.len() > 25, "{found:?}");
        for (verb, help) in found {
            let (_, examples) =
                help.split_once("Example:\n").unwrap_or_else(|| panic!("{verb} has no example"));
            for line in examples.lines().map(str::trim).filter(|line| !line.is_empty()) {
                let line =
                    line.strip_prefix("eval \"$(").and_then(|rest| rest.strip_suffix(")\"")).unwrap_or(line);
                let words = words(line);
                assert!(line.starts_with(verb.as_str()), "{verb}: {line}");
                if let Err(error) = Cli::try_parse_from(&words) {
                    panic!("{verb}: {line}: {error}");
                }
            }
        }
    }
}
