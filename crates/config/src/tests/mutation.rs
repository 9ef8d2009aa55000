//! Whatever is done to a right file: no panic, and a value or at least one error with a place in the text.

use proptest::prelude::*;

use super::notify::TOLD;
use super::{ALERTS, CANARY, HMSOPS, ROLLBACK, SCRAPE, SERVICES};
use crate::{
    Checked, Severity, kind_of, parse_heal, parse_policy, parse_release, parse_rules, parse_scrape,
    parse_services, parse_tower, render,
};

/// One change: where (in thousandths of the text) and what.
#[derive(Debug, Clone)]
enum Change {
    Put(usize, String),
    Cut(usize, usize),
    Copy(usize, usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let piece = prop_oneof![
        Just("\n"),
        Just("\n  "),
        Just(": "),
        Just("- "),
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just("\""),
        Just("'"),
        Just("#"),
        Just(" #"),
        Just("&a "),
        Just("*a"),
        Just("<<: "),
        Just("!t "),
        Just("|"),
        Just(">"),
        Just("\t"),
        Just("\0"),
        Just("\r"),
        Just("é"),
        Just("\u{feff}"),
        Just("\u{e000}"),
        Just("\u{202e}"),
        Just("---\n"),
        Just("0"),
        Just("9999999999"),
        Just("%"),
        Just("? "),
        Just("@"),
        Just("~"),
        Just("{port:"),
    ]
    .prop_map(str::to_owned);
    let any = proptest::collection::vec(any::<char>(), 1..4).prop_map(|chars| chars.into_iter().collect());
    prop_oneof![
        4 => (0..1000usize, prop_oneof![8 => piece, 1 => any]).prop_map(|(at, text)| Change::Put(at, text)),
        2 => (0..1000usize, 1..40usize).prop_map(|(at, length)| Change::Cut(at, length)),
        1 => (0..1000usize, 1..60usize, 0..1000usize).prop_map(|(at, length, to)| Change::Copy(at, length, to)),
    ]
}

fn apply(text: &str, changes: &[Change]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for change in changes {
        let place = |thousandth: usize| thousandth * chars.len() / 1000;
        match change {
            Change::Put(at, text) => {
                let at = place(*at);
                chars.splice(at..at, text.chars());
            }
            Change::Cut(at, length) => {
                let at = place(*at);
                chars.drain(at..(at + length).min(chars.len()));
            }
            Change::Copy(at, length, to) => {
                let (at, to) = (place(*at), place(*to));
                let copied: Vec<char> = chars.iter().skip(at).take(*length).copied().collect();
                chars.splice(to..to, copied);
            }
        }
    }
    chars.into_iter().collect()
}

fn sound<T>(text: &str, checked: &Checked<T>) -> Result<(), TestCaseError> {
    let failed = checked.diagnostics.iter().any(|found| found.severity == Severity::Error);
    prop_assert_eq!(checked.value.is_none(), failed, "a value exactly when there is no error");
    let lines = text.split(['\n', '\r']).count().max(1);
    for found in &checked.diagnostics {
        prop_assert!((1..=lines).contains(&(found.line as usize)), "{found:?}");
        prop_assert!(found.column >= 1 && found.width >= 1, "{found:?}");
        prop_assert!(!found.message.is_empty() && found.hint.is_some(), "{found:?}");
        prop_assert!(!found.message.contains("this file cannot be used"), "a reason was lost: {found:?}");
        let rendered = render::one("x", found, false);
        prop_assert!(!rendered.chars().any(|c| c.is_control() && c != '\n'), "{rendered:?}");
        prop_assert!(!rendered.contains('\u{202e}'), "{rendered:?}");
    }
    Ok(())
}

fn all_sound(text: &str) -> Result<(), TestCaseError> {
    let _ = kind_of(text);
    if let Ok(heal) = parse_heal(text) {
        prop_assert_eq!(parse_heal(&heal.to_string()).ok(), Some(heal));
    }
    sound(text, &parse_release(text))?;
    sound(text, &parse_services(text))?;
    sound(text, &parse_policy(text))?;
    sound(text, &parse_rules(text))?;
    sound(text, &parse_scrape(text))?;
    sound(text, &parse_tower(text))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_files_give_a_value_or_an_error(
        file in prop_oneof![Just(CANARY), Just(SERVICES), Just(ROLLBACK), Just(HMSOPS), Just(ALERTS), Just(SCRAPE), Just(TOLD)],
        changes in proptest::collection::vec(change(), 1..6),
    ) {
        all_sound(&apply(file, &changes))?;
    }

    #[test]
    fn any_text_gives_a_value_or_an_error(text in "\\PC{0,80}(\n\\PC{0,40}){0,6}") {
        all_sound(&text)?;
    }
}
