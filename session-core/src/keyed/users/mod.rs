//! The index of a user's sessions: one more record in the same store.
//!
//! The records are the truth, and the index lists at least the live ones. A session is listed after
//! its record is stored and before its client gets the cookie. A listed session that is missing
//! from the store is therefore dead, so entries can be taken out without a clock.

mod end;
mod enlist;
mod index;
mod limit;
mod list;
mod listed;
mod own;
mod revoke;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::config::Content;
use crate::error::Result;
use crate::keyed::backend::Backend;
use crate::keyed::{Address, KeyedStorage};
use crate::record::Record;
use crate::session::state::Place;
use crate::session::{Draft, Session};
use crate::users::{User, UserSession, Users, Which, no_index, sealed};

pub(super) use enlist::Listing;

/// How many sessions a user has at most, unless the application sets another limit.
const DEFAULT_LIMIT: usize = 500;

/// Which session key identifies the user, and how many sessions a user has at most.
///
/// [`with_user_index`](KeyedStorage::with_user_index) takes one, or only the key.
///
/// ```
/// use session_core::{MemoryStorage, UserIndex};
///
/// let storage = MemoryStorage::default().with_user_index("user");
/// let storage = MemoryStorage::default().with_user_index(UserIndex::new("user").limit(10));
/// ```
#[derive(Clone)]
#[must_use]
pub struct UserIndex {
    key: Box<str>,
    limit: usize,
}

impl UserIndex {
    /// Makes an index of the users that the value under the session key `key` identifies. Any JSON
    /// value but null is a user.
    pub fn new(key: impl Into<String>) -> Self {
        Self {
            key: key.into().into(),
            limit: DEFAULT_LIMIT,
        }
    }

    /// Sets how many sessions a user has at most, at least one. Default: 500.
    ///
    /// A login beyond that ends the oldest session. If the store fails then, the login succeeds
    /// nevertheless, and an event is logged. The index has about 100 bytes for each session, and
    /// each login writes it, so keep the limit below some thousands. A renewal is an entry, too,
    /// for at least a minute: limit how often a client can cause one.
    pub fn limit(mut self, sessions: usize) -> Self {
        self.limit = sessions.max(1);
        self
    }
}

impl From<&str> for UserIndex {
    fn from(key: &str) -> Self {
        Self::new(key)
    }
}

impl From<String> for UserIndex {
    fn from(key: String) -> Self {
        Self::new(key)
    }
}

impl fmt::Debug for UserIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserIndex")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl<B: Backend> KeyedStorage<B> {
    /// Returns the user that a record belongs to; `None` if this storage keeps no index.
    fn user_of(&self, record: &Record) -> Option<User> {
        User::of_json(record.get(&self.users.as_ref()?.key)?)
    }

    /// Returns whether a save gives the stored session that it loaded another user.
    pub(super) fn is_login(&self, draft: &Draft) -> bool {
        let Place::InStore {
            seen,
            emptied: false,
            ..
        } = &draft.place
        else {
            return false;
        };
        if !self.sets_user(draft) {
            return false;
        }
        let now = self.config.unix_now();
        match self.config.read(seen.value().clone(), now) {
            Content::Record(record) => self.gives_user(draft, &record),
            Content::Empty(_) | Content::Foreign(_) => true,
        }
    }

    /// Returns whether a save gives the session that the store holds as `found` another user.
    pub(super) fn gives_user(&self, draft: &Draft, found: &Record) -> bool {
        self.sets_user(draft)
            && self
                .user_of(&draft.record)
                .is_some_and(|user| self.user_of(found) != Some(user))
    }

    fn sets_user(&self, draft: &Draft) -> bool {
        let key = self.users.as_ref().map(|index| &index.key);
        key.is_some_and(|key| draft.sets(key))
    }

    /// Notes in the record of a new session when it began, for the list of its user's sessions.
    pub(super) fn note_start(&self, draft: &mut Draft) {
        if self.users.is_some() && draft.record.started.is_none() {
            let now = self.config.unix_now();
            Arc::make_mut(&mut draft.record).started = Some(now);
        }
    }

    /// Returns where the store keeps the index of a user.
    ///
    /// No cookie's name and no prefix has a `@`, so no cookie names this key, here or in Python.
    pub(super) fn index_address(&self, user: &User) -> Address {
        let prefix = self.prefix.as_str();
        let name = self.config.cookie().name();
        let key = format!("{prefix}@{name}_{}", user.digits());
        let suffix = Arc::from(key.as_str());
        Address { key, suffix }
    }
}

impl<B: Backend> sealed::Sealed for KeyedStorage<B> {}

#[async_trait]
impl<B: Backend> Users for KeyedStorage<B> {
    fn key(&self) -> &str {
        self.users.as_ref().map_or("", |index| &index.key)
    }

    async fn list(&self, user: &User, current: Option<&Session>) -> Result<Vec<UserSession>> {
        self.users.as_ref().ok_or_else(no_index)?;
        self.list_sessions(user, current).await
    }

    async fn end(&self, user: &User, current: Option<&Session>, which: Which<'_>) -> Result<usize> {
        self.users.as_ref().ok_or_else(no_index)?;
        self.end_sessions(user, current, which).await
    }
}
