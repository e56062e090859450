//! Arbitrary input for every decoder: nothing panics, nothing is an error, and what was written
//! comes back.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use http::{HeaderValue, Request, Response, StatusCode};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use session_cookie::{EncryptedCookieStorage, Key, NaClCookieStorage, SimpleCookieStorage};
use session_core::adapter::{DefaultErrorResponse, Storages};
use session_core::keyed::{Backend as _, Found, OnlyIf, Outcome, Stored, Write};
use session_core::{
    CookieChange, CookieSettings, Error, ErrorKind, KeyedStorage, ManualClock, MemoryBackend,
    MemoryStorage, RequestSession, Session, SessionConfig, Storage,
};
use session_tests::fuzz::{candidates, now};
use session_tests::stores::Counting;

const NAME: &str = "sid";

fn settings() -> CookieSettings {
    CookieSettings::builder(NAME).build().unwrap()
}

fn storages() -> [Arc<dyn Storage>; 5] {
    let limits = CookieSettings::builder(NAME)
        .max_age(Duration::from_secs(3600))
        .rolling(true)
        .absolute_max_age(Duration::from_secs(7200))
        .build()
        .unwrap();
    [
        Arc::new(SimpleCookieStorage::unprotected().with_cookie(limits)),
        Arc::new(EncryptedCookieStorage::new(Key::from([1; 32])).with_cookie(settings())),
        Arc::new(NaClCookieStorage::new(Key::from([1; 32])).with_cookie(settings())),
        Arc::new(MemoryStorage::default().with_cookie(settings())),
        Arc::new(
            KeyedStorage::new(MemoryBackend::new())
                .with_cookie(settings())
                .hash_identities(true),
        ),
    ]
}

/// Does to a session what handlers do; what it holds came from outside.
fn use_it(storage: &dyn Storage, session: &Session) {
    let _ = format!("{session:?}");
    session.created();
    session.max_age();
    assert_eq!(session.keys().len(), session.len());
    for key in session.keys() {
        let _ = session.get::<Value>(&key);
        let _ = session.get::<u64>(&key);
    }
    session.insert("n", 1).unwrap();
    // Too large is an error of its own; anything else is not this input's right.
    match now(storage.save(session)) {
        Ok(change) => {
            let CookieChange::Set { value, max_age, .. } = change else {
                panic!("there is something to save")
            };
            let config = storage.config();
            let header = config.cookie().set_cookie(&value, max_age, config.now());
            assert!(header.is_ok());
            let again = now(storage.load(&[&value])).unwrap();
            assert_eq!(again.get::<u64>("n").unwrap(), Some(1));
            assert_eq!(again.keys(), session.keys());
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::TooLarge),
    }
}

/// Calls `handle` with the session of a request that has these Cookie header lines.
fn ask<T>(
    storage: &Arc<dyn Storage>,
    lines: &[HeaderValue],
    handle: impl FnOnce(&Session) -> T,
) -> T {
    let mut request = Request::new(());
    for line in lines {
        request.headers_mut().append("cookie", line.clone());
    }
    let mut handled = None;
    let handler = |request: Request<()>| async {
        let session = request.session().await?;
        drop(request);
        handled = Some(handle(&session));
        Ok::<_, Error>(Response::new(()))
    };
    let storages = Storages::new(storage.clone());
    let response = now(storages.serve(request, DefaultErrorResponse, handler)).unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    handled.expect("the handler was called")
}

/// How many identities of a client's cookies a server-side storage tries.
const MOST: usize = 8;

/// A storage in memory whose store counts the calls.
fn counting() -> KeyedStorage<Counting<MemoryBackend>> {
    KeyedStorage::new(Counting::new(MemoryBackend::new())).with_cookie(settings())
}

const IDENTITY: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";

