//! `ops/scrape/*.yaml`, `scrape_configs` of Prometheus → [`ScrapeSpec`]s. What is not built yet is an error, because
//! a file of which half is in force would mislead.

use std::collections::{BTreeMap, BTreeSet};

use hmsops_model::network::Network;
use hmsops_model::scrape::{ALLOW_PRIVATE, Scheme, Target};
use hmsops_model::{Millis, ScrapeSpec, ServiceName};

use crate::address;
use crate::diagnostic::{Checked, Findings, Span, shown};
use crate::fields::{Fields, Key, Shape};
use crate::nearest::nearest;
use crate::rule::label_error;
use crate::rule_file::texts;
use crate::scalar;
use crate::yaml::{self, Entry, Node};

pub(crate) static SCRAPE: Shape = Shape {
    what: "a scrape file",
    keys: &[
        Key::optional("global", "global: {scrape_interval: 15s}"),
        Key::needed(
            "scrape_configs",
            "scrape_configs: [{job_name: node, static_configs: […]}]",
            "the jobs stand below it",
        ),
        Key::later("rule_files"),
        Key::later("scrape_config_files"),
        Key::later("alerting"),
        Key::later("remote_write"),
        Key::later("remote_read"),
        Key::later("storage"),
        Key::later("tracing"),
        Key::later("otlp"),
        Key::later("runtime"),
    ],
};

pub(crate) static GLOBAL: Shape = Shape {
    what: "what holds for all jobs",
    keys: &[
        Key::optional("scrape_interval", "scrape_interval: 15s"),
        Key::optional("scrape_timeout", "scrape_timeout: 10s"),
        Key::later("evaluation_interval"),
        Key::later("external_labels"),
        Key::later("query_log_file"),
        Key::later("rule_query_offset"),
        Key::later("scrape_protocols"),
        Key::later("scrape_failure_log_file"),
        Key::later("body_size_limit"),
        Key::later("sample_limit"),
        Key::later("label_limit"),
        Key::later("label_name_length_limit"),
        Key::later("label_value_length_limit"),
        Key::later("target_limit"),
        Key::later("keep_dropped_targets"),
        Key::later("metric_name_validation_scheme"),
        Key::later("metric_name_escaping_scheme"),
        Key::later("scrape_native_histograms"),
        Key::later("always_scrape_classic_histograms"),
        Key::later("convert_classic_histograms_to_nhcb"),
    ],
};

pub(crate) static JOB: Shape = Shape {
    what: "a scrape job",
    keys: &[
        Key::needed("job_name", "job_name: node", "a job has a name"),
        Key::optional("scrape_interval", "scrape_interval: 15s"),
        Key::optional("scrape_timeout", "scrape_timeout: 10s"),
        Key::optional("metrics_path", "metrics_path: /metrics"),
        Key::optional("scheme", "scheme: http"),
        Key::optional("honor_labels", "honor_labels: false"),
        Key::optional("sample_limit", "sample_limit: 50000"),
        Key::needed(
            "static_configs",
            "static_configs: [{targets: [\"127.0.0.1:9100\"]}]",
            "a job says whom it asks",
        ),
        Key::later("params"),
        Key::later("relabel_configs"),
        Key::later("metric_relabel_configs"),
        Key::later("basic_auth"),
        Key::later("authorization"),
        Key::later("oauth2"),
        Key::later("tls_config"),
        Key::later("http_headers"),
        Key::later("proxy_url"),
        Key::later("proxy_connect_header"),
        Key::later("proxy_from_environment"),
        Key::later("no_proxy"),
        Key::later("follow_redirects"),
        Key::later("enable_http2"),
        Key::later("enable_compression"),
        Key::later("honor_timestamps"),
        Key::later("track_timestamps_staleness"),
        Key::later("scrape_protocols"),
        Key::later("fallback_scrape_protocol"),
        Key::later("scrape_failure_log_file"),
        Key::later("scrape_native_histograms"),
        Key::later("scrape_classic_histograms"),
        Key::later("always_scrape_classic_histograms"),
        Key::later("convert_classic_histograms_to_nhcb"),
        Key::later("native_histogram_bucket_limit"),
        Key::later("native_histogram_min_bucket_factor"),
        Key::later("body_size_limit"),
        Key::later("label_limit"),
        Key::later("label_name_length_limit"),
        Key::later("label_value_length_limit"),
        Key::later("target_limit"),
        Key::later("keep_dropped_targets"),
        Key::later("metric_name_validation_scheme"),
        Key::later("metric_name_escaping_scheme"),
        Key::later("azure_sd_configs"),
        Key::later("consul_sd_configs"),
        Key::later("digitalocean_sd_configs"),
        Key::later("dns_sd_configs"),
        Key::later("docker_sd_configs"),
        Key::later("dockerswarm_sd_configs"),
        Key::later("ec2_sd_configs"),
        Key::later("eureka_sd_configs"),
        Key::later("file_sd_configs"),
        Key::later("gce_sd_configs"),
        Key::later("hetzner_sd_configs"),
        Key::later("http_sd_configs"),
        Key::later("ionos_sd_configs"),
        Key::later("kubernetes_sd_configs"),
        Key::later("kuma_sd_configs"),
        Key::later("lightsail_sd_configs"),
        Key::later("linode_sd_configs"),
        Key::later("marathon_sd_configs"),
        Key::later("nerve_sd_configs"),
        Key::later("nomad_sd_configs"),
        Key::later("openstack_sd_configs"),
        Key::later("ovhcloud_sd_configs"),
        Key::later("puppetdb_sd_configs"),
        Key::later("scaleway_sd_configs"),
        Key::later("serverset_sd_configs"),
        Key::later("stackit_sd_configs"),
        Key::later("triton_sd_configs"),
        Key::later("uyuni_sd_configs"),
        Key::later("vultr_sd_configs"),
    ],
};

