//! The marks: shape and word carry a state, colour only repeats it.

use std::fmt::Write as _;

use hmsops_control::headline::{Piece, Sign};
use hmsops_model::{AlertId, NoticeId, ReleaseId, RuleName, ServiceName, TicketId};

use super::html::{Element, el};

/// The class of everything that has this sign.
pub(super) const fn class(sign: Sign) -> &'static str {
    match sign {
        Sign::Failing => "bad",
        Sign::Unknown => "unknown",
        Sign::UnderWatch => "warn",
        Sign::Fine => "ok",
    }
}

/// ● fine, ▲ under watch, ■ failing, ◌ unknown: the shape alone, for use beside its word.
pub(super) fn shape(sign: Sign) -> Element {
    let form = match sign {
        Sign::Fine => el("circle").attr("cx", 6).attr("cy", 6).attr("r", 5),
        Sign::UnderWatch => el("path").attr("d", "M6 .5 11.7 11H.3z"),
        Sign::Failing => el("path").attr("d", "M1 1h10v10H1z"),
        Sign::Unknown => el("circle").attr("cx", 6).attr("cy", 6).attr("r", "4.6").class("dashed"),
    };
    el("svg")
        .class(format!("mark {}", class(sign)))
        .attr("viewBox", "0 0 12 12")
        .attr("aria-hidden", "true")
        .put(form)
}

/// Shape and word.
pub(super) fn worded(sign: Sign, word: &str) -> Element {
    el("span").class(format!("sign {}", class(sign))).put(shape(sign)).put(word)
}

/// Where a release's page is.
pub(super) fn release_path(id: ReleaseId) -> String {
    format!("/releases/{id}")
}

/// Where a service's page is.
pub(super) fn service_path(name: &ServiceName) -> String {
    format!("/dash/{name}")
}

/// Where an alert's page is.
pub(super) fn alert_path(id: AlertId) -> String {
    format!("/alerts/{id}")
}

/// Where a ticket's page is.
pub(super) fn ticket_path(id: TicketId) -> String {
    format!("/tickets/{id}")
}

/// Where a notice stands.
pub(super) fn notice_path(id: NoticeId) -> String {
    format!("/notices#{id}")
}

/// Where a rule stands, and before what can be done with it. Its name may hold anything but `/`.
pub(super) fn rule_path(name: &RuleName) -> String {
    let mut path = "/rules/".to_owned();
    for byte in name.as_str().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => path.push(byte.into()),
            _ => {
                let _ = write!(path, "%{byte:02X}");
            }
        }
    }
    path
}

/// Somebody as people call them: `Ann, p-3` for `person:p-3 Ann`; others as they stand in the ledger.
pub(super) fn called(actor: &str) -> String {
    let person = actor.strip_prefix("person:").and_then(|rest| rest.split_once(' '));
    person.map_or_else(|| actor.to_owned(), |(id, name)| format!("{name}, {id}"))
}

/// A link.
pub(super) fn link(path: &str, words: &str) -> Element {
    el("a").attr("href", path).put(words)
}

/// A sentence with its names linked.
pub(super) fn linked(pieces: Vec<Piece>) -> Element {
    pieces.into_iter().fold(el("span"), |sentence, piece| match piece {
        Piece::Text(text) => sentence.put(tied(&text)),
        Piece::Service(name) => sentence.put(link(&service_path(&name), name.as_str())),
        Piece::Release(id, words) => sentence.put(link(&release_path(id), &words)),
        Piece::Alert(id, words) => sentence.put(link(&alert_path(id), &words)),
        Piece::Ticket(id, words) => sentence.put(link(&ticket_path(id), &words)),
        Piece::Notice(id, words) => sentence.put(link(&notice_path(id), &words)),
    })
}

/// With numbers tied to what follows them, so that `1.9 s` stays on one line.
pub(super) fn tied(text: &str) -> String {
    let mut after_digit = false;
    let tie = |c: char| {
        let tied = c == ' ' && after_digit;
        after_digit = c.is_ascii_digit();
        if tied { '\u{a0}' } else { c }
    };
    text.chars().map(tie).collect()
}

/// A sentence; what stands between backticks in it is a command.
pub(super) fn prose(text: &str) -> Element {
    text.split('`').enumerate().fold(el("span"), |sentence, (i, part)| match part {
        "" => sentence,
        command if i % 2 == 1 => sentence.put(el("code").put(command)),
        words => sentence.put(tied(words)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_with_their_unit() {
        assert_eq!(tied("back 1.9 s after"), "back 1.9\u{a0}s after");
    }

    #[test]
    fn commands_in_a_sentence_look_like_commands() {
        let said = prose("take it back (`hmsops release abort r-1`) in 9 s").into_markup();
        let expected = "take it back (<code>hmsops release abort r-1</code>) in 9\u{a0}s";
        assert_eq!(said, format!("<span>{expected}</span>"));
    }
}
