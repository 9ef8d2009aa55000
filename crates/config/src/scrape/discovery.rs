//! Where targets are found: `*_sd_configs`.

use std::collections::BTreeMap;

use hmsops_model::Millis;
use hmsops_model::probe::RecordType;
use hmsops_model::scrape::{Discovery, DockerHost, KubernetesRole};

use super::client::{self, url};
use super::shape::{DNS_SD, DOCKER_FILTER, DOCKER_SD, FILE_SD, HTTP_SD, KUBERNETES_SD, NAMESPACES, SELECTOR};
use crate::address;
use crate::diagnostic::{Findings, shown};
use crate::fields::Fields;
use crate::nearest::nearest;
use crate::scalar;
use crate::yaml::{Entry, Node};

/// Names, files, filters of one discovery.
const NAMES_MAX: usize = 1000;

/// The longest of them in bytes.
const NAME_BYTES_MAX: usize = 1024;

/// Between two looks of one discovery.
const REFRESH_BOUNDS: (Millis, Millis) = (Millis::from_secs(1), Millis::from_mins(24 * 60));

/// The port of containers that publish none, as with Prometheus.
const DOCKER_PORT: u16 = 80;

/// Records that name targets.
const RECORDS: [RecordType; 5] =
    [RecordType::Srv, RecordType::A, RecordType::Aaaa, RecordType::Mx, RecordType::Ns];

/// All discoveries of a job, in the order of their keys.
pub(super) fn discoveries(fields: &Fields<'_>, out: &mut Findings) -> Option<Vec<Discovery>> {
    type Read = fn(&Node, &mut Findings) -> Option<Discovery>;
    let known: [(&str, &str, Read); 5] = [
        ("file_sd_configs", "file_sd_configs: [{files: [\"targets/*.json\"]}]", file),
        ("http_sd_configs", "http_sd_configs: [{url: \"http://127.0.0.1:8000/targets\"}]", http),
        ("dns_sd_configs", "dns_sd_configs: [{names: [_metrics._tcp.csac.gov]}]", dns),
        ("docker_sd_configs", "docker_sd_configs: [{host: \"unix:///var/run/docker.sock\"}]", docker),
        ("kubernetes_sd_configs", "kubernetes_sd_configs: [{role: pod}]", kubernetes),
    ];
    let mut all = Some(Vec::new());
    for (key, example, read) in known {
        let Some(entry) = fields.get(key) else { continue };
        let found =
            scalar::list(entry, example, out).and_then(|nodes| scalar::each(nodes, |node| read(node, out)));
        all = all.zip(found).map(|(mut all, found)| {
            all.extend(found);
            all
        });
    }
    all
}

fn refresh(fields: &Fields<'_>, usual: Millis, out: &mut Findings) -> Option<Millis> {
    let (least, most) = REFRESH_BOUNDS;
    fields.get("refresh_interval").map_or(Some(usual), |entry| scalar::span(entry, least, most, out))
}

/// Texts of one line each.
fn lines(entry: &Entry, what: &str, example: &str, out: &mut Findings) -> Option<Vec<String>> {
    let nodes = scalar::list(entry, &format!("{}: [{example}]", entry.key), out)?;
    if nodes.len() > NAMES_MAX {
        out.error(entry.at, format!("{} are more than {NAMES_MAX}", nodes.len()), "take some out");
        return None;
    }
    scalar::each(nodes, |node| {
        let text = scalar::text(node, what, example, out)?;
        if text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
            let hint = format!("use one line of at most {NAME_BYTES_MAX} bytes");
            out.error(node.at, format!("`{}` is not {what}", shown(text)), hint);
            return None;
        }
        Some(text.to_owned())
    })
}

fn file(node: &Node, out: &mut Findings) -> Option<Discovery> {
    let fields = Fields::open(node, node.at, &FILE_SD, out)?;
    let entry = fields.get("files")?;
    let files = lines(entry, "a file of targets", "targets/*.json", out)?;
    for file in &files {
        let name = file.rsplit('/').next().unwrap_or(file);
        let ends = [".json", ".yml", ".yaml"].iter().any(|end| name.ends_with(end));
        let folder = &file[..file.len() - name.len()];
        if !ends || folder.contains('*') || name.matches('*').count() > 1 {
            let hint = "end it with .json, .yml or .yaml; only the last part may have a `*`, and one alone";
            out.error(entry.value.at, format!("`{}` is not a file of targets", shown(file)), hint);
            return None;
        }
    }
    Some(Discovery::File { files, refresh: refresh(&fields, Millis::from_mins(5), out)? })
}

