//! Objects of a Kubernetes cluster, as `kubernetes_sd_configs` of Prometheus has them. They are listed again and again
//! rather than watched: a new pod is seen within fifteen seconds.
//!
//! Source: Kubernetes API reference 1.33; Prometheus documentation, `kubernetes_sd_config`.

use std::path::PathBuf;
use std::sync::Arc;

use hmsops_model::network::Network;
use hmsops_model::scrape::{
    ADDRESS, Auth, Discovery, HttpClient, HttpUrl, KubernetesRole, Scheme, SecretText,
};
use serde_json::Value;

use super::{FOUND_MAX, Found, PAGE_BYTES_MAX, sanitized};
use crate::collect::scrape::client::{Client, Place, Reach};
use crate::collect::scrape::relabel::LabelMap;

/// Where a pod finds what it needs to ask the cluster.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Objects of one page.
const PAGE_OBJECTS: usize = 500;

pub(super) async fn look(discovery: &Discovery, secrets: &Arc<PathBuf>) -> Result<Vec<Found>, String> {
    let Discovery::Kubernetes { role, api_server, client, namespaces, label_selector, field_selector } =
        discovery
    else {
        return Ok(Vec::new());
    };
    let (url, client) = match api_server {
        Some(url) => (url.clone(), Client::new((**client).clone(), Arc::clone(secrets))),
        None => in_cluster(client)?,
    };
    let all = [String::new()];
    let namespaces =
        if namespaces.is_empty() || *role == KubernetesRole::Node { &all[..] } else { namespaces };
    let mut found = Vec::new();
    for namespace in namespaces {
        let selectors = [("labelSelector", label_selector), ("fieldSelector", field_selector)];
        let objects = list(&client, &url, *role, namespace, selectors).await?;
        found.extend(objects.iter().flat_map(|object| targets(*role, object)));
    }
    Ok(found)
}

/// As a pod asks its own cluster.
fn in_cluster(how: &HttpClient) -> Result<(HttpUrl, Client), String> {
    let var = |name: &str| {
        std::env::var(name).map_err(|_| format!("`{name}` is not set: this is no pod; write `api_server`"))
    };
    let (host, port) = (var("KUBERNETES_SERVICE_HOST")?, var("KUBERNETES_SERVICE_PORT")?);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let port = port.parse().map_err(|_| format!("`{port}` is no port"))?;
    let url =
        HttpUrl { scheme: Scheme::Https, host, port, path: "/".into(), allow_private: Vec::<Network>::new() };
    let mut how = how.clone();
    how.auth =
        Some(Auth::Credentials { scheme: "Bearer".into(), credentials: SecretText::File("token".into()) });
    how.tls.ca_file = Some("ca.crt".into());
    Ok((url, Client::new(how, Arc::new(PathBuf::from(ACCOUNT)))))
}

const fn path(role: KubernetesRole) -> (&'static str, &'static str) {
    match role {
        KubernetesRole::Node => ("/api/v1", "nodes"),
        KubernetesRole::Pod => ("/api/v1", "pods"),
        KubernetesRole::Service => ("/api/v1", "services"),
        KubernetesRole::Endpoints => ("/api/v1", "endpoints"),
        KubernetesRole::EndpointSlice => ("/apis/discovery.k8s.io/v1", "endpointslices"),
        KubernetesRole::Ingress => ("/apis/networking.k8s.io/v1", "ingresses"),
    }
}

/// All objects of a kind, page by page.
async fn list(
    client: &Client,
    url: &HttpUrl,
    role: KubernetesRole,
    namespace: &str,
    selectors: [(&str, &Option<String>); 2],
) -> Result<Vec<Value>, String> {
    let (group, kind) = path(role);
    let base = url.path.trim_end_matches('/');
    let base = match namespace {
        "" => format!("{base}{group}/{kind}"),
        name => format!("{base}{group}/namespaces/{}/{kind}", sanitized_path(name)),
    };
    let reach = Reach { is_written: true, allowed: url.allow_private.clone() };
    let (mut objects, mut onward) = (Vec::new(), String::new());
    loop {
        let query = query(&selectors, &onward);
        let place = Place { path: format!("{base}?{query}"), ..Place::from(url) };
        let answer = client.get(&place, &reach, &[], PAGE_BYTES_MAX).await?;
        let mut page: Value = serde_json::from_slice(&answer.bytes)
            .map_err(|error| format!("the cluster's answer can't be read: {error}"))?;
        if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
            objects.extend(items);
        }
        page["metadata"]["continue"].as_str().unwrap_or_default().clone_into(&mut onward);
        if onward.is_empty() || objects.len() > FOUND_MAX {
            return Ok(objects);
        }
    }
}

