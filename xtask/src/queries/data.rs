//! Samples that two stores hold: shapes of what exporters show, from a seed.
//!
//! Values are multiples of an eighth, so that sums of them are exact in whatever order they are added. No sample lies on a
//! whole second, so that none lies on the edge of a window: versions differ in whether that one counts.

use crate::dice::Dice;
use crate::stores::batch::Series;

/// Seconds between two samples.
pub(crate) const EVERY: i64 = 15;

/// Samples of each series: two hours of them.
pub(crate) const SAMPLES: i64 = 480;

/// What counters count from: so much that no version takes them to have begun at zero just before.
const BEGINNING: i64 = 100_000;

const JOBS: [&str; 2] = ["portal", "photo"];
const INSTANCES: [&str; 3] = ["a:8080", "b:8080", "c:8080"];

/// What a series does.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// A counter, which begins anew now and then.
    Counter { step: u64, reset_in: u64 },
    /// A number that goes up and down.
    Gauge { around: i64, by: u64 },
    /// One that stays.
    Constant(i64),
    /// 1, seldom 0.
    Up,
    /// One that is there for a while, then not; markers of staleness tell when it went.
    Intermittent,
    /// Infinities and no numbers between numbers.
    Odd,
}

/// All series, beginning at a moment in Unix seconds.
pub(crate) fn series(dice: &mut Dice, begin: i64) -> Vec<Series> {
    let mut all = Vec::new();
    for job in JOBS {
        for instance in INSTANCES {
            let target = [("job", job), ("instance", instance)];
            let mut add = |dice: &mut Dice, name: &str, more: &[(&str, &str)], shape: Shape| {
                let labels = labels(name, target.iter().chain(more));
                all.push(Series { labels, samples: samples(dice, begin, shape) });
            };
            add(dice, "up", &[], Shape::Up);
            add(dice, "cores", &[], Shape::Constant(4));
            add(dice, "queue_limit", &[], Shape::Constant(-12));
            add(dice, "odd", &[], Shape::Odd);
            for mode in ["user", "system", "idle"] {
                add(dice, "cpu_seconds_total", &[("mode", mode)], Shape::Counter { step: 90, reset_in: 160 });
            }
            for kind in ["used", "free", "cached"] {
                add(dice, "memory_bytes", &[("kind", kind)], Shape::Gauge { around: 1 << 20, by: 4096 });
            }
            for queue in ["", "mail"] {
                add(dice, "queue_length", &[("queue", queue)], Shape::Gauge { around: 0, by: 24 });
            }
            add(dice, "intermittent", &[], Shape::Intermittent);
            for of in [["/", "200"], ["/", "500"], ["/login", "200"], ["/login", "500"]] {
                let of = [("path", of[0]), ("status", of[1])];
                add(dice, "requests_total", &of, Shape::Counter { step: 400, reset_in: 200 });
            }
            for path in ["/", "/login"] {
                all.extend(histogram(dice, begin, &target, path));
            }
        }
    }
    all
}

/// Buckets, sum and count of one histogram, which agree with one another.
fn histogram(dice: &mut Dice, begin: i64, target: &[(&str, &str)], path: &str) -> Vec<Series> {
    let bounds = ["0.125", "0.25", "0.5", "1.0", "2.5", "+Inf"];
    let jitter = jitter(dice);
    let mut counts = [BEGINNING as u64; 6];
    let mut sum = 0.0;
    let mut buckets = vec![Vec::new(); bounds.len()];
    let (mut sums, mut all) = (Vec::new(), Vec::new());
    for index in 0..SAMPLES {
        let time = moment(begin, index, jitter);
        let mut total = 0;
        for (bucket, count) in counts.iter_mut().enumerate() {
            let more = dice.below(20 - 3 * bucket as u64);
            *count += more;
            total += *count;
            sum += more as f64 * 0.25;
            buckets[bucket].push((time, total as f64));
        }
        sums.push((time, sum));
        all.push((time, total as f64));
    }
    let of = [("path", path)];
    let labelled = |name: &str, more: &[(&str, &str)]| labels(name, target.iter().chain(&of).chain(more));
    let mut series: Vec<Series> = bounds
        .iter()
        .zip(buckets)
        .map(|(le, samples)| Series { labels: labelled("duration_seconds_bucket", &[("le", le)]), samples })
        .collect();
    series.push(Series { labels: labelled("duration_seconds_sum", &[]), samples: sums });
    series.push(Series { labels: labelled("duration_seconds_count", &[]), samples: all });
    series
}

/// Sorted, without empty ones, which are as good as none.
fn labels<'a>(name: &str, rest: impl Iterator<Item = &'a (&'a str, &'a str)>) -> Vec<(String, String)> {
    let mut labels = vec![("__name__".to_owned(), name.to_owned())];
    labels.extend(
        rest.filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    labels.sort();
    labels
}

/// Milliseconds after the whole second, and which second of the interval.
fn jitter(dice: &mut Dice) -> i64 {
    dice.below(EVERY as u64) as i64 * 1000 + 1 + dice.below(998) as i64
}

fn moment(begin: i64, index: i64, jitter: i64) -> i64 {
    (begin + index * EVERY) * 1000 + jitter
}

fn samples(dice: &mut Dice, begin: i64, shape: Shape) -> Vec<(i64, f64)> {
    let jitter = jitter(dice);
    let mut samples = Vec::new();
    let (mut eighths, mut is_there) = (8 * BEGINNING + dice.below(1 << 24) as i64, true);
    for index in 0..SAMPLES {
        let value = match shape {
            Shape::Counter { step, reset_in } => {
                let from = if dice.one_in(reset_in) { 0 } else { eighths };
                eighths = from + dice.below(step) as i64;
                eighths as f64 / 8.0
            }
            Shape::Gauge { around, by } => {
                let step = dice.below(2 * by + 1) as i64 - by as i64;
                eighths = (if index == 0 { around } else { eighths }) + step;
                eighths as f64 / 8.0
            }
            Shape::Constant(value) => value as f64,
            Shape::Up => f64::from(!dice.one_in(30)),
            Shape::Intermittent => {
                let was_there = is_there;
                is_there ^= dice.one_in(25);
                match (was_there, is_there) {
                    // The marker of staleness: prometheus.io/docs/specs/prw/remote_write_spec, "Stale markers".
                    (true, false) => f64::from_bits(0x7ff0_0000_0000_0002),
                    (_, true) => dice.below(800) as f64 / 8.0,
                    (false, false) => continue,
                }
            }
            Shape::Odd => match dice.below(12) {
                0 => f64::INFINITY,
                1 => f64::NEG_INFINITY,
                2 => f64::NAN,
                _ => dice.below(80) as f64 / 8.0 - 5.0,
            },
        };
        samples.push((moment(begin, index, jitter), value));
    }
    samples
}
