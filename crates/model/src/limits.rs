//! Every bound in one place, each with its reason.

use std::time::Duration;

use crate::Millis;

/// The chance, at most, that a healthy release is taken back by a detector of ours (`research` of sequential
/// tests: one in a thousand rollouts is what on-call people still trust).
pub const FALSE_ROLLBACK_ALPHA: f64 = 1e-3;

/// Bad answers a canary must have given before evidence may condemn it: one broken request must not.
pub const GUARD_ERRORS: u64 = 3;

/// From so many distinct clients (or requests, where a request is the unit).
pub const GUARD_CLIENTS: u64 = 2;

/// Below so many distinct clients, requests are counted and split instead.
pub const CLIENTS_MIN: usize = 20;

/// Between two scheduled probes: a dead canary is seen within a second.
pub const PROBE_INTERVAL: Millis = Millis(1000);

/// A probe without an answer has failed after this.
pub const PROBE_TIMEOUT: Millis = Millis(500);

/// After a failed probe the next look comes this soon, which makes three looks fit into 3.5 s.
pub const PROBE_RECHECK: Millis = Millis(200);

/// A prober that starts a probe so much too late says `overloaded` instead of judging the target.
pub const PROBE_LAG_MAX: Millis = Millis(250);

/// A gateway reports this often: ten events a second at any traffic.
pub const TICK_INTERVAL: Millis = Millis(100);

/// A gateway that has not heard from its tower for so long takes a canary's traffic back by itself.
pub const GATEWAY_RETREAT_AFTER: Millis = Millis(5000);

/// The tower speaks to its gateways at least this often, five times within the retreat time.
pub const GATEWAY_PING: Millis = Millis(1000);

/// How long a retreat may wait for its line in the local spill.
pub const SPILL_WAIT: Millis = Millis(50);

/// A fresh arm's errors are no evidence in its first moments (connection pools, caches, JIT): it has answered
/// probes for two seconds before users see it, and gets this half second with users.
pub const WARM_UP: Millis = Millis(500);

/// A step without `for:` lasts this long (chapter 14 §3.2).
pub const STEP_HOLD_DEFAULT: Millis = Millis::from_mins(5);

/// The old version stays warm so long after 100 %.
pub const BAKE_DEFAULT: Millis = Millis::from_mins(30);

/// A new version may take so long to answer its first probe; well under the chapter's 30 s.
pub const START_TIMEOUT_DEFAULT: Millis = Millis::from_secs(20);

/// Requests that wait for a stopped arm may take so long before it is ended.
pub const DRAIN_TIMEOUT: Millis = Millis::from_secs(10);

/// A service process gets so long between SIGTERM and SIGKILL.
pub const STOP_GRACE: Millis = Millis::from_secs(10);

/// The longest text file we read (services.yaml of a thousand services is far below).
pub const CONFIG_BYTES_MAX: usize = 1 << 20;

/// How deep lists and maps of a text file may nest: our deepest file has six levels.
pub const CONFIG_DEPTH_MAX: usize = 32;

/// Values of a text file; it bounds memory at some ten megabytes whatever the text says.
pub const CONFIG_NODES_MAX: usize = 100_000;

/// Errors and warnings shown of one text file: nobody reads more, and each carries its line.
pub const DIAGNOSTICS_MAX: usize = 100;

/// Health checks of a release or a service: each is a request a second to each arm.
pub const HEALTH_CHECKS_MAX: usize = 16;

/// Steps of a release: more than anyone draws.
pub const STEPS_MAX: usize = 100;

/// The largest ledger entry; the limit of a tlog-tiles entry bundle (uint16).
pub const LEDGER_ENTRY_BYTES_MAX: usize = 65_535;

/// The longest line of the gateway protocol.
pub const GATEWAY_LINE_BYTES_MAX: usize = 4 << 20;

/// Clients whose first bad answer of a release is remembered; past it new ones are no longer evidence, by
/// when a verdict has long been reached.
pub const BAD_CLIENTS_MAX: usize = 65_536;

/// Labels of a series, the metric's name included: four times what Kubernetes with OpenTelemetry attaches.
pub const LABELS_MAX: usize = 128;

/// The longest name of a label in bytes: twice the longest name of Kubernetes, with its prefix.
pub const LABEL_NAME_BYTES_MAX: usize = 1024;

