//! Messages of DNS (RFC 1035 section 4): one question out, an answer in.

use std::net::{Ipv4Addr, Ipv6Addr};

use hmsops_model::probe::RecordType;

/// Labels of a name are compressed by pointers back; so many are followed (a name has at most 127 labels).
const POINTERS_MAX: usize = 127;
/// Records of one answer that are read.
const RECORDS_MAX: usize = 256;
const HEADER_BYTES: usize = 12;
const CLASS_IN: u16 = 1;

/// An answer, as far as a look needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// `NOERROR`, `NXDOMAIN`, …
    pub(super) rcode: String,
    /// It did not fit: to be asked again over TCP.
    pub(super) cut: bool,
    /// Records of the wanted type, as zone files write them.
    pub(super) records: Vec<String>,
}

/// A question, recursion desired. The name has at most 253 characters in labels of at most 63.
pub(super) fn encode_question(id: u16, name: &str, record: RecordType) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(HEADER_BYTES + name.len() + 6);
    for word in [id, 0x0100, 1, 0, 0, 0] {
        message.extend_from_slice(&word.to_be_bytes());
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > 253 {
        return None;
    }
    for label in name.split('.').filter(|_| !name.is_empty()) {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        message.push(length);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&record.number().to_be_bytes());
    message.extend_from_slice(&CLASS_IN.to_be_bytes());
    Some(message)
}

/// The answer to `question`; `None` when the bytes are no answer to it.
pub(super) fn decode_answer(message: &[u8], question: &[u8], record: RecordType) -> Option<Answer> {
    let flags = word(message, 2)?;
    let is_answer = message.get(..2)? == question.get(..2)? && flags & 0x8000 != 0;
    // Resolvers repeat the question, letters perhaps in the other case; a refusal may leave it out.
    let asked = question.get(HEADER_BYTES..)?;
    let questions = word(message, 4)?;
    let repeated = match questions {
        0 => flags & 0xf != 0,
        1 => message.get(HEADER_BYTES..HEADER_BYTES + asked.len())?.eq_ignore_ascii_case(asked),
        _ => false,
    };
    if !is_answer || !repeated {
        return None;
    }
    let mut answer = Answer { rcode: rcode(flags & 0xf), cut: flags & 0x0200 != 0, records: Vec::new() };
    if answer.cut {
        return Some(answer);
    }
    let mut at = HEADER_BYTES + usize::from(questions) * asked.len();
    for _ in 0..usize::from(word(message, 6)?).min(RECORDS_MAX) {
        let (_, after) = name(message, at)?;
        let (kind, length) = (word(message, after)?, usize::from(word(message, after + 8)?));
        let begin = after + 10;
        message.get(begin..begin + length)?;
        if kind == record.number() {
            answer.records.push(data(message, begin, length, record)?);
        }
        at = begin + length;
    }
    Some(answer)
}

fn word(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?))
}

/// RFC 1035 section 4.1.1.
fn rcode(code: u16) -> String {
    match code {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        other => return format!("RCODE{other}"),
    }
    .into()
}

/// A name, and where it ends. Pointers may only lead back, which makes an end certain.
fn name(message: &[u8], begin: usize) -> Option<(String, usize)> {
    let (mut text, mut at, mut end) = (String::new(), begin, None);
    for _ in 0..=POINTERS_MAX * 2 {
        let length = *message.get(at)?;
        match length {
            0 => return Some((text, end.unwrap_or(at + 1))),
            1..=63 => {
                if !text.is_empty() {
                    text.push('.');
                }
                let label = message.get(at + 1..at + 1 + usize::from(length))?;
                text.extend(label.iter().map(|byte| char::from(*byte)));
                at += 1 + usize::from(length);
            }
            0xc0.. => {
                let target = usize::from(word(message, at)? & 0x3fff);
                if target >= at {
                    return None;
                }
                end.get_or_insert(at + 2);
                at = target;
            }
            _ => return None,
        }
        if text.len() > 255 {
            return None;
        }
    }
    None
}

