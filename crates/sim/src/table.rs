//! A report for people.

use std::fmt::Write;

use crate::peers::{PEERS, PEERS_ARE};
use crate::report::{ALLOWED, BASE_ERRORS, Report, Row};

/// A report as aligned text.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    healthy(&mut out, report);
    rough(&mut out, report);
    if report.faults.iter().any(|row| row.rollouts > 0) {
        faults(&mut out, report);
    }
    let _written = writeln!(out, "\n{:.0} simulated hours, seed {}", report.simulated_hours, report.seed);
    out
}

fn healthy(out: &mut String, report: &Report) {
    if report.healthy_rollouts == 0 {
        return;
    }
    let n = report.healthy_rollouts;
    let _written = writeln!(
        out,
        "Healthy releases\n  {n} rollouts; taken back, 99 % upper bound of the rate (allowed: 1.5 × α = {ALLOWED:.5}):"
    );
    let all = ("in all", report.false_rollbacks, report.false_rollbacks_upper_99);
    let by = report.false_rollbacks_by.iter().map(|(detector, k)| {
        (detector.as_str(), *k, report.false_rollbacks_upper_99_by.get(detector).copied().unwrap_or(1.0))
    });
    for (who, k, upper) in by.chain([all]) {
        let _written = writeln!(
            out,
            "    {who:<8} {k:>4}  {upper:.5}  {}",
            if upper <= ALLOWED { "within" } else { "over" }
        );
    }
    let _written = writeln!(out, "  the promise is {}", report.promise.words());
    if !report.false_seeds.is_empty() {
        let seeds: Vec<String> = report.false_seeds.iter().map(u64::to_string).collect();
        let _written = writeln!(out, "  seeds: {}", seeds.join(", "));
    }
    for (why, k) in &report.healthy_held {
        let _written = writeln!(out, "  held at the end ({why}): {k}");
    }
    for (peer, k) in &report.peers_false_rollbacks {
        let _written = writeln!(out, "  {peer:<16} would have taken back {k} ({:.1} %)", percent(*k, n));
    }
}

fn rough(out: &mut String, report: &Report) {
    if report.rough_rollouts > 0 {
        let _written = writeln!(
            out,
            "\nRough stories\n  {} rollouts; {} dead, hanging or all broken, {} of them taken back",
            report.rough_rollouts, report.broken, report.broken_taken_back,
        );
    }
    if report.kills > 0 {
        let _written = writeln!(out, "\nKills of ours, one by one: {}", report.kills);
    }
    if report.claims > 0 {
        let (made, wrong) = (report.claims, report.claims_wrong);
        let _written = writeln!(
            out,
            "\nPromotions of a little worse releases: {made}; {wrong} ({:.1} %, allowed 5 %) claim to rule out what was so",
            percent(wrong, made)
        );
    }
    let _written = writeln!(out, "\nInvariants that did not hold: {}", report.invariant_violations);
}

fn faults(out: &mut String, report: &Report) {
    let n = report.faults.first().map_or(0, |row| row.rollouts);
    let _written = writeln!(
        out,
        "\nSeconds from fault to verdict: median / 95th percentile of {n} rollouts a row, {:.1} % base errors.\n\
         The fault begins 20 s after the canary's first user (start: 1 s, when warm-up is no excuse any more; late: 600 s)\n\
         and lasts ten minutes; – is later than that. Goals are held against 200 rollouts a row or more.\n\
         A model that condemned before there was a fault is let go on, as if a person had said so.\n",
        BASE_ERRORS * 100.0
    );
    let mut rows = vec![heading()];
    rows.extend(report.faults.iter().map(cells));
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len))
        .map(|i| rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    for row in rows {
        let line: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _written = writeln!(out, "  {}", line.join("  ").trim_end());
    }
    out.push('\n');
    for model in PEERS_ARE {
        let _written = writeln!(out, "  {model}");
    }
}

fn heading() -> Vec<String> {
    ["fault", "hmsops", "goal"].into_iter().chain(PEERS).map(str::to_owned).collect()
}

fn cells(row: &Row) -> Vec<String> {
    let goal = row.goal_s.map_or_else(String::new, |(p50, p95)| {
        let missed = if row.reaches_its_goal() { "" } else { " missed" };
        format!("{p50} / {p95}{missed}")
    });
    let peer = |name: &&str| {
        let of = |map: &std::collections::BTreeMap<String, Option<f64>>| map.get(*name).copied().flatten();
        pair(of(&row.peers_p50_s), of(&row.peers_p95_s))
    };
    let ours = [row.fault.clone(), pair(row.p50_s, row.p95_s), goal];
    ours.into_iter().chain(PEERS.iter().map(peer)).collect()
}

fn pair(p50: Option<f64>, p95: Option<f64>) -> String {
    let one = |secs: Option<f64>| secs.map_or_else(|| "–".into(), |secs| format!("{secs:.1}"));
    format!("{} / {}", one(p50), one(p95))
}

fn percent(k: u64, n: u64) -> f64 {
    100.0 * k as f64 / n.max(1) as f64
}
