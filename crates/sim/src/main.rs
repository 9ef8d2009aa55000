//! `hmsops-sim [--rollouts N] [--rough N] [--timed N] [--seed S] [--only SEED] [--json]`

use std::process::ExitCode;

use hmsops_sim::report::survey;
use hmsops_sim::story::{Kind, run};

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
    let (mut rough, mut healthy, mut timed, mut seed, mut only, mut json) = (200, 200, 50, 1, None, false);
    let mut args = args.iter();
    while let Some(flag) = args.next() {
        let mut number = || -> Result<u64, String> {
            let text = args.next().ok_or_else(|| format!("`{flag}` needs a number"))?;
            text.parse().map_err(|_| format!("`{flag} {text}`: expected a whole number"))
        };
        match flag.as_str() {
            "--rough" => rough = number()?,
            "--rollouts" => healthy = number()?,
            "--timed" => timed = number()?,
            "--seed" => seed = number()?,
            "--only" => only = Some(number()?),
            "--json" => json = true,
            _ => {
                return Err(format!(
                    "unknown flag `{flag}`; there are --rough N, --rollouts N, --timed N, --seed S, --only SEED, --json"
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
    let report = survey(rough, healthy, timed, seed, |ending| {
        eprintln!("seed {}: {:?} ended {:?}", ending.seed, ending.fault, ending.phase);
        for violation in &ending.violations {
            eprintln!("  {} at {} s: {}", violation.invariant, violation.at_secs, violation.what);
        }
    });
    if json {
        println!("{}", serde_json::to_string(&report).map_err(|error| error.to_string())?);
    } else {
        println!("{report:#?}");
    }
    Ok(report.invariant_violations == 0)
}
