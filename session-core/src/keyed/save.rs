//! Saving: carries out the plan.

use std::task::Poll;
use std::time::Duration;

use crate::cookie::change::CookieChange;
use crate::error::{Error, ErrorChain, ErrorKind, Result};
use crate::keyed::KeyedStorage;
use crate::keyed::backend::Backend;
use crate::keyed::create::Created;
use crate::keyed::end::{EndCause, PriorState};
use crate::keyed::plan::{Plan, Situation};
use crate::keyed::swap::RETRY_TIMEOUTS;
use crate::keyed::users::Listing;
use crate::session::identity::Identity;
use crate::session::state::{EndedBy, Place};
use crate::session::{Draft, IdentityChange, Session, lifetime};
use crate::storage::Storage as _;

/// How much longer than its session the store keeps a record, so that a request that loaded a live
/// session can still save it.
pub(super) const GRACE: Duration = Duration::from_secs(300);

/// The time limit of a whole save, in timeouts of the backend. Waiting for another save of the same
/// `Session` is not included.
const SAVE_TIMEOUTS: u32 = RETRY_TIMEOUTS + 1;

/// The part of it that is left for the last step: enforcing the limit of sessions of a user, taking
/// back what a login or a creation has stored, or finding out whether a renewal is done.
pub(super) const LAST_TIMEOUTS: u32 = 1;

/// The part of it that the other steps may take, if there can be a last step.
pub(super) const STEPS_TIMEOUTS: u32 = SAVE_TIMEOUTS - LAST_TIMEOUTS;

/// How many times that limit the ends of the client's other cookies may take after a logout has
/// stored a new session.
const OTHERS_TIMEOUTS: u32 = 2;

/// What a save did.
pub(super) struct Saved {
    pub(super) cookie: CookieChange,
    /// How it listed the session in the index of its user.
    pub(super) listing: Option<Box<Listing>>,
}

impl From<CookieChange> for Saved {
    fn from(cookie: CookieChange) -> Self {
        Self {
            cookie,
            listing: None,
        }
    }
}

impl<B: Backend> KeyedStorage<B> {
    pub(super) async fn save_session(&self, session: &Session) -> Result<CookieChange> {
        let draft = match session.begin_save(self.config())? {
            Poll::Ready(draft) => draft,
            Poll::Pending => {
                let other = session.begin_next_save();
                self.backend.bound(other, RETRY_TIMEOUTS).await?
            }
        };
        let Some(mut draft) = draft else {
            return Ok(CookieChange::Keep);
        };
        if draft.is_lost() && draft.delta.identity != IdentityChange::End {
            return Err(ErrorKind::Ended.into());
        }
        let plan = Plan::of(Situation {
            place: &draft.place,
            origin: &draft.origin,
            delta: &draft.delta,
            is_refresh: draft.refresh,
            is_empty: draft.record.is_empty(),
            is_login: self.is_login(&draft),
        });
        let is_refresh = plan == Plan::Refresh;
        // All but the usual plans are boxed, because their futures are many times larger.
        let saved = match plan {
            Plan::Nothing => Ok(CookieChange::Keep.into()),
            Plan::Refuse => self.lost(&draft, None),
            // Its loop has a limit of its own.
            Plan::Update | Plan::Refresh if !self.may_list(&draft) => {
                self.update(&mut draft, is_refresh).await
            }
            Plan::Update | Plan::Refresh => {
                let update = Box::pin(self.update(&mut draft, is_refresh));
                self.backend.bound(update, STEPS_TIMEOUTS).await?
            }
            Plan::Create => Box::pin(self.start(&mut draft)).await,
            Plan::Renew => Box::pin(self.renew(&mut draft)).await,
            Plan::Login => Box::pin(self.log_in(&mut draft)).await,
            Plan::Clear => {
                let clear = Box::pin(self.clear(&mut draft));
                self.backend.bound(clear, SAVE_TIMEOUTS).await?
            }
            Plan::End => Box::pin(self.end_session(&mut draft)).await,
        };
        let saved = saved?;
        draft.note_cookie(&saved.cookie);
        if let Some(listing) = saved.listing {
            Box::pin(self.enforce_limit(listing)).await;
        }
        Ok(saved.cookie)
    }

