//! wrk, the load: started once a round, its report read.

use std::process::Command;

use super::peers::LOAD_CORE;
use crate::failure::{Failure, Trying as _};

/// What one round gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Round {
    /// Requests answered.
    pub(super) requests: f64,
    /// Requests a second.
    pub(super) rate: f64,
    /// Median and 99th percentile of the latency, in milliseconds.
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

/// A busy machine stalls wrk now and then; so often a round is tried before that is no accident.
const TRIES_MAX: u32 = 3;

/// Loads `port` until a round is whole: one with an answer that took too long, or without a latency, says nothing of the
/// speed. Failed requests end the measurement at once.
pub(super) fn load(port: u16, connections: u32, seconds: u32) -> Result<Round, Failure> {
    let mut tries = 0;
    loop {
        tries += 1;
        match attempt(port, connections, seconds)? {
            Report::Whole(round) => return Ok(round),
            Report::Stalled(why) if tries < TRIES_MAX => eprintln!("a round is repeated: {why}"),
            Report::Stalled(why) => {
                return Err(Failure::new(format!("no whole round in {TRIES_MAX}: {why}"))
                    .hint("the machine is too busy to measure on"));
            }
        }
    }
}

/// What became of a round.
#[derive(Debug, PartialEq)]
enum Report {
    Whole(Round),
    Stalled(String),
}

/// Loads `port` of this machine over so many connections.
fn attempt(port: u16, connections: u32, seconds: u32) -> Result<Report, Failure> {
    let output = Command::new("taskset")
        .args(["-c", LOAD_CORE, "wrk", "-t1", "--latency"])
        .args([format!("-c{connections}"), format!("-d{seconds}s"), format!("http://127.0.0.1:{port}/")])
        .output()
        .trying("run `wrk`")?;
    read(&String::from_utf8_lossy(&output.stdout))
}

/// Reads wrk's report. Answers other than 2xx and 3xx, and broken connections, are no speed: they are an error. An answer
/// that took more than wrk's two seconds was only late.
fn read(report: &str) -> Result<Report, Failure> {
    let line = |start: &str| report.lines().find_map(|line| line.trim().strip_prefix(start)).map(str::trim);
    if let Some(errors) = line("Non-2xx or 3xx responses:") {
        return Err(Failure::new(format!("a round had failed requests: {errors}")));
    }
    if let Some(errors) = line("Socket errors:") {
        if errors.starts_with("connect 0, read 0, write 0, ") {
            return Ok(Report::Stalled(format!("late answers: {errors}")));
        }
        return Err(Failure::new(format!("a round had failed requests: {errors}")));
    }
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<f64>().ok());
    let requests = report
        .lines()
        .find_map(|line| line.trim().split_once(" requests in "))
        .and_then(|(count, _)| count.parse().ok());
    let round = (|| {
        Some(Round {
            requests: requests?,
            rate: number(line("Requests/sec:"))?,
            p50_ms: millis(line("50%")?)?,
            p99_ms: millis(line("99%")?)?,
        })
    })();
    match round {
        Some(round) => Ok(Report::Whole(round)),
        // It says `-nan` of a round in which it measured nothing.
        None if report.contains("nan") => Ok(Report::Stalled("no latency was measured".to_owned())),
        None => Err(Failure::new(format!("cannot read what `wrk` printed: `{report}`"))),
    }
}

/// A span as wrk writes it: `812.00us`, `1.24ms`, `1.02s`.
fn millis(text: &str) -> Option<f64> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let factor = match &text[digits.len()..] {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        "m" => 60_000.0,
        _ => return None,
    };
    Some(digits.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
Running 4s test @ http://127.0.0.1:8080/
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     0.98ms    1.35ms  17.86ms   91.10%
    Req/Sec    21.42k     2.07k   26.20k    72.50%
  Latency Distribution
     50%  612.00us
     75%    1.06ms
     90%    2.21ms
     99%    1.02s 
  85251 requests in 4.00s, 15.12MB read
Requests/sec:  21306.11
Transfer/sec:      3.78MB
";

    #[test]
    fn a_report_is_read() {
        let round = read(REPORT).unwrap();
        let expected = Round { requests: 85_251.0, rate: 21_306.11, p50_ms: 0.612, p99_ms: 1020.0 };
        assert_eq!(round, Report::Whole(expected));
    }

    #[test]
    fn failed_requests_are_no_speed() {
        for line in ["Non-2xx or 3xx responses: 7", "Socket errors: connect 0, read 3, write 0, timeout 0"] {
            assert!(read(&format!("{REPORT}  {line}\n")).is_err());
        }
        assert!(read("").is_err());
    }

    #[test]
    fn a_round_that_stalled_is_no_failure() {
        let late = format!("{REPORT}  Socket errors: connect 0, read 0, write 0, timeout 3\n");
        assert!(matches!(read(&late), Ok(Report::Stalled(_))));
        let nothing = REPORT.replace("612.00us", "-nanus");
        assert!(matches!(read(&nothing), Ok(Report::Stalled(_))));
    }
}
