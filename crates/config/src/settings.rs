//! `hmsops.yaml` → [`TowerConfig`]. Everything is optional. Keys whose capability is not built yet are
//! checked and then said to be read but not acted on.

use hmsops_model::Millis;

use crate::address;
use crate::diagnostic::{Checked, Findings, shown};
use crate::fields::{Fields, Key, Shape};
use crate::freeze;
use crate::gateway;
use crate::nearest::nearest;
use crate::notify;
use crate::people;
use crate::scalar;
use crate::tower::{
    HealConfig, HealMode, Impact, MetricsConfig, RepoConfig, RepoSource, RetentionConfig, SystemConfig,
    TlsConfig, TowerConfig, days,
};
use crate::yaml::{self, Entry, Node};

pub(crate) static TOWER: Shape = Shape {
    what: "the tower's settings",
    keys: &[
        Key::optional("gateways", "gateways: {public: {listen: \"127.0.0.1:8080\"}}"),
        Key::optional("repos", "repos: [{dir: /srv/portal}]"),
        Key::optional("heal", "heal: {rollback: auto, restart: auto, other: approve}"),
        Key::optional("notify", "notify: {mail: {server: \"smtp.csac.gov:587\", from: hmsops@csac.gov}}"),
        Key::optional("people", "people: {oidc: {issuer: \"https://…\", …}, roles: {sre: operator}}"),
        Key::optional("freeze", "freeze: [{weekly: Fri 16:00 – Mon 08:00, time_zone: America/New_York}]"),
        Key::optional("observe_only", "observe_only: false"),
        Key::optional("retention", "retention: {audit: 1095d}"),
        Key::optional("system", "system: {name: CSAC Portal, impact: moderate}"),
        Key::optional("status", "status: {title: CSAC Portal}"),
        Key::optional("tls", "tls: {cert: tls.crt, key: \"file:tls.key\"}"),
        Key::optional("plain", "plain: \"published on 127.0.0.1 by compose\""),
        Key::optional("ledger", "ledger: data"),
        Key::optional("metrics", "metrics: {series_max: 1000000}"),
        Key::optional("logs", "logs: data"),
        Key::optional("bus", "bus: \"nats://127.0.0.1:4222\""),
    ],
};

pub(crate) static REPO: Shape = Shape {
    what: "a repository",
    keys: &[
        Key::optional("dir", "dir: /srv/portal"),
        Key::optional("url", "url: \"git@git.csac.gov:portal.git\""),
        Key::optional("branch", "branch: main"),
        Key::optional("services", "services: [csac-portal]"),
    ],
};

pub(crate) static HEAL: Shape = Shape {
    what: "what may be healed",
    keys: &[
        Key::optional("rollback", "rollback: auto"),
        Key::optional("restart", "restart: auto"),
        Key::optional("other", "other: approve"),
    ],
};

pub(crate) static RETENTION: Shape = Shape {
    what: "how long things are kept",
    keys: &[
        Key::optional("metrics", "metrics: 400d"),
        Key::optional("logs", "logs: 180d"),
        Key::optional("traces", "traces: 14d"),
        Key::optional("audit", "audit: 1095d"),
    ],
};

pub(crate) static SYSTEM: Shape = Shape {
    what: "a system",
    keys: &[Key::optional("name", "name: CSAC Portal"), Key::optional("impact", "impact: moderate")],
};

pub(crate) static STATUS: Shape =
    Shape { what: "the status page", keys: &[Key::optional("title", "title: CSAC Portal")] };

pub(crate) static TLS: Shape = Shape {
    what: "TLS of the tower",
    keys: &[
        Key::optional("cert", "cert: tls.crt"),
        Key::optional("key", "key: \"file:tls.key\""),
        Key::optional("names", "names: [tower.csac.gov]"),
    ],
};

/// Names of the tower's certificate, besides those of the machine.
const TLS_NAMES_MAX: usize = 50;

pub(crate) static METRICS: Shape = Shape {
    what: "the metric store",
    keys: &[
        Key::optional("series_max", "series_max: 1000000"),
        Key::optional("out_of_order_window", "out_of_order_window: 1 h"),
        Key::optional("scrape_secrets", "scrape_secrets: /etc/hmsops/scrape"),
        Key::optional("rule_query_offset", "rule_query_offset: 30s"),
        Key::optional("rule_backfill", "rule_backfill: 1h"),
        Key::optional("remote_write", "remote_write: \"https://…\""),
        Key::optional("query", "query: \"https://…\""),
    ],
};

