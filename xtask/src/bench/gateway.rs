//! The gateway's speed beside its peers', measured in turns, so that a noisy machine is unfair to nobody.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::peers::{self, Ground, Running};
use super::wrk;
use crate::checkout;
use crate::failure::Failure;

/// Few connections, and many.
const CONNECTIONS: [u32; 2] = [16, 128];

/// No round begins after this, so that a run comes to an end; what was measured till then is printed.
const RUN_MAX: Duration = Duration::from_mins(5);

/// What must hold, at each number of connections: a figure, beside whom, and the least or most that ours is of theirs.
const GOALS: [Goal; 4] = [
    Goal { what: "requests/s", peer: "hyper", bound: Bound::Least(0.9), pick: |figures| figures.rate },
    Goal { what: "requests/s", peer: "caddy", bound: Bound::Least(2.0), pick: |figures| figures.rate },
    Goal { what: "requests/s", peer: "haproxy", bound: Bound::Least(0.75), pick: |figures| figures.rate },
    Goal { what: "p99", peer: "haproxy", bound: Bound::Most(1.2), pick: |figures| figures.p99_ms },
];

/// A ratio that is promised.
struct Goal {
    what: &'static str,
    peer: &'static str,
    bound: Bound,
    pick: fn(&Figures) -> f64,
}

#[derive(Clone, Copy)]
enum Bound {
    Least(f64),
    Most(f64),
}

/// Figures of one subject at one number of connections: medians over the rounds.
struct Figures {
    name: &'static str,
    connections: u32,
    rate: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Processor time of the subject, in microseconds a request: what other work on the machine disturbs least.
    cpu_us: f64,
}

/// Measures and prints.
pub(super) fn bench(
    rounds: usize,
    seconds: u32,
    is_json: bool,
    program: Option<&Path>,
) -> Result<(), Failure> {
    for tool in ["wrk", "taskset", "nginx"] {
        if !checkout::has_command(tool) {
            return Err(Failure::new(format!("`{tool}` is not installed; nothing was measured"))
                .hint("Debian: apt-get install wrk nginx util-linux"));
        }
    }
    let (hmsops, forwarder) = match program {
        Some(program) => (program.to_owned(), program.with_file_name("examples").join("forwarder")),
        None => (peers::hmsops()?, peers::forwarder()?),
    };
    let ground = Ground::new("bench", true)?;
    let (figures, absent) = measure(&ground, (&hmsops, &forwarder), rounds, seconds)?;
    print!("{}{}", table(&figures), goals(&figures));
    for name in &absent {
        println!("{name} is not installed");
    }
    if is_json {
        println!("{}", json(&figures, &absent, rounds, seconds));
    }
    Ok(())
}

type Start = fn(&Ground) -> Result<Running, Failure>;

type Measured = (Vec<Figures>, Vec<&'static str>);

fn measure(
    ground: &Ground,
    (hmsops, forwarder): (&Path, &Path),
    rounds: usize,
    seconds: u32,
) -> Result<Measured, Failure> {
    let upstream = ground.upstream()?;
    let mut subjects = vec![ground.ours(hmsops)?, ground.bare(forwarder)?, ground.nginx()?];
    let mut absent = Vec::new();
    for (name, start) in [("haproxy", Ground::haproxy as Start), ("caddy", Ground::caddy)] {
        if checkout::has_command(name) {
            subjects.push(start(ground)?);
        } else {
            absent.push(name);
        }
    }
    let all = in_turns(&subjects, rounds, seconds)?;
    drop(upstream);
    let mut figures = Vec::new();
    for (connections, all) in CONNECTIONS.into_iter().zip(&all) {
        for (subject, rounds) in subjects.iter().zip(all) {
            let of = |pick: fn(&(wrk::Round, f64)) -> f64| median(rounds.iter().map(pick).collect());
            figures.push(Figures {
                name: subject.name,
                connections,
                rate: of(|(round, _)| round.rate),
                p50_ms: of(|(round, _)| round.p50_ms),
                p99_ms: of(|(round, _)| round.p99_ms),
                cpu_us: of(|(_, cpu)| *cpu),
            });
        }
    }
    Ok((figures, absent))
}

/// Rounds of each subject, with the processor time of a request, for each number of connections.
type Rounds = Vec<Vec<(wrk::Round, f64)>>;

/// Each round goes once through all subjects, the next one backwards: whatever else the machine does, and however it
/// warms up, meets them alike.
fn in_turns(
    subjects: &[Running],
    rounds: usize,
    seconds: u32,
) -> Result<[Rounds; CONNECTIONS.len()], Failure> {
    let started = Instant::now();
    for (connections, subject) in CONNECTIONS.iter().flat_map(|n| subjects.iter().map(move |of| (n, of))) {
        // Connections are opened, caches and pools are filled.
        wrk::load(subject.port, *connections, 1)?;
    }
    let mut all = CONNECTIONS.map(|_| vec![Vec::new(); subjects.len()]);
    for round in 0..rounds {
        if started.elapsed() > RUN_MAX {
            eprintln!("{} s are over; what follows is the median of {round} rounds", RUN_MAX.as_secs());
            break;
        }
        eprintln!("round {} of {rounds}, {} s so far", round + 1, started.elapsed().as_secs());
        for (connections, all) in CONNECTIONS.into_iter().zip(&mut all) {
            let mut turn: Vec<_> = subjects.iter().zip(all).collect();
            if round % 2 == 1 {
                turn.reverse();
            }
            for (subject, rounds) in turn {
                let before = subject.processor_seconds();
                let round = wrk::load(subject.port, connections, seconds)?;
                rounds.push((round, (subject.processor_seconds() - before) * 1e6 / round.requests));
            }
        }
    }
    Ok(all)
}

/// The middle value, or the mean of the two in the middle; 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.len() % 2, values.get(middle), values.get(middle.wrapping_sub(1))) {
        (1, Some(value), _) => *value,
        (0, Some(above), Some(below)) => f64::midpoint(*above, *below),
        _ => 0.0,
    }
}

