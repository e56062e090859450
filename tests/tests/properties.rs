//! Arbitrary input for every decoder: nothing panics, nothing is an error, and what was written
//! comes back.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use http::{HeaderValue, Request};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use session_cookie::{EncryptedCookieStorage, Key, NaClCookieStorage, SimpleCookieStorage};
use session_core::{
    CookieChange, CookieSettings, KeyedStorage, MAX_CANDIDATES, ManualClock, MemoryBackend,
    MemoryStorage, Records, RequestSession, Result, Session, SessionContext, Storage,
};

const NAME: &str = "sid";

/// Runs a future that never waits: memory and cookies do not.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing here waits"),
    }
}

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
            let CookieChange::Set { value, max_age } = change else {
                panic!("there is something to save")
            };
            let records = storage.records();
            records
                .cookie()
                .set(&value, max_age, records.now())
                .unwrap();
            let again = now(storage.load(Some(&value))).unwrap();
            assert_eq!(again.get::<u64>("n").unwrap(), Some(1));
            assert_eq!(again.keys(), session.keys());
        }
        Err(error) => assert_eq!(error.kind(), session_core::ErrorKind::TooLarge),
    }
}

/// Returns the session of a request with these Cookie header lines.
fn ask(storage: &Arc<dyn Storage>, lines: &[HeaderValue]) -> Result<Session> {
    let mut request = Request::new(());
    for line in lines {
        request.headers_mut().append("cookie", line.clone());
    }
    SessionContext::attach(storage, request.extensions_mut());
    now(request.session())
}

/// Yields no session, and remembers the values that it was asked for.
#[derive(Debug)]
struct Recorder {
    records: Records,
    asked: Mutex<Vec<String>>,
}

#[async_trait::async_trait]
impl Storage for Recorder {
    fn records(&self) -> &Records {
        &self.records
    }

    async fn load(&self, cookie: Option<&str>) -> Result<Session> {
        let value = cookie.expect("a request without a cookie asks for none");
        self.asked.lock().unwrap().push(value.to_owned());
        Ok(self.records.fresh(true))
    }

    async fn save(&self, _: &Session) -> Result<CookieChange> {
        Ok(CookieChange::Keep)
    }
}

/// Returns the values of our name that a request with these Cookie header lines is tried with.
fn candidates(lines: &[HeaderValue]) -> Vec<String> {
    let recorder = Arc::new(Recorder {
        records: Records::default().with_cookie(settings()),
        asked: Mutex::default(),
    });
    let storage: Arc<dyn Storage> = recorder.clone();
    ask(&storage, lines).unwrap();
    std::mem::take(&mut *recorder.asked.lock().unwrap())
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
    let right = (any::<u64>(), inner.clone(), any::<u64>(), any::<u64>()).prop_map(|(a, b, c, d)| {
        format!("{{\"created\": {a}, \"session\": {{\"a\": {b}}}, \"max_age\": {c}, \"started\": {d}}}")
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
    bare.take(MAX_CANDIDATES).collect()
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
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn p7_any_cookie_header_lines_give_a_session(lines in lines()) {
        for storage in storages() {
            let session = ask(&storage, &lines).unwrap();
            prop_assert!(session.is_new() && session.is_empty() || storage.records().cookie().is_rolling());
            use_it(&*storage, &session);
        }
        prop_assert!(candidates(&lines).len() <= MAX_CANDIDATES);
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
            let session = now(storage.load(Some(&value))).unwrap();
            // Only the plain one may believe what was made up.
            prop_assert!(session.is_new() || storage.records().cookie().is_rolling());
            use_it(&*storage, &session);
        }
    }

    #[test]
    fn p7_any_payload_is_a_record_or_none(payload in payload(), seconds in 0..u64::from(u32::MAX) * 50) {
        let clock = ManualClock::at(UNIX_EPOCH + Duration::from_secs(seconds));
        let limits = CookieSettings::builder(NAME).max_age(Duration::from_secs(60)).rolling(true);
        let limits = limits.absolute_max_age(Duration::MAX).build().unwrap();
        for settings in [settings(), limits] {
            let storage = SimpleCookieStorage::unprotected().with_cookie(settings).with_clock(clock.clone());
            let whole = storage.records().open(payload.clone());
            let json = serde_json::from_str::<serde::de::IgnoredAny>(&payload);
            prop_assert!(whole.is_none() || json.is_ok(), "no JSON was taken for a record");
            if let Some(session) = whole {
                use_it(&storage, &session);
            }
        }
    }

    #[test]
    fn p7_any_bytes_are_a_record_or_none(bytes in vec(any::<u8>(), 0..100)) {
        prop_assert!(Records::default().open(bytes).is_none());
    }

    #[test]
    fn p1_what_is_quoted_comes_back_from_a_cookie_header(value in any::<String>(), before in conformant()) {
        let header = settings().set(&value, None, UNIX_EPOCH);
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
            let session = now(storage.load(None)).unwrap();
            let mut expected = Map::new();
            for (key, value) in &entries {
                session.insert(key, value).unwrap();
                expected.insert(key.clone(), value.clone());
            }
            let change = match now(storage.save(&session)) {
                Err(error) if error.kind() == session_core::ErrorKind::TooLarge => continue,
                change => change.unwrap(),
            };
            let CookieChange::Set { value, max_age } = change else { panic!("it has a key") };
            // Through the headers, as a browser would carry it.
            let records = storage.records();
            let header = records.cookie().set(&value, max_age, records.now()).unwrap();
            let end = header.as_bytes().iter().position(|b| *b == b';').unwrap();
            let line = HeaderValue::from_bytes(&header.as_bytes()[..end]).unwrap();
            let loaded = ask(&storage, &[line]).unwrap();
            prop_assert!(!loaded.is_new());
            prop_assert_eq!(loaded.len(), expected.len());
            prop_assert_eq!(loaded.keys(), session.keys());
            for (key, value) in &expected {
                let found = loaded.get::<Value>(key).unwrap();
                prop_assert_eq!(found.as_ref(), Some(value));
            }
        }
    }

    #[test]
    fn p1_any_float_is_written_exactly(float in any::<f64>()) {
        let session = Records::default().fresh(false);
        session.insert("a", float).unwrap();
        let text = session.get::<Box<RawValue>>("a").unwrap().unwrap();
        if float.is_finite() {
            prop_assert_eq!(text.get().parse::<f64>().unwrap().to_bits(), float.to_bits());
        } else {
            prop_assert_eq!(text.get(), "null");
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