/// How far back queries of rules may look; more belongs into an `offset` of the expression.
pub(crate) const QUERY_OFFSET_MAX: Millis = Millis::from_mins(60);

/// For how long an outage rules may be made up for.
const BACKFILL_MAX: Millis = Millis::from_mins(24 * 60);

/// Series that a tower may hold: fewer are no store, more fit into no machine's memory.
const SERIES_BOUNDS: (u64, u64) = (1000, 100_000_000);

/// The longest window for late samples: each is compared with what is on disk, and whoever tries again for longer has
/// lost more than order.
const WINDOW_MAX: Millis = days(1);

/// Gateways and repositories of one tower.
pub(crate) const ITEMS_MAX: usize = 256;

/// Reads the tower's settings; an empty text means the default.
pub fn parse_tower(text: &str) -> Checked<TowerConfig> {
    let mut out = Findings::new(text);
    let parsed = yaml::parse(text, false, &mut out);
    let config = match parsed.root {
        Some(root) => tower(&root, &mut out),
        None => Some(TowerConfig::default()).filter(|_| !parsed.broken),
    };
    out.finish(config)
}

/// What is read but not acted on yet is said where it stands.
fn not_yet(entry: &Entry, out: &mut Findings) {
    let hint = "leave it out, or let it stand for later";
    out.warning(entry.at, format!("`{}` is read but not acted on yet", entry.key), hint);
}

fn tower(root: &Node, out: &mut Findings) -> Option<TowerConfig> {
    let fields = Fields::open(root, root.at, &TOWER, out)?;
    let mut config = TowerConfig::default();
    if let Some(entry) = fields.get("gateways") {
        config.gateways = gateway::gateways(entry, out).unwrap_or_default();
    }
    if let Some(entry) = fields.get("repos") {
        config.repos = repos(entry, out).unwrap_or_default();
    }
    if let Some(entry) = fields.get("notify") {
        config.notify = notify::notify(entry, out).unwrap_or_default();
    }
    if let Some(entry) = fields.get("people") {
        config.people = people::people(entry, out).unwrap_or_default();
    }
    if let Some(entry) = fields.get("heal") {
        heal(entry, &mut config.heal, out);
    }
    if let Some(entry) = fields.get("freeze") {
        config.freeze = freeze::freezes(entry, out).unwrap_or_default();
    }
    if let Some(entry) = fields.get("observe_only") {
        config.observe_only = scalar::flag(entry, out).unwrap_or_default();
    }
    if let Some(entry) = fields.get("retention") {
        retention(entry, &mut config.retention, out);
    }
    if let Some(entry) = fields.get("system") {
        config.system = system(entry, out).unwrap_or_default();
    }
    if let Some(entry) = fields.get("status") {
        let fields = Fields::open(&entry.value, entry.at, &STATUS, out);
        config.status_title = fields.and_then(|fields| line(fields.get("title")?, out));
    }
    listeners(&fields, &mut config, out);
    stores(&fields, out);
    if let Some(entry) = fields.get("metrics") {
        metrics(entry, &mut config.metrics, out);
    }
    // What was refused has left an error behind, and with one there is no value.
    Some(config)
}

/// What the tower's own listeners speak beyond loopback.
fn listeners(fields: &Fields<'_>, config: &mut TowerConfig, out: &mut Findings) {
    if let Some(entry) = fields.get("tls") {
        config.tls = tls(entry, out).unwrap_or_default();
    }
    let Some(entry) = fields.get("plain") else { return };
    config.plain = line(entry, out);
    if fields.get("tls").is_some() {
        let hint = "keep `tls`; `plain` says why there is none";
        out.error(entry.at, "the tower speaks TLS or clear text, not both", hint);
    }
}

