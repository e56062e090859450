//! The store, and what it should hold after each request.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{HeaderValue, Response, StatusCode};
use session_core::keyed::{Backend as _, Found, OnlyIf, Outcome, Write};
use session_core::{
    Clock as _, DEFAULT_NAME, Identity, KeyedStorage, ManualClock, MemoryBackend, Storage as _,
};

use super::held::{Held, Loaded, Tombstone, sorted};
use super::requests::Did;
use super::{GRACE, HOUR, IDENTITY, MINUTE, SECOND};
use crate::fuzz::now;

/// What a request should get.
#[derive(Debug)]
pub(super) enum Expected {
    /// No Set-Cookie.
    Keep,
    /// The cookie that it has, if it has a Max-Age, else no Set-Cookie.
    Same,
    /// A new identity, under which the session has these keys.
    Fresh {
        keys: Vec<String>,
        moves: bool,
    },
    Remove,
    /// 409 and no Set-Cookie.
    Refused,
    /// 503 and no Set-Cookie.
    Unavailable,
}

/// What was found where a session was to be ended.
enum Was {
    Alive,
    Ended(Tombstone),
    Nothing,
    /// Tombstones lead in a circle, which only another program could write.
    Circle,
}

/// The store, and what it should hold.
pub(super) struct World {
    pub(super) storage: Arc<KeyedStorage<MemoryBackend>>,
    pub(super) clock: ManualClock,
    /// The texts that were there at first.
    texts: BTreeMap<String, Bytes>,
    held: BTreeMap<String, Held>,
    /// What the requests wrote.
    written: BTreeMap<String, Written>,
}

struct Written {
    /// When the session expires, or the tombstone ends; `None`: never.
    ends: Option<SystemTime>,
    /// When the store has nothing any more.
    gone: Option<SystemTime>,
}

impl World {
    pub(super) fn new(storage: KeyedStorage<MemoryBackend>, clock: ManualClock) -> Self {
        Self {
            storage: Arc::new(storage),
            clock,
            texts: BTreeMap::new(),
            held: BTreeMap::new(),
            written: BTreeMap::new(),
        }
    }

    /// Puts a text into the store for good.
    pub(super) fn put(&mut self, identity: &str, text: Bytes, held: Held) {
        let write = Write::record(text.clone(), None);
        let backend = self.storage.backend();
        let written = now(backend.write(&key(identity), write, OnlyIf::Missing));
        assert!(matches!(written, Ok(Outcome::Written(_))));
        self.texts.insert(identity.into(), text);
        self.held.insert(identity.into(), held);
    }

    fn bury(&mut self, identity: &str, tombstone: Tombstone) {
        let ends = Some(self.clock.now() + MINUTE);
        let written = Written { ends, gone: ends };
        self.written.insert(identity.into(), written);
        self.held
            .insert(identity.into(), Held::Tombstone(tombstone));
    }

    /// Notes that a request has stored its session.
    fn store(&mut self, identity: &str, keys: Vec<String>, did: &Did) {
        let known = did.session.identity();
        let expected = (!keys.is_empty()).then_some(identity);
        assert_eq!(known.as_ref().map(Identity::as_str), expected);
        assert_eq!(did.session.is_new(), keys.is_empty());
        let written = Written {
            ends: did.session.expires_at(),
            gone: did.life.map(|life| self.clock.now() + life + GRACE),
        };
        self.written.insert(identity.into(), written);
        self.held.insert(identity.into(), Held::Session(keys));
    }

    /// Returns what a request should get that loaded `loaded`, and ends what it ends.
    pub(super) fn expect(&mut self, loaded: &Loaded, did: &Did) -> Expected {
        let held = self.held[IDENTITY].clone();
        let fresh = |keys: &[String], moves| Expected::Fresh {
            keys: did.merged(keys),
            moves,
        };
        let new = Expected::Fresh {
            keys: vec![did.name.clone()],
            moves: false,
        };
        if matches!(did.what, 4 | 5 | 9 | 10) {
            let is_login = did.what == 9;
            return match self.end(is_login) {
                Was::Circle => Expected::Unavailable,
                _ if is_login => new,
                Was::Ended(Tombstone::Replaced | Tombstone::Ended) if did.sets() => {
                    Expected::Refused
                }
                _ if did.sets() => new,
                Was::Ended(Tombstone::Replaced) => Expected::Keep,
                _ => Expected::Remove,
            };
        }
        let changes = did.what != 2 || did.removed.is_some();
        match (loaded, held) {
            (Loaded::Live, Held::Session(keys)) if changes => match did.what {
                _ if did.renews() => fresh(&keys, true),
                6 => {
                    self.bury(IDENTITY, Tombstone::Ended);
                    Expected::Remove
                }
                _ => Expected::Same,
            },
            (Loaded::Live, _) if changes => Expected::Refused,
            (Loaded::Emptied, Held::Session(_)) if did.sets() => fresh(&[], true),
            (Loaded::Emptied, _) if did.sets() => Expected::Refused,
            (Loaded::Ended(Tombstone::Revoked) | Loaded::Nothing, _) if did.sets() => new,
            (Loaded::Ended(Tombstone::Revoked), _) => Expected::Keep,
            (Loaded::Ended(_), _) if did.sets() || did.renews() => Expected::Refused,
            _ => Expected::Keep,
        }
    }

