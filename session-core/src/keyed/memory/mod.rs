//! Sessions in the memory of this process.

mod table;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::{Clock, SystemClock};
use crate::error::Result;
use crate::keyed::KeyedStorage;
use crate::keyed::backend::{Backend, Found, OnlyIf, Outcome, Write};
use crate::keyed::memory::table::Table;

/// Sessions in the memory of this process: a [`KeyedStorage`] with a [`MemoryBackend`].
///
/// It suits programs of one process, and tests. A restart loses every session.
///
/// ```
/// use session_core::{CookieSettings, MemoryStorage};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), session_core::Error> {
/// let hour = Duration::from_secs(3600);
/// let cookie = CookieSettings::builder("sid").max_age(hour).build()?;
/// let storage = MemoryStorage::default().with_cookie(cookie);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MemoryStorage(KeyedStorage<MemoryBackend>);

crate::keyed_storage!(MemoryStorage, MemoryBackend);

impl Default for MemoryStorage {
    /// Makes an empty storage with room for 256 MiB and the default cookie settings.
    fn default() -> Self {
        Self::new(MemoryBackend::new())
    }
}

/// A [`Backend`] in the memory of this process.
///
/// Its capacity is limited. When it is full of live records, storing a new record or a longer value
/// is an error of kind [`Unavailable`](crate::ErrorKind::Unavailable). It never drops a live
/// session to make room. Ending a session always works.
///
/// Each write also removes some of the records that have expired. Sessions without a `max_age`
/// never expire, so without one a full store stays full. Set a `max_age`.
///
/// Its calls never wait. It needs no timer, and [`bound`](Backend::bound) sets no limit.
pub struct MemoryBackend {
    clock: Arc<dyn Clock>,
    table: Mutex<Table>,
}

impl MemoryBackend {
    /// Makes an empty store with room for 256 MiB.
    pub fn new() -> Self {
        Self::with_capacity(256 << 20)
    }

    /// Makes an empty store with room for about `bytes` of keys, values and their bookkeeping. The
    /// overhead of the memory allocator is not counted.
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            clock: Arc::new(SystemClock),
            table: Mutex::new(Table::new(bytes)),
        }
    }

    /// Takes the time from `clock` in place of the operating system. The storage has a clock of its
    /// own: [`KeyedStorage::with_clock`].
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Returns how many records are stored. Expired records count until a write removes them.
    pub fn len(&self) -> usize {
        self.table().len()
    }

    /// Returns whether no record is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Locks the table. No code that can panic runs under the lock, so its poison is ignored.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for MemoryBackend {
    async fn read(&self, key: &str) -> Result<Found> {
        let now = self.clock.now();
        Ok(self.table().read(key, now))
    }

    async fn write(&self, key: &str, write: Write, only_if: OnlyIf<'_>) -> Result<Outcome> {
        let now = self.clock.now();
        self.table().write(key, write, only_if, now)
    }

    /// Waits without a limit. A call to this backend never waits, so a save that others wait for
    /// finishes as soon as it runs.
    async fn bound<F: Future + Send>(&self, waiting: F, _times: u32) -> Result<F::Output> {
        Ok(waiting.await)
    }
}

impl Default for MemoryBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBackend")
            .field("capacity", &self.table().capacity())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::clock::ManualClock;
    use crate::record::stored::Stored;

    const KEY: &str = "sid_0a1b2c3d4e5f60718293a4b5c6d7e8f9";
    const SECOND: Duration = Duration::from_secs(1);

    /// Runs a future that never waits.
    fn now<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("memory does not wait"),
        }
    }

    #[test]
    fn its_own_clock_decides_what_has_expired() {
        let clock = ManualClock::at(UNIX_EPOCH);
        let store = MemoryBackend::new().with_clock(clock.clone());
        let record = Write::record("{}", Some(SECOND));
        let stored = Stored::new("{}");
        let written = now(store.write(KEY, record.clone(), OnlyIf::Missing)).unwrap();
        assert_eq!(written, Outcome::Written(stored.clone()));
        let found = now(store.read(KEY)).unwrap();
        assert_eq!(found, Found::Value(stored.clone()));
        clock.advance(SECOND);
        assert_eq!(now(store.read(KEY)).unwrap(), Found::Missing);
        assert_eq!(store.len(), 1, "no write has removed it yet");
        let late = now(store.write(KEY, record, OnlyIf::Unchanged(&stored))).unwrap();
        assert_eq!(late, Outcome::Found(Found::Missing));
        assert!(store.is_empty());
    }

    #[test]
    fn bound_returns_what_the_future_returns() {
        let store = MemoryBackend::new();
        assert_eq!(now(store.bound(async { 7 }, 0)).unwrap(), 7);
    }

    #[test]
    fn debug_shows_no_key_and_no_value() {
        let store = MemoryBackend::with_capacity(4096);
        let record = Write::record("secret", None);
        now(store.write(KEY, record, OnlyIf::Missing)).unwrap();
        let text = format!("{store:?}");
        assert_eq!(text, "MemoryBackend { capacity: 4096, .. }");
    }
}
