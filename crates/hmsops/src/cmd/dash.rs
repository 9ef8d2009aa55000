//! `hmsops dash`: dashboards.

use std::path::PathBuf;

use clap::Subcommand;
use hmsops_wire::api::{Dash, Panel, PanelAdded, Panels};
use serde::{Deserialize, Serialize};

use super::source;
use crate::client::{Client, encoded};
use crate::failure::Failure;
use crate::table::Table;
use crate::{caret, pages, print};

/// See dashboards and change them
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Add a panel; prints the page's address
    #[command(after_help = "Example:\n  hmsops dash add --query \"sum(rate(photo.upload.ok[5m]))\" \
                      --title \"Photo Uploads / sec\" --panel line")]
    Add(Add),
    /// All dashboards
    #[command(after_help = "Example:\n  hmsops dash list")]
    List {
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// One dashboard
    #[command(after_help = "Example:\n  hmsops dash show dmv")]
    Show {
        /// Its name
        name: String,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a dashboard, or one of its panels
    #[command(after_help = "Example:\n  hmsops dash rm dmv --panel \"Photo Uploads / sec\"")]
    Rm {
        /// Its name
        name: String,
        /// Only this panel, by its title
        #[arg(long, value_name = "TITLE")]
        panel: Option<String>,
        /// Why, for the ledger
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Print a dashboard as a file that `import` reads
    #[command(after_help = "Example:\n  hmsops dash export dmv > dmv.json")]
    Export {
        /// Its name
        name: String,
    },
    /// Put a dashboard in place as a file says; prints the page's address
    #[command(after_help = "Example:\n  hmsops dash import dmv.json")]
    Import {
        /// What `export` printed; `-` is stdin
        file: PathBuf,
        /// Under this name instead of the file's
        #[arg(long)]
        name: Option<String>,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
struct Add {
    /// PromQL
    #[arg(long, value_name = "PROMQL")]
    query: String,
    /// Its heading
    #[arg(long)]
    title: String,
    /// How it is drawn
    #[arg(long, default_value = "line", value_parser = ["line", "bar", "stat", "table", "heatmap"])]
    panel: String,
    /// The dashboard [default: the system of the service that the query's metric comes from, else `main`]
    #[arg(long, value_name = "NAME")]
    dash: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// A dashboard as a file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Export {
    name: String,
    panels: Vec<Panel>,
}

/// What stands for a name that the tower shall choose.
const CHOOSE: &str = "-";

pub(super) async fn run(client: &Client, args: &Args) -> Result<(), Failure> {
    match &args.verb {
        Verb::Add(args) => add(client, args).await,
        Verb::List { json } => {
            let found = pages::read::<Dash>(client, "/hms/v1/dashes", &[], usize::MAX).await?;
            if *json { print::json(&found) } else { print::data(&table(&found.items)) }
        }
        Verb::Show { name, json } => {
            let dash: Dash = client.get(&path(name)).await?;
            if *json { print::json(&dash) } else { print::data(&page(client, &dash)) }
        }
        Verb::Rm { name, panel, reason } => remove(client, name, panel.as_deref(), reason).await,
        Verb::Export { name } => {
            let dash: Dash = client.get(&path(name)).await?;
            print::json(&Export { name: dash.name, panels: dash.panels })
        }
        Verb::Import { file, name, json } => {
            let file = source::read(file)?;
            let read = parse(&file.name, &file.text)?;
            let name = name.as_ref().unwrap_or(&read.name);
            let dash: Dash = client.put(&path(name), &Panels { panels: read.panels }).await?;
            if *json { print::json(&dash) } else { print::line(&address(client, &dash.url)) }
        }
    }
}

async fn add(client: &Client, args: &Add) -> Result<(), Failure> {
    let path = format!("{}/panels", path(args.dash.as_deref().unwrap_or(CHOOSE)));
    let (title, query, panel) = (args.title.clone(), args.query.clone(), args.panel.clone());
    let added = client.post(&path, &Panel { title, query, panel }).await;
    let added: PanelAdded = added.map_err(|failure| caret::show(failure, &args.query))?;
    if args.json {
        return print::json(&added);
    }
    let dash = print::plain(&added.dash);
    print::talk(&match (added.created, added.changed) {
        (true, _) => format!("dashboard `{dash}` is new, with this panel"),
        (false, true) => format!("the panel is on dashboard `{dash}`"),
        (false, false) => format!("dashboard `{dash}` has this panel already"),
    });
    print::line(&address(client, &added.url))
}

async fn remove(client: &Client, name: &str, panel: Option<&str>, reason: &str) -> Result<(), Failure> {
    let panel_path = panel.map(|title| format!("/panels/{}", encoded(title))).unwrap_or_default();
    client.delete(&format!("{}{panel_path}?reason={}", path(name), encoded(reason))).await?;
    print::line(&match panel {
        Some(title) => format!("{name}  panel `{title}` removed"),
        None => format!("{name}  removed"),
    })
}

fn path(name: &str) -> String {
    format!("/hms/v1/dashes/{}", encoded(name))
}

fn address(client: &Client, url: &str) -> String {
    format!("{}{}", client.server(), print::plain(url))
}

fn parse(name: &str, text: &str) -> Result<Export, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::usage(format!("cannot use `{name}` as a dashboard: {error}"))
            .hint("expected what `hmsops dash export NAME` prints: {\"name\": …, \"panels\": […]}")
    })
}

fn table(dashes: &[Dash]) -> String {
    let mut table = Table::new(["DASHBOARD", "PANELS", "SERVICES", "PAGE"]);
    for dash in dashes {
        let services = if dash.services.is_empty() { "–".to_owned() } else { dash.services.join(", ") };
        table.row([dash.name.clone(), dash.panels.len().to_string(), services, dash.url.clone()]);
    }
    table.text()
}

fn page(client: &Client, dash: &Dash) -> String {
    let services = match dash.services.as_slice() {
        [] => String::new(),
        services => format!("services  {}\n", print::plain(&services.join(", "))),
    };
    let mut table = Table::new(["TITLE", "PANEL", "QUERY"]);
    for panel in &dash.panels {
        table.row([panel.title.clone(), panel.panel.clone(), panel.query.clone()]);
    }
    format!("{}  {}\n{services}\n{}", print::plain(&dash.name), address(client, &dash.url), table.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dash() -> Dash {
        serde_json::from_str(
            r#"{"name":"dmv","url":"/dash/dmv","panels":[{"title":"Photo Uploads / sec",
                "query":"sum(rate(photo.upload.ok[5m]))","panel":"line"}],"services":["dmv-photo"]}"#,
        )
        .unwrap()
    }

    #[test]
    fn dashboards_are_a_table_and_a_page() {
        assert_eq!(
            table(&[dash()]),
            "DASHBOARD  PANELS  SERVICES   PAGE\ndmv        1       dmv-photo  /dash/dmv\n"
        );
        let client = Client::new("http://127.0.0.1:3000", None).unwrap();
        let expected = "dmv  http://127.0.0.1:3000/dash/dmv\nservices  dmv-photo\n\n\
                        TITLE                PANEL  QUERY\n\
                        Photo Uploads / sec  line   sum(rate(photo.upload.ok[5m]))\n";
        assert_eq!(page(&client, &dash()), expected);
    }

    #[test]
    fn what_is_exported_is_imported_and_a_wrong_file_names_the_place() {
        let export = Export { name: "dmv".into(), panels: dash().panels };
        let text = serde_json::to_string_pretty(&export).unwrap();
        assert_eq!(parse("dmv.json", &text).ok(), Some(export));
        let Err(Failure::Said { message, .. }) = parse("x.json", "{\"name\": \"a\",\n \"panel\": []}") else {
            panic!("refused")
        };
        assert!(message.starts_with("cannot use `x.json` as a dashboard: ") && message.contains("line 2"));
    }
}
