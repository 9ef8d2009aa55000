//! What a certificate says of itself, whether or not anyone trusts it: whose it is and until when.
//!
//! Reads only the fields on the way to these (RFC 5280 section 4.1), in DER (X.690).

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// `2.5.4.3`, a common name (RFC 5280 appendix A.1).
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const DAY_S: i64 = 86_400;

/// A certificate that a server showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The common name of whom it is for; empty when it has none.
    pub subject: String,
    /// From when it is valid, Unix seconds.
    pub not_before: i64,
    /// Until when.
    pub not_after: i64,
    /// When it was looked at, by the machine's calendar.
    pub now: i64,
}

impl Certificate {
    /// Reads one; `None` when the bytes are none.
    pub fn read(der: &[u8], now: i64) -> Option<Self> {
        let (certificate, _) = element(der, SEQUENCE)?;
        let (tbs, _) = element(certificate, SEQUENCE)?;
        // [0] the version may be left out; then number, algorithm and issuer.
        let (tag, _, after_first) = any(tbs)?;
        let mut rest = if tag == 0xa0 { any(after_first)?.2 } else { after_first };
        for _ in 0..2 {
            rest = element(rest, SEQUENCE)?.1;
        }
        let (validity, rest) = element(rest, SEQUENCE)?;
        let (not_before, after) = moment(validity)?;
        let (not_after, _) = moment(after)?;
        let (subject, _) = element(rest, SEQUENCE)?;
        Some(Self { subject: common_name(subject).unwrap_or_default(), not_before, not_after, now })
    }

    /// Days until it expires, rounded down; negative when it has.
    pub fn days(&self) -> i64 {
        (self.not_after - self.now).div_euclid(DAY_S)
    }

    /// Why it is not valid today.
    pub(super) fn invalid(&self) -> Option<String> {
        if self.now > self.not_after {
            let ago = span(self.now - self.not_after);
            Some(format!("certificate expired {ago} ago ({}){}", date(self.not_after), self.whose()))
        } else if self.now < self.not_before {
            let ahead = span(self.not_before - self.now);
            Some(format!("certificate is valid only in {ahead} ({}){}", date(self.not_before), self.whose()))
        } else {
            None
        }
    }

    /// Why it has fewer than so many days left.
    pub(super) fn short(&self, days: u32) -> Option<String> {
        self.invalid().or_else(|| {
            (self.not_after - self.now < i64::from(days) * DAY_S).then(|| {
                let left = span(self.not_after - self.now);
                format!(
                    "certificate expires in {left} ({}){}, sooner than in {days} d",
                    date(self.not_after),
                    self.whose()
                )
            })
        })
    }

    fn whose(&self) -> String {
        if self.subject.is_empty() {
            String::new()
        } else {
            format!(", CN={}", super::seen::quoted(&self.subject))
        }
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = self.invalid() {
            return f.write_str(why.trim_start_matches("certificate "));
        }
        let left = span(self.not_after - self.now);
        write!(f, "expires in {left} ({}){}", date(self.not_after), self.whose())
    }
}

/// In days, or below two of them in hours.
fn span(seconds: i64) -> String {
    if seconds >= 2 * DAY_S { format!("{} d", seconds / DAY_S) } else { format!("{} h", seconds / 3600) }
}

fn date(seconds: i64) -> String {
    Timestamp::from_second(seconds)
        .map_or_else(|_| "no date".into(), |at| at.to_zoned(TimeZone::UTC).date().to_string())
}

/// Tag, content and what follows of the first element.
fn any(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        // More than four bytes of length is more than a handshake holds.
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (bytes, rest) = rest.split_at_checked(count)?;
        (bytes.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn element(der: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    any(der).filter(|(tag, ..)| *tag == wanted).map(|(_, content, rest)| (content, rest))
}

/// `YYMMDDHHMMSSZ` until 2049, `YYYYMMDDHHMMSSZ` from then on (RFC 5280 section 4.1.2.5).
fn moment(der: &[u8]) -> Option<(i64, &[u8])> {
    let (tag, content, rest) = any(der)?;
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let text = match tag {
        UTC_TIME if text.len() == 12 => {
            let century = if text.get(..2)?.parse::<u8>().ok()? < 50 { "20" } else { "19" };
            format!("{century}{text}")
        }
        GENERALIZED_TIME if text.len() == 14 => text.to_owned(),
        _ => return None,
    };
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<i16>().ok();
    let small = |from: usize, to: usize| part(from, to).and_then(|part| i8::try_from(part).ok());
    let at = DateTime::new(
        part(0, 4)?,
        small(4, 6)?,
        small(6, 8)?,
        small(8, 10)?,
        small(10, 12)?,
        small(12, 14)?,
        0,
    );
    let at = at.ok()?.to_zoned(TimeZone::UTC).ok()?;
    Some((at.timestamp().as_second(), rest))
}

/// The last one of a name: the most particular.
fn common_name(mut name: &[u8]) -> Option<String> {
    let mut found = None;
    while let Some((set, rest)) = element(name, SET) {
        let attribute = element(set, SEQUENCE).and_then(|(pair, _)| element(pair, OBJECT_ID));
        if let Some((COMMON_NAME, value)) = attribute {
            found = any(value).map(|(_, text, _)| String::from_utf8_lossy(text).into_owned());
        }
        name = rest;
    }
    found
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    use super::*;

    fn of(not_before: (i32, u8, u8), not_after: (i32, u8, u8), now: i64) -> Certificate {
        let mut params = CertificateParams::new(vec!["portal.csac.gov".into()]).unwrap();
        params.not_before = date_time_ymd(not_before.0, not_before.1, not_before.2);
        params.not_after = date_time_ymd(not_after.0, not_after.1, not_after.2);
        params.distinguished_name.push(DnType::OrganizationName, "CSAC");
        params.distinguished_name.push(DnType::CommonName, "portal.csac.gov");
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Certificate::read(der.der(), now).unwrap()
    }

    #[test]
    fn validity_and_subject_are_read_also_past_2049() {
        let now = 1_795_305_600; // 2026-11-22
        let expired = of((2025, 1, 1), (2026, 11, 19), now);
        assert_eq!(expired.subject, "portal.csac.gov");
        assert_eq!(
            expired.invalid().unwrap(),
            "certificate expired 3 d ago (2026-11-19), CN=portal.csac.gov"
        );
        assert_eq!(expired.days(), -3);
        let soon = of((2025, 1, 1), (2026, 11, 27), now);
        assert_eq!(
            soon.short(14).unwrap(),
            "certificate expires in 5 d (2026-11-27), CN=portal.csac.gov, sooner than in 14 d"
        );
        assert_eq!((soon.short(5), soon.days()), (None, 5));
        let long = of((2025, 1, 1), (2061, 2, 3), now);
        assert_eq!(long.to_string(), "expires in 12492 d (2061-02-03), CN=portal.csac.gov");
        let future = of((2026, 11, 23), (2030, 1, 1), now);
        assert_eq!(
            future.invalid().unwrap(),
            "certificate is valid only in 24 h (2026-11-23), CN=portal.csac.gov"
        );
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut params = CertificateParams::new(vec!["a".into()]).unwrap();
        params.not_after = date_time_ymd(2030, 1, 1);
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
        for end in 0..der.len() {
            let _ = Certificate::read(&der[..end], 0);
        }
        for at in 0..der.len() {
            for wrong in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut der = der.clone();
                der[at] = wrong;
                let _ = Certificate::read(&der, 0);
            }
        }
    }
}
