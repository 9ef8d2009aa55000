//! What files say of a gateway that drives HAProxy, read together: its two servers carry one service, at one address a
//! version, and not every share.

use std::collections::BTreeMap;

use hmsops_model::gateway::HaproxySettings;
use hmsops_model::route::Arm;
use hmsops_model::service::{Driver, ServiceSpec};
use hmsops_model::{ServiceName, haproxy};

use crate::diagnostic::{Diagnostic, Findings, Span};
use crate::release::parse_release;
use crate::service::parse_services;
use crate::settings::parse_tower;
use crate::yaml::{self, Entry, Node, Value};
use crate::{Kind, Report};

const HINT: &str = "docs/howto/use-haproxy.md says what HAProxy can do";

/// Gateways that drive HAProxy, by name.
type Driven = BTreeMap<String, HaproxySettings>;

/// The services that they carry, by name, each with its gateway's.
type Carried = BTreeMap<ServiceName, String>;

/// Adds to the reports what is wrong with each file beside the others. `texts` are the files' texts, in the reports'
/// order. Files with errors of their own are left out: first things first.
pub(crate) fn check(texts: &[&str], reports: &mut [Report]) {
    let of = |kind: Kind, reports: &[Report]| -> Vec<usize> {
        let sound = reports.iter().enumerate().filter(|(_, report)| report.kind == kind && !report.failed());
        sound.map(|(at, _)| at).collect()
    };
    let driven = driven(of(Kind::Tower, reports).into_iter().map(|at| texts[at]));
    if driven.is_empty() {
        return;
    }
    let (mut first, mut carried) = (BTreeMap::new(), Carried::new());
    for at in of(Kind::Services, reports) {
        let found = services(texts[at], &driven, &mut first, &mut carried);
        add(&mut reports[at], found);
    }
    for at in of(Kind::Release, reports) {
        add(&mut reports[at], release(texts[at], &driven, &carried));
    }
}

/// An error makes advice about a file that works pointless.
fn add(report: &mut Report, found: Vec<Diagnostic>) {
    if !found.is_empty() {
        report.diagnostics = found;
    }
}

/// Of a name that two settings have, nobody can tell whose gateway a service means: it is left out.
fn driven<'t>(settings: impl Iterator<Item = &'t str>) -> Driven {
    let mut all: BTreeMap<String, Vec<Option<HaproxySettings>>> = BTreeMap::new();
    for text in settings {
        for (name, gateway) in parse_tower(text).value.unwrap_or_default().gateways {
            all.entry(name).or_default().push(gateway.settings.haproxy.map(|settings| *settings));
        }
    }
    let one = |(name, mut settings): (String, Vec<Option<HaproxySettings>>)| {
        let only = settings.pop().flatten().filter(|_| settings.is_empty());
        only.map(|haproxy| (name, haproxy))
    };
    all.into_iter().filter_map(one).collect()
}

fn services(
    text: &str,
    driven: &Driven,
    first: &mut BTreeMap<String, ServiceName>,
    carried: &mut Carried,
) -> Vec<Diagnostic> {
    let mut out = Findings::new(text);
    let root = yaml::parse(text, false, &mut Findings::new(text)).root;
    for spec in parse_services(text).value.unwrap_or_default() {
        let Some(gateway) = spec.route.as_ref().map(|route| &route.gateway) else { continue };
        let Some(haproxy) = driven.get(gateway) else { continue };
        let at = |path: &[&str]| place(root.as_ref(), &[&["services", spec.name.as_str()], path].concat());
        let other = first.entry(gateway.clone()).or_insert_with(|| spec.name.clone());
        if *other != spec.name {
            let backend = &haproxy.backend;
            let message = format!(
                "gateway `{gateway}` can't carry `{}`: backend `{backend}` of its HAProxy carries `{other}`",
                spec.name
            );
            out.error(at(&["route"]), message, "give each service a backend and a gateway of its own");
        }
        for arm in arms(&spec) {
            if let Err(why) = haproxy::address(&arm) {
                let message = format!("gateway `{gateway}` can't carry `{}`: {why}", spec.name);
                out.error(at(&["upstreams", arm.version.as_str()]), message, HINT);
            }
        }
        carried.insert(spec.name, gateway.clone());
    }
    out.finish(Some(())).diagnostics
}

fn release(text: &str, driven: &Driven, carried: &Carried) -> Vec<Diagnostic> {
    let mut out = Findings::new(text);
    let spec = parse_release(text).value;
    let carrier = spec.as_ref().and_then(|spec| carried.get(&spec.service));
    let carrier = carrier.and_then(|name| Some((name, driven.get(name)?)));
    let (Some(spec), Some((gateway, haproxy))) = (spec, carrier) else { return Vec::new() };
    let root = yaml::parse(text, false, &mut Findings::new(text)).root;
    let steps = entry(root.as_ref(), &["strategy", "steps"]);
    for (i, step) in spec.steps.iter().enumerate() {
        if let Err(why) = haproxy.pair(step.weight) {
            let node = steps.and_then(|steps| match &steps.value.value {
                Value::List(nodes) => nodes.get(i),
                _ => None,
            });
            let at = node.map_or(Span::START, |node| place(Some(node), &["weight"]));
            out.error(at, format!("gateway `{gateway}` can't release `{}`: {why}", spec.image), HINT);
        }
    }
    out.finish(Some(())).diagnostics
}

/// The versions whose addresses are declared.
fn arms(spec: &ServiceSpec) -> Vec<Arm> {
    match &spec.driver {
        Driver::External { upstreams } => upstreams
            .iter()
            .map(|(version, at)| Arm { version: version.clone(), upstreams: at.clone() })
            .collect(),
        Driver::Process { .. } => Vec::new(),
    }
}

/// The entry below these keys.
fn entry<'n>(root: Option<&'n Node>, keys: &[&str]) -> Option<&'n Entry> {
    let (last, before) = keys.split_last()?;
    let node = before.iter().try_fold(root?, |node, key| Some(&entry(Some(node), &[key])?.value))?;
    let Value::Map(map) = &node.value else { return None };
    map.entries.iter().find(|entry| entry.key == *last)
}

/// Where the value below these keys stands; else where `root` begins.
fn place(root: Option<&Node>, keys: &[&str]) -> Span {
    entry(root, keys).map_or_else(|| root.map_or(Span::START, |root| root.at), |found| found.value.at)
}
