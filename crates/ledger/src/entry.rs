//! An entry: the envelope around what somebody recorded. Its fields answer the six questions of NIST SP
//! 800-53 AU-3: what (kind), when (at), where (node, subject), from where (source), with what outcome, by whom
//! (actor).

use hmsops_model::limits::LEDGER_ENTRY_BYTES_MAX;
use hmsops_model::{Millis, Now, UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::moment::rfc3339;
use crate::{LedgerError, canonical};

/// The version of the entry format this program writes and reads.
pub const ENTRY_VERSION: u32 = 1;

/// Kinds that only the ledger itself writes begin with this.
pub const OWN_KIND: &str = "ledger.";

/// How an act ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is about to be done.
    Intended,
    /// It was done.
    Done,
    /// It was tried in vain.
    Failed,
    /// It was not allowed.
    Refused,
}

/// What a caller wants recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// What happened, `release.started`: 1 to 64 of a-z, 0-9, `.`, `_` and `-`, not beginning with `ledger.`.
    pub kind: String,
    /// Who did it, 1 to 256 bytes.
    pub actor: String,
    /// To what, `service/csac-portal`, 1 to 256 bytes.
    pub subject: String,
    /// Through which door or detector, 1 to 256 bytes.
    pub source: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Controls it is evidence of, `AC-6(9)`: at most 16, each 1 to 32 bytes.
    pub controls: Vec<String>,
    /// The release it belongs to, 1 to 64 bytes.
    pub release: Option<String>,
    /// Whether it is recorded after the fact, because the ledger could not take it in time.
    pub late: bool,
    /// Everything else. Integers come back exactly; a float without a fraction comes back as an integer.
    pub data: Value,
}

/// A recorded entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct Entry {
    /// Its number: from 0, without gaps.
    pub seq: u64,
    /// When, by the wall clock.
    pub at: UnixMillis,
    /// When, by the tower's steady clock; never less than in the entry before.
    pub steady: Millis,
    /// The node that recorded it.
    pub node: String,
    /// See [`Draft::kind`]; also the ledger's own, which begin with [`OWN_KIND`].
    pub kind: String,
    /// See [`Draft::actor`].
    pub actor: String,
    /// See [`Draft::subject`].
    pub subject: String,
    /// See [`Draft::source`].
    pub source: String,
    /// See [`Draft::outcome`].
    pub outcome: Outcome,
    /// See [`Draft::controls`].
    pub controls: Vec<String>,
    /// See [`Draft::release`].
    pub release: Option<String>,
    /// See [`Draft::late`].
    pub late: bool,
    /// See [`Draft::data`].
    pub data: Value,
}

/// An entry as JSON. The two writings of the moment must agree.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    v: u32,
    seq: u64,
    at: String,
    at_ms: UnixMillis,
    steady_ms: Millis,
    node: String,
    kind: String,
    actor: String,
    subject: String,
    source: String,
    outcome: Outcome,
    controls: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    release: Option<String>,
    late: bool,
    data: Value,
}

impl From<Entry> for Written {
    fn from(entry: Entry) -> Self {
        Self {
            v: ENTRY_VERSION,
            seq: entry.seq,
            at: rfc3339(entry.at),
            at_ms: entry.at,
            steady_ms: entry.steady,
            node: entry.node,
            kind: entry.kind,
            actor: entry.actor,
            subject: entry.subject,
            source: entry.source,
            outcome: entry.outcome,
            controls: entry.controls,
            release: entry.release,
            late: entry.late,
            data: entry.data,
        }
    }
}

impl TryFrom<Written> for Entry {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        if written.v != ENTRY_VERSION {
            return Err(format!("format version {} is not {ENTRY_VERSION}", written.v));
        }
        if written.at != rfc3339(written.at_ms) {
            return Err(format!(
                "`at` {} and `at_ms` {} are not the same moment",
                written.at, written.at_ms.0
            ));
        }
        Ok(Self {
            seq: written.seq,
            at: written.at_ms,
            steady: written.steady_ms,
            node: written.node,
            kind: written.kind,
            actor: written.actor,
            subject: written.subject,
            source: written.source,
            outcome: written.outcome,
            controls: written.controls,
            release: written.release,
            late: written.late,
            data: written.data,
        })
    }
}

impl Draft {
    /// What is wrong with the texts, if anything is.
    fn check(&self) -> Result<(), String> {
        let kind_ok = (1..=64).contains(&self.kind.len())
            && self.kind.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'));
        if !kind_ok {
            return Err(format!("kind `{:.80}` is not 1 to 64 of a-z, 0-9, `.`, `_` and `-`", self.kind));
        }
        let fits = |text: &str, max| (1..=max).contains(&text.len()) && !text.chars().any(char::is_control);
        for (name, text) in [("actor", &self.actor), ("subject", &self.subject), ("source", &self.source)] {
            if !fits(text, 256) {
                return Err(format!("{name} `{text:.80}` is not 1 to 256 bytes without control characters"));
            }
        }
        if self.controls.len() > 16 || !self.controls.iter().all(|control| fits(control, 32)) {
            return Err("controls are more than 16, or one is not 1 to 32 bytes".to_owned());
        }
        if !self.release.as_ref().is_none_or(|release| fits(release, 64)) {
            return Err("release is not 1 to 64 bytes".to_owned());
        }
        Ok(())
    }
}

