//! Updating: the identity stays, and the changes are merged with those of other requests.

use crate::cookie::change::CookieChange;
use crate::error::Result;
use crate::keyed::backend::{Backend, Found, Write};
use crate::keyed::base::{Base, Rebased};
use crate::keyed::lineage::Lineage;
use crate::keyed::save::Saved;
use crate::keyed::swap::{Change, Next, Swapped};
use crate::keyed::users::Listing;
use crate::keyed::{Address, KeyedStorage};
use crate::record::stored::Stored;
use crate::session::Draft;
use crate::session::state::Place;

/// How an update ended.
pub(super) enum Updated {
    Saved(Saved),
    /// The save gives the session another user than the one that another request has stored
    /// meanwhile. It has to move to a fresh identity. The draft's place is what was found.
    OtherUser,
}

impl<B: Backend> KeyedStorage<B> {
    /// Stores the draft's record under the identity that the session has. A session that was only
    /// read (`is_refresh`) has nothing to add to what another request stored.
    pub(super) async fn update(&self, draft: &mut Draft, is_refresh: bool) -> Result<Updated> {
        let Place::InStore { identity, seen, .. } = draft.place.clone() else {
            return Ok(Updated::Saved(CookieChange::Keep.into()));
        };
        let address = self.address(&identity);
        let mut change = Update {
            storage: self,
            base: Base::new(&seen, Lineage::of(&draft.record, &identity)),
            draft: &mut *draft,
            is_refresh,
            address: &address,
            listing: None,
        };
        let swapped = self.swap(&address, Some(seen), &mut change).await?;
        let listing = change.listing;
        match swapped {
            Swapped::Written(seen) => {
                let cookie = if self.is_cookie_refreshed(draft) {
                    self.set_cookie(draft, &identity)
                } else {
                    CookieChange::Keep
                };
                let emptied = draft.record.is_empty();
                draft.commit(Place::InStore {
                    identity,
                    seen,
                    emptied,
                });
                Ok(Updated::Saved(Saved { cookie, listing }))
            }
            Swapped::Stopped(Conflict::OfARead) => Ok(Updated::Saved(CookieChange::Keep.into())),
            Swapped::Stopped(Conflict::OtherUser(found)) => {
                // What is there now decides whether the save gives the session another user.
                draft.place = Place::InStore {
                    identity,
                    seen: found,
                    emptied: false,
                };
                Ok(Updated::OtherUser)
            }
            Swapped::Stopped(Conflict::Ended) => self.lost(draft, Some(&identity)),
        }
    }

    /// Returns whether to send the cookie: only if there is a Max-Age to restart or to change.
    fn is_cookie_refreshed(&self, draft: &Draft) -> bool {
        draft.delta.lifetime || self.cookie_max_age(draft).is_some()
    }
}

struct Update<'a, B> {
    storage: &'a KeyedStorage<B>,
    draft: &'a mut Draft,
    base: Base,
    is_refresh: bool,
    address: &'a Address,
    listing: Option<Box<Listing>>,
}

enum Conflict {
    /// Another request ended the session.
    Ended,
    /// Another request changed it, and this one only read it.
    OfARead,
    /// Another request gave it another user, and this one gives it its user again. It moves to a
    /// fresh identity.
    OtherUser(Stored),
}

impl<B: Backend> Change for Update<'_, B> {
    type Stop = Conflict;

    async fn next(&mut self, found: &Found) -> Result<Next<Conflict>> {
        if !self.base.is(found) {
            if self.is_refresh {
                return Ok(Next::Stop(Conflict::OfARead));
            }
            match self.base.rebase(self.storage, self.draft, found) {
                Rebased::Gone => return Ok(Next::Stop(Conflict::Ended)),
                Rebased::Merged {
                    stored,
                    is_login: true,
                } => return Ok(Next::Stop(Conflict::OtherUser(stored))),
                Rebased::Merged { .. } => {}
            }
        }
        if let Some(listing) = self.storage.cover(self.draft, self.address).await? {
            listing.put(&mut self.listing);
        }
        let (value, ttl) = self.storage.record_to_store(self.draft)?;
        Ok(Next::Write(Write::record(value, ttl)))
    }
}
