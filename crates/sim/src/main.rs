//! `hmsops-sim [--rollouts N] [--rough N] [--timed N] [--claims N] [--kills] [--seed S] [--only SEED] [--json]`

use std::process::ExitCode;

use hmsops_sim::report::{Scope, survey};
use hmsops_sim::story::{Kind, run};
use hmsops_sim::{survey, table};

fn main() -> ExitCode {
    match main_with(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}

fn main_with(args: &[String]) -> Result<bool, String> {
    let threads = survey::threads();
    let mut scope =
        Scope { rough: 200, healthy: 200, timed: 50, slight: 100, kills: false, seed: 1, threads };
    let (mut only, mut json) = (None, false);
    let mut args = args.iter();
    while let Some(flag) = args.next() {
        let mut number = || -> Result<u64, String> {
            let text = args.next().ok_or_else(|| format!("`{flag}` needs a number"))?;
            text.parse().map_err(|_| format!("`{flag} {text}`: expected a whole number"))
        };
        match flag.as_str() {
            "--rough" => scope.rough = number()?,
            "--rollouts" => scope.healthy = number()?,
            "--timed" => scope.timed = number()?,
            "--claims" => scope.slight = number()?,
            "--kills" => scope.kills = true,
            "--seed" => scope.seed = number()?,
            "--threads" => scope.threads = usize::try_from(number()?.clamp(1, 256)).unwrap_or(1),
            "--only" => only = Some(number()?),
            "--json" => json = true,
            _ => {
                return Err(format!(
                    "unknown flag `{flag}`; there are --rollouts N, --rough N, --timed N, --claims N, --kills, --seed S, --threads N, --only SEED, --json"
                ));
            }
        }
    }
    if let Some(seed) = only {
        for kind in [Kind::Rough, Kind::Healthy] {
            let (once, again) = (run(seed, kind), run(seed, kind));
            println!("{kind:?} {once:#?}\nsame bytes twice: {}", once.fingerprint == again.fingerprint);
        }
        return Ok(true);
    }
    let report = survey(scope, |what, violations| {
        eprintln!("{what}");
        for violation in violations {
            eprintln!("  {} at {} s: {}", violation.invariant, violation.at_secs, violation.what);
        }
    });
    if json {
        println!("{}", serde_json::to_string(&report).map_err(|error| error.to_string())?);
    } else {
        print!("{}", table::text(&report));
    }
    Ok(report.is_good())
}
