//! The table of records: what each key holds, when it expires, and how much memory all of it takes.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::keyed::backend::{Found, OnlyIf, Outcome, Write};
use crate::record::stored::Stored;

/// What a record costs besides its key and value: two map entries, their pointers, and the places
/// that a hash table leaves empty. While the table grows, it is more for a moment.
const OVERHEAD: usize = 300;

/// The most records whose expiry one write checks, unless the write needs more room. A burst of
/// expired records is then removed in steps, and no single request waits for all of it.
const SWEEP_BATCH: usize = 64;

/// Records by their keys.
pub(super) struct Table {
    /// The standard hash withstands keys that a client chose. A login adds such keys: it leaves a
    /// tombstone at the key of each cookie that the client sent.
    slots: HashMap<Arc<str>, Slot>,
    /// The keys in the order in which the sweep checks them, one for each `Slot::check`.
    checks: BTreeSet<(SystemTime, Arc<str>)>,
    room: Room,
}

/// What one key holds.
struct Slot {
    value: Bytes,
    /// When it expires; `None` is never.
    expires: Option<SystemTime>,
    /// When the sweep checks it: never later than `expires`. A write that extends the time to live
    /// leaves this as it is, so that it need not touch `checks`; the sweep then corrects it.
    check: Option<SystemTime>,
}

/// The memory that all records take, and the limit.
struct Room {
    capacity: usize,
    used: usize,
}

impl Table {
    /// Makes an empty table with room for `capacity` bytes.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            slots: HashMap::new(),
            checks: BTreeSet::new(),
            room: Room { capacity, used: 0 },
        }
    }

    /// Returns how many bytes it has room for.
    pub(super) fn capacity(&self) -> usize {
        self.room.capacity
    }

    /// Returns how many records it holds, expired ones included.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns what `key` holds at the time `now`.
    pub(super) fn read(&self, key: &str, now: SystemTime) -> Found {
        match self.slots.get(key) {
            Some(slot) if slot.is_live(now) => slot.found(),
            _ => Found::Missing,
        }
    }

    /// Stores `write` under `key` if the key holds what `only_if` expects at the time `now`.
    pub(super) fn write(
        &mut self,
        key: &str,
        write: Write,
        only_if: OnlyIf<'_>,
        now: SystemTime,
    ) -> Result<Outcome> {
        match only_if {
            OnlyIf::Missing => self.create(key, write, now),
            OnlyIf::Unchanged(was) => self.update(key, write, was, now),
        }
    }

    fn create(&mut self, key: &str, write: Write, now: SystemTime) -> Result<Outcome> {
        let size = key.len() + write.value().len() + OVERHEAD;
        self.sweep(now, size);
        let expires = expires(now, write.time_to_live());
        match self.slots.entry(Arc::from(key)) {
            Entry::Occupied(slot) if slot.get().is_live(now) => {
                return Ok(Outcome::Found(slot.get().found()));
            }
            // The sweep has left this expired record for later. Its check is due already, so the
            // new time to live cannot be sooner.
            Entry::Occupied(mut slot) => {
                let slot = slot.get_mut();
                if !self.room.resize(slot.value.len(), write.value().len()) {
                    return without_room(write);
                }
                slot.value = write.value().clone();
                slot.expires = expires;
            }
            Entry::Vacant(place) => {
                if !self.room.resize(0, size) {
                    return without_room(write);
                }
                if let Some(expires) = expires {
                    self.checks.insert((expires, Arc::clone(place.key())));
                }
                place.insert(Slot {
                    value: write.value().clone(),
                    expires,
                    check: expires,
                });
            }
        }
        Ok(written(write))
    }

    fn update(
        &mut self,
        key: &str,
        write: Write,
        was: &Stored,
        now: SystemTime,
    ) -> Result<Outcome> {
        self.sweep(now, write.value().len());
        let slot = match self.slots.get_mut(key) {
            Some(slot) if slot.is_live(now) => slot,
            _ => return Ok(Outcome::Found(Found::Missing)),
        };
        if slot.value != was.value() {
            return Ok(Outcome::Found(slot.found()));
        }
        if !self.room.resize(slot.value.len(), write.value().len()) {
            if write.is_tombstone() {
                self.remove(key);
            }
            return without_room(write);
        }
        slot.value = write.value().clone();
        slot.expires = expires(now, write.time_to_live());
        if let Some(expires) = slot.expires
            && slot.check.is_none_or(|check| expires < check)
        {
            let before = slot.check.replace(expires);
            self.reschedule(key, before, expires);
        }
        Ok(written(write))
    }

    /// Lets the sweep check `key` at `time` and no longer at `before`.
    fn reschedule(&mut self, key: &str, before: Option<SystemTime>, time: SystemTime) {
        let Some((key, _)) = self.slots.get_key_value(key) else {
            return;
        };
        if let Some(before) = before {
            self.checks.remove(&(before, Arc::clone(key)));
        }
        self.checks.insert((time, Arc::clone(key)));
    }

    fn remove(&mut self, key: &str) {
        if let Some((key, slot)) = self.slots.remove_entry(key) {
            self.room.used -= key.len() + slot.value.len() + OVERHEAD;
            if let Some(check) = slot.check {
                self.checks.remove(&(check, key));
            }
        }
    }

    /// Removes a batch of the records that have expired. While `size` more bytes do not fit, it
    /// goes on.
    fn sweep(&mut self, now: SystemTime, size: usize) {
        let enough = self.room.capacity.saturating_sub(size);
        let mut checked = 0;
        while self.checks.first().is_some_and(|(time, _)| *time <= now)
            && (checked < SWEEP_BATCH || self.room.used > enough)
        {
            let Some((_, key)) = self.checks.pop_first() else {
                return;
            };
            checked += 1;
            let Some(slot) = self.slots.get_mut(&key) else {
                continue;
            };
            slot.check = None;
            match slot.expires {
                Some(expires) if expires > now => {
                    slot.check = Some(expires);
                    self.checks.insert((expires, key));
                }
                Some(_) => self.remove(&key),
                None => {}
            }
        }
        if self.slots.len() < self.slots.capacity() / 4 {
            self.slots.shrink_to(2 * self.slots.len());
        }
    }
}