    /// Ends what the cookie stands for. A login leaves its tombstone also where no session is, and
    /// in place of each tombstone that it followed.
    fn end(&mut self, is_login: bool) -> Was {
        let mut at = IDENTITY.to_owned();
        let mut followed = Vec::new();
        for _ in 0..=self.held.len() {
            let was = match self.held.get(&at) {
                Some(Held::Foreign) => return Was::Nothing,
                Some(Held::Tombstone(Tombstone::Moved(to))) => {
                    followed.push(mem::replace(&mut at, to.clone()));
                    continue;
                }
                Some(Held::Python) | None => Was::Nothing,
                Some(Held::Tombstone(tombstone)) => Was::Ended(tombstone.clone()),
                Some(Held::Session(_)) => Was::Alive,
            };
            if is_login {
                for at in followed.iter().chain([&at]) {
                    self.bury(at, Tombstone::Replaced);
                }
            } else if let Was::Alive = was {
                self.bury(&at, Tombstone::Ended);
            }
            return was;
        }
        Was::Circle
    }

    /// Compares what a request got with what it should get, and notes what it stored.
    pub(super) fn check_response(
        &mut self,
        expected: Expected,
        did: &Did,
        response: &Response<()>,
    ) {
        let status = match expected {
            Expected::Refused => StatusCode::CONFLICT,
            Expected::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::OK,
        };
        assert_eq!(response.status(), status, "expected {expected:?}");
        let headers: Vec<&HeaderValue> = response.headers().get_all(SET_COOKIE).iter().collect();
        let life = did.life;
        match (expected, &headers[..]) {
            (Expected::Same, headers) => {
                let Held::Session(keys) = self.held[IDENTITY].clone() else {
                    panic!("only a session is updated");
                };
                assert_eq!(headers.len(), usize::from(life.is_some()));
                for header in headers {
                    assert_eq!(identity_of(header, life).as_str(), IDENTITY);
                }
                self.store(IDENTITY, did.merged(&keys), did);
            }
            (Expected::Fresh { keys, moves }, [header]) => {
                let identity = identity_of(header, life);
                let identity = identity.as_str();
                assert!(!self.held.contains_key(identity), "not adopted");
                assert_eq!(sorted(did.session.keys()), keys);
                self.store(identity, keys, did);
                if moves {
                    self.bury(IDENTITY, Tombstone::Moved(identity.into()));
                }
            }
            (Expected::Remove, [header]) => {
                let text = header.to_str().unwrap();
                assert!(text.starts_with(&format!("{DEFAULT_NAME}=\"\"; ")));
                assert!(text.contains("; Max-Age=0; "));
            }
            (Expected::Keep | Expected::Refused | Expected::Unavailable, []) => {}
            (expected, headers) => panic!("{headers:?}: expected {expected:?}"),
        }
    }

    /// Checks that the store holds what it should hold, and that a request loads that.
    pub(super) fn check_store(&self) {
        for (identity, held) in &self.held {
            let text = self.read(identity).expect("it is still there");
            let session = now(self.storage.load(&[identity])).unwrap();
            let written = self.written.get(identity);
            match held {
                Held::Tombstone(tombstone) => assert_eq!(text, tombstone.text()),
                Held::Session(_) if written.is_some() => {}
                Held::Session(_) | Held::Python | Held::Foreign => {
                    assert_eq!(text, self.texts[identity], "it is left alone");
                }
            }
            let ends = written.and_then(|written| written.ends);
            match (held, written) {
                (Held::Session(keys), Some(_)) if !keys.is_empty() && !self.is_over(ends) => {
                    assert_eq!(session.identity().unwrap().as_str(), identity);
                    assert_eq!(sorted(session.keys()), *keys);
                }
                // What was there at first may have expired.
                (Held::Session(_), None) => {}
                _ => assert!(session.is_new() && session.is_empty()),
            }
        }
    }

    /// Checks how long the store keeps what the requests wrote, and how long sessions live.
    pub(super) fn check_times(&self) {
        let day = 24 * HOUR;
        let saved = self.clock.now();
        for (identity, written) in &self.written {
            let Some(gone) = written.gone else {
                self.clock.set(saved + day);
                assert!(self.read(identity).is_some());
                continue;
            };
            if let Held::Session(_) = &self.held[identity] {
                self.clock.set(gone - GRACE + SECOND);
                assert!(self.read(identity).is_some(), "its grace");
                let session = now(self.storage.load(&[identity])).unwrap();
                // A date in the future lasts longer if no write has replaced it.
                if self.is_over(written.ends) {
                    assert!(session.is_new() && session.is_empty(), "it has expired");
                }
            }
            self.clock.set(gone - SECOND);
            assert!(self.read(identity).is_some());
            self.clock.set(gone);
            assert!(self.read(identity).is_none());
        }
    }

    fn read(&self, identity: &str) -> Option<Bytes> {
        match now(self.storage.backend().read(&key(identity))).unwrap() {
            Found::Value(stored) => Some(stored.value().clone()),
            Found::Missing => None,
            Found::Foreign => panic!("memory holds bytes only"),
        }
    }

    /// Returns whether the time is over. Sessions live to the end of their last second.
    fn is_over(&self, ends: Option<SystemTime>) -> bool {
        let now = self.clock.now().duration_since(UNIX_EPOCH).unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(now.as_secs());
        ends.is_some_and(|ends| ends < now)
    }
}

fn key(identity: &str) -> String {
    format!("{DEFAULT_NAME}_{identity}")
}

/// Returns the identity in a Set-Cookie header, which has this Max-Age.
#[track_caller]
fn identity_of(header: &HeaderValue, life: Option<Duration>) -> Identity {
    let text = header.to_str().unwrap();
    let (value, attributes) = text.split_once("; ").unwrap();
    let value = value.strip_prefix(DEFAULT_NAME).unwrap();
    let age = attributes.split_once("; Max-Age=").map(|(_, age)| age);
    let age = age.map(|age| age.split(';').next().unwrap().parse().unwrap());
    assert_eq!(age, life.map(|life| life.as_secs()));
    Identity::parse(value.strip_prefix('=').unwrap()).unwrap()
}
