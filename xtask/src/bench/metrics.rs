//! Queries over a hundred thousand series, beside Prometheus and VictoriaMetrics, measured in turns.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::peers;
use crate::checkout;
use crate::dice::Dice;
use crate::failure::{Failure, Trying as _};
use crate::stores::{self, Store, batch};

/// Names of metrics, targets, and series of each name and target: a hundred thousand in all.
const NAMES: u32 = 25;
const INSTANCES: u32 = 400;
const PARTS: u32 = 10;

/// Seconds between two samples, and how many each series has: half an hour of them.
const EVERY: i64 = 15;
const SAMPLES: i64 = 120;

/// What is asked. `@`: the last twenty minutes by half a minute, instead of the last moment.
const QUESTIONS: [(&str, &str); 6] = [
    ("one series", "node_seconds_07_total{instance=\"host-123:9100\", part=\"3\"}"),
    ("sum by, 400 series", "sum by (job) (node_seconds_07_total{part=\"3\"})"),
    ("@ rate, 400 series", "rate(node_seconds_07_total{part=\"3\"}[5m])"),
    ("@ rate, 4 000 series", "rate(node_seconds_07_total[5m])"),
    ("topk, 4 000 series", "topk(10, node_seconds_07_total)"),
    ("count by, 100 000 series", "count by (instance) ({job=~\".+\"})"),
];

/// Measures and prints.
pub(super) fn bench(rounds: usize, is_json: bool, program: Option<&Path>) -> Result<(), Failure> {
    let program = match program {
        Some(program) => program.to_owned(),
        None => peers::hmsops()?,
    };
    let folder = stores::folder("bench-metrics")?;
    let outcome = measure(&folder, &program, rounds);
    std::fs::remove_dir_all(&folder).trying(format!("remove `{}`", folder.display()))?;
    let (names, table) = outcome?;
    print!("{}", show(&names, &table));
    for (program, name) in [("prometheus", "Prometheus"), ("victoria-metrics", "VictoriaMetrics")] {
        if !checkout::has_command(program) {
            println!("{name} is not installed");
        }
    }
    if is_json {
        println!("{}", json(&names, &table));
    }
    Ok(())
}

/// Medians in milliseconds of each store, question by question.
type Table = Vec<Vec<f64>>;

fn measure(folder: &Path, program: &Path, rounds: usize) -> Result<(Vec<&'static str>, Table), Failure> {
    let mut all = vec![Store::ours(program, folder)?];
    if checkout::has_command("prometheus") {
        all.push(Store::prometheus(folder)?);
    }
    if checkout::has_command("victoria-metrics") {
        all.push(Store::victoria(folder)?);
    }
    let to = fill(&mut all)?;
    let names = all.iter().map(|store| store.name).collect();
    let mut table = Vec::new();
    for (what, query) in QUESTIONS {
        let mut times = vec![Vec::new(); all.len()];
        // The first round is not counted: it fills whatever each of them keeps.
        for round in 0..=rounds {
            for (store, times) in all.iter_mut().zip(&mut times) {
                let took = ask(store, query, to, what.starts_with('@'))?;
                if round > 0 {
                    times.push(took);
                }
            }
        }
        eprintln!("{what}: measured");
        table.push(times.into_iter().map(median).collect());
    }
    Ok((names, table))
}

/// Writes the same samples to all stores; gives back the moment of the last, in Unix seconds.
fn fill(all: &mut [Store]) -> Result<i64, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()).cast_signed();
    let begin = now - SAMPLES * EVERY - 30;
    let mut dice = Dice(1);
    let mut values = vec![0_u64; (NAMES * INSTANCES * PARTS) as usize];
    // Ten samples of each series of one name are a request.
    for some in 0..SAMPLES / 10 {
        for name in 0..NAMES {
            let mut series = Vec::new();
            for instance in 0..INSTANCES {
                for part in 0..PARTS {
                    let value = &mut values[((name * INSTANCES + instance) * PARTS + part) as usize];
                    let samples: Vec<(i64, f64)> = (0..10)
                        .map(|index| {
                            *value += dice.below(1500);
                            let at = (begin + (some * 10 + index) * EVERY) * 1000 + i64::from(instance);
                            (at, *value as f64 / 100.0)
                        })
                        .collect();
                    series.push((labels(name, instance, part), samples));
                }
            }
            for some in series.chunks(2000) {
                let body = batch::body(some.iter().map(|(labels, samples)| (&labels[..], &samples[..])));
                for store in &mut *all {
                    store.write(&body)?;
                }
            }
        }
        eprintln!("{} % of the samples are written", (some + 1) * 1000 / SAMPLES);
    }
    let to = begin + SAMPLES * EVERY;
    let wanted = f64::from(NAMES * INSTANCES * PARTS);
    for store in all {
        // VictoriaMetrics shows samples a moment after it has taken them.
        let deadline = Instant::now() + std::time::Duration::from_secs(30);
        while store.number("count({job=~\".+\"})", to as f64)? != Some(wanted) {
            if Instant::now() > deadline {
                return Err(Failure::new(format!("{} does not show all {wanted} series", store.name)));
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
    Ok(to)
}

fn labels(name: u32, instance: u32, part: u32) -> Vec<(String, String)> {
    [
        ("__name__", format!("node_seconds_{name:02}_total")),
        ("instance", format!("host-{instance:03}:9100")),
        ("job", if instance.is_multiple_of(4) { "database" } else { "node" }.to_owned()),
        ("part", part.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// Milliseconds from the question to the end of its answer, without any store's cache of results.
fn ask(store: &mut Store, query: &str, to: i64, is_range: bool) -> Result<f64, Failure> {
    let (from, to) = ((to - 1200).to_string(), to.to_string());
    let began = Instant::now();
    let answer = if is_range {
        let of = [("query", query), ("start", &from), ("end", &to), ("step", "30"), ("nocache", "1")];
        store.query("/api/v1/query_range", &of)?
    } else {
        store.query("/api/v1/query", &[("query", query), ("time", &to), ("nocache", "1")])?
    };
    let took = began.elapsed().as_secs_f64() * 1000.0;
    if answer.status != 200 || answer.body.len() < 100 {
        return Err(Failure::new(format!("{} answered `{query}` with {}", store.name, answer.text().trim())));
    }
    Ok(took)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A line for each question, with our share of the better peer's time.
fn show(names: &[&str], table: &Table) -> String {
    let mut out = format!("{:<26}", "median, ms");
    for name in names {
        let _ = write!(out, "{name:>16}");
    }
    out += "  of the better peer's\n";
    for ((what, _), times) in QUESTIONS.iter().zip(table) {
        let _ = write!(out, "{what:<26}");
        for time in times {
            let _ = write!(out, "{time:>16.2}");
        }
        match times.split_first() {
            Some((ours, peers)) if !peers.is_empty() => {
                let best = peers.iter().copied().fold(f64::INFINITY, f64::min);
                let _ =
                    writeln!(out, "{:>8.2} ×{}", ours / best, if *ours <= best { "" } else { "  slower" });
            }
            _ => out.push('\n'),
        }
    }
    out
}

fn json(names: &[&str], table: &Table) -> String {
    let lines: Vec<String> = QUESTIONS
        .iter()
        .zip(table)
        .map(|((what, _), times)| {
            let times: Vec<String> =
                names.iter().zip(times).map(|(name, time)| format!("\"{name}\":{time:.3}")).collect();
            format!("{{\"question\":\"{what}\",\"median_ms\":{{{}}}}}", times.join(","))
        })
        .collect();
    format!("[{}]", lines.join(","))
}
