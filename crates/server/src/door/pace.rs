//! How often somebody may ask: each source, each who is known, and each source that isn't let in.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request};
use hmsops_model::Millis;
use hmsops_model::limits::{CALLER_RATE, GUESS_RATE, RATES_KEPT_MAX, SOURCE_RATE, WRITER_RATE};
use hmsops_model::network::subscriber;

use super::caller::Caller;
use super::{Failure, Scope};
use crate::bound::Rates;

/// What was asked for in the last moments, and by whom.
pub(crate) struct Pace {
    sources: Rates<Option<IpAddr>>,
    callers: Rates<String>,
    writers: Rates<String>,
    guesses: Rates<Option<IpAddr>>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            sources: Rates::new(SOURCE_RATE, RATES_KEPT_MAX),
            callers: Rates::new(CALLER_RATE, RATES_KEPT_MAX),
            writers: Rates::new(WRITER_RATE, RATES_KEPT_MAX),
            guesses: Rates::new(GUESS_RATE, RATES_KEPT_MAX),
        }
    }
}

impl Pace {
    /// Before anything is read of a request.
    pub(crate) fn source(&self, from: Option<IpAddr>, steady: Millis) -> Result<(), Failure> {
        // Programs of this machine are trusted not to flood it; who they are is counted.
        if from.is_none_or(|from| from.is_loopback()) {
            return Ok(());
        }
        self.sources.ask(from, steady).map_err(|after| too_many("requests from this address", after))
    }

    /// Once it is known who asks. Metrics that come in are counted apart: a sender has to catch up after a pause.
    pub(crate) fn caller(&self, caller: &Caller, scope: Scope, steady: Millis) -> Result<(), Failure> {
        let rates = if scope == Scope::METRICS_WRITE { &self.writers } else { &self.callers };
        rates.ask(caller.who.actor.clone(), steady).map_err(|after| too_many("requests of yours", after))
    }

    /// When it is not: the answer to one guess too many tells nothing about it.
    pub(crate) fn guess(&self, from: Option<IpAddr>, steady: Millis) -> Result<(), Failure> {
        if from.is_none() {
            return Ok(());
        }
        self.guesses
            .ask(from, steady)
            .map_err(|after| too_many("attempts without a token that is known", after))
    }
}

/// Whom a request comes from, as rates are counted; `None`: not over a network.
pub(crate) fn source_of(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| subscriber(peer.0.ip()))
}

fn too_many(what: &str, after: u32) -> Failure {
    Failure::too_many(format!("there were too many {what}"))
        .hint(format!("ask again in {after} s, and less often"))
        .retry_after(after)
}
