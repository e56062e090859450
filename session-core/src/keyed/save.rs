//! Saving: carries out the plan.

use std::time::Duration;

use crate::cookie::change::CookieChange;
use crate::error::{ErrorKind, Result};
use crate::keyed::KeyedStorage;
use crate::keyed::backend::Backend;
use crate::keyed::end::{Ender, Was};
use crate::keyed::plan::{Plan, Situation};
use crate::keyed::swap::PATIENCE;
use crate::session::identity::Identity;
use crate::session::state::{EndedBy, Place};
use crate::session::{Draft, IdentityChange, Session, lifetime};
use crate::storage::Storage as _;

/// How much longer than its session the store keeps a record, so that a request that loaded a live
/// session can still save it.
const GRACE: Duration = Duration::from_secs(300);

/// How many times the backend's limit for one call a whole save may take.
const MAX_CALLS: u32 = PATIENCE + 1;

impl<B: Backend> KeyedStorage<B> {
    pub(super) async fn save_session(&self, session: &Session) -> Result<CookieChange> {
        self.config().check_owner(session)?;
        if !session.state().is_due() {
            return Ok(CookieChange::Keep);
        }
        let mut draft = match session.try_begin_save() {
            Some(draft) => draft,
            None => self.backend.bound(session.begin_save(), PATIENCE).await?,
        };
        if draft.is_lost() && draft.delta.identity != IdentityChange::End {
            return Err(ErrorKind::Ended.into());
        }
        let plan = Plan::of(Situation {
            place: &draft.place,
            origin: &draft.origin,
            identity: draft.delta.identity,
            is_changed: draft.delta.is_change(),
            is_cleared: draft.delta.cleared,
            is_refresh: draft.refresh,
            is_empty: draft.record.is_empty(),
        });
        match plan {
            Plan::Nothing => Ok(CookieChange::Keep),
            Plan::Update | Plan::Refresh => self.update(&mut draft, plan == Plan::Refresh).await,
            // The rare ones are boxed: their futures are many times larger than an update's.
            _ => {
                let rare = Box::pin(self.carry_out(plan, &mut draft));
                self.backend.bound(rare, MAX_CALLS).await?
            }
        }
    }

    async fn carry_out(&self, plan: Plan, draft: &mut Draft) -> Result<CookieChange> {
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
                match self.end(&identity, Some(&seen), Ender::Clear).await? {
                    Was::Alive => {
                        draft.commit_removal();
                        Ok(CookieChange::Remove)
                    }
                    Was::Ended(_) | Was::Nothing => self.lost(draft, Some(&identity)),
                }
            }
            (Plan::Create, _) => self.start(draft).await,
            (Plan::Login, _) => self.log_in(draft).await,
            (Plan::End, _) => self.log_out(draft).await,
            _ => self.lost(draft, None),
        }
    }

    /// Stores a new session.
    async fn start(&self, draft: &mut Draft) -> Result<CookieChange> {
        let (identity, seen) = self.create(draft).await?;
        let cookie = self.set_cookie(draft, &identity);
        draft.commit(Place::InStore {
            identity,
            seen,
            emptied: false,
        });
        Ok(cookie)
    }

    /// Stores a new session, and then ends what the client's cookies stand for. In this order a
    /// failure leaves the client with the session that it had.
    async fn log_in(&self, draft: &mut Draft) -> Result<CookieChange> {
        let (identity, seen) = self.create(draft).await?;
        let mut has_ended_one = false;
        for cookie in draft.origin.cookies.iter().filter(|it| **it != identity) {
            if !self.accepts(cookie) {
                continue;
            }
            match self.end(cookie, None, Ender::Login).await {
                Ok(_) => has_ended_one = true,
                Err(error) if !has_ended_one => {
                    self.take_back(draft).await;
                    return Err(error);
                }
                // To fail now would leave the client with nothing.
                Err(error) => tracing::error!(
                    target: "session::save",
                    cookie = self.config.cookie().name(),
                    op = "login",
                    kind = ?error.kind(),
                    %error,
                    "one of several sessions was not ended"
                ),
            }
        }
        let cookie = self.set_cookie(draft, &identity);
        draft.commit(Place::InStore {
            identity,
            seen,
            emptied: false,
        });
        Ok(cookie)
    }

    /// Ends the session and what else the client's cookies stand for. What was set afterwards
    /// starts another session, unless another request was faster to replace or end this one.
    async fn log_out(&self, draft: &mut Draft) -> Result<CookieChange> {
        let mut was = None;
        let has_cookie = draft.origin.sent_cookie || matches!(draft.place, Place::InStore { .. });
        if let Place::InStore { identity, seen, .. } = &draft.place {
            was = Some(self.end(identity, Some(seen), Ender::Logout).await?);
            draft.note_ended_here();
        }
        let mut others: Option<EndedBy> = None;
        for cookie in draft.origin.cookies.iter().filter(|it| self.accepts(it)) {
            if let Was::Ended(by) = self.end(cookie, None, Ender::Logout).await? {
                others = others.max(Some(by));
            }
        }
        // The session that was loaded decides; without one, the most recent cookie.
        let ended_by = match was {
            Some(Was::Alive | Was::Nothing) => None,
            Some(Was::Ended(by)) => Some(by),
            None => others,
        };
        let is_replaced = ended_by.is_some_and(EndedBy::is_replacement);
        if draft.record.is_empty() {
            draft.commit_removal();
            // The cookie of the login that replaced this session stays.
            return Ok(if has_cookie && !is_replaced {
                CookieChange::Remove
            } else {
                CookieChange::Keep
            });
        }
        draft.note_ended();
        if is_replaced || ended_by == Some(EndedBy::Logout) {
            return self.lost(draft, None);
        }
        self.start(draft).await
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
        Ok((value, remaining.map(|remaining| remaining + GRACE)))
    }

    pub(super) fn cookie_max_age(&self, draft: &Draft) -> Option<Duration> {
        lifetime::cookie_max_age(&self.config, &draft.record)
    }

    pub(super) fn set_cookie(&self, draft: &Draft, identity: &Identity) -> CookieChange {
        CookieChange::Set {
            value: identity.as_str().to_owned(),
            max_age: self.cookie_max_age(draft),
        }
    }
}
