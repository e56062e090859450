//! What lies in a store, whoever wrote it there.

use std::time::UNIX_EPOCH;

use bytes::Bytes;
use session_core::{
    Backend as _, CookieChange, DEFAULT_NAME, ErrorKind, Identity, KeyedStorage, ManualClock,
    MemoryBackend, Records, Session, Storage as _,
};

use super::input::Input;
use super::now;
use crate::vectors;

const IDENTITY: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";

/// The input is two bytes that say what two requests do at the same time, and the record. It is a
/// session or it is not; what is no session is never written over, and both requests end well. A session
/// that has expired is loaded as none, and a logout deletes it all the same.
pub fn stored(data: &[u8]) {
    let mut input = Input::new(data);
    let does = [input.byte(), input.byte()];
    let record = Bytes::copy_from_slice(input.rest());
    let clock = vectors::clock();
    let backend = MemoryBackend::new().with_clock(clock.clone());
    let storage = KeyedStorage::new(backend).with_clock(clock);
    let key = format!("{DEFAULT_NAME}_{IDENTITY}");
    now(storage.backend().create(&key, record.clone(), None)).unwrap();

    let sessions = does.map(|_| now(storage.load(Some(IDENTITY))).unwrap());
    let known = sessions[0].identity().is_some();
    assert_eq!(known, !sessions[0].is_new());
    assert_eq!(sessions[0].keys(), sessions[1].keys());
    let before = sessions[0].keys();
    let expired = !known && was_session(&record);
    let (mut ended, mut logged_out) = (false, false);
    for (at, (what, session)) in does.into_iter().zip(&sessions).enumerate() {
        let name = format!("of request {at}");
        act(session, what, &name);
        let (empty, new) = (session.is_empty(), session.is_new());
        match now(storage.save(session)) {
            Ok(CookieChange::Set { value, .. }) => {
                let identity = Identity::parse(&value).unwrap();
                assert_eq!(known && what % 6 < 3, identity.as_str() == IDENTITY);
                let again = now(storage.load(Some(&value))).unwrap();
                assert!(!again.is_new());
                // Of a session that the other request merged into, both; of names that are no
                // Unicode the count only.
                assert!(again.len() >= session.len());
                let sets = matches!(what % 6, 0 | 3 | 5);
                assert_eq!(again.contains_key(&name), sets);
                if what % 6 == 0 && !ended {
                    assert!(
                        before
                            .iter()
                            .all(|key| again.keys().contains(key) || at == 1)
                    );
                }
            }
            Ok(CookieChange::Keep) => {}
            Ok(CookieChange::Remove) => assert!(empty || new),
            Err(error) => {
                assert!(
                    error.kind() == ErrorKind::Ended && at == 1 && ended,
                    "{error}"
                );
            }
        }
        ended |= (what % 6 >= 3 || empty) && known;
        logged_out |= what % 6 >= 4;
        if !known {
            let there = now(storage.backend().read(&key)).unwrap();
            assert_eq!(there.is_none(), expired && logged_out);
            if let Some(there) = there {
                assert_eq!(there.value, record, "what is no session is left alone");
            }
        }
    }
    assert!(
        sessions
            .iter()
            .all(|session| session.len() <= before.len() + 2)
    );
}

/// Returns whether a record was a session once: it is one in 1970, or was over even then.
fn was_session(record: &Bytes) -> bool {
    let then = Records::default().with_clock(ManualClock::at(UNIX_EPOCH));
    let text = String::from_utf8_lossy(record);
    let created = serde_json::from_str::<serde_json::Value>(&text).ok();
    let is_negative = created
        .and_then(|it| it["created"].as_f64())
        .is_some_and(|it| it < 0.0);
    is_negative || then.open(record.clone()).is_some()
}

fn act(session: &Session, what: u8, name: &str) {
    match what % 6 {
        0 => session.insert(name, 1).unwrap(),
        1 => session.changed().unwrap(),
        2 => {
            let first = session.keys().first().cloned().unwrap_or_default();
            session.remove(&first).unwrap();
        }
        3 => {
            session.insert(name, 1).unwrap();
            session.renew().unwrap();
        }
        4 => session.invalidate().unwrap(),
        _ => {
            session.invalidate().unwrap();
            session.insert(name, 2).unwrap();
        }
    }
}
