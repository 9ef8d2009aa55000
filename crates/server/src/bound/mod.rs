//! What every door has in common against being used up: places for connections, rates of requests, writes that nobody
//! reads. The numbers are in `model/limits.rs`.

mod descriptors;
mod places;
mod rates;
mod stall;

pub(crate) use descriptors::places;
pub(crate) use places::{Place, Places};
pub(crate) use rates::Rates;
pub(crate) use stall::Unstalled;
