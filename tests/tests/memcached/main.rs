//! The conformance suites on sessions in memcached.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

use std::sync::LazyLock;
use std::time::Duration;

use session_core::{CookieSettings, ErrorKind, ManualClock, Storage};
use session_memcached::{MemcachedBackend, MemcachedStorage};
use session_tests::memcached::MemcachedServer;
use session_tests::{backend_conformance, keyed_conformance};

/// A busy machine is no failure.
const PATIENCE: Duration = Duration::from_secs(20);

static TCP: LazyLock<MemcachedServer> = LazyLock::new(MemcachedServer::start);
static SOCKET: LazyLock<MemcachedServer> = LazyLock::new(MemcachedServer::start_on_socket);

async fn memcached(cookie: CookieSettings, clock: ManualClock) -> MemcachedStorage {
    MemcachedStorage::new(memcached_backend().await)
        .with_cookie(cookie)
        .with_clock(clock)
}

async fn memcached_hashed(cookie: CookieSettings, clock: ManualClock) -> MemcachedStorage {
    memcached(cookie, clock).await.hash_identities(true)
}

async fn memcached_backend() -> MemcachedBackend {
    backend(&TCP)
}

async fn memcached_backend_on_a_socket() -> MemcachedBackend {
    backend(&SOCKET)
}

fn backend(server: &MemcachedServer) -> MemcachedBackend {
    let backend = MemcachedBackend::open(&server.address()).unwrap();
    backend.with_timeout(PATIENCE)
}

keyed_conformance!(memcached);
keyed_conformance!(memcached_hashed);
backend_conformance!(memcached_backend);
backend_conformance!(memcached_backend_on_a_socket);

/// Nothing is lost silently: neither the change, whose request is told, nor what was stored.
#[tokio::test]
async fn p8_a_session_over_what_memcached_takes_is_too_large_and_the_stored_one_stays() {
    let storage = MemcachedStorage::new(memcached_backend().await);
    let session = storage.load(None).await.unwrap();
    session.insert("k", 1).unwrap();
    storage.save(&session).await.unwrap();
    let identity = session.identity().unwrap();

    session.insert("big", "x".repeat(1 << 20)).unwrap();
    let error = storage.save(&session).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error:?}");
    let stored = storage.load(Some(identity.as_str())).await.unwrap();
    assert_eq!(stored.keys(), ["k"]);

    let new = storage.load(None).await.unwrap();
    new.insert("big", "x".repeat(1 << 20)).unwrap();
    let error = storage.save(&new).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error:?}");
}

/// memcached takes a time beyond January 2038 for one that is over.
#[tokio::test]
async fn a_lifetime_of_any_length_is_none_that_is_over() {
    const YEAR: u64 = 365 * 24 * 3600;
    for years in [1, 11, 12, 20, 100] {
        let cookie = CookieSettings::builder("sid").max_age(Duration::from_secs(years * YEAR));
        let storage = MemcachedStorage::new(memcached_backend().await);
        let storage = storage.with_cookie(cookie.build().unwrap());
        let session = storage.load(None).await.unwrap();
        for change in ["created", "replaced"] {
            session.insert(change, true).unwrap();
            storage.save(&session).await.unwrap();
            let identity = session.identity().unwrap();
            let stored = storage.load(Some(identity.as_str())).await.unwrap();
            assert!(stored.contains_key(change), "{years} years, {change}");
        }
    }
}
