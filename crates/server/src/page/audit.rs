//! The ledger, newest first.

use hmsops_control::sentence::grouped;
use hmsops_ledger::Entry;

use super::Look;
use super::frame::{Follows, Frame};
use super::html::el;
use super::mark::link;
use super::steps;

/// A stretch of the ledger.
#[derive(Debug, Clone, Copy)]
pub struct AuditPage<'a> {
    /// Entries, newest first.
    pub entries: &'a [Entry],
    /// The number to read on from with `?from=`, if there are older ones.
    pub older: Option<u64>,
    /// Whether it begins at the newest entry; only then it renews itself.
    pub newest: bool,
}

/// The list of what is recorded.
pub fn audit(look: &Look<'_>, page: AuditPage<'_>) -> String {
    let frame = Frame {
        look: *look,
        path: "/audit".into(),
        title: "Audit".into(),
        section: "/audit",
        follows: if page.newest { Follows::Everything } else { Follows::Nothing },
    };
    let count = look.view.ledger_size;
    let headline = match (&look.view.ledger_failed, count) {
        (Some(why), _) => format!("The ledger takes nothing: {why}."),
        (None, 0) => "Nothing is recorded yet.".into(),
        (None, 1) => "1 entry is recorded, and nothing is ever changed in it.".into(),
        (None, n) => format!("{} entries are recorded; none is ever changed.", grouped(n)),
    };
    let older = page
        .older
        .map(|seq| link(&format!("/audit?from={seq}"), "Older entries").class("button").attr("rel", "next"));
    let newest = (!page.newest).then(|| link("/audit", "Newest entries").class("button"));
    let pages = (older.is_some() || newest.is_some())
        .then(|| el("nav").class("buttons").attr("aria-label", "Pages").put(newest).put(older));
    let check = el("p")
        .class("lead muted")
        .put("Whether it still is what was written: ")
        .put(el("code").put("hmsops audit verify"));
    let table =
        (!page.entries.is_empty()).then(|| steps::table(page.entries, true, "Ledger entries, newest first"));
    frame.wrap(((el("h1").put(headline), check), (table, pages)))
}
