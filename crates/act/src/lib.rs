//! The hands: processes and heals through shims, channels to people, image folders, probes. They do what they are told and say what came
//! of it.
//!
//! Refuses: deciding. Entry points: [`process::ProcessDriver`], [`heal::HealDriver`], [`probe::Prober`], [`image::digest`], and
//! [`shim::run`], which is what `hmsops shim` does.

pub mod channel;
pub mod core_file;
pub mod guard;
pub mod heal;
pub mod image;
pub mod port;
pub mod probe;
mod proc;
pub mod process;
mod record;
pub mod shim;