fn tls(entry: &Entry, out: &mut Findings) -> Option<TlsConfig> {
    let fields = Fields::open(&entry.value, entry.at, &TLS, out)?;
    let names = match fields.get("names") {
        Some(entry) => {
            let nodes = scalar::list(entry, "names: [tower.csac.gov]", out)?;
            if nodes.len() > TLS_NAMES_MAX {
                let message = format!("{} names are more than {TLS_NAMES_MAX}", nodes.len());
                out.error(entry.at, message, "leave some out");
                return None;
            }
            scalar::each(nodes, |node| address::host_or_ip(node, out))?
        }
        None => Vec::new(),
    };
    let files = match (fields.get("cert"), fields.get("key")) {
        (Some(cert), Some(key)) => {
            let (cert, key) = (gateway::path(cert, "", out), gateway::path(key, "file:", out));
            if let Some(names) = fields.get("names") {
                let hint = "the certificate of the file has its own: leave `names` out";
                out.error(names.at, "`names` are for a certificate of the tower's own authority", hint);
            }
            Some((cert?, key?))
        }
        (None, None) => None,
        (cert, key) => {
            let at = cert.or(key).map_or(entry.at, |found| found.at);
            out.error(
                at,
                "a certificate and its key go together",
                "add `cert: tls.crt` and `key: \"file:tls.key\"`",
            );
            return None;
        }
    };
    Some(TlsConfig { files, names })
}

/// Where things are stored, and the bus: only the forms are checked.
fn stores(fields: &Fields<'_>, out: &mut Findings) {
    for (key, schemes, here) in [
        ("ledger", &["postgres://", "postgresql://"][..], true),
        ("logs", &["s3://"][..], true),
        ("bus", &["nats://", "kafka://"][..], false),
    ] {
        let Some(entry) = fields.get(key) else { continue };
        let example = TOWER.keys.iter().find(|known| known.name == key).map_or(key, |known| known.example);
        let Some(written) = scalar::text(&entry.value, &format!("`{key}`"), example, out) else { continue };
        if here && written == "data" {
            continue;
        }
        if schemes.iter().any(|scheme| written.len() > scheme.len() && written.starts_with(scheme)) {
            not_yet(entry, out);
            continue;
        }
        let forms: Vec<String> = schemes.iter().map(|scheme| format!("`{scheme}…`")).collect();
        let data = if here { "`data` or " } else { "" };
        // The text itself may hold a password, so it is not repeated.
        out.error(
            entry.value.at,
            format!("`{key}` is no place that is known"),
            format!("use {data}{}", forms.join(" or ")),
        );
    }
}

fn metrics(entry: &Entry, metrics: &mut MetricsConfig, out: &mut Findings) {
    let Some(fields) = Fields::open(&entry.value, entry.at, &METRICS, out) else { return };
    if let Some(entry) = fields.get("series_max")
        && let Some(series) = scalar::count(entry, SERIES_BOUNDS.0, SERIES_BOUNDS.1, out)
    {
        metrics.series_max = series;
    }
    if let Some(entry) = fields.get("out_of_order_window")
        && let Some(window) = scalar::span(entry, Millis::ZERO, WINDOW_MAX, out)
    {
        metrics.out_of_order_window = window;
    }
    if let Some(entry) = fields.get("scrape_secrets") {
        metrics.scrape_secrets = line(entry, out);
    }
    if let Some(entry) = fields.get("rule_query_offset")
        && let Some(span) = scalar::span(entry, Millis::ZERO, QUERY_OFFSET_MAX, out)
    {
        metrics.rule_query_offset = span;
    }
    if let Some(entry) = fields.get("rule_backfill")
        && let Some(span) = scalar::span(entry, Millis::ZERO, BACKFILL_MAX, out)
    {
        metrics.rule_backfill = span;
    }
    for entry in ["remote_write", "query"].iter().filter_map(|key| fields.get(key)) {
        not_yet(entry, out);
        let written = scalar::text(&entry.value, &format!("`{}`", entry.key), "https://…", out);
        if written.is_some_and(|url| !url.starts_with("https://") && !url.starts_with("http://")) {
            out.error(entry.value.at, format!("`{}` is no URL of HTTP", entry.key), "write `https://…`");
        }
    }
}

/// A text of one line, at most 200 characters.
pub(crate) fn line(entry: &Entry, out: &mut Findings) -> Option<String> {
    let written =
        scalar::text(&entry.value, &format!("`{}`", entry.key), &format!("{}: …", entry.key), out)?.trim();
    if written.is_empty() || written.chars().count() > 200 || written.chars().any(char::is_control) {
        let message = format!("`{}` is not one line of text", entry.key);
        out.error(entry.value.at, message, "use 1 to 200 characters");
        return None;
    }
    Some(written.to_owned())
}