/// A record's data, as zone files write it, without the dot at a name's end.
fn data(message: &[u8], begin: usize, length: usize, record: RecordType) -> Option<String> {
    let bytes = message.get(begin..begin + length)?;
    Some(match record {
        RecordType::A => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string(),
        RecordType::Aaaa => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string(),
        RecordType::Cname | RecordType::Ns | RecordType::Ptr => name(message, begin)?.0,
        RecordType::Mx => format!("{} {}", word(message, begin)?, name(message, begin + 2)?.0),
        RecordType::Srv => {
            let part = |index: usize| word(message, begin + index * 2);
            format!("{} {} {} {}", part(0)?, part(1)?, part(2)?, name(message, begin + 6)?.0)
        }
        RecordType::Soa => {
            let (primary, after) = name(message, begin)?;
            let (mailbox, after) = name(message, after)?;
            let serial = u32::from_be_bytes(message.get(after..after + 4)?.try_into().ok()?);
            format!("{primary} {mailbox} {serial}")
        }
        RecordType::Txt => {
            let (mut text, mut rest) = (Vec::new(), bytes);
            while let Some((&length, tail)) = rest.split_first() {
                let (part, tail) = tail.split_at_checked(usize::from(length))?;
                text.extend_from_slice(part);
                rest = tail;
            }
            String::from_utf8_lossy(&text).into_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to `question` with these records; names in data may point to the question at 12.
    fn answer(question: &[u8], flags: u16, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = question.to_vec();
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        message[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
        for (kind, data) in records {
            message.extend_from_slice(&[0xc0, 12]);
            message.extend_from_slice(&kind.to_be_bytes());
            message.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
            message.extend_from_slice(&(data.len() as u16).to_be_bytes());
            message.extend_from_slice(data);
        }
        message
    }

    fn read(record: RecordType, data: &[u8]) -> String {
        let question = encode_question(7, "portal.csac.gov", record).unwrap();
        let message = answer(&question, 0x8180, &[(5, b"\x01x\xc0\x0c"), (record.number(), data)]);
        let mut answer = decode_answer(&message, &question, record).unwrap();
        assert_eq!(answer.rcode, "NOERROR");
        answer.records.pop().unwrap()
    }

    #[test]
    fn records_read_as_zone_files_write_them() {
        assert_eq!(read(RecordType::A, &[10, 0, 0, 4]), "10.0.0.4");
        assert_eq!(read(RecordType::Aaaa, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), "::1");
        assert_eq!(read(RecordType::Cname, b"\x03www\xc0\x0c"), "www.portal.csac.gov");
        assert_eq!(read(RecordType::Mx, b"\x00\x0a\x02mx\xc0\x13"), "10 mx.csac.gov");
        assert_eq!(read(RecordType::Txt, b"\x05v=spf\x02 1"), "v=spf 1");
        assert_eq!(read(RecordType::Srv, b"\x00\x01\x00\x02\x01\xbb\xc0\x0c"), "1 2 443 portal.csac.gov");
        assert_eq!(read(RecordType::Soa, b"\xc0\x13\x01h\xc0\x13\x00\x00\x00\x07"), "csac.gov h.csac.gov 7");
    }

    #[test]
    fn what_is_no_answer_to_the_question_is_none() {
        let question = encode_question(7, "portal.csac.gov", RecordType::A).unwrap();
        let right = answer(&question, 0x8180, &[(1, &[1, 2, 3, 4])]);
        assert!(decode_answer(&right, &question, RecordType::A).is_some());
        let mut other_id = right.clone();
        other_id[1] ^= 1;
        let mut other_name = right.clone();
        other_name[13] = b'q';
        let not_an_answer = answer(&question, 0x0100, &[]);
        let mut pointing_at_itself = right.clone();
        let at = question.len();
        pointing_at_itself[at..at + 2].copy_from_slice(&[0xc0, at as u8]);
        for wrong in [other_id, other_name, not_an_answer, pointing_at_itself] {
            assert_eq!(decode_answer(&wrong, &question, RecordType::A), None, "{wrong:?}");
        }
        let refused = answer(&question, 0x8183, &[]);
        assert_eq!(decode_answer(&refused, &question, RecordType::A).unwrap().rcode, "NXDOMAIN");
        for name in ["a..b", &"x".repeat(64), &"x.".repeat(200)] {
            assert_eq!(encode_question(1, name, RecordType::A), None, "{name}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_go_on_for_ever() {
        let question = encode_question(7, "portal.csac.gov", RecordType::Soa).unwrap();
        let right = answer(
            &question,
            0x8180,
            &[(6, b"\xc0\x13\x01h\xc0\x13\x00\x00\x00\x07"), (6, b"\xc0\x0c\xc0\x0c\0\0\0\0")],
        );
        for end in 0..right.len() {
            let _ = decode_answer(&right[..end], &question, RecordType::Soa);
        }
        for at in 0..right.len() {
            for wrong in 0..=255 {
                let mut message = right.clone();
                message[at] = wrong;
                for record in RecordType::ALL {
                    let _ = decode_answer(&message, &question, record);
                }
            }
        }
    }
}
