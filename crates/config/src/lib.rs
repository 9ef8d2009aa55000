//! Text that a person writes → checked specs, or diagnostics with line, column and hint.
//!
//! Refuses: reading files (it is given text, and a name to show), a clock, I/O. Parsers never stop at the
//! first mistake: they return everything there is to say, one error for one mistake, and a value only when
//! nothing is wrong. Entry points: [`parse_release`], [`parse_services`], [`parse_policy`], [`parse_tower`],
//! [`parse_rules`], [`parse_scrape`], and [`check`] for any of them, told by content. What comes over the API instead is
//! checked by the same code: [`parse_rule`], [`parse_heal`], [`parse_duration`].

mod address;
mod baseline;
mod check;
mod diagnostic;
mod driver;
mod duration;
mod environment;
mod fields;
mod freeze;
mod gateway;
mod guard;
mod haproxy;
mod heal;
mod health;
mod image;
mod nearest;
mod notify;
mod people;
mod policy;
mod probe;
mod release;
pub mod render;
mod rule;
mod rule_file;
mod rule_group;
mod rule_test;
mod scalar;
mod scan_error;
mod scrape;
mod service;
mod settings;
pub mod tower;
mod when;
mod yaml;

pub use baseline::parse_baseline;
pub use check::{Kind, Report, check, check_together, kind_of};
pub use diagnostic::{Checked, Diagnostic, Severity, TextError};
pub use duration::parse_duration;
pub use heal::parse_heal;
pub use image::parse_image;
pub use policy::parse_policy;
pub use release::parse_release;
pub use rule::{HEAL_INTERVAL_DEFAULT, INTERVAL_DEFAULT, Mistake, NewRule, parse_rule, readings};
pub use rule_file::parse_rules;
pub use rule_group::{parse_groups, parse_recordings};
pub use rule_test::{RuleTest, parse_rule_test};
pub use scrape::{TargetSet, parse_scrape, parse_targets};
pub use service::parse_services;
pub use settings::parse_tower;
pub use tower::TowerConfig;

pub use hmsops_promql::rules::{
    Element as RuleElement, ExpectedAlert as RuleAlert, Failure as RuleFailure,
    FailureKind as RuleFailureKind, Group as RuleGroup,
};

#[cfg(test)]
mod tests;
