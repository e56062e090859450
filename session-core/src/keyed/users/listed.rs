//! Reading the records that an index lists, several at the same time.

use std::collections::HashMap;
use std::slice::Chunks;
use std::sync::Arc;

use futures_util::future::try_join_all;

use crate::error::Result;
use crate::keyed::KeyedStorage;
use crate::keyed::backend::{Backend, Found};
use crate::keyed::end::MAX_HOPS;
use crate::keyed::load::Opened;
use crate::keyed::tombstone::Tombstone;
use crate::keyed::users::index::Entry;
use crate::users::User;

/// How many records are read at the same time, so that one request does not take all connections of
/// a pool of usual size.
pub(super) const AT_ONCE: usize = 8;

impl<B: Backend> KeyedStorage<B> {
    /// Reads the keys of these entries at the same time, and returns what they hold, in order.
    pub(super) async fn read_entries(&self, entries: &[Entry]) -> Result<Vec<Found>> {
        let reads = entries.iter().map(|entry| async {
            let address = self.address_of(entry.suffix.clone());
            self.backend.read(&address.key).await
        });
        try_join_all(reads).await
    }
}

/// What a key that an index lists holds.
#[derive(Clone)]
pub(super) enum Held {
    Session {
        /// It belongs to the user, and requests can still load it.
        is_live: bool,
        handle: Box<str>,
    },
    /// The tombstone of a renewal, which names the key with this suffix.
    Moved(Arc<str>),
    Missing,
    /// Another tombstone, or data that is no session.
    Other,
}

/// The keys that an index of a user lists. They are read when they are needed, each of them once.
pub(super) struct ListedKeys<'a, B> {
    storage: &'a KeyedStorage<B>,
    user: &'a User,
    unread: Chunks<'a, Entry>,
    held: HashMap<Arc<str>, Held>,
}

impl<'a, B: Backend> ListedKeys<'a, B> {
    /// The keys of `entries` are read several at a time, in their order.
    pub(super) fn new(storage: &'a KeyedStorage<B>, user: &'a User, entries: &'a [Entry]) -> Self {
        Self {
            storage,
            user,
            unread: entries.chunks(AT_ONCE),
            held: HashMap::new(),
        }
    }

    /// Finds a listed session, also where a renewal has moved it since the index was read. Returns
    /// the suffix of the key where it ends, and what that key holds.
    pub(super) async fn find(&mut self, listed: &Arc<str>) -> Result<(Arc<str>, Held)> {
        let mut suffix = listed.clone();
        let mut followed = Vec::new();
        let held = loop {
            match self.read(&suffix).await? {
                Held::Moved(to) if followed.len() < MAX_HOPS => {
                    followed.push(std::mem::replace(&mut suffix, to));
                }
                Held::Moved(_) => break Held::Other,
                held => break held,
            }
        };
        // Each renewal lists a key. Without this shortcut, the tombstones of one session would be
        // followed once for each of its renewals.
        for moved in followed {
            self.held.insert(moved, Held::Moved(suffix.clone()));
        }
        Ok((suffix, held))
    }

    /// Returns what a key holds. An unread one is read together with the next ones of the index.
    async fn read(&mut self, suffix: &Arc<str>) -> Result<Held> {
        loop {
            if let Some(held) = self.held.get(suffix) {
                return Ok(held.clone());
            }
            if let Some(entries) = self.unread.next() {
                let found = self.storage.read_entries(entries).await?;
                for (entry, found) in entries.iter().zip(found) {
                    self.note(&entry.suffix, &found);
                }
            } else {
                // It is not among the entries: a renewal may have listed it since.
                let key = self.storage.address_of(suffix.clone()).key;
                let found = self.storage.backend.read(&key).await?;
                self.note(suffix, &found);
            }
        }
    }

    fn note(&mut self, suffix: &Arc<str>, found: &Found) {
        let storage = self.storage;
        let held = match storage.open(found, storage.config.unix_now()) {
            Opened::Record(record) => {
                let address = storage.address_of(suffix.clone());
                let handle = storage.handle_at(&record, &address);
                let is_live = storage.is_live(&record, self.user);
                Held::Session { is_live, handle }
            }
            Opened::Missing => Held::Missing,
            Opened::Tombstone(Tombstone::Moved(to)) => Held::Moved(to),
            _ => Held::Other,
        };
        self.held.insert(suffix.clone(), held);
    }
}
