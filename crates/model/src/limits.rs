//! Every bound in one place, each with its reason.

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

const _: () = assert!(PROBE_TIMEOUT.0 < PROBE_INTERVAL.0);
const _: () = assert!(GATEWAY_PING.0 * 5 <= GATEWAY_RETREAT_AFTER.0);
