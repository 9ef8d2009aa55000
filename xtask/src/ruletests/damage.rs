//! What is made wrong in a test that passes, or in its rules.

use super::draft::Draft;
use crate::dice::Dice;

/// How many kinds there are.
const KINDS: u64 = 14;

/// Makes one thing wrong (now and then nothing comes of it: the judges say), and says what.
pub(super) fn damage(draft: &mut Draft, dice: &mut Dice) -> &'static str {
    let at = dice.below(draft.questions.len() as u64) as usize;
    let interval = draft.interval;
    let question = &mut draft.questions[at];
    match dice.below(KINDS) {
        0 => {
            question.expected.pop();
            "an expected one is missing"
        }
        1 => {
            let extra = if question.is_alert { "{exp_labels: {a: b}}" } else { "{labels: \"x\", value: 1}" };
            question.expected.push(extra.to_owned());
            "one more is expected"
        }
        2 => {
            question.at += interval;
            "an evaluation later"
        }
        3 => {
            question.at = question.at.saturating_sub(interval);
            "an evaluation earlier"
        }
        4 => {
            let (from, to) = if question.is_alert { ("page", "info") } else { ("value: ", "value: 1") };
            question.expected.iter_mut().for_each(|item| *item = item.replacen(from, to, 1));
            "another label or value"
        }
        5 => {
            if let Some(first) = question.expected.first().cloned() {
                question.expected.push(first);
            }
            "one is expected twice"
        }
        6 => {
            question.of = if question.is_alert { "Unknown".into() } else { "sum(".into() };
            "an alert that is not there, or no expression"
        }
        7 => {
            draft.rules = draft.rules.replacen("expr: \"", "expr: \"sum(", 1);
            "a rule that does not parse"
        }
        8 => {
            draft.rules = draft.rules.replacen("{{ $", "{{ nope $", 1);
            "a template that does not parse"
        }
        9 => {
            draft.rules = draft.rules.replacen("for: ", "four: ", 1);
            "an unknown key"
        }
        10 => {
            draft.rules = draft.rules.replacen("group1", "group0", 1);
            "two groups of one name"
        }
        11 => {
            draft.rules =
                draft.rules.replacen("- record: recorded", "- record: recorded\n        for: 5m", 1);
            "a recording rule with `for`"
        }
        12 => {
            if let Some((_, values)) = draft.series.first_mut() {
                values.push_str(" 5 0x3");
            }
            "another input"
        }
        _ => {
            draft.rules = draft.rules.replacen("== 0", "== 1", 1).replacen("> 12", "> 14", 1);
            "another rule"
        }
    }
}
