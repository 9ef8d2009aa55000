//! One look: a connection of its own, one question, the answer judged.

use std::time::Duration;

use hmsops_model::Millis;
use hmsops_model::condition::Subject;
use hmsops_model::limits::PROBE_LAG_MAX;
use hmsops_model::probe::{Ask, ProbeVerdict, Tls};
use tokio::time::Instant;

use super::http::Question;
use super::judge::Judge;
use super::place::Place;
use super::seen::{Seen, Trouble, failed};
use super::{Target, dns, exec, grpc, http, tcp, tls};
use crate::guard::Guard;

/// What one look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// What came of it.
    pub verdict: ProbeVerdict,
    /// What was seen, if anything was.
    pub seen: Seen,
}

/// Looks once at one of a target's addresses, in its time. Trouble of our own (late, out of descriptors, out of ports) is
/// `Overloaded`.
pub async fn look(target: &Target, addr: &str) -> Look {
    let judge = match Judge::of(&target.probe) {
        Ok(judge) => judge,
        Err(reason) => return Look { verdict: ProbeVerdict::Fail { reason }, seen: Seen::default() },
    };
    if encrypted(&target.probe.ask) {
        // The first time, this reads a file of some hundred kilobytes: nothing that the target can help.
        tls::trusted().await;
    }
    let timeout = Duration::from_millis(target.probe.timeout.0);
    let begun_at = Instant::now();
    let asked = tokio::time::timeout(timeout, ask(target, addr, &judge, begun_at)).await;
    let taken = begun_at.elapsed();
    // The timer is ours: when it comes late, we were stopped meanwhile, and the answer perhaps as well.
    if taken > timeout + Duration::from_millis(PROBE_LAG_MAX.0) {
        return Look { verdict: ProbeVerdict::Overloaded, seen: Seen::default() };
    }
    match asked {
        Err(_) => {
            let reason = format!("no answer in {}", millis(timeout));
            Look { verdict: ProbeVerdict::Fail { reason }, seen: Seen { took: taken, ..Seen::default() } }
        }
        Ok(Err(trouble)) => Look { verdict: trouble.into(), seen: Seen { took: taken, ..Seen::default() } },
        Ok(Ok(seen)) => {
            let verdict = match judge.objection(&seen) {
                Some(reason) => ProbeVerdict::Fail { reason },
                None => {
                    ProbeVerdict::Pass { millis: u32::try_from(seen.took.as_millis()).unwrap_or(u32::MAX) }
                }
            };
            Look { verdict, seen }
        }
    }
}

const fn encrypted(ask: &Ask) -> bool {
    match ask {
        Ask::Http { tls, .. } | Ask::Grpc { tls, .. } => !matches!(tls, Tls::Plain),
        Ask::Tls { .. } => true,
        Ask::Tcp { .. } | Ask::Dns { .. } | Ask::Exec { .. } => false,
    }
}

fn millis(span: Duration) -> Millis {
    Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

async fn ask(target: &Target, addr: &str, judge: &Judge, begun_at: Instant) -> Result<Seen, Trouble> {
    let probe = &target.probe;
    let place = Place::of(probe, addr, &target.allow_private);
    let mut seen = match &probe.ask {
        Ask::Http { method, path, headers, tls } => {
            let body = judge.speaks_of(Subject::Body);
            http::ask(&place?, Question { method: *method, path, headers, tls: *tls, body }).await?
        }
        Ask::Tcp { send, expect } => {
            let wanted = judge.speaks_of(Subject::Answer);
            tcp::ask(&place?, send.as_deref(), expect.as_deref(), wanted).await?
        }
        Ask::Grpc { service, tls } => grpc::ask(&place?, service, *tls, probe.timeout).await?,
        Ask::Dns { name, record, resolver } => {
            let timeout = Duration::from_millis(probe.timeout.0);
            let guard = Guard::elsewhere(target.allow_private.clone());
            dns::ask(name, *record, resolver.as_deref().map(|resolver| (resolver, &guard)), timeout).await?
        }
        Ask::Tls { server_name, .. } => {
            let place = place?;
            let stream = place.connect().await?;
            let name = server_name.as_deref().unwrap_or(&place.host);
            Seen { certificate: Some(tls::certificate(stream, name).await?), ..Seen::default() }
        }
        Ask::Exec { argv } if argv.is_empty() => return Err(failed("has no program to run")),
        Ask::Exec { argv } => exec::ask(target, &place?, argv).await?,
    };
    seen.took = begun_at.elapsed();
    Ok(seen)
}
