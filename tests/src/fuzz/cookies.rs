//! What opens a cookie's value: a Fernet token, a secret box, plain JSON.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use session_cookie::{EncryptedCookieStorage, Key, NaClCookieStorage, SimpleCookieStorage};
use session_core::{
    Codec, CookieChange, CookieSettings, DEFAULT_NAME, ErrorKind, Result, Session, Storage,
};

use super::input::{self, Input};
use super::now;
use super::record::assert_same;
use crate::vectors;

/// How long a session lives, and how far ahead a token may be dated.
const LIFE: Duration = Duration::from_secs(3600);
const AHEAD: i64 = 60;

/// `{"created": 1700000000, "session": {"n": 1}}`, sealed by Python's libraries.
const GOOD_TOKEN: &str = "gAAAAABlU_EAAAECAwQFBgcICQoLDA0ODymC8farCXFMp5vXroIiG0nWJy-rP_YfEhLGdsHg\
    HLL9YURPKgqwCnHG5CHATHldPYcXWaAHUcL2wewHaDHBMkAs2lXpR80AOy2AgOuCcW1S";
const GOOD_BOX: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX8nmd9+6jB2Ysa6oGz7McZiXdWz2iq9Z13x61Hlm4\
    eqdilXbvvBUTzzXRAucmrs6PoeHVrmfe1ziZvJ3k";

/// The input is a token. Or `!`, a byte and a payload that is sealed so many minutes ago (or, from
/// 128 on, seconds ahead); it is then what the same payload is in a plain cookie. Or `~` and edits
/// of a good token, which then is none.
pub fn fernet(data: &[u8]) {
    let clock = vectors::clock();
    let new = || EncryptedCookieStorage::new(Key::from(vectors::key()));
    let storage = new().with_cookie(settings()).with_clock(clock.clone());
    match data.split_first() {
        Some((b'!', rest)) => {
            let mut input = Input::new(rest);
            let age = match i64::from(input.byte()) {
                minutes @ 0..128 => minutes * 60,
                seconds => 128 - seconds,
            };
            let now = i64::try_from(vectors::NOW).unwrap();
            let sealed = u64::try_from(now - age).unwrap();
            let key = fernet::Fernet::new(&Key::from(vectors::key()).to_base64()).unwrap();
            let payload = input.rest();
            let token = key.encrypt_at_time(payload, sealed);
            let session = load(&storage, &token);
            let plain = opened(payload, &clock);
            let life = |plain: &Session| plain.max_age().map_or(u64::MAX, |life| life.as_secs());
            match plain {
                Some(plain) if (-AHEAD..0).contains(&age) => assert_same(&session, &plain),
                Some(plain) if u64::try_from(age).is_ok_and(|age| age <= life(&plain)) => {
                    assert_same(&session, &plain);
                }
                _ => assert_new(&session),
            }
        }
        Some((b'~', edits)) => {
            forged(&storage, GOOD_TOKEN, &edited(GOOD_TOKEN, edits));
        }
        _ => {
            let token = input::text(data);
            let session = load(&storage, &token);
            let bytes = URL_SAFE.decode(&token);
            assert!(session.is_new() || bytes.is_ok_and(|bytes| bytes[0] == 0x80));
            use_it(&storage, &session);
        }
    }
}

/// The input is the base64 of a secret box. Or `!` and a payload that is sealed; it is then what
/// the same payload is in a plain cookie, unless that is dated too far ahead. Or `~` and edits of a
/// good value, which then is none.
pub fn nacl(data: &[u8]) {
    let clock = vectors::clock();
    let new = || NaClCookieStorage::new(Key::from(vectors::key()));
    let storage = new().with_cookie(settings()).with_clock(clock.clone());
    match data.split_first() {
        Some((b'!', payload)) => {
            let sealing = new().with_codec(Instead(payload.to_vec()));
            let Some(value) = sealed(&sealing) else {
                return;
            };
            let session = load(&storage, &value);
            let ahead = Duration::from_secs(AHEAD.unsigned_abs());
            let latest = SystemTime::UNIX_EPOCH + Duration::from_secs(vectors::NOW) + ahead;
            match opened(payload, &clock) {
                Some(plain) if plain.created() <= latest => assert_same(&session, &plain),
                _ => assert_new(&session),
            }
        }
        Some((b'~', edits)) => {
            forged(&storage, GOOD_BOX, &edited(GOOD_BOX, edits));
        }
        _ => {
            let value = input::text(data);
            let session = load(&storage, &value);
            assert!(session.is_new() || STANDARD.decode(&value).is_ok());
            use_it(&storage, &session);
        }
    }
}

