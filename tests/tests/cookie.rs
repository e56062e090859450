//! The conformance suite on sessions that live in their cookie.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

use session_cookie::{EncryptedCookieStorage, Key, NaClCookieStorage, SimpleCookieStorage};
use session_core::{CookieSettings, ManualClock};
use session_tests::conformance;

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
