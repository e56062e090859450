//! Logging out: the session ends, and the sessions of the client's other cookies.

use crate::cookie::change::CookieChange;
use crate::error::{ErrorKind, Result};
use crate::keyed::KeyedStorage;
use crate::keyed::backend::Backend;
use crate::keyed::create::Created;
use crate::keyed::end::{EndCause, EndProgress, PriorState};
use crate::keyed::save::{SAVE_TIMEOUTS, STEPS_TIMEOUTS, Saved};
use crate::session::Draft;
use crate::session::state::{EndedBy, Place};

/// After a logout has stored a new session, ending the client's other sessions may take this many
/// timeouts of the backend.
const OTHERS_TIMEOUTS: u32 = 2;

impl<B: Backend> KeyedStorage<B> {
    /// Ends a session that was cleared.
    pub(super) async fn clear(&self, draft: &mut Draft) -> Result<Saved> {
        let Place::InStore { identity, seen, .. } = draft.place.clone() else {
            return self.lost(draft, None);
        };
        let is_repeated = draft.begin_end();
        let mut progress = EndProgress::default();
        let end = self.end(
            &identity,
            Some(&seen),
            EndCause::Clear,
            is_repeated,
            &mut progress,
        );
        match end.await? {
            PriorState::Live => {
                draft.commit_removal();
                Ok(CookieChange::Remove.into())
            }
            PriorState::Ended(_) | PriorState::Absent => self.lost(draft, Some(&identity)),
        }
    }

    /// Ends the session of the request, within the time of a save.
    pub(super) async fn end_session(&self, draft: &mut Draft) -> Result<Saved> {
        let restarts = !draft.record.is_empty();
        let mut new = None;
        let times = if restarts {
            STEPS_TIMEOUTS
        } else {
            SAVE_TIMEOUTS
        };
        let end = Box::pin(self.log_out(draft, &mut new));
        let error = match self.backend.bound(end, times).await {
            Ok(done) => return done,
            Err(error) => error,
        };
        let ended_by = draft.origin.ended_by;
        if let Some(created) = new
            && draft.was_ended_here()
            && !ended_by.is_some_and(EndedBy::refuses_changes)
        {
            // Only sessions of other cookies are left to end.
            self.log_not_ended(&error, "logout");
            draft.note_ended();
            return Ok(self.commit_new(draft, created));
        }
        if restarts {
            self.take_back_last(draft).await;
        }
        Err(error)
    }

    /// Ends the session and the sessions of the client's other cookies. Values that were set after
    /// the end start another session, unless another request has replaced or ended this one first.
    /// `new` is set once that session is stored.
    async fn log_out(&self, draft: &mut Draft, new: &mut Option<Created>) -> Result<Saved> {
        let has_cookie = draft.origin.sent_cookie || matches!(draft.place, Place::InStore { .. });
        let restarts = !draft.record.is_empty();
        draft.set_stale_creation_aside(restarts);
        let mut failed = None;
        if restarts && matches!(draft.place, Place::InStore { .. }) {
            // Created first, so that a failure leaves the client with the session that it had.
            match self.create(draft, false).await {
                Ok(created) => *new = Some(created),
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                // The new values cannot be stored. The session ends nevertheless.
                Err(error) => failed = Some(error),
            }
        }
        let is_repeated = draft.begin_end();
        self.end_loaded(draft, is_repeated).await?;
        self.discard_stale(draft).await;
        let others = self.end_others(draft, is_repeated, new.is_some()).await?;
        // If the request had loaded a session, the way that session ended decides, even if an
        // earlier save ended it. Otherwise the strongest reason among the other cookies decides.
        let ended_by = if draft.was_ended_here() {
            draft.origin.ended_by
        } else {
            others
        };
        // The cookie of a login that replaced this session stays.
        let is_replaced = ended_by.is_some_and(EndedBy::is_replacement);
        if !restarts {
            if is_replaced {
                draft.forget_cookie();
            }
            draft.commit_removal();
            let cookie = if has_cookie && !is_replaced {
                CookieChange::Remove
            } else {
                CookieChange::Keep
            };
            return Ok(cookie.into());
        }
        draft.note_ended();
        if let Some(error) = failed {
            if !is_replaced {
                draft.note_removal();
            }
            return Err(error);
        }
        if is_replaced || ended_by == Some(EndedBy::Logout) {
            self.take_back(draft).await;
            return self.lost(draft, None);
        }
        let created = match new.take() {
            Some(created) => created,
            None => self.create(draft, false).await?,
        };
        Ok(self.commit_new(draft, created))
    }

    /// Ends the session that the request has loaded, if any.
    async fn end_loaded(&self, draft: &mut Draft, is_repeated: bool) -> Result<()> {
        let Place::InStore { identity, seen, .. } = draft.place.clone() else {
            return Ok(());
        };
        let cause = EndCause::Logout;
        let mut progress = EndProgress::default();
        let end = self.end(&identity, Some(&seen), cause, is_repeated, &mut progress);
        match end.await {
            Ok(PriorState::Live | PriorState::Absent) => draft.note_ended_here(None),
            Ok(PriorState::Ended(by)) => draft.note_ended_here(Some(by)),
            Err(error) => {
                self.take_back(draft).await;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Ends the records that the end has made useless. This comes after the end, which may have to
    /// follow a renewal to one of them.
    async fn discard_stale(&self, draft: &Draft) {
        for stale in draft.stale_creations() {
            if self.discard(&stale).await {
                draft.forget_stale(&stale);
            }
        }
    }

    /// Ends the sessions of the client's other cookies. Returns the strongest reason among those
    /// that had already ended. `goes_on` means that a new session is already stored. A failure is
    /// then only logged.
    async fn end_others(
        &self,
        draft: &Draft,
        is_repeated: bool,
        goes_on: bool,
    ) -> Result<Option<EndedBy>> {
        let mut ended_by = None;
        let ends = async {
            for cookie in draft.origin.cookies.iter().filter(|it| self.accepts(it)) {
                let mut progress = EndProgress::default();
                let end = self.end(cookie, None, EndCause::Logout, is_repeated, &mut progress);
                match end.await {
                    Ok(PriorState::Ended(by)) => ended_by = ended_by.max(Some(by)),
                    Ok(PriorState::Live | PriorState::Absent) => {}
                    Err(error) if goes_on => self.log_not_ended(&error, "logout"),
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        if goes_on {
            // This leaves the save time to send the new session.
            let ended = self.backend.bound(Box::pin(ends), OTHERS_TIMEOUTS).await;
            if let Err(error) = ended.and_then(|ended| ended) {
                self.log_not_ended(&error, "logout");
            }
        } else {
            ends.await?;
        }
        Ok(ended_by)
    }
}
