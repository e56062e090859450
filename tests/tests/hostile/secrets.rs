//! Debug, errors, headers and logs show no secret (P10), and take in no line from a client.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use http::{Request, Response};
use session_cookie::Key;
use session_core::adapter::{DefaultErrorResponse, Storages};
use session_core::keyed::{Found, Outcome, Stored, Write};
use session_core::{
    CookieChange, CookieSettings, DEFAULT_NAME, Error, ErrorKind, Identity, KeyedStorage,
    MemoryBackend, RequestSession, SessionConfig, Storage,
};
use session_tests::logs::{Logs, all_texts};
use session_tests::server::set_cookies;

use crate::ADAPTER;
use crate::subject::{Kind, Subject};
use crate::suite::{KEY, NEW, NOW, SECRET, UNKNOWN, at, handler, quote};
use crate::tokens::RECORD;

/// A storage whose cookie values are what an attacker would like them to be.
#[derive(Debug)]
struct Smuggler(SessionConfig);

#[async_trait::async_trait]
impl Storage for Smuggler {
    fn config(&self) -> &SessionConfig {
        &self.0
    }

    async fn load(&self, _: &[&str]) -> session_core::Result<session_core::Session> {
        Ok(self.0.new_session(false))
    }

    async fn save(&self, _: &session_core::Session) -> session_core::Result<CookieChange> {
        let value = "a; Domain=evil.example\r\nX-Evil: 1\r\n\r\n<b>\0\u{85}";
        Ok(CookieChange::set(value, None))
    }
}

#[tokio::test]
async fn a_cookie_value_smuggles_no_attribute_and_no_header() {
    let server = ADAPTER
        .start(Arc::new(Smuggler(SessionConfig::default())), handler)
        .await;
    for response in [
        server.get("/write", &[]).await,
        server.get_http2("/write", &[]).await,
    ] {
        assert_eq!(response.body(), NEW);
        assert!(!response.headers().contains_key("x-evil"));
        let [set_cookie] = &set_cookies(&response, DEFAULT_NAME)[..] else {
            panic!("one cookie")
        };
        let parsed = cookie::Cookie::parse(set_cookie.as_str()).unwrap();
        assert_eq!((parsed.domain(), parsed.path()), (None, Some("/")));
    }
}

#[tokio::test]
async fn a_cookie_value_puts_no_line_of_its_own_into_the_log() {
    let (logs, _capture) = Logs::capture();
    for kind in Kind::ALL {
        let subject = Subject::new(kind).await;
        let evil = "0123456789abcdef\r\n1970-01-01 ERROR login: root\u{1b}[31m";
        for value in [
            evil.to_owned(),
            format!("{{\"{evil}\": 1}}"),
            STANDARD.encode(evil),
        ] {
            assert!(subject.storage.load(&[&value]).await.unwrap().is_new());
        }
        if let Some(value) = subject
            .seal(format!("{{\"created\": {evil}}}").as_bytes())
            .await
        {
            assert!(subject.storage.load(&[&value]).await.unwrap().is_new());
        }
    }
    logs.assert_without(&["login: root", "\u{1b}", "1970-01-01"]);
    assert!(logs.text().contains("unreadable"));
}

// P10

pub(crate) async fn p10_debug_of_a_storage_and_its_session_shows_no_secret(kind: Kind) {
    let subject = Subject::new(kind).await;
    let session = subject.storage.load(&[]).await.unwrap();
    session.insert("user", SECRET).unwrap();
    let change = subject.storage.save(&session).await.unwrap();
    let CookieChange::Set { value, .. } = &change else {
        panic!("a new session sets a cookie")
    };
    let loaded = subject.storage.load(&[value]).await.unwrap();
    assert_eq!(
        loaded.get::<String>("user").unwrap().as_deref(),
        Some(SECRET)
    );
    let storages = Storages::new(subject.storage.clone());
    let mut request = Request::new(());
    let line = format!("{DEFAULT_NAME}={}", quote(value));
    request
        .headers_mut()
        .insert("cookie", line.parse().unwrap());
    let seen = Arc::new(Mutex::new(String::new()));
    let of_handler = seen.clone();
    let serving = storages.serve(
        request,
        DefaultErrorResponse,
        |request: Request<()>| async move {
            let through = request.session().await?;
            through.insert("user", SECRET)?;
            let context = request.extensions();
            *of_handler.lock().unwrap() = format!("{through:?} {context:#?}");
            Ok::<_, Error>(Response::new(()))
        },
    );
    let mut shown = format!(
        "{session:?} {loaded:#?} {change:#?} {:#?} {:?} {storages:#?} {serving:#?}",
        subject.storage,
        loaded.identity(),
    );
    assert_eq!(serving.await.unwrap().status(), 200);
    let of_handler = std::mem::take(&mut *seen.lock().unwrap());
    assert!(of_handler.contains("Context"), "{of_handler}");
    shown += &of_handler;
    let config = SessionConfig::default();
    let staged = config.new_session(false);
    staged.insert("user", SECRET).unwrap();
    let staged = config.stage(&staged).await.unwrap();
    assert!(staged.is_some());
    shown += &format!("{staged:#?}");
    for secret in [
        value.as_str(),
        SECRET,
        "swordfish",
        &STANDARD.encode(KEY),
        &URL_SAFE.encode(KEY),
        "sixteen",
    ] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    // Nor as a list of bytes.
    for bytes in [&KEY[..4], SECRET.as_bytes()] {
        let list = format!("{bytes:?}");
        assert!(
            !shown
                .replace(['\n', ' '], "")
                .contains(list.trim_matches(['[', ']']).replace(' ', "").as_str())
        );
    }
}

