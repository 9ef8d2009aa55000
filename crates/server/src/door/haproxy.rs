//! What a gateway that drives HAProxy can't do is said when it is asked for, not when its step comes.

use hmsops_model::Weight;
use hmsops_model::gateway::HaproxySettings;
use hmsops_model::release::ReleaseSpec;
use hmsops_model::route::Arm;
use hmsops_model::service::{Driver, ServiceSpec};
use hmsops_proxy::plane;
use hmsops_tower::Snapshot;

use super::{Context, Failure};

/// Refuses a release that its service's gateway could not carry through. What is not known is left to the tower to say.
pub(crate) fn check(context: &Context, snapshot: &Snapshot, spec: &ReleaseSpec) -> Result<(), Failure> {
    let Some(service) = snapshot.state.services.get(&spec.service) else { return Ok(()) };
    let Some((gateway, haproxy)) = driven(context, &service.spec) else { return Ok(()) };
    // The first version gets all requests at once.
    let steps = spec.steps.iter().filter(|_| service.stable.is_some());
    let shares: Vec<Weight> = steps.map(|step| step.weight).collect();
    let arms: Vec<Arm> =
        arms(&service.spec).into_iter().filter(|arm| arm.version == spec.image.tag).collect();
    match plane::haproxy_objection(&haproxy, &shares, &arms) {
        Some(why) => {
            Err(Failure::conflict(format!("gateway `{gateway}` can't release `{}`: {why}", spec.image))
                .hint("docs/howto/use-haproxy.md says what HAProxy can do"))
        }
        None => Ok(()),
    }
}

/// Refuses a service that its gateway can't carry: HAProxy's two servers carry one service, at one address a version.
pub(crate) fn check_declared(
    context: &Context,
    snapshot: &Snapshot,
    spec: &ServiceSpec,
) -> Result<(), Failure> {
    let Some((gateway, haproxy)) = driven(context, spec) else { return Ok(()) };
    let refuse = |why: String| {
        Failure::conflict(format!("gateway `{gateway}` can't carry `{}`: {why}", spec.name))
            .hint("docs/howto/use-haproxy.md says what HAProxy can do")
    };
    let routed = |other: &&ServiceSpec| {
        other.name != spec.name && other.route.as_ref().is_some_and(|route| route.gateway == gateway)
    };
    let known = snapshot.state.services.values().filter(|known| !known.retired).map(|known| &known.spec);
    if let Some(other) = known.filter(routed).map(|other| &other.name).next() {
        let backend = &haproxy.backend;
        return Err(refuse(format!(
            "backend `{backend}` carries `{other}`; give each service a gateway of its own"
        )));
    }
    plane::haproxy_objection(&haproxy, &[], &arms(spec)).map_or(Ok(()), |why| Err(refuse(why)))
}

/// The gateway of a service and the HAProxy that it drives, if it does.
fn driven(context: &Context, spec: &ServiceSpec) -> Option<(String, HaproxySettings)> {
    let gateway = spec.route.as_ref()?.gateway.clone();
    let settings = context.gateways.get(&gateway)?.borrow().haproxy.clone()?;
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
