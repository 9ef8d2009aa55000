//! When log-ins were last used. Not in the ledger: a restart of the tower gives each its idle time anew, and no more.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use hmsops_model::person::SESSION_IDLE;
use hmsops_model::{Millis, SessionId};

/// When log-ins were last used, on the steady clock. Bounded by how many log-ins there may be.
#[derive(Debug, Default)]
pub(crate) struct Activity(Mutex<BTreeMap<SessionId, Millis>>);

impl Activity {
    /// Somebody has just logged in.
    pub(crate) fn begin(&self, session: SessionId, steady: Millis) {
        self.locked().insert(session, steady);
    }

    /// A log-in is used. Answers whether it may be: not after too long a pause. `by_hand`: a person did something, and not
    /// a page by itself.
    pub(crate) fn touch(&self, session: SessionId, by_hand: bool, steady: Millis) -> bool {
        let mut used = self.locked();
        let last = used.entry(session).or_insert(steady);
        if steady.since(*last) >= SESSION_IDLE {
            return false;
        }
        if by_hand {
            *last = steady.max(*last);
        }
        true
    }

    /// Which of those that last have not been used for too long. Those that do not last are forgotten.
    pub(crate) fn idle(&self, lasting: &[SessionId], steady: Millis) -> Vec<SessionId> {
        let mut used = self.locked();
        used.retain(|session, _| lasting.contains(session));
        let mut too_long =
            |session: &SessionId| steady.since(*used.entry(*session).or_insert(steady)) >= SESSION_IDLE;
        lasting.iter().copied().filter(|session| too_long(session)).collect()
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, BTreeMap<SessionId, Millis>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_in_that_nobody_uses_ends() {
        let (activity, one) = (Activity::default(), SessionId(1));
        activity.begin(one, Millis(0));
        assert!(activity.touch(one, true, Millis(SESSION_IDLE.0 - 1)));
        assert!(activity.touch(one, false, SESSION_IDLE + Millis(1)), "it was used meanwhile");
        let late = SESSION_IDLE + SESSION_IDLE;
        assert!(
            !activity.touch(one, true, late) && !activity.touch(one, true, late),
            "and is not revived by asking"
        );
        assert_eq!(activity.idle(&[one, SessionId(2)], late), [one], "one that is not known yet begins now");
        assert_eq!(activity.idle(&[SessionId(2)], late + SESSION_IDLE), [SessionId(2)]);
    }
}
