//! A driver reports.

use hmsops_model::{InstanceId, ServiceName};

use super::View;
use crate::event::InstanceReport;
use crate::state::service::{InstancePhase, InstanceState};
use crate::transition::Transition;

impl View<'_> {
    /// Writes down what a driver reports, as far as it is news. What follows from it is found by the review.
    pub(super) fn instance(self, id: InstanceId, report: &InstanceReport) -> Vec<Transition> {
        let Some((service, known)) = self.state.instance(id) else { return Vec::new() };
        let service = service.spec.name.clone();
        news(known, service, id, report).into_iter().collect()
    }
}

fn news(
    known: &InstanceState,
    service: ServiceName,
    id: InstanceId,
    report: &InstanceReport,
) -> Option<Transition> {
    let stopping = known.phase == InstancePhase::Stopping;
    match report {
        _ if known.ended() => None,
        InstanceReport::Started { pid, upstreams, metrics } => {
            let same = known.phase == InstancePhase::Running
                && known.pid == *pid
                && known.upstreams == *upstreams
                && known.metrics == *metrics;
            let (pid, upstreams) = (*pid, upstreams.clone());
            (!same && !stopping).then_some(Transition::InstanceStarted {
                service,
                id,
                pid,
                upstreams,
                metrics: metrics.clone(),
            })
        }
        InstanceReport::Stopped => Some(Transition::InstanceStopped { service, id }),
        InstanceReport::Exited { .. } | InstanceReport::Failed { .. } if stopping => {
            Some(Transition::InstanceStopped { service, id })
        }
        InstanceReport::Exited { reason } => {
            Some(Transition::InstanceExited { service, id, reason: reason.clone() })
        }
        InstanceReport::Failed { reason } => {
            Some(Transition::InstanceFailed { service, id, reason: reason.clone() })
        }
    }
}
