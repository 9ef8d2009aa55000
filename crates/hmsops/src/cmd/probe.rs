//! `hmsops probe`: what is asked of instances, what was seen, and a look right now.

use clap::Subcommand;
use hmsops_wire::api::{Probe, ProbeLook, ProbeOrder, ProbeRun, ProbeRuns, ProbeWord, Probes};

use crate::client::{Client, encoded};
use crate::failure::{Exit, Failure};
use crate::print;
use crate::table::Table;

/// See the probes of services, and look at one right now
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// All probes: target, kind, last verdict, since when, latency
    #[command(after_help = "Example:\n  hmsops probe list --failing")]
    List {
        /// Only those whose last look did not pass
        #[arg(long)]
        failing: bool,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// The probes of one service, with their conditions
    #[command(after_help = "Example:\n  hmsops probe show csac-portal")]
    Show {
        /// The service
        service: String,
        /// One check, by its name
        check: Option<String>,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Look now, from the tower, at each running instance of a service; exit 1 if any did not pass
    #[command(after_help = "Example:\n  hmsops probe run csac-portal /api/v1/health")]
    Run {
        /// The service
        service: String,
        /// One check, by its name; without it all of them
        check: Option<String>,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(client: &Client, args: &Args) -> Result<(), Failure> {
    match &args.verb {
        Verb::List { failing, json } => {
            let mut found: Probes = client.get("/hms/v1/probes").await?;
            found.probes.retain(|probe| {
                !failing || probe.last.as_ref().is_none_or(|last| last.verdict != ProbeWord::Passed)
            });
            if *json { print::json(&found) } else { print::data(&table(&found.probes)) }
        }
        Verb::Show { service, check, json } => {
            let mut found: Probes = client.get(&format!("/hms/v1/probes/{}", encoded(service))).await?;
            if let Some(check) = check {
                found.probes.retain(|probe| probe.check == *check);
                if found.probes.is_empty() {
                    return Err(Failure::new(Exit::NotFound, format!("`{service}` has no check `{check}`"))
                        .hint(format!("`hmsops probe show {service}` lists them")));
                }
            }
            if *json { print::json(&found) } else { print::data(&page(&found.probes)) }
        }
        Verb::Run { service, check, json } => {
            let order = ProbeOrder { check: check.clone() };
            let found: ProbeRuns =
                client.post(&format!("/hms/v1/probes/{}/run", encoded(service)), &order).await?;
            if *json {
                print::json(&found)?;
            } else {
                print::data(&found.runs.iter().map(seen).collect::<String>())?;
            }
            if found.passed { Ok(()) } else { Err(unpassed(&found)) }
        }
    }
}

/// Its mark and its word, so that neither colour nor shape says it alone.
const fn mark(verdict: Option<ProbeWord>) -> &'static str {
    match verdict {
        Some(ProbeWord::Passed) => "● passed",
        Some(ProbeWord::Failed) => "■ failed",
        Some(ProbeWord::Overloaded) => "◌ overloaded",
        None => "◌ never seen",
    }
}

fn table(probes: &[Probe]) -> String {
    let heading = ["SERVICE", "CHECK", "KIND", "INSTANCE", "VERSION", "STATE", "SINCE", "LATENCY", "TARGET"];
    let mut table = Table::new(heading);
    for probe in probes {
        let last = probe.last.as_ref();
        table.row([
            probe.service.to_string(),
            probe.check.clone(),
            probe.kind.clone(),
            probe.instance.clone(),
            format!("{} ({})", probe.version, probe.role),
            last.filter(|last| last.verdict == ProbeWord::Failed).map_or_else(
                || mark(last.map(|last| last.verdict)).to_owned(),
                |last| format!("■ {}", last.said),
            ),
            last.map_or_else(|| "–".to_owned(), |last| print::clock(&last.since)),
            latency(last),
            probe.target.clone(),
        ]);
    }
    table.text()
}

fn latency(last: Option<&ProbeLook>) -> String {
    last.and_then(|last| last.latency_ms).map_or_else(|| "–".to_owned(), |millis| format!("{millis} ms"))
}

fn page(probes: &[Probe]) -> String {
    let block = |probe: &Probe| {
        let last = probe.last.as_ref();
        let mut lines = vec![
            format!("{}  {}", probe.check, mark(last.map(|last| last.verdict))),
            format!("  kind        {}", probe.kind),
            format!("  target      {}", probe.target),
            format!("  instance    {}  {}  {}", probe.instance, probe.version, probe.role),
            format!("  every       {}, at most {} long", span(probe.every_ms), span(probe.timeout_ms)),
            format!("  halts at    {}", probe.threshold),
        ];
        lines.extend(probe.conditions.iter().map(|condition| format!("  condition   {condition}")));
        if let Some(last) = last {
            let at = print::clock(&last.at);
            lines.push(format!(
                "  last        {} at {at}, so since {}",
                last.said,
                print::clock(&last.since)
            ));
        }
        lines.iter().map(|line| print::plain(line) + "\n").collect::<String>()
    };
    probes.iter().map(block).collect::<Vec<_>>().join("\n")
}

fn span(millis: u64) -> String {
    hmsops_model::Millis(millis).to_string()
}

fn seen(run: &ProbeRun) -> String {
    let mut lines = vec![format!(
        "{}  {} {}  {}  {}",
        mark(Some(run.verdict)),
        run.instance,
        run.version,
        run.check,
        run.target
    )];
    lines.push(format!("  {}", run.said));
    lines.extend(run.seen.iter().map(|fact| format!("  {:11} {}", fact.name, fact.value)));
    lines.iter().map(|line| print::plain(line) + "\n").collect()
}

fn unpassed(found: &ProbeRuns) -> Failure {
    let bad = found.runs.iter().filter(|run| run.verdict != ProbeWord::Passed).count();
    Failure::new(Exit::Failed, format!("{bad} of {} looks did not pass", found.runs.len()))
}

#[cfg(test)]
mod tests {
    use hmsops_model::{ServiceName, Version};

    use super::*;

    fn probe(last: Option<ProbeLook>) -> Probe {
        Probe {
            service: ServiceName::new("csac-portal").unwrap(),
            check: "/api/v1/health".into(),
            kind: "http".into(),
            target: "GET 127.0.0.1:41833/api/v1/health".into(),
            instance: "i-3".into(),
            version: Version::new("1.8.0").unwrap(),
            role: "canary".into(),
            every_ms: 1000,
            timeout_ms: 500,
            conditions: vec!["status == 200".into()],
            threshold: "3 fails/60 s".into(),
            last,
        }
    }

    fn look(verdict: ProbeWord, said: &str) -> ProbeLook {
        ProbeLook {
            verdict,
            said: said.into(),
            at: "2026-11-22T14:02:09.000Z".into(),
            since: "2026-11-22T14:02:07.000Z".into(),
            latency_ms: (verdict == ProbeWord::Passed).then_some(3),
        }
    }

    #[test]
    fn a_table_says_what_was_seen_and_unknown_is_not_passed() {
        let probes = [
            probe(Some(look(ProbeWord::Failed, "answered 500"))),
            probe(Some(look(ProbeWord::Passed, "passed in 3 ms"))),
            probe(None),
        ];
        let text = table(&probes);
        let rows: Vec<&str> = text.lines().collect();
        assert!(rows[1].contains("■ answered 500") && rows[1].contains("14:02:07"), "{text}");
        assert!(rows[2].contains("● passed") && rows[2].contains("3 ms"), "{text}");
        assert!(rows[3].contains("◌ never seen"), "{text}");
        assert!(page(&probes).contains("  condition   status == 200\n"), "{}", page(&probes));
    }
}
