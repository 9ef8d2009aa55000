//! By which metrics come in: what programs emit, what other collectors write, what is scraped, and what the tower
//! itself knows. All of it ends in [`Metrics`], which bounds and counts it.

mod body;
pub mod emit;
mod grpc;
pub mod listener;
pub mod metrics;
pub(crate) mod otlp;
pub mod own;
pub mod remote;
pub mod scrape;
pub mod traffic;

pub(crate) use body::{BodyError, Whole, read};
pub use metrics::{AppendError, Door, Metrics};
pub use scrape::{Pool, Scraper, TargetHealth};
pub use traffic::GatewayTraffic;

#[cfg(test)]
pub(crate) mod tests;
