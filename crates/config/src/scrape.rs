//! `ops/scrape/*.yaml`, `scrape_configs` of Prometheus → [`ScrapeSpec`]s. What is not built yet is an error, because
//! a file of which half is in force would mislead.

mod client;
mod discovery;
mod found;
mod relabel;
mod shape;

use std::collections::{BTreeMap, BTreeSet};

use hmsops_model::network::Network;
use hmsops_model::scrape::{ALLOW_PRIVATE, Protocol, Scheme, ScrapeLimits, Target};
use hmsops_model::{Millis, ScrapeSpec, ServiceName};

use crate::address;
use crate::diagnostic::{Checked, Findings, Span, shown};
use crate::fields::Fields;
use crate::nearest::nearest;
use crate::rule::label_error;
use crate::rule_file::texts;
use crate::scalar;
use crate::yaml::{self, Entry, Node};

pub use found::{TargetSet, parse_targets};
#[cfg(test)]
pub(crate) use shape::{
    AUTHORIZATION, BASIC_AUTH, DNS_SD, DOCKER_FILTER, DOCKER_SD, FILE_SD, HEADER, HTTP_SD, KUBERNETES_SD,
    NAMESPACES, RELABEL, SELECTOR, TLS,
};
pub(crate) use shape::{GLOBAL, JOB, SCRAPE, STATIC};

/// Between two scrapes unless said otherwise: four samples a minute, so that a rate over a minute has enough.
/// (Prometheus without a word takes a minute.)
const INTERVAL_DEFAULT: Millis = Millis::from_secs(15);

/// The time-out unless said otherwise, as in Prometheus; never longer than the interval.
const TIMEOUT_DEFAULT: Millis = Millis::from_secs(10);

/// The shortest and the longest interval; more than one scrape a second is a profiler.
const INTERVAL_BOUNDS: (Millis, Millis) = (Millis::from_secs(1), Millis::from_mins(24 * 60));

/// Jobs of one file, and targets of all of them.
const JOBS_MAX: usize = 1000;
const TARGETS_MAX: usize = 10_000;

/// Reads the jobs of a file.
pub fn parse_scrape(text: &str) -> Checked<Vec<ScrapeSpec>> {
    let mut out = Findings::new(text);
    let root = yaml::parse_filled(text, false, "write `scrape_configs:` and each job below it", &mut out);
    let specs = root.and_then(|root| file(&root, &mut out));
    out.finish(specs)
}

/// What a file gives for all its jobs, or a job for itself.
#[derive(Debug, Clone, Default)]
struct Common {
    interval: Option<Millis>,
    timeout: Option<Millis>,
    limits: ScrapeLimits,
    protocols: Option<Vec<Protocol>>,
}

fn file(root: &Node, out: &mut Findings) -> Option<Vec<ScrapeSpec>> {
    let fields = Fields::open(root, root.at, &SCRAPE, out)?;
    let global = match fields.get("global") {
        Some(entry) => {
            let fields = Fields::open(&entry.value, entry.at, &GLOBAL, out)?;
            common(&fields, Common::default(), out)?
        }
        None => Common::default(),
    };
    let entry = fields.get("scrape_configs")?;
    let nodes = scalar::list(entry, "scrape_configs: [{job_name: node, static_configs: […]}]", out)?;
    if nodes.len() > JOBS_MAX {
        out.error(entry.at, format!("{} jobs are more than {JOBS_MAX}", nodes.len()), "split the file");
        return None;
    }
    let mut names = BTreeMap::new();
    let specs = scalar::each(nodes, |node| job(node, &global, &mut names, out))?;
    let targets: usize = specs.iter().map(|spec| spec.targets.len()).sum();
    if targets > TARGETS_MAX {
        out.error(entry.at, format!("{targets} targets are more than {TARGETS_MAX}"), "split the file");
        return None;
    }
    Some(specs)
}

/// What is given here, else what is given outside. A time-out longer than its interval is refused where it is written;
/// a wrong span counts as none, so that it is told once.
fn common(fields: &Fields<'_>, outer: Common, out: &mut Findings) -> Option<Common> {
    let (least, most) = INTERVAL_BOUNDS;
    let interval = fields.get("scrape_interval").and_then(|entry| scalar::span(entry, least, most, out));
    let interval = interval.or(outer.interval);
    let written = fields.get("scrape_timeout");
    let timeout = written.and_then(|entry| scalar::span(entry, Millis(100), most, out));
    let longest = interval.unwrap_or(INTERVAL_DEFAULT);
    if let (Some(entry), Some(timeout)) = (written, timeout)
        && timeout > longest
    {
        let message = format!("a time-out of {timeout} is longer than the interval of {longest}");
        out.error(entry.value.at, message, "the next scrape would begin before it: use less");
    }
    let limits = limits(fields, outer.limits, out);
    let protocols = protocols(fields, out);
    names_are_utf8(fields, out);
    if let Some(entry) = fields.get("keep_dropped_targets") {
        scalar::count(entry, 0, u64::from(u32::MAX), out)?;
    }
    Some(Common {
        interval,
        timeout: timeout.or(outer.timeout),
        limits: limits?,
        protocols: protocols?.or(outer.protocols),
    })
}

