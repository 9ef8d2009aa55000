//! The mail itself, as RFC 5322 has it.

use std::time::{Duration, SystemTime};

use lettre::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};
use lettre::message::{Mailbox, Message as Letter};

use super::{ChannelError, Message, cut, one_line};

/// Readers show less; RFC 5322, section 2.1.1 allows 998 bytes a line.
const SUBJECT_CHARS_MAX: usize = 250;
/// A mail is to be read by a person who was woken up.
const TEXT_BYTES_MAX: usize = 256 << 10;
/// The last millisecond of the year 9999: RFC 5322, section 3.3 has years of four digits.
const AT_MAX: i64 = 253_402_300_799_999;

/// An address alone, `oncall@csac.gov`.
pub(super) fn address(text: &str) -> Result<Address, ChannelError> {
    let wrong = || {
        let found = one_line(text);
        ChannelError::lasting(format!("`{found}` is not a mail address: expected `name@domain`"))
    };
    // RFC 5321 would allow some of these in quotes; nobody has such an address, and they can do harm.
    let harmful = |c: char| c.is_control() || c.is_whitespace() || "<>\",;()".contains(c);
    if text.chars().any(harmful) {
        return Err(wrong());
    }
    text.parse().map_err(|_| wrong())
}

/// An address with or without a name before it: `HMS <hms@csac.gov>`.
pub(super) fn mailbox(text: &str) -> Result<Mailbox, ChannelError> {
    let Some((name, rest)) = text.split_once('<') else { return Ok(Mailbox::new(None, address(text)?)) };
    let inner = rest.strip_suffix('>').unwrap_or(rest);
    let name = one_line(name.trim().trim_matches('"'));
    Ok(Mailbox::new(Some(name).filter(|name| !name.is_empty()), address(inner)?))
}

/// The bytes to send. ASCII only, whatever the texts hold, so every server takes them.
pub(super) fn letter(from: &Mailbox, to: &Address, message: &Message) -> Result<Vec<u8>, ChannelError> {
    let at_ms = u64::try_from(message.at.0.clamp(0, AT_MAX)).unwrap_or(0);
    let automatic =
        HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".into());
    let letter = Letter::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to.clone()))
        .subject(subject(&message.subject))
        .date(SystemTime::UNIX_EPOCH + Duration::from_millis(at_ms))
        .message_id(Some(message_id(from, message)))
        // RFC 3834, section 5: no holiday notes are sent back.
        .raw_header(automatic)
        .header(MIME_VERSION_1_0)
        .header(ContentType::TEXT_PLAIN)
        .body(text(&message.text));
    let letter = letter.map_err(|error| ChannelError::lasting(format!("cannot write the mail: {error}")))?;
    Ok(letter.formatted())
}

/// The same for every attempt and for no other message: numbers begin anew with a new ledger, so the moment is in it.
fn message_id(from: &Mailbox, message: &Message) -> String {
    let domain = Some(from.email.domain()).filter(|domain| domain.is_ascii()).unwrap_or("hmsops.invalid");
    format!("<{}.{}@{domain}>", message.key, message.at.0.max(0))
}

/// One line: whoever writes a line break into it does not write a header of ours.
fn subject(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    cut(&words.collect::<Vec<_>>().join(" "), SUBJECT_CHARS_MAX)
}

fn text(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut kept = text[..end].replace("\r\n", "\n");
    kept =
        kept.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect();
    if end < text.len() {
        kept.push_str("\n[the rest was left out]");
    }
    if !kept.ends_with('\n') {
        kept.push('\n');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use hmsops_model::UnixMillis;

    fn message(subject: &str, text: &str) -> Message {
        Message {
            key: "n-9".into(),
            subject: subject.into(),
            text: text.into(),
            json: serde_json::Value::Null,
            at: UnixMillis(1_763_818_502_000),
        }
    }

    fn written(message: &Message) -> String {
        let from = mailbox("HMS <hms@csac.gov>").unwrap();
        let letter = letter(&from, &address("oncall@csac.gov").unwrap(), message).unwrap();
        String::from_utf8(letter).unwrap()
    }

    #[test]
    fn a_mail_has_the_headers_that_make_it_recognisable() {
        let text = written(&message("dmv-photo 2.4.1 taken back", "Why: errors.\n.\nbye"));
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        for line in [
            "From: HMS <hms@csac.gov>",
            "To: oncall@csac.gov",
            "Subject: dmv-photo 2.4.1 taken back",
            "Date: Sat, 22 Nov 2025 13:35:02 +0000",
            "Message-ID: <n-9.1763818502000@csac.gov>",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
        ] {
            assert!(head.lines().any(|found| found == line), "{line} in {head}");
        }
        assert_eq!(body, "Why: errors.\r\n.\r\nbye\r\n");
    }

    #[test]
    fn no_text_of_others_becomes_a_header_or_a_recipient() {
        let text =
            written(&message("a\r\nBcc: x@evil.example\r\n\r\nbody \u{2028}b\0c", "\r\n.\r\nMAIL FROM:<x>"));
        let (head, _) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("Subject: a Bcc: x@evil.example body b c\r\n"), "{head}");
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
        for wrong in [
            "x@csac.gov\r\nRCPT TO:<y@evil.example>",
            "x@csac.gov> NOTIFY=NEVER",
            "x@csac.gov, y@evil.example",
            "\"x y\"@csac.gov",
            "x",
            "",
            "@csac.gov",
        ] {
            assert!(address(wrong).is_err_and(|error| error.is_final), "{wrong:?}");
        }
        assert!(mailbox("HMS <hms@csac.gov\r\nBcc: x@evil.example>").is_err());
        assert_eq!(mailbox("A\r\nBcc: x <hms@csac.gov>").unwrap().name.as_deref(), Some("A Bcc: x"));
    }

    #[test]
    fn every_language_is_sent_as_ascii() {
        let text = written(&message(&"Zurückgenommen: Größe ≥ 1 000 ✔ ".repeat(5), "ünï\n"));
        assert!(text.is_ascii());
        assert!(text.contains("Subject: =?utf-8?b?"), "{text}");
        assert!(text.lines().all(|line| line.len() <= 78 + 20), "{text}");
    }

    #[test]
    fn absurd_moments_and_lengths_make_a_mail_all_the_same() {
        for at in [i64::MIN, -1, 0, AT_MAX, i64::MAX] {
            let message = Message { at: UnixMillis(at), ..message("a", "b") };
            assert!(written(&message).contains("\r\nDate: "));
        }
        let text = written(&message(&"s".repeat(10_000), &"t\u{e9}".repeat(1 << 20)));
        assert!(text.len() < 2 << 20);
    }
}
