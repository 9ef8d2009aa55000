//! Times of answers, and what a process takes.

use std::time::Duration;

/// Times of answers of one kind, and how many did not come.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers {
    times: Vec<Duration>,
    /// What came instead of an answer.
    pub(super) failures: Vec<String>,
}

impl Answers {
    /// One that came, or what came instead.
    pub(super) fn count(&mut self, answer: Result<Duration, String>) {
        match answer {
            Ok(time) => self.times.push(time),
            Err(instead) => self.failures.push(instead),
        }
    }

    /// How many came.
    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    /// `812 answered, p50 2 ms, p99 9 ms, longest 31 ms, 0 failed`
    pub(super) fn line(&self) -> String {
        let mut times = self.times.clone();
        times.sort_unstable();
        let at = |share: f64| {
            let rank = (share * times.len() as f64).ceil().max(1.0) as usize;
            times.get(rank - 1).map_or_else(|| "-".to_owned(), |time| millis(*time))
        };
        format!(
            "{} answered, p50 {}, p99 {}, longest {}, {} failed",
            times.len(),
            at(0.5),
            at(0.99),
            at(1.0),
            self.failures.len()
        )
    }
}

/// `12 ms`, with a decimal below 10.
pub(super) fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1000.0;
    if millis < 10.0 { format!("{millis:.1} ms") } else { format!("{millis:.0} ms") }
}

/// Memory and processor time of a process.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// Resident memory at most, in MiB.
    pub(super) memory_mib: f64,
    /// Processor time so far, in seconds.
    pub(super) processor_s: f64,
}

/// Of a process that runs; zeros when it does not.
pub(super) fn usage(pid: u32) -> Usage {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    // proc(5): the most that was resident, in kB.
    let memory = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = memory.and_then(|value| value.trim().trim_end_matches(" kB").parse::<f64>().ok());
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // proc(5): utime and stime are the 14th and 15th fields, in ticks of 1/100 s; the name before may hold spaces.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok());
    Usage { memory_mib: kib.unwrap_or(0.0) / 1024.0, processor_s: ticks.sum::<f64>() / 100.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_summed_up_in_a_line() {
        let mut answers = Answers::default();
        for time in 1..=100 {
            answers.count(Ok(Duration::from_millis(time)));
        }
        answers.count(Err("status 503".into()));
        assert_eq!(answers.line(), "100 answered, p50 50 ms, p99 99 ms, longest 100 ms, 1 failed");
        assert_eq!(Answers::default().line(), "0 answered, p50 -, p99 -, longest -, 0 failed");
    }

    #[test]
    fn our_own_usage_is_read() {
        let own = usage(std::process::id());
        assert!(own.memory_mib > 0.5, "{own:?}");
        assert!(usage(u32::MAX).memory_mib.abs() < 1e-9);
    }
}