/// Limits of which 0 means none.
fn limits(fields: &Fields<'_>, mut limits: ScrapeLimits, out: &mut Findings) -> Option<ScrapeLimits> {
    let mut sound = true;
    let mut read = |key: &str, most: u64, limit: &mut Option<u64>| {
        let Some(entry) = fields.get(key) else { return };
        match scalar::count(entry, 0, most, out) {
            Some(count) => *limit = Some(count).filter(|count| *count > 0),
            None => sound = false,
        }
    };
    let most = u64::from(u32::MAX);
    read("sample_limit", most, &mut limits.samples);
    read("label_limit", most, &mut limits.labels);
    read("label_name_length_limit", most, &mut limits.label_name_bytes);
    read("label_value_length_limit", most, &mut limits.label_value_bytes);
    read("target_limit", most, &mut limits.targets);
    if let Some(entry) = fields.get("body_size_limit") {
        match body_size(entry, out) {
            Some(bytes) => limits.body_bytes = Some(bytes).filter(|bytes| *bytes > 0),
            None => sound = false,
        }
    }
    sound.then_some(limits)
}

/// Bytes with a unit, of which each is 1024 times the one before, as Prometheus reads them: `10MB`.
fn body_size(entry: &Entry, out: &mut Findings) -> Option<u64> {
    let written = scalar::text(&entry.value, "`body_size_limit`", "body_size_limit: 10MB", out)?;
    let digits = written.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = written.split_at(digits);
    let shift = match unit {
        "" if number == "0" => Some(0),
        "B" => Some(0),
        "KB" | "KiB" => Some(10),
        "MB" | "MiB" => Some(20),
        "GB" | "GiB" => Some(30),
        _ => None,
    };
    let bytes = number.parse::<u64>().ok().zip(shift);
    let bytes = bytes.and_then(|(number, shift)| number.checked_mul(1 << shift));
    if bytes.is_none() {
        let message = format!("`{}` is not a size", shown(written));
        out.error(entry.value.at, message, "write `512KB`, `10MB` or `1GB`; `0` is no limit");
    }
    bytes
}

/// The formats that are asked for; `None` inside: it is not said.
#[expect(
    clippy::option_option,
    reason = "the outer one is a mistake that was told, the inner one that nothing is said"
)]
fn protocols(fields: &Fields<'_>, out: &mut Findings) -> Option<Option<Vec<Protocol>>> {
    let native = match fields.get("scrape_native_histograms") {
        Some(entry) => scalar::flag(entry, out)?,
        None => false,
    };
    let Some(entry) = fields.get("scrape_protocols") else {
        let first =
            native.then(|| [Protocol::PrometheusProto].into_iter().chain(Protocol::DEFAULT).collect());
        return Some(first);
    };
    let nodes = scalar::list(entry, "scrape_protocols: [OpenMetricsText1.0.0]", out)?;
    let mut known = Vec::new();
    for node in nodes {
        let protocol = protocol(node, out)?;
        if known.contains(&protocol) {
            out.error(node.at, format!("`{}` is given twice", protocol.name()), "take one out");
            return None;
        }
        known.push(protocol);
    }
    Some(Some(known))
}

fn protocol(node: &Node, out: &mut Findings) -> Option<Protocol> {
    let written = scalar::text(node, "a format", "PrometheusText0.0.4", out)?;
    let known = Protocol::ALL.into_iter().find(|known| known.name() == written);
    if known.is_none() {
        let names = Protocol::ALL.map(Protocol::name);
        let hint = match nearest(written, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("use one of {}", names.join(", ")),
        };
        out.error(node.at, format!("`{}` is not a format", shown(written)), hint);
    }
    known
}

/// Names may be any text here; a file that wants them narrower would get more than it asks for, so it is told.
fn names_are_utf8(fields: &Fields<'_>, out: &mut Findings) {
    for (key, only) in
        [("metric_name_validation_scheme", "utf8"), ("metric_name_escaping_scheme", "allow-utf-8")]
    {
        let Some(entry) = fields.get(key) else { continue };
        let Some(written) = scalar::text(&entry.value, &format!("`{key}`"), &format!("{key}: {only}"), out)
        else {
            continue;
        };
        if written != only {
            let message = format!("`{key}: {}` is not built yet", shown(written));
            out.error(entry.value.at, message, format!("write `{key}: {only}`, or take it out"));
        }
    }
}

