//! Whose metrics are fetched, as a person declares it (`ops/scrape/*.yaml`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::Millis;

/// Targets that are asked for their metrics in the same way. A team's services need none: the port `metrics` of a
/// service is found by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrapeSpec {
    /// The job's name, unique; the label `job` of every sample.
    pub job: String,
    /// Who is asked; no address stands twice with the same labels.
    pub targets: Vec<Target>,
    /// Between two scrapes of a target.
    pub interval: Millis,
    /// An answer that has not ended by then is none; at most `interval`.
    pub timeout: Millis,
    /// The path asked for, starting with `/`.
    pub metrics_path: String,
    /// How it is asked for.
    pub scheme: Scheme,
    /// An answer with more samples is refused as a whole; `None`: no limit of the job's own.
    pub sample_limit: Option<u64>,
    /// A label of the target wins over ours of the same name; else it is renamed to `exported_NAME`.
    pub honor_labels: bool,
}

/// The label by which a scrape file allows a name to mean an address that is not public: networks, with commas between
/// them. Labels that begin with `__` never come out, here as with Prometheus.
pub const ALLOW_PRIVATE: &str = "__allow_private__";

/// One address that is asked for its metrics.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    /// `host:port`; the label `instance` of every sample unless `labels` has one.
    pub address: String,
    /// Put on every sample, but for [`ALLOW_PRIVATE`]; `service` names the service that it speaks of.
    pub labels: BTreeMap<String, String>,
}

/// How a target is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// Without TLS.
    #[default]
    Http,
}

impl Scheme {
    /// As it stands before `://`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
        }
    }
}
