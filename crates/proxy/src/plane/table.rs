//! The route table that requests read: replaced whole by one pointer store, never changed.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hmsops_model::gateway::GatewayLimits;
use hmsops_model::network::subscriber;
use hmsops_model::route::{Arm, CanaryArm, Route};
use hmsops_model::service::BadRule;
use hmsops_model::{Millis, Now, ReleaseId, ServiceName, Unit, Weight};
use http::HeaderValue;
use tokio::sync::Notify;

use super::receipt::{Drawn, unit_code};
use super::upstream::{Upstream, Upstreams};
use crate::outcome::{Fold, Routed};
use crate::rate::Rates;
use crate::shield::{Budget, SHIELD_AFTER_MIN};
use crate::split::{self, Side};

/// Which service answers for which host.
#[derive(Default)]
pub(super) struct Table {
    hosts: HashMap<String, Arc<Served>>,
    any: Option<Arc<Served>>,
}

impl Table {
    /// Of two services that claim the same host, or any, the first by name has it.
    pub(super) fn new(served: &BTreeMap<ServiceName, Arc<Served>>) -> Self {
        let mut table = Self::default();
        for one in served.values() {
            let holder = match &one.route.host {
                Some(host) => table.hosts.entry(host.to_ascii_lowercase()).or_insert_with(|| Arc::clone(one)),
                None => table.any.get_or_insert_with(|| Arc::clone(one)),
            };
            if !Arc::ptr_eq(holder, one) {
                let (host, holder) = (one.route.host.as_deref().unwrap_or("any"), &holder.route.service);
                tracing::warn!(service = %one.route.service, host, %holder, "host is already taken");
            }
        }
        table
    }

    pub(super) fn find(&self, host: &str) -> Option<&Arc<Served>> {
        self.hosts.get(host).or(self.any.as_ref())
    }
}

/// One service's route, ready for requests.
pub(super) struct Served {
    pub(super) route: Route,
    pub(super) stable: Vec<Arc<Upstream>>,
    pub(super) canary: Vec<Arc<Upstream>>,
    pub(super) service: Arc<Service>,
    pub(super) trial: Option<Arc<Trial>>,
    /// Stable's version and the canary's, as fields say them.
    names: [Option<HeaderValue>; 2],
}

impl Served {
    pub(super) fn new(
        route: Route,
        before: Option<&Self>,
        service: Arc<Service>,
        pools: &mut Upstreams,
    ) -> Self {
        let trial = route.canary.as_ref().map(|canary| {
            let same =
                before.and_then(|before| before.trial.as_ref()).filter(|t| t.release == canary.release);
            same.map_or_else(|| Arc::new(Trial::new(canary.release)), Arc::clone)
        });
        let stable = pools.of(&route.stable.upstreams, route.protocol);
        let canary = route
            .canary
            .as_ref()
            .map_or_else(Vec::new, |canary| pools.of(&canary.arm.upstreams, route.protocol));
        let name = |arm: &Arm| HeaderValue::from_str(arm.version.as_str()).ok();
        let names = [name(&route.stable), route.canary.as_ref().and_then(|canary| name(&canary.arm))];
        Self { route, stable, canary, service, trial, names }
    }

    /// Draws an arm for a request of this client.
    pub(super) fn draw(&self, secret: u64, key: Option<&[u8]>) -> Drawn {
        let unit = self.service.unit();
        let side =
            self.route.canary.as_ref().map_or(Side::Stable, |canary| self.side(canary, secret, unit, key));
        let client = key.map(|key| split::client_hash(secret, key));
        Drawn { side, routed: Routed::by(&self.route, unit), client }
    }

    fn side(&self, canary: &CanaryArm, secret: u64, unit: Unit, key: Option<&[u8]>) -> Side {
        match (unit, key) {
            _ if canary.weight == Weight::NONE => Side::Stable,
            (Unit::Client, Some(key)) => split::side(canary.salt, key, canary.weight),
            _ => {
                let draw = secret ^ self.service.draws.fetch_add(1, Ordering::Relaxed);
                split::side(canary.salt, &draw.to_le_bytes(), canary.weight)
            }
        }
    }

    /// An arm's version, if a field can say it.
    pub(super) fn name(&self, side: Side) -> Option<&HeaderValue> {
        let [stable, canary] = &self.names;
        match side {
            Side::Stable => stable.as_ref(),
            Side::Canary => canary.as_ref(),
        }
    }

    pub(super) fn upstreams(&self, side: Side) -> &[Arc<Upstream>] {
        match side {
            Side::Stable => &self.stable,
            Side::Canary => &self.canary,
        }
    }

    /// Whether an answer that doesn't come in time is bad.
    pub(super) fn times_out(&self) -> bool {
        self.route.bad.contains(&BadRule::Timeout)
    }

