//! Samples by remote write, 1.0 and 2.0, beside Prometheus and VictoriaMetrics, measured in turns.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::peers;
use crate::checkout;
use crate::dice::Dice;
use crate::failure::{Failure, Trying as _};
use crate::stores::batch::{self, Version};
use crate::stores::{self, Store};

/// Series of each subject; a round is one sample of each, as a scrape has it.
const SERIES: u32 = 100_000;

/// Series of one request: what Prometheus sends at most unless it is told otherwise.
const REQUEST_SERIES: u32 = 2_000;

/// Connections at once: senders have several queues, each with series of its own.
const CONNECTIONS: usize = 4;

/// Seconds between two samples of a series.
const EVERY: i64 = 15;

/// Who is written to, and how.
struct Subject {
    /// The place of the store in the list.
    store: usize,
    version: Version,
    /// Of each round.
    rates: Vec<f64>,
    /// Processor time of the store, in nanoseconds a sample.
    costs: Vec<f64>,
}

/// Measures and prints.
pub(super) fn bench(rounds: usize, is_json: bool, program: Option<&Path>) -> Result<(), Failure> {
    let program = match program {
        Some(program) => program.to_owned(),
        None => peers::hmsops()?,
    };
    let folder = stores::folder("bench-writes")?;
    let outcome = measure(&folder, &program, rounds);
    std::fs::remove_dir_all(&folder).trying(format!("remove `{}`", folder.display()))?;
    let (all, subjects) = outcome?;
    print!("{}", show(&all, &subjects));
    for (program, name) in [("prometheus", "Prometheus"), ("victoria-metrics", "VictoriaMetrics")] {
        if !checkout::has_command(program) {
            println!("{name} is not installed");
        }
    }
    if is_json {
        println!("{}", json(&all, &subjects));
    }
    Ok(())
}

fn measure(
    folder: &Path,
    program: &Path,
    rounds: usize,
) -> Result<(Vec<&'static str>, Vec<Subject>), Failure> {
    let mut all = vec![Store::ours(program, folder)?];
    if checkout::has_command("prometheus") {
        all.push(Store::prometheus(folder)?);
    }
    if checkout::has_command("victoria-metrics") {
        all.push(Store::victoria(folder)?);
    }
    let subject = |store, version| Subject { store, version, rates: Vec::new(), costs: Vec::new() };
    let mut subjects = vec![subject(0, Version::One), subject(0, Version::Two)];
    subjects.extend((1..all.len()).map(|store| subject(store, Version::One)));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()).cast_signed();
    let mut dice = Dice(1);
    // The first round is not counted: it makes the series.
    for round in 0..=rounds {
        let at = (now - (rounds - round) as i64 * EVERY) * 1000;
        for subject in &mut subjects {
            let job = format!("node-exporter-{}", subject.version.name());
            let series: Vec<batch::Series> = (0..SERIES).map(|n| one(n, &job, at, &mut dice)).collect();
            let bodies: Vec<Vec<u8>> = series
                .chunks(REQUEST_SERIES as usize)
                .map(|some| {
                    let of = some.iter().map(|series| (&series.labels[..], &series.samples[..]));
                    subject.version.body(of)
                })
                .collect();
            let (rate, cost) = write(&all[subject.store], subject.version, &bodies)?;
            if round > 0 {
                subject.rates.push(rate);
                subject.costs.push(cost);
            }
        }
        eprintln!("round {round} of {rounds}");
    }
    Ok((all.iter().map(|store| store.name).collect(), subjects))
}

/// A series of eight labels with one sample. Each version has a job, and so series, of its own.
fn one(n: u32, job: &str, at: i64, dice: &mut Dice) -> batch::Series {
    let host = n / 250;
    let labels = [
        ("__name__", format!("node_seconds_{:02}_total", n % 25)),
        ("cluster", "portal-production".to_owned()),
        ("device", format!("disk{}", n % 10)),
        ("environment", "production".to_owned()),
        ("instance", format!("host-{host:03}.rack-{:02}.example.org:9100", host % 20)),
        ("job", job.to_owned()),
        ("mode", ["idle", "user", "system", "wait", "steal"][n as usize % 5].to_owned()),
        ("part", (n % 250).to_string()),
    ];
    let labels = labels.map(|(name, value)| (name.to_owned(), value)).into();
    batch::Series { labels, samples: vec![(at, dice.below(1_000_000) as f64 / 100.0)] }
}

/// Sends all bodies; gives back samples a second, and nanoseconds of the store's processor time for each.
fn write(store: &Store, version: Version, bodies: &[Vec<u8>]) -> Result<(f64, f64), Failure> {
    let (used, began) = (store.processor_seconds(), Instant::now());
    let share = bodies.len().div_ceil(CONNECTIONS);
    std::thread::scope(|scope| {
        let send = |some: &'_ [Vec<u8>]| -> Result<(), Failure> {
            let mut sender = store.sender();
            some.iter().try_for_each(|body| sender.write(version, body))
        };
        let senders: Vec<_> = bodies.chunks(share).map(|some| scope.spawn(move || send(some))).collect();
        senders
            .into_iter()
            .try_for_each(|sender| sender.join().unwrap_or_else(|_| Err(Failure::new("a sender broke off"))))
    })?;
    let (took, samples) = (began.elapsed().as_secs_f64(), f64::from(SERIES));
    Ok((samples / took, (store.processor_seconds() - used) * 1e9 / samples))
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn show(names: &[&str], subjects: &[Subject]) -> String {
    let mut out = format!("{:<24}{:>16}{:>20}\n", "median", "samples/s", "processor, ns each");
    for subject in subjects {
        let name = format!("{}, {}", names[subject.store], subject.version.name());
        let (rate, cost) = (median(&subject.rates), median(&subject.costs));
        let _ = writeln!(out, "{name:<24}{rate:>16.0}{cost:>20.0}");
    }
    out
}

fn json(names: &[&str], subjects: &[Subject]) -> String {
    let lines: Vec<String> = subjects
        .iter()
        .map(|subject| {
            format!(
                "{{\"store\":\"{}\",\"version\":\"{}\",\"samples_per_s\":{:.0},\"processor_ns_per_sample\":{:.0}}}",
                names[subject.store],
                subject.version.name(),
                median(&subject.rates),
                median(&subject.costs)
            )
        })
        .collect();
    format!("[{}]", lines.join(","))
}
