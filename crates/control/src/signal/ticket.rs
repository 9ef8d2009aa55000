//! What a person has to do because the machine could not.

use hmsops_model::{AlertId, HealId, Now, ServiceName, TicketId};
use serde::{Deserialize, Serialize};

use crate::event::Who;

/// The first words of a ticket's title (chapter 20 §8).
pub const TAKE_OVER: &str = "Take-Over Required";

/// What a person has to do. While it is open, nothing heals its service by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Which.
    pub id: TicketId,
    /// The service.
    pub service: ServiceName,
    /// The alert it is about.
    pub alert: Option<AlertId>,
    /// The heal that failed.
    pub heal: Option<HealId>,
    /// `Take-Over Required: dmv-photo`.
    pub title: String,
    /// What was tried and what it printed.
    pub text: String,
    /// Since when.
    pub opened_at: Now,
    /// How it ended.
    pub closed: Option<Closed>,
    /// Who was told of it.
    pub told: Vec<String>,
}

/// The end of a ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// When.
    pub at: Now,
    /// Who.
    pub by: Who,
    /// What was done.
    pub reason: String,
}