/// Checks that a text in the store which is no session is not adopted. Returns what the store holds
/// after a read, a write and a logout.
fn is_not_adopted(text: &[u8]) -> Found {
    let (storage, key) = holding(text);
    let load = || now(storage.load(&[IDENTITY])).unwrap();
    let session = load();
    assert!(session.is_new() && session.is_empty() && session.identity().is_none());
    assert_eq!(now(storage.save(&session)).unwrap(), CookieChange::Keep);
    session.insert("n", 1).unwrap();
    match now(storage.save(&session)) {
        Ok(CookieChange::Set { value, .. }) => assert_ne!(value, IDENTITY),
        Ok(change) => panic!("{change:?}"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Ended),
    }
    let session = load();
    session.invalidate().unwrap();
    let change = now(storage.save(&session)).unwrap();
    assert!(matches!(change, CookieChange::Remove | CookieChange::Keep));
    now(storage.backend().read(&key)).unwrap()
}

/// Returns a storage whose store holds this text, and the key.
fn holding(text: &[u8]) -> (MemoryStorage, String) {
    let storage = MemoryStorage::default().with_cookie(settings());
    let key = format!("{NAME}_{IDENTITY}");
    let write = Write::record(text.to_vec(), None);
    let written = now(storage.backend().write(&key, write, OnlyIf::Missing));
    assert!(matches!(written, Ok(Outcome::Written(_))));
    (storage, key)
}

/// Returns what the store holds if it holds this text.
fn text_in_store(text: &[u8]) -> Found {
    Found::Value(Stored::new(text.to_vec()))
}

/// Writes the tombstone of a session that moved to the key with this suffix.
fn moved(suffix: &str) -> Vec<u8> {
    let digits = suffix.bytes().flat_map(|b| [b >> 6, b >> 4, b >> 2, b]);
    let spaces = digits.map(|digit| b" \t\n\r"[usize::from(digit & 3)]);
    b"{\r".iter().copied().chain(spaces).chain(*b"}").collect()
}

/// What a HeaderValue takes: no control characters but the tab.
fn header_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_map(|b| {
        if (b < 0x20 && b != b'\t') || b == 0x7f {
            b'"'
        } else {
            b
        }
    });
    vec(byte, 0..200)
}

/// Pieces of Cookie headers, put together wrongly.
fn nearly_a_header() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("sid".as_bytes().to_vec()),
        Just("sid".as_bytes().to_vec()),
        Just(b"=".to_vec()),
        Just(b"=".to_vec()),
        Just(b"; ".to_vec()),
        Just(b"; ".to_vec()),
        Just(b";".to_vec()),
        Just(b"\"".to_vec()),
        Just(b"\"".to_vec()),
        Just(b"\\".to_vec()),
        Just(b"\\".to_vec()),
        Just(b" ".to_vec()),
        Just(b"\t".to_vec()),
        Just(b"\\054".to_vec()),
        Just(b"\\377".to_vec()),
        Just(b"\\400".to_vec()),
        Just("é☃".as_bytes().to_vec()),
        Just(b"\xff".to_vec()),
        "[a-z0-9,{}()]{0,4}".prop_map(String::into_bytes),
    ];
    vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn lines() -> impl Strategy<Value = Vec<HeaderValue>> {
    let line = prop_oneof![header_bytes(), nearly_a_header()];
    vec(
        line.prop_map(|bytes| HeaderValue::from_bytes(&bytes).unwrap()),
        0..4,
    )
}

