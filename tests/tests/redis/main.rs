//! The conformance suites on sessions in Redis.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

use std::sync::LazyLock;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use session_core::{Connect, CookieSettings, ManualClock};
use session_redis::{RedisBackend, RedisStorage};
use session_tests::redis::RedisServer;
use session_tests::{backend_conformance, keyed_conformance};

/// A busy machine is no failure.
const PATIENCE: Duration = Duration::from_secs(20);

static SERVER: LazyLock<RedisServer> = LazyLock::new(RedisServer::start);

async fn redis(cookie: CookieSettings, clock: ManualClock) -> RedisStorage<MultiplexedConnection> {
    RedisStorage::new(redis_backend().await)
        .with_cookie(cookie)
        .with_clock(clock)
}

async fn redis_by_url(cookie: CookieSettings, clock: ManualClock) -> RedisStorage {
    let backend = <RedisBackend as Connect>::connect(&SERVER.url()).await;
    RedisStorage::new(backend.unwrap().with_timeout(PATIENCE))
        .with_cookie(cookie)
        .with_clock(clock)
        .hash_identities(true)
}

async fn redis_backend() -> RedisBackend<MultiplexedConnection> {
    RedisBackend::new(SERVER.connection().await).with_timeout(PATIENCE)
}

keyed_conformance!(redis);
keyed_conformance!(redis_by_url);
backend_conformance!(redis_backend);
