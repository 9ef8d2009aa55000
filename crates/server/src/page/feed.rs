//! The status page for programs: JSON, and a feed of incidents (RFC 4287).

use hmsops_control::sentence;
use hmsops_ledger::moment::rfc3339;
use hmsops_model::UnixMillis;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Look;
use super::history::{Public, availability, first_seen, recent, shown};
use super::html::el;
use super::moment::short_day;
use super::status::heading;

/// Entries of the feed.
const ENTRIES_MAX: usize = 50;

/// The status page as JSON.
pub fn status_json(look: &Look<'_>) -> Value {
    let services = shown(look);
    let (heading, public) = heading(look, &services);
    let state = &look.view.state;
    let rows: Vec<Value> = services
        .iter()
        .map(|(service, public)| {
            let last = match public {
                Public::Unknown(at) => at.map(rfc3339),
                _ => None,
            };
            let measured = availability(state, service, look.now).map(|(per_cent, span)| {
                json!({"per_cent": per_cent, "over_seconds": span / 1000, "by": "time without incident"})
            });
            json!({"name": service.spec.name, "state": public.word(), "no_data_since": last, "measured": measured})
        })
        .collect();
    let incidents: Vec<Value> = recent(look)
        .iter()
        .map(|incident| {
            let update = |(at, text): &(UnixMillis, String)| json!({"at": rfc3339(*at), "text": text});
            json!({
                "id": incident.id,
                "service": incident.service,
                "heading": incident.heading(),
                "since": rfc3339(incident.since),
                "until": incident.until.map(rfc3339),
                "updates": incident.updates.iter().map(update).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "heading": heading,
        "state": public.word(),
        "at": rfc3339(look.view.now.wall),
        "services": rows,
        "incidents": incidents,
    })
}

/// A permanent name: a version 8 UUID (RFC 9562) of what never changes about a thing.
fn permanent_id(what: &str) -> String {
    let hash = Sha256::digest(what);
    let mut bytes = [0_u8; 16];
    bytes.iter_mut().zip(hash).for_each(|(byte, hashed)| *byte = hashed);
    let number = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | (0x8 << 76) | (0x2 << 62);
    let hex = format!("{number:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("urn:uuid:{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

/// Incidents as an Atom feed, newest first. `base` is the address the tower is reached at, without a slash at its
/// end: `https://status.csac.gov`. An entry keeps its id for good and its `updated` moves when it is resolved.
pub fn status_atom(look: &Look<'_>, base: &str) -> String {
    let state = &look.view.state;
    let incidents = recent(look);
    let newest = incidents.iter().filter_map(|incident| incident.updates.last()).map(|(at, _)| *at).max();
    let began = || state.services.values().filter_map(|service| first_seen(state, service)).min();
    let updated = newest.or_else(began).unwrap_or(look.view.now.wall);
    let link = |rel: &str, path: String| el("link").attr("rel", rel).attr("href", path);
    let mut feed = el("feed")
        .attr("xmlns", "http://www.w3.org/2005/Atom")
        .put(el("id").put(permanent_id(&format!("hmsops status feed {base}"))))
        .put(el("title").put("Service status"))
        .put(el("updated").put(rfc3339(updated)))
        .put(el("author").put(el("name").put("hmsops")))
        .put(link("self", format!("{base}/status/feed.atom")).attr("type", "application/atom+xml"))
        .put(link("alternate", format!("{base}/status")).attr("type", "text/html"));
    for incident in incidents.into_iter().take(ENTRIES_MAX) {
        let name = format!("hmsops incident {} {} {}", incident.service, incident.id, incident.since.0);
        let moved = incident.updates.last().map_or(incident.since, |(at, _)| *at);
        // The day is always named: an entry reads the same whenever it is fetched.
        let on = format!("on {}", short_day(incident.since));
        let entry = el("entry")
            .put(el("id").put(permanent_id(&name)))
            .put(el("title").put(format!("{}: {}", incident.heading(), incident.service)))
            .put(el("published").put(rfc3339(incident.since)))
            .put(el("updated").put(rfc3339(moved)))
            .put(link("alternate", format!("{base}/status#{}", incident.id)).attr("type", "text/html"))
            .put(el("content").attr("type", "text").put(sentence::incident(incident, Some(&on))));
        feed = feed.put(entry);
    }
    format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n{}\n", feed.into_markup())
}