fn ours(figures: &[Figures], connections: u32) -> Option<&Figures> {
    figures.iter().find(|figure| figure.name == "hmsops" && figure.connections == connections)
}

fn table(figures: &[Figures]) -> String {
    let mut text = String::from(
        "connections  proxy       req/s   p50 ms   p99 ms  µs/req   ours: req/s    p99   µs/req\n",
    );
    for figure in figures {
        let Figures { name, connections, rate, p50_ms, p99_ms, cpu_us } = figure;
        let _ =
            write!(text, "{connections:>11}  {name:<8}{rate:>9.0}{p50_ms:>9.2}{p99_ms:>9.2}{cpu_us:>8.1}");
        if let Some(ours) = ours(figures, *connections).filter(|_| *name != "hmsops") {
            let (rate, p99, cpu) = (ours.rate / rate, ours.p99_ms / p99_ms, ours.cpu_us / cpu_us);
            let _ = write!(text, "      × {rate:>6.2}  × {p99:>4.2}  × {cpu:>4.2}");
        }
        text.push('\n');
    }
    text
}

/// What was promised, and what was measured, a line each.
fn goals(figures: &[Figures]) -> String {
    let mut text = String::new();
    for Goal { what, peer, bound, pick } in GOALS {
        for peers in figures.iter().filter(|figure| figure.name == peer) {
            let Some(ours) = ours(figures, peers.connections) else { continue };
            let ratio = pick(ours) / pick(peers);
            let (holds, said) = match bound {
                Bound::Least(least) => (ratio >= least, format!("at least {least}")),
                Bound::Most(most) => (ratio <= most, format!("at most {most}")),
            };
            let verdict = if holds { "holds" } else { "does not hold" };
            let _ = writeln!(
                text,
                "{what} × {peer}'s at {} connections: {ratio:.2}, {said}: {verdict}",
                peers.connections
            );
        }
    }
    text
}

/// One flat object: `NAME_FIGURE_CONNECTIONS`, and `ratio_FIGURE_NAME_CONNECTIONS` for ours by a peer's.
fn json(figures: &[Figures], absent: &[&str], rounds: usize, seconds: u32) -> String {
    let mut members = vec![format!("\"area\":\"gateway\",\"rounds\":{rounds},\"seconds\":{seconds}")];
    for figure in figures {
        let Figures { name, connections, .. } = figure;
        let ours = ours(figures, *connections).filter(|_| *name != "hmsops");
        for (key, pick) in [
            ("rps", (|figure| figure.rate) as fn(&Figures) -> f64),
            ("p50_ms", |figure| figure.p50_ms),
            ("p99_ms", |figure| figure.p99_ms),
            ("cpu_us", |figure| figure.cpu_us),
        ] {
            members.push(format!("\"{name}_{key}_{connections}\":{:.3}", pick(figure)));
            if let Some(ours) = ours.filter(|_| pick(figure) > 0.0) {
                members
                    .push(format!("\"ratio_{key}_{name}_{connections}\":{:.3}", pick(ours) / pick(figure)));
            }
        }
    }
    let absent: Vec<String> = absent.iter().map(|name| crate::json::quoted(name)).collect();
    members.push(format!("\"absent\":[{}]", absent.join(",")));
    format!("{{{}}}", members.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Json;

    #[test]
    fn the_line_of_json_has_each_figure_and_its_ratio() {
        let figures =
            |name, rate| Figures { name, connections: 16, rate, p50_ms: 1.0, p99_ms: 2.0, cpu_us: 3.0 };
        let line = json(&[figures("hmsops", 900.0), figures("hyper", 1000.0)], &["caddy"], 5, 4);
        let read = Json::parse(&line).unwrap();
        let number = |key: &str| read.at(key).and_then(Json::as_number);
        assert_eq!(number("hmsops_rps_16"), Some(900.0));
        assert_eq!(number("hyper_rps_16"), Some(1000.0));
        assert_eq!(number("ratio_rps_hyper_16"), Some(0.9));
        assert_eq!(number("ratio_p99_ms_hyper_16"), Some(1.0));
        assert!(line.ends_with("\"absent\":[\"caddy\"]}"));
    }

    #[test]
    fn goals_are_held_against_what_was_measured() {
        let figures =
            |name, rate, p99_ms| Figures { name, connections: 16, rate, p50_ms: 1.0, p99_ms, cpu_us: 3.0 };
        let said = goals(&[
            figures("hmsops", 900.0, 2.5),
            figures("hyper", 1000.0, 2.0),
            figures("haproxy", 950.0, 2.0),
        ]);
        assert_eq!(
            said,
            "requests/s × hyper's at 16 connections: 0.90, at least 0.9: holds\n\
             requests/s × haproxy's at 16 connections: 0.95, at least 0.75: holds\n\
             p99 × haproxy's at 16 connections: 1.25, at most 1.2: does not hold\n"
        );
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(Vec::new()).abs() < 1e-9);
    }
}
