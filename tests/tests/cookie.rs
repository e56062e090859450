//! The conformance suite on sessions that live in their cookie.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

use std::time::{Duration, SystemTime};

use session_cookie::{EncryptedCookieStorage, Key, NaClCookieStorage, SimpleCookieStorage};
use session_core::conformance;
use session_core::{Clock as _, CookieChange, CookieSettings, ManualClock, Storage};

async fn fernet(cookie: CookieSettings, clock: ManualClock) -> EncryptedCookieStorage {
    EncryptedCookieStorage::new(key())
        .with_cookie(cookie)
        .with_clock(clock)
}

async fn nacl(cookie: CookieSettings, clock: ManualClock) -> NaClCookieStorage {
    NaClCookieStorage::new(key())
        .with_cookie(cookie)
        .with_clock(clock)
}

async fn simple(cookie: CookieSettings, clock: ManualClock) -> SimpleCookieStorage {
    SimpleCookieStorage::unprotected()
        .with_cookie(cookie)
        .with_clock(clock)
}

fn key() -> Key {
    Key::parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap()
}

conformance!(fernet);
conformance!(nacl);
conformance!(simple);

/// A session from the future would never expire. Clocks differ a little, so a minute is allowed.
#[tokio::test]
async fn a_session_from_the_future_is_refused() {
    for (ahead, is_read) in [(60, true), (61, false), (1 << 32, false)] {
        let now = ManualClock::at(SystemTime::now());
        let later = ManualClock::at(now.now() + Duration::from_secs(ahead));
        let cookie = CookieSettings::default;
        let pairs: [(Box<dyn Storage>, Box<dyn Storage>); 2] = [
            (
                Box::new(nacl(cookie(), later.clone()).await),
                Box::new(nacl(cookie(), now.clone()).await),
            ),
            (
                Box::new(fernet(cookie(), later.clone()).await),
                Box::new(fernet(cookie(), now.clone()).await),
            ),
        ];
        for (writer, reader) in pairs {
            let session = writer.load(&[]).await.unwrap();
            session.insert("user", "ada").unwrap();
            let CookieChange::Set { value, .. } = writer.save(&session).await.unwrap() else {
                panic!("it is set")
            };
            let session = reader.load(&[&value]).await.unwrap();
            assert_eq!(session.is_new(), !is_read, "{ahead} seconds ahead");
        }
    }
}
