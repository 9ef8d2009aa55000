//! The ledger: a list that is searched, an entry with all it holds, and whether it is whole.

use std::fmt::Write as _;

use hmsops_control::Transition;
use hmsops_control::access::{AccessChange, Receipt};
use hmsops_control::headline::Sign;
use hmsops_control::sentence::grouped;
use hmsops_ledger::Entry;
use hmsops_wire::api::Verified;

use super::Look;
use super::alerts::{table, upper};
use super::frame::{Follows, Frame};
use super::html::{Element, Render, el};
use super::mark::{class, link, release_path, service_path, shape};
use super::moment::{long_day, tenths, time, when};
use super::steps;

/// Which entries are wanted; what is empty is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// `release.taken-back`, or all of a kind: `release`.
    pub kind: String,
    /// Of this service.
    pub service: String,
    /// Done by.
    pub actor: String,
    /// Done to: `token/k-3`.
    pub subject: String,
    /// Of this release.
    pub release: String,
    /// Evidence of this control of NIST SP 800-53.
    pub control: String,
    /// Not before.
    pub from: String,
    /// Before.
    pub to: String,
}

impl AuditFilter {
    fn fields(&self) -> [(&'static str, &str); 8] {
        [
            ("kind", &self.kind),
            ("service", &self.service),
            ("actor", &self.actor),
            ("subject", &self.subject),
            ("release", &self.release),
            ("control", &self.control),
            ("from", &self.from),
            ("to", &self.to),
        ]
    }

    /// Whether anything is asked for.
    pub fn is_empty(&self) -> bool {
        self.fields().iter().all(|(_, value)| value.is_empty())
    }

    /// The address of the list with it, from an entry on.
    fn path(&self, cursor: Option<u64>) -> String {
        let cursor = cursor.map(|cursor| cursor.to_string()).unwrap_or_default();
        let fields = self.fields().into_iter().chain([("cursor", cursor.as_str())]);
        let asked: Vec<String> = fields
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        if asked.is_empty() { "/audit".into() } else { format!("/audit?{}", asked.join("&")) }
    }
}

/// A value in a query (RFC 3986, § 2.3: everything that is not unreserved).
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// A stretch of the ledger.
#[derive(Debug, Clone, Copy)]
pub struct AuditPage<'a> {
    /// Entries that fit, newest first.
    pub entries: &'a [Entry],
    /// Where to look on for older ones; `None`: nowhere.
    pub older: Option<u64>,
    /// Whether it begins at the newest entry; only then it renews itself.
    pub newest: bool,
    /// What is asked for.
    pub filter: &'a AuditFilter,
    /// Why that cannot be looked for.
    pub refused: Option<&'a str>,
}

/// The list of what is recorded.
pub fn audit(look: &Look<'_>, page: AuditPage<'_>) -> String {
    let filter = page.filter;
    let is_live = page.newest && filter.is_empty() && page.refused.is_none();
    let frame = Frame {
        look: *look,
        path: "/audit".into(),
        title: "Audit".into(),
        section: "/audit",
        follows: if is_live { Follows::Everything } else { Follows::Nothing },
    };
    let refused = page
        .refused
        .map(|why| el("p").class("refused").attr("role", "alert").put("Not looked for: ").put(why));
    let older = page
        .older
        .map(|cursor| link(&filter.path(Some(cursor)), "Older entries").class("button").attr("rel", "next"));
    let newest = (!page.newest).then(|| link(&filter.path(None), "Newest entries").class("button"));
    let pages = (older.is_some() || newest.is_some())
        .then(|| el("nav").class("buttons").attr("aria-label", "Pages").put(newest).put(older));
    let check = el("p")
        .class("lead muted")
        .put("Entries are chained by their hashes. ")
        .put(link("/audit/check", "Check whether all are what was written"));
    let table =
        (!page.entries.is_empty()).then(|| steps::table(page.entries, true, "Ledger entries, newest first"));
    let nothing = (page.entries.is_empty() && page.refused.is_none()).then(|| nothing(&page));
    let headline = el("h1").put(headline(look, &page));
    frame.wrap(((headline, check), ((form(look, filter), refused), (nothing, (table, pages)))))
}

