//! Data goes to stdout, talk to stderr.

use std::io::{self, Write as _};

use serde::Serialize;

use crate::failure::Failure;

/// Data, as it is.
pub(crate) fn data(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// A line of data.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    data(&format!("{text}\n"))
}

/// Data as JSON for scripts.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).expect("answers of the API can be written as JSON again");
    line(&text)
}

/// A line of talk.
pub(crate) fn talk(text: &str) {
    // Talk that nobody hears is not a failure.
    let _unheard = writeln!(io::stderr(), "{text}");
}

/// What a tower sent, without anything that a terminal would act on, or that would turn the reading direction.
pub(crate) fn plain(text: &str) -> String {
    let visible = |c: char| match c {
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(visible).collect()
}

/// The same for a text of several lines. Those after the first are set in, so that none is taken for one of ours.
pub(crate) fn plain_lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n  ")
}

/// The shortest random part of a token; names of metrics and tables have no such words.
const TOKEN_DIGITS_MIN: usize = 16;

/// A complaint without the tokens that somebody typed: logs of jobs and terminals that others see keep it.
pub(crate) fn without_tokens(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("hms_") {
        let (before, from) = rest.split_at(at);
        let (word, after) = from.split_at(from.find(|c| !is_word(c)).unwrap_or(from.len()));
        let is_token = word.rsplit('_').next().is_some_and(|digits| digits.len() >= TOKEN_DIGITS_MIN);
        shown.push_str(before);
        shown.push_str(if is_token { "hms_[redacted]" } else { word });
        rest = after;
    }
    shown.push_str(rest);
    shown
}

/// `14:02:07.1` of an RFC 3339 moment.
pub(crate) fn clock(moment: &str) -> String {
    moment.get(11..21).map_or_else(|| plain(moment), plain)
}

/// `2026-11-22 14:02:07` of an RFC 3339 moment.
pub(crate) fn date(moment: &str) -> String {
    match (moment.get(..10), moment.get(11..19)) {
        (Some(day), Some(time)) => plain(&format!("{day} {time}")),
        _ => plain(moment),
    }
}

/// Basis points as per cent: `1 %`, `0.25 %`.
pub(crate) fn share(bp: u16) -> String {
    hmsops_model::Weight::from_bp(bp).map_or_else(|| "?".into(), |weight| weight.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_not_repeated_and_names_are() {
        let token = "hms_sa_0123456789abcdefghijABCDEFGHIJ012345";
        for (text, shown) in [
            (format!("unexpected argument '{token}' found"), "unexpected argument 'hms_[redacted]' found"),
            (format!("{token} {token}"), "hms_[redacted] hms_[redacted]"),
            (
                "no module hms_ops, nor hms_uploads_total".to_owned(),
                "no module hms_ops, nor hms_uploads_total",
            ),
            ("hms_é hms_".to_owned(), "hms_é hms_"),
        ] {
            assert_eq!(without_tokens(&text), shown);
        }
    }

    #[test]
    fn moments_are_cut_for_people() {
        assert_eq!(clock("2026-11-22T14:02:07.100Z"), "14:02:07.1");
        assert_eq!(date("2026-11-22T14:02:07.100Z"), "2026-11-22 14:02:07");
        assert_eq!(clock("later\u{1b}"), "later\u{fffd}");
    }

    #[test]
    fn nothing_moves_a_terminal_or_passes_for_a_line_of_ours() {
        assert_eq!(plain("a\u{1b}[2J\u{202e}b\u{2028}\r"), "a\u{fffd}[2J\u{fffd}b\u{fffd}\u{fffd}");
        assert_eq!(plain_lines("no\nerror: forged"), "no\n  error: forged");
    }
}
