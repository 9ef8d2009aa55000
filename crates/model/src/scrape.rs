//! Whose metrics are fetched, as a person declares it (`ops/scrape/*.yaml`).

use std::collections::BTreeMap;

use crate::network::Network;
use crate::probe::RecordType;
use crate::relabel::Relabel;
use crate::secret::Secret;
use crate::time::Millis;

/// Targets that are asked for their metrics in the same way. A team's services need none: the port `metrics` of a
/// service is found by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScrapeSpec {
    /// The job's name, unique; the label `job` of every sample unless the target or a rule says otherwise.
    pub job: String,
    /// Who is asked; no address stands twice with the same labels.
    pub targets: Vec<Target>,
    /// Where more targets are found.
    pub discoveries: Vec<Discovery>,
    /// Between two scrapes of a target.
    pub interval: Millis,
    /// An answer that has not ended by then is none; at most `interval`.
    pub timeout: Millis,
    /// The path asked for, starting with `/`.
    pub metrics_path: String,
    /// How it is asked for.
    pub scheme: Scheme,
    /// What stands after the path's `?`: names and their values.
    pub params: BTreeMap<String, Vec<String>>,
    /// What happens to a target's labels before it is asked.
    pub relabel: Vec<Relabel>,
    /// What happens to a sample's labels before it is stored.
    pub metric_relabel: Vec<Relabel>,
    /// What an answer, and the job, may have at most.
    pub limits: ScrapeLimits,
    /// A label of the target wins over ours of the same name; else it is renamed to `exported_NAME`.
    pub honor_labels: bool,
    /// Times that a page gives its samples hold; else they are of the moment of the scrape.
    pub honor_timestamps: bool,
    /// Series with times of their own end when they are not on the page any more, as others do.
    pub track_timestamps_staleness: bool,
    /// The formats asked for, best first; not empty.
    pub protocols: Vec<Protocol>,
    /// How a page is read that does not say what it is; `None`: not at all.
    pub fallback: Option<Protocol>,
    /// How targets are asked.
    pub client: HttpClient,
}

/// The label by which a scrape file allows a name to mean an address that is not public: networks, with commas between
/// them. Labels that begin with `__` never come out, here as with Prometheus. Only the file gives it, to a target or
/// by a rule: one that a discovery found is dropped.
pub const ALLOW_PRIVATE: &str = "__allow_private__";

/// The label with the address of a target, `host:port` or `host`.
pub const ADDRESS: &str = "__address__";

/// The label with the scheme that a target is asked by.
pub const SCHEME: &str = "__scheme__";

/// The label with the path that a target is asked for.
pub const METRICS_PATH: &str = "__metrics_path__";

/// The label with the span between two scrapes of a target.
pub const SCRAPE_INTERVAL: &str = "__scrape_interval__";

/// The label with the span after which a scrape has failed.
pub const SCRAPE_TIMEOUT: &str = "__scrape_timeout__";

/// Labels that begin so are the first values of `params`.
pub const PARAM_PREFIX: &str = "__param_";

/// Labels that begin so say what a discovery knows of a target.
pub const META_PREFIX: &str = "__meta_";

/// One address that is asked for its metrics.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// `host:port`, or what rules make one of; the label `instance` of every sample unless `labels` has one.
    pub address: String,
    /// Put on every sample, but for those that begin with `__`; `service` names the service that it speaks of.
    pub labels: BTreeMap<String, String>,
}

/// How a target is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Scheme {
    /// Without TLS.
    #[default]
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Http, Self::Https];

    /// As it stands before `://`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port of an address that names none.
    pub const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A format of pages, as `scrape_protocols` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Messages of the Prometheus client model, each after its length; the only one with native histograms.
    PrometheusProto,
    /// Prometheus text 0.0.4.
    PrometheusText0,
    /// Prometheus text 1.0.0: names in quotes.
    PrometheusText1,
    /// OpenMetrics 0.0.1.
    OpenMetrics0,
    /// OpenMetrics 1.0.0.
    OpenMetrics1,
}

impl Protocol {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::PrometheusProto,
        Self::OpenMetrics1,
        Self::OpenMetrics0,
        Self::PrometheusText1,
        Self::PrometheusText0,
    ];

    /// Those that are asked for unless a job says otherwise, as with Prometheus: text, best first.
    pub const DEFAULT: [Self; 4] =
        [Self::OpenMetrics1, Self::OpenMetrics0, Self::PrometheusText1, Self::PrometheusText0];

    /// As `scrape_protocols` writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PrometheusProto => "PrometheusProto",
            Self::PrometheusText0 => "PrometheusText0.0.4",
            Self::PrometheusText1 => "PrometheusText1.0.0",
            Self::OpenMetrics0 => "OpenMetricsText0.0.1",
            Self::OpenMetrics1 => "OpenMetricsText1.0.0",
        }
    }

    /// As an `Accept` header writes it, without its weight.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::PrometheusProto => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
            Self::PrometheusText0 => "text/plain;version=0.0.4",
            Self::PrometheusText1 => "text/plain;version=1.0.0;escaping=allow-utf-8",
            Self::OpenMetrics0 => "application/openmetrics-text;version=0.0.1",
            Self::OpenMetrics1 => "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
        }
    }
}

