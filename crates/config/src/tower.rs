//! How the tower is set up (`hmsops.yaml`): what its settings are, and what an empty file means.

use std::collections::BTreeMap;
use std::net::SocketAddr;

pub use hmsops_model::SecretRef;
use hmsops_model::freeze::Freeze;
use hmsops_model::gateway::GatewaySettings;
use hmsops_model::network::Network;
use hmsops_model::person::{FourEyes, Role};
use hmsops_model::{Millis, ServiceName};

/// How the tower is set up; the default is what an empty file means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TowerConfig {
    /// Gateways by name.
    pub gateways: BTreeMap<String, GatewayConfig>,
    /// What teams keep in git, besides `--repo`.
    pub repos: Vec<RepoConfig>,
    /// What may be healed without a person.
    pub heal: HealConfig,
    /// When no release begins or goes further.
    pub freeze: Vec<Freeze>,
    /// Decide and record what would have been done, do nothing.
    pub observe_only: bool,
    /// How long things are kept.
    pub retention: RetentionConfig,
    /// The metric store.
    pub metrics: MetricsConfig,
    /// How people and their tools are told.
    pub notify: NotifyConfig,
    /// How people log in, and what they are here.
    pub people: PeopleConfig,
    /// The system this tower watches.
    pub system: SystemConfig,
    /// The public status page's heading.
    pub status_title: Option<String>,
    /// TLS of the tower's own listeners beyond loopback.
    pub tls: TlsConfig,
    /// Why clear text is right for the tower's own listeners beyond loopback; goes to the ledger.
    pub plain: Option<String>,
}

/// TLS of the tower's own listeners: without files the tower is its own authority.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsConfig {
    /// Certificate and key, PEM files; relative ones to the folder of `hmsops.yaml`.
    pub files: Option<(String, String)>,
    /// Names and addresses for a certificate of the own authority, besides those of the machine.
    pub names: Vec<String>,
}

/// A gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayConfig {
    /// The address; beyond loopback only with TLS or `plain`.
    pub listen: SocketAddr,
    /// Why plain HTTP is right beyond loopback; goes to the ledger.
    pub plain: Option<String>,
    /// What it is set up with; files as they are written, relative ones to the folder of `hmsops.yaml`.
    pub settings: GatewaySettings,
}

/// A folder or a git repository that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoConfig {
    /// Where it is.
    pub source: RepoSource,
    /// The services it may declare; empty: any.
    pub services: Vec<ServiceName>,
}

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepoSource {
    /// A folder on this machine.
    Dir(String),
    /// A git remote and its branch (`main` by default). Read but not acted on yet.
    Url {
        /// The remote.
        url: String,
        /// The branch.
        branch: String,
    },
}

/// What may be healed without a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealConfig {
    /// Rollbacks; `auto` by default.
    pub rollback: HealMode,
    /// Restarts; `auto` by default.
    pub restart: HealMode,
    /// Everything else; `approve` by default.
    pub other: HealMode,
}

/// Who decides about a heal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealMode {
    /// The tower.
    Auto,
    /// A person, each time. Not built yet: to be treated as `Off`.
    Approve,
    /// Nobody: it is not done, and a person is told.
    Off,
}

/// How long things are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Metrics; 400 days by default.
    pub metrics: Millis,
    /// Logs; 180 days by default.
    pub logs: Millis,
    /// Traces; 14 days by default.
    pub traces: Millis,
    /// The ledger; 1095 days by default.
    pub audit: Millis,
}

/// The metric store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Series that may be written to at one time, 1 000 to 100 000 000, 1 000 000 by default; more are refused and
    /// those known keep flowing.
    pub series_max: u64,
    /// How much older than the newest sample of its series a float or histogram may be, 0 to one day, 1 h by
    /// default; older ones are refused. Tallies are taken in any order.
    pub out_of_order_window: Millis,
    /// The folder of the secrets that scrape files name; relative ones start at the folder of hmsops.yaml. `None`:
    /// `scrape-secrets` below the data folder.
    pub scrape_secrets: Option<String>,
    /// How far before the moment of an evaluation queries of rules look, for groups that do not say it; 0 to an hour,
    /// 0 by default.
    pub rule_query_offset: Millis,
    /// How far back recording rules are made up for that were not evaluated while the tower was down; 0 to a day, an
    /// hour by default.
    pub rule_backfill: Millis,
}

