//! What somebody sees who is not logged in.

use super::frame::{document, sheet};
use super::html::el;
use super::mark::link;

/// Says how to get a link that logs in. `refused` says why the one that was tried did not.
pub fn login(refused: Option<&str>) -> String {
    let refused = refused.map(|why| el("p").class("refused").attr("role", "alert").put(why));
    let command = el("pre").attr("tabindex", 0).put(el("code").put("hmsops login"));
    let card = el("section")
        .class("card form")
        .put(el("h2").put("Get a link that logs you in"))
        .put(el("p").put("On the machine the tower runs on, as its user:"))
        .put(command)
        .put(el("p").put(
            "It prints a link that works once. The tower also prints one when it starts for the first time.",
        ))
        .put(
            el("p")
                .class("muted")
                .put("Programs send the token instead: ")
                .put(el("code").put("Authorization: Bearer …")),
        );
    let other = el("p").put(link("/login", "Log in by a name").class("button"));
    let status = el("p").put("The ").put(link("/status", "status page")).put(" is open to everyone.");
    let main = el("main").attr("id", "main").class("narrow").put(el("p").class("brand").put("hmsops"));
    let main = main
        .put(el("h1").put("This tower wants to know who you are."))
        .put(refused)
        .put(other)
        .put(card)
        .put(status);
    document("Log in · hmsops", sheet(), el("body").put(main))
}
