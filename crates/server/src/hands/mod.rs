//! Effects are carried out: each kind has a task (or many) of its own, and the tower never waits for any.

pub mod gateway;
pub mod healer;
pub mod postman;
pub mod prober;
pub mod process;
pub mod spill;

use std::collections::BTreeMap;

use hmsops_control::Effect;
use hmsops_control::signal::heal::Heal;
use hmsops_control::signal::notice::Notice;
use hmsops_tower::Hands;
use hmsops_wire::gateway::ToGateway;
use tokio::sync::mpsc;

/// Where each kind of effect goes.
#[derive(Clone)]
pub struct Queues {
    /// Messages to each gateway.
    pub gateways: BTreeMap<String, mpsc::Sender<ToGateway>>,
    /// Instances to start and stop.
    pub process: mpsc::Sender<Effect>,
    /// Heals to run.
    pub heals: mpsc::Sender<Heal>,
    /// Notices to deliver.
    pub notices: mpsc::Sender<Notice>,
}

impl Hands for Queues {
    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Retreat { gateway, service, release } => {
                self.tell(&gateway, ToGateway::Retreat { service, release });
            }
            Effect::Route { gateway, route } => self.tell(&gateway, ToGateway::Set { route: *route }),
            Effect::Unroute { gateway, service, epoch } => {
                self.tell(&gateway, ToGateway::Remove { service, epoch });
            }
            Effect::Start { .. } | Effect::Stop { .. } => {
                if self.process.try_send(effect).is_err() {
                    tracing::error!("instances: too many are waiting to be started or stopped");
                }
            }
            // What finds no place comes again.
            Effect::Heal { heal } => {
                let _full = self.heals.try_send(*heal);
            }
            Effect::Notify { notice } => {
                let _full = self.notices.try_send(*notice);
            }
            Effect::Say { error: true, text, .. } => tracing::error!("{text}"),
            Effect::Say { text, .. } => tracing::info!("{text}"),
        }
    }
}

impl Queues {
    /// What finds no place is sent again by the next reconciliation.
    fn tell(&self, gateway: &str, message: ToGateway) {
        match self.gateways.get(gateway) {
            Some(queue) if queue.try_send(message).is_ok() => {}
            Some(_) => tracing::warn!("gateway {gateway}: too many messages are waiting"),
            None => tracing::warn!("gateway {gateway}: there is no such gateway in hmsops.yaml"),
        }
    }
}
