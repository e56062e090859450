//! The conformance suites on sessions in memcached.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

use std::sync::LazyLock;

use session_core::{CookieSettings, ManualClock};
use session_memcached::{MemcachedBackend, MemcachedStorage};
use session_tests::memcached::MemcachedServer;
use session_tests::{backend_conformance, keyed_conformance};

static TCP: LazyLock<MemcachedServer> = LazyLock::new(MemcachedServer::start);
static SOCKET: LazyLock<MemcachedServer> = LazyLock::new(MemcachedServer::start_on_socket);

async fn memcached(cookie: CookieSettings, clock: ManualClock) -> MemcachedStorage {
    let storage = MemcachedStorage::connect(&TCP.address()).await.unwrap();
    storage.with_cookie(cookie).with_clock(clock)
}

async fn memcached_hashed(cookie: CookieSettings, clock: ManualClock) -> MemcachedStorage {
    memcached(cookie, clock).await.hash_identities(true)
}

async fn memcached_backend() -> MemcachedBackend {
    MemcachedBackend::new(&TCP.address()).unwrap()
}

async fn memcached_backend_on_a_socket() -> MemcachedBackend {
    MemcachedBackend::new(&SOCKET.address()).unwrap()
}

keyed_conformance!(memcached);
keyed_conformance!(memcached_hashed);
backend_conformance!(memcached_backend);
backend_conformance!(memcached_backend_on_a_socket);
