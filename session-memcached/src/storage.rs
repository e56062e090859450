//! The storage that applications use.

use session_core::KeyedStorage;

use crate::backend::MemcachedBackend;

/// Keeps sessions in memcached.
///
/// The cookie holds only a random identity. The record is stored under the cookie's name, `_` and
/// the identity, as aiohttp_session stores it.
///
/// This is a [`KeyedStorage`] with a [`MemcachedBackend`]. The docs of [`KeyedStorage`] say what
/// happens when several requests change one session.
#[derive(Debug)]
pub struct MemcachedStorage(KeyedStorage<MemcachedBackend>);

session_core::keyed_storage!(MemcachedStorage, MemcachedBackend);
