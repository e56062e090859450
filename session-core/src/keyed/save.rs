//! Saving: carries out the plan.

use std::task::Poll;
use std::time::Duration;

use crate::cookie::change::CookieChange;
use crate::error::{Error, ErrorChain, ErrorKind, Result};
use crate::keyed::KeyedStorage;
use crate::keyed::backend::Backend;
use crate::keyed::create::Created;
use crate::keyed::plan::{Plan, Situation};
use crate::keyed::swap::RETRY_TIMEOUTS;
use crate::keyed::update::Updated;
use crate::keyed::users::Listing;
use crate::session::identity::Identity;
use crate::session::state::Place;
use crate::session::{Draft, IdentityChange, Session, lifetime};
use crate::storage::Storage as _;

/// How much longer than its session the store keeps a record, so that a request that loaded a live
/// session can still save it.
pub(super) const GRACE: Duration = Duration::from_secs(300);

/// The time limit of a whole save, in timeouts of the backend. Waiting for another save of the same
/// `Session` is not included.
pub(super) const SAVE_TIMEOUTS: u32 = RETRY_TIMEOUTS + 1;

/// The part of it that is left for the last step: enforcing the limit of sessions of a user, taking
/// back what a login or a creation has stored, or finding out whether a renewal is done.
pub(super) const LAST_TIMEOUTS: u32 = 1;

/// The part of it that the other steps may take, if there can be a last step.
pub(super) const STEPS_TIMEOUTS: u32 = SAVE_TIMEOUTS - LAST_TIMEOUTS;

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
                self.backend.bound(other, SAVE_TIMEOUTS).await?
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
                match self.update(&mut draft, is_refresh).await {
                    Ok(Updated::Saved(saved)) => Ok(saved),
                    Ok(Updated::OtherUser) => Box::pin(self.renew(&mut draft)).await,
                    Err(error) => Err(error),
                }
            }
            Plan::Update | Plan::Refresh => {
                Box::pin(self.update_or_renew(&mut draft, is_refresh)).await
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
        draft.finish(&saved.cookie);
        if let Some(listing) = saved.listing {
            Box::pin(self.enforce_limit(listing)).await;
        }
        Ok(saved.cookie)
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

    pub(super) fn log_not_ended(&self, error: &Error, op: &'static str) {
        tracing::error!(
            target: "session::save",
            cookie = self.config.cookie().name(),
            op,
            kind = ?error.kind(),
            error = %ErrorChain(error),
            "one of several sessions was not ended"
        );
    }

    pub(super) fn commit_new(&self, draft: &mut Draft, created: Created) -> Saved {
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