    /// Ends a session that was cleared.
    async fn clear(&self, draft: &mut Draft) -> Result<Saved> {
        let Place::InStore { identity, seen, .. } = draft.place.clone() else {
            return self.lost(draft, None);
        };
        let is_repeated = draft.begin_end();
        let mut has_ended = false;
        let end = self.end(
            &identity,
            Some(&seen),
            EndCause::Clear,
            is_repeated,
            &mut has_ended,
        );
        match end.await? {
            PriorState::Live => {
                draft.commit_removal();
                Ok(CookieChange::Remove.into())
            }
            PriorState::Ended(_) | PriorState::Absent => self.lost(draft, Some(&identity)),
        }
    }

    /// Stores a new session.
    async fn start(&self, draft: &mut Draft) -> Result<Saved> {
        let create = Box::pin(self.create(draft, false));
        let created = self.backend.bound(create, STEPS_TIMEOUTS).await;
        if created.is_err() {
            self.take_back_last(draft).await;
        }
        Ok(self.commit_new(draft, created??))
    }

    /// Stores a new session, and then ends the sessions of the client's cookies. In this order, a
    /// failure leaves the client with the session that it had.
    async fn log_in(&self, draft: &mut Draft) -> Result<Saved> {
        let (mut created, mut has_ended_one) = (None, false);
        let steps = Box::pin(async {
            let new = created.insert(self.create(draft, false).await?);
            self.replace_old(draft, &new.identity, &mut has_ended_one)
                .await
        });
        let done = self.backend.bound(steps, STEPS_TIMEOUTS).await;
        let is_late = done.is_err();
        match (created, done.and_then(|done| done)) {
            (Some(created), Ok(())) => Ok(self.commit_new(draft, created)),
            (Some(created), Err(error)) if has_ended_one => {
                // The client's old session may have ended, so failing now would leave it without a
                // session.
                self.log_not_ended(&error, "login");
                Ok(self.commit_new(draft, created))
            }
            (created, done) => {
                // If the creation itself failed, the next save goes on with it.
                if is_late || created.is_some() {
                    self.take_back_last(draft).await;
                }
                Err(done.err().unwrap_or_else(|| ErrorKind::Unavailable.into()))
            }
        }
    }

    /// Ends the sessions of the client's cookies in favour of a login.
    async fn replace_old(
        &self,
        draft: &Draft,
        new: &Identity,
        has_ended_one: &mut bool,
    ) -> Result<()> {
        let cookies = draft.origin.cookies.iter();
        for cookie in cookies.filter(|it| *it != new && self.accepts(it)) {
            let end = self.end(cookie, None, EndCause::Login, false, has_ended_one);
            match end.await {
                Ok(_) => {}
                Err(error) if !*has_ended_one => return Err(error),
                Err(error) => self.log_not_ended(&error, "login"),
            }
        }
        Ok(())
    }

    async fn end_session(&self, draft: &mut Draft) -> Result<Saved> {
        if draft.record.is_empty() {
            let end = Box::pin(self.log_out(draft));
            return self.backend.bound(end, SAVE_TIMEOUTS).await?;
        }
        let end = Box::pin(self.log_out(draft));
        let saved = self.backend.bound(end, STEPS_TIMEOUTS).await;
        if saved.is_err() {
            self.take_back_last(draft).await;
        }
        saved?
    }

