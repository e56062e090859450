//! Sessions in this process's memory.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::keyed::KeyedStorage;
use crate::keyed::backend::{Backend, Create, Replace, Versioned};

/// Sessions in this process's memory: [`KeyedStorage`] over [`MemoryBackend`].
pub type MemoryStorage = KeyedStorage<MemoryBackend>;

/// A [`Backend`] in this process's memory, for programs of one process and for tests. A restart
/// forgets every session.
///
/// It is bounded: when its capacity is used up by sessions that have not expired, a new one, or
/// one that grows, is an error of kind [`ErrorKind::Unavailable`], and nobody is logged out to
/// make room. Expired records go when others are stored, a few with each. Without a `max_age` no session expires, and
/// a store that is full stays full: set one.
pub struct MemoryBackend {
    capacity: usize,
    clock: Arc<dyn Clock>,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    records: HashMap<Arc<str>, Stored>,
    /// For each record that expires, one entry of a time at which to look at it: not later than
    /// the record's own, which a write moves on without touching this.
    expiry: BTreeSet<(SystemTime, Arc<str>)>,
    used: usize,
}

struct Stored {
    value: Bytes,
    expires: Option<SystemTime>,
    watched: Option<SystemTime>,
}

/// What a record costs besides its key and value: two map entries, their pointers, and the places that
/// a hash table leaves empty. For a moment, while the table grows, it is more.
const OVERHEAD: usize = 300;

/// How many records are looked at whose time may be over, when another is stored: others wait.
const FEW: usize = 64;

impl MemoryBackend {
    /// Makes an empty store with room for 256 MiB.
    pub fn new() -> Self {
        Self::with_capacity(256 << 20)
    }

    /// Makes an empty store with room for about `bytes` of keys, values and what they cost besides,
    /// the allocator's own not counted.
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            capacity: bytes,
            clock: Arc::new(SystemClock),
            shelf: Mutex::default(),
        }
    }

    /// Takes the time from `clock` in place of the operating system.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Returns how many records are stored, ones included that have expired and were not taken out yet.
    pub fn len(&self) -> usize {
        self.shelf().records.len()
    }

    /// Returns whether no record is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn live(&self, key: &str, now: SystemTime) -> Option<&Stored> {
        self.records.get(key).filter(|stored| stored.lives(now))
    }

    /// Stores a record under a key that nobody has, if it fits.
    fn insert(
        &mut self,
        key: &str,
        value: Bytes,
        expires: Option<SystemTime>,
        capacity: usize,
    ) -> Result<()> {
        let used = self.used + key.len() + value.len() + OVERHEAD;
        if used > capacity {
            return Err(full());
        }
        self.used = used;
        let key: Arc<str> = Arc::from(key);
        if let Some(expires) = expires {
            self.expiry.insert((expires, key.clone()));
        }
        let stored = Stored {
            value,
            expires,
            watched: expires,
        };
        self.records.insert(key, stored);
        Ok(())
    }

    /// Looks at a record at `time`, which is sooner than it was going to be looked at.
    fn watch(&mut self, key: &str, time: SystemTime) {
        let Some(key) = self.records.get_key_value(key).map(|(key, _)| key.clone()) else {
            return;
        };
        let stored = self.records.get_mut(&key);
        if let Some(watched) = stored.and_then(|stored| stored.watched.replace(time)) {
            self.expiry.remove(&(watched, key.clone()));
        }
        self.expiry.insert((time, key));
    }

    fn take(&mut self, key: &str) {
        if let Some((key, stored)) = self.records.remove_entry(key) {
            self.used -= key.len() + stored.value.len() + OVERHEAD;
            if let Some(watched) = stored.watched {
                self.expiry.remove(&(watched, key));
            }
        }
    }

    /// Takes out some of what has expired, and more until no more than `enough` is used.
    fn sweep(&mut self, now: SystemTime, enough: usize) {
        let mut looked_at = 0;
        while self.expiry.first().is_some_and(|(at, _)| *at <= now)
            && (looked_at < FEW || self.used > enough)
        {
            let Some((_, key)) = self.expiry.pop_first() else {
                return;
            };
            looked_at += 1;
            let Some(stored) = self.records.get_mut(&key) else {
                continue;
            };
            stored.watched = None;
            match stored.expires {
                Some(expires) if expires > now => {
                    stored.watched = Some(expires);
                    self.expiry.insert((expires, key));
                }
                Some(_) => self.take(&key),
                None => {}
            }
        }
        if self.records.len() < self.records.capacity() / 4 {
            self.records.shrink_to(2 * self.records.len());
        }
    }
}