#[test]
fn p10_debug_of_keys_identities_and_records_shows_no_secret() {
    let key = Key::from(KEY);
    let identity = Identity::parse(UNKNOWN).unwrap();
    let stored = Stored::new(RECORD);
    let shown = format!(
        "{key:#?} {identity:#?} {stored:#?} {:#?} {:#?}",
        Outcome::Found(Found::Value(stored.clone())),
        Write::record(RECORD, None),
    );
    for secret in [
        UNKNOWN,
        "swordfish",
        "sixteen",
        &key.to_base64(),
        "115, 105",
        "123, 34",
    ] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[tokio::test]
async fn p10_no_error_shows_a_secret() {
    let mut errors = Vec::new();
    let session = session_core::Session::detached();
    session.insert("user", SECRET).unwrap();
    errors.push(session.get::<u64>("user").unwrap_err());
    errors.push(session.get::<Vec<bool>>("user").unwrap_err());
    errors.push(
        session
            .update::<u64>("user", |n| n.unwrap_or(0))
            .unwrap_err(),
    );
    let unwritable = std::collections::BTreeMap::from([((1, 2), SECRET)]);
    errors.push(session.insert("user", unwritable).unwrap_err());
    let secret_key = URL_SAFE.encode(&KEY[..31]);
    errors.push(Key::parse(&secret_key).unwrap_err());
    errors.push(Key::parse(&format!("{secret_key}!")).unwrap_err());
    errors.push(Key::from_slice(SECRET.as_bytes()).unwrap_err());
    let long = SECRET.repeat(400);
    errors.push(
        CookieSettings::default()
            .set_cookie(&long, None, at(NOW))
            .unwrap_err(),
    );
    // Another storage's session, and one whose identity cannot be drawn.
    let storage = KeyedStorage::new(MemoryBackend::new());
    errors.push(storage.save(&session).await.unwrap_err());
    let storage = storage.with_key_factory(|| {
        let refused = Identity::parse(&format!("{SECRET}!"));
        refused.ok_or_else(|| ErrorKind::Identity.into())
    });
    let drawn = storage.load(&[]).await.unwrap();
    drawn.insert("user", SECRET).unwrap();
    errors.push(storage.save(&drawn).await.unwrap_err());
    errors.push(session.insert("user", f64::NAN).unwrap_err());
    errors.push(session.modify("user", |n: &mut u64| *n += 1).unwrap_err());
    errors.push(session.take::<u64>("user").unwrap_err());
    errors.push(session.data::<Vec<u64>>().unwrap_err());
    errors.push(session.set_data(&SECRET.to_owned()).unwrap_err());
    errors.push(session.save().await.unwrap_err());
    let storage = KeyedStorage::new(MemoryBackend::new());
    for _ in 0..2 {
        let session = storage.load(&[]).await.unwrap();
        session.insert("user", SECRET).unwrap();
        session
            .set_new_identity(Identity::parse(UNKNOWN).unwrap())
            .unwrap();
        errors.extend(storage.save(&session).await.err());
    }
    let known = storage.load(&[UNKNOWN]).await.unwrap();
    errors.push(
        known
            .set_new_identity(Identity::random().unwrap())
            .unwrap_err(),
    );
    storage
        .load(&[UNKNOWN])
        .await
        .unwrap()
        .invalidate()
        .unwrap();
    let slow = storage.load(&[UNKNOWN]).await.unwrap();
    slow.insert("user", SECRET).unwrap();
    let ender = storage.load(&[UNKNOWN]).await.unwrap();
    ender.invalidate().unwrap();
    storage.save(&ender).await.unwrap();
    errors.push(storage.save(&slow).await.unwrap_err());
    let kinds = [
        ErrorKind::Unavailable,
        ErrorKind::Ended,
        ErrorKind::Contended,
        ErrorKind::TooLarge,
        ErrorKind::Committed,
        ErrorKind::Value,
        ErrorKind::Settings,
        ErrorKind::Identity,
    ];
    errors.extend(kinds.map(Error::from));
    for expected in kinds {
        assert!(
            errors.iter().any(|error| error.kind() == expected),
            "{expected:?}"
        );
    }
    for error in &errors {
        let shown = all_texts(error);
        for secret in ["swordfish", "sixteen", UNKNOWN, &secret_key] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
    }
}
