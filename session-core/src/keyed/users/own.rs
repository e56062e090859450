//! The session of the request that lists or ends its user's sessions.

use std::sync::Arc;

use crate::error::Result;
use crate::keyed::backend::Backend;
use crate::keyed::end::MAX_HOPS;
use crate::keyed::lineage::Lineage;
use crate::keyed::load::Opened;
use crate::keyed::tombstone::Tombstone;
use crate::keyed::users::index::{Entry, Index};
use crate::keyed::{Address, KeyedStorage};
use crate::record::{Record, Until};
use crate::session::Session;
use crate::session::identity::Identity;
use crate::session::state::Place;
use crate::users::User;

/// The caller's session, as its request loaded it or saved it last.
#[derive(Clone)]
pub(super) struct CallerSession {
    pub(super) handle: Box<str>,
    /// The keys under which it is known: where it was loaded, and where renewals moved it since.
    suffixes: Vec<Arc<str>>,
    /// Its record says that the index covers it.
    is_covered: bool,
}

impl CallerSession {
    /// Makes the session of a save that has just listed it.
    pub(super) fn of_handle(handle: Box<str>) -> Self {
        Self {
            handle,
            suffixes: Vec::new(),
            is_covered: true,
        }
    }

    /// Returns whether an entry of the index, or a record, is this session.
    pub(super) fn is(&self, suffix: &str, handle: &str) -> bool {
        *self.handle == *handle || self.has_key(suffix)
    }

    fn has_key(&self, suffix: &str) -> bool {
        self.suffixes.iter().any(|own| **own == *suffix)
    }

    /// Returns whether an entry of the index is this session.
    pub(super) fn is_entry(&self, entry: &Entry) -> bool {
        self.is(&entry.suffix, &entry.handle)
    }

    /// Notes that a renewal moved what is at `from` to `to`.
    pub(super) fn note_move(&mut self, from: &str, to: &Arc<str>) {
        if self.has_key(from) && !self.has_key(to) {
            self.suffixes.push(to.clone());
        }
    }
}

impl<B: Backend> KeyedStorage<B> {
    /// Returns what identifies the caller's session; `None` if it is not in the store.
    pub(super) fn own(&self, session: &Session) -> Option<CallerSession> {
        let state = session.state();
        let Place::InStore {
            identity,
            emptied: false,
            ..
        } = &state.place
        else {
            return None;
        };
        // What the record says concerns the user that the store knows.
        let key = self.users.as_ref().map_or("", |index| &*index.key);
        let is_covered = state.record.listed >= Some(Until::At(self.config.unix_now()))
            && !state.delta.sets(&state.record, key);
        Some(CallerSession {
            handle: Lineage::of(&state.record, identity).handle(),
            suffixes: vec![self.address(identity).suffix],
            is_covered,
        })
    }

    /// Finds out where renewals have moved the caller's session. The handle is not enough, because
    /// a Python service may have dropped it from the record.
    pub(super) async fn follow_own(&self, own: &mut CallerSession) -> Result<()> {
        for _ in 0..MAX_HOPS {
            let Some(suffix) = own.suffixes.last().cloned() else {
                return Ok(());
            };
            let found = self
                .backend
                .read(&self.address_of(suffix.clone()).key)
                .await?;
            match self.open(&found, self.config.unix_now()) {
                Opened::Tombstone(Tombstone::Moved(to)) => own.note_move(&suffix, &to),
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// Reads the index of a user; `None` if there is none.
    ///
    /// If the caller's live session is missing from the index, entries have been lost. The index is
    /// then not complete, and this is an error.
    pub(super) async fn read_index(
        &self,
        user: &User,
        own: Option<&CallerSession>,
    ) -> Result<Option<Index>> {
        let found = self.backend.read(&self.index_address(user).key).await?;
        let index = self.open_index(&found)?;
        let Some(own) = own.filter(|own| own.is_covered) else {
            return Ok(index);
        };
        let lists_own = |index: &Index| index.entries.iter().any(|entry| own.is_entry(entry));
        if !index.as_ref().is_some_and(lists_own) && self.is_alive(own).await? {
            return Err(Self::unavailable(
                "the index of the user's sessions is gone: the store must not evict keys",
            ));
        }
        Ok(index)
    }

    /// Returns whether the record of the caller's session is where the request found it.
    async fn is_alive(&self, own: &CallerSession) -> Result<bool> {
        let Some(suffix) = own.suffixes.first().cloned() else {
            return Ok(false);
        };
        let found = self.backend.read(&self.address_of(suffix).key).await?;
        let opened = self.open(&found, self.config.unix_now());
        Ok(matches!(opened, Opened::Record(_)))
    }

    /// Returns the public handle of the session that a key holds.
    pub(super) fn handle_at(&self, record: &Record, address: &Address) -> Box<str> {
        if let Some(handle) = &record.handle {
            return handle.clone();
        }
        if self.hash_identities {
            // A handle is the beginning of the same hash.
            return address.suffix.chars().take(32).collect();
        }
        Identity::parse(&address.suffix).map_or_else(Box::default, |it| it.handle().into())
    }
}
