//! `cargo xtask ruletests`: unit tests of rules, judged by us and by promtool.

mod damage;
mod draft;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::checkout;
use crate::chore::Chore;
use crate::dice::Dice;
use crate::failure::{Failure, Trying as _};
use crate::flags::Flags;
use crate::json::{Json, quoted};
use draft::Draft;

/// The chore.
pub(crate) const CHORE: Chore = Chore {
    name: "ruletests",
    summary: "unit tests of rules, judged by us and by promtool",
    help: "\
usage: cargo xtask ruletests [OPTION…] [FILE…]

Draws rule files and their unit tests from a seed, about half of them with something wrong, has `hmsops alert test` and
`promtool test rules` judge each, and compares: whether the file passes, and at which alerts and expressions it fails. FILEs,
tests of your own, are judged beside them. Needs promtool (Debian: package `prometheus`). Exits 1 when a verdict differs; the
files of those verdicts are kept and named.

  --count N      how many are drawn (200)
  --seed S       the first seed; same seed, same files (1)
  --program P    the hmsops to be tested (it is built)
  --keep         keep all files

example: cargo xtask ruletests --count 1000 --seed 7
",
    run: check,
};

/// Tests written by hand.
const OWN: [&str; 2] = [
    "crates/config/src/testdata/ruletests/down_test.yaml",
    "crates/config/src/testdata/ruletests/photo_test.yaml",
];

/// Draws and compares.
pub(crate) fn check(args: &[String]) -> Result<(), Failure> {
    let flags = Flags::read(args, &["--keep"], &["--count", "--seed", "--program"], 10_000)?;
    let count = flags.number("--count", 200_u64, 0..=100_000)?;
    let seed = flags.number("--seed", 1_u64, 0..=u64::MAX)?;
    if !checkout::has_command("promtool") {
        return Err(Failure::new("promtool is not installed").hint("apt-get install prometheus"));
    }
    let program = match flags.text("--program") {
        Some(path) => PathBuf::from(path),
        None => build()?,
    };
    let folder = std::env::temp_dir().join(format!("hmsops-ruletests-{}", std::process::id()));
    std::fs::create_dir_all(&folder).trying(format!("make `{}`", folder.display()))?;
    let drawn = draw(&folder, &program, count, seed)?;
    let mut own: Vec<PathBuf> = flags.words.iter().map(PathBuf::from).collect();
    own.extend(OWN.iter().map(|file| checkout::root().join(file)));
    let mut files: Vec<(PathBuf, String)> =
        own.into_iter().map(|file| (file, "written by hand".into())).collect();
    files.extend(drawn);
    let differ = judge(&program, &files)?;
    if differ == 0 && !flags.has("--keep") {
        std::fs::remove_dir_all(&folder).trying(format!("remove `{}`", folder.display()))?;
    } else {
        println!("the files are in {}", folder.display());
    }
    if differ == 0 { Ok(()) } else { Err(Failure::new(format!("{differ} verdicts differ"))) }
}

fn build() -> Result<PathBuf, Failure> {
    checkout::run(checkout::cargo().args(["build", "--quiet", "--package", "hmsops", "--bin", "hmsops"]))?;
    let target = checkout::metadata()?.text_at("target_directory").to_owned();
    Ok(Path::new(&target).join("debug").join("hmsops"))
}

/// Draws files into a folder: first without answers, which our own evaluation then fills in. Half of them are damaged
/// after that. Whether the answers are right is for the judge.
fn draw(folder: &Path, program: &Path, count: u64, seed: u64) -> Result<Vec<(PathBuf, String)>, Failure> {
    let mut drafts = Vec::new();
    for index in 0..count {
        let mut dice = Dice(seed.wrapping_add(index).wrapping_mul(0x2545_f491_4f6c_dd1d));
        let draft = Draft::draw(&mut dice);
        write(folder, index, &draft)?;
        drafts.push((dice, draft));
    }
    let names: Vec<PathBuf> = (0..count).map(|index| test_path(folder, index)).collect();
    let outcomes = ours(program, &names)?;
    let mut files = Vec::new();
    for ((index, (mut dice, mut draft)), name) in (0..).zip(drafts).zip(names) {
        if let Some(outcome) = outcomes.get(&name) {
            fill(&mut draft, outcome);
        }
        let what = if dice.one_in(2) { damage::damage(&mut draft, &mut dice) } else { "not damaged" };
        write(folder, index, &draft)?;
        files.push((name, what.to_owned()));
    }
    Ok(files)
}

fn test_path(folder: &Path, index: u64) -> PathBuf {
    folder.join(format!("test{index}.yaml"))
}

fn write(folder: &Path, index: u64, draft: &Draft) -> Result<(), Failure> {
    let rules = format!("rules{index}.yaml");
    std::fs::write(folder.join(&rules), &draft.rules).trying(format!("write `{rules}`"))?;
    let path = test_path(folder, index);
    std::fs::write(&path, draft.test(&rules)).trying(format!("write `{}`", path.display()))
}

