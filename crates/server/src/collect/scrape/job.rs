//! A job, ready to be asked: what becomes of a target's labels, and how it is reached.
//!
//! Source: Prometheus documentation, "Configuration", `scrape_config`, and its "Jobs and instances".

use std::path::PathBuf;
use std::sync::Arc;

use hmsops_model::Millis;
use hmsops_model::network::Network;
use hmsops_model::scrape::{
    ADDRESS, ALLOW_PRIVATE, METRICS_PATH, PARAM_PREFIX, SCHEME, SCRAPE_INTERVAL, SCRAPE_TIMEOUT, Scheme,
    ScrapeSpec,
};
use hmsops_promql::duration;

use super::client::{Client, Place, Reach};
use super::relabel::{LabelMap, Rules};

/// Samples of a page whose job sets no limit; some hundred bytes each while it is read.
const SAMPLES_MAX: usize = 300_000;

/// The longest page in bytes: some 150 000 samples.
const PAGE_BYTES_MAX: usize = 16 << 20;

/// A job with its rules compiled.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) spec: ScrapeSpec,
    pub(super) metric_rules: Rules,
    pub(super) client: Client,
    rules: Rules,
}

impl PartialEq for Job {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}

/// What a discovery found, or a file names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    /// With the address, and what is known of it.
    pub(super) labels: LabelMap,
    /// Whether its address stands in a file of this machine, or comes from an engine that we were told to believe: it
    /// may be any, while an address that somebody else gives must be public or allowed.
    pub(super) is_written: bool,
}

/// What a target is known by: two of the same are one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) job: String,
    /// What is asked for: `http://host:port/path`.
    pub(super) url: String,
    /// Put on every sample.
    pub(super) labels: LabelMap,
}

/// A target that is asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    pub(super) key: Key,
    pub(super) job: Arc<Job>,
    pub(super) place: Place,
    pub(super) reach: Reach,
    pub(super) interval: Millis,
    pub(super) timeout: Millis,
    /// Before the rules.
    pub(super) discovered: LabelMap,
    /// Why it is not asked, though it stays a target.
    pub(super) refused: Option<String>,
}

/// What becomes of what was found.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fate {
    /// It is asked.
    Asked(Box<Plan>),
    /// A rule dropped it; with its labels before the rules.
    Dropped(LabelMap),
    /// It cannot be asked; with its labels before the rules.
    Wrong(LabelMap, String),
}

impl Job {
    pub(super) fn new(spec: ScrapeSpec, secrets: Arc<PathBuf>) -> Self {
        Self {
            metric_rules: Rules::new(&spec.metric_relabel),
            rules: Rules::new(&spec.relabel),
            client: Client::new(spec.client.clone(), secrets),
            spec,
        }
    }

    /// Bytes of a page.
    pub(super) fn page_bytes_max(&self) -> usize {
        let limit = self.spec.limits.body_bytes.and_then(|bytes| usize::try_from(bytes).ok());
        limit.unwrap_or(PAGE_BYTES_MAX).min(PAGE_BYTES_MAX)
    }

    /// Samples of a page, before the rules.
    pub(super) fn samples_max(&self) -> usize {
        let limit = self.spec.limits.samples.and_then(|samples| usize::try_from(samples).ok());
        match limit {
            // The rules may drop some.
            Some(limit) if self.metric_rules.is_empty() => limit.min(SAMPLES_MAX),
            _ => SAMPLES_MAX,
        }
    }