fn headline(look: &Look<'_>, page: &AuditPage<'_>) -> String {
    let all = look.view.ledger_size;
    match (&look.view.ledger_failed, all) {
        (Some(why), _) => return format!("The ledger takes nothing: {why}."),
        (None, 0) => return "Nothing is recorded yet.".into(),
        _ => {}
    }
    if page.filter.is_empty() {
        return match all {
            1 => "1 entry is recorded, and nothing is ever changed in it.".into(),
            n => format!("{} entries are recorded; none is ever changed.", grouped(n)),
        };
    }
    let all = grouped(all);
    match (page.refused, page.entries.len(), page.older) {
        (Some(_), ..) => format!("{all} entries are recorded; what is asked for is not clear."),
        (None, 0, None) => format!("None of {all} entries fits."),
        (None, 0, Some(_)) => format!("None of the newest entries fits; there are {all}."),
        (None, 1, None) => format!("1 of {all} entries fits."),
        (None, n, None) => format!("{} of {all} entries fit.", grouped(n as u64)),
        (None, n, Some(_)) => {
            format!("{} entries that fit, of {all}; older ones may, too.", grouped(n as u64))
        }
    }
}

/// What there is to do where nothing is found.
fn nothing(page: &AuditPage<'_>) -> Element {
    let card = el("div").class("card");
    if page.filter.is_empty() {
        let words = "Whatever the tower decides, does and refuses is written down here before it counts.";
        return card.put(el("p").put(words));
    }
    let words = match page.older {
        Some(_) => "It looks through 50 000 entries at a time: older entries are a step away.",
        None => "All that is recorded was looked through.",
    };
    let all = el("p").class("buttons").put(link("/audit", "Show everything").class("button"));
    card.put(el("p").put(words)).put(all)
}

/// What to look for.
fn form(look: &Look<'_>, filter: &AuditFilter) -> Element {
    let field =
        |name: &'static str, label: &'static str, hint: &'static str, value: &str, list: Option<&str>| {
            let input = el("input")
                .attr("id", name)
                .attr("name", name)
                .attr("type", "text")
                .attr("maxlength", 200)
                .attr("autocomplete", "off")
                .attr("spellcheck", "false")
                .attr("placeholder", hint)
                .attr("value", value);
            let input = match list {
                Some(list) => input.attr("list", list),
                None => input,
            };
            el("div").put(el("label").attr("for", name).put(label)).put(input)
        };
    let kinds = hmsops_tower::controls::ROWS.iter().map(|row| row.kind);
    let mut kinds: Vec<&str> =
        kinds.flat_map(|kind| [kind.split('.').next().unwrap_or(kind), kind]).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let options = |id: &'static str, values: Vec<&str>| {
        let options = values.into_iter().map(|value| el("option").attr("value", value));
        el("datalist").attr("id", id).put(options.collect::<Vec<_>>())
    };
    let services = look.view.state.services.keys().map(hmsops_model::ServiceName::as_str).collect();
    // What a link asked for and the form has no line for stays asked for.
    let kept = [("subject", &filter.subject), ("release", &filter.release)].into_iter();
    let kept = kept.filter(|(_, value)| !value.is_empty()).map(|(name, value)| {
        let label = if name == "subject" { "about" } else { "release" };
        field(name, label, "", value, None)
    });
    let clear = (!filter.is_empty()).then(|| link("/audit", "Everything").class("button"));
    el("form")
        .attr("method", "get")
        .attr("action", "/audit")
        .attr("role", "search")
        .class("card filter")
        .put(field("kind", "kind", "release.taken-back", &filter.kind, Some("kinds")))
        .put(field("service", "service", "every service", &filter.service, Some("services")))
        .put(field("actor", "done by", "anybody", &filter.actor, None))
        .put(field("control", "control", "IR-4(1)", &filter.control, None))
        .put(field("from", "from, UTC", "-1h", &filter.from, None))
        .put(field("to", "before, UTC", "-5m", &filter.to, None))
        .put(kept.collect::<Vec<_>>())
        .put(
            el("p")
                .class("buttons")
                .put(el("button").attr("type", "submit").class("button strong").put("Search"))
                .put(clear),
        )
        .put((options("kinds", kinds), options("services", services)))
}

