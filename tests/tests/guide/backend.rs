//! The backend that the guide's page on backends shows. A test compares the two.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use session_core::keyed::{Backend, Found, OnlyIf, Outcome, Stored, Write};
use session_core::{Error, ErrorKind, Result};

/// What is stored under each key, and when it expires.
type Records = HashMap<String, (Stored, Option<Instant>)>;

/// Keeps up to `capacity` bytes of records in a map.
pub struct MapBackend {
    records: Mutex<Records>,
    capacity: usize,
    timeout: Duration,
}

impl MapBackend {
    pub fn new(capacity: usize, timeout: Duration) -> Self {
        Self {
            records: Mutex::default(),
            capacity,
            timeout,
        }
    }

    /// Locks the map and drops the records that have expired.
    fn lock(&self) -> MutexGuard<'_, Records> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        records.retain(|_, (_, expires)| expires.is_none_or(|expires| now < expires));
        records
    }
}

fn find(records: &Records, key: &str) -> Found {
    match records.get(key) {
        Some((stored, _)) => Found::Value(stored.clone()),
        None => Found::Missing,
    }
}

impl Backend for MapBackend {
    async fn read(&self, key: &str) -> Result<Found> {
        Ok(find(&self.lock(), key))
    }

    async fn write(&self, key: &str, write: Write, only_if: OnlyIf<'_>) -> Result<Outcome> {
        let mut records = self.lock(); // one lock around the comparison and the write
        let found = find(&records, key);
        let holds = match (only_if, &found) {
            (OnlyIf::Missing, Found::Missing) => true,
            (OnlyIf::Unchanged(seen), Found::Value(now)) => seen.value() == now.value(),
            _ => false,
        };
        if !holds {
            return Ok(Outcome::Found(found));
        }
        let ttl = write.time_to_live();
        let expires = ttl.and_then(|ttl| Instant::now().checked_add(ttl));
        let is_tombstone = write.is_tombstone();
        let stored = Stored::new(write.into_value());
        let old = records.insert(key.to_owned(), (stored.clone(), expires));
        let sizes = records.iter().map(|(k, (v, _))| k.len() + v.value().len());
        if sizes.sum::<usize>() > self.capacity {
            // Too much: take it back. A tombstone deletes the record instead.
            records.remove(key);
            if !is_tombstone {
                records.extend(old.map(|old| (key.to_owned(), old)));
                return Err(Error::new(ErrorKind::Unavailable, "the map is full"));
            }
        }
        Ok(Outcome::Written(stored))
    }

    async fn bound<F: Future + Send>(&self, waiting: F, times: u32) -> Result<F::Output> {
        let done = tokio::time::timeout(self.timeout.saturating_mul(times), waiting).await;
        done.map_err(|_| Error::new(ErrorKind::Unavailable, "not done in time"))
    }
}

/// Shows no key and no value.
impl fmt::Debug for MapBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapBackend").finish_non_exhaustive()
    }
}
