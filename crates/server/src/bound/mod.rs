//! What every door has in common against being used up: places for connections, rates of requests, writes that nobody
//! reads. The numbers are in `model/limits.rs`.

use std::sync::Arc;

use hmsops_model::limits::{
    COLLECTOR_CONNECTIONS_EACH_MAX, COLLECTOR_CONNECTIONS_MAX, WEB_CONNECTIONS_EACH_MAX, WEB_CONNECTIONS_MAX,
};

mod arriving;
mod descriptors;
mod places;
mod rates;
mod stall;

pub(crate) use arriving::{Arriving, Turn, is_last};
use descriptors::{places, raise};
pub(crate) use places::{Busy, Counts, Place, Places};
pub(crate) use rates::Rates;
pub(crate) use stall::Unstalled;

/// Places of the doors.
#[derive(Debug)]
pub(crate) struct Bounds {
    /// For connections to pages and the API.
    pub(crate) web: Arc<Places>,
    /// For connections to the collector's port.
    pub(crate) collector: Arc<Places>,
}

impl Default for Bounds {
    fn default() -> Self {
        raise();
        Self {
            web: Places::new(places(WEB_CONNECTIONS_MAX), WEB_CONNECTIONS_EACH_MAX),
            collector: Places::new(places(COLLECTOR_CONNECTIONS_MAX), COLLECTOR_CONNECTIONS_EACH_MAX),
        }
    }
}