/// An entry with all it holds. `hash` is its leaf's in the tree, in base64.
pub fn audit_entry(look: &Look<'_>, entry: &Entry, hash: &str) -> String {
    let path = format!("/audit/{}", entry.seq);
    let frame = Frame {
        look: *look,
        path,
        title: format!("Entry {}", entry.seq),
        section: "/audit",
        follows: Follows::Nothing,
    };
    let trail = el("p").class("trail").put(link("/audit", "Audit")).put(format!(" / entry {}", entry.seq));
    let headline = el("h1").put(upper(&steps::words(entry)));
    let text = serde_json::to_string_pretty(&entry.data).unwrap_or_default();
    let data = el("section")
        .class("card")
        .put(el("h2").put("What it holds"))
        .put(el("pre").attr("tabindex", 0).put(el("code").put(text)));
    let receipt = match serde_json::from_value(entry.data.clone()) {
        Ok(Transition::Access(AccessChange::Receipt { receipt })) => Some(self::receipt(look, &receipt)),
        _ => None,
    };
    let newer = (entry.seq + 1 < look.view.ledger_size)
        .then(|| link(&format!("/audit/{}", entry.seq + 1), "The one after it").class("button"));
    let older = (entry.seq > 0).then(|| {
        link(&format!("/audit/{}", entry.seq.saturating_sub(1)), "The one before it").class("button")
    });
    let pages = el("nav").class("buttons").attr("aria-label", "Entries").put(older).put(newer);
    frame.wrap((
        (trail, headline),
        ((facts(entry, hash), receipt), (el("div").class("stack").put(data), pages)),
    ))
}

fn facts(entry: &Entry, hash: &str) -> Element {
    let line = |name: &str, value: &dyn Fn() -> Element| (el("dt").put(name), value());
    let text = |value: String| el("dd").put(value);
    let filtered = |filter: AuditFilter, words: &str| link(&filter.path(None), words);
    let controls = entry.controls.iter().map(|control| {
        let filter = AuditFilter { control: control.clone(), ..AuditFilter::default() };
        (filtered(filter, control), " ")
    });
    let controls = controls.collect::<Vec<_>>();
    let outcome = format!("{:?}", entry.outcome).to_lowercase();
    let late = if entry.late { ", recorded late" } else { "" };
    let when = format!("{}, {} UTC", long_day(entry.at), tenths(entry.at));
    let service =
        entry.subject.strip_prefix("service/").and_then(|name| hmsops_model::ServiceName::new(name).ok());
    let release = entry.release.as_ref().and_then(|id| id.parse().ok());
    let release =
        release.map(|id| (el("dt").put("release"), el("dd").put(link(&release_path(id), &id.to_string()))));
    let kind = AuditFilter { kind: entry.kind.clone(), ..AuditFilter::default() };
    let actor = AuditFilter { actor: entry.actor.clone(), ..AuditFilter::default() };
    let about = AuditFilter { subject: entry.subject.clone(), ..AuditFilter::default() };
    let list = el("dl")
        .class("pairs")
        .put(line("when", &|| el("dd").put(time(entry.at, &when))))
        .put(line("kind", &|| {
            el("dd").put(filtered(kind.clone(), &entry.kind)).put(format!(", {outcome}{late}"))
        }))
        .put(line("done by", &|| {
            el("dd")
                .put(filtered(actor.clone(), &entry.actor))
                .put(format!(" ({}) on {}", entry.source, entry.node))
        }))
        .put(line("about", &|| {
            let page = service.as_ref().map(|name| (", ", link(&service_path(name), "its page")));
            el("dd").put(filtered(about.clone(), &entry.subject)).put(page)
        }))
        .put(release)
        .put(el("dt").put("evidence of"))
        .put(el("dd").put(controls))
        .put(line("leaf", &|| text(hash.to_owned()).class("mono")));
    el("section").class("card").put(el("h2").put("Whose word it is")).put(list)
}

