//! The backend in memory, compared with a map.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use session_core::keyed::{Backend as _, Found, OnlyIf, Outcome, Stored, Write};
use session_core::{Clock as _, ErrorKind, ManualClock, MemoryBackend, Result};

use super::input::Input;
use super::now;

/// The live records: each has a value and the time at which it expires.
type Model = HashMap<String, (Vec<u8>, Option<SystemTime>)>;

/// What a record costs besides its key and value.
const OVERHEAD: usize = 300;

/// The input is a byte for the capacity, and then calls. A call is a byte that says what to do with
/// which of four keys, a byte for the time to live, and a value that 0xff ends.
pub fn memory(data: &[u8]) {
    let mut input = Input::new(data);
    let capacity = usize::from(input.byte()) * 8;
    let clock = ManualClock::at(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    let backend = MemoryBackend::with_capacity(capacity).with_clock(clock.clone());
    let mut model = Model::new();
    while !input.is_empty() {
        let what = input.byte();
        let key = format!("key_{}", "0123".repeat(1 + usize::from(what >> 6)));
        let time_to_live = match input.byte() {
            0 => None,
            255 => Some(Duration::MAX),
            seconds => Some(Duration::from_secs(u64::from(seconds))),
        };
        let value = Bytes::copy_from_slice(input.piece());
        let record = Write::record(value.clone(), time_to_live);
        let minute = Duration::from_secs(60);
        let tombstone = Write::tombstone(value, time_to_live.unwrap_or(minute));
        expire(&mut model, clock.now());
        let call = Call {
            backend: &backend,
            capacity,
            time: clock.now(),
            key,
        };
        let expected = call.expected(&model, what);
        match what % 6 {
            0 => assert_eq!(now(backend.read(&call.key)).unwrap(), call.held(&model)),
            1 => call.write(&mut model, &record, None),
            2 => call.write(&mut model, &record, Some(&expected)),
            3 => call.write(&mut model, &tombstone, Some(&expected)),
            4 => call.write(&mut model, &tombstone, None),
            _ => clock.advance(Duration::from_secs(u64::from(what >> 2))),
        }
        assert!(backend.len() <= capacity / OVERHEAD, "bounded");
    }
    expire(&mut model, clock.now());
    assert!(backend.len() >= model.len());
    for (key, (value, _)) in &model {
        let found = Found::Value(Stored::new(value.clone()));
        assert_eq!(now(backend.read(key)).unwrap(), found);
    }
}

fn expire(model: &mut Model, time: SystemTime) {
    model.retain(|_, (_, expires)| expires.is_none_or(|expires| time < expires));
}

/// A call, and what its outcome depends on.
struct Call<'a> {
    backend: &'a MemoryBackend,
    capacity: usize,
    time: SystemTime,
    key: String,
}

impl Call<'_> {
    /// Returns what the key holds.
    fn held(&self, model: &Model) -> Found {
        match model.get(&self.key) {
            Some((value, _)) => Found::Value(Stored::new(value.clone())),
            None => Found::Missing,
        }
    }

    /// Returns what an update expects: what the key holds, or something else. A version number,
    /// which memory ignores, makes no difference.
    fn expected(&self, model: &Model, what: u8) -> Stored {
        let held = model.get(&self.key).filter(|_| what & 32 == 0);
        let value = held.map_or_else(|| b"-".to_vec(), |(value, _)| value.clone());
        match NonZeroU64::new(u64::from(what & 16)) {
            Some(version) => Stored::with_version(value, version),
            None => Stored::new(value),
        }
    }

    /// Writes, checks the outcome, and does the same to the model.
    fn write(&self, model: &mut Model, write: &Write, was: Option<&Stored>) {
        let only_if = was.map_or(OnlyIf::Missing, OnlyIf::Unchanged);
        let outcome = now(self.backend.write(&self.key, write.clone(), only_if));
        let held = model.get(&self.key).map(|(value, _)| value.clone());
        if held.as_deref() != was.map(|was| &was.value()[..]) {
            let found = Outcome::Found(self.held(model));
            assert_eq!(outcome.unwrap(), found, "the condition does not hold");
            return;
        }
        let value = write.value().to_vec();
        let before: usize = model.iter().map(|(key, (value, _))| cost(key, value)).sum();
        let held = held.map_or(0, |held| cost(&self.key, &held));
        let after = before - held + cost(&self.key, &value);
        let fits = after <= self.capacity || after <= before;
        if fits {
            let ttl = write.time_to_live();
            let expires = ttl.and_then(|ttl| self.time.checked_add(ttl));
            model.insert(self.key.clone(), (value.clone(), expires));
        } else if write.is_tombstone() {
            model.remove(&self.key);
        }
        if fits || write.is_tombstone() {
            assert_eq!(outcome.unwrap(), Outcome::Written(Stored::new(value)));
        } else {
            assert_full(&outcome);
        }
    }
}

fn cost(key: &str, value: &[u8]) -> usize {
    key.len() + value.len() + OVERHEAD
}

#[track_caller]
fn assert_full(outcome: &Result<Outcome>) {
    match outcome {
        Ok(outcome) => panic!("there was no room: {outcome:?}"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable),
    }
}