fn http(node: &Node, out: &mut Findings) -> Option<Discovery> {
    let fields = Fields::open(node, node.at, &HTTP_SD, out)?;
    let allowed = fields.get("allow_private").map_or(Some(Vec::new()), |entry| address::networks(entry, out));
    let client = client::client(&fields, out);
    let refresh = refresh(&fields, Millis::from_mins(1), out);
    let url = url(&fields.get("url")?.value, allowed?, out);
    Some(Discovery::Http { url: url?, client: Box::new(client?), refresh: refresh? })
}

fn dns(node: &Node, out: &mut Findings) -> Option<Discovery> {
    let fields = Fields::open(node, node.at, &DNS_SD, out)?;
    let names = lines(fields.get("names")?, "a name", "_metrics._tcp.csac.gov", out);
    let record = fields.get("type").map_or(Some(RecordType::Srv), |entry| {
        let written = scalar::text(&entry.value, "`type`", "type: SRV", out)?;
        one_of(
            entry,
            written,
            "a kind of record that names targets",
            RECORDS.map(|known| (known.name(), known)),
            out,
        )
    });
    let port = port(&fields, out);
    let (record, port) = (record?, port?);
    if port.is_none() && record != RecordType::Srv {
        let message = format!("a record of the kind {} has no port", record.name());
        out.error(node.at, message, "write `port: 9100`");
        return None;
    }
    Some(Discovery::Dns {
        names: names?,
        record,
        port,
        refresh: refresh(&fields, Millis::from_secs(30), out)?,
    })
}

#[expect(
    clippy::option_option,
    reason = "the outer one is a mistake that was told, the inner one that nothing is said"
)]
fn port(fields: &Fields<'_>, out: &mut Findings) -> Option<Option<u16>> {
    match fields.get("port") {
        Some(entry) => scalar::count(entry, 1, 65535, out).map(|port| u16::try_from(port).ok()),
        None => Some(None),
    }
}

