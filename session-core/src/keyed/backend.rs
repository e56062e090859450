//! The contract of a server-side store: a register with compare-and-swap.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use crate::error::Result;
use crate::record::stored::Stored;

/// Maps keys to bytes, for sessions in a server-side store.
///
/// It has two operations: [`read`](Self::read) a key, and [`write`](Self::write) it if it still
/// holds what the caller expects.
///
/// [`KeyedStorage`](crate::KeyedStorage) builds sessions on these two operations. Creating,
/// merging, renewing and logging out are written there, once for every store. The guide of
/// `session-hyper` has a page on writing a backend.
///
/// The methods are ordinary async functions: an implementation writes `async fn read(..)`.
///
/// # Contract
///
/// - **Bounded.** Each call ends within a bounded time, one second unless the application sets
///   another limit.
/// - **Acknowledged.** `Ok` means that the store acknowledged the call. A missing, malformed or
///   refusing reply is an error of kind [`Unavailable`](crate::ErrorKind::Unavailable). A value
///   that is larger than the store accepts is an error of kind
///   [`TooLarge`](crate::ErrorKind::TooLarge). Make errors with [`Error::new`](crate::Error::new).
///   Their text holds no key and no value, and neither does any log.
/// - **Atomic.** A write compares and stores in one step. Another client never sees half of it.
/// - **Cancel safe.** Dropping a future at any await point leaves no connection from which a later
///   call could read this call's reply.
/// - **Keys** are 18 to 250 characters of printable ASCII without white space. **Values** are any
///   bytes, at least two.
/// - **Expiry.** A time to live is whole seconds, at least one. `None` removes the limit, also if
///   the key had one. A record that has expired is [`Found::Missing`] for both operations.
///
/// The suites `backend_conformance!` and `keyed_conformance!` of the feature `conformance` test
/// *Atomic*, *Keys*, *Values* and *Expiry*. Test the other clauses yourself.
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// Returns what `key` holds.
    fn read(&self, key: &str) -> impl Future<Output = Result<Found>> + Send;

    /// Stores `write` under `key` if the key still holds what `only_if` expects.
    ///
    /// If the condition does not hold, nothing changes, and the result is [`Outcome::Found`] with
    /// the present content of the key. That content must not be older than the comparison.
    ///
    /// A store that is out of memory must still end sessions. If a [tombstone](Write::is_tombstone)
    /// does not fit, it deletes the key under the same condition and returns [`Outcome::Written`].
    /// If such a tombstone has the condition [`OnlyIf::Missing`], there is nothing to delete. It
    /// returns [`Outcome::Written`] if the key is missing, and [`Outcome::Found`] otherwise.
    fn write(
        &self,
        key: &str,
        write: Write,
        only_if: OnlyIf<'_>,
    ) -> impl Future<Output = Result<Outcome>> + Send;

    /// Waits for `waiting`, at most the limit of one call multiplied by `times`.
    ///
    /// This crate has no runtime, so it uses the backend's timer. A save uses it to bound its wait
    /// for other saves of the same session, and its steps together.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the time is up.
    fn bound<F: Future + Send>(
        &self,
        waiting: F,
        times: u32,
    ) -> impl Future<Output = Result<F::Output>> + Send;
}

/// What a key holds.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "a key has no fourth state")]
pub enum Found {
    /// Nothing, or a record that has expired.
    Missing,
    /// Another program's data that cannot be returned as bytes, such as a Redis list. It is left
    /// untouched.
    Foreign,
    /// These bytes: a session's record, a tombstone or an index of users.
    Value(Stored),
}

/// What [`Backend::write`] stores.
#[derive(Clone)]
pub struct Write {
    value: Bytes,
    time_to_live: Option<Duration>,
    is_tombstone: bool,
}

impl Write {
    /// Makes a write of a session's record. `time_to_live` is whole seconds, at least one; `None`
    /// is no limit.
    pub fn record(value: impl Into<Bytes>, time_to_live: Option<Duration>) -> Self {
        Self {
            value: value.into(),
            time_to_live,
            is_tombstone: false,
        }
    }

    /// Makes a write that ends the session at its key.
    pub fn tombstone(value: impl Into<Bytes>, time_to_live: Duration) -> Self {
        Self {
            value: value.into(),
            time_to_live: Some(time_to_live),
            is_tombstone: true,
        }
    }

    /// Borrows the bytes to store.
    pub fn value(&self) -> &Bytes {
        &self.value
    }

    /// Returns the bytes to store.
    pub fn into_value(self) -> Bytes {
        self.value
    }

    /// Returns how long the store keeps the value, in whole seconds; `None`: until it is deleted.
    pub fn time_to_live(&self) -> Option<Duration> {
        self.time_to_live
    }

    /// Returns whether this write ends a session. A store that is out of memory deletes the key
    /// instead of failing.
    pub fn is_tombstone(&self) -> bool {
        self.is_tombstone
    }
}

/// The condition of a [`Backend::write`].
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a backend must handle both")]
pub enum OnlyIf<'a> {
    /// The key holds nothing, or a record that has expired.
    Missing,
    /// The key still holds this. If `Stored` has a version, a store that has versions compares it.
    /// Otherwise the store compares the value.
    Unchanged(&'a Stored),
}

/// How a [`Backend::write`] ended.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third outcome")]
pub enum Outcome {
    /// The store acknowledged the write. [`Stored`] has its version if the store reported it.
    Written(Stored),
    /// The condition did not hold. The key holds this.
    Found(Found),
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Write")
            .field("len", &self.value.len())
            .field("time_to_live", &self.time_to_live)
            .field("is_tombstone", &self.is_tombstone)
            .finish_non_exhaustive()
    }
}