    /// How long the canary may take to begin its answer before stable is asked.
    pub(super) fn shield_after(&self) -> Millis {
        let declared = self.route.canary.as_ref().and_then(|canary| canary.shield_after);
        declared.unwrap_or_else(|| Millis(self.service.shield_after_ms.load(Ordering::Relaxed)))
    }

    /// Takes one retry on stable out of the shield's budget.
    pub(super) fn may_shield(&self, now: Now) -> bool {
        let weight = self.route.canary.as_ref().map_or(Weight::NONE, |canary| canary.weight);
        self.service.book().budget.take(now.steady, weight)
    }

    /// Takes one more try at stable out of its budget, so that upstreams that are down are not asked three times by
    /// everyone.
    pub(super) fn may_retry(&self, now: Now) -> bool {
        self.service.book().retries.take(now.steady, Weight::NONE)
    }
}

/// What outlives a service's routes.
pub(super) struct Service {
    book: Mutex<Book>,
    unit: AtomicU8,
    shield_after_ms: AtomicU64,
    draws: AtomicU64,
    rates: Mutex<Rates>,
    /// Which upstream is asked next.
    pub(super) turn: AtomicUsize,
}

/// What is counted under the service's lock, which is never held across an await.
pub(super) struct Book {
    pub(super) fold: Fold,
    /// What stable answers for the canary.
    pub(super) budget: Budget,
    /// What a second of stable's upstreams is asked because the first did not take it.
    pub(super) retries: Budget,
}

impl Service {
    pub(super) fn new(now: Now, route: &Route) -> Self {
        Self {
            book: Mutex::new(Book {
                fold: Fold::new(now, route),
                budget: Budget::default(),
                retries: Budget::default(),
            }),
            unit: AtomicU8::new(unit_code(Unit::Request)),
            shield_after_ms: AtomicU64::new(SHIELD_AFTER_MIN.0),
            draws: AtomicU64::new(0),
            rates: Mutex::default(),
            turn: AtomicUsize::new(0),
        }
    }

    /// Takes a request of this client out of what the service is granted; else how long to wait.
    pub(super) fn admit(
        &self,
        now: impl FnOnce() -> Now,
        client: IpAddr,
        limits: &GatewayLimits,
    ) -> Result<(), Millis> {
        if limits.service_rate.is_none() && limits.client_rate.is_none() {
            return Ok(());
        }
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.take(now().steady, subscriber(client), limits.service_rate, limits.client_rate)
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        // Counts stay usable if a thread died with the lock: each is a plain number.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unit(&self) -> Unit {
        if self.unit.load(Ordering::Relaxed) == unit_code(Unit::Client) {
            Unit::Client
        } else {
            Unit::Request
        }
    }

    /// Makes what the fold has learnt visible to requests.
    pub(super) fn publish(&self, fold: &Fold) {
        self.unit.store(unit_code(fold.routed().unit), Ordering::Relaxed);
        self.shield_after_ms.store(fold.auto_shield_after().0, Ordering::Relaxed);
    }
}

/// One release's requests in flight at its canary.
pub(super) struct Trial {
    pub(super) release: ReleaseId,
    /// Requests without an answer's head.
    pub(super) waiting: AtomicU64,
    /// Requests whose answer has not come whole.
    pub(super) open: AtomicU64,
    retreated: AtomicBool,
    wake: Notify,
}

impl Trial {
    fn new(release: ReleaseId) -> Self {
        Self {
            release,
            waiting: AtomicU64::new(0),
            open: AtomicU64::new(0),
            retreated: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    /// Tells the requests that wait for the canary's head to go to stable.
    pub(super) fn retreat(&self) {
        self.retreated.store(true, Ordering::SeqCst);
        self.wake.notify_waiters();
    }

    /// Comes back once the release has retreated.
    pub(super) async fn retreated(&self) {
        let mut woken = std::pin::pin!(self.wake.notified());
        woken.as_mut().enable();
        if !self.retreated.load(Ordering::SeqCst) {
            woken.await;
        }
    }
}

/// A request at the canary; ends when dropped.
pub(super) struct Waiting {
    trial: Arc<Trial>,
    for_head: bool,
}

impl Waiting {
    pub(super) fn new(trial: &Arc<Trial>) -> Self {
        trial.waiting.fetch_add(1, Ordering::SeqCst);
        trial.open.fetch_add(1, Ordering::SeqCst);
        Self { trial: Arc::clone(trial), for_head: true }
    }

    /// The answer's head came.
    pub(super) fn head_came(&mut self) {
        if std::mem::take(&mut self.for_head) {
            self.trial.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.head_came();
        self.trial.open.fetch_sub(1, Ordering::SeqCst);
    }
}
