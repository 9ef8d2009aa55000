//! `hmsops doctor`: what is not as it should be with an installation.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use hmsops_server::doctor;
use hmsops_wire::api::{Examination, Finding, Severity};

use super::with;
use crate::contexts::Contexts;
use crate::failure::{Exit, Failure};
use crate::session::{self, Asked};
use crate::{paint, print};

/// Permission bits of group and world.
const OTHERS: u32 = 0o077;

/// What is not as it should be: permissions, disk, ledger, clock, leftovers of a crash, listeners, tokens, gateways, files.
/// Nothing is changed. Warnings exit with 0, problems with 1
///
/// The tower looks at itself; where none answers, its data folder is looked at from here.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  hmsops doctor\n  hmsops doctor --data /var/lib/hmsops --config /etc/hmsops/hmsops.yaml --json"
)]
pub(super) struct Args {
    /// Look at this data folder, and ask no tower
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// And at these settings; a tower that answers knows its own
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, asked: Asked) -> Result<(), Failure> {
    let mut found = match &args.data {
        Some(data) if !data.is_dir() => {
            let message = format!("there is no data folder `{}`", data.display());
            return Err(
                Failure::new(Exit::NotFound, message).hint("a tower's `--data` says where its folder is")
            );
        }
        Some(data) => doctor::folder(data, args.config.as_deref()),
        None => ask(asked, args.config.as_deref())?,
    };
    contexts(&mut found);
    found.findings.sort_by_key(|finding| finding.severity);
    if args.json {
        print::json(&found)?;
    } else {
        print::data(&written(&found, paint::data()))?;
    }
    let is_ill = found.findings.iter().any(|finding| finding.severity == Severity::Problem);
    if is_ill { Err(Failure::Silent(Exit::Failed)) } else { Ok(()) }
}

/// What the tower says; where none answers and it would be the one of the folder here, what that shows.
fn ask(asked: Asked, config: Option<&Path>) -> Result<Examination, Failure> {
    let data = session::data_folder();
    let is_here = asked.is_of(&data);
    let mut said = None;
    let answer = with(asked, async |client| {
        said = Some(client.get::<Examination>("/hms/v1/doctor").await?);
        Ok(())
    });
    match (answer, said) {
        (Ok(()), Some(said)) => Ok(said),
        (Err(failure), _) if failure.exit() == Some(Exit::Unreachable) && is_here && data.is_dir() => {
            let mut found = doctor::folder(&data, config);
            found.checked.insert(0, "tower".into());
            found.findings.insert(0, silent(&failure));
            Ok(found)
        }
        (Err(failure), _) => Err(failure),
        (Ok(()), None) => Err(Failure::new(Exit::Failed, "the tower was not asked")),
    }
}

fn silent(failure: &Failure) -> Finding {
    Finding {
        severity: Severity::Problem,
        check: "tower".into(),
        what: failure.text().to_owned(),
        why: "services and gateways go on, and a canary is taken back after 5 s; nothing heals and nobody is told".into(),
        remedy: "start it: `systemctl start hmsops`, or `hmsops serve`".into(),
    }
}

/// The tokens that this user keeps are nobody else's.
fn contexts(found: &mut Examination) {
    found.checked.push("contexts".into());
    let Some(path) = Contexts::place() else { return };
    let Ok(known) = path.metadata() else { return };
    let mode = known.mode() & 0o7777;
    if mode & OTHERS != 0 {
        let shown = path.display();
        found.findings.push(Finding {
            severity: Severity::Problem,
            check: "contexts".into(),
            what: format!("`{shown}` has mode {mode:04o}"),
            why: "the tokens in it let whoever reads it act as you".into(),
            remedy: format!("chmod 0600 {shown}, and rotate the tokens: nobody knows who has read them"),
        });
    }
}

/// For people: each finding with its why and its remedy, then what was looked at.
fn written(found: &Examination, coloured: bool) -> String {
    let mut text = String::new();
    for Finding { severity, check, what, why, remedy } in &found.findings {
        let (mark, code) = match severity {
            Severity::Problem => ("■", "1;31"),
            Severity::Warning => ("▲", "33"),
        };
        let head = paint::text(code, &format!("{mark} {}", severity.name()), coloured);
        let [check, what, why, remedy] = [check, what, why, remedy].map(|said| print::plain(said));
        // Writing to a String cannot fail.
        let _ = write!(text, "{head}  {check}: {what}\n  why     {why}\n  remedy  {remedy}\n\n");
    }
    let by = if found.by == "tower" { "by the tower" } else { "in the data folder" };
    let looks = print::plain(&found.checked.join(", "));
    let counts = match found.findings.len() {
        0 => "nothing is wrong".to_owned(),
        1 => "1 finding".to_owned(),
        n => format!("{n} findings"),
    };
    let _ = writeln!(text, "{counts}; looked at {by}: {looks}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_read_as_what_why_and_remedy() {
        let finding = Finding {
            severity: Severity::Problem,
            check: "disk".into(),
            what: "3 MiB are free\u{1b}[2J".into(),
            why: "nothing advances".into(),
            remedy: "make room".into(),
        };
        let found = Examination {
            by: "tower".into(),
            checked: vec!["disk".into(), "clock".into()],
            findings: vec![finding],
        };
        assert_eq!(
            written(&found, false),
            "■ problem  disk: 3 MiB are free\u{fffd}[2J\n  why     nothing advances\n  remedy  make room\n\n\
             1 finding; looked at by the tower: disk, clock\n"
        );
        let well = Examination { findings: Vec::new(), ..found };
        assert_eq!(written(&well, false), "nothing is wrong; looked at by the tower: disk, clock\n");
    }
}