/// The longest value of a label in bytes, metric names included: a long URL or SQL digest fits, a log line
/// is no label.
pub const LABEL_VALUE_BYTES_MAX: usize = 4096;

/// How often somebody may do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// So often a second, in the long run.
    pub each_second: u32,
    /// And so often at once, after a pause.
    pub at_once: u32,
}

/// Connections to pages and the API at a time, or half of what the process may open if that is less: browsers keep six
/// each, programs one.
pub const WEB_CONNECTIONS_MAX: usize = 1024;

/// Of these, from one address (of IPv6: one /64) that is not this machine's: a proxy in front is one, so most; a quarter is
/// for everyone else.
pub const WEB_CONNECTIONS_EACH_MAX: usize = 768;

/// Connections to the collector's port at a time: programs of one machine, or agents, each keeps one.
pub const COLLECTOR_CONNECTIONS_MAX: usize = 1024;

/// Of these, from one address that is not this machine's: all programs of one machine are one.
pub const COLLECTOR_CONNECTIONS_EACH_MAX: usize = 768;

/// An answer of which nothing is taken for so long is given up: a proxy that is stuck is restarted in less.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(30);

/// Requests from one address to pages and the API: a fifth of what one core answers, so that one source cannot take
/// it whole.
pub const SOURCE_RATE: Rate = Rate { each_second: 5000, at_once: 10_000 };

/// Requests of one who is known: a Grafana wall of a hundred panels that refreshes each second takes a twentieth.
pub const CALLER_RATE: Rate = Rate { each_second: 2000, at_once: 4000 };

/// Requests that bring metrics, of one who is known: a Prometheus of a million samples a second sends some hundred, and
/// after an outage what it has kept.
pub const WRITER_RATE: Rate = Rate { each_second: 4000, at_once: 8000 };

/// Requests from one address with no token or a wrong one, before it hears 429 in place of 401: a person who mistypes
/// stays below, a list of passwords does not.
pub const GUESS_RATE: Rate = Rate { each_second: 5, at_once: 60 };

/// Sources, or callers, of which it is remembered how often they asked; the rest share one rate. Some hundred bytes each.
pub const RATES_KEPT_MAX: usize = 10_000;

const _: () = assert!(WEB_CONNECTIONS_EACH_MAX < WEB_CONNECTIONS_MAX);
const _: () = assert!(COLLECTOR_CONNECTIONS_EACH_MAX < COLLECTOR_CONNECTIONS_MAX);
const _: () = assert!(PROBE_TIMEOUT.0 < PROBE_INTERVAL.0);
const _: () = assert!(GATEWAY_PING.0 * 5 <= GATEWAY_RETREAT_AFTER.0);

#[cfg(test)]
mod tests {
    const HEAD: &str = "# Limits\n\nEvery bound that is a promise, with the reason for the number. Made of \
        `crates/model/src/limits.rs` (`HMSOPS_BLESS=1` and its test write it); what only one part knows stands at the \
        top of its file.\n\n| limit | value | reason |\n|---|---|---|\n";

    /// The rows of the table, of the constants above.
    fn table(source: &str) -> String {
        let (mut table, mut said) = (HEAD.to_owned(), Vec::new());
        for line in source.lines().take_while(|line| *line != "#[cfg(test)]") {
            if let Some(words) = line.strip_prefix("///") {
                said.push(words.trim());
            } else if let Some(rest) = line.strip_prefix("pub const ") {
                let (name, rest) = rest.split_once(": ").unwrap();
                let (_, value) = rest.split_once(" = ").unwrap();
                assert!(!said.is_empty(), "{name} has no reason");
                let value = value.trim_end_matches(';');
                table.extend(["| `", name, "` | `", value, "` | ", &said.join(" "), " |\n"]);
                said.clear();
            } else {
                said.clear();
            }
        }
        table
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "it makes a page of the documentation")]
    fn the_page_of_limits_is_what_stands_here() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/limits.md");
        let table = table(include_str!("limits.rs"));
        if std::env::var_os("HMSOPS_BLESS").is_some() {
            std::fs::write(path, &table).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap();
        assert!(page == table, "docs/reference/limits.md differs; HMSOPS_BLESS=1 rewrites it");
    }
}
