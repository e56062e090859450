//! Renewing: the session moves to a fresh identity.
//!
//! The new record is stored before the tombstone at the old key. A failure in between leaves the
//! client with the session that it had.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::keyed::backend::{Backend, Found, OnlyIf, Outcome, Write};
use crate::keyed::base::{Base, Rebased};
use crate::keyed::create::Created;
use crate::keyed::lineage::Lineage;
use crate::keyed::load::Opened;
use crate::keyed::save::{LAST_TIMEOUTS, STEPS_TIMEOUTS, Saved};
use crate::keyed::swap::{Change, Next, Swapped};
use crate::keyed::tombstone::{self, Tombstone};
use crate::keyed::update::Updated;
use crate::keyed::users::Listing;
use crate::keyed::{Address, KeyedStorage, Stored};
use crate::record::Record;
use crate::session::Draft;
use crate::session::identity::Identity;
use crate::session::state::Place;

impl<B: Backend> KeyedStorage<B> {
    /// Stores the draft's record under a fresh identity and leaves a tombstone at the old key.
    /// Changes that another request stores there in between move along.
    pub(super) async fn renew(&self, draft: &mut Draft) -> Result<Saved> {
        let mut target = None;
        let steps = Box::pin(self.move_session(draft, &mut target));
        let moved = self.backend.bound(steps, STEPS_TIMEOUTS).await;
        self.conclude(draft, moved, target).await
    }

    /// Updates a session that may have to be listed. Renews it if it gets another user than the one
    /// that another request has stored meanwhile.
    pub(super) async fn update_or_renew(
        &self,
        draft: &mut Draft,
        is_refresh: bool,
    ) -> Result<Saved> {
        let (mut saved, mut target) = (None, None);
        let steps = Box::pin(async {
            match self.update(draft, is_refresh).await? {
                Updated::Saved(it) => {
                    saved = Some(it);
                    Ok(true)
                }
                Updated::OtherUser => self.move_session(draft, &mut target).await,
            }
        });
        let moved = self.backend.bound(steps, STEPS_TIMEOUTS).await;
        match saved {
            Some(saved) => Ok(saved),
            None => self.conclude(draft, moved, target).await,
        }
    }

    /// Ends a renewal, whose steps have come this far. The outer error means that their time was
    /// over. `target` is where the new record is, if it was stored.
    async fn conclude(
        &self,
        draft: &mut Draft,
        moved: Result<Result<bool>>,
        target: Option<Target>,
    ) -> Result<Saved> {
        let Place::InStore { identity: old, .. } = draft.place.clone() else {
            return self.lost(draft, None);
        };
        let is_late = moved.is_err();
        let (is_moved, target) = match (moved.and_then(|moved| moved), target) {
            (Ok(is_moved), Some(target)) => (is_moved, target),
            (Err(error), Some(mut target)) => {
                let settled = self.settle(draft, &old, &target, error);
                self.backend.bound(settled, LAST_TIMEOUTS).await??;
                // The time for the limit of sessions was for this. The next login enforces it.
                target.listing = None;
                (true, target)
            }
            (moved, None) => {
                // If the creation itself failed, the next save goes on with it.
                if is_late {
                    self.take_back_last(draft).await;
                }
                return Err(moved.err().unwrap_or_else(|| ErrorKind::Unavailable.into()));
            }
        };
        if !is_moved {
            self.take_back_last(draft).await;
            return self.lost(draft, Some(&old));
        }
        let cookie = self.set_cookie(draft, &target.identity);
        let emptied = draft.record.is_empty();
        draft.commit(Place::InStore {
            identity: target.identity,
            seen: target.stored,
            emptied,
        });
        Ok(Saved {
            cookie,
            listing: target.listing,
        })
    }

    /// Creates the new record and leaves the tombstone. Returns whether the session moved: not if
    /// another request ended it. `target` is set once the new record is there.
    async fn move_session(&self, draft: &mut Draft, target: &mut Option<Target>) -> Result<bool> {
        let Place::InStore {
            identity: old,
            seen,
            emptied: was_emptied,
        } = draft.place.clone()
        else {
            return self.lost(draft, None);
        };
        let lineage = if was_emptied {
            // A new session gets a new handle, and begins now. The emptied record has the old one.
            self.note_start(draft);
            self.lineage_at(&seen, &old)
        } else {
            let lineage = Lineage::of(&draft.record, &old);
            Arc::make_mut(&mut draft.record).handle = Some(lineage.handle());
            lineage
        };
        let handle = draft.record.handle.clone();
        let started = draft.record.started.filter(|_| was_emptied);
        let Created {
            identity,
            stored,
            listing,
        } = self.create(draft, true).await?;
        let address = self.address(&identity);
        let tombstone = Tombstone::Moved(address.suffix.clone()).to_text();
        let mut change = Move {
            storage: self,
            base: Base::new(&seen, lineage),
            draft,
            handle,
            started,
            target: target.insert(Target {
                identity,
                address,
                stored,
                listing,
                tombstone: self.config.encode(tombstone)?.into(),
            }),
        };
        let swapped = self
            .swap(&self.address(&old), Some(seen), &mut change)
            .await;
        Ok(match swapped? {
            Swapped::Written(_) | Swapped::Stopped(Moved::Already) => true,
            Swapped::Stopped(Moved::Ended) => false,
        })
    }