/// JSON, nearly JSON and no JSON, of the shape of a record or not.
fn payload() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        "-?[0-9]{1,25}",
        "-?[0-9]{1,5}\\.[0-9]{1,5}",
        "-?[0-9]e[+-]?[0-9]{1,4}",
        Just("18446744073709551615".to_owned()),
        Just("1e999".to_owned()),
        Just("-1e999".to_owned()),
    ];
    let leaf = prop_oneof![
        number,
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("NaN".to_owned()),
        any::<String>().prop_map(|text| Value::from(text).to_string()),
        Just(r#""\ud800\u0000\udc00""#.to_owned()),
        ".{0,3}",
    ];
    let key = prop_oneof![
        Just(r#""created""#.to_owned()),
        Just(r#""created""#.to_owned()),
        Just(r#""session""#.to_owned()),
        Just(r#""session""#.to_owned()),
        Just(r#""max_age""#.to_owned()),
        Just(r#""started""#.to_owned()),
        Just(r#""se\u0073sion""#.to_owned()),
        Just(r#""\ud800""#.to_owned()),
        "[a-c]".prop_map(|key| format!("\"{key}\"")),
        any::<String>().prop_map(|text| Value::from(text).to_string()),
        ".{0,3}",
    ];
    let space = || "[ \t\n\r]{0,2}";
    let inner = leaf.prop_recursive(4, 32, 5, move |inner| {
        let list = vec(inner.clone(), 0..5).prop_map(|items| format!("[{}]", items.join(",")));
        let pairs = vec((key.clone(), space(), inner), 0..5);
        let object = pairs.prop_map(|pairs| {
            let pairs = pairs
                .iter()
                .map(|(key, space, value)| format!("{key}{space}:{value}"));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        });
        prop_oneof![list, object]
    });
    let record = (inner.clone(), inner.clone(), inner.clone())
        .prop_map(|(a, b, c)| format!("{{\"created\": {a}, \"session\": {b}, \"max_age\": {c}}}"));
    let right =
        (any::<u64>(), inner.clone(), any::<u64>(), any::<u64>()).prop_map(|(a, b, c, d)| {
            format!(
                r#"{{"created": {a}, "session": {{"a": {b}}}, "max_age": {c}, "started": {d}}}"#
            )
        });
    prop_oneof![inner, record, right]
}

/// Values of sessions, within what `f64` and `u64` hold.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // Few digits: serde_json's own reading of long ones is off by one unit in the last place.
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 1000.0)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::from(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// RFC 6265, section 4.2.1: what servers may expect of an honest browser. The name and value of
/// each cookie, and whether the value is in quotes.
fn conformant() -> impl Strategy<Value = Vec<(String, String, bool)>> {
    let name = prop_oneof![
        Just(NAME.to_owned()),
        Just(NAME.to_owned()),
        Just("SID".to_owned()),
        Just("sid2".to_owned()),
        "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,8}",
    ];
    let value = "[!#-+\\--:<-\\[\\]-~]{0,12}";
    vec((name, value, any::<bool>()), 1..10)
}

/// Reads a header of the conformant form in the plainest way.
fn reference(header: &str) -> Vec<String> {
    let pairs = header.split("; ").filter_map(|pair| pair.split_once('='));
    let ours = pairs.filter(|(name, _)| *name == NAME);
    let bare = ours.map(|(_, value)| {
        let inside = value
            .strip_prefix('"')
            .and_then(|value| value.strip_suffix('"'));
        inside.unwrap_or(value).to_owned()
    });
    bare.collect()
}

/// Whether a header is of RFC 6265's form.
fn is_conformant(header: &str) -> bool {
    let octet = |b: u8| b.is_ascii_graphic() && !b"\",;\\".contains(&b);
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    header.split("; ").all(|pair| {
        pair.split_once('=').is_some_and(|(name, value)| {
            let inside = value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'));
            !name.is_empty()
                && name.bytes().all(token)
                && inside.unwrap_or(value).bytes().all(octet)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(1000)
    })]

    #[test]
    fn p7_any_cookie_header_lines_give_a_session(lines in lines()) {
        for storage in storages() {
            ask(&storage, &lines, |session| {
                let is_rolling = storage.config().cookie().is_rolling();
                assert!(session.is_new() && session.is_empty() || is_rolling);
                use_it(&*storage, session);
            });
        }
    }

    #[test]
    fn p9_at_most_eight_identities_are_tried(values in vec(
        prop_oneof![
            8 => "[0-3]{16}",
            4 => "[a-zA-Z0-9-]{16,20}",
            1 => Just(IDENTITY.to_owned()),
            1 => "[a-zA-Z0-9_-]{14,18}",
            1 => "[ -~]{0,20}",
            1 => "[a-f]{127,130}",
        ],
        0..24,
    )) {
        let storage = counting();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let session = now(storage.load(&values)).unwrap();
        prop_assert!(session.is_new() && session.is_empty());
        let is_shaped = |value: &&str| {
            (16..=128).contains(&value.len())
                && value.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        let mut tried: Vec<&str> = Vec::new();
        for value in values.into_iter().filter(is_shaped) {
            if !tried.contains(&value) {
                tried.push(value);
            }
        }
        prop_assert_eq!(storage.backend().take().read, tried.len().min(MOST));
    }

    #[test]
    fn p7_any_bytes_in_a_store_are_a_session_or_left_alone(
        text in prop_oneof![
            vec(any::<u8>(), 0..100),
            payload().prop_map(String::into_bytes),
            "\\{[ \t\n\r]{0,20}\\}".prop_map(String::into_bytes),
            "[ \t\n\r]{0,2}\\{\r([ \t\n\r]{4}){0,140}\\}[ \t\n\r]{0,2}"
                .prop_map(String::into_bytes),
        ],
    ) {
        if let Some(session) = SessionConfig::default().open(text.clone()) {
            let loaded = now(holding(&text).0.load(&[IDENTITY])).unwrap();
            prop_assert_eq!(loaded.is_new(), session.is_empty());
            prop_assert_eq!(loaded.identity().is_none(), session.is_empty());
            prop_assert_eq!(loaded.keys(), session.keys());
        } else {
            let found = is_not_adopted(&text);
            // A logout ends a session that has expired, too.
            let may_have_expired = text.windows(7).any(|word| word == b"max_age");
            let is_ended = may_have_expired && found == text_in_store(b"{ }");
            prop_assert!(is_ended || found == text_in_store(&text));
        }
    }

    #[test]
    fn p4_no_empty_object_in_a_store_is_adopted(
        space in "[ \t\n\r]{0,40}",
        suffix in "[!-~]{0,130}",
    ) {
        for text in [format!("{{{space}}}").into_bytes(), moved(&suffix)] {
            prop_assert_eq!(is_not_adopted(&text), text_in_store(&text));
        }
    }

    #[test]
    fn p7_any_value_gives_a_session(value in prop_oneof![
        any::<String>(),
        "[A-Za-z0-9_-]{0,140}",
        "[0-9a-f]{32}",
        vec(any::<u8>(), 0..200).prop_map(|bytes| URL_SAFE.encode(bytes)),
        vec(any::<u8>(), 0..200).prop_map(|bytes| STANDARD.encode(bytes)),
        vec(any::<u8>(), 0..200).prop_map(|bytes| URL_SAFE.encode([&[0x80], &bytes[..]].concat())),
        payload(),
    ]) {
        for storage in storages() {
            let session = now(storage.load(&[&value])).unwrap();
            // Only the plain one may believe what was made up.
            prop_assert!(session.is_new() || storage.config().cookie().is_rolling());
            use_it(&*storage, &session);
        }
    }

    #[test]
    fn p7_any_payload_is_a_record_or_none(
        payload in payload(),
        seconds in 0..u64::from(u32::MAX) * 50,
    ) {
        let clock = ManualClock::at(UNIX_EPOCH + Duration::from_secs(seconds));
        let limits = CookieSettings::builder(NAME).max_age(Duration::from_secs(60)).rolling(true);
        let limits = limits.absolute_max_age(Duration::MAX).build().unwrap();
        for settings in [settings(), limits] {
            let storage = SimpleCookieStorage::unprotected()
            .with_cookie(settings)
            .with_clock(clock.clone());
            let whole = storage.config().open(payload.clone());
            let json = serde_json::from_str::<serde::de::IgnoredAny>(&payload);
            prop_assert!(whole.is_none() || json.is_ok(), "no JSON was taken for a record");
            if let Some(session) = whole {
                use_it(&storage, &session);
            }
        }
    }

    #[test]
    fn p7_any_bytes_are_a_record_or_none(bytes in vec(any::<u8>(), 0..100)) {
        prop_assert!(SessionConfig::default().open(bytes).is_none());
    }

    #[test]
    fn p1_what_is_quoted_comes_back_from_a_cookie_header(
        value in any::<String>(),
        before in conformant(),
    ) {
        let header = settings().set_cookie(&value, None, UNIX_EPOCH);
        prop_assume!(header.is_ok());
        let header = header.unwrap();
        let bytes = header.as_bytes();
        let end = bytes.iter().position(|b| *b == b';').unwrap();
        let mut line = text_of(&before).replace("sid=", "dis=").into_bytes();
        line.extend_from_slice(b"; ");
        line.extend_from_slice(&bytes[..end]);
        for tail in ["", "; a=1", ";a=\"b\"", " "] {
            let line = HeaderValue::from_bytes(&[&line[..], tail.as_bytes()].concat()).unwrap();
            prop_assert_eq!(candidates(&[line]), [value.as_str()]);
        }
    }

    #[test]
    fn p1_what_is_inserted_comes_back_from_every_storage(
        entries in vec((any::<String>(), json_value()), 1..5),
    ) {
        for storage in storages() {
            let session = now(storage.load(&[])).unwrap();
            let mut expected = Map::new();
            for (key, value) in &entries {
                session.insert(key, value).unwrap();
                expected.insert(key.clone(), value.clone());
            }
            let change = match now(storage.save(&session)) {
                Err(error) if error.kind() == ErrorKind::TooLarge => continue,
                change => change.unwrap(),
            };
            let CookieChange::Set { value, max_age, .. } = change else { panic!("it has a key") };
            // Through the headers, as a browser would carry it.
            let config = storage.config();
            let header = config.cookie().set_cookie(&value, max_age, config.now()).unwrap();
            let end = header.as_bytes().iter().position(|b| *b == b';').unwrap();
            let line = HeaderValue::from_bytes(&header.as_bytes()[..end]).unwrap();
            ask(&storage, &[line], |loaded| {
                assert!(!loaded.is_new());
                assert_eq!(loaded.len(), expected.len());
                assert_eq!(loaded.keys(), session.keys());
                for (key, value) in &expected {
                    let found = loaded.get::<Value>(key).unwrap();
                    assert_eq!(found.as_ref(), Some(value));
                }
            });
        }
    }

    #[test]
    fn p1_any_float_is_written_exactly(float in proptest::num::f64::ANY) {
        let session = Session::detached();
        let inserted = session.insert("a", float);
        if float.is_finite() {
            inserted.unwrap();
            let text = session.get::<Box<RawValue>>("a").unwrap().unwrap();
            prop_assert_eq!(text.get().parse::<f64>().unwrap().to_bits(), float.to_bits());
        } else {
            prop_assert_eq!(inserted.unwrap_err().kind(), ErrorKind::Value);
            prop_assert!(session.is_empty() && !session.is_changed());
        }
    }

    #[test]
    fn a_conformant_header_is_read_as_it_says(pairs in conformant()) {
        let header = text_of(&pairs);
        prop_assert!(is_conformant(&header));
        let line = HeaderValue::from_str(&header).unwrap();
        prop_assert_eq!(candidates(&[line]), reference(&header));
    }

    #[test]
    fn any_ascii_header_that_is_conformant_is_read_as_it_says(
        header in "((sid|SID|a|)[=]{0,2}[ -~]{0,3}(; |;|)){0,4}",
    ) {
        let line = HeaderValue::from_str(&header).unwrap();
        let found = candidates(&[line]);
        if is_conformant(&header) {
            prop_assert_eq!(found, reference(&header));
        }
    }
}

fn text_of(pairs: &[(String, String, bool)]) -> String {
    let pairs = pairs.iter().map(|(name, value, quoted)| {
        let quote = if *quoted { "\"" } else { "" };
        format!("{name}={quote}{value}{quote}")
    });
    pairs.collect::<Vec<_>>().join("; ")
}
