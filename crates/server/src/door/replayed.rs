//! What a replay came to, as data and as a sentence.

use hmsops_control::replay::Replayed;
use hmsops_control::sentence::grouped;
use hmsops_ledger::moment::rfc3339;
use hmsops_model::{Now, ReleaseId};
use hmsops_wire::api;

use super::show;
use crate::recall::Records;

pub(super) fn shown(id: ReleaseId, records: &Records, replayed: &Replayed) -> api::Replay {
    let evidence = |detector, at: Now, evidence| api::Found {
        detector: show::detector(detector).to_owned(),
        at: rfc3339(at.wall),
        evidence,
    };
    let recorded =
        replayed.recorded.as_ref().map(|verdict| evidence(verdict.detector, verdict.at, verdict.evidence));
    let found = replayed.condemned.map(|(detector, at)| evidence(detector, at, replayed.evidence));
    let held = replayed.held.map(|(detector, at)| api::HeldFor {
        detector: show::detector(detector).to_owned(),
        at: rfc3339(at.wall),
    });
    // Where a verdict names what it was read from, that must be there. Nothing else after it matters, so a log that
    // breaks off later still proves the verdict.
    let is_there = match records.is_whole {
        Some(whole) => whole,
        None => records.broken.is_none() || records.ticks + records.looks == 0 && found.is_none(),
    };
    let mut shown = api::Replay {
        id,
        same: is_there && replayed.agrees(),
        words: String::new(),
        ticks: records.ticks,
        probes: records.looks,
        recorded,
        found,
        held,
        evidence: replayed.evidence,
        parts: api::EvidenceParts {
            errors: replayed.parts.errors,
            probes: replayed.parts.probes,
            slow: replayed.parts.slow,
        },
        whole: records.is_whole,
        broken: records.broken.clone(),
    };
    shown.words = words(&shown);
    shown
}

/// `replayed 412 ticks and 96 probes: same verdict at 14:02:09.0, evidence 2 310`.
fn words(replay: &api::Replay) -> String {
    let counted = |n: u64, one: &str| format!("{} {one}{}", grouped(n), if n == 1 { "" } else { "s" });
    let read = format!("replayed {} and {}", counted(replay.ticks, "tick"), counted(replay.probes, "probe"));
    let clock = |at: &str| at.get(11..21).unwrap_or(at).to_owned();
    let verdict = |found: &api::Found| {
        format!("{} at {}, evidence {}", found.detector, clock(&found.at), grouped(found.evidence))
    };
    let evidence = grouped(replay.evidence);
    if replay.whole == Some(false) {
        let why = replay.broken.as_deref().unwrap_or("its SHA-256 is another");
        return format!("{read}: what is kept is not what the verdict was read from: {why}");
    }
    if let Some(held) = &replay.held {
        let at = clock(&held.at);
        let stays = "past its point of no return, so it was held and not taken back";
        return match &replay.found {
            Some(_) if replay.same => format!("{read}: same finding at {at}, evidence {evidence}; {stays}"),
            None if replay.same => {
                format!(
                    "{read}: the statistics found nothing, as recorded; {} at {at}, {stays}",
                    held.detector
                )
            }
            Some(found) => format!(
                "{read}: another finding: recorded {} at {at}; found {}",
                held.detector,
                verdict(found)
            ),
            None => format!("{read}: recorded {} at {at}; found none, evidence {evidence}", held.detector),
        };
    }
    match (&replay.recorded, &replay.found) {
        _ if replay.same => match (&replay.recorded, &replay.found) {
            (_, Some(found)) => format!("{read}: same verdict at {}, evidence {evidence}", clock(&found.at)),
            (Some(recorded), None) => format!(
                "{read}: the statistics had no verdict, as recorded; evidence {evidence}. Taken back by another \
                 cause: {} at {}",
                recorded.detector,
                clock(&recorded.at)
            ),
            (None, None) => format!("{read}: no verdict, as recorded; evidence {evidence}"),
        },
        (Some(recorded), Some(found)) => {
            format!("{read}: another verdict: recorded {}; found {}", verdict(recorded), verdict(found))
        }
        (Some(recorded), None) => {
            format!("{read}: recorded {}; found none, evidence {evidence}", verdict(recorded))
        }
        (None, Some(found)) => format!("{read}: no verdict is recorded; found {}", verdict(found)),
        (None, None) => match &replay.broken {
            Some(why) => format!("{read}: what was kept cannot be read to its end: {why}"),
            None => format!("{read}: no verdict; evidence {evidence}"),
        },
    }
}
