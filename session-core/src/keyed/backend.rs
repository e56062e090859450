//! What a new server-side store implements, and all that it implements.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use crate::error::Result;

/// Four primitives over opaque bytes. [`KeyedStorage`](crate::KeyedStorage) makes sessions of
/// them: create-only, merge, renewal and logout are written there, once.
///
/// The methods are ordinary async functions: an implementation writes `async fn read(..)`.
///
/// # Contract
///
/// - Each call ends within a bounded time. An answer that did not come, or was not understood, or a
///   refusal, is an error of kind [`Unavailable`](crate::ErrorKind::Unavailable), a value over what the
///   store takes one of kind [`TooLarge`](crate::ErrorKind::TooLarge), made with
///   [`Error::new`](crate::Error::new); their text, like every log, holds no key and no value. `Ok`
///   means that the store acknowledged.
/// - Each call is atomic in the store. A future that is dropped at any await point leaves nothing
///   from which a later call could read this one's answer.
/// - Keys are 18 to 250 characters of printable ASCII without white space; values are bytes.
/// - A time to live is whole seconds, at least one; `None` is no limit, also where the record had
///   one before. A record that has expired is nothing stored, for all four methods.
/// - "Still `was`" compares the value or the version number, whichever the store can: one is enough.
///   A store that numbers versions starts at 1. After a write of its own
///   [`KeyedStorage`](crate::KeyedStorage) does not know the number and asks with 0, which is a
///   conflict that brings the current one. What no session can be and is to be left alone, a value
///   of another program's, is an empty one numbered 0.
/// - A store that compares values reads what a [`Conflict`](Replace::Conflict) brings in the same atomic
///   step. Read afterwards it could be `was` again: to [`KeyedStorage`](crate::KeyedStorage) that is a
///   value which the store cannot compare, and a logout would leave it alone. (No number comes again: a
///   store that numbers versions may read it afterwards.)
/// - `delete` of what is not there is [`Gone`](Replace::Gone).
///
/// Two suites in the folder `tests` of this repository check it: `session_tests::backend_conformance!`
/// these four methods, `session_tests::keyed_conformance!` a `KeyedStorage` over them.
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// Returns what is stored under `key`; `None` if nothing is, or it has expired.
    fn read(&self, key: &str) -> impl Future<Output = Result<Option<Versioned>>> + Send;

    /// Stores `value` under `key` only if nothing is stored there.
    fn create(
        &self,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> impl Future<Output = Result<Create>> + Send;

    /// Stores `value` under `key` only if what is there is still `was` (compare-and-swap).
    fn replace(
        &self,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
        was: &Versioned,
    ) -> impl Future<Output = Result<Replace>> + Send;

    /// Deletes what is stored under `key`; if `was` is given only if it is still that
    /// (compare-and-delete).
    fn delete(
        &self,
        key: &str,
        was: Option<&Versioned>,
    ) -> impl Future<Output = Result<Replace>> + Send;
}

/// A stored value, and the store's own number for this version of it.
///
/// A store that compares values leaves the number 0.
#[derive(Clone)]
#[expect(clippy::exhaustive_structs, reason = "backends make it")]
pub struct Versioned {
    /// The bytes, exactly as they were stored.
    pub value: Bytes,
    /// The store's number for this version, such as memcached's cas unique.
    pub version: u64,
}

/// How a [`Backend::create`] ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third way")]
pub enum Create {
    /// The value is stored.
    Done,
    /// Something is stored under the key; it was left alone.
    Exists,
}

/// How a [`Backend::replace`] or a [`Backend::delete`] ended.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "there is no fourth way")]
pub enum Replace {
    /// It is done.
    Done,
    /// Something else is stored under the key by now, this; it was left alone.
    Conflict(Versioned),
    /// Nothing is stored under the key any more; it was left so.
    Gone,
}

impl fmt::Debug for Versioned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Versioned")
            .field("len", &self.value.len())
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}
