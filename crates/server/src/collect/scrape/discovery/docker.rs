//! Containers of a Docker engine, as `docker_sd_configs` of Prometheus has them.
//!
//! Source: Docker Engine API 1.41, `GET /containers/json` and `GET /networks`.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use hmsops_model::scrape::{ADDRESS, Discovery, DockerHost, HttpClient};
use serde::Deserialize;

use super::{Found, PAGE_BYTES_MAX, sanitized};
use crate::collect::scrape::client::{Client, Place, Reach, get_local};
use crate::collect::scrape::relabel::LabelMap;

/// Containers share the host's network, or another's: they have no address of their own.
const NO_NETWORK: [&str; 2] = ["host", "none"];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    ports: Vec<Port>,
    #[serde(default)]
    host_config: HostConfig,
    #[serde(default)]
    network_settings: NetworkSettings,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Port {
    #[serde(rename = "IP", default)]
    ip: String,
    #[serde(rename = "PrivatePort", default)]
    inside: u16,
    /// 0: it is not published.
    #[serde(rename = "PublicPort", default)]
    outside: u16,
    #[serde(rename = "Type", default)]
    kind: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    network_mode: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    networks: Option<BTreeMap<String, Attachment>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Attachment {
    #[serde(rename = "NetworkID")]
    network: String,
    #[serde(rename = "IPAddress")]
    address: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Network {
    id: String,
    name: String,
    scope: String,
    internal: bool,
    ingress: bool,
    labels: Option<BTreeMap<String, String>>,
}

pub(super) async fn look(discovery: &Discovery, secrets: &Arc<PathBuf>) -> Result<Vec<Found>, String> {
    let Discovery::Docker { host, filters, port, host_networking_host, match_first_network, .. } = discovery
    else {
        return Ok(Vec::new());
    };
    let filters = serde_json::to_string(filters).map_err(|error| error.to_string())?;
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("filters", &filters).finish();
    let containers: Vec<Container> = ask(host, &format!("/containers/json?{query}"), secrets).await?;
    let networks: Vec<Network> = ask(host, "/networks", secrets).await?;
    let networks: BTreeMap<String, Network> =
        networks.into_iter().map(|network| (network.id.clone(), network)).collect();
    let ways = Ways { port: *port, host: host_networking_host, is_first_only: *match_first_network };
    Ok(targets(&containers, &networks, &ways))
}

async fn ask<T: serde::de::DeserializeOwned>(
    host: &DockerHost,
    path: &str,
    secrets: &Arc<PathBuf>,
) -> Result<T, String> {
    let bytes = match host {
        DockerHost::Unix(socket) => get_local(socket, path, PAGE_BYTES_MAX).await?,
        DockerHost::Tcp(url) => {
            let place = Place { path: path.to_owned(), ..Place::from(url) };
            let reach = Reach { is_written: true, allowed: url.allow_private.clone() };
            let client = Client::new(HttpClient::default(), Arc::clone(secrets));
            client.get(&place, &reach, &[], PAGE_BYTES_MAX).await?.bytes
        }
    };
    serde_json::from_slice(&bytes).map_err(|error| format!("the engine's answer can't be read: {error}"))
}

/// What is said of containers whose own words do not suffice.
struct Ways<'d> {
    port: u16,
    host: &'d str,
    is_first_only: bool,
}

fn targets(containers: &[Container], networks: &BTreeMap<String, Network>, ways: &Ways<'_>) -> Vec<Found> {
    let by_id: HashMap<&str, &Container> = containers.iter().map(|one| (one.id.as_str(), one)).collect();
    let mut all = Vec::new();
    for container in containers.iter().filter(|container| !container.names.is_empty()) {
        let mode = &container.host_config.network_mode;
        let common = common(container);
        let owner = mode.strip_prefix("container:").and_then(|id| by_id.get(id)).unwrap_or(&container);
        let attached = owner.network_settings.networks.clone().unwrap_or_default();
        let attached =
            attached.iter().filter(|(name, _)| mode == "host" || !NO_NETWORK.contains(&name.as_str()));
        let count = if ways.is_first_only { 1 } else { usize::MAX };
        for (_, attachment) in attached.take(count) {
            let mut labels = common.clone();
            network_labels(&mut labels, attachment, networks);
            let mut found = false;
            for port in container.ports.iter().filter(|port| port.kind == "tcp") {
                let mut labels = labels.clone();
                labels.insert("__meta_docker_port_private".into(), port.inside.to_string());
                if port.outside > 0 {
                    labels.insert("__meta_docker_port_public".into(), port.outside.to_string());
                    labels.insert("__meta_docker_port_public_ip".into(), port.ip.clone());
                }
                labels.insert(ADDRESS.into(), joined(&attachment.address, port.inside));
                all.push(Found { labels, is_written: true });
                found = true;
            }
            if !found {
                let host = if mode == "host" { ways.host } else { attachment.address.as_str() };
                let port = if mode == "host" && host.contains(':') { 0 } else { ways.port };
                let address = if port == 0 { host.to_owned() } else { joined(host, port) };
                labels.insert(ADDRESS.into(), address);
                all.push(Found { labels, is_written: true });
            }
        }
    }
    all
}

fn common(container: &Container) -> LabelMap {
    let mut labels = LabelMap::from([
        ("__meta_docker_container_id".to_owned(), container.id.clone()),
        ("__meta_docker_container_name".to_owned(), container.names[0].clone()),
        ("__meta_docker_container_network_mode".to_owned(), container.host_config.network_mode.clone()),
    ]);
    for (name, value) in container.labels.iter().flatten() {
        labels.insert(format!("__meta_docker_container_label_{}", sanitized(name)), value.clone());
    }
    labels
}

fn network_labels(labels: &mut LabelMap, attachment: &Attachment, networks: &BTreeMap<String, Network>) {
    labels.insert("__meta_docker_network_ip".into(), attachment.address.clone());
    let Some(network) = networks.get(&attachment.network) else { return };
    let pairs = [
        ("id", network.id.clone()),
        ("name", network.name.clone()),
        ("scope", network.scope.clone()),
        ("internal", network.internal.to_string()),
        ("ingress", network.ingress.to_string()),
    ];
    labels.extend(pairs.map(|(name, value)| (format!("__meta_docker_network_{name}"), value)));
    for (name, value) in network.labels.iter().flatten() {
        labels.insert(format!("__meta_docker_network_label_{}", sanitized(name)), value.clone());
    }
}

fn joined(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTAINERS: &str = r#"[
      {"Id": "c1", "Names": ["/portal"], "Labels": {"com.docker.compose.service": "portal"},
       "Ports": [{"PrivatePort": 9100, "PublicPort": 19100, "IP": "0.0.0.0", "Type": "tcp"}, {"PrivatePort": 53, "Type": "udp"}],
       "HostConfig": {"NetworkMode": "csac_default"},
       "NetworkSettings": {"Networks": {"csac_default": {"NetworkID": "n1", "IPAddress": "172.18.0.2"},
                                        "z": {"NetworkID": "n2", "IPAddress": "172.19.0.2"}}}},
      {"Id": "c2", "Names": ["/hosted"], "Ports": [], "HostConfig": {"NetworkMode": "host"},
       "NetworkSettings": {"Networks": {"host": {"NetworkID": "n0", "IPAddress": ""}}}},
      {"Id": "c3", "Names": ["/shared"], "Ports": [], "HostConfig": {"NetworkMode": "container:c1"},
       "NetworkSettings": {"Networks": {}}},
      {"Id": "c4", "Names": ["/alone"], "Ports": null, "HostConfig": {"NetworkMode": "none"},
       "NetworkSettings": {"Networks": {"none": {"NetworkID": "n9", "IPAddress": ""}}}}]"#;

    #[test]
    fn ports_and_networks_of_containers_become_targets() {
        let text = CONTAINERS.replace("\"Ports\": null", "\"Ports\": []");
        let containers: Vec<Container> = serde_json::from_str(&text).unwrap();
        let network: Network =
            serde_json::from_str(r#"{"Id": "n1", "Name": "csac_default", "Scope": "local"}"#).unwrap();
        let networks = BTreeMap::from([("n1".to_owned(), network)]);
        let mut ways = Ways { port: 80, host: "localhost", is_first_only: true };
        let addresses = |ways: &Ways<'_>| -> Vec<String> {
            targets(&containers, &networks, ways).iter().map(|found| found.labels[ADDRESS].clone()).collect()
        };
        assert_eq!(addresses(&ways), ["172.18.0.2:9100", "localhost:80", "172.18.0.2:80"]);
        ways.is_first_only = false;
        assert_eq!(addresses(&ways).len(), 5);
        let labels = &targets(&containers, &networks, &ways)[0].labels;
        assert_eq!(labels["__meta_docker_container_label_com_docker_compose_service"], "portal");
        assert_eq!(labels["__meta_docker_network_name"], "csac_default");
        assert_eq!(labels["__meta_docker_port_public"], "19100");
    }
}