/// Takes what was found for what is expected.
fn fill(draft: &mut Draft, outcome: &Json) {
    let failures = outcome.at("tests").map(Json::items).unwrap_or_default();
    let failures = failures.first().and_then(|test| test.at("failures")).map(Json::items).unwrap_or_default();
    for failure in failures {
        let (of, at) =
            (failure.text_at("of"), failure.at("at_ms").and_then(Json::as_number).unwrap_or(0.0) as u64);
        let items: Vec<String> =
            failure.at("found").map(Json::items).unwrap_or_default().iter().map(expected).collect();
        let is_meant = |question: &&mut draft::Question| question.of == of && question.at * 1000 == at;
        draft.questions.iter_mut().filter(is_meant).for_each(|question| question.expected.clone_from(&items));
    }
}

/// What was found as a test expects it.
fn expected(found: &Json) -> String {
    if let Some(labels) = found.at("labels").and_then(Json::as_text) {
        return format!("{{labels: {}, value: {}}}", quoted(labels), yaml_number(found.text_at("value")));
    }
    let map = |key: &str| {
        let mut text = String::new();
        if let Some(Json::Object(pairs)) = found.at(key) {
            for (name, value) in pairs.iter().filter(|(name, _)| name.as_str() != "alertname") {
                let comma = if text.is_empty() { "" } else { ", " };
                let _ = write!(text, "{comma}{name}: {}", quoted(value.as_text().unwrap_or_default()));
            }
        }
        text
    };
    format!("{{exp_labels: {{{}}}, exp_annotations: {{{}}}}}", map("labels"), map("annotations"))
}

fn yaml_number(text: &str) -> String {
    text.replace("Inf", ".inf").replace("NaN", ".nan")
}

/// Our verdicts by file.
fn ours(program: &Path, files: &[PathBuf]) -> Result<BTreeMap<PathBuf, Json>, Failure> {
    let mut outcomes = BTreeMap::new();
    for some in files.chunks(100) {
        let output = Command::new(program).args(["alert", "test", "--json"]).args(some).output();
        let output = output.trying(format!("run `{}`", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let json = Json::parse(&text).map_err(|error| {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            Failure::new(format!("`hmsops alert test` printed no JSON: {error}")).and_note(said.trim())
        })?;
        for outcome in json.items() {
            outcomes.insert(PathBuf::from(outcome.text_at("file")), outcome.clone());
        }
    }
    Ok(outcomes)
}

/// At what a file fails: alerts and expressions, sorted; `None`: it passes, or fails as a whole.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    passed: bool,
    at: Vec<String>,
}

fn our_verdict(outcome: &Json) -> Verdict {
    let mut at = Vec::new();
    for test in outcome.at("tests").map(Json::items).unwrap_or_default() {
        for failure in test.at("failures").map(Json::items).unwrap_or_default() {
            match failure.text_at("kind") {
                "alerts" => at.push(format!("alert {}", failure.text_at("of"))),
                "expr" | "query" => at.push(format!("expr {}", quoted(failure.text_at("of")))),
                _ => {}
            }
        }
    }
    at.sort();
    Verdict { passed: outcome.at("passed").and_then(Json::as_bool).unwrap_or(false), at }
}

/// Promtool's verdict, and what it printed.
fn their_verdict(file: &Path) -> Result<(Verdict, String), Failure> {
    let output =
        Command::new("promtool").args(["test", "rules"]).arg(file).output().trying("run promtool")?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut at = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some((name, _)) = line.strip_prefix("alertname: ").and_then(|rest| rest.split_once(", time: "))
        {
            at.push(format!("alert {name}"));
        } else if let Some((expr, _)) =
            line.strip_prefix("expr: ").and_then(|rest| rest.split_once(", time: "))
        {
            at.push(format!("expr {expr}"));
        }
    }
    at.sort();
    Ok((Verdict { passed: output.status.success(), at }, text))
}

/// Compares the verdicts; how many differ.
fn judge(program: &Path, files: &[(PathBuf, String)]) -> Result<usize, Failure> {
    let names: Vec<PathBuf> = files.iter().map(|(file, _)| file.clone()).collect();
    let outcomes = ours(program, &names)?;
    let (mut differ, mut passed, mut questions) = (0, 0, 0);
    let mut kinds: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (file, what) in files {
        let our = outcomes.get(file).map(our_verdict);
        let our = our.ok_or_else(|| Failure::new(format!("no verdict on `{}`", file.display())))?;
        let (their, said) = their_verdict(file)?;
        let count = kinds.entry(what).or_default();
        count.0 += usize::from(their.passed);
        count.1 += usize::from(!their.passed);
        passed += usize::from(their.passed);
        questions += their.at.len();
        if our != their {
            differ += 1;
            let word = |passed| if passed { "passes" } else { "fails" };
            println!(
                "{} ({what}): {} here at {:?}, {} with promtool at {:?}\n{said}",
                file.display(),
                word(our.passed),
                our.at,
                word(their.passed),
                their.at,
            );
        }
    }
    for (what, (passed, failed)) in kinds {
        println!("{what:<48}{passed:>5} pass {failed:>5} fail");
    }
    println!(
        "{} files: {passed} pass, {} fail at {questions} places; {differ} verdicts differ from promtool's",
        files.len(),
        files.len() - passed,
    );
    Ok(differ)
}
