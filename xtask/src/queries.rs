//! `cargo xtask queries`: queries answered by us and by a Prometheus that holds the same samples.

mod answer;
pub(crate) mod data;
mod draft;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::checkout;
use crate::chore::Chore;
use crate::dice::Dice;
use crate::failure::{Failure, Trying as _};
use crate::flags::Flags;
use crate::stores::batch::{self, Series};
use crate::stores::{self, Store};
use answer::{Answer, TOLERANCE};
use draft::{Draft, Span};

/// The chore.
pub(crate) const CHORE: Chore = Chore {
    name: "queries",
    summary: "PromQL queries, answered by us and by a Prometheus that holds the same samples",
    help: "\
usage: cargo xtask queries [OPTION…] [QUERY…]

Writes the same two hours of samples to a tower and to a Prometheus by remote write, draws queries from a seed, asks both,
and compares: the same series, the same moments, values within 1e-9 of themselves (or 1e-12), the same kind of failure. QUERYs of your
own are asked beside them, for the last moment and for the whole time. Needs Prometheus (Debian: package `prometheus`). Exits
1 when an answer differs.

  --count N      how many are drawn (500)
  --seed S       the first seed; same seed, same samples and queries (1)
  --program P    the hmsops to be tested (it is built)
  --show         prints each query with its verdict

example: cargo xtask queries --count 2000 --seed 7
",
    run: check,
};

/// Draws and compares.
pub(crate) fn check(args: &[String]) -> Result<(), Failure> {
    let flags = Flags::read(args, &["--show"], &["--count", "--seed", "--program"], 1_000)?;
    let count = flags.number("--count", 500_u64, 0..=1_000_000)?;
    let seed = flags.number("--seed", 1_u64, 0..=u64::MAX)?;
    stores::needs("prometheus", "prometheus")?;
    let program = match flags.text("--program") {
        Some(path) => PathBuf::from(path),
        None => build()?,
    };
    let folder = stores::folder("queries")?;
    let outcome = compare(&folder, &program, (count, seed), &flags.words, flags.has("--show"));
    std::fs::remove_dir_all(&folder).trying(format!("remove `{}`", folder.display()))?;
    outcome
}

fn build() -> Result<PathBuf, Failure> {
    checkout::run(checkout::cargo().args(["build", "--quiet", "--package", "hmsops", "--bin", "hmsops"]))?;
    let target = checkout::metadata()?.text_at("target_directory").to_owned();
    Ok(Path::new(&target).join("debug").join("hmsops"))
}

fn compare(
    folder: &Path,
    program: &Path,
    (count, seed): (u64, u64),
    own: &[String],
    is_shown: bool,
) -> Result<(), Failure> {
    let (mut ours, mut theirs) = (Store::ours(program, folder)?, Store::prometheus(folder)?);
    let mut dice = Dice(seed);
    let span = fill(&mut [&mut ours, &mut theirs], &mut dice)?;
    let mut drafts: Vec<Draft> = (0..count)
        .map(|index| {
            let seed = seed.wrapping_add(index).wrapping_mul(0x2545_f491_4f6c_dd1d);
            Draft::draw(&mut Dice(seed), &span)
        })
        .collect();
    for text in own {
        let text = text.clone();
        drafts.push(Draft { text: text.clone(), from: span.to, to: span.to, step: 0 });
        drafts.push(Draft { text, from: span.from, to: span.to, step: 60 });
    }
    let (mut found, mut failed, mut differ) = (0_u64, 0_u64, 0_u64);
    for draft in &drafts {
        let (our, their) = (ask(&mut ours, draft)?, ask(&mut theirs, draft)?);
        found += u64::from(their.is_something());
        failed += u64::from(matches!(their, Answer::Failed(..)));
        let difference = our.differs(&their);
        differ += u64::from(difference.is_some());
        if is_shown || difference.is_some() {
            let (Draft { text, from, to, step }, verdict) =
                (draft, difference.as_deref().unwrap_or("the same"));
            println!("{text}\n  from {from} to {to} by {step} s: {verdict}");
        }
    }
    let all = drafts.len() as u64;
    println!(
        "{all} queries: {found} found something, {failed} failed as they should, {} found nothing; {differ} answers differ by more \
         than {TOLERANCE:e}",
        all - found - failed
    );
    if found * 2 < all {
        return Err(Failure::new("most queries found nothing, which proves little"));
    }
    if differ == 0 { Ok(()) } else { Err(Failure::new(format!("{differ} answers differ"))) }
}

/// Writes the same samples to all stores; they end a moment ago. Gives back the time they cover.
fn fill(stores: &mut [&mut Store], dice: &mut Dice) -> Result<Span, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let long = data::SAMPLES * data::EVERY;
    // A whole number of minutes, as the moments of queries are.
    let begin = (now.cast_signed() - long - 120) / 60 * 60;
    let series = data::series(dice, begin);
    // Half an hour at a time: Prometheus takes nothing older than an hour before its newest sample.
    for half_hour in 0.. {
        let (from, to) = (begin * 1000 + half_hour * 1_800_000, begin * 1000 + (half_hour + 1) * 1_800_000);
        if half_hour * 1800 > long {
            break;
        }
        let some = |series: &Series| {
            let samples: Vec<(i64, f64)> =
                series.samples.iter().filter(|(time, _)| (from..to).contains(time)).copied().collect();
            (series.labels.clone(), samples)
        };
        let batch: Vec<_> = series.iter().map(some).filter(|(_, samples)| !samples.is_empty()).collect();
        let body = batch::body(batch.iter().map(|(labels, samples)| (&labels[..], &samples[..])));
        for store in &mut *stores {
            store.write(&body)?;
        }
    }
    Ok(Span { from: begin, to: begin + long })
}

fn ask(store: &mut Store, draft: &Draft) -> Result<Answer, Failure> {
    let (from, to, step) = (draft.from.to_string(), draft.to.to_string(), draft.step.to_string());
    let answer = if draft.step == 0 {
        store.query("/api/v1/query", &[("query", &draft.text), ("time", &to)])?
    } else {
        let of = [("query", draft.text.as_str()), ("start", &from), ("end", &to), ("step", &step)];
        store.query("/api/v1/query_range", &of)?
    };
    let name = store.name;
    Answer::read(&answer)
        .map_err(|error| Failure::new(format!("{name} answered `{}` with no answer: {error}", draft.text)))
}
