//! What somebody sees whose request came to nothing.

use super::frame::{document, sheet};
use super::html::el;
use super::mark::link;

/// Says what did not work and what may help.
pub fn failure(title: &str, detail: &str, hint: Option<&str>) -> String {
    let mut letters = title.chars();
    let title: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
    let hint = hint.map(|hint| el("p").class("muted").put(hint));
    let card = el("section").class("card form").put(el("p").put(detail)).put(hint);
    let ways = el("p").put(link("/", "Tower")).put(" · ").put(link("/releases", "Releases"));
    let main = el("main").attr("id", "main").class("narrow").put(el("p").class("brand").put("hmsops"));
    let main = main.put(el("h1").put(format!("{title}."))).put(card).put(ways);
    document(&format!("{title} · hmsops"), sheet(), el("body").put(main))
}
