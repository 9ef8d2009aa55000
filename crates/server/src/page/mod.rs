//! The pages: HTML made from a [`Snapshot`] by pure functions. Each opens with a sentence; charts and tables under it
//! are the evidence. The sentences come from `hmsops_control`.
//!
//! A page under a policy of `default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'`
//! works whole: no inline style, no inline script; charts are inline SVG. Where the live parts were built, pages that
//! move name their script; they are whole without it, and the public status page never has one. Doors serve
//! [`asset`] under `/assets/`.

mod action;
mod alert;
mod alerts;
mod approvals;
mod audit;
mod badge;
mod chart;
mod dash;
mod deed;
mod failure;
mod feed;
mod frame;
mod glass;
mod history;
mod home;
mod html;
mod login;
mod mark;
mod moment;
mod notices;
mod people;
mod probes;
mod proof;
mod release;
mod releases;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod scene_holds;
#[cfg(test)]
mod scene_locks;
#[cfg(test)]
mod scene_people;
#[cfg(test)]
mod scene_signals;
mod service;
mod sessions;
mod status;
mod steps;
mod style;
#[cfg(test)]
mod tests;
mod tickets;
mod token_form;
mod tokens;

use hmsops_control::headline::Outlook;
use hmsops_control::signal::alert::Alert;
use hmsops_model::{Millis, UnixMillis};
use hmsops_tower::Snapshot;

pub use action::{Verb, action, needs_consent};
pub use alert::alert;
pub use alerts::alerts;
pub use approvals::{Asked, approvals};
pub use audit::{AuditFilter, AuditPage, audit, audit_check, audit_entry};
pub use badge::badge_svg;
pub use dash::{dash, dashes};
pub use deed::{Deed, deed};
pub use failure::failure;
pub use feed::{status_atom, status_json};
pub use glass::glasses;
pub use home::home;
pub use login::{Again, LoginWays, ProgramAsks, login_done, login_form, program, program_answered};
pub use notices::notices;
pub use people::people;
pub use release::release;
pub use releases::releases;
pub use service::service;
pub use sessions::{SessionRows, sessions};
pub use status::{status, status_static};
pub use steps::words;
pub use style::{asset, tag};
pub use tickets::{ticket, tickets};
pub use token_form::{SCOPE_FIELD, TokenWish, token_made, token_new, token_revoke, token_rotate};
pub use tokens::{TokenRow, tokens};

/// What a page is drawn from.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// State and evidence.
    pub view: &'a Snapshot,
    /// The moment the page is made: a snapshot much older than it is said to be old.
    pub now: UnixMillis,
    /// Whether the page renews itself; `?still` in its address turns that off, so that it can be read in peace.
    pub live: bool,
}

impl<'a> Look<'a> {
    /// How old the snapshot is.
    pub(super) fn age(&self) -> Millis {
        self.now.since(self.view.now.wall)
    }

    /// The same for the rules that make sentences.
    pub(super) fn outlook(&self) -> Outlook<'a> {
        Outlook {
            state: &self.view.state,
            evidence: &self.view.evidence,
            now: self.view.now,
            age: self.age(),
            ledger_failed: self.view.ledger_failed.as_deref(),
            backlog: self.view.backlog,
        }
    }

    /// Whether a release or an alert can still change by itself.
    pub(super) fn is_active(&self) -> bool {
        let state = &self.view.state;
        state.releases.values().any(|release| release.phase.is_active() || !release.closed)
            || state.signals.alerts.values().any(Alert::is_open)
    }
}
