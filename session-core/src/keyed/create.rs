//! Creating: a record under an identity that the store did not know.

use crate::error::{Error, ErrorKind, Result};
use crate::keyed::KeyedStorage;
use crate::keyed::backend::{Backend, Found, OnlyIf, Outcome, Write};
use crate::keyed::load::Opened;
use crate::keyed::save::LAST_TIMEOUTS;
use crate::keyed::tombstone::{self, Tombstone};
use crate::keyed::users::Listing;
use crate::record::stored::Stored;
use crate::session::Draft;
use crate::session::identity::Identity;
use crate::session::state::PendingCreate;

/// How often another identity is drawn if one is taken.
const DRAWS: usize = 8;

/// A record that a save has created.
pub(super) struct Created {
    pub(super) identity: Identity,
    pub(super) stored: Stored,
    /// How it was listed; `None` if it has no user.
    pub(super) listing: Option<Box<Listing>>,
}

impl<B: Backend> KeyedStorage<B> {
    /// Stores the draft's record under a new identity, and lists it in the index of its user.
    ///
    /// The session remembers what was written until the save is committed. If the reply is lost and
    /// the session is saved again, the save continues with the record that may be there. One
    /// session never becomes two. A record that a renewal (`is_move`) wrote may hold what other
    /// requests had stored at the old key, so the changes are then merged onto it.
    pub(super) async fn create(&self, draft: &mut Draft, is_move: bool) -> Result<Created> {
        for _ in 0..DRAWS {
            let (pending, chosen) = {
                let state = draft.session().state();
                (
                    state.creation.pending.clone(),
                    state.creation.chosen.clone(),
                )
            };
            let is_chosen = chosen.is_some();
            let (identity, before, stored) = match (pending, chosen) {
                (Some(pending), _) => (pending.identity, pending.written, pending.stored),
                (None, Some(chosen)) => (chosen, Vec::new(), None),
                (None, None) => (self.draw()?, Vec::new(), None),
            };
            if !self.accepts(&identity) {
                return Err(identity_error(
                    "an identity with a '_' needs a storage with a key factory",
                ));
            }
            if !is_move {
                self.note_start(draft);
            }
            let mut request = self.listing_request(draft);
            let (value, ttl) = self.record_to_store(draft)?;
            let write = Write::record(value, ttl);
            let mut written = before.clone();
            written.push(write.value().clone());
            let pending = PendingCreate {
                identity: identity.clone(),
                written,
                stored,
                is_move,
            };
            draft.session().state().creation.pending = Some(pending);
            let address = self.address(&identity);
            let key = &address.key;
            let mut outcome = self
                .backend
                .write(key, write.clone(), OnlyIf::Missing)
                .await?;
            // The key may hold our own bytes: an earlier save wrote them, or the connection
            // repeated this write, as a Redis Cluster connection does. The second case counts only
            // for a random identity, because nothing else can have written under it.
            let is_random = !is_chosen && self.key_factory.is_none();
            if let Outcome::Found(Found::Value(found)) = &outcome
                && (before.contains(found.value()) || (is_random && found.value() == write.value()))
            {
                let found = found.clone();
                let mut again = write;
                if is_move
                    && let Opened::Record(record) =
                        self.open(&Found::Value(found.clone()), self.config.unix_now())
                {
                    draft.merge(record);
                    request = self.listing_request(draft);
                    let (value, ttl) = self.record_to_store(draft)?;
                    again = Write::record(value, ttl);
                    draft.note_written(again.value().clone());
                }
                outcome = self
                    .backend
                    .write(key, again, OnlyIf::Unchanged(&found))
                    .await?;
            }
            match outcome {
                Outcome::Written(stored) => {
                    draft.note_stored(stored.clone());
                    let listing = match request {
                        None => None,
                        Some(request) => {
                            // An earlier try may have left a tombstone at the old key that points
                            // to this record.
                            let is_needed = is_move && !before.is_empty();
                            let listed = self.enlist(request, &draft.record, &address);
                            Some(self.or_take_back(listed.await, draft, is_needed).await?)
                        }
                    };
                    return Ok(Created {
                        identity,
                        stored,
                        listing,
                    });
                }
                Outcome::Found(_) => draft.session().state().creation.pending = None,
            }
            if is_chosen {
                return Err(identity_error(
                    "the store already holds something under the identity that was set",
                ));
            }
        }
        Err(identity_error("every identity that was drawn is taken"))
    }

    /// Takes back the record that this save created if it could not be listed, unless it is needed.
    async fn or_take_back(
        &self,
        listed: Result<Box<Listing>>,
        draft: &Draft,
        is_needed: bool,
    ) -> Result<Box<Listing>> {
        if listed.is_err() && !is_needed {
            self.take_back(draft).await;
        }
        listed
    }

    /// Takes back the record that this save created and will not use. If it may still be there, the
    /// next save of this session goes on with it.
    pub(super) async fn take_back(&self, draft: &Draft) {
        let pending = draft.session().state().creation.pending.clone();
        if let Some(pending) = pending
            && self.discard(&pending).await
        {
            draft.session().state().creation.pending = None;
        }
    }

    /// Takes back the record that this save may have created, within the time of the last step. If
    /// this fails, no client has the identity.
    pub(super) async fn take_back_last(&self, draft: &Draft) {
        let taken = Box::pin(self.take_back(draft));
        let _ = self.backend.bound(taken, LAST_TIMEOUTS).await;
    }

    /// Ends a record that will not be used. Returns whether it has certainly ended.
    ///
    /// If this fails, the record stays for its time to live, but no client has its identity.
    pub(super) async fn discard(&self, pending: &PendingCreate) -> bool {
        let key = self.address(&pending.identity).key;
        let Ok(text) = self.config.encode(Tombstone::Ended.to_text()) else {
            return false;
        };
        let write = Write::tombstone(text, tombstone::TIME_TO_LIVE);
        // End only what this save wrote. The creation may never have arrived, and another session
        // may have the identity by now if the application chose it.
        let mut found = match &pending.stored {
            Some(stored) => Ok(Found::Value(stored.clone())),
            None => self.backend.read(&key).await,
        };
        for _ in 0..=pending.written.len() {
            let own = match &found {
                Ok(Found::Value(record)) if pending.written.contains(record.value()) => record,
                Ok(_) => return true,
                Err(_) => return false,
            };
            let only_if = OnlyIf::Unchanged(own);
            found = match self.backend.write(&key, write.clone(), only_if).await {
                Ok(Outcome::Written(_)) => return true,
                Ok(Outcome::Found(now)) => Ok(now),
                Err(error) => Err(error),
            };
        }
        false
    }
}

fn identity_error(why: &'static str) -> Error {
    Error::with_message(ErrorKind::Identity, why)
}