/// The input is the record in a plain cookie: whatever it is, it is no error, and works in a
/// handler.
pub fn plain(data: &[u8]) {
    let value = input::text(data);
    let rolling = CookieSettings::builder(DEFAULT_NAME)
        .max_age(LIFE)
        .rolling(true)
        .absolute_max_age(Duration::from_secs(7200))
        .build()
        .unwrap();
    for settings in [settings(), rolling] {
        let storage = SimpleCookieStorage::unprotected()
            .with_cookie(settings)
            .with_clock(vectors::clock());
        let session = load(&storage, &value);
        let record = storage.config().open(value.clone());
        assert_eq!(session.is_new(), record.is_none());
        use_it(&storage, &session);
    }
}

fn settings() -> CookieSettings {
    let builder = CookieSettings::builder(DEFAULT_NAME);
    builder.max_age(LIFE).build().unwrap()
}

#[track_caller]
fn load(storage: &impl Storage, value: &str) -> Session {
    now(storage.load(&[value])).expect("what a client sends is no error")
}

/// What the payload is without a seal.
fn opened(payload: &[u8], clock: &session_core::ManualClock) -> Option<Session> {
    let storage = SimpleCookieStorage::unprotected()
        .with_cookie(settings())
        .with_clock(clock.clone());
    storage.config().open(payload.to_vec())
}

#[track_caller]
fn assert_new(session: &Session) {
    assert!(session.is_new() && session.is_empty());
}

#[track_caller]
fn forged(storage: &impl Storage, good: &str, other: &str) {
    let session = load(storage, other);
    if other == good {
        assert_eq!(session.get::<u8>("n").unwrap(), Some(1));
    } else {
        assert_new(&session);
    }
}

fn sealed(storage: &impl Storage) -> Option<String> {
    let session = now(storage.load(&[])).unwrap();
    session.insert("n", 1).unwrap();
    match now(storage.save(&session)) {
        Ok(CookieChange::Set { value, .. }) => Some(value),
        Ok(_) => panic!("there is something to save"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::TooLarge);
            None
        }
    }
}

/// Puts other characters into a text, takes some out, or puts some in between: of three bytes each.
fn edited(text: &str, edits: &[u8]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for edit in edits.chunks_exact(3) {
        let at = usize::from(edit[0]) % (bytes.len() + 1);
        match (edit[1] % 3, bytes.get(at)) {
            (0, Some(_)) => bytes[at] = edit[2] & 0x7f,
            (1, Some(_)) => drop(bytes.remove(at)),
            _ => bytes.insert(at, edit[2] & 0x7f),
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Does to a session what handlers do.
fn use_it(storage: &impl Storage, session: &Session) {
    let _ = format!(
        "{session:?} {:?} {:?}",
        session.created(),
        session.max_age()
    );
    let keys = session.keys();
    session.insert("n", 1).unwrap();
    match now(storage.save(session)) {
        Ok(CookieChange::Set { value, max_age, .. }) => {
            let config = storage.config();
            let header = config.cookie().set_cookie(&value, max_age, config.now());
            let header = header.unwrap();
            assert!(header.to_str().is_ok(), "printable ASCII");
            let again = load(storage, &value);
            assert_eq!(again.get::<u8>("n").unwrap(), Some(1));
            assert_eq!(again.keys(), session.keys());
            assert!(keys.iter().all(|key| again.keys().contains(key)));
        }
        Ok(_) => panic!("there is something to save"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::TooLarge),
    }
}

/// Stores these bytes in place of the record.
#[derive(Debug)]
struct Instead(Vec<u8>);

impl Codec for Instead {
    fn encode(&self, _: Vec<u8>) -> Result<Vec<u8>> {
        Ok(self.0.clone())
    }

    fn decode(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}
