//! What the tower says about a release, asked through the CLI as a person's script would. All names of fields are
//! here and nowhere else.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use super::running::Lab;
use crate::failure::{Failure, Trying as _};
use crate::json::Json;

/// The lab's tower, through its command line.
#[derive(Debug)]
pub(crate) struct Cli {
    program: PathBuf,
    server: String,
    token: String,
}

/// A release that was taken back.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TakenBack {
    /// `r-1`.
    pub(crate) id: String,
    /// The word for where it stands.
    pub(crate) state: String,
    /// The canary's share now, in basis points.
    pub(crate) weight_bp: f64,
    /// From the canary's first bad answer to its last, before the shield; `None` when it gave none.
    pub(crate) exposure: Option<Duration>,
    /// When no request went to the canary any more, as RFC 3339; empty before.
    pub(crate) rolled_back_at: String,
    /// Bad answers of the canary that users saw.
    pub(crate) seen: f64,
    /// Whether the numbers are final.
    pub(crate) is_closed: bool,
    /// Why, in a sentence.
    pub(crate) why: String,
}

impl Cli {
    /// For a running lab.
    pub(crate) fn new(lab: &Lab, server: std::net::SocketAddr) -> Result<Self, Failure> {
        Ok(Self { program: lab.program().clone(), server: format!("http://{server}"), token: lab.token()? })
    }

    /// For a tower that was started by that program.
    pub(crate) fn of(program: &Path, server: std::net::SocketAddr, token: String) -> Self {
        Self { program: program.to_owned(), server: format!("http://{server}"), token }
    }

    /// Environment that scripts of the lab need.
    pub(crate) fn prepare<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let folder = self.program.parent().map(PathBuf::from).unwrap_or_default();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path =
            std::env::join_paths([folder].into_iter().chain(std::env::split_paths(&path))).unwrap_or(path);
        command.env("PATH", path).env("HMSOPS_SERVER", &self.server).env("HMSOPS_TOKEN", &self.token)
    }

    fn ask(&self, args: &[&str]) -> Result<Output, Failure> {
        let mut command = Command::new(&self.program);
        self.prepare(&mut command).args(args).output().trying(format!("run `hmsops {}`", args.join(" ")))
    }

    /// What a command that must succeed prints.
    pub(crate) fn say(&self, args: &[&str]) -> Result<String, Failure> {
        let output = self.ask(args)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
        }
        let (line, said) = (args.join(" "), String::from_utf8_lossy(&output.stderr));
        Err(Failure::new(format!("`hmsops {line}` failed ({}): {}", output.status, said.trim())))
    }

    /// What a command that must succeed prints, as JSON.
    pub(crate) fn ask_json(&self, args: &[&str]) -> Result<Json, Failure> {
        let output = self.ask(args)?;
        let line = args.join(" ");
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Failure::new(format!("`hmsops {line}` failed ({}): {}", output.status, said.trim())));
        }
        Json::parse(&String::from_utf8_lossy(&output.stdout))
            .map_err(|error| Failure::new(format!("`hmsops {line}` printed {error}")))
    }

    /// The first matching sample of an instant query.
    pub(crate) fn value(&self, query: &str) -> Result<Option<f64>, Failure> {
        let answer = self.ask_json(&["query", query, "--json"])?;
        let data = answer.at("data").unwrap_or(&answer);
        let series = data.at("result").map(Json::items).unwrap_or_default();
        let text = series.first().and_then(|series| series.at("value")?.items().get(1)?.as_text());
        Ok(text.and_then(|text| text.parse().ok()))
    }

    /// The latest release of the portal.
    pub(crate) fn latest_release(&self) -> Result<String, Failure> {
        let list = self.ask_json(&["release", "list", "--json"])?;
        let rows = if list.items().is_empty() {
            list.at("releases").map(Json::items).unwrap_or_default()
        } else {
            list.items()
        };
        let number = |row: &&Json| row.text_at("id").trim_start_matches("r-").parse::<u64>().unwrap_or(0);
        let latest = rows.iter().max_by_key(number).map(|row| row.text_at("id").to_owned());
        latest
            .filter(|id| !id.is_empty())
            .ok_or_else(|| Failure::new("`hmsops release list` names no release"))
    }

    /// One release.
    pub(crate) fn release(&self, id: &str) -> Result<TakenBack, Failure> {
        Ok(taken_back(&self.ask_json(&["release", "show", id, "--json"])?))
    }

    /// Whether the ledger is whole, in the tower's own words.
    pub(crate) fn verify_ledger(&self) -> Result<String, Failure> {
        let output = self.ask(&["audit", "verify"])?;
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() {
            Ok(said.trim().to_owned())
        } else {
            Err(Failure::new(format!("`hmsops audit verify` says no: {}", said.trim())))
        }
    }
}

/// Reads what `release show --json` prints.
fn taken_back(release: &Json) -> TakenBack {
    let number = |path: &str| release.at(path).and_then(Json::as_number);
    TakenBack {
        id: release.text_at("id").to_owned(),
        state: release.text_at("phase").to_owned(),
        weight_bp: number("weight_bp").unwrap_or(f64::NAN),
        exposure: number("bad_span_ms").map(|ms| Duration::from_secs_f64(ms.max(0.0) / 1000.0)),
        rolled_back_at: release.text_at("rolled_back_at").to_owned(),
        seen: number("seen").unwrap_or(f64::NAN),
        is_closed: release.at("closed").and_then(Json::as_bool).unwrap_or(false),
        why: release.text_at("why").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_read() {
        let json = r#"{"id": "r-3", "phase": "rolled-back", "weight_bp": 0, "why": "Rolled back: x.",
            "bad_span_ms": 1900, "seen": 4, "closed": true}"#;
        let release = taken_back(&Json::parse(json).unwrap());
        assert_eq!(release.exposure, Some(Duration::from_millis(1900)));
        assert_eq!((release.id.as_str(), release.state.as_str()), ("r-3", "rolled-back"));
        assert!(release.weight_bp == 0.0 && release.is_closed);
        assert_eq!(taken_back(&Json::parse("{\"bad_span_ms\": null}").unwrap()).exposure, None);
    }
}
