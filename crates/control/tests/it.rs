//! Whole stories through `observe → decide → apply`, on time that the test makes.

#![expect(clippy::unwrap_used, reason = "a story that can't be told fails its test")]

#[path = "it/alerts.rs"]
mod alerts;
#[path = "it/capacity.rs"]
mod capacity;
#[path = "it/command.rs"]
mod command;
#[path = "it/freeze.rs"]
mod freeze;
#[path = "it/group.rs"]
mod group;
#[path = "it/hold.rs"]
mod hold;
#[path = "it/irreversible.rs"]
mod irreversible;
#[path = "it/people.rs"]
mod people;
#[path = "it/policies.rs"]
mod policies;
#[path = "it/probe.rs"]
mod probe;
#[path = "it/release.rs"]
mod release;
#[path = "it/revert.rs"]
mod revert;
#[path = "it/service.rs"]
mod service;
#[path = "it/story.rs"]
mod story;
#[path = "it/tokens.rs"]
mod tokens;
#[path = "it/verdicts.rs"]
mod verdicts;