impl Slot {
    fn is_live(&self, now: SystemTime) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    fn found(&self) -> Found {
        Found::Value(Stored::new(self.value.clone()))
    }
}

impl Room {
    /// Counts `to` bytes in place of `from`, and returns whether they fit. If they do not fit, it
    /// counts nothing.
    fn resize(&mut self, from: usize, to: usize) -> bool {
        let used = self.used - from + to;
        let fits = used <= self.capacity;
        if fits {
            self.used = used;
        }
        fits
    }
}

fn written(write: Write) -> Outcome {
    Outcome::Written(Stored::new(write.into_value()))
}

/// Returns the outcome of a write that does not fit. A tombstone counts as written, because a
/// missing key ends a session, too.
fn without_room(write: Write) -> Result<Outcome> {
    if write.is_tombstone() {
        return Ok(written(write));
    }
    let text = "the memory for sessions is used up";
    Err(Error::new(ErrorKind::Unavailable, text))
}

/// Returns when a record expires. A time beyond the range of the clock counts as never.
fn expires(now: SystemTime, time_to_live: Option<Duration>) -> Option<SystemTime> {
    time_to_live.and_then(|time_to_live| now.checked_add(time_to_live))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const START: SystemTime = UNIX_EPOCH;
    const SECOND: Duration = Duration::from_secs(1);

    fn record(value: impl Into<Bytes>, time_to_live: Option<Duration>) -> Write {
        Write::record(value, time_to_live)
    }

    fn tombstone(value: &'static str) -> Write {
        Write::tombstone(value, SECOND * 60)
    }

    fn missing() -> Outcome {
        Outcome::Found(Found::Missing)
    }

    impl Table {
        #[track_caller]
        fn creates(&mut self, key: &str, write: Write, now: SystemTime) {
            let value = write.value().clone();
            let outcome = self.write(key, write, OnlyIf::Missing, now).unwrap();
            assert_eq!(outcome, Outcome::Written(Stored::new(value)));
        }

        #[track_caller]
        fn updates(&mut self, key: &str, was: &Stored, write: Write, now: SystemTime) {
            let value = write.value().clone();
            let outcome = self.write(key, write, OnlyIf::Unchanged(was), now);
            assert_eq!(outcome.unwrap(), Outcome::Written(Stored::new(value)));
        }

        #[track_caller]
        fn refuses(&mut self, key: &str, write: Write, only_if: OnlyIf<'_>, now: SystemTime) {
            let before = self.read(key, now);
            let error = self.write(key, write, only_if, now).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert_eq!(self.read(key, now), before);
        }

        /// Counts again what the table keeps account of.
        #[track_caller]
        fn assert_accounts_are_right(&mut self) {
            let used = self.slots.iter().map(|(key, slot)| {
                assert!(slot.check.is_none_or(|check| {
                    self.checks.contains(&(check, Arc::clone(key)))
                        && slot.expires.is_none_or(|expires| check <= expires)
                }));
                assert!(slot.expires.is_none() || slot.check.is_some());
                key.len() + slot.value.len() + OVERHEAD
            });
            assert_eq!(used.sum::<usize>(), self.room.used);
            let checks = self.slots.values().filter(|slot| slot.check.is_some());
            assert_eq!(checks.count(), self.checks.len());
        }
    }

    #[test]
    fn a_full_table_refuses_records_and_makes_room_by_expiry_alone() {
        let room_for_two = 2 * (OVERHEAD + 1 + 3);
        let mut table = Table::new(room_for_two);
        table.creates("a", record("abc", Some(SECOND)), START);
        table.creates("b", record("abc", None), START);
        table.refuses("c", record("abc", None), OnlyIf::Missing, START);
        let abc = Stored::new("abc");
        let longer = record("abcd", None);
        table.refuses("b", longer, OnlyIf::Unchanged(&abc), START);
        assert_eq!(table.read("a", START), Found::Value(abc.clone()));
        assert_eq!(table.read("b", START), Found::Value(abc.clone()));
        table.updates("b", &abc, record("xyz", None), START);
        let later = START + SECOND;
        table.creates("c", record("abc", None), later);
        assert_eq!(table.read("a", later), Found::Missing);
        assert_eq!(table.len(), 2);
        table.assert_accounts_are_right();
    }

    #[test]
    fn a_full_table_still_ends_sessions() {
        let room_for_two = 2 * (OVERHEAD + 1 + 3);
        let mut table = Table::new(room_for_two);
        let abc = Stored::new("abc");
        table.creates("a", record("abc", Some(SECOND * 600)), START);
        table.creates("b", record("abc", None), START);
        table.creates("c", tombstone("{ }"), START);
        assert_eq!(table.read("c", START), Found::Missing, "nothing is stored");
        table.updates("b", &abc, tombstone("{ }"), START);
        let found = Found::Value(Stored::new("{ }"));
        assert_eq!(table.read("b", START), found, "it fits");
        let long = tombstone("{    }");
        let other = Stored::new("other");
        let conflict = table.write("a", long.clone(), OnlyIf::Unchanged(&other), START);
        let found = Outcome::Found(Found::Value(abc.clone()));
        assert_eq!(conflict.unwrap(), found, "the condition still counts");
        let conflict = table.write("a", long.clone(), OnlyIf::Missing, START);
        assert_eq!(conflict.unwrap(), found);
        let late = table.write("d", long.clone(), OnlyIf::Unchanged(&abc), START);
        assert_eq!(late.unwrap(), missing());
        table.updates("a", &abc, long, START);
        assert_eq!(table.read("a", START), Found::Missing, "the key is deleted");
        assert_eq!(table.len(), 1);
        table.assert_accounts_are_right();
        table.creates("c", tombstone("{ }"), START);
        assert_eq!(table.len(), 2, "there is room again");
        table.creates("c2", record("x", None), START + SECOND * 60);
        assert_eq!(table.len(), 1, "both tombstones have expired");
        table.assert_accounts_are_right();
    }

    /// The sweep removes a burst of expired records in batches, so that no single request waits for
    /// all of it. Expired records still take no room, and no call returns them.
    #[test]
    fn expired_records_are_removed_in_batches_unless_there_is_no_room() {
        const MANY: usize = 10 * SWEEP_BATCH;
        let room = MANY * (OVERHEAD + 4 + 3);
        let mut table = Table::new(room);
        let name = |number: usize| format!("{number:04}");
        let value = Stored::new(vec![0; 3]);
        let write = || record(vec![0; 3], Some(SECOND));
        for number in 0..MANY {
            table.creates(&name(number), write(), START);
        }
        let later = START + SECOND;
        table.creates("once", write(), later);
        assert_eq!(table.len(), MANY - SWEEP_BATCH + 1);
        let gone = name(MANY - 1);
        assert_eq!(table.read(&gone, later), Found::Missing);
        let update = table.write(&gone, write(), OnlyIf::Unchanged(&value), later);
        assert_eq!(update.unwrap(), missing());
        table.creates(&gone, record("new", Some(SECOND * 2)), later);
        let new = Found::Value(Stored::new("new"));
        assert_eq!(table.read(&gone, later + SECOND), new);
        table.assert_accounts_are_right();
        let live = 2;
        let big = vec![0; room - live * (OVERHEAD + 4 + 3) - OVERHEAD - 4];
        table.creates("huge", record(big, Some(SECOND)), later);
        assert_eq!(table.len(), live + 1);
        assert_eq!(table.room.used, room);
        assert!(table.slots.capacity() < MANY / 2, "the table has shrunk");
        table.assert_accounts_are_right();
    }

    #[test]
    fn a_write_moves_the_expiry_both_ways() {
        let mut table = Table::new(1 << 20);
        let value = Stored::new("x");
        for (key, first, then) in [
            ("longer", Some(SECOND), Some(SECOND * 10)),
            ("shorter", Some(SECOND * 10), Some(SECOND)),
            ("forever", Some(SECOND), None),
            ("limited", None, Some(SECOND)),
        ] {
            table.creates(key, record("x", first), START);
            table.updates(key, &value, record("x", then), START);
            table.assert_accounts_are_right();
        }
        let later = START + SECOND * 5;
        table.creates("other", record("x", Some(SECOND * 100)), later); // sweeps
        for (key, is_there) in [
            ("longer", true),
            ("shorter", false),
            ("forever", true),
            ("limited", false),
        ] {
            let found = table.read(key, later);
            assert_eq!(matches!(found, Found::Value(_)), is_there, "{key}");
        }
        assert_eq!(table.len(), 3);
        let later = later + SECOND * 5;
        table.updates("other", &value, record("x", Some(SECOND * 100)), later);
        assert_eq!(table.len(), 2);
        table.assert_accounts_are_right();
        for key in ["forever", "other"] {
            table.updates(key, &value, record("", Some(SECOND)), later);
        }
        table.creates("last", record("", Some(SECOND)), later + SECOND);
        table.sweep(later + SECOND * 2, 0);
        assert_eq!((table.room.used, table.checks.len()), (0, 0));
    }
}
