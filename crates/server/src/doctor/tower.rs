//! What a tower that runs sees of itself, beside what its folder shows.

use hmsops_model::{Millis, UnixMillis};
use hmsops_proxy::plane;
use hmsops_wire::api::Examination;
use rustix::process::{Resource, getrlimit};

use super::{Findings, folder, settings};
use crate::door::{Context, Failure, findings_of_tokens};
use crate::tls::held;

/// A tower with a few dozen services and all its doors at their limits has about so many files and sockets open.
const FILES_NEEDED: u64 = 4096;

/// A certificate renews itself long before (a third of its life is left then); one that has less than this does not.
const CERTIFICATE_LOW: Millis = Millis::from_mins(6 * 60);

/// A gateway is asked twice a second; one that is silent for so long is not on its way up.
const GATEWAY_SILENT: Millis = Millis::from_secs(3);

/// Looks at the tower's folder and at the tower itself.
pub(crate) async fn tower(context: &Context) -> Result<Examination, Failure> {
    let (data, now) = (context.data.clone(), context.clock.now().wall);
    let file = context.settings.clone();
    let looked = tokio::task::spawn_blocking(move || {
        let mut findings = Findings::default();
        folder::look(&data, now, &mut findings);
        if let Some(file) = file {
            settings::look(&file, now, true, &mut findings);
        }
        findings
    });
    let mut findings = looked.await.map_err(|_| Failure::internal("looking at the data folder broke off"))?;
    recording(context, &mut findings);
    open_files(&mut findings);
    listeners(context, now, &mut findings);
    tokens(context, &mut findings);
    gateways(context, &mut findings);
    declarations(context, &mut findings);
    Ok(findings.end("tower"))
}

/// Whether the ledger takes lines.
fn recording(context: &Context, findings: &mut Findings) {
    findings.look("recording");
    if let Some(why) = &context.engine.snapshot().ledger_failed {
        findings.problem(
            format!("the ledger takes nothing: {why}"),
            "no release goes on, nothing heals and nobody is told; retreats go on and are recorded later",
            "see that the disk takes writes; the tower opens the ledger anew by itself",
        );
    }
}

fn open_files(findings: &mut Findings) {
    findings.look("open files");
    let Some(limit) = getrlimit(Resource::Nofile).current else { return };
    let remedy = "`LimitNOFILE=65536` in the unit, or `ulimit -n 65536` before the start";
    let why = "what is beyond is refused: connections, probes, the start of services";
    // LIMIT: as many entries as the process has files open, which `limit` bounds.
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as u64;
    if open.saturating_mul(10) > limit.saturating_mul(8) {
        findings.problem(format!("{open} of {limit} files are open"), why, remedy);
    } else if limit < FILES_NEEDED {
        findings.warning(format!("at most {limit} files can be open at a time"), why, remedy);
    }
}

/// Who can reach the tower, and what they find there.
fn listeners(context: &Context, now: UnixMillis, findings: &mut Findings) {
    findings.look("listeners");
    if context.auth.no_auth() {
        findings.warning(
            "whoever is on this machine has all rights",
            "any program of any user here can ship and take back versions",
            "start it without --no-auth",
        );
    }
    for (listen, reason) in &context.engine.snapshot().state.transport.plain {
        findings.warning(
            format!("{listen} is beyond loopback and speaks in clear: {reason}"),
            "tokens and log-ins can be read on the way, unless what stands in front speaks TLS",
            "take `plain:` out of hmsops.yaml when it is not needed any more",
        );
    }
    let Some(first) = context.transport.as_ref().and_then(|transport| transport.chain().into_iter().next())
    else {
        return;
    };
    let rest = held(&first).until.since(now);
    if rest < CERTIFICATE_LOW {
        findings.problem(
            format!("the certificate that is shown ends in {rest}"),
            "then nobody trusts the tower: agents, gateways and browsers stay away",
            "look in the log for why it was not renewed; a configured one has to be replaced by whoever made it",
        );
    }
}

fn tokens(context: &Context, findings: &mut Findings) {
    findings.look("tokens");
    for (id, found) in findings_of_tokens(context) {
        findings.warning(
            format!("{id} {found}"),
            "a token that ends stops its program; one that nobody needs, or that may too much, serves only who finds it",
            "`hmsops token lint` shows them; `rotate` and `revoke` mend them",
        );
    }
}

fn gateways(context: &Context, findings: &mut Findings) {
    findings.look("gateways");
    let snapshot = context.engine.snapshot();
    let programs = context.metrics.traffic().programs();
    for name in context.gateways.keys() {
        let link = snapshot.evidence.gateways.get(name);
        let is_heard = link
            .is_some_and(|link| link.connected && snapshot.now.steady.since(link.heard_at) < GATEWAY_SILENT);
        if !is_heard {
            findings.problem(
                format!("gateway {name} is not heard"),
                "it goes on with what it holds, and takes a canary back after 5 s; no release can go on",
                format!("`tail gateway-{name}.log` in the data folder says why it does not start"),
            );
        }
        if let Some(program) = programs.get(name).filter(|program| *program != plane::PROGRAM) {
            let version = if program.is_empty() { "an old version" } else { program.as_str() };
            findings.warning(
                format!("gateway {name} is of {version}, the tower of {}", plane::PROGRAM),
                "what the tower has learned since, it cannot do",
                "end it when no canary is out: the tower starts one of its own version",
            );
        }
    }
}

/// Files of teams that are not in force as they stand.
fn declarations(context: &Context, findings: &mut Findings) {
    findings.look("declarations");
    for (file, why) in context.troubles.borrow().iter() {
        findings.problem(
            format!("`{file}` is not in force: {why}"),
            "what it said before goes on, and nobody sees that it was changed",
            format!("hmsops check {file}"),
        );
    }
}