fn repos(entry: &Entry, out: &mut Findings) -> Option<Vec<RepoConfig>> {
    let nodes = scalar::list(entry, "repos: [{dir: /srv/portal}]", out)?;
    if nodes.len() > ITEMS_MAX {
        out.error(
            entry.at,
            format!("{} repositories are more than {ITEMS_MAX}", nodes.len()),
            "leave some out",
        );
        return None;
    }
    scalar::each(nodes, |node| repo(node, out))
}

fn repo(node: &Node, out: &mut Findings) -> Option<RepoConfig> {
    let fields = Fields::open(node, node.at, &REPO, out)?;
    let services = match fields.get("services") {
        Some(entry) => {
            let nodes = scalar::list(entry, "services: [csac-portal]", out)?;
            scalar::each(nodes, |node| scalar::service(node, out))?
        }
        None => Vec::new(),
    };
    let branch = fields.get("branch").map(|entry| line(entry, out));
    let source = match (fields.get("dir"), fields.get("url")) {
        (Some(dir), None) => {
            if let Some(branch) = fields.get("branch") {
                out.error(
                    branch.at,
                    "`branch` goes with `url`",
                    "a folder is taken as it is: leave `branch` out",
                );
            }
            RepoSource::Dir(line(dir, out)?)
        }
        (None, Some(url)) => {
            not_yet(url, out);
            RepoSource::Url {
                url: line(url, out)?,
                branch: branch.unwrap_or_else(|| Some("main".to_owned()))?,
            }
        }
        (Some(_), Some(url)) => {
            out.error(url.at, "a repository is a folder or a remote, not both", "keep `dir` or `url`");
            return None;
        }
        (None, None) => {
            if !fields.disturbed {
                out.error(node.at, "a repository does not say where it is", "add `dir: /srv/portal`");
            }
            return None;
        }
    };
    Some(RepoConfig { source, services })
}

fn heal(entry: &Entry, heal: &mut HealConfig, out: &mut Findings) {
    let Some(fields) = Fields::open(&entry.value, entry.at, &HEAL, out) else { return };
    let HealConfig { rollback, restart, other } = heal;
    for (key, mode) in [("rollback", rollback), ("restart", restart), ("other", other)] {
        let Some(entry) = fields.get(key) else { continue };
        let example = format!("{key}: auto");
        match scalar::text(&entry.value, &format!("`{key}`"), &example, out) {
            None => {}
            Some("auto") => *mode = HealMode::Auto,
            Some("approve") => {
                *mode = HealMode::Approve;
                let hint = "a person is told and nothing runs; `auto` runs it, `off` says so openly";
                out.warning(entry.value.at, "approvals are not built yet: treated as off", hint);
            }
            Some("off") => *mode = HealMode::Off,
            Some(word) => {
                let hint = match nearest(word, ["auto", "approve", "off"]) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "use `auto`, `approve` or `off`".to_owned(),
                };
                out.error(entry.value.at, format!("`{}` does not say who decides", shown(word)), hint);
            }
        }
    }
}

fn retention(entry: &Entry, kept: &mut RetentionConfig, out: &mut Findings) {
    let Some(fields) = Fields::open(&entry.value, entry.at, &RETENTION, out) else { return };
    let RetentionConfig { metrics, logs, traces, audit } = kept;
    for (key, span) in [("metrics", metrics), ("logs", logs), ("traces", traces), ("audit", audit)] {
        let Some(entry) = fields.get(key) else { continue };
        if key != "metrics" {
            not_yet(entry, out);
        }
        if let Some(read) = scalar::span(entry, Millis::from_mins(60), days(36_525), out) {
            *span = read;
        }
    }
}

fn system(entry: &Entry, out: &mut Findings) -> Option<SystemConfig> {
    let fields = Fields::open(&entry.value, entry.at, &SYSTEM, out)?;
    let name = fields.get("name").and_then(|entry| line(entry, out));
    let impact = fields.get("impact").and_then(|entry| {
        let word = scalar::text(&entry.value, "`impact`", "impact: moderate", out)?;
        let impact = match word {
            "low" => Some(Impact::Low),
            "moderate" => Some(Impact::Moderate),
            "high" => Some(Impact::High),
            _ => None,
        };
        if impact.is_none() {
            let message = format!("`{}` is not an impact level", shown(word));
            out.error(entry.value.at, message, "use `low`, `moderate` or `high`");
        }
        impact
    });
    Some(SystemConfig { name, impact })
}