/// What an answer may have at most; what has more is refused as a whole. `None`: only the tower's own limits hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScrapeLimits {
    /// Bytes of a page, unpacked.
    pub body_bytes: Option<u64>,
    /// Samples that are left after the rules.
    pub samples: Option<u64>,
    /// Labels of a sample, its name among them.
    pub labels: Option<u64>,
    /// Bytes of a label's name.
    pub label_name_bytes: Option<u64>,
    /// Bytes of a label's value.
    pub label_value_bytes: Option<u64>,
    /// Targets of the job that are left after the rules; with more, none is asked.
    pub targets: Option<u64>,
}

/// How somebody is asked over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpClient {
    /// What proves who asks.
    pub auth: Option<Auth>,
    /// Whom to believe.
    pub tls: TlsClient,
    /// More fields of the request.
    pub headers: Vec<(String, SecretText)>,
    /// An answer that points elsewhere is gone after, to the same host.
    pub follow_redirects: bool,
    /// Pages may come packed.
    pub compression: bool,
}

impl Default for HttpClient {
    fn default() -> Self {
        Self {
            auth: None,
            tls: TlsClient::default(),
            headers: Vec::new(),
            follow_redirects: true,
            compression: true,
        }
    }
}

/// What proves who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// A name and a password (RFC 7617).
    Basic {
        /// The name.
        user: String,
        /// The password; `None`: it is empty.
        password: Option<SecretText>,
    },
    /// One text after the scheme's word.
    Credentials {
        /// `Bearer` (RFC 6750), unless another is wanted.
        scheme: String,
        /// The text.
        credentials: SecretText,
    },
}

/// A secret in a scrape file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretText {
    /// Written out.
    Plain(Secret),
    /// In a file below the folder of scrape secrets, by its name there.
    File(String),
}

/// Whom to believe, and who one is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsClient {
    /// File of the authorities, below the folder of scrape secrets; `None`: those that this machine trusts.
    pub ca_file: Option<String>,
    /// Files of the own certificate and its key, below the folder of scrape secrets.
    pub certificate: Option<(String, String)>,
    /// The name that the certificate must have, if not the host's.
    pub server_name: Option<String>,
    /// Any certificate will do.
    pub insecure_skip_verify: bool,
}

/// Where targets are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discovery {
    /// Files with lists of targets.
    File {
        /// Paths; the last part may have `*`. Relative ones start at the scrape file's folder.
        files: Vec<String>,
        /// Between two looks.
        refresh: Millis,
    },
    /// A page with a list of targets.
    Http {
        /// Whom to ask.
        url: HttpUrl,
        /// How.
        client: Box<HttpClient>,
        /// Between two looks.
        refresh: Millis,
    },
    /// Names that mean targets.
    Dns {
        /// The names.
        names: Vec<String>,
        /// What is asked of them: SRV, A, AAAA, MX or NS.
        record: RecordType,
        /// The port, where the record has none.
        port: Option<u16>,
        /// Between two looks.
        refresh: Millis,
    },
    /// Containers of a Docker engine.
    Docker {
        /// Where the engine listens.
        host: DockerHost,
        /// What is asked for: names and values, as the engine's API has them.
        filters: BTreeMap<String, Vec<String>>,
        /// The port of containers that publish none.
        port: u16,
        /// The address of containers in the host's network.
        host_networking_host: String,
        /// Of several networks the first alone counts.
        match_first_network: bool,
        /// Between two looks.
        refresh: Millis,
    },
    /// Objects of a Kubernetes cluster.
    Kubernetes {
        /// What is looked for.
        role: KubernetesRole,
        /// Where the API is; `None`: as a pod finds it.
        api_server: Option<HttpUrl>,
        /// How it is asked.
        client: Box<HttpClient>,
        /// Only in these namespaces; empty: in all.
        namespaces: Vec<String>,
        /// Only those with these labels.
        label_selector: Option<String>,
        /// Only those with these fields.
        field_selector: Option<String>,
    },
}

impl Discovery {
    /// As `scrape_configs` names it.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::File { .. } => "file_sd_configs",
            Self::Http { .. } => "http_sd_configs",
            Self::Dns { .. } => "dns_sd_configs",
            Self::Docker { .. } => "docker_sd_configs",
            Self::Kubernetes { .. } => "kubernetes_sd_configs",
        }
    }
}

/// An address of the web.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpUrl {
    /// With TLS or not.
    pub scheme: Scheme,
    /// A name or an address; IPv6 in brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
    /// With its query, starting with `/`.
    pub path: String,
    /// Networks that are not public in which a name may be.
    pub allow_private: Vec<Network>,
}

impl std::fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}:{}{}", self.scheme.as_str(), self.host, self.port, self.path)
    }
}

/// Where a Docker engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerHost {
    /// A socket of this machine.
    Unix(String),
    /// A port.
    Tcp(HttpUrl),
}

/// What is looked for in a Kubernetes cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KubernetesRole {
    /// Nodes, at their kubelet's port.
    Node,
    /// Pods, each port of each container.
    Pod,
    /// Services, each port.
    Service,
    /// Addresses behind services, as Endpoints.
    Endpoints,
    /// Addresses behind services, as EndpointSlices.
    EndpointSlice,
    /// Ingresses, each path.
    Ingress,
}

impl KubernetesRole {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Node, Self::Pod, Self::Service, Self::Endpoints, Self::EndpointSlice, Self::Ingress];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Pod => "pod",
            Self::Service => "service",
            Self::Endpoints => "endpoints",
            Self::EndpointSlice => "endpointslice",
            Self::Ingress => "ingress",
        }
    }
}