pub(crate) static STATIC: Shape = Shape {
    what: "a set of targets",
    keys: &[
        Key::needed("targets", "targets: [\"127.0.0.1:9100\"]", "it says whom to ask"),
        Key::optional("labels", "labels: {service: dmv-photo}"),
    ],
};

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

/// Spans that a file or a job gives.
#[derive(Debug, Clone, Copy, Default)]
struct Spans {
    interval: Option<Millis>,
    timeout: Option<Millis>,
}

fn file(root: &Node, out: &mut Findings) -> Option<Vec<ScrapeSpec>> {
    let fields = Fields::open(root, root.at, &SCRAPE, out)?;
    let global = match fields.get("global") {
        Some(entry) => {
            let fields = Fields::open(&entry.value, entry.at, &GLOBAL, out)?;
            spans(&fields, Spans::default(), out)
        }
        None => Spans::default(),
    };
    let entry = fields.get("scrape_configs")?;
    let nodes = scalar::list(entry, "scrape_configs: [{job_name: node, static_configs: […]}]", out)?;
    if nodes.len() > JOBS_MAX {
        out.error(entry.at, format!("{} jobs are more than {JOBS_MAX}", nodes.len()), "split the file");
        return None;
    }
    let mut names = BTreeMap::new();
    let specs = scalar::each(nodes, |node| job(node, global, &mut names, out))?;
    let targets: usize = specs.iter().map(|spec| spec.targets.len()).sum();
    if targets > TARGETS_MAX {
        out.error(entry.at, format!("{targets} targets are more than {TARGETS_MAX}"), "split the file");
        return None;
    }
    Some(specs)
}

/// Interval and time-out as given here, else as given outside. A time-out longer than its interval is refused where
/// it is written.
fn spans(fields: &Fields<'_>, outer: Spans, out: &mut Findings) -> Spans {
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
    Spans { interval, timeout: timeout.or(outer.timeout) }
}

fn job<'n>(
    node: &'n Node,
    global: Spans,
    names: &mut BTreeMap<&'n str, Span>,
    out: &mut Findings,
) -> Option<ScrapeSpec> {
    let fields = Fields::open(node, node.at, &JOB, out)?;
    let name = fields.get("job_name").and_then(|entry| job_name(entry, names, out));
    let Spans { interval, timeout } = spans(&fields, global, out);
    let interval = interval.unwrap_or(INTERVAL_DEFAULT);
    let metrics_path = match fields.get("metrics_path") {
        Some(entry) => metrics_path(entry, out),
        None => Some("/metrics".to_owned()),
    };
    let scheme = fields.get("scheme").map_or(Some(Scheme::Http), |entry| scheme(entry, out));
    let honor_labels = fields.get("honor_labels").map_or(Some(false), |entry| scalar::flag(entry, out));
    let sample_limit = match fields.get("sample_limit") {
        Some(entry) => {
            scalar::count(entry, 0, u64::from(u32::MAX), out).map(|limit| Some(limit).filter(|n| *n > 0))
        }
        None => Some(None),
    };
    let targets = fields.get("static_configs").and_then(|entry| static_configs(entry, out));
    Some(ScrapeSpec {
        job: name?,
        targets: targets?,
        interval,
        timeout: timeout.unwrap_or(TIMEOUT_DEFAULT).min(interval),
        metrics_path: metrics_path?,
        scheme: scheme?,
        sample_limit: sample_limit?,
        honor_labels: honor_labels?,
    })
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
    match scalar::text(&entry.value, "`scheme`", "scheme: http", out)? {
        "http" => Some(Scheme::Http),
        "https" => {
            let hint = "ask over loopback, or through a proxy that adds TLS";
            out.error(entry.value.at, "scraping over `https` is not built yet", hint);
            None
        }
        other => {
            let hint = match nearest(other, ["http"]) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "use `http`".to_owned(),
            };
            out.error(entry.value.at, format!("`{}` is not a scheme", shown(other)), hint);
            None
        }
    }
}

fn static_configs(entry: &Entry, out: &mut Findings) -> Option<Vec<Target>> {
    let nodes = scalar::list(entry, "static_configs: [{targets: [\"127.0.0.1:9100\"]}]", out)?;
    let mut seen = BTreeSet::new();
    let sets = scalar::each(nodes, |node| targets(node, &mut seen, out))?;
    Some(sets.concat())
}

fn targets(node: &Node, seen: &mut BTreeSet<Target>, out: &mut Findings) -> Option<Vec<Target>> {
    let fields = Fields::open(node, node.at, &STATIC, out)?;
    let labels = match fields.get("labels") {
        Some(entry) => labels(entry, out),
        None => Some(BTreeMap::new()),
    };
    let nodes = scalar::list(fields.get("targets")?, "targets: [\"127.0.0.1:9100\"]", out)?;
    let addresses = scalar::each(nodes, |node| {
        let address = address::host_and_port(node, "a target", "127.0.0.1:9100", out)?;
        Some((node.at, address))
    });
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

fn labels(entry: &Entry, out: &mut Findings) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    let mut sound = true;
    for (name, text, node) in texts(entry, "labels: {service: dmv-photo}", out)? {
        if name == ALLOW_PRIVATE {
            if text.split(',').any(|network| network.trim().parse::<Network>().is_err()) {
                let message = format!("`{}` names no networks", shown(text));
                out.error(node.at, message, "write `__allow_private__: \"10.0.0.0/8, 172.16.0.0/12\"`");
                sound = false;
            }
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
