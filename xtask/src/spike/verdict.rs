//! What a spike has shown, held against what was promised.

use std::time::Duration;

use super::course::Ride;
use super::figures::{Answers, millis};
use super::ground::{BESIDE, RULE};
use super::watch::BEATS;
use crate::failure::Failure;
use crate::load::tally::Tally;

/// All of a version's answers bad behind a green probe: it is off so soon, also once in a hundred times.
const BACK_MAX: Duration = Duration::from_secs(11);
/// The rule looks once a second at five seconds of what is written down once a second.
const FIRED_MAX: Duration = Duration::from_secs(15);
/// At the spike's top, from the moment a request was due. More would say that requests pile up.
const P99_MAX: Duration = Duration::from_secs(1);
/// Of what was due, so much was sent until the end: a load that is late shows nothing.
const SENT_MIN: f64 = 0.98;
/// Nothing in either grows with the requests that pass.
const TOWER_MIB_MAX: f64 = 512.0;
const GATEWAY_MIB_MAX: f64 = 256.0;

/// Whether so much less was sent than was due that nothing was shown: either this machine was busy with other things,
/// or the gateway let requests pile up until no more could wait.
pub(super) fn is_late(ride: &Ride) -> bool {
    ride.tally.unsent > 0 || (ride.tally.sent as f64) < SENT_MIN * ride.due
}

/// Prints the figures; fails with all that did not hold.
pub(super) fn judge(ride: &Ride) -> Result<(), Failure> {
    println!("{}", report(ride));
    let broken = broken(ride);
    if broken.is_empty() {
        println!("spike: taken back, and everything else went on");
        return Ok(());
    }
    Err(Failure::new(broken.join("; ")))
}

fn report(ride: &Ride) -> String {
    let Ride { scale, tally, release, seen, .. } = ride;
    let seconds = |span: Option<Duration>| {
        span.map_or_else(|| "never".to_owned(), |span| format!("{:.1} s", span.as_secs_f64()))
    };
    let latency = |earlier: &Tally, share| tally.latency_since(earlier, share).map_or("-".to_owned(), millis);
    let none = Tally::default();
    let [tower, gateway, load] = ride.usage;
    let usage = |name: &str, usage: super::figures::Usage| {
        format!("{name} {:.0} MiB at most, {:.1} s of a core", usage.memory_mib, usage.processor_s)
    };
    [
        format!(
            "{:.0} to {:.0} requests a second in {} s: {} sent, {} ok",
            scale.from,
            scale.to,
            scale.over.as_secs(),
            tally.sent,
            tally.ok
        ),
        format!(
            "turned bad → taken back: {}; first bad answer → last: {}",
            seconds(ride.back),
            seconds(release.exposure)
        ),
        format!("{} {}: {}", release.id, release.state, release.why),
        format!("failed to users: idempotent {}; POST {}", tally.idempotent, tally.other),
        format!(
            "latency p50 {}, p99 {}; at the top p50 {}, p99 {}",
            latency(&none, 0.5),
            latency(&none, 0.99),
            latency(&ride.until_end, 0.5),
            latency(&ride.until_end, 0.99)
        ),
        format!("the service beside it: {} sent, {} failed", ride.beside.sent, ride.beside.failed()),
        format!("the tower's pages: {}", seen.pages.line()),
        format!(
            "batches of metrics: {}; {} values stored of {}",
            seen.emitted.line(),
            ride.stored.unwrap_or(0.0),
            emitted(&seen.emitted)
        ),
        format!("alert `{RULE}`: {} after half of the spike was there", seconds(ride.fired)),
        format!("{}; {}; {}", usage("tower", tower), usage("gateway", gateway), usage("load", load)),
        format!("replay: {}", ride.said[0]),
        format!("audit: {}", ride.said[1]),
    ]
    .join("\n")
}

fn emitted(batches: &Answers) -> u64 {
    batches.len() as u64 * BEATS
}

/// All that did not hold.
fn broken(ride: &Ride) -> Vec<String> {
    let Ride { tally, release, seen, beside, .. } = ride;
    let top = tally.latency_since(&ride.until_end, 0.99);
    let [tower, gateway, _] = ride.usage;
    let stray: Vec<&String> =
        tally.served_by.keys().filter(|server| is_other_stable(server, &ride.stable)).collect();
    let promises = [
        (
            ride.back.is_some_and(|back| back <= BACK_MAX),
            "the bad version was not taken back in time".to_owned(),
        ),
        (
            release.state == "rolled-back" && release.is_closed && release.weight_bp == 0.0,
            format!("{} is `{}` and not closed as taken back", release.id, release.state),
        ),
        (tally.idempotent.count == 0, format!("idempotent requests of users failed: {}", tally.idempotent)),
        (
            tally.other.count as f64 <= release.seen,
            format!("more failed than what the canary answered badly: {}", tally.other),
        ),
        (tally.unsent == 0, format!("{} requests could not be sent", tally.unsent)),
        (
            tally.sent as f64 >= SENT_MIN * ride.due,
            format!(
                "of {:.0} requests that were due only {} were sent: the load was late",
                ride.due, tally.sent
            ),
        ),
        (top.is_some_and(|top| top <= P99_MAX), "at the top of the spike requests pile up".to_owned()),
        (stray.is_empty(), format!("stable was `{}` and became {stray:?}", ride.stable)),
        (
            beside.failed() == 0 && beside.ok > 0,
            format!("{BESIDE} behind the same gateway was hit:\n{beside}"),
        ),
        (seen.pages.failures.is_empty(), format!("the tower's pages failed: {}", some(&seen.pages.failures))),
        (
            seen.emitted.failures.is_empty(),
            format!("metrics were not taken: {}", some(&seen.emitted.failures)),
        ),
        (
            ride.stored == Some(emitted(&seen.emitted) as f64),
            format!("{:?} values are stored of {}", ride.stored, emitted(&seen.emitted)),
        ),
        (
            ride.fired.is_some_and(|after| after <= FIRED_MAX),
            format!("the alert `{RULE}` came late or never"),
        ),
        (tower.memory_mib <= TOWER_MIB_MAX, format!("the tower took {:.0} MiB", tower.memory_mib)),
        (gateway.memory_mib <= GATEWAY_MIB_MAX, format!("the gateway took {:.0} MiB", gateway.memory_mib)),
    ];
    promises.into_iter().filter(|(holds, _)| !holds).map(|(_, what)| what).collect()
}

/// Whether it is stable's version in another process, which there must not be.
fn is_other_stable(server: &str, stable: &str) -> bool {
    let version = |name: &str| name.split(' ').next().unwrap_or_default().to_owned();
    version(server) == version(stable) && server != stable
}

/// The first of them, and how many more there are.
fn some(failures: &[String]) -> String {
    match failures {
        [] => String::new(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first}, and {} more", rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_is_known_by_version_and_process() {
        let stable = "dmv-portal/1.7.3 (pid 7)";
        assert!(is_other_stable("dmv-portal/1.7.3 (pid 8)", stable));
        assert!(!is_other_stable("dmv-portal/1.8.0 (pid 8)", stable));
        assert!(!is_other_stable(stable, stable));
    }

    #[test]
    fn of_many_failures_the_first_is_told() {
        let failures = ["/: status 500", "/: status 503"].map(str::to_owned);
        assert_eq!(some(&failures), "/: status 500, and 1 more");
        assert_eq!(some(&failures[..1]), "/: status 500");
    }
}
