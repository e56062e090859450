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

/// How many times the backend's limit for one call a whole save may take, not counting a wait for
/// another save of the same handle.
const SAVE_TIMEOUTS: u32 = RETRY_TIMEOUTS + 1;

/// How many of them are left for what follows the steps of a save: the limit of sessions of a user,
/// or taking back what a login has stored.
pub(super) const LAST_TIMEOUTS: u32 = 1;

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
        let saved = match plan {
            Plan::Nothing => Ok(CookieChange::Keep.into()),
            Plan::Refuse => self.lost(&draft, None),
            // Its loop has a limit of its own.
            Plan::Update | Plan::Refresh if !self.may_list(&draft) => {
                self.update(&mut draft, plan == Plan::Refresh).await
            }
            Plan::Login => Box::pin(self.log_in(&mut draft)).await,
            // The rare plans are boxed, because their futures are many times larger than an
            // update's.
            _ => {
                // Only what lists a session may have to enforce the limit afterwards.
                let may_list = self.users.is_some() && !draft.record.is_empty();
                let last = if may_list { LAST_TIMEOUTS } else { 0 };
                let rare = Box::pin(self.carry_out(plan, &mut draft));
                self.backend.bound(rare, SAVE_TIMEOUTS - last).await?
            }
        };
        let saved = saved?;
        draft.note_cookie(&saved.cookie);
        if let Some(listing) = saved.listing {
            Box::pin(self.enforce_limit(listing)).await;
        }
        Ok(saved.cookie)
    }

    async fn carry_out(&self, plan: Plan, draft: &mut Draft) -> Result<Saved> {
        match (plan, draft.place.clone()) {
            (
                Plan::Renew,
                Place::InStore {
                    identity,
                    seen,
                    emptied,
                },
            ) => self.renew(draft, identity, seen, emptied).await,
            (Plan::Clear, Place::InStore { identity, seen, .. }) => {
                match self
                    .end(
                        &identity,
                        Some(&seen),
                        EndCause::Clear,
                        draft.begin_end(),
                        &mut false,
                    )
                    .await?
                {
                    PriorState::Live => {
                        draft.commit_removal();
                        Ok(CookieChange::Remove.into())
                    }
                    PriorState::Ended(_) | PriorState::Absent => self.lost(draft, Some(&identity)),
                }
            }
            (Plan::Update | Plan::Refresh, _) => self.update(draft, plan == Plan::Refresh).await,
            (Plan::Create, _) => self.start(draft).await,
            (Plan::End, _) => self.log_out(draft).await,
            _ => self.lost(draft, None),
        }
    }

    /// Stores a new session.
    async fn start(&self, draft: &mut Draft) -> Result<Saved> {
        let created = self.create(draft, false).await?;
        Ok(self.commit_new(draft, created))
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
        let done = self.backend.bound(steps, SAVE_TIMEOUTS - LAST_TIMEOUTS);
        let done = done.await;
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
                    let taken = Box::pin(self.take_back(draft));
                    // If this fails, no client has the identity.
                    let _ = self.backend.bound(taken, LAST_TIMEOUTS).await;
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
        match new {
            Some(created) => Ok(self.commit_new(draft, created)),
            None => self.start(draft).await,
        }
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
