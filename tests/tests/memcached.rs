//! The conformance suites on sessions in memcached.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

use std::sync::LazyLock;
use std::time::Duration;

use session_core::{CookieSettings, ManualClock};
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
    let backend = MemcachedBackend::new(&server.address()).unwrap();
    backend.with_timeout(PATIENCE)
}

keyed_conformance!(memcached);
keyed_conformance!(memcached_hashed);
backend_conformance!(memcached_backend);
backend_conformance!(memcached_backend_on_a_socket);