impl Backend for MemoryBackend {
    async fn read(&self, key: &str) -> Result<Option<Versioned>> {
        let now = self.clock.now();
        Ok(self.shelf().live(key, now).map(Stored::versioned))
    }

    async fn create(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<Create> {
        let now = self.clock.now();
        let mut shelf = self.shelf();
        let size = key.len() + value.len() + OVERHEAD;
        shelf.sweep(now, self.capacity.saturating_sub(size));
        if shelf.live(key, now).is_some() {
            return Ok(Create::Exists);
        }
        shelf.take(key); // it may have expired
        shelf.insert(key, value, expires(now, ttl), self.capacity)?;
        Ok(Create::Done)
    }

    async fn replace(
        &self,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
        was: &Versioned,
    ) -> Result<Replace> {
        let now = self.clock.now();
        let mut guard = self.shelf();
        let shelf = &mut *guard;
        shelf.sweep(now, self.capacity.saturating_sub(value.len()));
        let stored = shelf.records.get_mut(key);
        let Some(stored) = stored.filter(|stored| stored.lives(now)) else {
            return Ok(Replace::Gone);
        };
        if stored.value != was.value {
            return Ok(Replace::Conflict(stored.versioned()));
        }
        let used = shelf.used - stored.value.len() + value.len();
        if used > self.capacity && value.len() > stored.value.len() {
            return Err(full());
        }
        shelf.used = used;
        stored.value = value;
        stored.expires = expires(now, ttl);
        match stored.expires {
            Some(sooner) if stored.watched.is_none_or(|watched| sooner < watched) => {
                shelf.watch(key, sooner);
            }
            _ => {}
        }
        Ok(Replace::Done)
    }

    async fn delete(&self, key: &str, was: Option<&Versioned>) -> Result<Replace> {
        let now = self.clock.now();
        let mut shelf = self.shelf();
        let Some(stored) = shelf.live(key, now) else {
            return Ok(Replace::Gone);
        };
        if was.is_some_and(|was| was.value != stored.value) {
            return Ok(Replace::Conflict(stored.versioned()));
        }
        shelf.take(key);
        Ok(Replace::Done)
    }
}

impl Stored {
    fn lives(&self, now: SystemTime) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    fn versioned(&self) -> Versioned {
        Versioned {
            value: self.value.clone(),
            version: 0,
        }
    }
}

fn full() -> Error {
    Error::new(ErrorKind::Unavailable, "the memory for sessions is used up")
}

/// `None` also for a time that the clock cannot say: it never comes.
fn expires(now: SystemTime, ttl: Option<Duration>) -> Option<SystemTime> {
    ttl.and_then(|ttl| now.checked_add(ttl))
}

impl Default for MemoryBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBackend")
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::UNIX_EPOCH;

