//! One session in the list of a user's sessions.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::record::Record;
use crate::session::lifetime;
use crate::session::values::{data_of, parse};

/// A session of a user, as the store held it when the list was made.
#[derive(Clone)]
pub struct UserSession {
    pub(crate) handle: Box<str>,
    pub(crate) is_current: bool,
    pub(crate) record: Arc<Record>,
}

impl UserSession {
    /// Returns the public handle: 32 lowercase hexadecimal digits. It stays the same when the
    /// session is renewed.
    ///
    /// It is no secret. It ends a session only for its own user, see
    /// [`UserSessions::end`](crate::UserSessions::end).
    pub fn handle(&self) -> &str {
        &self.handle
    }

    /// Returns whether this is the session of the request that made the list.
    pub fn is_current(&self) -> bool {
        self.is_current
    }

    /// Returns when the session began. If a Python service has written it, this is the time of the
    /// last write.
    pub fn started(&self) -> SystemTime {
        let started = Duration::from_secs(lifetime::started(&self.record));
        UNIX_EPOCH
            .checked_add(started)
            .unwrap_or_else(|| self.created())
    }

    /// Returns when a key was last set or removed, as [`Session::created`](crate::Session::created)
    /// does.
    pub fn created(&self) -> SystemTime {
        self.record.created()
    }

    /// Returns the value under `key` as a `T`; `None` if there is none. See
    /// [`Session::get`](crate::Session::get).
    ///
    /// # Errors
    /// [`ErrorKind::Value`](crate::ErrorKind::Value) if the value is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        self.record.get(key).map(parse).transpose()
    }

    /// Returns the whole session as a `T`. See [`Session::data`](crate::Session::data).
    ///
    /// # Errors
    /// [`ErrorKind::Value`](crate::ErrorKind::Value) if the session is not a `T`.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T> {
        data_of(&self.record)
    }

    /// Returns the keys in the order in which they were first set.
    pub fn keys(&self) -> Vec<String> {
        self.record.names().map(Cow::into_owned).collect()
    }
}

/// Shows the number of keys, but no key and no value.
impl fmt::Debug for UserSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserSession")
            .field("is_current", &self.is_current)
            .field("len", &self.record.len())
            .finish_non_exhaustive()
    }
}
