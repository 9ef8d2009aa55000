//! Ledger lines as people read them.

use hmsops_control::{Transition, sentence};
use hmsops_ledger::{Entry, Outcome};

use super::html::{Element, el};
use super::mark::{link, release_path};
use super::moment::{long_day, tenths, time};

/// What an entry says, in words; of an entry that is not the tower's, its kind and subject.
pub fn words(entry: &Entry) -> String {
    let said = serde_json::from_value::<Transition>(entry.data.clone()).map(|known| sentence::line(&known));
    let said = said.ok().filter(|said| !said.is_empty());
    let said = said.unwrap_or_else(|| format!("{}: {}", entry.kind, entry.subject));
    if entry.late { format!("{said} (recorded late: the ledger could not take it in time)") } else { said }
}

const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Intended => "intended",
        Outcome::Done => "done",
        Outcome::Failed => "failed",
        Outcome::Refused => "refused",
    }
}

/// Entries as a table, in the order given. `whole` tells of subjects and releases, too.
pub(super) fn table(entries: &[Entry], whole: bool, caption: &str) -> Element {
    let cell = |name: &str| el("th").attr("scope", "col").put(name);
    let mut head = el("tr").put(cell("time, UTC")).put(cell("actor")).put(cell("what"));
    head =
        head.put(whole.then(|| cell("about"))).put(cell("outcome")).put(cell("controls")).put(cell("entry"));
    let mut body = el("tbody");
    let mut last_day = None;
    for entry in entries {
        let day = super::moment::day(entry.at);
        if whole && last_day.replace(day) != Some(day) {
            let name = el("th").attr("scope", "rowgroup").attr("colspan", 7).put(long_day(entry.at));
            body = body.put(el("tr").class("day").put(name));
        }
        body = body.put(row(entry, whole));
    }
    let table =
        el("table").class("steps").put(el("caption").put(caption)).put(el("thead").put(head)).put(body);
    el("div")
        .class("card scroll")
        .attr("tabindex", 0)
        .attr("role", "region")
        .attr("aria-label", caption.to_owned())
        .put(table)
}

fn row(entry: &Entry, whole: bool) -> Element {
    let release = entry.release.as_ref().and_then(|id| id.parse().ok());
    let about = release.map_or_else(
        || el("span").put(entry.subject.as_str()),
        |id| link(&release_path(id), &format!("{id}")),
    );
    let last = entry.controls.len().saturating_sub(1);
    let controls = entry.controls.iter().enumerate().map(|(i, control)| {
        let comma = (i < last).then_some(",");
        (el("span").class("nowrap").put(control.as_str()).put(comma), " ")
    });
    let controls: Vec<_> = controls.collect();
    let number = link(&format!("/audit/{}", entry.seq), &entry.seq.to_string());
    let number = el("td").class("mono muted").attr("id", format!("e{}", entry.seq)).put(number);
    el("tr")
        .class(outcome(entry.outcome))
        .put(el("td").class("mono").put(time(entry.at, &tenths(entry.at))))
        .put(el("td").put(entry.actor.as_str()))
        .put(el("td").put(words(entry)))
        .put(whole.then(|| el("td").put(about)))
        .put(el("td").put(outcome(entry.outcome)))
        .put(el("td").class("muted").put(controls))
        .put(number)
}
