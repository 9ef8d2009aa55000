//! Trace context (W3C Recommendation "Trace Context", level 1).
//!
//! The gateway records no spans, so it sends a valid `traceparent` on as it came, with its `tracestate` (§3.4: a
//! participant "MAY" mutate it; a parent id of ours would name a span that nobody can look up). Where there is none, or
//! none that is valid, it begins a trace: not sampled, because it is not recorded here (§3.2.2.5.1).

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::split::client_hash;

pub(super) const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

/// Members of a `tracestate` (§3.3.1.1).
const STATE_MEMBERS_MAX: usize = 32;

/// The longest `tracestate` that is sent on; 512 characters are the least that must be (§3.3.1.5).
const STATE_BYTES_MAX: usize = 2048;

/// `version "-" trace-id "-" parent-id "-" flags`.
const PARENT_BYTES: usize = 55;

/// The 32 digits of a trace id within a `traceparent`.
const TRACE_ID: std::ops::Range<usize> = 3..35;

/// The value of a `traceparent` of ours.
pub(super) type Parent = [u8; PARENT_BYTES];

/// Makes sure that a request belongs to a trace, see [`id`]; returns a new one's `traceparent`, if one begins. `has_trace`:
/// its head says something of one. `secret` and `number` make a new one's ids, which nobody else draws.
pub(super) fn join(
    headers: &mut HeaderMap,
    secret: u64,
    number: impl FnOnce() -> u64,
    has_trace: bool,
) -> Option<Parent> {
    if !has_trace {
        return Some(begin(secret, number()));
    }
    let mut named = headers.get_all(&PARENT).iter();
    let is_kept = named.next().is_some_and(|parent| is_valid(parent.as_bytes())) && named.next().is_none();
    if is_kept {
        bound_state(headers);
        return None;
    }
    headers.remove(&STATE);
    headers.remove(&PARENT);
    Some(begin(secret, number()))
}

/// A new trace's `traceparent`.
fn begin(secret: u64, number: u64) -> Parent {
    let number = number.to_le_bytes();
    // Keyed hashes of one counter: nothing is asked of the system, and nobody can guess the next (SipHash is a PRF).
    let part = |key: u64| client_hash(secret ^ key, &number).max(1);
    let mut parent = *b"00-________________________________-________________-00";
    for (key, at) in [(1, 3), (2, 19), (3, 36)] {
        if let Some(place) = parent.get_mut(at..at + 16) {
            place.copy_from_slice(&digits(part(key)));
        }
    }
    parent
}

/// A number's sixteen hexadecimal digits.
fn digits(number: u64) -> [u8; 16] {
    std::array::from_fn(|place| {
        let digit = (number >> (60 - 4 * place)) as u8 & 0xf;
        digit + if digit < 10 { b'0' } else { b'a' - 10 }
    })
}

/// The trace id of a head that [`join`] has seen, and of the trace that it began.
pub(super) fn id<'a>(headers: &'a HeaderMap, begun: Option<&'a Parent>) -> &'a str {
    let came = || headers.get(&PARENT).map(HeaderValue::as_bytes);
    let parent = begun.map(Parent::as_slice).or_else(came).and_then(|parent| parent.get(TRACE_ID));
    parent.and_then(|id| std::str::from_utf8(id).ok()).unwrap_or_default()
}

/// §3.2.2 and §4.3: of a later version only what this one defines must fit, with a `-` before what is more.
fn is_valid(parent: &[u8]) -> bool {
    let is_hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let Some(known) = parent.get(..PARENT_BYTES) else { return false };
    let parts: Vec<&[u8]> = known.split(|byte| *byte == b'-').collect();
    let [version, trace, span, flags] = parts.as_slice() else { return false };
    let lengths = [version.len(), trace.len(), span.len(), flags.len()];
    let is_zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
    lengths == [2, 32, 16, 2]
        && parts.iter().all(|part| is_hex(part))
        && *version != b"ff"
        && !is_zero(trace)
        && !is_zero(span)
        && match parent.get(PARENT_BYTES) {
            None => true,
            Some(next) => *version != b"00" && *next == b'-',
        }
}

/// Drops a `tracestate` that is too long to be read.
fn bound_state(headers: &mut HeaderMap) {
    let Some(first) = headers.get(&STATE) else { return };
    let lists = headers.get_all(&STATE).iter().map(HeaderValue::as_bytes);
    let (bytes, members) = lists.fold((0, 0), |(bytes, members), list| {
        (bytes + list.len() + 1, members + list.split(|byte| *byte == b',').count())
    });
    if first.is_empty() || bytes > STATE_BYTES_MAX + 1 || members > STATE_MEMBERS_MAX {
        headers.remove(&STATE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn joined(parents: &[&str], states: &[&str]) -> (String, usize) {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append(PARENT, HeaderValue::from_str(parent).unwrap());
        }
        for state in states {
            headers.append(STATE, HeaderValue::from_str(state).unwrap());
        }
        let begun = join(&mut headers, 7, || 1, !(parents.is_empty() && states.is_empty()));
        if let Some(parent) = begun {
            headers.insert(PARENT, HeaderValue::from_bytes(&parent).unwrap());
        }
        let parent = headers.get(PARENT).unwrap();
        assert!(is_valid(parent.as_bytes()), "{parent:?}");
        (parent.to_str().unwrap().to_owned(), headers.get_all(&STATE).iter().count())
    }

    #[test]
    fn a_valid_trace_is_sent_on_as_it_came() {
        let later = format!("cc{}-more", VALID.get(2..).unwrap());
        for parent in [VALID, &later, &VALID.replace("-01", "-00")] {
            assert_eq!(joined(&[parent], &["a=1", "b=2"]), (parent.to_owned(), 2));
        }
    }

    #[test]
    fn what_is_no_trace_begins_one() {
        let upper = VALID.to_uppercase();
        for parents in [
            &[][..],
            &[""],
            &["00-00000000000000000000000000000000-b7ad6b7169203331-01"],
            &["00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"],
            &["ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"],
            &["cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more"],
            &["00-0af7651916cd43dd8448eb211c80319-b7ad6b71692033311-01"],
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"],
            &[upper.as_str()],
            &[VALID, VALID],
        ] {
            let (parent, states) = joined(parents, &["a=1"]);
            assert!(parent.ends_with("-00") && parent != VALID, "{parents:?}: {parent}");
            assert_eq!(states, 0, "a state belongs to its trace");
        }
        let mut none = HeaderMap::new();
        let (one, other) = (join(&mut none, 7, || 1, false), join(&mut none, 7, || 2, false));
        assert_ne!(id(&none, one.as_ref()), id(&none, other.as_ref()));
        assert_eq!(id(&none, one.as_ref()).len(), 32);
    }

    #[test]
    fn a_state_is_bounded() {
        let members = |n: usize| vec!["a=1"; n].join(",");
        assert_eq!(joined(&[VALID], &[&members(32)]).1, 1);
        assert_eq!(joined(&[VALID], &[&members(33)]).1, 0);
        assert_eq!(joined(&[VALID], &[&members(20), &members(20)]).1, 0);
        assert_eq!(joined(&[VALID], &[&format!("a={}", "x".repeat(3000))]).1, 0);
    }
}