/// What one of several words means.
fn one_of<T, const N: usize>(
    entry: &Entry,
    written: &str,
    what: &str,
    known: [(&'static str, T); N],
    out: &mut Findings,
) -> Option<T> {
    let names = known.each_ref().map(|(name, _)| *name);
    let found = known.into_iter().find(|(name, _)| *name == written);
    if found.is_none() {
        let hint = match nearest(written, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("use one of {}", names.join(", ")),
        };
        out.error(entry.value.at, format!("`{}` is not {what}", shown(written)), hint);
    }
    found.map(|(_, meant)| meant)
}

fn docker(node: &Node, out: &mut Findings) -> Option<Discovery> {
    let fields = Fields::open(node, node.at, &DOCKER_SD, out)?;
    let host = fields.get("host").and_then(|entry| docker_host(entry, out));
    let port = port(&fields, out);
    let networking = fields
        .get("host_networking_host")
        .map_or(Some("localhost".to_owned()), |entry| address::host_or_ip(&entry.value, out));
    let first = fields.get("match_first_network").map_or(Some(true), |entry| scalar::flag(entry, out));
    let filters = fields.get("filters").map_or(Some(BTreeMap::new()), |entry| filters(entry, out));
    Some(Discovery::Docker {
        host: host?,
        filters: filters?,
        port: port?.unwrap_or(DOCKER_PORT),
        host_networking_host: networking?,
        match_first_network: first?,
        refresh: refresh(&fields, Millis::from_mins(1), out)?,
    })
}

fn docker_host(entry: &Entry, out: &mut Findings) -> Option<DockerHost> {
    let written = scalar::text(&entry.value, "`host`", "host: \"unix:///var/run/docker.sock\"", out)?;
    if let Some(path) = written.strip_prefix("unix://") {
        if !path.starts_with('/') || path.len() > 100 || path.chars().any(char::is_control) {
            let hint = "write `host: \"unix:///var/run/docker.sock\"`";
            out.error(entry.value.at, format!("`{}` is not a socket", shown(written)), hint);
            return None;
        }
        return Some(DockerHost::Unix(path.to_owned()));
    }
    if let Some(rest) = written.strip_prefix("tcp://") {
        let text = format!("http://{rest}");
        let value = crate::yaml::Value::Scalar { text, plain: false };
        return url(&Node { at: entry.value.at, value }, Vec::new(), out).map(DockerHost::Tcp);
    }
    url(&entry.value, Vec::new(), out).map(DockerHost::Tcp)
}

fn filters(entry: &Entry, out: &mut Findings) -> Option<BTreeMap<String, Vec<String>>> {
    let nodes = scalar::list(entry, "filters: [{name: label, values: [metrics]}]", out)?;
    let read = scalar::each(nodes, |node| {
        let fields = Fields::open(node, node.at, &DOCKER_FILTER, out)?;
        let name = scalar::text(&fields.get("name")?.value, "a filter's name", "label", out)?;
        let values = lines(fields.get("values")?, "a value", "metrics", out)?;
        Some((name.to_owned(), values))
    });
    let mut filters = BTreeMap::<String, Vec<String>>::new();
    for (name, values) in read? {
        filters.entry(name).or_default().extend(values);
    }
    Some(filters)
}

fn kubernetes(node: &Node, out: &mut Findings) -> Option<Discovery> {
    let fields = Fields::open(node, node.at, &KUBERNETES_SD, out)?;
    let entry = fields.get("role")?;
    let role =
        scalar::text(&entry.value, "`role`", "role: pod", out).and_then(|written| role(entry, written, out));
    let allowed = fields.get("allow_private").map_or(Some(Vec::new()), |entry| address::networks(entry, out));
    let api_server = match fields.get("api_server") {
        Some(entry) => url(&entry.value, allowed?, out).map(Some),
        None => Some(None),
    };
    let client = client::client(&fields, out);
    let namespaces = match fields.get("namespaces") {
        Some(entry) => namespaces(entry, out),
        None => Some(Vec::new()),
    };
    let role = role?;
    let (label_selector, field_selector) = match fields.get("selectors") {
        Some(entry) => selector(entry, role, out)?,
        None => (None, None),
    };
    Some(Discovery::Kubernetes {
        role,
        api_server: api_server?,
        client: Box::new(client?),
        namespaces: namespaces?,
        label_selector,
        field_selector,
    })
}

fn role(entry: &Entry, written: &str, out: &mut Findings) -> Option<KubernetesRole> {
    one_of(entry, written, "a role", KubernetesRole::ALL.map(|known| (known.name(), known)), out)
}

fn namespaces(entry: &Entry, out: &mut Findings) -> Option<Vec<String>> {
    let fields = Fields::open(&entry.value, entry.at, &NAMESPACES, out)?;
    fields.get("names").map_or(Some(Vec::new()), |entry| lines(entry, "a namespace", "csac", out))
}

/// What the objects of the discovery's own role are chosen by: labels and fields.
fn selector(
    entry: &Entry,
    of: KubernetesRole,
    out: &mut Findings,
) -> Option<(Option<String>, Option<String>)> {
    let nodes = scalar::list(entry, "selectors: [{role: pod, label: \"app=portal\"}]", out)?;
    let read = scalar::each(nodes, |node| {
        let fields = Fields::open(node, node.at, &SELECTOR, out)?;
        let entry = fields.get("role")?;
        let written = scalar::text(&entry.value, "`role`", "role: pod", out)?;
        let role = role(entry, written, out)?;
        if role != of {
            let message = format!("a selector of the role `{}` has nothing to choose from here", role.name());
            out.error(entry.at, message, format!("write `role: {}`", of.name()));
            return None;
        }
        let mut text = |key: &str| match fields.get(key) {
            Some(entry) => scalar::text(&entry.value, &format!("`{key}`"), "app=portal", out)
                .map(|text| Some(text.to_owned())),
            None => Some(None),
        };
        Some((text("label")?, text("field")?))
    })?;
    let join = |texts: Vec<&String>| {
        (!texts.is_empty()).then(|| texts.into_iter().map(String::as_str).collect::<Vec<_>>().join(","))
    };
    Some((
        join(read.iter().filter_map(|(label, _)| label.as_ref()).collect()),
        join(read.iter().filter_map(|(_, field)| field.as_ref()).collect()),
    ))
}