    /// Ends the session and the sessions of the client's other cookies. Values that were set after
    /// the end start another session, unless another request has replaced or ended this one first.
    async fn log_out(&self, draft: &mut Draft) -> Result<Saved> {
        let has_cookie = draft.origin.sent_cookie || matches!(draft.place, Place::InStore { .. });
        let restarts = !draft.record.is_empty();
        draft.set_stale_creation_aside(restarts);
        let (mut new, mut failed) = (None, None);
        if restarts && matches!(draft.place, Place::InStore { .. }) {
            // Created first, so that a failure leaves the client with the session that it had.
            match self.create(draft, false).await {
                Ok(created) => new = Some(created),
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                // The new values cannot be stored. The session ends nevertheless.
                Err(error) => failed = Some(error),
            }
        }
        let is_repeated = draft.begin_end();
        if let Place::InStore { identity, seen, .. } = draft.place.clone() {
            let mut has_ended = false;
            let ended = self.end(
                &identity,
                Some(&seen),
                EndCause::Logout,
                is_repeated,
                &mut has_ended,
            );
            match ended.await {
                Ok(PriorState::Live | PriorState::Absent) => draft.note_ended_here(None),
                Ok(PriorState::Ended(by)) => draft.note_ended_here(Some(by)),
                Err(error) => {
                    self.take_back(draft).await;
                    return Err(error);
                }
            }
        }
        // This comes after the end, which may have to follow a renewal to that record.
        for stale in draft.stale_creations() {
            if self.discard(&stale).await {
                draft.forget_stale(&stale);
            }
        }
        let others = self.end_others(draft, is_repeated, new.is_some()).await?;
        // The loaded session decides, also if an earlier save has ended it. Without one, the
        // strongest reason of the others decides.
        let ended_by = if draft.was_ended_here() {
            draft.origin.ended_by
        } else {
            others
        };
        let is_replaced = ended_by.is_some_and(EndedBy::is_replacement);
        if !restarts {
            if is_replaced {
                draft.forget_cookie();
            }
            draft.commit_removal();
            // The cookie of the login that replaced this session stays.
            let cookie = if has_cookie && !is_replaced {
                CookieChange::Remove
            } else {
                CookieChange::Keep
            };
            return Ok(cookie.into());
        }
        draft.note_ended();
        if let Some(error) = failed {
            // The cookie of the login that replaced this session stays.
            if !is_replaced {
                draft.note_removal();
            }
            return Err(error);
        }
        if is_replaced || ended_by == Some(EndedBy::Logout) {
            self.take_back(draft).await;
            return self.lost(draft, None);
        }
        let created = match new {
            Some(created) => created,
            None => self.create(draft, false).await?,
        };
        Ok(self.commit_new(draft, created))
    }

    /// Ends the sessions of the client's other cookies. Returns the strongest reason among those
    /// that had already ended. `goes_on` means that the client has a new session, which a failure
    /// must not cost it.
    async fn end_others(
        &self,
        draft: &Draft,
        is_repeated: bool,
        goes_on: bool,
    ) -> Result<Option<EndedBy>> {
        let mut ended_by = None;
        let ends = async {
            for cookie in draft.origin.cookies.iter().filter(|it| self.accepts(it)) {
                let mut has_ended = false;
                let end = self.end(cookie, None, EndCause::Logout, is_repeated, &mut has_ended);
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

    fn log_not_ended(&self, error: &Error, op: &'static str) {
        tracing::error!(
            target: "session::save",
            cookie = self.config.cookie().name(),
            op,
            kind = ?error.kind(),
            error = %ErrorChain(error),
            "one of several sessions was not ended"
        );
    }

    fn commit_new(&self, draft: &mut Draft, created: Created) -> Saved {
        let Created {
            identity,
            stored: seen,
            listing,
        } = created;
        let cookie = self.set_cookie(draft, &identity);
        draft.commit(Place::InStore {
            identity,
            seen,
            emptied: false,
        });
        Saved { cookie, listing }
    }

    /// Gives up a change because another request ended the session.
    pub(super) fn lost<T>(&self, draft: &Draft, identity: Option<&Identity>) -> Result<T> {
        draft.note_lost();
        tracing::info!(
            target: "session::save",
            cookie = self.config.cookie().name(),
            op = "save",
            kind = ?ErrorKind::Ended,
            session = identity.map(Identity::fingerprint),
            "session change dropped: another request ended the session"
        );
        Err(ErrorKind::Ended.into())
    }

    /// Returns the bytes of the draft's record and how long the store keeps them.
    pub(super) fn record_to_store(&self, draft: &Draft) -> Result<(Vec<u8>, Option<Duration>)> {
        let value = self.config.encode(draft.record.encode())?;
        let remaining = lifetime::remaining(&self.config, &draft.record);
        Ok((
            value,
            remaining.map(|remaining| remaining.saturating_add(GRACE)),
        ))
    }

    pub(super) fn cookie_max_age(&self, draft: &Draft) -> Option<Duration> {
        lifetime::cookie_max_age(&self.config, &draft.record)
    }

    pub(super) fn set_cookie(&self, draft: &Draft, identity: &Identity) -> CookieChange {
        CookieChange::set(identity.as_str(), self.cookie_max_age(draft))
    }
}
