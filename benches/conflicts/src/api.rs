//! The part of this program that uses the library's API.
//!
//! To measure another version of the library, change this file alone.

use std::sync::Arc;

use session_core::{CookieChange, Error, Session, Storage};
use session_memcached::MemcachedStorage;
use session_redis::RedisStorage;

/// Connects to the Redis at `url`.
pub(crate) async fn redis(url: &str) -> Result<Arc<dyn Storage>, Error> {
    Ok(Arc::new(RedisStorage::connect(url).await?))
}

/// Connects to the memcached at `address`.
pub(crate) async fn memcached(address: &str) -> Result<Arc<dyn Storage>, Error> {
    Ok(Arc::new(MemcachedStorage::connect(address).await?))
}

/// Loads the session of a cookie value, or a new session.
pub(crate) async fn load(storage: &dyn Storage, cookie: Option<&str>) -> Result<Session, Error> {
    storage.load(cookie.as_slice()).await
}

/// Sets one key.
pub(crate) fn set(session: &Session, key: &str) -> Result<(), Error> {
    session.insert(key, 1)
}

/// Returns whether the session has the key.
pub(crate) fn has(session: &Session, key: &str) -> Result<bool, Error> {
    Ok(session.get::<i64>(key)?.is_some())
}

/// Saves a session.
pub(crate) async fn save(storage: &dyn Storage, session: &Session) -> Result<(), Error> {
    storage.save(session).await.map(drop)
}

/// Saves a new session and returns the value of its cookie.
pub(crate) async fn create(storage: &dyn Storage, session: &Session) -> Result<String, Error> {
    match storage.save(session).await? {
        CookieChange::Set { value, .. } => Ok(value.clone()),
        change => panic!("a new session must set its cookie, but this is {change:?}"),
    }
}

/// Returns the name of an error's kind.
pub(crate) fn kind(error: &Error) -> String {
    format!("{:?}", error.kind())
}
