//! The hands: processes through shims, image folders, probes. They do what they are told and say what came
//! of it.
//!
//! Refuses: deciding. Entry points: [`process::ProcessDriver`], [`probe::Prober`], [`image::digest`], and
//! [`shim::run`], which is what `hmsops shim` does.

pub mod image;
pub mod port;
pub mod probe;
mod proc;
pub mod process;
mod record;
pub mod shim;
