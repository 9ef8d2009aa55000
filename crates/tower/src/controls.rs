//! Of which NIST SP 800-53 revision 5 controls an entry of the ledger is evidence: one row a kind of entry. The
//! identifiers are held against the published catalog by a test.

use hmsops_ledger::Outcome;

/// Every entry is an audit record that was generated (AU-12).
const EVERY: &str = "AU-12";

/// One kind of entry.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// As it stands in the entry: `release.taken-back`.
    pub kind: &'static str,
    /// With this outcome only; `None`: with any.
    pub outcome: Option<Outcome>,
    /// What it is evidence of, beside AU-12, as the catalog labels it: `IR-4(1)`.
    pub controls: &'static [&'static str],
}

/// All kinds of entries that the tower writes, by name.
pub const ROWS: &[Row] = &[
    Row { kind: "account.removed", outcome: None, controls: &["AC-2", "IA-5"] },
    Row { kind: "account.set", outcome: None, controls: &["AC-2", "IA-5", "AC-6"] },
    Row { kind: "agent.joined", outcome: None, controls: &["IA-3", "IA-5(2)", "AC-2"] },
    Row { kind: "agent.renewed", outcome: None, controls: &["IA-3", "IA-5(2)"] },
    Row { kind: "agent.revoked", outcome: None, controls: &["IA-5", "AC-2"] },
    Row { kind: "alert.acked", outcome: None, controls: &["IR-4", "IR-5"] },
    Row { kind: "alert.ended", outcome: None, controls: &["SI-4", "IR-5"] },
    Row { kind: "alert.fired", outcome: None, controls: &["SI-4", "IR-5"] },
    Row { kind: "alert.pending", outcome: None, controls: &["SI-4"] },
    Row { kind: "breakglass.ended", outcome: None, controls: &["AC-2(2)", "AC-6(9)"] },
    Row { kind: "breakglass.reviewed", outcome: None, controls: &["AC-6(9)", "AU-6"] },
    Row { kind: "breakglass.used", outcome: None, controls: &["AC-2(2)", "AC-6(9)", "AC-3(10)"] },
    Row { kind: "certificate.authority", outcome: None, controls: &["SC-12", "SC-17"] },
    Row { kind: "certificate.broken", outcome: None, controls: &["SC-17", "SI-4"] },
    Row { kind: "certificate.shown", outcome: None, controls: &["SC-8(1)", "SC-17"] },
    Row { kind: "dash.declared", outcome: None, controls: &["CM-3"] },
    Row { kind: "dash.removed", outcome: None, controls: &["CM-3"] },
    Row { kind: "door.receipt", outcome: None, controls: &["AU-2", "AC-3", "AC-6(9)"] },
    Row { kind: "heal.judged", outcome: None, controls: &["IR-4(1)", "CP-10"] },
    Row { kind: "heal.paused", outcome: None, controls: &["CM-3", "IR-4"] },
    Row { kind: "heal.ran", outcome: None, controls: &["IR-4(1)", "CP-10"] },
    Row { kind: "heal.resumed", outcome: None, controls: &["CM-3", "IR-4"] },
    Row { kind: "heal.run", outcome: None, controls: &["IR-4(1)", "CP-10"] },
    Row { kind: "incident.opened", outcome: None, controls: &["IR-6", "IR-5"] },
    Row { kind: "incident.resolved", outcome: None, controls: &["IR-6", "IR-4"] },
    Row { kind: "instance.exited", outcome: None, controls: &["SI-4"] },
    Row { kind: "instance.ready", outcome: None, controls: &["SI-4"] },
    Row { kind: "instance.start", outcome: None, controls: &["CM-3"] },
    Row { kind: "instance.started", outcome: Some(Outcome::Done), controls: &["CM-3"] },
    Row { kind: "instance.started", outcome: Some(Outcome::Failed), controls: &["SI-4"] },
    Row { kind: "instance.stop", outcome: None, controls: &["CM-3"] },
    Row { kind: "instance.stopped", outcome: None, controls: &["CM-3"] },
    Row { kind: "listener.plain", outcome: None, controls: &["SC-8", "CM-6"] },
    Row { kind: "notice.dead", outcome: None, controls: &["IR-6", "AU-5"] },
    Row { kind: "notice.retried", outcome: None, controls: &["IR-6"] },
    Row { kind: "notice.sent", outcome: None, controls: &["IR-6"] },
    Row { kind: "policy.declared", outcome: None, controls: &["SI-4", "CM-3"] },
    Row { kind: "policy.retired", outcome: None, controls: &["SI-4", "CM-3"] },
    Row { kind: "release.closed", outcome: None, controls: &["CP-10"] },
    Row { kind: "release.committed", outcome: None, controls: &["CM-3", "CM-5"] },
    Row { kind: "release.extended", outcome: None, controls: &["SI-4", "CM-3(2)"] },
    Row { kind: "release.held", outcome: None, controls: &["SI-4", "CM-3"] },
    Row { kind: "release.promoted", outcome: None, controls: &["CM-3", "CM-3(2)"] },
    Row { kind: "release.proven", outcome: None, controls: &["CM-3(2)"] },
    Row { kind: "release.requested", outcome: None, controls: &["CM-3", "CM-5", "SA-10"] },
    Row { kind: "release.resumed", outcome: None, controls: &["CM-3"] },
    Row { kind: "release.rolled-back", outcome: None, controls: &["IR-4(1)", "CP-10", "SI-2"] },
    Row { kind: "release.taken-back", outcome: None, controls: &["IR-4", "CP-10", "SI-4"] },
    Row { kind: "release.weight", outcome: None, controls: &["CM-3"] },
    Row { kind: "request.refused", outcome: None, controls: &["AC-3", "CM-5(1)"] },
    Row { kind: "rule.declared", outcome: None, controls: &["SI-4", "CM-3"] },
    Row { kind: "rule.health", outcome: None, controls: &["SI-4"] },
    Row { kind: "rule.retired", outcome: None, controls: &["SI-4", "CM-3"] },
    Row { kind: "service.declared", outcome: None, controls: &["CM-3", "CM-6"] },
    Row { kind: "service.health", outcome: None, controls: &["SI-4", "IR-5"] },
    Row { kind: "service.retired", outcome: None, controls: &["CM-3"] },
    Row { kind: "service.revert", outcome: None, controls: &["CP-10", "CM-3"] },
    Row { kind: "service.route", outcome: None, controls: &["CM-3"] },
    Row { kind: "service.stable", outcome: None, controls: &["CM-3", "CP-10"] },
    Row { kind: "session.ended", outcome: None, controls: &["AC-12", "AC-2"] },
    Row { kind: "session.opened", outcome: None, controls: &["IA-2", "AC-2", "AC-6(9)"] },
    Row { kind: "session.proven", outcome: None, controls: &["IA-11", "IA-2"] },
    Row { kind: "silence.begun", outcome: None, controls: &["SI-4", "CM-3"] },
    Row { kind: "silence.ended", outcome: None, controls: &["SI-4", "CM-3"] },
    Row { kind: "ticket.closed", outcome: None, controls: &["IR-4"] },
    Row { kind: "ticket.opened", outcome: None, controls: &["IR-4", "IR-6"] },
    Row { kind: "token.ended", outcome: None, controls: &["IA-5", "AC-2(3)"] },
    Row { kind: "token.issued", outcome: None, controls: &["IA-5", "AC-2", "AC-6(9)"] },
    Row { kind: "token.revoked", outcome: None, controls: &["IA-5", "AC-2"] },
    Row { kind: "version.denied", outcome: None, controls: &["CM-5", "SI-7"] },
    Row { kind: "version.undenied", outcome: None, controls: &["CM-5", "CM-3"] },
];

