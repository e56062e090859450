//! The storage that applications use.

use std::fmt;

use redis::aio::ConnectionLike;
use session_core::KeyedStorage;

use crate::backend::RedisBackend;
use crate::reconnect::Reconnecting;

/// Keeps sessions in Redis.
///
/// The cookie holds only a random identity. The record is stored under the cookie's name, `_` and
/// the identity, as aiohttp_session stores it.
///
/// This is a [`KeyedStorage`] over a [`RedisBackend`]. See there for what happens when several
/// requests change one session.
pub struct RedisStorage<C = Reconnecting>(KeyedStorage<RedisBackend<C>>);

session_core::keyed_storage!(
    RedisStorage<C>,
    RedisBackend<C>,
    [C: ConnectionLike + Clone + Send + Sync + 'static]
);

impl<C: ConnectionLike + Clone + Send + Sync + 'static> fmt::Debug for RedisStorage<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisStorage").field(&self.0).finish()
    }
}