    /// Returns whether this is the tombstone of a renewal to the key with this suffix. Only this
    /// renewal knows the suffix, so an earlier try of it wrote the tombstone.
    fn is_moved_to(&self, found: &Found, suffix: &str) -> bool {
        match self.open(found, self.config.unix_now()) {
            Opened::Tombstone(Tombstone::Moved(to)) => *to == *suffix,
            _ => false,
        }
    }

    fn lineage_at(&self, seen: &Stored, identity: &Identity) -> Lineage {
        let now = self.config.unix_now();
        match self.open(&Found::Value(seen.clone()), now) {
            Opened::Record(record) => Lineage::of(&record, identity),
            _ => Lineage::of(&Record::new(now), identity),
        }
    }

    /// Reads once to see whether the tombstone is there, after its write failed with `error` or was
    /// cut short. If not, takes the new record back and returns the error.
    async fn settle(
        &self,
        draft: &Draft,
        old: &Identity,
        target: &Target,
        error: Error,
    ) -> Result<()> {
        let Ok(found) = self.backend.read(&self.address(old).key).await else {
            return Err(error);
        };
        // This save tried to write this value, so finding it means that the write succeeded.
        let is_own = matches!(&found, Found::Value(stored) if *stored.value() == target.tombstone);
        if is_own || self.is_moved_to(&found, &target.address.suffix) {
            return Ok(());
        }
        self.take_back(draft).await;
        Err(error)
    }
}

/// Where a renewal moves a session.
struct Target {
    identity: Identity,
    address: Address,
    /// What the store holds there.
    stored: Stored,
    /// How the new record is listed.
    listing: Option<Box<Listing>>,
    /// The tombstone for the old key. It names the new one.
    tombstone: Bytes,
}

struct Move<'a, B> {
    storage: &'a KeyedStorage<B>,
    draft: &'a mut Draft,
    /// The session at the old key.
    base: Base,
    /// The handle that the new record carries.
    handle: Option<Box<str>>,
    /// When the session began, if it is a new one.
    started: Option<u64>,
    target: &'a mut Target,
}

enum Moved {
    /// The tombstone is there: an earlier try wrote it, and the reply was lost.
    Already,
    /// Another request ended the session at the old key, or the one at the new key.
    Ended,
}

impl<B: Backend> Change for Move<'_, B> {
    type Stop = Moved;

    async fn next(&mut self, found: &Found) -> Result<Next<Moved>> {
        if !self.base.is(found) {
            if self.storage.is_moved_to(found, &self.target.address.suffix) {
                return Ok(Next::Stop(Moved::Already));
            }
            let Rebased::Merged { is_login, .. } =
                self.base.rebase(self.storage, self.draft, found)
            else {
                return Ok(Next::Stop(Moved::Ended));
            };
            let merged = Arc::make_mut(&mut self.draft.record);
            merged.handle.clone_from(&self.handle);
            merged.started = self.started.or(merged.started);
            if !self.rewrite().await? {
                return Ok(Next::Stop(Moved::Ended));
            }
            if let (true, Some(listing)) = (is_login, self.target.listing.as_deref_mut()) {
                listing.note_login();
            }
        }
        let tombstone = Write::tombstone(self.target.tombstone.clone(), tombstone::TIME_TO_LIVE);
        Ok(Next::Write(tombstone))
    }
}

impl<B: Backend> Move<'_, B> {
    /// Stores the merged record at the new key; false if another request ended the session there.
    async fn rewrite(&mut self) -> Result<bool> {
        let Self {
            storage,
            draft,
            target,
            ..
        } = self;
        storage
            .cover_again(draft, &target.address, &mut target.listing)
            .await?;
        let (value, ttl) = storage.record_to_store(draft)?;
        let write = Write::record(value, ttl);
        draft.note_written(write.value().clone());
        let only_if = OnlyIf::Unchanged(&target.stored);
        let outcome = storage.backend.write(&target.address.key, write, only_if);
        match outcome.await? {
            Outcome::Written(stored) => {
                draft.note_stored(stored.clone());
                target.stored = stored;
                Ok(true)
            }
            Outcome::Found(_) => Ok(false),
        }
    }
}