/// The controls that an entry of a kind and outcome is evidence of. An unknown kind is an audit record all the same.
pub fn of(kind: &str, outcome: Outcome) -> impl Iterator<Item = &'static str> {
    let row = ROWS.iter().find(|row| row.kind == kind && row.outcome.is_none_or(|only| only == outcome));
    row.map(|row| row.controls).unwrap_or_default().iter().copied().chain([EVERY])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every kind that is written has its row, and no row is of a kind that is not.
    #[test]
    fn every_kind_of_entry_has_its_row() {
        let source = include_str!("flow/record.rs");
        let arms = source.split("=> (\"").skip(1).filter_map(|rest| rest.split('"').next());
        let people = include_str!("../../control/src/people/mod.rs");
        let theirs = people.split("=> \"").skip(1).filter_map(|rest| rest.split('"').next());
        let written: BTreeSet<&str> = arms.chain(theirs).filter(|kind| kind.contains('.')).collect();
        let known: BTreeSet<&str> = ROWS.iter().map(|row| row.kind).collect();
        assert!(written.len() > 40, "{written:?}");
        assert_eq!(written, known);
        assert_eq!(of("release.taken-back", Outcome::Intended).last(), Some(EVERY));
        assert_eq!(of("instance.started", Outcome::Failed).next(), Some("SI-4"));
    }

    #[test]
    fn the_page_of_controls_is_the_table() {
        let page = include_str!("../../../docs/reference/controls.md");
        for row in ROWS {
            let outcome = row.outcome.map(|only| format!(", {}", format!("{only:?}").to_lowercase()));
            let line =
                format!("| `{}`{} | {} |", row.kind, outcome.unwrap_or_default(), row.controls.join(", "));
            assert!(page.contains(&line), "docs/reference/controls.md lacks {line}");
            for control in row.controls {
                assert!(page.contains(&format!("\n| {control} | ")), "{control} has no title there");
            }
        }
    }
}
