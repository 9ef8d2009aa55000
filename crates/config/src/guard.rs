//! What a gateway grants, below `gateways:` of `hmsops.yaml`: `limits`, `trusted_proxies`, `access_log`.

use hmsops_model::Millis;
use hmsops_model::gateway::{GatewayLimits, GatewaySettings, Rate};
use hmsops_model::network::Network;

use crate::diagnostic::{Findings, shown};
use crate::duration::parse_duration;
use crate::fields::{Fields, Key, Shape};
use crate::scalar;
use crate::yaml::Entry;

pub(crate) static LIMITS: Shape = Shape {
    what: "a gateway's limits",
    keys: &[
        Key::optional("body_max", "body_max: 1 GiB"),
        Key::optional("body_rate_min", "body_rate_min: 256"),
        Key::optional("client_connections", "client_connections: 5000"),
        Key::optional("service_rate", "service_rate: 2000/s"),
        Key::optional("client_rate", "client_rate: 50/s"),
        Key::optional("upstream_requests", "upstream_requests: 4096"),
        Key::optional("upstream_waiting", "upstream_waiting: 1024"),
        Key::optional("upstream_wait", "upstream_wait: 1 s"),
    ],
};

/// Proxies of one gateway.
const NETWORKS_MAX: usize = 256;

/// The largest body that may be allowed: what fits into a number that JSON readers keep whole.
const BODY_MAX: u64 = 1 << 50;

/// Reads what a gateway's map says of it. What was refused has left an error behind, and with one there is no value.
pub(crate) fn guard(fields: &Fields<'_>, settings: &mut GatewaySettings, out: &mut Findings) {
    if let Some(entry) = fields.get("limits") {
        settings.limits = limits(entry, out).unwrap_or_default();
    }
    if let Some(entry) = fields.get("trusted_proxies") {
        settings.trusted_proxies = networks(entry, out).unwrap_or_default();
    }
    if let Some(entry) = fields.get("access_log") {
        settings.access_log = target(entry, out);
    }
}

fn limits(entry: &Entry, out: &mut Findings) -> Option<GatewayLimits> {
    let fields = Fields::open(&entry.value, entry.at, &LIMITS, out)?;
    let mut limits = GatewayLimits::default();
    let number = |name: &str, least: u64, most: u64, out: &mut Findings| {
        fields.get(name).and_then(|entry| scalar::count(entry, least, most, out))
    };
    if let Some(rate) = number("body_rate_min", 0, 1 << 30, out) {
        limits.body_rate_min = rate;
    }
    let counts = [
        ("client_connections", &mut limits.client_connections, 1),
        ("upstream_requests", &mut limits.upstream_requests, 1),
        ("upstream_waiting", &mut limits.upstream_waiting, 0),
    ];
    for (name, place, least) in counts {
        if let Some(count) = number(name, least, 1_000_000, out) {
            *place = count as u32;
        }
    }
    if let Some(bytes) = fields.get("body_max").and_then(|entry| size(entry, out)) {
        limits.body_max = bytes;
    }
    limits.service_rate = fields.get("service_rate").and_then(|entry| rate(entry, out));
    limits.client_rate = fields.get("client_rate").and_then(|entry| rate(entry, out));
    if let Some(entry) = fields.get("upstream_wait")
        && let Some(span) = scalar::span(entry, Millis::ZERO, Millis::from_mins(1), out)
    {
        limits.upstream_wait = span;
    }
    Some(limits)
}

/// Bytes, perhaps with a unit: `1 GiB`.
fn size(entry: &Entry, out: &mut Findings) -> Option<u64> {
    let written = scalar::text(&entry.value, &format!("`{}`", entry.key), "body_max: 1 GiB", out)?;
    let digits = written.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = written.split_at_checked(digits).unwrap_or_default();
    let shift = match unit.trim_start() {
        "" | "B" => Some(0),
        "KiB" => Some(10),
        "MiB" => Some(20),
        "GiB" => Some(30),
        _ => None,
    };
    let bytes =
        number.parse::<u64>().ok().zip(shift).and_then(|(number, shift)| number.checked_mul(1 << shift));
    let bytes = bytes.filter(|bytes| *bytes <= BODY_MAX);
    if bytes.is_none() {
        let message = format!("`{}` is not a size", shown(written));
        out.error(
            entry.value.at,
            message,
            "write bytes, or `64 KiB`, `16 MiB`, `1 GiB`; at most 1048576 GiB",
        );
    }
    bytes
}

/// So many in so long: `50/s`, `1000/5 min`.
fn rate(entry: &Entry, out: &mut Findings) -> Option<Rate> {
    let written = scalar::text(&entry.value, &format!("`{}`", entry.key), "client_rate: 50/s", out)?;
    let parse = || {
        let (count, per) = written.split_once('/')?;
        let count: u32 = count.trim().parse().ok().filter(|count| (1..=10_000_000).contains(count))?;
        let per = per.trim();
        let per =
            if per.starts_with(|c: char| c.is_ascii_digit()) { per.to_owned() } else { format!("1 {per}") };
        let per = parse_duration(&per).ok()?;
        let bounds = Millis(1)..=Millis::from_mins(60);
        bounds.contains(&per).then_some(Rate { count, per })
    };
    let rate = parse();
    if rate.is_none() {
        let message = format!("`{}` is not a rate", shown(written));
        out.error(entry.value.at, message, "write `50/s`, `3000/min` or `100/10 s`, over at most an hour");
    }
    rate
}

fn networks(entry: &Entry, out: &mut Findings) -> Option<Vec<Network>> {
    let example = "trusted_proxies: [\"127.0.0.0/8\", \"::1\", \"10.0.0.0/8\"]";
    let nodes = match &entry.value.value {
        // Nobody is trusted.
        crate::yaml::Value::List(nodes) if nodes.is_empty() => return Some(Vec::new()),
        _ => scalar::list(entry, example, out)?,
    };
    if nodes.len() > NETWORKS_MAX {
        let message = format!("{} proxies are more than {NETWORKS_MAX}", nodes.len());
        out.error(entry.at, message, "name networks, as in `10.0.0.0/8`");
        return None;
    }
    scalar::each(nodes, |node| {
        let written = scalar::text(node, "a proxy", "10.0.0.0/8", out)?;
        let network = written.parse().ok();
        if network.is_none() {
            let message = format!("`{}` is no address or network", shown(written));
            out.error(node.at, message, "write `10.0.0.1` or `10.0.0.0/8`");
        }
        network
    })
}

/// `stdout`, or a file's path.
fn target(entry: &Entry, out: &mut Findings) -> Option<String> {
    let example = "access_log: /var/log/hmsops/access.log";
    let path = scalar::text(&entry.value, "`access_log`", example, out)?;
    if path.len() > 4096 || path.trim() != path || path.ends_with('/') || path.chars().any(char::is_control) {
        out.error(
            entry.value.at,
            "`access_log` names no file",
            format!("write `{example}`, or `access_log: stdout`"),
        );
        return None;
    }
    Some(path.to_owned())
}
