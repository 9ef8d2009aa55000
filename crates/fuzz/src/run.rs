//! The search itself: pick, change, feed, remember what came to something new.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::dice::Dice;
use crate::mutate::mutate;
use crate::target::Target;

/// Inputs that are kept to be changed further.
const POOL_MAX: usize = 20_000;

/// What a run came to.
pub(crate) struct Tally {
    /// Inputs fed.
    pub(crate) inputs: u64,
    /// Different answers.
    pub(crate) answers: usize,
}

/// Feeds inputs for a while. `about` is told of each before it is fed, and with `None` at the end. The error is the
/// input that made it panic.
pub(crate) fn search(
    target: &Target,
    (found, mut pool): (Vec<Vec<u8>>, Vec<Vec<u8>>),
    (seed, span): (u64, Duration),
    about: &mut dyn FnMut(&[u8]),
) -> Result<Tally, Vec<u8>> {
    let (began, mut dice) = (Instant::now(), Dice::new(seed));
    let mut world = (target.world)();
    let (mut known, mut inputs) = (BTreeSet::new(), 0);
    let mut feed = |input: &[u8], known: &mut BTreeSet<u64>| -> Result<bool, Vec<u8>> {
        about(input);
        inputs += 1;
        let answer = catch_unwind(AssertUnwindSafe(|| world(input))).map_err(|_| input.to_vec())?;
        Ok(known.insert(kind(&answer)))
    };
    for input in found.iter().chain(&pool) {
        feed(input, &mut known)?;
    }
    while began.elapsed() < span {
        // What was added last is changed more often: it is where something new was.
        let last = pool.len().min(64);
        let from =
            if dice.below(2) == 0 { pool.len() - 1 - dice.below(last) } else { dice.below(pool.len()) };
        let other = dice.below(pool.len());
        let input = mutate(&mut dice, &pool[from], &pool[other], target.words);
        if feed(&input, &mut known)? && pool.len() < POOL_MAX {
            pool.push(input);
        }
    }
    Ok(Tally { inputs, answers: known.len() })
}

/// An answer without the numbers and names in it: which sentence it is, and about how much was read.
fn kind(answer: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut is_quoted = false;
    for c in answer.chars().take(300) {
        is_quoted ^= matches!(c, '`' | '"');
        if !is_quoted && !c.is_ascii_digit() {
            c.hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// The name under which an input is kept.
pub(crate) fn name(input: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target;

    const BRACES: Target = Target {
        name: "braces",
        about: "fuzz",
        files: &[],
        split: |_, _| {},
        seeds: Vec::new,
        words: &[],
        world: || {
            Box::new(|input| {
                let depth = input.split(|byte| *byte == b'{').count() - 1;
                assert!(depth < 3, "three braces");
                format!("{} braces", "one more".repeat(depth))
            })
        },
    };

    /// What is new is gone on from, and what panics is handed out as it was.
    #[test]
    fn a_search_finds_what_panics_and_the_same_seed_finds_the_same() {
        let find = || {
            let inputs = (Vec::new(), vec![b"a".to_vec()]);
            search(&BRACES, inputs, (7, Duration::from_mins(1)), &mut |_| {}).map(|tally| tally.inputs)
        };
        let found = find().unwrap_err();
        assert!(found.split(|byte| *byte == b'{').count() > 3, "{found:?}");
        assert_eq!(find().unwrap_err(), found);
    }

    /// Findings of before are tried first; they are mended, so every target reads them and its own seeds.
    #[test]
    fn every_target_takes_its_seeds_and_what_was_once_found() {
        for target in target::ALL {
            let seeds = (crate::corpus::found(target), (target.seeds)());
            assert!(!seeds.1.is_empty(), "{}", target.name);
            let mut inputs = 0;
            let tally = search(target, seeds, (1, Duration::ZERO), &mut |_| inputs += 1);
            assert!(tally.is_ok_and(|tally| tally.inputs == inputs && tally.answers > 0), "{}", target.name);
        }
    }
}
