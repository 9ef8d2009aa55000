//! The keys of scrape files.

use crate::fields::{Key, Shape};

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
        Key::optional("scrape_protocols", "scrape_protocols: [OpenMetricsText1.0.0]"),
        Key::optional("scrape_native_histograms", "scrape_native_histograms: true"),
        Key::optional("body_size_limit", "body_size_limit: 10MB"),
        Key::optional("sample_limit", "sample_limit: 50000"),
        Key::optional("label_limit", "label_limit: 30"),
        Key::optional("label_name_length_limit", "label_name_length_limit: 128"),
        Key::optional("label_value_length_limit", "label_value_length_limit: 1024"),
        Key::optional("target_limit", "target_limit: 1000"),
        Key::optional("keep_dropped_targets", "keep_dropped_targets: 0"),
        Key::optional("metric_name_validation_scheme", "metric_name_validation_scheme: utf8"),
        Key::optional("metric_name_escaping_scheme", "metric_name_escaping_scheme: allow-utf-8"),
        Key::later("evaluation_interval"),
        Key::later("external_labels"),
        Key::later("query_log_file"),
        Key::later("rule_query_offset"),
        Key::later("scrape_failure_log_file"),
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
        Key::optional("params", "params: {module: [http_2xx]}"),
        Key::optional("honor_labels", "honor_labels: false"),
        Key::optional("honor_timestamps", "honor_timestamps: true"),
        Key::optional("track_timestamps_staleness", "track_timestamps_staleness: false"),
        Key::optional("static_configs", "static_configs: [{targets: [\"127.0.0.1:9100\"]}]"),
        Key::optional("file_sd_configs", "file_sd_configs: [{files: [\"targets/*.json\"]}]"),
        Key::optional("http_sd_configs", "http_sd_configs: [{url: \"http://127.0.0.1:8000/targets\"}]"),
        Key::optional("dns_sd_configs", "dns_sd_configs: [{names: [_metrics._tcp.csac.gov]}]"),
        Key::optional("docker_sd_configs", "docker_sd_configs: [{host: \"unix:///var/run/docker.sock\"}]"),
        Key::optional("kubernetes_sd_configs", "kubernetes_sd_configs: [{role: pod}]"),
        Key::optional("relabel_configs", "relabel_configs: [{action: labeldrop, regex: pod_uid}]"),
        Key::optional("metric_relabel_configs", "metric_relabel_configs: [{action: labeldrop, regex: uid}]"),
        Key::optional("body_size_limit", "body_size_limit: 10MB"),
        Key::optional("sample_limit", "sample_limit: 50000"),
        Key::optional("label_limit", "label_limit: 30"),
        Key::optional("label_name_length_limit", "label_name_length_limit: 128"),
        Key::optional("label_value_length_limit", "label_value_length_limit: 1024"),
        Key::optional("target_limit", "target_limit: 1000"),
        Key::optional("scrape_protocols", "scrape_protocols: [PrometheusProto, OpenMetricsText1.0.0]"),
        Key::optional("fallback_scrape_protocol", "fallback_scrape_protocol: PrometheusText0.0.4"),
        Key::optional("scrape_native_histograms", "scrape_native_histograms: true"),
        Key::optional("keep_dropped_targets", "keep_dropped_targets: 0"),
        Key::optional("metric_name_validation_scheme", "metric_name_validation_scheme: utf8"),
        Key::optional("metric_name_escaping_scheme", "metric_name_escaping_scheme: allow-utf-8"),
        Key::optional("basic_auth", "basic_auth: {username: prom, password_file: node.password}"),
        Key::optional("authorization", "authorization: {credentials_file: node.token}"),
        Key::optional("tls_config", "tls_config: {ca_file: node-ca.pem}"),
        Key::optional("http_headers", "http_headers: {X-Tenant: {values: [csac]}}"),
        Key::optional("follow_redirects", "follow_redirects: true"),
        Key::optional("enable_http2", "enable_http2: true"),
        Key::optional("enable_compression", "enable_compression: true"),
        Key::later("oauth2"),
        Key::later("proxy_url"),
        Key::later("proxy_connect_header"),
        Key::later("proxy_from_environment"),
        Key::later("no_proxy"),
        Key::later("scrape_failure_log_file"),
        Key::later("scrape_classic_histograms"),
        Key::later("always_scrape_classic_histograms"),
        Key::later("convert_classic_histograms_to_nhcb"),
        Key::later("native_histogram_bucket_limit"),
        Key::later("native_histogram_min_bucket_factor"),
        Key::later("azure_sd_configs"),
        Key::later("consul_sd_configs"),
        Key::later("digitalocean_sd_configs"),
        Key::later("dockerswarm_sd_configs"),
        Key::later("ec2_sd_configs"),
        Key::later("eureka_sd_configs"),
        Key::later("gce_sd_configs"),
        Key::later("hetzner_sd_configs"),
        Key::later("ionos_sd_configs"),
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

pub(crate) static RELABEL: Shape = Shape {
    what: "a rule for labels",
    keys: &[
        Key::optional("source_labels", "source_labels: [__meta_docker_container_name]"),
        Key::optional("separator", "separator: \";\""),
        Key::optional("regex", "regex: \"(.*)\""),
        Key::optional("modulus", "modulus: 4"),
        Key::optional("target_label", "target_label: instance"),
        Key::optional("replacement", "replacement: \"$1\""),
        Key::optional("action", "action: replace"),
    ],
};

pub(crate) static FILE_SD: Shape = Shape {
    what: "a discovery by files",
    keys: &[
        Key::needed("files", "files: [\"targets/*.json\"]", "it says which files"),
        Key::optional("refresh_interval", "refresh_interval: 5m"),
    ],
};

