//! Scripts in Prometheus' test language: series are loaded, queries evaluated, answers compared.
//!
//! The language: blocks separated by blank or comment lines. `load STEP` with one series a line, `clear`, and
//! `eval instant at TIME QUERY` or `eval range from A to B step S QUERY` with what is expected. What cannot be
//! understood counts as failed, never as skipped.

mod case;
mod check;
mod memory;
mod notation;
mod recheck;

pub use case::{Case, Expectation};
pub use memory::Memory;
pub use notation::{Described, describe};

/// What became of one `eval`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Where it stands, from 1.
    pub line: usize,
    /// The command.
    pub command: String,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

/// Runs a whole script; one verdict for each `eval`.
pub fn run(text: &str) -> Vec<Verdict> {
    let mut memory = Memory::default();
    let mut broken: Option<String> = None;
    let mut verdicts = Vec::new();
    for (line, block) in blocks(text) {
        let first = block[0].split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        if first == "clear" {
            memory = Memory::default();
            broken = None;
        } else if first.starts_with("load") {
            if let Err(why) = memory.load(&block) {
                broken = Some(format!("the load before it is not understood: {why}"));
            }
        } else {
            let failure = match (&broken, Case::parse(&block)) {
                (Some(why), _) => Some(why.clone()),
                (None, Err(why)) => Some(why),
                (None, Ok(case)) => check::check(&case, &memory).err(),
            };
            verdicts.push(Verdict { line, command: block[0].to_owned(), failure });
        }
    }
    verdicts
}

/// Blocks with the line on which they begin, from 1. Comment lines end blocks as blank lines do.
fn blocks(text: &str) -> Vec<(usize, Vec<&str>)> {
    let mut blocks: Vec<(usize, Vec<&str>)> = Vec::new();
    let mut is_open = false;
    for (index, line) in text.split('\n').enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            is_open = false;
        } else if is_open && let Some((_, block)) = blocks.last_mut() {
            block.push(line);
        } else {
            blocks.push((index + 1, vec![line]));
            is_open = line.split_whitespace().next() != Some("clear");
        }
    }
    blocks
}
