//! The conformance suites on sessions in Redis.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

use std::sync::LazyLock;

use ::redis::aio::MultiplexedConnection;
use session_core::{CookieSettings, ManualClock};
use session_redis::{RedisBackend, RedisStorage};
use session_tests::redis::RedisServer;
use session_tests::{backend_conformance, keyed_conformance};

static SERVER: LazyLock<RedisServer> = LazyLock::new(RedisServer::start);

async fn redis(cookie: CookieSettings, clock: ManualClock) -> RedisStorage<MultiplexedConnection> {
    RedisStorage::new(redis_backend().await)
        .with_cookie(cookie)
        .with_clock(clock)
}

async fn redis_by_url(cookie: CookieSettings, clock: ManualClock) -> RedisStorage {
    let storage = RedisStorage::connect(&SERVER.url()).await.unwrap();
    storage
        .with_cookie(cookie)
        .with_clock(clock)
        .hash_identities(true)
}

async fn redis_backend() -> RedisBackend<MultiplexedConnection> {
    RedisBackend::new(SERVER.connection().await)
}

keyed_conformance!(redis);
keyed_conformance!(redis_by_url);
backend_conformance!(redis_backend);