pub(crate) static HTTP_SD: Shape = Shape {
    what: "a discovery by HTTP",
    keys: &[
        Key::needed("url", "url: \"http://127.0.0.1:8000/targets\"", "it says whom to ask"),
        Key::optional("refresh_interval", "refresh_interval: 60s"),
        Key::optional("allow_private", "allow_private: [10.0.0.0/8]"),
        Key::optional("basic_auth", "basic_auth: {username: prom, password_file: node.password}"),
        Key::optional("authorization", "authorization: {credentials_file: node.token}"),
        Key::optional("tls_config", "tls_config: {ca_file: node-ca.pem}"),
        Key::optional("http_headers", "http_headers: {X-Tenant: {values: [csac]}}"),
        Key::optional("follow_redirects", "follow_redirects: true"),
        Key::optional("enable_http2", "enable_http2: true"),
        Key::later("oauth2"),
        Key::later("proxy_url"),
        Key::later("proxy_connect_header"),
        Key::later("proxy_from_environment"),
        Key::later("no_proxy"),
    ],
};

pub(crate) static DNS_SD: Shape = Shape {
    what: "a discovery by DNS",
    keys: &[
        Key::needed("names", "names: [_metrics._tcp.csac.gov]", "it says which names"),
        Key::optional("type", "type: SRV"),
        Key::optional("port", "port: 9100"),
        Key::optional("refresh_interval", "refresh_interval: 30s"),
    ],
};

pub(crate) static DOCKER_SD: Shape = Shape {
    what: "a discovery by Docker",
    keys: &[
        Key::needed("host", "host: \"unix:///var/run/docker.sock\"", "it says where the engine listens"),
        Key::optional("port", "port: 80"),
        Key::optional("host_networking_host", "host_networking_host: localhost"),
        Key::optional("match_first_network", "match_first_network: true"),
        Key::optional("filters", "filters: [{name: label, values: [metrics]}]"),
        Key::optional("refresh_interval", "refresh_interval: 60s"),
    ],
};

pub(crate) static DOCKER_FILTER: Shape = Shape {
    what: "a filter",
    keys: &[
        Key::needed("name", "name: label", "it has a name"),
        Key::needed("values", "values: [metrics]", "it has values"),
    ],
};

pub(crate) static KUBERNETES_SD: Shape = Shape {
    what: "a discovery by Kubernetes",
    keys: &[
        Key::needed("role", "role: pod", "it says what to look for"),
        Key::optional("api_server", "api_server: \"https://10.0.0.1:6443\""),
        Key::optional("allow_private", "allow_private: [10.0.0.0/8]"),
        Key::optional("namespaces", "namespaces: {names: [csac]}"),
        Key::optional("selectors", "selectors: [{role: pod, label: \"app=portal\"}]"),
        Key::optional("basic_auth", "basic_auth: {username: prom, password_file: node.password}"),
        Key::optional("authorization", "authorization: {credentials_file: node.token}"),
        Key::optional("tls_config", "tls_config: {ca_file: node-ca.pem}"),
        Key::optional("http_headers", "http_headers: {X-Tenant: {values: [csac]}}"),
        Key::optional("follow_redirects", "follow_redirects: true"),
        Key::optional("enable_http2", "enable_http2: true"),
        Key::later("kubeconfig_file"),
        Key::later("attach_metadata"),
        Key::later("oauth2"),
        Key::later("proxy_url"),
        Key::later("proxy_connect_header"),
        Key::later("proxy_from_environment"),
        Key::later("no_proxy"),
    ],
};

pub(crate) static NAMESPACES: Shape = Shape {
    what: "the namespaces",
    keys: &[Key::optional("names", "names: [csac]"), Key::later("own_namespace")],
};

pub(crate) static SELECTOR: Shape = Shape {
    what: "a selector",
    keys: &[
        Key::needed("role", "role: pod", "it says of what"),
        Key::optional("label", "label: \"app=portal\""),
        Key::optional("field", "field: \"spec.nodeName=n1\""),
    ],
};

pub(crate) static BASIC_AUTH: Shape = Shape {
    what: "a name with a password",
    keys: &[
        Key::needed("username", "username: prom", "it has a name"),
        Key::optional("password", "password: \"…\""),
        Key::optional("password_file", "password_file: node.password"),
        Key::later("username_file"),
        Key::later("username_ref"),
        Key::later("password_ref"),
    ],
};

pub(crate) static AUTHORIZATION: Shape = Shape {
    what: "a proof of who asks",
    keys: &[
        Key::optional("type", "type: Bearer"),
        Key::optional("credentials", "credentials: \"…\""),
        Key::optional("credentials_file", "credentials_file: node.token"),
        Key::later("credentials_ref"),
    ],
};

pub(crate) static TLS: Shape = Shape {
    what: "the settings of TLS",
    keys: &[
        Key::optional("ca_file", "ca_file: node-ca.pem"),
        Key::optional("cert_file", "cert_file: scraper.pem"),
        Key::optional("key_file", "key_file: scraper.key"),
        Key::optional("server_name", "server_name: node.csac.gov"),
        Key::optional("insecure_skip_verify", "insecure_skip_verify: false"),
        Key::later("ca"),
        Key::later("cert"),
        Key::later("key"),
        Key::later("ca_ref"),
        Key::later("cert_ref"),
        Key::later("key_ref"),
        Key::later("min_version"),
        Key::later("max_version"),
    ],
};

pub(crate) static HEADER: Shape = Shape {
    what: "a field of the request",
    keys: &[
        Key::optional("values", "values: [csac]"),
        Key::optional("secrets", "secrets: [\"…\"]"),
        Key::optional("files", "files: [tenant.header]"),
    ],
};
