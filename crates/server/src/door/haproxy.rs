//! What a gateway that drives HAProxy can't do is said when it is asked for, not when its step comes.

use std::collections::BTreeMap;

use hmsops_control::state::service::Service;
use hmsops_model::gateway::{GatewaySettings, HaproxySettings};
use hmsops_model::haproxy;
use hmsops_model::release::ReleaseSpec;
use hmsops_model::route::Arm;
use hmsops_model::service::{Driver, ServiceSpec};
use hmsops_model::{ServiceName, Version, Weight};
use hmsops_tower::Snapshot;
use tokio::sync::watch;

use super::{Context, Failure};

/// The settings in force of each gateway, by its name.
pub(crate) type Gateways = BTreeMap<String, watch::Receiver<GatewaySettings>>;

const HINT: &str = "docs/howto/use-haproxy.md says what HAProxy can do";

/// Refuses a release that its service's gateway could not carry through. What is not known is left to the tower to say.
pub(crate) fn check(context: &Context, snapshot: &Snapshot, spec: &ReleaseSpec) -> Result<(), Failure> {
    let Some(service) = snapshot.state.services.get(&spec.service) else { return Ok(()) };
    let Some((gateway, haproxy)) = driven(&context.gateways, &service.spec) else { return Ok(()) };
    // The first version gets all requests at once.
    let steps = spec.steps.iter().filter(|_| service.stable.is_some());
    let shares: Vec<Weight> = steps.map(|step| step.weight).collect();
    let arms: Vec<Arm> =
        arms(&service.spec).into_iter().filter(|arm| arm.version == spec.image.tag).collect();
    match haproxy.objection(&shares, &arms) {
        Some(why) => {
            Err(Failure::conflict(format!("gateway `{gateway}` can't release `{}`: {why}", spec.image))
                .hint(HINT))
        }
        None => Ok(()),
    }
}

/// Refuses the takeover of a version that HAProxy's server of stable can't be pointed at.
pub(crate) fn check_adopted(
    context: &Context,
    snapshot: &Snapshot,
    service: &ServiceName,
    (version, upstreams): (&Version, &[String]),
) -> Result<(), Failure> {
    let Some(known) = snapshot.state.services.get(service) else { return Ok(()) };
    let Some((gateway, _)) = driven(&context.gateways, &known.spec) else { return Ok(()) };
    let arm = Arm { version: version.clone(), upstreams: upstreams.to_vec() };
    haproxy::address(&arm).map(drop).map_err(|why| {
        Failure::conflict(format!("gateway `{gateway}` can't carry `{service}`: {why}")).hint(HINT)
    })
}

/// What keeps a gateway from carrying one of the services that are declared together: HAProxy's two servers carry one
/// service, at one address a version. `stays` are the services known already that will be there beside them.
pub(crate) fn objection(
    gateways: &Gateways,
    snapshot: &Snapshot,
    specs: &[ServiceSpec],
    stays: impl Fn(&Service) -> bool,
) -> Option<String> {
    let is_declared = |name: &ServiceName| specs.iter().any(|spec| spec.name == *name);
    let known = snapshot.state.services.values();
    let known: Vec<&ServiceSpec> = known
        .filter(|known| !known.retired && !is_declared(&known.spec.name) && stays(known))
        .map(|known| &known.spec)
        .collect();
    specs.iter().enumerate().find_map(|(i, spec)| {
        let (gateway, haproxy) = driven(gateways, spec)?;
        let routed =
            |other: &&&ServiceSpec| other.route.as_ref().is_some_and(|route| route.gateway == gateway);
        let declared_before: Vec<&ServiceSpec> = specs[..i].iter().collect();
        let other = known.iter().chain(&declared_before).find(routed);
        let why = match other {
            Some(other) => format!(
                "backend `{}` carries `{}`; give each service a gateway of its own",
                haproxy.backend, other.name
            ),
            None => haproxy.objection(&[], &arms(spec))?,
        };
        Some(format!("gateway `{gateway}` can't carry `{}`: {why}", spec.name))
    })
}

/// Refuses services that are sent and that their gateway can't carry.
pub(crate) fn check_declared(
    context: &Context,
    snapshot: &Snapshot,
    specs: &[ServiceSpec],
) -> Result<(), Failure> {
    match objection(&context.gateways, snapshot, specs, |_| true) {
        Some(why) => Err(Failure::conflict(why).hint(HINT)),
        None => Ok(()),
    }
}

/// The gateway of a service and the HAProxy that it drives, if it does.
fn driven(gateways: &Gateways, spec: &ServiceSpec) -> Option<(String, HaproxySettings)> {
    let gateway = spec.route.as_ref()?.gateway.clone();
    let settings = gateways.get(&gateway)?.borrow().haproxy.clone()?;
    Some((gateway, *settings))
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
