//! What is around every page of the tower: head, navigation, foot.

use hmsops_control::headline::STALE_AFTER;
use hmsops_control::sentence::grouped;

use super::Look;
use super::html::{Element, Render, el};
use super::mark::link;
use super::moment::{long_day, time};
use super::style::{CSS_PATH, LIVE_PATHS};
use hmsops_control::headline::clock;

/// Seconds between two renewals while a release is out.
const REFRESH_ACTIVE: u32 = 2;

/// And while nothing moves.
const REFRESH_QUIET: u32 = 10;

/// The pages in the navigation.
const NAV: &[(&str, &str)] = &[
    ("/", "Tower"),
    ("/releases", "Releases"),
    ("/alerts", "Alerts"),
    ("/dash", "Dashboards"),
    ("/audit", "Audit"),
    (ACCESS, "Access"),
    ("/status", "Status"),
];

/// Where the pages are found of who may come in and do what.
pub(super) const ACCESS: &str = "/approvals";

/// The pages of who may come in and do what.
const ROOMS: &[(&str, &str)] = &[
    (ACCESS, "Approvals"),
    ("/sessions", "Log-ins"),
    ("/people", "People"),
    ("/tokens", "Tokens"),
    ("/breakglass", "Break-glass"),
];

/// A page of the tower: its path, its title, and what stands in it. Renewed while `moves` allows it.
pub(super) struct Frame<'a> {
    pub(super) look: Look<'a>,
    /// The page's own path, for links to itself.
    pub(super) path: String,
    /// The window's title.
    pub(super) title: String,
    /// Which navigation entry it belongs to.
    pub(super) section: &'static str,
    /// How it follows what it shows.
    pub(super) follows: Follows,
}

/// How a page follows what it shows: with the live parts by what they are told, else by being renewed now and then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Follows {
    /// Not at all: a page with a form would lose what is typed.
    Nothing,
    /// Whatever changes.
    Everything,
    /// What changes about a release (by its id) or a service (by its name).
    One(String),
    /// The time alone: what moves in it is drawn by the live parts.
    Time,
}

/// The icon in a browser's tab: a dot, in the page itself, so that no browser asks for `/favicon.ico`.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 12 12'%3E\
                    %3Ccircle cx='6' cy='6' r='5' fill='%230b57a4'/%3E%3C/svg%3E";

/// The document around a head and a body.
pub(super) fn document(title: &str, head: impl Render, body: Element) -> String {
    let head = el("head")
        .put(el("meta").attr("charset", "utf-8"))
        .put(el("meta").attr("name", "viewport").attr("content", "width=device-width,initial-scale=1"))
        .put(el("meta").attr("name", "color-scheme").attr("content", "light dark"))
        .put(el("link").attr("rel", "icon").attr("href", ICON))
        .put(el("title").put(title))
        .put(head);
    let html = el("html").attr("lang", "en").put(head).put(body);
    format!("<!doctype html>\n{}\n", html.into_markup())
}

/// The link to the style sheet.
pub(super) fn sheet() -> Element {
    el("link").attr("rel", "stylesheet").attr("href", CSS_PATH.as_str())
}

/// The element by which a browser renews the page.
pub(super) fn refresh(secs: u32) -> Element {
    el("meta").attr("http-equiv", "refresh").attr("content", secs)
}

/// The element by which a browser goes to a path of this tower at once.
pub(super) fn refresh_to(path: &str) -> Element {
    el("meta").attr("http-equiv", "refresh").attr("content", format!("0;url={path}"))
}

impl Frame<'_> {
    /// The whole document.
    pub(super) fn wrap(self, content: impl Render) -> String {
        let every = if self.look.is_active() { REFRESH_ACTIVE } else { REFRESH_QUIET };
        let moves = self.follows != Follows::Nothing && self.look.live;
        let live = LIVE_PATHS.as_ref().filter(|_| moves);
        let renew = moves.then(|| refresh(every)).map(|renew| match live {
            // Whoever runs the script is told what changes; a page that is loaded anew would lose its place.
            Some(_) => el("noscript").put(renew),
            None => renew,
        });
        let live_parts = live.map(|(js, css)| {
            let sheet = el("link").attr("rel", "stylesheet").attr("href", css);
            (sheet, el("script").flag("defer").attr("src", js))
        });
        let stale = self.look.age() > STALE_AFTER;
        let main = el("main").attr("id", "main").class(if stale { "stale" } else { "fresh" });
        let main = match (live, &self.follows) {
            (None, _) | (_, Follows::Nothing) => main,
            (_, Follows::Everything) => main.attr("data-live", "state"),
            (_, Follows::One(about)) => main.attr("data-live", "state").attr("data-about", about),
            (_, Follows::Time) => main.attr("data-live", "clock"),
        };
        let main = main.put(super::glass::banner(&self.look)).put(self.rooms()).put(content);
        let body = el("body")
            .put(el("a").class("skip").attr("href", "#main").put("To the content"))
            .put(self.header(every))
            .put(main)
            .put(self.footer());
        document(&format!("{} · hmsops", self.title), (sheet(), (live_parts, renew)), body)
    }

    /// The way to the pages beside this one.
    fn rooms(&self) -> Option<Element> {
        (self.section == ACCESS).then(|| {
            ROOMS.iter().fold(el("nav").class("rooms").attr("aria-label", "Access"), |nav, (path, words)| {
                let entry = link(path, words);
                nav.put(if *path == self.path { entry.attr("aria-current", "page") } else { entry })
            })
        })
    }

    fn header(&self, every: u32) -> Element {
        let nav = NAV.iter().fold(el("nav").attr("aria-label", "Main"), |nav, (path, words)| {
            let entry = link(path, words);
            nav.put(if *path == self.section { entry.attr("aria-current", "page") } else { entry })
        });
        let now = self.look.now;
        let words = format!("{} UTC", clock(now));
        let switch = match (self.follows != Follows::Nothing, self.look.live) {
            (false, _) => None,
            (true, true) => Some(
                link(&format!("{}?still", self.path), "hold still")
                    .attr("title", format!("renewed every {every} s")),
            ),
            (true, false) => Some(link(&self.path, "go live")),
        };
        let clock = el("div")
            .class("clock")
            .put(time(now, &words).attr("aria-label", format!("{words}, {}", long_day(now))));
        el("header")
            .class("bar")
            .put(el("a").class("brand").attr("href", "/").put("hmsops"))
            .put(nav)
            .put(clock.put(switch))
    }

    fn footer(&self) -> Element {
        let view = self.look.view;
        let heard = match self.look.age() {
            age if age > STALE_AFTER => {
                el("strong").class("bad").put(format!("tower last heard {} s ago", age.0 / 1000))
            }
            _ => el("span").put("tower heard just now"),
        };
        let ledger = match (&view.ledger_failed, view.backlog) {
            (Some(_), 0) => "ledger takes nothing".to_owned(),
            (Some(_), waiting) => format!("ledger takes nothing, {} lines wait", grouped(waiting as u64)),
            (None, _) => format!("{} ledger entries", grouped(view.ledger_size)),
        };
        let gateways = view.evidence.gateways.keys();
        let live = gateways.clone().filter(|name| view.evidence.gateway_live(view.now, name)).count();
        let gateways = match gateways.count() {
            0 => "no gateway yet".to_owned(),
            all => format!("{live} of {all} gateways heard"),
        };
        let heard = (heard, link("/audit", &ledger));
        let ours = (link("/sessions", "who is logged in"), link("/breakglass", "break-glass"));
        el("footer").put(heard).put(el("span").put(gateways)).put(ours)
    }
}