    /// Runs a future that never waits.
    fn now<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("memory does not wait"),
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_full_store_refuses_and_makes_room_by_expiry_alone() {
        let clock = ManualClock::at(UNIX_EPOCH);
        let room_for_two = 2 * (OVERHEAD + 1 + 3);
        let store = MemoryBackend::with_capacity(room_for_two).with_clock(clock.clone());
        let create = |key: &str, ttl| now(store.create(key, Bytes::from_static(b"abc"), ttl));
        assert_eq!(create("a", Some(SECOND)).unwrap(), Create::Done);
        assert_eq!(create("b", None).unwrap(), Create::Done);
        assert_eq!(
            create("c", None).unwrap_err().kind(),
            ErrorKind::Unavailable
        );
        assert!(now(store.read("a")).unwrap().is_some() && now(store.read("b")).unwrap().is_some());
        let was = now(store.read("b")).unwrap().unwrap();
        let grown = now(store.replace("b", Bytes::from_static(b"abcd"), None, &was));
        assert_eq!(grown.unwrap_err().kind(), ErrorKind::Unavailable);
        clock.advance(SECOND);
        assert_eq!(create("c", None).unwrap(), Create::Done);
        assert!(now(store.read("a")).unwrap().is_none());
        now(store.delete("b", None)).unwrap();
        assert_eq!(create("d", None).unwrap(), Create::Done);
        assert_eq!(store.len(), 2);
    }

    /// A burst that has expired is taken out a few at a time, so that nobody waits for all of it; but
    /// what has expired keeps no room, and nothing of it is there any more for whoever asks.
    #[test]
    fn what_has_expired_goes_step_by_step_unless_there_is_no_room() {
        const MANY: usize = 10 * FEW;
        let clock = ManualClock::at(UNIX_EPOCH);
        let room = MANY * (OVERHEAD + 4 + 3);
        let store = MemoryBackend::with_capacity(room).with_clock(clock.clone());
        let name = |number: usize| format!("{number:04}");
        let create = |key: &str, value: Vec<u8>| now(store.create(key, value.into(), Some(SECOND)));
        for number in 0..MANY {
            assert_eq!(create(&name(number), vec![0; 3]).unwrap(), Create::Done);
        }
        let was = now(store.read(&name(MANY - 1))).unwrap().unwrap();
        clock.advance(SECOND);
        assert_eq!(create("once", vec![0; 3]).unwrap(), Create::Done);
        assert_eq!(store.len(), MANY - FEW + 1);
        let gone = name(MANY - 1);
        assert!(now(store.read(&gone)).unwrap().is_none());
        let replaced = now(store.replace(&gone, Bytes::new(), None, &was)).unwrap();
        assert!(matches!(replaced, Replace::Gone));
        assert_eq!(create(&gone, vec![0; 3]).unwrap(), Create::Done);
        let live = 2;
        let big = vec![0; room - live * (OVERHEAD + 4 + 3) - OVERHEAD - 4];
        assert_eq!(create("huge", big).unwrap(), Create::Done);
        assert_eq!(store.len(), live + 1);
        let shelf = store.shelf();
        assert_eq!(shelf.used, room);
        assert!(shelf.records.capacity() < MANY / 2, "the table has shrunk");
    }

    #[test]
    fn a_write_moves_the_expiry_both_ways() {
        let clock = ManualClock::at(UNIX_EPOCH);
        let store = MemoryBackend::new().with_clock(clock.clone());
        let write = |key: &str, ttl: Option<Duration>| {
            if let Some(was) = now(store.read(key)).unwrap() {
                now(store.replace(key, Bytes::from_static(b"x"), ttl, &was)).unwrap();
            } else {
                now(store.create(key, Bytes::from_static(b"x"), ttl)).unwrap();
            }
        };
        write("longer", Some(SECOND));
        write("longer", Some(SECOND * 10));
        write("shorter", Some(SECOND * 10));
        write("shorter", Some(SECOND));
        write("forever", Some(SECOND));
        write("forever", None);
        clock.advance(SECOND * 5);
        write("other", Some(SECOND * 100)); // sweeps
        assert!(now(store.read("longer")).unwrap().is_some());
        assert!(now(store.read("shorter")).unwrap().is_none());
        assert!(now(store.read("forever")).unwrap().is_some());
        assert_eq!(store.len(), 3);
        clock.advance(SECOND * 5);
        write("other", Some(SECOND * 100));
        assert_eq!(store.len(), 2);
        for key in ["longer", "shorter", "forever", "other"] {
            now(store.delete(key, None)).unwrap();
        }
        let shelf = store.shelf();
        assert_eq!((shelf.used, shelf.expiry.len()), (0, 0));
    }
}
