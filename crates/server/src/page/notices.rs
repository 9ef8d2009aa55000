//! Messages to people: those that were given up and those that wait come first.

use hmsops_control::headline::Sign;
use hmsops_control::sentence::grouped;
use hmsops_control::signal::notice::{About, Notice, NoticeEnd};
use hmsops_model::{Millis, UnixMillis};

use super::Look;
use super::alerts::{others, table};
use super::deed::{Deed, button};
use super::frame::{Follows, Frame};
use super::html::{Element, el};
use super::mark::{alert_path, link, release_path, ticket_path, tied, worded};
use super::moment::{time, when};

/// Notices of the list.
const ROWS_MAX: usize = 200;

/// The list of notices.
pub fn notices(look: &Look<'_>) -> String {
    let frame = Frame {
        look: *look,
        path: "/notices".into(),
        title: "Notices".into(),
        section: "/alerts",
        follows: Follows::Everything,
    };
    let mut all: Vec<&Notice> = look.view.state.signals.notices.values().collect();
    all.sort_by_key(|notice| (rank(notice), std::cmp::Reverse(notice.id)));
    let count = |wanted: u8| all.iter().filter(|notice| rank(notice) == wanted).count();
    let waiting = match count(1) {
        0 => "none waits".to_owned(),
        1 => "1 waits".to_owned(),
        n => format!("{} wait", grouped(n as u64)),
    };
    let headline = match (count(0), count(1), all.len()) {
        (_, _, 0) => "Nobody was told anything yet.".to_owned(),
        (0, 0, _) => "Everybody was told: no notice waits.".to_owned(),
        (0, 1, _) => "1 notice waits to be delivered.".to_owned(),
        (0, n, _) => format!("{} notices wait to be delivered.", grouped(n as u64)),
        (1, _, _) => format!("1 notice was given up, {waiting}."),
        (dead, _, _) => format!("{} notices were given up, {waiting}.", grouped(dead as u64)),
    };
    let empty = all.is_empty().then(|| {
        el("div")
            .class("card")
            .put(el("p").put("Try whether somebody can be told:"))
            .put(el("pre").attr("tabindex", 0).put(el("code").put("hmsops notify test oncall@example.org")))
    });
    let rows: Vec<Element> = all.iter().take(ROWS_MAX).map(|notice| row(look, notice)).collect();
    let columns = ["notice", "state", "to", "what", "about", "made", ""];
    let table = (!rows.is_empty())
        .then(|| table("Notices: given up, waiting, delivered", &columns, el("tbody").put(rows)));
    frame.wrap(((el("h1").put(headline), others(look)), (empty, table.map(|table| el("section").put(table)))))
}

const fn rank(notice: &Notice) -> u8 {
    match notice.ended {
        Some(NoticeEnd::Dead { .. }) => 0,
        None => 1,
        Some(NoticeEnd::Delivered { .. }) => 2,
    }
}

fn row(look: &Look<'_>, notice: &Notice) -> Element {
    let (sign, word) = match rank(notice) {
        0 => (Sign::Failing, "given up"),
        1 => (Sign::UnderWatch, "waiting"),
        _ => (Sign::Fine, "delivered"),
    };
    let words = notice.about.words();
    let about = match notice.about {
        About::Alert(id) => link(&alert_path(id), &words),
        About::Release(id) => link(&release_path(id), &words),
        About::Ticket(id) => link(&ticket_path(id), &words),
        About::Glass(id) => link(&format!("/breakglass#{id}"), &words),
        About::Test(_) => el("span").put("a test"),
    };
    let at = notice.intended_at.wall;
    el("tr")
        .attr("id", notice.id.to_string())
        .put(el("th").attr("scope", "row").put(notice.id.to_string()))
        .put(el("td").class("nowrap").put(worded(sign, word)))
        .put(el("td").attr("data-label", "to").put(notice.receiver.as_str()))
        .put(
            el("td")
                .class("prose")
                .put(notice.subject.as_str())
                .put(course(look, notice).map(|line| el("p").class("muted s").put(tied(&line)))),
        )
        .put(el("td").attr("data-label", "about").put(about))
        .put(el("td").class("nowrap").attr("data-label", "made").put(time(at, &when(at, look.now))))
        .put(el("td").put(button(look, &Deed::RetryNotice(notice.id))))
}

/// What has become of its tries.
fn course(look: &Look<'_>, notice: &Notice) -> Option<String> {
    let tries = match notice.attempts {
        0 => None,
        1 => Some("1 try failed".to_owned()),
        n => Some(format!("{n} tries failed")),
    };
    let error = notice.error.clone();
    let next = notice.is_waiting().then(|| {
        let now = look.view.now;
        let in_ms = Millis(notice.due_at.0.saturating_sub(now.steady.0));
        let at = UnixMillis(now.wall.0.saturating_add_unsigned(in_ms.0));
        if in_ms == Millis::ZERO {
            "being tried".to_owned()
        } else {
            format!("next try {}", when(at, look.now))
        }
    });
    let receipt = match &notice.ended {
        Some(NoticeEnd::Delivered { receipt, .. }) if !receipt.is_empty() => Some(receipt.clone()),
        _ => None,
    };
    let error = error.filter(|_| receipt.is_none());
    let parts: Vec<String> = [tries, error, next, receipt].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}
