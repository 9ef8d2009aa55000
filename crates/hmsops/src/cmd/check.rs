//! `hmsops check`: is a file what it should be?

use std::path::PathBuf;

use clap::ValueEnum;
use hmsops_config::{Kind, Report, check_together, render};

use super::source;
use crate::failure::{Exit, Failure};
use crate::{paint, print};

/// Check any files that are read here, their kinds told by their content. Warnings exit with 0, errors with 2
///
/// Files named together are also read beside each other: with hmsops.yaml, what its HAProxy can't carry is an error.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  hmsops check dev/cd ops\n  hmsops check hmsops.yaml dev/cd\n  hmsops check --format sarif dev/cd/canary.yaml > check.sarif"
)]
pub(super) struct Args {
    /// Files, and folders to look through for .yaml files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How to print what was found
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// A list of {file, severity, line, column, message, hint}
    Json,
    /// SARIF 2.1.0
    Sarif,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let paths = source::find(&args.paths)?;
    let files = paths.iter().map(|path| source::read(path)).collect::<Result<Vec<_>, _>>()?;
    let texts: Vec<(&str, &str)> = files.iter().map(|file| (&*file.name, &*file.text)).collect();
    let reports = check_together(&texts);
    match args.format {
        Format::Text => print::data(&render::text(&reports, paint::data()))?,
        Format::Json => print::data(&render::json(&reports))?,
        Format::Sarif => print::data(&render::sarif(&reports, env!("CARGO_PKG_VERSION")))?,
    }
    let failed = reports.iter().filter(|report| report.failed()).count();
    print::talk(&summary(&reports, failed));
    if let Some(how) = how_to_run(&reports) {
        print::talk(&how);
    }
    if failed > 0 { Err(Failure::Silent(Exit::Usage)) } else { Ok(()) }
}

/// How rule tests are run: that they are well formed says nothing of what comes out.
fn how_to_run(reports: &[Report]) -> Option<String> {
    let tests = reports.iter().filter(|report| report.kind == Kind::RuleTests && !report.failed());
    let names: Vec<&str> = tests.map(|report| report.name.as_str()).collect();
    let what = match *names {
        [] => return None,
        [_] => "holds tests of rules, which were not run; run them",
        _ => "hold tests of rules, which were not run; run them",
    };
    Some(format!("{} {what}: hmsops alert test {}", names.join(", "), names.join(" ")))
}

fn summary(reports: &[Report], failed: usize) -> String {
    let files = |n: usize| if n == 1 { "1 file".to_owned() } else { format!("{n} files") };
    let warned = reports.iter().filter(|report| !report.failed() && !report.diagnostics.is_empty()).count();
    match (failed, warned) {
        (0, 0) => format!("{} checked, nothing is wrong", files(reports.len())),
        (0, _) => format!("{} checked, {} with warnings", files(reports.len()), files(warned)),
        _ => format!("{} checked, {} with errors", files(reports.len()), files(failed)),
    }
}