fn job<'n>(
    node: &'n Node,
    global: &Common,
    names: &mut BTreeMap<&'n str, Span>,
    out: &mut Findings,
) -> Option<ScrapeSpec> {
    let fields = Fields::open(node, node.at, &JOB, out)?;
    let name = fields.get("job_name").and_then(|entry| job_name(entry, names, out));
    let common = common(&fields, global.clone(), out);
    let metrics_path = match fields.get("metrics_path") {
        Some(entry) => metrics_path(entry, out),
        None => Some("/metrics".to_owned()),
    };
    let scheme = fields.get("scheme").map_or(Some(Scheme::Http), |entry| scheme(entry, out));
    let mut flag = |key: &str, usual| fields.get(key).map_or(Some(usual), |entry| scalar::flag(entry, out));
    let (honor_labels, honor_timestamps) = (flag("honor_labels", false), flag("honor_timestamps", true));
    let track_timestamps_staleness = flag("track_timestamps_staleness", false);
    let params = fields.get("params").map_or(Some(BTreeMap::new()), |entry| params(entry, out));
    let rules = |key: &str, out: &mut Findings| {
        fields.get(key).map_or(Some(Vec::new()), |entry| relabel::relabel(entry, out))
    };
    let (relabel, metric_relabel) = (rules("relabel_configs", out), rules("metric_relabel_configs", out));
    let fallback = match fields.get("fallback_scrape_protocol") {
        Some(entry) => protocol(&entry.value, out).map(Some),
        None => Some(None),
    };
    let client = client::client(&fields, out);
    let discoveries = discovery::discoveries(&fields, out);
    let has_rules = fields.get("relabel_configs").is_some();
    let targets = match fields.get("static_configs") {
        Some(entry) => static_configs(entry, has_rules, out),
        None => Some(Vec::new()),
    };
    if fields.get("static_configs").is_none()
        && discoveries.as_ref().is_some_and(Vec::is_empty)
        && !fields.disturbed
    {
        let hint = "write `static_configs: [{targets: [\"127.0.0.1:9100\"]}]`, or a discovery";
        out.error(node.at, "a scrape job has nobody to ask", hint);
        return None;
    }
    let common = common?;
    let interval = common.interval.unwrap_or(INTERVAL_DEFAULT);
    Some(ScrapeSpec {
        job: name?,
        targets: targets?,
        discoveries: discoveries?,
        interval,
        timeout: common.timeout.unwrap_or(TIMEOUT_DEFAULT).min(interval),
        metrics_path: metrics_path?,
        scheme: scheme?,
        params: params?,
        relabel: relabel?,
        metric_relabel: metric_relabel?,
        limits: common.limits,
        honor_labels: honor_labels?,
        honor_timestamps: honor_timestamps?,
        track_timestamps_staleness: track_timestamps_staleness?,
        protocols: common.protocols.unwrap_or_else(|| Protocol::DEFAULT.to_vec()),
        fallback: fallback?,
        client: client?,
    })
}

/// Names and lists of values of a query.
fn params(entry: &Entry, out: &mut Findings) -> Option<BTreeMap<String, Vec<String>>> {
    const EXAMPLE: &str = "params: {module: [http_2xx]}";
    let yaml::Value::Map(map) = &entry.value.value else {
        let message = format!("`params` is {}, a map was expected", entry.value.form());
        out.error(entry.value.at, message, format!("write `{EXAMPLE}`"));
        return None;
    };
    let mut params = BTreeMap::new();
    for entry in &map.entries {
        let nodes = scalar::list(entry, EXAMPLE, out)?;
        let values = scalar::each(nodes, |node| {
            let text = scalar::text(node, "a value", EXAMPLE, out)?;
            if text.len() > 8192 || entry.key.len() > 1024 {
                out.error(node.at, "a name or a value of the query is too long", "use at most 8192 bytes");
                return None;
            }
            Some(text.to_owned())
        });
        params.insert(entry.key.clone(), values?);
    }
    Some(params)
}

fn job_name<'n>(entry: &'n Entry, names: &mut BTreeMap<&'n str, Span>, out: &mut Findings) -> Option<String> {
    let name = scalar::text(&entry.value, "a job's name", "job_name: node", out)?;
    if name.chars().count() > 128 || name.trim() != name || name.chars().any(char::is_control) {
        let hint = "use 1 to 128 characters of one line, without blanks at the edges";
        out.error(entry.value.at, format!("`{}` is not a job's name", shown(name)), hint);
        return None;
    }
    if let Some(first) = names.insert(name, entry.value.at) {
        let message = format!("the job `{}` is given twice", shown(name));
        out.error(entry.value.at, message, format!("the first stands in line {}", first.line));
        return None;
    }
    Some(name.to_owned())
}

