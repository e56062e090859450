//! Sessions in Redis: the conformance suites, and what only Redis does.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

use std::process::Command;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use session_core::keyed::{Backend as _, Found, OnlyIf, Outcome, Stored, Write};
use session_core::{CookieSettings, ManualClock};
use session_core::{
    backend_conformance, full_backend_conformance, keyed_conformance, users_conformance,
};
use session_redis::{RedisBackend, RedisStorage};
use session_tests::redis::{Monitor, RedisServer, compares_by};

mod commands;
mod dialects;
mod idle;
mod limits;
mod memory;

const KEY: &str = "AIOHTTP_SESSION_0123456789abcdef0123456789abcdef";

const MINUTE: Duration = Duration::from_secs(60);

/// An empty JSON object that is not Python's `{}`.
const TOMBSTONE: &str = "{ }";

/// A busy machine is no failure.
const PATIENCE: Duration = Duration::from_secs(20);

static SERVER: LazyLock<RedisServer> = LazyLock::new(RedisServer::start);

async fn redis(cookie: CookieSettings, clock: ManualClock) -> RedisStorage<MultiplexedConnection> {
    RedisStorage::new(redis_backend().await)
        .with_cookie(cookie)
        .with_clock(clock)
}

async fn redis_by_url(cookie: CookieSettings, clock: ManualClock) -> RedisStorage {
    let backend = RedisBackend::connect(&SERVER.url()).await;
    RedisStorage::new(backend.unwrap().with_timeout(PATIENCE))
        .with_cookie(cookie)
        .with_clock(clock)
        .hash_identities(true)
}

async fn redis_of_users(
    cookie: CookieSettings,
    clock: ManualClock,
) -> RedisStorage<MultiplexedConnection> {
    redis(cookie, clock).await.with_user_index("user")
}

async fn redis_of_users_hashed(cookie: CookieSettings, clock: ManualClock) -> RedisStorage {
    redis_by_url(cookie, clock).await.with_user_index("user")
}

async fn redis_backend() -> RedisBackend<MultiplexedConnection> {
    RedisBackend::new(SERVER.connection().await).with_timeout(PATIENCE)
}

keyed_conformance!(redis);
keyed_conformance!(redis_by_url);
users_conformance!(redis_of_users);
users_conformance!(redis_of_users_hashed);
backend_conformance!(redis_backend);
full_backend_conformance!(full_redis);

/// Makes a backend of a server of its own, whose memory is limited.
async fn full_redis() -> RedisBackend<MultiplexedConnection> {
    /// The servers run until the tests end.
    static SERVERS: Mutex<Vec<RedisServer>> = Mutex::new(Vec::new());
    let server = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]);
    set_memory(&server, "6mb").await;
    let backend = backend(&server).await;
    SERVERS.lock().unwrap().push(server);
    backend
}

/// Makes a backend that has seen whether the server knows `SET .. IFEQ`. If it does not, it has
/// seen the script.
async fn backend(server: &RedisServer) -> RedisBackend<MultiplexedConnection> {
    let backend = RedisBackend::new(server.connection().await).with_timeout(PATIENCE);
    let (other, key) = (Stored::new("other"), KEY.replace('0', "f"));
    let first = backend.write(&key, record("v"), OnlyIf::Unchanged(&other));
    assert_eq!(first.await.unwrap(), Outcome::Found(Found::Missing));
    backend
}

fn record(value: &'static str) -> Write {
    Write::record(value, Some(MINUTE))
}

fn tombstone() -> Write {
    Write::tombstone(TOMBSTONE, MINUTE)
}

fn written(value: &'static str) -> Outcome {
    Outcome::Written(Stored::new(value))
}

fn found(value: &'static str) -> Outcome {
    Outcome::Found(Found::Value(Stored::new(value)))
}

/// Returns the names of the commands since the last call, without those of scripts. `MONITOR` does
/// not show a command that Redis refuses for lack of memory.
fn names(monitor: &Monitor) -> Vec<String> {
    let commands = monitor.take().into_iter();
    commands
        .map(|command| command.split('"').nth(1).unwrap().to_owned())
        .collect()
}

async fn set_memory(server: &RedisServer, limit: &str) {
    let command = format!("CONFIG SET maxmemory {limit}");
    assert_eq!(server.ask::<String>(&command).await, "OK");
}

/// All tests run on the server that the environment names.
#[tokio::test]
async fn the_server_is_the_chosen_one() {
    let program = std::env::var("SESSION_TEST_REDIS_SERVER");
    let program = program.unwrap_or_else(|_| "redis-server".to_owned());
    let output = Command::new(program).arg("--version").output().unwrap();
    // `Redis server v=7.0.15 sha=..`
    let text = String::from_utf8(output.stdout).unwrap();
    let version = text.split([' ', '=']).nth(3).unwrap();
    let info: String = SERVER.ask("INFO server").await;
    let chosen = ["redis", "valkey"].map(|name| format!("{name}_version:{version}"));
    let mut lines = info.lines();
    assert!(
        lines.any(|line| chosen.iter().any(|chosen| line == chosen)),
        "{text}: {info}"
    );
}