/// How people and their tools are told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NotifyConfig {
    /// The mail server; `None`: no mail goes out.
    pub mail: Option<MailConfig>,
    /// Receivers by name, as `notify:` of a rule names them.
    pub webhooks: BTreeMap<String, WebhookConfig>,
}

/// A mail server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailConfig {
    /// `host:port`, in lower case.
    pub server: String,
    /// The sender's address.
    pub from: String,
    /// How it is protected.
    pub tls: MailTls,
    /// The name to log in with; there is one exactly when there is a password.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<SecretRef>,
    /// A file with the authority's certificates (PEM); `None`: those of the system.
    pub ca: Option<String>,
}

/// How mail on its way to the server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MailTls {
    /// STARTTLS, or nothing is sent (RFC 3207).
    #[default]
    Required,
    /// TLS from the first byte (RFC 8314).
    Implicit,
    /// In clear; servers on loopback only.
    None,
}

/// A receiver that is posted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookConfig {
    /// `https://…`; `http://…` on loopback only.
    pub url: String,
    /// What is sent is signed with each; 1 to 4.
    pub secrets: Vec<SecretRef>,
    /// Networks that are not public in which the receiver may be.
    pub allow_private: Vec<Network>,
    /// A file with the authority's certificates (PEM); `None`: those of the system.
    pub ca: Option<String>,
}

/// How people log in, and what they are here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeopleConfig {
    /// The provider; `None`: only accounts that the tower keeps itself.
    pub oidc: Option<OidcConfig>,
    /// What members of the provider's groups are here. Who is in none of them is not let in.
    pub roles: BTreeMap<String, Vec<Role>>,
    /// What takes another person's word.
    pub four_eyes: Vec<FourEyes>,
    /// Who is told when somebody breaks the glass; nobody: the owners of all services.
    pub notify: Vec<String>,
}

/// An OpenID provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcConfig {
    /// `https://…`, exactly as the provider names itself; `http://…` on loopback only.
    pub issuer: String,
    /// Our name there.
    pub client_id: String,
    /// Our secret there; `None`: a public client, by PKCE alone.
    pub client_secret: Option<SecretRef>,
    /// Where browsers come back to: the tower's own `/login/oidc/callback`, as the provider knows it.
    pub callback: String,
    /// The claim of the ID token that lists groups; `groups` unless it is said.
    pub groups_claim: String,
    /// What is asked for beside `openid`; `profile` unless it is said.
    pub scopes: Vec<String>,
    /// A file with the authority's certificates (PEM); `None`: those of the system.
    pub ca: Option<String>,
}

/// The system, as its security plan names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SystemConfig {
    /// Its name.
    pub name: Option<String>,
    /// Its impact level (FIPS 199).
    pub impact: Option<Impact>,
}

/// Impact levels of FIPS 199.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impact {
    /// `low`
    Low,
    /// `moderate`
    Moderate,
    /// `high`
    High,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            series_max: SERIES_MAX_DEFAULT,
            out_of_order_window: OUT_OF_ORDER_DEFAULT,
            scrape_secrets: None,
            rule_query_offset: Millis::ZERO,
            rule_backfill: Millis::from_mins(60),
        }
    }
}

/// A sender with several queues has a batch in each when we are away; when we are back, the first that tries again goes on
/// with what came since, and the others come as late as we were away (vmagent does so). OTLP has no order at all.
const OUT_OF_ORDER_DEFAULT: Millis = Millis::from_mins(60);

/// Series of one tower unless said otherwise: a hundred services with ten thousand each, some gigabytes of memory.
const SERIES_MAX_DEFAULT: u64 = 1_000_000;

pub(crate) const fn days(days: u64) -> Millis {
    Millis::from_mins(days * 24 * 60)
}

impl Default for TowerConfig {
    fn default() -> Self {
        Self {
            gateways: BTreeMap::new(),
            repos: Vec::new(),
            heal: HealConfig { rollback: HealMode::Auto, restart: HealMode::Auto, other: HealMode::Approve },
            freeze: Vec::new(),
            observe_only: false,
            retention: RetentionConfig {
                metrics: days(400),
                logs: days(180),
                traces: days(14),
                audit: days(1095),
            },
            metrics: MetricsConfig::default(),
            notify: NotifyConfig::default(),
            people: PeopleConfig::default(),
            system: SystemConfig::default(),
            status_title: None,
            tls: TlsConfig::default(),
            plain: None,
        }
    }
}