/// What came to a door, as tables.
fn receipt(look: &Look<'_>, receipt: &Receipt) -> Vec<Element> {
    let number = |n: u64| el("td").put(grouped(n));
    let callers = receipt.callers.iter().map(|calls| {
        let at = calls.last_at;
        let from = calls.from.map(|from| from.to_string()).unwrap_or_default();
        el("tr")
            .put(el("th").attr("scope", "row").put(calls.who.to_string()))
            .put(number(calls.requests).attr("data-label", "requests"))
            .put(number(calls.refused).attr("data-label", "refused"))
            .put(el("td").class("nowrap").attr("data-label", "last").put(time(at, &when(at, look.now))))
            .put(el("td").attr("data-label", "from").put(el("span").class("mono").put(from)))
    });
    let callers = el("tbody").put(callers.collect::<Vec<_>>());
    let columns = ["who", "requests", "refused", "last", "from"];
    let unlisted = (receipt.unlisted > 0).then(|| {
        let words =
            format!("{} more requests came from others, who found no place here.", grouped(receipt.unlisted));
        el("p").class("muted s").put(words)
    });
    let denials = (!receipt.denials.is_empty()).then(|| {
        let rows = receipt.denials.iter().map(|denial| {
            let from = denial.from.map(|from| from.to_string()).unwrap_or_default();
            el("tr")
                .put(el("th").attr("scope", "row").put(denial.why.as_str()))
                .put(number(denial.requests).attr("data-label", "requests"))
                .put(el("td").attr("data-label", "last from").put(el("span").class("mono").put(from)))
        });
        let rows = el("tbody").put(rows.collect::<Vec<_>>());
        section("Why some were not let in", table("Denials", &["why", "requests", "last from"], rows))
    });
    let answers: Vec<String> =
        receipt.statuses.iter().map(|(status, n)| format!("{} × {status}", grouped(*n))).collect();
    let answers = el("p").class("lead muted").put(format!("Answers: {}.", answers.join(", ")));
    let asked = section("Who asked", (table("Who asked", &columns, callers), unlisted));
    [Some(answers), denials, Some(asked)].into_iter().flatten().collect()
}

fn section(title: &str, content: impl Render) -> Element {
    el("section").put(el("h2").put(title)).put(content)
}

/// Whether the ledger is whole: every entry was just read and hashed.
pub fn audit_check(look: &Look<'_>, found: &Verified) -> String {
    let frame = Frame {
        look: *look,
        path: "/audit/check".into(),
        title: "Is the ledger whole?".into(),
        section: "/audit",
        follows: Follows::Nothing,
    };
    let trail = el("p").class("trail").put(link("/audit", "Audit")).put(" / check");
    let n = grouped(found.entries);
    let (sign, said) = match &found.first_bad {
        None if found.entries == 1 => {
            (Sign::Fine, "The ledger is whole: its 1 entry is what was written.".to_owned())
        }
        None => (Sign::Fine, format!("The ledger is whole: all {n} entries are what was written.")),
        Some(_) => (Sign::Failing, format!("The ledger is not whole after {n} good entries.")),
    };
    let headline = el("h1").class(class(sign)).put(shape(sign)).put(el("span").class("plain").put(said));
    let bad = found.first_bad.as_ref().map(|bad| {
        let words = "Keep the data folder as it is, and compare it with a copy from elsewhere.";
        (el("p").class("refused").attr("role", "alert").put(bad.as_str()), el("p").class("lead").put(words))
    });
    let anchored = match found.checkpoint_size {
        Some(size) => format!("up to entry {}", grouped(size)),
        None => "not yet".into(),
    };
    let torn = (found.torn_bytes > 0).then(|| {
        let words = format!(
            "{} bytes, of a commit that is being written or was broken off",
            grouped(found.torn_bytes)
        );
        (el("dt").put("after the last"), el("dd").put(words))
    });
    let list = el("dl")
        .class("pairs")
        .put((el("dt").put("entries"), el("dd").put(n)))
        .put((el("dt").put("anchored"), el("dd").put(anchored)))
        .put((el("dt").put("root"), el("dd").class("mono").put(found.root.as_str())))
        .put(torn);
    let offline = el("p")
        .class("muted s")
        .put("The same without the tower: ")
        .put(el("code").put("hmsops audit verify --data DIR"));
    let card = el("section").class("card").put(el("h2").put("The chain")).put(list).put(offline);
    let again = el("p")
        .class("buttons")
        .put(link("/audit/check", "Check again").class("button"))
        .put(link("/audit", "To the entries").class("button"));
    frame.wrap(((trail, headline), (bad, (el("div").class("stack").put(card), again))))
}