    /// What the file itself names.
    pub(super) fn declared(&self) -> impl Iterator<Item = Found> + '_ {
        self.spec.targets.iter().map(|target| {
            let mut labels = target.labels.clone();
            labels.insert(ADDRESS.to_owned(), target.address.clone());
            Found { labels, is_written: true }
        })
    }

    /// What becomes of something that was found.
    pub(super) fn fate(self: &Arc<Self>, found: &Found) -> Fate {
        let before = self.with_defaults(&found.labels);
        let mut labels = before.clone();
        if !self.rules.apply(&mut labels) {
            return Fate::Dropped(before);
        }
        match self.plan(labels, &before, found.is_written) {
            Ok(plan) => Fate::Asked(Box::new(plan)),
            Err(why) => Fate::Wrong(before, why),
        }
    }

    fn with_defaults(&self, found: &LabelMap) -> LabelMap {
        let spec = &self.spec;
        let millis = |span: Millis| duration::format(i64::try_from(span.0).unwrap_or(i64::MAX));
        let usual = [
            ("job", spec.job.clone()),
            (SCRAPE_INTERVAL, millis(spec.interval)),
            (SCRAPE_TIMEOUT, millis(spec.timeout)),
            (METRICS_PATH, spec.metrics_path.clone()),
            (SCHEME, spec.scheme.as_str().to_owned()),
        ];
        let mut labels = found.clone();
        labels.retain(|_, value| !value.is_empty());
        for (name, value) in usual {
            labels.entry(name.to_owned()).or_insert(value);
        }
        for (name, values) in &spec.params {
            if let Some(value) = values.first() {
                labels.entry(format!("{PARAM_PREFIX}{name}")).or_insert_with(|| value.clone());
            }
        }
        labels
    }

    fn plan(
        self: &Arc<Self>,
        mut labels: LabelMap,
        before: &LabelMap,
        is_written: bool,
    ) -> Result<Plan, String> {
        let text = |name: &str| labels.get(name).cloned().unwrap_or_default();
        let address = text(ADDRESS);
        let scheme = Scheme::ALL.into_iter().find(|scheme| scheme.as_str() == text(SCHEME));
        let scheme = scheme.ok_or_else(|| format!("`{}` is neither `http` nor `https`", text(SCHEME)))?;
        let (host, port) = host_and_port(&address, scheme)?;
        let span = |name: &str| {
            let millis = duration::parse(&text(name)).filter(|millis| *millis > 0);
            millis
                .map(|millis| Millis(millis.unsigned_abs()))
                .ok_or_else(|| format!("`{name}` is no span of time: `{}`", text(name)))
        };
        let (interval, timeout) = (span(SCRAPE_INTERVAL)?, span(SCRAPE_TIMEOUT)?);
        if timeout > interval {
            return Err(format!("a time-out of {timeout} is longer than the interval of {interval}"));
        }
        let allowed = text(ALLOW_PRIVATE);
        let networks = allowed.split(',').map(str::trim).filter(|network| !network.is_empty());
        let networks: Result<Vec<Network>, _> = networks.map(str::parse).collect();
        let allowed = networks.map_err(|error| format!("`{ALLOW_PRIVATE}` of `{allowed}` is {error}"))?;
        let path = self.path(&labels);
        labels.retain(|name, _| !name.starts_with("__"));
        labels.entry("instance".to_owned()).or_insert_with(|| address.clone());
        Ok(Plan {
            key: Key {
                job: self.spec.job.clone(),
                url: format!("{}://{address}{path}", scheme.as_str()),
                labels,
            },
            job: Arc::clone(self),
            place: Place { scheme, host, port, path, authority: address },
            reach: Reach { is_written, allowed },
            interval,
            timeout,
            discovered: before.clone(),
            refused: None,
        })
    }

    /// The path with its query: the parameters of the job, of which a label may have changed the first value.
    fn path(&self, labels: &LabelMap) -> String {
        let mut params = self.spec.params.clone();
        for (name, value) in labels {
            let Some(name) = name.strip_prefix(PARAM_PREFIX) else { continue };
            match params.entry(name.to_owned()).or_default().first_mut() {
                Some(first) => value.clone_into(first),
                None => params.entry(name.to_owned()).or_default().push(value.clone()),
            }
        }
        let path = labels.get(METRICS_PATH).map_or("/", String::as_str);
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        if params.is_empty() {
            return path;
        }
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, values) in &params {
            query.extend_pairs(values.iter().map(|value| (name, value)));
        }
        let joint = if path.contains('?') { '&' } else { '?' };
        format!("{path}{joint}{}", query.finish())
    }
}

/// `host:port`, or a host whose port its scheme says.
fn host_and_port(address: &str, scheme: Scheme) -> Result<(String, u16), String> {
    if address.is_empty() {
        return Err("it has no address".into());
    }
    let unfit = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '@' | '?' | '#');
    if address.len() > 300 || address.chars().any(unfit) {
        return Err(format!("`{address:.300}` is not an address"));
    }
    let is_bare_v6 = address.starts_with('[') && address.ends_with(']');
    match address.rsplit_once(':').filter(|_| !is_bare_v6) {
        Some((host, port)) => match port.parse::<u16>() {
            Ok(port) if port > 0 && !host.is_empty() => Ok((host.to_owned(), port)),
            _ => Err(format!("`{address}` is not `host:port`")),
        },
        None => Ok((address.to_owned(), scheme.port())),
    }
}
