//! The backend in memory against a map.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use session_core::{
    Backend as _, Create, ErrorKind, ManualClock, MemoryBackend, Replace, Versioned,
};

use super::input::Input;
use super::now;

type Model = HashMap<String, (Vec<u8>, Option<SystemTime>)>;

/// What a record costs besides its key and value.
const OVERHEAD: usize = 300;

/// The input is a byte for the capacity, and calls: a byte that says which on which of four keys, one
/// for the time to live, and the value up to 0xff.
pub fn memory(data: &[u8]) {
    let mut input = Input::new(data);
    let capacity = usize::from(input.byte()) * 8;
    let clock = ManualClock::at(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    let backend = MemoryBackend::with_capacity(capacity).with_clock(clock.clone());
    let mut model = Model::new();
    while !input.is_empty() {
        let what = input.byte();
        let key = format!("key_{}", "0123".repeat(1 + usize::from(what >> 6)));
        let ttl = match input.byte() {
            0 => None,
            255 => Some(Duration::MAX),
            seconds => Some(Duration::from_secs(u64::from(seconds))),
        };
        let value = Bytes::copy_from_slice(input.piece());
        let time = session_core::Clock::now(&clock);
        model.retain(|_, (_, expires)| expires.is_none_or(|expires| time < expires));
        let there = model.get(&key).map(|(value, _)| value.clone());
        let expires = ttl.and_then(|ttl| time.checked_add(ttl));
        let used: usize = model.iter().map(|(key, (value, _))| cost(key, value)).sum();
        let after = used + cost(&key, &value) - there.as_ref().map_or(0, |there| cost(&key, there));
        let fits = after <= capacity || after <= used;
        // The same, or another than what is there.
        let was = Versioned {
            value: there
                .clone()
                .filter(|_| what & 32 == 0)
                .unwrap_or_else(|| b"-".to_vec())
                .into(),
            version: 0,
        };
        let is_still = there.as_deref() == Some(&was.value[..]);
        match what % 6 {
            0 => assert_eq!(read(&backend, &key), there),
            1 => match now(backend.create(&key, value.clone(), ttl)) {
                Ok(Create::Done) => {
                    assert!(there.is_none() && fits);
                    model.insert(key.clone(), (value.to_vec(), expires));
                }
                Ok(Create::Exists) => assert!(there.is_some()),
                Err(error) => full(&error, there.is_none() && !fits),
            },
            2 => match now(backend.replace(&key, value.clone(), ttl, &was)) {
                Ok(Replace::Done) => {
                    assert!(is_still && fits);
                    model.insert(key.clone(), (value.to_vec(), expires));
                }
                Ok(other) => conflict(&other, there.as_deref(), is_still),
                Err(error) => full(&error, is_still && !fits),
            },
            3 => match now(backend.delete(&key, Some(&was))).unwrap() {
                Replace::Done => {
                    assert!(is_still);
                    model.remove(&key);
                }
                other => conflict(&other, there.as_deref(), is_still),
            },
            4 => match now(backend.delete(&key, None)).unwrap() {
                Replace::Done => assert!(model.remove(&key).is_some()),
                Replace::Gone => assert!(there.is_none()),
                Replace::Conflict(_) => panic!("nothing was asked for"),
            },
            _ => clock.advance(Duration::from_secs(u64::from(what >> 2))),
        }
        assert!(backend.len() <= capacity / OVERHEAD, "bounded");
    }
    let time = session_core::Clock::now(&clock);
    model.retain(|_, (_, expires)| expires.is_none_or(|expires| time < expires));
    assert!(backend.len() >= model.len());
    for (key, (value, _)) in &model {
        assert_eq!(read(&backend, key).as_ref(), Some(value));
    }
}

fn cost(key: &str, value: &[u8]) -> usize {
    key.len() + value.len() + OVERHEAD
}

fn read(backend: &MemoryBackend, key: &str) -> Option<Vec<u8>> {
    let found = now(backend.read(key)).unwrap();
    found.map(|found| found.value.to_vec())
}

#[track_caller]
fn full(error: &session_core::Error, is_full: bool) {
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(is_full, "there was room");
}

#[track_caller]
fn conflict(answer: &Replace, there: Option<&[u8]>, is_still: bool) {
    match answer {
        Replace::Conflict(found) => {
            assert!(!is_still);
            assert_eq!(Some(&found.value[..]), there);
        }
        Replace::Gone => assert!(there.is_none()),
        Replace::Done => panic!("not the call's to answer"),
    }
}