impl Entry {
    /// The entry that `draft`, the `index`-th of its batch, becomes, and its bytes. What is answered is read
    /// back from the bytes, so that who applies it now and who recovers it later see the same.
    pub(crate) fn record(
        draft: Draft,
        index: usize,
        (seq, node, now): (u64, &str, Now),
    ) -> Result<(Self, Vec<u8>), LedgerError> {
        let refuse = |why| LedgerError::Draft { index, why };
        draft.check().map_err(refuse)?;
        let Draft { kind, actor, subject, source, outcome, controls, release, late, data } = draft;
        let (at, steady, node) = (now.wall, now.steady, node.to_owned());
        let entry = Self {
            seq,
            at,
            steady,
            node,
            kind,
            actor,
            subject,
            source,
            outcome,
            controls,
            release,
            late,
            data,
        };
        let bytes = entry.encode().ok_or_else(|| refuse("its data is nested too deep".to_owned()))?;
        if bytes.len() > LEDGER_ENTRY_BYTES_MAX {
            let what = format!("the entry of draft {index}");
            return Err(LedgerError::TooLarge { what, bytes: bytes.len(), limit: LEDGER_ENTRY_BYTES_MAX });
        }
        let entry = Self::decode(&bytes).map_err(refuse)?;
        Ok((entry, bytes))
    }

    /// The canonical bytes, `None` when `data` is nested too deep to be read back.
    pub fn encode(&self) -> Option<Vec<u8>> {
        canonical::to_vec(&serde_json::to_value(self).ok()?)
    }

    /// Reads an entry; the text says why it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|e| {
            // A later format has fields that are unknown here; its number says more than their names.
            match serde_json::from_slice::<Value>(bytes).ok().and_then(|value| value["v"].as_u64()) {
                Some(v) if v != u64::from(ENTRY_VERSION) => {
                    format!("format version {v} is not {ENTRY_VERSION}")
                }
                _ => e.to_string(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn draft() -> Draft {
        Draft {
            kind: "release.started".to_owned(),
            actor: "admin".to_owned(),
            subject: "service/csac-portal".to_owned(),
            source: "api".to_owned(),
            outcome: Outcome::Done,
            controls: vec!["CM-3".to_owned()],
            release: Some("r-42".to_owned()),
            late: false,
            data: json!({"weight": 100, "evidence": 2310.5, "salt": u64::MAX, "whole": 5.0}),
        }
    }

    fn record(draft: Draft) -> Result<(Entry, Vec<u8>), LedgerError> {
        let now = Now { wall: UnixMillis(1_795_356_127_100), steady: Millis(7) };
        Entry::record(draft, 3, (9, "tower-1", now))
    }

    /// These bytes are what is hashed: a change of them is a new format version.
    #[test]
    fn the_bytes_of_version_1() {
        let (entry, bytes) = record(draft()).unwrap();
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            "{\"actor\":\"admin\",\"at\":\"2026-11-22T14:02:07.100Z\",\"at_ms\":1795356127100,\"controls\":[\"CM-3\"],\
             \"data\":{\"evidence\":2310.5,\"salt\":18446744073709551615,\"weight\":100,\"whole\":5},\
             \"kind\":\"release.started\",\"late\":false,\"node\":\"tower-1\",\"outcome\":\"done\",\"release\":\"r-42\",\
             \"seq\":9,\"source\":\"api\",\"steady_ms\":7,\"subject\":\"service/csac-portal\",\"v\":1}"
        );
        assert_eq!(Entry::decode(&bytes), Ok(entry.clone()));
        assert_eq!(entry.encode().unwrap(), bytes);
    }

    #[test]
    fn wrong_drafts_are_refused_by_name() {
        for (change, said) in [
            (Box::new(|d: &mut Draft| d.kind = "Release".to_owned()) as Box<dyn Fn(&mut Draft)>, "kind"),
            (Box::new(|d| d.actor = String::new()), "actor"),
            (Box::new(|d| d.subject = "a\nb".to_owned()), "subject"),
            (Box::new(|d| d.source = "x".repeat(257)), "source"),
            (Box::new(|d| d.controls = vec!["x".to_owned(); 17]), "controls"),
            (Box::new(|d| d.release = Some(String::new())), "release"),
            (Box::new(|d| d.data = (0..200).fold(json!(1), |v, _| json!([v]))), "deep"),
            (Box::new(|d| d.data = json!("x".repeat(65_535))), "65535"),
        ] {
            let mut draft = draft();
            change(&mut draft);
            let refused = record(draft).unwrap_err().to_string();
            assert!(refused.contains(said) && refused.contains("draft 3"), "{refused}");
        }
    }

    #[test]
    fn other_json_is_no_entry() {
        let bytes = String::from_utf8(record(draft()).unwrap().1).unwrap();
        for (from, to, said) in [
            ("\"v\":1", "\"v\":2,\"new\":0", "version 2"),
            ("14:02:07.100Z", "14:02:07.101Z", "same moment"),
            ("\"late\":false", "\"late\":false,\"x\":1", "unknown field"),
            ("\"late\":false", "\"late\":false,\"late\":true", "duplicate field"),
            ("\"outcome\":\"done\"", "\"outcome\":\"well\"", "unknown variant"),
        ] {
            let refused = Entry::decode(bytes.replace(from, to).as_bytes()).unwrap_err();
            assert!(refused.contains(said), "{refused}");
        }
        assert!(Entry::decode(b"").is_err() && Entry::decode(&[0xff; 9]).is_err());
    }
}