fn metrics_path(entry: &Entry, out: &mut Findings) -> Option<String> {
    let path = scalar::text(&entry.value, "`metrics_path`", "metrics_path: /metrics", out)?;
    let unfit = |c: char| c.is_whitespace() || c.is_control() || c == '#';
    if !path.starts_with('/') || path.len() > 1024 || path.chars().any(unfit) {
        let hint = "a path starts with `/` and has at most 1024 bytes, none of them blank";
        out.error(entry.value.at, format!("`{}` is not a path", shown(path)), hint);
        return None;
    }
    Some(path.to_owned())
}

fn scheme(entry: &Entry, out: &mut Findings) -> Option<Scheme> {
    let written = scalar::text(&entry.value, "`scheme`", "scheme: http", out)?;
    let known = Scheme::ALL.into_iter().find(|known| known.as_str() == written);
    if known.is_none() {
        let hint = match nearest(written, Scheme::ALL.map(Scheme::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "use `http` or `https`".to_owned(),
        };
        out.error(entry.value.at, format!("`{}` is not a scheme", shown(written)), hint);
    }
    known
}

fn static_configs(entry: &Entry, has_rules: bool, out: &mut Findings) -> Option<Vec<Target>> {
    let nodes = scalar::list(entry, "static_configs: [{targets: [\"127.0.0.1:9100\"]}]", out)?;
    let mut seen = BTreeSet::new();
    let sets = scalar::each(nodes, |node| targets(node, has_rules, &mut seen, out))?;
    Some(sets.concat())
}

fn targets(
    node: &Node,
    has_rules: bool,
    seen: &mut BTreeSet<Target>,
    out: &mut Findings,
) -> Option<Vec<Target>> {
    let fields = Fields::open(node, node.at, &STATIC, out)?;
    let labels = match fields.get("labels") {
        Some(entry) => labels(entry, has_rules, out),
        None => Some(BTreeMap::new()),
    };
    let nodes = scalar::list(fields.get("targets")?, "targets: [\"127.0.0.1:9100\"]", out)?;
    let addresses = scalar::each(nodes, |node| Some((node.at, target_address(node, has_rules, out)?)));
    let labels = labels?;
    let mut targets = Vec::new();
    for (at, address) in addresses? {
        let target = Target { address, labels: labels.clone() };
        if !seen.insert(target.clone()) {
            let hint = "take it out, or give it other `labels`: the two could not be told apart";
            out.error(at, format!("the target `{}` is given twice", target.address), hint);
            return None;
        }
        targets.push(target);
    }
    Some(targets)
}

/// `host:port`, or a host alone; where rules make an address of it, any text.
fn target_address(node: &Node, has_rules: bool, out: &mut Findings) -> Option<String> {
    let written = scalar::text(node, "a target", "127.0.0.1:9100", out)?;
    if has_rules {
        if written.len() > 2048 || written.chars().any(|c| c.is_whitespace() || c.is_control()) {
            out.error(node.at, format!("`{}` is not a target", shown(written)), "use text without blanks");
            return None;
        }
        return Some(written.to_owned());
    }
    if address::is_host_or_ip(written) && !written.contains(':') {
        return Some(written.to_ascii_lowercase());
    }
    address::host_and_port(node, "a target", "127.0.0.1:9100", out)
}

fn labels(entry: &Entry, has_rules: bool, out: &mut Findings) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    let mut sound = true;
    for (name, text, node) in texts(entry, "labels: {service: dmv-photo}", out)? {
        if name == ALLOW_PRIVATE {
            if text.split(',').any(|network| network.trim().parse::<Network>().is_err()) {
                let message = format!("`{}` names no networks", shown(text));
                out.error(node.at, message, "write `__allow_private__: \"10.0.0.0/8, 172.16.0.0/12\"`");
                sound = false;
            }
        } else if has_rules && name.starts_with("__") {
            // What rules look at, and what they may say of a target: `__param_module`, `__metrics_path__`.
        } else if let Some((message, hint)) = label_error(name, text, false) {
            out.error(node.at, message, hint);
            sound = false;
        }
        if name == "service"
            && let Err(error) = ServiceName::new(text)
        {
            let message =
                format!("`{}` is no service's name: these series belong to no service", shown(text));
            out.warning(node.at, message, format!("use {}", error.expected));
        }
        labels.insert(name.to_owned(), text.to_owned());
    }
    sound.then_some(labels)
}