/// How the next page is asked for.
fn query(selectors: &[(&str, &Option<String>); 2], onward: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &PAGE_OBJECTS.to_string());
    for (name, selector) in selectors {
        if let Some(selector) = selector {
            query.append_pair(name, selector);
        }
    }
    if !onward.is_empty() {
        query.append_pair("continue", onward);
    }
    query.finish()
}

fn sanitized_path(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).collect()
}

/// The targets of one object.
fn targets(role: KubernetesRole, object: &Value) -> Vec<Found> {
    match role {
        KubernetesRole::Node => node(object),
        KubernetesRole::Pod => pod(object),
        KubernetesRole::Service => service(object),
        KubernetesRole::Endpoints => endpoints(object),
        KubernetesRole::EndpointSlice => slice(object),
        KubernetesRole::Ingress => ingress(object),
    }
}

fn text<'o>(object: &'o Value, pointer: &str) -> &'o str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn items<'o>(object: &'o Value, pointer: &str) -> &'o [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Namespace, name, labels and annotations; a node and an object without a namespace have none.
fn common(object: &Value, kind: &str) -> LabelMap {
    let mut labels = LabelMap::from([(
        format!("__meta_kubernetes_{kind}_name"),
        text(object, "/metadata/name").to_owned(),
    )]);
    let namespace = text(object, "/metadata/namespace");
    if !namespace.is_empty() {
        labels.insert("__meta_kubernetes_namespace".into(), namespace.to_owned());
    }
    for (pointer, word) in [("/metadata/labels", "label"), ("/metadata/annotations", "annotation")] {
        for (name, value) in object.pointer(pointer).and_then(Value::as_object).into_iter().flatten() {
            let name = sanitized(name);
            labels.insert(
                format!("__meta_kubernetes_{kind}_{word}_{name}"),
                value.as_str().unwrap_or_default().to_owned(),
            );
            labels.insert(format!("__meta_kubernetes_{kind}_{word}present_{name}"), "true".into());
        }
    }
    labels
}

/// A target; the labels begin with `__meta_kubernetes_` each.
fn target(common: &LabelMap, address: String, more: &[(&str, &str)]) -> Found {
    let mut labels = common.clone();
    for (name, value) in more.iter().filter(|(_, value)| !value.is_empty()) {
        labels.insert(format!("__meta_kubernetes_{name}"), (*value).to_owned());
    }
    labels.insert(ADDRESS.into(), address);
    Found { labels, is_written: true }
}

fn joined(host: &str, port: u64) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn node(object: &Value) -> Vec<Found> {
    let mut labels = common(object, "node");
    let addresses = items(object, "/status/addresses");
    let of = |kind: &str| addresses.iter().find(|address| text(address, "/type") == kind);
    for address in addresses {
        let name = format!("__meta_kubernetes_node_address_{}", sanitized(text(address, "/type")));
        labels.entry(name).or_insert_with(|| text(address, "/address").to_owned());
    }
    let order = ["InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname"];
    let Some(address) = order.iter().find_map(|kind| of(kind)) else { return Vec::new() };
    let port = object.pointer("/status/daemonEndpoints/kubeletEndpoint/Port").and_then(Value::as_u64);
    labels.insert("instance".into(), text(object, "/metadata/name").to_owned());
    let provider = ("node_provider_id", text(object, "/spec/providerID"));
    vec![target(&labels, joined(text(address, "/address"), port.unwrap_or(10250)), &[provider])]
}

fn pod(object: &Value) -> Vec<Found> {
    let ip = text(object, "/status/podIP");
    if ip.is_empty() {
        return Vec::new();
    }
    let labels = pod_labels(object);
    let mut all = Vec::new();
    for (pointer, is_init) in [("/spec/containers", "false"), ("/spec/initContainers", "true")] {
        for container in items(object, pointer) {
            let about = [
                ("pod_container_name", text(container, "/name")),
                ("pod_container_image", text(container, "/image")),
                ("pod_container_init", is_init),
            ];
            let ports = items(container, "/ports");
            if ports.is_empty() {
                all.push(target(
                    &labels,
                    if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() },
                    &about,
                ));
            }
            for port in ports {
                let number = port["containerPort"].as_u64().unwrap_or(0);
                let digits = number.to_string();
                let protocol = Some(text(port, "/protocol")).filter(|text| !text.is_empty()).unwrap_or("TCP");
                let mut about = about.to_vec();
                about.extend([
                    ("pod_container_port_number", digits.as_str()),
                    ("pod_container_port_name", text(port, "/name")),
                    ("pod_container_port_protocol", protocol),
                ]);
                all.push(target(&labels, joined(ip, number), &about));
            }
        }
    }
    all
}

fn pod_labels(object: &Value) -> LabelMap {
    let mut labels = common(object, "pod");
    let conditions = items(object, "/status/conditions");
    let ready = conditions.iter().find(|condition| text(condition, "/type") == "Ready");
    let ready = ready.map_or("unknown".to_owned(), |ready| text(ready, "/status").to_ascii_lowercase());
    let controller = items(object, "/metadata/ownerReferences")
        .iter()
        .find(|owner| owner["controller"] == Value::Bool(true));
    let about = [
        ("pod_ip", text(object, "/status/podIP")),
        ("pod_ready", ready.as_str()),
        ("pod_phase", text(object, "/status/phase")),
        ("pod_node_name", text(object, "/spec/nodeName")),
        ("pod_host_ip", text(object, "/status/hostIP")),
        ("pod_uid", text(object, "/metadata/uid")),
        ("pod_controller_kind", controller.map_or("", |owner| text(owner, "/kind"))),
        ("pod_controller_name", controller.map_or("", |owner| text(owner, "/name"))),
    ];
    for (name, value) in about.into_iter().filter(|(_, value)| !value.is_empty()) {
        labels.insert(format!("__meta_kubernetes_{name}"), value.to_owned());
    }
    labels
}

fn service(object: &Value) -> Vec<Found> {
    let labels = common(object, "service");
    let host = format!("{}.{}.svc", text(object, "/metadata/name"), text(object, "/metadata/namespace"));
    let kind = text(object, "/spec/type");
    let is_external = kind == "ExternalName";
    let about = [
        ("service_type", kind),
        ("service_cluster_ip", if is_external { "" } else { text(object, "/spec/clusterIP") }),
        ("service_loadbalancer_ip", text(object, "/spec/loadBalancerIP")),
        ("service_external_name", text(object, "/spec/externalName")),
    ];
    let ports = items(object, "/spec/ports").iter().map(|port| {
        let number = port["port"].as_u64().unwrap_or(0);
        let digits = number.to_string();
        let mut about = about.to_vec();
        about.extend([
            ("service_port_number", digits.as_str()),
            ("service_port_name", text(port, "/name")),
            ("service_port_protocol", text(port, "/protocol")),
        ]);
        target(&labels, joined(&host, number), &about)
    });
    ports.collect()
}

fn endpoints(object: &Value) -> Vec<Found> {
    let mut labels = common(object, "endpoints");
    labels.insert("__meta_kubernetes_service_name".into(), text(object, "/metadata/name").to_owned());
    let mut all = Vec::new();
    for subset in items(object, "/subsets") {
        for (pointer, ready) in [("/addresses", "true"), ("/notReadyAddresses", "false")] {
            for address in items(subset, pointer) {
                for port in items(subset, "/ports") {
                    let about = [
                        ("endpoint_ready", ready),
                        ("endpoint_port_name", text(port, "/name")),
                        ("endpoint_port_protocol", text(port, "/protocol")),
                        ("endpoint_hostname", text(address, "/hostname")),
                        ("endpoint_node_name", text(address, "/nodeName")),
                        ("endpoint_address_target_kind", text(address, "/targetRef/kind")),
                        ("endpoint_address_target_name", text(address, "/targetRef/name")),
                    ];
                    let number = port["port"].as_u64().unwrap_or(0);
                    all.push(target(&labels, joined(text(address, "/ip"), number), &about));
                }
            }
        }
    }
    all
}

fn slice(object: &Value) -> Vec<Found> {
    let mut labels = common(object, "endpointslice");
    labels.insert(
        "__meta_kubernetes_endpointslice_address_type".into(),
        text(object, "/addressType").to_owned(),
    );
    let service = text(object, "/metadata/labels/kubernetes.io~1service-name");
    labels.insert("__meta_kubernetes_service_name".into(), service.to_owned());
    let flag = |endpoint: &Value, pointer: &str| match endpoint.pointer(pointer) {
        Some(Value::Bool(is_so)) => is_so.to_string(),
        _ => String::new(),
    };
    let mut all = Vec::new();
    for endpoint in items(object, "/endpoints") {
        let (ready, serving) = (flag(endpoint, "/conditions/ready"), flag(endpoint, "/conditions/serving"));
        for address in items(endpoint, "/addresses").iter().filter_map(Value::as_str) {
            for port in items(object, "/ports") {
                let number = port["port"].as_u64().unwrap_or(0);
                let digits = number.to_string();
                let about = [
                    ("endpointslice_port", digits.as_str()),
                    ("endpointslice_port_name", text(port, "/name")),
                    ("endpointslice_port_protocol", text(port, "/protocol")),
                    ("endpointslice_endpoint_conditions_ready", ready.as_str()),
                    ("endpointslice_endpoint_conditions_serving", serving.as_str()),
                    ("endpointslice_endpoint_hostname", text(endpoint, "/hostname")),
                    ("endpointslice_endpoint_node_name", text(endpoint, "/nodeName")),
                    ("endpointslice_address_target_kind", text(endpoint, "/targetRef/kind")),
                    ("endpointslice_address_target_name", text(endpoint, "/targetRef/name")),
                ];
                all.push(target(&labels, joined(address, number), &about));
            }
        }
    }
    all
}

fn ingress(object: &Value) -> Vec<Found> {
    let labels = common(object, "ingress");
    let secured: Vec<&str> = items(object, "/spec/tls")
        .iter()
        .flat_map(|tls| items(tls, "/hosts"))
        .filter_map(Value::as_str)
        .collect();
    let class = text(object, "/spec/ingressClassName");
    let mut all = Vec::new();
    for rule in items(object, "/spec/rules") {
        let host = text(rule, "/host");
        let scheme = if secured.contains(&host) { "https" } else { "http" };
        let paths: Vec<&str> = items(rule, "/http/paths").iter().map(|path| text(path, "/path")).collect();
        let paths = if paths.is_empty() { vec!["/"] } else { paths };
        for path in paths {
            let path = if path.is_empty() { "/" } else { path };
            let about = [
                ("ingress_scheme", scheme),
                ("ingress_host", host),
                ("ingress_path", path),
                ("ingress_class_name", class),
            ];
            all.push(target(&labels, host.to_owned(), &about));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn addresses(found: &[Found]) -> Vec<&str> {
        found.iter().map(|one| one.labels[ADDRESS].as_str()).collect()
    }

    #[test]
    fn a_pod_has_a_target_for_each_port_of_each_container() {
        let object = json!({
            "metadata": {"name": "p", "namespace": "csac", "uid": "u", "labels": {"app.kubernetes.io/name": "portal"},
                         "ownerReferences": [{"kind": "ReplicaSet", "name": "r", "controller": true}]},
            "spec": {"nodeName": "n1", "containers": [
                {"name": "web", "image": "portal:1", "ports": [{"containerPort": 8080, "name": "http"}, {"containerPort": 9100}]},
                {"name": "side", "image": "s:1"}]},
            "status": {"podIP": "10.0.0.4", "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        });
        let found = targets(KubernetesRole::Pod, &object);
        assert_eq!(addresses(&found), ["10.0.0.4:8080", "10.0.0.4:9100", "10.0.0.4"]);
        let labels = &found[0].labels;
        for (name, value) in [
            ("pod_label_app_kubernetes_io_name", "portal"),
            ("pod_labelpresent_app_kubernetes_io_name", "true"),
            ("pod_ready", "true"),
            ("pod_controller_name", "r"),
            ("pod_container_port_name", "http"),
            ("namespace", "csac"),
        ] {
            assert_eq!(labels[&format!("__meta_kubernetes_{name}")], value, "{name}");
        }
        assert!(targets(KubernetesRole::Pod, &json!({})).is_empty(), "it has no address yet");
    }

    #[test]
    fn the_other_roles() {
        let node = json!({"metadata": {"name": "n1"}, "status": {"addresses": [
            {"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "10.0.0.1"}]}});
        assert_eq!(addresses(&targets(KubernetesRole::Node, &node)), ["10.0.0.1:10250"]);
        let service = json!({"metadata": {"name": "s", "namespace": "csac"},
            "spec": {"type": "ClusterIP", "clusterIP": "10.1.0.1", "ports": [{"port": 80, "name": "http", "protocol": "TCP"}]}});
        assert_eq!(addresses(&targets(KubernetesRole::Service, &service)), ["s.csac.svc:80"]);
        let endpoints = json!({"metadata": {"name": "s", "namespace": "csac"}, "subsets": [
            {"addresses": [{"ip": "10.0.0.4"}], "notReadyAddresses": [{"ip": "10.0.0.5"}], "ports": [{"port": 9100}]}]});
        assert_eq!(
            addresses(&targets(KubernetesRole::Endpoints, &endpoints)),
            ["10.0.0.4:9100", "10.0.0.5:9100"]
        );
        let slice = json!({"metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}}, "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.4"], "conditions": {"ready": true}}], "ports": [{"port": 9100}]});
        let found = targets(KubernetesRole::EndpointSlice, &slice);
        assert_eq!(addresses(&found), ["10.0.0.4:9100"]);
        assert_eq!(found[0].labels["__meta_kubernetes_service_name"], "s");
        let ingress = json!({"metadata": {"name": "i"}, "spec": {"tls": [{"hosts": ["a.gov"]}], "rules": [
            {"host": "a.gov", "http": {"paths": [{"path": "/x"}, {}]}}]}});
        let found = targets(KubernetesRole::Ingress, &ingress);
        assert_eq!(found[0].labels["__meta_kubernetes_ingress_scheme"], "https");
        assert_eq!(found[1].labels["__meta_kubernetes_ingress_path"], "/");
    }
}
